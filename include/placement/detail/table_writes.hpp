// SPDX-License-Identifier: Apache-2.0
//
// The bodies of BasicPlacementTable: counted writes, and writes that are held back. Included by
// placement_table.hpp.
#ifndef PLACEMENT_DETAIL_TABLE_WRITES_HPP_
#define PLACEMENT_DETAIL_TABLE_WRITES_HPP_

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/placement_table.hpp"

namespace placement {
inline namespace v1 {

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
    if (!at.counter->enter()) [[unlikely]] {  // (P1)
      // The partition's erase is between closing the counter and publishing that it is gone. The
      // count is taken back after that; a drain of the counter's next partition may have seen it,
      // and is woken as by a permit.
      {
        const MutexLock lock(shard.mutex);
      }
      detail::CountedWrite::leave(shard, *at.counter);
      continue;
    }
    // (P2). The stamp is as it was: the phase is open, the placement holds, and the counter is this
    // partition's, for under one version a stamp is of one change of one partition (V3). The
    // version is the even one: with the odd one of a second cell that is under way, a writer that
    // was interrupted there would keep this one from going on.
    if (at.cell->is_still_in_total_order(at.stamp) && view_for(key).version() == at.version)
        [[likely]] {
      detail::CountedWrite write(shard, *at.counter);
      if (track_permits_) [[unlikely]] {
        write.track(at.stamp.epoch());
      }
      return detail::TableAccess::permit(from_words(at.origin), at.stamp.epoch(), std::move(write));
    }
    detail::CountedWrite::leave(shard, *at.counter);
  }
}

// An acquire_write_async that is held.
template <PartitionKey Id, typename P>
class BasicPlacementTable<Id, P>::HeldAcquisition final : public detail::HeldWrite {
 public:
  HeldAcquisition(BasicPlacementTable& table, IdParameter id,
                  absl::AnyInvocable<void(Permit)> handler)
      : HeldWrite(/*has_to_resolve=*/true),
        table_(table),
        id_(Traits::owned(id)),
        handler_(std::move(handler)) {}

  bool resolve(bool is_orphan) override {
    permit_.emplace(table_.acquire_write(Traits::view(id_)));
    if (*permit_ || permit_->refusal() != WriteRefusal::Cutover) return true;
    // The partition that it was held for was erased. This one has the same id.
    if (is_orphan) permit_.emplace(WriteRefusal::UnknownPartition);
    return is_orphan;
  }
  void resume() override { handler_(std::move(*permit_)); }

  // It is not to be held after all.
  [[nodiscard]] absl::AnyInvocable<void(Permit)> take_handler() { return std::move(handler_); }

 private:
  BasicPlacementTable& table_;
  const typename Traits::Owned id_;
  absl::AnyInvocable<void(Permit)> handler_;
  std::optional<Permit> permit_;
};

template <PartitionKey Id, typename P>
template <typename Add>
auto BasicPlacementTable<Id, P>::hold_back(const Key& key, bool joins_callbacks, Add add)
    -> std::optional<Held> {
  Shard& shard = shard_for(key);
  std::unique_ptr<detail::HeldQueue> fresh;
  for (;;) {
    {
      const MutexLock lock(shard.mutex);
      const Slot slot = shard.find(key);
      if (!slot) return std::nullopt;
      detail::HeldWrites& held = shard.counter(slot.cell()).held();
      detail::HeldQueue* queue = held.queue();
      // Under the mutex, which every transition out of cutover takes: no wake-up can be missed.
      const bool is_in_cutover = slot.cell().stamp().phase() == MigrationPhase::Cutover;
      assert((queue == nullptr || queue->is_open() != is_in_cutover) &&
             "a transition did not tell the held writes");
      const bool joins = joins_callbacks && queue != nullptr && queue->has_callbacks();
      if (!is_in_cutover && !joins) return std::nullopt;
      if (queue == nullptr && fresh != nullptr) queue = &held.adopt(std::move(fresh), held_);
      if (queue != nullptr) return Held{queue, add(*queue)};
    }
    fresh = std::make_unique<detail::HeldQueue>(shard.mutex, held_);
  }
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::hold_back(const Key& key, detail::HeldThread& thread)
    -> std::optional<Held> {
  return hold_back(key, /*joins_callbacks=*/false,
                   [&](detail::HeldQueue& queue) -> std::optional<std::uint64_t> {
                     if (!queue.add(thread)) return std::nullopt;
                     return thread.sequence;
                   });
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::hold_back(const Key& key, detail::HeldNode& write)
    -> std::optional<Held> {
  const bool joins = held_.executor() != nullptr;
  const std::optional<Held> held =
      hold_back(key, joins, [&](detail::HeldQueue& queue) { return queue.add(write); });
  // If it is due, and the task that was to resume those before it is not there any more.
  if (held && joins) held->queue->resume();
  return held;
}

template <PartitionKey Id, typename P>
auto BasicPlacementTable<Id, P>::acquire_write_until(IdParameter id, absl::Time deadline)
    -> Permit {
  for (;;) {
    Permit permit = acquire_write(id);
    if (permit || permit.refusal() != WriteRefusal::Cutover) return permit;
    assert((deadline <= absl::Now() || !this_thread_holds_permit(Traits::key(id))) &&
           "a thread waits for the end of a cutover that waits for its own permit");
    detail::HeldThread thread;
    const std::optional<Held> held = hold_back(Traits::key(id), thread);
    if (!held) continue;
    if (!held->sequence) return Permit(WriteRefusal::TooManyHeld);
    thread.resumed.wait_until(deadline);
    if (held->queue->cancel(thread)) return Permit(WriteRefusal::DeadlineExceeded);
    // The transition came first: its thread has raised the event, or is about to.
    thread.resumed.wait_until(absl::InfiniteFuture());
  }
}

template <PartitionKey Id, typename P>
void BasicPlacementTable<Id, P>::answer(absl::AnyInvocable<void(Permit)> handler, Permit permit) {
  if (held_.executor() == nullptr) return handler(std::move(permit));
  held_.executor()->execute([handler = std::move(handler), permit = std::move(permit)]() mutable {
    handler(std::move(permit));
  });
}

template <PartitionKey Id, typename P>
HoldTicket BasicPlacementTable<Id, P>::acquire_write_async(
    IdParameter id, absl::AnyInvocable<void(Permit)> handler) {
  assert(handler != nullptr && "a write is acquired for nobody");
  // With an executor, earlier writes of the partition may still wait for their turn there.
  bool may_be_held = held_.executor() != nullptr && held_.count() != 0;
  const Key key = Traits::key(id);
  HeldAcquisition* acquisition = nullptr;  // in `write`
  detail::HeldNode write;
  for (;; may_be_held = !may_be_held) {
    Permit permit(WriteRefusal::TooManyHeld);
    if (!may_be_held) {
      permit = acquire_write(id);
      if (!permit && permit.refusal() == WriteRefusal::Cutover) continue;
    } else {
      if (acquisition == nullptr) {
        auto made = std::make_unique<HeldAcquisition>(*this, id, std::move(handler));
        acquisition = made.get();
        write = detail::make_held(std::move(made));
      }
      const std::optional<Held> held = hold_back(key, write);
      if (!held) continue;
      if (held->sequence) return held->ticket();
    }
    if (acquisition != nullptr) handler = acquisition->take_handler();
    // NOLINTNEXTLINE(bugprone-use-after-move): if it was moved away, it has just come back
    answer(std::move(handler), std::move(permit));
    return HoldTicket();
  }
}

template <PartitionKey Id, typename P>
HoldTicket BasicPlacementTable<Id, P>::hold(IdParameter id, absl::AnyInvocable<void()> resume) {
  assert(resume != nullptr && "a write is held that nothing resumes");
  detail::HeldNode write =
      detail::make_held(std::make_unique<detail::HeldCallback>(std::move(resume)));
  if (const std::optional<Held> held = hold_back(Traits::key(id), write)) return held->ticket();
  if (held_.executor() == nullptr) {
    write.mapped()->resume();
  } else {
    held_.executor()->execute([write = std::move(write)] { write.mapped()->resume(); });
  }
  return HoldTicket();
}

template <PartitionKey Id, typename P>
std::size_t BasicPlacementTable<Id, P>::in_flight(Shard& shard, const Cell& cell) const {
  detail::WriteCounter& counter = shard.counter(cell);
  if (counter.end_quarantine(clock_, shard.over)) shard.drained.SignalAll();
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
std::vector<Blocker> BasicPlacementTable<Id, P>::blockers(IdParameter id) const {
  if (!track_permits_) return {};
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  // Copies first, then what takes memory: that has no place in the critical section.
  std::vector<detail::TrackedPermit> found;
  absl::Time now;
  absl::Time quarantine_ends;
  for (bool done = false; !done;) {
    std::size_t count = 0;
    {
      const MutexLock lock(shard.mutex);
      const Slot slot = shard.find(key);
      if (!slot) return {};
      count = in_flight(shard, slot.cell());  // each that is tracked is counted
      done = count <= found.capacity();
      if (done) {
        detail::WriteCounter& counter = shard.counter(slot.cell());
        counter.tracked().for_each(
            [&found](const detail::TrackedPermit& permit) { found.push_back(permit); });
        quarantine_ends = counter.quarantine_ends();
        now = clock_.now();
      }
    }
    if (!done) found.reserve(2 * count);
  }
  std::vector<const detail::TrackedPermit*> oldest_first;
  oldest_first.reserve(found.size());
  for (const detail::TrackedPermit& permit : found) oldest_first.push_back(&permit);
  std::sort(oldest_first.begin(), oldest_first.end(), [](const auto* a, const auto* b) {
    return a->granted_at != b->granted_at ? a->granted_at < b->granted_at : a < b;
  });
  std::vector<Blocker> named;
  named.reserve(found.size());
  for (const detail::TrackedPermit* permit : oldest_first) {
    std::optional<absl::Time> until;
    if (permit->in_quarantine) until = quarantine_ends;
    named.push_back({permit->granted_at, now - permit->granted_at, permit->epoch,
                     std::string(permit->label()), until});
  }
  return named;
}

template <PartitionKey Id, typename P>
std::optional<absl::Time> BasicPlacementTable<Id, P>::oldest_write(IdParameter id) const {
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  const MutexLock lock(shard.mutex);
  const Slot slot = shard.find(key);
  if (!slot || in_flight(shard, slot.cell()) == 0) return std::nullopt;
  return shard.counter(slot.cell()).tracked().oldest();
}

template <PartitionKey Id, typename P>
HeldWriteStats BasicPlacementTable<Id, P>::held_writes(IdParameter id) const {
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  const MutexLock lock(shard.mutex);
  const Slot slot = shard.find(key);
  if (!slot) return {};
  const detail::HeldQueue* const queue = shard.counter(slot.cell()).held().queue();
  if (queue == nullptr) return {};
  return {queue->count(), queue->longest()};
}

template <PartitionKey Id, typename P>
bool BasicPlacementTable<Id, P>::wait_until_drained(IdParameter id, absl::Time deadline,
                                                    std::optional<Epoch> while_at) const {
  const Key key = Traits::key(id);
  Shard& shard = shard_for(key);
  const MutexLock lock(shard.mutex);
  for (;;) {
    // Found anew each time: while this thread waits, the cell may move.
    const Slot slot = shard.find(key);
    if (!slot || in_flight(shard, slot.cell()) == 0) return true;
    if (while_at && slot.cell().stamp().epoch() != *while_at) return true;
    if (absl::Now() >= deadline) return false;
    detail::WriteCounter& counter = shard.counter(slot.cell());
    assert(
        (deadline < absl::InfiniteFuture() || !detail::PermitWatch::this_thread_holds(&counter)) &&
        "a thread waits for a drain that waits for its own permit");
    counter.await();
    // Whoever leaves from now on sees that it is awaited; who left before is seen here.
    if (counter.in_flight() != 0) {
      const absl::Time quarantine_over = absl::Now() + (counter.quarantine_ends() - clock_.now());
      ++shard.draining;
      shard.mutex.wait(shard.drained, std::min(deadline, quarantine_over));
      --shard.draining;
    }
    counter.await_no_more();
  }
}

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_TABLE_WRITES_HPP_
