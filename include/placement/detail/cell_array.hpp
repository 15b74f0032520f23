// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_CELL_ARRAY_HPP_
#define PLACEMENT_DETAIL_CELL_ARRAY_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "placement/detail/out_of_memory.hpp"
#include "placement/detail/prefetch.hpp"
#include "placement/detail/tag_group.hpp"
#include "placement/detail/word.hpp"
#include "placement/table_memory.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// An open-addressed array of 2^n cells in groups of eight, with a word of tags for each group. It
// is one word itself: the address of its first cell, and in the bits that the address leaves free
// how far a hash is shifted to get its home. A reader gets from a shard to tags and cells with one
// load. In memory:
//
//   header | ... tags of group 2, of group 1, of group 0 | cells of group 0, of group 1, ...
//                                                        ^ the address
//
// An id's home is the group at the high bits of its hash, so the order of homes is the order of
// hashes at every capacity: growth reads the old array and fills the new one from front to back,
// and a range of hashes is a range of groups. An id is in its home, or, if that was full, in the
// next group that was not.
template <typename Cell>
class CellArray {
 public:
  explicit constexpr CellArray(std::uint64_t word) noexcept : word_(word) {}

  // Throws std::bad_alloc. All cells are empty.
  static CellArray allocate(TableMemory& memory, unsigned log2_capacity) {
    if (log2_capacity >= 8 * sizeof(std::size_t) - 8) {
      out_of_memory(kMoreThanThereIs, to_string(MemoryUse::Cells));
    }
    const std::size_t capacity = std::size_t{1} << log2_capacity;
    auto* const block =
        static_cast<std::byte*>(detail::allocate(memory, bytes(capacity), MemoryUse::Cells));
    ::new (block) Header;
    return at(block + bytes_before_cells(capacity), log2_capacity);
  }
  static void deallocate(TableMemory& memory, CellArray array) noexcept {
    memory.deallocate(array.begin(), array.bytes(), MemoryUse::Cells);
  }

  // Of an array that a shard allocates.
  static constexpr unsigned kLeastLog2 = 4;

  // For a shard that has none yet: tags that are all empty, and nothing behind them. Nothing is
  // written to it, for the first insert asks for an array.
  [[nodiscard]] static CellArray nothing() noexcept {
    return at(reinterpret_cast<std::byte*>(kNothing.data() + kNothing.size()), kLeastLog2);
  }
  [[nodiscard]] bool is_nothing() const noexcept { return *this == nothing(); }

  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }
  [[nodiscard]] constexpr unsigned log2_capacity() const noexcept {
    return kShiftAndLog2 - home_shift();
  }
  [[nodiscard]] constexpr std::size_t capacity() const noexcept {
    return std::size_t{1} << log2_capacity();
  }
  [[nodiscard]] constexpr std::size_t groups() const noexcept {
    return capacity() / TagGroup::kCells;
  }

  // A group.
  [[nodiscard]] constexpr std::size_t home(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>(hash >> home_shift());
  }
  // Round and round.
  [[nodiscard]] constexpr std::size_t group_after(std::size_t group) const noexcept {
    return (group + 1) & (groups() - 1);
  }

  [[nodiscard]] TagGroup load_tags(std::size_t group) const noexcept {
    return TagGroup(tags(group).load(std::memory_order_acquire));
  }
  void store_tags(std::size_t group, TagGroup to) const noexcept {
    tags(group).store(to.word(), std::memory_order_release);
  }
  [[nodiscard]] Cell& operator[](std::size_t index) const noexcept {
    return reinterpret_cast<Cell*>(address())[index];
  }
  [[nodiscard]] Cell& cell(std::size_t group, std::size_t in_group) const noexcept {
    return (*this)[group * TagGroup::kCells + in_group];
  }

  void prefetch_tags(std::size_t group) const noexcept { prefetch(&tags(group)); }

  // What the array takes from the front of its memory to the end, in bytes.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes(capacity()); }

  // Makes bytes [from, to) of the array read as zeros again, but for the header. Late readers may
  // be there: they find tags and cells that are empty, which proves nothing without the shard's
  // version, and that is a newer one by now: (V2).
  void scrub(TableMemory& memory, std::size_t from, std::size_t to) const noexcept {
    if (bytes() >= TableMemory::kDiscardableBytes) {
      const auto base = reinterpret_cast<std::uintptr_t>(begin());
      const auto first = (base + std::max(from, kHeaderBytes) + kPage - 1) / kPage * kPage;
      const auto last = (base + to) / kPage * kPage;
      if (first < last && memory.discard(reinterpret_cast<void*>(first), last - first)) {
        store_zeros(from, first - base);
        store_zeros(last - base, to);
        return;
      }
    }
    store_zeros(from, to);
  }

  // The front of its memory.
  [[nodiscard]] std::byte* begin() const noexcept {
    return address() - bytes_before_cells(capacity());
  }

  // A list of arrays, threaded through their headers; for the holder of the shard's mutex.
  [[nodiscard]] CellArray next_in_list() const noexcept { return CellArray(header().next); }
  void set_next_in_list(CellArray next) const noexcept { header().next = next.word_; }

  friend constexpr bool operator==(CellArray, CellArray) noexcept = default;

  static constexpr std::size_t kPage = 4096;

 private:
  struct Header {
    std::uint64_t next = 0;
  };

  static constexpr std::size_t kHeaderBytes = kCacheLine;
  static constexpr std::uint64_t kShiftMask = kCacheLine - 1;
  // There are 2^(n - 3) groups.
  static constexpr unsigned kShiftAndLog2 = 64 + 3;
  static_assert(TagGroup::kCells == 8);

  static CellArray at(std::byte* cells, unsigned log2_capacity) noexcept {
    return CellArray(reinterpret_cast<std::uintptr_t>(cells) | (kShiftAndLog2 - log2_capacity));
  }

  [[nodiscard]] constexpr unsigned home_shift() const noexcept {
    return static_cast<unsigned>(word_ & kShiftMask);
  }

  static constexpr std::size_t bytes_before_cells(std::size_t capacity) noexcept {
    // Powers of two, both.
    return kHeaderBytes + std::max(capacity / TagGroup::kCells * sizeof(Word), kCacheLine);
  }
  static constexpr std::size_t bytes(std::size_t capacity) noexcept {
    return bytes_before_cells(capacity) + capacity * sizeof(Cell);
  }

  [[nodiscard]] Word& tags(std::size_t group) const noexcept {
    return *(reinterpret_cast<Word*>(address()) - 1 - group);
  }
  [[nodiscard]] std::byte* address() const noexcept {
    return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(word_ & ~kShiftMask));
  }
  void store_zeros(std::size_t from, std::size_t to) const noexcept {
    for (std::size_t at = std::max(from, kHeaderBytes); at < to; at += sizeof(Word)) {
      reinterpret_cast<Word*>(begin() + at)->store(0, std::memory_order_release);
    }
  }

  [[nodiscard]] Header& header() const noexcept { return *reinterpret_cast<Header*>(begin()); }

  alignas(
      kCacheLine) static constinit inline std::array<Word, kCacheLine / sizeof(Word)> kNothing{};

  std::uint64_t word_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_CELL_ARRAY_HPP_
