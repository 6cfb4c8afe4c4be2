#include "shm/file_descriptor.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

namespace tensorlift {
namespace {

std::string descriptors_of(pid_t process) { return "/proc/" + std::to_string(process) + "/fd/"; }

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (is_open()) ::close(number_);
}

FileDescriptor duplicate(int descriptor) {
  return FileDescriptor(fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}

FileDescriptor look_up(pid_t owner, int descriptor) {
  const std::string path = descriptors_of(owner) + std::to_string(descriptor);
  // What is no regular file must not be waited for: a pipe, a terminal.
  return FileDescriptor(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
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
