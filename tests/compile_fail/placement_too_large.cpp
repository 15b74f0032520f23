// SPDX-License-Identifier: Apache-2.0
// expect: at most 64 bytes \(kMaxPlacementBytes\)
// expect: placement::Interned<YourType>
#include <string>

#include <placement/placement_table.hpp>

struct Large {
  char bytes[placement::kMaxPlacementBytes + 1];
};

placement::BasicPlacementTable<std::string, Large> table;
