// SPDX-License-Identifier: Apache-2.0
//
// An allocation that fails, at every place where one can: std::bad_alloc comes out, the table is
// as it was, the same call succeeds when there is memory again, and nothing leaks.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <placement/migration_controller.hpp>
#include <placement/placement_table.hpp>

#include "support/sanitizers.hpp"
#include "support/test_memory.hpp"

namespace {

// The n-th allocation from operator new fails; zero: none.
std::atomic<std::int64_t> new_fails_in{0};
std::atomic<std::uint64_t> failed_news{0};
// What operator new gave out and has not got back.
std::atomic<std::int64_t> pieces_out{0};

}  // namespace

// ThreadSanitizer has an operator new of its own, which cannot be replaced.
#ifndef PLACEMENT_TESTS_UNDER_TSAN

namespace {

void* allocate(std::size_t size, std::size_t alignment) {
  if (new_fails_in.load() > 0 && new_fails_in.fetch_sub(1) == 1) {
    ++failed_news;
    return nullptr;
  }
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  ++pieces_out;
  return std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
}

void give_back(void* memory) noexcept {
  if (memory != nullptr) --pieces_out;
  std::free(memory);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* const memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

constexpr std::size_t kAlignment = alignof(std::max_align_t);

}  // namespace

// Not inlined: g++ would see malloc's kin on one side only, and warn.
// NOLINTBEGIN(misc-new-delete-overloads)
[[gnu::noinline]] void* operator new(std::size_t size) {
  return allocate_or_throw(size, kAlignment);
}
[[gnu::noinline]] void* operator new[](std::size_t size) {
  return allocate_or_throw(size, kAlignment);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, kAlignment);
}
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, kAlignment);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment,
                                       const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { give_back(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { give_back(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { give_back(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t,
                                       const std::nothrow_t&) noexcept {
  give_back(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t,
                                         const std::nothrow_t&) noexcept {
  give_back(memory);
}
// NOLINTEND(misc-new-delete-overloads)

#endif

namespace placement::test {
namespace {

// What fails: the table's own memory, or operator new.
enum class Failing { TableMemory, OperatorNew };

#ifdef PLACEMENT_TESTS_UNDER_TSAN
constexpr std::array kFailing = {Failing::TableMemory};
#else
constexpr std::array kFailing = {Failing::TableMemory, Failing::OperatorNew};
#endif

class FailingAllocation : public testing::TestWithParam<Failing> {
 protected:
  [[nodiscard]] TableMemory* memory() {
    return GetParam() == Failing::TableMemory ? &memory_ : nullptr;
  }
  void fail_at(std::int64_t nth) {
    if (GetParam() == Failing::TableMemory) {
      memory_.fail_at(nth);
    } else {
      new_fails_in = nth;
    }
  }
  [[nodiscard]] std::uint64_t failures() const {
    return GetParam() == Failing::TableMemory ? memory_.failures() : failed_news.load();
  }

  // Calls it again and again, with its first, second, third ... allocation failing, until it makes
  // do with those before; each time `dump` has to be as before. Returns how often it failed.
  std::size_t fail_everywhere(const std::function<void()>& call,
                              const std::function<std::string()>& dump) {
    const std::string before = dump();
    for (std::int64_t nth = 1;; ++nth) {
      const std::uint64_t failures_before = failures();
      bool threw = false;
      fail_at(nth);
      try {
        call();
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      fail_at(0);
      EXPECT_EQ(threw, failures() != failures_before);
      if (!threw) return static_cast<std::size_t>(nth - 1);
      const std::string after = dump();
      EXPECT_EQ(after, before) << "at allocation " << nth;
      if (after != before) return 0;
    }
  }

  CountingMemory memory_;
};

Placement here() { return Placement::dedicated_cluster(ClusterId("here")); }
Placement there() { return Placement::dedicated_cluster(ClusterId("there")); }

std::string dump(const PlacementTable& table) {
  std::vector<std::string> lines;
  table.for_each([&](std::string_view id, const PartitionState& state, Epoch epoch) {
    std::ostringstream line;
    line << id << ": " << state << " @" << epoch << " in flight " << table.writes_in_flight(id);
    lines.push_back(line.str());
  });
  std::sort(lines.begin(), lines.end());
  std::ostringstream all;
  all << "size " << table.size() << " generation " << table.current_epoch() << '\n';
  for (const std::string& line : lines) all << line << '\n';
  return all.str();
}

std::string short_id(int n) { return "tenant-" + std::to_string(n); }
std::string long_id(int n) { return std::string(100 + static_cast<std::size_t>(n), 'x') + "!"; }

TEST_P(FailingAllocation, InTheConstructorLeavesNothing) {
  const std::size_t failures = fail_everywhere(
      [&] { const PlacementTable table(TableOptions{.shards = 4, .memory = memory()}); },
      [] { return std::string(); });
  EXPECT_EQ(failures, 2U);
  EXPECT_EQ(memory_.bytes(), 0U);
}

TEST_P(FailingAllocation, InTheConstructorThatReservesLeavesNothing) {
  const std::size_t failures = fail_everywhere(
      [&] {
        const PlacementTable table(
            TableOptions{.shards = 4, .expected_partitions = 100, .memory = memory()});
      },
      [] { return std::string(); });
  EXPECT_EQ(failures, 2U + 4U);
  EXPECT_EQ(memory_.bytes(), 0U);
}

TEST_P(FailingAllocation, InReserveLeavesTheTableAsItWas) {
  PlacementTable table(TableOptions{.shards = 4, .memory = memory()});
  for (int n = 0; n < 20; ++n) table.set(short_id(n), here());
  std::size_t failures = 0;
  failures += fail_everywhere([&] { table.reserve(200); }, [&] { return dump(table); });
  EXPECT_GE(failures, 2U);
  EXPECT_EQ(fail_everywhere([&] { table.reserve(200); }, [&] { return dump(table); }), 0U);
}

// A number of bytes that no machine has.
TEST(FailingReserve, OfMoreThanThereCanBeThrows) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t shards : {1U, 64U}) {
    PlacementTable table(TableOptions{.shards = shards});
    table.set("a", here());
    EXPECT_THROW(table.reserve(kMost), std::bad_alloc);
    EXPECT_THROW(table.reserve(kMost / 2), std::bad_alloc);
    EXPECT_THROW(table.reserve(kMost / 16), std::bad_alloc);
    EXPECT_EQ(table.get("a")->placement, here());
  }
}

// Every set of a growing table, so in every stage of every growth.
TEST_P(FailingAllocation, InSetOfAShortIdLeavesTheTableAsItWas) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory()});
  std::size_t failures = 0;
  for (int n = 0; n < 300; ++n) {
    failures +=
        fail_everywhere([&] { table.set(short_id(n), here()); }, [&] { return dump(table); });
    ASSERT_EQ(table.size(), static_cast<std::size_t>(n) + 1);
    ASSERT_EQ(table.current_epoch().value(), static_cast<std::uint64_t>(n) + 1);
  }
  EXPECT_GT(failures, 4U);
}

TEST_P(FailingAllocation, InSetOfALongIdLeavesTheTableAsItWas) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory()});
  std::size_t failures = 0;
  for (int n = 0; n < 60; ++n) {
    const std::string id = long_id(n);
    failures += fail_everywhere([&] { table.set(id, here()); }, [&] { return dump(table); });
  }
  EXPECT_GT(failures, 60U);
  EXPECT_EQ(table.size(), 60U);
}

TEST_P(FailingAllocation, InAnOverrideOfAMigrationLeavesItAsItWas) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory()});
  std::size_t failures = 0;
  for (int n = 0; n < 40; ++n) {
    const std::string id = long_id(n);
    table.set(id, here());
    ASSERT_TRUE(table.begin_migration(id, there()));
    const Placement instead = Placement::dedicated_cluster(ClusterId(std::to_string(n)));
    failures += fail_everywhere([&] { table.set(id, instead); }, [&] { return dump(table); });
    EXPECT_EQ(table.get(id)->placement, instead);
  }
  EXPECT_GT(failures, 0U);
}

TEST_P(FailingAllocation, InAcquireWriteOfATableThatTracksPermitsCountsNothing) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory(), .track_permits = true});
  table.set("a", here());
  PartitionRef ref = table.ref("a");
  std::vector<WritePermit> permits;
  permits.reserve(2);
  std::size_t failures = 0;
  failures += fail_everywhere([&] { permits.push_back(table.acquire_write("a")); },
                              [&] { return dump(table); });
  failures +=
      fail_everywhere([&] { permits.push_back(ref.acquire_write()); }, [&] { return dump(table); });
  EXPECT_EQ(failures, GetParam() == Failing::OperatorNew ? 2U : 0U);
  EXPECT_EQ(table.blockers("a").size(), 2U);
  permits.clear();
  EXPECT_EQ(table.writes_in_flight("a"), 0U);
}

TEST_P(FailingAllocation, InBlockersLeavesThePermitsAsTheyWere) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory(), .track_permits = true});
  table.set("a", here());
  std::vector<WritePermit> permits;
  for (int n = 0; n < 3; ++n) {
    permits.push_back(table.acquire_write("a"));
    permits.back().label(long_id(n));
  }
  std::size_t named = 99;
  const std::size_t failures =
      fail_everywhere([&] { named = table.blockers("a").size(); }, [&] { return dump(table); });
  EXPECT_EQ(named, 3U);
  EXPECT_EQ(failures > 0, GetParam() == Failing::OperatorNew);
}

TEST_P(FailingAllocation, InApplyLeavesTheTableAsItWas) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory()});
  std::size_t failures = 0;
  std::uint64_t epoch = 0;
  for (int n = 0; n < 60; ++n) {
    const std::string id = long_id(n);
    const Placement other = Placement::dedicated_cluster(ClusterId(std::to_string(n)));
    // New; over a settled state with another origin; over a migration; erased; and new again.
    const std::vector<PartitionState> states = {
        PartitionState::active(here()),
        PartitionState::migrating(there(), other, MigrationPhase::Draining),
        PartitionState::migrating(other, here(), MigrationPhase::Cutover)};
    for (const PartitionState& state : states) {
      ++epoch;
      failures += fail_everywhere([&] { table.apply(id, state, Epoch(epoch)); },
                                  [&] { return dump(table); });
      EXPECT_EQ(table.state(id), (StateAt{state, Epoch(epoch)}));
    }
    ++epoch;
    const std::string stranger = long_id(n) + "stranger";
    failures += fail_everywhere([&] { table.apply_erase(stranger, Epoch(epoch)); },
                                [&] { return dump(table); });
  }
  EXPECT_GT(failures, 60U);
}

// These take no memory of the table's; from operator new they do.

TEST_P(FailingAllocation, InForEachAndMigrationsChangesNothing) {
  PlacementTable table(TableOptions{.shards = 2, .memory = memory()});
  for (int n = 0; n < 40; ++n) {
    table.set(n % 2 == 0 ? short_id(n) : long_id(n), here());
    if (n % 4 == 0) {
      ASSERT_TRUE(table.begin_migration(short_id(n), there()));
    }
  }
  std::size_t visited = 0;
  std::size_t failures = fail_everywhere(
      [&] {
        visited = 0;
        table.for_each([&](std::string_view, const PartitionState&, Epoch) { ++visited; });
      },
      [&] { return dump(table); });
  EXPECT_EQ(visited, 40U);
  std::size_t migrating = 0;
  failures +=
      fail_everywhere([&] { migrating = table.migrations().size(); }, [&] { return dump(table); });
  EXPECT_EQ(migrating, 10U);
  EXPECT_EQ(failures > 0, GetParam() == Failing::OperatorNew);
}

TEST_P(FailingAllocation, InHoldHoldsNothing) {
  PlacementTable table(TableOptions{.shards = 1, .max_held_writes = 1, .memory = memory()});
  table.set("a", here());
  ASSERT_TRUE(table.begin_migration("a", there()));
  ASSERT_TRUE(table.enter_cutover("a"));
  int resumed = 0;
  std::optional<HoldTicket> ticket;
  const std::size_t failures =
      fail_everywhere([&] { ticket.emplace(table.hold("a", [&resumed] { ++resumed; })); },
                      [&] { return dump(table); });
  EXPECT_EQ(failures > 0, GetParam() == Failing::OperatorNew);
  // Had a failed call taken the one place there is, this one would have been refused.
  ASSERT_TRUE(ticket && !ticket->refusal());
  EXPECT_EQ(resumed, 0);
  ASSERT_TRUE(table.abort_migration("a"));
  EXPECT_EQ(resumed, 1);
}

TEST_P(FailingAllocation, InAcquireWriteUntilCountsNothing) {
  PlacementTable table(TableOptions{.shards = 1, .max_held_writes = 1, .memory = memory()});
  table.set("a", here());
  ASSERT_TRUE(table.begin_migration("a", there()));
  ASSERT_TRUE(table.enter_cutover("a"));
  std::optional<WriteRefusal> refusal;
  const std::size_t failures = fail_everywhere(
      [&] { refusal = table.acquire_write_until("a", absl::InfinitePast()).refusal(); },
      [&] { return dump(table); });
  EXPECT_EQ(failures > 0, GetParam() == Failing::OperatorNew);
  EXPECT_EQ(refusal, WriteRefusal::DeadlineExceeded);
  EXPECT_TRUE(table.complete_migration("a"));
}

// What says nothing of std::bad_alloc allocates nothing.
TEST_P(FailingAllocation, IsNoMatterForTransitionsReadsAndPermits) {
  PlacementTable table(TableOptions{.shards = 1, .memory = memory()});
  const std::string id = long_id(1);
  const Placement from = here();
  const Placement to = there();
  table.set(id, from);
  const std::size_t failures = fail_everywhere(
      [&] {
        bool good = true;
        good &= table.get(id)->placement == from;
        good &= table.state(id).has_value() && table.contains(id) && table.size() == 1;
        good &= table.admit_write(id, table.current_epoch()) == WriteAdmission::Admit;
        good &= bool(table.acquire_write(id));
        good &= bool(table.begin_migration(id, to));
        good &= bool(table.enter_cutover(id));
        good &= table.writes_in_flight(id) == 0;
        good &= table.wait_until_drained(id, absl::InfinitePast());
        good &= bool(table.complete_migration(id));
        good &= bool(table.erase(id));
        // The block, the counter and the cell are there to be used again.
        good &= table.set(id, from) != Epoch::zero();
        table.forget_erased(Epoch::max());
        if (!good) std::abort();
      },
      [&] { return dump(table); });
  EXPECT_EQ(failures, 0U);
}

INSTANTIATE_TEST_SUITE_P(Of, FailingAllocation, testing::ValuesIn(kFailing),
                         [](const auto& tested) {
                           return std::string(tested.param == Failing::TableMemory ? "TableMemory"
                                                                                   : "OperatorNew");
                         });

#ifndef PLACEMENT_TESTS_UNDER_TSAN
TEST(MigrationControllerMemory, KeepsNothingOfAMigrationThatIsOver) {
  if (kSanitized) GTEST_SKIP() << "abseil's maps may rehash at any time under a sanitizer";
  PlacementTable table;
  table.set("a", here());
  MigrationController controller(table);
  const auto migrate = [&](bool flips) {
    const bool is_here = table.get("a")->placement == here();
    ASSERT_TRUE(controller.begin("a", is_here ? there() : here()));
    ASSERT_TRUE(controller.enter_cutover("a"));
    if (flips) {
      ASSERT_TRUE(std::holds_alternative<Epoch>(controller.complete("a")));
    } else {
      ASSERT_TRUE(controller.abort("a"));
    }
  };
  for (const bool flips : {true, false}) {
    migrate(flips);
    const std::int64_t before = pieces_out;
    for (int n = 0; n < 100; ++n) migrate(flips);
    EXPECT_EQ(pieces_out, before);
  }
}

TEST(FailingIntern, OfANameThatIsNewThrowsAndOfOneThatIsKnownDoesNotAllocate) {
  static int times = 0;  // a name is new only once
  const std::string text = "a cluster's name that is too long for the small string optimisation" +
                           std::to_string(++times);
  const std::string other = text + ", another one";
  const ClusterId known(text);
  std::size_t failures = 0;
  for (std::int64_t nth = 1;; ++nth) {
    new_fails_in = nth;
    try {
      const ClusterId made(other);
      new_fails_in = 0;
      EXPECT_EQ(made.view(), other);
      break;
    } catch (const std::bad_alloc&) {
      new_fails_in = 0;
      ++failures;
    }
  }
  EXPECT_GT(failures, 0U);
  new_fails_in = 1;
  const bool same = ClusterId(text) == known;
  const bool allocated = new_fails_in.exchange(0) != 1;
  EXPECT_TRUE(same);
  EXPECT_FALSE(allocated);
}
#endif

}  // namespace
}  // namespace placement::test
