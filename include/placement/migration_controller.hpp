// SPDX-License-Identifier: Apache-2.0
//
// Drives one partition's migration from its begin to the flip, through the table's public API.
//
//   class RowMover : public placement::Mover {
//     absl::Status prepare() override;        // is the destination there, and empty?
//     absl::StatusOr<Rest> copy() override;   // all rows, then again and again what changed;
//                                             // answers Rest::takes(what the last would take)
//     absl::Status finish() override;         // those that changed since, while writes are held
//     absl::Status verify() override;         // as many rows here as there?
//     absl::Status clean() override;          // removes the origin's rows
//   };
//
//   placement::MigrationController controller(table, {.max_cutover = absl::Seconds(2)});
//   controller.wait_for_reads([&](const std::string& tenant, const std::stop_token& stop) {
//     return connections.wait_for_answers_to(tenant, stop);  // of reads that went to the origin
//   });
//   RowMover mover;
//   std::stop_source stop;  // stop.request_stop() ends the migration, from any thread
//   const placement::MigrationReport report =
//       controller.run("tenant-42", to, mover, stop.get_token());
//   if (!report.ok()) LOG << report;  // the partition is settled at its origin
//                                     // (see MigrationOutcome)
//
// What it promises, by whichever way a cutover was entered:
//   - No write is held for longer than max_cutover, nor after a stop was requested, even if the
//     mover does not come back: the partition is settled at its origin, and `run` returns when the
//     mover has. A cutover that is about to end is ended by a thread beside the one that called
//     `run`; it lives from shortly before the cutover until `run` returns.
//   - The last round runs when no write is in flight and the write barrier is over.
//   - Whatever ends `run` leaves the partition settled, or to whoever took the migration over.
#ifndef PLACEMENT_MIGRATION_CONTROLLER_HPP_
#define PLACEMENT_MIGRATION_CONTROLLER_HPP_

#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/migration_guard.hpp"
#include "placement/detail/migration_steps.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/detail/table_transitions.hpp"
#include "placement/epoch.hpp"
#include "placement/migration.hpp"
#include "placement/migration_report.hpp"  // IWYU pragma: export
#include "placement/mover.hpp"             // IWYU pragma: export
#include "placement/placement_table.hpp"

namespace placement {
inline namespace v1 {

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
//
// Held writes that are resumed by the end of a cutover are resumed by the thread that ends it: the
// caller's, or the controller's own. What resumes them must not call the controller.
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
  // Aborts the cutovers that were entered step by step and are still open: nobody would end them.
  ~BasicMigrationController() = default;

  // Called at the begin of every step, by the thread that drives the migration. Set it before the
  // first migration; it must not throw.
  void on_progress(std::function<void(const MigrationProgress&)> callback) {
    progress_ = std::move(callback);
  }

  // How the controller learns that the caller's own reads on the origin have ended, so that
  // Mover::clean may remove what they read. Called after a flip, by the thread that drives the
  // migration; it blocks until no read is under way that was resolved before it was called. If it
  // cannot say so, or its token is stopped, its answer is not OK, and `clean` is not called (see
  // MigrationReport::cleaned). Without it `clean` is called at once, and a read that is still on
  // its way to the origin may find nothing there. Set it before the first migration.
  void wait_for_reads(
      std::function<absl::Status(const Id& id, const std::stop_token& stop)> callback) {
    wait_for_reads_ = std::move(callback);
  }

  // The whole migration. Blocks until it has ended, the mover's call and the cleaning included.
  // Refused, before the mover is called, if the partition is at `to` already, or if its epoch is
  // not `expected`: give it where the mover was made for the origin that was seen at that epoch.
  //
  // A step that fails ends it. A cutover that fails because writes or the mover took too long is
  // tried again after a pause, as often as the policy says; the report has every try. A stop ends
  // every wait and a cutover at once; a mover in Draining is told and waited for. An exception of
  // the mover aborts the migration and goes on to the caller. Throws std::bad_alloc, and
  // std::system_error if no thread can be started; the partition is then settled, too.
  MigrationReport run(IdParameter id, P to, Mover& mover, std::stop_token stop = {},
                      std::optional<Epoch> expected = {}) {
    Source source(table_, detail::own_id<Id>(id), to, wait_for_reads_);
    return detail::MigrationSteps<Source>(source, mover, policy_, clock_, progress_,
                                          std::move(stop))
        .run(expected);
  }

  // The rest of a migration whose controller died, from whatever phase the table says. It claims
  // the migration first, so that of several who resume it only the last goes on to the flip, and so
  // that the former controller, should it live, makes no further transition. What a mover that
  // still runs writes to the destination the table cannot stop: be sure that it is dead, too.
  // The write barrier and the cutover's time count from now. Refused, and nothing is claimed, for
  // what moves no data: a partition whose writes are paused, or a migration to where it is.
  MigrationReport resume(IdParameter id, Mover& mover, std::stop_token stop = {}) {
    Source source(table_, detail::own_id<Id>(id), std::nullopt, wait_for_reads_);
    return detail::MigrationSteps<Source>(source, mover, policy_, clock_, progress_,
                                          std::move(stop))
        .resume();
  }

  // ---- the same step by step, as an operator drives it ----

  TransitionResult begin(IdParameter id, P to) { return table_.begin_migration(id, to); }

  // The cutover ends by itself after max_cutover, and with the controller: the partition is then
  // settled at its origin. NotMigrating for a migration that leads to where the partition is.
  // Throws std::bad_alloc, and std::system_error if no thread can be started; the partition is then
  // in no cutover.
  TransitionResult enter_cutover(IdParameter id) {
    const auto now = table_.state(id);
    if (!now) return MigrationError::UnknownPartition;
    if (detail::leads_nowhere(now->state)) return MigrationError::NotMigrating;
    auto cutover = std::make_shared<Cutover>(table_, clock_, detail::own_id<Id>(id));
    cutover->guard.start();
    cutover->entered = clock_.now();
    const TransitionResult entered = table_.enter_cutover(id, now->epoch);
    if (!entered) return entered;
    cutover->watch(*entered, policy_.max_cutover);
    put(std::move(cutover));
    return entered;
  }

  // The flip, or what it has to wait for. The barrier and max_cutover count from this controller's
  // enter_cutover; for a cutover that someone else entered, from the first call of this. The data
  // has to be copied by now: that is the operator's business. NotMigrating for a partition whose
  // writes are paused.
  CompletionResult complete(IdParameter id) {
    const auto now = table_.state(id);
    if (!now) return MigrationError::UnknownPartition;
    if (detail::is_paused(now->state)) return MigrationError::NotMigrating;
    if (now->state.phase() == MigrationPhase::Cutover) {
      const std::shared_ptr<Cutover> cutover = find_or_watch(id, now->epoch);
      // However late its thread is.
      if (cutover->guard.has_ended()) return MigrationError::NotMigrating;
      const absl::Duration remaining = cutover->entered + policy_.write_barrier - clock_.now();
      if (remaining > absl::ZeroDuration()) return BarrierPending{remaining};
    }
    const TransitionResult completed = table_.complete_migration(id, now->epoch);
    if (completed) {
      forget(id);
      return *completed;
    }
    if (completed.error() == MigrationError::WritesInFlight) {
      return WritesPending{table_.writes_in_flight(id)};
    }
    // With the epoch given, "not migrating" is also said of what was settled all along.
    return completed.error();
  }

  // NotMigrating for a partition whose writes are paused.
  TransitionResult abort(IdParameter id) {
    const auto now = table_.state(id);
    if (!now) return MigrationError::UnknownPartition;
    if (detail::is_paused(now->state)) return MigrationError::NotMigrating;
    const TransitionResult aborted = table_.abort_migration(id, now->epoch);
    if (aborted) forget(id);
    return aborted;
  }

 private:
  using Source = detail::TableTransitions<Id, P>;
  static_assert(detail::TransitionSource<Source>);

  // One that is driven step by step. It ends with this object, unless it has ended before.
  struct Cutover {
    Cutover(Table& table, Clock& clock, Id partition)
        : id(std::move(partition)),
          guard(clock, {}, [&table, this](Epoch at) { return table.abort_migration(id, at); }) {}
    Cutover(const Cutover&) = delete;
    Cutover& operator=(const Cutover&) = delete;
    ~Cutover() { guard.end_now(); }

    void watch(Epoch at, absl::Duration longest) {
      epoch = at;
      guard.watch(at, entered + longest, /*is_last=*/true);
    }

    const Id id;
    absl::Time entered;
    Epoch epoch;
    detail::MigrationGuard guard;  // last: its thread uses the rest
  };

  // A cutover is let go without the mutex: that waits for its thread.
  // And forgets those whose time is over: their threads have ended.
  void put(std::shared_ptr<Cutover> cutover) {
    std::string key = detail::id_bytes(cutover->id);
    std::vector<std::shared_ptr<Cutover>> over;  // destroyed without the mutex
    const detail::MutexLock lock(mutex_);
    for (auto at = cutovers_.begin(); at != cutovers_.end();) {
      const auto next = std::next(at);
      if (at->second->guard.is_over()) {
        over.push_back(std::move(at->second));
        cutovers_.erase(at);
      }
      at = next;
    }
    over.push_back(std::exchange(cutovers_[std::move(key)], std::move(cutover)));
  }

  // It has ended.
  void forget(IdParameter id) {
    std::shared_ptr<Cutover> forgotten;
    {
      const std::string key = detail::id_bytes(detail::own_id<Id>(id));
      const detail::MutexLock lock(mutex_);
      const auto found = cutovers_.find(key);
      if (found == cutovers_.end()) return;
      forgotten = std::move(found->second);
      cutovers_.erase(found);
    }
    static_cast<void>(forgotten->guard.withdraw());
  }

  std::shared_ptr<Cutover> find_or_watch(IdParameter id, Epoch epoch) {
    auto fresh = std::make_shared<Cutover>(table_, clock_, detail::own_id<Id>(id));
    std::string key = detail::id_bytes(fresh->id);
    const detail::MutexLock lock(mutex_);
    std::shared_ptr<Cutover>& cutover = cutovers_[std::move(key)];
    if (cutover == nullptr || cutover->epoch != epoch) {
      fresh->guard.start();
      fresh->entered = clock_.now();
      fresh->watch(epoch, policy_.max_cutover);
      cutover.swap(fresh);
    }
    return cutover;
  }

  Table& table_;
  const MigrationPolicy policy_;
  Clock& clock_;
  std::function<void(const MigrationProgress&)> progress_;
  typename Source::WaitForReads wait_for_reads_;

  detail::Mutex mutex_;
  // By the partition: epochs may be shared.
  absl::flat_hash_map<std::string, std::shared_ptr<Cutover>> cutovers_ ABSL_GUARDED_BY(mutex_);
};

using MigrationController = BasicMigrationController<>;

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_MIGRATION_CONTROLLER_HPP_
