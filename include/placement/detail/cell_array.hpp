// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_CELL_ARRAY_HPP_
#define PLACEMENT_DETAIL_CELL_ARRAY_HPP_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>

#include "placement/detail/word.hpp"
#include "placement/table_memory.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// An open-addressed array of 2^n cells, as one word: the address of its first cell, and n in the
// bits that the address leaves free. A reader gets from a shard to a cell with one load.
//
// An id's home is at the high bits of its hash, so the order of homes is the order of hashes at
// every capacity: growth reads the old array and fills the new one from front to back, and a
// range of hashes is a range of cells.
template <typename Cell>
class CellArray {
 public:
  explicit constexpr CellArray(std::uint64_t word) noexcept : word_(word) {}

  // Throws std::bad_alloc. All cells are never used.
  static CellArray allocate(TableMemory& memory, unsigned log2_capacity) {
    if (log2_capacity >= 8 * sizeof(std::size_t) - 8) throw std::bad_alloc();
    std::byte* const block = static_cast<std::byte*>(
        memory.allocate(bytes(std::size_t{1} << log2_capacity), MemoryUse::Cells));
    ::new (block) Header;
    return CellArray(reinterpret_cast<std::uintptr_t>(block + kHeaderBytes) | log2_capacity);
  }
  static void deallocate(TableMemory& memory, CellArray array) noexcept {
    memory.deallocate(array.begin(), bytes(array.capacity()), MemoryUse::Cells);
  }

  // Two cells that are never used, for a shard that has none yet. Nothing is written to them: the
  // first insert asks for an array. Known by its capacity, for every array of a shard is larger.
  [[nodiscard]] static CellArray nothing() noexcept {
    return CellArray(reinterpret_cast<std::uintptr_t>(kNothing) | kNothingLog2);
  }
  [[nodiscard]] constexpr bool is_nothing() const noexcept {
    return log2_capacity() == kNothingLog2;
  }

  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }
  [[nodiscard]] constexpr unsigned log2_capacity() const noexcept {
    return static_cast<unsigned>(word_ & kLog2Mask);
  }
  [[nodiscard]] constexpr std::size_t capacity() const noexcept {
    return std::size_t{1} << log2_capacity();
  }
  [[nodiscard]] constexpr std::size_t mask() const noexcept { return capacity() - 1; }
  [[nodiscard]] constexpr std::size_t home(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>(hash >> (64 - log2_capacity()));
  }
  [[nodiscard]] Cell& operator[](std::size_t index) const noexcept { return cells()[index]; }

  // What the array takes from the front of its memory to the end, in bytes.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes(capacity()); }

  // Makes bytes [from, to) of the array read as zeros again, as far as they are cells. Late
  // readers may be there: they find cells that were moved away or were never used, both of which
  // prove nothing without the shard's version, and that is a newer one by now: (V2).
  void scrub(TableMemory& memory, std::size_t from, std::size_t to) const noexcept {
    if (bytes() >= TableMemory::kDiscardableBytes) {
      const auto base = reinterpret_cast<std::uintptr_t>(begin());
      const std::size_t first =
          (base + std::max(from, kHeaderBytes) + kPage - 1) / kPage * kPage - base;
      const std::size_t last = (base + to) / kPage * kPage - base;
      if (first < last && memory.discard(begin() + first, last - first)) {
        store_zeros(from, first);
        store_zeros(last, to);
        return;
      }
    }
    store_zeros(from, to);
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
  static constexpr std::uint64_t kLog2Mask = kCacheLine - 1;
  static constexpr unsigned kNothingLog2 = 1;

  static constexpr std::size_t bytes(std::size_t capacity) noexcept {
    return kHeaderBytes + capacity * sizeof(Cell);
  }

  [[nodiscard]] Cell* cells() const noexcept {
    return reinterpret_cast<Cell*>(static_cast<std::uintptr_t>(word_ & ~kLog2Mask));
  }
  [[nodiscard]] std::byte* begin() const noexcept {
    return reinterpret_cast<std::byte*>(cells()) - kHeaderBytes;
  }
  void store_zeros(std::size_t from, std::size_t to) const noexcept {
    for (std::size_t at = std::max(from, kHeaderBytes); at < to; at += sizeof(Word)) {
      reinterpret_cast<Word*>(begin() + at)->store(0, std::memory_order_release);
    }
  }

  [[nodiscard]] Header& header() const noexcept { return *reinterpret_cast<Header*>(begin()); }

  alignas(kCacheLine) static constinit inline Cell kNothing[std::size_t{1} << kNothingLog2]{};

  std::uint64_t word_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_CELL_ARRAY_HPP_
