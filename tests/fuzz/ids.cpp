// SPDX-License-Identifier: Apache-2.0
//
// Ids of any bytes: two name one partition if their bytes are equal, and only then, and each comes
// back from for_each as it was. The input is a list of ids, each behind its length; the same bytes
// are then read as integer ids, and as ids of 5, 16 and 32 bytes.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <placement/placement_table.hpp>

#include "require.hpp"

namespace {

using placement::BasicPlacementTable;
using placement::Epoch;
using placement::TableOptions;
using placement::test::require;

// A length of 0xff stands for a longer one, in the next two bytes.
std::vector<std::string> read_texts(std::string_view bytes) {
  std::vector<std::string> ids;
  while (!bytes.empty()) {
    std::size_t length = static_cast<unsigned char>(bytes[0]);
    bytes.remove_prefix(1);
    if (length == 0xff && bytes.size() >= 2) {
      length = static_cast<unsigned char>(bytes[0]) * 256U + static_cast<unsigned char>(bytes[1]);
      bytes.remove_prefix(2);
    }
    ids.emplace_back(bytes.substr(0, length));
    bytes.remove_prefix(std::min(length, bytes.size()));
  }
  return ids;
}

// One after the other; what is missing to the last is zeros.
template <typename Id>
std::vector<Id> read_plain(std::string_view bytes) {
  std::vector<Id> ids;
  while (!bytes.empty()) {
    const std::size_t some = std::min(sizeof(Id), bytes.size());
    Id id{};
    std::memcpy(&id, bytes.data(), some);
    ids.push_back(id);
    bytes.remove_prefix(some);
  }
  return ids;
}

template <typename Id>
void expect_same(const BasicPlacementTable<Id, std::uint64_t>& table,
                 const std::map<Id, std::uint64_t>& expected) {
  std::map<Id, std::uint64_t> seen;
  table.for_each([&](auto view, const auto& state, Epoch) {
    require(seen.emplace(Id(view), state.read_placement()).second, "visited once");
  });
  require(seen == expected, "for_each has what was set, and nothing else");
  require(table.size() == expected.size(), "size");
}

template <typename Id>
void check(const std::vector<Id>& ids) {
  BasicPlacementTable<Id, std::uint64_t> table(TableOptions{.shards = 1});
  std::map<Id, std::uint64_t> expected;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    // A copy of its own, so that a sanitizer sees a read behind its end.
    const Id id = ids[n];
    require(table.contains(id) == expected.contains(id), "contains, before set");
    table.set(id, n);
    expected[id] = n;
  }
  expect_same(table, expected);
  for (const Id& id : ids) {
    const auto at = table.get(id);
    require(at && at->placement == expected[id], "get");
  }
  // Every other one goes; what is left is still found beyond the gaps, and comes into them.
  for (std::size_t n = 0; n < ids.size(); n += 2) {
    require(table.erase(ids[n]).has_value() == (expected.erase(ids[n]) == 1), "erase");
  }
  expect_same(table, expected);
  for (std::size_t n = 0; n < ids.size(); ++n) {
    require(table.contains(ids[n]) == expected.contains(ids[n]), "contains, after erase");
    if (n % 4 != 0) continue;
    table.set(ids[n], n);
    expected[ids[n]] = n;
  }
  expect_same(table, expected);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = placement::test::as_text(data, size);
  check(read_texts(bytes));
  check(read_plain<std::uint64_t>(bytes));
  check(read_plain<std::array<std::uint8_t, 5>>(bytes));
  check(read_plain<std::array<std::uint8_t, 16>>(bytes));
  check(read_plain<std::array<std::uint8_t, 32>>(bytes));
  return 0;
}
