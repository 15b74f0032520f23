// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_COMMAND_STORE_HPP_
#define REDIS_ROUTER_COMMAND_STORE_HPP_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "command_table.hpp"

namespace redis_router {

// The commands that all servers together told of; replaced whole whenever a server was
// (re)connected.
class CommandStore {
 public:
  void publish(std::string_view cluster, CommandTable table) {
    const std::lock_guard lock(mutex_);
    tables_.insert_or_assign(std::string(cluster), std::move(table));
    auto merged = std::make_shared<CommandTable>();
    for (const auto& [name, known] : tables_) merged->merge(known);
    merged_ = std::move(merged);
    version_.fetch_add(1, std::memory_order_release);  // (1)
  }

  // Changes whenever current() does, so that a thread can keep what it has. Zero: none is known.
  [[nodiscard]] std::uint64_t version() const {
    return version_.load(std::memory_order_acquire);  // sees (1); what is stale is asked again soon
  }
  [[nodiscard]] std::shared_ptr<const CommandTable> current() const {
    const std::lock_guard lock(mutex_);
    return merged_;
  }

 private:
  std::atomic<std::uint64_t> version_{0};
  mutable std::mutex mutex_;
  TextMap<CommandTable> tables_;                // by cluster; guarded by mutex_
  std::shared_ptr<const CommandTable> merged_;  // guarded by mutex_
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_COMMAND_STORE_HPP_
