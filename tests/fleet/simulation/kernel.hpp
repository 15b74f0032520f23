// SPDX-License-Identifier: Apache-2.0
//
// Virtual time, and processes with clocks of their own that may stop at any step. Everything that
// happens in a simulation is an event of one queue, so a seed replays exactly.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_KERNEL_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_KERNEL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iostream>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include <absl/time/time.h>

namespace placement::test::simulation {

// Microseconds since the simulation began. No process sees it: each has a clock of its own.
using Ticks = std::int64_t;

inline constexpr Ticks kMillisecond = 1'000;
inline constexpr Ticks kSecond = 1'000'000;

// The same numbers on every platform.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  // From `first` to `last`, both possible.
  Ticks between(Ticks first, Ticks last) {
    return first + static_cast<Ticks>(next() % static_cast<std::uint64_t>(last - first + 1));
  }
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(next() % count); }
  // True once in `times`; never if that is zero.
  bool once_in(std::uint64_t times) { return times != 0 && next() % times == 0; }

  // 128 bits as a session has them.
  std::string session() {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (int word = 0; word < 2; ++word) {
      std::uint64_t bits = next();
      for (int digit = 0; digit < 16; ++digit, bits >>= 4) text.push_back(kDigits[bits & 15]);
    }
    return text;
  }

 private:
  std::uint64_t state_;
};

class Kernel {
 public:
  explicit Kernel(std::uint64_t seed) : random(seed) {}

  [[nodiscard]] Ticks now() const noexcept { return now_; }

  void at(Ticks time, std::function<void()> what) {
    events_.push(Event{std::max(time, now_), ++number_, std::move(what)});
  }
  void after(Ticks delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  // Runs what happens up to `end`.
  void run_until(Ticks end) {
    while (!events_.empty() && events_.top().time <= end) {
      Event event = std::move(const_cast<Event&>(events_.top()));
      events_.pop();
      now_ = event.time;
      ++count_;
      event.what();
    }
    now_ = std::max(now_, end);
  }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  Random random;
  bool is_traced = false;

  // What a failing seed's trace shows.
  template <typename... Parts>
  void trace(const Parts&... parts) const {
    if (!is_traced) return;
    std::cerr << now_ / kMillisecond << '.' << now_ % kMillisecond / 100 << ' ';
    (std::cerr << ... << parts) << '\n';
  }

 private:
  struct Event {
    Ticks time;
    std::uint64_t number;
    std::function<void()> what;

    friend bool operator<(const Event& a, const Event& b) {
      return std::pair(a.time, a.number) > std::pair(b.time, b.number);
    }
  };

  Ticks now_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t count_ = 0;
  std::priority_queue<Event> events_;
};

// One process: it has a clock, may be stopped and go on, be killed and started again, and be cut
// off from the store.
class Process {
 public:
  Process(Kernel& kernel, std::string name, double rate)
      : kernel_(kernel),
        name_(std::move(name)),
        rate_(rate),
        offset_(kernel.random.between(0, 1'000'000 * kSecond)) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] Kernel& kernel() const noexcept { return kernel_; }

  [[nodiscard]] absl::Time clock() const {
    return absl::FromUnixMicros(offset_ +
                                static_cast<Ticks>(static_cast<double>(kernel_.now()) * rate_));
  }
  // When its clock will show `time`.
  [[nodiscard]] Ticks ticks_of(absl::Time time) const {
    if (time == absl::InfiniteFuture()) return kForever;
    if (time == absl::InfinitePast()) return kernel_.now();
    return static_cast<Ticks>(static_cast<double>(absl::ToUnixMicros(time) - offset_) / rate_) + 1;
  }
  // How long `duration` of its clock is.
  [[nodiscard]] Ticks ticks_of(absl::Duration duration) const {
    return static_cast<Ticks>(static_cast<double>(absl::ToInt64Microseconds(duration)) / rate_);
  }

  [[nodiscard]] bool is_up() const noexcept { return is_up_; }
  [[nodiscard]] std::uint64_t life() const noexcept { return life_; }
  [[nodiscard]] bool is_paused() const noexcept { return kernel_.now() < paused_until_; }
  [[nodiscard]] bool is_cut() const noexcept { return kernel_.now() < cut_until_; }
  [[nodiscard]] Ticks cut_until() const noexcept { return cut_until_; }

  void start() {
    is_up_ = true;
    ++life_;
    paused_until_ = 0;
    trouble_until_ = std::max(trouble_until_, kernel_.now());
  }
  void kill() {
    is_up_ = false;
    ++life_;
  }
  void pause(Ticks length) {
    kernel_.trace(name_, " is stopped for ", length / kMillisecond);
    paused_until_ = std::max(paused_until_, kernel_.now() + length);
    trouble_until_ = std::max(trouble_until_, paused_until_);
  }
  void cut(Ticks length) {
    cut_until_ = std::max(cut_until_, kernel_.now() + length);
    trouble_until_ = std::max(trouble_until_, cut_until_);
  }
  // Since when it has been well: neither stopped nor cut off.
  [[nodiscard]] Ticks trouble_until() const noexcept { return trouble_until_; }
  void heal() { cut_until_ = paused_until_ = 0; }

  // `what`, when that time has come and the process runs; never if it is killed before.
  void at(Ticks time, std::function<void()> what) {
    kernel_.at(time, [this, life = life_, what = std::move(what)]() mutable {
      deliver(life, std::move(what));
    });
  }
  void after(Ticks delay, std::function<void()> what) {
    at(kernel_.now() + delay, std::move(what));
  }

  // The next step of a thread of this process: it may be stopped right before.
  void step(std::function<void()> what) {
    if (kernel_.random.once_in(pause_once_in)) {
      ++pauses;
      pause(kernel_.random.once_in(3) ? kernel_.random.between(0, longest_pause)
                                      : kernel_.random.between(0, longest_pause / 8));
    }
    after(kernel_.random.between(5, 150), std::move(what));
  }

  std::uint64_t pause_once_in = 0;
  Ticks longest_pause = 0;
  std::uint64_t pauses = 0;

 private:
  static constexpr Ticks kForever = Ticks{1} << 60;

  void deliver(std::uint64_t life, std::function<void()> what) {
    if (life != life_ || !is_up_) return;
    if (is_paused()) {
      kernel_.at(paused_until_, [this, life, what = std::move(what)]() mutable {
        deliver(life, std::move(what));
      });
      return;
    }
    what();
  }

  Kernel& kernel_;
  std::string name_;
  double rate_;
  Ticks offset_;
  bool is_up_ = false;
  std::uint64_t life_ = 0;
  Ticks paused_until_ = 0;
  Ticks cut_until_ = 0;
  Ticks trouble_until_ = 0;
};

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_KERNEL_HPP_
