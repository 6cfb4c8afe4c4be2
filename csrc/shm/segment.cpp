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
#include <new>
#include <string>
#include <utility>

#include "errors.h"
#include "memory/allocate.h"

namespace tensorlift {
namespace {

constexpr std::uint64_t kMagic = 0x746c7365676d6e32;  // "tlsegmn2": another layout, another number

// MAP_FAILED: it cannot be.
void* map(const FileDescriptor& file, std::size_t nbytes) {
  return mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.number(), 0);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (is_open()) ::close(number_);
}

Segment::Segment(void* mapping, std::size_t mapped_bytes, FileDescriptor file)
    : mapping_(mapping), mapped_bytes_(mapped_bytes), file_(std::move(file)) {}

Segment::Segment(Segment&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_bytes_(other.mapped_bytes_),
      populated_bytes_(other.populated_bytes_),
      file_(std::move(other.file_)) {}

Segment::~Segment() {
  if (mapping_ != nullptr) munmap(mapping_, mapped_bytes_);
}

#if defined(__linux__)

bool has_segments() { return true; }

std::optional<Segment> Segment::make(std::size_t capacity) {
  // No file of a mounted file system: not bound by the size of /dev/shm, and gone with the last
  // process that has it, however that ends.
  FileDescriptor file(memfd_create("tensorlift", MFD_CLOEXEC));
  const std::size_t bytes = kHeaderBytes + capacity;
  if (!file.is_open() || ftruncate(file.number(), static_cast<off_t>(bytes)) != 0) return {};
  void* mapping = map(file, bytes);
  if (mapping == MAP_FAILED) return {};
  Segment segment(mapping, bytes, std::move(file));
  if (!tensorlift::populate(segment.mapping_, kHeaderBytes)) return {};
  auto* header = new (segment.mapping_) Header{};
  header->magic = kMagic;
  header->owner = getpid();
  if (getrandom(header->identity.data(), sizeof(header->identity), 0) < 0) return {};
  return segment;
}

#else

bool has_segments() { return false; }

std::optional<Segment> Segment::make(std::size_t) { return {}; }

#endif

Segment Segment::open(const FileDescriptor& file, const SegmentOffer& offer) {
  // Looked at before it is mapped: whatever file this is, reading it cannot end the process.
  Header header;
  struct stat status{};
  const std::size_t offered = kHeaderBytes + offer.nbytes;
  const bool is_it =
      fstat(file.number(), &status) == 0 && status.st_size >= static_cast<off_t>(offered) &&
      pread(file.number(), static_cast<void*>(&header), sizeof(header), 0) == sizeof(header) &&
      header.magic == kMagic && header.identity == offer.identity;
  if (!is_it) {
    throw RuntimeError("shared memory: expected the batch that process " +
                       std::to_string(offer.owner) + " sent, got something else: it has ended.");
  }
  const auto bytes = static_cast<std::size_t>(status.st_size);
  void* mapping = map(file, bytes);
  if (mapping == MAP_FAILED) {
    throw RuntimeError("shared memory: cannot map " + std::to_string(bytes) +
                       " bytes: " + std::strerror(errno) + ".");
  }
  Segment segment(mapping, bytes, FileDescriptor(-1));
#ifdef MADV_POPULATE_READ  // the pages that are there, at once: half the time of a fault for each
  madvise(segment.mapping_, offered, MADV_POPULATE_READ);
#endif
  return segment;
}

bool Segment::populate(std::size_t nbytes) {
  if (nbytes <= populated_bytes_) return true;
  if (!tensorlift::populate(data(), nbytes)) return false;
  populated_bytes_ = nbytes;
  return true;
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
    return SegmentOffer{getpid(), file_.number(), header().identity, slot, number, nbytes};
  }
  return std::nullopt;
}

bool Segment::is_offered() const {
  const auto& offers = header().offers;
  return std::any_of(offers.begin(), offers.end(), [](const auto& open) { return open != 0; });
}

bool Segment::accept(const SegmentOffer& offer) {
  if (offer.slot >= header().offers.size()) return false;
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
