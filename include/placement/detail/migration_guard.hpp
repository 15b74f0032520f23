// SPDX-License-Identifier: Apache-2.0
//
// Ends a cutover whose time is over, while the thread that drives it may be stuck in a mover.
#ifndef PLACEMENT_DETAIL_MIGRATION_GUARD_HPP_
#define PLACEMENT_DETAIL_MIGRATION_GUARD_HPP_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/epoch.hpp"
#include "placement/migration.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// Watches one migration on a thread of its own. While it is told to, it aborts the migration when a
// stop is requested or a deadline has passed. Whether that abort or a transition of the driver's
// came first is decided by the epoch, which both give: one of them is refused.
//
// The driver is one thread. The guard's thread calls `abort`, and through it what held writes are
// resumed by.
//
// It waits on the steady clock of the machine (std::condition_variable): a step of the wall clock
// must not make a cutover longer.
class MigrationGuard {
 public:
  enum class Reason { Stopped, TooLong, Withdrawn };

  // An abort that the guard has made, or has tried to make.
  struct Abort {
    Reason reason;
    TransitionResult result;  // a refusal: someone else came first
    absl::Time at;
  };

  using AbortCall = absl::AnyInvocable<TransitionResult(Epoch)>;

  MigrationGuard(Clock& clock, std::stop_token stop, AbortCall abort)
      : clock_(clock),
        abort_(std::move(abort)),
        stop_(std::move(stop)),
        on_stop_(stop_, Wake{this}) {}
  MigrationGuard(const MigrationGuard&) = delete;
  MigrationGuard& operator=(const MigrationGuard&) = delete;
  // Waits for an abort under way. Must not be called by what that abort resumes.
  ~MigrationGuard() {
    {
      const std::lock_guard lock(mutex_);
      quits_ = true;
    }
    changed_.notify_all();
  }

  // Starts the thread, if it does not run. Call it before the cutover, which it would make longer.
  // Throws std::system_error.
  void start() {
    if (thread_.joinable()) return;
    thread_ = std::jthread([this] { watch_until_quit(); });
  }

  // From now on the migration, which is at `epoch`, ends when a stop is requested or at `deadline`.
  // If that is the last one, the thread ends with it.
  void watch(Epoch epoch, absl::Time deadline, bool is_last = false) {
    {
      const std::lock_guard lock(mutex_);
      watched_ = Watched{epoch, deadline};
      is_last_ = is_last;
      aborted_.reset();
      mover_stop_ = std::stop_source();
    }
    changed_.notify_all();
  }

  // No more: what the guard did, if it did. Waits for an abort under way.
  std::optional<Abort> withdraw() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !aborting_; });
    watched_.reset();
    return std::exchange(aborted_, std::nullopt);
  }

  // Whether the migration was ended by the guard; if its time is over, this thread ends it now.
  // So the driver makes no step that comes too late, however late the guard's thread is.
  [[nodiscard]] bool has_ended() {
    std::unique_lock lock(mutex_);
    end_if_due(lock);
    return aborted_.has_value() || aborting_;
  }

  // Whether the guard has made its abort, or tried to.
  [[nodiscard]] bool is_over() const {
    const std::lock_guard lock(mutex_);
    return aborted_.has_value();
  }

  // Ends what is watched, if anything is.
  void end_now() {
    std::unique_lock lock(mutex_);
    if (watched_ && !aborted_ && !aborting_) end(lock, Reason::Withdrawn);
    changed_.wait(lock, [this] { return !aborting_; });
  }

  // Returns when the clock has come to `time`, a stop is requested, or the guard has ended what it
  // watched, whichever comes first.
  void sleep_until(absl::Time time) {
    std::unique_lock lock(mutex_);
    while (!stop_.stop_requested() && !aborted_ && clock_.now() < time) wait(lock, time);
  }

  [[nodiscard]] bool stop_requested() const noexcept { return stop_.stop_requested(); }

  // Stopped when the guard has ended what it watches: for a mover in cutover.
  [[nodiscard]] std::stop_token mover_stop() const {
    const std::lock_guard lock(mutex_);
    return mover_stop_.get_token();
  }

 private:
  struct Watched {
    Epoch epoch;
    absl::Time deadline;
  };

  struct Wake {
    // With the mutex, for else a thread that has just looked at the token would miss it.
    void operator()() const noexcept {
      {
        const std::lock_guard lock(guard->mutex_);
      }
      guard->changed_.notify_all();
    }
    MigrationGuard* guard;
  };

  void watch_until_quit() {
    std::unique_lock lock(mutex_);
    while (!quits_) {
      end_if_due(lock);
      if (quits_ || (is_last_ && aborted_)) return;
      if (watched_ && !aborted_ && !aborting_) {
        wait(lock, watched_->deadline);
      } else {
        changed_.wait(lock);
      }
    }
  }

  void end_if_due(std::unique_lock<std::mutex>& lock) {
    if (!watched_ || aborted_ || aborting_) return;
    if (stop_.stop_requested()) {
      end(lock, Reason::Stopped);
    } else if (clock_.now() >= watched_->deadline) {
      end(lock, Reason::TooLong);
    }
  }

  // Without the mutex: the abort resumes held writes, and the stop tells the mover.
  void end(std::unique_lock<std::mutex>& lock, Reason reason) {
    aborting_ = true;
    const Epoch epoch = watched_->epoch;
    std::stop_source mover_stop = mover_stop_;
    lock.unlock();
    const absl::Time at = clock_.now();
    const TransitionResult result = abort_(epoch);
    mover_stop.request_stop();
    lock.lock();
    aborting_ = false;
    aborted_ = Abort{reason, result, at};
    changed_.notify_all();
  }

  // Until something has changed, or the clock has come to `time`, or a while before.
  void wait(std::unique_lock<std::mutex>& lock, absl::Time time) {
    constexpr absl::Duration kLongest = absl::Hours(1);  // what every clock of the machine can add
    const absl::Duration longest = std::min(clock_.longest_wait(time), kLongest);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(std::max(longest, absl::ZeroDuration()) +
                                                      absl::Microseconds(1)));
  }

  Clock& clock_;
  AbortCall abort_;
  const std::stop_token stop_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::optional<Watched> watched_;
  std::optional<Abort> aborted_;
  bool aborting_ = false;
  bool quits_ = false;
  bool is_last_ = false;
  std::stop_source mover_stop_;

  // Last, for they use the rest: the callback is gone before it, then the thread is joined.
  std::jthread thread_;
  std::stop_callback<Wake> on_stop_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_MIGRATION_GUARD_HPP_
