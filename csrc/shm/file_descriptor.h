// FileDescriptor: an open file of this process, or of another one of the same user. None of them is
// inherited by a program that this process starts.
#pragma once

#include <sys/types.h>

#include <utility>

namespace tensorlift {

// Closed when it dies.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }

  // The number, which is the caller's to close.
  [[nodiscard]] int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

// Another descriptor of the same file; not open where there is none to be had, and errno says why.
[[nodiscard]] FileDescriptor duplicate(int descriptor);

// What `owner` has open under a number: needs /proc and the same user. As duplicate().
[[nodiscard]] FileDescriptor look_up(pid_t owner, int descriptor);

// May other processes of this user look up our descriptors by number?
[[nodiscard]] bool can_look_up_descriptors();

}  // namespace tensorlift
