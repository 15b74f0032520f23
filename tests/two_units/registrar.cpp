// SPDX-License-Identifier: Apache-2.0
#include <string_view>

#include <placement/placement_table.hpp>

#include "two_units.hpp"

namespace two_units {

placement::PlacementTable& shared_table() {
  static placement::PlacementTable table;
  return table;
}

placement::Epoch register_tenant(std::string_view tenant, std::string_view cluster) {
  return shared_table().set(tenant,
                            placement::Placement::dedicated_cluster(intern_cluster(cluster)));
}

placement::ClusterId intern_cluster(std::string_view name) { return placement::ClusterId(name); }

}  // namespace two_units
