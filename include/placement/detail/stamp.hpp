// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_STAMP_HPP_
#define PLACEMENT_DETAIL_STAMP_HPP_

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "placement/epoch.hpp"
#include "placement/migration.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// The first word of a cell. It says what the cell is, and it is the cell's sequence lock: a live
// stamp carries an epoch, and a partition's epochs only grow, so an equal stamp before and after a
// copy proves that the copy is whole. (Where the cell has the next partition meanwhile, which may
// share the epoch, the array's version tells.)
//
//   bits 63..4   the epoch of a live cell; which marker, of a cell that is not live
//   bit  3       which of the two placement buffers is the active one (the origin, in a migration)
//   bits 2..0    0 a marker, 1 Settled, 2 Draining, 3 Cutover, 4 Erased (a replica's memory of an
//                erased partition: its epoch still refuses what is older)
class Stamp {
 public:
  explicit constexpr Stamp(std::uint64_t word) noexcept : word_(word) {}

  // There is no id here, and one may come. All-zero memory reads so.
  [[nodiscard]] static constexpr Stamp vacant() noexcept { return Stamp(0); }
  // The id that was here lives on in the next array.
  [[nodiscard]] static constexpr Stamp moved() noexcept { return Stamp(std::uint64_t{1} << 4); }

  [[nodiscard]] static constexpr Stamp live(Epoch epoch, MigrationPhase phase,
                                            std::size_t active) noexcept {
    return make(epoch, static_cast<std::uint64_t>(phase) + 1, active);
  }
  [[nodiscard]] static constexpr Stamp erased(Epoch epoch) noexcept {
    return make(epoch, kErased, 0);
  }

  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }

  // Whether the cell's id, label and buffers mean anything.
  [[nodiscard]] constexpr bool has_id() const noexcept { return (word_ & kKindMask) != 0; }
  [[nodiscard]] constexpr bool is_erased() const noexcept { return (word_ & kKindMask) == kErased; }
  // Whether there is a partition here.
  [[nodiscard]] constexpr bool is_live() const noexcept {
    return (word_ & kKindMask) - 1 < kErased - 1;
  }
  // Whether a write may go to the origin: Settled or Draining.
  [[nodiscard]] constexpr bool is_open() const noexcept { return (word_ & kKindMask) - 1 < 2; }

  [[nodiscard]] constexpr Epoch epoch() const noexcept { return Epoch(word_ >> kEpochShift); }
  // None of the phases if the stamp is not live.
  [[nodiscard]] constexpr MigrationPhase phase() const noexcept {
    return static_cast<MigrationPhase>((word_ & kKindMask) - 1);
  }
  [[nodiscard]] constexpr std::size_t active() const noexcept {
    return static_cast<std::size_t>((word_ >> kActiveShift) & 1);
  }

  friend constexpr bool operator==(Stamp, Stamp) noexcept = default;

 private:
  static constexpr std::uint64_t kKindMask = 7;
  static constexpr std::uint64_t kErased = 4;
  static constexpr unsigned kActiveShift = 3;
  static constexpr unsigned kEpochShift = 4;

  static constexpr Stamp make(Epoch epoch, std::uint64_t kind, std::size_t active) noexcept {
    assert(epoch <= Epoch::max());
    return Stamp((epoch.value() << kEpochShift) |
                 (static_cast<std::uint64_t>(active) << kActiveShift) | kind);
  }

  std::uint64_t word_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_STAMP_HPP_
