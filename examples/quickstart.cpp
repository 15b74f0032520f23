// SPDX-License-Identifier: Apache-2.0
//
// One tenant moves from one cluster to another while a write is out: the flip waits for it.
#include <iostream>

#include <placement/placement_table.hpp>

int main() {
  using placement::ClusterId;
  using placement::Placement;

  placement::PlacementTable table;
  table.set("tenant-42", Placement::dedicated_cluster(ClusterId("redis-a")));
  placement::WritePermit write = table.acquire_write("tenant-42");  // write.placement(): redis-a
  const auto to = Placement::dedicated_cluster(ClusterId("redis-b"));
  std::cout << "begin:   " << table.begin_migration("tenant-42", to) << '\n';
  std::cout << "cutover: " << table.enter_cutover("tenant-42") << '\n';
  std::cout << "flip:    " << table.complete_migration("tenant-42") << '\n';
  write.release();  // the write has finished
  std::cout << "flip:    " << table.complete_migration("tenant-42") << '\n';
  std::cout << "read:    " << table.get("tenant-42")->placement << '\n';
}
