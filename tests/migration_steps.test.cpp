// SPDX-License-Identifier: Apache-2.0
//
// The steps of a migration over a source of transitions that is no table.
#include <cstddef>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <placement/detail/migration_steps.hpp>
#include <placement/placement_table.hpp>

#include "support/manual_clock.hpp"
#include "support/scripted_mover.hpp"

namespace placement::test {
namespace {

using ::testing::IsEmpty;
using ::testing::StartsWith;

// One partition of a source that knows how old its writes are.
class AgingSource {
 public:
  std::optional<detail::MigrationPosition> position() {
    return detail::MigrationPosition{phase, epoch, false};
  }
  TransitionResult begin(Epoch expected) { return step(expected, MigrationPhase::Draining); }
  TransitionResult enter_cutover(Epoch expected) {
    ++cutovers;
    return step(expected, MigrationPhase::Cutover);
  }
  TransitionResult complete(Epoch expected) { return step(expected, MigrationPhase::Settled); }
  TransitionResult abort(Epoch expected) { return step(expected, MigrationPhase::Settled); }
  TransitionResult claim(Epoch expected) { return step(expected, phase); }
  bool wait_until_drained(Epoch, absl::Time) const {
    return !oldest || phase == MigrationPhase::Cutover;
  }
  [[nodiscard]] std::size_t writes_in_flight() const { return oldest ? 1 : 0; }
  [[nodiscard]] std::optional<absl::Duration> oldest_write() const { return oldest; }
  [[nodiscard]] HeldWriteStats held_writes() const { return {}; }
  absl::Status wait_for_reads(const std::stop_token&) { return absl::OkStatus(); }

  std::optional<absl::Duration> oldest;
  int cutovers = 0;
  MigrationPhase phase = MigrationPhase::Settled;
  Epoch epoch{1};

 private:
  TransitionResult step(Epoch expected, MigrationPhase next) {
    if (expected != epoch) return MigrationError::NotMigrating;
    epoch = Epoch(epoch.value() + 1);
    phase = next;
    return epoch;
  }
};
static_assert(detail::TransitionSource<AgingSource>);

class MigrationStepsTest : public ::testing::Test {
 protected:
  MigrationReport run(std::optional<Epoch> expected = {}) {
    return detail::MigrationSteps<AgingSource>(source, mover, policy, jumping, progress, {})
        .run(expected);
  }

  ManualClock clock;
  JumpingClock jumping{clock};
  AgingSource source;
  ScriptedMover mover;
  MigrationPolicy policy{.max_cutover = absl::InfiniteDuration()};
  std::function<void(const MigrationProgress&)> progress;
};

TEST_F(MigrationStepsTest, HoldNobodyForAWriteThatIsKnownToBeTooOld) {
  source.oldest = policy.drain_deadline + absl::Nanoseconds(1);
  const MigrationReport report = run();
  EXPECT_EQ(report.outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(report.tries.size(), 4U);
  EXPECT_EQ(report.step, MigrationStep::Look);
  EXPECT_EQ(report.phase, MigrationPhase::Draining);
  EXPECT_THAT(std::string(report.status.message()),
              StartsWith("WritesInFlight: before the cutover"));
  EXPECT_EQ(source.cutovers, 0);
}

TEST_F(MigrationStepsTest, CutOverBesideWritesThatAreKnownToBeYoung) {
  source.oldest = policy.drain_deadline;
  EXPECT_TRUE(run().ok());
  EXPECT_EQ(source.cutovers, 1);
}

TEST_F(MigrationStepsTest, CutOverOnceTheOldWriteHasEnded) {
  source.oldest = absl::Hours(1);
  progress = [&](const MigrationProgress& told) {
    if (told.step == MigrationStep::Retry) source.oldest.reset();
  };
  const MigrationReport report = run();
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.tries.size(), 2U);
}

TEST_F(MigrationStepsTest, BeginAtTheExpectedEpochOnly) {
  const MigrationReport report = run(Epoch(7));
  EXPECT_EQ(report.outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(report.status.message()), StartsWith("StaleEpoch"));
  EXPECT_THAT(mover.calls, IsEmpty());
  EXPECT_TRUE(run(Epoch(1)).ok());
}

}  // namespace
}  // namespace placement::test
