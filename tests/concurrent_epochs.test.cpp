// SPDX-License-Identifier: Apache-2.0
//
// INV-E1 and INV-E2 while threads race.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

using Table = BasicPlacementTable<std::uint64_t, ChecksummedPlacement>;

constexpr std::size_t kThreads = 3;

// INV-E1.
TEST(ConcurrentEpochs, OfRacingChangesAreUniqueAndHaveNoGap) {
  const std::uint64_t kChanges = work(200'000);
  constexpr std::uint64_t kPartitions = 16;
  Table table(TableOptions{.shards = 4});
  Random random = make_random();
  std::array<std::vector<std::uint64_t>, kThreads> drawn;
  std::atomic<std::uint64_t> refusals{0};
  std::vector<std::function<void()>> bodies;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    bodies.emplace_back([&, thread, mine = Random(random())]() mutable {
      for (std::uint64_t i = 0; i < kChanges; ++i) {
        const std::uint64_t id = below(mine, kPartitions);
        TransitionResult result = MigrationError::UnknownPartition;
        switch (below(mine, 6)) {
          case 0:
            result = table.set(id, ChecksummedPlacement(id, i));
            break;
          case 1:
            result = table.begin_migration(id, ChecksummedPlacement(id, i));
            break;
          case 2:
            result = table.enter_cutover(id);
            break;
          case 3:
            result = table.complete_migration(id);
            break;
          case 4:
            result = table.abort_migration(id);
            break;
          default:
            result = table.erase(id);
        }
        if (result) {
          drawn[thread].push_back(result.value().value());
        } else {
          ++refusals;
        }
      }
    });
  }
  run_together(bodies);

  std::vector<std::uint64_t> all;
  for (const auto& of_thread : drawn) {
    EXPECT_FALSE(of_thread.empty());
    EXPECT_TRUE(std::is_sorted(of_thread.begin(), of_thread.end()));
    all.insert(all.end(), of_thread.begin(), of_thread.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_GT(refusals.load(), 0U);
  EXPECT_EQ(all.size(), table.current_epoch().value());
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], i + 1);
}

// INV-E1: the bug of a table that draws the epoch before it takes the lock.
TEST(ConcurrentEpochs, RacingSetsLeaveTheNewestEpochAndItsPlacementBehind) {
  const std::uint64_t kRounds = work(20'000);
  Table table;
  std::array<std::vector<Epoch>, 2> drawn;
  std::atomic<std::uint64_t> arrived{0};
  std::uint64_t swapped = 0;  // rounds in which the second thread's set came first
  const auto race = [&](std::size_t thread) {
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      ++arrived;
      for (int spins = 0; arrived.load() < 2 * (round + 1); ++spins) {
        if (spins > 1000) std::this_thread::yield();
      }
      drawn[thread].push_back(table.set(round, ChecksummedPlacement(round, thread)));
    }
  };
  run_together({[&] { race(0); }, [&] { race(1); }});
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    const std::size_t winner = drawn[0][round] > drawn[1][round] ? 0 : 1;
    if (winner == 0) ++swapped;
    const auto at = table.get(round);
    ASSERT_TRUE(at);
    ASSERT_EQ(at->epoch, drawn[winner][round]);
    ASSERT_EQ(at->placement, ChecksummedPlacement(round, winner));
  }
  EXPECT_GT(swapped, 0U);
  EXPECT_LT(swapped, kRounds);
}

// INV-E2.
TEST(ConcurrentEpochs, TheGenerationIsNeverBehindWhatAnyoneHasSeen) {
  const std::uint64_t kChanges = work(300'000);
  constexpr std::uint64_t kPartitions = 8;
  Table table(TableOptions{.shards = 2});
  for (std::uint64_t id = 0; id < kPartitions; ++id) table.set(id, ChecksummedPlacement(id, 0));
  std::atomic<std::size_t> changing{2};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> behind{0};
  std::atomic<std::uint64_t> back{0};
  std::atomic<std::uint64_t> moved_on{0};
  const auto change = [&](std::uint64_t first) {
    for (std::uint64_t i = 0; i < kChanges; ++i) {
      const std::uint64_t id = (first + i) % kPartitions;
      const Epoch drawn = table.set(id, ChecksummedPlacement(id, i));
      if (table.current_epoch() < drawn) ++behind;
    }
    --changing;
  };
  const auto watch = [&] {
    Epoch last;
    std::uint64_t n = 0;
    do {
      const std::uint64_t id = n++ % kPartitions;
      const auto at = table.get(id);
      const Epoch now = table.current_epoch();
      if (!at || now < at->epoch) ++behind;
      if (now < last) ++back;
      if (now > last) ++moved_on;
      last = now;
      const auto state = table.state(id);
      if (!state || state->epoch > table.current_epoch()) ++behind;
    } while (changing.load() != 0);
    reads += n;
  };
  run_together({[&] { change(0); }, [&] { change(3); }, watch});
  EXPECT_EQ(behind.load(), 0U);
  EXPECT_EQ(back.load(), 0U);
  EXPECT_GT(reads.load(), 0U);
  EXPECT_GT(moved_on.load(), 0U);
  EXPECT_EQ(table.current_epoch().value(), kPartitions + 2 * kChanges);
}

}  // namespace
}  // namespace placement::test
