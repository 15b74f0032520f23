// SPDX-License-Identifier: Apache-2.0
//
// Write permits. INV-P: while one is out, its partition does not flip.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/manual_clock.hpp"
#include "support/test_memory.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

const Placement& here() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("here"));
  return placement;
}
const Placement& there() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("there"));
  return placement;
}

class Permits : public testing::Test {
 protected:
  Permits() : table_(TableOptions{.shards = 1, .clock = &clock_}) {}

  void enter_cutover() {
    ASSERT_TRUE(table_.begin_migration("a", there()));
    ASSERT_TRUE(table_.enter_cutover("a"));
  }
  [[nodiscard]] std::size_t in_flight() const { return table_.writes_in_flight("a"); }

  ManualClock clock_;
  PlacementTable table_;
};

static_assert(std::is_nothrow_move_constructible_v<WritePermit>);
static_assert(std::is_nothrow_move_assignable_v<WritePermit>);
static_assert(!std::is_copy_constructible_v<WritePermit>);
static_assert(!std::is_copy_assignable_v<WritePermit>);

// ---- what is granted, and what is refused ----

TEST_F(Permits, ResolveAndAdmitAtOneInstant) {
  const Epoch settled = table_.set("a", here());
  const WritePermit permit = table_.acquire_write("a");
  ASSERT_TRUE(permit);
  EXPECT_EQ(permit.placement(), here());
  EXPECT_EQ(permit.epoch(), settled);
}

TEST_F(Permits, AreForTheOriginWhileDraining) {
  table_.set("a", here());
  const Epoch draining = table_.begin_migration("a", there()).value();
  const WritePermit permit = table_.acquire_write("a");
  ASSERT_TRUE(permit);
  EXPECT_EQ(permit.placement(), here());
  EXPECT_EQ(permit.epoch(), draining);
}

TEST_F(Permits, AreForTheDestinationAfterTheFlip) {
  table_.set("a", here());
  enter_cutover();
  const Epoch flip = table_.complete_migration("a").value();
  const WritePermit permit = table_.acquire_write("a");
  ASSERT_TRUE(permit);
  EXPECT_EQ(permit.placement(), there());
  EXPECT_EQ(permit.epoch(), flip);
}

TEST_F(Permits, AreForTheOriginAfterAnAbort) {
  table_.set("a", here());
  enter_cutover();
  const Epoch aborted = table_.abort_migration("a").value();
  const WritePermit permit = table_.acquire_write("a");
  ASSERT_TRUE(permit);
  EXPECT_EQ(permit.placement(), here());
  EXPECT_EQ(permit.epoch(), aborted);
}

TEST_F(Permits, AreRefusedToAnUnknownPartition) {
  EXPECT_EQ(table_.acquire_write("a").refusal(), WriteRefusal::UnknownPartition);
  EXPECT_EQ(table_.acquire_write("a", Epoch(1)).refusal(), WriteRefusal::UnknownPartition);
  EXPECT_EQ(table_.acquire_write("a", Epoch::zero()).refusal(), WriteRefusal::UnknownPartition);
  table_.set("a", here());
  ASSERT_TRUE(table_.erase("a"));
  EXPECT_EQ(table_.acquire_write("a").refusal(), WriteRefusal::UnknownPartition);
  ASSERT_TRUE(table_.apply_erase("b", Epoch(9)));
  EXPECT_EQ(table_.acquire_write("b", Epoch(9)).refusal(), WriteRefusal::UnknownPartition);
}

TEST_F(Permits, AreRefusedInCutover) {
  table_.set("a", here());
  enter_cutover();
  EXPECT_EQ(table_.acquire_write("a").refusal(), WriteRefusal::Cutover);
  EXPECT_EQ(in_flight(), 0U);
  EXPECT_TRUE(table_.complete_migration("a"));
}

TEST_F(Permits, AreGrantedAtTheExpectedEpochOnly) {
  const Epoch first = table_.set("a", here());
  EXPECT_TRUE(table_.acquire_write("a", first));
  const Epoch draining = table_.begin_migration("a", there()).value();
  EXPECT_EQ(table_.acquire_write("a", first).refusal(), WriteRefusal::StaleEpoch);
  EXPECT_EQ(table_.acquire_write("a", Epoch::zero()).refusal(), WriteRefusal::StaleEpoch);
  EXPECT_EQ(table_.acquire_write("a", Epoch::max()).refusal(), WriteRefusal::StaleEpoch);
  EXPECT_TRUE(table_.acquire_write("a", draining));
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, AreRefusedForTheCutoverBeforeTheStaleEpoch) {
  const Epoch first = table_.set("a", here());
  enter_cutover();
  EXPECT_EQ(table_.acquire_write("a", first).refusal(), WriteRefusal::Cutover);
  EXPECT_EQ(table_.acquire_write("a", table_.get("a")->epoch).refusal(), WriteRefusal::Cutover);
}

// ---- what a permit that is out forbids, and what it does not ----

TEST_F(Permits, HoldUpTheFlipUntilTheLastIsBack) {
  table_.set("a", here());
  WritePermit one = table_.acquire_write("a");
  ASSERT_TRUE(table_.begin_migration("a", there()));
  WritePermit two = table_.acquire_write("a");
  ASSERT_TRUE(table_.enter_cutover("a"));
  const StateAt cutover = *table_.state("a");
  const Epoch generation = table_.current_epoch();
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  one.release();
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  EXPECT_EQ(table_.state("a"), cutover);
  EXPECT_EQ(table_.current_epoch(), generation);
  two.release();
  EXPECT_TRUE(table_.complete_migration("a"));
}

TEST_F(Permits, HoldUpTheErase) {
  table_.set("a", here());
  WritePermit permit = table_.acquire_write("a");
  EXPECT_EQ(table_.erase("a"), MigrationError::WritesInFlight);
  EXPECT_TRUE(table_.contains("a"));
  // The refusal left the counter open.
  EXPECT_TRUE(table_.acquire_write("a"));
  permit.release();
  EXPECT_TRUE(table_.erase("a"));
}

TEST_F(Permits, HoldUpNoOtherTransition) {
  table_.set("a", here());
  const WritePermit permit = table_.acquire_write("a");
  EXPECT_TRUE(table_.begin_migration("a", there()));
  EXPECT_TRUE(table_.abort_migration("a"));
  EXPECT_TRUE(table_.begin_migration("a", there()));
  EXPECT_TRUE(table_.enter_cutover("a"));
  EXPECT_TRUE(table_.claim_migration("a"));
  EXPECT_TRUE(table_.abort_migration("a"));
  EXPECT_EQ(in_flight(), 1U);
}

TEST_F(Permits, DoNotHoldUpSetAndStayCounted) {
  table_.set("a", here());
  WritePermit permit = table_.acquire_write("a");
  enter_cutover();
  table_.set("a", there());  // in another cell: the permit's counter goes along
  EXPECT_EQ(in_flight(), 1U);
  EXPECT_EQ(permit.placement(), here());
  enter_cutover();
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  permit.release();
  EXPECT_TRUE(table_.complete_migration("a"));
}

TEST_F(Permits, StayCountedThroughApply) {
  ASSERT_TRUE(table_.apply("a", PartitionState::active(here()), Epoch(1)));
  WritePermit permit = table_.acquire_write("a");
  ASSERT_TRUE(table_.apply("a", PartitionState::migrating(there(), here(), MigrationPhase::Cutover),
                           Epoch(2)));
  EXPECT_EQ(in_flight(), 1U);
  ASSERT_TRUE(table_.apply_erase("a", Epoch(3)));
  table_.forget_erased(Epoch(3));  // not while a permit is out
  ASSERT_TRUE(table_.apply("a", PartitionState::active(there()), Epoch(4)));
  EXPECT_EQ(in_flight(), 1U);
  permit.release();
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, OfOnePartitionHoldUpNoOther) {
  table_.set("a", here());
  table_.set("b", here());
  const WritePermit permit = table_.acquire_write("b");
  enter_cutover();
  EXPECT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(table_.writes_in_flight("b"), 1U);
  EXPECT_EQ(table_.writes_in_flight("c"), 0U);
}

TEST_F(Permits, AreCounted) {
  table_.set("a", here());
  std::vector<WritePermit> permits;
  for (std::size_t n = 1; n <= 100; ++n) {
    permits.push_back(table_.acquire_write("a"));
    EXPECT_EQ(in_flight(), n);
  }
  enter_cutover();
  ASSERT_EQ(table_.migrations().size(), 1U);
  EXPECT_EQ(table_.migrations()[0].writes_in_flight, 100U);
  while (!permits.empty()) {
    permits.pop_back();
    EXPECT_EQ(in_flight(), permits.size());
  }
}

// ---- the permit as an object ----

TEST_F(Permits, AreGivenBackOnceHoweverOftenTheyAreReleased) {
  table_.set("a", here());
  const WritePermit other = table_.acquire_write("a");
  {
    WritePermit permit = table_.acquire_write("a");
    EXPECT_EQ(in_flight(), 2U);
    permit.release();
    EXPECT_FALSE(permit);
    EXPECT_EQ(in_flight(), 1U);
    permit.release();
    permit.quarantine(absl::Hours(1));  // of nothing
    EXPECT_EQ(permit.placement(), here()) << "what was resolved is known still";
  }
  EXPECT_EQ(in_flight(), 1U);
}

TEST_F(Permits, MoveWithoutBeingCountedTwice) {
  table_.set("a", here());
  WritePermit permit = table_.acquire_write("a");
  WritePermit moved = std::move(permit);
  EXPECT_FALSE(permit);  // NOLINT(bugprone-use-after-move): what that leaves is documented
  EXPECT_TRUE(moved);
  EXPECT_EQ(moved.placement(), here());
  EXPECT_EQ(in_flight(), 1U);
  permit.release();
  EXPECT_EQ(in_flight(), 1U);
}

TEST_F(Permits, SurviveASelfMove) {
  table_.set("a", here());
  WritePermit permit = table_.acquire_write("a");
  WritePermit& same = permit;
  permit = std::move(same);
  EXPECT_TRUE(permit);
  EXPECT_EQ(permit.placement(), here());
  EXPECT_EQ(in_flight(), 1U);
  permit.release();
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, AreGivenBackWhenAnotherIsAssigned) {
  table_.set("a", here());
  table_.set("b", there());
  WritePermit permit = table_.acquire_write("a");
  permit = table_.acquire_write("b");
  EXPECT_EQ(in_flight(), 0U);
  EXPECT_EQ(table_.writes_in_flight("b"), 1U);
  EXPECT_EQ(permit.placement(), there());
  permit = table_.acquire_write("nobody");
  EXPECT_EQ(table_.writes_in_flight("b"), 0U);
  EXPECT_EQ(permit.refusal(), WriteRefusal::UnknownPartition);
}

TEST_F(Permits, Swap) {
  table_.set("a", here());
  table_.set("b", there());
  WritePermit a = table_.acquire_write("a");
  WritePermit b = table_.acquire_write("b");
  swap(a, b);
  EXPECT_EQ(a.placement(), there());
  EXPECT_EQ(b.placement(), here());
  b.release();
  EXPECT_EQ(in_flight(), 0U);
  EXPECT_EQ(table_.writes_in_flight("b"), 1U);
  WritePermit refused = table_.acquire_write("nobody");
  swap(a, refused);
  EXPECT_FALSE(a);
  EXPECT_TRUE(refused);
  swap(refused, refused);
  EXPECT_TRUE(refused);
  EXPECT_EQ(table_.writes_in_flight("b"), 1U);
}

TEST_F(Permits, CrossThreads) {
  table_.set("a", here());
  std::jthread([permit = table_.acquire_write("a")]() mutable { permit.release(); }).join();
  EXPECT_EQ(in_flight(), 0U);
  WritePermit made(WriteRefusal::Cutover);
  std::jthread([&] { made = table_.acquire_write("a"); }).join();
  EXPECT_TRUE(made);
  EXPECT_EQ(in_flight(), 1U);
}

// ---- quarantine ----

TEST_F(Permits, InQuarantineCountUntilTheTimeIsOver) {
  table_.set("a", here());
  WritePermit permit = table_.acquire_write("a");
  permit.quarantine(absl::Seconds(5));
  EXPECT_FALSE(permit);
  EXPECT_EQ(in_flight(), 1U);
  EXPECT_EQ(table_.erase("a"), MigrationError::WritesInFlight);
  enter_cutover();
  clock_.advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  clock_.advance(absl::Nanoseconds(1));
  EXPECT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, AreQuarantinedOnTheirTablesClockAfterAnAssignment) {
  table_.set("a", here());
  WritePermit permit(WriteRefusal::UnknownPartition);
  permit = table_.acquire_write("a");
  permit.quarantine(absl::Seconds(10));
  clock_.advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(in_flight(), 1U);
  clock_.advance(absl::Nanoseconds(1));
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, InQuarantineHoldUpTheEraseUntilTheTimeIsOver) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::Seconds(5));
  EXPECT_EQ(table_.erase("a"), MigrationError::WritesInFlight);
  clock_.advance(absl::Seconds(5));
  EXPECT_TRUE(table_.erase("a"));
}

TEST_F(Permits, InSeveralQuarantinesCountUntilTheLastIsOver) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::Seconds(5));
  table_.acquire_write("a").quarantine(absl::Seconds(9));
  table_.acquire_write("a").quarantine(absl::Seconds(1));
  WritePermit out = table_.acquire_write("a");
  EXPECT_EQ(in_flight(), 4U);
  clock_.advance(absl::Seconds(8));
  EXPECT_GE(in_flight(), 2U);
  clock_.advance(absl::Seconds(1));
  EXPECT_EQ(in_flight(), 1U);
  out.quarantine(absl::Seconds(2));
  clock_.advance(absl::Seconds(1));
  EXPECT_EQ(in_flight(), 1U);
  clock_.advance(absl::Seconds(1));
  EXPECT_EQ(in_flight(), 0U);
}

// Nobody has looked at the partition since.
TEST_F(Permits, InAQuarantineThatIsOverAreNotCountedAgainByTheNextOne) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::Seconds(5));
  clock_.advance(absl::Seconds(5));
  table_.acquire_write("a").quarantine(absl::Seconds(9));
  EXPECT_EQ(in_flight(), 1U);
}

TEST_F(Permits, InQuarantineAreNotKeptByOneThatIsOverThoughTheClockIsSetBack) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::Seconds(10));
  clock_.advance(absl::Seconds(10));
  EXPECT_EQ(in_flight(), 0U);
  clock_.advance(absl::Seconds(-10));
  table_.acquire_write("a").quarantine(absl::Seconds(1));
  clock_.advance(absl::Seconds(1));
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, InQuarantineForNoTimeAreBackAtOnce) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::ZeroDuration());
  EXPECT_EQ(in_flight(), 0U);
  table_.acquire_write("a").quarantine(-absl::InfiniteDuration());
  EXPECT_EQ(in_flight(), 0U);
}

TEST_F(Permits, InQuarantineForEverAreOverriddenByAbort) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::InfiniteDuration());
  enter_cutover();
  clock_.advance(absl::Hours(24 * 365 * 20));
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  EXPECT_TRUE(table_.abort_migration("a"));
}

// Nobody holds such a permit, so nobody can give it back first.
TEST_F(Permits, InQuarantineMayOutliveTheTable) {
  auto table = std::make_unique<PlacementTable>(TableOptions{.clock = &clock_});
  table->set("a", here());
  table->acquire_write("a").quarantine(absl::Seconds(5));
  table.reset();
}

// ---- counters ----

TEST_F(Permits, OfAPartitionThatIsNewStartAtZeroInARecycledCounter) {
  CountingMemory memory;
  PlacementTable table(TableOptions{.shards = 1, .memory = &memory, .clock = &clock_});
  for (int n = 0; n < 1000; ++n) {
    const std::string id = std::to_string(n);
    table.set(id, here());
    EXPECT_EQ(table.writes_in_flight(id), 0U);
    WritePermit permit = table.acquire_write(id);
    ASSERT_TRUE(permit);
    EXPECT_EQ(table.erase(id), MigrationError::WritesInFlight);
    if (n % 3 == 0) {
      permit.quarantine(absl::Seconds(1));
      clock_.advance(absl::Seconds(1));
    }
    permit.release();
    ASSERT_TRUE(table.erase(id));
    EXPECT_EQ(table.writes_in_flight(id), 0U);
  }
  EXPECT_EQ(memory.allocations(MemoryUse::Counters), 1U);
}

TEST_F(Permits, ThatAreOutDuringGrowthAreGivenBackAfterIt) {
  CountingMemory memory;
  PlacementTable table(TableOptions{.shards = 1, .memory = &memory});
  std::vector<WritePermit> permits;
  constexpr int kPartitions = 500;
  for (int n = 0; n < kPartitions; ++n) {
    table.set(std::to_string(n), here());
    // One taken before its cell moves again and again, and one on a random older cell.
    permits.push_back(table.acquire_write(std::to_string(n)));
    permits.push_back(table.acquire_write(std::to_string(n * 7 % (n + 1))));
  }
  EXPECT_GE(memory.allocations(MemoryUse::Cells), 4U);
  std::size_t sum = 0;
  for (int n = 0; n < kPartitions; ++n) sum += table.writes_in_flight(std::to_string(n));
  EXPECT_EQ(sum, permits.size());
  for (int n = 0; n < kPartitions; ++n) {
    ASSERT_TRUE(table.begin_migration(std::to_string(n), there()));
    ASSERT_TRUE(table.enter_cutover(std::to_string(n)));
    EXPECT_EQ(table.complete_migration(std::to_string(n)), MigrationError::WritesInFlight);
  }
  permits.clear();
  for (int n = 0; n < kPartitions; ++n) {
    EXPECT_TRUE(table.complete_migration(std::to_string(n)));
  }
}

TEST_F(Permits, OfSixteenPartitionsAtATimeTakeSixteenCounters) {
  CountingMemory memory;
  PlacementTable table(TableOptions{.shards = 1, .memory = &memory});
  for (int n = 0; n < 16; ++n) table.set(std::to_string(n), here());
  for (int n = 16; n < 100; ++n) {
    ASSERT_TRUE(table.erase(std::to_string(n - 16)));
    table.set(std::to_string(n), here());
  }
  EXPECT_EQ(memory.allocations(MemoryUse::Counters), 1U);
  table.set("one more", here());
  EXPECT_EQ(memory.allocations(MemoryUse::Counters), 2U);
}

TEST(WriteCounter, TellsTheLastToLeaveThatSomeoneWaits) {
  detail::WriteCounter counter{};
  ASSERT_TRUE(counter.enter() && counter.enter());
  counter.await();
  EXPECT_FALSE(counter.leave()) << "another is in flight";
  EXPECT_TRUE(counter.leave());
  counter.await_no_more();
  ASSERT_TRUE(counter.enter());
  EXPECT_FALSE(counter.leave()) << "nobody waits";
}

TEST(WriteCounter, IsAwaitedUntilTheLastWaiterGoes) {
  detail::WriteCounter counter{};
  ASSERT_TRUE(counter.enter() && counter.enter());
  EXPECT_FALSE(counter.is_awaited());
  counter.await();
  counter.await();
  counter.await_no_more();
  EXPECT_TRUE(counter.is_awaited());
  counter.await_no_more();
  EXPECT_FALSE(counter.is_awaited());
}

TEST(WriteCounter, TellsWhoEndsTheLastQuarantineThatSomeoneWaits) {
  ManualClock clock;
  detail::PermitsThatAreOver over;
  detail::WriteCounter counter{};
  const auto quarantine_one = [&] {
    ASSERT_TRUE(counter.enter());
    counter.quarantine(clock.now());
  };
  quarantine_one();
  EXPECT_FALSE(counter.end_quarantine(clock, over)) << "nobody waits";
  counter.await();
  EXPECT_FALSE(counter.end_quarantine(clock, over)) << "there is none";
  ASSERT_TRUE(counter.enter());
  quarantine_one();
  EXPECT_FALSE(counter.end_quarantine(clock, over)) << "another is in flight";
  quarantine_one();
  ASSERT_FALSE(counter.leave());
  EXPECT_TRUE(counter.end_quarantine(clock, over));
  EXPECT_EQ(counter.in_flight(), 0U);
  counter.await_no_more();
}

// A writer that counted itself on a counter that was closed takes that back; if meanwhile the
// counter went to the next partition, and a drain waits there for what it saw, it has to be woken.
TEST(WriteCounter, TellsTheLateWriterOfThePartitionBeforeThatADrainWaits) {
  detail::WriteCounter counter{};
  ASSERT_TRUE(counter.close_if_idle());
  ASSERT_FALSE(counter.enter());
  counter.reopen();
  counter.await();
  EXPECT_EQ(counter.in_flight(), 1U);
  EXPECT_TRUE(counter.leave());
  EXPECT_EQ(counter.in_flight(), 0U);
  counter.await_no_more();
}

// ---- the table's end ----

using PermitsDeathTest = Permits;

TEST_F(PermitsDeathTest, ThatOutliveTheTableAreCaughtInDebugBuilds) {
#ifdef NDEBUG
  GTEST_SKIP() << "no assertions in this build";
#else
  EXPECT_DEATH(
      {
        auto table = std::make_unique<PlacementTable>();
        table->set("a", here());
        const WritePermit permit = table->acquire_write("a");
        table.reset();
      },
      "permit");
#endif
}

// ---- waiting for the drain ----

TEST_F(Permits, AreDrainedAtOnceWhenNoneIsOut) {
  EXPECT_TRUE(table_.wait_until_drained("a", absl::InfiniteFuture()));
  table_.set("a", here());
  EXPECT_TRUE(table_.wait_until_drained("a", absl::InfiniteFuture()));
  EXPECT_TRUE(table_.wait_until_drained("a", absl::InfinitePast()));
}

// Of a table, on no thread's stack: who waits with a permit in a variable waits for himself, and
// debug builds say so.
std::unique_ptr<WritePermit> permit_of_nobody(PlacementTable& table) {
  return std::make_unique<WritePermit>(table.acquire_write("a"));
}

TEST_F(Permits, AreNotDrainedByTheDeadline) {
  table_.set("a", here());
  const auto permit = permit_of_nobody(table_);
  EXPECT_FALSE(table_.wait_until_drained("a", absl::InfinitePast()));
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  EXPECT_FALSE(table_.wait_until_drained("a", deadline));
  EXPECT_GE(absl::Now(), deadline);
}

// It asks for the time once a turn.
TEST_F(Permits, LetADrainSleepWhileTheyAreOut) {
  CountingClock clock(clock_);
  PlacementTable table(TableOptions{.shards = 1, .clock = &clock});
  table.set("a", here());
  const auto permit = permit_of_nobody(table);
  EXPECT_FALSE(table.wait_until_drained("a", absl::Now() + absl::Milliseconds(5)));
  EXPECT_LT(clock.times_asked(), 20);
}

// A write is held under the shard's lock, and asks for the time there.
TEST_F(Permits, AreGivenBackWithoutTheShardsLockWhenNoDrainWaitsAnyMore) {
  ClockWithAHook clock(clock_);
  PlacementTable table(TableOptions{.shards = 1, .clock = &clock});
  table.set("a", here());
  const auto permit = permit_of_nobody(table);
  EXPECT_FALSE(table.wait_until_drained("a", absl::Now() + absl::Milliseconds(1)));
  ASSERT_TRUE(table.begin_migration("a", there()));
  ASSERT_TRUE(table.enter_cutover("a"));
  clock.hook = [&] { permit->release(); };
  EXPECT_TRUE(table.hold("a", [] {}).cancel());
  EXPECT_FALSE(*permit);
}

TEST_F(Permits, WakeEveryDrainWhenTheLastIsGivenBack) {
  const int kRounds = static_cast<int>(work(2'000));
  table_.set("a", here());
  for (int round = 0; round < kRounds; ++round) {
    WritePermit one = table_.acquire_write("a");
    WritePermit two = table_.acquire_write("a");
    std::atomic<int> drained{0};
    const auto drain = [&] {
      if (table_.wait_until_drained("a", absl::InfiniteFuture())) ++drained;
    };
    run_together({drain, drain, [&] {
                    one.release();
                    EXPECT_EQ(drained.load(), 0);
                    two.release();
                  }});
    EXPECT_EQ(drained.load(), 2);
  }
}

TEST_F(Permits, WakeADrainWhenTheirQuarantineIsFoundToBeOver) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::Hours(1));
  std::atomic<bool> drained{false};
  run_together({[&] { drained = table_.wait_until_drained("a", absl::InfiniteFuture()); },
                [&] {
                  clock_.advance(absl::Hours(1));
                  EXPECT_EQ(in_flight(), 0U);
                }});
  EXPECT_TRUE(drained);
}

TEST_F(Permits, AreDrainedByThemselvesWhenTheirQuarantineEnds) {
  PlacementTable table;  // on the system's clock
  table.set("a", here());
  const absl::Time end = Clock::system().now() + absl::Milliseconds(3);
  table.acquire_write("a").quarantine(absl::Milliseconds(3));
  EXPECT_TRUE(table.wait_until_drained("a", absl::InfiniteFuture()));
  EXPECT_GE(Clock::system().now(), end);
}

TEST_F(Permits, AreWaitedForUntilTheDeadlineThoughTheQuarantineOfOthersEndsBefore) {
  PlacementTable table;
  table.set("a", here());
  const auto permit = permit_of_nobody(table);
  table.acquire_write("a").quarantine(absl::Milliseconds(1));
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  EXPECT_FALSE(table.wait_until_drained("a", deadline));
  EXPECT_GE(absl::Now(), deadline);
}

TEST_F(Permits, ThatGoIntoQuarantineUnderADrainAreWaitedFor) {
  PlacementTable table;
  for (int round = 0; round < 20; ++round) {
    table.set("a", here());
    WritePermit permit = table.acquire_write("a");
    std::atomic<bool> drained{false};
    run_together({[&] { drained = table.wait_until_drained("a", absl::InfiniteFuture()); },
                  [&] { permit.quarantine(absl::Milliseconds(1)); }});
    EXPECT_TRUE(drained);
  }
}

// Calls `act` when a drain of "a" has asked for the time, which it does under the shard's lock, and
// gives that up when it waits: if `act` takes the lock, it finds the drain waiting. The drain ends.
template <typename Act>
void beside_a_drain(const PlacementTable& table, const CountingClock& clock, Act act) {
  const int asked = clock.times_asked();
  run_together({[&] { EXPECT_TRUE(table.wait_until_drained("a", absl::InfiniteFuture())); },
                [&] {
                  clock.wait_until_asked(asked);
                  act();
                }});
}

TEST_F(Permits, ThatGoIntoQuarantineWakeADrainThatWaitsForThem) {
  CountingClock clock(Clock::system());
  PlacementTable table(TableOptions{.shards = 1, .clock = &clock});
  table.set("a", here());
  WritePermit permit = table.acquire_write("a");
  beside_a_drain(table, clock, [&] { permit.quarantine(absl::Milliseconds(1)); });
}

TEST_F(Permits, WakeADrainThatWaitsWhenTheirQuarantineIsFoundToBeOver) {
  CountingClock clock(clock_);
  PlacementTable table(TableOptions{.shards = 1, .clock = &clock});
  table.set("a", here());
  table.acquire_write("a").quarantine(absl::Hours(1));
  beside_a_drain(table, clock, [&] {
    static_cast<void>(table.held_writes("a"));  // takes the lock
    clock_.advance(absl::Hours(1));
    EXPECT_EQ(table.writes_in_flight("a"), 0U);
  });
}

TEST_F(Permits, WakeADrainThatWaitsForAnErasedPartitionWhenItIsForgotten) {
  CountingClock clock(clock_);
  PlacementTable table(TableOptions{.shards = 1, .clock = &clock});
  table.set("a", here());
  table.acquire_write("a").quarantine(absl::Hours(1));
  beside_a_drain(table, clock, [&] {
    ASSERT_TRUE(table.apply_erase("a", Epoch(9)));  // takes the lock
    clock_.advance(absl::Hours(1));
    table.forget_erased(Epoch(9));
  });
}

TEST_F(Permits, WakeADrainThoughAnotherHasGivenUp) {
  CountingClock clock(Clock::system());
  PlacementTable table(TableOptions{.shards = 1, .clock = &clock});
  table.set("a", here());
  WritePermit permit = table.acquire_write("a");
  beside_a_drain(table, clock, [&] {
    EXPECT_FALSE(table.wait_until_drained("a", absl::Now() + absl::Milliseconds(1)));
    permit.release();
  });
}

TEST_F(Permits, OfAPartitionThatIsErasedUnderADrainAreDrained) {
  const int kRounds = static_cast<int>(work(2'000));
  for (int round = 0; round < kRounds; ++round) {
    table_.set("a", here());
    WritePermit permit = table_.acquire_write("a");
    std::atomic<bool> drained{false};
    run_together({[&] { drained = table_.wait_until_drained("a", absl::InfiniteFuture()); },
                  [&] {
                    permit.release();
                    ASSERT_TRUE(table_.erase("a"));
                    // Another partition in the same counter.
                    table_.set("b", here());
                  }});
    EXPECT_TRUE(drained);
    ASSERT_TRUE(table_.erase("b"));
  }
}

// ---- INV-P under contention ----

// Nobody else may ever look at a partition that is erased.
TEST_F(Permits, InAQuarantineThatIsOverDoNotKeepAnErasedPartitionRemembered) {
  table_.set("a", here());
  table_.acquire_write("a").quarantine(absl::Seconds(5));
  ASSERT_TRUE(table_.apply_erase("a", Epoch(9)));
  table_.forget_erased(Epoch(9));
  EXPECT_FALSE(table_.apply("a", PartitionState::active(here()), Epoch(8)));
  clock_.advance(absl::Seconds(5));
  table_.forget_erased(Epoch(9));
  EXPECT_TRUE(table_.apply("a", PartitionState::active(here()), Epoch(8)));
}

using NumberTable = BasicPlacementTable<std::uint64_t, ChecksummedPlacement>;

// Waits, every 64th time, until the count goes on: so that threads meet on any machine.
void meet(std::uint64_t turn, const std::atomic<std::uint64_t>& count) {
  if (turn % 64 != 0) return;
  const std::uint64_t seen = count.load();
  while (count.load() == seen) std::this_thread::yield();
}

// Every writer keeps, in a model of its own, how many permits are out for every placement that the
// partition ever had. After a flip there is none for what the flip left behind, for ever; and in
// a cutover in which none is out any more, none is granted.
void expect_no_flip_over_a_permit(bool grows) {
  constexpr std::uint64_t kPartitions = 2;
  const std::uint64_t kFlips = work(20'000);
  constexpr std::size_t kWriters = 2;
  NumberTable table(TableOptions{.shards = 1});
  for (std::uint64_t id = 0; id < kPartitions; ++id) table.set(id, {id, 0});
  std::array<std::vector<std::atomic<int>>, kPartitions> out{
      std::vector<std::atomic<int>>(kFlips + 2), std::vector<std::atomic<int>>(kFlips + 2)};
  std::atomic<bool> flipping{true};
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> in_cutover{0};
  std::atomic<std::uint64_t> violations{0};
  std::atomic<std::uint64_t> late{0};
  std::vector<std::function<void()>> bodies;
  for (std::size_t writer = 0; writer < kWriters; ++writer) {
    bodies.emplace_back([&] {
      for (std::uint64_t turn = 0; flipping.load(); ++turn) {
        const std::uint64_t id = turn % kPartitions;
        auto permit = table.acquire_write(id);
        if (!permit) {
          if (permit.refusal() != WriteRefusal::Cutover) ++violations;
          ++in_cutover;
          continue;
        }
        const std::uint64_t sequence = permit.placement().sequence;
        ++out[id][sequence];
        // Where the write would go is where the table says reads go, as long as the permit is out.
        const auto at = table.get(id);
        if (!at || at->placement != permit.placement()) ++violations;
        --out[id][sequence];
        permit.release();
        ++granted;
      }
    });
  }
  bodies.emplace_back([&] {
    std::uint64_t newcomer = 1000;
    for (std::uint64_t flip = 1; flip <= kFlips; ++flip) {
      const std::uint64_t id = flip % kPartitions;
      const std::uint64_t before = table.get(id)->placement.sequence;
      if (!table.begin_migration(id, {id, before + 1})) ++violations;
      meet(flip + 32, granted);
      if (!table.enter_cutover(id)) ++violations;
      while (table.writes_in_flight(id) != 0) std::this_thread::yield();
      for (int look = 0; look < 20; ++look) {
        if (out[id][before].load() != 0) ++late;
      }
      meet(flip, in_cutover);
      TransitionResult result = table.complete_migration(id);
      while (result == MigrationError::WritesInFlight) {
        std::this_thread::yield();
        result = table.complete_migration(id);
      }
      if (!result || out[id][before].load() != 0) ++violations;
      if (before > 0 && out[id][before - 1].load() != 0) ++violations;
      // Moves the cells, under permits that are out and about to be taken.
      if (grows) table.set(newcomer++, {0, 0});
    }
    flipping = false;
  });
  run_together(bodies);
  EXPECT_EQ(violations.load(), 0U);
  EXPECT_EQ(late.load(), 0U) << "a permit was granted in a cutover";
  EXPECT_GT(granted.load(), 0U);
  EXPECT_GT(in_cutover.load(), 0U);
  for (std::uint64_t id = 0; id < kPartitions; ++id) {
    EXPECT_EQ(table.writes_in_flight(id), 0U);
  }
}

TEST(PermitsUnderContention, NoFlipHappensWhileOneIsOut) { expect_no_flip_over_a_permit(false); }

TEST(PermitsUnderContention, NoFlipHappensWhileOneIsOutInATableThatGrows) {
  expect_no_flip_over_a_permit(true);
}

// INV-M2 in the drain's form: after wait_until_drained in cutover, the flip is only refused for
// the instant in which a writer finds out that it came too late.
TEST(PermitsUnderContention, TheFlipSucceedsSoonAfterTheDrain) {
  const std::uint64_t kRounds = work(20'000);
  NumberTable table(TableOptions{.shards = 1});
  table.set(1, {1, 0});
  std::atomic<bool> flipping{true};
  std::atomic<std::uint64_t> granted{0};
  const auto write = [&] {
    while (flipping.load()) {
      if (const auto permit = table.acquire_write(1)) ++granted;
    }
  };
  std::uint64_t flips = 0;
  run_together({write, write, [&] {
                  for (std::uint64_t round = 1; round <= kRounds; ++round) {
                    EXPECT_TRUE(table.begin_migration(1, {1, round}));
                    meet(round, granted);
                    EXPECT_TRUE(table.enter_cutover(1));
                    do {
                      EXPECT_TRUE(table.wait_until_drained(1, absl::InfiniteFuture()));
                    } while (!table.complete_migration(1));
                    ++flips;
                  }
                  flipping = false;
                }});
  EXPECT_EQ(flips, kRounds);
  EXPECT_EQ(table.get(1)->placement.sequence, kRounds);
  EXPECT_GT(granted.load(), 0U);
}

// Counters are found, closed and given to the next partition while writers look for them.
TEST(PermitsUnderContention, AreCountedRightWhilePartitionsComeAndGo) {
  constexpr std::uint64_t kPartitions = 4;
  const std::uint64_t kChanges = work(75'000);
  NumberTable table(TableOptions{.shards = 1});
  Random random = make_random();
  std::atomic<bool> churning{true};
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> unknown{0};
  std::atomic<std::uint64_t> turns{0};
  std::atomic<std::uint64_t> violations{0};
  std::array<std::atomic<int>, kPartitions> out{};
  std::uint64_t erased = 0;
  const auto write = [&] {
    do {
      const std::uint64_t id = ++turns % kPartitions;
      auto permit = table.acquire_write(id);
      if (!permit) {
        if (permit.refusal() != WriteRefusal::UnknownPartition) ++violations;
        ++unknown;
        continue;
      }
      ++out[id];
      if (permit.placement().partition != id || !permit.placement().is_whole()) ++violations;
      const auto at = table.get(id);
      if (!at || at->epoch < permit.epoch()) ++violations;  // it is not erased under a permit
      --out[id];
      permit.release();
      ++granted;
    } while (churning.load());
  };
  run_together({write, write, [&] {
                  for (std::uint64_t i = 0; i < kChanges; ++i) {
                    meet(i, turns);
                    const std::uint64_t id = below(random, kPartitions);
                    const TransitionResult result = table.erase(id);
                    if (result) ++erased;
                    if (result && out[id].load() != 0) ++violations;
                    if (!result) table.set(id, {id, i});
                  }
                  churning = false;
                }});
  EXPECT_EQ(violations.load(), 0U);
  EXPECT_GT(granted.load(), 0U);
  EXPECT_GT(unknown.load(), 0U);
  EXPECT_GT(erased, 0U);
  for (std::uint64_t id = 0; id < kPartitions; ++id) EXPECT_EQ(table.writes_in_flight(id), 0U);
}

}  // namespace
}  // namespace placement::test
