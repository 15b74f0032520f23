// SPDX-License-Identifier: Apache-2.0
//
// The one place that knows how abseil's mutex differs between its releases, and how
// ThreadSanitizer is told of a mutex that was compiled without it.
#ifndef PLACEMENT_DETAIL_MUTEX_HPP_
#define PLACEMENT_DETAIL_MUTEX_HPP_

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#if defined(__SANITIZE_THREAD__)
#define PLACEMENT_TSAN_ENABLED_ 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PLACEMENT_TSAN_ENABLED_ 1
#endif
#endif

#ifdef PLACEMENT_TSAN_ENABLED_
#include <sanitizer/tsan_interface.h>
#endif

namespace placement {
inline namespace v1 {
namespace detail {

using CondVar = absl::CondVar;

// absl::Mutex under ThreadSanitizer's eyes. A distribution's libabsl is not instrumented, so the
// sanitizer sees no edge between an unlock and the next lock and reports every guarded access.
// acquire and release draw just those edges; a data race beside the lock is still reported.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex() = default;

  // The bodies are opaque to clang's analysis: holding mutex_ is what holding *this means.
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex_.Lock();
    seen_by_tsan_after_lock();
  }

  void unlock() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    seen_by_tsan_before_unlock();
    mutex_.Unlock();
  }

  // Tells clang's analysis, in a lambda that it cannot see through, what the caller holds.
  void assert_held() const ABSL_ASSERT_EXCLUSIVE_LOCK() { mutex_.AssertHeld(); }

  // Waits on `changed`, giving the mutex up meanwhile, until a signal or `deadline`. May wake for
  // no reason. Returns true if the deadline has passed.
  bool wait(CondVar& changed, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    seen_by_tsan_before_unlock();
    const bool timed_out = changed.WaitWithDeadline(&mutex_, deadline);
    seen_by_tsan_after_lock();
    return timed_out;
  }

 private:
#ifdef PLACEMENT_TSAN_ENABLED_
  void seen_by_tsan_after_lock() { __tsan_acquire(&mutex_); }
  void seen_by_tsan_before_unlock() { __tsan_release(&mutex_); }
#else
  void seen_by_tsan_after_lock() {}
  void seen_by_tsan_before_unlock() {}
#endif

  absl::Mutex mutex_;
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

#undef PLACEMENT_TSAN_ENABLED_

#endif  // PLACEMENT_DETAIL_MUTEX_HPP_
