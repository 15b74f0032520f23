// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdHasNoPaddingAndNoFloatingPoint
#include <cstdint>

#include <placement/placement_table.hpp>

struct Padded {
  std::uint64_t tenant;
  std::uint8_t shard;
};

placement::BasicPlacementTable<Padded> table;
