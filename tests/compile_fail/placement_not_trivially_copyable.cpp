// SPDX-License-Identifier: Apache-2.0
// expect: a placement type has to be trivially copyable
// expect: placement::Interned<YourType>
#include <string>

#include <placement/placement_table.hpp>

placement::BasicPlacementTable<std::string, std::string> table;
