// SPDX-License-Identifier: Apache-2.0
//
// What a controller promises of a cutover holds by whichever way the cutover was entered.
#include <functional>
#include <latch>
#include <optional>
#include <ostream>
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

namespace placement::test {
namespace {

enum class Way { Run, ResumeInDraining, ResumeInCutover, StepByStep, StepByStepOfAnothersCutover };

std::ostream& operator<<(std::ostream& out, Way way) {
  switch (way) {
    case Way::Run:
      return out << "Run";
    case Way::ResumeInDraining:
      return out << "ResumeInDraining";
    case Way::ResumeInCutover:
      return out << "ResumeInCutover";
    case Way::StepByStep:
      return out << "StepByStep";
    case Way::StepByStepOfAnothersCutover:
      return out << "StepByStepOfAnothersCutover";
  }
  return out;
}

class EveryWay : public ::testing::TestWithParam<Way> {
 protected:
  EveryWay() { table.set("p", origin); }

  static bool goes_step_by_step() {
    return GetParam() == Way::StepByStep || GetParam() == Way::StepByStepOfAnothersCutover;
  }

  // Drives the migration to its end. True if it flipped.
  bool drive(const MigrationPolicy& policy, std::stop_token stop = {}) {
    MigrationController controller(table, policy, clock);
    controller.on_progress([this](const MigrationProgress& progress) {
      if (progress.step == MigrationStep::Drain && in_drain) in_drain();
      if (progress.step == MigrationStep::Barrier && in_barrier) in_barrier();
    });
    switch (GetParam()) {
      case Way::Run:
        return controller.run("p", destination, mover, stop).ok();
      case Way::ResumeInDraining:
        EXPECT_TRUE(table.begin_migration("p", destination));
        return controller.resume("p", mover, stop).ok();
      case Way::ResumeInCutover:
        EXPECT_TRUE(table.begin_migration("p", destination));
        EXPECT_TRUE(table.enter_cutover("p"));
        return controller.resume("p", mover, stop).ok();
      case Way::StepByStep:
        EXPECT_TRUE(controller.begin("p", destination));
        EXPECT_TRUE(controller.enter_cutover("p"));
        return go_on_step_by_step(controller);
      case Way::StepByStepOfAnothersCutover:
        EXPECT_TRUE(table.begin_migration("p", destination));
        EXPECT_TRUE(table.enter_cutover("p"));
        return go_on_step_by_step(controller);
    }
    return false;
  }

  // As an operator would: he copies what is left once nothing has to be waited for but the flip.
  bool go_on_step_by_step(MigrationController& controller) {
    bool finished = false;
    for (;;) {
      const CompletionResult result = controller.complete("p");
      if (std::holds_alternative<MigrationError>(result)) return false;
      if (std::holds_alternative<Epoch>(result)) return true;
      if (std::holds_alternative<WritesPending>(result) && in_drain) in_drain();
      if (std::holds_alternative<BarrierPending>(result) && in_barrier) in_barrier();
      if (std::holds_alternative<BarrierPending>(result) && !finished) {
        finished = true;
        static_cast<void>(mover.finish());
      }
    }
  }

  const Placement origin = Placement::dedicated_cluster(ClusterId("origin"));
  const Placement destination = Placement::dedicated_cluster(ClusterId("destination"));
  ManualClock clock;
  PlacementTable table{TableOptions{.clock = &clock}};
  ScriptedMover mover;
  std::function<void()> in_drain;    // when the writes in flight are waited for
  std::function<void()> in_barrier;  // when the barrier is
};

// The ways on which the controller calls the mover, too.
class EveryDriver : public EveryWay {};

TEST_P(EveryWay, DoesNotFlipWhileAWriteIsInFlight) {
  WritePermit permit = table.acquire_write("p");
  bool was_out = false;
  in_drain = [&] {
    was_out = was_out || permit;
    EXPECT_EQ(table.get("p")->placement, origin);
    permit.release();
  };
  mover.on_finish = [&] {
    EXPECT_EQ(table.writes_in_flight("p"), 0U);
    return absl::OkStatus();
  };
  EXPECT_TRUE(drive(one_try()));
  EXPECT_TRUE(was_out);
  EXPECT_EQ(table.get("p")->placement, destination);
}

TEST_P(EveryWay, DoesNotFlipBeforeTheWriteBarrierIsOver) {
  absl::Time cutover;
  in_drain = [&] { cutover = clock.now(); };
  if (goes_step_by_step()) cutover = clock.now();
  int times = 0;
  in_barrier = [&] {
    EXPECT_EQ(table.get("p")->placement, origin);
    if (++times == 1 && !goes_step_by_step()) {
      clock.advance(absl::Seconds(3));
    } else {
      clock.advance(absl::Seconds(1));
    }
  };
  EXPECT_TRUE(drive(one_try({.write_barrier = absl::Seconds(3)})));
  EXPECT_EQ(clock.now() - cutover, absl::Seconds(3));
  EXPECT_EQ(table.get("p")->placement, destination);
}

TEST_P(EveryWay, EndsTheCutoverInTimeWhileTheMoverHangs) {
  std::latch goes_on(1);
  std::vector<HoldTicket> held;
  bool was_at_origin = false;
  mover.on_finish = [&] {
    held.push_back(table.hold("p", [&] { goes_on.count_down(); }));
    clock.advance(absl::Seconds(5));
    goes_on.wait();  // for ever, unless a held write goes on although this does not return
    was_at_origin = table.state("p")->state == PartitionState::active(origin);
    return absl::OkStatus();
  };
  // So that a driver that goes step by step comes to the mover's last round before it flips.
  in_barrier = [&] { clock.advance(absl::Milliseconds(1)); };
  EXPECT_FALSE(
      drive(one_try({.max_cutover = absl::Seconds(5), .write_barrier = absl::Milliseconds(1)})));
  EXPECT_TRUE(was_at_origin);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

TEST_P(EveryWay, EndsTheCutoverInTimeWhileAWriteDoesNotEnd) {
  WritePermit permit = table.acquire_write("p");
  in_drain = [&] { clock.advance(absl::Seconds(1)); };
  EXPECT_FALSE(
      drive(one_try({.drain_deadline = absl::Seconds(1), .max_cutover = absl::Seconds(5)})));
  EXPECT_EQ(mover.finishes, 0);
  EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
}

TEST_P(EveryDriver, EndsTheCutoverAtAStopWhileTheMoverHangs) {
  std::latch goes_on(1);
  std::vector<HoldTicket> held;
  std::stop_source stop;
  mover.on_finish = [&] {
    held.push_back(table.hold("p", [&] { goes_on.count_down(); }));
    EXPECT_FALSE(mover.stop_token().stop_requested());
    std::latch told(1);
    const std::stop_callback on_stop(mover.stop_token(), [&] { told.count_down(); });
    stop.request_stop();
    goes_on.wait();
    told.wait();
    EXPECT_EQ(table.state("p")->state, PartitionState::active(origin));
    return absl::OkStatus();
  };
  EXPECT_FALSE(drive(one_try({.max_cutover = absl::InfiniteDuration()}), stop.get_token()));
}

TEST_P(EveryDriver, EndsTheCutoverInTimeWhileTheMoverVerifies) {
  std::latch goes_on(1);
  std::vector<HoldTicket> held;
  mover.on_verify = [&] {
    held.push_back(table.hold("p", [&] { goes_on.count_down(); }));
    clock.advance(absl::Seconds(5));
    goes_on.wait();
    return absl::OkStatus();
  };
  EXPECT_FALSE(drive(one_try({.max_cutover = absl::Seconds(5)})));
}

TEST_P(EveryDriver, LeavesTheMigrationToWhoeverClaimsIt) {
  const auto claim = [&] { EXPECT_TRUE(table.claim_migration("p")); };
  WritePermit permit = table.acquire_write("p");
  in_drain = [&] {
    claim();
    permit.release();
  };
  EXPECT_FALSE(drive(one_try()));
  EXPECT_EQ(table.state("p")->state,
            PartitionState::migrating(origin, destination, MigrationPhase::Cutover));
}

INSTANTIATE_TEST_SUITE_P(Promises, EveryWay,
                         ::testing::Values(Way::Run, Way::ResumeInDraining, Way::ResumeInCutover,
                                           Way::StepByStep, Way::StepByStepOfAnothersCutover),
                         ::testing::PrintToStringParamName());

INSTANTIATE_TEST_SUITE_P(Promises, EveryDriver,
                         ::testing::Values(Way::Run, Way::ResumeInDraining, Way::ResumeInCutover),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace placement::test
