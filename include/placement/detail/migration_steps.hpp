// SPDX-License-Identifier: Apache-2.0
//
// The steps of a migration, in their order, with all that may go wrong in each. They know nothing
// of where the transitions are made: in a table, or in a store that a table follows.
#ifndef PLACEMENT_DETAIL_MIGRATION_STEPS_HPP_
#define PLACEMENT_DETAIL_MIGRATION_STEPS_HPP_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/migration_guard.hpp"
#include "placement/epoch.hpp"
#include "placement/migration.hpp"
#include "placement/migration_report.hpp"
#include "placement/mover.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// Where the partition stands, all of one instant.
struct MigrationPosition {
  MigrationPhase phase;
  Epoch epoch;
  bool is_at_destination;  // settled where it is to go; in a migration: to where it is
};

// One partition of whatever makes the transitions. An answer is definite: who cannot tell whether
// a transition was made finds out before it answers. `abort` may be called by another thread than
// the rest, also at the same time.
template <typename Source>
concept TransitionSource =
    requires(Source& source, Epoch epoch, absl::Time time, const std::stop_token& stop) {
      // Nothing: there is no such partition.
      { source.position() } -> std::same_as<std::optional<MigrationPosition>>;
      // As the transitions of a table at that epoch.
      { source.begin(epoch) } -> std::same_as<TransitionResult>;
      { source.enter_cutover(epoch) } -> std::same_as<TransitionResult>;
      { source.complete(epoch) } -> std::same_as<TransitionResult>;
      { source.abort(epoch) } -> std::same_as<TransitionResult>;
      { source.claim(epoch) } -> std::same_as<TransitionResult>;
      // Blocks until no write is in flight, or the partition's epoch is another (at once when it
      // comes to be); false at `time`, which is one of absl::Now().
      { source.wait_until_drained(epoch, time) } -> std::same_as<bool>;
      { source.writes_in_flight() } -> std::convertible_to<std::size_t>;
      // How long the oldest write in flight has been so; nothing if that is not known.
      { source.oldest_write() } -> std::same_as<std::optional<absl::Duration>>;
      // The writes that this cutover held.
      { source.held_writes().count } -> std::convertible_to<std::size_t>;
      { source.held_writes().longest } -> std::convertible_to<absl::Duration>;
      // After the flip: blocks until no read is under way that was resolved before it. Not OK if
      // that cannot be said, or when `stop` is stopped.
      { source.wait_for_reads(stop) } -> std::same_as<absl::Status>;
    };

// Drives one migration. If it is left before its end (the mover threw), its destructor aborts it.
//
// Its parts answer nothing as long as the migration goes on, and else how the try has ended.
template <TransitionSource Source>
class MigrationSteps {
 public:
  using Progress = std::function<void(const MigrationProgress&)>;

  MigrationSteps(Source& source, Mover& mover, const MigrationPolicy& policy, Clock& clock,
                 const Progress& progress, std::stop_token stop)
      : source_(source),
        mover_(mover),
        policy_(policy),
        clock_(clock),
        progress_(progress),
        stop_(stop),
        guard_(clock, std::move(stop), [&source](Epoch epoch) { return source.abort(epoch); }) {}
  MigrationSteps(const MigrationSteps&) = delete;
  MigrationSteps& operator=(const MigrationSteps&) = delete;
  ~MigrationSteps() {
    if (!is_under_way_) return;
    static_cast<void>(guard_.withdraw());
    static_cast<void>(source_.abort(report_.epoch));
  }

  // `expected`, if it is given: the epoch of what the mover was made for.
  MigrationReport run(std::optional<Epoch> expected = {}) {
    enter(MigrationStep::Begin);
    for (;;) {
      const std::optional<MigrationPosition> now = source_.position();
      if (!now) return refused(to_status(MigrationError::UnknownPartition));
      if (expected && now->epoch != *expected) {
        return refused(to_status(MigrationError::StaleEpoch));
      }
      if (now->phase == MigrationPhase::Settled && now->is_at_destination) {
        // A mover that clears its destination first would delete what is to be kept.
        return refused(absl::FailedPreconditionError(
            "AlreadyThere: the partition is where it is to be moved to"));
      }
      const TransitionResult begun = source_.begin(now->epoch);
      if (begun == MigrationError::StaleEpoch) continue;  // changed since it was looked at
      if (!begun) return refused(to_status(begun.error()));
      MoverAccess::resumed(mover_, false);
      own(*begun, MigrationPhase::Draining);
      return drive();
    }
  }

  MigrationReport resume() {
    enter(MigrationStep::Begin);
    const std::optional<MigrationPosition> now = source_.position();
    if (!now) return refused(to_status(MigrationError::UnknownPartition));
    if (now->phase != MigrationPhase::Settled && now->is_at_destination) {
      return refused(absl::FailedPreconditionError(
          now->phase == MigrationPhase::Cutover
              ? "Paused: the partition's writes are paused; there is no data to move"
              : "AlreadyThere: the migration leads to where the partition is; abort it"));
    }
    guard_.start();
    const absl::Time began = clock_.now();
    const TransitionResult claimed = source_.claim(now->epoch);
    if (!claimed) return refused(to_status(claimed.error()));
    MoverAccess::resumed(mover_, true);
    cutover_at_ = began;
    own(*claimed, now->phase);
    return drive();
  }

 private:
  // How a try has ended.
  struct Ending {
    MigrationOutcome outcome;
    absl::Status status;
    bool may_be_tried_again = false;
  };
  using Ended = std::optional<Ending>;

  MigrationReport drive() {
    for (;;) {
      const Ending ending = attempt();
      is_under_way_ = false;
      close_try(ending);
      if (!ending.may_be_tried_again || attempt_ >= policy_.max_tries) return end(ending);
      if (const Ended ended = begin_again(); ended) return end(*ended);
    }
  }

  // From where it is to the flip.
  Ending attempt() {
    if (report_.phase == MigrationPhase::Draining) {
      if (Ended ended = prepare(); ended) return *std::move(ended);
      if (Ended ended = copy(); ended) return *std::move(ended);
      if (Ended ended = look(); ended) return *std::move(ended);
      if (Ended ended = enter_cutover(); ended) return *std::move(ended);
    } else {
      // Nothing is known of its writes.
      drain_budget_ = tries_budget();
    }
    guard_.watch(report_.epoch, cutover_ends());
    report_.draining = cutover_at_ - began_;
    if (Ended ended = drain(); ended) return *std::move(ended);
    if (Ended ended = wait_for_barrier(); ended) return *std::move(ended);
    if (Ended ended = finish(); ended) return *std::move(ended);
    if (Ended ended = verify(); ended) return *std::move(ended);
    if (Ended ended = flip(); ended) return *std::move(ended);
    clean();
    return {MigrationOutcome::Flipped, absl::OkStatus()};
  }

  // ---- in Draining: the mover is not interrupted, nobody waits ----

  Ended prepare() {
    if (is_prepared_) return std::nullopt;
    if (stop_.stop_requested()) return aborted(stopped());
    enter(MigrationStep::Prepare);
    MoverAccess::outside_cutover(mover_, stop_);
    if (absl::Status prepared = mover_.prepare(); !prepared.ok()) return aborted(prepared);
    is_prepared_ = true;
    return std::nullopt;
  }

  Ended copy() {
    absl::Duration smallest = absl::InfiniteDuration();
    bool was_estimate = false;
    int in_vain = 0;
    for (;;) {
      if (stop_.stop_requested()) return aborted(stopped());
      ++report_.copy_rounds;
      enter(MigrationStep::Copy);
      MoverAccess::outside_cutover(mover_, stop_);
      const absl::Time began = clock_.now();
      const absl::StatusOr<Mover::Rest> rest = mover_.copy();
      if (!rest.ok()) return aborted(rest.status());
      if (stop_.stop_requested()) return aborted(stopped());
      rest_ = rest->time();
      if (rest_ <= policy_.target_rest && fits()) return std::nullopt;

      // Without an estimate: what was written during a round is what the next one copies.
      const bool is_estimate = rest_ != absl::InfiniteDuration();
      const absl::Duration size = is_estimate ? rest_ : clock_.now() - began;
      if (is_estimate != was_estimate) smallest = absl::InfiniteDuration();
      was_estimate = is_estimate;
      if (size <= smallest - smallest / 10) {
        smallest = size;
        in_vain = 0;
      } else {
        ++in_vain;
      }
      const bool is_last = report_.copy_rounds >= policy_.max_copy_rounds;
      if (in_vain < policy_.patience && !is_last) continue;
      if (fits()) return std::nullopt;
      return aborted(absl::ResourceExhaustedError(absl::StrCat(
          is_last ? "TooManyRounds: " : "NotShrinking: ", "after ", report_.copy_rounds,
          " rounds of copying the rest takes ",
          is_estimate ? absl::FormatDuration(rest_) : std::string("too long"),
          is_last ? "" : absl::StrCat(", and the last ", in_vain, " did not make it smaller"),
          "; a cutover leaves it ", absl::FormatDuration(left_by_barrier()))));
    }
  }

  [[nodiscard]] absl::Duration left_by_barrier() const {
    return std::max(policy_.max_cutover - policy_.write_barrier, absl::ZeroDuration());
  }
  [[nodiscard]] bool fits() const { return rest_ <= left_by_barrier(); }

  // Whether the writes in flight come to an end. An instant without one says that all later ones
  // are younger. Beside a steady load there is none, and then nothing is known of their age, unless
  // the source knows it.
  Ended look() {
    enter(MigrationStep::Look);
    guard_.start();
    guard_.watch(report_.epoch, absl::InfiniteFuture());  // a stop ends the wait
    const bool was_idle = is_drained_by(clock_.now() + policy_.look);
    if (const auto by_guard = guard_.withdraw()) return ended_by(*by_guard, absl::OkStatus());
    drain_budget_ = policy_.drain_deadline;
    if (was_idle) return std::nullopt;
    if (const std::optional<absl::Duration> age = source_.oldest_write()) {
      if (*age <= policy_.drain_deadline) return std::nullopt;
      return aborted(absl::UnavailableError(absl::StrCat(
                         "WritesInFlight: before the cutover a write had been in flight for ",
                         absl::FormatDuration(*age), ", which is longer than drain_deadline")),
                     /*may_be_tried_again=*/true);
    }
    drain_budget_ = tries_budget();
    return std::nullopt;
  }

  // first_drain, doubled with every try.
  [[nodiscard]] absl::Duration tries_budget() const {
    return doubled(policy_.first_drain, attempt_ - 1, policy_.drain_deadline);
  }

  Ended enter_cutover() {
    enter(MigrationStep::Cutover);
    if (stop_.stop_requested()) return aborted(stopped());
    cutover_at_ = clock_.now();
    const TransitionResult entered = source_.enter_cutover(report_.epoch);
    if (!entered) return superseded(entered.error());
    own(*entered, MigrationPhase::Cutover);
    return std::nullopt;
  }

  // ---- in Cutover: the guard watches ----

  Ended drain() {
    enter(MigrationStep::Drain);
    const absl::Time until = std::min(cutover_at_ + drain_budget_, cutover_ends());
    const bool drained = is_drained_by(until);
    report_.drain = clock_.now() - cutover_at_;
    if (guard_.has_ended()) return aborted_by_guard();
    if (!drained) {
      return aborted(
          absl::UnavailableError(absl::StrCat(
              "WritesInFlight: ", source_.writes_in_flight(), " writes were still in flight ",
              absl::FormatDuration(report_.drain), " after the cutover")),
          /*may_be_tried_again=*/true);
    }
    return still_ours();
  }

  Ended wait_for_barrier() {
    const absl::Time began = clock_.now();
    enter(MigrationStep::Barrier);
    guard_.sleep_until(cutover_at_ + policy_.write_barrier);
    report_.barrier = clock_.now() - began;
    if (guard_.has_ended()) return aborted_by_guard();
    return std::nullopt;
  }

  Ended finish() {
    const absl::Duration left = cutover_ends() - clock_.now();
    if (rest_ > left) {
      return aborted(absl::DeadlineExceededError(absl::StrCat(
                         "CutoverTooLong: the rest takes ", absl::FormatDuration(rest_),
                         ", and the drain and the barrier left ", absl::FormatDuration(left))),
                     /*may_be_tried_again=*/true);
    }
    enter(MigrationStep::Finish);
    return in_cutover(report_.finish, [this] { return mover_.finish(); });
  }

  Ended verify() {
    enter(MigrationStep::Verify);
    return in_cutover(report_.verify, [this] { return mover_.verify(); });
  }

  // A call of the mover that may outlast the cutover.
  template <typename Call>
  Ended in_cutover(absl::Duration& took, Call call) {
    if (guard_.has_ended()) return aborted_by_guard();
    MoverAccess::in_cutover(mover_, guard_.mover_stop(), clock_, cutover_ends());
    const absl::Time began = clock_.now();
    const absl::Status status = call();
    took = clock_.now() - began;
    // What it says of itself comes first where it says that it may not be called again.
    if (guard_.has_ended()) return aborted_by_guard(status);
    if (!status.ok()) return aborted(status, absl::IsAborted(status), status);
    return std::nullopt;
  }

  Ended flip() {
    enter(MigrationStep::Flip);
    for (;;) {
      if (guard_.has_ended()) return aborted_by_guard();
      const TransitionResult flipped = source_.complete(report_.epoch);
      if (flipped) {
        cutover_over_ = clock_.now();
        // Whatever it tries comes too late.
        static_cast<void>(guard_.withdraw());
        report_.epoch = *flipped;
        is_under_way_ = false;
        return std::nullopt;
      }
      if (flipped.error() != MigrationError::WritesInFlight) return superseded(flipped.error());
      // A writer that met the cutover is about to uncount itself.
      static_cast<void>(is_drained_by(cutover_ends()));
    }
  }

  // ---- afterwards ----

  void clean() {
    if (progress_) progress_({MigrationStep::Clean, report_.copy_rounds, report_.epoch, attempt_});
    MoverAccess::outside_cutover(mover_, stop_);
    // The migration has flipped: an exception must not make that look like a failure.
#if defined(__cpp_exceptions)
    try {
      report_.cleaned = wait_and_clean();
    } catch (const std::exception& error) {
      report_.cleaned = absl::InternalError(absl::StrCat("the cleaning threw: ", error.what()));
    } catch (...) {
      report_.cleaned = absl::InternalError("the cleaning threw");
    }
#else
    report_.cleaned = wait_and_clean();
#endif
  }

  absl::Status wait_and_clean() {
    if (absl::Status ended = source_.wait_for_reads(stop_); !ended.ok()) return ended;
    if (stop_.stop_requested()) return stopped();
    return mover_.clean();
  }

  // After a pause, from the begin. The partition was settled meanwhile and may have been changed:
  // it is then left alone.
  Ended begin_again() {
    const absl::Time again =
        clock_.now() + doubled(policy_.first_pause, attempt_ - 1, policy_.longest_pause);
    if (progress_) progress_({MigrationStep::Retry, report_.copy_rounds, report_.epoch, attempt_});
    guard_.sleep_until(again);
    if (stop_.stop_requested()) return Ending{MigrationOutcome::Aborted, stopped()};
    ++attempt_;
    const Epoch before = report_.epoch;
    static_cast<MigrationTry&>(report_) = MigrationTry();
    began_ = clock_.now();
    cutover_over_.reset();
    rest_ = absl::ZeroDuration();
    enter(MigrationStep::Begin);
    const TransitionResult begun = source_.begin(before);
    if (!begun) {
      Ending ending{MigrationOutcome::Superseded, to_status(begun.error())};
      close_try(ending);
      return ending;
    }
    own(*begun, MigrationPhase::Draining);
    return std::nullopt;
  }

  // ---- the ends of a try ----

  // `mover`: what the mover's call answered, if that is why.
  Ending aborted(absl::Status why, bool may_be_tried_again = false,
                 const absl::Status& mover = absl::OkStatus()) {
    if (const auto by_guard = guard_.withdraw()) return ended_by(*by_guard, mover);
    cutover_over_ = clock_.now();
    const TransitionResult result = source_.abort(report_.epoch);
    if (!result) return {MigrationOutcome::Superseded, std::move(why)};
    report_.epoch = *result;
    return {MigrationOutcome::Aborted, std::move(why), may_be_tried_again};
  }

  // `mover`: what the mover's call answered meanwhile.
  Ending aborted_by_guard(const absl::Status& mover = absl::OkStatus()) {
    return ended_by(*guard_.withdraw(), mover);
  }

  Ending ended_by(const MigrationGuard::Abort& abort, const absl::Status& mover) {
    cutover_over_ = abort.at;
    const bool is_stop = abort.reason == MigrationGuard::Reason::Stopped;
    absl::Status why = is_stop ? stopped() : too_long();
    // A mover that failed may not be called again, so the try is the last one.
    const bool mover_failed = !mover.ok() && !absl::IsAborted(mover);
    if (!mover.ok()) {
      why = absl::Status(
          why.code(), absl::StrCat(why.message(), "; the mover then answered ", mover.ToString()));
    }
    if (!abort.result) return {MigrationOutcome::Superseded, std::move(why)};
    report_.epoch = *abort.result;
    return {MigrationOutcome::Aborted, std::move(why), !is_stop && !mover_failed};
  }

  // The guard may have come first.
  Ending superseded(MigrationError error) {
    if (const auto by_guard = guard_.withdraw(); by_guard && by_guard->result) {
      return ended_by(*by_guard, absl::OkStatus());
    }
    cutover_over_ = clock_.now();
    return {MigrationOutcome::Superseded, to_status(error)};
  }

  // The wait for the drain also ends when someone else has moved the migration on.
  Ended still_ours() {
    const std::optional<MigrationPosition> now = source_.position();
    if (now && now->epoch == report_.epoch) return std::nullopt;
    return superseded(now ? MigrationError::NotMigrating : MigrationError::UnknownPartition);
  }

  void close_try(const Ending& ending) {
    report_.status = ending.status;
    const absl::Time end = cutover_over_.value_or(clock_.now());
    if (report_.phase == MigrationPhase::Draining) report_.draining = end - began_;
    if (report_.phase == MigrationPhase::Cutover) {
      report_.cutover = end - cutover_at_;
      const auto held = source_.held_writes();
      report_.writes_held = held.count;
      report_.longest_hold = held.longest;
    }
    report_.tries.push_back(report_);
  }

  MigrationReport end(const Ending& ending) {
    report_.outcome = ending.outcome;
    report_.status = ending.status;
    report_.ended = clock_.now();
    return std::move(report_);
  }

  MigrationReport refused(absl::Status why) {
    return end({MigrationOutcome::Refused, std::move(why)});
  }

  static absl::Status stopped() { return absl::CancelledError("Stopped: a stop was requested"); }
  [[nodiscard]] absl::Status too_long() const {
    return absl::DeadlineExceededError(
        absl::StrCat("CutoverTooLong: the cutover took longer than max_cutover, ",
                     absl::FormatDuration(policy_.max_cutover)));
  }

  // ---- helpers ----

  void enter(MigrationStep step) {
    report_.step = step;
    if (progress_) progress_({step, report_.copy_rounds, report_.epoch, attempt_});
  }

  // The partition is in this migration, by a transition that stamped `epoch`.
  void own(Epoch epoch, MigrationPhase phase) {
    report_.epoch = epoch;
    report_.phase = phase;
    is_under_way_ = true;
  }

  [[nodiscard]] absl::Time cutover_ends() const { return cutover_at_ + policy_.max_cutover; }

  // True when no write is in flight, or the migration is not at this epoch any more.
  bool is_drained_by(absl::Time time) {
    for (absl::Time ask_again = absl::InfinitePast();;
         ask_again = absl::Now() + clock_.longest_wait(time)) {
      if (source_.wait_until_drained(report_.epoch, ask_again)) return true;
      if (clock_.now() >= time || guard_.has_ended()) return false;
    }
  }

  static absl::Duration doubled(absl::Duration duration, int times, absl::Duration longest) {
    for (; times > 0 && duration < longest; --times) duration *= 2;
    return std::min(duration, longest);
  }

  Source& source_;
  Mover& mover_;
  const MigrationPolicy& policy_;
  Clock& clock_;
  const Progress& progress_;
  const std::stop_token stop_;

  MigrationReport report_;
  bool is_under_way_ = false;
  bool is_prepared_ = false;
  int attempt_ = 1;
  absl::Duration rest_;  // what the mover last said
  absl::Duration drain_budget_;
  absl::Time began_ = clock_.now();
  absl::Time cutover_at_;
  std::optional<absl::Time> cutover_over_;

  MigrationGuard guard_;  // last: its thread uses the source
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_MIGRATION_STEPS_HPP_
