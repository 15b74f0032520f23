// SPDX-License-Identifier: Apache-2.0
//
// placement_table: where does this partition live now, and may this write still go there?
#ifndef PLACEMENT_PLACEMENT_TABLE_HPP_
#define PLACEMENT_PLACEMENT_TABLE_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <absl/base/attributes.h>
#include <absl/functional/any_invocable.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/cell.hpp"
#include "placement/detail/held_write.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/detail/out_of_memory.hpp"
#include "placement/detail/partition_key.hpp"
#include "placement/detail/permit_watch.hpp"
#include "placement/detail/shard.hpp"
#include "placement/detail/shard_view.hpp"
#include "placement/detail/stamp.hpp"
#include "placement/detail/state_machine.hpp"
#include "placement/detail/tracked_permits.hpp"
#include "placement/detail/write_counters.hpp"
#include "placement/epoch.hpp"
#include "placement/executor.hpp"
#include "placement/hold_ticket.hpp"
#include "placement/interned.hpp"
#include "placement/migration.hpp"
#include "placement/placement.hpp"
#include "placement/table_memory.hpp"
#include "placement/table_observer.hpp"
#include "placement/table_options.hpp"
#include "placement/table_stats.hpp"
#include "placement/write_permit.hpp"
#include "placement/write_refusal.hpp"

namespace placement {
inline namespace v1 {

template <PartitionKey Id, typename P>
class BasicPartitionRef;

// The largest placement type that a table stores, in bytes.
inline constexpr std::size_t kMaxPlacementBytes = 64;

// What a table can store as a placement: its readers copy it word by word while it may change, so
// it has to be a bounded number of plain bytes. Anything richer is interned, and the handle stored.
template <typename P>
concept PlacementValue = std::is_object_v<P> && std::is_trivially_copyable_v<P> &&
                         std::copy_constructible<P> && sizeof(P) <= kMaxPlacementBytes;

// One partition in flight, as migrations() reports it.
template <PartitionKey Id, typename P>
struct BasicMigrationInfo {
  Id id;
  P from;
  P to;
  MigrationPhase phase;
  Epoch epoch;
  std::size_t writes_in_flight;
};

// What a cutover cost its writers.
struct HeldWriteStats {
  std::size_t count = 0;
  absl::Duration longest;
};

// A concurrent, epoch-versioned map from partition to placement, with each partition's migration.
//
// clang-format off
//
//   state        | set(p)    | begin_migration(to) | enter_cutover    | complete_migration | abort_migration  | erase
//   -------------+-----------+---------------------+------------------+--------------------+------------------+-----------------
//   absent       | Active(p) | UnknownPartition    | UnknownPartition | UnknownPartition   | UnknownPartition | UnknownPartition
//   Active(from) | Active(p) | Draining(from, to)  | NotMigrating     | NotMigrating       | NotMigrating     | absent (1)
//   Draining     | Active(p) | AlreadyMigrating    | Cutover          | NotCutover         | Active(from)     | AlreadyMigrating
//   Cutover      | Active(p) | AlreadyMigrating    | NotDraining      | Active(to) (1)     | Active(from)     | AlreadyMigrating
//
//   (1) or WritesInFlight, while permits on the partition are out
//
// clang-format on
//
// Paused is Cutover(p, p): pause_writes enters it from Active(p) in one step, and resume_writes
// leaves it as abort_migration does.
//
// Every success draws a fresh epoch and stamps the partition with it; a refusal changes nothing.
//
//   state        | get      admit_write(e)        acquire_write
//   -------------+-----------------------------------------------------
//   absent       | nothing  Reject                UnknownPartition
//   Active(p)    | p        Admit if e is the     a permit for p
//   Draining     | from     partition's epoch     a permit for from
//   Cutover      | from     Reject                Cutover
//
// The invariants:
//   INV-M1  No write commits during cutover.
//   INV-M2  After the flip no write commits against the superseded placement.
//   INV-M3  An abort needs no rollback of data: nothing was admitted to the destination before the
//           flip.
//   INV-M4  A read resolves to exactly one placement: the origin until the flip, then the
//           destination.
//   INV-E1  The epochs that the table draws are unique across it, and a partition's epochs
//           strictly increase in the order in which its changes take effect. (Epochs that `apply`
//           brings may be shared by partitions.)
//   INV-E2  current_epoch() is never behind an epoch that any caller has seen.
//   INV-E3  A refused transition leaves the state, the partition's epoch and the generation as
//           they are.
//   INV-L   Every method on one partition, and current_epoch, takes effect at one instant between
//           its call and its return. (The generation and a partition are two objects: the
//           generation advances first, an instant before the change is visible.)
//   INV-P   While a permit on a partition is out, the partition does not flip.
//
// Thread-safe: any method may be called by any thread at any time, but for the destructor.
//
// Progress, where a method says no more:
//   - what reads is lock-free and stores to no shared memory. It starts over only if what it was
//     reading changed, and never waits for a writer;
//   - what changes is one short critical section of the partition's shard: it allocates nothing,
//     calls nothing back, and does a bounded amount of work at every size of the table. Memory
//     that an insert needs is allocated between two such sections.
// Only what says so throws, and only std::bad_alloc; the table is then as it was. In a program that
// is compiled without exceptions (all of it, or none), the process ends there instead, with a line
// on stderr that says which memory could not be had.
//
// `Id` is std::string, or plain bytes of up to kMaxIdBytes: an integer, an enumeration, a UUID's 16
// bytes, a struct of integers without padding. Text ids are passed as string views and may hold any
// bytes, ids of plain bytes by value; both are the same if their bytes are. `P` is any trivially
// copyable type of up to kMaxPlacementBytes; intern (see Interned) what is not.
//
// How it works is told in docs/design.md, and why the reads are right in docs/concurrency.md.
template <PartitionKey Id = std::string, typename P = Placement>
class BasicPlacementTable {
  static_assert(PlacementValue<P>,
                "placement_table: a placement type has to be trivially copyable and at most 64 "
                "bytes (kMaxPlacementBytes); intern what is richer and store the handle: "
                "placement::Interned<YourType>");

 public:
  using IdParameter =
      typename detail::IdTraits<Id>::Parameter;  // text: anything like a string view
  using IdView = typename detail::IdTraits<Id>::View;
  using PlacementAt = BasicPlacementAt<P>;
  using State = BasicPartitionState<P>;
  using StateAt = BasicStateAt<P>;
  using Permit = BasicWritePermit<P>;
  using Ref = BasicPartitionRef<Id, P>;
  using MigrationInfo = BasicMigrationInfo<Id, P>;

  using Observer = BasicTableObserver<Id, P>;

  // Throws std::bad_alloc, and std::invalid_argument as TableOptions says.
  BasicPlacementTable() : BasicPlacementTable(TableOptions()) {}
  explicit BasicPlacementTable(const TableOptions& options);
  BasicPlacementTable(const BasicPlacementTable&) = delete;
  BasicPlacementTable& operator=(const BasicPlacementTable&) = delete;

  // Requires that no other call is under way, no permit is out, no write is held, and that what the
  // table handed over to its executor has run or was destroyed. Debug builds check all but the
  // first.
  ~BasicPlacementTable();

  // ---- changes ----

  // Registers the partition, or overrides whatever it is doing: it is Active(placement) from now
  // on. Permits that are out stay counted. Throws std::bad_alloc.
  Epoch set(IdParameter id, P placement);

  // Compare and set: this `set`, begin_migration and erase take, if the caller gives it, the epoch
  // that the partition has to have, zero() if it has to be absent. If it is another, they are
  // refused with StaleEpoch, before any other reason. So of two that decide on what they both saw
  // one wins, and a router can register a partition that is not there, and leave one that is.
  TransitionResult set(IdParameter id, P placement, Epoch expected);

  // Active(from) -> Draining(from, to). `to` may be where the partition is: then it is
  // Draining(from, from), and writes go on.
  TransitionResult begin_migration(IdParameter id, P to, std::optional<Epoch> expected = {}) {
    return change(id, Transition::BeginMigration, expected, to_words(to));
  }

  // The next four take, if the caller gives it, the epoch that the migration's last transition
  // stamped: if the partition's is another, that migration is over, or someone else has moved it
  // on, and they are refused with NotMigrating. So of two that drive one partition one wins each
  // step, and neither meddles with a later migration.

  // Draining -> Cutover: from now on no write is admitted.
  TransitionResult enter_cutover(IdParameter id, std::optional<Epoch> expected = {}) {
    return change(id, Transition::EnterCutover, expected);
  }
  // Cutover(from, to) -> Active(to): the flip. Refused with WritesInFlight while permits on the
  // partition are out. It may be so refused for an instant although none is: an acquire_write that
  // meets the cutover counts itself before it sees it, and then takes that back; so does one that
  // meets the erase of the partition that had this one's counter before. Ask again.
  TransitionResult complete_migration(IdParameter id, std::optional<Epoch> expected = {}) {
    return change(id, Transition::CompleteMigration, expected);
  }
  // Draining or Cutover -> Active(from). Permits that are out stay good: they are for `from`.
  TransitionResult abort_migration(IdParameter id, std::optional<Epoch> expected = {}) {
    return change(id, Transition::AbortMigration, expected);
  }
  // Draining or Cutover stays as it is, with a fresh epoch: whoever drove the migration so far
  // finds his next transition refused. For taking over from a driver that died.
  TransitionResult claim_migration(IdParameter id, std::optional<Epoch> expected = {}) {
    return change(id, Transition::ClaimMigration, expected);
  }

  // Active(p) -> Cutover(p, p): from now on no write is admitted, while reads go on; those that are
  // in flight finish (wait_until_drained). Refused with AlreadyMigrating in a migration.
  TransitionResult pause_writes(IdParameter id) { return change(id, Transition::PauseWrites, {}); }
  // Cutover(p, p) -> Active(p), whoever brought it there. Elsewhere refused with NotPaused. Here
  // two placements are one if their bytes are the same.
  TransitionResult resume_writes(IdParameter id) {
    return change(id, Transition::ResumeWrites, {});
  }

  // Active -> absent. Refused with WritesInFlight as complete_migration is. Beside writers that
  // never leave a gap it is refused each time: see erase_until.
  TransitionResult erase(IdParameter id, std::optional<Epoch> expected = {}) {
    return change(id, Transition::Erase, expected);
  }

  // pause_writes; waits until no write is in flight; then the partition is absent. Nobody sees it
  // open in between: from the call on new writes are refused, or wait, as in cutover. If writes are
  // still in flight at `deadline`, which is one of absl::Now(), the partition is Active(p) as
  // before, and the answer is WritesInFlight. Refused as pause_writes is; with StaleEpoch if
  // someone else changed the partition meanwhile, which then is left to them. Blocks.
  TransitionResult erase_until(IdParameter id, absl::Time deadline);

  // Room for that many partitions in all, so that no `set` up to there allocates cells. It also
  // ends a growth that is under way, during which lookups take longer: worth a call, even
  // reserve(0), after the last of a great many sets. Proportional to the table, in short critical
  // sections. Throws std::bad_alloc.
  void reserve(std::size_t partitions);

  // ---- reads ----

  // Where to read: one placement, with the epoch and the phase of the same instant.
  [[nodiscard]] std::optional<PlacementAt> get(IdParameter id) const;

  // `get` of many at once, results[i] for ids[i]: it hashes and fetches ahead, so that the misses
  // of the caches overlap. Each is as it was at one instant of its own. Requires as many results as
  // ids; asserted in debug builds, otherwise the shorter counts.
  // Ids are a random-access range whose elements convert to what `get` takes: a vector of
  // std::string will do for text, as will a span of views or an array of literals. An element may
  // be asked for more than once.
  template <detail::ManyIds<Id> Ids>
  void get_many(Ids&& ids, std::span<std::optional<PlacementAt>> results) const;
  // The same for what converts to a span.
  void get_many(std::span<const IdView> ids, std::span<std::optional<PlacementAt>> results) const {
    get_many<std::span<const IdView>&>(ids, results);
  }

  // Whether a write that was resolved at `epoch` may go there. This is check-then-act: by the time
  // of the commit the partition may be in cutover. Use it where the storage checks the epoch as a
  // fencing token, and acquire_write everywhere else.
  [[nodiscard]] WriteAdmission admit_write(IdParameter id, Epoch epoch) const;

  [[nodiscard]] std::optional<StateAt> state(IdParameter id) const;
  [[nodiscard]] bool contains(IdParameter id) const;

  // The epoch of the last change. Before the first: one less than TableOptions::first_epoch, or
  // zero(). Wait-free.
  [[nodiscard]] Epoch current_epoch() const noexcept;

  // Not a snapshot: the shards are counted one after another. Wait-free.
  [[nodiscard]] std::size_t size() const noexcept;

  // Calls f(IdView, const State&, Epoch) for every partition: exactly once for each that is there
  // throughout, at most once for any other; each as it was at one instant. f runs outside every
  // lock and may call the table. Throws std::bad_alloc, and what f throws.
  template <typename F>
  void for_each(F&& f) const;

  // Every partition in a migration, each as it was at one instant. Throws std::bad_alloc.
  [[nodiscard]] std::vector<MigrationInfo> migrations() const;

  // Not a snapshot: each shard is as it was at one instant. A short critical section a shard.
  [[nodiscard]] TableStats stats() const noexcept;

  [[nodiscard]] std::size_t shard_count() const noexcept { return shard_mask_ + 1; }

  // ---- a caller's cached way to one partition ----

  // For whoever asks for the same partition again and again: see BasicPartitionRef. Throws
  // std::bad_alloc.
  [[nodiscard]] Ref ref(IdParameter id) { return Ref(*this, id); }

  // ---- counted writes ----

  // Resolves and admits a write at one instant: the call that a router wants. The permit is empty
  // if the write was refused: UnknownPartition, Cutover, or StaleEpoch where an epoch is expected
  // and the partition's is another (Cutover is reported first).
  //
  // Throws nothing; with TableOptions::track_permits std::bad_alloc, and then no write is counted.
  //
  // Progress: lock-free, but for one case: a writer that meets the erase of its partition waits
  // for the end of that critical section. With track_permits one short critical section besides,
  // and an allocation before it.
  Permit acquire_write(IdParameter id) {
    Found at;
    return acquire(Traits::key(id), std::nullopt, at);
  }
  Permit acquire_write(IdParameter id, Epoch expected) {
    Found at;
    return acquire(Traits::key(id), expected, at);
  }

  // As acquire_write; in cutover it waits for the flip or the abort, then resolves again. Refused
  // with DeadlineExceeded if the partition is still in cutover at `deadline`, with TooManyHeld at
  // once if as many writes are held as the options allow. Deadlines are of absl::Now(). Throws
  // std::bad_alloc.
  // Requires, where it would wait, that the calling thread holds no permit on the partition: the
  // flip would wait for that. Asserted in debug builds (see BasicWritePermit).
  //
  // Progress: blocks. The transition's thread wakes it, whatever an executor is doing.
  Permit acquire_write_until(IdParameter id, absl::Time deadline);

  // The same for event loops: calls handler(Permit) exactly once, with a permit or a refusal that
  // is not Cutover. In cutover the write is held, and resolved when its turn comes; if the
  // partition is in cutover again by then, the write keeps its place. A write whose partition was
  // erased meanwhile is refused with UnknownPartition, and TooManyHeld is a refusal like others.
  //
  // With an executor the handler runs there, never inside this call. Without one it runs inside
  // this call if the write need not be held, else in the thread that makes the transition, before
  // that returns (or in the one that is resuming earlier writes of the partition). It runs outside
  // every lock, may call the table, and must not throw. Requires that it is not empty; asserted in
  // debug builds.
  //
  // There is no deadline in it: a caller's timer calls the ticket's `cancel`, which tells whether
  // the handler will still be called. The ticket may as well be dropped. Throws std::bad_alloc;
  // then the handler is not called.
  //
  // Progress: as acquire_write outside of a cutover, if nothing is held in the table or it has no
  // executor; else one short critical section.
  HoldTicket acquire_write_async(IdParameter id, absl::AnyInvocable<void(Permit)> handler);

  // What acquire_write_async is made of, for callers that resolve by themselves: `resume` is called
  // once, when the partition is not in cutover (flip, abort, set, erase). It means "resolve again",
  // and nothing about what the answer will be: the partition may be in cutover again. Where it
  // runs and what it may do is as for acquire_write_async: so it may have run before this call
  // returns. If too many writes are held, it is not called, and the ticket's refusal() says so.
  // Requires that `resume` is not empty; asserted in debug builds. Throws std::bad_alloc; then
  // `resume` is not called.
  [[nodiscard]] HoldTicket hold(IdParameter id, absl::AnyInvocable<void()> resume);

  // Writes whose permits are out or in quarantine; zero for a partition that is not there, unless
  // apply_erase took it away under them.
  // One short critical section.
  [[nodiscard]] std::size_t writes_in_flight(IdParameter id) const;

  // The same writes by name, oldest first. Requires TableOptions::track_permits; without it the
  // answer is empty. A permit is counted a moment before it is named, and acquire_write returns
  // after that: so this may name fewer writes than writes_in_flight counts, and never one that it
  // does not count. Throws std::bad_alloc.
  // One critical section, proportional to what is named.
  [[nodiscard]] std::vector<Blocker> blockers(IdParameter id) const;

  // When the first of them was granted, on the table's clock; nothing if there is none.
  // One short critical section.
  [[nodiscard]] std::optional<absl::Time> oldest_write(IdParameter id) const;

  // The writes that were held back since the partition last entered cutover. One short critical
  // section.
  [[nodiscard]] HeldWriteStats held_writes(IdParameter id) const;

  // Blocks until no write is in flight on the partition, or it is gone; false at the deadline,
  // which is one of absl::Now(). A deadline that has passed makes it a mere look. If the caller
  // gives an epoch, it also returns true as soon as the partition's is another: whoever ends a
  // migration ends the wait for its drain. Without a deadline (absl::InfiniteFuture()) it requires,
  // where it would wait, that the calling thread holds no permit on the partition: it would wait
  // for itself. Asserted in debug builds (see BasicWritePermit).
  [[nodiscard]] bool wait_until_drained(IdParameter id, absl::Time deadline,
                                        std::optional<Epoch> while_at = {}) const;

  // ---- replicas of a remote source of truth ----

  // Takes the state if `epoch` is newer than the partition's, else returns false: idempotent, and
  // right in any order of arrival. Epochs have to grow for each partition, nothing more: a source
  // may give one number to all that it changed in one transaction, as etcd, ZooKeeper and Consul
  // do. The generation becomes at least `epoch`. Permits that are out stay counted; that they are
  // drained before the source flips is the source's business.
  // Returns false also for an epoch that is zero() or above Epoch::max_external(). Requires that a
  // table that applies makes no transitions of its own on the same partitions.
  // Throws std::bad_alloc.
  bool apply(IdParameter id, const State& state, Epoch epoch);

  // The same for a partition that is gone. Its epoch is remembered, so that an older state that
  // arrives late is refused, until forget_erased.
  bool apply_erase(IdParameter id, Epoch epoch);

  // Forgets the erased partitions of epochs up to `up_to`, but for those with writes in flight:
  // nothing as old as that will arrive any more. Proportional to the table, in short critical
  // sections. Throws std::bad_alloc.
  void forget_erased(Epoch up_to);

 private:
  friend Ref;

  using Traits = detail::IdTraits<Id>;
  using Key = typename Traits::Key;
  using Cell = detail::Cell<Traits::kMinWords, detail::words_for(sizeof(P))>;
  using Words = typename Cell::Placement;
  using View = detail::ShardView<Cell>;
  using Shard = detail::Shard<Cell, Key>;
  using Slot = typename Shard::Slot;
  using Stock = detail::Stock<Cell>;
  using Stamp = detail::Stamp;
  using MutexLock = detail::MutexLock;

  // Reserves nothing.
  struct Empty {};
  BasicPlacementTable(const TableOptions& options, Empty);

  // What a partition looked like at one instant.
  struct Snapshot {
    Snapshot() = default;
    Snapshot(const Cell& cell, Stamp now)
        : stamp(now),
          origin(cell.placement(now.active())),
          destination(cell.placement(1 - now.active())) {}

    [[nodiscard]] State state() const {
      if (stamp.phase() == MigrationPhase::Settled) return State::active(from_words(origin));
      return State::migrating(from_words(origin), from_words(destination), stamp.phase());
    }

    Stamp stamp = Stamp::vacant();
    Words origin{};
    Words destination{};  // while it is migrating
  };

  // Where a partition was found, and what it was then. As long as the cell has that stamp, and the
  // shard that version, it still is that.
  struct Found {
    Stamp stamp = Stamp::vacant();
    std::uint64_t version = 0;
    const Cell* cell = nullptr;  // null: nowhere
    detail::WriteCounter* counter = nullptr;
    Words origin{};

    [[nodiscard]] PlacementAt placement_at() const noexcept {
      return {from_words(origin), stamp.epoch(), stamp.phase()};
    }
  };

  static IdView view_of(IdParameter id) noexcept {
    if constexpr (std::is_same_v<IdView, std::string_view>) {
      return IdView(id.data(), id.size());
    } else {
      return id;
    }
  }

  static Words to_words(const P& placement) noexcept {
    Words words{};
    std::memcpy(words.data(), &placement, sizeof(P));
    return words;
  }
  // Word by word, never the whole at once: that would have to wait in memory for the words.
  ABSL_ATTRIBUTE_ALWAYS_INLINE static P from_words(const Words& words) noexcept {
    union Result {
      Result() noexcept {}
      P placement;
    } result;
    auto* const bytes = reinterpret_cast<std::byte*>(&result.placement);
    for (std::size_t i = 0; i < words.size(); ++i) {
      std::memcpy(bytes + 8 * i, &words[i], std::min<std::size_t>(8, sizeof(P) - 8 * i));
    }
    return result.placement;
  }

  std::size_t shard_of(const Key& key) const noexcept {
    return static_cast<std::size_t>(key.hash) & shard_mask_;
  }
  const View& view_for(const Key& key) const noexcept { return views_[shard_of(key)]; }
  Shard& shard_for(const Key& key) const noexcept { return shards_[shard_of(key)]; }

  // Before the critical section: the misses that it would begin with are not waited for in it.
  void prefetch(const Key& key) const noexcept { view_for(key).prefetch_cell(key.hash); }

  // Inside the critical section, so that a partition's epochs are in the order of its changes
  // (INV-E1), and before the stamp is stored, so that who sees the epoch sees the generation
  // (INV-E2): the increment is sequenced before the stamp's release.
  Epoch draw_epoch() noexcept {
    const std::uint64_t drawn = generation_.fetch_add(1, std::memory_order_acq_rel) + 1;
    assert(Epoch(drawn) <= Epoch::max());
    return Epoch(drawn);
  }

  // For a table that applies: the epoch was drawn elsewhere.
  void raise_generation(Epoch epoch) noexcept {
    std::uint64_t now = generation_.load(std::memory_order_relaxed);
    while (now < epoch.value() &&
           !generation_.compare_exchange_weak(now, epoch.value(), std::memory_order_acq_rel,
                                              std::memory_order_relaxed)) {
    }
  }

  ABSL_ATTRIBUTE_ALWAYS_INLINE void get(const Key& key, std::optional<PlacementAt>& result) const {
    const bool found = view_for(key).lookup(key, [&result](const Cell& cell, Stamp now) {
      if (!now.is_live()) return false;
      result.emplace(
          PlacementAt{from_words(cell.placement(now.active())), now.epoch(), now.phase()});
      return true;
    });
    if (!found) result.reset();
  }

  // ---- how changes are made: detail/table_changes.hpp ----

  using Standing = detail::Standing;
  using Step = detail::Step;

  // A change that was made.
  struct Change {
    TransitionResult result = Epoch::zero();  // or why it was not
    detail::WriteCounter* held = nullptr;     // whose held writes are to be resumed
    std::optional<State> before{};            // for the observer
    std::optional<State> after{};             // likewise
  };

  // In one critical section of the key's shard, returns make(shard, slot, stock): the slot is the
  // key's, or empty; where needs_cell(slot), there is memory for one insert.
  template <typename NeedsCell, typename Make>
  Change change_with_room(const Key& key, Transition transition, NeedsCell needs_cell, Make make);

  // Replaces the partition's state, or registers it; `to` is the destination, for a migration.
  // Stamps it with a fresh epoch, or with the applied one, unless `refuses(slot)` says why not.
  template <typename Refuses>
  TransitionResult replace(IdParameter id, Transition transition, const Words& from,
                           const std::optional<Words>& to, MigrationPhase phase,
                           std::optional<Epoch> applied, Refuses refuses);

  // A transition of a partition that is there, as the state machine has it.
  TransitionResult change(IdParameter id, Transition transition,
                          const std::optional<Epoch>& expected,
                          const std::optional<Words>& to = {});

  // What change() does with the mutex held, and what it does when that is released: tells the
  // observer, resumes what was held.
  Change change_in(Shard& shard, Slot slot, Transition transition, std::optional<Epoch> expected,
                   const std::optional<Words>& to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  TransitionResult finish(IdParameter id, Transition transition, Change done);

  // With the shard's mutex held: the cell, whose partition's stamp was `before`, gets `next`.
  Change publish(Shard& shard, Cell& cell, Stamp before, Stamp next, std::optional<State> was)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // Has those look again who wait for a drain, and perhaps for this partition's. If that was the
  // end of a cutover, returns the counter whose held writes are to be resumed.
  [[nodiscard]] static detail::WriteCounter* moved_on(Shard& shard, const Cell& cell, Stamp before,
                                                      Stamp next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // Counts the outcome of a call that changes.
  static void count(Shard& shard, Transition transition, const TransitionResult& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // What the state machine has to know of the partition in the slot.
  [[nodiscard]] static Standing standing_of(const Slot& slot);
  // What the observer is told of it, if there is one.
  [[nodiscard]] std::optional<State> observed(const Cell& cell) const;
  // Why the partition in the slot does not take what is applied at `epoch`.
  [[nodiscard]] static std::optional<MigrationError> is_not_newer(const Slot& slot, Epoch epoch);

  // Which buffer of its cell is to be the active one, so that the partition can take a state with
  // these placements where it is: readers look at what its stamp names, one buffer or, in a
  // migration, both, so those can only stay as they are. Nothing if there is no such buffer.
  [[nodiscard]] static std::optional<std::size_t> buffer_for(const Cell& cell, const Words& from,
                                                             const std::optional<Words>& to);

  // ---- counted writes, and writes that are held: detail/table_writes.hpp ----

  // Finds the partition; false, and `at` is nowhere, if it is not there.
  bool find(const Key& key, Found& at) const;
  // Whether the partition is at this instant as it was found. The stamp is loaded first: if it is
  // the old one because the partition has a second cell already, or because the cell came back to
  // life, then there was a new version before.
  bool is_current(const Key& key, const Found& at) const noexcept {
    return at.cell != nullptr && at.cell->stamp() == at.stamp && view_for(key).is_still(at.version);
  }

  // Of the partition as it was found, if that is still current; else it is found anew.
  Permit acquire(const Key& key, std::optional<Epoch> expected, Found& at);

  // For assertions: whether the calling thread would wait for itself if it waited for the
  // partition.
  [[nodiscard]] bool this_thread_holds_permit(const Key& key) const {
    Found at;
    return find(key, at) && detail::PermitWatch::this_thread_holds(at.counter);
  }
  // With the shard's mutex held: the writes in flight, when the quarantines that are over are
  // taken back.
  [[nodiscard]] std::size_t in_flight(Shard& shard, const Cell& cell) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);

  // An acquire_write_async that is held.
  class HeldAcquisition;

  // Adds `write`, which a thread or a callback waits for, to the partition's queue, if the
  // partition is in cutover; with an executor also if callbacks of its are still to come: what is
  // later stays behind them. Returns where it was held; nothing if there is no reason to, and then
  // `write` is as it was. Throws std::bad_alloc.
  struct Held {
    detail::HeldQueue* queue = nullptr;
    std::optional<std::uint64_t> sequence;  // nothing: too many are held

    [[nodiscard]] HoldTicket ticket() const {
      if (!sequence) return HoldTicket(WriteRefusal::TooManyHeld);
      return detail::TicketAccess::ticket(*queue, *sequence);
    }
  };
  std::optional<Held> hold_back(const Key& key, detail::HeldNode& write);
  std::optional<Held> hold_back(const Key& key, detail::HeldThread& thread);
  template <typename Add>
  std::optional<Held> hold_back(const Key& key, bool joins_callbacks, Add add);

  // Calls the handler, or has the executor do so.
  void answer(absl::AnyInvocable<void(Permit)> handler, Permit permit);

  // ---- data ----

  // Read on every path, written by none after construction.
  View* views_ = nullptr;
  std::size_t shard_mask_ = 0;
  Shard* shards_ = nullptr;
  TableMemory& memory_;
  Clock& clock_;
  Observer* observer_;
  bool track_permits_;

  // Written by every change.
  alignas(2 * detail::kCacheLine) std::atomic<std::uint64_t> generation_;

  detail::HeldInTable held_;
};

using PlacementTable = BasicPlacementTable<>;
using MigrationInfo = BasicMigrationInfo<std::string, Placement>;
using PartitionRef = BasicPartitionRef<std::string, Placement>;

// ---------------------------------------------------------------------------------------------

namespace detail {

struct TableAccess {
  template <typename P>
  static BasicWritePermit<P> permit(P placement, Epoch epoch, CountedWrite write) noexcept {
    return BasicWritePermit<P>(placement, epoch, std::move(write));
  }
};

[[nodiscard]] constexpr std::size_t round_shards(std::size_t shards) noexcept {
  if (shards == 0) return TableOptions::kDefaultShards;
  return std::bit_ceil(std::min(shards, TableOptions::kMaxShards));
}

// The bound for one partition.
[[nodiscard]] constexpr std::size_t held_per_partition(const TableOptions& options) noexcept {
  if (options.max_held_writes_per_partition != 0) return options.max_held_writes_per_partition;
  return options.max_held_writes / 4 + (options.max_held_writes % 4 != 0 ? 1 : 0);
}

}  // namespace detail

template <PartitionKey Id, typename P>
BasicPlacementTable<Id, P>::BasicPlacementTable(const TableOptions& options, Empty)
    : shard_mask_(detail::round_shards(options.shards) - 1),
      memory_(options.memory != nullptr ? *options.memory : TableMemory::system()),
      clock_(options.clock != nullptr ? *options.clock : Clock::system()),
      observer_(Observer::cast(options.observer)),
      track_permits_(options.track_permits),
      generation_(std::max(options.first_epoch.value(), std::uint64_t{1}) - 1),
      held_(options.max_held_writes, detail::held_per_partition(options), options.executor,
            clock_) {
  if (options.first_epoch > Epoch::max_external()) {
    detail::invalid_option("placement_table: first_epoch is above Epoch::max_external()");
  }
  if (options.observer != nullptr && observer_ == nullptr) {
    detail::invalid_option("placement_table: the observer is not one of the table's types");
  }
  // The views stand apart from the mutexes, so that writers take no line away from readers.
  detail::TablePiece views(memory_, shard_count() * sizeof(View), MemoryUse::Directory);
  shards_ = static_cast<Shard*>(
      detail::allocate(memory_, shard_count() * sizeof(Shard), MemoryUse::Directory));
  views_ = static_cast<View*>(views.release());
  for (std::size_t i = 0; i < shard_count(); ++i) {
    (::new (static_cast<void*>(shards_ + i)) Shard)->attach(views_[i], memory_);
    shards_[i].table_clock = &clock_;
  }
}

// If there is no room, the table exists already, and is destroyed as any other.
template <PartitionKey Id, typename P>
BasicPlacementTable<Id, P>::BasicPlacementTable(const TableOptions& options)
    : BasicPlacementTable(options, Empty()) {
  reserve(options.expected_partitions);
}

template <PartitionKey Id, typename P>
BasicPlacementTable<Id, P>::~BasicPlacementTable() {
  assert(held_.count() == 0 && "a write is held in a dying table");
  assert(!held_.has_tasks() && "a dying table's task is still with the executor");
  for (std::size_t i = 0; i < shard_count(); ++i) {
    assert(!shards_[i].has_permits_out() && "a write permit outlives its table");
    if (track_permits_) shards_[i].forget_quarantines();
    shards_[i].~Shard();
  }
  held_.destroy_queues();
  memory_.deallocate(shards_, shard_count() * sizeof(Shard), MemoryUse::Directory);
  memory_.deallocate(views_, shard_count() * sizeof(View), MemoryUse::Directory);
}

// ---- reads ----

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::get(IdParameter id) const -> std::optional<PlacementAt> {
  const Key key = Traits::key(id);
  std::optional<PlacementAt> result;
  get(key, result);
  return result;
}

template <PartitionKey Id, typename P>
template <detail::ManyIds<Id> Ids>
void BasicPlacementTable<Id, P>::get_many(Ids&& ids,
                                          std::span<std::optional<PlacementAt>> results) const {
  const auto size = static_cast<std::size_t>(std::ranges::size(ids));
  assert(size == results.size());
  const auto begin = std::ranges::begin(ids);
  // What an element converts to may refer to a temporary: it is used up where it is made.
  const auto id = [&begin](std::size_t i) -> decltype(auto) {
    return begin[static_cast<std::ranges::range_difference_t<Ids>>(i)];
  };
  constexpr std::size_t kAhead = 16;
  std::array<std::uint64_t, kAhead> hashes{};
  const std::size_t count = std::min(size, results.size());
  for (std::size_t first = 0; first < count; first += kAhead) {
    const std::size_t some = std::min(kAhead, count - first);
    for (std::size_t i = 0; i < some; ++i) {
      hashes[i] = Traits::key(static_cast<IdParameter>(id(first + i))).hash;
      views_[hashes[i] & shard_mask_].prefetch_tags(hashes[i]);
    }
    for (const std::uint64_t hash : std::span(hashes).first(some)) {
      views_[hash & shard_mask_].prefetch_cell(hash);
    }
    for (std::size_t i = 0; i < some; ++i) {
      get(Traits::key(static_cast<IdParameter>(id(first + i)), hashes[i]), results[first + i]);
    }
  }
}

template <PartitionKey Id, typename P>
WriteAdmission BasicPlacementTable<Id, P>::admit_write(IdParameter id, Epoch epoch) const {
  const Key key = Traits::key(id);
  const bool admitted = view_for(key).lookup(
      key, [epoch](const Cell&, Stamp now) { return now.is_open() && now.epoch() == epoch; });
  return admitted ? WriteAdmission::Admit : WriteAdmission::Reject;
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::state(IdParameter id) const -> std::optional<StateAt> {
  const Key key = Traits::key(id);
  Snapshot snapshot;
  const bool found = view_for(key).lookup(key, [&snapshot](const Cell& cell, Stamp now) {
    snapshot = Snapshot(cell, now);
    return now.is_live();
  });
  if (!found) return std::nullopt;
  return StateAt{snapshot.state(), snapshot.stamp.epoch()};
}

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::contains(IdParameter id) const {
  const Key key = Traits::key(id);
  return view_for(key).lookup(key, [](const Cell&, Stamp now) { return now.is_live(); });
}

template <PartitionKey Id, typename P>
Epoch BasicPlacementTable<Id, P>::current_epoch() const noexcept {
  return Epoch(generation_.load(std::memory_order_acquire));
}

template <PartitionKey Id, typename P>
std::size_t BasicPlacementTable<Id, P>::size() const noexcept {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < shard_count(); ++i) sum += shards_[i].size();
  return sum;
}

template <PartitionKey Id, typename P>
TableStats BasicPlacementTable<Id, P>::stats() const noexcept {
  TableStats sum;
  for (std::size_t i = 0; i < shard_count(); ++i) {
    const MutexLock lock(shards_[i].mutex);
    sum += shards_[i].stats();
  }
  held_.add_to(sum);
  return sum;
}

// A range of hashes at a time. A hash never changes, while cells move from array to array; so what
// is there throughout is in one range, once, however the shard grows meanwhile.
template <PartitionKey Id, typename P>
template <typename F>
void BasicPlacementTable<Id, P>::for_each(F&& f) const {
  struct Entry {
    typename Traits::Owned id{};
    std::uint64_t hash = 0;
    Snapshot snapshot;
  };
  constexpr unsigned kLog2Homes = 4;  // to a range
  constexpr std::uint64_t kLastHash = ~std::uint64_t{0};
  std::vector<Entry> entries;  // its strings are used again by range after range
  for (std::size_t i = 0; i < shard_count(); ++i) {
    const View& view = views_[i];
    std::uint64_t first = 0;
    for (std::uint64_t last = 0; last != kLastHash; first = last + 1) {
      const unsigned log2 = view.log2_capacity();
      last = log2 <= kLog2Homes ? kLastHash : first | (kLastHash >> (log2 - kLog2Homes));
      std::size_t count = 0;
      const auto collect = [&](const Cell& cell, Stamp stamp, const auto& is_current) {
        if (!stamp.is_live()) return true;
        if (count == entries.size()) entries.emplace_back();
        Entry& entry = entries[count];
        if (!cell.copy_id(entry.id, is_current)) return false;
        entry.hash = Key(entry.id).hash;
        entry.snapshot = Snapshot(cell, stamp);
        if (entry.hash < first || entry.hash > last) return true;
        // In both arrays, if it was moved meanwhile: either is as it was at one instant.
        const auto end = entries.begin() + static_cast<std::ptrdiff_t>(count);
        const bool known = std::any_of(entries.begin(), end, [&](const Entry& other) {
          return other.hash == entry.hash && other.id == entry.id;
        });
        if (!known) ++count;
        return true;
      };
      while (!view.scan(first, last, collect)) count = 0;
      for (std::size_t n = 0; n < count; ++n) {
        const Entry& entry = entries[n];
        f(Traits::view(entry.id), entry.snapshot.state(), entry.snapshot.stamp.epoch());
      }
    }
  }
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::migrations() const -> std::vector<MigrationInfo> {
  std::vector<MigrationInfo> found;
  for_each([&](IdView id, const State& state, Epoch epoch) {
    if (!state.is_migrating()) return;
    found.push_back({Id(id), state.read_placement(), *state.destination(), state.phase(), epoch,
                     writes_in_flight(id)});
  });
  return found;
}

}  // namespace v1
}  // namespace placement

#include "placement/detail/table_changes.hpp"  // IWYU pragma: export
#include "placement/detail/table_writes.hpp"   // IWYU pragma: export
#include "placement/partition_ref.hpp"         // IWYU pragma: export

#endif  // PLACEMENT_PLACEMENT_TABLE_HPP_
