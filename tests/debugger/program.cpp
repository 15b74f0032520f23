// SPDX-License-Identifier: Apache-2.0
//
// What the printers are asked to show: check_printers.py stops in `look`.
#include <cstddef>
#include <cstdint>
#include <string>

#include <placement/placement_table.hpp>

namespace {

using placement::ClusterId;
using placement::IndexName;
using placement::Placement;

struct Tenant {
  std::uint64_t tenant;
  std::uint32_t shard;
  std::uint32_t index;
};
enum class Colour : std::uint8_t { Red = 1, Green = 2 };

template <typename... Looked>
[[gnu::noinline]] void look(const Looked&...) {
  asm volatile("" ::: "memory");  // a call that is not removed
}

void look_at_values() {
  const placement::Epoch epoch(42);
  const ClusterId cluster("redis-a");
  const placement::Interned<std::string> text("interned");
  const Placement dedicated = Placement::dedicated_cluster(cluster);
  const Placement index = Placement::dedicated_index(cluster, IndexName("orders"));
  const Placement shared = Placement::shared_index(cluster, IndexName("orders"));
  const auto active = placement::PartitionState::active(shared);
  const auto draining =
      placement::PartitionState::migrating(dedicated, index, placement::MigrationPhase::Draining);
  const placement::TransitionResult stamped = epoch;
  const placement::TransitionResult refused = placement::MigrationError::WritesInFlight;
  look(epoch, cluster, text, dedicated, index, shared, active, draining, stamped, refused);
}

void look_at_a_table() {
  const Placement a = Placement::dedicated_cluster(ClusterId("redis-a"));
  const Placement b = Placement::dedicated_cluster(ClusterId("redis-b"));
  placement::PlacementTable empty;
  placement::PlacementTable table(placement::TableOptions{.shards = 1});
  table.set("ab", a);
  table.set("seven77", b);
  table.set("fifteen-letters", a);
  table.set("", b);
  table.set("nothing-more-8", b);
  table.set("with a \" quote and a \n", a);
  table.set(std::string(60, 'x'), a);
  (void)table.begin_migration("seven77", a);
  (void)table.begin_migration("ab", b);
  placement::WritePermit permit = table.acquire_write("ab");
  placement::WritePermit over = table.acquire_write("fifteen-letters");
  over.release();
  const placement::WritePermit other = table.acquire_write("ab");
  (void)table.enter_cutover("ab");
  const placement::WritePermit none = table.acquire_write("ab");
  table.apply_erase("gone", placement::Epoch(100));
  placement::PartitionRef ref = table.ref("ab");
  placement::PartitionRef found = table.ref("seven77");
  (void)found.get();
  look(empty, table, permit, over, other, none, ref, found);
}

void look_at_a_growing_table() {
  // The growing one is left in the middle of it: some partitions are in one array, some in the
  // other.
  placement::BasicPlacementTable<Colour, std::uint32_t> colours(
      placement::TableOptions{.shards = 1});
  colours.set(Colour::Red, 7);
  placement::BasicPlacementTable<std::int32_t, std::uint32_t> growing(
      placement::TableOptions{.shards = 1});
  for (std::int32_t id = -40; id < 42; ++id) growing.set(id, static_cast<std::uint32_t>(id + 100));
  auto ref = growing.ref(-40);
  placement::BasicPlacementTable<Tenant, std::uint32_t> tenants(
      placement::TableOptions{.shards = 1, .track_permits = true});
  tenants.set(Tenant{1, 2, 3}, 7);
  const auto permit = tenants.acquire_write(Tenant{1, 2, 3});
  auto of_tenant = tenants.ref(Tenant{1, 2, 3});
  look(colours, growing, ref, tenants, permit, of_tenant);
}

}  // namespace

int main() {
  look_at_values();
  look_at_a_table();
  look_at_a_growing_table();
}
