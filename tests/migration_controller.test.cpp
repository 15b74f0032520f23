// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
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
#include "support/scripted_mover.hpp"
#include "support/test_memory.hpp"

namespace placement::test {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class MigrationControllerTest : public ::testing::Test {
 protected:
  MigrationControllerTest() { table.set("p", origin); }

  MigrationPhase phase() { return table.state("p")->state.phase(); }

  const Placement origin = Placement::dedicated_cluster(ClusterId("origin"));
  const Placement destination = Placement::dedicated_cluster(ClusterId("destination"));
  ManualClock clock;
  JumpingClock jumping{clock};
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

  using enum MigrationStep;
  EXPECT_THAT(steps, ElementsAre(Begin, Prepare, Copy, Look, Cutover, Drain, Barrier, Finish,
                                 Verify, Flip, Clean));
}

TEST_F(MigrationControllerTest, TellsTheProgressOfAResumeFromItsBegin) {
  ASSERT_TRUE(table.begin_migration("p", destination));
  ASSERT_TRUE(table.enter_cutover("p"));
  MigrationController controller(table, {}, clock);
  std::vector<MigrationStep> steps;
  controller.on_progress(
      [&](const MigrationProgress& progress) { steps.push_back(progress.step); });

  ASSERT_TRUE(controller.resume("p", mover).ok());

  using enum MigrationStep;
  EXPECT_THAT(steps, ElementsAre(Begin, Drain, Barrier, Finish, Verify, Flip, Clean));
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

TEST_F(MigrationControllerTest, AbortsWhenAWriteOutlastsTheDrainDeadline) {
  MigrationController controller(table, one_try({.drain_deadline = absl::Seconds(3)}), clock);
  WritePermit permit = table.acquire_write("p");
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

TEST_F(MigrationControllerTest, FinishesOnlyWhenEveryWriteIsBack) {
  MigrationController controller(table, one_try(), clock);
  std::optional<WritePermit> permit = table.acquire_write("p");
  std::latch draining(1);
  std::thread writer([&] {
    draining.wait();
    permit.reset();
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
};

TEST_F(LateWriters, AreWaitedForBeforeTheFlip) {
  MigrationController controller(own_table, {.max_cutover = absl::InfiniteDuration()}, clock);
  LateWriter writer(memory);
  std::latch came(1);
  std::thread leaves([&] {
    came.wait();
    writer.goes();
  });
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Flip) return;
    writer.comes();
    came.count_down();
  });
  const MigrationReport report = controller.run("p", destination, mover);
  leaves.join();
  EXPECT_TRUE(report.ok()) << report;
}

TEST_F(LateWriters, ThatDoNotGoAreNotWaitedForBeyondTheCutover) {
  MigrationController controller(own_table, one_try({.max_cutover = absl::Seconds(3)}), clock);
  LateWriter writer(memory);
  std::latch came(1);
  std::thread time([&] {
    came.wait();
    clock.advance(absl::Seconds(3));
  });
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Flip) return;
    writer.comes();
    came.count_down();
  });
  const MigrationReport report = controller.run("p", destination, mover);
  time.join();
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Flip);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("CutoverTooLong: "));
  writer.goes();
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
    table.set("p", origin);
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

TEST_F(MigrationControllerTest, LeavesAMigrationToWhoeverOverrodeItBeforeTheFlip) {
  MigrationController controller(table, {}, clock);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Flip) table.set("p", origin);
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

// ---- what is refused before the mover is called ----

TEST_F(MigrationControllerTest, RefusesToMoveAPartitionToWhereItIs) {
  MigrationController controller(table, {}, clock);
  const Epoch before = table.current_epoch();
  const MigrationReport report = controller.run("p", origin, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Refused);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("AlreadyThere: "));
  EXPECT_THAT(mover.calls, IsEmpty());
  EXPECT_EQ(table.current_epoch(), before);
  EXPECT_THAT(report.tries, IsEmpty());
}

struct Incomparable {
  int cluster;
};

TEST(MigrationControllerOfAnyPlacement, ComparesByteByByteWhatHasNoComparison) {
  BasicPlacementTable<unsigned, Incomparable> table;
  table.set(7, Incomparable{1});
  BasicMigrationController<unsigned, Incomparable> controller(table);
  ScriptedMover mover;
  EXPECT_EQ(controller.run(7, Incomparable{1}, mover).outcome, MigrationOutcome::Refused);
  EXPECT_THAT(mover.calls, IsEmpty());
  EXPECT_TRUE(controller.run(7, Incomparable{2}, mover).ok());
}

TEST_F(MigrationControllerTest, RefusesToResumeWhatIsSettledOrUnknown) {
  MigrationController controller(table, {}, clock);
  const MigrationReport settled = controller.resume("p", mover);
  EXPECT_EQ(settled.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(settled.status.message()), StartsWith("NotMigrating"));
  const MigrationReport unknown = controller.resume("nobody", mover);
  EXPECT_EQ(unknown.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(unknown.status.message()), StartsWith("UnknownPartition"));
}

TEST_F(MigrationControllerTest, RefusesToResumeWhatMovesNoData) {
  MigrationController controller(table, {}, clock);
  Epoch at = table.begin_migration("p", origin).value();
  const MigrationReport draining = controller.resume("p", mover);
  EXPECT_EQ(draining.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(draining.status.message()), StartsWith("AlreadyThere: "));
  EXPECT_EQ(table.state("p")->epoch, at) << "it claimed it";

  at = table.enter_cutover("p").value();
  const MigrationReport paused = controller.resume("p", mover);
  EXPECT_EQ(paused.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(paused.status.message()), StartsWith("Paused: "));
  EXPECT_EQ(table.state("p")->epoch, at) << "it claimed it";
  EXPECT_THAT(mover.calls, IsEmpty());
}

// ---- the mover's calls ----

TEST_F(MigrationControllerTest, CallsTheMoverInOrder) {
  MigrationController controller(table, {}, clock);
  ASSERT_TRUE(controller.run("p", destination, mover).ok());
  EXPECT_THAT(mover.calls, ElementsAre("prepare", "copy", "finish", "verify", "clean"));
}

TEST_F(MigrationControllerTest, CopiesNothingToADestinationThatIsNotReady) {
  MigrationController controller(table, {}, clock);
  mover.on_prepare = [&] {
    EXPECT_EQ(phase(), MigrationPhase::Draining);
    return absl::FailedPreconditionError("not empty");
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Prepare);
  EXPECT_EQ(report.status.message(), "not empty");
  EXPECT_THAT(mover.calls, ElementsAre("prepare"));
  EXPECT_EQ(phase(), MigrationPhase::Settled);
}

TEST_F(MigrationControllerTest, DoesNotFlipWhatIsNotVerified) {
  MigrationController controller(table, {}, clock);
  mover.on_verify = [&] {
    EXPECT_EQ(phase(), MigrationPhase::Cutover);
    clock.advance(absl::Milliseconds(3));
    return absl::DataLossError("12 rows here, 11 there");
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Verify);
  EXPECT_EQ(report.verify, absl::Milliseconds(3));
  EXPECT_EQ(report.status.message(), "12 rows here, 11 there");
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

TEST_F(MigrationControllerTest, CleansWhenTheCallersReadsHaveEnded) {
  MigrationController controller(table, {}, clock);
  controller.wait_for_reads([&](const std::string& id, const std::stop_token&) {
    EXPECT_EQ(id, "p");
    EXPECT_EQ(table.get("p")->placement, destination);
    mover.calls.push_back("reads ended");
    return absl::OkStatus();
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.cleaned.ok());
  EXPECT_THAT(mover.calls,
              ElementsAre("prepare", "copy", "finish", "verify", "reads ended", "clean"));
}

TEST_F(MigrationControllerTest, DoesNotCleanWhileReadsMayBeUnderWay) {
  MigrationController controller(table, {}, clock);
  controller.wait_for_reads([&](const std::string&, const std::stop_token&) {
    return absl::DeadlineExceededError("reads are still under way");
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(report.status.ok());
  EXPECT_EQ(report.cleaned.message(), "reads are still under way");
  EXPECT_EQ(mover.calls.back(), "verify");
}

TEST_F(MigrationControllerTest, DoesNotCleanOnceAStopWasRequestedAndStaysFlipped) {
  MigrationController controller(table, {}, clock);
  std::stop_source stop;
  controller.wait_for_reads([&](const std::string&, const std::stop_token& token) {
    stop.request_stop();
    EXPECT_TRUE(token.stop_requested());
    return absl::OkStatus();
  });
  const MigrationReport report = controller.run("p", destination, mover, stop.get_token());
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.cleaned.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(mover.calls.back(), "verify");
  EXPECT_EQ(table.get("p")->placement, destination);
}

TEST_F(MigrationControllerTest, HasFlippedThoughTheCleaningThrows) {
  class Throws final : public Mover {
   public:
    absl::StatusOr<Rest> copy() override { return Rest::Small; }
    absl::Status finish() override { return absl::OkStatus(); }
    absl::Status clean() override { throw std::runtime_error("the disk is gone"); }
  } throws;
  MigrationController controller(table, {}, clock);
  const MigrationReport report = controller.run("p", destination, throws);
  EXPECT_EQ(report.outcome, MigrationOutcome::Flipped);
  EXPECT_EQ(report.cleaned.code(), absl::StatusCode::kInternal);
  EXPECT_NE(report.cleaned.message().find("the disk is gone"), absl::string_view::npos);
  EXPECT_EQ(table.get("p")->placement, destination);
}

TEST_F(MigrationControllerTest, ReportsWhatCouldNotBeCleaned) {
  MigrationController controller(table, {}, clock);
  mover.on_clean = [] { return absl::UnavailableError("origin is down"); };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.cleaned.message(), "origin is down");
  EXPECT_EQ(report.step, MigrationStep::Flip);
}

TEST_F(MigrationControllerTest, TellsTheMoverWhatTheCutoverLeavesIt) {
  MigrationController controller(table, {.max_cutover = absl::Seconds(5)}, clock);
  std::vector<absl::Duration> left;
  const auto note = [&] {
    left.push_back(mover.time_left());
    clock.advance(absl::Seconds(2));
    return absl::OkStatus();
  };
  mover.on_prepare = mover.on_finish = mover.on_verify = mover.on_clean = note;
  mover.on_copy = [&] {
    static_cast<void>(note());
    return Mover::Rest::Small;
  };
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
  const absl::Duration unbounded = absl::InfiniteDuration();
  EXPECT_THAT(left,
              ElementsAre(unbounded, unbounded, absl::Seconds(5), absl::Seconds(3), unbounded));
}

TEST_F(MigrationControllerTest, TheMoversDeadlineIsOneOfTheWallClock) {
  MigrationController controller(table, one_try({.max_cutover = absl::Hours(1)}), clock);
  mover.on_copy = [&] {
    EXPECT_EQ(mover.deadline(), absl::InfiniteFuture());
    return Mover::Rest::Small;
  };
  mover.on_finish = [&] {
    const absl::Time before = absl::Now();
    const absl::Time deadline = mover.deadline();
    EXPECT_GE(deadline, before + absl::Hours(1));
    EXPECT_LE(deadline, absl::Now() + absl::Hours(1));
    clock.advance(absl::Hours(2));
    EXPECT_EQ(mover.time_left(), absl::ZeroDuration());
    return absl::OkStatus();
  };
  static_cast<void>(controller.run("p", destination, mover));
  EXPECT_EQ(mover.finishes, 1);
}

TEST_F(MigrationControllerTest, TellsTheMoverOfAStopDuringACopy) {
  MigrationController controller(table, {}, clock);
  std::stop_source stop;
  mover.on_copy = [&] {
    EXPECT_FALSE(mover.stop_token().stop_requested());
    stop.request_stop();
    EXPECT_TRUE(mover.stop_token().stop_requested());
    EXPECT_EQ(phase(), MigrationPhase::Draining) << "nobody waits: it is not settled under a copy";
    return Mover::Rest::Small;
  };
  EXPECT_EQ(controller.run("p", destination, mover, stop.get_token()).status.code(),
            absl::StatusCode::kCancelled);
}

TEST_F(MigrationControllerTest, TellsTheMoverWhetherItIsAResume) {
  MigrationController controller(table, {}, clock);
  std::vector<bool> told;
  mover.on_prepare = [&] {
    told.push_back(mover.is_resumed());
    return absl::OkStatus();
  };
  ASSERT_TRUE(controller.run("p", destination, mover).ok());
  ASSERT_TRUE(table.begin_migration("p", origin));
  ASSERT_TRUE(controller.resume("p", mover).ok());
  ASSERT_TRUE(controller.run("p", destination, mover).ok());
  EXPECT_THAT(told, ElementsAre(false, true, false));
}

// ---- rounds of copying ----

class Rounds : public MigrationControllerTest {
 protected:
  // A mover whose rounds answer these, and the last again and again.
  void answer(std::vector<absl::Duration> rests) {
    mover.on_copy = [this, rests = std::move(rests)] {
      const auto round = static_cast<std::size_t>(mover.copies) - 1;
      return Mover::Rest::takes(rests[std::min(round, rests.size() - 1)]);
    };
  }
  MigrationPolicy policy{.max_cutover = absl::Seconds(10), .target_rest = absl::Seconds(1)};
};

TEST_F(Rounds, EndWhenTheRestIsSmallEnough) {
  MigrationController controller(table, policy, clock);
  answer({absl::Seconds(30), absl::Seconds(5), absl::Seconds(1)});
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
  EXPECT_EQ(mover.copies, 3);
}

TEST_F(Rounds, AreInVainWhenTheRestDoesNotGetSmallerAndEndEarly) {
  MigrationController controller(table, policy, clock);
  answer({absl::Seconds(40), absl::Seconds(20), absl::Seconds(20), absl::Seconds(19),
          absl::Seconds(25)});
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Copy);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("NotShrinking: "));
  EXPECT_EQ(mover.copies, 5) << "two that made it smaller, three in vain";
  EXPECT_EQ(report.tries.size(), 1U) << "another try would not be any better";
}

TEST_F(Rounds, MayGoOnAsLongAsTheRestGetsSmaller) {
  MigrationController controller(table, policy, clock);
  mover.on_copy = [&] {
    return Mover::Rest::takes(absl::Seconds(1000) * std::pow(0.85, mover.copies));
  };
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
  EXPECT_EQ(mover.copies, 43);
}

TEST_F(Rounds, ThatAreInVainEndInACutoverIfTheRestFitsIntoOne) {
  MigrationController controller(table, policy, clock);
  answer({absl::Seconds(9)});
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
  EXPECT_EQ(mover.copies, 1 + policy.patience);
}

TEST_F(Rounds, AreMeasuredAgainstWhatTheBarrierLeaves) {
  policy.write_barrier = absl::Seconds(2);
  MigrationController controller(table, policy, jumping);
  answer({absl::Seconds(9)});
  EXPECT_THAT(std::string(controller.run("p", destination, mover).status.message()),
              AllOf(StartsWith("NotShrinking: "), HasSubstr("leaves it 8s")));
}

TEST_F(Rounds, WithoutAnEstimateAreJudgedByHowLongTheyTake) {
  MigrationController controller(table, policy, clock);
  mover.on_copy = [&] {
    clock.advance(mover.copies < 4 ? absl::Seconds(64 >> mover.copies) : absl::Seconds(8));
    return Mover::Rest::Large;
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("NotShrinking: "));
  EXPECT_EQ(mover.copies, 6);
}

TEST_F(Rounds, HaveALastBound) {
  policy.max_copy_rounds = 7;
  MigrationController controller(table, policy, clock);
  mover.on_copy = [&] { return Mover::Rest::takes(absl::Hours(1) * std::pow(0.5, mover.copies)); };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("TooManyRounds: "));
  EXPECT_EQ(mover.copies, 7);
}

TEST(MoverRest, IsAnEstimateOfATime) {
  EXPECT_EQ(Mover::Rest::takes(absl::Seconds(3)).time(), absl::Seconds(3));
  EXPECT_EQ(Mover::Rest::takes(-absl::Seconds(3)), Mover::Rest::Small);
  EXPECT_EQ(Mover::Rest::Large.time(), absl::InfiniteDuration());
  EXPECT_FALSE(Mover::Rest::Small == Mover::Rest::Large);
  std::ostringstream out;
  out << Mover::Rest::takes(absl::Milliseconds(1500));
  EXPECT_EQ(out.str(), "1.5s");
}

// ---- cutovers that fail are tried again ----

class Tries : public MigrationControllerTest {
 protected:
  // Its waits take as long as they may; the guard has nothing to wait for.
  MigrationPolicy policy{.max_cutover = absl::InfiniteDuration()};
};

TEST_F(Tries, HoldWritesForLittleWhileAWriteDoesNotEndAndPauseForLongerEachTime) {
  const WritePermit leaked = table.acquire_write("p");
  MigrationController controller(table, policy, jumping);
  std::vector<absl::Duration> pauses;
  absl::Time paused;
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Retry) {
      paused = clock.now();
      EXPECT_EQ(phase(), MigrationPhase::Settled);
    }
    if (progress.step == MigrationStep::Begin && progress.attempt > 1) {
      pauses.push_back(clock.now() - paused);
    }
  });

  const MigrationReport report = controller.run("p", destination, mover);

  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("WritesInFlight: 1 writes"));
  std::vector<absl::Duration> drains;
  for (const MigrationTry& attempt : report.tries) {
    EXPECT_EQ(attempt.step, MigrationStep::Drain);
    EXPECT_EQ(attempt.phase, MigrationPhase::Cutover);
    EXPECT_EQ(attempt.cutover, attempt.drain);
    EXPECT_EQ(attempt.draining, policy.look);
    EXPECT_EQ(attempt.copy_rounds, 1);
    EXPECT_EQ(attempt.status.code(), absl::StatusCode::kUnavailable);
    drains.push_back(attempt.drain);
  }
  EXPECT_THAT(drains, ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200),
                                  absl::Milliseconds(400), absl::Milliseconds(800)));
  EXPECT_THAT(pauses, ElementsAre(absl::Milliseconds(500), absl::Seconds(1), absl::Seconds(2)));
  EXPECT_EQ(mover.finishes, 0);
  std::ostringstream out;
  out << report;
  EXPECT_THAT(out.str(), HasSubstr("the last of 4 tries"));
}

TEST_F(Tries, AreBoundedInHowLongTheyDrainAndPause) {
  const WritePermit leaked = table.acquire_write("p");
  policy.max_tries = 6;
  policy.longest_pause = absl::Seconds(3);
  MigrationController controller(table, policy, jumping);
  absl::Time paused;
  absl::Duration longest;
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Retry) paused = clock.now();
    if (progress.step == MigrationStep::Begin && progress.attempt > 1) {
      longest = std::max(longest, clock.now() - paused);
    }
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.tries.size(), 6U);
  EXPECT_EQ(report.drain, policy.drain_deadline);
  EXPECT_EQ(longest, absl::Seconds(3));
}

TEST_F(Tries, GoOnFromTheCopyAndFlipOnceTheWriteHasEnded) {
  WritePermit slow = table.acquire_write("p");
  MigrationController controller(table, policy, jumping);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Retry) slow.release();
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_THAT(mover.calls, ElementsAre("prepare", "copy", "copy", "finish", "verify", "clean"));
  ASSERT_EQ(report.tries.size(), 2U);
  EXPECT_EQ(report.tries[0].step, MigrationStep::Drain);
  EXPECT_TRUE(report.tries[1].status.ok());
  EXPECT_EQ(report.drain, absl::ZeroDuration());
}

TEST_F(Tries, DrainForAsLongAsTheyMayOnceAnInstantWithoutWritesWasSeen) {
  // No write is older than that instant, so none has been found that does not end.
  std::optional<WritePermit> permit;
  policy.max_tries = 1;
  MigrationController controller(table, policy, jumping);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Cutover) permit = table.acquire_write("p");
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.tries[0].drain, policy.drain_deadline);
}

TEST_F(Tries, LeaveAPartitionAloneThatWasChangedBetweenThem) {
  const WritePermit leaked = table.acquire_write("p");
  const Placement elsewhere = Placement::dedicated_cluster(ClusterId("elsewhere"));
  MigrationController controller(table, policy, jumping);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Retry) table.set("p", elsewhere);
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("StaleEpoch"));
  EXPECT_EQ(table.state("p")->state, PartitionState::active(elsewhere));
  EXPECT_EQ(report.tries.size(), 2U);
}

TEST_F(Tries, AreMadeAgainWhenTheLastRoundTookTooLong) {
  MigrationController controller(table, {.max_cutover = absl::Seconds(5)}, clock);
  mover.on_finish = [&] {
    if (mover.finishes == 1) clock.advance(absl::Seconds(6));
    return absl::OkStatus();
  };
  std::thread time;
  controller.on_progress([&](const MigrationProgress& progress) {
    // The pause begins now; time passes beside it.
    if (progress.step == MigrationStep::Retry)
      time = std::thread([&] { clock.advance(absl::Seconds(9)); });
  });
  const MigrationReport report = controller.run("p", destination, mover);
  time.join();
  EXPECT_TRUE(report.ok()) << report;
  ASSERT_EQ(report.tries.size(), 2U);
  EXPECT_EQ(report.tries[0].step, MigrationStep::Finish);
  EXPECT_EQ(report.tries[0].status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(report.tries[0].status.message()), StartsWith("CutoverTooLong: "));
}

TEST_F(Tries, AreMadeAgainWhenTheMoverGaveUpInTime) {
  MigrationController controller(table, policy, jumping);
  mover.on_finish = [&] {
    return mover.finishes == 1 ? absl::AbortedError("no time left") : absl::OkStatus();
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_TRUE(report.ok()) << report;
  EXPECT_EQ(report.tries[0].status.message(), "no time left");
}

TEST_F(Tries, AreNotMadeAgainWhenTheMoverFailed) {
  MigrationController controller(table, one_try({.max_cutover = absl::Seconds(5)}), clock);
  mover.on_finish = [&] {
    clock.advance(absl::Seconds(6));
    return absl::InternalError("half of it is lost");
  };
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.tries.size(), 1U);
  EXPECT_EQ(report.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(report.status.message()), HasSubstr("half of it is lost"));
}

TEST_F(Tries, EndBeforeTheLastRoundIfTheDrainLeftItTooLittle) {
  WritePermit permit = table.acquire_write("p");
  MigrationController controller(
      table, one_try({.drain_deadline = absl::Seconds(8), .max_cutover = absl::Seconds(10)}),
      clock);
  mover.on_copy = [] { return Mover::Rest::takes(absl::Seconds(5)); };
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step != MigrationStep::Drain) return;
    clock.advance(absl::Seconds(6));
    permit.release();
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.step, MigrationStep::Barrier);
  EXPECT_THAT(std::string(report.status.message()),
              StartsWith("CutoverTooLong: the rest takes 5s"));
  EXPECT_EQ(mover.finishes, 0);
}

// ---- a stop, and others, end every wait at once ----

TEST_F(MigrationControllerTest, AStopEndsEveryWaitAtOnce) {
  // Nothing moves the clock, so what does not end by the stop never ends.
  using enum MigrationStep;
  for (const MigrationStep step : {Look, Drain, Barrier, Retry}) {
    MigrationPolicy policy{.drain_deadline = absl::InfiniteDuration(),
                           .first_drain = absl::InfiniteDuration(),
                           .look = absl::ZeroDuration(),
                           .max_cutover = absl::InfiniteDuration(),
                           .first_pause = absl::InfiniteDuration(),
                           .longest_pause = absl::InfiniteDuration()};
    std::optional<WritePermit> permit;
    if (step == Look || step == Drain) permit = table.acquire_write("p");
    if (step == Look) policy.look = absl::InfiniteDuration();
    if (step == Barrier) policy.write_barrier = absl::InfiniteDuration();
    ScriptedMover own;
    if (step == Retry) own.on_finish = [] { return absl::AbortedError("again"); };
    MigrationController controller(table, policy, clock);
    std::stop_source stop;
    std::latch waits(1);
    controller.on_progress([&](const MigrationProgress& progress) {
      if (progress.step == step) waits.count_down();
    });
    std::thread stopper([&] {
      waits.wait();
      stop.request_stop();
    });
    const MigrationReport report = controller.run("p", destination, own, stop.get_token());
    stopper.join();
    EXPECT_EQ(report.outcome, MigrationOutcome::Aborted) << step;
    EXPECT_EQ(report.status.code(), absl::StatusCode::kCancelled) << step;
    EXPECT_EQ(table.state("p")->state, PartitionState::active(origin)) << step;
    EXPECT_EQ(report.epoch, table.current_epoch()) << step;
  }
}

TEST_F(MigrationControllerTest, StopsBeforeAnyStepThatAStopComesBefore) {
  using enum MigrationStep;
  for (const MigrationStep step :
       {Begin, Prepare, Copy, Look, Cutover, Drain, Barrier, Finish, Verify, Flip}) {
    MigrationController controller(table, {}, clock);
    ScriptedMover own;
    std::stop_source stop;
    controller.on_progress([&](const MigrationProgress& progress) {
      if (progress.step == step) stop.request_stop();
    });
    const MigrationReport report = controller.run("p", destination, own, stop.get_token());
    EXPECT_EQ(report.outcome, MigrationOutcome::Aborted) << step;
    EXPECT_EQ(report.status.code(), absl::StatusCode::kCancelled) << step;
    EXPECT_EQ(table.state("p")->state, PartitionState::active(origin)) << step;
    EXPECT_EQ(own.finishes, step == Verify || step == Flip ? 1 : 0) << step;
  }
}

TEST_F(MigrationControllerTest, ADrainEndsAtOnceWhenSomeoneElseEndsTheMigration) {
  const WritePermit permit = table.acquire_write("p");
  MigrationPolicy policy = one_try(
      {.drain_deadline = absl::InfiniteDuration(), .max_cutover = absl::InfiniteDuration()});
  MigrationController controller(table, policy, clock);
  std::latch draining(1);
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Drain) draining.count_down();
  });
  std::thread other([&] {
    draining.wait();
    EXPECT_TRUE(table.abort_migration("p"));
  });
  const MigrationReport report = controller.run("p", destination, mover);
  other.join();
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(mover.finishes, 0);
}

TEST_F(MigrationControllerTest, AStopAndAFlipThatRaceAreDecidedOnce) {
  for (int round = 0; round < 300; ++round) {
    table.set("p", origin);
    MigrationController controller(table, {}, clock);
    ScriptedMover own;
    std::stop_source stop;
    std::latch verified(2);
    own.on_verify = [&] {
      verified.arrive_and_wait();
      return absl::OkStatus();
    };
    std::thread stopper([&] {
      verified.arrive_and_wait();
      stop.request_stop();
    });
    const MigrationReport report = controller.run("p", destination, own, stop.get_token());
    stopper.join();
    EXPECT_EQ(report.epoch, table.current_epoch());
    EXPECT_THAT(report.outcome, AnyOf(MigrationOutcome::Flipped, MigrationOutcome::Aborted));
    EXPECT_EQ(table.state("p")->state, PartitionState::active(report.ok() ? destination : origin));
  }
}

TEST_F(MigrationControllerTest, AWriteThatDoesNotEndIsNotWaitedForBeyondTheCutover) {
  MigrationController controller(
      table, one_try({.drain_deadline = absl::Seconds(30), .max_cutover = absl::Seconds(5)}),
      jumping);
  const WritePermit permit = table.acquire_write("p");
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.step, MigrationStep::Drain);
}

TEST_F(MigrationControllerTest, FlipsInACutoverThatTakesJustAsLongAsItMay) {
  MigrationController controller(table, {.max_cutover = absl::Seconds(5)}, clock);
  mover.on_finish = [&] {
    clock.advance(absl::Seconds(5) - absl::Nanoseconds(1));
    return absl::OkStatus();
  };
  EXPECT_TRUE(controller.run("p", destination, mover).ok());
}

TEST_F(MigrationControllerTest, LeavesAMigrationToWhoeverOverrodeItBeforeTheCutover) {
  MigrationController controller(table, {}, clock);
  const Placement elsewhere = Placement::dedicated_cluster(ClusterId("elsewhere"));
  controller.on_progress([&](const MigrationProgress& progress) {
    if (progress.step == MigrationStep::Cutover) table.set("p", elsewhere);
  });
  const MigrationReport report = controller.run("p", destination, mover);
  EXPECT_EQ(report.outcome, MigrationOutcome::Superseded);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(elsewhere));
}

// ---- step by step ----

TEST_F(MigrationControllerTest, StepByStepKeepsTheCutoversOfPartitionsApartThatShareAnEpoch) {
  // As a source numbers them that changed both in one transaction.
  const auto moving = PartitionState::migrating(origin, destination, MigrationPhase::Cutover);
  ASSERT_TRUE(table.apply("q", moving, Epoch(100)));
  ASSERT_TRUE(table.apply("r", moving, Epoch(100)));
  MigrationController controller(table, {.write_barrier = absl::Seconds(10)}, clock);
  EXPECT_EQ(std::get<BarrierPending>(controller.complete("q")).remaining, absl::Seconds(10));
  clock.advance(absl::Seconds(4));
  EXPECT_EQ(std::get<BarrierPending>(controller.complete("r")).remaining, absl::Seconds(10));
  EXPECT_EQ(std::get<BarrierPending>(controller.complete("q")).remaining, absl::Seconds(6));
  clock.advance(absl::Seconds(6));
  EXPECT_TRUE(std::holds_alternative<Epoch>(controller.complete("q")));
  EXPECT_EQ(std::get<BarrierPending>(controller.complete("r")).remaining, absl::Seconds(4));
}

TEST_F(MigrationControllerTest, StepByStepLeavesAPartitionAloneWhoseWritesArePaused) {
  MigrationController controller(table, {}, clock);
  ASSERT_TRUE(table.begin_migration("p", origin));
  EXPECT_EQ(controller.enter_cutover("p"), MigrationError::NotMigrating);
  ASSERT_TRUE(table.enter_cutover("p"));
  EXPECT_EQ(std::get<MigrationError>(controller.complete("p")), MigrationError::NotMigrating);
  EXPECT_EQ(controller.abort("p"), MigrationError::NotMigrating);
  EXPECT_EQ(phase(), MigrationPhase::Cutover);
}

TEST_F(MigrationControllerTest, ACutoverThatWasEnteredStepByStepEndsWithItsController) {
  {
    MigrationController controller(table, {}, clock);
    ASSERT_TRUE(controller.begin("p", destination));
    ASSERT_TRUE(controller.enter_cutover("p"));
  }
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

TEST_F(MigrationControllerTest, StepByStepBeginsAnewAfterACutoverThatEnded) {
  MigrationController controller(table, {.max_cutover = absl::Seconds(5)}, clock);
  ASSERT_TRUE(controller.begin("p", destination));
  ASSERT_TRUE(controller.enter_cutover("p"));
  clock.advance(absl::Seconds(6));
  EXPECT_EQ(std::get<MigrationError>(controller.complete("p")), MigrationError::NotMigrating);
  ASSERT_TRUE(controller.begin("p", destination));
  ASSERT_TRUE(controller.enter_cutover("p"));
  clock.advance(absl::Seconds(4));
  EXPECT_TRUE(std::holds_alternative<Epoch>(controller.complete("p")));
}

// ---- names ----

template <typename Enum>
std::string printed(Enum value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

TEST(MigrationNames, AreThoseOfTheSteps) {
  using enum MigrationStep;
  std::vector<std::string> names;
  for (const MigrationStep step :
       {Begin, Prepare, Copy, Look, Cutover, Drain, Barrier, Finish, Verify, Flip, Clean, Retry}) {
    names.push_back(printed(step));
  }
  EXPECT_THAT(names, ElementsAre("Begin", "Prepare", "Copy", "Look", "Cutover", "Drain", "Barrier",
                                 "Finish", "Verify", "Flip", "Clean", "Retry"));
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
