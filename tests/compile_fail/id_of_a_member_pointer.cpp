// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdIsNoPointerOrView
#include <placement/placement_table.hpp>

struct Tenant {
  int number;
};

placement::BasicPlacementTable<int Tenant::*> table;
