// SPDX-License-Identifier: Apache-2.0
//
// A reference to a partition answers as the table does, whatever happens to the partition; and
// get_many answers as as many calls of get.
#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/strings/string_view.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

using TextTable = BasicPlacementTable<std::string, ChecksummedPlacement>;
using NumberTable = BasicPlacementTable<std::uint64_t, ChecksummedPlacement>;

// Everything that a reference can be asked, against the table.
template <typename Ref, typename Table, typename Id>
void expect_same(Ref& ref, Table& table, const Id& id) {
  const auto expected = table.get(id);
  ASSERT_EQ(ref.get().has_value(), expected.has_value());
  const Epoch epoch = expected ? expected->epoch : Epoch(1);
  if (expected) {
    const auto at = ref.get();
    EXPECT_EQ(at->placement, expected->placement);
    EXPECT_EQ(at->epoch, expected->epoch);
    EXPECT_EQ(at->phase, expected->phase);
  }
  for (const Epoch e : {epoch, Epoch(epoch.value() + 1), Epoch::zero()}) {
    EXPECT_EQ(ref.admit_write(e), table.admit_write(id, e));
    const auto got = ref.acquire_write(e);
    const auto wanted = table.acquire_write(id, e);
    ASSERT_EQ(bool(got), bool(wanted));
    if (!wanted) {
      EXPECT_EQ(got.refusal(), wanted.refusal());
    }
  }
  const auto got = ref.acquire_write();
  EXPECT_EQ(table.writes_in_flight(id), got ? 1U : 0U);
  const auto wanted = table.acquire_write(id);
  ASSERT_EQ(bool(got), bool(wanted));
  if (wanted) {
    EXPECT_EQ(got.placement(), wanted.placement());
    EXPECT_EQ(got.epoch(), wanted.epoch());
  } else {
    EXPECT_EQ(got.refusal(), wanted.refusal());
  }
}

// ---- references ----

TEST(PartitionRef, IsOfThePlainTable) {
  PlacementTable table;
  const Placement here = Placement::dedicated_cluster(ClusterId("here"));
  PartitionRef ref = table.ref("tenant");
  EXPECT_EQ(ref.id(), "tenant");
  EXPECT_FALSE(ref.get());
  const Epoch epoch = table.set("tenant", here);
  ASSERT_TRUE(ref.get());
  EXPECT_EQ(ref.get()->placement, here);
  EXPECT_EQ(ref.admit_write(epoch), WriteAdmission::Admit);
  EXPECT_EQ(ref.acquire_write().placement(), here);
}

TEST(PartitionRef, LooksForThePartitionWhateverItIsAskedFirst) {
  NumberTable table;
  const Epoch epoch = table.set(1, {1, 0});
  EXPECT_EQ(table.ref(1).admit_write(epoch), WriteAdmission::Admit);
  EXPECT_EQ(table.ref(2).admit_write(epoch), WriteAdmission::Reject);
  auto ref = table.ref(1);
  ASSERT_TRUE(ref.get());
  const Epoch next = table.set(1, {1, 1});
  EXPECT_EQ(ref.admit_write(epoch), WriteAdmission::Reject);
  EXPECT_EQ(ref.admit_write(next), WriteAdmission::Admit);
  ASSERT_TRUE(table.erase(1));
  EXPECT_EQ(ref.admit_write(next), WriteAdmission::Reject);
}

template <typename Table, typename Id>
void expect_ref_follows(const Id& id) {
  Table table(TableOptions{.shards = 1});
  auto ref = table.ref(id);
  const auto check = [&] { expect_same(ref, table, id); };
  check();
  for (std::uint64_t round = 0; round < 2; ++round) {
    table.set(id, {1, round});
    check();
    table.set(id, {2, round});
    check();
    ASSERT_TRUE(table.begin_migration(id, {3, round}));
    check();
    ASSERT_TRUE(table.enter_cutover(id));
    check();
    ASSERT_TRUE(table.complete_migration(id));
    check();
    ASSERT_TRUE(table.begin_migration(id, {4, round}));
    ASSERT_TRUE(table.enter_cutover(id));
    ASSERT_TRUE(table.abort_migration(id));
    check();
    ASSERT_TRUE(table.begin_migration(id, {5, round}));
    table.set(id, {6, round});  // a second cell
    check();
    ASSERT_TRUE(table.erase(id));
    check();
  }
}

TEST(PartitionRef, FollowsATextThroughEveryState) { expect_ref_follows<TextTable>("tenant-42"); }
TEST(PartitionRef, FollowsALongTextThroughEveryState) {
  expect_ref_follows<TextTable>(std::string(500, 'x'));
}
TEST(PartitionRef, FollowsTheEmptyTextThroughEveryState) { expect_ref_follows<TextTable>(""); }
TEST(PartitionRef, FollowsANumberThroughEveryState) {
  expect_ref_follows<NumberTable>(std::uint64_t{42});
}

TEST(PartitionRef, FollowsItsCellWhereverGrowthMovesIt) {
  NumberTable table(TableOptions{.shards = 1});
  table.set(7, {7, 0});
  auto ref = table.ref(7);
  for (std::uint64_t other = 100; other < 5'000; ++other) {
    table.set(other, {other, 0});
    const auto at = ref.get();
    ASSERT_TRUE(at);
    ASSERT_EQ(at->placement, ChecksummedPlacement(7, 0));
    ASSERT_TRUE(ref.acquire_write());
  }
  EXPECT_EQ(table.writes_in_flight(7), 0U);
}

// The cell and the counter of an erased partition go to the next one that comes.
TEST(PartitionRef, IsNotFooledByThePartitionThatTookItsCell) {
  NumberTable table(TableOptions{.shards = 1});
  table.set(1, {1, 0});
  auto ref = table.ref(1);
  ASSERT_TRUE(ref.get());
  for (std::uint64_t other = 2; other < 200; ++other) {
    ASSERT_TRUE(table.erase(other - 1));
    table.set(other, {other, 0});
    EXPECT_FALSE(ref.get());
    EXPECT_EQ(ref.acquire_write().refusal(), WriteRefusal::UnknownPartition);
    EXPECT_EQ(table.writes_in_flight(other), 0U);
  }
  table.set(1, {1, 1});
  EXPECT_EQ(ref.get()->placement, ChecksummedPlacement(1, 1));
}

TEST(PartitionRef, KeepsAnIdOfItsOwnWhenCopiedAndMoved) {
  TextTable table;
  std::string id = "short";
  auto ref = table.ref(id);
  id = "other";
  table.set("short", {1, 0});
  auto copy = ref;
  auto moved = std::move(ref);
  EXPECT_EQ(copy.id(), "short");
  EXPECT_EQ(moved.id(), "short");
  EXPECT_EQ(copy.get()->placement, ChecksummedPlacement(1, 0));
  table.set("short", {1, 1});
  EXPECT_EQ(moved.get()->placement, ChecksummedPlacement(1, 1));
  copy = table.ref("other");
  EXPECT_FALSE(copy.get());
}

TEST(PartitionRef, SeesWhatAReplicaApplies) {
  using State = BasicPartitionState<ChecksummedPlacement>;
  NumberTable table(TableOptions{.shards = 1});
  auto ref = table.ref(1);
  const State there = State::migrating({1, 0}, {1, 1}, MigrationPhase::Draining);
  ASSERT_TRUE(table.apply(1, there, Epoch(5)));
  expect_same(ref, table, std::uint64_t{1});
  ASSERT_TRUE(table.apply(1, State::migrating({1, 2}, {1, 3}, MigrationPhase::Cutover), Epoch(7)));
  expect_same(ref, table, std::uint64_t{1});
  ASSERT_TRUE(table.apply_erase(1, Epoch(9)));
  expect_same(ref, table, std::uint64_t{1});
  table.forget_erased(Epoch(9));
  expect_same(ref, table, std::uint64_t{1});
}

// Flips, growth, erases and second cells under references: what they see is whole, their own, and
// never goes back; and no flip happens over a permit.
TEST(PartitionRef, IsRightWhileThePartitionChangesAndMoves) {
  const std::uint64_t kChanges = work(60'000);
  constexpr std::uint64_t kPartitions = 3;
  NumberTable table(TableOptions{.shards = 1});
  for (std::uint64_t id = 0; id < kPartitions; ++id) table.set(id, {id, 0});
  std::atomic<bool> changing{true};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> back{0};
  std::atomic<std::uint64_t> seen{0};
  std::atomic<std::uint64_t> permits{0};
  const auto use = [&] {
    std::vector<NumberTable::Ref> refs;
    for (std::uint64_t id = 0; id < kPartitions; ++id) refs.push_back(table.ref(id));
    std::vector<Epoch> last(kPartitions);
    for (std::uint64_t turn = 0; changing.load(); ++turn) {
      const std::uint64_t id = turn % kPartitions;
      if (const auto at = refs[id].get()) {
        if (!at->placement.is_whole() || at->placement.partition != id) ++wrong;
        if (at->epoch < last[id]) ++back;
        last[id] = at->epoch;
        ++seen;
      }
      if (const auto permit = refs[id].acquire_write()) {
        const auto at = table.get(id);
        // In flight: the partition is where the permit says, unless a set overrode it.
        if (at && at->placement != permit.placement() && at->placement.sequence % 2 == 0) ++wrong;
        ++permits;
      }
      // Beside the table's own answers, in either order.
      if (const auto at = table.get(id)) {
        if (at->epoch < last[id]) ++back;
        last[id] = at->epoch;
      }
    }
  };
  Random random = make_random();
  run_together({use, use, [&] {
                  // Flips bring even placements, overrides odd ones.
                  for (std::uint64_t i = 1; i <= kChanges; ++i) {
                    const std::uint64_t id = below(random, kPartitions);
                    static_cast<void>(table.begin_migration(id, {id, 2 * i}));
                    if (i % 3 == 0) table.set(id, {id, 2 * i + 1});
                    static_cast<void>(table.enter_cutover(id));
                    static_cast<void>(table.complete_migration(id));
                    if (i % 16 == 0) static_cast<void>(table.abort_migration(id));
                    table.set(kPartitions + i, {i, 0});
                    if (i >= 20) static_cast<void>(table.erase(kPartitions + i - 20));
                    const std::uint64_t now = seen.load();
                    while (i % 512 == 0 && seen.load() == now) std::this_thread::yield();
                  }
                  changing = false;
                }});
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_EQ(back.load(), 0U);
  EXPECT_GT(seen.load(), 0U);
  EXPECT_GT(permits.load(), 0U);
  for (std::uint64_t id = 0; id < kPartitions; ++id) EXPECT_EQ(table.writes_in_flight(id), 0U);
}

// ---- many at once ----

// Fits a cell, or not; there, or not; in any phase.
std::string name(std::uint64_t n) {
  return std::string(n % 5 == 0 ? 100 : n % 9, '-') + std::to_string(n);
}

TEST(GetMany, AnswersAsGetDoes) {
  TextTable table;
  for (std::uint64_t n = 0; n < 3'000; ++n) {
    if (n % 4 == 3) continue;
    table.set(name(n), {n, 0});
    if (n % 4 == 1) {
      ASSERT_TRUE(table.begin_migration(name(n), {n, 1}));
    }
  }
  for (const std::size_t count : {0U, 1U, 2U, 15U, 16U, 17U, 31U, 32U, 33U, 3'000U}) {
    std::vector<std::string> names;
    for (std::uint64_t n = 0; n < count; ++n) names.push_back(name(n * 7 % 3'000));
    const std::vector<std::string_view> ids(names.begin(), names.end());
    std::vector<std::optional<TextTable::PlacementAt>> results(count);
    if (count > 1) results[1] = TextTable::PlacementAt{{99, 99}, Epoch(99), {}};  // overwritten
    table.get_many(ids, results);
    for (std::size_t i = 0; i < count; ++i) {
      const auto expected = table.get(ids[i]);
      ASSERT_EQ(results[i].has_value(), expected.has_value()) << ids[i];
      if (!expected) continue;
      EXPECT_EQ(results[i]->placement, expected->placement);
      EXPECT_EQ(results[i]->epoch, expected->epoch);
      EXPECT_EQ(results[i]->phase, expected->phase);
    }
  }
}

TEST(GetMany, TakesTextInEveryForm) {
  TextTable table;
  table.set("a", {1, 0});
  table.set(name(5), {5, 0});  // a long one
  std::array<std::optional<TextTable::PlacementAt>, 3> results;
  const auto expect_found = [&] {
    ASSERT_TRUE(results[0] && results[1]);
    EXPECT_EQ(results[0]->placement, ChecksummedPlacement(1, 0));
    EXPECT_EQ(results[1]->placement, ChecksummedPlacement(5, 0));
    EXPECT_FALSE(results[2]);
    results.fill(std::nullopt);
  };
  const std::vector<std::string> strings = {"a", name(5), "absent"};
  table.get_many(strings, results);
  expect_found();
  table.get_many(std::vector<std::string>(strings), results);  // one that is gone afterwards
  expect_found();
  const std::vector<std::string_view> views(strings.begin(), strings.end());
  table.get_many(views, results);
  expect_found();
  table.get_many(std::span<const std::string_view>(views), results);
  expect_found();
  table.get_many(std::deque<std::string>(strings.begin(), strings.end()), results);
  expect_found();
  const std::vector<absl::string_view> of_abseil(strings.begin(), strings.end());
  table.get_many(of_abseil, results);
  expect_found();
  const char* const literals[] = {"a", strings[1].c_str(), "absent"};
  table.get_many(literals, results);
  expect_found();
}

// Ids that are made when they are asked for, and are gone thereafter.
class MadeUpNames {
 public:
  class Iterator {
   public:
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;
    using reference = std::string;
    using iterator_category = std::input_iterator_tag;
    using iterator_concept = std::random_access_iterator_tag;

    Iterator() = default;
    explicit Iterator(std::ptrdiff_t at) : at_(at) {}
    std::string operator*() const { return name(static_cast<std::uint64_t>(at_)); }
    std::string operator[](std::ptrdiff_t n) const { return *(*this + n); }
    Iterator& operator+=(std::ptrdiff_t n) { return *this = Iterator(at_ + n); }
    Iterator& operator-=(std::ptrdiff_t n) { return *this += -n; }
    Iterator& operator++() { return *this += 1; }
    Iterator& operator--() { return *this -= 1; }
    Iterator operator++(int) { return Iterator(at_++); }
    Iterator operator--(int) { return Iterator(at_--); }
    friend Iterator operator+(Iterator a, std::ptrdiff_t n) { return Iterator(a.at_ + n); }
    [[maybe_unused]] friend Iterator operator+(std::ptrdiff_t n, Iterator a) { return a + n; }
    [[maybe_unused]] friend Iterator operator-(Iterator a, std::ptrdiff_t n) {
      return Iterator(a.at_ - n);
    }
    friend std::ptrdiff_t operator-(Iterator a, Iterator b) { return a.at_ - b.at_; }
    [[maybe_unused]] friend auto operator<=>(Iterator, Iterator) = default;

   private:
    std::ptrdiff_t at_ = 0;
  };

  [[nodiscard]] Iterator begin() const { return Iterator(0); }
  [[nodiscard]] Iterator end() const { return Iterator(100); }
};

TEST(GetMany, TakesIdsThatAreMadeAsTheyAreAskedFor) {
  TextTable table;
  for (std::uint64_t n = 0; n < 100; ++n) table.set(name(n), {n, 0});
  std::vector<std::optional<TextTable::PlacementAt>> results(100);
  table.get_many(MadeUpNames(), results);
  for (std::uint64_t n = 0; n < 100; ++n) {
    ASSERT_TRUE(results[n]);
    EXPECT_EQ(results[n]->placement, ChecksummedPlacement(n, 0));
  }
}

TEST(GetMany, TakesNumbersThatConvert) {
  NumberTable table;
  table.set(7, {7, 0});
  std::array<std::optional<NumberTable::PlacementAt>, 2> results;
  table.get_many(std::array<std::uint16_t, 2>{7, 8}, results);
  ASSERT_TRUE(results[0]);
  EXPECT_EQ(results[0]->placement, ChecksummedPlacement(7, 0));
  EXPECT_FALSE(results[1]);
}

TEST(GetMany, LeavesNoOldResultWhereAPartitionIsGone) {
  NumberTable table;
  table.set(1, {1, 0});
  ASSERT_TRUE(table.apply_erase(1, Epoch(9)));
  const std::vector<std::uint64_t> ids = {1, 2};
  const NumberTable::PlacementAt old{{1, 0}, Epoch(1), MigrationPhase::Settled};
  std::vector<std::optional<NumberTable::PlacementAt>> results = {old, old};
  table.get_many(ids, results);
  EXPECT_FALSE(results[0]);
  EXPECT_FALSE(results[1]);
}

TEST(GetManyDeathTest, TakesAsManyResultsAsIds) {
  NumberTable table;
  table.set(1, {1, 0});
  table.set(2, {2, 0});
  const std::vector<std::uint64_t> ids = {1, 2};
  std::vector<std::optional<NumberTable::PlacementAt>> results(1);
#ifdef NDEBUG
  table.get_many(ids, results);  // the shorter counts
  EXPECT_TRUE(results[0]);
#else
  EXPECT_DEATH(table.get_many(ids, results), "size");
#endif
}

TEST(GetMany, OfATableWithNothingInItFindsNothing) {
  const NumberTable table;
  const std::vector<std::uint64_t> ids = {0, 1, 2};
  std::vector<std::optional<NumberTable::PlacementAt>> results(ids.size());
  table.get_many(ids, results);
  for (const auto& result : results) EXPECT_FALSE(result);
}

TEST(GetMany, IsRightAtEverySizeWhileTheTableGrows) {
  NumberTable table(TableOptions{.shards = 2});
  std::vector<std::uint64_t> ids;
  std::vector<std::optional<NumberTable::PlacementAt>> results;
  for (std::uint64_t id = 0; id < 600; ++id) {
    table.set(id, {id, 0});
    ids.push_back(id);
    results.resize(ids.size());
    table.get_many(ids, results);
    for (std::uint64_t n = 0; n <= id; ++n) {
      ASSERT_TRUE(results[n]);
      ASSERT_EQ(results[n]->placement, ChecksummedPlacement(n, 0));
    }
  }
}

TEST(GetMany, SeesEachPartitionWholeInAStormOfFlips) {
  constexpr std::uint64_t kPartitions = 64;
  const std::uint64_t kFlips = work(40'000);
  NumberTable table;
  for (std::uint64_t id = 0; id < kPartitions; ++id) table.set(id, {id, 0});
  std::atomic<bool> flipping{true};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> rounds{0};
  const auto read = [&] {
    std::vector<std::uint64_t> ids(kPartitions);
    for (std::uint64_t id = 0; id < kPartitions; ++id) ids[id] = id;
    std::vector<std::optional<NumberTable::PlacementAt>> results(kPartitions);
    std::vector<Epoch> last(kPartitions);
    while (flipping.load()) {
      table.get_many(ids, results);
      for (std::uint64_t id = 0; id < kPartitions; ++id) {
        const auto& at = results[id];
        if (!at || !at->placement.is_whole() || at->placement.partition != id) {
          ++wrong;
          continue;
        }
        if (at->epoch < last[id]) ++wrong;
        last[id] = at->epoch;
      }
      ++rounds;
    }
  };
  run_together({read, [&] {
                  for (std::uint64_t flip = 1; flip <= kFlips; ++flip) {
                    const std::uint64_t id = flip * 7 % kPartitions;
                    EXPECT_TRUE(table.begin_migration(id, {id, flip}));
                    EXPECT_TRUE(table.enter_cutover(id));
                    EXPECT_TRUE(table.complete_migration(id));
                    const std::uint64_t now = rounds.load();
                    while (flip % 512 == 0 && rounds.load() == now) std::this_thread::yield();
                  }
                  flipping = false;
                }});
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_GT(rounds.load(), kFlips / 512);
}

// ---- full groups ----

// Ids of one home fill its group, and the next ones, all round the array.
TEST(FullGroups, AreGoneOnFrom) {
  NumberTable table(TableOptions{.shards = 1, .expected_partitions = 600});  // 1,024 cells
  std::vector<std::uint64_t> ids;
  std::vector<std::uint64_t> absent;
  for (std::uint64_t id = 0; absent.size() < 8; ++id) {
    if (detail::IdTraits<std::uint64_t>::key(id).hash >> 57 != 127)
      continue;  // the last group of 128
    (ids.size() < 60 ? ids : absent).push_back(id);
  }
  const auto check = [&](std::size_t first) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(table.contains(ids[i]), i >= first);
      if (i >= first) {
        ASSERT_EQ(table.get(ids[i])->placement, ChecksummedPlacement(ids[i], 0));
      }
    }
    for (const std::uint64_t id : absent) ASSERT_FALSE(table.get(id));
    std::size_t visited = 0;
    table.for_each([&](std::uint64_t, const auto&, Epoch) { ++visited; });
    ASSERT_EQ(visited, ids.size() - first);
  };
  for (const std::uint64_t id : ids) table.set(id, {id, 0});
  check(0);
  // Whoever stands beyond a group is found when those before him go.
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ASSERT_TRUE(table.erase(ids[i]));
    check(i + 1);
  }
}

}  // namespace
}  // namespace placement::test
