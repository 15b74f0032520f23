// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_WRITE_PERMIT_HPP_
#define PLACEMENT_WRITE_PERMIT_HPP_

#include <cassert>
#include <optional>
#include <utility>

#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/detail/write_counters.hpp"
#include "placement/epoch.hpp"
#include "placement/placement.hpp"
#include "placement/write_refusal.hpp"

namespace placement {
inline namespace v1 {

namespace detail {

struct TableAccess;  // the table's way to make permits

// What a permit gives back: one in a partition's count of writes in flight.
class CountedWrite {
 public:
  CountedWrite() = default;
  CountedWrite(ShardLock& shard, WriteCounter& counter, const Clock& clock) noexcept
      : shard_(&shard), counter_(&counter), clock_(&clock) {}

  CountedWrite(CountedWrite&& other) noexcept
      : shard_(std::exchange(other.shard_, nullptr)),
        counter_(other.counter_),
        clock_(other.clock_) {}
  CountedWrite& operator=(CountedWrite&& other) noexcept {
    CountedWrite moved(std::move(other));  // first, so that a self-move keeps the write
    std::swap(shard_, moved.shard_);
    std::swap(counter_, moved.counter_);
    std::swap(clock_, moved.clock_);
    return *this;
  }
  ~CountedWrite() { release(); }

  [[nodiscard]] bool is_counted() const noexcept { return shard_ != nullptr; }

  void release() noexcept {
    if (ShardLock* const shard = std::exchange(shard_, nullptr)) leave(*shard, *counter_);
  }

  void quarantine(absl::Duration duration) noexcept {
    ShardLock* const shard = std::exchange(shard_, nullptr);
    if (shard == nullptr) return;
    const absl::Time until = clock_->now() + duration;
    const MutexLock lock(shard->mutex);
    counter_->end_quarantine(*clock_);  // so that one which is over does not begin anew
    counter_->quarantine(until);
    if (counter_->is_awaited()) shard->drained.SignalAll();  // whoever waits, now waits for `until`
  }

  // Uncounts one, and wakes whoever waits for the last.
  static void leave(ShardLock& shard, WriteCounter& counter) noexcept {
    if (!counter.leave()) [[likely]]
      return;
    const MutexLock lock(shard.mutex);
    shard.drained.SignalAll();
  }

 private:
  ShardLock* shard_ = nullptr;  // null: nothing to give back
  WriteCounter* counter_ = nullptr;
  const Clock* clock_ = nullptr;
};

}  // namespace detail

// Proof that a write was admitted to `placement()`, held until the write has finished: while it is
// out, its partition does not flip (INV-P) and is not erased. Empty when the write was refused.
//
//   if (placement::WritePermit permit = table.acquire_write("tenant-42")) {
//     clusters.at(permit.placement().cluster()).write(...);
//   }  // the write has finished: the permit is back
//
// A permit may be moved to another thread and released there. It must not outlive its table; the
// table's destructor checks that in debug builds. Not safe for two threads at once.
template <typename P>
class [[nodiscard]] BasicWritePermit {
 public:
  // Refused.
  explicit BasicWritePermit(WriteRefusal refusal) noexcept : refusal_(refusal) {}

  BasicWritePermit(BasicWritePermit&&) noexcept = default;
  BasicWritePermit& operator=(BasicWritePermit&&) noexcept = default;
  ~BasicWritePermit() = default;

  friend void swap(BasicWritePermit& a, BasicWritePermit& b) noexcept {
    BasicWritePermit moved(std::move(a));
    a = std::move(b);
    b = std::move(moved);
  }

  // Whether the permit is out: admitted, and neither released, quarantined nor moved from.
  [[nodiscard]] explicit operator bool() const noexcept { return write_.is_counted(); }

  // Why the write was refused. Requires that it was; asserted in debug builds.
  [[nodiscard]] WriteRefusal refusal() const noexcept {
    assert(!placement_.has_value());
    return refusal_;
  }

  // Where the write goes, and the epoch at which that was resolved (a fencing token for storage
  // that checks one). Require that the write was admitted; asserted in debug builds.
  [[nodiscard]] P placement() const noexcept {
    assert(placement_.has_value());
    return *placement_;
  }
  [[nodiscard]] Epoch epoch() const noexcept {
    assert(placement_.has_value());
    return epoch_;
  }

  // The write has finished, well or badly. The destructor does it too; twice does nothing.
  //
  // Progress: wait-free, but for the last permit that a drain waits for: that one takes the
  // shard's mutex to wake the waiter.
  void release() noexcept { write_.release(); }

  // The outcome is unknown: the storage timed out and may still apply the write. It counts as in
  // flight until `duration` is over on the table's clock, then by itself no more. A partition's
  // quarantines end together, with the last of them.
  //
  // Progress: one short critical section of the shard's mutex.
  void quarantine(absl::Duration duration) noexcept { write_.quarantine(duration); }

 private:
  friend struct detail::TableAccess;

  BasicWritePermit(P placement, Epoch epoch, detail::CountedWrite write) noexcept
      : placement_(placement), epoch_(epoch), write_(std::move(write)) {}

  std::optional<P> placement_;
  Epoch epoch_;
  WriteRefusal refusal_{};
  detail::CountedWrite write_;
};

using WritePermit = BasicWritePermit<Placement>;

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_WRITE_PERMIT_HPP_
