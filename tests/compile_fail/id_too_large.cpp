// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdHasAtMost32Bytes
#include <array>

#include <placement/placement_table.hpp>

placement::BasicPlacementTable<std::array<char, placement::kMaxIdBytes + 1>> table;
