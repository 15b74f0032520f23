// SPDX-License-Identifier: Apache-2.0
// expect: ManyIds
#include <optional>
#include <string>
#include <vector>

#include <placement/placement_table.hpp>

void ask(const placement::BasicPlacementTable<int>& table) {
  const std::vector<std::string> ids = {"a"};
  std::vector<std::optional<placement::PlacementAt>> results(1);
  table.get_many(ids, results);
}
