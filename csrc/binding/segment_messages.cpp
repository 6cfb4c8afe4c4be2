#include "binding/segment_messages.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "binding/gil.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "memory/build.h"
#include "memory/host_memory.h"
#include "memory/tensor_arena.h"
#include "shm/received_segments.h"
#include "shm/send_segment.h"

namespace tensorlift {
namespace {

using Numbers = std::vector<std::int64_t>;

constexpr std::int64_t kMaxDims = 64;   // more are sent as torch sends them
constexpr std::size_t kAlignment = 64;  // of storages in segments

// What can be built again from its place alone.
bool is_plain(const at::Tensor& tensor) {
  return has_plain_memory(tensor) && tensor.device().is_cpu() && !tensor.requires_grad() &&
         !tensor.is_conj() && !tensor.is_neg() && !tensor._is_zerotensor() &&
         !tensor.is_quantized() && tensor.dim() <= kMaxDims;
}

py::tuple as_tuple(c10::IntArrayRef numbers) {
  py::tuple result(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) result[i] = numbers[i];
  return result;
}

[[noreturn]] void throw_malformed() {
  throw RuntimeError(
      "shared memory: expected what tensorlift has sent, got something else: another version sent "
      "it, or it was changed on its way.");
}

// What `read` makes of a message, which may be anything.
template <typename Read>
auto parsed(Read read) {
  try {
    return read();
  } catch (const py::cast_error&) {
    throw_malformed();
  } catch (const py::error_already_set& raised) {  // by a number that is an object
    if (!raised.matches(PyExc_Exception)) throw;
    throw_malformed();
  }
}

py::tuple tuple_of(py::handle object, std::size_t size) {
  if (!py::isinstance<py::tuple>(object)) throw_malformed();
  auto tuple = py::reinterpret_borrow<py::tuple>(object);
  if (tuple.size() != size) throw_malformed();
  return tuple;
}

Numbers numbers_of(py::handle object) {
  if (!py::isinstance<py::tuple>(object)) throw_malformed();
  const auto tuple = py::reinterpret_borrow<py::tuple>(object);
  if (tuple.size() > kMaxDims) throw_malformed();
  Numbers numbers;
  for (const py::handle item : tuple) numbers.push_back(item.cast<std::int64_t>());
  return numbers;
}

SegmentOffer parse_offer(py::handle object) {
  const py::tuple fields = tuple_of(object, 8);
  return {.place = {fields[0].cast<pid_t>(), fields[1].cast<int>()},
          .identity = {fields[2].cast<std::uint64_t>(), fields[3].cast<std::uint64_t>()},
          .index = fields[4].cast<std::uint32_t>(),
          .slot = fields[5].cast<std::uint32_t>(),
          .number = fields[6].cast<std::uint64_t>(),
          .nbytes = fields[7].cast<std::size_t>()};
}

// Of all elements; 0: too many.
std::size_t nbytes_of(c10::IntArrayRef shape, c10::ScalarType dtype) {
  auto nbytes = static_cast<std::int64_t>(c10::elementSize(dtype));
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(nbytes, size, &nbytes)) return 0;
  }
  return static_cast<std::size_t>(nbytes);
}

// The strides of a tensor whose elements lie in their order, as torch makes it; none: too large.
std::optional<Numbers> contiguous_strides(c10::IntArrayRef shape) {
  Numbers strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    const std::int64_t size = std::max<std::int64_t>(shape[d], 1);
    if (__builtin_mul_overflow(stride, size, &stride)) return std::nullopt;
  }
  return strides;
}

// Of a tensor.
struct Place {
  SegmentHoldPtr segment;
  std::size_t begin;  // of its storage
  c10::ScalarType dtype;
  Numbers shape;
  std::size_t nbytes;   // of its storage
  std::int64_t offset;  // elements, like the strides
  Numbers strides;
};

Place parse_place(py::handle object) {
  if (!py::isinstance<py::tuple>(object)) throw_malformed();
  const auto fields = py::reinterpret_borrow<py::tuple>(object);
  if (fields.size() != 4 && fields.size() != 7) throw_malformed();
  const auto dtype = unpack_dtype(fields[2]);
  if (!dtype || c10::isQIntType(*dtype)) throw_malformed();
  Place place{.segment = fields[0].cast<SegmentHoldPtr>(),
              .begin = fields[1].cast<std::size_t>(),
              .dtype = *dtype,
              .shape = numbers_of(fields[3]),
              .nbytes = 0,
              .offset = 0,
              .strides = {}};
  if (!place.segment) throw_malformed();  // None
  if (fields.size() == 7) {
    place.nbytes = fields[4].cast<std::size_t>();
    place.offset = fields[5].cast<std::int64_t>();
    place.strides = numbers_of(fields[6]);
    return place;
  }
  auto strides = contiguous_strides(place.shape);
  if (!strides) throw_malformed();
  place.strides = *std::move(strides);
  place.nbytes = nbytes_of(place.shape, place.dtype);
  return place;
}

// Is the storage all that there is of the tensor?
bool fills_its_storage(const at::Tensor& tensor) {
  if (tensor.storage_offset() != 0 || tensor.nbytes() != tensor.storage().nbytes()) return false;
  const auto strides = contiguous_strides(tensor.sizes());
  return strides && tensor.strides() == c10::IntArrayRef(*strides);
}

// Do all elements lie in the storage?
bool is_within_storage(const Place& place) {
  const auto is_negative = [](std::int64_t number) { return number < 0; };
  if (place.shape.size() != place.strides.size() || place.offset < 0 ||
      std::any_of(place.shape.begin(), place.shape.end(), is_negative) ||
      std::any_of(place.strides.begin(), place.strides.end(), is_negative)) {
    return false;
  }
  const bool is_empty = std::find(place.shape.begin(), place.shape.end(), 0) != place.shape.end();
  std::int64_t end = place.offset;  // elements
  std::int64_t numel = 1;
  bool overflows = !is_empty && __builtin_add_overflow(end, 1, &end);
  for (std::size_t d = 0; d < place.shape.size() && !is_empty; ++d) {
    std::int64_t steps = 0;
    overflows |= __builtin_mul_overflow(numel, place.shape[d], &numel);
    overflows |= __builtin_mul_overflow(place.shape[d] - 1, place.strides[d], &steps);
    overflows |= __builtin_add_overflow(end, steps, &end);
  }
  const auto itemsize = static_cast<std::int64_t>(c10::elementSize(place.dtype));
  overflows |= __builtin_mul_overflow(end, itemsize, &end);
  return !overflows && static_cast<std::size_t>(end) <= place.nbytes;
}

FileDescriptor look_up_or_throw(const FilePlace& place) {
  FileDescriptor file = look_up(place.process, place.descriptor);
  if (file.is_open()) return file;
  throw RuntimeError("shared memory: expected a batch of process " + std::to_string(place.process) +
                     ", got " + std::strerror(errno) +
                     ": it has ended, belongs to another user, or no more files can be opened.");
}

FileDescriptor duplicate_or_throw(int descriptor) {
  FileDescriptor file = duplicate(descriptor);
  if (file.is_open()) return file;
  throw RuntimeError(std::string("shared memory: expected a file that holds a batch, got ") +
                     std::strerror(errno) + ".");
}

}  // namespace

py::object place_in_segment(const at::Tensor& tensor) {
  if (!is_plain(tensor)) return py::none();
  auto place = place_of(tensor.storage());
  if (!place) return py::none();
  py::object segment = py::cast(std::move(place->hold));
  py::object dtype = dtype_object(tensor.scalar_type());
  py::tuple shape = as_tuple(tensor.sizes());
  if (fills_its_storage(tensor)) return py::make_tuple(segment, place->begin, dtype, shape);
  return py::make_tuple(segment, place->begin, dtype, shape, tensor.storage().nbytes(),
                        tensor.storage_offset(), as_tuple(tensor.strides()));
}

py::tuple offer_segment(const SegmentHold& segment, bool is_looked_up) {
  SentSegment sent = [&] {
    const GilRelease release;
    return send_segment(segment, is_looked_up);
  }();
  const SegmentOffer& offer = sent.offer;
  py::object file = py::none();
  if (sent.file.is_open()) file = py::int_(sent.file.number());
  py::tuple result = py::make_tuple(
      py::make_tuple(offer.place.process, offer.place.descriptor, offer.identity[0],
                     offer.identity[1], offer.index, offer.slot, offer.number, offer.nbytes),
      file);
  static_cast<void>(sent.file.release());
  return result;
}

SegmentHoldPtr accept_offer(py::handle message, py::handle descriptor) {
  const SegmentOffer offer = parsed([&] { return parse_offer(message); });
  const int number = descriptor.is_none() ? -1 : parsed([&] { return descriptor.cast<int>(); });
  const bool is_looked_up = descriptor.is_none();
  const GilRelease release;
  return accept_segment(offer, [&] {
    return is_looked_up ? look_up_or_throw(offer.place) : duplicate_or_throw(number);
  });
}

py::object received_pages(const at::Tensor& tensor) {
  if (!is_plain(tensor)) return py::none();
  const auto place = place_of(tensor.storage());
  if (!place || place->hold->segment().file().is_owned()) return py::none();
  const Segment& segment = place->hold->segment();
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t nbytes = (place->hold->nbytes() + page - 1) / page * page;
  using Mapping = std::shared_ptr<SegmentFile>;
  auto mapping = std::make_unique<Mapping>(segment.mapping());
  py::capsule holder(mapping.get(), [](void* held) { delete static_cast<Mapping*>(held); });
  static_cast<void>(mapping.release());
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(segment.data()),
                        std::min(nbytes, segment.capacity()), segment.removals(), holder);
}

at::Tensor tensor_in_segment(py::handle message) {
  const Place place = parsed([&] { return parse_place(message); });
  std::size_t end = 0;
  const bool is_in_segment = place.begin % kAlignment == 0 &&
                             !__builtin_add_overflow(place.begin, place.nbytes, &end) &&
                             end <= place.segment->nbytes();
  if (!is_in_segment || !is_within_storage(place)) throw_malformed();
  TensorArena arena(1);
  const c10::Storage storage = storage_in(place.segment, arena, place.begin, place.nbytes);
  at::Tensor tensor = build_over_storage(arena, storage, place.dtype, {0});
  tensor.unsafeGetTensorImpl()->set_storage_offset(place.offset);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(place.shape, place.strides);
  return tensor;
}

}  // namespace tensorlift
