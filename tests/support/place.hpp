// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_PLACE_HPP_
#define PLACEMENT_TESTS_SUPPORT_PLACE_HPP_

#include <cstdint>
#include <string>

#include <placement/placement.hpp>

namespace placement::test {

// The n-th of many different placements, of every mode in turn.
inline Placement place(std::uint64_t n) {
  const ClusterId cluster("cluster-" + std::to_string(n / 3));
  const IndexName index("index-" + std::to_string(n));
  if (n % 3 == 0) return Placement::dedicated_cluster(cluster);
  return n % 3 == 1 ? Placement::dedicated_index(cluster, index)
                    : Placement::shared_index(cluster, index);
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_PLACE_HPP_
