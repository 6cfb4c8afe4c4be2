#include "shm/segment_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <new>
#include <string>
#include <unordered_set>
#include <utility>

#include "errors.h"
#include "memory/allocate.h"

namespace tensorlift {
namespace {

constexpr std::uint64_t kMagic = 0x746c7365676d6e33;  // "tlsegmn3": another layout, another number
constexpr std::size_t kSegmentAlignment = 4 << 10;    // pages, or parts of one
constexpr std::size_t kMaxCount = 1 << 10;

constexpr std::size_t page_aligned(std::size_t nbytes) {
  return (nbytes + kSegmentAlignment - 1) / kSegmentAlignment * kSegmentAlignment;
}

[[noreturn]] void throw_not_mapped(std::size_t nbytes, int error) {
  std::string text = "shared memory: cannot map " + std::to_string(nbytes) +
                     " bytes of a batch: " + std::strerror(error) + ".";
  std::ifstream file("/proc/sys/vm/max_map_count");
  if (std::string limit; error == ENOMEM && file >> limit) {
    text +=
        " A process may have " + limit +
        " mappings (vm.max_map_count), and a batch that is kept has one or more: keep clones of "
        "its tensors, or raise the limit (sysctl -w vm.max_map_count=...).";
  }
  throw RuntimeError(text);
}

#if defined(__linux__)

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

bool keeps_its_size(const FileDescriptor& file) {
  const int seals = fcntl(file.number(), F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

bool fill_with_random(FileIdentity& identity) {
  return getrandom(identity.data(), sizeof(identity), 0) == sizeof(identity);
}

#else

FileDescriptor new_file(std::size_t) { return FileDescriptor(-1); }
bool keeps_its_size(const FileDescriptor&) { return false; }
bool fill_with_random(FileIdentity&) { return false; }

#endif

// MAP_FAILED: it cannot be.
void* map(const FileDescriptor& file, std::size_t nbytes) {
  return mmap(nullptr, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.number(), /*offset=*/0);
}

}  // namespace

// All of this process, for its children. (MADV_DONTFORK on what is not in use costs 1 us, four
// times a segment and batch.)
class MappedFiles {
 public:
  static void add(SegmentFile* file) {
    const std::lock_guard lock(all_->mutex);
    all_->files.insert(file);
  }
  static void remove(SegmentFile* file) {
    const std::lock_guard lock(all_->mutex);
    all_->files.erase(file);
  }

 private:
  struct Files {
    std::recursive_mutex mutex;  // may be taken again by handlers of a fork that are not ours
    std::unordered_set<SegmentFile*> files;
  };

  // The lock belongs to the parent's thread: the child has another.
  static void begin_child() {
    auto* inherited = std::exchange(all_, new Files);
    for (SegmentFile* file : inherited->files) {
      file->begin_child();
      all_->files.insert(file);
    }
  }

  static inline auto* all_ = new Files;  // as long as the process
  [[maybe_unused]] static inline const int handlers_ = pthread_atfork(
      [] { all_->mutex.lock(); }, [] { all_->mutex.unlock(); }, &MappedFiles::begin_child);
};

bool has_segments() {
#if defined(__linux__)
  return true;
#else
  return false;
#endif
}

std::size_t SegmentFile::headers_bytes(std::size_t count) {
  static_assert(sizeof(Header) <= sizeof(SegmentHeader));
  return page_aligned((1 + count) * sizeof(SegmentHeader));
}

std::size_t SegmentFile::nbytes_of(const Header& header) {
  return headers_bytes(header.count) + header.count * header.segment_bytes;
}

bool SegmentFile::is_header(const Header& header, std::size_t file_bytes) {
  return header.magic == kMagic && header.count > 0 && header.count <= kMaxCount &&
         header.segment_bytes % kSegmentAlignment == 0 &&
         header.segment_bytes <= file_bytes / header.count && nbytes_of(header) == file_bytes;
}

// Looked at before it is mapped: whatever file this is, reading it cannot end the process.
bool SegmentFile::is_file(const FileDescriptor& file, Header& header) {
  struct stat status{};
  return file.is_open() && keeps_its_size(file) && fstat(file.number(), &status) == 0 &&
         pread(file.number(), static_cast<void*>(&header), sizeof(header), 0) == sizeof(header) &&
         is_header(header, static_cast<std::size_t>(status.st_size));
}

SegmentFile::SegmentFile(void* mapping, const Header& header, FilePlace place, FileDescriptor file)
    : mapping_(mapping),
      identity_(header.identity),
      owner_(static_cast<pid_t>(header.owner)),
      count_(header.count),
      segment_bytes_(header.segment_bytes),
      place_(place),
      file_(std::move(file)) {
  MappedFiles::add(this);
}

void SegmentFile::unmap() {
  if (mapping_ != nullptr) munmap(mapping_, headers_bytes(count_) + count_ * segment_bytes_);
  mapping_ = nullptr;
}

SegmentFile::~SegmentFile() {
  MappedFiles::remove(this);
  unmap();
}

void SegmentFile::begin_child() {
  if (is_owned()) place_.process = getpid();
  if (uses_.load() > 0) return;
  unmap();
  file_ = FileDescriptor(-1);
}

std::shared_ptr<SegmentFile> SegmentFile::make(std::size_t count, std::size_t nbytes) {
  Header header{};
  header.magic = kMagic;
  header.owner = getpid();
  header.count = count;
  header.segment_bytes = page_aligned(nbytes);
  const std::size_t bytes = nbytes_of(header);
  FileDescriptor file = new_file(bytes);
  if (!file.is_open() || !fill_with_random(header.identity)) return nullptr;
  void* mapping = map(file, bytes);
  if (mapping == MAP_FAILED) return nullptr;
  const FilePlace place{getpid(), file.number()};
  std::shared_ptr<SegmentFile> made(new SegmentFile(mapping, header, place, std::move(file)));
  if (!tensorlift::populate(mapping, headers_bytes(count))) return nullptr;
  auto* written = new (mapping) Header{};
  written->magic = header.magic;
  written->identity = header.identity;
  written->owner = header.owner;
  written->count = header.count;
  written->segment_bytes = header.segment_bytes;
  for (std::size_t i = 0; i < count; ++i) new (&made->header(i)) SegmentHeader{};
  return made;
}

std::shared_ptr<SegmentFile> SegmentFile::open(const FileDescriptor& file, const FilePlace& place,
                                               const FileIdentity& identity) {
  Header header{};
  if (!is_file(file, header) || header.identity != identity) {
    throw RuntimeError("shared memory: expected the batch that process " +
                       std::to_string(place.process) + " sent, got something else: it has ended.");
  }
  const std::size_t bytes = nbytes_of(header);
  void* mapping = map(file, bytes);
  if (mapping == MAP_FAILED) throw_not_mapped(bytes, errno);
  return std::shared_ptr<SegmentFile>(new SegmentFile(mapping, header, place, FileDescriptor(-1)));
}

SegmentHeader& SegmentFile::header(std::size_t index) const {
  return static_cast<SegmentHeader*>(mapping_)[1 + index];
}

char* SegmentFile::data(std::size_t index) const {
  return static_cast<char*>(mapping_) + headers_bytes(count_) + index * segment_bytes_;
}

bool SegmentFile::populate(std::size_t index, std::size_t nbytes) const {
  return tensorlift::populate(data(index), nbytes);
}

void SegmentFile::map_populated([[maybe_unused]] std::size_t index,
                                [[maybe_unused]] std::size_t nbytes) const {
#ifdef MADV_POPULATE_READ
  madvise(data(index), nbytes, MADV_POPULATE_READ);
#endif
}

void SegmentFile::remove_pages([[maybe_unused]] std::size_t index,
                               [[maybe_unused]] std::size_t begin) const {
#ifdef MADV_REMOVE
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(data(index));
  const std::uintptr_t from = (first + begin + page - 1) / page * page;
  const std::uintptr_t to = (first + segment_bytes_) / page * page;
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_REMOVE);
#endif
}

FileDescriptor SegmentFile::descriptor() const {
  if (is_owned()) return duplicate(file_.number());
  FileDescriptor file = look_up(place_.process, place_.descriptor);
  Header header{};
  return is_file(file, header) && header.identity == identity_ ? std::move(file)
                                                               : FileDescriptor(-1);
}

void SegmentFile::forget() const { static_cast<Header*>(mapping_)->is_forgotten.store(1); }

bool SegmentFile::is_forgotten() const {
  return static_cast<Header*>(mapping_)->is_forgotten.load() != 0;
}

bool SegmentFile::owner_lives() const { return kill(owner_, 0) == 0 || errno != ESRCH; }

}  // namespace tensorlift
