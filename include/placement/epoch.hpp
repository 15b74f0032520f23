// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_EPOCH_HPP_
#define PLACEMENT_EPOCH_HPP_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <utility>

namespace placement {
inline namespace v1 {

// A table's logical generation. Every change that a table makes draws a fresh epoch, one greater
// than the one before; there is no wall clock in it. `zero()` means "never placed": no change
// carries it.
class Epoch {
 public:
  constexpr Epoch() noexcept = default;
  explicit constexpr Epoch(std::uint64_t value) noexcept : value_(value) {}

  [[nodiscard]] static constexpr Epoch zero() noexcept { return Epoch(); }

  // The greatest epoch that a table can stamp: the other bits of a stamp's word say what the
  // partition is doing. At a billion changes a second it lasts for 36 years.
  [[nodiscard]] static constexpr Epoch max() noexcept {
    return Epoch((std::uint64_t{1} << 60) - 1);
  }

  // The greatest epoch that a table takes from outside. What is above is left to the changes that
  // it makes itself: at a billion a second for 18 years.
  [[nodiscard]] static constexpr Epoch max_external() noexcept {
    return Epoch((std::uint64_t{1} << 59) - 1);
  }

  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

  friend constexpr auto operator<=>(Epoch, Epoch) noexcept = default;

  template <typename H>
  friend H AbslHashValue(H state, Epoch epoch) {
    return H::combine(std::move(state), epoch.value_);
  }

  friend std::ostream& operator<<(std::ostream& out, Epoch epoch) { return out << epoch.value_; }

 private:
  std::uint64_t value_ = 0;
};

}  // namespace v1
}  // namespace placement

template <>
struct std::hash<placement::Epoch> {
  std::size_t operator()(placement::Epoch epoch) const noexcept {
    return std::hash<std::uint64_t>()(epoch.value());
  }
};

#endif  // PLACEMENT_EPOCH_HPP_
