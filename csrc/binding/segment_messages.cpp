#include "binding/segment_messages.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "binding/options.h"
#include "binding/torch_objects.h"
#include "errors.h"
#include "memory/build.h"
#include "memory/host_memory.h"
#include "memory/impl_arena.h"
#include "shm/received_segments.h"
#include "shm/segment_hold.h"

namespace tensorlift {
namespace {

// What can be built again from its place alone.
bool is_plain(const at::Tensor& tensor) {
  return has_plain_memory(tensor) && tensor.device().is_cpu() && !tensor.requires_grad() &&
         !tensor.is_conj() && !tensor.is_neg();
}

py::tuple as_tuple(c10::IntArrayRef numbers) {
  py::tuple result(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) result[i] = numbers[i];
  return result;
}

std::string descriptors_of(pid_t process) { return "/proc/" + std::to_string(process) + "/fd/"; }

FileDescriptor look_up(pid_t owner, int descriptor) {
  const std::string path = descriptors_of(owner) + std::to_string(descriptor);
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.is_open()) {
    throw RuntimeError("shared memory: expected a batch of process " + std::to_string(owner) +
                       ", got " + std::strerror(errno) +
                       ": it has ended, belongs to another user, or no more files can be opened.");
  }
  return file;
}

}  // namespace

py::object place_in_segment(const at::Tensor& tensor) {
  if (!is_plain(tensor) || !tensor.has_storage()) return py::none();
  const Segment* segment = segment_of(tensor.storage().data_ptr());
  if (segment == nullptr || !segment->is_owned()) return py::none();
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(tensor.storage().unsafeGetStorageImpl()),
                        dtype_object(tensor.scalar_type()), tensor.storage_offset(),
                        as_tuple(tensor.sizes()), as_tuple(tensor.strides()));
}

py::object offer_segment(const at::Tensor& tensor) {
  const c10::Storage& storage = tensor.storage();
  Segment* segment = segment_of(storage.data_ptr());
  if (segment == nullptr || !segment->is_owned()) return py::none();
  const auto offer = segment->offer(storage.nbytes());
  if (!offer) return py::none();
  return py::make_tuple(offer->owner, offer->descriptor, offer->identity[0], offer->identity[1],
                        offer->slot, offer->number, offer->nbytes);
}

at::Tensor accept_offer(const py::tuple& message, py::handle descriptor) {
  if (message.size() != 7) throw InternalError("an offer has 7 numbers");
  const SegmentOffer offer{
      .owner = message[0].cast<pid_t>(),
      .descriptor = message[1].cast<int>(),
      .identity = {message[2].cast<std::uint64_t>(), message[3].cast<std::uint64_t>()},
      .slot = message[4].cast<std::uint32_t>(),
      .number = message[5].cast<std::uint64_t>(),
      .nbytes = message[6].cast<std::size_t>()};
  const auto open_it = [&] {
    return descriptor.is_none() ? look_up(offer.owner, offer.descriptor)
                                : FileDescriptor(dup(descriptor.cast<int>()));
  };
  ImplArena arena(1);
  constexpr std::int64_t kByteStride = 1;
  return build_shared(arena, accept_segment(offer, open_it), offer.nbytes, c10::kByte,
                      {static_cast<std::int64_t>(offer.nbytes)}, kByteStride);
}

at::Tensor view_of_segment(const at::Tensor& bytes, py::handle dtype, std::int64_t offset,
                           const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& strides) {
  const auto type = unpack_dtype(dtype);
  if (!type) throw InternalError("expected a dtype");
  ImplArena arena(1);
  at::Tensor view = build_view(arena, bytes, *type, 0, {0});
  view.unsafeGetTensorImpl()->set_storage_offset(offset);
  view.unsafeGetTensorImpl()->set_sizes_and_strides(shape, strides);
  if (!has_plain_memory(view)) throw InternalError("a tensor is larger than its segment");
  return view;
}

bool can_look_up_descriptors() {
#if defined(__linux__)
  // What our parent does not hide from us we need not hide from it: a look at one of its files.
  if (prctl(PR_GET_DUMPABLE) != 1) return false;
  const std::string folder = descriptors_of(getppid());
  DIR* entries = opendir(folder.c_str());
  if (entries == nullptr) return false;
  bool can = false;
  while (const dirent* entry = readdir(entries)) {
    if (entry->d_name[0] == '.') continue;
    const FileDescriptor file(open((folder + entry->d_name).c_str(), O_PATH | O_CLOEXEC));
    can = file.is_open();
    break;
  }
  closedir(entries);
  return can;
#else
  return false;
#endif
}

}  // namespace tensorlift
