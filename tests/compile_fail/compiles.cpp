// SPDX-License-Identifier: Apache-2.0
// expect-success
#include <array>
#include <cstdint>

#include <placement/placement_table.hpp>

struct Shelf {
  std::uint32_t row;
  std::uint32_t column;
  friend bool operator==(const Shelf&, const Shelf&) = default;
};

void instantiate() {
  placement::PlacementTable by_name;
  placement::BasicPlacementTable<std::uint64_t, Shelf> by_number;
  placement::BasicPlacementTable<Shelf> by_shelf;
  placement::BasicPlacementTable<std::array<char, placement::kMaxIdBytes>> by_bytes;
  (void)by_name.get("acme");
  (void)by_shelf.get({1, 2});
  (void)by_bytes.get({});
  (void)by_number.set(7, Shelf{1, 2});
}
