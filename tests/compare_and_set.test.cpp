// SPDX-License-Identifier: Apache-2.0
//
// Changes that are made only if the partition is as the caller saw it.
#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"
#include "support/place.hpp"
#include "support/threads.hpp"

namespace placement {
namespace {

using test::place;

constexpr Epoch kElsewhere{1'000'000};

TEST(CompareAndSet, RegistersAPartitionThatIsAbsentOnceOnly) {
  PlacementTable table;
  const TransitionResult first = table.set("a", place(1), Epoch::zero());
  ASSERT_TRUE(first);
  EXPECT_EQ(table.set("a", place(2), Epoch::zero()), MigrationError::StaleEpoch);
  EXPECT_EQ(table.state("a"), (StateAt{PartitionState::active(place(1)), *first}));
  EXPECT_EQ(table.current_epoch(), *first);
}

TEST(CompareAndSet, ReplacesWhatHasTheExpectedEpochInEveryState) {
  PlacementTable table;
  const std::vector<std::function<Epoch()>> transitions = {
      [&] { return table.set("a", place(1)); },
      [&] { return *table.begin_migration("a", place(2)); },
      [&] { return *table.enter_cutover("a"); },
  };
  for (std::size_t many = 1; many <= transitions.size(); ++many) {
    Epoch at;
    for (std::size_t i = 0; i < many; ++i) at = transitions[i]();
    const auto before = table.state("a");
    for (const Epoch other : {Epoch::zero(), Epoch(at.value() - 1), Epoch(at.value() + 1)}) {
      EXPECT_EQ(table.set("a", place(3), other), MigrationError::StaleEpoch);
      EXPECT_EQ(table.state("a"), before);
    }
    const TransitionResult done = table.set("a", place(3), at);
    ASSERT_TRUE(done);
    EXPECT_EQ(table.state("a"), (StateAt{PartitionState::active(place(3)), *done}));
  }
}

TEST(CompareAndSet, OfABeginAndAnErase) {
  PlacementTable table;
  const Epoch at = table.set("a", place(1));
  EXPECT_EQ(table.begin_migration("a", place(2), Epoch(at.value() + 1)),
            MigrationError::StaleEpoch);
  EXPECT_EQ(table.erase("a", Epoch(at.value() + 1)), MigrationError::StaleEpoch);
  const TransitionResult begun = table.begin_migration("a", place(2), at);
  ASSERT_TRUE(begun);
  const TransitionResult aborted = table.abort_migration("a");
  EXPECT_EQ(table.erase("a", at), MigrationError::StaleEpoch);
  EXPECT_TRUE(table.erase("a", *aborted));
  EXPECT_FALSE(table.contains("a"));
}

TEST(CompareAndSet, StaleEpochComesBeforeEveryOtherRefusal) {
  PlacementTable table;
  EXPECT_EQ(table.begin_migration("a", place(1), kElsewhere), MigrationError::StaleEpoch);
  EXPECT_EQ(table.erase("a", kElsewhere), MigrationError::StaleEpoch);
  table.set("a", place(1));
  {
    const WritePermit permit = table.acquire_write("a");
    EXPECT_EQ(table.erase("a", kElsewhere), MigrationError::StaleEpoch);
  }
  ASSERT_TRUE(table.begin_migration("a", place(2)));
  EXPECT_EQ(table.begin_migration("a", place(2), kElsewhere), MigrationError::StaleEpoch);
  EXPECT_EQ(table.erase("a", kElsewhere), MigrationError::StaleEpoch);
}

TEST(CompareAndSet, AnAbsentPartitionHasTheEpochZero) {
  PlacementTable table;
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(table.begin_migration("a", place(1), Epoch::zero()),
              MigrationError::UnknownPartition);
    EXPECT_EQ(table.erase("a", Epoch::zero()), MigrationError::UnknownPartition);
    const TransitionResult placed = table.set("a", place(1), Epoch::zero());
    ASSERT_TRUE(placed);
    // Absent: never there, erased, remembered as erased.
    if (round == 0) {
      ASSERT_TRUE(table.erase("a"));
    } else {
      ASSERT_TRUE(table.apply_erase("a", Epoch(placed.value().value() + 10)));
    }
  }
}

// What a router does with a partition that it sees first, beside an operator who places it: the
// operator's word is never undone.
TEST(CompareAndSet, FirstUseNeverUndoesWhatAnOperatorDid) {
  constexpr std::size_t kIds = 20'000;
  PlacementTable table;
  std::atomic<std::size_t> front{0};
  std::atomic<std::size_t> won{0};
  const auto first_use = [&] {
    for (std::size_t i = 0; i < kIds; ++i) {
      const std::string id = std::to_string(i);
      front = i;
      const WritePermit permit = table.acquire_write(id);
      if (permit || permit.refusal() != WriteRefusal::UnknownPartition) continue;
      if (table.set(id, place(0), Epoch::zero())) ++won;
    }
  };
  const auto operate = [&] {
    for (std::size_t i = 0; i < kIds; ++i) {
      while (front < i) std::this_thread::yield();
      const std::string id = std::to_string(i);
      table.set(id, place(1));
      EXPECT_TRUE(table.begin_migration(id, place(2)));
    }
  };
  test::run_together({first_use, first_use, operate});
  for (std::size_t i = 0; i < kIds; ++i) {
    ASSERT_EQ(table.state(std::to_string(i))->state,
              PartitionState::migrating(place(1), place(2), MigrationPhase::Draining));
  }
  EXPECT_GT(won, 0U);
}

}  // namespace
}  // namespace placement
