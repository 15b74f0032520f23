// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_WRITE_COUNTERS_HPP_
#define PLACEMENT_DETAIL_WRITE_COUNTERS_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <absl/base/thread_annotations.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/held_write.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/detail/tracked_permits.hpp"
#include "placement/detail/word.hpp"
#include "placement/table_memory.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// What a shard shares with the permits on its partitions.
struct alignas(kCacheLine) ShardLock {
  Mutex mutex;
  // Signalled when an awaited counter has come to zero, and when a partition has changed while
  // someone waits for a drain in the shard: it may be his.
  CondVar drained;
  std::size_t draining ABSL_GUARDED_BY(mutex) = 0;  // who wait
  const Clock* table_clock = nullptr;               // the table's, from the beginning
  PermitsThatAreOver over ABSL_GUARDED_BY(mutex);
};

// How many writes are in flight on one partition. It has a cache line of its own, away from the
// cells, so counting takes no line away from a reader.
//
// The count and the stamp of the partition's cell are the two sides of a store buffering pattern
// (Dekker's), and all four accesses are sequentially consistent:
//
//   acquire:  (P1) count += 1            flip:  (P3) publish the cutover's stamp
//             (P2) stamp unchanged?             (P4) count == 0?
//
// In the total order either (P1) comes before (P4), and the flip sees the write, or (P4) comes
// before (P1), hence (P3) before (P2), and the writer sees the cutover and takes its count back.
class alignas(kCacheLine) WriteCounter {
 public:
  // (P1) One more. False if the partition is just being erased: then the caller leaves again.
  [[nodiscard]] bool enter() noexcept {
    return (state_.fetch_add(1, std::memory_order_seq_cst) & kClosed) == 0;
  }

  // One less: the release orders the write before whoever sees the count without it. True if it
  // was the last and someone waits for that.
  bool leave() noexcept {
    const std::uint64_t before = state_.fetch_sub(1, std::memory_order_seq_cst);
    assert((before & kCountMask) != 0);
    return (before & kCountMask) == 1 && (before & kAwaited) != 0;
  }

  // (P4)
  [[nodiscard]] std::uint64_t in_flight() const noexcept {
    return state_.load(std::memory_order_seq_cst) & kCountMask;
  }

  // Shuts the counter if nothing is in flight. A modification order is total, so a writer that
  // counts itself either comes first, and this fails, or finds the counter closed.
  [[nodiscard]] bool close_if_idle() noexcept {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    while ((state & kCountMask) == 0) {
      if (state_.compare_exchange(state, state | kClosed, std::memory_order_seq_cst)) return true;
    }
    return false;
  }

  // For its next partition. A writer that was late for the last one may at this moment have
  // counted itself and be about to take that back, so only the flags are cleared.
  void reopen() noexcept { state_.fetch_and(kCountMask, std::memory_order_seq_cst); }

  // The rest: with the shard's mutex held.

  // From now on, until it was called as often as await, the last to leave says so.
  void await() noexcept {
    ++waiters_;
    state_.fetch_or(kAwaited, std::memory_order_seq_cst);
  }
  void await_no_more() noexcept {
    if (--waiters_ == 0) state_.fetch_and(~kAwaited, std::memory_order_seq_cst);
  }

  [[nodiscard]] bool is_awaited() const noexcept { return waiters_ != 0; }

  // One write of those in flight stays counted until `until`, and so do all that were quarantined
  // before: a flip has to wait for the last of them anyway.
  void quarantine(absl::Time until) noexcept {
    ++quarantined_;
    quarantined_until_ = std::max(quarantined_until_, absl::ToUnixNanos(until));
  }
  // Uncounts the quarantined writes if their time is over, and gives what was tracked of them to
  // `over`. True if someone waits for that.
  bool end_quarantine(const Clock& clock, PermitsThatAreOver& over) noexcept {
    if (quarantined_ == 0 || clock.now() < quarantine_ends()) return false;
    const std::uint64_t count = std::exchange(quarantined_, 0U);
    quarantined_until_ = 0;
    tracked_.end_quarantine(over);
    const std::uint64_t before = state_.fetch_sub(count, std::memory_order_seq_cst);
    return (before & kCountMask) == count && (before & kAwaited) != 0;
  }
  // Whether a permit is out: one in quarantine is not, nobody has it.
  [[nodiscard]] bool has_permits_out() const noexcept { return in_flight() != quarantined_; }

  // When the quarantine ends; the infinite future if nothing is in quarantine.
  [[nodiscard]] absl::Time quarantine_ends() const noexcept {
    return quarantined_ == 0 ? absl::InfiniteFuture() : absl::FromUnixNanos(quarantined_until_);
  }

  // The writes in flight by name, if the table tracks them. Each of them is counted: a permit comes
  // into the list after it was counted, and goes before. Requires that the counter is not closed.
  [[nodiscard]] TrackedPermits& tracked() noexcept { return tracked_; }

  // Whether nothing is in flight, and nothing will be before it is reopened.
  [[nodiscard]] bool is_closed() const noexcept {
    // Only the holder of the mutex closes and opens it.
    return (state_.load(std::memory_order_relaxed) & kClosed) != 0;
  }

  // The writes that are held back until the partition leaves cutover.
  [[nodiscard]] HeldWrites& held() noexcept { return held_; }

 private:
  friend class WriteCounters;

  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kAwaited = std::uint64_t{1} << 62;
  static constexpr std::uint64_t kCountMask = kAwaited - 1;

  // Trivial, so that a counter begins to live in zeroed memory that nobody touched.
  Word state_;
  // Guarded by the shard's mutex:
  union {
    // NOLINTBEGIN(readability-identifier-naming): private, but to clang-tidy
    std::uint32_t next_free_;  // while it is closed
    TrackedPermits tracked_;   // else
    // NOLINTEND(readability-identifier-naming)
  };
  std::uint32_t waiters_;
  std::uint32_t quarantined_;
  std::int64_t quarantined_until_;  // nanoseconds since the epoch of the table's clock
  HeldWrites held_;
};

static_assert(std::is_trivial_v<WriteCounter>);

static_assert(sizeof(WriteCounter) == kCacheLine);

// A shard's counters, numbered; a partition keeps its number from set to erase, wherever its cell
// moves. They stand in chunks that double, are never moved, and are not touched before they are
// used: on pages from the system, a partition that takes no permits costs no memory here.
class WriteCounters {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  // Finds a counter without a lock. A reader got the number from a cell, and the chunk was stored
  // before the cell's label: the acquire of the label makes the chunk visible.
  [[nodiscard]] WriteCounter& operator[](std::uint32_t number) const noexcept {
    const std::size_t chunk = chunk_of(number);
    auto* const counters = reinterpret_cast<WriteCounter*>(
        static_cast<std::uintptr_t>(chunks_[chunk].load(std::memory_order_acquire)));
    return counters[number - first_of(chunk)];
  }

  // The rest: with the shard's mutex held.

  // Whether the next `take` needs a chunk to be adopted first.
  [[nodiscard]] bool is_full() const noexcept { return free_ == kNone && used_ == capacity_; }
  [[nodiscard]] std::size_t next_chunk_bytes() const noexcept {
    return chunk_size(chunk_count_) * sizeof(WriteCounter);
  }
  void adopt(void* chunk) noexcept {
    chunks_[chunk_count_].store(reinterpret_cast<std::uintptr_t>(chunk), std::memory_order_release);
    capacity_ += static_cast<std::uint32_t>(chunk_size(chunk_count_));
    ++chunk_count_;
  }

  [[nodiscard]] std::uint32_t take() noexcept {
    if (free_ == kNone) return used_++;
    const std::uint32_t number = free_;
    free_ = (*this)[number].next_free_;
    (*this)[number].tracked_ = TrackedPermits();
    (*this)[number].reopen();
    (*this)[number].held().change_partition();
    return number;
  }

  // The counter is closed.
  void give_back(std::uint32_t number) noexcept {
    // What is held here still was held for a partition that is gone, wherever that may come back.
    (*this)[number].held().change_partition();
    (*this)[number].next_free_ = free_;
    free_ = number;
  }

  // Counters that have ever been in use: 0 to used() - 1.
  [[nodiscard]] std::uint32_t used() const noexcept { return used_; }

  // Nobody waits for the quarantines any more.
  void forget_quarantines(PermitsThatAreOver& over) noexcept {
    for (std::uint32_t number = 0; number < used_; ++number) {
      WriteCounter& counter = (*this)[number];
      if (!counter.is_closed()) counter.tracked().end_quarantine(over);
    }
  }

  void deallocate_all(TableMemory& memory) noexcept {
    while (chunk_count_ > 0) {
      --chunk_count_;
      memory.deallocate(reinterpret_cast<void*>(static_cast<std::uintptr_t>(
                            chunks_[chunk_count_].load(std::memory_order_relaxed))),
                        chunk_size(chunk_count_) * sizeof(WriteCounter), MemoryUse::Counters);
    }
  }

 private:
  static constexpr std::uint32_t kFirstChunk = 16;
  static constexpr std::size_t kMostChunks = 28;

  // Chunks of 16, 16, 32, 64, ... counters, so chunk k > 0 begins with number 8 << k.
  static constexpr std::size_t chunk_of(std::uint32_t number) noexcept {
    return static_cast<std::size_t>(std::bit_width(number / kFirstChunk));
  }
  static constexpr std::uint32_t first_of(std::size_t chunk) noexcept {
    return chunk == 0 ? 0 : (kFirstChunk / 2) << chunk;
  }
  static constexpr std::size_t chunk_size(std::size_t chunk) noexcept {
    return chunk == 0 ? kFirstChunk : (std::size_t{kFirstChunk} / 2) << chunk;
  }

  std::array<Word, kMostChunks> chunks_{};
  std::size_t chunk_count_ = 0;
  std::uint32_t capacity_ = 0;
  std::uint32_t used_ = 0;
  std::uint32_t free_ = kNone;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_WRITE_COUNTERS_HPP_
