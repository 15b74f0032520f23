// SPDX-License-Identifier: Apache-2.0
//
// Writes that are held until their partition leaves cutover: with hold, and by waiting.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

constexpr std::size_t kMostHeld = 3;

class HeldWrites : public testing::Test {
 protected:
  HeldWrites()
      : table_(TableOptions{.shards = 1,
                            .max_held_writes = kMostHeld,
                            .max_held_writes_per_partition = kMostHeld,
                            .clock = &clock_}) {}

  void enter_cutover(const std::string& id = "a") {
    if (!table_.contains(id)) table_.set(id, here());
    ASSERT_TRUE(table_.begin_migration(id, there()));
    ASSERT_TRUE(table_.enter_cutover(id));
  }
  [[nodiscard]] HoldTicket hold(int& resumed, const std::string& id = "a") {
    return table_.hold(id, [&resumed] { ++resumed; });
  }

  ManualClock clock_;
  PlacementTable table_;
};

static_assert(std::is_trivially_copyable_v<HoldTicket>);
static_assert(std::is_trivially_destructible_v<HoldTicket>);

// ---- when resume runs ----

TEST_F(HeldWrites, AreResumedOnceByTheFlip) {
  enter_cutover();
  int resumed = 0;
  const HoldTicket ticket = hold(resumed);
  EXPECT_FALSE(ticket.refusal());
  EXPECT_EQ(resumed, 0);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 1) << "before complete_migration returns";
  enter_cutover();
  ASSERT_TRUE(table_.complete_migration("a"));
  table_.set("a", here());
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreResumedOnceByTheAbort) {
  enter_cutover();
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  ASSERT_TRUE(table_.abort_migration("a"));
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreResumedOnceBySet) {
  enter_cutover();
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  table_.set("a", Placement::dedicated_cluster(ClusterId("elsewhere")));  // in another cell
  EXPECT_EQ(resumed, 1);
  enter_cutover();
  EXPECT_FALSE(hold(resumed).refusal());
  table_.set("a", there());  // in the same cell
  EXPECT_EQ(resumed, 2);
}

TEST_F(HeldWrites, AreResumedOnceByAnAppliedStateThatIsNoCutover) {
  int resumed = 0;
  std::uint64_t epoch = 0;
  const Placement elsewhere = Placement::dedicated_cluster(ClusterId("elsewhere"));
  const PartitionState cutover =
      PartitionState::migrating(here(), there(), MigrationPhase::Cutover);
  for (const PartitionState& next :
       {PartitionState::active(here()), PartitionState::active(there()),
        PartitionState::active(elsewhere),
        PartitionState::migrating(here(), there(), MigrationPhase::Draining),
        PartitionState::migrating(elsewhere, there(), MigrationPhase::Draining)}) {
    ASSERT_TRUE(table_.apply("a", cutover, Epoch(++epoch)));
    resumed = 0;
    EXPECT_FALSE(hold(resumed).refusal());
    ASSERT_TRUE(table_.apply("a", cutover, Epoch(++epoch)));
    ASSERT_TRUE(table_.apply("a",
                             PartitionState::migrating(there(), elsewhere, MigrationPhase::Cutover),
                             Epoch(++epoch)));
    EXPECT_EQ(resumed, 0) << "it is in cutover still";
    ASSERT_FALSE(table_.apply("a", next, Epoch(epoch)));
    EXPECT_EQ(resumed, 0) << "nothing was applied";
    ASSERT_TRUE(table_.apply("a", next, Epoch(++epoch)));
    EXPECT_EQ(resumed, 1) << next;
  }
}

TEST_F(HeldWrites, AreResumedOnceByAnAppliedErase) {
  enter_cutover();
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  ASSERT_TRUE(table_.apply_erase("a", Epoch(100)));
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreNotResumedByWhatLeavesThePartitionInCutover) {
  enter_cutover();
  enter_cutover("b");
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  EXPECT_EQ(table_.begin_migration("a", here()), MigrationError::AlreadyMigrating);
  EXPECT_EQ(table_.enter_cutover("a"), MigrationError::NotDraining);
  EXPECT_EQ(table_.erase("a"), MigrationError::AlreadyMigrating);
  EXPECT_EQ(table_.complete_migration("a", Epoch(1)), MigrationError::NotMigrating);
  ASSERT_TRUE(table_.claim_migration("a"));
  ASSERT_TRUE(table_.complete_migration("b"));
  for (int n = 0; n < 100; ++n) table_.set(std::to_string(n), here());  // the cell moves
  EXPECT_EQ(resumed, 0);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreNotResumedByARefusedFlip) {
  table_.set("a", here());
  WritePermit permit = table_.acquire_write("a");
  enter_cutover();
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  EXPECT_EQ(resumed, 0);
  permit.release();
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreResumedAtOnceOutsideOfACutover) {
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());  // absent
  EXPECT_EQ(resumed, 1);
  table_.set("a", here());
  EXPECT_FALSE(hold(resumed).refusal());
  EXPECT_EQ(resumed, 2);
  ASSERT_TRUE(table_.begin_migration("a", there()));
  HoldTicket ticket = hold(resumed);
  EXPECT_EQ(resumed, 3);
  EXPECT_FALSE(ticket.cancel());
}

TEST_F(HeldWrites, AreResumedInTheOrderInWhichTheyCame) {
  enter_cutover();
  std::vector<int> order;
  std::vector<HoldTicket> tickets;
  for (int n = 0; n < 3; ++n) {
    tickets.push_back(table_.hold("a", [&order, n] { order.push_back(n); }));
  }
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

// ---- the ticket ----

TEST_F(HeldWrites, AreCancelledByTheTicket) {
  enter_cutover();
  int resumed = 0;
  HoldTicket ticket = hold(resumed);
  EXPECT_TRUE(ticket.cancel());
  EXPECT_FALSE(ticket.cancel());
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 0);
}

TEST_F(HeldWrites, StayHeldWhenTheTicketEnds) {
  enter_cutover();
  int resumed = 0;
  {
    EXPECT_FALSE(hold(resumed).refusal());
  }
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, CannotBeCancelledOnceTheyWereResumed) {
  enter_cutover();
  int resumed = 0;
  HoldTicket ticket = hold(resumed);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_FALSE(ticket.cancel());
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreCancelledFromTheMiddleWithoutDisturbingTheOthers) {
  for (std::size_t cancelled = 0; cancelled < kMostHeld; ++cancelled) {
    enter_cutover();
    std::vector<std::size_t> order;
    std::vector<HoldTicket> tickets;
    for (std::size_t n = 0; n < kMostHeld; ++n) {
      tickets.push_back(table_.hold("a", [&order, n] { order.push_back(n); }));
    }
    EXPECT_TRUE(tickets[cancelled].cancel());
    ASSERT_TRUE(table_.complete_migration("a"));
    std::vector<std::size_t> expected = {0, 1, 2};
    expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(cancelled));
    EXPECT_EQ(order, expected);
  }
}

TEST_F(HeldWrites, StayHeldWhenTheTicketIsOverwritten) {
  enter_cutover();
  int first = 0;
  int second = 0;
  HoldTicket ticket = hold(first);
  ticket = hold(second);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

// What the callback starts may overwrite the ticket that hold is still about to answer.
TEST_F(HeldWrites, AreNotLostWhenTheCallbackRunsBeforeTheTicketIsAssigned) {
  int resumed = 0;
  HoldTicket ticket;
  ticket = table_.hold("a", [&] {  // in no cutover: inside of hold
    enter_cutover();
    ticket = hold(resumed);
  });
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 1);
}

TEST_F(HeldWrites, AreCancelledOnceByCopiesOfATicket) {
  enter_cutover();
  int resumed = 0;
  const HoldTicket ticket = hold(resumed);
  const HoldTicket copy = ticket;
  EXPECT_TRUE(copy.cancel());
  EXPECT_FALSE(ticket.cancel());
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 0);
}

TEST_F(HeldWrites, AreNotCancelledByATicketOfAPartitionThatIsGone) {
  enter_cutover();
  int resumed = 0;
  const HoldTicket old = hold(resumed);
  ASSERT_TRUE(table_.complete_migration("a"));
  ASSERT_TRUE(table_.erase("a"));
  EXPECT_FALSE(old.cancel());
  enter_cutover("b");  // in the counter that was a's
  EXPECT_FALSE(hold(resumed, "b").refusal());
  EXPECT_FALSE(old.cancel());
  ASSERT_TRUE(table_.complete_migration("b"));
  EXPECT_EQ(resumed, 2);
}

TEST_F(HeldWrites, ThatAreCancelledDestroyTheirResume) {
  enter_cutover();
  auto kept = std::make_shared<int>(1);
  HoldTicket ticket = table_.hold("a", [kept] { ++*kept; });
  EXPECT_EQ(kept.use_count(), 2);
  EXPECT_TRUE(ticket.cancel());
  EXPECT_EQ(kept.use_count(), 1);
  ASSERT_TRUE(table_.abort_migration("a"));
}

TEST_F(HeldWrites, ThatAreCancelledDestroyTheirResumeOutsideOfTheLock) {
  enter_cutover();
  struct CallsTheTable {
    explicit CallsTheTable(PlacementTable& called) : table(called) {}
    ~CallsTheTable() { EXPECT_EQ(table.held_writes("a").count, 1U); }  // takes the lock
    PlacementTable& table;
  };
  const HoldTicket ticket =
      table_.hold("a", [calls = std::make_unique<CallsTheTable>(table_)] { FAIL(); });
  EXPECT_TRUE(ticket.cancel());
}

// ---- how many ----

TEST_F(HeldWrites, AreBoundedInTheWholeTable) {
  enter_cutover("a");
  enter_cutover("b");
  int resumed = 0;
  HoldTicket one = hold(resumed, "a");
  EXPECT_FALSE(hold(resumed, "b").refusal());
  EXPECT_FALSE(hold(resumed, "a").refusal());
  HoldTicket four = hold(resumed, "b");
  EXPECT_EQ(four.refusal(), WriteRefusal::TooManyHeld);
  EXPECT_FALSE(four.cancel());
  EXPECT_EQ(table_.acquire_write_until("a", absl::InfiniteFuture()).refusal(),
            WriteRefusal::TooManyHeld);
  EXPECT_EQ(resumed, 0);
  // A place comes back with a ticket ...
  EXPECT_TRUE(one.cancel());
  four = hold(resumed, "b");
  EXPECT_FALSE(four.refusal());
  EXPECT_EQ(hold(resumed, "b").refusal(), WriteRefusal::TooManyHeld);
  // ... and with a flip.
  ASSERT_TRUE(table_.complete_migration("b"));
  EXPECT_EQ(resumed, 2);
  const HoldTicket five = hold(resumed, "a");
  const HoldTicket six = hold(resumed, "a");
  EXPECT_FALSE(five.refusal() || six.refusal());
  EXPECT_EQ(hold(resumed, "a").refusal(), WriteRefusal::TooManyHeld);
  EXPECT_EQ(resumed, 2);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 5);
}

TEST(HeldWritesOfOnePartition, AreBoundedToo) {
  PlacementTable table(TableOptions{.max_held_writes = 4, .max_held_writes_per_partition = 2});
  int resumed = 0;
  std::vector<HoldTicket> tickets;
  for (const char* id : {"noisy", "quiet"}) {
    table.set(id, here());
    ASSERT_TRUE(table.begin_migration(id, there()));
    ASSERT_TRUE(table.enter_cutover(id));
    for (int n = 0; n < 2; ++n) {
      tickets.push_back(table.hold(id, [&] { ++resumed; }));
      EXPECT_FALSE(tickets.back().refusal());
    }
    EXPECT_EQ(table.hold(id, [] { FAIL(); }).refusal(), WriteRefusal::TooManyHeld);
    EXPECT_EQ(table.acquire_write_until(id, absl::InfiniteFuture()).refusal(),
              WriteRefusal::TooManyHeld);
    EXPECT_EQ(table.held_writes(id).count, 2U);
  }
  // A place comes back with a ticket ...
  EXPECT_TRUE(tickets.front().cancel());
  EXPECT_EQ(table.acquire_write_until("noisy", absl::InfinitePast()).refusal(),
            WriteRefusal::DeadlineExceeded);
  // ... and by that, too.
  EXPECT_FALSE(table.hold("noisy", [&] { ++resumed; }).refusal());
  EXPECT_EQ(table.hold("noisy", [] { FAIL(); }).refusal(), WriteRefusal::TooManyHeld);
  ASSERT_TRUE(table.complete_migration("noisy"));
  EXPECT_EQ(resumed, 2);
  ASSERT_TRUE(table.complete_migration("quiet"));
  EXPECT_EQ(resumed, 4);
}

TEST(HeldWritesOfOnePartition, AreAtMostAQuarterOfTheTablesUnlessTold) {
  for (const auto& [most, quarter] : {std::pair<std::size_t, std::size_t>{0, 0},
                                      {1, 1},
                                      {4, 1},
                                      {5, 2},
                                      {8, 2},
                                      {65'536, 16'384}}) {
    PlacementTable table(TableOptions{.max_held_writes = most});
    table.set("a", here());
    ASSERT_TRUE(table.begin_migration("a", there()));
    ASSERT_TRUE(table.enter_cutover("a"));
    std::size_t held = 0;
    while (!table.hold("a", [] {}).refusal()) ++held;
    EXPECT_EQ(held, quarter) << most;
    ASSERT_TRUE(table.abort_migration("a"));
  }
}

TEST_F(HeldWrites, OutsideOfACutoverTakeNoPlace) {
  PlacementTable table(TableOptions{.max_held_writes = 0});
  table.set("a", here());
  int resumed = 0;
  EXPECT_FALSE(table.hold("a", [&] { ++resumed; }).refusal());
  EXPECT_EQ(resumed, 1);
  EXPECT_TRUE(table.acquire_write_until("a", absl::InfinitePast()));
  ASSERT_TRUE(table.begin_migration("a", there()));
  ASSERT_TRUE(table.enter_cutover("a"));
  EXPECT_EQ(table.hold("a", [&] { ++resumed; }).refusal(), WriteRefusal::TooManyHeld);
  EXPECT_EQ(resumed, 1);
}

// ---- what resume may do ----

TEST_F(HeldWrites, MayCallTheTableWhenTheyAreResumed) {
  enter_cutover();
  WritePermit permit(WriteRefusal::Cutover);
  [[maybe_unused]] const HoldTicket ticket = table_.hold("a", [&] {
    permit = table_.acquire_write("a");
    table_.set("b", here());
    EXPECT_TRUE(table_.get("a"));
    EXPECT_EQ(table_.writes_in_flight("a"), 1U);
    table_.for_each([](std::string_view, const PartitionState&, Epoch) {});
  });
  ASSERT_TRUE(table_.complete_migration("a"));
  ASSERT_TRUE(permit);
  EXPECT_EQ(permit.placement(), there());
}

TEST_F(HeldWrites, AreResumedOneAfterTheOtherThoughOneBeginsAMigration) {
  enter_cutover();
  std::vector<std::string> events;
  [[maybe_unused]] const HoldTicket first = table_.hold("a", [&] {
    ASSERT_TRUE(table_.begin_migration("a", here()));
    events.emplace_back("first");
  });
  EXPECT_FALSE(table_.hold("a", [&] { events.emplace_back("second"); }).refusal());
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(events, (std::vector<std::string>{"first", "second"}));
}

TEST_F(HeldWrites, MayBeHeldAgainFromResumeWhenThePartitionIsBackInCutover) {
  enter_cutover();
  std::vector<std::string> events;
  HoldTicket again;
  [[maybe_unused]] const HoldTicket first = table_.hold("a", [&] {
    events.emplace_back("first");
    enter_cutover();
    again = table_.hold("a", [&] { events.emplace_back("again"); });
  });
  EXPECT_FALSE(table_.hold("a", [&] { events.emplace_back("second"); }).refusal());
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(events, (std::vector<std::string>{"first"})) << "the second would find a cutover";
  EXPECT_EQ(table_.get("a")->phase, MigrationPhase::Cutover);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(events, (std::vector<std::string>{"first", "second", "again"})) << "as they came";
}

TEST_F(HeldWrites, AreResumedByWhoResumesTheEarlierOnesThoughOneCompletesACutover) {
  enter_cutover();
  std::vector<std::string> events;
  [[maybe_unused]] const HoldTicket first = table_.hold("a", [&] {
    enter_cutover();
    EXPECT_FALSE(table_.hold("a", [&] { events.emplace_back("third"); }).refusal());
    ASSERT_TRUE(table_.complete_migration("a"));
    events.emplace_back("first");
  });
  EXPECT_FALSE(table_.hold("a", [&] { events.emplace_back("second"); }).refusal());
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(events, (std::vector<std::string>{"first", "second", "third"}));
}

TEST_F(HeldWrites, MayCancelOthersAndThemselvesFromResume) {
  enter_cutover();
  int resumed = 0;
  HoldTicket first;
  HoldTicket second;
  first = table_.hold("a", [&] {
    ++resumed;
    EXPECT_TRUE(second.cancel());
    EXPECT_FALSE(first.cancel());
    EXPECT_EQ(resumed, 1);
  });
  second = hold(resumed);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(resumed, 1);
}

// Threads that wait do not depend on callbacks, which may be slow, or wait themselves.
TEST_F(HeldWrites, MayWaitInResumeForThePartitionsNextCutover) {
  enter_cutover();
  std::atomic<bool> waits{false};
  std::optional<Placement> placement;
  [[maybe_unused]] const HoldTicket ticket = table_.hold("a", [&] {
    enter_cutover();
    waits = true;
    placement = table_.acquire_write_until("a", absl::InfiniteFuture()).placement();
  });
  run_together({[&] { EXPECT_TRUE(table_.complete_migration("a")); },
                [&] {
                  while (!waits || table_.held_writes("a").count == 0) std::this_thread::yield();
                  EXPECT_TRUE(table_.complete_migration("a"));
                }});
  EXPECT_EQ(placement, there());
}

// ---- statistics ----

TEST_F(HeldWrites, AreCountedForEachCutover) {
  enter_cutover();
  int resumed = 0;
  EXPECT_EQ(table_.held_writes("a").count, 0U);
  EXPECT_FALSE(hold(resumed).refusal());
  clock_.advance(absl::Seconds(2));
  EXPECT_FALSE(hold(resumed).refusal());
  clock_.advance(absl::Seconds(1));
  EXPECT_EQ(table_.held_writes("a").count, 2U);
  EXPECT_EQ(table_.held_writes("a").longest, absl::Seconds(3)) << "of those that wait";
  ASSERT_TRUE(table_.complete_migration("a"));
  clock_.advance(absl::Seconds(9));
  EXPECT_EQ(table_.held_writes("a").count, 2U);
  EXPECT_EQ(table_.held_writes("a").longest, absl::Seconds(3));
  enter_cutover();
  EXPECT_EQ(table_.held_writes("a").count, 0U);
  EXPECT_EQ(table_.held_writes("a").longest, absl::ZeroDuration());
  ASSERT_TRUE(table_.abort_migration("a"));
  EXPECT_EQ(table_.held_writes("nobody").count, 0U);
}

TEST_F(HeldWrites, ThatWereCancelledOrGaveUpAreCountedAndTimed) {
  enter_cutover();
  int resumed = 0;
  const HoldTicket ticket = hold(resumed);
  clock_.advance(absl::Seconds(2));
  EXPECT_TRUE(ticket.cancel());
  EXPECT_EQ(table_.acquire_write_until("a", absl::InfinitePast()).refusal(),
            WriteRefusal::DeadlineExceeded);
  clock_.advance(absl::Seconds(9));
  EXPECT_EQ(table_.held_writes("a").count, 2U);
  EXPECT_EQ(table_.held_writes("a").longest, absl::Seconds(2));
}

TEST_F(HeldWrites, ThatAThreadWaitsForAreTimedWhileTheyWait) {
  enter_cutover();
  run_together({[&] {
                  EXPECT_EQ(table_.acquire_write_until("a", absl::InfiniteFuture()).placement(),
                            there());
                },
                [&] {
                  while (table_.held_writes("a").count == 0) std::this_thread::yield();
                  clock_.advance(absl::Seconds(3));
                  EXPECT_EQ(table_.held_writes("a").longest, absl::Seconds(3));
                  EXPECT_TRUE(table_.complete_migration("a"));
                }});
  EXPECT_EQ(table_.held_writes("a").longest, absl::Seconds(3));
}

TEST_F(HeldWrites, AreCountedForEachCutoverThatIsApplied) {
  const PartitionState cutover =
      PartitionState::migrating(here(), there(), MigrationPhase::Cutover);
  ASSERT_TRUE(table_.apply("a", cutover, Epoch(1)));
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  ASSERT_TRUE(table_.apply("a", cutover, Epoch(2)));
  EXPECT_EQ(table_.held_writes("a").count, 1U) << "it is the same cutover";
  ASSERT_TRUE(table_.apply("a", PartitionState::active(there()), Epoch(3)));
  EXPECT_EQ(table_.held_writes("a").count, 1U);
  ASSERT_TRUE(table_.apply("a", cutover, Epoch(4)));
  EXPECT_EQ(table_.held_writes("a").count, 0U);
}

TEST_F(HeldWrites, OfAPartitionThatIsGoneAreNotThoseOfTheNextInItsCounter) {
  enter_cutover();
  int resumed = 0;
  EXPECT_FALSE(hold(resumed).refusal());
  clock_.advance(absl::Seconds(2));
  ASSERT_TRUE(table_.complete_migration("a"));
  ASSERT_TRUE(table_.erase("a"));
  table_.set("b", here());
  EXPECT_EQ(table_.held_writes("b").count, 0U);
  EXPECT_EQ(table_.held_writes("b").longest, absl::ZeroDuration());
}

// ---- the table's end ----

using HeldWritesDeathTest = HeldWrites;

TEST_F(HeldWritesDeathTest, ThatOutliveTheTableAreCaughtInDebugBuilds) {
#ifdef NDEBUG
  GTEST_SKIP() << "no assertions in this build";
#else
  EXPECT_DEATH(
      {
        auto table = std::make_unique<PlacementTable>();
        table->set("a", here());
        static_cast<void>(table->begin_migration("a", there()));
        static_cast<void>(table->enter_cutover("a"));
        static_cast<void>(table->hold("a", [] {}));
        table.reset();
      },
      "held");
#endif
}

TEST_F(HeldWritesDeathTest, ThatNothingResumesAreCaughtInDebugBuilds) {
#ifdef NDEBUG
  GTEST_SKIP() << "no assertions in this build";
#else
  EXPECT_DEATH(static_cast<void>(table_.hold("a", nullptr)), "nothing resumes");
#endif
}

// ---- acquire_write_until ----

TEST_F(HeldWrites, AreNotNeededOutsideOfACutover) {
  EXPECT_EQ(table_.acquire_write_until("a", absl::InfiniteFuture()).refusal(),
            WriteRefusal::UnknownPartition);
  table_.set("a", here());
  EXPECT_EQ(table_.acquire_write_until("a", absl::InfinitePast()).placement(), here());
}

TEST_F(HeldWrites, ThatWaitGiveUpAtTheDeadline) {
  enter_cutover();
  EXPECT_EQ(table_.acquire_write_until("a", absl::InfinitePast()).refusal(),
            WriteRefusal::DeadlineExceeded);
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  EXPECT_EQ(table_.acquire_write_until("a", deadline).refusal(), WriteRefusal::DeadlineExceeded);
  EXPECT_GE(absl::Now(), deadline);
  EXPECT_EQ(table_.writes_in_flight("a"), 0U);
  // Their places are free again.
  for (std::size_t n = 0; n < 2 * kMostHeld; ++n) {
    EXPECT_EQ(table_.acquire_write_until("a", absl::InfinitePast()).refusal(),
              WriteRefusal::DeadlineExceeded);
  }
}

enum class Way { Flip, Abort, Set, Erase };
constexpr std::array kWayNames = {"Flip", "Abort", "Set", "Erase"};

class WaitingWrites : public testing::TestWithParam<Way> {};

TEST_P(WaitingWrites, AreWokenWhenThePartitionLeavesCutoverAndResolveAgain) {
  const int kRounds = static_cast<int>(work(500));
  PlacementTable table(TableOptions{.shards = 1});
  std::uint64_t waited = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string id = std::to_string(round);
    table.set(id, here());
    ASSERT_TRUE(table.begin_migration(id, there()));
    const Epoch cutover = table.enter_cutover(id).value();
    std::array<std::optional<WriteRefusal>, 2> refusals;
    std::array<std::optional<Placement>, 2> placements;
    const auto wait = [&](std::size_t n) {
      const WritePermit permit = table.acquire_write_until(id, absl::InfiniteFuture());
      if (permit) {
        placements[n] = permit.placement();
        EXPECT_GT(permit.epoch(), cutover);
      } else {
        refusals[n] = permit.refusal();
      }
    };
    run_together({[&] { wait(0); }, [&] { wait(1); },
                  [&] {
                    // In most rounds with both of them waiting.
                    for (int spins = 0; table.held_writes(id).count < 2 && spins < 1000; ++spins) {
                      std::this_thread::yield();
                    }
                    waited += table.held_writes(id).count;
                    switch (GetParam()) {
                      case Way::Flip:
                        while (!table.complete_migration(id)) std::this_thread::yield();
                        break;
                      case Way::Abort:
                        EXPECT_TRUE(table.abort_migration(id));
                        break;
                      case Way::Set:
                        table.set(id, there());
                        break;
                      case Way::Erase:
                        table.apply_erase(id, Epoch(table.current_epoch().value() + 1));
                        break;
                    }
                  }});
    for (std::size_t n = 0; n < 2; ++n) {
      if (GetParam() == Way::Erase) {
        EXPECT_EQ(refusals[n], WriteRefusal::UnknownPartition);
      } else {
        EXPECT_EQ(placements[n], GetParam() == Way::Abort ? here() : there());
      }
    }
  }
  EXPECT_GT(waited, 0U);
}

INSTANTIATE_TEST_SUITE_P(By, WaitingWrites,
                         testing::Values(Way::Flip, Way::Abort, Way::Set, Way::Erase),
                         [](const auto& tested) {
                           return std::string(kWayNames[static_cast<std::size_t>(tested.param)]);
                         });

// ---- under contention ----

// Writers that wait without a deadline through a storm of cutovers: were one wake-up missed, the
// test would hang. The last thing that happens to the partition is that it leaves cutover.
TEST(HeldWritesUnderContention, NoWakeUpIsMissedInAStormOfCutovers) {
  const std::uint64_t kRounds = work(1'000);
  constexpr std::size_t kWriters = 3;
  BasicPlacementTable<std::uint64_t, ChecksummedPlacement> table(TableOptions{.shards = 1});
  table.set(1, {1, 0});
  std::atomic<bool> storming{true};
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> violations{0};
  std::uint64_t held = 0;
  std::vector<std::function<void()>> bodies;
  for (std::size_t writer = 0; writer < kWriters; ++writer) {
    bodies.emplace_back([&] {
      std::uint64_t last = 0;
      do {
        const auto permit = table.acquire_write_until(1, absl::InfiniteFuture());
        if (!permit) {
          ++violations;
          continue;
        }
        if (permit.placement().sequence < last || !permit.placement().is_whole()) ++violations;
        last = permit.placement().sequence;
        ++granted;
      } while (storming.load());
    });
  }
  bodies.emplace_back([&] {
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      static_cast<void>(table.begin_migration(1, {1, round}));
      static_cast<void>(table.enter_cutover(1));
      // Now and then until someone is held.
      for (int spins = 0; round % 4 == 0 && table.held_writes(1).count == 0 && spins < 20;
           ++spins) {
        std::this_thread::yield();
      }
      held += table.held_writes(1).count;
      while (!table.complete_migration(1)) std::this_thread::yield();
    }
    storming = false;
  });
  run_together(bodies);
  EXPECT_EQ(violations.load(), 0U);
  EXPECT_GT(granted.load(), 0U);
  EXPECT_GT(held, 0U);
  EXPECT_EQ(table.writes_in_flight(1), 0U);
}

// Every write that was held is resumed or cancelled, and never both.
TEST(HeldWritesUnderContention, EveryOneIsResumedOrCancelledAndNeverBoth) {
  const std::uint64_t kRounds = work(20'000);
  PlacementTable table(TableOptions{.shards = 1});
  table.set("a", here());
  std::atomic<bool> storming{true};
  std::atomic<std::uint64_t> resumed{0};
  std::uint64_t cancelled = 0;
  std::atomic<std::uint64_t> asked{0};
  std::uint64_t violations = 0;
  const auto write = [&] {
    do {
      const auto runs = std::make_shared<std::atomic<int>>(0);
      HoldTicket ticket = table.hold("a", [runs, &resumed] {
        ++*runs;
        ++resumed;
      });
      ++asked;
      if (asked % 2 == 0) std::this_thread::yield();
      if (ticket.cancel()) {
        ++cancelled;
        if (runs->load() != 0) ++violations;
      } else {
        // It runs, or is about to.
        while (runs->load() == 0) std::this_thread::yield();
        if (runs->load() != 1) ++violations;
      }
    } while (storming.load());
  };
  run_together({write, [&] {
                  for (std::uint64_t round = 0; round < kRounds; ++round) {
                    static_cast<void>(table.begin_migration("a", there()));
                    static_cast<void>(table.enter_cutover("a"));
                    // Now and then until someone was held, and cancelled.
                    const std::uint64_t before = asked.load();
                    while (round % 64 == 0 && asked.load() < before + 3) std::this_thread::yield();
                    static_cast<void>(round % 2 == 0 ? table.complete_migration("a")
                                                     : table.abort_migration("a"));
                  }
                  storming = false;
                }});
  EXPECT_EQ(violations, 0U);
  EXPECT_EQ(resumed.load() + cancelled, asked.load());
  EXPECT_GT(resumed.load(), 0U);
  EXPECT_GT(cancelled, 0U);
}

TEST(HeldWritesUnderContention, ManyWaitAndAllGetTheDestination) {
  constexpr std::size_t kWaiters = 40;
  PlacementTable table;
  table.set("a", here());
  ASSERT_TRUE(table.begin_migration("a", there()));
  ASSERT_TRUE(table.enter_cutover("a"));
  std::atomic<std::size_t> at_destination{0};
  std::vector<std::function<void()>> bodies;
  for (std::size_t n = 0; n < kWaiters; ++n) {
    bodies.emplace_back([&] {
      const WritePermit permit = table.acquire_write_until("a", absl::InfiniteFuture());
      if (permit && permit.placement() == there()) ++at_destination;
    });
  }
  bodies.emplace_back([&] {
    while (table.held_writes("a").count < kWaiters) std::this_thread::yield();
    while (!table.complete_migration("a")) std::this_thread::yield();
  });
  run_together(bodies);
  EXPECT_EQ(at_destination.load(), kWaiters);
  EXPECT_EQ(table.held_writes("a").count, kWaiters);
}

}  // namespace
}  // namespace placement::test
