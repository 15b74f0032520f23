// SPDX-License-Identifier: Apache-2.0
//
// Placements of every shape.
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

namespace placement {
namespace {

enum class Wide : std::uint64_t { High = std::numeric_limits<std::uint64_t>::max() };

template <std::size_t Size>
struct Bytes {
  explicit Bytes(unsigned seed) {
    for (std::size_t i = 0; i < Size; ++i) {
      bytes[i] = static_cast<unsigned char>(seed * 131 + i * 7 + 1);
    }
  }
  unsigned char bytes[Size];
  friend bool operator==(const Bytes&, const Bytes&) = default;
};

// A whole migration among neighbours, growth included, leaves every placement as it was stored.
template <typename P, typename Make, typename Same>
void expect_stored_whole(Make make, Same same) {
  BasicPlacementTable<std::uint32_t, P> table{TableOptions{.shards = 1}};
  constexpr std::uint32_t kCount = 60;
  for (std::uint32_t id = 0; id < kCount; ++id) {
    table.set(id, make(id));
    ASSERT_TRUE(table.begin_migration(id, make(id + 100)));
  }
  for (std::uint32_t id = 0; id < kCount; ++id) {
    const auto at = table.state(id);
    ASSERT_TRUE(at.has_value());
    EXPECT_TRUE(same(at->state.read_placement(), make(id)));
    EXPECT_TRUE(same(*at->state.destination(), make(id + 100)));
    ASSERT_TRUE(table.enter_cutover(id));
    ASSERT_TRUE(table.complete_migration(id));
  }
  for (std::uint32_t id = 0; id < kCount; ++id) {
    EXPECT_TRUE(same(table.get(id)->placement, make(id + 100)));
    EXPECT_TRUE(same(table.acquire_write(id).placement(), make(id + 100)));
  }
  std::size_t visits = 0;
  table.for_each([&](std::uint32_t id, const auto& state, Epoch) {
    ++visits;
    EXPECT_TRUE(same(state.read_placement(), make(id + 100)));
  });
  EXPECT_EQ(visits, kCount);
}

template <typename SizeConstant>
class PlacementsOfSize : public testing::Test {};
template <std::size_t... Sizes>
using TypesOfSizes = testing::Types<std::integral_constant<std::size_t, Sizes>...>;
using OddSizes = TypesOfSizes<1, 3, 8, 9, 12, 16, 24, 32, 33, 63, 64>;
TYPED_TEST_SUITE(PlacementsOfSize, OddSizes);

TYPED_TEST(PlacementsOfSize, AreStoredWhole) {
  using P = Bytes<TypeParam::value>;
  static_assert(sizeof(P) == TypeParam::value && !std::is_default_constructible_v<P>);
  expect_stored_whole<P>([](unsigned n) { return P(n); }, std::equal_to<>());
}

TEST(PlacementTypes, APointerOrAnEnumerationWillDo) {
  static const std::array<char, 300> places{};
  expect_stored_whole<const char*>([](unsigned n) { return &places[n]; }, std::equal_to<>());
  expect_stored_whole<Wide>([](unsigned n) { return Wide{n}; }, std::equal_to<>());
}

struct Incomparable {
  int rack;
  char slot;  // and padding
};

TEST(PlacementTypes, NeedNoEquality) {
  static_assert(!std::equality_comparable<Incomparable>);
  expect_stored_whole<Incomparable>(
      [](unsigned n) { return Incomparable{static_cast<int>(n), static_cast<char>(n)}; },
      [](const Incomparable& a, const Incomparable& b) {
        return a.rack == b.rack && a.slot == b.slot;
      });
}

struct Fixed {
  explicit Fixed(unsigned n) : number(n) {}
  const unsigned number;
};

TEST(PlacementTypes, NeedNeitherDefaultNorAssignment) {
  static_assert(!std::is_default_constructible_v<Fixed> && !std::is_copy_assignable_v<Fixed>);
  expect_stored_whole<Fixed>([](unsigned n) { return Fixed(n); },
                             [](Fixed a, Fixed b) { return a.number == b.number; });
}

struct alignas(16) Aligned {
  std::uint64_t n;
};

TEST(PlacementTypes, MayBeAlignedBeyondAWord) {
  expect_stored_whole<Aligned>([](unsigned n) { return Aligned{n}; },
                               [](const Aligned& a, const Aligned& b) {
                                 return a.n == b.n &&
                                        reinterpret_cast<std::uintptr_t>(&a) % 16 == 0;
                               });
}

struct Nothing {};

TEST(PlacementTypes, MayBeEmpty) {
  expect_stored_whole<Nothing>([](unsigned) { return Nothing{}; },
                               [](Nothing, Nothing) { return true; });
}

}  // namespace
}  // namespace placement
