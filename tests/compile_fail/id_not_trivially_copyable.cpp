// SPDX-License-Identifier: Apache-2.0
// expect: PartitionKey
// expect: IdIsTextOrTriviallyCopyable
#include <placement/placement_table.hpp>

struct Counted {
  Counted(const Counted& other) : number(other.number + 1) {}
  int number;
};

placement::BasicPlacementTable<Counted> table;
