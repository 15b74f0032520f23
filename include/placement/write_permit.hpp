// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_WRITE_PERMIT_HPP_
#define PLACEMENT_WRITE_PERMIT_HPP_

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <absl/base/attributes.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/detail/permit_watch.hpp"
#include "placement/detail/tracked_permits.hpp"
#include "placement/detail/write_counters.hpp"
#include "placement/epoch.hpp"
#include "placement/placement.hpp"
#include "placement/write_refusal.hpp"

namespace placement {
inline namespace v1 {

// A write in flight, as blockers() names it: what a flip or an erase of its partition waits for.
struct Blocker {
  absl::Time granted_at;  // on the table's clock
  absl::Duration age;     // since then
  Epoch epoch;            // the permit's
  std::string label;      // what the permit was labelled with; else empty
  // Nobody has the permit any more: the write is in quarantine, and is counted until then on the
  // table's clock.
  std::optional<absl::Time> quarantined_until;
};

namespace detail {

struct TableAccess;  // the table's way to make permits

// What a permit gives back: one in a partition's count of writes in flight. Two words, so that it
// lives in registers; whether the table tracks its permits is a bit of the first.
class CountedWrite {
 public:
  CountedWrite() = default;
  CountedWrite(ShardLock& shard, WriteCounter& counter) noexcept
      : shard_(reinterpret_cast<std::uintptr_t>(&shard)), subject_(&counter) {}

  CountedWrite(CountedWrite&& other) noexcept
      : shard_(other.take_shard()), subject_(other.subject_) {
    arrived();
  }
  CountedWrite& operator=(CountedWrite&& other) noexcept {
    CountedWrite moved(std::move(other));  // first, so that a self-move keeps the write
    const std::uintptr_t before = take_shard();
    shard_ = moved.take_shard();
    moved.shard_ = before;
    std::swap(subject_, moved.subject_);
    arrived();
    return *this;
  }
  ~CountedWrite() { release(); }

  [[nodiscard]] bool is_counted() const noexcept { return shard_ != 0; }

  // From now on the write, which is counted, is in its partition's list as well. Throws
  // std::bad_alloc.
  void track(Epoch epoch) {
    subject_ = enter_tracked(lock_of(shard_), counter(), epoch);
    shard_ |= kTracked;
  }

  void label(std::string_view label) noexcept {
    if (!is_tracked()) return;
    const MutexLock lock(lock_of(shard_).mutex);
    tracked().set_label(label);
  }

  void release() noexcept {
    const std::uintptr_t shard = take_shard();
    if (shard == 0) return;
    if ((shard & kTracked) != 0) [[unlikely]] {
      leave_tracked(lock_of(shard), tracked());
    } else {
      leave(lock_of(shard), *static_cast<WriteCounter*>(subject_));
    }
  }

  void quarantine(absl::Duration duration) noexcept {
    if (!is_counted()) return;
    TrackedPermit* const permit = is_tracked() ? &tracked() : nullptr;
    WriteCounter& counted = counter();
    ShardLock& shard = lock_of(take_shard());
    const Clock& clock = *shard.table_clock;
    const absl::Time until = clock.now() + duration;
    const MutexLock lock(shard.mutex);
    // So that one which is over does not begin anew.
    counted.end_quarantine(clock, shard.over);
    counted.quarantine(until);
    if (permit != nullptr) counted.tracked().quarantine(*permit);
    if (counted.is_awaited()) shard.drained.SignalAll();  // whoever waits, now waits for `until`
  }

  // Uncounts one, and wakes whoever waits for the last.
  static void leave(ShardLock& shard, WriteCounter& counter) noexcept {
    if (!counter.leave()) [[likely]]
      return;
    const MutexLock lock(shard.mutex);
    shard.drained.SignalAll();
  }

 private:
  static constexpr std::uintptr_t kTracked = 1;
  static_assert(alignof(ShardLock) > kTracked);

  // These two stand apart, and are told no address of this object.
  ABSL_ATTRIBUTE_NOINLINE static TrackedPermit* enter_tracked(ShardLock& shard,
                                                              WriteCounter& counter, Epoch epoch) {
    auto permit = std::make_unique<TrackedPermit>();
    permit->counter = &counter;
    permit->epoch = epoch;
    // For each that becomes one more, one of those that are over goes: outside the mutex.
    std::unique_ptr<TrackedPermit> over;
    const MutexLock lock(shard.mutex);
    over = shard.over.take_one();
    permit->granted_at = shard.table_clock->now();
    counter.tracked().add(*permit);
    return permit.release();
  }
  ABSL_ATTRIBUTE_NOINLINE static void leave_tracked(ShardLock& shard,
                                                    TrackedPermit& permit) noexcept {
    const std::unique_ptr<TrackedPermit> over(&permit);  // deleted outside the mutex
    const MutexLock lock(shard.mutex);
    permit.counter->tracked().remove(permit);
    if (permit.counter->leave()) shard.drained.SignalAll();
  }

  static ShardLock& lock_of(std::uintptr_t shard) noexcept {
    return *reinterpret_cast<ShardLock*>(shard & ~kTracked);
  }
  [[nodiscard]] bool is_tracked() const noexcept { return (shard_ & kTracked) != 0; }
  [[nodiscard]] TrackedPermit& tracked() const noexcept {
    return *static_cast<TrackedPermit*>(subject_);
  }
  [[nodiscard]] WriteCounter& counter() const noexcept {
    return is_tracked() ? *tracked().counter : *static_cast<WriteCounter*>(subject_);
  }

  // What this object held, it holds no more.
  [[nodiscard]] std::uintptr_t take_shard() noexcept {
    if (shard_ != 0) PermitWatch::left(this);
    return std::exchange(shard_, 0);
  }
  void arrived() const noexcept {
    if (shard_ != 0) PermitWatch::arrived(this, &counter());
  }

  std::uintptr_t shard_ = 0;  // its address, and kTracked; zero: nothing to give back
  void* subject_ = nullptr;   // the write's TrackedPermit, or else its partition's WriteCounter
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
//
// Whoever holds a permit must not wait for that partition: the cutover, the drain or the erase that
// he waits for waits for him. A permit in a variable on a thread's stack counts as held by that
// thread, so one that another thread is to release is moved there. Debug builds check that, where
// they can find the bounds of a thread's stack (glibc).
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
  // shard's mutex to wake the waiter. With TableOptions::track_permits one short critical section
  // of the shard's mutex.
  void release() noexcept { write_.release(); }

  // What blockers() calls the write from now on: its first 63 bytes are kept.
  // Does nothing if the permit is not out or the table does not track its permits.
  //
  // Progress: one short critical section of the shard's mutex, where the table tracks its permits.
  void label(std::string_view label) noexcept { write_.label(label); }

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
