// SPDX-License-Identifier: Apache-2.0
//
// What whoever drives a migration is told to do, and what he tells of it.
#ifndef PLACEMENT_MIGRATION_REPORT_HPP_
#define PLACEMENT_MIGRATION_REPORT_HPP_

#include <cstddef>
#include <ostream>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <absl/time/time.h>

#include "placement/epoch.hpp"
#include "placement/migration.hpp"

namespace placement {
inline namespace v1 {

// The bounds of a migration. All of them hold for run and resume; write_barrier and max_cutover
// also for the calls that go step by step.
struct MigrationPolicy {
  // How long a try waits in cutover for the writes in flight. While it waits, others are held.
  absl::Duration drain_deadline = absl::Seconds(1);
  // The same for a try that saw no instant without a write in flight: some write may never end, so
  // the first try waits this long, and each later one twice as long, up to drain_deadline.
  absl::Duration first_drain = absl::Milliseconds(100);
  // How long to look for such an instant before a cutover. Nobody is held meanwhile.
  absl::Duration look = absl::Milliseconds(100);
  // From cutover to the flip, whatever the mover does: when it is over, held writes go on at the
  // origin.
  absl::Duration max_cutover = absl::Seconds(30);
  // Extra wait after cutover, for writers that use admit_write alone.
  absl::Duration write_barrier = absl::ZeroDuration();

  // Rounds of copying end when the rest takes no longer than this. They also end when they do not
  // make it smaller any more: then the cutover is made if the rest fits into it.
  absl::Duration target_rest = absl::Milliseconds(100);
  // So many rounds in a row that do not make the rest smaller, by a tenth of the smallest so far,
  // are in vain.
  int patience = 3;
  // A last bound, for rounds that get smaller for ever; at least one is made.
  int max_copy_rounds = 100;

  // How often a cutover is tried, if it fails in a way that another time may not.
  int max_tries = 4;
  // Between two tries the partition is settled at its origin. Each pause is twice as long as the
  // one before, up to longest_pause.
  absl::Duration first_pause = absl::Milliseconds(500);
  absl::Duration longest_pause = absl::Seconds(30);
};

enum class MigrationStep {
  Begin,    // the transition to Draining
  Prepare,  // Mover::prepare
  Copy,     // a round: Mover::copy
  Look,     // whether the writes in flight come to an end, before any is held
  Cutover,  // the transition
  Drain,    // the wait for the writes in flight
  Barrier,  // the wait for MigrationPolicy::write_barrier, none unless that is set
  Finish,   // Mover::finish
  Verify,   // Mover::verify
  Flip,     // the transition
  Clean,    // the wait for the caller's reads, and Mover::clean
  Retry,    // the pause after a cutover that failed
};

[[nodiscard]] constexpr std::string_view to_string(MigrationStep step) noexcept {
  switch (step) {
    case MigrationStep::Begin:
      return "Begin";
    case MigrationStep::Prepare:
      return "Prepare";
    case MigrationStep::Copy:
      return "Copy";
    case MigrationStep::Look:
      return "Look";
    case MigrationStep::Cutover:
      return "Cutover";
    case MigrationStep::Drain:
      return "Drain";
    case MigrationStep::Barrier:
      return "Barrier";
    case MigrationStep::Finish:
      return "Finish";
    case MigrationStep::Verify:
      return "Verify";
    case MigrationStep::Flip:
      return "Flip";
    case MigrationStep::Clean:
      return "Clean";
    case MigrationStep::Retry:
      return "Retry";
  }
  return "unknown MigrationStep";
}

inline std::ostream& operator<<(std::ostream& out, MigrationStep step) {
  return out << to_string(step);
}

enum class MigrationOutcome {
  Flipped,     // reads and writes go to the destination
  Aborted,     // a step failed or took too long: the partition is settled at its origin
  Refused,     // nothing was begun, and the mover was not called
  Superseded,  // someone else took the migration over (or overrode it); it was left to them
};

[[nodiscard]] constexpr std::string_view to_string(MigrationOutcome outcome) noexcept {
  switch (outcome) {
    case MigrationOutcome::Flipped:
      return "Flipped";
    case MigrationOutcome::Aborted:
      return "Aborted";
    case MigrationOutcome::Refused:
      return "Refused";
    case MigrationOutcome::Superseded:
      return "Superseded";
  }
  return "unknown MigrationOutcome";
}

inline std::ostream& operator<<(std::ostream& out, MigrationOutcome outcome) {
  return out << to_string(outcome);
}

// One try of a migration, from its begin (or its resume) to the flip or to what ended it.
//
// The status of one that failed is the mover's own, that of the transition that was refused (see
// to_status), or one of these, by the word that its message begins with:
//   Cancelled           Stopped         a stop was requested
//   Unavailable         WritesInFlight  writes did not end in time; also before the cutover, if one
//                                       is known to be too old
//   DeadlineExceeded    CutoverTooLong  the cutover took longer than max_cutover, or was about to
//   ResourceExhausted   NotShrinking    rounds of copying do not make the rest smaller
//   ResourceExhausted   TooManyRounds   max_copy_rounds were made
//   FailedPrecondition  AlreadyThere    the partition is where it is to go
//   FailedPrecondition  Paused          what is to be resumed is no migration: writes are paused
struct MigrationTry {
  absl::Status status;                             // OK if it flipped, else what went wrong
  MigrationStep step = MigrationStep::Begin;       // the last one: the one that failed, or Flip
  MigrationPhase phase = MigrationPhase::Settled;  // the furthest that it came to before the flip
  int copy_rounds = 0;
  absl::Duration draining;  // from the begin (or the resume) to cutover, or to the end
  absl::Duration cutover;   // from cutover to the flip or the abort
  absl::Duration drain;     // the part of it that waited for writes in flight
  absl::Duration barrier;   // the part that waited for the write barrier
  absl::Duration finish;    // the part that copied: longer than the cutover if that ended first
  absl::Duration verify;    // the part that compared
  std::size_t writes_held = 0;
  absl::Duration longest_hold;
};

// How a migration went: what it is a try of its own says is that of the last one. Times are of the
// driver's clock.
struct MigrationReport : MigrationTry {
  MigrationOutcome outcome = MigrationOutcome::Refused;
  absl::Time ended;
  Epoch epoch;           // the last one that this migration's transitions stamped
  absl::Status cleaned;  // of waiting for reads and of Mover::clean; OK if it did not flip
  std::vector<MigrationTry> tries;  // every one, the last included; empty if it was refused

  [[nodiscard]] bool ok() const noexcept { return outcome == MigrationOutcome::Flipped; }

  friend std::ostream& operator<<(std::ostream& out, const MigrationReport& report) {
    out << report.outcome << " at " << report.step << " (" << report.phase << "): " << report.status
        << "; " << report.copy_rounds << " rounds, draining "
        << absl::FormatDuration(report.draining) << ", cutover "
        << absl::FormatDuration(report.cutover) << " (drain " << absl::FormatDuration(report.drain)
        << ", finish " << absl::FormatDuration(report.finish) << "), " << report.writes_held
        << " writes held, longest " << absl::FormatDuration(report.longest_hold);
    if (report.tries.size() > 1) out << "; the last of " << report.tries.size() << " tries";
    return out;
  }
};

// What a progress callback is told when a step begins.
struct MigrationProgress {
  MigrationStep step;
  int copy_round;   // of this try, from 1; 0 before the first
  Epoch epoch;      // the last one that this migration's transitions stamped
  int attempt = 1;  // which try it is
};

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_MIGRATION_REPORT_HPP_
