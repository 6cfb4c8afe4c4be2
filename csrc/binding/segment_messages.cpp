#include "binding/segment_messages.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "binding/gil.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "memory/build.h"
#include "memory/host_memory.h"
#include "memory/impl_arena.h"
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
  const py::tuple fields = tuple_of(object, 7);
  return {.owner = fields[0].cast<pid_t>(),
          .descriptor = fields[1].cast<int>(),
          .identity = {fields[2].cast<std::uint64_t>(), fields[3].cast<std::uint64_t>()},
          .slot = fields[4].cast<std::uint32_t>(),
          .number = fields[5].cast<std::uint64_t>(),
          .nbytes = fields[6].cast<std::size_t>()};
}

// Of a tensor.
struct Place {
  std::size_t begin, nbytes;  // its storage
  c10::ScalarType dtype;
  std::int64_t offset;  // elements, like the strides
  Numbers shape, strides;
};

Place parse_place(py::handle object) {
  const py::tuple fields = tuple_of(object, 6);
  const auto dtype = unpack_dtype(fields[2]);
  if (!dtype || c10::isQIntType(*dtype)) throw_malformed();
  return {.begin = fields[0].cast<std::size_t>(),
          .nbytes = fields[1].cast<std::size_t>(),
          .dtype = *dtype,
          .offset = fields[3].cast<std::int64_t>(),
          .shape = numbers_of(fields[4]),
          .strides = numbers_of(fields[5])};
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

FileDescriptor look_up_or_throw(pid_t owner, int descriptor) {
  FileDescriptor file = look_up(owner, descriptor);
  if (file.is_open()) return file;
  throw RuntimeError("shared memory: expected a batch of process " + std::to_string(owner) +
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
  const auto place = place_of(tensor.storage());
  if (!place) return py::none();
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(place->hold.get()), place->begin,
                        tensor.storage().nbytes(), dtype_object(tensor.scalar_type()),
                        tensor.storage_offset(), as_tuple(tensor.sizes()),
                        as_tuple(tensor.strides()));
}

HeldSegment segment_of(const at::Tensor& tensor) {
  auto place = place_of(tensor.storage());
  if (!place) throw InternalError("expected a tensor over a segment");
  return {std::move(place->hold)};
}

py::tuple offer_segment(const HeldSegment& segment, bool is_looked_up) {
  SentSegment sent = [&] {
    const GilRelease release;
    return send_segment(*segment.hold, is_looked_up);
  }();
  const SegmentOffer& offer = sent.offer;
  py::object file = py::none();
  if (sent.file.is_open()) file = py::int_(sent.file.number());
  py::tuple result =
      py::make_tuple(py::make_tuple(offer.owner, offer.descriptor, offer.identity[0],
                                    offer.identity[1], offer.slot, offer.number, offer.nbytes),
                     file);
  static_cast<void>(sent.file.release());
  return result;
}

HeldSegment accept_offer(py::handle message, py::handle descriptor) {
  const SegmentOffer offer = parsed([&] { return parse_offer(message); });
  const int number = descriptor.is_none() ? -1 : parsed([&] { return descriptor.cast<int>(); });
  const bool is_looked_up = descriptor.is_none();
  const GilRelease release;
  return {accept_segment(offer, [&] {
    return is_looked_up ? look_up_or_throw(offer.owner, offer.descriptor)
                        : duplicate_or_throw(number);
  })};
}

at::Tensor tensor_in_segment(py::handle segment, py::handle message) {
  if (!py::isinstance<HeldSegment>(segment)) throw_malformed();
  const SegmentHoldPtr& hold = segment.cast<const HeldSegment&>().hold;
  const Place place = parsed([&] { return parse_place(message); });
  std::size_t end = 0;
  const bool is_in_segment = place.begin % kAlignment == 0 &&
                             !__builtin_add_overflow(place.begin, place.nbytes, &end) &&
                             end <= hold->nbytes();
  if (!is_in_segment || !is_within_storage(place)) throw_malformed();
  ImplArena arena(1);
  const c10::Storage storage = storage_in(hold, arena, place.begin, place.nbytes);
  at::Tensor tensor = build_over_storage(arena, storage, place.dtype, {0});
  tensor.unsafeGetTensorImpl()->set_storage_offset(place.offset);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(place.shape, place.strides);
  return tensor;
}

}  // namespace tensorlift
