// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_TEST_MEMORY_HPP_
#define PLACEMENT_TESTS_SUPPORT_TEST_MEMORY_HPP_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <mutex>
#include <new>
#include <vector>

#include <gtest/gtest.h>
#include <placement/table_memory.hpp>

namespace placement::test {

inline constexpr std::size_t kMemoryUses = 4;

// The system's memory, counted; it can fail at the n-th allocation from now.
class CountingMemory final : public TableMemory {
 public:
  CountingMemory() = default;
  ~CountingMemory() {
    // Each use for itself: what was allocated for one is given back as that.
    for (const auto& of_use : bytes_) {
      EXPECT_EQ(of_use.load(), 0U) << "the table did not give all its memory back";
    }
  }

  void* allocate(std::size_t size, MemoryUse use) override {
    if (fails_in_.load() > 0 && fails_in_.fetch_sub(1) == 1) {
      ++failures_;
      throw std::bad_alloc();
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

  // Zero: never.
  void fail_at(std::int64_t nth) { fails_in_ = nth; }

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

 private:
  static std::size_t index(MemoryUse use) { return static_cast<std::size_t>(use); }

  std::array<std::atomic<std::size_t>, kMemoryUses> bytes_{};
  std::array<std::atomic<std::size_t>, kMemoryUses> allocations_{};
  std::atomic<std::size_t> discards_{0};
  std::atomic<std::size_t> most_discarded_at_once_{0};
  std::atomic<std::int64_t> fails_in_{0};
  std::atomic<std::size_t> failures_{0};
};

// Every allocation is pages of its own, which can be write-protected by their use, and looked at.
class PageMemory final : public TableMemory {
 public:
  struct Piece {
    std::byte* begin;
    std::size_t size;  // in whole pages
    MemoryUse use;
  };

  PageMemory() = default;
  ~PageMemory() { EXPECT_TRUE(pieces_.empty()) << "the table did not give all its memory back"; }

  void* allocate(std::size_t size, MemoryUse use) override {
    const std::size_t pages = (size + kPage - 1) / kPage * kPage;
    void* const memory =
        ::mmap(nullptr, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    const std::lock_guard lock(mutex_);
    pieces_.push_back({static_cast<std::byte*>(memory), pages, use});
    return memory;
  }
  void deallocate(void* memory, std::size_t, MemoryUse) noexcept override {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(pieces_.begin(), pieces_.end(),
                                    [&](const Piece& piece) { return piece.begin == memory; });
    ASSERT_NE(found, pieces_.end());
    ::munmap(found->begin, found->size);
    pieces_.erase(found);
  }
  bool discard(void* memory, std::size_t size) noexcept override {
    return ::madvise(memory, size, MADV_DONTNEED) == 0;
  }

  // In the order of allocation.
  [[nodiscard]] std::vector<Piece> pieces(MemoryUse use) const {
    const std::lock_guard lock(mutex_);
    std::vector<Piece> found;
    for (const Piece& piece : pieces_) {
      if (piece.use == use) found.push_back(piece);
    }
    return found;
  }

  void write_protect(std::initializer_list<MemoryUse> uses) const { protect(uses, PROT_READ); }
  void unprotect() const {
    protect({MemoryUse::Directory, MemoryUse::Cells, MemoryUse::LongIds, MemoryUse::Counters},
            PROT_READ | PROT_WRITE);
  }

  // Bytes of the piece that are in physical memory.
  [[nodiscard]] static std::size_t resident_bytes(const Piece& piece) {
    std::vector<unsigned char> pages(piece.size / kPage);
    EXPECT_EQ(::mincore(piece.begin, piece.size, pages.data()), 0);
    return kPage * static_cast<std::size_t>(std::count_if(
                       pages.begin(), pages.end(), [](unsigned char page) { return page & 1U; }));
  }

  static constexpr std::size_t kPage = 4096;

 private:
  void protect(std::initializer_list<MemoryUse> uses, int how) const {
    const std::lock_guard lock(mutex_);
    for (const Piece& piece : pieces_) {
      if (std::find(uses.begin(), uses.end(), piece.use) == uses.end()) continue;
      ASSERT_EQ(::mprotect(piece.begin, piece.size, how), 0);
    }
  }

  mutable std::mutex mutex_;
  std::vector<Piece> pieces_;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_TEST_MEMORY_HPP_
