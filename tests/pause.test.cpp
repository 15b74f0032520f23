// SPDX-License-Identifier: Apache-2.0
//
// Writes that are paused, and a partition that is erased under its writers.
#include <atomic>
#include <functional>
#include <latch>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"
#include "support/place.hpp"
#include "support/threads.hpp"

namespace placement {
namespace {

using test::place;

const PartitionState kActive = PartitionState::active(place(1));
const PartitionState kPaused =
    PartitionState::migrating(place(1), place(1), MigrationPhase::Cutover);

// Does something when the writes of a partition were paused.
class OnPause final : public TableObserver {
 public:
  void on_change(const Change& change) noexcept override {
    if (change.transition == Transition::PauseWrites && then) then();
  }
  std::function<void()> then;
};

TEST(PauseWrites, IsACutoverToWhereThePartitionIs) {
  PlacementTable table;
  table.set("a", place(1));
  const TransitionResult paused = table.pause_writes("a");
  ASSERT_TRUE(paused);
  EXPECT_EQ(table.state("a"), (StateAt{kPaused, *paused}));
  EXPECT_EQ(table.get("a")->placement, place(1)) << "reads go on";
  EXPECT_EQ(table.acquire_write("a").refusal(), WriteRefusal::Cutover);
  EXPECT_EQ(table.admit_write("a", *paused), WriteAdmission::Reject);
  EXPECT_EQ(table.migrations().size(), 1U);

  const TransitionResult resumed = table.resume_writes("a");
  ASSERT_TRUE(resumed);
  EXPECT_EQ(table.state("a"), (StateAt{kActive, *resumed}));
  EXPECT_TRUE(table.acquire_write("a"));
}

TEST(PauseWrites, IsRefusedWhereThereIsNothingToPause) {
  PlacementTable table;
  EXPECT_EQ(table.pause_writes("a"), MigrationError::UnknownPartition);
  table.set("a", place(1));
  ASSERT_TRUE(table.begin_migration("a", place(2)));
  EXPECT_EQ(table.pause_writes("a"), MigrationError::AlreadyMigrating);
  ASSERT_TRUE(table.enter_cutover("a"));
  EXPECT_EQ(table.pause_writes("a"), MigrationError::AlreadyMigrating);
  table.set("a", place(1));
  ASSERT_TRUE(table.pause_writes("a"));
  EXPECT_EQ(table.pause_writes("a"), MigrationError::AlreadyMigrating);
}

TEST(ResumeWrites, IsRefusedWhereWritesAreNotPaused) {
  PlacementTable table;
  EXPECT_EQ(table.resume_writes("a"), MigrationError::UnknownPartition);
  table.set("a", place(1));
  EXPECT_EQ(table.resume_writes("a"), MigrationError::NotPaused);
  for (const std::uint64_t to : {2U, 1U}) {
    ASSERT_TRUE(table.begin_migration("a", place(to)));
    EXPECT_EQ(table.resume_writes("a"), MigrationError::NotPaused);
    ASSERT_TRUE(table.enter_cutover("a"));
    if (to == 1) continue;
    EXPECT_EQ(table.resume_writes("a"), MigrationError::NotPaused);
    ASSERT_TRUE(table.abort_migration("a"));
  }
  EXPECT_TRUE(table.resume_writes("a")) << "a cutover to where it is, whoever entered it";
}

TEST(ResumeWrites, ResumesWhatWasHeld) {
  PlacementTable table;
  table.set("a", place(1));
  ASSERT_TRUE(table.pause_writes("a"));
  int resumed = 0;
  const HoldTicket ticket = table.hold("a", [&resumed] { ++resumed; });
  EXPECT_EQ(resumed, 0);
  ASSERT_TRUE(table.resume_writes("a"));
  EXPECT_EQ(resumed, 1);
}

TEST(PauseWrites, WaitsForNobodyAndPermitsStayGood) {
  PlacementTable table;
  table.set("a", place(1));
  WritePermit permit = table.acquire_write("a");
  ASSERT_TRUE(table.pause_writes("a"));
  EXPECT_EQ(table.writes_in_flight("a"), 1U);
  EXPECT_FALSE(table.wait_until_drained("a", absl::InfinitePast()));
  permit.release();
  EXPECT_TRUE(table.wait_until_drained("a", absl::InfinitePast()));
}

TEST(PauseWrites, IsALeftCutoverAfterEveryOtherTransition) {
  for (const auto& leave : std::vector<std::function<TransitionResult(PlacementTable&)>>{
           [](auto& table) { return table.abort_migration("a"); },
           [](auto& table) { return table.complete_migration("a"); },
           [](auto& table) { return TransitionResult(table.set("a", place(1))); }}) {
    PlacementTable table;
    table.set("a", place(1));
    ASSERT_TRUE(table.pause_writes("a"));
    ASSERT_TRUE(leave(table));
    EXPECT_EQ(table.state("a")->state, kActive);
  }
}

TEST(PauseWrites, OfAReplicaIsWhatTheSourceSays) {
  PlacementTable table;
  ASSERT_TRUE(table.apply("a", kPaused, Epoch(5)));
  EXPECT_EQ(table.acquire_write("a").refusal(), WriteRefusal::Cutover);
  EXPECT_TRUE(table.resume_writes("a"));
  EXPECT_EQ(table.state("a")->state, kActive);
}

TEST(EraseUntil, ErasesAtOnceWhatNobodyWritesTo) {
  PlacementTable table;
  table.set("a", place(1));
  const TransitionResult erased = table.erase_until("a", absl::InfinitePast());
  ASSERT_TRUE(erased);
  EXPECT_EQ(*erased, table.current_epoch());
  EXPECT_FALSE(table.contains("a"));
  EXPECT_EQ(table.size(), 0U);
}

TEST(EraseUntil, IsRefusedAsAPauseIs) {
  PlacementTable table;
  EXPECT_EQ(table.erase_until("a", absl::InfiniteFuture()), MigrationError::UnknownPartition);
  table.set("a", place(1));
  ASSERT_TRUE(table.begin_migration("a", place(2)));
  EXPECT_EQ(table.erase_until("a", absl::InfiniteFuture()), MigrationError::AlreadyMigrating);
  table.set("a", place(1));
  ASSERT_TRUE(table.pause_writes("a"));
  EXPECT_EQ(table.erase_until("a", absl::InfiniteFuture()), MigrationError::AlreadyMigrating);
  EXPECT_EQ(table.state("a")->state, kPaused);
}

TEST(EraseUntil, AtTheDeadlineAllIsAsBefore) {
  PlacementTable table;
  table.set("a", place(1));
  const WritePermit permit = table.acquire_write("a");
  EXPECT_EQ(table.erase_until("a", absl::InfinitePast()), MigrationError::WritesInFlight);
  EXPECT_EQ(table.state("a")->state, kActive);
  EXPECT_EQ(table.writes_in_flight("a"), 1U);
  EXPECT_TRUE(table.acquire_write("a"));
}

TEST(EraseUntil, WaitsForWritesInFlightAndLetsNoOtherIn) {
  std::latch paused(1);
  OnPause observer;
  observer.then = [&paused] { paused.count_down(); };
  PlacementTable table{TableOptions{.observer = &observer}};
  table.set("a", place(1));
  WritePermit permit = table.acquire_write("a");
  std::optional<TransitionResult> erased;
  int resumed = 0;
  HoldTicket ticket;
  {
    const std::jthread eraser([&] { erased = table.erase_until("a", absl::InfiniteFuture()); });
    paused.wait();
    EXPECT_EQ(table.acquire_write("a").refusal(), WriteRefusal::Cutover);
    ticket = table.hold("a", [&resumed] { ++resumed; });
    EXPECT_EQ(table.state("a")->state, kPaused);
    permit.release();
  }
  EXPECT_TRUE(*erased);
  EXPECT_EQ(resumed, 1) << "whoever waited is told, and finds the partition gone";
  EXPECT_EQ(table.acquire_write("a").refusal(), WriteRefusal::UnknownPartition);
}

// Whoever changes the partition meanwhile has the last word, and the eraser is not kept waiting.
TEST(EraseUntil, GivesWayToWhoeverChangesThePartitionMeanwhile) {
  for (const auto& change : std::vector<std::function<void(PlacementTable&)>>{
           [](auto& table) { table.set("a", place(2)); },
           [](auto& table) { ASSERT_TRUE(table.resume_writes("a")); },
           [](auto& table) { ASSERT_TRUE(table.claim_migration("a")); },
           [](auto& table) { ASSERT_TRUE(table.apply_erase("a", Epoch(100))); }}) {
    for (const bool later : {false, true}) {
      std::latch paused(1);
      OnPause observer;
      PlacementTable table{TableOptions{.observer = &observer}};
      observer.then = [&] {
        if (!later) change(table);
        paused.count_down();
      };
      table.set("a", place(1));
      const WritePermit permit = table.acquire_write("a");
      std::optional<TransitionResult> erased;
      {
        const std::jthread eraser([&] { erased = table.erase_until("a", absl::InfiniteFuture()); });
        paused.wait();
        if (later) change(table);
      }
      EXPECT_EQ(*erased, MigrationError::StaleEpoch);
    }
  }
}

TEST(EraseUntil, GetsThroughBesideWritersThatLeaveNoGap) {
  constexpr int kRounds = 200;
  PlacementTable table;
  std::atomic<bool> done{false};
  std::atomic<int> granted{0};
  const auto write = [&] {
    // Two permits that overlap: the count is never zero while the partition is open.
    std::vector<WritePermit> permits;
    while (!done) {
      WritePermit next = table.acquire_write("a");
      if (next) ++granted;
      permits.push_back(std::move(next));
      if (permits.size() == 2) permits.erase(permits.begin());
    }
  };
  const auto erase = [&] {
    for (int round = 0; round < kRounds; ++round) {
      table.set("a", place(1));
      const int before = granted;
      while (granted < before + 2) std::this_thread::yield();
      const TransitionResult erased = table.erase_until("a", absl::InfiniteFuture());
      EXPECT_TRUE(erased) << erased;
    }
    done = true;
  };
  test::run_together({write, write, erase});
  EXPECT_FALSE(table.contains("a"));
}

}  // namespace
}  // namespace placement
