// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_CLOCK_HPP_
#define PLACEMENT_CLOCK_HPP_

#include <algorithm>
#include <chrono>

#include <absl/time/clock.h>
#include <absl/time/time.h>

namespace placement {
inline namespace v1 {

// What time it is, for the end of a quarantine and for a migration's deadlines. Tests derive a
// clock that they set.
class Clock {
 public:
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  // Never goes back. Called with a shard's lock held.
  [[nodiscard]] virtual absl::Time now() const noexcept = 0;

  // Returns when now() has come to `time`, or a while before: the caller asks again.
  virtual void sleep_until(absl::Time time) = 0;

  // How long a thread that waits for now() to come to `time`, or for something else, may wait on
  // the machine's steady clock before it asks again. This is right for every clock that does not
  // run ahead by much; one that runs as the machine's does answers with all that is left.
  [[nodiscard]] virtual absl::Duration longest_wait(absl::Time time) const noexcept {
    return std::min(time - now(), absl::Milliseconds(1));
  }

  // The steady clock of the machine: a wall clock that is set back or forth does not move it.
  [[nodiscard]] static Clock& system() noexcept;

 protected:
  constexpr Clock() = default;
  ~Clock() = default;
};

namespace detail {

class SystemClock final : public Clock {
 public:
  constexpr SystemClock() = default;

  [[nodiscard]] absl::Time now() const noexcept override {
    return absl::UnixEpoch() +
           absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
  void sleep_until(absl::Time time) override { absl::SleepFor(time - now()); }
  [[nodiscard]] absl::Duration longest_wait(absl::Time time) const noexcept override {
    return time - now();
  }
};

}  // namespace detail

inline Clock& Clock::system() noexcept {
  static constinit detail::SystemClock clock;
  return clock;
}

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_CLOCK_HPP_
