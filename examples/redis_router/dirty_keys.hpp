// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DIRTY_KEYS_HPP_
#define REDIS_ROUTER_DIRTY_KEYS_HPP_

#include <absl/container/flat_hash_set.h>
#include <absl/time/time.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "command_table.hpp"

namespace redis_router {

// The keys of one write, owned, in one string: most writes have one short key, which then costs no
// allocation.
class WriteKeys {
 public:
  void add(std::string_view key);
  [[nodiscard]] std::string_view tenant() const;

  // Requires at least one key.
  template <typename Visitor>
  void for_each(Visitor&& visit) const {
    std::size_t begin = 0;
    for (const std::size_t end : ends_) {
      visit(std::string_view(bytes_).substr(begin, end - begin));
      begin = end;
    }
    visit(std::string_view(bytes_).substr(begin));
  }

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;  // of all keys but the last
  bool any_ = false;
};

// The keys of one tenant that were written since the mover took them last. Times are those of
// placement::Clock::system().
class DirtyKeys {
 public:
  // `settled`: when the write was answered or, in the future, when its quarantine ends: until then
  // it may still be carried out.
  void mark(const WriteKeys& keys, absl::Time settled);
  // Those of writes in quarantine are among them, and are taken again the next time.
  [[nodiscard]] std::vector<std::string> take();
  [[nodiscard]] std::size_t size() const;
  // When the last write was answered, or its quarantine ends.
  [[nodiscard]] absl::Time last_settled() const;

 private:
  mutable std::mutex mutex_;
  absl::flat_hash_set<std::string> keys_;           // guarded by mutex_
  std::vector<std::string> in_quarantine_;          // guarded by mutex_
  absl::Time last_settled_ = absl::InfinitePast();  // guarded by mutex_
};

// Finds the tracker of a tenant that is being moved.
//
// A write marks its keys when its reply has come, or when it is clear that none will, and before
// its permit is given back. So whoever has seen the tenant drained has every mark. A write that was
// answered and found no tracker had been executed before the tracker was there, hence before the
// first scan. One whose outcome is unknown may still be executed during that scan: it is remembered
// while it is in quarantine, for a tracker that is made meanwhile.
class DirtyKeyRegistry {
 public:
  std::shared_ptr<DirtyKeys> track(std::string_view tenant);
  void untrack(std::string_view tenant);

  // The write's reply has come. Cheap while nothing moves: one load.
  void mark_answered(const WriteKeys& keys);
  // None will come, and the write's permit stays out for `quarantine`.
  void mark_unknown(WriteKeys keys, absl::Duration quarantine);

 private:
  struct Unknown {
    WriteKeys keys;
    absl::Time until;
  };

  // Require mutex_.
  void mark(const WriteKeys& keys, absl::Time settled);
  void forget_settled();

  // seq_cst: a write that reads zero here must have been answered before the tracker was made.
  std::atomic<std::size_t> tracked_{0};
  std::mutex mutex_;
  TextMap<std::shared_ptr<DirtyKeys>> trackers_;  // guarded by mutex_
  std::deque<Unknown> unknown_;                   // guarded by mutex_
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DIRTY_KEYS_HPP_
