// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_FLEET_DETAIL_DEADLINE_HPP_
#define PLACEMENT_FLEET_DETAIL_DEADLINE_HPP_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include <absl/time/time.h>

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

// When a call has to be over, on a clock that nobody sets.
class Deadline {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit Deadline(absl::Duration timeout)
      : end_(std::chrono::steady_clock::now() +
             absl::ToChronoNanoseconds(std::clamp(timeout, absl::ZeroDuration(), kLongest))) {}

  [[nodiscard]] TimePoint end() const noexcept { return end_; }
  [[nodiscard]] bool has_passed() const { return std::chrono::steady_clock::now() >= end_; }
  [[nodiscard]] absl::Duration remaining() const {
    return std::max(absl::FromChrono(end_ - std::chrono::steady_clock::now()),
                    absl::ZeroDuration());
  }

 private:
  static constexpr absl::Duration kLongest = absl::Hours(24 * 365);

  TimePoint end_;
};

// A lock that is waited for until a deadline. Of the standard library, which waits on the steady
// clock: absl::CondVar waits on the wall clock, and longer when that is set back.
class Gate {
 public:
  // False if the deadline passed first.
  bool enter(const Deadline& deadline) {
    std::unique_lock lock(mutex_);
    if (!left_.wait_until(lock, deadline.end(), [this] { return !taken_; })) return false;
    taken_ = true;
    return true;
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    taken_ = false;
    left_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  bool taken_ = false;  // guarded by mutex_
};

// Inside a gate until the end of the scope, if it was entered in time.
class GatePass {
 public:
  GatePass(Gate& gate, const Deadline& deadline) : gate_(gate), entered_(gate.enter(deadline)) {}
  GatePass(const GatePass&) = delete;
  GatePass& operator=(const GatePass&) = delete;
  ~GatePass() {
    if (entered_) gate_.leave();
  }

  [[nodiscard]] bool entered() const noexcept { return entered_; }

 private:
  Gate& gate_;
  bool entered_;
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_DEADLINE_HPP_
