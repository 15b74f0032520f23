// SPDX-License-Identifier: Apache-2.0
//
// The table as a container: its options, its size, iteration, growth and churn.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"

namespace placement {
namespace {

using test::place;
using NumberTable = BasicPlacementTable<std::uint64_t, std::uint64_t>;

constexpr std::uint64_t kMany = 200'000;

std::map<std::uint64_t, std::size_t> visits_of(const NumberTable& table) {
  std::map<std::uint64_t, std::size_t> visits;
  table.for_each([&](std::uint64_t id, const auto&, Epoch) { ++visits[id]; });
  return visits;
}

// Exactly the ids from `first` up to `end`, each once.
void expect_range(const NumberTable& table, std::uint64_t first, std::uint64_t end) {
  const auto visits = visits_of(table);
  EXPECT_EQ(visits.size(), end - first);
  EXPECT_EQ(table.size(), end - first);
  for (const auto& [id, count] : visits) {
    ASSERT_EQ(count, 1U);
    ASSERT_TRUE(first <= id && id < end);
  }
}

// ---- options ----

TEST(TableOptions, ShardsAreRoundedToAPowerOfTwo) {
  const auto shards = [](std::size_t wanted) {
    return PlacementTable(TableOptions{.shards = wanted}).shard_count();
  };
  EXPECT_EQ(PlacementTable().shard_count(), TableOptions::kDefaultShards);
  EXPECT_EQ(shards(0), TableOptions::kDefaultShards);
  EXPECT_EQ(shards(1), 1U);
  EXPECT_EQ(shards(2), 2U);
  EXPECT_EQ(shards(3), 4U);
  EXPECT_EQ(shards(64), 64U);
  EXPECT_EQ(shards(65), 128U);
}

TEST(TableOptions, TooManyShardsAreTheMostThereCanBe) {
  for (const std::size_t wanted : {TableOptions::kMaxShards, TableOptions::kMaxShards + 1,
                                   std::numeric_limits<std::size_t>::max()}) {
    NumberTable table{TableOptions{.shards = wanted}};
    EXPECT_EQ(table.shard_count(), TableOptions::kMaxShards);
    for (std::uint64_t id = 0; id < 1000; ++id) table.set(id, id);
    expect_range(table, 0, 1000);
  }
}

TEST(TableOptions, ATableWorksWithAnyNumberOfShards) {
  for (const std::size_t shards : {0U, 1U, 2U, 3U, 7U, 1024U}) {
    NumberTable table{TableOptions{.shards = shards}};
    for (std::uint64_t id = 0; id < 2000; ++id) table.set(id, id);
    for (std::uint64_t id = 0; id < 2000; ++id) ASSERT_EQ(table.get(id)->placement, id);
    expect_range(table, 0, 2000);
  }
}

// Counts what a table asks for.
class CountingMemory final : public TableMemory {
 public:
  void* allocate(std::size_t bytes, MemoryUse use) override {
    ++allocations_[use];
    return system().allocate(bytes, use);
  }
  void deallocate(void* memory, std::size_t bytes, MemoryUse use) noexcept override {
    system().deallocate(memory, bytes, use);
  }
  std::size_t allocations(MemoryUse use) { return allocations_[use]; }

 private:
  std::map<MemoryUse, std::size_t> allocations_;
};

TEST(TableOptions, ExpectedPartitionsAllocateNoCellsLater) {
  CountingMemory memory;
  NumberTable table{TableOptions{.shards = 3, .expected_partitions = 10'000, .memory = &memory}};
  const std::size_t before = memory.allocations(MemoryUse::Cells);
  EXPECT_GT(before, 0U);
  for (std::uint64_t id = 0; id < 10'000; ++id) table.set(id, id);
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), before);
  expect_range(table, 0, 10'000);
}

// An array of 1,024 cells takes 640, so the mean would fit, and about half of the shards would not.
TEST(Reserve, MakesRoomForShardsThatGetMoreThanTheMean) {
  constexpr std::uint64_t kPartitions = 64 * 635;
  CountingMemory memory;
  NumberTable table{
      TableOptions{.shards = 64, .expected_partitions = kPartitions, .memory = &memory}};
  for (std::uint64_t id = 0; id < kPartitions; ++id) table.set(id, id);
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), 64U);
}

TEST(Reserve, MakesRoomForAFilledTableToo) {
  CountingMemory memory;
  NumberTable table{TableOptions{.shards = 1, .memory = &memory}};
  for (std::uint64_t id = 0; id < 1000; ++id) table.set(id, id);
  table.reserve(50'000);
  expect_range(table, 0, 1000);
  const std::size_t before = memory.allocations(MemoryUse::Cells);
  for (std::uint64_t id = 1000; id < 50'000; ++id) table.set(id, id);
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), before);
  expect_range(table, 0, 50'000);
}

TEST(Reserve, OfLessThanThereIsChangesNothing) {
  CountingMemory memory;
  NumberTable table{TableOptions{.shards = 1, .memory = &memory}};
  table.reserve(0);
  for (std::uint64_t id = 0; id < 1000; ++id) table.set(id, id);
  table.reserve(1000);
  const std::size_t before = memory.allocations(MemoryUse::Cells);
  table.reserve(10);
  table.reserve(0);
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), before);
  expect_range(table, 0, 1000);
}

#if defined(__cpp_exceptions)
TEST(Reserve, OfMoreThanCanBeThrowsAndLeavesTheTableAsItWas) {
  for (const std::size_t shards : {1U, 64U}) {
    NumberTable table{TableOptions{.shards = shards}};
    for (std::uint64_t id = 0; id < 100; ++id) table.set(id, id);
    for (const unsigned shift : {0U, 1U, 4U, 8U}) {
      if (shift == 8 && sizeof(std::size_t) < 8) continue;  // 32 bits may have room
      EXPECT_THROW(table.reserve(std::numeric_limits<std::size_t>::max() >> shift), std::bad_alloc);
    }
    table.set(100, 100);
    expect_range(table, 0, 101);
  }
}
#endif

// ---- an empty table ----

TEST(PlacementTable, IsEmptyAtFirst) {
  const PlacementTable table;
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.current_epoch(), Epoch::zero());
  EXPECT_FALSE(table.contains("a"));
  EXPECT_EQ(table.get("a"), std::nullopt);
  EXPECT_EQ(table.state("a"), std::nullopt);
  EXPECT_EQ(table.admit_write("a", Epoch::zero()), WriteAdmission::Reject);
  EXPECT_EQ(table.writes_in_flight("a"), 0U);
  EXPECT_TRUE(table.migrations().empty());
  table.for_each([](std::string_view, const PartitionState&, Epoch) { ADD_FAILURE(); });
}

TEST(PlacementTable, IsSharedByReferenceOrPointer) {
  const auto table = std::make_shared<PlacementTable>();
  table->set("a", place(1));
  const PlacementTable& reader = *table;
  EXPECT_TRUE(reader.contains("a"));
}

// ---- for_each ----

TEST(ForEach, VisitsEveryPartitionOnceAtEverySizeOnTheWayUp) {
  NumberTable table{TableOptions{.shards = 1}};
  for (std::uint64_t id = 0; id < 700; ++id) {
    expect_range(table, 0, id);
    table.set(id, id);
    ASSERT_FALSE(HasFailure()) << "at " << id;
  }
}

TEST(ForEach, GivesStateAndEpoch) {
  PlacementTable table;
  table.set("a", place(1));
  ASSERT_TRUE(table.begin_migration("a", place(2)));
  std::size_t visits = 0;
  table.for_each([&](std::string_view id, const PartitionState& state, Epoch epoch) {
    ++visits;
    EXPECT_EQ(id, "a");
    EXPECT_EQ((StateAt{state, epoch}), table.state("a"));
    EXPECT_EQ(state, PartitionState::migrating(place(1), place(2), MigrationPhase::Draining));
  });
  EXPECT_EQ(visits, 1U);
}

TEST(ForEach, MayChangeWhatItVisits) {
  NumberTable table{TableOptions{.shards = 1}};
  for (std::uint64_t id = 0; id < 1000; ++id) table.set(id, id);
  std::set<std::uint64_t> seen;
  table.for_each([&](std::uint64_t id, const auto&, Epoch) {
    EXPECT_TRUE(seen.insert(id).second);
    if (id % 3 == 0) {
      EXPECT_TRUE(table.erase(id));
    } else if (id % 3 == 1) {
      EXPECT_TRUE(table.begin_migration(id, 0));
    } else {
      table.set(id, 0);
    }
  });
  EXPECT_EQ(seen.size(), 1000U);
  EXPECT_EQ(table.size(), 666U);
  EXPECT_EQ(table.migrations().size(), 333U);
}

TEST(ForEach, VisitsWhatWasThereThroughoutOnceThoughItGrowsTheTable) {
  for (const std::size_t shards : {1U, 4U}) {
    for (const std::uint64_t start : {1U, 9U, 10U, 11U, 100U, 1000U}) {
      NumberTable table{TableOptions{.shards = shards}};
      for (std::uint64_t id = 0; id < start; ++id) table.set(id, id);
      std::map<std::uint64_t, std::size_t> visits;
      std::uint64_t next = start;
      table.for_each([&](std::uint64_t id, const auto& state, Epoch) {
        ++visits[id];
        EXPECT_EQ(state.read_placement(), id);
        for (int i = 0; i < 40 && next < 20'000; ++i, ++next) table.set(next, next);
      });
      EXPECT_GT(next, start);
      for (std::uint64_t id = 0; id < start; ++id) EXPECT_EQ(visits[id], 1U) << id;
      for (const auto& [id, count] : visits) EXPECT_EQ(count, 1U) << id;
      expect_range(table, 0, next);
    }
  }
}

TEST(ForEach, MayBeNested) {
  NumberTable table;
  for (std::uint64_t id = 0; id < 50; ++id) table.set(id, id);
  std::size_t pairs = 0;
  table.for_each([&](std::uint64_t, const auto&, Epoch) {
    table.for_each([&](std::uint64_t, const auto&, Epoch) { ++pairs; });
  });
  EXPECT_EQ(pairs, 2500U);
}

#if defined(__cpp_exceptions)
TEST(ForEach, MayBeLeftByAnException) {
  NumberTable table;
  for (std::uint64_t id = 0; id < 50; ++id) table.set(id, id);
  EXPECT_THROW(table.for_each([](std::uint64_t, const auto&, Epoch) { throw 1; }), int);
  expect_range(table, 0, 50);
}
#endif

// ---- migrations ----

TEST(Migrations, AreThePartitionsInFlight) {
  PlacementTable table;
  for (const std::string id : {"settled", "draining", "cutover", "aborted", "done"}) {
    table.set(id, place(1));
    if (id == "settled") continue;
    ASSERT_TRUE(table.begin_migration(id, place(2)));
    if (id == "draining") continue;
    if (id == "aborted") {
      ASSERT_TRUE(table.abort_migration(id));
      continue;
    }
    ASSERT_TRUE(table.enter_cutover(id));
    if (id == "done") {
      ASSERT_TRUE(table.complete_migration(id));
    }
  }
  const WritePermit permit = table.acquire_write("draining");
  std::map<std::string, MigrationInfo> found;
  for (const MigrationInfo& info : table.migrations()) found.emplace(info.id, info);
  ASSERT_EQ(found.size(), 2U);
  for (const auto& [id, info] : found) {
    const StateAt at = *table.state(id);
    EXPECT_EQ(info.from, place(1));
    EXPECT_EQ(info.to, place(2));
    EXPECT_EQ(info.phase, at.state.phase());
    EXPECT_EQ(info.epoch, at.epoch);
    EXPECT_EQ(info.writes_in_flight, id == "draining" ? 1U : 0U);
  }
  EXPECT_EQ(found.at("cutover").phase, MigrationPhase::Cutover);
  EXPECT_EQ(found.at("draining").phase, MigrationPhase::Draining);
}

// ---- growth and churn ----

TEST(Growth, FromNothingToTwoHundredThousandLosesNothing) {
  for (const std::size_t shards : {1U, 64U}) {
    NumberTable table{TableOptions{.shards = shards}};
    for (std::uint64_t id = 0; id < kMany; ++id) {
      const Epoch epoch = table.set(id, id * 3);
      ASSERT_EQ(table.get(id)->epoch, epoch);
      // One that is anywhere on its way from array to array.
      const std::uint64_t old = (id * 7919) % (id + 1);
      ASSERT_EQ(table.get(old)->placement, old * 3);
      ASSERT_FALSE(table.contains(id + 1));
    }
    for (std::uint64_t id = 0; id < kMany; ++id) {
      const auto at = table.get(id);
      ASSERT_TRUE(at.has_value());
      ASSERT_EQ(at->placement, id * 3);
      ASSERT_EQ(at->epoch, Epoch(id + 1));
    }
    expect_range(table, 0, kMany);
  }
}

TEST(Growth, KeepsMigrationsInFlight) {
  PlacementTable table{TableOptions{.shards = 1}};
  const auto id = [](std::uint64_t n) { return std::to_string(n) + std::string(n % 64, '.'); };
  for (std::uint64_t n = 0; n < 5000; ++n) {
    table.set(id(n), place(n % 50));
    if (n % 3 > 0) {
      ASSERT_TRUE(table.begin_migration(id(n), place(n % 70)));
    }
    if (n % 3 > 1) {
      ASSERT_TRUE(table.enter_cutover(id(n)));
    }
  }
  for (std::uint64_t n = 0; n < 5000; ++n) {
    const PartitionState state = table.state(id(n))->state;
    const auto expected = n % 3 == 0
                              ? PartitionState::active(place(n % 50))
                              : PartitionState::migrating(place(n % 50), place(n % 70),
                                                          n % 3 == 1 ? MigrationPhase::Draining
                                                                     : MigrationPhase::Cutover);
    ASSERT_EQ(state, expected) << n;
  }
}

TEST(Erase, AndSetAgainIsANewPartition) {
  PlacementTable table;
  table.set("a", place(1));
  const auto before = table.get("a");
  const Epoch erased = *table.erase("a");
  EXPECT_EQ(table.erase("a"), MigrationError::UnknownPartition);
  EXPECT_EQ(table.admit_write("a", before->epoch), WriteAdmission::Reject);
  const Epoch again = table.set("a", place(2));
  EXPECT_GT(again, erased);
  EXPECT_EQ(table.get("a"), (PlacementAt{place(2), again, MigrationPhase::Settled}));
}

TEST(Erase, OfEverythingLeavesATableThatFillsAgain) {
  NumberTable table{TableOptions{.shards = 1}};
  for (int round = 0; round < 5; ++round) {
    for (std::uint64_t id = 0; id < 3000; ++id) table.set(id, id);
    expect_range(table, 0, 3000);
    for (std::uint64_t id = 0; id < 3000; ++id) ASSERT_TRUE(table.erase(id));
    expect_range(table, 0, 0);
  }
}

TEST(Churn, AWindowOfIdsOverManyLosesAndKeepsNothing) {
  constexpr std::uint64_t kAlive = 500;
  CountingMemory memory;
  NumberTable table{TableOptions{.shards = 1, .memory = &memory}};
  std::size_t arrays = 0;
  for (std::uint64_t id = 0; id < kMany; ++id) {
    table.set(id, id);
    if (id >= kAlive) {
      ASSERT_TRUE(table.erase(id - kAlive));
      ASSERT_FALSE(table.contains(id - kAlive));
      ASSERT_EQ(table.get(id - kAlive + 1)->placement, id - kAlive + 1);
    }
    if (id % 20'000 == 0) expect_range(table, id < kAlive ? 0 : id - kAlive + 1, id + 1);
    if (id == kMany / 2) arrays = memory.allocations(MemoryUse::Cells);
  }
  // What the churn used up is used again.
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), arrays);
}

TEST(Churn, OfLongIdsUsesTheirMemoryAgain) {
  CountingMemory memory;
  PlacementTable table{TableOptions{.shards = 1, .memory = &memory}};
  for (std::uint64_t n = 0; n < 20'000; ++n) {
    const std::string id = std::string(100, 'x') + std::to_string(n);
    table.set(id, place(n % 10));
    ASSERT_EQ(table.get(id)->placement, place(n % 10));
    ASSERT_TRUE(table.erase(id));
  }
  EXPECT_EQ(memory.allocations(MemoryUse::LongIds), 1U);
}

}  // namespace
}  // namespace placement
