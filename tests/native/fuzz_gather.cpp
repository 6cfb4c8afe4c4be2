// A fuzzer of the copy engine: gather, batch_jobs, packed, and all that they stand on.
#include <cstddef>
#include <cstdint>

#include "bytes.h"
#include "cases.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tensorlift::native::Bytes bytes(data, size);
  const std::uint8_t kind = bytes.byte();
  if (kind % 16 == 15) {
    tensorlift::native::run_normalized_case(bytes);
  } else if (kind % 2 == 1) {
    tensorlift::native::run_batch_case(bytes);
  } else {
    tensorlift::native::run_slots_case(bytes);
  }
  return 0;
}
