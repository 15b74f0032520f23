// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_WORD_HPP_
#define PLACEMENT_DETAIL_WORD_HPP_

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace placement {
inline namespace v1 {
namespace detail {

// 64 bits that several threads use: every access is atomic and names its order. Unlike a
// std::atomic it is trivial, so an array of words begins to live in zeroed memory as it is, and
// the pages of a large array are not touched before they are used.
class Word {
 public:
  [[nodiscard]] std::uint64_t load(std::memory_order order) const noexcept {
    return ref().load(order);
  }
  void store(std::uint64_t value, std::memory_order order) noexcept { ref().store(value, order); }
  std::uint64_t fetch_add(std::uint64_t value, std::memory_order order) noexcept {
    return ref().fetch_add(value, order);
  }
  std::uint64_t fetch_sub(std::uint64_t value, std::memory_order order) noexcept {
    return ref().fetch_sub(value, order);
  }
  std::uint64_t fetch_or(std::uint64_t bits, std::memory_order order) noexcept {
    return ref().fetch_or(bits, order);
  }
  std::uint64_t fetch_and(std::uint64_t bits, std::memory_order order) noexcept {
    return ref().fetch_and(bits, order);
  }
  bool compare_exchange(std::uint64_t& expected, std::uint64_t desired,
                        std::memory_order order) noexcept {
    return ref().compare_exchange_strong(expected, desired, order);
  }

 private:
  using Ref = std::atomic_ref<std::uint64_t>;
  static_assert(Ref::is_always_lock_free,
                "placement_table needs lock-free 64-bit atomics on the target machine");

  // atomic_ref<const T> is not in C++20; a load writes nothing (the tests run every read on
  // write-protected pages).
  [[nodiscard]] Ref ref() const noexcept { return Ref(const_cast<std::uint64_t&>(bits_)); }

  alignas(Ref::required_alignment) std::uint64_t bits_;
};

static_assert(std::is_trivial_v<Word> && sizeof(Word) == 8);
static_assert(sizeof(void*) <= sizeof(Word), "placement_table keeps addresses in 64-bit words");

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_WORD_HPP_
