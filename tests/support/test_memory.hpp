// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_TEST_MEMORY_HPP_
#define PLACEMENT_TESTS_SUPPORT_TEST_MEMORY_HPP_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <mutex>
#include <vector>

#include <gtest/gtest.h>
#include <placement/table_memory.hpp>

#include "metered_memory.hpp"

namespace placement::test {

// That the table gives all its memory back is expected of it.
class CountingMemory final : public MeteredMemory {
 public:
  CountingMemory() = default;
  ~CountingMemory() {
    // Each use for itself: what was allocated for one is given back as that.
    for (std::size_t use = 0; use < kMemoryUses; ++use) {
      EXPECT_EQ(bytes(static_cast<MemoryUse>(use)), 0U)
          << "the table did not give all its memory back";
    }
  }
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
    if (memory == MAP_FAILED) return nullptr;
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
