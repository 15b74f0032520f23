// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TABLE_OPTIONS_HPP_
#define PLACEMENT_TABLE_OPTIONS_HPP_

#include <cstddef>

#include "placement/clock.hpp"
#include "placement/epoch.hpp"
#include "placement/executor.hpp"
#include "placement/table_memory.hpp"
#include "placement/table_observer.hpp"

namespace placement {
inline namespace v1 {

// TableOptions::shards is taken as it is if it is a power of two of at most kMaxShards. Otherwise
// it is rounded: zero to the default, the rest up to the next power of two or down to kMaxShards.
// shard_count() tells the outcome.
struct TableOptions {
  std::size_t shards = 0;
  std::size_t expected_partitions = 0;  // reserved on construction
  // How many writes may be held at once, by hold, acquire_write_async and acquire_write_until: in
  // the whole table, and on one partition. The latter is a quarter of the former if it is zero, so
  // that no partition takes the places of all others.
  std::size_t max_held_writes = 65'536;
  std::size_t max_held_writes_per_partition = 0;
  TableMemory* memory = nullptr;  // null: TableMemory::system(); must outlive the table
  Clock* clock = nullptr;         // null: Clock::system(); must outlive the table
  // Calls the callbacks of held writes. Null: the thread of the transition does, before that
  // returns. Must outlive the table.
  Executor* executor = nullptr;
  // Each permit that is out is known by name: see blockers(). acquire_write and release then take
  // the shard's mutex once each, and acquire_write allocates.
  bool track_permits = false;

  // The first change draws at least this epoch, so that epochs outlive the process: the greatest
  // that was ever handed out, plus one. At most Epoch::max_external(), else the constructor throws
  // std::invalid_argument.
  Epoch first_epoch{};

  // Is told of every change; must outlive the table, and be a BasicTableObserver of the table's own
  // types, else the constructor throws std::invalid_argument. Null: nobody is, and it costs
  // nothing.
  AnyTableObserver* observer = nullptr;

  static constexpr std::size_t kDefaultShards = 16;
  static constexpr std::size_t kMaxShards = 65'536;
};

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_TABLE_OPTIONS_HPP_
