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
#include "placement/detail/tag_group.hpp"
#include "placement/detail/word.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// Where a shard's cells are. Written at the two ends of a growth only, and when a partition moves
// to a second cell, so it stays in the cache of every core that reads; that is also why two views
// may share a line.
//
// (C4) A cell's tag is set before its stamp accepts readers, and cleared after it accepts no more,
// both under the mutex and with release. So a group whose tags (acquire) leave a cell out did not
// have the id in it.
//
// While a shard grows, `next` is the array that takes over. A cell of `array` that is not marked
// moved is authoritative; what is marked moved is in `next`, for `next` was stored, and the cell
// there filled, before the mark. Hence the order of a lookup: `array`, then `next`.
//
// When all is moved, the holder of the mutex stores, in this order and each with release,
//   array = next;  (V1) version += 2;  next = none;  and then (V2) begins to scrub the old array.
// A lookup loads the version (acquire) before `array`, and again after all else it has read. If
// both are equal, then
//   - the arrays it probed were not retired meanwhile: with a new version it would have loaded the
//     new array, and if it met a scrubbed tag or cell or a cleared `next`, all stored after (V1),
//     the second load would have brought the new version. So what it missed was not there: an id
//     that was there throughout had one cell throughout, in `array`, or moved from it to `next`;
//   - the cell it hit was not scrubbed and filled again with the same id at the same epoch, the one
//     case in which an equal stamp would prove nothing.
// Memory that the system scrubbed (madvise) is not stored to by any thread; there the page fault
// of the late reader comes after the call, and the call after (V1).
template <typename Cell>
class alignas(kCacheLine / 2) ShardView {
  using Array = CellArray<Cell>;

 public:
  // Finds the key's cell and returns what `read(cell, stamp)` says of it, a bool; or false, if the
  // key has no cell: exactly so at one instant between call and return. `read` copies what the
  // caller wants. It may be called several times; only the last call counts, and none does if the
  // answer is false.
  //
  // What is inlined is the way that nearly all take: the first cell in question has the id, or none
  // is in question. Nothing but that which `read` copies has to be in memory for it. The rest
  // stands apart.
  //
  // Progress: lock-free. It starts over only if the cell was changed, or an array retired, while
  // it was being read; it never waits for a writer.
  template <typename Key, typename Read>
  [[nodiscard]] ABSL_ATTRIBUTE_ALWAYS_INLINE bool lookup(const Key& key, Read read) const {
    if (Cell::needs_block(key)) [[unlikely]]
      return lookup_everywhere<Key>(key.id, key.hash, read);
    const std::uint64_t version = version_.load(std::memory_order_acquire);  // pairs with (V1)
    const Array array(array_.load(std::memory_order_acquire));
    const std::size_t home = array.home(key.hash);
    const TagGroup tags = array.load_tags(home);
    if (const TagGroup::Cells candidates = tags.candidates(key.hash)) {
      const Cell& cell = array.cell(home, candidates.first());
      cell.prefetch_end();
      const Stamp stamp = cell.stamp();
      if (stamp.has_id() && cell.matches_inline(key)) [[likely]] {
        const bool result = read(cell, stamp);
        if (cell.is_still(stamp) && is_still(version)) [[likely]]
          return result;
      }
    } else if (tags.has_empty() && next_.load(std::memory_order_acquire) == 0 &&
               is_still(version)) {
      return false;
    }
    return lookup_everywhere<Key>(key.id, key.hash, read);
  }

  // Has the lines fetched that a lookup of the hash needs, or an insert: first the tags, then, when
  // those are there, the cell. For a caller with something else to do meanwhile.
  void prefetch_tags(std::uint64_t hash) const noexcept {
    const Array array(array_.load(std::memory_order_acquire));
    array.prefetch_tags(array.home(hash));
  }
  void prefetch_cell(std::uint64_t hash) const noexcept {
    const Array array(array_.load(std::memory_order_acquire));
    const std::size_t home = array.home(hash);
    const TagGroup tags = array.load_tags(home);
    const TagGroup::Cells cells = tags.candidates(hash) ? tags.candidates(hash) : tags.free();
    if (!cells) return;
    const Cell& cell = array.cell(home, cells.first());
    prefetch(&cell);
    cell.prefetch_end();
  }

  // Calls `visit(cell, stamp, is_current)` on the cells that can hold an id with a hash in
  // [first, last], perhaps on others as well, and on an id's cell perhaps twice (once in each
  // array). `visit` returns whether what it read can be used. Returns false if it was not, or an
  // array was retired: then nothing counts. The cost is proportional to the cells of the range.
  template <typename Visit>
  [[nodiscard]] bool scan(std::uint64_t first, std::uint64_t last, Visit&& visit) const {
    const std::uint64_t version = version_.load(std::memory_order_acquire);
    if (!scan_array(Array(array_.load(std::memory_order_acquire)), version, first, last, visit))
      return false;
    const std::uint64_t next = next_.load(std::memory_order_acquire);
    if (next != 0 && !scan_array(Array(next), version, first, last, visit)) return false;
    return is_still(version);
  }

  // A hint: the capacity of the array.
  [[nodiscard]] unsigned log2_capacity() const noexcept {
    return Array(array_.load(std::memory_order_relaxed)).log2_capacity();
  }

  // For who keeps what a lookup found: what has an equal stamp in this version is current. While
  // the version is odd a partition is between two cells, and the first keeps its stamp for a moment
  // in which the second may be seen already. So it is the version before, which does not come back.
  [[nodiscard]] std::uint64_t version() const noexcept {
    return version_.load(std::memory_order_acquire) & ~std::uint64_t{1};
  }
  // After acquire loads only, as Cell::is_still.
  [[nodiscard]] bool is_still(std::uint64_t version) const noexcept {
    return version_.load(std::memory_order_relaxed) == version;
  }

  // ---- for the holder of the shard's mutex ----

  void install(Array array) noexcept {
    array_.store(array.word(), std::memory_order_release);
    renew_version(2);
    next_.store(0, std::memory_order_release);
  }
  // Before a partition's second cell is published, and before its first gives way to that.
  void begin_second_cell() noexcept { renew_version(1); }
  void end_second_cell() noexcept { renew_version(1); }
  // (V3) Before a vacated cell gets a stamp that it may have had before. Whoever reads a word that
  // comes after this, and the stamp among them, sees the new version.
  void begin_reuse() noexcept { renew_version(2); }
  void install_next(Array next) noexcept { next_.store(next.word(), std::memory_order_release); }

 private:
  void renew_version(std::uint64_t by) noexcept {
    // (V1) Only the holder of the mutex writes it, so there is no other increment to lose.
    version_.store(version_.load(std::memory_order_relaxed) + by, std::memory_order_release);
  }

  enum class Found {
    No,
    Torn,      // the cell changed meanwhile
    Accepted,  // it is here, and so `read` said
    Refused,
  };

  // All of a lookup. The key comes in pieces, for those stay in registers until they are needed.
  template <typename Key, typename Read>
  ABSL_ATTRIBUTE_NOINLINE bool lookup_everywhere(typename Key::Id id, std::uint64_t hash,
                                                 Read read) const {
    const Key key(id, hash);
    for (;;) {
      const std::uint64_t version = version_.load(std::memory_order_acquire);  // pairs with (V1)
      Found found = probe(Array(array_.load(std::memory_order_acquire)), version, key, read);
      if (found == Found::No) {
        const std::uint64_t next = next_.load(std::memory_order_acquire);
        if (next != 0) found = probe(Array(next), version, key, read);
      }
      if (found != Found::Torn && is_still(version)) return found == Found::Accepted;
    }
  }

  template <typename Key, typename Read>
  Found probe(Array array, std::uint64_t version, const Key& key, const Read& read) const {
    const std::size_t home = array.home(key.hash);
    std::size_t group = home;
    do {
      const TagGroup tags = array.load_tags(group);
      for (auto cells = tags.candidates(key.hash); cells; cells.drop_first()) {
        const Cell& cell = array.cell(group, cells.first());
        const Stamp stamp = cell.stamp();
        if (!stamp.has_id()) continue;
        const auto is_current = [&] { return cell.is_still(stamp) && is_still(version); };
        if (!cell.matches(key, is_current)) continue;
        const bool result = read(cell, stamp);
        if (!cell.is_still(stamp)) return Found::Torn;
        return result ? Found::Accepted : Found::Refused;
      }
      if (tags.has_empty()) break;
      group = array.group_after(group);
    } while (group != home);
    return Found::No;
  }

  template <typename Visit>
  bool scan_array(Array array, std::uint64_t version, std::uint64_t first, std::uint64_t last,
                  Visit&& visit) const {
    // Ids whose home is in the range stand there or after it, up to a group that was never full.
    const std::size_t homes = array.home(last) - array.home(first) + 1;
    std::size_t group = array.home(first);
    for (std::size_t i = 0; i < array.groups(); ++i, group = array.group_after(group)) {
      const TagGroup tags = array.load_tags(group);
      for (auto cells = tags.taken(); cells; cells.drop_first()) {
        const Cell& cell = array.cell(group, cells.first());
        const Stamp stamp = cell.stamp();
        const auto is_current = [&] { return cell.is_still(stamp) && is_still(version); };
        if (stamp.has_id() && (!visit(cell, stamp, is_current) || !is_current())) return false;
      }
      if (i + 1 >= homes && tags.has_empty()) break;
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
