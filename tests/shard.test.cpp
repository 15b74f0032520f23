// SPDX-License-Identifier: Apache-2.0
//
// When a shard asks for which array, how a growth goes on, and what becomes of the arrays before.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/test_memory.hpp"

namespace placement::test {
namespace {

using Cell = detail::Cell<1, 1>;
using Key = detail::NumberKey;
using Array = detail::CellArray<Cell>;
using detail::MutexLock;
using detail::Need;
using detail::Stamp;
using detail::TagGroup;

constexpr std::size_t kGroup = TagGroup::kCells;

// Partitions that an array of 2^log2 cells takes.
constexpr std::size_t limit(unsigned log2) { return (std::size_t{1} << log2) / 8 * 5; }

TEST(Stock, GivesBackWhatIsReplacedAndWhatIsNotTaken) {
  CountingMemory memory;
  detail::Stock<Cell> stock(memory);
  stock.provide({.array_log2 = 4, .id_block = 128, .counter_chunk = 1024});
  stock.provide({.array_log2 = 5, .id_block = 256, .counter_chunk = 2048});
  EXPECT_EQ(memory.bytes(MemoryUse::Cells), 64 + 64 + 32 * sizeof(Cell));
  EXPECT_EQ(memory.bytes(MemoryUse::LongIds), 256U);
  EXPECT_EQ(memory.bytes(MemoryUse::Counters), 2048U);
}

TEST(Stock, LacksWhatIsNotOfTheSizeThatIsNeededOrWasTaken) {
  CountingMemory memory;
  detail::Stock<Cell> stock(memory);
  const Need need = {.array_log2 = 4, .id_block = 128, .counter_chunk = 1024};
  const Need other = {.array_log2 = 5, .id_block = 256, .counter_chunk = 2048};
  const auto lacks_all = [&](const Need& wanted) {
    const Need lacking = stock.lacking(wanted);
    return lacking.array_log2 == wanted.array_log2 && lacking.id_block == wanted.id_block &&
           lacking.counter_chunk == wanted.counter_chunk;
  };
  EXPECT_FALSE(stock.lacking({}));
  EXPECT_TRUE(lacks_all(need));
  stock.provide(need);
  EXPECT_FALSE(stock.lacking(need));
  EXPECT_FALSE(stock.lacking({}));
  EXPECT_TRUE(lacks_all(other));
  Array::deallocate(memory, stock.take_array());
  detail::IdBlock::deallocate(memory, stock.take_id_block());
  memory.deallocate(stock.take_counter_chunk(), need.counter_chunk, MemoryUse::Counters);
  EXPECT_TRUE(lacks_all(need));
}

// A shard of numbers, used as the table uses one.
class OneShard {
  using Shard = detail::Shard<Cell, Key>;
  using Stock = detail::Stock<Cell>;

 public:
  OneShard() { shard_.attach(view_, memory_); }

  // Returns which array it asked for, as a power of two; none: zero.
  unsigned insert(std::uint64_t id) {
    const Key key(id);
    Stock stock(memory_);
    unsigned asked = 0;
    for (;;) {
      const MutexLock lock(shard_.mutex);
      shard_.step();
      const Need need = shard_.need_for(key, stock);
      EXPECT_EQ(need.id_block, 0U);
      if (!need) {
        shard_.grow_if_due(stock);
        shard_.insert(key, Epoch(epoch_ + 1), stock).cell().publish(next_stamp());
      }
      const auto piece = shard_.piece_to_populate();
      if (piece.bytes != 0) pieces_.push_back(piece);
      if (!need) return asked;
      asked = std::max(asked, need.array_log2);
      stock.provide(need);
    }
  }
  // Fills an array of 2^log2 cells, five to a group; returns with what.
  std::vector<std::uint64_t> fill(unsigned log2) {
    std::vector<std::uint64_t> ids;
    for (std::size_t i = 0; i < limit(log2); ++i) {
      ids.push_back(id_at(log2, i / 5));
      insert(ids.back());
    }
    return ids;
  }
  void erase(std::uint64_t id) {
    const MutexLock lock(shard_.mutex);
    shard_.step();
    const auto slot = shard_.find(Key(id));
    ASSERT_TRUE(slot);
    ASSERT_TRUE(shard_.counter(slot.cell()).close_if_idle());
    shard_.erase(slot);
  }
  void remember_as_erased(std::uint64_t id) {
    const MutexLock lock(shard_.mutex);
    const auto slot = shard_.find(Key(id));
    ASSERT_TRUE(slot);
    slot.cell().publish(Stamp::erased(Epoch(++epoch_)));
  }
  std::size_t forget_erased(std::size_t& group) {
    const MutexLock lock(shard_.mutex);
    return shard_.forget_erased(group, Epoch::max(), Clock::system());
  }
  void reserve(std::size_t partitions) {
    Stock stock(memory_);
    for (bool done = false; !done;) {
      const MutexLock lock(shard_.mutex);
      shard_.step();
      const Need need = shard_.need_for_room(partitions, stock);
      if (!need) done = shard_.make_room(partitions, stock);
      stock.provide(need);
    }
  }
  void step() {
    const MutexLock lock(shard_.mutex);
    shard_.step();
  }

  [[nodiscard]] unsigned asks_for_room(std::size_t partitions) {
    const Stock stock(memory_);
    const MutexLock lock(shard_.mutex);
    return shard_.need_for_room(partitions, stock).array_log2;
  }
  // What was to be populated so far.
  [[nodiscard]] const std::vector<Shard::Piece>& pieces() const { return pieces_; }
  [[nodiscard]] bool is_growing() {
    const MutexLock lock(shard_.mutex);
    return shard_.is_growing();
  }
  [[nodiscard]] bool has(std::uint64_t id) {
    const MutexLock lock(shard_.mutex);
    return bool(shard_.find(Key(id)));
  }
  // In the order of allocation.
  [[nodiscard]] std::vector<PageMemory::Piece> arrays() const {
    return memory_.pieces(MemoryUse::Cells);
  }

  // The next id, of those that come to a group of an array of 2^log2 cells.
  std::uint64_t id_at(unsigned log2, std::uint64_t group) {
    while (Key(++last_id_).hash >> (67 - log2) != group) {
    }
    return last_id_;
  }
  // All cells of the group, which has to be empty, are vacant after this, and none is empty.
  void make_vacant(unsigned log2, std::uint64_t group) {
    std::vector<std::uint64_t> ids;
    for (std::size_t i = 0; i < kGroup; ++i) {
      ids.push_back(id_at(log2, group));
      insert(ids.back());
    }
    for (const std::uint64_t id : ids) erase(id);
  }
  // Ids come and go until the array is full of vacant cells and another takes over.
  void replace_array(unsigned log2) {
    const std::uint64_t version = view_.version();
    const std::size_t groups = (std::size_t{1} << log2) / kGroup;
    for (std::size_t i = 0; view_.version() == version; ++i) make_vacant(log2, i % groups);
  }

 private:
  Stamp next_stamp() { return Stamp::live(Epoch(++epoch_), MigrationPhase::Settled, 0); }

  PageMemory memory_;
  std::vector<Shard::Piece> pieces_;
  detail::ShardView<Cell> view_{};
  Shard shard_;
  std::uint64_t epoch_ = 0;
  std::uint64_t last_id_ = 0;
};

TEST(Shard, AsksForTwiceTheCellsWhenFiveEighthsAreTaken) {
  OneShard shard;
  unsigned log2 = Array::kLeastLog2;
  EXPECT_EQ(shard.insert(0), log2);
  for (std::uint64_t id = 1; log2 < 13; ++id) {
    const bool is_due = id == limit(log2);
    if (is_due) ++log2;
    ASSERT_EQ(shard.insert(id), is_due ? log2 : 0) << id;
  }
}

TEST(Shard, AsksForAnArrayOfWhichTheLivingTakeTwoThirdsOfTheLimitAtMost) {
  for (std::size_t living = 2; living <= limit(4); ++living) {
    OneShard shard;
    std::vector<std::uint64_t> ids;
    for (std::size_t i = 0; i < kGroup; ++i) {
      ids.push_back(shard.id_at(4, 0));
      shard.insert(ids.back());
    }
    // Their group is full, so they leave vacant cells, which are used as well.
    for (std::size_t i = living; i < limit(4); ++i) shard.erase(ids[i - living]);
    for (std::size_t i = kGroup; i < limit(4); ++i) EXPECT_EQ(shard.insert(shard.id_at(4, 1)), 0U);
    EXPECT_EQ(shard.insert(shard.id_at(4, 1)), living <= 6 ? 4U : 5U) << living;
  }
}

TEST(Shard, DoesNotGrowWhileFewComeAndGo) {
  OneShard shard;
  shard.insert(0);
  for (std::uint64_t id = 1; id < 100; ++id) {
    EXPECT_EQ(shard.insert(id), 0U);
    shard.erase(id - 1);
  }
  EXPECT_EQ(shard.arrays().size(), 1U);
}

TEST(Shard, DoesNotGrowWhileVacantCellsAreTakenAgain) {
  OneShard shard;
  for (int round = 0; round < 20; ++round) shard.make_vacant(4, 0);
  EXPECT_EQ(shard.arrays().size(), 1U);
}

TEST(Shard, TwoArraysTakeTurnsWhereNamesComeAndGo) {
  OneShard shard;
  for (int round = 0; round < 50; ++round) {
    shard.make_vacant(4, 0);
    std::vector<std::uint64_t> ids;
    for (int i = 0; i < 3; ++i) ids.push_back(shard.id_at(4, 1));
    shard.insert(ids[0]);
    shard.insert(ids[1]);
    EXPECT_EQ(shard.insert(ids[2]), round == 0 ? 4U : 0U);
    for (const std::uint64_t id : ids) shard.erase(id);
  }
  EXPECT_EQ(shard.arrays().size(), 2U);
  // The one that is at rest is too small for more.
  for (std::uint64_t i = 0; i < limit(4); ++i) EXPECT_EQ(shard.insert(shard.id_at(4, i % 2)), 0U);
  EXPECT_EQ(shard.insert(shard.id_at(4, 0)), 5U);
}

TEST(Shard, AnArrayAtRestThatWasOutgrownMakesWayForOneOfTheNewSize) {
  OneShard shard;
  shard.reserve(limit(4));
  for (int i = 0; i < 5; ++i) shard.replace_array(4);
  EXPECT_EQ(shard.arrays().size(), 2U);
  shard.reserve(limit(5));
  EXPECT_EQ(shard.arrays().size(), 3U);
  for (int i = 0; i < 5; ++i) shard.replace_array(5);
  EXPECT_EQ(shard.arrays().size(), 4U);
}

TEST(Shard, AnArrayThatWasPreparedInVainIsUsedLater) {
  OneShard shard;
  shard.reserve(limit(9));
  std::vector<std::uint64_t> ids;
  for (std::size_t i = 0; i <= limit(9); ++i) {
    ids.push_back(i << 32);
    shard.insert(ids.back());
  }
  ASSERT_FALSE(shard.is_growing());
  EXPECT_EQ(shard.arrays().size(), 2U);  // the second is being prepared
  shard.reserve(limit(10));
  EXPECT_EQ(shard.arrays().size(), 3U);
  for (const std::uint64_t id : ids) shard.erase(id);
  for (std::uint64_t group = 0; !shard.is_growing(); ++group) shard.make_vacant(10, group);
  EXPECT_EQ(shard.arrays().size(), 3U);
}

TEST(Shard, AnArrayIsPopulatedFromFrontToEndBeforeItIsUsed) {
  constexpr std::size_t kMost = std::size_t{64} << 10;
  constexpr std::size_t kBytes = 64 + (1U << 11) * (1 + sizeof(Cell));
  OneShard shard;
  shard.reserve(limit(10));
  for (std::uint64_t id = 0; !shard.is_growing(); ++id) shard.insert(id);
  const std::byte* at = shard.arrays().back().begin;
  const std::byte* const end = at + kBytes;
  for (const auto& piece : shard.pieces()) {
    EXPECT_EQ(piece.begin, at);
    EXPECT_EQ(piece.bytes, std::min<std::size_t>(kMost, static_cast<std::size_t>(end - at)));
    at += piece.bytes;
  }
  EXPECT_EQ(at, end);
}

TEST(Shard, AGrowthMovesFourGroupsAChange) {
  for (const unsigned log2 : {4U, 5U, 6U, 7U, 8U}) {
    OneShard shard;
    shard.reserve(limit(log2));
    for (std::uint64_t id = 0; id < limit(log2); ++id) EXPECT_EQ(shard.insert(id), 0U);
    EXPECT_EQ(shard.insert(limit(log2)), log2 + 1);
    std::size_t changes = 1;
    for (; shard.is_growing(); ++changes) shard.step();
    EXPECT_EQ(changes, std::max<std::size_t>(1, (std::size_t{1} << log2) / kGroup / 4));
    for (std::uint64_t id = 0; id <= limit(log2); ++id) EXPECT_TRUE(shard.has(id));
  }
}

TEST(Shard, WhatIsErasedWhileItGrowsIsCountedInItsArrayOnly) {
  OneShard shard;
  shard.reserve(limit(7));
  const std::vector<std::uint64_t> ids = shard.fill(7);
  EXPECT_EQ(shard.insert(shard.id_at(7, 0)), 8U);
  shard.erase(ids.back());  // in the old array
  shard.erase(ids[10]);     // in the new one
  ASSERT_TRUE(shard.is_growing());
  while (shard.is_growing()) shard.step();
  for (std::size_t size = limit(7) + 1 - 2; size < limit(8); ++size) {
    EXPECT_EQ(shard.insert(shard.id_at(8, size % 32)), 0U);
  }
  EXPECT_EQ(shard.insert(shard.id_at(8, 0)), 9U);
}

TEST(Shard, AsksForTheSmallestArrayThatHasRoomAndForNoneIfTheRoomIsThere) {
  OneShard shard;
  EXPECT_EQ(shard.asks_for_room(0), 0U);
  EXPECT_EQ(shard.asks_for_room(1), 4U);
  EXPECT_EQ(shard.asks_for_room(10), 4U);
  EXPECT_EQ(shard.asks_for_room(11), 5U);
  EXPECT_EQ(shard.asks_for_room(20), 5U);
  EXPECT_EQ(shard.asks_for_room(21), 6U);
  shard.reserve(20);
  EXPECT_EQ(shard.asks_for_room(20), 0U);
  EXPECT_EQ(shard.asks_for_room(21), 6U);
}

TEST(Shard, AsksForNoRoomWhileItGrows) {
  OneShard shard;
  shard.reserve(limit(7));
  for (std::uint64_t id = 0; id <= limit(7); ++id) shard.insert(id);
  ASSERT_TRUE(shard.is_growing());
  EXPECT_EQ(shard.asks_for_room(limit(12)), 0U);
  while (shard.is_growing()) shard.step();
  EXPECT_EQ(shard.asks_for_room(limit(8)), 0U);
  EXPECT_EQ(shard.asks_for_room(limit(12)), 12U);
}

TEST(Shard, NothingIsUnderWayWhenTheRoomIsThere) {
  OneShard shard;
  shard.reserve(limit(9));
  for (std::uint64_t id = 0; id < limit(9); ++id) shard.insert(id);
  shard.reserve(limit(9) + 1);
  EXPECT_FALSE(shard.is_growing());
  const PageMemory::Piece old = shard.arrays()[0];
  ASSERT_GT(old.size, TableMemory::kDiscardableBytes);
  EXPECT_TRUE(std::all_of(old.begin + detail::kCacheLine, old.begin + old.size,
                          [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST(Shard, ForgetsTheErasedOfFourGroupsAtATimeAndOfNoneWhileItGrows) {
  OneShard shard;
  shard.reserve(limit(7));
  const std::vector<std::uint64_t> ids = shard.fill(7);
  shard.insert(shard.id_at(7, 0));
  for (const std::uint64_t id : ids) shard.remember_as_erased(id);
  ASSERT_TRUE(shard.is_growing());
  for (const std::size_t group : {std::size_t{0}, std::size_t{4}, std::size_t{15}}) {
    std::size_t at = group;
    EXPECT_GT(shard.forget_erased(at), group);  // so one comes back
    EXPECT_EQ(at, group);
  }
  while (shard.is_growing()) shard.step();
  for (const std::uint64_t id : ids) EXPECT_TRUE(shard.has(id));
  std::size_t group = 0;
  for (std::size_t step = 1; step <= 8; ++step) {
    EXPECT_EQ(shard.forget_erased(group), 32U);
    EXPECT_EQ(group, 4 * step);
    // Two groups are where one was.
    for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(shard.has(ids[i]), i / 5 >= 2 * step);
  }
}

}  // namespace
}  // namespace placement::test
