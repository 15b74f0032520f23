// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdHasNoPaddingAndNoFloatingPoint
#include <placement/placement_table.hpp>

placement::BasicPlacementTable<double> table;
