// SPDX-License-Identifier: Apache-2.0
//
// The bodies of BasicPlacementTable: what changes a partition. Included by placement_table.hpp.
#ifndef PLACEMENT_DETAIL_TABLE_CHANGES_HPP_
#define PLACEMENT_DETAIL_TABLE_CHANGES_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include <absl/time/time.h>

#include "placement/placement_table.hpp"

namespace placement {
inline namespace v1 {

namespace detail {

[[nodiscard]] constexpr bool is_applicable(Epoch epoch) noexcept {
  return epoch != Epoch::zero() && epoch <= Epoch::max_external();
}

}  // namespace detail

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::standing_of(const Slot& slot) -> Standing {
  if (!slot || !slot.cell().stamp().is_live()) return {};
  const Cell& cell = slot.cell();
  const Stamp now = cell.stamp();
  const bool migrates = now.phase() != MigrationPhase::Settled;
  return {true, now.phase(), migrates && cell.placement(0) == cell.placement(1), now.epoch()};
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::observed(const Cell& cell) const -> std::optional<State> {
  const Stamp now = cell.stamp();
  if (observer_ == nullptr || !now.is_live()) return std::nullopt;
  return Snapshot(cell, now).state();
}

template <PartitionKey Id, typename P>
std::optional<MigrationError> BasicPlacementTable<Id, P>::is_not_newer(const Slot& slot,
                                                                       Epoch epoch) {
  if (!slot || slot.cell().stamp().epoch() < epoch) return std::nullopt;
  return MigrationError::StaleEpoch;
}

template <PartitionKey Id, typename P>
std::optional<std::size_t> BasicPlacementTable<Id, P>::buffer_for(const Cell& cell,
                                                                  const Words& from,
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

template <PartitionKey Id, typename P>
void BasicPlacementTable<Id, P>::count(Shard& shard, Transition transition,
                                       const TransitionResult& result) {
  TableStats& stats = shard.stats();
  if (result) {
    ++stats.transitions_by_kind[static_cast<std::size_t>(transition)];
  } else {
    ++stats.refusals_by_reason[static_cast<std::size_t>(result.error())];
  }
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::moved_on(Shard& shard, const Cell& cell, Stamp before, Stamp next)
    -> detail::WriteCounter* {
  if (!before.is_live()) return nullptr;
  detail::WriteCounter& counter = shard.counter(cell);
  if (counter.is_awaited()) shard.drained.SignalAll();
  if (before.phase() != MigrationPhase::Cutover || next.phase() == MigrationPhase::Cutover) {
    return nullptr;
  }
  counter.held().leave_cutover();
  return counter.held().empty() ? nullptr : &counter;
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::publish(Shard& shard, Cell& cell, Stamp before, Stamp next,
                                         std::optional<State> was) -> Change {
  cell.publish(next);
  shard.count(before, next);
  return {next.epoch(), moved_on(shard, cell, before, next), std::move(was), observed(cell)};
}

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
  return finish(id, transition, std::move(done));
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
    detail::WriteCounter* const held = moved_on(shard, cell, before, Stamp::vacant());
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
                                                    const std::optional<Epoch>& expected,
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
  return finish(id, transition, *std::move(done));
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::finish(IdParameter id, Transition transition,
                                                    Change done) {
  if (!done.result) return done.result;
  if (observer_ != nullptr) {
    observer_->on_change({view_of(id), std::move(done.before), std::move(done.after),
                          done.result.value(), transition});
  }
  if (done.held != nullptr) done.held->held().queue()->resume();
  return done.result;
}

template <PartitionKey Id, typename P>
TransitionResult BasicPlacementTable<Id, P>::erase_until(IdParameter id, absl::Time deadline) {
  const TransitionResult paused = change(id, Transition::PauseWrites, {});
  if (!paused) return paused;
  const Epoch at = *paused;
  while (wait_until_drained(id, deadline, at)) {
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
    detail::out_of_memory(detail::kMoreThanThereIs, to_string(MemoryUse::Cells));
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

// ---- replicas of a remote source of truth ----

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::apply(IdParameter id, const State& state, Epoch epoch) {
  if (!detail::is_applicable(epoch)) return false;
  std::optional<Words> to;
  if (state.is_migrating()) to = to_words(*state.destination());
  const auto refuses = [epoch](const Slot& slot) { return is_not_newer(slot, epoch); };
  return replace(id, Transition::Apply, to_words(state.read_placement()), to, state.phase(), epoch,
                 refuses)
      .has_value();
}

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::apply_erase(IdParameter id, Epoch epoch) {
  if (!detail::is_applicable(epoch)) return false;
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
  return finish(id, Transition::ApplyErase, std::move(done)).has_value();
}

template <PartitionKey Id, typename P>
void BasicPlacementTable<Id, P>::forget_erased(Epoch up_to) {
  for (std::size_t i = 0; i < shard_count(); ++i) {
    Shard& shard = shards_[i];
    std::uint64_t growths = 0;
    for (std::size_t at = 0, end = 1; at < end;) {
      const MutexLock lock(shard.mutex);
      shard.step();
      // In a new array the cells stand elsewhere.
      if (std::exchange(growths, shard.growths()) != shard.growths()) at = 0;
      end = shard.forget_erased(at, up_to, clock_);
    }
  }
}

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_TABLE_CHANGES_HPP_
