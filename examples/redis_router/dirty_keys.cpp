// SPDX-License-Identifier: Apache-2.0
#include "dirty_keys.hpp"

#include <algorithm>
#include <utility>

#include "placement/clock.hpp"
#include "tenant.hpp"

namespace redis_router {
namespace {

absl::Time now() { return placement::Clock::system().now(); }

}  // namespace

void WriteKeys::add(std::string_view key) {
  if (any_) ends_.push_back(bytes_.size());
  any_ = true;
  bytes_ += key;
}

std::string_view WriteKeys::tenant() const {
  return tenant_of(std::string_view(bytes_).substr(0, ends_.empty() ? bytes_.size() : ends_[0]));
}

void DirtyKeys::mark(const WriteKeys& keys, absl::Time settled) {
  const bool is_unknown = settled > now();
  const std::lock_guard lock(mutex_);
  keys.for_each([&](std::string_view key) {
    keys_.emplace(key);
    if (is_unknown) in_quarantine_.emplace_back(key);
  });
  last_settled_ = std::max(last_settled_, settled);
}

std::vector<std::string> DirtyKeys::take() {
  absl::flat_hash_set<std::string> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(keys_);
    if (last_settled_ > now()) {
      keys_.insert(in_quarantine_.begin(), in_quarantine_.end());
    } else {
      in_quarantine_.clear();
    }
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
  forget_settled();
  for (const Unknown& write : unknown_) {
    if (write.keys.tenant() == tenant) tracker->mark(write.keys, write.until);
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

void DirtyKeyRegistry::mark_answered(const WriteKeys& keys) {
  if (tracked_.load(std::memory_order_seq_cst) == 0) return;
  const std::lock_guard lock(mutex_);
  mark(keys, now());
}

void DirtyKeyRegistry::mark_unknown(WriteKeys keys, absl::Duration quarantine) {
  const absl::Time until = now() + quarantine;
  const std::lock_guard lock(mutex_);
  mark(keys, until);
  forget_settled();
  unknown_.push_back({std::move(keys), until});
}

void DirtyKeyRegistry::mark(const WriteKeys& keys, absl::Time settled) {
  const auto found = trackers_.find(keys.tenant());
  if (found != trackers_.end()) found->second->mark(keys, settled);
}

void DirtyKeyRegistry::forget_settled() {
  const absl::Time at = now();
  while (!unknown_.empty() && unknown_.front().until < at) unknown_.pop_front();
}

}  // namespace redis_router
