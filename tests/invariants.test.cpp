// SPDX-License-Identifier: Apache-2.0
//
// The invariants by name, as far as one thread can see them.
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
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

constexpr std::string_view kId = "tenant-42";

class Invariants : public testing::Test {
 protected:
  void drain() {
    settled_ = table_.set(kId, place(1));
    draining_ = *table_.begin_migration(kId, place(2));
  }
  void cut_over() {
    drain();
    cutover_ = *table_.enter_cutover(kId);
  }
  void flip() {
    cut_over();
    flipped_ = *table_.complete_migration(kId);
  }

  PlacementTable table_;
  Epoch settled_;
  Epoch draining_;
  Epoch cutover_;
  Epoch flipped_;
};

TEST_F(Invariants, M1NoEpochAdmitsAWriteDuringCutover) {
  cut_over();
  for (std::uint64_t epoch = 0; epoch <= cutover_.value() + 1; ++epoch) {
    EXPECT_EQ(table_.admit_write(kId, Epoch(epoch)), WriteAdmission::Reject);
  }
}

TEST_F(Invariants, M1NoPermitIsGivenDuringCutover) {
  cut_over();
  EXPECT_EQ(table_.acquire_write(kId).refusal(), WriteRefusal::Cutover);
  EXPECT_EQ(table_.acquire_write(kId, cutover_).refusal(), WriteRefusal::Cutover);
  EXPECT_EQ(table_.acquire_write(kId, draining_).refusal(), WriteRefusal::Cutover);
  EXPECT_EQ(table_.state(kId)->state.write_placement(), std::nullopt);
  EXPECT_EQ(table_.writes_in_flight(kId), 0U);
}

TEST_F(Invariants, M2AfterTheFlipNoEpochOfTheOriginAdmitsAWrite) {
  flip();
  for (const Epoch old : {settled_, draining_, cutover_}) {
    EXPECT_EQ(table_.admit_write(kId, old), WriteAdmission::Reject);
    EXPECT_EQ(table_.acquire_write(kId, old).refusal(), WriteRefusal::StaleEpoch);
  }
  EXPECT_EQ(table_.admit_write(kId, flipped_), WriteAdmission::Admit);
  EXPECT_EQ(table_.acquire_write(kId).placement(), place(2));
}

TEST_F(Invariants, M2ASetSupersedesEveryEpochBefore) {
  flip();
  const Epoch now = table_.set(kId, place(3));
  for (std::uint64_t epoch = 0; epoch < now.value(); ++epoch) {
    EXPECT_EQ(table_.admit_write(kId, Epoch(epoch)), WriteAdmission::Reject);
  }
  EXPECT_EQ(table_.acquire_write(kId, now).placement(), place(3));
}

TEST_F(Invariants, M3BeforeTheFlipEveryPermitIsForTheOrigin) {
  drain();
  EXPECT_EQ(table_.acquire_write(kId).placement(), place(1));
  EXPECT_EQ(table_.state(kId)->state.write_placement(), place(1));
  EXPECT_EQ(table_.admit_write(kId, settled_), WriteAdmission::Reject);
}

TEST_F(Invariants, M3AnAbortLeavesTheOriginAsItWas) {
  for (const bool in_cutover : {false, true}) {
    in_cutover ? cut_over() : drain();
    const Epoch aborted = *table_.abort_migration(kId);
    EXPECT_EQ(table_.get(kId), (PlacementAt{place(1), aborted, MigrationPhase::Settled}));
    EXPECT_EQ(table_.acquire_write(kId).placement(), place(1));
    EXPECT_EQ(table_.state(kId)->state, PartitionState::active(place(1)));
  }
}

TEST_F(Invariants, M3AnAbortedDestinationDoesNotComeBack) {
  cut_over();
  ASSERT_TRUE(table_.abort_migration(kId));
  ASSERT_TRUE(table_.begin_migration(kId, place(3)));
  EXPECT_EQ(table_.state(kId)->state.destination(), place(3));
  ASSERT_TRUE(table_.enter_cutover(kId));
  ASSERT_TRUE(table_.complete_migration(kId));
  EXPECT_EQ(table_.get(kId)->placement, place(3));
}

TEST_F(Invariants, M4AReadIsOfTheOriginUntilTheFlipAndOfTheDestinationAfter) {
  drain();
  EXPECT_EQ(table_.get(kId), (PlacementAt{place(1), draining_, MigrationPhase::Draining}));
  cutover_ = *table_.enter_cutover(kId);
  EXPECT_EQ(table_.get(kId), (PlacementAt{place(1), cutover_, MigrationPhase::Cutover}));
  flipped_ = *table_.complete_migration(kId);
  EXPECT_EQ(table_.get(kId), (PlacementAt{place(2), flipped_, MigrationPhase::Settled}));
}

TEST_F(Invariants, M4GetStateAndForEachAgreeAtEveryStep) {
  for (const Operation operation :
       {Operation::Set, Operation::BeginMigration, Operation::AbortMigration,
        Operation::BeginMigration, Operation::EnterCutover, Operation::CompleteMigration,
        Operation::BeginMigration, Operation::EnterCutover, Operation::AbortMigration,
        Operation::BeginMigration, Operation::Set}) {
    ASSERT_TRUE(perform(table_, operation, kId, place(table_.current_epoch().value())));
    const StateAt state = *table_.state(kId);
    EXPECT_EQ(table_.get(kId),
              (PlacementAt{state.state.read_placement(), state.epoch, state.state.phase()}));
    table_.for_each([&](std::string_view, const PartitionState& seen, Epoch epoch) {
      EXPECT_EQ((StateAt{seen, epoch}), state);
    });
  }
}

TEST_F(Invariants, E1EpochsAreUniqueAcrossTheTableAndGrowForEachPartition) {
  std::set<Epoch> drawn;
  std::map<std::string, Epoch> newest;
  for (std::uint64_t round = 0; round < 20; ++round) {
    for (const std::string id : {"a", "b", "c"}) {
      for (const Operation operation : test::kCalls) {
        const TransitionResult result = perform(table_, operation, id, place(round));
        if (!result) continue;
        EXPECT_TRUE(drawn.insert(*result).second);
        EXPECT_GT(*result, newest[id]);
        newest[id] = *result;
      }
    }
  }
  EXPECT_GT(drawn.size(), 60U);
  EXPECT_FALSE(drawn.contains(Epoch::zero()));
}

TEST_F(Invariants, E1AnErasedIdComesBackWithANewerEpoch) {
  const Epoch before = table_.set(kId, place(1));
  const Epoch erased = *table_.erase(kId);
  const Epoch after = table_.set(kId, place(1));
  EXPECT_LT(before, erased);
  EXPECT_LT(erased, after);
  EXPECT_EQ(table_.admit_write(kId, before), WriteAdmission::Reject);
}

TEST_F(Invariants, E2TheGenerationIsNeverBehindAnEpochThatWasSeen) {
  EXPECT_EQ(table_.current_epoch(), Epoch::zero());
  const auto expect_seen = [&](TransitionResult result) {
    ASSERT_TRUE(result);
    EXPECT_EQ(table_.current_epoch(), *result);
  };
  expect_seen(table_.set("a", place(1)));
  expect_seen(table_.begin_migration("a", place(2)));
  EXPECT_EQ(table_.current_epoch(), table_.get("a")->epoch);
  expect_seen(table_.abort_migration("a"));
  expect_seen(table_.erase("a"));
}

TEST_F(Invariants, E2AnAppliedEpochRaisesTheGeneration) {
  ASSERT_TRUE(table_.apply(kId, PartitionState::active(place(1)), Epoch(1000)));
  EXPECT_EQ(table_.current_epoch(), Epoch(1000));
  ASSERT_TRUE(table_.apply("other", PartitionState::active(place(1)), Epoch(500)));
  EXPECT_EQ(table_.current_epoch(), Epoch(1000));
  EXPECT_EQ(table_.set("third", place(1)), Epoch(1001));
}

TEST_F(Invariants, E3ARefusalChangesNothing) {
  cut_over();
  const StateAt before = *table_.state(kId);
  EXPECT_EQ(table_.begin_migration(kId, place(9)), MigrationError::AlreadyMigrating);
  EXPECT_EQ(table_.enter_cutover(kId), MigrationError::NotDraining);
  EXPECT_EQ(table_.erase(kId), MigrationError::AlreadyMigrating);
  EXPECT_EQ(table_.complete_migration("nobody"), MigrationError::UnknownPartition);
  EXPECT_EQ(table_.state(kId), before);
  EXPECT_EQ(table_.current_epoch(), cutover_);
  EXPECT_FALSE(table_.contains("nobody"));
  EXPECT_EQ(table_.size(), 1U);
}

TEST_F(Invariants, LAChangeIsVisibleToEveryReadWhenItsCallReturns) {
  cut_over();
  EXPECT_TRUE(table_.contains(kId));
  EXPECT_EQ(table_.state(kId)->epoch, cutover_);
  EXPECT_EQ(table_.get(kId)->phase, MigrationPhase::Cutover);
  EXPECT_EQ(table_.current_epoch(), cutover_);
  ASSERT_TRUE(table_.abort_migration(kId));
  ASSERT_TRUE(table_.erase(kId));
  EXPECT_FALSE(table_.contains(kId));
  EXPECT_EQ(table_.get(kId), std::nullopt);
  EXPECT_EQ(table_.state(kId), std::nullopt);
  EXPECT_EQ(table_.acquire_write(kId).refusal(), WriteRefusal::UnknownPartition);
}

TEST_F(Invariants, LAReadChangesNothing) {
  drain();
  const StateAt before = *table_.state(kId);
  static_cast<void>(table_.get(kId));
  static_cast<void>(table_.contains("nobody"));
  static_cast<void>(table_.admit_write(kId, draining_));
  static_cast<void>(table_.admit_write("nobody", draining_));
  static_cast<void>(table_.migrations());
  EXPECT_EQ(table_.state(kId), before);
  EXPECT_EQ(table_.current_epoch(), draining_);
  EXPECT_EQ(table_.size(), 1U);
}

TEST_F(Invariants, PAPartitionDoesNotFlipWhileAPermitIsOut) {
  drain();
  std::vector<WritePermit> permits;
  for (int i = 0; i < 3; ++i) permits.push_back(table_.acquire_write(kId));
  cutover_ = *table_.enter_cutover(kId);
  while (!permits.empty()) {
    EXPECT_EQ(table_.complete_migration(kId), MigrationError::WritesInFlight);
    EXPECT_EQ(table_.get(kId), (PlacementAt{place(1), cutover_, MigrationPhase::Cutover}));
    permits.pop_back();
  }
  EXPECT_TRUE(table_.complete_migration(kId));
}

TEST_F(Invariants, PAPermitOfBeforeTheMigrationHoldsTheFlipToo) {
  table_.set(kId, place(1));
  WritePermit permit = table_.acquire_write(kId);
  ASSERT_TRUE(table_.begin_migration(kId, place(2)));
  ASSERT_TRUE(table_.enter_cutover(kId));
  EXPECT_EQ(table_.complete_migration(kId), MigrationError::WritesInFlight);
  permit.release();
  EXPECT_TRUE(table_.complete_migration(kId));
}

TEST_F(Invariants, PAnotherPartitionsPermitHoldsNoFlip) {
  table_.set("other", place(1));
  const WritePermit permit = table_.acquire_write("other");
  cut_over();
  EXPECT_TRUE(table_.complete_migration(kId));
}

TEST_F(Invariants, PAPermitStaysCountedOverGrowth) {
  drain();
  WritePermit permit = table_.acquire_write(kId);
  ASSERT_TRUE(table_.enter_cutover(kId));
  for (std::uint64_t n = 0; n < 5000; ++n) {
    table_.set(std::to_string(n), place(n % 10));
  }
  EXPECT_EQ(table_.writes_in_flight(kId), 1U);
  EXPECT_EQ(table_.complete_migration(kId), MigrationError::WritesInFlight);
  permit.release();
  EXPECT_TRUE(table_.complete_migration(kId));
}

}  // namespace
}  // namespace placement
