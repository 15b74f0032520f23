// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdIsTextOrTriviallyCopyable
#include <vector>

#include <placement/placement_table.hpp>

placement::BasicPlacementTable<std::vector<int>> table;
