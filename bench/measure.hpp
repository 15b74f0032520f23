// SPDX-License-Identifier: Apache-2.0
//
// The loops that are timed, the same for every contender.
#ifndef PLACEMENT_BENCH_MEASURE_HPP_
#define PLACEMENT_BENCH_MEASURE_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <absl/functional/function_ref.h>

#include "workload.hpp"

namespace placement::bench {

enum class Operation {
  Get,
  DependentGet,  // the next request is known only after the last answer: no overlap of misses
  AdmitWrite,
  GetAndAdmitWrite,
  AcquireAndRelease,
  GetMany,   // in batches
  GetByRef,  // each partition by a reference of its own
};

[[nodiscard]] constexpr const char* to_string(Operation operation) noexcept {
  switch (operation) {
    case Operation::Get:
      return "get";
    case Operation::DependentGet:
      return "dependent get";
    case Operation::AdmitWrite:
      return "admit_write";
    case Operation::GetAndAdmitWrite:
      return "get + admit_write";
    case Operation::AcquireAndRelease:
      return "acquire_write + release";
    case Operation::GetMany:
      return "get_many";
    case Operation::GetByRef:
      return "get by ref";
  }
  return "unknown";
}

// A wrong answer ends the program: a fast table that is wrong has no time.
[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "benchmark: wrong answer: %s\n", what);
  std::abort();
}

// Counts of durations in buckets that are a sixteenth apart, for percentiles.
class Histogram {
 public:
  void add(std::uint64_t value) noexcept {
    ++counts_[bucket(value)];
    ++total_;
    longest_ = std::max(longest_, value);
  }
  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
  [[nodiscard]] std::uint64_t longest() const noexcept { return longest_; }
  // The upper end of the bucket below which that share lies.
  [[nodiscard]] std::uint64_t percentile(double share) const noexcept {
    auto left = static_cast<std::uint64_t>(share * static_cast<double>(total_));
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > left) return upper(i);
      left -= counts_[i];
    }
    return longest_;
  }

 private:
  static constexpr unsigned kSubBits = 4;
  static std::size_t bucket(std::uint64_t value) noexcept {
    if (value < (1U << kSubBits)) return static_cast<std::size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - kSubBits - 1;
    return ((shift + 1) << kSubBits) +
           static_cast<std::size_t>((value >> shift) - (1U << kSubBits));
  }
  static std::uint64_t upper(std::size_t bucket) noexcept {
    if (bucket < (1U << kSubBits)) return bucket;
    const std::size_t shift = (bucket >> kSubBits) - 1;
    return ((bucket % (1U << kSubBits)) + (1U << kSubBits) + 1) << shift;
  }

  std::array<std::uint64_t, 1024> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t longest_ = 0;
};

enum class Transition { BeginMigration, EnterCutover, CompleteMigration, AbortMigration };

// A contender whose type is not known: for programs that alternate them.
template <typename Ids>
class AnyContender {
 public:
  using Requests = std::span<const Request<Ids>>;

  AnyContender() = default;
  AnyContender(const AnyContender&) = delete;
  AnyContender& operator=(const AnyContender&) = delete;
  virtual ~AnyContender() = default;

  [[nodiscard]] virtual const char* name() const = 0;
  [[nodiscard]] virtual bool is_for_threads() const = 0;
  [[nodiscard]] virtual bool can(Operation operation) const = 0;
  // The rest is called inside `with_thread` of the calling thread.
  virtual void with_thread(absl::FunctionRef<void()> f) = 0;
  virtual void set(std::size_t first, std::size_t last) = 0;
  virtual void set(std::span<const typename Ids::Id> ids) = 0;
  virtual void reserve(std::size_t partitions) = 0;
  virtual void ask(Operation operation, Requests requests, std::size_t first, std::size_t count,
                   bool present) = 0;
  virtual void time_each(Requests requests, std::size_t first, std::size_t count,
                         Histogram& histogram) = 0;
  virtual void transit(Transition transition, Requests requests) = 0;
  // Whole migrations, there and back again, until `stop`. Returns how many.
  virtual std::size_t flip_until(Requests requests, const std::atomic<bool>& stop) = 0;
};

// How to make each of the contenders. In a translation unit for each kind of ids, because they
// are slow to compile.
template <typename Ids>
struct Maker {
  const char* name;
  bool is_for_threads;
  bool (*can)(Operation);
  std::unique_ptr<AnyContender<Ids>> (*make)();
};
template <typename Ids>
[[nodiscard]] std::vector<Maker<Ids>> contender_makers();
extern template std::vector<Maker<Integers>> contender_makers<Integers>();
extern template std::vector<Maker<ShortNames>> contender_makers<ShortNames>();
extern template std::vector<Maker<Uuids>> contender_makers<Uuids>();
extern template std::vector<Maker<UuidBytes>> contender_makers<UuidBytes>();

template <typename Ids>
[[nodiscard]] std::vector<std::unique_ptr<AnyContender<Ids>>> make_contenders() {
  std::vector<std::unique_ptr<AnyContender<Ids>>> all;
  for (const Maker<Ids>& maker : contender_makers<Ids>()) all.push_back(maker.make());
  return all;
}

// Nanoseconds an operation, over all threads: half as long on two that do not disturb each other.
// Each thread warms up first. One alone is timed by its own clock, which stops while it is
// descheduled; with several, waiting for each other is what is measured.
template <typename Ids>
[[nodiscard]] double time_asking(AnyContender<Ids>& contender, Operation operation,
                                 std::span<const Request<Ids>> requests, std::size_t count,
                                 bool present, std::size_t threads) {
  std::latch ready(static_cast<std::ptrdiff_t>(threads));
  std::vector<double> times(threads);
  const auto body = [&](std::size_t number) {
    contender.with_thread([&] {
      const std::size_t first = number * requests.size() / threads;
      contender.ask(operation, requests, first, count / 2, present);
      ready.arrive_and_wait();
      const double ran = thread_time();
      const auto start = SteadyClock::now();
      contender.ask(operation, requests, first + count / 2, count, present);
      times[number] = threads == 1 ? thread_time() - ran : nanoseconds_since(start);
    });
  };
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < threads; ++i) others.emplace_back(body, i);
  body(0);
  others.clear();
  double throughput = 0;
  for (const double time : times) throughput += static_cast<double>(count) / time;
  return 1 / throughput;
}

// A thread that flips partitions without pause, as long as this lives.
template <typename Ids>
class Flipping {
 public:
  Flipping(AnyContender<Ids>& contender, std::span<const Request<Ids>> requests)
      : thread_([this, &contender, requests] {
          contender.with_thread([&] {
            started_.count_down();
            flips_ = contender.flip_until(requests, stop_);
          });
        }) {
    started_.wait();
  }
  Flipping(const Flipping&) = delete;
  Flipping& operator=(const Flipping&) = delete;
  ~Flipping() { static_cast<void>(finish()); }
  std::size_t finish() {
    stop_.store(true, std::memory_order_relaxed);  // the join orders the rest
    if (thread_.joinable()) thread_.join();
    return flips_;
  }

 private:
  std::atomic<bool> stop_{false};
  std::latch started_{1};
  std::size_t flips_ = 0;
  std::thread thread_;
};

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_MEASURE_HPP_
