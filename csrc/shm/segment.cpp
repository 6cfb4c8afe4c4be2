#include "shm/segment.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <utility>

#include "errors.h"
#include "memory/allocate.h"

namespace tensorlift {
namespace {

constexpr std::uint64_t kMagic = 0x746c7365676d6e33;  // "tlsegmn3": another layout, another number

// MAP_FAILED: it cannot be.
void* map(const FileDescriptor& file, std::size_t nbytes) {
  return mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.number(), 0);
}

[[noreturn]] void throw_not_mapped(std::size_t nbytes, int error) {
  std::string text = "shared memory: cannot map " + std::to_string(nbytes) +
                     " bytes of a batch: " + std::strerror(error) + ".";
  std::ifstream file("/proc/sys/vm/max_map_count");
  if (std::string limit; error == ENOMEM && file >> limit) {
    text += " A process may have " + limit +
            " mappings, and each batch that is kept has some: keep clones of its tensors, or raise "
            "the limit (sysctl vm.max_map_count).";
  }
  throw RuntimeError(text);
}

}  // namespace

Segment::Segment(void* mapping, std::size_t mapped_bytes, const SegmentIdentity& identity,
                 pid_t owner, int descriptor)
    : mapping_(mapping),
      mapped_bytes_(mapped_bytes),
      identity_(identity),
      owner_(owner),
      descriptor_(descriptor),
      file_(-1) {}

Segment::Segment(Segment&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_bytes_(other.mapped_bytes_),
      populated_bytes_(other.populated_bytes_),
      identity_(other.identity_),
      owner_(other.owner_),
      descriptor_(other.descriptor_),
      file_(std::move(other.file_)) {}

Segment::~Segment() {
  if (mapping_ != nullptr) munmap(mapping_, mapped_bytes_);
}

#if defined(__linux__)

namespace {

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

// Whoever gets the file can neither cut off what others have mapped, which would end them at the
// next look, nor make a program of it.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// No file of a mounted file system: not bound by the size of /dev/shm, and gone with the last
// process that has it, however that ends.
FileDescriptor new_file(std::size_t nbytes) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  FileDescriptor file(memfd_create("tensorlift", kFlags | MFD_NOEXEC_SEAL));
  if (!file.is_open() && errno == EINVAL) {  // before Linux 6.3
    file = FileDescriptor(memfd_create("tensorlift", kFlags));
  }
  const bool is_right = file.is_open() &&
                        ftruncate(file.number(), static_cast<off_t>(nbytes)) == 0 &&
                        fcntl(file.number(), F_ADD_SEALS, kSeals) == 0;
  return is_right ? std::move(file) : FileDescriptor(-1);
}

bool has_its_size_for_ever(const FileDescriptor& file) {
  const int seals = fcntl(file.number(), F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

}  // namespace

bool has_segments() { return true; }

std::optional<Segment> Segment::make(std::size_t capacity) {
  const std::size_t bytes = kHeaderBytes + capacity;
  FileDescriptor file = new_file(bytes);
  SegmentIdentity identity;
  if (!file.is_open() || getrandom(identity.data(), sizeof(identity), 0) != sizeof(identity)) {
    return {};
  }
  void* mapping = map(file, bytes);
  if (mapping == MAP_FAILED) return {};
  Segment segment(mapping, bytes, identity, getpid(), file.number());
  segment.file_ = std::move(file);
  if (!tensorlift::populate(segment.mapping_, kHeaderBytes)) return {};
  auto* header = new (segment.mapping_) Header{};
  header->magic = kMagic;
  header->owner = segment.owner_;
  header->identity = identity;
  return segment;
}

#else

namespace {

bool has_its_size_for_ever(const FileDescriptor&) { return false; }

}  // namespace

bool has_segments() { return false; }

std::optional<Segment> Segment::make(std::size_t) { return {}; }

#endif

bool Segment::is_of(const FileDescriptor& file, const SegmentIdentity& identity) {
  // Looked at before it is mapped: whatever file this is, reading it cannot end the process.
  Header header;
  return file.is_open() && has_its_size_for_ever(file) &&
         pread(file.number(), static_cast<void*>(&header), sizeof(header), 0) == sizeof(header) &&
         header.magic == kMagic && header.identity == identity;
}

Segment Segment::open(const FileDescriptor& file, const SegmentOffer& offer) {
  struct stat status{};
  if (!is_of(file, offer.identity) || fstat(file.number(), &status) != 0 ||
      status.st_size < static_cast<off_t>(kHeaderBytes)) {
    throw RuntimeError("shared memory: expected the batch that process " +
                       std::to_string(offer.owner) + " sent, got something else: it has ended.");
  }
  const auto bytes = static_cast<std::size_t>(status.st_size);
  void* mapping = map(file, bytes);
  if (mapping == MAP_FAILED) throw_not_mapped(bytes, errno);
  return {mapping, bytes, offer.identity, offer.owner, offer.descriptor};
}

FileDescriptor Segment::file() const {
  if (is_owned()) return duplicate(file_.number());
  FileDescriptor file = look_up(owner_, descriptor_);
  return is_of(file, identity_) ? std::move(file) : FileDescriptor(-1);
}

bool Segment::populate(std::size_t nbytes) {
  if (nbytes <= populated_bytes_) return true;
  if (!tensorlift::populate(data(), nbytes)) return false;
  populated_bytes_ = nbytes;
  return true;
}

void Segment::map_populated([[maybe_unused]] std::size_t nbytes) {
#ifdef MADV_POPULATE_READ
  if (nbytes <= populated_bytes_) return;
  madvise(mapping_, kHeaderBytes + nbytes, MADV_POPULATE_READ);
  populated_bytes_ = nbytes;
#endif
}

void Segment::set_inherited([[maybe_unused]] bool is_inherited) {
#ifdef MADV_DONTFORK
  madvise(mapping_, mapped_bytes_, is_inherited ? MADV_DOFORK : MADV_DONTFORK);
#endif
}

bool Segment::is_free() const {
  return header().holds.load(std::memory_order_acquire) == 0 && !is_retired();
}

bool Segment::take() {
  // In this order: whoever retires a segment holds it, and lets go of it afterwards.
  std::uint32_t none = 0;
  return is_free() && header().holds.compare_exchange_strong(none, 1);
}

std::optional<SegmentOffer> Segment::offer(std::size_t nbytes) {
  const std::uint64_t number = header().offers_made.fetch_add(1) + 1;
  for (std::uint32_t slot = 0; slot < header().offers.size(); ++slot) {
    std::uint64_t none = 0;
    if (!header().offers[slot].compare_exchange_strong(none, number)) continue;
    header().holds.fetch_add(1);
    return SegmentOffer{owner_, descriptor_, identity_, slot, number, nbytes};
  }
  return std::nullopt;
}

bool Segment::is_offered() const {
  const auto& offers = header().offers;
  return std::any_of(offers.begin(), offers.end(), [](const auto& open) { return open != 0; });
}

bool Segment::accept(const SegmentOffer& offer) {
  if (offer.slot >= header().offers.size() || offer.number == 0) return false;
  std::uint64_t number = offer.number;
  // The offer's hold is the caller's then.
  return header().offers[offer.slot].compare_exchange_strong(number, 0);
}

void Segment::let_go() { header().holds.fetch_sub(1); }

void Segment::retire() { header().is_retired.store(1); }

bool Segment::is_retired() const { return header().is_retired.load() != 0; }

bool Segment::owner_lives() const {
  return kill(static_cast<pid_t>(header().owner), 0) == 0 || errno != ESRCH;
}

}  // namespace tensorlift
