// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <placement/migration_controller.hpp>
#include <placement/placement_table.hpp>

#include "support/manual_clock.hpp"
#include "support/test_memory.hpp"

namespace placement::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A mover whose rounds and last round are the test's functions.
class ScriptedMover : public Mover {
 public:
  absl::StatusOr<Rest> copy() override {
    ++copies;
    return on_copy ? on_copy() : absl::StatusOr<Rest>(Rest::Small);
  }
  absl::Status finish() override {
    ++finishes;
    return on_finish ? on_finish() : absl::OkStatus();
  }

  std::function<absl::StatusOr<Rest>()> on_copy;
  std::function<absl::Status()> on_finish;
  int copies = 0;
  int finishes = 0;
};

class MigrationControllerTest : public ::testing::Test {
 protected:
  MigrationControllerTest() { table.set("p", origin); }

  MigrationPhase phase() { return table.state("p")->state.phase(); }

  const Placement origin = Placement::dedicated_cluster(ClusterId("origin"));
  const Placement destination = Placement::dedicated_cluster(ClusterId("destination"));
  ManualClock clock;
  PlacementTable table{TableOptions{.clock = &clock}};
  ScriptedMover mover;
};

TEST_F(MigrationControllerTest, RunsThePhasesInOrderAndFlips) {
  MigrationController controller(table, {}, clock);
  std::vector<MigrationPhase> seen;
  mover.on_copy = [&] {
    seen.push_back(phase());
    clock.advance(absl::Milliseconds(5));
    return mover.copies < 3 ? Mover::Rest::Large : Mover::Rest::Small;
  };
  mover.on_finish = [&] {
    seen.push_back(phase());
    clock.advance(absl::Milliseconds(7));
    return absl::OkStatus();
  };

  const MigrationReport report = controller.run("p", destination, mover);

  EXPECT_TRUE(report.ok()) << report;
  EXPECT_TRUE(report.status.ok());
  EXPECT_EQ(report.copy_rounds, 3);
  EXPECT_EQ(report.step, MigrationStep::Flip);
  EXPECT_EQ(report.draining, absl::Milliseconds(15));
  EXPECT_EQ(report.cutover, absl::Milliseconds(7));
  EXPECT_EQ(report.finish, absl::Milliseconds(7));
  EXPECT_EQ(report.epoch, table.current_epoch());
  EXPECT_EQ(table.get("p")->placement, destination);
  EXPECT_THAT(seen, ElementsAre(MigrationPhase::Draining, MigrationPhase::Draining,
                                MigrationPhase::Draining, MigrationPhase::Cutover));
}

TEST_F(MigrationControllerTest, TellsTheProgressOfEveryStep) {
  MigrationController controller(table, {}, clock);
  std::vector<MigrationStep> steps;
  controller.on_progress(
      [&](const MigrationProgress& progress) { steps.push_back(progress.step); });

  ASSERT_TRUE(controller.run("p", destination, mover).ok());

  EXPECT_THAT(steps, ElementsAre(MigrationStep::Begin, MigrationStep::Copy, MigrationStep::Cutover,
                                 MigrationStep::Drain, MigrationStep::Barrier,
                                 MigrationStep::Finish, MigrationStep::Flip));
}

TEST_F(MigrationControllerTest, TellsTheProgressOfAResumeFromItsBegin) {
  ASSERT_TRUE(table.begin_migration("p", destination));
  ASSERT_TRUE(table.enter_cutover("p"));
  MigrationController controller(table, {}, clock);
  std::vector<MigrationStep> steps;
  controller.on_progress(
      [&](const MigrationProgress& progress) { steps.push_back(progress.step); });

  ASSERT_TRUE(controller.resume("p", mover).ok());

  EXPECT_THAT(steps, ElementsAre(MigrationStep::Begin, MigrationStep::Drain, MigrationStep::Barrier,
                                 MigrationStep::Finish, MigrationStep::Flip));
}

TEST_F(MigrationControllerTest, RefusesAnUnknownPartitionAndDoesNotCallTheMover) {
  MigrationController controller(table, {}, clock);
  const MigrationReport report = controller.run("nobody", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Refused);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(mover.copies, 0);
}

TEST_F(MigrationControllerTest, LeavesAMigrationThatIsUnderWayAlone) {
  MigrationController controller(table, {}, clock);
  const Epoch begun = table.begin_migration("p", destination).value();
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(report.status.message()), HasSubstr("AlreadyMigrating"));
  EXPECT_EQ(table.state("p")->epoch, begun);
}

TEST_F(MigrationControllerTest, AbortsWhenACopyFails) {
  MigrationController controller(table, {}, clock);
  mover.on_copy = [&]() -> absl::StatusOr<Mover::Rest> {
    clock.advance(absl::Seconds(2));
    return absl::ResourceExhaustedError("the destination is full");
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Copy);
  EXPECT_EQ(report.phase, MigrationPhase::Draining);
  EXPECT_EQ(report.draining, absl::Seconds(2));
  EXPECT_EQ(report.cutover, absl::ZeroDuration());
  EXPECT_EQ(report.ended, clock.now());
  EXPECT_EQ(report.status.message(), "the destination is full");
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

TEST_F(MigrationControllerTest, AbortsWhenTheRestStaysLarge) {
  MigrationController controller(table, {.max_copy_rounds = 4}, clock);
  mover.on_copy = [] { return Mover::Rest::Large; };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(mover.copies, 4);
  EXPECT_EQ(mover.finishes, 0);
  EXPECT_EQ(phase(), MigrationPhase::Settled);
}

TEST_F(MigrationControllerTest, AbortsWhenTheLastRoundFails) {
  MigrationController controller(table, {}, clock);
  mover.on_finish = [] { return absl::UnavailableError("connection lost"); };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Finish);
  EXPECT_EQ(report.phase, MigrationPhase::Cutover);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

TEST_F(MigrationControllerTest, AbortsWhenTheMoverThrowsAndPassesTheExceptionOn) {
  MigrationController controller(table, {}, clock);
  mover.on_finish = []() -> absl::Status { throw std::runtime_error("mover"); };
  EXPECT_THROW(static_cast<void>(controller.run("p", destination, mover)), std::runtime_error);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

// Whose permit it is that a drain waits for here is not said by the stack of a thread: debug builds
// would take one in a variable for the controller's own.
TEST_F(MigrationControllerTest, AbortsWhenAWriteOutlastsTheDrainDeadline) {
  MigrationController controller(table, {.drain_deadline = absl::Seconds(3)}, clock);
  const auto permit = std::make_unique<WritePermit>(table.acquire_write("p"));
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Drain) clock.advance(absl::Seconds(4));
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Drain);
  EXPECT_THAT(std::string(report.status.message()), HasSubstr("1 writes were still in flight"));
  EXPECT_EQ(mover.finishes, 0);
  EXPECT_EQ(phase(), MigrationPhase::Settled);
}

TEST_F(MigrationControllerTest, WaitsForAWriteThatIsBackBeforeTheDrainDeadline) {
  const auto permit = std::make_unique<WritePermit>(table.acquire_write("p"));
  ClockWithAHook asked(clock);
  MigrationController controller(table, {.drain_deadline = absl::Seconds(3)}, asked);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Drain) return;
    // The drain asks for the time when it has waited in vain.
    asked.hook = [&] { permit->release(); };
    clock.advance(absl::Seconds(3) - absl::Nanoseconds(1));
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_EQ(report.drain, absl::Seconds(3) - absl::Nanoseconds(1));
}

TEST_F(MigrationControllerTest, SleepsWhileItDrains) {
  const auto permit = std::make_unique<WritePermit>(table.acquire_write("p"));
  ClockWithAHook asked(clock);
  MigrationController controller(table, {}, asked);
  int turns = 0;
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Drain) return;
    asked.hook = [&, end = absl::Now() + absl::Milliseconds(5)] {
      ++turns;
      if (absl::Now() >= end) permit->release();
    };
  });
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
  EXPECT_LT(turns, 20);
}

TEST_F(MigrationControllerTest, AbortsADrainThatOutlastsTheWholeCutover) {
  MigrationController controller(
      table, {.drain_deadline = absl::Seconds(30), .max_cutover = absl::Seconds(5)}, clock);
  const auto permit = std::make_unique<WritePermit>(table.acquire_write("p"));
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Drain) clock.advance(absl::Seconds(5));
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Drain);
}

TEST_F(MigrationControllerTest, FlipsInACutoverThatTakesJustAsLongAsItMay) {
  MigrationController controller(table, {.max_cutover = absl::Seconds(5)}, clock);
  mover.on_finish = [&] {
    clock.advance(absl::Seconds(5));
    return absl::OkStatus();
  };
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
}

TEST_F(MigrationControllerTest, FinishesOnlyWhenEveryWriteIsBack) {
  MigrationController controller(table, {}, clock);
  std::latch draining(1);
  std::thread writer([&draining, permit = table.acquire_write("p")]() mutable {
    draining.wait();
    permit.release();
  });
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Drain) draining.count_down();
  });
  std::size_t in_flight_at_finish = 99;
  mover.on_finish = [&] {
    in_flight_at_finish = table.writes_in_flight("p");
    return absl::OkStatus();
  };
  const MigrationReport report = controller.run("p", destination, mover);
  writer.join();
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_EQ(in_flight_at_finish, 0U);
}

TEST_F(MigrationControllerTest, AbortsWhenTheCutoverTakesTooLong) {
  MigrationController controller(table, {.max_cutover = absl::Seconds(5)}, clock);
  mover.on_finish = [&] {
    clock.advance(absl::Seconds(6));
    return absl::OkStatus();
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Flip);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(table.get("p")->placement, origin);
}

// A writer that comes too late: it has counted itself, and has yet to see the cutover. The counter
// of a table's only partition is the first one.
class LateWriter {
 public:
  explicit LateWriter(const PageMemory& memory)
      : counter_(*reinterpret_cast<detail::WriteCounter*>(
            memory.pieces(MemoryUse::Counters).front().begin)) {}

  void comes() { ASSERT_TRUE(counter_.enter()); }
  void goes() { counter_.leave(); }

 private:
  detail::WriteCounter& counter_;
};

class LateWriters : public MigrationControllerTest {
 protected:
  LateWriters() { own_table.set("p", origin); }

  PageMemory memory;
  PlacementTable own_table{TableOptions{.shards = 1, .memory = &memory, .clock = &clock}};
  ClockWithAHook asked{clock};
};

TEST_F(LateWriters, AreWaitedForBeforeTheFlip) {
  MigrationController controller(own_table, {}, asked);
  LateWriter writer(memory);
  int times = 0;
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Flip) return;
    writer.comes();
    // Asked for before the flip is tried, and again when the drain has waited in vain.
    asked.hook = [&] {
      if (++times == 2) writer.goes();
    };
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_GE(times, 2);
}

TEST_F(LateWriters, ThatDoNotGoAreNotWaitedForBeyondTheDeadline) {
  MigrationController controller(own_table, {.drain_deadline = absl::Seconds(3)}, clock);
  LateWriter writer(memory);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Flip) return;
    writer.comes();
    clock.advance(absl::Seconds(3));
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Flip);
  EXPECT_THAT(std::string(report.status.message()), HasSubstr("1 writes were still in flight"));
  writer.goes();
}

TEST_F(MigrationControllerTest, WaitsForTheWriteBarrier) {
  MigrationController controller(table, {.write_barrier = absl::Seconds(2)}, clock);
  const absl::Time began = clock.now();
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.barrier, absl::Seconds(2));
  EXPECT_EQ(clock.now() - began, absl::Seconds(2));
}

TEST_F(MigrationControllerTest, ReportsTheHeldWritesAndTheLongest) {
  MigrationController controller(table, {}, clock);
  std::vector<HoldTicket> tickets;
  int resumed = 0;
  mover.on_finish = [&] {
    tickets.push_back(table.hold("p", [&] { ++resumed; }));
    clock.advance(absl::Milliseconds(30));
    tickets.push_back(table.hold("p", [&] { ++resumed; }));
    clock.advance(absl::Milliseconds(10));
    return absl::OkStatus();
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(resumed, 2);
  EXPECT_EQ(report.writes_held, 2U);
  EXPECT_EQ(report.longest_hold, absl::Milliseconds(40));
}

TEST_F(MigrationControllerTest, StopAbortsBetweenRounds) {
  MigrationController controller(table, {}, clock);
  std::stop_source stop;
  mover.on_copy = [&] {
    stop.request_stop();
    return Mover::Rest::Large;
  };
  const MigrationReport report = controller.run("p", destination, mover, stop.get_token());
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(mover.copies, 1);
  EXPECT_EQ(phase(), MigrationPhase::Settled);
}

TEST_F(MigrationControllerTest, MakesARoundOfCopyingHoweverFewItMay) {
  for (const int most : {0, 1}) {
    MigrationController controller(table, {.max_copy_rounds = most}, clock);
    ScriptedMover large;
    large.on_copy = [] { return Mover::Rest::Large; };
    EXPECT_EQ(controller.run("p", destination, large).outcome, MigrationOutcome::Aborted);
    EXPECT_EQ(large.copies, 1);
    ScriptedMover small;
    EXPECT_TRUE(controller.run("p", destination, small).ok());
    EXPECT_EQ(small.copies, 1);
  }
}

TEST_F(MigrationControllerTest, StopAbortsBeforeTheCutover) {
  MigrationController controller(table, {}, clock);
  std::stop_source stop;
  mover.on_copy = [&] {
    stop.request_stop();
    return Mover::Rest::Small;
  };
  const MigrationReport report = controller.run("p", destination, mover, stop.get_token());
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Copy);
  EXPECT_EQ(report.epoch, table.current_epoch());
}

TEST_F(MigrationControllerTest, StopAbortsDuringTheBarrierAndBeforeTheLastRound) {
  for (const absl::Duration barrier : {absl::ZeroDuration(), absl::Seconds(2)}) {
    MigrationController controller(table, {.write_barrier = barrier}, clock);
    std::stop_source stop;
    controller.on_progress([&](const MigrationProgress& progress) {
      if (progress.step == MigrationStep::Barrier) stop.request_stop();
    });
    const absl::Time began = clock.now();
    const MigrationReport report = controller.run("p", destination, mover, stop.get_token());
    EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
    EXPECT_EQ(report.step, MigrationStep::Barrier);
    EXPECT_EQ(report.status.code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(clock.now(), began) << "it did not wait for the barrier's end";
    EXPECT_EQ(mover.finishes, 0);
  }
}

TEST_F(MigrationControllerTest, StopAbortsADrain) {
  MigrationController controller(table, {}, clock);
  const auto permit = std::make_unique<WritePermit>(table.acquire_write("p"));
  std::stop_source stop;
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Drain) stop.request_stop();
  });
  const MigrationReport report = controller.run("p", destination, mover, stop.get_token());
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Drain);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kCancelled);
}

TEST_F(MigrationControllerTest, ResumesFromDraining) {
  static_cast<void>(table.begin_migration("p", destination));
  MigrationController controller(table, {}, clock);
  const MigrationReport report = controller.resume("p", mover);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_EQ(mover.copies, 1);
  EXPECT_EQ(table.get("p")->placement, destination);
}

TEST_F(MigrationControllerTest, ResumesFromCutoverWithoutCopyingAgain) {
  static_cast<void>(table.begin_migration("p", destination));
  static_cast<void>(table.enter_cutover("p"));
  MigrationController controller(table, {}, clock);
  const MigrationReport report = controller.resume("p", mover);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_EQ(mover.copies, 0);
  EXPECT_EQ(mover.finishes, 1);
}

TEST_F(MigrationControllerTest, RefusesToResumeWhatIsSettledOrUnknown) {
  MigrationController controller(table, {}, clock);
  const MigrationReport settled = controller.resume("p", mover);
  EXPECT_EQ(settled.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(settled.status.message()), HasSubstr("NotMigrating"));
  const MigrationReport unknown = controller.resume("nobody", mover);
  EXPECT_EQ(unknown.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(unknown.status.message()), HasSubstr("UnknownPartition"));
}

TEST_F(MigrationControllerTest, DoesNotAbortAMigrationThatSomeoneElseTookOver) {
  MigrationController controller(table, {}, clock);
  const Placement elsewhere = Placement::dedicated_cluster(ClusterId("elsewhere"));
  mover.on_copy = [&]() -> absl::StatusOr<Mover::Rest> {
    EXPECT_TRUE(table.abort_migration("p"));
    EXPECT_TRUE(table.begin_migration("p", elsewhere));
    return absl::InternalError("too late");
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(table.state("p")->state,
            PartitionState::migrating(origin, elsewhere, MigrationPhase::Draining));
}

TEST_F(MigrationControllerTest, DoesNotCutOverAMigrationThatSomeoneElseTookOver) {
  MigrationController controller(table, {}, clock);
  const Placement elsewhere = Placement::dedicated_cluster(ClusterId("elsewhere"));
  mover.on_copy = [&] {
    EXPECT_TRUE(table.abort_migration("p"));
    EXPECT_TRUE(table.begin_migration("p", elsewhere));
    return Mover::Rest::Small;
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(report.step, MigrationStep::Cutover);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(table.state("p")->state,
            PartitionState::migrating(origin, elsewhere, MigrationPhase::Draining));
}

TEST_F(MigrationControllerTest, AResumeSupersedesTheFormerController) {
  MigrationController former(table, {}, clock);
  MigrationController successor(table, {}, clock);
  ScriptedMover second_mover;
  mover.on_finish = [&] {
    const MigrationReport report = successor.resume("p", second_mover);
    EXPECT_TRUE(report.ok()) << report;
    return absl::OkStatus();
  };
  const MigrationReport report = former.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded) << report;
  EXPECT_EQ(table.state("p")->state, PartitionState::active(destination));
}

TEST_F(MigrationControllerTest, OfTwoControllersThatResumeOneMigrationOneWinsEachStep) {
  for (int round = 0; round < 200; ++round) {
    table.set("p", origin);
    ASSERT_TRUE(table.begin_migration("p", destination));
    MigrationController first(table, {}, clock);
    MigrationController second(table, {}, clock);
    ScriptedMover movers[2];
    MigrationReport reports[2];
    std::latch start(2);
    std::thread other([&] {
      start.arrive_and_wait();
      reports[1] = second.resume("p", movers[1]);
    });
    start.arrive_and_wait();
    reports[0] = first.resume("p", movers[0]);
    other.join();
    EXPECT_EQ((reports[0].ok() ? 1 : 0) + (reports[1].ok() ? 1 : 0), 1) << reports[0] << '\n'
                                                                        << reports[1];
    for (const MigrationReport& report : reports) {
      EXPECT_NE(report.outcome, MigrationOutcome::Aborted) << report;
    }
    EXPECT_EQ(table.state("p")->state, PartitionState::active(destination));
  }
}

TEST_F(MigrationControllerTest, StepByStepTellsHowLongTheBarrierStillIs) {
  MigrationController controller(table, {.write_barrier = absl::Seconds(10)}, clock);
  ASSERT_TRUE(controller.begin("p", destination));
  EXPECT_EQ(std::get<MigrationError>(controller.complete("p")), MigrationError::NotCutover);
  ASSERT_TRUE(controller.enter_cutover("p"));
  clock.advance(absl::Seconds(4));
  EXPECT_EQ(std::get<BarrierPending>(controller.complete("p")).remaining, absl::Seconds(6));
  clock.advance(absl::Seconds(6));
  const CompletionResult flipped = controller.complete("p");
  EXPECT_EQ(std::get<Epoch>(flipped), table.current_epoch());
  EXPECT_EQ(std::get<MigrationError>(controller.complete("p")), MigrationError::NotMigrating);
  EXPECT_EQ(std::get<MigrationError>(controller.complete("nobody")),
            MigrationError::UnknownPartition);
}

TEST_F(MigrationControllerTest, StepByStepTellsHowManyWritesAreOut) {
  MigrationController controller(table, {}, clock);
  ASSERT_TRUE(controller.begin("p", destination));
  std::optional<WritePermit> one = table.acquire_write("p");
  std::optional<WritePermit> two = table.acquire_write("p");
  ASSERT_TRUE(controller.enter_cutover("p"));
  EXPECT_EQ(std::get<WritesPending>(controller.complete("p")).count, 2U);
  one.reset();
  EXPECT_EQ(std::get<WritesPending>(controller.complete("p")).count, 1U);
  two.reset();
  EXPECT_TRUE(std::holds_alternative<Epoch>(controller.complete("p")));
}

TEST_F(MigrationControllerTest, StepByStepKnowsNoPartitionThatIsNotThere) {
  MigrationController controller(table, {}, clock);
  EXPECT_EQ(controller.begin("nobody", destination), MigrationError::UnknownPartition);
  EXPECT_EQ(controller.enter_cutover("nobody"), MigrationError::UnknownPartition);
  EXPECT_EQ(controller.abort("nobody"), MigrationError::UnknownPartition);
}

TEST_F(MigrationControllerTest, StepByStepAbortsFromEitherPhase) {
  MigrationController controller(table, {}, clock);
  EXPECT_EQ(controller.abort("p"), MigrationError::NotMigrating);
  ASSERT_TRUE(controller.begin("p", destination));
  EXPECT_TRUE(controller.abort("p"));
  ASSERT_TRUE(controller.begin("p", destination));
  ASSERT_TRUE(controller.enter_cutover("p"));
  EXPECT_TRUE(controller.abort("p"));
  EXPECT_EQ(table.get("p")->placement, origin);
}

TEST_F(MigrationControllerTest, StepByStepRefusesWhatCannotBe) {
  MigrationController controller(table, {}, clock);
  EXPECT_EQ(controller.enter_cutover("p"), MigrationError::NotMigrating);
  EXPECT_EQ(controller.abort("nobody"), MigrationError::UnknownPartition);
}

TEST_F(MigrationControllerTest, StopsBeforeAnyStepThatAStopComesBefore) {
  // Stopping in Flip is too late.
  for (const MigrationStep step : {MigrationStep::Copy, MigrationStep::Cutover,
                                   MigrationStep::Drain, MigrationStep::Barrier}) {
    MigrationController controller(table, {.write_barrier = absl::Seconds(1)}, clock);
    std::stop_source stop;
    controller.on_progress([&](const MigrationProgress& progress) {
      if (progress.step == step) stop.request_stop();
    });
    const MigrationReport report = controller.run("p", destination, mover, stop.get_token());
    EXPECT_EQ(report.outcome, MigrationOutcome::Aborted) << step;
    EXPECT_EQ(report.status.code(), absl::StatusCode::kCancelled) << step;
    EXPECT_EQ(table.state("p")->state, PartitionState::active(origin)) << step;
  }
  EXPECT_EQ(mover.finishes, 0);
}

TEST_F(MigrationControllerTest, LeavesAMigrationToWhoeverOverrodeItBeforeTheCutover) {
  MigrationController controller(table, {}, clock);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Cutover) table.set("p", destination);
  });
  const MigrationReport report = controller.run("p", origin, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(destination));
}

TEST_F(MigrationControllerTest, LeavesAMigrationToWhoeverOverrodeItBeforeTheFlip) {
  MigrationController controller(table, {}, clock);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Flip) table.set("p", origin);
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

template <typename Enum>
std::string printed(Enum value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

TEST(MigrationNames, AreThoseOfTheSteps) {
  using enum MigrationStep;
  std::vector<std::string> names;
  for (const MigrationStep step : {Begin, Copy, Cutover, Drain, Barrier, Finish, Flip}) {
    names.push_back(printed(step));
  }
  EXPECT_THAT(names, ElementsAre("Begin", "Copy", "Cutover", "Drain", "Barrier", "Finish", "Flip"));
  EXPECT_EQ(printed(static_cast<MigrationStep>(99)), "unknown MigrationStep");
}

TEST(MigrationNames, AreThoseOfTheOutcomes) {
  using enum MigrationOutcome;
  std::vector<std::string> names;
  for (const MigrationOutcome outcome : {Flipped, Aborted, Refused, Superseded}) {
    names.push_back(printed(outcome));
  }
  EXPECT_THAT(names, ElementsAre("Flipped", "Aborted", "Refused", "Superseded"));
  EXPECT_EQ(printed(static_cast<MigrationOutcome>(99)), "unknown MigrationOutcome");
}

TEST_F(MigrationControllerTest, AReportReadsAsOneLine) {
  MigrationController controller(table, {}, clock);
  std::ostringstream out;
  out << controller.run("p", destination, mover);
  EXPECT_THAT(out.str(), HasSubstr("Flipped at Flip"));
  EXPECT_EQ(out.str().find('\n'), std::string::npos);
}

}  // namespace
}  // namespace placement::test
