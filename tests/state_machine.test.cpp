// SPDX-License-Identifier: Apache-2.0
//
// Both tables of the state machine, as a whole: every state, reached by every short path, under
// every operation.
#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/detail/state_machine.hpp>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"
#include "support/reference_table.hpp"

namespace placement {
namespace {

using test::Operation;
using test::perform;
using test::place;
using test::ReferenceTable;
using test::Standing;

constexpr std::string_view kId = "tenant-42";

// The tables as they are documented, for the eye and for the tests below. `p` is what set takes,
// `to` what begin_migration takes; `from` and `to` in a row are the partition's own. The columns
// are those of kOperations: set, begin_migration, enter_cutover, complete_migration,
// abort_migration, claim_migration, pause_writes, resume_writes, erase, the removal after a drain.
constexpr std::array<std::array<std::string_view, 11>, 5> kTransitions = {{
    // clang-format off
    {"absent",              "Active(p)", "UnknownPartition",   "UnknownPartition",  "UnknownPartition", "UnknownPartition", "UnknownPartition",    "UnknownPartition",    "UnknownPartition", "UnknownPartition", "UnknownPartition"},
    {"Active(from)",        "Active(p)", "Draining(from, to)", "NotMigrating",      "NotMigrating",     "NotMigrating",     "NotMigrating",        "Cutover(from, from)", "NotPaused",        "absent",           "NotPaused"},
    {"Draining(from, to)",  "Active(p)", "AlreadyMigrating",   "Cutover(from, to)", "NotCutover",       "Active(from)",     "Draining(from, to)",  "AlreadyMigrating",    "NotPaused",        "AlreadyMigrating", "NotPaused"},
    {"Cutover(from, to)",   "Active(p)", "AlreadyMigrating",   "NotDraining",       "Active(to)",       "Active(from)",     "Cutover(from, to)",   "AlreadyMigrating",    "NotPaused",        "AlreadyMigrating", "NotPaused"},
    {"Cutover(from, from)", "Active(p)", "AlreadyMigrating",   "NotDraining",       "Active(from)",     "Active(from)",     "Cutover(from, from)", "AlreadyMigrating",    "Active(from)",     "AlreadyMigrating", "absent"},
    // clang-format on
}};
constexpr std::array<std::array<std::string_view, 3>, 5> kReads = {{
    {"absent", "nothing", "Reject"},
    {"Active(from)", "from", "Admit"},
    {"Draining(from, to)", "from", "Admit"},
    {"Cutover(from, to)", "from", "Reject"},
    {"Cutover(from, from)", "from", "Reject"},
}};

// The placements that a cell of the tables speaks of, by the names it has for them.
struct Names {
  std::optional<Placement> from;
  std::optional<Placement> to;
  std::optional<Placement> p;

  std::string of(const Placement& placement) const {
    if (p == placement) return "p";
    if (from == placement) return "from";
    if (to == placement) return "to";
    return "some other placement";
  }
};

std::string describe(const std::optional<StateAt>& at, const Names& names) {
  if (!at) return "absent";
  const std::string from = names.of(at->state.read_placement());
  if (!at->state.is_migrating()) return "Active(" + from + ")";
  return std::string(to_string(at->state.phase())) + "(" + from + ", " +
         names.of(*at->state.destination()) + ")";
}

Names names_in(const std::optional<StateAt>& before) {
  Names names;
  if (before) {
    names.from = before->state.read_placement();
    names.to = before->state.destination();
  }
  return names;
}

// A table and the reference, brought to the same state.
struct Pair {
  PlacementTable table{TableOptions{.shards = 1}};
  ReferenceTable<> reference;
  std::uint64_t steps = 0;

  // The next placement is one that was not used before, so none that is left over is mistaken.
  Placement next_place() { return place(++steps); }

  TransitionResult do_both(Operation operation) {
    const Placement placement = next_place();
    const std::string id(kId);
    const TransitionResult result = perform(table, operation, kId, placement);
    EXPECT_EQ(result, perform(reference, operation, id, placement));
    return result;
  }
};

// Calls f with every sequence of `length` operations of which at most one is refused.
void for_each_path(std::size_t length,
                   const std::function<void(const std::vector<Operation>&)>& f) {
  std::vector<Operation> path;
  const std::function<void(Standing, bool)> extend = [&](Standing standing, bool may_be_refused) {
    if (path.size() == length) return f(path);
    for (const Operation operation : test::kCalls) {
      const test::Answer answer = test::answer_of(standing, operation);
      if (answer.refusal && !may_be_refused) continue;
      path.push_back(operation);
      extend(answer.refusal ? standing : answer.next, may_be_refused && !answer.refusal);
      path.pop_back();
    }
  };
  extend(Standing::Absent, true);
}

std::string print(const std::vector<Operation>& path) {
  std::ostringstream out;
  for (const Operation operation : path) out << operation << ' ';
  return out.str();
}

std::string row_of(Standing standing) {
  return std::string(kTransitions[static_cast<std::size_t>(standing)][0]);
}

constexpr std::size_t kLongestPath = 4;

std::string_view outcome_of(Standing standing, Operation operation) {
  return kTransitions[static_cast<std::size_t>(standing)][static_cast<std::size_t>(operation) + 1];
}

TEST(StateMachine, TheReferenceIsTheDocumentedTable) {
  using Place = test::Answer::Place;
  for (const Standing standing : test::kStandings) {
    const auto name = [standing](Place place) {
      if (place == Place::Argument) return "p";
      return place == Place::Destination && standing != Standing::Paused ? "to" : "from";
    };
    for (const Operation operation : test::kOperations) {
      const test::Answer answer = test::answer_of(standing, operation);
      std::ostringstream out;
      if (answer.refusal) {
        out << *answer.refusal;
      } else if (answer.next == Standing::Absent) {
        out << "absent";
      } else if (answer.next == Standing::Active) {
        out << "Active(" << name(answer.origin) << ')';
      } else {
        out << (answer.next == Standing::Draining ? "Draining(" : "Cutover(") << name(answer.origin)
            << ", " << (answer.destination == Place::Argument ? "to" : name(answer.destination))
            << ')';
      }
      EXPECT_EQ(out.str(), outcome_of(standing, operation)) << standing << " under " << operation;
    }
  }
}

// ---- the library's state machine, alone ----

// The epoch that an operation expects of a partition that is at kOwn.
constexpr Epoch kOwn(7);
constexpr std::array kFences = {std::optional<Epoch>(), std::optional(Epoch::zero()),
                                std::optional(Epoch(6)), std::optional(kOwn),
                                std::optional(Epoch(8))};

constexpr detail::Standing library_standing(Standing standing, bool is_at_destination) {
  if (standing == Standing::Absent) return {};
  return {true, test::phase_of(standing), is_at_destination, kOwn};
}

constexpr bool is_same(test::Answer::Place place, detail::Step::Source source) {
  using Place = test::Answer::Place;
  using Source = detail::Step::Source;
  switch (place) {
    case Place::None:
      return source == Source::Nowhere;
    case Place::Argument:
      return source == Source::Argument;
    case Place::Origin:
      return source == Source::Origin;
    case Place::Destination:
      break;
  }
  return source == Source::Destination;
}

// A Draining may be to where the partition is; a Cutover is Paused then.
constexpr bool agree(Standing standing, bool is_at_destination, Operation operation,
                     std::optional<Epoch> expected) {
  const detail::Step step = detail::next_step(library_standing(standing, is_at_destination),
                                              test::transition_of(operation), expected);
  const test::Answer answer = test::answer_of(standing, operation);
  const Epoch own = standing == Standing::Absent ? Epoch::zero() : kOwn;
  if (expected && *expected != own) {
    return step.refusal == test::refusal_of_stale(standing, operation);
  }
  if (answer.refusal) return step.refusal == answer.refusal;
  return !step.refusal && step.is_there == (answer.next != Standing::Absent) &&
         (!step.is_there || step.phase == test::phase_of(answer.next)) &&
         is_same(answer.origin, step.origin) && is_same(answer.destination, step.destination) &&
         step.needs_drain == answer.needs_drain;
}

// Calls f(standing, is_at_destination, operation, expected) for all that there is.
template <typename F>
constexpr void for_every_step(F f) {
  for (const Standing standing : test::kStandings) {
    for (const bool is_at_destination : {false, true}) {
      if (is_at_destination ? standing != Standing::Draining && standing != Standing::Paused
                            : standing == Standing::Paused) {
        continue;
      }
      for (const Operation operation : test::kOperations) {
        for (const auto& expected : kFences) f(standing, is_at_destination, operation, expected);
      }
    }
  }
}

constexpr bool agree_everywhere() {
  bool all = true;
  for_every_step([&all](Standing standing, bool is_at_destination, Operation operation,
                        std::optional<Epoch> expected) {
    all = all && agree(standing, is_at_destination, operation, expected);
  });
  return all;
}
static_assert(agree_everywhere());

// The same again at run time, where it can say which.
TEST(StateMachine, TheLibrarysStepIsTheReferencesForEveryStateOperationAndExpectedEpoch) {
  std::size_t steps = 0;
  for_every_step([&steps](Standing standing, bool is_at_destination, Operation operation,
                          std::optional<Epoch> expected) {
    ++steps;
    EXPECT_TRUE(agree(standing, is_at_destination, operation, expected))
        << operation << " in " << standing
        << (is_at_destination ? ", to where it is, expecting " : " expecting ")
        << (expected ? std::to_string(expected->value()) : "nothing");
  });
  EXPECT_EQ(steps, 6 * test::kOperations.size() * kFences.size());
}

TEST(StateMachine, WhatASourceAppliesIsNotForTheStateMachineToDecide) {
  for (const Standing standing : test::kStandings) {
    for (const Transition transition : {Transition::Apply, Transition::ApplyErase}) {
      const detail::Standing now = library_standing(standing, standing == Standing::Paused);
      EXPECT_EQ(detail::next_step(now, transition, {}).refusal, MigrationError::UnknownPartition)
          << transition;
    }
  }
}

TEST(StateMachine, OnlyACutoverToWhereThePartitionIsIsPaused) {
  for (const Standing standing : test::kStandings) {
    for (const bool is_at_destination : {false, true}) {
      const bool is_paused = test::is_in_cutover(standing) && is_at_destination;
      EXPECT_EQ(library_standing(standing, is_at_destination).is_paused(), is_paused);
    }
  }
  EXPECT_FALSE((detail::Standing{false, MigrationPhase::Cutover, true, kOwn}).is_paused());
}

// ---- the table ----

// Runs every operation at the end of every path, and hands on what happened.
template <typename Check>
void run_cross_product(Check check) {
  for (std::size_t length = 0; length <= kLongestPath; ++length) {
    for_each_path(length, [&](const std::vector<Operation>& path) {
      for (const Operation operation : test::kCalls) {
        if (testing::Test::HasFailure()) return;  // one path that fails is easier to read than all
        Pair pair;
        for (const Operation step : path) static_cast<void>(pair.do_both(step));
        check(pair, operation, path);
        if (testing::Test::HasFailure()) {
          FAIL() << "after " << print(path) << "then " << operation;
        }
      }
    });
    if (testing::Test::HasFailure()) return;
  }
}

TEST(StateMachine, EveryOperationInEveryStateByEveryPathDoesWhatTheTableSays) {
  std::set<std::pair<Standing, Operation>> covered;
  run_cross_product([&](Pair& pair, Operation operation, const std::vector<Operation>&) {
    const Standing standing = pair.reference.standing(std::string(kId));
    const std::optional<StateAt> before = pair.table.state(kId);
    Names names = names_in(before);
    ASSERT_EQ(describe(before, names), row_of(standing));
    const Placement placement = pair.next_place();
    if (operation == Operation::Set) names.p = placement;
    if (operation == Operation::BeginMigration && !names.to) names.to = placement;

    const TransitionResult result = perform(pair.table, operation, kId, placement);

    const std::string outcome =
        result ? describe(pair.table.state(kId), names) : std::string(to_string(result.error()));
    EXPECT_EQ(outcome, outcome_of(standing, operation));
    covered.emplace(standing, operation);
  });
  EXPECT_EQ(covered.size(), test::kStandings.size() * test::kCalls.size());
}

TEST(StateMachine, EveryReadAfterEveryPathAgreesWithTheReference) {
  run_cross_product([&](Pair& pair, Operation operation, const std::vector<Operation>&) {
    static_cast<void>(pair.do_both(operation));
    test::expect_same_partition(pair.table, pair.reference, std::string(kId));
    test::expect_same_contents(pair.table, pair.reference);
  });
}

TEST(StateMachine, ASuccessAdvancesTheGenerationByOneAndStampsThePartitionWithIt) {
  std::size_t successes = 0;
  run_cross_product([&](Pair& pair, Operation operation, const std::vector<Operation>&) {
    const Epoch before = pair.table.current_epoch();
    const TransitionResult result = perform(pair.table, operation, kId, pair.next_place());
    if (!result) return;
    ++successes;
    EXPECT_EQ(*result, Epoch(before.value() + 1));
    EXPECT_EQ(pair.table.current_epoch(), *result);
    const auto at = pair.table.state(kId);
    EXPECT_EQ(at.has_value(), operation != Operation::Erase);
    EXPECT_TRUE(!at || at->epoch == *result);
  });
  EXPECT_GT(successes, 0U);
}

TEST(StateMachine, ARefusalTouchesNeitherStateNorEpochNorGeneration) {
  std::size_t refusals = 0;
  run_cross_product([&](Pair& pair, Operation operation, const std::vector<Operation>&) {
    const Epoch generation = pair.table.current_epoch();
    const auto state = pair.table.state(kId);
    const auto read = pair.table.get(kId);
    if (perform(pair.table, operation, kId, pair.next_place())) return;
    ++refusals;
    EXPECT_EQ(pair.table.current_epoch(), generation);
    EXPECT_EQ(pair.table.state(kId), state);
    EXPECT_EQ(pair.table.get(kId), read);
    EXPECT_EQ(pair.table.size(), state ? 1U : 0U);
  });
  EXPECT_GT(refusals, 0U);
}

TEST(StateMachine, GetAndAdmitWriteAnswerAsTheTableOfReadsSays) {
  std::set<Standing> covered;
  run_cross_product([&](Pair& pair, Operation, const std::vector<Operation>&) {
    const Standing standing = pair.reference.standing(std::string(kId));
    const auto& row = kReads[static_cast<std::size_t>(standing)];
    const std::optional<StateAt> state = pair.table.state(kId);
    const std::optional<PlacementAt> read = pair.table.get(kId);
    ASSERT_EQ(read.has_value(), state.has_value());
    EXPECT_EQ(read ? names_in(state).of(read->placement) : "nothing", row[1]);
    const Epoch own = state ? state->epoch : pair.table.current_epoch();
    EXPECT_EQ(to_string(pair.table.admit_write(kId, own)), row[2]);
    for (std::uint64_t other = 0; other <= pair.table.current_epoch().value() + 1; ++other) {
      if (Epoch(other) == own) continue;
      EXPECT_EQ(pair.table.admit_write(kId, Epoch(other)), WriteAdmission::Reject);
    }
    covered.insert(standing);
  });
  EXPECT_EQ(covered.size(), test::kStandings.size());
}

TEST(StateMachine, WithAPermitOutOnlyFlipAndEraseAreRefusedAndForWritesInFlightOnly) {
  std::set<std::pair<Standing, Operation>> refused;
  for (std::size_t length = 1; length <= kLongestPath; ++length) {
    for (std::size_t acquired_after = 1; acquired_after <= length; ++acquired_after) {
      for_each_path(length, [&](const std::vector<Operation>& path) {
        for (const Operation operation : test::kCalls) {
          if (testing::Test::HasFailure()) return;
          Pair pair;
          WritePermit permit(WriteRefusal::UnknownPartition);
          for (std::size_t i = 0; i < path.size(); ++i) {
            static_cast<void>(pair.do_both(path[i]));
            if (i + 1 != acquired_after) continue;
            permit = pair.table.acquire_write(kId);
            const std::string id(kId);
            ASSERT_EQ(static_cast<bool>(permit), pair.reference.may_write(id));
            if (permit) pair.reference.admitted(id);
          }
          const Standing standing = pair.reference.standing(std::string(kId));
          const auto before = pair.table.state(kId);
          const Epoch generation = pair.table.current_epoch();
          const TransitionResult result = pair.do_both(operation);
          if (result == MigrationError::WritesInFlight) {
            refused.emplace(standing, operation);
            EXPECT_EQ(pair.table.state(kId), before);
            EXPECT_EQ(pair.table.current_epoch(), generation);
            permit.release();
            EXPECT_TRUE(perform(pair.table, operation, kId, place(0)));
          }
          if (testing::Test::HasFailure()) FAIL() << print(path) << "then " << operation;
        }
      });
    }
  }
  const std::set<std::pair<Standing, Operation>> expected = {
      {Standing::Active, Operation::Erase},
      {Standing::Cutover, Operation::CompleteMigration},
      {Standing::Paused, Operation::CompleteMigration}};
  EXPECT_EQ(refused, expected);
}

TEST(StateMachine, AnOperationThatExpectsThePartitionsEpochAnswersAsOneThatExpectsNone) {
  run_cross_product([&](Pair& pair, Operation operation, const std::vector<Operation>&) {
    if (!test::takes_expected(operation)) return;
    const auto at = pair.table.state(kId);
    const Epoch own = at ? at->epoch : Epoch::zero();
    const Placement to = pair.next_place();
    EXPECT_EQ(perform(pair.table, operation, kId, to, own),
              perform(pair.reference, operation, std::string(kId), to));
    test::expect_same_partition(pair.table, pair.reference, std::string(kId));
  });
}

TEST(StateMachine, AnOperationThatExpectsAnotherEpochIsRefusedForThatAndChangesNothing) {
  std::set<std::pair<Standing, Operation>> covered;
  run_cross_product([&](Pair& pair, Operation operation, const std::vector<Operation>&) {
    if (!test::takes_expected(operation)) return;
    const Standing standing = pair.reference.standing(std::string(kId));
    const auto at = pair.table.state(kId);
    const Epoch own = at ? at->epoch : Epoch::zero();
    const Epoch generation = pair.table.current_epoch();
    for (std::uint64_t wrong = 0; wrong <= generation.value() + 1; ++wrong) {
      if (Epoch(wrong) == own) continue;
      EXPECT_EQ(perform(pair.table, operation, kId, place(0), Epoch(wrong)),
                test::refusal_of_stale(standing, operation))
          << "expecting " << wrong;
    }
    EXPECT_EQ(pair.table.state(kId), at);
    EXPECT_EQ(pair.table.current_epoch(), generation);
    covered.emplace(standing, operation);
  });
  EXPECT_EQ(covered.size(), test::kStandings.size() * (test::kCalls.size() - 2));
}

// Pause, drain and removal, or the way back.
TEST(StateMachine, EraseUntilAfterEveryPathIsAPauseAndARemoval) {
  run_cross_product([&](Pair& pair, Operation, const std::vector<Operation>&) {
    const std::string id(kId);
    const TransitionResult expected = pair.reference.erase_in_no_time(id);
    EXPECT_EQ(pair.table.erase_until(kId, absl::InfinitePast()), expected);
    test::expect_same_partition(pair.table, pair.reference, id);
    test::expect_same_contents(pair.table, pair.reference);
  });
}

TEST(StateMachine, EraseUntilThatMeetsAPermitLeavesThePartitionAsItWas) {
  Pair pair;
  const std::string id(kId);
  ASSERT_TRUE(pair.do_both(Operation::Set));
  WritePermit permit = pair.table.acquire_write(kId);
  pair.reference.admitted(id);
  EXPECT_EQ(pair.reference.erase_in_no_time(id), MigrationError::WritesInFlight);
  EXPECT_EQ(pair.table.erase_until(kId, absl::InfinitePast()), MigrationError::WritesInFlight);
  test::expect_same_partition(pair.table, pair.reference, id);
  permit.release();
  pair.reference.released(id);
  EXPECT_EQ(pair.table.erase_until(kId, absl::InfinitePast()), pair.reference.erase_in_no_time(id));
  test::expect_same_partition(pair.table, pair.reference, id);
}

TEST(StateMachine, APartitionMayMigrateToWhereItIs) {
  PlacementTable table;
  table.set(kId, place(1));
  ASSERT_TRUE(table.begin_migration(kId, place(1)));
  EXPECT_EQ(table.state(kId)->state.destination(), place(1));
  ASSERT_TRUE(table.enter_cutover(kId));
  ASSERT_TRUE(table.complete_migration(kId));
  EXPECT_EQ(table.get(kId)->placement, place(1));
}

TEST(StateMachine, SetToTheSamePlacementIsAChangeToo) {
  PlacementTable table;
  const Epoch first = table.set(kId, place(1));
  const Epoch second = table.set(kId, place(1));
  EXPECT_GT(second, first);
  EXPECT_EQ(table.admit_write(kId, first), WriteAdmission::Reject);
  EXPECT_EQ(table.admit_write(kId, second), WriteAdmission::Admit);
}

TEST(StateMachine, AnotherPartitionIsNeverTouched) {
  PlacementTable table{TableOptions{.shards = 1}};
  table.set("other", place(100));
  ASSERT_TRUE(table.begin_migration("other", place(101)));
  const auto other = table.state("other");
  for_each_path(3, [&](const std::vector<Operation>& path) {
    for (const Operation operation : path) {
      static_cast<void>(perform(table, operation, kId, place(1)));
      ASSERT_EQ(table.state("other"), other);
    }
  });
}

}  // namespace
}  // namespace placement
