// SPDX-License-Identifier: Apache-2.0
//
// How long complete_migration takes while so many writes are held, with and without an executor:
//
//   BM_CompleteMigration/held:2000/executor:1
//
// The time is that of the call alone. all_resumed_us is the time from the call to the last
// callback, longest_task_us that of the executor's longest task. Each callback takes about
// callback_ns.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <benchmark/benchmark.h>
#include <placement/executor.hpp>
#include <placement/placement_table.hpp>

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

// An event loop that the benchmark turns.
class Loop final : public placement::Executor {
 public:
  void execute(absl::AnyInvocable<void()> task) override { tasks_.push_back(std::move(task)); }

  // Returns how long the longest task took.
  Clock::duration run() {
    Clock::duration longest{};
    for (; !tasks_.empty(); tasks_.pop_front()) {
      const Clock::time_point began = Clock::now();
      tasks_.front()();
      longest = std::max(longest, Clock::now() - began);
    }
    return longest;
  }

 private:
  std::deque<absl::AnyInvocable<void()>> tasks_;
};

void spin(Clock::duration duration) {
  for (const Clock::time_point until = Clock::now() + duration; Clock::now() < until;) {
  }
}

void BM_CompleteMigration(benchmark::State& state) {
  const auto held = static_cast<std::size_t>(state.range(0));
  const bool has_executor = state.range(1) != 0;
  const std::chrono::nanoseconds callback(state.range(2));
  Loop loop;
  placement::BasicPlacementTable<std::uint64_t, std::uint64_t> table(
      {.max_held_writes = held,
       .max_held_writes_per_partition = held,
       .executor = has_executor ? &loop : nullptr});
  table.set(1, 1);
  double all_resumed = 0;
  double longest_task = 0;
  for (auto _ : state) {
    std::size_t resumed = 0;
    Clock::time_point last;
    static_cast<void>(table.begin_migration(1, 2));
    static_cast<void>(table.enter_cutover(1));
    for (std::size_t n = 0; n < held; ++n) {
      const auto ticket = table.hold(1, [&] {
        if (callback.count() != 0) spin(callback);
        if (++resumed == held) last = Clock::now();
      });
      if (ticket.refusal()) std::abort();
    }
    const Clock::time_point began = Clock::now();
    const bool flipped = bool(table.complete_migration(1));
    const Clock::time_point returned = Clock::now();
    const Clock::duration longest = loop.run();
    if (!flipped || resumed != held) std::abort();
    state.SetIterationTime(std::chrono::duration<double>(returned - began).count());
    all_resumed += microseconds(last - began);
    longest_task = std::max(longest_task, microseconds(longest));
  }
  state.counters["all_resumed_us"] = all_resumed / static_cast<double>(state.iterations());
  if (has_executor) state.counters["longest_task_us"] = longest_task;
}
BENCHMARK(BM_CompleteMigration)
    ->ArgNames({"held", "executor", "callback_ns"})
    ->ArgsProduct({{2'000, 65'536}, {0, 1}, {0, 1'000}})
    ->UseManualTime()
    ->Iterations(20)  // the call alone takes so little that it would be repeated for minutes
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
