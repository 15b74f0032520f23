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

#include <gtest/gtest.h>
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
// `to` what begin_migration takes; `from` and `to` in a row are the partition's own.
constexpr std::array<std::array<std::string_view, 7>, 4> kTransitions = {{
    // clang-format off
    {"absent",             "Active(p)", "UnknownPartition",   "UnknownPartition",  "UnknownPartition", "UnknownPartition", "UnknownPartition"},
    {"Active(from)",       "Active(p)", "Draining(from, to)", "NotMigrating",      "NotMigrating",     "NotMigrating",     "absent"},
    {"Draining(from, to)", "Active(p)", "AlreadyMigrating",   "Cutover(from, to)", "NotCutover",       "Active(from)",     "AlreadyMigrating"},
    {"Cutover(from, to)",  "Active(p)", "AlreadyMigrating",   "NotDraining",       "Active(to)",       "Active(from)",     "AlreadyMigrating"},
    // clang-format on
}};
constexpr std::array<std::array<std::string_view, 3>, 4> kReads = {{
    {"absent", "nothing", "Reject"},
    {"Active(from)", "from", "Admit"},
    {"Draining(from, to)", "from", "Admit"},
    {"Cutover(from, to)", "from", "Reject"},
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

// Calls f with every sequence of `length` operations.
void for_each_path(std::size_t length,
                   const std::function<void(const std::vector<Operation>&)>& f) {
  std::vector<Operation> path;
  const std::function<void()> extend = [&] {
    if (path.size() == length) return f(path);
    for (const Operation operation : test::kOperations) {
      path.push_back(operation);
      extend();
      path.pop_back();
    }
  };
  extend();
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

TEST(StateMachine, TheReferenceIsTheDocumentedTable) {
  for (const Standing standing : test::kStandings) {
    for (const Operation operation : test::kOperations) {
      const test::Answer answer = test::answer_of(standing, operation);
      std::ostringstream out;
      if (answer.refusal) {
        out << *answer.refusal;
      } else if (answer.next == Standing::Absent) {
        out << "absent";
      } else {
        out << answer.next << '('
            << (answer.origin == test::Answer::Origin::Argument ? "p"
                : answer.origin == test::Answer::Origin::Kept   ? "from"
                                                                : "to")
            << (answer.next == Standing::Active ? ")" : ", to)");
      }
      EXPECT_EQ(
          out.str(),
          kTransitions[static_cast<std::size_t>(standing)][static_cast<std::size_t>(operation) + 1])
          << standing << " under " << operation;
    }
  }
}

// Runs every operation at the end of every path, and hands on what happened.
template <typename Check>
void run_cross_product(Check check) {
  for (std::size_t length = 0; length <= kLongestPath; ++length) {
    for_each_path(length, [&](const std::vector<Operation>& path) {
      for (const Operation operation : test::kOperations) {
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
    EXPECT_EQ(
        outcome,
        kTransitions[static_cast<std::size_t>(standing)][static_cast<std::size_t>(operation) + 1]);
    covered.emplace(standing, operation);
  });
  EXPECT_EQ(covered.size(), test::kStandings.size() * test::kOperations.size());
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
        for (const Operation operation : test::kOperations) {
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
      {Standing::Active, Operation::Erase}, {Standing::Cutover, Operation::CompleteMigration}};
  EXPECT_EQ(refused, expected);
}

// The epoch that a driver of a migration may pass on: right, it changes nothing; wrong, the
// migration is someone else's.
TransitionResult perform_expecting(PlacementTable& table, Operation operation, Epoch expected) {
  if (operation == Operation::EnterCutover) return table.enter_cutover(kId, expected);
  if (operation == Operation::CompleteMigration) return table.complete_migration(kId, expected);
  return table.abort_migration(kId, expected);
}

constexpr std::array kStepsOfADriver = {Operation::EnterCutover, Operation::CompleteMigration,
                                        Operation::AbortMigration};

TEST(StateMachine, AStepThatExpectsThePartitionsEpochAnswersAsOneThatExpectsNone) {
  run_cross_product([&](Pair& pair, Operation, const std::vector<Operation>&) {
    const auto at = pair.table.state(kId);
    const Epoch epoch = at ? at->epoch : pair.table.current_epoch();
    for (const Operation step : kStepsOfADriver) {
      const TransitionResult expected = perform(pair.reference, step, std::string(kId), place(0));
      EXPECT_EQ(perform_expecting(pair.table, step, epoch), expected) << step;
      if (expected) break;
    }
  });
}

TEST(StateMachine, AStepThatExpectsAnotherEpochIsRefusedAndChangesNothing) {
  run_cross_product([&](Pair& pair, Operation, const std::vector<Operation>&) {
    const auto at = pair.table.state(kId);
    const Epoch generation = pair.table.current_epoch();
    for (const Operation step : kStepsOfADriver) {
      for (std::uint64_t wrong = 0; wrong <= generation.value() + 1; ++wrong) {
        if (at && at->epoch == Epoch(wrong)) continue;
        EXPECT_EQ(perform_expecting(pair.table, step, Epoch(wrong)),
                  at ? MigrationError::NotMigrating : MigrationError::UnknownPartition)
            << step << " expecting " << wrong;
      }
    }
    EXPECT_EQ(pair.table.state(kId), at);
    EXPECT_EQ(pair.table.current_epoch(), generation);
  });
}

TEST(StateMachine, AClaimStampsAMigrationAnewAndIsRefusedWhereThereIsNone) {
  run_cross_product([&](Pair& pair, Operation, const std::vector<Operation>&) {
    const auto before = pair.table.state(kId);
    const Epoch generation = pair.table.current_epoch();
    const Epoch wrong(generation.value() + 1);
    if (before && before->state.is_migrating()) {
      EXPECT_EQ(pair.table.claim_migration(kId, wrong), MigrationError::NotMigrating);
      EXPECT_EQ(pair.table.claim_migration(kId), Epoch(generation.value() + 1));
      EXPECT_EQ(pair.table.claim_migration(kId, wrong), Epoch(generation.value() + 2));
      EXPECT_EQ(pair.table.state(kId), (StateAt{before->state, Epoch(generation.value() + 2)}));
    } else {
      EXPECT_EQ(pair.table.claim_migration(kId),
                before ? MigrationError::NotMigrating : MigrationError::UnknownPartition);
      EXPECT_EQ(pair.table.state(kId), before);
      EXPECT_EQ(pair.table.current_epoch(), generation);
    }
  });
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
