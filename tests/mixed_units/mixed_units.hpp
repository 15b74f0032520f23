// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_MIXED_UNITS_MIXED_UNITS_HPP_
#define PLACEMENT_TESTS_MIXED_UNITS_MIXED_UNITS_HPP_

#include <cstddef>
#include <memory>

#include <placement/placement_table.hpp>

// What the unit without assertions provides.
namespace mixed_units {

[[nodiscard]] std::unique_ptr<placement::WritePermit> move_away(placement::WritePermit& permit);
[[nodiscard]] std::size_t size_of_permit();

}  // namespace mixed_units

#endif  // PLACEMENT_TESTS_MIXED_UNITS_MIXED_UNITS_HPP_
