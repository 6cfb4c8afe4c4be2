// A fuzzer of the decisions: plan, layout, strided, with shapes and strides that overflow 64 bits;
// pack_rows.
#include <cstddef>
#include <cstdint>

#include "bytes.h"
#include "plan_cases.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tensorlift::native::Bytes bytes(data, size);
  const std::uint8_t kind = bytes.byte();
  if (kind >= 0xf0) {  // not the number 3, which would make other cases of the corpus
    tensorlift::native::run_pack_case(bytes);
    return 0;
  }
  switch (kind % 3) {
    case 0:
      tensorlift::native::run_plan_case(bytes);
      break;
    case 1:
      tensorlift::native::run_layout_case(bytes);
      break;
    default:
      tensorlift::native::run_walk_case(bytes);
  }
  return 0;
}
