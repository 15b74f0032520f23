// SPDX-License-Identifier: Apache-2.0
//
// Drives one partition's migration from its begin to the flip, through the table's public API.
#ifndef PLACEMENT_MIGRATION_CONTROLLER_HPP_
#define PLACEMENT_MIGRATION_CONTROLLER_HPP_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <ostream>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <version>

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/epoch.hpp"
#include "placement/migration.hpp"
#include "placement/placement_table.hpp"

#if !defined(__cpp_lib_jthread)
#error \
    "placement/migration_controller.hpp needs std::stop_token: libc++ before version 20 has it with -fexperimental-library only"
#endif

namespace placement {
inline namespace v1 {

// Copies a partition's data. The controller calls it from the thread that called run or resume,
// never from two at once, and never with a lock held.
class Mover {
 public:
  enum class Rest {
    Large,  // another round is worth while
    Small,  // what is left fits into a cutover
  };

  Mover() = default;
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;
  virtual ~Mover() = default;

  // One round of copying while writes still go to the origin.
  virtual absl::StatusOr<Rest> copy() = 0;

  // The last round: no write is in flight, and none will be before the flip. After an OK the
  // destination has all that the origin has.
  virtual absl::Status finish() = 0;
};

struct MigrationPolicy {
  absl::Duration drain_deadline = absl::Seconds(10);    // for the writes in flight, from cutover on
  absl::Duration max_cutover = absl::Seconds(30);       // from cutover to the flip
  absl::Duration write_barrier = absl::ZeroDuration();  // extra wait after cutover, for writers
                                                        // that use admit_write alone
  int max_copy_rounds = 16;                             // at least one is made
};

enum class MigrationStep { Begin, Copy, Cutover, Drain, Barrier, Finish, Flip };

[[nodiscard]] constexpr std::string_view to_string(MigrationStep step) noexcept {
  switch (step) {
    case MigrationStep::Begin:
      return "Begin";
    case MigrationStep::Copy:
      return "Copy";
    case MigrationStep::Cutover:
      return "Cutover";
    case MigrationStep::Drain:
      return "Drain";
    case MigrationStep::Barrier:
      return "Barrier";
    case MigrationStep::Finish:
      return "Finish";
    case MigrationStep::Flip:
      return "Flip";
  }
  return "unknown MigrationStep";
}

inline std::ostream& operator<<(std::ostream& out, MigrationStep step) {
  return out << to_string(step);
}

enum class MigrationOutcome {
  Flipped,     // reads and writes go to the destination
  Aborted,     // a step failed or took too long: the partition is settled at its origin
  Refused,     // nothing was begun: the first transition was refused
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

// How a migration went. Times are the controller's clock's.
struct MigrationReport {
  MigrationOutcome outcome = MigrationOutcome::Refused;
  absl::Status status;                             // OK if it flipped, else what went wrong
  MigrationStep step = MigrationStep::Begin;       // the last one: the one that failed, or Flip
  MigrationPhase phase = MigrationPhase::Settled;  // in which it failed
  absl::Time ended;
  Epoch epoch;  // the last one that this migration's transitions stamped
  int copy_rounds = 0;
  absl::Duration draining;  // from the begin (or the resume) to cutover
  absl::Duration cutover;   // from cutover to the flip or the abort
  absl::Duration drain;     // the part of it that waited for writes in flight
  absl::Duration barrier;   // the part that waited for the write barrier
  absl::Duration finish;    // the part that copied
  std::size_t writes_held = 0;
  absl::Duration longest_hold;

  [[nodiscard]] bool ok() const noexcept { return outcome == MigrationOutcome::Flipped; }

  friend std::ostream& operator<<(std::ostream& out, const MigrationReport& report) {
    return out << report.outcome << " at " << report.step << " (" << report.phase
               << "): " << report.status << "; " << report.copy_rounds << " rounds, draining "
               << absl::FormatDuration(report.draining) << ", cutover "
               << absl::FormatDuration(report.cutover) << " (drain "
               << absl::FormatDuration(report.drain) << ", finish "
               << absl::FormatDuration(report.finish) << "), " << report.writes_held
               << " writes held, longest " << absl::FormatDuration(report.longest_hold);
  }
};

// What a progress callback is told when a step begins.
struct MigrationProgress {
  MigrationStep step;
  int copy_round;  // from 1; 0 before the first
  Epoch epoch;
};

// Why a migration cannot be completed yet.
struct BarrierPending {
  absl::Duration remaining;
};
struct WritesPending {
  std::size_t count;
};
using CompletionResult = std::variant<Epoch, MigrationError, BarrierPending, WritesPending>;

// Drives migrations of the partitions of one table. One controller may drive many partitions from
// many threads; several controllers may try the same partition: every transition is made at the
// epoch that the controller's own last one stamped, so one wins each step, and the other is
// Refused or Superseded and leaves the partition alone.
template <PartitionKey Id = std::string, typename P = Placement>
class BasicMigrationController {
 public:
  using Table = BasicPlacementTable<Id, P>;
  using IdParameter = typename Table::IdParameter;

  // `clock` measures deadlines; it and the table must outlive the controller.
  explicit BasicMigrationController(Table& table, MigrationPolicy policy = {},
                                    Clock& clock = Clock::system())
      : table_(table), policy_(policy), clock_(clock) {}
  BasicMigrationController(const BasicMigrationController&) = delete;
  BasicMigrationController& operator=(const BasicMigrationController&) = delete;

  // Called at the begin of every step, by the thread that drives the migration. Set it before the
  // first migration; it must not throw.
  void on_progress(std::function<void(const MigrationProgress&)> callback) {
    progress_ = std::move(callback);
  }

  // The whole migration. Blocks. A step that fails, outlasts its deadline or finds `stop`
  // requested aborts the migration; an exception of the mover aborts it too and goes on to the
  // caller. A copy under way is not interrupted: a mover has its own timeouts.
  MigrationReport run(IdParameter id, P to, Mover& mover, std::stop_token stop = {}) {
    Run run(*this, id, mover, std::move(stop));
    run.enter(MigrationStep::Begin);
    const TransitionResult begun = table_.begin_migration(id, to);
    if (!begun) return run.refused(begun.error());
    run.own(*begun, MigrationPhase::Draining);
    return run.from_draining();
  }

  // The rest of a migration whose controller died, from whatever phase the table says. It claims
  // the migration first, so that of several who resume it only the last goes on to the flip, and so
  // that the former controller, should it live, makes no further transition. What a mover that
  // still runs writes to the destination the table cannot stop: be sure that it is dead, too.
  // The write barrier and the cutover's time count from now.
  MigrationReport resume(IdParameter id, Mover& mover, std::stop_token stop = {}) {
    Run run(*this, id, mover, std::move(stop));
    run.enter(MigrationStep::Begin);
    const auto now = table_.state(id);
    if (!now) return run.refused(MigrationError::UnknownPartition);
    const TransitionResult claimed = table_.claim_migration(id, now->epoch);
    if (!claimed) return run.refused(claimed.error());
    run.own(*claimed, now->state.phase());
    return now->state.phase() == MigrationPhase::Draining ? run.from_draining()
                                                          : run.from_cutover();
  }

  // ---- the same step by step, as an operator drives it ----

  TransitionResult begin(IdParameter id, P to) { return table_.begin_migration(id, to); }

  TransitionResult enter_cutover(IdParameter id) {
    const TransitionResult entered = table_.enter_cutover(id);
    if (entered) {
      const detail::MutexLock lock(mutex_);
      cutovers_.insert_or_assign(entered.value().value(), clock_.now());
    }
    return entered;
  }

  // The flip, or what it has to wait for. The barrier counts from this controller's enter_cutover;
  // for a cutover that someone else entered, from the first call of this. The data has to be
  // copied by now: that is the operator's business.
  CompletionResult complete(IdParameter id) {
    const auto now = table_.state(id);
    if (!now) return MigrationError::UnknownPartition;
    if (now->state.phase() == MigrationPhase::Cutover) {
      const absl::Duration remaining =
          cutover_since(now->epoch) + policy_.write_barrier - clock_.now();
      if (remaining > absl::ZeroDuration()) return BarrierPending{remaining};
    }
    const TransitionResult completed = table_.complete_migration(id, now->epoch);
    if (completed) {
      forget_cutover(now->epoch);
      return *completed;
    }
    if (completed.error() == MigrationError::WritesInFlight) {
      return WritesPending{table_.writes_in_flight(id)};
    }
    // With the epoch given, "not migrating" is also said of what was settled all along.
    return completed.error();
  }

  TransitionResult abort(IdParameter id) {
    const auto now = table_.state(id);
    if (!now) return MigrationError::UnknownPartition;
    const TransitionResult aborted = table_.abort_migration(id, now->epoch);
    if (aborted) forget_cutover(now->epoch);
    return aborted;
  }

 private:
  // One migration that is being driven. If it is left before its end (the mover threw), its
  // destructor aborts it; else its epoch is that of no migration any more, and nothing happens.
  class Run {
   public:
    Run(BasicMigrationController& controller, IdParameter id, Mover& mover, std::stop_token stop)
        : controller_(controller),
          id_(id),
          mover_(mover),
          stop_(std::move(stop)),
          started_(controller.clock_.now()) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() { static_cast<void>(table().abort_migration(id_, report_.epoch)); }

    void enter(MigrationStep step) {
      report_.step = step;
      if (!controller_.progress_) return;
      controller_.progress_(MigrationProgress{step, report_.copy_rounds, report_.epoch});
    }

    // The partition is in this migration, by a transition that stamped `epoch`.
    void own(Epoch epoch, MigrationPhase phase) {
      report_.epoch = epoch;
      report_.phase = phase;
      if (phase == MigrationPhase::Cutover) cutover_at_ = controller_.clock_.now();
    }

    MigrationReport refused(MigrationError error) {
      return end(MigrationOutcome::Refused, to_status(error));
    }

    MigrationReport from_draining() {
      for (bool small = false; !small;) {
        if (stop_.stop_requested()) return aborted(cancelled());
        if (report_.copy_rounds > 0 && report_.copy_rounds >= controller_.policy_.max_copy_rounds) {
          return aborted(absl::DeadlineExceededError(absl::StrCat(
              "the rest was still large after ", report_.copy_rounds, " rounds of copying")));
        }
        ++report_.copy_rounds;
        enter(MigrationStep::Copy);
        const absl::StatusOr<Mover::Rest> rest = mover_.copy();
        if (!rest.ok()) return aborted(rest.status());
        small = *rest == Mover::Rest::Small;
      }
      if (stop_.stop_requested()) return aborted(cancelled());
      enter(MigrationStep::Cutover);
      const TransitionResult entered = table().enter_cutover(id_, report_.epoch);
      if (!entered) return superseded(entered.error());
      own(*entered, MigrationPhase::Cutover);
      return from_cutover();
    }

    MigrationReport from_cutover() {
      report_.draining = cutover_at_ - started_;

      enter(MigrationStep::Drain);
      absl::Status drained = drain();
      report_.drain = now() - cutover_at_;
      if (!drained.ok()) return aborted(std::move(drained));

      enter(MigrationStep::Barrier);
      const absl::Time barrier_began = now();
      while (now() < cutover_at_ + controller_.policy_.write_barrier) {
        if (stop_.stop_requested()) return aborted(cancelled());
        controller_.clock_.sleep_until(cutover_at_ + controller_.policy_.write_barrier);
      }
      report_.barrier = now() - barrier_began;
      if (stop_.stop_requested()) return aborted(cancelled());

      enter(MigrationStep::Finish);
      const absl::Time finish_began = now();
      absl::Status finished = mover_.finish();
      report_.finish = now() - finish_began;
      if (!finished.ok()) return aborted(std::move(finished));

      enter(MigrationStep::Flip);
      for (;;) {
        if (now() - cutover_at_ > controller_.policy_.max_cutover) {
          return aborted(absl::DeadlineExceededError(
              absl::StrCat("the cutover took longer than max_cutover, ",
                           absl::FormatDuration(controller_.policy_.max_cutover))));
        }
        const TransitionResult flipped = table().complete_migration(id_, report_.epoch);
        if (flipped) {
          report_.epoch = *flipped;
          return end(MigrationOutcome::Flipped, absl::OkStatus());
        }
        if (flipped.error() != MigrationError::WritesInFlight) return superseded(flipped.error());
        // A writer that met the cutover is about to uncount itself.
        absl::Status again = drain();
        if (!again.ok()) return aborted(std::move(again));
      }
    }

   private:
    [[nodiscard]] Table& table() const noexcept { return controller_.table_; }
    [[nodiscard]] absl::Time now() const noexcept { return controller_.clock_.now(); }

    static absl::Status cancelled() { return absl::CancelledError("a stop was requested"); }

    // Waits for the writes in flight. The table wakes this thread at once when the last is back;
    // the short slices are for `stop` and for a clock that is not the machine's.
    absl::Status drain() {
      const absl::Time deadline = cutover_at_ + std::min(controller_.policy_.drain_deadline,
                                                         controller_.policy_.max_cutover);
      while (!table().wait_until_drained(id_, absl::Now() + absl::Milliseconds(10))) {
        if (stop_.stop_requested()) return cancelled();
        if (now() >= deadline) {
          return absl::DeadlineExceededError(
              absl::StrCat(table().writes_in_flight(id_), " writes were still in flight ",
                           absl::FormatDuration(now() - cutover_at_), " after the cutover"));
        }
      }
      return absl::OkStatus();
    }

    MigrationReport aborted(absl::Status why) {
      const TransitionResult result = table().abort_migration(id_, report_.epoch);
      if (!result) return end(MigrationOutcome::Superseded, std::move(why));
      report_.epoch = *result;
      return end(MigrationOutcome::Aborted, std::move(why));
    }

    MigrationReport superseded(MigrationError error) {
      return end(MigrationOutcome::Superseded, to_status(error));
    }

    MigrationReport end(MigrationOutcome outcome, absl::Status status) {
      report_.outcome = outcome;
      report_.status = std::move(status);
      report_.ended = now();
      if (report_.phase == MigrationPhase::Draining) report_.draining = report_.ended - started_;
      if (report_.phase == MigrationPhase::Cutover) {
        report_.cutover = report_.ended - cutover_at_;
        const HeldWriteStats held = table().held_writes(id_);
        report_.writes_held = held.count;
        report_.longest_hold = held.longest;
      }
      return report_;
    }

    BasicMigrationController& controller_;
    IdParameter id_;
    Mover& mover_;
    std::stop_token stop_;
    absl::Time started_;
    absl::Time cutover_at_;
    MigrationReport report_;
  };

  absl::Time cutover_since(Epoch epoch) {
    const absl::Time now = clock_.now();
    const detail::MutexLock lock(mutex_);
    return cutovers_.try_emplace(epoch.value(), now).first->second;
  }
  void forget_cutover(Epoch epoch) {
    const detail::MutexLock lock(mutex_);
    cutovers_.erase(epoch.value());
  }

  Table& table_;
  const MigrationPolicy policy_;
  Clock& clock_;
  std::function<void(const MigrationProgress&)> progress_;

  detail::Mutex mutex_;
  // When the cutovers of the step-by-step calls began, by the epoch that they stamped.
  absl::flat_hash_map<std::uint64_t, absl::Time> cutovers_ ABSL_GUARDED_BY(mutex_);
};

using MigrationController = BasicMigrationController<>;

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_MIGRATION_CONTROLLER_HPP_
