#include "segment.h"

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

#include "allocate.h"
#include "errors.h"

namespace tensorlift {
namespace {

constexpr std::uint64_t kMagic = 0x746c7365676d6e31;  // "tlsegmn1": another layout, another number

constexpr std::uint64_t kOfferBits = 0xffffffff;

std::uint32_t generation_of(std::uint64_t offers) {
  return static_cast<std::uint32_t>(offers >> 32);
}

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
  std::uint32_t none = 0;
  if (is_retired() || !header().holds.compare_exchange_strong(none, 1)) return false;
  const std::uint64_t next = std::uint64_t{generation_of(header().offers.load()) + 1} << 32;
  header().offers.store(next);
  return true;
}

std::optional<SegmentOffer> Segment::offer(std::size_t nbytes) {
  std::uint64_t offers = header().offers.load();
  for (;;) {
    const std::uint64_t free_bits = ~offers & kOfferBits;
    if (free_bits == 0) return std::nullopt;
    const std::uint64_t ticket = free_bits & (~free_bits + 1);
    if (!header().offers.compare_exchange_weak(offers, offers | ticket)) continue;
    header().holds.fetch_add(1);
    return SegmentOffer{getpid(),
                        file_.number(),
                        header().identity,
                        generation_of(offers),
                        static_cast<std::uint32_t>(ticket),
                        nbytes};
  }
}

bool Segment::is_offered() const { return (header().offers.load() & kOfferBits) != 0; }

bool Segment::accept(const SegmentOffer& offer) {
  std::uint64_t offers = header().offers.load();
  for (;;) {
    if (generation_of(offers) != offer.generation || (offers & offer.ticket) == 0) return false;
    if (header().offers.compare_exchange_weak(offers, offers & ~std::uint64_t{offer.ticket})) {
      return true;  // the offer's hold is the caller's now
    }
  }
}

void Segment::let_go() { header().holds.fetch_sub(1); }

void Segment::retire() { header().is_retired.store(1); }

bool Segment::is_retired() const { return header().is_retired.load() != 0; }

bool Segment::owner_lives() const {
  return kill(static_cast<pid_t>(header().owner), 0) == 0 || errno != ESRCH;
}

}  // namespace tensorlift
