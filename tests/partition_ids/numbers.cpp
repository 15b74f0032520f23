// SPDX-License-Identifier: Apache-2.0
//
// Integers and enumerations as ids.
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <type_traits>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

namespace placement {
namespace {

enum class Plain { Zero, One, Two };
enum class Narrow : std::int8_t { Low = -128, MinusOne = -1, High = 127 };
enum class Wide : std::uint64_t { High = std::numeric_limits<std::uint64_t>::max() };
enum class Flag : bool { Off, On };
enum Unscoped : short { kUnscoped = -7 };

template <typename Id, bool = std::is_enum_v<Id>>
struct NumberOf {
  using Type = Id;
};
template <typename Id>
struct NumberOf<Id, true> {
  using Type = std::underlying_type_t<Id>;
};

template <typename Id>
std::set<Id> interesting_ids() {
  using Number = typename NumberOf<Id>::Type;
  using Limits = std::numeric_limits<Number>;
  std::set<Id> ids;
  const auto add = [&](auto number) { ids.insert(static_cast<Id>(static_cast<Number>(number))); };
  if constexpr (sizeof(Number) == 1) {
    for (int n = Limits::min(); n <= Limits::max(); ++n) add(n);
  } else {
    add(Limits::min());
    add(Limits::max());
    for (int bit = 0; bit < Limits::digits; ++bit) {
      const auto power = static_cast<std::uint64_t>(1) << bit;
      add(power);
      add(power - 1);
      add(power + 1);
      add(~power);
      add(0 - power);
    }
    for (int n = 0; n < 300; ++n) add(n);
  }
  return ids;
}

template <typename Id>
class NumberIds : public testing::Test {};
using NumberTypes = testing::Types<std::int8_t, std::uint8_t, std::int16_t, std::uint16_t,
                                   std::int32_t, std::uint32_t, std::int64_t, std::uint64_t, char,
                                   char32_t, bool, Plain, Narrow, Wide, Flag, Unscoped>;
TYPED_TEST_SUITE(NumberIds, NumberTypes);

TYPED_TEST(NumberIds, AllValuesAreKeptApartAndComeBackAsTheyAre) {
  const std::set<TypeParam> ids = interesting_ids<TypeParam>();
  BasicPlacementTable<TypeParam, std::uint64_t> table{TableOptions{.shards = 1}};
  std::map<TypeParam, std::uint64_t> expected;
  for (const TypeParam id : ids) {
    ASSERT_FALSE(table.contains(id));
    expected[id] = table.current_epoch().value();
    table.set(id, expected[id]);
  }
  EXPECT_EQ(table.size(), ids.size());
  std::map<TypeParam, std::uint64_t> seen;
  table.for_each([&](TypeParam id, const auto& state, Epoch) {
    EXPECT_TRUE(seen.emplace(id, state.read_placement()).second);
  });
  EXPECT_TRUE(seen == expected);
  for (const auto& [id, value] : expected) ASSERT_EQ(table.get(id)->placement, value);
  for (const TypeParam id : ids) ASSERT_TRUE(table.erase(id));
  EXPECT_EQ(table.size(), 0U);
  for (const TypeParam id : ids) ASSERT_FALSE(table.contains(id));
}

TYPED_TEST(NumberIds, ComeBackFromMigrationsAsTheyAre) {
  using Number = typename NumberOf<TypeParam>::Type;
  BasicPlacementTable<TypeParam, std::uint64_t> table;
  const auto id = static_cast<TypeParam>(std::numeric_limits<Number>::min());
  table.set(id, 1);
  ASSERT_TRUE(table.begin_migration(id, 2));
  const auto found = table.migrations();
  static_assert(std::is_same_v<decltype(found[0].id), TypeParam>);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].id, id);
}

}  // namespace
}  // namespace placement
