// SPDX-License-Identifier: Apache-2.0
//
// In place of the library's header of this name: every access is a point at which a test may let
// another thread go on. The threads take turns, so plain memory does.
#ifndef PLACEMENT_DETAIL_WORD_HPP_
#define PLACEMENT_DETAIL_WORD_HPP_

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../../scheduler.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

class Word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order) const noexcept { return access(); }
  void store(std::uint64_t value, std::memory_order) noexcept { access() = value; }
  std::uint64_t fetch_add(std::uint64_t value, std::memory_order) noexcept {
    std::uint64_t& bits = access();
    return std::exchange(bits, bits + value);
  }
  std::uint64_t fetch_sub(std::uint64_t value, std::memory_order) noexcept {
    std::uint64_t& bits = access();
    return std::exchange(bits, bits - value);
  }
  std::uint64_t fetch_or(std::uint64_t value, std::memory_order) noexcept {
    std::uint64_t& bits = access();
    return std::exchange(bits, bits | value);
  }
  std::uint64_t fetch_and(std::uint64_t value, std::memory_order) noexcept {
    std::uint64_t& bits = access();
    return std::exchange(bits, bits & value);
  }
  bool compare_exchange(std::uint64_t& expected, std::uint64_t desired,
                        std::memory_order) noexcept {
    std::uint64_t& bits = access();
    if (bits == expected) {
      bits = desired;
      return true;
    }
    expected = bits;
    return false;
  }

 private:
  [[nodiscard]] std::uint64_t& access() const noexcept {
    test::Scheduler::point();
    return const_cast<std::uint64_t&>(bits_);
  }

  std::uint64_t bits_;
};

static_assert(std::is_trivial_v<Word> && sizeof(Word) == 8);

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_WORD_HPP_
