// SPDX-License-Identifier: Apache-2.0
//
// In place of the library's header of this name: a mutex and a condition variable for threads that
// take turns. A wait without a deadline ends with a signal only, so a signal that is lost is a test
// that is stuck. One with a deadline may end at any time.
#ifndef PLACEMENT_DETAIL_MUTEX_HPP_
#define PLACEMENT_DETAIL_MUTEX_HPP_

#include <cassert>
#include <cstdint>
#include <cstdlib>

#include <absl/base/thread_annotations.h>
#include <absl/time/time.h>

#include "../../scheduler.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Signal() { SignalAll(); }  // a wait may end for no reason
  void SignalAll() { ++signals_; }

 private:
  friend class Mutex;
  std::uint64_t signals_ = 0;
};

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex() { is_there_ = false; }

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    test::Scheduler::point();
    if (!is_there_) std::abort();
    test::Scheduler::block_until([this] { return !is_held_; });
    is_held_ = true;
  }
  void unlock() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    is_held_ = false;
    test::Scheduler::point();
  }
  void assert_held() const ABSL_ASSERT_EXCLUSIVE_LOCK() { assert(is_held_); }

  bool wait(CondVar& changed, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const std::uint64_t seen = changed.signals_;
    const bool may_time_out = deadline != absl::InfiniteFuture();
    is_held_ = false;
    test::Scheduler::point();
    test::Scheduler::block_until([this, &changed, seen, may_time_out] {
      return !is_held_ && (may_time_out || changed.signals_ != seen);
    });
    is_held_ = true;
    return changed.signals_ == seen;
  }

 private:
  bool is_held_ = false;
  volatile bool is_there_ = true;  // looked at when it may not be
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_MUTEX_HPP_
