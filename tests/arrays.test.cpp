// SPDX-License-Identifier: Apache-2.0
//
// What a shard is built of, each for itself: groups of tags, arrays of cells, the words of a text
// and the blocks of long ids.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/test_memory.hpp"

namespace placement::test {
namespace {

using detail::IdBlock;
using detail::IdBlocks;
using detail::TagGroup;
using Cell = detail::Cell<1, 1>;
using Array = detail::CellArray<Cell>;

// ---- tags ----

std::vector<std::size_t> indices(TagGroup::Cells cells) {
  std::vector<std::size_t> found;
  for (; cells; cells.drop_first()) found.push_back(cells.first());
  return found;
}

constexpr std::uint64_t hash_with_tag(std::uint64_t tag) { return tag << 16; }

TEST(TagGroup, TakesAndFreesEachCellForItself) {
  for (std::size_t cell = 0; cell < TagGroup::kCells; ++cell) {
    const TagGroup taken = TagGroup(0).with_taken(cell, hash_with_tag(cell));
    EXPECT_EQ(indices(taken.taken()), std::vector{cell});
    EXPECT_EQ(indices(taken.free()).size(), TagGroup::kCells - 1);
    EXPECT_EQ(indices(taken.candidates(hash_with_tag(cell))), std::vector{cell});
    for (std::size_t other = 0; other < TagGroup::kCells; ++other) {
      EXPECT_EQ(taken.is_empty(other), other != cell);
    }
    EXPECT_EQ(taken.with_freed(cell).word(), 0U);
  }
}

TEST(TagGroup, ACellOfAFullGroupIsNotEmptyAgainForAProbeWentOn) {
  TagGroup full(0);
  for (std::size_t cell = 0; cell < TagGroup::kCells; ++cell) {
    EXPECT_TRUE(full.has_empty());
    full = full.with_taken(cell, hash_with_tag(cell));
  }
  EXPECT_FALSE(full.has_empty());
  for (std::size_t cell = 0; cell < TagGroup::kCells; ++cell) {
    const TagGroup freed = full.with_freed(cell);
    EXPECT_FALSE(freed.is_empty(cell));
    EXPECT_FALSE(freed.has_empty());
    EXPECT_EQ(indices(freed.free()), std::vector{cell});
    EXPECT_EQ(freed.with_taken(cell, hash_with_tag(cell)).word(), full.word());
  }
}

TEST(TagGroup, SevenBitsOfTheHashTellCellsApartAndNoOthersDo) {
  const TagGroup group = TagGroup(0).with_taken(3, 0);
  for (unsigned bit = 0; bit < 64; ++bit) {
    const bool is_of_the_tag = bit >= 16 && bit < 23;
    EXPECT_EQ(indices(group.candidates(std::uint64_t{1} << bit)).empty(), is_of_the_tag) << bit;
  }
}

// ---- arrays ----

// One piece at a time, on a line's boundary but on no page's. It sees what is discarded of it.
class LineMemory final : public TableMemory {
 public:
  explicit LineMemory(bool discards) : discards_(discards) {}
  ~LineMemory() { EXPECT_EQ(piece_, nullptr); }

  void* allocate(std::size_t bytes, MemoryUse) override {
    asked_ = bytes;
    if (bytes > kMost) throw std::bad_alloc();
    const std::size_t whole = (bytes + kLine + kPage - 1) / kPage * kPage;
    pages_.reset(static_cast<std::byte*>(::operator new(whole, std::align_val_t{kPage})));
    std::memset(pages_.get(), 0, whole);
    piece_ = pages_.get() + kLine;
    return piece_;
  }
  void deallocate(void* memory, std::size_t bytes, MemoryUse) noexcept override {
    EXPECT_EQ(memory, piece_);
    EXPECT_EQ(bytes, asked_);
    piece_ = nullptr;
  }
  bool discard(void* memory, std::size_t bytes) noexcept override {
    auto* const begin = static_cast<std::byte*>(memory);
    EXPECT_GE(asked_, kDiscardableBytes);
    EXPECT_EQ((begin - pages_.get()) % kPage, 0);
    EXPECT_EQ(bytes % kPage, 0U);
    EXPECT_GT(bytes, 0U);
    EXPECT_LE(bytes, piece_ + asked_ - begin);
    asked_to_discard_ += bytes;
    if (discards_) std::memset(begin, 0, bytes);
    return discards_;
  }

  [[nodiscard]] std::size_t asked() const { return asked_; }
  [[nodiscard]] std::size_t asked_to_discard() const { return asked_to_discard_; }

 private:
  static constexpr std::ptrdiff_t kPage = 4096;
  static constexpr std::ptrdiff_t kLine = 64;
  static constexpr std::size_t kMost = std::size_t{1} << 20;

  struct Free {
    void operator()(std::byte* pages) const { ::operator delete(pages, std::align_val_t{kPage}); }
  };

  bool discards_;
  std::unique_ptr<std::byte, Free> pages_;
  std::byte* piece_ = nullptr;
  std::size_t asked_ = 0;
  std::size_t asked_to_discard_ = 0;
};

TEST(CellArray, OfMoreThanTheAddressSpaceIsNotAskedFor) {
  constexpr unsigned kTooMany = 8 * sizeof(std::size_t) - 8;
  for (unsigned log2 = kTooMany; log2 < 200; ++log2) {
    LineMemory memory(true);
    EXPECT_THROW(Array::allocate(memory, log2), std::bad_alloc);
    EXPECT_EQ(memory.asked(), 0U) << log2;
  }
  for (unsigned log2 = 20; log2 < kTooMany; ++log2) {
    LineMemory memory(true);
    EXPECT_THROW(Array::allocate(memory, log2), std::bad_alloc);
    EXPECT_GT(memory.asked(), sizeof(Cell) << log2);
  }
}

TEST(CellArray, KeepsItsHeaderTagsAndCellsApart) {
  for (unsigned log2 = Array::kLeastLog2; log2 < 12; ++log2) {
    LineMemory memory(true);
    const Array array = Array::allocate(memory, log2);
    const Array next(array.word() + 1024);
    EXPECT_EQ(array.capacity(), std::size_t{1} << log2);
    EXPECT_EQ(array.bytes(), memory.asked());
    EXPECT_LE(array.bytes(), array.capacity() * (sizeof(Cell) + 1) + 2 * detail::kCacheLine);
    array.set_next_in_list(next);
    for (std::size_t group = 0; group < array.groups(); ++group) {
      EXPECT_EQ(array.load_tags(group).word(), 0U);
      array.store_tags(group, TagGroup(group + 1));
      for (std::size_t i = 0; i < TagGroup::kCells; ++i) {
        EXPECT_EQ(array.cell(group, i).stamp(), detail::Stamp::vacant());
        std::memset(static_cast<void*>(&array.cell(group, i)), static_cast<int>(group + i),
                    sizeof(Cell));
      }
    }
    EXPECT_EQ(array.next_in_list(), next);
    for (std::size_t group = 0; group < array.groups(); ++group) {
      EXPECT_EQ(array.load_tags(group).word(), group + 1);
    }
    Array::deallocate(memory, array);
  }
}

// In pieces, as a shard does it; a word too many would be another array's, or a cell's.
TEST(CellArray, ScrubbedPieceByPieceIsZeroAsFarAsItWasAskedAndNotFurther) {
  constexpr std::size_t kPiece = std::size_t{16} << 10;
  constexpr std::byte kOld{0xEE};
  for (const bool discards : {true, false}) {
    for (const unsigned log2 : {4U, 6U, 7U, 9U, 10U, 11U}) {
      LineMemory memory(discards);
      const Array array = Array::allocate(memory, log2);
      std::byte* const begin = array.begin();
      std::byte* const end = begin + array.bytes();
      std::byte* const behind_header = begin + detail::kCacheLine;
      std::fill(behind_header, end, kOld);
      array.set_next_in_list(array);
      for (std::size_t group = 0; group < array.groups(); ++group) {
        array.store_tags(group, TagGroup(0xEEEE'EEEE'EEEE'EEEE));
      }
      for (std::size_t from = 0; from < array.bytes(); from += kPiece) {
        const std::size_t to = std::min(from + kPiece, array.bytes());
        array.scrub(memory, from, to);
        EXPECT_EQ(std::count(behind_header, begin + to, std::byte{0}), begin + to - behind_header);
        EXPECT_EQ(std::count(begin + to, end, kOld), end - (begin + to));
      }
      EXPECT_EQ(array.next_in_list(), array);
      for (std::size_t group = 0; group < array.groups(); ++group) {
        EXPECT_EQ(array.load_tags(group).word(), 0U);
      }
      EXPECT_EQ(memory.asked_to_discard() > 0, array.bytes() >= TableMemory::kDiscardableBytes);
      Array::deallocate(memory, array);
    }
  }
}

// A piece may lie between two boundaries of pages, or end where its first whole page would begin.
TEST(CellArray, ScrubbedAtAnyLineIsZeroThereAndNowhereElseAndItsWholePagesAreDiscarded) {
  constexpr std::size_t kLine = detail::kCacheLine;
  constexpr std::size_t kLines = 4096 / kLine;  // of a page; the memory begins behind one
  constexpr std::byte kOld{0xEE};
  LineMemory memory(true);
  const Array array = Array::allocate(memory, 9);
  std::byte* const begin = array.begin();
  for (const std::size_t from : {1U, 10U, 62U, 63U, 64U, 65U}) {
    for (const std::size_t lines : {0U, 1U, 53U, 62U, 63U, 64U, 65U, 128U, 200U}) {
      std::fill(begin + kLine, begin + array.bytes(), kOld);
      const std::size_t discarded_before = memory.asked_to_discard();
      array.scrub(memory, from * kLine, (from + lines) * kLine);
      const std::size_t first_page = (from + 1 + kLines - 1) / kLines;
      const std::size_t pages_end = std::max(first_page, (from + 1 + lines) / kLines);
      EXPECT_EQ(memory.asked_to_discard() - discarded_before, (pages_end - first_page) * 4096);
      const std::byte* const first = begin + from * kLine;
      const std::byte* const last = first + lines * kLine;
      EXPECT_EQ(std::count(begin + kLine, begin + array.bytes(), std::byte{0}), last - first);
      EXPECT_EQ(std::count(first, last, std::byte{0}), last - first);
    }
  }
  EXPECT_GT(memory.asked_to_discard(), 0U);
  Array::deallocate(memory, array);
}

TEST(CellArray, ThatIsNothingIsEmpty) {
  const Array nothing = Array::nothing();
  EXPECT_TRUE(nothing.is_nothing());
  for (std::size_t group = 0; group < nothing.groups(); ++group) {
    EXPECT_EQ(nothing.load_tags(group).word(), 0U);
  }
  EXPECT_LT(nothing.home(std::numeric_limits<std::uint64_t>::max()), nothing.groups());
  LineMemory memory(true);
  const Array array = Array::allocate(memory, Array::kLeastLog2);
  EXPECT_FALSE(array.is_nothing());
  Array::deallocate(memory, array);
}

// ---- texts ----

TEST(TextWords, AreTheWholeTextAndNothingBesideIt) {
  constexpr std::size_t kBeside = 16;
  for (std::size_t size = 0; size <= 40; ++size) {
    std::vector<std::uint64_t> words_before;
    for (const char beside : {'\0', '\x55', '\xff'}) {
      std::string text(kBeside + size + kBeside, beside);
      for (std::size_t i = 0; i < size; ++i) text[kBeside + i] = static_cast<char>(0xA1 + i);
      std::string copy(text.size(), beside);
      std::vector<std::uint64_t> words;
      for (std::size_t i = 0; i < detail::words_for(size); ++i) {
        words.push_back(detail::text_word(text.data() + kBeside, size, i));
        detail::put_text_word(copy.data() + kBeside, size, i, words[i]);
      }
      EXPECT_EQ(copy, text) << size;
      if (beside != '\0') {
        EXPECT_EQ(words, words_before) << size;
      }
      words_before = words;
    }
  }
}

// ---- blocks of long ids ----

TEST(IdBlock, IsTheSmallestPowerOfTwoThatHoldsAHeaderAndTheId) {
  EXPECT_EQ(IdBlock::size_for(1), 128U);
  EXPECT_EQ(IdBlock::size_for(64), 128U);
  EXPECT_EQ(IdBlock::size_for(65), 256U);
  EXPECT_EQ(IdBlock::size_for(192), 256U);
  EXPECT_EQ(IdBlock::size_for(193), 512U);
  EXPECT_EQ(IdBlock::size_for(IdBlock::kMostBytes - IdBlock::kHeaderBytes), IdBlock::kMostBytes);
  EXPECT_THROW(static_cast<void>(IdBlock::size_for(IdBlock::kMostBytes - 63)), std::bad_alloc);
  EXPECT_THROW(static_cast<void>(IdBlock::size_for(std::numeric_limits<std::size_t>::max())),
               std::bad_alloc);
}

TEST(IdBlocks, AreTakenByTheirSizeAndAllThatWereGivenBackAreThereAgain) {
  CountingMemory memory;
  IdBlocks blocks;
  constexpr std::array kSizes = {std::size_t{128}, std::size_t{256}, std::size_t{4096}};
  constexpr std::size_t kOfEach = 5;
  std::set<IdBlock*> all;
  for (const std::size_t size : kSizes) {
    EXPECT_FALSE(blocks.has(size));
    for (std::size_t i = 0; i < kOfEach; ++i) {
      IdBlock* const block = IdBlock::allocate(memory, size);
      all.insert(block);
      blocks.adopt(block);
    }
  }
  for (int round = 0; round < 2; ++round) {
    std::set<IdBlock*> taken;
    for (const std::size_t size : kSizes) {
      for (std::size_t i = 0; i < kOfEach; ++i) {
        ASSERT_TRUE(blocks.has(size));
        IdBlock* const block = blocks.take(size);
        EXPECT_EQ(block->size(), size);
        taken.insert(block);
      }
      EXPECT_FALSE(blocks.has(size));
    }
    EXPECT_EQ(taken, all);
    for (IdBlock* const block : taken) blocks.give_back(block);
  }
  blocks.deallocate_all(memory);
}

}  // namespace
}  // namespace placement::test
