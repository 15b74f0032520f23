// SPDX-License-Identifier: Apache-2.0
//
// Readers write no shared memory: every read runs on write-protected pages, the table object's own
// among them. And counting a write stores to its partition's counter and nowhere else.
#include <sys/mman.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/test_memory.hpp"

namespace placement::test {
namespace {

using State = BasicPartitionState<ChecksummedPlacement>;

// A table in pages of its own, with all that it allocates in such pages, too.
template <typename Id>
class PagedTable {
 public:
  using Table = BasicPlacementTable<Id, ChecksummedPlacement>;

  explicit PagedTable(std::size_t shards) {
    void* const pages =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    table_ = ::new (pages) Table(TableOptions{.shards = shards, .memory = &memory_});
  }
  PagedTable(const PagedTable&) = delete;
  PagedTable& operator=(const PagedTable&) = delete;
  ~PagedTable() {
    unprotect();
    table_->~Table();
    ::munmap(table_, kBytes);
  }

  // Everything.
  void write_protect() {
    write_protect_all_but_counters();
    memory_.write_protect({MemoryUse::Counters});
  }
  void write_protect_all_but_counters() {
    memory_.write_protect({MemoryUse::Directory, MemoryUse::Cells, MemoryUse::LongIds});
    ASSERT_EQ(::mprotect(table_, kBytes, PROT_READ), 0);
  }
  void unprotect() {
    ASSERT_EQ(::mprotect(table_, kBytes, PROT_READ | PROT_WRITE), 0);
    memory_.unprotect();
  }

  [[nodiscard]] Table& operator*() { return *table_; }
  [[nodiscard]] Table* operator->() { return table_; }
  [[nodiscard]] const PageMemory& memory() const { return memory_; }

 private:
  static constexpr std::size_t kBytes =
      (sizeof(Table) + PageMemory::kPage - 1) / PageMemory::kPage * PageMemory::kPage;

  PageMemory memory_;
  Table* table_;
};

std::uint64_t number_id(std::uint64_t n) { return n * 0x9E3779B97F4A7C15U; }
std::string text_id(std::uint64_t n) {
  // Every fourth is too long for a cell; every seventh is empty but for its number.
  return std::string(n % 4 == 0 ? 200 : n % 7, 'x') + std::to_string(n);
}

MigrationPhase phase_of(std::uint64_t n) { return static_cast<MigrationPhase>(n % 3); }

template <typename Table, typename Id>
void register_partition(Table& table, const Id& id, std::uint64_t n) {
  table.set(id, {n, 0});
  if (phase_of(n) == MigrationPhase::Settled) return;
  ASSERT_TRUE(table.begin_migration(id, {n, 1}));
  if (phase_of(n) == MigrationPhase::Draining) return;
  ASSERT_TRUE(table.enter_cutover(id));
}

// Every read, for hits in every phase and for misses. Returns how many there were.
template <typename Table, typename Name>
std::size_t read_everything(const Table& table, std::uint64_t partitions, Name name) {
  std::size_t reads = 0;
  for (std::uint64_t n = 0; n < partitions; ++n) {
    const auto id = name(n);
    const ChecksummedPlacement origin(n, 0);
    const auto at = table.get(id);
    EXPECT_TRUE(at && at->placement == origin && at->phase == phase_of(n));
    const auto state = table.state(id);
    EXPECT_TRUE(state && state->epoch == at->epoch && state->state.read_placement() == origin);
    EXPECT_EQ(state && state->state.destination() == ChecksummedPlacement(n, 1),
              phase_of(n) != MigrationPhase::Settled);
    EXPECT_EQ(table.admit_write(id, at->epoch) == WriteAdmission::Admit,
              phase_of(n) != MigrationPhase::Cutover);
    EXPECT_EQ(table.admit_write(id, Epoch::max()), WriteAdmission::Reject);
    EXPECT_TRUE(table.contains(id));
    EXPECT_LE(at->epoch, table.current_epoch());
    reads += 7;
  }
  for (std::uint64_t n = partitions; n < 2 * partitions + 8; ++n) {
    const auto id = name(n);
    EXPECT_FALSE(table.get(id) || table.state(id) || table.contains(id));
    EXPECT_EQ(table.admit_write(id, Epoch(1)), WriteAdmission::Reject);
    reads += 4;
  }
  EXPECT_EQ(table.size(), partitions);
  std::size_t visited = 0;
  table.for_each([&](const auto&, const State&, Epoch) { ++visited; });
  EXPECT_EQ(visited, partitions);
  return reads + 2;
}

// At every number of partitions, hence before, in the midst of and after every growth.
template <typename Id, typename Name>
void expect_reads_run_on_protected_pages(Name name) {
  constexpr std::uint64_t kPartitions = 260;
  PagedTable<Id> table(1);
  std::size_t reads = 0;
  std::size_t while_growing = 0;
  std::size_t arrays = 0;
  for (std::uint64_t n = 0; n <= kPartitions; ++n) {
    const auto cells = table.memory().pieces(MemoryUse::Cells);
    // The insert that allocated an array of many cells has moved but a few of them.
    if (std::exchange(arrays, cells.size()) < cells.size() && n > 100) ++while_growing;
    table.write_protect();
    reads += read_everything(std::as_const(*table), n, name);
    table.unprotect();
    register_partition(*table, name(n), n);
  }
  EXPECT_GT(reads, kPartitions * kPartitions);
  EXPECT_GT(while_growing, 0U);
}

TEST(ReadOnlyMemory, EveryReadOfNumbersRunsOnIt) {
  expect_reads_run_on_protected_pages<std::uint64_t>(number_id);
}

TEST(ReadOnlyMemory, EveryReadOfTextsRunsOnIt) {
  expect_reads_run_on_protected_pages<std::string>(text_id);
}

TEST(ReadOnlyMemory, ReadsRunOnItAfterErasesAndMovesToOtherCells) {
  constexpr std::uint64_t kPartitions = 200;
  PagedTable<std::string> table(4);
  for (std::uint64_t n = 0; n < 2 * kPartitions; ++n) table->set(text_id(n), {n, 7});
  for (std::uint64_t n = 0; n < 2 * kPartitions; ++n) {
    if (n >= kPartitions) {
      ASSERT_TRUE(table->erase(text_id(n)));
    } else {
      register_partition(*table, text_id(n), n);
    }
  }
  // Override migrations, which gives the partitions other cells, and begin them again.
  for (std::uint64_t n = 0; n < kPartitions; ++n) register_partition(*table, text_id(n), n);
  table.write_protect();
  EXPECT_GT(read_everything(std::as_const(*table), kPartitions, text_id), kPartitions);
  table.unprotect();
}

TEST(ReadOnlyMemory, ReadsOfAnErasedPartitionThatIsRememberedRunOnIt) {
  PagedTable<std::uint64_t> table(1);
  ASSERT_TRUE(table->apply(1, State::active({1, 0}), Epoch(5)));
  ASSERT_TRUE(table->apply_erase(1, Epoch(6)));
  table.write_protect();
  EXPECT_FALSE(table->get(1) || table->state(1) || table->contains(1));
  EXPECT_EQ(table->admit_write(1, Epoch(6)), WriteAdmission::Reject);
  EXPECT_EQ(table->size(), 0U);
  table->for_each([](std::uint64_t, const State&, Epoch) { FAIL(); });
  table.unprotect();
}

// The counters are left writable; the cells, the views, the shards with their mutexes, the long
// ids and the table object are not.
TEST(ReadOnlyMemory, AcquiringAndReleasingAWriteStoresToCountersOnly) {
  constexpr std::uint64_t kPartitions = 260;
  PagedTable<std::string> table(1);
  std::size_t granted = 0;
  for (std::uint64_t n = 0; n <= kPartitions; ++n) {
    table.write_protect_all_but_counters();
    {
      std::vector<BasicWritePermit<ChecksummedPlacement>> permits;
      for (std::uint64_t known = 0; known < n; ++known) {
        auto permit = table->acquire_write(text_id(known));
        ASSERT_EQ(bool(permit), phase_of(known) != MigrationPhase::Cutover);
        if (!permit) {
          EXPECT_EQ(permit.refusal(), WriteRefusal::Cutover);
          continue;
        }
        EXPECT_EQ(permit.placement(), ChecksummedPlacement(known, 0));
        auto expected = table->acquire_write(text_id(known), permit.epoch());
        EXPECT_TRUE(expected);
        EXPECT_EQ(table->acquire_write(text_id(known), Epoch::max()).refusal(),
                  WriteRefusal::StaleEpoch);
        expected.release();
        permits.push_back(std::move(permit));
        ++granted;
      }
      EXPECT_EQ(table->acquire_write(text_id(n)).refusal(), WriteRefusal::UnknownPartition);
    }
    table.unprotect();
    register_partition(*table, text_id(n), n);
  }
  EXPECT_GT(granted, kPartitions);
}

using ReadOnlyMemoryDeathTest = testing::Test;

TEST(ReadOnlyMemoryDeathTest, TheProtectionIsReal) {
  PagedTable<std::uint64_t> table(1);
  for (std::uint64_t n = 0; n < 10; ++n) register_partition(*table, n, n);
  const auto expect_fault = [](const std::function<void()>& store) {
    // Not in a sanitizer's handler, which may wait for a lock that the faulting store holds.
    EXPECT_EXIT(
        {
          static_cast<void>(std::signal(SIGSEGV, SIG_DFL));
          store();
        },
        testing::KilledBySignal(SIGSEGV), "");
  };
  expect_fault([&] {
    table.write_protect();
    table->set(3, {3, 1});
  });
  expect_fault([&] {
    table.write_protect();
    static_cast<void>(table->acquire_write(3));
  });
  expect_fault([&] {
    table.memory().write_protect({MemoryUse::Cells});
    table->set(3, {3, 1});
  });
  table->set(3, {3, 1});
  EXPECT_EQ(table->get(3)->placement, ChecksummedPlacement(3, 1));
}

}  // namespace
}  // namespace placement::test
