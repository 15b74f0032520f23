// SPDX-License-Identifier: Apache-2.0
//
// Ids and placements of every shape. Here: hostile text. In partition_ids/, for each file takes
// long to compile: integers at their extremes, ids of plain bytes, placements of odd sizes.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/strings/string_view.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"

namespace placement {
namespace {

using std::string_literals::operator""s;
using TextTable = BasicPlacementTable<std::string, std::uint64_t>;

// The n-th id, set to n, is found as n; the table holds these ids and no others, while they are
// set, migrated, erased and set again.
void expect_kept_apart(const std::vector<std::string>& ids) {
  ASSERT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
  TextTable table{TableOptions{.shards = 1}};
  for (std::size_t n = 0; n < ids.size(); ++n) {
    ASSERT_FALSE(table.contains(ids[n])) << "id " << n << " before it was set";
    table.set(ids[n], n);
  }
  for (std::size_t n = 0; n < ids.size(); n += 2) ASSERT_TRUE(table.begin_migration(ids[n], n + 1));
  const auto check = [&](auto is_there) {
    std::map<std::string, std::uint64_t> seen;
    table.for_each([&](std::string_view id, const auto& state, Epoch) {
      EXPECT_TRUE(seen.emplace(id, state.read_placement()).second);
    });
    std::size_t expected = 0;
    for (std::size_t n = 0; n < ids.size(); ++n) {
      const auto at = table.state(ids[n]);
      ASSERT_EQ(at.has_value(), is_there(n)) << "id " << n;
      ASSERT_EQ(seen.contains(ids[n]), is_there(n)) << "id " << n;
      if (!at) continue;
      ++expected;
      ASSERT_EQ(at->state.read_placement(), n);
      ASSERT_EQ(seen[ids[n]], n);
      ASSERT_EQ(at->state.is_migrating(), n % 2 == 0);
    }
    EXPECT_EQ(seen.size(), expected);
    EXPECT_EQ(table.size(), expected);
  };
  check([](std::size_t) { return true; });
  for (std::size_t n = 1; n < ids.size(); n += 2) ASSERT_TRUE(table.erase(ids[n]));
  check([](std::size_t n) { return n % 2 == 0; });
  for (std::size_t n = ids.size(); n-- > 0;) {
    if (n % 2 == 1) table.set(ids[n], n);
  }
  check([](std::size_t) { return true; });
}

TEST(TextIds, EveryLengthUpToThreeHundredIsKeptApart) {
  for (const char filling : {'x', '\0', '\xff'}) {
    std::vector<std::string> ids;
    for (std::size_t length = 0; length <= 300; ++length) ids.emplace_back(length, filling);
    expect_kept_apart(ids);
  }
}

TEST(TextIds, OneByteOfDifferenceAtAnyPositionKeepsThemApart) {
  for (const std::size_t length :
       {1U, 7U, 8U, 9U, 39U, 40U, 41U, 47U, 48U, 49U, 56U, 63U, 64U, 65U, 127U, 128U, 129U, 300U}) {
    std::vector<std::string> ids = {std::string(length, 'a')};
    for (std::size_t at = 0; at < length; ++at) {
      for (const char other : {'\0', 'b', '\xe1'}) {
        ids.push_back(ids[0]);
        ids.back()[at] = other;
      }
    }
    expect_kept_apart(ids);
  }
}

// A cell is told from another by bits of the hash first, so ids have to agree in those before their
// texts are compared.
TEST(TextIds, ThatAreHashedAlikeAreKeptApart) {
  constexpr std::uint64_t kBits = 0xFF00'0000'FFFF'0000;  // the home, the tag and the label
  constexpr std::size_t kTries = 100'000;
  for (const std::size_t length : {6U, 7U, 8U, 12U, 20U, 48U, 60U}) {
    // Where they differ: in the first word, in one between, in the last.
    for (const std::size_t at : {std::size_t{0}, std::size_t{8}, std::size_t{16}, length}) {
      std::map<std::uint64_t, std::string> first_of;
      std::vector<std::string> ids;
      for (std::size_t n = 0; n < kTries && ids.size() < 8; ++n) {
        std::string id = std::to_string(n);
        const std::size_t rest = length - id.size();
        id.insert(0, std::min(at, rest), 'x');
        id.append(length - id.size(), 'x');
        const std::uint64_t bits = detail::TextKey(detail::TextId(id)).hash & kBits;
        const auto [found, is_new] = first_of.emplace(bits, id);
        if (is_new) continue;
        ids.push_back(found->second);
        ids.push_back(std::move(id));
      }
      ASSERT_GE(ids.size(), 2U) << "of length " << length;
      expect_kept_apart(ids);
    }
  }
}

TEST(TextIds, EveryByteIsAnId) {
  std::vector<std::string> ids;
  for (int byte = 0; byte < 256; ++byte) ids.emplace_back(1, static_cast<char>(byte));
  expect_kept_apart(ids);
}

TEST(TextIds, PrefixesAndSuffixesOfOneAnotherAreKeptApart) {
  std::string whole;
  for (int i = 0; i < 150; ++i) whole.push_back(static_cast<char>('!' + i));
  std::vector<std::string> ids = {whole};
  for (std::size_t length = 0; length < whole.size(); ++length) {
    ids.push_back(whole.substr(0, length));
    if (length > 0) ids.push_back(whole.substr(whole.size() - length));
  }
  expect_kept_apart(ids);
}

TEST(TextIds, TheSamePrefixOrSuffixOfAnyLengthIsKeptApart) {
  std::vector<std::string> ids;
  for (const std::size_t shared : {1U, 8U, 44U, 45U, 46U, 47U, 48U, 100U, 1000U}) {
    for (int n = 10; n < 40; ++n) {
      ids.push_back(std::string(shared, 'p') + std::to_string(n));
      ids.push_back(std::to_string(n) + std::string(shared, 's'));
    }
  }
  expect_kept_apart(ids);
}

TEST(TextIds, NulsAreBytesAsAnyOther) {
  expect_kept_apart({"", "\0"s, "\0\0"s, "a"s, "a\0"s, "a\0b"s, "a\0c"s, "\0a"s, "a\0\0"s,
                     std::string(48, '\0'), std::string(48, 'a') + '\0', std::string(48, 'a')});
}

TEST(TextIds, TheEmptyIdIsAnId) {
  TextTable table;
  EXPECT_FALSE(table.contains(""));
  table.set("", 1);
  EXPECT_EQ(table.get(std::string_view())->placement, 1U);  // no data at all
  EXPECT_EQ(table.get(std::string())->placement, 1U);
  EXPECT_FALSE(table.contains("\0"s));
  EXPECT_TRUE(table.erase(""));
  EXPECT_FALSE(table.contains(""));
}

TEST(TextIds, AMebibyteIsNotTooLong) {
  std::vector<std::string> ids(6, std::string(std::size_t{1} << 20, 'x'));
  ids[1].back() = 'y';
  ids[2].front() = 'y';
  ids[3].pop_back();
  ids[4].push_back('\0');
  ids[5][ids[5].size() / 2] = '\0';
  expect_kept_apart(ids);
}

TEST(TextIds, OfMoreBytesThanThereCanBeHaveNoRoom) {
  constexpr std::size_t kMost =
      (std::numeric_limits<std::size_t>::max() / 4 + 1) - detail::IdBlock::kHeaderBytes;
  EXPECT_EQ(detail::IdBlock::size_for(kMost), kMost + detail::IdBlock::kHeaderBytes);
  EXPECT_THROW(static_cast<void>(detail::IdBlock::size_for(kMost + 1)), std::bad_alloc);
}

TEST(TextIds, TheRoomOfAnErasedIdDoesNotShowThroughTheNextOne) {
  TextTable table{TableOptions{.shards = 1}};
  for (std::size_t length = 300; length > 0; --length) {
    const std::string id(length, 'z');
    table.set(id, length);
    table.for_each([&](std::string_view seen, const auto&, Epoch) { EXPECT_EQ(seen, id); });
    EXPECT_EQ(table.get(id)->placement, length);
    EXPECT_FALSE(table.contains(std::string(length - 1, 'z')));
    EXPECT_TRUE(table.erase(id));
  }
  EXPECT_EQ(table.size(), 0U);
}

// A text type of someone else's: only data() and size().
struct OwnText {
  const char* begin;
  std::size_t length;
  [[nodiscard]] const char* data() const { return begin; }
  [[nodiscard]] std::size_t size() const { return length; }
};

TEST(TextIds, AnythingWithDataAndSizeNamesTheSamePartition) {
  const char* const literal = "tenant-42";
  const std::string text = literal;
  const std::vector<char> characters(text.begin(), text.end());
  std::array<char, 9> fixed{};
  std::memcpy(fixed.data(), literal, fixed.size());
  TextTable table;
  table.set(literal, 1);
  table.set("tenant-42", 2);
  table.set(text, 3);
  table.set(std::string_view(text), 4);
  table.set(absl::string_view(literal), 5);
  table.set(OwnText{literal, 9}, 6);
  table.set(characters, 7);
  table.set(fixed, 8);
  EXPECT_EQ(table.size(), 1U);
  EXPECT_EQ(table.get(std::span<const char>(characters))->placement, 8U);
  EXPECT_EQ(table.get(absl::string_view("tenant-42 and more", 9))->placement, 8U);
  EXPECT_EQ(table.get(OwnText{"tenant-42 and more", 9})->placement, 8U);
  EXPECT_EQ(table.current_epoch(), Epoch(8));
}

TEST(TextIds, AreTakenByEveryMethodInEveryForm) {
  PlacementTable table;
  const auto use = [&](const auto& id) {
    table.set(id, test::place(1));
    ASSERT_TRUE(table.begin_migration(id, test::place(2)));
    ASSERT_TRUE(table.abort_migration(id));
    ASSERT_TRUE(table.begin_migration(id, test::place(2)));
    ASSERT_TRUE(table.enter_cutover(id));
    ASSERT_TRUE(table.complete_migration(id));
    EXPECT_EQ(table.get(id)->placement, test::place(2));
    EXPECT_TRUE(table.state(id).has_value());
    EXPECT_TRUE(table.contains(id));
    EXPECT_EQ(table.admit_write(id, table.current_epoch()), WriteAdmission::Admit);
    EXPECT_TRUE(table.acquire_write(id));
    EXPECT_EQ(table.writes_in_flight(id), 0U);
    EXPECT_TRUE(table.erase(id));
    EXPECT_TRUE(table.apply_erase(id, Epoch(table.current_epoch().value() + 1)));
  };
  use("a");
  use("b"s);
  use(std::string_view("c"));
  use(absl::string_view("d"));
  use(OwnText{"e", 1});
}

}  // namespace
}  // namespace placement
