// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdIsNoPointerOrView
#include <string_view>

#include <placement/placement_table.hpp>

placement::BasicPlacementTable<std::string_view> table;
