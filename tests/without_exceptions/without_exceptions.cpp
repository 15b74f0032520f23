// SPDX-License-Identifier: Apache-2.0
//
// Compiled with -fno-exceptions and -fno-rtti, as some of the other tests are once more: an
// allocation that fails ends the process, and says what could not be had.
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <gtest/gtest.h>
#include <placement/migration_controller.hpp>
#include <placement/partition_ref.hpp>
#include <placement/placement_table.hpp>

#include "../support/place.hpp"

#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "this is the test of builds that have neither"
#endif

namespace placement {
namespace {

using test::place;

// The system's, but for one use, for which there is none.
class NoneFor final : public TableMemory {
 public:
  explicit NoneFor(std::optional<MemoryUse> use) : none_for_(use) {}

  void* allocate(std::size_t bytes, MemoryUse use) override {
    return use == none_for_ ? nullptr : TableMemory::system().allocate(bytes, use);
  }
  void deallocate(void* memory, std::size_t bytes, MemoryUse use) noexcept override {
    TableMemory::system().deallocate(memory, bytes, use);
  }

 private:
  std::optional<MemoryUse> none_for_;
};

void make_and_fill(MemoryUse none_for) {
  NoneFor memory(none_for);
  PlacementTable table(TableOptions{.shards = 1, .memory = &memory});
  table.set(std::string(100, 'x'), place(1));
}

TEST(WithoutExceptionsDeathTest, AFailedAllocationSaysHowManyBytesForWhat) {
  const testing::KilledBySignal aborted(SIGABRT);
  EXPECT_EXIT(make_and_fill(MemoryUse::Directory), aborted,
              "placement_table: out of memory: [0-9]+ bytes for the directory\n");
  EXPECT_EXIT(make_and_fill(MemoryUse::Cells), aborted,
              "placement_table: out of memory: [0-9]+ bytes for cells\n");
  EXPECT_EXIT(make_and_fill(MemoryUse::LongIds), aborted,
              "placement_table: out of memory: 256 bytes for long ids\n");
  EXPECT_EXIT(make_and_fill(MemoryUse::Counters), aborted,
              "placement_table: out of memory: 1024 bytes for counters\n");
}

TEST(WithoutExceptionsDeathTest, TheSystemsMemorySaysTheSame) {
  constexpr std::size_t kTooMuch = std::size_t{1} << (8 * sizeof(std::size_t) - 2);
  EXPECT_EXIT(static_cast<void>(TableMemory::system().allocate(kTooMuch, MemoryUse::Cells)),
              testing::KilledBySignal(SIGABRT),
              "placement_table: out of memory: " + std::to_string(kTooMuch) + " bytes for cells\n");
}

TEST(WithoutExceptionsDeathTest, RoomForMoreThanThereCanBeIsRefusedInTheSameWay) {
  PlacementTable table;
  EXPECT_EXIT(table.reserve(std::numeric_limits<std::size_t>::max()),
              testing::KilledBySignal(SIGABRT),
              "placement_table: out of memory: more bytes than there can be for cells\n");
}

TEST(WithoutExceptions, ATableWithMemoryOfOnesOwnWorks) {
  NoneFor memory(std::nullopt);
  BasicPlacementTable<std::uint64_t, Placement> table(
      TableOptions{.expected_partitions = 100, .memory = &memory});
  for (std::uint64_t id = 0; id < 1000; ++id) table.set(id, place(id % 3));
  std::size_t visits = 0;
  table.for_each([&](std::uint64_t id, const auto& state, Epoch) {
    ++visits;
    EXPECT_EQ(state.read_placement(), place(id % 3));
  });
  EXPECT_EQ(visits, 1000U);
}

class InstantMover final : public Mover {
 public:
  absl::StatusOr<Rest> copy() override { return Rest::Small; }
  absl::Status finish() override { return absl::OkStatus(); }
};

TEST(WithoutExceptions, AControllerMigrates) {
  PlacementTable table;
  table.set("p", place(1));
  MigrationController controller(table);
  InstantMover mover;
  static_cast<void>(controller.run("p", place(2), mover));
  EXPECT_EQ(table.get("p")->placement, place(2));
}

}  // namespace
}  // namespace placement
