// SPDX-License-Identifier: Apache-2.0
// expect-success
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
  (void)by_name.get("acme");
  (void)by_number.set(7, Shelf{1, 2});
}
