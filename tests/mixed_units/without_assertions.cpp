// SPDX-License-Identifier: Apache-2.0
#ifndef NDEBUG
#define NDEBUG
#endif

#include <cstddef>
#include <memory>
#include <utility>

#include <placement/placement_table.hpp>

#include "mixed_units.hpp"

namespace mixed_units {

std::unique_ptr<placement::WritePermit> move_away(placement::WritePermit& permit) {
  return std::make_unique<placement::WritePermit>(std::move(permit));
}

std::size_t size_of_permit() { return sizeof(placement::WritePermit); }

}  // namespace mixed_units
