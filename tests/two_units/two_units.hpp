// SPDX-License-Identifier: Apache-2.0
//
// One table shared by two translation units that each include the whole library.
#ifndef PLACEMENT_TESTS_TWO_UNITS_HPP_
#define PLACEMENT_TESTS_TWO_UNITS_HPP_

#include <string_view>

#include <placement/placement_table.hpp>

namespace two_units {

placement::PlacementTable& shared_table();
placement::Epoch register_tenant(std::string_view tenant, std::string_view cluster);
placement::ClusterId intern_cluster(std::string_view name);

}  // namespace two_units

#endif  // PLACEMENT_TESTS_TWO_UNITS_HPP_
