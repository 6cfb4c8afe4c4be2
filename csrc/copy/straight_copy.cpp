#include "copy/straight_copy.h"

#include <cstring>

#include "copy/gather.h"
#include "copy/test_grain.h"

namespace tensorlift {
namespace {

// How far ahead elements are loaded into the cache; see gather.cpp.
constexpr std::size_t kPrefetchDistance = 4;

std::size_t nbytes_of(const Sources::Signature& signature) {
  return static_cast<std::size_t>(signature.numel) * signature.element.itemsize;
}

// kBytes: of each array, where that is known to the compiler, else 0.
template <std::size_t kBytes>
void copy_all(const Sources& sources, std::size_t nbytes, char* slot) {
  const std::size_t each = kBytes > 0 ? kBytes : nbytes;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (i + kPrefetchDistance < sources.size()) {
      __builtin_prefetch(sources.data(i + kPrefetchDistance));
    }
    std::memcpy(slot, sources.data(i), each);
    slot += each;
  }
}

}  // namespace

bool is_straight(const BatchPlan& plan) {
  const Sources& sources = plan.sources;
  if (kIsTestGrain || sources.signatures().size() != 1) return false;
  if (plan.layout.dim != 0 || plan.layout.has_padding || plan.normalization) return false;
  const Sources::Signature& signature = sources.signatures()[0];
  if (signature.element.dtype != plan.dtype || signature.swapped || signature.numel == 0)
    return false;
  const std::int64_t* shape = sources.shape(signature);
  if (!is_contiguous(signature.ndim, shape, shape + signature.ndim, signature.element.itemsize))
    return false;
  return nbytes_of(signature) * sources.size() < 2 * kBytesPerThread;
}

void copy_straight(const Sources& sources, char* data) {
  const std::size_t nbytes = nbytes_of(sources.signatures()[0]);
  switch (nbytes) {
    case 4:
      return copy_all<4>(sources, nbytes, data);
    case 8:
      return copy_all<8>(sources, nbytes, data);
    case 16:
      return copy_all<16>(sources, nbytes, data);
    case 32:
      return copy_all<32>(sources, nbytes, data);
    case 64:
      return copy_all<64>(sources, nbytes, data);
    default:
      return copy_all<0>(sources, nbytes, data);
  }
}

}  // namespace tensorlift
