// SPDX-License-Identifier: Apache-2.0
//
// A file system for SQLite that counts everything that changes a file, and fails one of them or all
// from one on.
#ifndef PLACEMENT_TESTS_FLEET_FAULT_VFS_HPP_
#define PLACEMENT_TESTS_FLEET_FAULT_VFS_HPP_

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <string>

namespace placement::test {

// One for a program: SQLite knows it by its name. Used by one thread.
class FaultVfs {
 public:
  static constexpr const char* kName = "fleet-faults";

  enum class Kind { Write, Sync, Truncate, Delete };

  static FaultVfs& get() {
    static FaultVfs vfs;
    return vfs;
  }

  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;

  // Everything is as it should be from now on, and the count is zero.
  void reset() {
    count_ = 0;
    fail_at_ = 0;
    fails_on_ = false;
    before_ = nullptr;
  }

  // The `nth` change from now on (from 1) fails with `code`, and those after it if `fails_on`. A
  // write that fails leaves its first half.
  void fail(std::uint64_t nth, int code, bool fails_on) {
    fail_at_ = count_ + nth;
    code_ = code;
    fails_on_ = fails_on;
  }

  // Called before each change.
  void before(std::function<void()> callback) { before_ = std::move(callback); }

  // Changes since the reset.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] bool has_failed() const noexcept { return fail_at_ != 0 && count_ >= fail_at_; }

 private:
  struct File {
    sqlite3_file base;
    sqlite3_file* real;
  };

  FaultVfs() : real_(sqlite3_vfs_find(nullptr)), vfs_(*real_) {
    vfs_.pNext = nullptr;
    vfs_.zName = kName;
    vfs_.szOsFile = real_->szOsFile + static_cast<int>(sizeof(File));
    vfs_.xOpen = [](sqlite3_vfs* /*vfs*/, const char* name, sqlite3_file* file, int flags,
                    int* out) {
      auto* const ours = ::new (static_cast<void*>(file)) File{};
      ours->real = reinterpret_cast<sqlite3_file*>(ours + 1);
      sqlite3_vfs* const real = get().real_;
      const int code = real->xOpen(real, name, ours->real, flags, out);
      ours->base.pMethods = ours->real->pMethods == nullptr ? nullptr : &get().methods_;
      return code;
    };
    vfs_.xDelete = [](sqlite3_vfs* /*vfs*/, const char* name, int sync) {
      if (const int code = get().count_one(); code != SQLITE_OK) return code;
      sqlite3_vfs* const real = get().real_;
      return real->xDelete(real, name, sync);
    };
    methods_.iVersion = 2;
    methods_.xClose = [](sqlite3_file* file) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xClose(real);
    };
    methods_.xRead = [](sqlite3_file* file, void* to, int bytes, sqlite3_int64 at) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xRead(real, to, bytes, at);
    };
    methods_.xWrite = [](sqlite3_file* file, const void* from, int bytes, sqlite3_int64 at) {
      sqlite3_file* const real = real_of(file);
      if (const int code = get().count_one(); code != SQLITE_OK) {
        (void)real->pMethods->xWrite(real, from, bytes / 2, at);
        return code;
      }
      return real->pMethods->xWrite(real, from, bytes, at);
    };
    methods_.xTruncate = [](sqlite3_file* file, sqlite3_int64 bytes) {
      if (const int code = get().count_one(); code != SQLITE_OK) return code;
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xTruncate(real, bytes);
    };
    methods_.xSync = [](sqlite3_file* file, int flags) {
      if (const int code = get().count_one(); code != SQLITE_OK) return code;
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xSync(real, flags);
    };
    methods_.xFileSize = [](sqlite3_file* file, sqlite3_int64* bytes) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xFileSize(real, bytes);
    };
    methods_.xLock = [](sqlite3_file* file, int lock) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xLock(real, lock);
    };
    methods_.xUnlock = [](sqlite3_file* file, int lock) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xUnlock(real, lock);
    };
    methods_.xCheckReservedLock = [](sqlite3_file* file, int* is_locked) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xCheckReservedLock(real, is_locked);
    };
    methods_.xFileControl = [](sqlite3_file* file, int what, void* argument) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xFileControl(real, what, argument);
    };
    methods_.xSectorSize = [](sqlite3_file* file) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xSectorSize(real);
    };
    methods_.xDeviceCharacteristics = [](sqlite3_file* file) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xDeviceCharacteristics(real);
    };
    methods_.xShmMap = [](sqlite3_file* file, int page, int bytes, int extend,
                          void volatile** memory) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xShmMap(real, page, bytes, extend, memory);
    };
    methods_.xShmLock = [](sqlite3_file* file, int offset, int count, int flags) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xShmLock(real, offset, count, flags);
    };
    methods_.xShmBarrier = [](sqlite3_file* file) {
      sqlite3_file* const real = real_of(file);
      real->pMethods->xShmBarrier(real);
    };
    methods_.xShmUnmap = [](sqlite3_file* file, int remove) {
      sqlite3_file* const real = real_of(file);
      return real->pMethods->xShmUnmap(real, remove);
    };
    sqlite3_vfs_register(&vfs_, 0);
  }

  static sqlite3_file* real_of(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real; }

  int count_one() {
    if (before_) before_();
    ++count_;
    const bool fails = fail_at_ != 0 && (count_ == fail_at_ || (fails_on_ && count_ > fail_at_));
    return fails ? code_ : SQLITE_OK;
  }

  sqlite3_vfs* real_;
  sqlite3_vfs vfs_;
  sqlite3_io_methods methods_{};
  std::uint64_t count_ = 0;
  std::uint64_t fail_at_ = 0;
  bool fails_on_ = false;
  int code_ = SQLITE_OK;
  std::function<void()> before_;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_FAULT_VFS_HPP_
