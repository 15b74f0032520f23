// SPDX-License-Identifier: Apache-2.0
//
// Memory stays bounded under any churn of names, and no change does work in proportion to the
// table.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/sanitizers.hpp"
#include "support/test_memory.hpp"

namespace placement::test {
namespace {

using TextTable = BasicPlacementTable<std::string, Placement>;
using NumberTable = BasicPlacementTable<std::uint64_t, ChecksummedPlacement>;

std::size_t resident_bytes_of_process() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// An id of `length` characters that no other number has, without the cost of a formatted print.
class Name {
 public:
  explicit Name(std::size_t length) : text_(length, 'n') {}

  const std::string& operator()(std::uint64_t n) {
    for (std::size_t i = 0; i < 16; ++i) text_[i] = "0123456789abcdef"[(n >> (4 * i)) & 15];
    return text_;
  }

 private:
  std::string text_;
};

// Distinct ids come and go, with at most `alive` of them there at any time.
void expect_bounded_memory(std::size_t id_length, std::uint64_t names, std::uint64_t alive) {
  CountingMemory memory;
  TextTable table(TableOptions{.memory = &memory});
  Name name(id_length);
  const Placement placement = Placement::dedicated_cluster(ClusterId("cluster"));
  std::size_t bytes_when_warm = 0;
  std::size_t resident_when_warm = 0;
  for (std::uint64_t n = 0; n < names; ++n) {
    if (n == names / 2) {
      bytes_when_warm = memory.bytes();
      resident_when_warm = resident_bytes_of_process();
    }
    table.set(name(n), placement);
    if (n >= alive) {
      ASSERT_TRUE(table.erase(name(n - alive)));
    }
  }
  EXPECT_EQ(table.size(), alive);
  // The ids, their counters and cells at a load of a fifth at worst, and the arrays before.
  const std::size_t live_set = alive * (id_length + sizeof(Placement));
  EXPECT_LT(memory.bytes(), 24 * live_set);
  EXPECT_LT(memory.bytes(), bytes_when_warm + bytes_when_warm / 2);
  if (!kSanitized) {
    EXPECT_LT(resident_bytes_of_process(), resident_when_warm + 2 * live_set);
  }
}

TEST(BoundedMemory, TenMillionNamesOfWhichTenThousandAreAlive) {
  expect_bounded_memory(40, work(10'000'000), 10'000);
}

TEST(BoundedMemory, TheBlocksOfLongIdsAreRecycled) {
  expect_bounded_memory(100, work(2'000'000), 10'000);
}

TEST(BoundedMemory, AFewNamesAtATimeTakeAFewCells) {
  const std::uint64_t kNames = work(1'000'000);
  CountingMemory memory;
  TextTable table(TableOptions{.shards = 1, .memory = &memory});
  Name name(100);
  const Placement placement = Placement::dedicated_cluster(ClusterId("cluster"));
  for (std::uint64_t n = 0; n < kNames; ++n) {
    table.set(name(n), placement);
    if (n >= 3) {
      ASSERT_TRUE(table.erase(name(n - 3)));
    }
  }
  EXPECT_LE(memory.allocations(MemoryUse::Cells), 3U);
  EXPECT_LE(memory.allocations(MemoryUse::LongIds), 4U);
  EXPECT_LE(memory.allocations(MemoryUse::Counters), 1U);
}

TEST(BoundedMemory, OverridingMigrationsTakesNoMoreThanTheyDid) {
  const std::uint64_t kRounds = work(500'000);
  CountingMemory memory;
  TextTable table(TableOptions{.shards = 1, .memory = &memory});
  Name name(100);
  const Placement here = Placement::dedicated_cluster(ClusterId("here"));
  const Placement there = Placement::dedicated_cluster(ClusterId("there"));
  const Placement elsewhere = Placement::dedicated_cluster(ClusterId("elsewhere"));
  for (std::uint64_t n = 0; n < kRounds; ++n) {
    table.set(name(n % 4), n % 3 == 0 ? elsewhere : here);
    ASSERT_TRUE(table.begin_migration(name(n % 4), there));
  }
  EXPECT_EQ(table.size(), 4U);
  EXPECT_LE(memory.allocations(MemoryUse::Cells), 4U);
  // A duplicate keeps its block and counter; what an insert had ready for it went back.
  EXPECT_LE(memory.bytes(MemoryUse::LongIds), 6 * 256U);
  EXPECT_EQ(memory.bytes(MemoryUse::Counters), 16 * 64U);
}

TEST(BoundedMemory, OutgrownArraysDoNotStayResident) {
  constexpr std::uint64_t kPartitions = 150'000;
  PageMemory memory;
  NumberTable table(TableOptions{.shards = 1, .memory = &memory});
  for (std::uint64_t id = 0; id < kPartitions; ++id) table.set(id, {id, 0});
  const auto arrays = memory.pieces(MemoryUse::Cells);
  ASSERT_GE(arrays.size(), 6U);
  std::size_t outgrown = 0;
  std::size_t of_that_resident = 0;
  for (std::size_t i = 0; i + 1 < arrays.size(); ++i) {
    outgrown += arrays[i].size;
    of_that_resident += PageMemory::resident_bytes(arrays[i]);
  }
  EXPECT_GT(outgrown, arrays.back().size / 8);
  // Their headers, and the small ones.
  EXPECT_LE(of_that_resident, std::size_t{256} << 10);
  EXPECT_GT(PageMemory::resident_bytes(arrays.back()), arrays.back().size / 2);
}

TEST(BoundedMemory, NoChangeDiscardsMuchAtOnce) {
  CountingMemory memory;
  NumberTable table(TableOptions{.shards = 1, .memory = &memory});
  for (std::uint64_t id = 0; id < 100'000; ++id) table.set(id, {id, 0});
  EXPECT_GT(memory.discards(), 10U);
  EXPECT_LE(memory.most_discarded_at_once(), std::size_t{16} << 10);
}

// The pages of a new array come before it is used, a piece a change, and not in a critical section.
TEST(BoundedMemory, NoChangePopulatesMuchAtOnceAndAllIsPopulated) {
  CountingMemory memory;
  NumberTable table(TableOptions{.shards = 1, .memory = &memory});
  std::size_t arrays = 0;
  std::size_t large = 0;
  for (std::uint64_t id = 0; id < 100'000; ++id) {
    const std::size_t before = memory.bytes(MemoryUse::Cells);
    table.set(id, {id, 0});
    if (memory.allocations(MemoryUse::Cells) ==
        std::exchange(arrays, memory.allocations(MemoryUse::Cells))) {
      continue;
    }
    const std::size_t bytes = memory.bytes(MemoryUse::Cells) - before;
    if (bytes >= std::size_t{64} << 10) large += bytes;
  }
  EXPECT_EQ(memory.populated(), large);
  EXPECT_LE(memory.most_populated_at_once(), std::size_t{64} << 10);
  EXPECT_GT(memory.least_populated_at_once(), 0U);
}

// The array that was being prepared is too small by then.
TEST(BoundedMemory, ReserveWhileAGrowthIsPreparedDoesNotGrowIntoASmallerArray) {
  CountingMemory memory;
  NumberTable table(TableOptions{.shards = 1, .memory = &memory});
  std::uint64_t id = 0;
  for (std::size_t populated = 0; populated == 0; ++id) {
    table.set(id, {id, 0});
    populated = memory.populated();
  }
  const std::uint64_t partitions = 16 * id;
  table.reserve(partitions);
  for (; id < 2 * partitions; ++id) table.set(id, {id, 0});
  for (std::uint64_t n = 0; n < id; ++n) ASSERT_TRUE(table.contains(n));
  EXPECT_EQ(table.size(), id);
}

TEST(BoundedMemory, ReservePopulatesWhatItAllocates) {
  CountingMemory memory;
  NumberTable table(TableOptions{.shards = 4, .memory = &memory});
  table.reserve(100'000);
  EXPECT_EQ(memory.populated(), memory.bytes(MemoryUse::Cells));
  const std::size_t arrays = memory.allocations(MemoryUse::Cells);
  for (std::uint64_t id = 0; id < 100'000; ++id) table.set(id, {id, 0});
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), arrays);
}

// Every change moves cells on; what was outgrown is discarded at the end.
TEST(BoundedMemory, AGrowthGoesOnWithChangesOfEveryKind) {
  const auto change = [](NumberTable& table, std::size_t kind, std::uint64_t nth) {
    switch (kind) {
      case 0:
        table.set(1, {1, nth});
        return;
      case 1:
        ASSERT_TRUE(table.begin_migration(1, {1, nth}));
        ASSERT_TRUE(table.abort_migration(1));
        return;
      case 2:
        ASSERT_TRUE(table.erase(nth));
        return;
      case 3:
        table.forget_erased(Epoch::zero());
        return;
      default:
        table.reserve(0);
    }
  };
  for (std::size_t kind = 0; kind < 5; ++kind) {
    CountingMemory memory;
    NumberTable table(TableOptions{.shards = 1, .memory = &memory});
    std::uint64_t end = 0;
    for (; memory.bytes(MemoryUse::Cells) < std::size_t{1} << 20; ++end) table.set(end, {end, 0});
    // Until the new array is prepared; the growth takes a few hundred changes more.
    for (std::uint64_t id = end; id < end + 50; ++id) table.set(id, {id, 0});
    const std::size_t discards = memory.discards();
    for (std::uint64_t n = 0; n < 500; ++n) change(table, kind, n);
    EXPECT_GT(memory.discards(), discards) << "by changes of kind " << kind;
  }
}

// A hundred thousand cells would be moved in one critical section by a table that grows at once.
TEST(BoundedMemory, NoChangeTouchesMoreThanAFewDozenCells) {
  constexpr std::uint64_t kPartitions = kSlow ? 3'000 : 6'000;
  constexpr std::size_t kLine = 64;
  PageMemory memory;
  NumberTable table(TableOptions{.shards = 1, .memory = &memory});
  std::vector<std::vector<std::byte>> before;
  std::size_t most = 0;
  std::size_t changes_while_growing = 0;
  for (std::uint64_t id = 0; id < kPartitions; ++id) {
    table.set(id, {id, 0});
    std::size_t changed = 0;
    std::size_t emptied = 0;  // lines that were discarded: a system call, not a cell's worth each
    const auto arrays = memory.pieces(MemoryUse::Cells);
    before.resize(arrays.size());
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      std::vector<std::byte>& old = before[i];
      old.resize(arrays[i].size);
      if (std::memcmp(old.data(), arrays[i].begin, old.size()) == 0) continue;
      for (std::size_t at = 0; at < old.size(); at += kLine) {
        const std::byte* const now = arrays[i].begin + at;
        if (std::memcmp(old.data() + at, now, kLine) == 0) continue;
        const bool is_empty =
            std::all_of(now, now + kLine, [](std::byte b) { return b == std::byte{}; });
        ++(is_empty ? emptied : changed);
      }
      std::memcpy(old.data(), arrays[i].begin, old.size());
    }
    EXPECT_LE(emptied * kLine, std::size_t{16} << 10);
    if (changed > 8) ++changes_while_growing;
    most = std::max(most, changed);
  }
  // 32 cells of two lines each are moved, of which one line is marked; the one that was set; and
  // the lines that their tags are on.
  EXPECT_LE(most, 32 * (2 + 1) + 2 + 6U);
  EXPECT_GT(changes_while_growing, 100U);
}

// ---- a partition's own cell, and a second one ----

using State = BasicPartitionState<ChecksummedPlacement>;

State settled(std::uint64_t at) { return State::active({at, at}); }
State draining(std::uint64_t from, std::uint64_t to) {
  return State::migrating({from, from}, {to, to}, MigrationPhase::Draining);
}
State cutover(std::uint64_t from, std::uint64_t to) {
  return State::migrating({from, from}, {to, to}, MigrationPhase::Cutover);
}

// A table whose one partition was brought into a state, and what its cells look like.
class OnePartition {
 public:
  explicit OnePartition(const State& state) {
    EXPECT_TRUE(table_.apply(1, state, Epoch(1)));
    array_ = memory_.pieces(MemoryUse::Cells).front();
    before_ = bytes();
  }

  void change_to(const State& state) { EXPECT_TRUE(table_.apply(1, state, Epoch(2))); }

  // From the first byte that changed to the last: a cell has 128.
  [[nodiscard]] bool only_one_cell_changed() const {
    const std::vector<std::byte> now = bytes();
    const auto first = std::mismatch(before_.begin(), before_.end(), now.begin()).first;
    const auto last = std::mismatch(before_.rbegin(), before_.rend(), now.rbegin()).first.base();
    return last - first <= 128;
  }
  [[nodiscard]] bool is_in_memory(const ChecksummedPlacement& placement) const {
    const std::span now(array_.begin, array_.size);
    const auto* const wanted = reinterpret_cast<const std::byte*>(&placement);
    return std::search(now.begin(), now.end(), wanted, wanted + sizeof placement) != now.end();
  }

 private:
  [[nodiscard]] std::vector<std::byte> bytes() const {
    return {array_.begin, array_.begin + array_.size};
  }

  PageMemory memory_;
  NumberTable table_{TableOptions{.shards = 1, .memory = &memory_}};
  PageMemory::Piece array_{};
  std::vector<std::byte> before_;
};

TEST(SecondCell, IsTakenOnlyWhereThePartitionsOwnWillNotDo) {
  const auto takes_one = [](const State& from, const State& to) {
    OnePartition partition(from);
    partition.change_to(to);
    return !partition.only_one_cell_changed();
  };
  EXPECT_FALSE(takes_one(settled(1), settled(1)));
  EXPECT_FALSE(takes_one(settled(1), settled(2)));
  EXPECT_FALSE(takes_one(settled(1), draining(1, 2)));
  EXPECT_FALSE(takes_one(settled(1), draining(2, 1)));
  EXPECT_FALSE(takes_one(draining(1, 2), draining(1, 2)));
  EXPECT_FALSE(takes_one(draining(1, 2), cutover(1, 2)));
  EXPECT_FALSE(takes_one(cutover(1, 2), cutover(2, 1)));
  EXPECT_FALSE(takes_one(cutover(1, 2), settled(1)));
  EXPECT_FALSE(takes_one(cutover(1, 2), settled(2)));
  EXPECT_TRUE(takes_one(settled(1), draining(2, 3)));
  EXPECT_TRUE(takes_one(draining(1, 2), settled(3)));
  EXPECT_TRUE(takes_one(draining(1, 2), draining(1, 3)));
  EXPECT_TRUE(takes_one(draining(1, 2), draining(3, 2)));
}

// Readers that found the old stamp may be copying what it names.
TEST(SecondCell, SparesThePlacementsThatReadersMayBeReading) {
  const std::vector<State> states = {settled(1),     settled(2),     settled(3),
                                     draining(1, 2), draining(2, 1), draining(1, 3),
                                     draining(3, 2), draining(3, 4), cutover(1, 2)};
  for (const State& from : states) {
    for (const State& to : states) {
      OnePartition partition(from);
      partition.change_to(to);
      EXPECT_TRUE(partition.is_in_memory(from.read_placement())) << from << " -> " << to;
      if (from.is_migrating()) {
        EXPECT_TRUE(partition.is_in_memory(*from.destination())) << from << " -> " << to;
      }
    }
  }
}

TEST(SecondCell, IsAllThatAFullTableGrowsForBesidesNewPartitions) {
  CountingMemory memory;
  NumberTable table(TableOptions{.shards = 1, .memory = &memory});
  std::uint64_t partitions = 0;
  {
    CountingMemory other_memory;
    NumberTable other(TableOptions{.shards = 1, .memory = &other_memory});
    for (; other_memory.allocations(MemoryUse::Cells) < 2; ++partitions) other.set(partitions, {});
    --partitions;
  }
  for (std::uint64_t id = 0; id < partitions; ++id) table.set(id, {});
  table.set(0, {1, 1});
  EXPECT_TRUE(table.apply(0, draining(2, 1), Epoch(100)));
  EXPECT_FALSE(table.apply(0, draining(3, 4), Epoch(99))) << "it is older";
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), 1U);
  EXPECT_TRUE(table.apply(0, draining(3, 4), Epoch(101)));
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), 2U);
}

}  // namespace
}  // namespace placement::test
