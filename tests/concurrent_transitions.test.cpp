// SPDX-License-Identifier: Apache-2.0
//
// Two threads race with every ordered pair of operations from every state. Whatever happens has
// to be what one of the two serial orders does.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

using Table = BasicPlacementTable<std::uint64_t, ChecksummedPlacement>;

enum class Start { Absent, Active, Draining, Cutover };
enum class Step { Set, Begin, EnterCutover, Complete, Abort, Erase };

constexpr std::array kStarts = {Start::Absent, Start::Active, Start::Draining, Start::Cutover};
constexpr std::array kSteps = {Step::Set,      Step::Begin, Step::EnterCutover,
                               Step::Complete, Step::Abort, Step::Erase};

constexpr std::array<const char*, 4> kStartNames = {"absent", "active", "draining", "cutover"};
constexpr std::array<const char*, 6> kStepNames = {"set",      "begin", "enter_cutover",
                                                   "complete", "abort", "erase"};

void prepare(Table& table, std::uint64_t id, Start start) {
  if (start == Start::Absent) return;
  table.set(id, ChecksummedPlacement(id, 100));
  if (start == Start::Active) return;
  ASSERT_TRUE(table.begin_migration(id, ChecksummedPlacement(id, 101)));
  if (start == Start::Draining) return;
  ASSERT_TRUE(table.enter_cutover(id));
}

TransitionResult perform(Table& table, std::uint64_t id, Step step, std::uint64_t sequence) {
  const ChecksummedPlacement placement(id, sequence);
  switch (step) {
    case Step::Set:
      return table.set(id, placement);
    case Step::Begin:
      return table.begin_migration(id, placement);
    case Step::EnterCutover:
      return table.enter_cutover(id);
    case Step::Complete:
      return table.complete_migration(id);
    case Step::Abort:
      return table.abort_migration(id);
    case Step::Erase:
      break;
  }
  return table.erase(id);
}

// What came out of a race, in epochs since it began.
struct Outcome {
  std::array<TransitionResult, 2> results = {Epoch(), Epoch()};
  std::optional<Table::StateAt> end;
  std::uint64_t advanced = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    out << outcome.results[0] << " and " << outcome.results[1] << ", then ";
    if (!outcome.end) return out << "absent";
    return out << outcome.end->state << " at " << outcome.end->epoch << ", generation +"
               << outcome.advanced;
  }
};

Epoch since(Epoch epoch, Epoch base) {
  return epoch > base ? Epoch(epoch.value() - base.value()) : Epoch();
}

Outcome outcome_of(const Table& table, std::uint64_t id, Epoch base,
                   const std::array<TransitionResult, 2>& results) {
  Outcome outcome;
  for (std::size_t i = 0; i < 2; ++i) {
    outcome.results[i] =
        results[i] ? TransitionResult(since(results[i].value(), base)) : results[i];
  }
  outcome.end = table.state(id);
  if (outcome.end) outcome.end->epoch = since(outcome.end->epoch, base);
  outcome.advanced = table.current_epoch().value() - base.value();
  return outcome;
}

struct Race {
  Start start;
  std::array<Step, 2> steps;
};

Outcome in_order(const Race& race, std::uint64_t id, std::size_t first) {
  Table table;
  prepare(table, id, race.start);
  const Epoch base = table.current_epoch();
  std::array<TransitionResult, 2> results = {Epoch(), Epoch()};
  for (const std::size_t side : {first, 1 - first}) {
    results[side] = perform(table, id, race.steps[side], side);
  }
  return outcome_of(table, id, base, results);
}

class Transitions : public testing::TestWithParam<Start> {};

TEST_P(Transitions, RacingOnOnePartitionDoWhatOneOfTheTwoOrdersDoes) {
  const std::uint64_t kRounds = work(1'000);
  std::array<std::uint64_t, 2> seen_first{};  // which side came first, where one can tell
  for (const Step one : kSteps) {
    for (const Step other : kSteps) {
      const Race race{GetParam(), {one, other}};
      SCOPED_TRACE(std::string(kStepNames[static_cast<std::size_t>(one)]) + " against " +
                   kStepNames[static_cast<std::size_t>(other)]);
      constexpr std::uint64_t kId = 7;
      const std::array<Outcome, 2> serial = {in_order(race, kId, 0), in_order(race, kId, 1)};

      Table table;
      std::array<TransitionResult, 2> results = {Epoch(), Epoch()};
      std::atomic<std::uint64_t> ready{0};
      std::atomic<std::uint64_t> finished{0};
      // The sides change places every round, so that no side has the head start always.
      const auto side_of = [](std::size_t thread, std::uint64_t round) {
        return (thread + round) % 2;
      };
      std::uint64_t wrong = 0;
      const auto leader = [&] {
        for (std::uint64_t round = 1; round <= kRounds; ++round) {
          // From whatever the last round left to the state to begin with.
          if (table.contains(kId)) {
            table.set(kId, ChecksummedPlacement(kId, 99));
            static_cast<void>(table.erase(kId));
          }
          prepare(table, kId, race.start);
          const Epoch base = table.current_epoch();
          ready.store(round);
          const std::size_t side = side_of(0, round);
          results[side] = perform(table, kId, race.steps[side], side);
          while (finished.load() != round) std::this_thread::yield();
          const Outcome outcome = outcome_of(table, kId, base, results);
          const bool as_first = outcome == serial[0];
          const bool as_second = outcome == serial[1];
          if (as_first != as_second) ++seen_first[as_first ? 0 : 1];
          if (!as_first && !as_second && wrong++ == 0) {
            ADD_FAILURE() << outcome << "\nis neither " << serial[0] << "\nnor " << serial[1];
          }
        }
      };
      const auto follower = [&] {
        for (std::uint64_t round = 1; round <= kRounds; ++round) {
          for (int spins = 0; ready.load() != round; ++spins) {
            if (spins > 1000) std::this_thread::yield();
          }
          const std::size_t side = side_of(1, round);
          results[side] = perform(table, kId, race.steps[side], side);
          finished.store(round);
        }
      };
      run_together({leader, follower});
      EXPECT_EQ(wrong, 0U);
    }
  }
  EXPECT_GT(seen_first[0], 0U);
  EXPECT_GT(seen_first[1], 0U);
}

INSTANTIATE_TEST_SUITE_P(From, Transitions, testing::ValuesIn(kStarts), [](const auto& tested) {
  return std::string(kStartNames[static_cast<std::size_t>(tested.param)]);
});

}  // namespace
}  // namespace placement::test
