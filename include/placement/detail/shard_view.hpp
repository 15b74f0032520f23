// SPDX-License-Identifier: Apache-2.0
//
// The readers' side of a shard. Nothing in this file stores to memory that threads share.
#ifndef PLACEMENT_DETAIL_SHARD_VIEW_HPP_
#define PLACEMENT_DETAIL_SHARD_VIEW_HPP_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <absl/base/attributes.h>

#include "placement/detail/cell.hpp"
#include "placement/detail/cell_array.hpp"
#include "placement/detail/stamp.hpp"
#include "placement/detail/word.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// Where a shard's cells are. Written at the two ends of a growth only, so it stays in the cache of
// every core that reads; that is also why two views may share a line.
//
// While a shard grows, `next` is the array that takes over. A cell of `array` that is not marked
// moved is authoritative; what is marked moved is in `next`, for `next` was stored, and the cell
// there filled, before the mark. Hence the order of a lookup: `array`, then `next`.
//
// When all is moved, the holder of the mutex stores, in this order and each with release,
//   array = next;  (V1) version += 1;  next = none;  and then (V2) begins to scrub the old array.
// A lookup loads the version (acquire) before `array`, and again after all else it has read. If
// both are equal, then
//   - the arrays it probed were not retired meanwhile: with a new version it would have loaded the
//     new array, and if it met a scrubbed cell or a cleared `next`, both stored after (V1), the
//     second load would have brought the new version. So what it missed was not there: an id that
//     was there throughout had one cell throughout, in `array`, or moved from it to `next`;
//   - the cell it hit was not scrubbed and filled again with the same id at the same epoch, the one
//     case in which an equal stamp would prove nothing.
// Memory that the system scrubbed (madvise) is not stored to by any thread; there the page fault
// of the late reader comes after the call, and the call after (V1).
template <typename Cell>
class alignas(kCacheLine / 2) ShardView {
  using Array = CellArray<Cell>;

 public:
  // Finds the key's cell and calls `copy(cell, stamp)`, which reads what it needs and returns
  // whether that can be used; it may be called several times, and the last call counts.
  // Returns whether the key was there: exactly so at one instant between call and return.
  //
  // Progress: lock-free. It starts over only if the cell was changed, or an array retired, while
  // it was being read; it never waits for a writer.
  template <typename Key, typename Copy>
  [[nodiscard]] bool lookup(const Key& key, Copy&& copy) const {
    const std::uint64_t version = version_.load(std::memory_order_acquire);  // pairs with (V1)
    const Found found = probe(Array(array_.load(std::memory_order_acquire)), version, key, copy);
    if (found == Found::Yes && is_still(version)) [[likely]]
      return true;
    if (found == Found::No && next_.load(std::memory_order_acquire) == 0 && is_still(version)) {
      return false;
    }
    return lookup_while_changing(key, copy);
  }

  // Calls `visit(cell, stamp)` on the cells that can hold an id with a hash in [first, last],
  // perhaps on others as well, and on an id's cell perhaps twice (once in each array). `visit`
  // returns whether what it read can be used. Returns false if it was not, or an array was retired:
  // then nothing counts. The cost is proportional to the cells of the range.
  template <typename Visit>
  [[nodiscard]] bool scan(std::uint64_t first, std::uint64_t last, Visit&& visit) const {
    const std::uint64_t version = version_.load(std::memory_order_acquire);
    if (!scan_array(Array(array_.load(std::memory_order_acquire)), version, first, last, visit))
      return false;
    const std::uint64_t next = next_.load(std::memory_order_acquire);
    if (next != 0 && !scan_array(Array(next), version, first, last, visit)) return false;
    return is_still(version);
  }

  // A hint: the capacity of the array that takes the inserts.
  [[nodiscard]] unsigned log2_capacity() const noexcept {
    return Array(array_.load(std::memory_order_relaxed)).log2_capacity();
  }

  [[nodiscard]] std::uint64_t version() const noexcept {
    return version_.load(std::memory_order_acquire);
  }
  // After acquire loads only, as Cell::is_still.
  [[nodiscard]] bool is_still(std::uint64_t version) const noexcept {
    return version_.load(std::memory_order_relaxed) == version;
  }

  // ---- for the holder of the shard's mutex ----

  void install(Array array) noexcept {
    array_.store(array.word(), std::memory_order_release);
    renew_version();
    next_.store(0, std::memory_order_release);
  }
  void renew_version() noexcept {
    // (V1) Only the holder of the mutex writes it, so there is no other increment to lose.
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  void install_next(Array next) noexcept { next_.store(next.word(), std::memory_order_release); }

 private:
  enum class Found { No, Yes, Torn };

  // All of a lookup. It stands apart so that a lookup in a shard at rest, inlined, stays small.
  template <typename Key, typename Copy>
  ABSL_ATTRIBUTE_NOINLINE bool lookup_while_changing(const Key& key, Copy&& copy) const {
    for (;;) {
      const std::uint64_t version = version_.load(std::memory_order_acquire);  // pairs with (V1)
      Found found = probe(Array(array_.load(std::memory_order_acquire)), version, key, copy);
      if (found == Found::No) {
        const std::uint64_t next = next_.load(std::memory_order_acquire);
        if (next != 0) found = probe(Array(next), version, key, copy);
      }
      if (found != Found::Torn && is_still(version)) return found == Found::Yes;
    }
  }

  template <typename Key, typename Copy>
  ABSL_ATTRIBUTE_ALWAYS_INLINE Found probe(Array array, std::uint64_t version, const Key& key,
                                           Copy&& copy) const {
    const std::size_t home = array.home(key.hash);
    std::size_t at = home;
    do {
      const Cell& cell = array[at];
      const Stamp stamp = cell.stamp();
      if (stamp.has_id()) [[likely]] {
        const Match match =
            cell.matches(key, [&] { return cell.is_still(stamp) && is_still(version); });
        if (match == Match::Yes) {
          if (!copy(cell, stamp) || !cell.is_still(stamp)) return Found::Torn;
          return Found::Yes;
        }
        if (match == Match::Torn) return Found::Torn;
      } else if (stamp == Stamp::never_used()) {
        return Found::No;
      }
      at = (at + 1) & array.mask();
    } while (at != home);
    return Found::No;
  }

  template <typename Visit>
  bool scan_array(Array array, std::uint64_t version, std::uint64_t first, std::uint64_t last,
                  Visit&& visit) const {
    // Ids whose home is in the range stand there or after it, up to a cell that was never used.
    const std::size_t homes = array.home(last) - array.home(first) + 1;
    for (std::size_t i = 0; i < array.capacity(); ++i) {
      const Cell& cell = array[(array.home(first) + i) & array.mask()];
      const Stamp stamp = cell.stamp();
      if (stamp == Stamp::never_used() && i >= homes) break;
      const auto is_current = [&] { return cell.is_still(stamp) && is_still(version); };
      if (stamp.has_id() && (!visit(cell, stamp, is_current) || !is_current())) return false;
    }
    return true;
  }

  Word version_;
  Word array_;
  Word next_;
  Word unused_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_SHARD_VIEW_HPP_
