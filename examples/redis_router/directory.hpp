// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DIRECTORY_HPP_
#define REDIS_ROUTER_DIRECTORY_HPP_

#include <absl/time/time.h>

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "command_table.hpp"
#include "dirty_keys.hpp"
#include "options.hpp"
#include "placement/asio.hpp"
#include "placement/placement_table.hpp"

namespace redis_router {

// What PLACEMENT GET and LIST show of a tenant.
struct TenantStatus {
  std::string tenant;
  placement::PartitionState state;
  placement::Epoch epoch;
  std::optional<absl::Duration> age;  // in its phase; unknown if that changed unseen
  std::size_t writes_in_flight;
};

// Where tenants live: the placement table, with what this router adds to it (registration on first
// use, when a phase began, which keys of a moving tenant were written). Thread-safe.
class Directory {
 public:
  explicit Directory(const Options& options);
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // ---- on a request's path ----

  // Nothing if the tenant is unknown and is not to be registered.
  [[nodiscard]] std::optional<placement::ClusterId> cluster_for_read(std::string_view tenant);
  [[nodiscard]] placement::WritePermit acquire_write(std::string_view tenant);
  // A tenant that is not registered is refused with UnknownPartition.
  template <typename Token>
  auto async_acquire_write(std::string_view tenant, absl::Time deadline, Token&& token) {
    return placement::async_acquire_write(table_, tenant, deadline, std::forward<Token>(token));
  }
  [[nodiscard]] DirtyKeyRegistry& dirty_keys() noexcept { return dirty_keys_; }

  // ---- for operators and the mover ----

  [[nodiscard]] placement::PlacementTable& table() noexcept { return table_; }
  // The configured cluster of that name.
  [[nodiscard]] const ClusterOptions* find_cluster(std::string_view name) const;
  [[nodiscard]] const std::vector<ClusterOptions>& clusters() const { return options_.clusters; }

  // Where a move of the tenant to `destination` would start; null, and an error's text in
  // `why_not`, if it lives nowhere or there already.
  [[nodiscard]] const ClusterOptions* origin_of_move(std::string_view tenant,
                                                     const ClusterOptions& destination,
                                                     std::string& why_not) const;

  placement::Epoch set(std::string_view tenant, placement::ClusterId cluster);
  placement::TransitionResult begin(std::string_view tenant, placement::ClusterId to);
  placement::TransitionResult enter_cutover(std::string_view tenant);
  placement::TransitionResult complete(std::string_view tenant);
  placement::TransitionResult abort(std::string_view tenant);
  placement::TransitionResult erase(std::string_view tenant);
  // Remembers that the tenant's phase has just changed.
  void touch(std::string_view tenant);

  [[nodiscard]] std::optional<TenantStatus> status(std::string_view tenant) const;
  [[nodiscard]] std::vector<TenantStatus> list() const;

 private:
  bool register_on_first_use(std::string_view tenant);
  void forget(std::string_view tenant);
  [[nodiscard]] TenantStatus describe(std::string_view tenant,
                                      const placement::PartitionState& state,
                                      placement::Epoch epoch) const;

  const Options& options_;
  const std::optional<placement::ClusterId> default_cluster_;
  placement::PlacementTable table_;
  DirtyKeyRegistry dirty_keys_;

  // `set` overrides: of two threads that register a tenant, and an operator who places it, none may
  // undo another's work.
  std::mutex registration_mutex_;
  mutable std::mutex changed_mutex_;
  TextMap<absl::Time> changed_;  // when the tenant's phase began; guarded by changed_mutex_
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DIRECTORY_HPP_
