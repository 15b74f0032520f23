// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdHasNoPaddingAndNoFloatingPoint
#include <placement/placement_table.hpp>

struct Point {
  float x;
  float y;
};

placement::BasicPlacementTable<Point> table;
