// SPDX-License-Identifier: Apache-2.0
//
// The writers' side of a shard: its mutex, its arrays and how they grow, and what else it owns.
#ifndef PLACEMENT_DETAIL_SHARD_HPP_
#define PLACEMENT_DETAIL_SHARD_HPP_

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <absl/base/thread_annotations.h>

#include "placement/clock.hpp"
#include "placement/detail/cell.hpp"
#include "placement/detail/cell_array.hpp"
#include "placement/detail/id_block.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/detail/shard_view.hpp"
#include "placement/detail/stamp.hpp"
#include "placement/detail/tag_group.hpp"
#include "placement/detail/write_counters.hpp"
#include "placement/epoch.hpp"
#include "placement/table_memory.hpp"
#include "placement/table_stats.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// The memory that an insert needs: known under the mutex, allocated outside it.
struct Need {
  unsigned array_log2 = 0;
  std::size_t id_block = 0;
  std::size_t counter_chunk = 0;

  explicit operator bool() const noexcept {
    return array_log2 != 0 || id_block != 0 || counter_chunk != 0;
  }
};

// Memory that one change has ready for the shard; what the shard did not take goes back.
template <typename Cell>
class Stock {
  using Array = CellArray<Cell>;

 public:
  explicit Stock(TableMemory& memory) noexcept : memory_(memory) {}
  Stock(const Stock&) = delete;
  Stock& operator=(const Stock&) = delete;
  ~Stock() {
    drop_array();
    drop_id_block();
    drop_counter_chunk();
  }

  // Throws std::bad_alloc; then the table is as it was.
  void provide(const Need& need) {
    if (need.array_log2 != 0) {
      drop_array();
      array_ = Array::allocate(memory_, need.array_log2);
    }
    if (need.id_block != 0) {
      drop_id_block();
      id_block_ = IdBlock::allocate(memory_, need.id_block);
    }
    if (need.counter_chunk != 0) {
      drop_counter_chunk();
      counter_chunk_ = memory_.allocate(need.counter_chunk, MemoryUse::Counters);
      counter_chunk_bytes_ = need.counter_chunk;
    }
  }

  // All of the array will be used: its pages come now.
  void populate_array() noexcept {
    if (array_.word() != 0) memory_.populate(array_.begin(), array_.bytes());
  }

  // Takes from `need` what is here already.
  [[nodiscard]] Need lacking(Need need) const noexcept {
    if (array_.word() != 0 && array_.log2_capacity() == need.array_log2) need.array_log2 = 0;
    if (id_block_ != nullptr && id_block_->size() == need.id_block) need.id_block = 0;
    if (counter_chunk_ != nullptr && counter_chunk_bytes_ == need.counter_chunk) {
      need.counter_chunk = 0;
    }
    return need;
  }

  Array take_array() noexcept { return std::exchange(array_, kNoArray); }
  IdBlock* take_id_block() noexcept { return std::exchange(id_block_, nullptr); }
  void* take_counter_chunk() noexcept { return std::exchange(counter_chunk_, nullptr); }

 private:
  static constexpr Array kNoArray{0};

  void drop_array() noexcept {
    if (array_.word() != 0) Array::deallocate(memory_, take_array());
  }
  void drop_id_block() noexcept {
    if (id_block_ != nullptr) IdBlock::deallocate(memory_, take_id_block());
  }
  void drop_counter_chunk() noexcept {
    if (counter_chunk_ == nullptr) return;
    memory_.deallocate(take_counter_chunk(), counter_chunk_bytes_, MemoryUse::Counters);
  }

  TableMemory& memory_;
  Array array_ = kNoArray;
  IdBlock* id_block_ = nullptr;
  void* counter_chunk_ = nullptr;
  std::size_t counter_chunk_bytes_ = 0;
};

// One shard. Growth is incremental: when the array that takes inserts is 5/8 used, a new one is
// prepared, its memory a piece a change, then installed beside it, and every change from then on
// moves the next four groups of cells over, until the old array is empty and is retired. A change
// therefore costs the same at every size.
//
// Why the steps suffice: a new array starts at most 5/12 full, and an old one of no greater
// capacity c is moved in c/32 changes, so when it is done the new one is less than half full, and a
// further c/8 inserts pass before it asks for the next. Preparing takes c/170 at most, for a cell
// has at most 192 bytes. A retired array is scrubbed within that. So
// there are never more than two arrays at work and one being scrubbed.
template <typename Cell, typename Key>
class Shard : public ShardLock {
  using Array = CellArray<Cell>;
  using View = ShardView<Cell>;

 public:
  // A place in an array. Good until the mutex is released.
  struct Slot {
    Array array{0};
    std::size_t group = 0;
    std::size_t index = 0;  // in the group

    explicit operator bool() const noexcept { return array.word() != 0; }
    [[nodiscard]] Cell& cell() const noexcept { return array.cell(group, index); }
  };

  Shard() = default;
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // Before anything else, and before another thread knows the shard.
  void attach(View& view, TableMemory& memory) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
    view_ = &view;
    memory_ = &memory;
    view.install(array_);
  }

  // No reader and no writer is left.
  ~Shard() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!array_.is_nothing()) own(array_);
    for (const Array array : {next_, prepared_, spare_, retired_}) {
      if (array.word() != 0) own(array);
    }
    while (owned_.word() != 0) {
      const Array array = owned_;
      owned_ = array.next_in_list();
      Array::deallocate(*memory_, array);
    }
    id_blocks_.deallocate_all(*memory_);
    counters_.deallocate_all(*memory_);
  }

  [[nodiscard]] const View& view() const noexcept { return *view_; }

  // The counter of a partition, found without the mutex.
  [[nodiscard]] WriteCounter& counter(const Cell& cell) const noexcept
      ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return counters_[cell.counter()];
  }

  // Partitions, without those that are remembered as erased.
  [[nodiscard]] std::size_t size() const noexcept {
    // A count of its own; nothing else is concluded from it.
    return static_cast<std::size_t>(live_.load(std::memory_order_relaxed));
  }
  // What the shard's changes come to. With the shard's mutex held.
  [[nodiscard]] TableStats& stats() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stats_; }
  // A partition's stamp was `before` and is `now`.
  void count(Stamp before, Stamp now) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    auto& partitions = stats_.partitions_by_phase;
    if (before.is_live()) --partitions[static_cast<std::size_t>(before.phase())];
    if (now.is_live()) ++partitions[static_cast<std::size_t>(now.phase())];
    if (before.is_live() == now.is_live()) return;
    // Only the holder of the mutex writes it, so a load and a store lose no change.
    const std::uint64_t change = now.is_live() ? 1 : ~std::uint64_t{0};
    live_.store(live_.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
  }

  // One bounded step of whatever is under way: growth, scrubbing. Every change begins with it.
  void step() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (is_growing()) move_cells();
    if (retired_.word() != 0) scrub_retired();
  }

  [[nodiscard]] bool is_growing() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return next_.word() != 0;
  }

  // The cell of the id, also one that is remembered as erased; or an empty slot.
  [[nodiscard]] Slot find(const Key& key) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Slot slot = find_in(array_, key);
    if (!slot && is_growing()) slot = find_in(next_, key);
    return slot;
  }

  // What `insert(key, stock)` would lack now.
  [[nodiscard]] Need need_for(const Key& key, const Stock<Cell>& stock) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Need need;
    if (must_grow() && prepared_.word() == 0) {
      const unsigned wanted = log2_for(occupied_);
      if (!has_spare(wanted)) need.array_log2 = wanted;
    }
    if (Cell::needs_block(key)) {
      const std::size_t block = IdBlock::size_for(id_bytes(key));
      if (!id_blocks_.has(block)) need.id_block = block;
    }
    if (counters_.is_full()) need.counter_chunk = counters_.next_chunk_bytes();
    return stock.lacking(need);
  }

  // A cell for an id that is not in the shard: with its id and a counter, and with a stamp of
  // `epoch` yet to be published. Requires grow_if_due, and before that need_for, in the same
  // critical section.
  [[nodiscard]] Slot insert(const Key& key, Epoch epoch, Stock<Cell>& stock) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (counters_.is_full()) counters_.adopt(stock.take_counter_chunk());
    IdBlock* block = nullptr;
    if (Cell::needs_block(key)) {
      const std::size_t size = IdBlock::size_for(id_bytes(key));
      if (!id_blocks_.has(size)) id_blocks_.adopt(stock.take_id_block());
      block = id_blocks_.take(size);
    }
    const Slot slot = take_slot(key.hash, epoch);
    slot.cell().store_id(key, counters_.take(), block);
    ++occupied_;
    return slot;
  }

  // The id is gone. Its counter is closed: no write is in flight on it, and none will be.
  void erase(Slot slot) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Cell& cell = slot.cell();
    const std::uint32_t counter = cell.counter();
    IdBlock* const block = cell.id_block(kAnyKey);
    vacate(slot);
    if (block != nullptr) id_blocks_.give_back(block);
    counters_.give_back(counter);
    --occupied_;
  }

  // Prepares to grow, or begins to, if an insert has to; that moves cells: returns whether slots
  // are good no more. Requires that need_for(key, stock) is nothing.
  bool grow_if_due(Stock<Cell>& stock) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (!must_grow()) return false;
    if (prepared_.word() == 0) prepare_growth(log2_for(occupied_), stock);
    if (populated_ < prepared_.bytes()) return false;
    install_next(std::exchange(prepared_, kNoArray));
    return true;
  }

  // The next piece of an array that is being prepared, for the caller to populate when the mutex is
  // released: first touches of fresh pages are slow, on some virtual machines very slow, and have
  // no place in a critical section. If the caller is late, they happen there all the same.
  struct Piece {
    std::byte* begin = nullptr;
    std::size_t bytes = 0;
  };
  [[nodiscard]] Piece piece_to_populate() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (prepared_.word() == 0) return {};
    const std::size_t bytes = std::min(kPopulatedAtOnce, prepared_.bytes() - populated_);
    return {prepared_.begin() + std::exchange(populated_, populated_ + bytes), bytes};
  }

  // A second cell for the id in `from`, with a stamp of `epoch` yet to be published. Requires
  // grow_if_due in the same critical section, before `from` was found. A lookup that passed `from`
  // before the id was there could come upon the second cell while the next lookup still finds the
  // first, and its reader would see epochs go back: so the version it began with has to be over
  // before.
  [[nodiscard]] Slot duplicate(Slot from, Epoch epoch) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    view_->begin_second_cell();
    const Slot slot = take_slot(from.cell().hash_of(kAnyKey), epoch);
    slot.cell().copy_content_of(from.cell());
    return slot;
  }

  // `from` has a published duplicate and gives way to it. A reader that passed the duplicate's
  // place before it was published, and finds `from` gone, has a version that is no longer true.
  void give_way(Slot from) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    view_->end_second_cell();
    vacate(from);
  }

  // What is needed for room for `partitions` in all; nothing if the room is there.
  [[nodiscard]] Need need_for_room(std::size_t partitions, const Stock<Cell>& stock) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Need need;
    if (!is_growing() && partitions > limit(array_)) {
      unsigned wanted = Array::kLeastLog2;
      while (partitions > limit_of(wanted)) ++wanted;
      need.array_log2 = wanted;
    }
    return stock.lacking(need);
  }

  // Requires that need_for_room(partitions, stock) is nothing. True if the room is there and
  // nothing is under way; else ask again after a step.
  [[nodiscard]] bool make_room(std::size_t partitions, Stock<Cell>& stock) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (!is_growing() && partitions > limit(array_)) {
      // What was being prepared is no larger than this, and nobody was ever in it.
      if (prepared_.word() != 0) keep_as_spare(std::exchange(prepared_, kNoArray));
      install_next(stock.take_array());
    }
    return !is_growing() && retired_.word() == 0;
  }

  // Erases what is remembered as erased at epochs up to `up_to`, in a bounded number of groups from
  // `group` on; sets `group` behind them. Returns where the groups end.
  [[nodiscard]] std::size_t forget_erased(std::size_t& group, Epoch up_to,
                                          const Clock& clock) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (is_growing()) return group + 1;  // after the growth
    const std::size_t end = std::min(group + kGroupsAtOnce, array_.groups());
    for (; group < end; ++group) {
      for (auto cells = array_.load_tags(group).taken(); cells; cells.drop_first()) {
        const Slot slot{array_, group, cells.first()};
        const Stamp stamp = slot.cell().stamp();
        if (!stamp.is_erased() || stamp.epoch() > up_to) continue;
        WriteCounter& writes = counter(slot.cell());
        if (writes.end_quarantine(clock)) drained.SignalAll();  // nobody else may ever look
        if (writes.close_if_idle()) erase(slot);
      }
    }
    return array_.groups();
  }

  [[nodiscard]] bool has_permits_out() const noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (std::uint32_t number = 0; number < counters_.used(); ++number) {
      if (counters_[number].has_permits_out()) return true;
    }
    return false;
  }

 private:
  static constexpr const Key* kAnyKey = nullptr;  // chooses an overload by the kind of key
  static constexpr std::size_t kGroupsAtOnce = 4;
  static constexpr std::size_t kPopulatedAtOnce = std::size_t{16} * CellArray<Cell>::kPage;
  static constexpr std::size_t kScrubbedAtOnce = std::size_t{4} * CellArray<Cell>::kPage;

  static constexpr std::size_t limit_of(unsigned log2_capacity) noexcept {
    return (std::size_t{1} << log2_capacity) / 8 * 5;
  }
  static std::size_t limit(Array array) noexcept {
    return array.is_nothing() ? 0 : limit_of(array.log2_capacity());
  }

  static std::size_t id_bytes(const TextKey& key) noexcept { return key.id.size(); }
  static std::size_t id_bytes(const NumberKey&) noexcept { return 0; }

  // The array that takes inserts.
  [[nodiscard]] Array target() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return is_growing() ? next_ : array_;
  }

  [[nodiscard]] bool must_grow() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return !is_growing() && used_ >= limit(array_);
  }

  // The capacity at which `partitions` take at most two thirds of the limit. Never a smaller one:
  // an array that is full of vacant cells is replaced by one of its own size.
  [[nodiscard]] unsigned log2_for(std::size_t partitions) const noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    unsigned log2 = array_.log2_capacity();
    while (partitions > limit_of(log2) / 3 * 2) ++log2;
    return log2;
  }

  // Ends at a group that is not full: no array is used to more than 3/4.
  static Slot find_in(Array array, const Key& key) noexcept {
    for (std::size_t group = array.home(key.hash);; group = array.group_after(group)) {
      const TagGroup tags = array.load_tags(group);
      for (auto cells = tags.candidates(key.hash); cells; cells.drop_first()) {
        const Slot slot{array, group, cells.first()};
        if (slot.cell().stamp().has_id() && slot.cell().matches(key, [] { return true; })) {
          return slot;
        }
      }
      if (tags.has_empty()) return {};
    }
  }

  // The first free cell of the target on the way from the hash's home, for a stamp of `epoch`. Its
  // tag is set, which must be so before its stamp accepts readers.
  //
  // Partitions may share an epoch, so the stamp may be one that the cell had before it was vacated.
  // It must not mean to anyone that nothing has changed since: hence the new version (V3). It ends
  // all that was found before, so it stands for every cell that was vacated until now.
  Slot take_slot(std::uint64_t hash, Epoch epoch) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (epoch <= vacated_) {
      view_->begin_reuse();
      vacated_ = Epoch::zero();
    }
    const Array array = target();
    for (std::size_t group = array.home(hash);; group = array.group_after(group)) {
      const TagGroup tags = array.load_tags(group);
      if (!tags.free()) continue;
      const std::size_t index = tags.free().first();
      if (tags.is_empty(index)) ++used_;
      array.store_tags(group, tags.with_taken(index, hash));
      return {array, group, index};
    }
  }

  // The cell accepts no readers any more, and if it is one of the target, others may take it.
  void vacate(Slot slot) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const Epoch epoch = slot.cell().stamp().epoch();
    slot.cell().publish(Stamp::vacant());
    const TagGroup tags = slot.array.load_tags(slot.group).with_freed(slot.index);
    slot.array.store_tags(slot.group, tags);
    if (slot.array != target()) return;
    if (tags.is_empty(slot.index)) --used_;
    vacated_ = std::max(vacated_, epoch);
  }

  [[nodiscard]] bool has_spare(unsigned log2_capacity) const noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return spare_.word() != 0 && spare_.log2_capacity() == log2_capacity;
  }

  void prepare_growth(unsigned log2_capacity, Stock<Cell>& stock) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    prepared_ = has_spare(log2_capacity) ? std::exchange(spare_, kNoArray) : stock.take_array();
    // Small ones are not worth the calls.
    populated_ = prepared_.bytes() < kPopulatedAtOnce ? prepared_.bytes() : 0;
  }

  void install_next(Array next) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    next_ = next;
    used_ = 0;
    vacated_ = Epoch::zero();
    move_at_ = 0;
    view_->install_next(next);
    move_cells();
  }

  void move_cells() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const std::size_t end = std::min(move_at_ + kGroupsAtOnce, array_.groups());
    for (; move_at_ < end; ++move_at_) {
      for (auto cells = array_.load_tags(move_at_).taken(); cells; cells.drop_first()) {
        Cell& from = array_.cell(move_at_, cells.first());
        const Stamp stamp = from.stamp();
        Cell& to = take_slot(from.hash_of(kAnyKey), stamp.epoch()).cell();
        to.copy_content_of(from);
        to.publish(stamp);
        from.publish(Stamp::moved());  // only now: what is not marked is authoritative
      }
    }
    if (move_at_ == array_.groups()) finish_growth();
  }

  void finish_growth() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    view_->install(next_);
    if (!array_.is_nothing()) {
      // The array retired before this one was scrubbed long ago: see the class comment.
      assert(retired_.word() == 0);
      retired_ = array_;
      scrubbed_ = 0;
    }
    array_ = std::exchange(next_, kNoArray);
  }

  // (V2) The view has its new version by now.
  void scrub_retired() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const std::size_t end = std::min(scrubbed_ + kScrubbedAtOnce, retired_.bytes());
    retired_.scrub(*memory_, scrubbed_, end);
    scrubbed_ = end;
    if (scrubbed_ < retired_.bytes()) return;
    const Array clean = std::exchange(retired_, kNoArray);
    if (clean.log2_capacity() < array_.log2_capacity()) {
      own(clean);  // outgrown
    } else {
      keep_as_spare(clean);
    }
  }

  // Clean, and used again only for a growth of just its capacity.
  void keep_as_spare(Array clean) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (spare_.word() != 0) own(spare_);
    spare_ = clean;
  }

  // An array that has no more use, kept because a late reader may still be in it.
  void own(Array array) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    array.set_next_in_list(owned_);
    owned_ = array;
  }

  static constexpr Array kNoArray{0};

  View* view_ = nullptr;
  TableMemory* memory_ = nullptr;
  Array array_ ABSL_GUARDED_BY(mutex) = Array::nothing();  // as the view has it
  Array next_ ABSL_GUARDED_BY(mutex) = kNoArray;           // as the view has it
  std::size_t occupied_ ABSL_GUARDED_BY(mutex) = 0;        // cells with an id, in both arrays
  std::size_t used_ ABSL_GUARDED_BY(mutex) = 0;            // cells of the target that are not empty
  Epoch vacated_ ABSL_GUARDED_BY(mutex);  // the greatest of the target's vacated cells, or zero
  std::size_t move_at_ ABSL_GUARDED_BY(mutex) = 0;    // groups of array_ before it are moved
  Array prepared_ ABSL_GUARDED_BY(mutex) = kNoArray;  // to be next_ when it is populated
  std::size_t populated_ ABSL_GUARDED_BY(mutex) = 0;  // bytes of prepared_
  Array spare_ ABSL_GUARDED_BY(mutex) = kNoArray;     // scrubbed, of array_'s capacity or smaller
  Array retired_ ABSL_GUARDED_BY(mutex) = kNoArray;
  std::size_t scrubbed_ ABSL_GUARDED_BY(mutex) = 0;  // bytes of retired_ that are clean
  Array owned_ ABSL_GUARDED_BY(mutex) = kNoArray;    // a list
  IdBlocks id_blocks_ ABSL_GUARDED_BY(mutex);
  TableStats stats_ ABSL_GUARDED_BY(mutex);
  Word live_{};

  WriteCounters counters_;  // its operator[] needs no mutex, the rest does
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_SHARD_HPP_
