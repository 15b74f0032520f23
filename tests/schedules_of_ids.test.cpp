// SPDX-License-Identifier: Apache-2.0
//
// Ids of several words, by every schedule of few preemptions (schedules/scheduler.hpp): two take
// turns in one cell, and a reader may find the first half of the one with the second half of the
// other. That is an id, too, and the reader asks for it.
#include <array>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "schedules/scheduler.hpp"

namespace placement::test {
namespace {

template <std::size_t Words>
class SchedulesOfIds : public testing::Test {
 public:
  using Id = std::array<std::uint64_t, Words>;
  using Table = BasicPlacementTable<Id, std::uint64_t>;

  // All three have one home and one tag, or no lookup would compare their words.
  SchedulesOfIds() {
    while (!meet(mix_, first_)) ++mix_.back();
    second_ = mix_;
    do {
      ++second_.front();
    } while (!meet(second_, first_));
  }

  // Returns in how many executions the reader found what is there.
  template <typename Read>
  std::size_t explore(Read read) {
    std::size_t executions = 0;
    std::size_t found = 0;
    Choices choices;
    do {
      ++executions;
      Table table{TableOptions{.shards = 1}};
      table.set(first_, 1);
      Scheduler scheduler(choices, 3);
      const auto take_turns = [&] {
        static_cast<void>(table.erase(first_));
        table.set(second_, 2);
        static_cast<void>(table.erase(second_));
        table.set(first_, 1);
      };
      const bool ended = scheduler.run({{[&] { found += read(table); }, 2}, {take_turns, 2}});
      if (!ended || testing::Test::HasFailure()) {
        ADD_FAILURE() << "execution " << executions << ": " << scheduler.schedule();
        return found;
      }
    } while (choices.advance());
    std::cout << executions << " executions\n";
    return found;
  }

  Id first_{};
  Id second_{};
  Id mix_{};  // begins as the first and ends as the second

 private:
  static bool meet(const Id& a, const Id& b) {
    constexpr std::uint64_t kHomeAndTag = 0x8000'0000'00FF'0000;
    const auto hash = [](const Id& id) { return detail::IdTraits<Id>::key(id).hash & kHomeAndTag; };
    return a != b && hash(a) == hash(b);
  }
};

using SchedulesOfTwoWords = SchedulesOfIds<2>;
using SchedulesOfFourWords = SchedulesOfIds<4>;

template <typename Test>
void expect_the_mix_is_never_found(Test& test) {
  using Table = typename Test::Table;
  const std::size_t found = test.explore([&test](Table& table) {
    EXPECT_FALSE(table.get(test.mix_));
    EXPECT_FALSE(table.contains(test.mix_));
    return false;
  });
  EXPECT_EQ(found, 0U);
  test.explore([&test](Table& table) {
    EXPECT_EQ(table.acquire_write(test.mix_).refusal(), WriteRefusal::UnknownPartition);
    std::array<std::optional<typename Table::PlacementAt>, 1> result;
    table.get_many(std::array<typename Test::Id, 1>{test.mix_}, result);
    EXPECT_FALSE(result[0]);
    return false;
  });
}

TEST_F(SchedulesOfTwoWords, AMixOfTwoIdsIsNeverFound) { expect_the_mix_is_never_found(*this); }
TEST_F(SchedulesOfFourWords, AMixOfTwoIdsIsNeverFound) { expect_the_mix_is_never_found(*this); }

template <typename Test>
void expect_for_each_gives_whole_ids(Test& test) {
  using Table = typename Test::Table;
  const std::size_t found = test.explore([&test](Table& table) {
    std::size_t visits = 0;
    table.for_each([&](const typename Test::Id& id, const auto& state, Epoch) {
      ++visits;
      EXPECT_EQ(id, state.read_placement() == 1 ? test.first_ : test.second_);
    });
    EXPECT_LE(visits, 1U);
    return visits;
  });
  EXPECT_GT(found, 0U);
}

TEST_F(SchedulesOfTwoWords, ForEachGivesWholeIds) { expect_for_each_gives_whole_ids(*this); }
TEST_F(SchedulesOfFourWords, ForEachGivesWholeIds) { expect_for_each_gives_whole_ids(*this); }

template <typename Test>
void expect_each_is_found_with_its_own(Test& test) {
  using Table = typename Test::Table;
  const std::size_t found = test.explore([&test](Table& table) {
    const auto first = table.get(test.first_);
    const auto second = table.get(test.second_);
    EXPECT_TRUE(!first || first->placement == 1);
    EXPECT_TRUE(!second || second->placement == 2);
    return std::size_t{first.has_value()} + std::size_t{second.has_value()};
  });
  EXPECT_GT(found, 0U);
}

TEST_F(SchedulesOfTwoWords, EachIsFoundWithItsOwnPlacement) {
  expect_each_is_found_with_its_own(*this);
}
TEST_F(SchedulesOfFourWords, EachIsFoundWithItsOwnPlacement) {
  expect_each_is_found_with_its_own(*this);
}

}  // namespace
}  // namespace placement::test
