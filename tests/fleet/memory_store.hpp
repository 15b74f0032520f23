// SPDX-License-Identifier: Apache-2.0
//
// A store in this process's memory, whose faults a test commands: clients that are cut off, watch
// events that are held back, repeated or lost, and a history that goes back.
#ifndef PLACEMENT_TESTS_FLEET_MEMORY_STORE_HPP_
#define PLACEMENT_TESTS_FLEET_MEMORY_STORE_HPP_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include "placement/fleet/store.hpp"

namespace placement::test {

// What all clients share. Everything is guarded by its mutex.
class MemoryServer {
 public:
  [[nodiscard]] fleet::Revision revision() const {
    const std::lock_guard lock(mutex_);
    return revision_;
  }

  void compact(fleet::Revision revision) {
    const std::lock_guard lock(mutex_);
    compacted_ = std::max(compacted_, revision);
    changes_.erase(changes_.begin(), changes_.upper_bound(compacted_));
    for (auto& [key, versions] : keys_) {
      const auto kept = versions.upper_bound(compacted_);
      if (kept != versions.begin()) versions.erase(versions.begin(), std::prev(kept));
    }
    changed_.notify_all();
  }

  // The store is as it was at `revision`, which it still keeps: a backup was restored.
  void roll_back(fleet::Revision revision) {
    const std::lock_guard lock(mutex_);
    for (auto& [key, versions] : keys_) {
      versions.erase(versions.upper_bound(revision), versions.end());
    }
    changes_.erase(changes_.upper_bound(revision), changes_.end());
    revision_ = revision;
    compacted_ = std::min(compacted_, revision);
    changed_.notify_all();
  }

 private:
  friend class MemoryStore;
  friend class MemoryWatch;

  using Versions = std::map<fleet::Revision, std::optional<fleet::Entry>>;  // none: it was deleted

  static std::optional<fleet::Entry> at(const Versions& versions, fleet::Revision revision) {
    const auto later = versions.upper_bound(revision);
    if (later == versions.begin()) return std::nullopt;
    return std::prev(later)->second;
  }
  [[nodiscard]] std::optional<fleet::Entry> find(const std::string& key) const {
    const auto found = keys_.find(key);
    return found == keys_.end() ? std::nullopt : at(found->second, revision_);
  }

  fleet::Outcome commit(const fleet::Transaction& transaction) {
    bool holds = true;
    std::vector<std::optional<fleet::Entry>> compared;
    for (const fleet::Compare& compare : transaction.compares()) {
      compared.push_back(find(compare.key));
      const auto& entry = compared.back();
      const bool is_create = compare.what == fleet::Compare::What::Create;
      const fleet::Revision is = !entry      ? fleet::Revision()
                                 : is_create ? entry->create
                                             : entry->mod;
      holds = holds && is == compare.revision;
    }
    std::vector<std::optional<fleet::Entry>> reads;
    for (const std::string& key : transaction.reads()) reads.push_back(find(key));
    if (!holds) return fleet::Refused{revision_, std::move(compared), std::move(reads)};

    const fleet::Revision next = revision_.next();
    fleet::Changes changes{next, {}};
    for (const auto& put : transaction.puts()) {
      fleet::Entry entry =
          find(put.key).value_or(fleet::Entry{put.key, {}, next, fleet::Revision(), 0});
      entry.value = put.value;
      entry.mod = next;
      ++entry.version;
      changes.changes.push_back({put.key, put.value, entry.create, entry.version});
      keys_[put.key].emplace(next, std::move(entry));
    }
    for (const std::string& key : transaction.deletes()) {
      if (!find(key)) continue;
      changes.changes.push_back({key, std::nullopt, fleet::Revision(), 0});
      keys_[key].emplace(next, std::nullopt);
    }
    if (changes.changes.empty()) return fleet::Done{revision_, std::move(reads)};
    revision_ = next;
    changes_.emplace(next, std::move(changes));
    changed_.notify_all();
    return fleet::Done{next, std::move(reads)};
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Versions> keys_;  // std::string compares bytes as unsigned numbers
  std::map<fleet::Revision, fleet::Changes> changes_;
  fleet::Revision revision_{1};
  fleet::Revision compacted_;
};

// What a test does to one client. Guarded by the server's mutex.
struct MemoryFaults {
  bool is_cut_off = false;
  bool holds_changes = false;
  bool repeats_changes = false;
  std::set<fleet::Revision> lost;
};

class MemoryWatch final : public fleet::Watch::Running,
                          public std::enable_shared_from_this<MemoryWatch> {
 public:
  MemoryWatch(std::shared_ptr<MemoryServer> server, std::shared_ptr<MemoryFaults> faults,
              std::string prefix, fleet::Revision from, fleet::WatchHandler handler)
      : server_(std::move(server)),
        faults_(std::move(faults)),
        prefix_(std::move(prefix)),
        next_(from),
        handler_(std::move(handler)) {}

  void start() {
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
  }

  void stop() override {
    {
      const std::lock_guard lock(server_->mutex_);
      stopping_ = true;
      server_->changed_.notify_all();
    }
    if (!thread_.joinable()) return;
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();
    } else {
      thread_.join();
    }
  }

 private:
  static constexpr std::chrono::milliseconds kProgressInterval{20};

  void run() {
    bool has_progress = false;
    while (true) {
      std::vector<fleet::WatchEvent> events;
      bool is_over = false;
      {
        std::unique_lock lock(server_->mutex_);
        if (!stopping_ && !has_news()) {
          if (has_progress) server_->changed_.wait_for(lock, kProgressInterval);
        }
        if (stopping_) return;
        if (!is_away()) {
          is_over = look(events);
          has_progress = true;
        } else {
          server_->changed_.wait_for(lock, kProgressInterval);
        }
      }
      for (const fleet::WatchEvent& event : events) {
        if (is_stopping()) return;
        handler_(event);
      }
      if (is_over) return;
    }
  }

  [[nodiscard]] bool is_stopping() {
    const std::lock_guard lock(server_->mutex_);
    return stopping_;
  }

  [[nodiscard]] bool is_away() const { return faults_->is_cut_off || faults_->holds_changes; }
  [[nodiscard]] bool has_news() const {
    return !is_away() && (server_->revision_ >= next_ || next_ > server_->revision_.next());
  }

  // True if the watch is over.
  bool look(std::vector<fleet::WatchEvent>& events) {
    const fleet::Revision newest = server_->revision_;
    if (next_ > newest.next()) {
      events.emplace_back(fleet::HistoryLost{
          fleet::to_status(fleet::Fault::HistoryLost, "the watch is ahead of the store")});
      return true;
    }
    if (next_ <= server_->compacted_) {
      events.emplace_back(fleet::Compacted{server_->compacted_});
      return true;
    }
    for (auto at = server_->changes_.lower_bound(next_); at != server_->changes_.end(); ++at) {
      fleet::Changes told{at->first, {}};
      for (const fleet::Change& change : at->second.changes) {
        if (change.key.starts_with(prefix_)) told.changes.push_back(change);
      }
      if (told.changes.empty() || faults_->lost.contains(at->first)) continue;
      if (faults_->repeats_changes) events.emplace_back(told);
      events.emplace_back(std::move(told));
    }
    next_ = newest.next();
    if (events.empty()) events.emplace_back(fleet::Progress{newest});
    return false;
  }

  const std::shared_ptr<MemoryServer> server_;
  const std::shared_ptr<MemoryFaults> faults_;
  const std::string prefix_;
  fleet::Revision next_;
  const fleet::WatchHandler handler_;
  bool stopping_ = false;  // guarded by the server's mutex
  std::thread thread_;
};

// A client of the server.
class MemoryStore final : public fleet::Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryServer> server)
      : server_(std::move(server)), faults_(std::make_shared<MemoryFaults>()) {}

  // Calls fail, and watches hear nothing.
  void cut_off(bool is_cut_off) {
    set([=](MemoryFaults& faults) { faults.is_cut_off = is_cut_off; });
  }
  // Watches hear nothing, as when their stream is slow.
  void hold_changes(bool holds) {
    set([=](MemoryFaults& faults) { faults.holds_changes = holds; });
  }
  // Watches tell each revision twice: more than a store may do.
  void repeat_changes(bool repeats) {
    set([=](MemoryFaults& faults) { faults.repeats_changes = repeats; });
  }
  // Watches do not tell this revision: more than a store may do.
  void lose_changes(fleet::Revision revision) {
    set([=](MemoryFaults& faults) { faults.lost.insert(revision); });
  }

  absl::StatusOr<std::string> identity(absl::Duration /*timeout*/ = kDefaultTimeout) override {
    return std::string();
  }

 private:
  template <typename Change>
  void set(const Change& change) {
    const std::lock_guard lock(server_->mutex_);
    change(*faults_);
    server_->changed_.notify_all();
  }

  // Guarded by the server's mutex.
  absl::Status reach() {
    if (faults_->is_cut_off) {
      return fleet::to_status(fleet::Fault::Unavailable, "this client is cut off");
    }
    if (lost_ || server_->revision_ < seen_) {
      lost_ = true;
      return fleet::to_status(fleet::Fault::HistoryLost, "the store went back");
    }
    seen_ = server_->revision_;
    return absl::OkStatus();
  }

  absl::StatusOr<fleet::Snapshot> do_load(std::string_view prefix, fleet::At at,
                                          absl::Duration /*timeout*/) override {
    const std::lock_guard lock(server_->mutex_);
    if (absl::Status status = reach(); !status.ok()) return status;
    if (at.revision() > server_->revision_) {
      return fleet::to_status(fleet::Fault::HistoryLost, "the store is not there yet");
    }
    if (at.is_exact() &&
        (at.revision() < server_->compacted_ || at.revision() == fleet::Revision())) {
      return fleet::to_status(fleet::Fault::Compacted, "the revision is gone");
    }
    const fleet::Revision revision = at.is_exact() ? at.revision() : server_->revision_;
    fleet::Snapshot snapshot{revision, {}};
    const auto& keys = server_->keys_;
    for (auto key = keys.lower_bound(std::string(prefix));
         key != keys.end() && key->first.starts_with(prefix); ++key) {
      if (auto entry = MemoryServer::at(key->second, revision)) {
        snapshot.entries.push_back(*std::move(entry));
      }
    }
    return snapshot;
  }

  fleet::Outcome do_commit(const fleet::Transaction& transaction,
                           absl::Duration /*timeout*/) override {
    const std::lock_guard lock(server_->mutex_);
    if (absl::Status status = reach(); !status.ok()) return fleet::Failed{status};
    fleet::Outcome outcome = server_->commit(transaction);
    seen_ = server_->revision_;
    return outcome;
  }

  fleet::Watch do_watch(std::string prefix, fleet::Revision from,
                        fleet::WatchHandler handler) override {
    auto watch = std::make_shared<MemoryWatch>(server_, faults_, std::move(prefix), from,
                                               std::move(handler));
    watch->start();
    return fleet::Watch(std::move(watch));
  }

  const std::shared_ptr<MemoryServer> server_;
  const std::shared_ptr<MemoryFaults> faults_;
  fleet::Revision seen_;  // guarded by the server's mutex
  bool lost_ = false;     // guarded by the server's mutex
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_MEMORY_STORE_HPP_
