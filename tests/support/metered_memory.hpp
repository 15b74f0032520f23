// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_METERED_MEMORY_HPP_
#define PLACEMENT_TESTS_SUPPORT_METERED_MEMORY_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

#include <placement/table_memory.hpp>

namespace placement::test {

inline constexpr std::size_t kMemoryUses = 4;

// The system's memory, counted; it can fail at the n-th allocation from now.
class MeteredMemory : public TableMemory {
 public:
  MeteredMemory() = default;

  void* allocate(std::size_t size, MemoryUse use) override {
    if (fails_in_.load() > 0 && fails_in_.fetch_sub(1) == 1) {
      // In both of the ways that there are, by turns.
      [[maybe_unused]] const bool throws = failures_.fetch_add(1) % 2 == 0;
#if defined(__cpp_exceptions)
      if (throws) throw std::bad_alloc();
#endif
      return nullptr;
    }
    void* const memory = TableMemory::system().allocate(size, use);
    bytes_[index(use)] += size;
    ++allocations_[index(use)];
    return memory;
  }
  void deallocate(void* memory, std::size_t size, MemoryUse use) noexcept override {
    bytes_[index(use)] -= size;
    TableMemory::system().deallocate(memory, size, use);
  }
  bool discard(void* memory, std::size_t size) noexcept override {
    ++discards_;
    most_discarded_at_once_ = std::max(most_discarded_at_once_.load(), size);
    return TableMemory::system().discard(memory, size);
  }

  void populate(void* memory, std::size_t size) noexcept override {
    populated_ += size;
    most_populated_at_once_ = std::max(most_populated_at_once_.load(), size);
    least_populated_at_once_ = std::min(least_populated_at_once_.load(), size);
    TableMemory::system().populate(memory, size);
  }

  // Zero: never.
  void fail_at(std::int64_t nth) { fails_in_ = nth; }
  [[nodiscard]] bool will_fail() const { return fails_in_ > 0; }

  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& of_use : bytes_) sum += of_use;
    return sum;
  }
  [[nodiscard]] std::size_t bytes(MemoryUse use) const { return bytes_[index(use)]; }
  [[nodiscard]] std::size_t allocations(MemoryUse use) const { return allocations_[index(use)]; }
  [[nodiscard]] std::size_t failures() const { return failures_; }
  [[nodiscard]] std::size_t discards() const { return discards_; }
  [[nodiscard]] std::size_t most_discarded_at_once() const { return most_discarded_at_once_; }
  [[nodiscard]] std::size_t populated() const { return populated_; }
  [[nodiscard]] std::size_t most_populated_at_once() const { return most_populated_at_once_; }
  [[nodiscard]] std::size_t least_populated_at_once() const { return least_populated_at_once_; }

 private:
  static std::size_t index(MemoryUse use) { return static_cast<std::size_t>(use); }

  std::array<std::atomic<std::size_t>, kMemoryUses> bytes_{};
  std::array<std::atomic<std::size_t>, kMemoryUses> allocations_{};
  std::atomic<std::size_t> discards_{0};
  std::atomic<std::size_t> most_discarded_at_once_{0};
  std::atomic<std::size_t> populated_{0};
  std::atomic<std::size_t> most_populated_at_once_{0};
  std::atomic<std::size_t> least_populated_at_once_{std::numeric_limits<std::size_t>::max()};
  std::atomic<std::int64_t> fails_in_{0};
  std::atomic<std::size_t> failures_{0};
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_METERED_MEMORY_HPP_
