// SPDX-License-Identifier: Apache-2.0
//
// How processes on one machine wake one another: a word in a small file that each of them maps, and
// a futex on it.
#ifndef PLACEMENT_FLEET_DETAIL_WAKE_FILE_HPP_
#define PLACEMENT_FLEET_DETAIL_WAKE_FILE_HPP_

#if !defined(__linux__)
#error "placement/fleet/sqlite_store.hpp needs Linux: a process wakes the others through a futex"
#endif

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <memory>
#include <string>

#include <absl/time/time.h>

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

// The call whose timespec is this program's: of machines with 32 bits, some have two.
#if !defined(SYS_futex)
inline constexpr long kFutexCall = SYS_futex_time64;
#elif defined(SYS_futex_time64)
inline constexpr long kFutexCall = sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex;
#else
inline constexpr long kFutexCall = SYS_futex;
#endif

class WakeFile {
 public:
  using Word = std::uint32_t;

  // Maps the file `path`, which is made if it is not there, for everybody who may use the file
  // `beside`. Null if that cannot be done: errno says why.
  static std::shared_ptr<WakeFile> open(const std::string& path, const std::string& beside) {
    struct stat model{};
    if (::stat(beside.c_str(), &model) != 0) return nullptr;
    const mode_t mode = model.st_mode & 0777;
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
    if (file < 0) return nullptr;
    struct stat info{};
    void* memory = MAP_FAILED;
    // A file that is long enough is never made shorter: a mapping beyond a file's end is a fault.
    if (::fstat(file, &info) == 0 && S_ISREG(info.st_mode) &&
        (info.st_size >= kBytes || ::ftruncate(file, kBytes) == 0)) {
      // As SQLite does with its own files. Who may not change them need not.
      if ((info.st_mode & 0777) != mode && ::fchmod(file, mode) != 0) errno = 0;
      if (::geteuid() == 0 && ::fchown(file, model.st_uid, model.st_gid) != 0) errno = 0;
      memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    const int error = errno;
    ::close(file);
    errno = error;
    if (memory == MAP_FAILED) return nullptr;
    return std::shared_ptr<WakeFile>(new WakeFile(memory));
  }

  WakeFile(const WakeFile&) = delete;
  WakeFile& operator=(const WakeFile&) = delete;
  ~WakeFile() { ::munmap(memory_, kBytes); }

  // The word, to be read before one looks whether there is anything to do.
  // Order: acquire, with the release of bump: who sees the word that a writer left looks after that
  // writer's change.
  [[nodiscard]] Word read() const noexcept { return word().load(std::memory_order_acquire); }

  // Wakes everybody, in every process.
  // Order: release, see read. The kernel compares the word under its own lock, so whoever has read
  // the former word and is about to sleep does not.
  void bump() noexcept {
    word().fetch_add(1, std::memory_order_release);
    ::syscall(kFutexCall, memory_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

  // Sleeps until the word is not `seen`, or for `longest`; a while less for no reason, too.
  void wait(Word seen, absl::Duration longest) const noexcept {
    struct timespec time = absl::ToTimespec(std::max(longest, absl::ZeroDuration()));
    ::syscall(kFutexCall, memory_, FUTEX_WAIT, seen, &time, nullptr, 0);
  }

 private:
  static constexpr off_t kBytes = 64;

  explicit WakeFile(void* memory) : memory_(memory) {}

  // Processes share it: it is an object of each of them, and lock-free, so that no process needs
  // another's help to reach it.
  [[nodiscard]] std::atomic_ref<Word> word() const noexcept {
    static_assert(std::atomic_ref<Word>::is_always_lock_free);
    return std::atomic_ref<Word>(*static_cast<Word*>(memory_));
  }

  void* memory_;
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_WAKE_FILE_HPP_
