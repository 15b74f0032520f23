// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_MANUAL_CLOCK_HPP_
#define PLACEMENT_TESTS_SUPPORT_MANUAL_CLOCK_HPP_

#include <atomic>
#include <cstdint>
#include <functional>

#include <absl/time/time.h>
#include <placement/clock.hpp>

namespace placement::test {

// A clock that stands still until a test moves it. Sleeping moves it to the time one sleeps until.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] absl::Time now() const noexcept override {
    return absl::FromUnixNanos(nanoseconds_.load());
  }
  void sleep_until(absl::Time time) override {
    if (time > now()) advance(time - now());
  }
  void advance(absl::Duration by) { nanoseconds_.fetch_add(absl::ToInt64Nanoseconds(by)); }

 private:
  std::atomic<std::int64_t> nanoseconds_{1'000'000'000};
};

// Moves another clock to whatever time a thread is about to wait for: every wait takes just as long
// as it may, and no time at all in the test. Nobody waits for what is infinitely far.
class JumpingClock final : public Clock {
 public:
  explicit JumpingClock(ManualClock& clock) : clock_(clock) {}

  [[nodiscard]] absl::Time now() const noexcept override { return clock_.now(); }
  void sleep_until(absl::Time time) override { clock_.sleep_until(time); }
  [[nodiscard]] absl::Duration longest_wait(absl::Time time) const noexcept override {
    if (time == absl::InfiniteFuture()) return absl::InfiniteDuration();
    clock_.sleep_until(time);
    return absl::ZeroDuration();
  }

 private:
  ManualClock& clock_;
};

// Tells the time of another clock, and does something before that.
class ClockWithAHook final : public Clock {
 public:
  explicit ClockWithAHook(Clock& clock) : clock_(clock) {}

  [[nodiscard]] absl::Time now() const noexcept override {
    if (hook) hook();
    return clock_.now();
  }
  void sleep_until(absl::Time time) override { clock_.sleep_until(time); }

  std::function<void()> hook;

 private:
  Clock& clock_;
};

// Tells the time of another clock, and counts how often it was asked.
class CountingClock final : public Clock {
 public:
  explicit CountingClock(Clock& clock) : clock_(clock) {}

  [[nodiscard]] absl::Time now() const noexcept override {
    ++asked_;
    asked_.notify_all();
    return clock_.now();
  }
  void sleep_until(absl::Time time) override { clock_.sleep_until(time); }

  [[nodiscard]] int times_asked() const { return asked_.load(); }
  // Returns when it was asked more often than `before`.
  void wait_until_asked(int before = 0) const {
    for (int times = asked_; times <= before; times = asked_) asked_.wait(times);
  }

 private:
  Clock& clock_;
  mutable std::atomic<int> asked_{0};
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_MANUAL_CLOCK_HPP_
