// SPDX-License-Identifier: Apache-2.0
//
// What a table takes where it is given nothing else: the system's memory and its clock.
#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/clock.hpp>
#include <placement/table_memory.hpp>

#include "support/sanitizers.hpp"

namespace placement::test {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kPages = TableMemory::kDiscardableBytes;  // from here on it is pages

TableMemory& system_memory() { return TableMemory::system(); }

std::byte* allocate(std::size_t bytes) {
  return static_cast<std::byte*>(system_memory().allocate(bytes, MemoryUse::Cells));
}
void deallocate(std::byte* memory, std::size_t bytes) {
  system_memory().deallocate(memory, bytes, MemoryUse::Cells);
}

bool is_aligned(const std::byte* memory, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(memory) % alignment == 0;
}
bool is_zero(const std::byte* memory, std::size_t bytes) {
  return std::all_of(memory, memory + bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

TEST(SystemMemory, ReadsAsZerosAndIsAlignedAlsoWhenItIsUsedAgain) {
  for (const std::size_t bytes : {std::size_t{64}, std::size_t{1152}, kPages - 64, kPages,
                                  kPages + 64, kHugePage, kHugePage + 64}) {
    for (int round = 0; round < 3; ++round) {
      std::byte* const memory = allocate(bytes);
      EXPECT_TRUE(is_aligned(memory, bytes < kPages ? 64 : kPage));
      EXPECT_TRUE(is_zero(memory, bytes)) << bytes;
      std::memset(memory, 0xEE, bytes);
      deallocate(memory, bytes);
    }
  }
}

TEST(SystemMemory, OfMoreThanThereIsThrows) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t bytes :
       {kMost, kMost - kPage, kMost - kHugePage, kMost - 2 * kHugePage, kMost - 4 * kHugePage}) {
    EXPECT_THROW(static_cast<void>(allocate(bytes)), std::bad_alloc) << bytes;
  }
}

#if defined(__linux__)

// Pages of the process's address space, read without an allocation.
std::size_t mapped_pages() {
  std::array<char, 32> text{};
  const int file = ::open("/proc/self/statm", O_RDONLY);
  EXPECT_GT(::read(file, text.data(), text.size() - 1), 0);
  ::close(file);
  return std::strtoull(text.data(), nullptr, 10);
}

// Not so where the address space is an emulator's.
bool mapped_pages_are_exact() {
  const std::size_t before = mapped_pages();
  void* const pages =
      ::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::size_t with_three = mapped_pages();
  ::munmap(pages, 3 * kPage);
  return with_three == before + 3 && mapped_pages() == before;
}

TEST(SystemMemory, TakesThePagesItNeedsAndGivesThemBack) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer maps pages of its own";
  if (!mapped_pages_are_exact()) GTEST_SKIP() << "the system does not say what is mapped";
  constexpr std::array kBytes = {kPages,        kPages + 64,       kHugePage - 64,   kHugePage,
                                 kHugePage + 1, kHugePage + kPage, 3 * kHugePage - 1};
  const std::size_t before = mapped_pages();
  std::size_t pages = 0;
  std::array<std::byte*, kBytes.size()> memory{};
  for (std::size_t i = 0; i < kBytes.size(); ++i) {
    memory[i] = allocate(kBytes[i]);
    pages += (kBytes[i] + kPage - 1) / kPage;
    EXPECT_EQ(mapped_pages() - before, pages) << kBytes[i];
    if (kBytes[i] >= kHugePage) {
      EXPECT_TRUE(is_aligned(memory[i], kHugePage)) << kBytes[i];
    }
    memory[i][0] = memory[i][kBytes[i] - 1] = std::byte{1};
  }
  for (std::size_t i = 0; i < kBytes.size(); ++i) deallocate(memory[i], kBytes[i]);
  EXPECT_EQ(mapped_pages(), before);
}

TEST(SystemMemory, WhatIsDiscardedReadsAsZerosAndNothingBesideItDoes) {
  constexpr std::size_t kBytes = 4 * kPages;
  std::byte* const memory = allocate(kBytes);
  std::memset(memory, 0xEE, kBytes);
  EXPECT_TRUE(system_memory().discard(memory + kPage, 2 * kPage));
  EXPECT_TRUE(is_zero(memory + kPage, 2 * kPage));
  EXPECT_EQ(std::count(memory, memory + kBytes, std::byte{0xEE}), kBytes - 2 * kPage);
  std::memset(memory + kPage, 0xEE, kPage);
  deallocate(memory, kBytes);
}

// So is all memory of a process that has called mlockall.
TEST(SystemMemory, DoesNotSayThatLockedPagesWereDiscarded) {
  std::byte* const memory = allocate(kPages);
  std::memset(memory, 0xEE, kPages);
  if (::mlock(memory, kPage) != 0) {
    deallocate(memory, kPages);
    GTEST_SKIP() << "this process may lock no page";
  }
  const bool discarded = system_memory().discard(memory, kPage);
  EXPECT_EQ(discarded, is_zero(memory, kPage));
  EXPECT_EQ(std::count(memory + kPage, memory + kPages, std::byte{0xEE}), kPages - kPage);
  deallocate(memory, kPages);
}

#if defined(MADV_POPULATE_WRITE)

std::vector<bool> resident(std::byte* memory, std::size_t pages) {
  std::vector<unsigned char> of_page(pages);
  EXPECT_EQ(::mincore(memory, pages * kPage, of_page.data()), 0);
  std::vector<bool> found;
  for (const unsigned char page : of_page) found.push_back((page & 1U) != 0);
  return found;
}

// Old kernels cannot, and an emulator may ignore the call.
bool can_populate() {
  constexpr std::size_t kCount = kPages / kPage;
  std::byte* const memory = allocate(kPages);
  const bool can = resident(memory, kCount) == std::vector<bool>(kCount, false) &&
                   ::madvise(memory, kPages, MADV_POPULATE_WRITE) == 0 &&
                   resident(memory, kCount) == std::vector<bool>(kCount, true);
  deallocate(memory, kPages);
  return can;
}

TEST(SystemMemory, PopulatesTheWholePagesOfWhatIsNotSmall) {
  if (!can_populate()) GTEST_SKIP() << "this system cannot";
  constexpr std::size_t kWhole = 24;
  std::byte* const memory = allocate(kWhole * kPage);
  system_memory().populate(memory + 2 * kPage, kPages - 64);
  EXPECT_EQ(resident(memory, kWhole), std::vector<bool>(kWhole, false));
  system_memory().populate(memory + 2 * kPage + 1, kPages + 2 * kPage);
  std::vector<bool> expected(kWhole, false);
  std::fill_n(expected.begin() + 3, kPages / kPage + 1, true);
  EXPECT_EQ(resident(memory, kWhole), expected);
  system_memory().populate(memory + 14 * kPage, kPages);
  std::fill_n(expected.begin() + 14, kPages / kPage, true);
  EXPECT_EQ(resident(memory, kWhole), expected);
  EXPECT_TRUE(is_zero(memory, kWhole * kPage));
  deallocate(memory, kWhole * kPage);
}

TEST(SystemMemory, PopulatingLeavesWhatIsThere) {
  std::byte* const memory = allocate(2 * kHugePage);
  std::memset(memory, 0xEE, 2 * kHugePage);
  system_memory().populate(memory, 2 * kHugePage);
  EXPECT_EQ(std::count(memory, memory + 2 * kHugePage, std::byte{0xEE}), 2 * kHugePage);
  deallocate(memory, 2 * kHugePage);
}

#endif
#endif

// Of one's own memory only the two have to be said.
class PlainMemory final : public TableMemory {
 public:
  void* allocate(std::size_t bytes, MemoryUse use) override {
    return system_memory().allocate(bytes, use);
  }
  void deallocate(void* memory, std::size_t bytes, MemoryUse use) noexcept override {
    system_memory().deallocate(memory, bytes, use);
  }
};

TEST(TableMemory, DiscardsNothingUnlessItIsToldHow) {
  PlainMemory memory;
  void* const piece = memory.allocate(kPages, MemoryUse::Cells);
  std::memset(piece, 0xEE, kPages);
  EXPECT_FALSE(memory.discard(piece, kPage));
  memory.populate(piece, kPages);
  auto* const bytes = static_cast<std::byte*>(piece);
  EXPECT_EQ(std::count(bytes, bytes + kPages, std::byte{0xEE}), kPages);
  memory.deallocate(piece, kPages, MemoryUse::Cells);
}

TEST(SystemClock, SleepsUntilTheTimeHasCome) {
  Clock& clock = Clock::system();
  const absl::Time time = clock.now() + absl::Milliseconds(1);
  clock.sleep_until(time);
  EXPECT_GE(clock.now(), time);
  clock.sleep_until(time);  // it has come already
}

}  // namespace
}  // namespace placement::test
