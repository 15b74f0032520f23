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
#include <span>
#include <stdexcept>
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
#include "placement/detail/partition_key.hpp"
#include "placement/detail/shard.hpp"
#include "placement/detail/shard_view.hpp"
#include "placement/detail/stamp.hpp"
#include "placement/detail/state_machine.hpp"
#include "placement/detail/write_counters.hpp"
#include "placement/epoch.hpp"
#include "placement/interned.hpp"
#include "placement/migration.hpp"
#include "placement/placement.hpp"
#include "placement/table_memory.hpp"
#include "placement/table_observer.hpp"
#include "placement/table_stats.hpp"
#include "placement/write_permit.hpp"

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

// TableOptions::shards is taken as it is if it is a power of two of at most kMaxShards. Otherwise
// it is rounded: zero to the default, the rest up to the next power of two or down to kMaxShards.
// shard_count() tells the outcome.
struct TableOptions {
  std::size_t shards = 0;
  std::size_t expected_partitions = 0;   // reserved on construction
  std::size_t max_held_writes = 65'536;  // by hold and acquire_write_until, in the whole table
  TableMemory* memory = nullptr;         // null: TableMemory::system(); must outlive the table
  Clock* clock = nullptr;                // null: Clock::system(); must outlive the table

  // The first change draws at least this epoch, so that epochs outlive the process: the greatest
  // that was ever handed out, plus one. At most Epoch::max_external(), else the constructor throws
  // std::out_of_range.
  Epoch first_epoch{};

  // Is told of every change; must outlive the table, and be a BasicTableObserver of the table's own
  // types, else the constructor throws std::invalid_argument. Null: nobody is, and it costs
  // nothing.
  AnyTableObserver* observer = nullptr;

  static constexpr std::size_t kDefaultShards = 16;
  static constexpr std::size_t kMaxShards = 65'536;
};

// One partition in flight, as migrations() reports it.
template <typename P>
struct BasicMigrationInfo {
  std::string id;  // an integer id in decimal
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
// Only what says so throws, and only std::bad_alloc; the table is then as it was.
//
// `Id` is std::string, an integer or an enumeration; text ids are passed as string views and may
// hold any bytes. `P` is any trivially copyable type of up to kMaxPlacementBytes; intern (see
// Interned) what is not.
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
  using MigrationInfo = BasicMigrationInfo<P>;

  using Observer = BasicTableObserver<Id, P>;

  // Throws std::bad_alloc; and std::out_of_range and std::invalid_argument as TableOptions says.
  BasicPlacementTable() : BasicPlacementTable(TableOptions()) {}
  explicit BasicPlacementTable(const TableOptions& options);
  BasicPlacementTable(const BasicPlacementTable&) = delete;
  BasicPlacementTable& operator=(const BasicPlacementTable&) = delete;

  // Requires that no other call is under way, no permit is out and no write is held. Debug builds
  // check the latter two.
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
  TransitionResult begin_migration(IdParameter id, P to, std::optional<Epoch> expected = {});

  // The next four take, if the caller gives it, the epoch that the migration's last transition
  // stamped: if the partition's is another, that migration is over, or someone else has moved it
  // on, and they are refused with NotMigrating. So of two that drive one partition one wins each
  // step, and neither meddles with a later migration.

  // Draining -> Cutover: from now on no write is admitted.
  TransitionResult enter_cutover(IdParameter id, std::optional<Epoch> expected = {});
  // Cutover(from, to) -> Active(to): the flip. Refused with WritesInFlight while permits on the
  // partition are out. It may be so refused for an instant although none is: an acquire_write that
  // meets the cutover counts itself before it sees it, and then takes that back; so does one that
  // meets the erase of the partition that had this one's counter before. Ask again.
  TransitionResult complete_migration(IdParameter id, std::optional<Epoch> expected = {});
  // Draining or Cutover -> Active(from). Permits that are out stay good: they are for `from`.
  TransitionResult abort_migration(IdParameter id, std::optional<Epoch> expected = {});
  // Draining or Cutover stays as it is, with a fresh epoch: whoever drove the migration so far
  // finds his next transition refused. For taking over from a driver that died.
  TransitionResult claim_migration(IdParameter id, std::optional<Epoch> expected = {});

  // Active(p) -> Cutover(p, p): from now on no write is admitted, while reads go on; those that are
  // in flight finish (wait_until_drained). Refused with AlreadyMigrating in a migration.
  TransitionResult pause_writes(IdParameter id);
  // Cutover(p, p) -> Active(p), whoever brought it there. Elsewhere refused with NotPaused.
  TransitionResult resume_writes(IdParameter id);

  // Active -> absent. Refused with WritesInFlight as complete_migration is. Beside writers that
  // never leave a gap it is refused each time: see erase_until.
  TransitionResult erase(IdParameter id, std::optional<Epoch> expected = {});

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
  void get_many(std::span<const IdView> ids, std::span<std::optional<PlacementAt>> results) const;

  // Whether a write that was resolved at `epoch` may go there. This is check-then-act: by the time
  // of the commit the partition may be in cutover. Use it where the storage checks the epoch as a
  // fencing token, and acquire_write everywhere else.
  [[nodiscard]] WriteAdmission admit_write(IdParameter id, Epoch epoch) const;

  [[nodiscard]] std::optional<StateAt> state(IdParameter id) const;
  [[nodiscard]] bool contains(IdParameter id) const;

  // The epoch of the last change; zero() before the first. Wait-free.
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
  // Progress: lock-free, but for one case: a writer that meets the erase of its partition waits
  // for the end of that critical section.
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
  // once if max_held_writes wait. Deadlines are of absl::Now(). Blocks. Throws std::bad_alloc.
  Permit acquire_write_until(IdParameter id, absl::Time deadline);

  // The same for event loops. `resume` is called once, when the partition is not in cutover any
  // more (flip, abort, set, erase): by the thread that made the transition, before that returns,
  // or by this one at once if the partition is in no cutover now. It means "resolve again", and
  // nothing about what the answer will be. It runs outside every lock, may call the table, and
  // must not throw. If max_held_writes are held, it is not called and the ticket says so. Requires
  // that `resume` is not empty; asserted in debug builds.
  // Throws std::bad_alloc.
  HoldTicket hold(IdParameter id, absl::AnyInvocable<void()> resume);

  // Writes whose permits are out or in quarantine; zero for a partition that is not there, unless
  // apply_erase took it away under them.
  // One short critical section.
  [[nodiscard]] std::size_t writes_in_flight(IdParameter id) const;

  // The writes that hold and acquire_write_until held back since the partition last entered
  // cutover. One short critical section.
  [[nodiscard]] HeldWriteStats held_writes(IdParameter id) const;

  // Blocks until no write is in flight on the partition, or it is gone; false at the deadline,
  // which is one of absl::Now().
  [[nodiscard]] bool wait_until_drained(IdParameter id, absl::Time deadline) const;

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

  using Standing = detail::Standing;
  using Step = detail::Step;

  // A change that was made.
  struct Change {
    TransitionResult result = Epoch::zero();  // or why it was not
    detail::WriteCounter* held = nullptr;     // whose held writes are to be resumed
    std::optional<State> before{};            // for the observer
    std::optional<State> after{};             // likewise
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
  static P from_words(const Words& words) noexcept {
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
  TransitionResult change(IdParameter id, Transition transition, std::optional<Epoch> expected,
                          const std::optional<Words>& to = {});

  // With the shard's mutex held: what the state machine has to know of the partition in the slot.
  [[nodiscard]] static Standing standing_of(const Slot& slot) {
    if (!slot || !slot.cell().stamp().is_live()) return {};
    const Cell& cell = slot.cell();
    const Stamp now = cell.stamp();
    const bool migrates = now.phase() != MigrationPhase::Settled;
    return {true, now.phase(), migrates && cell.placement(0) == cell.placement(1), now.epoch()};
  }
  // What the observer is told of it, if there is one.
  [[nodiscard]] std::optional<State> observed(const Cell& cell) const {
    const Stamp now = cell.stamp();
    if (observer_ == nullptr || !now.is_live()) return std::nullopt;
    return Snapshot(cell, now).state();
  }

  // The same with the mutex held, and what comes after it is released.
  Change change_in(Shard& shard, Slot slot, Transition transition, std::optional<Epoch> expected,
                   const std::optional<Words>& to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  TransitionResult finish(Shard& shard, IdParameter id, Transition transition, Change done);

  static bool is_applicable(Epoch epoch) noexcept {
    return epoch != Epoch::zero() && epoch <= Epoch::max_external();
  }
  static std::optional<MigrationError> is_not_newer(const Slot& slot, Epoch epoch) {
    if (!slot || slot.cell().stamp().epoch() < epoch) return std::nullopt;
    return MigrationError::StaleEpoch;
  }

  // With the shard's mutex held: the cell, whose partition's stamp was `before`, gets `next`.
  Change publish(Shard& shard, Cell& cell, Stamp before, Stamp next, std::optional<State> was)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex) {
    cell.publish(next);
    shard.count(before, next);
    return {next.epoch(), left_cutover(shard, cell, before, next), std::move(was), observed(cell)};
  }

  // Which buffer of its cell is to be the active one, so that the partition can take a state with
  // these placements where it is: readers look at what its stamp names, one buffer or, in a
  // migration, both, so those can only stay as they are. Nothing if there is no such buffer.
  [[nodiscard]] static std::optional<std::size_t> buffer_for(const Cell& cell, const Words& from,
                                                             const std::optional<Words>& to) {
    const Stamp now = cell.stamp();
    const auto fits = [&](std::size_t buffer, const Words& placement) {
      const bool is_named =
          now.is_live() && (buffer == now.active() || now.phase() != MigrationPhase::Settled);
      return !is_named || cell.placement(buffer) == placement;
    };
    for (const std::size_t active : {1 - now.active(), now.active()}) {
      if (fits(active, from) && (!to || fits(1 - active, *to))) return active;
    }
    return std::nullopt;
  }

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

  // With the shard's mutex held:
  [[nodiscard]] std::size_t in_flight(Shard& shard, const Cell& cell) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // If the partition was in cutover: wakes who waits there for its drain, to look again; and if
  // that was the end of the cutover, returns the counter whose held writes are to be resumed.
  [[nodiscard]] static detail::WriteCounter* left_cutover(Shard& shard, const Cell& cell,
                                                          Stamp before, Stamp next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex) {
    if (before.phase() != MigrationPhase::Cutover) return nullptr;
    detail::WriteCounter& counter = shard.counter(cell);
    if (counter.is_awaited()) shard.drained.SignalAll();
    const bool is_over = next.phase() != MigrationPhase::Cutover;
    return is_over && !counter.held().empty() ? &counter : nullptr;
  }
  // Counts the outcome of a call that changes.
  static void count(Shard& shard, Transition transition, const TransitionResult& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex) {
    TableStats& stats = shard.stats();
    if (result) {
      ++stats.transitions_by_kind[static_cast<std::size_t>(transition)];
    } else {
      ++stats.refusals_by_reason[static_cast<std::size_t>(result.error())];
    }
  }

  // Without it:
  void resume_held(Shard& shard, const Change& change);
  // True when no write is in flight, or the partition is gone, or, where an epoch is given, the
  // partition's is another; false at the deadline.
  [[nodiscard]] bool wait_until_drained(const Key& key, absl::Time deadline,
                                        std::optional<Epoch> while_at) const;

  // Read on every path, written by none after construction.
  View* views_ = nullptr;
  std::size_t shard_mask_ = 0;
  Shard* shards_ = nullptr;
  TableMemory& memory_;
  Clock& clock_;
  Observer* observer_;
  std::size_t max_held_writes_;

  // Written by every change.
  alignas(2 * detail::kCacheLine) std::atomic<std::uint64_t> generation_;
  std::atomic<std::size_t> held_count_{0};
};

using PlacementTable = BasicPlacementTable<>;
using MigrationInfo = BasicMigrationInfo<Placement>;
using PartitionRef = BasicPartitionRef<std::string, Placement>;

// ---------------------------------------------------------------------------------------------

namespace detail {

struct TableAccess {
  template <typename P>
  static BasicWritePermit<P> permit(P placement, Epoch epoch, CountedWrite write) noexcept {
    return BasicWritePermit<P>(placement, epoch, std::move(write));
  }
  static HoldTicket ticket(ShardLock& shard, WriteCounter& counter,
                           std::atomic<std::size_t>& held_count,
                           std::shared_ptr<HeldWrite> write) noexcept {
    return HoldTicket(shard, counter, held_count, std::move(write));
  }
};

[[nodiscard]] constexpr std::size_t round_shards(std::size_t shards) noexcept {
  if (shards == 0) return TableOptions::kDefaultShards;
  return std::bit_ceil(std::min(shards, TableOptions::kMaxShards));
}

// A flag that one thread raises and one waits for.
class Event {
 public:
  void raise() {
    const MutexLock lock(mutex_);
    raised_ = true;
    changed_.Signal();
  }
  void wait_until(absl::Time deadline) {
    const MutexLock lock(mutex_);
    while (!raised_) {
      if (mutex_.wait(changed_, deadline)) return;
    }
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool raised_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace detail

template <PartitionKey Id, typename P>
BasicPlacementTable<Id, P>::BasicPlacementTable(const TableOptions& options)
    : shard_mask_(detail::round_shards(options.shards) - 1),
      memory_(options.memory != nullptr ? *options.memory : TableMemory::system()),
      clock_(options.clock != nullptr ? *options.clock : Clock::system()),
      observer_(Observer::cast(options.observer)),
      max_held_writes_(options.max_held_writes),
      generation_(std::max(options.first_epoch.value(), std::uint64_t{1}) - 1) {
  if (options.first_epoch > Epoch::max_external()) {
    throw std::out_of_range("placement_table: first_epoch is above Epoch::max_external()");
  }
  if (options.observer != nullptr && observer_ == nullptr) {
    throw std::invalid_argument("placement_table: the observer is not one of the table's types");
  }
  // The views stand apart from the mutexes, so that writers take no line away from readers.
  const std::size_t view_bytes = shard_count() * sizeof(View);
  const std::size_t shard_bytes = shard_count() * sizeof(Shard);
  views_ = static_cast<View*>(memory_.allocate(view_bytes, MemoryUse::Directory));
  try {
    shards_ = static_cast<Shard*>(memory_.allocate(shard_bytes, MemoryUse::Directory));
  } catch (...) {
    memory_.deallocate(views_, view_bytes, MemoryUse::Directory);
    throw;
  }
  for (std::size_t i = 0; i < shard_count(); ++i) {
    (::new (static_cast<void*>(shards_ + i)) Shard)->attach(views_[i], memory_);
  }
  try {
    reserve(options.expected_partitions);
  } catch (...) {
    this->~BasicPlacementTable();
    throw;
  }
}

template <PartitionKey Id, typename P>
BasicPlacementTable<Id, P>::~BasicPlacementTable() {
  assert(held_count_.load(std::memory_order_relaxed) == 0 && "a write is held in a dying table");
  for (std::size_t i = 0; i < shard_count(); ++i) {
    assert(!shards_[i].has_permits_out() && "a write permit outlives its table");
    shards_[i].~Shard();
  }
  memory_.deallocate(shards_, shard_count() * sizeof(Shard), MemoryUse::Directory);
  memory_.deallocate(views_, shard_count() * sizeof(View), MemoryUse::Directory);
}

// ---- changes ----

template <PartitionKey Id, typename P>
template <typename NeedsCell, typename Make>
auto BasicPlacementTable<Id, P>::change_with_room(const Key& key, Transition transition,
                                                  NeedsCell needs_cell, Make make) -> Change {
  Shard& shard = shard_for(key);
  Stock stock(memory_);
  prefetch(key);
  for (;;) {
    detail::Need need;
    std::optional<Change> done;
    typename Shard::Piece piece;
    {
      const MutexLock lock(shard.mutex);
      shard.step();
      Slot slot = shard.find(key);
      if (needs_cell(slot)) {
        need = shard.need_for(key, stock);
        if (!need && shard.grow_if_due(stock)) slot = shard.find(key);
      }
      if (!need) {
        done.emplace(make(shard, slot, stock));
        count(shard, transition, done->result);
      }
      piece = shard.piece_to_populate();
    }
    if (piece.bytes != 0) memory_.populate(piece.begin, piece.bytes);
    if (done) return *std::move(done);
    stock.provide(need);
  }
}

template <PartitionKey Id, typename P>
template <typename Refuses>
TransitionResult BasicPlacementTable<Id, P>::replace(
    IdParameter id, Transition transition, const Words& from, const std::optional<Words>& to,
    MigrationPhase phase, std::optional<Epoch> applied, Refuses refuses) {
  const Key key = Traits::key(id);
  // Where neither buffer may be overwritten, the partition gets a second cell, and the first gives
  // way to it.
  const auto needs_cell = [&](const Slot& slot) {
    return !refuses(slot) && (!slot || !buffer_for(slot.cell(), from, to));
  };
  const auto make = [&](Shard& shard, Slot first, Stock& stock) {
    shard.mutex.assert_held();
    if (const std::optional<MigrationError> refusal = refuses(first)) return Change{*refusal};
    if (applied) raise_generation(*applied);
    const Epoch epoch = applied ? *applied : draw_epoch();
    const bool second = first && needs_cell(first);
    const Slot slot = !first   ? shard.insert(key, epoch, stock)
                      : second ? shard.duplicate(first, epoch)
                               : first;
    Cell& cell = slot.cell();
    const Stamp before = first ? first.cell().stamp() : Stamp::vacant();
    std::optional<State> was = first ? observed(first.cell()) : std::nullopt;
    if (phase == MigrationPhase::Cutover && before.phase() != phase) {
      shard.counter(cell).held().start_counting();
    }
    const std::size_t active = *buffer_for(cell, from, to);
    cell.store_placement(active, from);
    if (to) cell.store_placement(1 - active, *to);
    Change change = publish(shard, cell, before, Stamp::live(epoch, phase, active), std::move(was));
    if (second) shard.give_way(first);
    return change;
  };
  Change done = change_with_room(key, transition, needs_cell, make);
  return finish(shard_for(key), id, transition, std::move(done));
}

template <PartitionKey Id, typename P>
Epoch BasicPlacementTable<Id, P>::set(IdParameter id, P placement) {
  const auto refuses = [](const Slot&) { return std::optional<MigrationError>(); };
  return *replace(id, Transition::Set, to_words(placement), {}, MigrationPhase::Settled, {},
                  refuses);
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::set(IdParameter id, P placement, Epoch expected) {
  const auto refuses = [expected](const Slot& slot) {
    return next_step(standing_of(slot), Transition::Set, expected).refusal;
  };
  return replace(id, Transition::Set, to_words(placement), {}, MigrationPhase::Settled, {},
                 refuses);
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::change_in(Shard& shard, Slot slot, Transition transition,
                                           std::optional<Epoch> expected,
                                           const std::optional<Words>& to) -> Change {
  const Step step = next_step(standing_of(slot), transition, expected);
  if (step.refusal) return {*step.refusal};
  Cell& cell = slot.cell();
  const Stamp before = cell.stamp();
  const bool was_cutover = before.phase() == MigrationPhase::Cutover;
  if (step.needs_drain) {
    const bool is_idle = in_flight(shard, cell) == 0;  // (P4)
    // For a removal a look at the count would not do: a writer may count itself after it. So the
    // counter is closed in the same instant in which it is found to be zero.
    if (!is_idle || (!step.is_there && !shard.counter(cell).close_if_idle())) {
      return {MigrationError::WritesInFlight};
    }
  }
  std::optional<State> was = observed(cell);
  const Epoch epoch = draw_epoch();
  if (!step.is_there) {
    detail::WriteCounter* const held = left_cutover(shard, cell, before, Stamp::vacant());
    shard.erase(slot);
    shard.count(before, Stamp::vacant());
    return {epoch, held, std::move(was), std::nullopt};
  }
  // The stamp before is a settled one, which does not name this buffer.
  if (step.destination == Step::Source::Argument) {
    cell.store_placement(1 - before.active(), *to);
  } else if (step.destination == Step::Source::Origin) {
    cell.store_placement(1 - before.active(), cell.placement(before.active()));
  }
  if (step.phase == MigrationPhase::Cutover && !was_cutover) {
    shard.counter(cell).held().start_counting();
  }
  const bool flips = step.origin == Step::Source::Destination;
  const std::size_t active = flips ? 1 - before.active() : before.active();
  return publish(shard, cell, before, Stamp::live(epoch, step.phase, active),  // (P3), for Cutover
                 std::move(was));
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::change(IdParameter id, Transition transition,
                                                    std::optional<Epoch> expected,
                                                    const std::optional<Words>& to) {
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  std::optional<Change> done;
  prefetch(key);
  {
    const MutexLock lock(shard.mutex);
    shard.step();
    done.emplace(change_in(shard, shard.find(key), transition, expected, to));
    count(shard, transition, done->result);
  }
  return finish(shard, id, transition, *std::move(done));
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::finish(Shard& shard, IdParameter id,
                                                    Transition transition, Change done) {
  if (!done.result) return done.result;
  if (observer_ != nullptr) {
    observer_->on_change({view_of(id), std::move(done.before), std::move(done.after),
                          done.result.value(), transition});
  }
  resume_held(shard, done);
  return done.result;
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::begin_migration(IdParameter id, P to,
                                                             std::optional<Epoch> expected) {
  return change(id, Transition::BeginMigration, expected, to_words(to));
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::enter_cutover(IdParameter id,
                                                           std::optional<Epoch> expected) {
  return change(id, Transition::EnterCutover, expected);
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::complete_migration(IdParameter id,
                                                                std::optional<Epoch> expected) {
  return change(id, Transition::CompleteMigration, expected);
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::abort_migration(IdParameter id,
                                                             std::optional<Epoch> expected) {
  return change(id, Transition::AbortMigration, expected);
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::claim_migration(IdParameter id,
                                                             std::optional<Epoch> expected) {
  return change(id, Transition::ClaimMigration, expected);
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::pause_writes(IdParameter id) {
  return change(id, Transition::PauseWrites, {});
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::resume_writes(IdParameter id) {
  return change(id, Transition::ResumeWrites, {});
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::erase(IdParameter id, std::optional<Epoch> expected) {
  return change(id, Transition::Erase, expected);
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::erase_until(IdParameter id, absl::Time deadline) {
  const TransitionResult paused = change(id, Transition::PauseWrites, {});
  if (!paused) return paused;
  const Epoch at = *paused;
  while (wait_until_drained(Traits::key(id), deadline, at)) {
    const TransitionResult erased = change(id, Transition::EraseDrained, at);
    // Refused with WritesInFlight although none is: a writer that met the pause is about to take
    // its count back.
    if (erased != MigrationError::WritesInFlight) return erased;
  }
  const TransitionResult resumed = change(id, Transition::AbortMigration, at);
  return resumed ? MigrationError::WritesInFlight : MigrationError::StaleEpoch;
}

template <PartitionKey Id, typename P>
void BasicPlacementTable<Id, P>::reserve(std::size_t partitions) {
  // More than fit the address space, and more than the sums below could take.
  if (partitions > std::numeric_limits<std::size_t>::max() / (2 * sizeof(Cell))) {
    throw std::bad_alloc();
  }
  // Hashing spreads ids over the shards as balls over bins: some get a few deviations more.
  const std::size_t mean = partitions / shard_count();
  const auto deviation = static_cast<std::size_t>(std::sqrt(static_cast<double>(mean))) + 1;
  const std::size_t room = std::min(partitions, mean + 4 * deviation + 4);
  for (std::size_t i = 0; i < shard_count(); ++i) {
    Shard& shard = shards_[i];
    Stock stock(memory_);
    for (bool done = false; !done;) {
      detail::Need need;
      {
        const MutexLock lock(shard.mutex);
        shard.step();
        need = shard.need_for_room(room, stock);
        if (!need) done = shard.make_room(room, stock);
      }
      stock.provide(need);
      stock.populate_array();
    }
  }
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
void BasicPlacementTable<Id, P>::get_many(std::span<const IdView> ids,
                                          std::span<std::optional<PlacementAt>> results) const {
  assert(ids.size() == results.size());
  constexpr std::size_t kAhead = 16;
  std::array<std::uint64_t, kAhead> hashes{};
  const std::size_t count = std::min(ids.size(), results.size());
  for (std::size_t first = 0; first < count; first += kAhead) {
    const std::size_t some = std::min(kAhead, count - first);
    for (std::size_t i = 0; i < some; ++i) {
      const Key key = Traits::key(ids[first + i]);
      hashes[i] = key.hash;
      view_for(key).prefetch_tags(key.hash);
    }
    for (const std::uint64_t hash : std::span(hashes).first(some)) {
      views_[hash & shard_mask_].prefetch_cell(hash);
    }
    for (std::size_t i = 0; i < some; ++i) {
      get(Key(typename Key::Id(ids[first + i]), hashes[i]), results[first + i]);
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
    found.push_back({Traits::print(id), state.read_placement(), *state.destination(), state.phase(),
                     epoch, writes_in_flight(id)});
  });
  return found;
}

// ---- counted writes ----

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::find(const Key& key, Found& at) const {
  const Shard& shard = shard_for(key);
  const View& view = view_for(key);
  at.version = view.version();
  const bool found = view.lookup(key, [&at, &shard](const Cell& cell, Stamp now) {
    at.stamp = now;
    at.cell = &cell;
    at.counter = &shard.counter(cell);
    at.origin = cell.placement(now.active());
    return now.is_live();
  });
  if (!found) at.cell = nullptr;
  return found;
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::acquire(const Key& key, std::optional<Epoch> expected, Found& at)
    -> Permit {
  Shard& shard = shard_for(key);
  for (;;) {
    if (!is_current(key, at) && !find(key, at)) return Permit(WriteRefusal::UnknownPartition);
    if (!at.stamp.is_open()) return Permit(WriteRefusal::Cutover);
    if (expected && at.stamp.epoch() != *expected) return Permit(WriteRefusal::StaleEpoch);
    const bool entered = at.counter->enter();  // (P1)
    detail::CountedWrite write(shard, *at.counter, clock_);
    if (!entered) {
      // The partition's erase is between closing the counter and publishing that it is gone. The
      // count is taken back after that; a drain of the counter's next partition may have seen it,
      // and is woken as by a permit.
      const MutexLock lock(shard.mutex);
      continue;
    }
    // (P2). The stamp is as it was: the phase is open, the placement holds, and the counter is this
    // partition's, for under one version a stamp is of one change of one partition (V3). If not,
    // `write` takes the count back. The version is the even one: with the odd one of a second cell
    // that is under way, a writer that was interrupted there would keep this one from going on.
    if (at.cell->is_still_in_total_order(at.stamp) && view_for(key).version() == at.version) {
      return detail::TableAccess::permit(from_words(at.origin), at.stamp.epoch(), std::move(write));
    }
  }
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::acquire_write_until(IdParameter id, absl::Time deadline)
    -> Permit {
  for (;;) {
    Permit permit = acquire_write(id);
    if (permit || permit.refusal() != WriteRefusal::Cutover) return permit;
    detail::Event left_cutover;
    HoldTicket ticket = hold(id, [&left_cutover] { left_cutover.raise(); });
    if (ticket.refusal()) return Permit(*ticket.refusal());
    left_cutover.wait_until(deadline);
    if (ticket.cancel()) return Permit(WriteRefusal::DeadlineExceeded);
    // The transition came first: its thread has raised the event, or is about to.
    left_cutover.wait_until(absl::InfiniteFuture());
  }
}

template <PartitionKey Id, typename P>
HoldTicket BasicPlacementTable<Id, P>::hold(IdParameter id, absl::AnyInvocable<void()> resume) {
  assert(resume != nullptr && "a write is held that nothing resumes");
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  auto write = std::make_shared<detail::HeldWrite>(std::move(resume));
  {
    const MutexLock lock(shard.mutex);
    const Slot slot = shard.find(key);
    // Under the mutex, which every transition out of cutover takes: no wake-up can be missed.
    if (slot && slot.cell().stamp().phase() == MigrationPhase::Cutover) {
      // A bound, not a synchronization.
      if (held_count_.fetch_add(1, std::memory_order_relaxed) >= max_held_writes_) {
        held_count_.fetch_sub(1, std::memory_order_relaxed);
        return HoldTicket(WriteRefusal::TooManyHeld);
      }
      detail::WriteCounter& counter = shard.counter(slot.cell());
      write->cutover = slot.cell().stamp().epoch();
      write->since = clock_.now();
      write->clock = &clock_;
      counter.held().add(write);
      return detail::TableAccess::ticket(shard, counter, held_count_, std::move(write));
    }
  }
  write->resume();
  return HoldTicket();
}

template <PartitionKey Id, typename P>
void BasicPlacementTable<Id, P>::resume_held(Shard& shard, const Change& change) {
  if (change.held == nullptr) return;
  for (;;) {
    std::shared_ptr<detail::HeldWrite> write;
    {
      const MutexLock lock(shard.mutex);
      write = change.held->held().take_before(change.result.value());
    }
    if (write == nullptr) return;
    held_count_.fetch_sub(1, std::memory_order_relaxed);
    write->resume();
  }
}

template <PartitionKey Id, typename P>
std::size_t BasicPlacementTable<Id, P>::in_flight(Shard& shard, const Cell& cell) const {
  detail::WriteCounter& counter = shard.counter(cell);
  if (counter.end_quarantine(clock_)) shard.drained.SignalAll();
  return static_cast<std::size_t>(counter.in_flight());
}

template <PartitionKey Id, typename P>
std::size_t BasicPlacementTable<Id, P>::writes_in_flight(IdParameter id) const {
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  const MutexLock lock(shard.mutex);
  const Slot slot = shard.find(key);
  return slot ? in_flight(shard, slot.cell()) : 0;
}

template <PartitionKey Id, typename P>
HeldWriteStats BasicPlacementTable<Id, P>::held_writes(IdParameter id) const {
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  const MutexLock lock(shard.mutex);
  const Slot slot = shard.find(key);
  if (!slot) return {};
  const detail::HeldWrites& held = shard.counter(slot.cell()).held();
  return {held.count(), held.longest()};
}

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::wait_until_drained(IdParameter id, absl::Time deadline) const {
  return wait_until_drained(Traits::key(id), deadline, {});
}

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::wait_until_drained(const Key& key, absl::Time deadline,
                                                    std::optional<Epoch> while_at) const {
  Shard& shard = shard_for(key);
  const MutexLock lock(shard.mutex);
  for (;;) {
    // Found anew each time: while this thread waits, the cell may move.
    const Slot slot = shard.find(key);
    if (!slot || in_flight(shard, slot.cell()) == 0) return true;
    if (while_at && slot.cell().stamp().epoch() != *while_at) return true;
    if (absl::Now() >= deadline) return false;
    detail::WriteCounter& counter = shard.counter(slot.cell());
    counter.await();
    // Whoever leaves from now on sees that it is awaited; who left before is seen here.
    if (counter.in_flight() != 0) {
      const absl::Time quarantine_over = absl::Now() + (counter.quarantine_ends() - clock_.now());
      shard.mutex.wait(shard.drained, std::min(deadline, quarantine_over));
    }
    counter.await_no_more();
  }
}

// ---- replicas of a remote source of truth ----

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::apply(IdParameter id, const State& state, Epoch epoch) {
  if (!is_applicable(epoch)) return false;
  std::optional<Words> to;
  if (state.is_migrating()) to = to_words(*state.destination());
  const auto refuses = [epoch](const Slot& slot) { return is_not_newer(slot, epoch); };
  return replace(id, Transition::Apply, to_words(state.read_placement()), to, state.phase(), epoch,
                 refuses)
      .has_value();
}

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::apply_erase(IdParameter id, Epoch epoch) {
  if (!is_applicable(epoch)) return false;
  const Key key = Traits::key(id);
  const auto needs_cell = [](const Slot& slot) { return !slot; };
  const auto make = [&](Shard& shard, Slot slot, Stock& stock) {
    shard.mutex.assert_held();
    if (const std::optional<MigrationError> refusal = is_not_newer(slot, epoch)) {
      return Change{*refusal};
    }
    raise_generation(epoch);
    const Stamp before = slot ? slot.cell().stamp() : Stamp::vacant();
    std::optional<State> was = slot ? observed(slot.cell()) : std::nullopt;
    if (!slot) slot = shard.insert(key, epoch, stock);
    return publish(shard, slot.cell(), before, Stamp::erased(epoch), std::move(was));
  };
  Change done = change_with_room(key, Transition::ApplyErase, needs_cell, make);
  return finish(shard_for(key), id, Transition::ApplyErase, std::move(done)).has_value();
}

template <PartitionKey Id, typename P>
void BasicPlacementTable<Id, P>::forget_erased(Epoch up_to) {
  for (std::size_t i = 0; i < shard_count(); ++i) {
    Shard& shard = shards_[i];
    std::uint64_t version = shard.view().version();
    for (std::size_t at = 0, end = 1; at < end;) {
      const MutexLock lock(shard.mutex);
      shard.step();
      // In a new array the cells stand elsewhere.
      if (std::exchange(version, shard.view().version()) != shard.view().version()) at = 0;
      end = shard.forget_erased(at, up_to, clock_);
    }
  }
}

}  // namespace v1
}  // namespace placement

#include "placement/partition_ref.hpp"  // IWYU pragma: export

#endif  // PLACEMENT_PLACEMENT_TABLE_HPP_
