// SPDX-License-Identifier: Apache-2.0
//
// A table that follows a remote source of truth: whatever arrives, in whatever order.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"
#include "support/reference_table.hpp"
#include "support/test_memory.hpp"

namespace placement {
namespace {

using test::expect_same_contents;
using test::expect_same_partition;
using test::place;
using test::ReferenceTable;

PartitionState active(std::uint64_t at) { return PartitionState::active(place(at)); }
PartitionState draining(std::uint64_t from, std::uint64_t to) {
  return PartitionState::migrating(place(from), place(to), MigrationPhase::Draining);
}
PartitionState cutover(std::uint64_t from, std::uint64_t to) {
  return PartitionState::migrating(place(from), place(to), MigrationPhase::Cutover);
}

// What a watch of the source tells: a state, or that the partition is gone.
struct Event {
  std::string id;
  std::optional<PartitionState> state;
  Epoch epoch;
};

template <typename Table>
bool deliver(Table& table, const Event& event) {
  if (event.state) return table.apply(event.id, *event.state, event.epoch);
  return table.apply_erase(event.id, event.epoch);
}

struct Pair {
  PlacementTable table{TableOptions{.shards = 1}};
  ReferenceTable<> reference;

  void deliver_both(const Event& event) {
    EXPECT_EQ(deliver(table, event), deliver(reference, event));
  }
  void expect_same(const std::string& id) const {
    expect_same_partition(table, reference, id);
    expect_same_contents(table, reference);
  }
};

// A short id, and one that does not fit a cell.
const std::vector<std::string>& ids() {
  static const auto& all = *new std::vector<std::string>{"a", std::string(200, 'b')};
  return all;
}

TEST(Apply, TakesAStateAtItsEpoch) {
  PlacementTable table;
  EXPECT_TRUE(table.apply("a", draining(1, 2), Epoch(7)));
  EXPECT_EQ(table.state("a"), (StateAt{draining(1, 2), Epoch(7)}));
  EXPECT_EQ(table.current_epoch(), Epoch(7));
  EXPECT_EQ(table.admit_write("a", Epoch(7)), WriteAdmission::Admit);
}

TEST(Apply, TakesOnlyWhatIsNewer) {
  PlacementTable table;
  ASSERT_TRUE(table.apply("a", active(1), Epoch(7)));
  EXPECT_FALSE(table.apply("a", active(1), Epoch(7)));
  EXPECT_FALSE(table.apply("a", active(2), Epoch(7)));
  EXPECT_FALSE(table.apply("a", draining(2, 3), Epoch(6)));
  EXPECT_FALSE(table.apply_erase("a", Epoch(7)));
  EXPECT_EQ(table.state("a"), (StateAt{active(1), Epoch(7)}));
  EXPECT_TRUE(table.apply("a", active(2), Epoch(8)));
}

TEST(Apply, RefusesTheZeroEpochAndThoseThatLeaveNoRoom) {
  test::CountingMemory memory;
  PlacementTable table{TableOptions{.memory = &memory}};
  const std::uint64_t most = Epoch::max_external().value();
  for (const Epoch epoch :
       {Epoch::zero(), Epoch(most + 1), Epoch::max(), Epoch(Epoch::max().value() + 1),
        Epoch(std::numeric_limits<std::uint64_t>::max())}) {
    EXPECT_FALSE(table.apply("a", active(1), epoch));
    EXPECT_FALSE(table.apply_erase("a", epoch));
  }
  EXPECT_EQ(table.current_epoch(), Epoch::zero());
  EXPECT_FALSE(table.contains("a"));
  EXPECT_EQ(memory.bytes(MemoryUse::Counters), 0U) << "there never was a partition";
  EXPECT_TRUE(table.apply("a", active(1), Epoch(most)));
  EXPECT_EQ(table.state("a"), (StateAt{active(1), Epoch(most)}));
  EXPECT_TRUE(table.apply_erase("b", Epoch(most)));
  EXPECT_FALSE(table.apply("b", active(1), Epoch(most)));
  EXPECT_EQ(table.set("c", place(1)), Epoch(most + 1)) << "the table's own epochs go on";
}

// ---- epochs that partitions share ----

// Revision 5 puts two partitions; the first is erased at 6; the second's put arrives late, and
// takes the cell that the first has left.
TEST(SharedEpochs, ARefToAnErasedPartitionDoesNotAnswerForAnother) {
  for (const std::size_t others : {1U, 40U, 1000U}) {
    PlacementTable table{TableOptions{.shards = 1}};
    ASSERT_TRUE(table.apply("x", active(1), Epoch(5)));
    PartitionRef ref = table.ref("x");
    ASSERT_TRUE(ref.get());
    ASSERT_TRUE(table.apply_erase("x", Epoch(6)));
    table.forget_erased(Epoch(6));
    for (std::size_t i = 0; i < others; ++i) {
      ASSERT_TRUE(table.apply("y" + std::to_string(i), active(2), Epoch(5)));
      ASSERT_FALSE(ref.get().has_value()) << i;
      ASSERT_EQ(ref.acquire_write().refusal(), WriteRefusal::UnknownPartition);
      ASSERT_EQ(ref.admit_write(Epoch(5)), WriteAdmission::Reject);
    }
    for (std::size_t i = 0; i < others; ++i) {
      ASSERT_EQ(table.writes_in_flight("y" + std::to_string(i)), 0U);
    }
  }
}

TEST(SharedEpochs, ManyPartitionsChangeAtOneRevision) {
  PlacementTable table;
  ReferenceTable reference;
  for (std::uint64_t revision = 1; revision <= 20; ++revision) {
    for (std::uint64_t i = 0; i < 200; ++i) {
      const std::string id = std::to_string(i * revision % 211);
      const PartitionState state = i % 3 == 0   ? active(i % 5)
                                   : i % 3 == 1 ? draining(i % 5, i % 7)
                                                : cutover(i % 5, i % 7);
      const Epoch epoch(revision * 10);
      if (i % 11 == 0) {
        ASSERT_EQ(table.apply_erase(id, epoch), reference.apply_erase(id, epoch));
      } else {
        ASSERT_EQ(table.apply(id, state, epoch), reference.apply(id, state, epoch));
      }
    }
    if (revision % 4 == 0) {
      table.forget_erased(Epoch(revision * 10 - 15));
      reference.forget_erased(Epoch(revision * 10 - 15));
    }
    expect_same_contents(table, reference);
  }
}

// ---- epochs that outlive the process ----

TEST(FirstEpoch, IsTheLeastThatTheFirstChangeDraws) {
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2},
                                    std::uint64_t{1'000'000}, Epoch::max_external().value()}) {
    PlacementTable table{TableOptions{.first_epoch = Epoch(first)}};
    const std::uint64_t expected = std::max(first, std::uint64_t{1});
    EXPECT_EQ(table.current_epoch(), Epoch(expected - 1));
    EXPECT_EQ(table.set("a", place(1)), Epoch(expected));
    EXPECT_EQ(table.set("a", place(2)), Epoch(expected + 1));
  }
}

TEST(FirstEpoch, IsRefusedWhereItLeavesNoRoom) {
  for (const std::uint64_t first : {Epoch::max_external().value() + 1, Epoch::max().value(),
                                    std::numeric_limits<std::uint64_t>::max()}) {
    EXPECT_THROW(PlacementTable(TableOptions{.first_epoch = Epoch(first)}), std::out_of_range);
  }
}

// A storage that remembers the greatest epoch and a replica go on believing a source that restarts.
TEST(FirstEpoch, AboveTheLastOneIsBelievedByWhoKnewTheOldProcess) {
  PlacementTable replica;
  Epoch last;
  for (int process = 0; process < 3; ++process) {
    PlacementTable source{TableOptions{.first_epoch = Epoch(last.value() + 1)}};
    for (std::uint64_t i = 0; i < 5; ++i) {
      const Epoch epoch = source.set("a", place(i));
      EXPECT_GT(epoch, last);
      EXPECT_TRUE(replica.apply("a", source.state("a")->state, epoch));
      last = epoch;
    }
  }
}

TEST(Apply, GoesFromEveryStateToEveryState) {
  const std::vector<std::optional<PartitionState>> states = {
      std::nullopt,   active(1),      active(2),     draining(1, 2), draining(1, 3),
      draining(2, 1), draining(2, 2), cutover(1, 2), cutover(1, 3),  cutover(2, 1)};
  for (const std::string& id : ids()) {
    for (std::size_t before = 0; before <= states.size(); ++before) {
      for (const auto& first : states) {
        for (const auto& second : states) {
          Pair pair;
          // The last of `before` stands for an id that was never heard of.
          if (before < states.size()) pair.deliver_both({id, states[before], Epoch(3)});
          pair.deliver_both({id, first, Epoch(5)});
          pair.deliver_both({id, second, Epoch(6)});
          pair.expect_same(id);
          pair.deliver_both({id, first, Epoch(5)});
          pair.expect_same(id);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST(Apply, EveryOrderOfArrivalEndsInTheSameState) {
  const std::string a = ids()[0];
  const std::string b = ids()[1];
  const std::vector<Event> history = {
      {a, active(1), Epoch(2)},     {a, draining(1, 2), Epoch(3)}, {b, active(5), Epoch(4)},
      {a, cutover(1, 2), Epoch(5)}, {a, active(2), Epoch(6)},      {b, std::nullopt, Epoch(7)},
      {a, std::nullopt, Epoch(9)},
  };
  for (std::size_t length = 1; length <= history.size(); ++length) {
    ReferenceTable<> in_order;
    for (std::size_t i = 0; i < length; ++i) deliver(in_order, history[i]);
    std::vector<std::size_t> order(length);
    std::iota(order.begin(), order.end(), std::size_t{0});
    do {
      PlacementTable table{TableOptions{.shards = 1}};
      for (const std::size_t i : order) {
        deliver(table, history[i]);
        EXPECT_FALSE(deliver(table, history[i]));  // twice is as good as once
      }
      for (const std::string& id : {a, b}) expect_same_partition(table, in_order, id);
      expect_same_contents(table, in_order);
      ASSERT_FALSE(HasFailure());
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST(Apply, CountsInSizeAndForEachAsItComesAndGoes) {
  Pair pair;
  std::uint64_t epoch = 0;
  const auto event = [&](const std::string& id, std::optional<PartitionState> state) {
    pair.deliver_both({id, state, Epoch(++epoch)});
    pair.expect_same(id);
  };
  event("a", std::nullopt);
  event("a", active(1));
  event("b", draining(1, 2));
  event("b", draining(2, 3));
  event("a", std::nullopt);
  event("a", std::nullopt);
  EXPECT_EQ(pair.table.size(), 1U);
  event("b", std::nullopt);
  EXPECT_EQ(pair.table.size(), 0U);
}

TEST(Apply, WorksWhileTheTableGrows) {
  Pair pair;
  for (std::uint64_t n = 1; n <= 3000; ++n) {
    const std::string id = std::to_string(n % 700) + std::string(n % 90, '.');
    const std::uint64_t kind = n % 5;
    pair.deliver_both({id,
                       kind == 0   ? std::nullopt
                       : kind == 1 ? std::optional(active(n % 11))
                       : kind == 2 ? std::optional(cutover(n % 7, n % 5))
                                   : std::optional(draining(n % 7, n % 5)),
                       Epoch(n)});
    expect_same_partition(pair.table, pair.reference, id);
    ASSERT_FALSE(HasFailure());
  }
  expect_same_contents(pair.table, pair.reference);
}

TEST(Apply, ManyMigratingStatesOfOnePartitionTakeNoMoreRoomThanOne) {
  PlacementTable table{TableOptions{.shards = 1}};
  for (std::uint64_t n = 1; n <= 20'000; ++n) {
    ASSERT_TRUE(table.apply("a", draining(n % 13, n % 7), Epoch(n)));
    ASSERT_EQ(table.size(), 1U);
  }
  EXPECT_EQ(table.state("a")->epoch, Epoch(20'000));
}

TEST(Apply, KeepsThePermitsThatAreOutCounted) {
  PlacementTable table;
  ASSERT_TRUE(table.apply("a", active(1), Epoch(1)));
  WritePermit permit = table.acquire_write("a");
  ASSERT_TRUE(table.apply("a", draining(2, 3), Epoch(2)));
  ASSERT_TRUE(table.apply("a", cutover(1, 3), Epoch(3)));
  EXPECT_EQ(table.writes_in_flight("a"), 1U);
  ASSERT_TRUE(table.apply_erase("a", Epoch(4)));
  ASSERT_TRUE(table.apply("a", active(3), Epoch(5)));
  EXPECT_EQ(table.writes_in_flight("a"), 1U);
  permit.release();
  EXPECT_EQ(table.writes_in_flight("a"), 0U);
}

TEST(ApplyErase, IsRememberedAndRefusesWhatIsOlder) {
  PlacementTable table;
  EXPECT_TRUE(table.apply_erase("a", Epoch(5)));
  EXPECT_EQ(table.current_epoch(), Epoch(5));
  EXPECT_FALSE(table.apply("a", active(1), Epoch(4)));
  EXPECT_FALSE(table.contains("a"));
  EXPECT_EQ(table.get("a"), std::nullopt);
  EXPECT_EQ(table.state("a"), std::nullopt);
  EXPECT_EQ(table.acquire_write("a").refusal(), WriteRefusal::UnknownPartition);
  EXPECT_EQ(table.admit_write("a", Epoch(5)), WriteAdmission::Reject);
  EXPECT_EQ(table.erase("a"), MigrationError::UnknownPartition);
  EXPECT_EQ(table.begin_migration("a", place(1)), MigrationError::UnknownPartition);
  EXPECT_TRUE(table.apply("a", active(1), Epoch(6)));
  EXPECT_TRUE(table.contains("a"));
}

TEST(ApplyErase, DoesNotStandInTheWayOfASet) {
  PlacementTable table;
  ASSERT_TRUE(table.apply_erase("a", Epoch(5)));
  EXPECT_EQ(table.set("a", place(1)), Epoch(6));
  EXPECT_EQ(table.get("a"), (PlacementAt{place(1), Epoch(6), MigrationPhase::Settled}));
  EXPECT_EQ(table.size(), 1U);
}

TEST(ForgetErased, ForgetsUpToItsEpochAndNothingElse) {
  PlacementTable table;
  ASSERT_TRUE(table.apply_erase("a", Epoch(5)));
  ASSERT_TRUE(table.apply_erase("b", Epoch(6)));
  ASSERT_TRUE(table.apply("c", active(1), Epoch(4)));
  table.forget_erased(Epoch(5));
  EXPECT_TRUE(table.apply("a", active(1), Epoch(3)));   // forgotten
  EXPECT_FALSE(table.apply("b", active(1), Epoch(3)));  // remembered
  EXPECT_EQ(table.state("c"), (StateAt{active(1), Epoch(4)}));
  EXPECT_EQ(table.size(), 2U);
}

TEST(ForgetErased, FindsEveryErasedPartitionOfALargeTable) {
  Pair pair;
  constexpr std::uint64_t kCount = 5000;
  const auto id = [](std::uint64_t n) { return std::to_string(n) + std::string(n % 70, '-'); };
  for (std::uint64_t n = 1; n <= kCount; ++n) pair.deliver_both({id(n), active(1), Epoch(n)});
  for (std::uint64_t n = 1; n <= kCount; n += 2) {
    pair.deliver_both({id(n), std::nullopt, Epoch(kCount + n)});
  }
  pair.table.forget_erased(Epoch(kCount + kCount / 2));
  pair.reference.forget_erased(Epoch(kCount + kCount / 2));
  for (std::uint64_t n = 1; n <= kCount; ++n) {
    pair.deliver_both({id(n), active(2), Epoch(kCount)});
  }
  expect_same_contents(pair.table, pair.reference);
}

TEST(ForgetErased, SparesAPartitionWithAPermitOut) {
  PlacementTable table;
  ASSERT_TRUE(table.apply("a", active(1), Epoch(1)));
  WritePermit permit = table.acquire_write("a");
  ASSERT_TRUE(table.apply_erase("a", Epoch(2)));
  table.forget_erased(Epoch(2));
  EXPECT_EQ(table.writes_in_flight("a"), 1U);
  permit.release();
  table.forget_erased(Epoch(2));
  EXPECT_EQ(table.writes_in_flight("a"), 0U);
  EXPECT_TRUE(table.apply("a", active(1), Epoch(1)));
}

TEST(ForgetErased, OfAnEmptyTableIsNothing) {
  PlacementTable table;
  table.forget_erased(Epoch::max());
  EXPECT_EQ(table.size(), 0U);
}

}  // namespace
}  // namespace placement
