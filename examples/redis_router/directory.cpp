// SPDX-License-Identifier: Apache-2.0
#include "directory.hpp"

#include <absl/time/clock.h>

#include <algorithm>

#include "text.hpp"

namespace redis_router {
namespace {

using placement::ClusterId;
using placement::Placement;

std::optional<ClusterId> default_cluster(const Options& options) {
  if (options.default_cluster.empty()) return std::nullopt;
  return ClusterId(options.default_cluster);
}

}  // namespace

Directory::Directory(const Options& options)
    : options_(options),
      default_cluster_(default_cluster(options)),
      table_(placement::TableOptions{.max_held_writes = options.max_held_writes}) {}

std::optional<ClusterId> Directory::cluster_for_read(std::string_view tenant) {
  auto at = table_.get(tenant);
  if (!at && register_on_first_use(tenant)) at = table_.get(tenant);
  if (!at) return std::nullopt;
  return at->placement.cluster();
}

placement::WritePermit Directory::acquire_write(std::string_view tenant) {
  placement::WritePermit permit = table_.acquire_write(tenant);
  if (!permit && permit.refusal() == placement::WriteRefusal::UnknownPartition &&
      register_on_first_use(tenant)) {
    return table_.acquire_write(tenant);
  }
  return permit;
}

bool Directory::register_on_first_use(std::string_view tenant) {
  if (!default_cluster_) return false;
  const std::lock_guard lock(registration_mutex_);
  if (table_.contains(tenant)) return true;
  if (table_.size() >= options_.max_tenants) return false;
  table_.set(tenant, Placement::dedicated_cluster(*default_cluster_));
  touch(tenant);
  return true;
}

const ClusterOptions* Directory::find_cluster(std::string_view name) const {
  const auto found =
      std::find_if(options_.clusters.begin(), options_.clusters.end(),
                   [&](const ClusterOptions& cluster) { return cluster.name == name; });
  return found == options_.clusters.end() ? nullptr : &*found;
}

const ClusterOptions* Directory::origin_of_move(std::string_view tenant,
                                                const ClusterOptions& destination,
                                                std::string& why_not) const {
  const auto at = table_.get(tenant);
  if (!at) {
    why_not = concat("NOPLACEMENT tenant ", quote(tenant), " has no placement");
    return nullptr;
  }
  const ClusterOptions* origin = find_cluster(at->placement.cluster().view());
  if (origin != &destination) return origin;
  why_not = concat("ERR tenant ", quote(tenant), " lives on cluster ", origin->name, " already");
  return nullptr;
}

placement::Epoch Directory::set(std::string_view tenant, ClusterId cluster) {
  const std::lock_guard lock(registration_mutex_);
  const placement::Epoch epoch = table_.set(tenant, Placement::dedicated_cluster(cluster));
  touch(tenant);
  return epoch;
}

placement::TransitionResult Directory::begin(std::string_view tenant, ClusterId to) {
  const auto result = table_.begin_migration(tenant, Placement::dedicated_cluster(to));
  if (result) touch(tenant);
  return result;
}

placement::TransitionResult Directory::enter_cutover(std::string_view tenant) {
  const auto result = table_.enter_cutover(tenant);
  if (result) touch(tenant);
  return result;
}

placement::TransitionResult Directory::complete(std::string_view tenant) {
  const auto result = table_.complete_migration(tenant);
  if (result) touch(tenant);
  return result;
}

placement::TransitionResult Directory::abort(std::string_view tenant) {
  const auto result = table_.abort_migration(tenant);
  if (result) touch(tenant);
  return result;
}

placement::TransitionResult Directory::erase(std::string_view tenant) {
  const std::lock_guard lock(registration_mutex_);
  const auto result = table_.erase(tenant);
  if (result) forget(tenant);
  return result;
}

void Directory::touch(std::string_view tenant) {
  const absl::Time now = absl::Now();
  const std::lock_guard lock(changed_mutex_);
  changed_.insert_or_assign(std::string(tenant), now);
}

void Directory::forget(std::string_view tenant) {
  const std::lock_guard lock(changed_mutex_);
  if (const auto found = changed_.find(tenant); found != changed_.end()) changed_.erase(found);
}

TenantStatus Directory::describe(std::string_view tenant, const placement::PartitionState& state,
                                 placement::Epoch epoch) const {
  TenantStatus status{std::string(tenant), state, epoch, std::nullopt,
                      table_.writes_in_flight(tenant)};
  const absl::Time now = absl::Now();
  const std::lock_guard lock(changed_mutex_);
  if (const auto found = changed_.find(tenant); found != changed_.end()) {
    status.age = std::max(now - found->second, absl::ZeroDuration());
  }
  return status;
}

std::optional<TenantStatus> Directory::status(std::string_view tenant) const {
  const auto at = table_.state(tenant);
  if (!at) return std::nullopt;
  return describe(tenant, at->state, at->epoch);
}

std::vector<TenantStatus> Directory::list() const {
  std::vector<TenantStatus> all;
  table_.for_each([&](std::string_view tenant, const placement::PartitionState& state,
                      placement::Epoch epoch) { all.push_back(describe(tenant, state, epoch)); });
  std::sort(all.begin(), all.end(),
            [](const TenantStatus& a, const TenantStatus& b) { return a.tenant < b.tenant; });
  return all;
}

}  // namespace redis_router
