// SPDX-License-Identifier: Apache-2.0
//
// Ids of plain bytes: a UUID, a struct of integers, anything without padding of up to 32 bytes.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <placement/partition_ref.hpp>
#include <placement/placement_table.hpp>

namespace placement {
namespace {

template <std::size_t Size>
using Bytes = std::array<std::uint8_t, Size>;

// No byte but these, and no `==`.
struct ShardOfTenant {
  std::uint64_t tenant;
  std::uint32_t shard;
  std::uint32_t index;
};

// Sees half of itself only.
struct OfHalfAMind {
  std::uint32_t seen;
  std::uint32_t unseen;
  friend bool operator==(const OfHalfAMind& a, const OfHalfAMind& b) { return a.seen == b.seen; }
};

// Made by those who know how, and never changed.
class Stubborn {
 public:
  static Stubborn made_of(std::uint64_t n) { return Stubborn(n); }

 private:
  explicit Stubborn(std::uint64_t n) : n_(n), more_(~n) {}
  const std::uint64_t n_;
  const std::uint64_t more_;
};

struct alignas(16) Aligned {
  std::array<std::uint64_t, 4> words;
};

template <typename Id>
Id id_of(const Bytes<sizeof(Id)>& bytes) {
  return std::bit_cast<Id>(bytes);
}
template <typename Id>
Bytes<sizeof(Id)> bytes_of(const Id& id) {
  return std::bit_cast<Bytes<sizeof(Id)>>(id);
}

// All zeros, all ones, and one bit of difference to each in every place: some 16 for each byte.
template <typename Id>
std::vector<Id> interesting_ids() {
  std::set<Bytes<sizeof(Id)>> all;
  for (const int filling : {0x00, 0xff}) {
    Bytes<sizeof(Id)> bytes;
    bytes.fill(static_cast<std::uint8_t>(filling));
    all.insert(bytes);
    for (std::size_t bit = 0; bit < 8 * sizeof(Id); ++bit) {
      Bytes<sizeof(Id)> other = bytes;
      other[bit / 8] = static_cast<std::uint8_t>(other[bit / 8] ^ (1U << (bit % 8)));
      all.insert(other);
    }
  }
  std::vector<Id> ids;
  for (const auto& bytes : all) ids.push_back(id_of<Id>(bytes));
  return ids;
}

template <typename Id>
class ByteIds : public testing::Test {};
// One byte, a word and its neighbours, the most; in arrays and in types of their own.
using ByteTypes = testing::Types<Bytes<1>, Bytes<7>, Bytes<8>, Bytes<9>, Bytes<16>, Bytes<31>,
                                 ShardOfTenant, OfHalfAMind, Stubborn, Aligned>;
TYPED_TEST_SUITE(ByteIds, ByteTypes);

TYPED_TEST(ByteIds, AreKeptApartByEveryBitAndComeBackAsTheyAre) {
  using Table = BasicPlacementTable<TypeParam, std::uint64_t>;
  static_assert(std::is_same_v<typename Table::IdView, TypeParam>);
  const std::vector<TypeParam> ids = interesting_ids<TypeParam>();
  Table table{TableOptions{.shards = 1}};
  for (std::size_t n = 0; n < ids.size(); ++n) {
    ASSERT_FALSE(table.contains(ids[n])) << n;
    table.set(ids[n], n);
  }
  for (std::size_t n = 0; n < ids.size(); n += 2) ASSERT_TRUE(table.begin_migration(ids[n], n));
  std::map<Bytes<sizeof(TypeParam)>, std::uint64_t> seen;
  table.for_each([&](TypeParam id, const auto& state, Epoch) {
    EXPECT_TRUE(seen.emplace(bytes_of(id), state.read_placement()).second);
  });
  EXPECT_EQ(seen.size(), ids.size());
  std::vector<std::optional<typename Table::PlacementAt>> many(ids.size());
  table.get_many(ids, many);
  for (std::size_t n = 0; n < ids.size(); ++n) {
    ASSERT_EQ(seen.at(bytes_of(ids[n])), n);
    ASSERT_EQ(table.get(ids[n])->placement, n);
    ASSERT_EQ(many[n]->placement, n);
    typename Table::Ref ref = table.ref(ids[n]);
    ASSERT_EQ(ref.get()->placement, n);
    ASSERT_EQ(bytes_of(ref.id()), bytes_of(ids[n]));
    ASSERT_EQ(ref.acquire_write().placement(), n);
  }
  std::set<Bytes<sizeof(TypeParam)>> migrating;
  for (const auto& info : table.migrations()) {
    static_assert(std::is_same_v<decltype(info.id), TypeParam>);
    EXPECT_TRUE(migrating.insert(bytes_of(info.id)).second);
    EXPECT_EQ(seen.at(bytes_of(info.id)) % 2, 0U);
  }
  EXPECT_EQ(migrating.size(), (ids.size() + 1) / 2);
  for (std::size_t n = 1; n < ids.size(); n += 2) ASSERT_TRUE(table.erase(ids[n]));
  for (std::size_t n = 0; n < ids.size(); ++n) {
    ASSERT_EQ(table.contains(ids[n]), n % 2 == 0) << n;
  }
}

TEST(ByteIds, AreWhatTheirBytesSayAndNotWhatTheirTypeDoes) {
  EXPECT_TRUE((OfHalfAMind{.seen = 1, .unseen = 1} == OfHalfAMind{.seen = 1, .unseen = 2}));
  BasicPlacementTable<OfHalfAMind, int> table;
  table.set({.seen = 1, .unseen = 1}, 11);
  table.set({.seen = 1, .unseen = 2}, 12);
  EXPECT_EQ(table.size(), 2U);
  EXPECT_EQ(table.get({.seen = 1, .unseen = 1})->placement, 11);
  EXPECT_EQ(table.get({.seen = 1, .unseen = 2})->placement, 12);
}

TEST(ByteIds, OfTheMostBytesStandInTheCell) {
  static_assert(sizeof(Bytes<kMaxIdBytes>) == 32);
  BasicPlacementTable<Bytes<kMaxIdBytes>, Placement> table;
  const auto place = Placement::dedicated_cluster(ClusterId("blue"));
  Bytes<kMaxIdBytes> id{};
  for (id.back() = 0; id.back() < 200; ++id.back()) table.set(id, place);
  for (id.back() = 0; id.back() < 200; ++id.back()) EXPECT_EQ(table.get(id)->placement, place);
  // Two lines, as text has them.
  EXPECT_EQ(sizeof(detail::Cell<detail::IdTraits<Bytes<kMaxIdBytes>>::kMinWords, 2>), 96U);
  EXPECT_EQ(sizeof(detail::Cell<detail::IdTraits<Bytes<16>>::kMinWords, 2>), 64U);
}

#ifdef __SIZEOF_INT128__
__extension__ using Int128 = __int128;
TEST(ByteIds, MayBeIntegersWiderThanAWord) {
  BasicPlacementTable<Int128, int> table;
  table.set(Int128{1} << 100, 1);
  table.set(-1, 2);
  table.set(0xFFFF'FFFF'FFFF'FFFF, 3);
  EXPECT_EQ(table.size(), 3U);
  EXPECT_EQ(table.get(Int128{1} << 100)->placement, 1);
  EXPECT_EQ(table.get(-1)->placement, 2);
}
#endif

}  // namespace
}  // namespace placement
