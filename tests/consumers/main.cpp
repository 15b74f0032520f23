// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <placement/placement_table.hpp>

int main() {
  placement::PlacementTable table;
  const placement::Epoch epoch =
      table.set("acme", placement::Placement::dedicated_cluster(placement::ClusterId("a")));
  const auto found = table.get("acme");
  const bool works = found.has_value() && found->epoch == epoch &&
                     found->placement.cluster() == placement::ClusterId("a") &&
                     table.admit_write("acme", epoch) == placement::WriteAdmission::Admit;
  std::puts(works ? "consumer: works" : "consumer: does not work");
  return works ? 0 : 1;
}
