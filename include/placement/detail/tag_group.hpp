// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_TAG_GROUP_HPP_
#define PLACEMENT_DETAIL_TAG_GROUP_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace placement {
inline namespace v1 {
namespace detail {

// Eight neighbouring cells are a group, and each has one byte in the group's word:
//
//   0         empty: no id was ever here, and none beyond on account of this group being full
//   1         vacant: the id that was here is gone
//   0x80 | t  taken, by an id whose hash has the seven bits t
//
// A lookup compares the eight bytes with its own tag at once and looks at the cells that are left,
// mostly none but the right one. The idea is that of Swiss tables (abseil's flat_hash_map, F14);
// here in plain arithmetic on a word, so that a reader's look is one atomic load.
class TagGroup {
 public:
  static constexpr std::size_t kCells = 8;

  // Some of a group's cells: a range of their indices in it.
  class Cells {
   public:
    explicit constexpr Cells(std::uint64_t high_bits) noexcept : high_bits_(high_bits) {}

    explicit constexpr operator bool() const noexcept { return high_bits_ != 0; }
    [[nodiscard]] constexpr std::size_t first() const noexcept {
      return static_cast<std::size_t>(std::countr_zero(high_bits_)) / 8;
    }
    constexpr void drop_first() noexcept { high_bits_ &= high_bits_ - 1; }

   private:
    std::uint64_t high_bits_;  // of their bytes
  };

  explicit constexpr TagGroup(std::uint64_t word) noexcept : word_(word) {}

  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }

  // The cells that ids with that hash can be in; perhaps one or two others.
  [[nodiscard]] constexpr Cells candidates(std::uint64_t hash) const noexcept {
    const std::uint64_t differences = word_ ^ (kEach * tag_of(hash));
    return Cells((differences - kEach) & ~differences & kHighBits);
  }
  // Whether no probe goes on past this group.
  [[nodiscard]] constexpr bool has_empty() const noexcept {
    return ((word_ - kEach) & ~word_ & kHighBits) != 0;
  }
  [[nodiscard]] constexpr Cells taken() const noexcept { return Cells(word_ & kHighBits); }
  [[nodiscard]] constexpr Cells free() const noexcept { return Cells(~word_ & kHighBits); }
  [[nodiscard]] constexpr bool is_empty(std::size_t cell) const noexcept {
    return ((word_ >> (8 * cell)) & 0xFF) == kEmpty;
  }

  [[nodiscard]] constexpr TagGroup with_taken(std::size_t cell, std::uint64_t hash) const noexcept {
    return with(cell, tag_of(hash));
  }
  // If no probe went on past the group before, none needs to now: the cell is empty again.
  [[nodiscard]] constexpr TagGroup with_freed(std::size_t cell) const noexcept {
    return with(cell, has_empty() ? kEmpty : kVacant);
  }

 private:
  static constexpr std::uint64_t kEmpty = 0;
  static constexpr std::uint64_t kVacant = 1;
  static constexpr std::uint64_t kEach = 0x0101010101010101;
  static constexpr std::uint64_t kHighBits = 0x80 * kEach;

  // Bits that choose neither the shard nor the home.
  [[nodiscard]] static constexpr std::uint64_t tag_of(std::uint64_t hash) noexcept {
    return 0x80 | ((hash >> 16) & 0x7F);
  }
  [[nodiscard]] constexpr TagGroup with(std::size_t cell, std::uint64_t byte) const noexcept {
    return TagGroup((word_ & ~(std::uint64_t{0xFF} << (8 * cell))) | (byte << (8 * cell)));
  }

  std::uint64_t word_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_TAG_GROUP_HPP_
