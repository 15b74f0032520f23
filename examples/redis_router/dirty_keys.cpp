// SPDX-License-Identifier: Apache-2.0
#include "dirty_keys.hpp"

#include <absl/time/clock.h>

#include <algorithm>
#include <utility>

#include "tenant.hpp"

namespace redis_router {

void WriteKeys::add(std::string_view key) {
  if (any_) ends_.push_back(bytes_.size());
  any_ = true;
  bytes_ += key;
}

std::string_view WriteKeys::tenant() const {
  return tenant_of(std::string_view(bytes_).substr(0, ends_.empty() ? bytes_.size() : ends_[0]));
}

void DirtyKeys::mark(const WriteKeys& keys, absl::Time settled) {
  const std::lock_guard lock(mutex_);
  keys.for_each([this](std::string_view key) { keys_.emplace(key); });
  last_settled_ = std::max(last_settled_, settled);
}

std::vector<std::string> DirtyKeys::take() {
  absl::flat_hash_set<std::string> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(keys_);
  }
  return {taken.begin(), taken.end()};
}

std::size_t DirtyKeys::size() const {
  const std::lock_guard lock(mutex_);
  return keys_.size();
}

absl::Time DirtyKeys::last_settled() const {
  const std::lock_guard lock(mutex_);
  return last_settled_;
}

std::shared_ptr<DirtyKeys> DirtyKeyRegistry::track(std::string_view tenant) {
  auto tracker = std::make_shared<DirtyKeys>();
  const std::lock_guard lock(mutex_);
  if (trackers_.insert_or_assign(std::string(tenant), tracker).second) {
    tracked_.fetch_add(1, std::memory_order_seq_cst);
  }
  return tracker;
}

void DirtyKeyRegistry::untrack(std::string_view tenant) {
  const std::lock_guard lock(mutex_);
  if (const auto found = trackers_.find(tenant); found != trackers_.end()) {
    trackers_.erase(found);
    tracked_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

void DirtyKeyRegistry::mark(const WriteKeys& keys, absl::Duration quarantine) {
  if (tracked_.load(std::memory_order_seq_cst) == 0) return;
  std::shared_ptr<DirtyKeys> tracker;
  {
    const std::lock_guard lock(mutex_);
    const auto found = trackers_.find(keys.tenant());
    if (found == trackers_.end()) return;
    tracker = found->second;
  }
  tracker->mark(keys, absl::Now() + quarantine);
}

}  // namespace redis_router
