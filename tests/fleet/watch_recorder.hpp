// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_FLEET_WATCH_RECORDER_HPP_
#define PLACEMENT_TESTS_FLEET_WATCH_RECORDER_HPP_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "placement/fleet/store.hpp"

namespace placement::test {

// Keeps what a watch told, and sees whether it kept the contract.
class WatchRecorder {
 public:
  [[nodiscard]] fleet::WatchHandler handler() {
    return [this](const fleet::WatchEvent& event) { record(event); };
  }

  // Until all up to `revision` has been told, or the watch has ended. False if that takes too long.
  bool wait_for(fleet::Revision revision) {
    return wait([&] { return told_ >= revision || ended_; });
  }
  bool wait_for_end() {
    return wait([&] { return ended_; });
  }
  // For another event of any kind than those so far.
  bool wait_for_more() {
    std::size_t before = 0;
    {
      const std::lock_guard lock(mutex_);
      before = events_;
    }
    return wait([&] { return events_ > before; });
  }

  [[nodiscard]] std::vector<fleet::Changes> changes() const {
    const std::lock_guard lock(mutex_);
    return changes_;
  }
  [[nodiscard]] std::size_t events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  [[nodiscard]] std::optional<fleet::Compacted> compacted() const {
    const std::lock_guard lock(mutex_);
    return compacted_;
  }
  [[nodiscard]] std::optional<fleet::HistoryLost> lost() const {
    const std::lock_guard lock(mutex_);
    return lost_;
  }
  // What broke the contract, one line each.
  [[nodiscard]] std::vector<std::string> complaints() const {
    const std::lock_guard lock(mutex_);
    return complaints_;
  }

 private:
  template <typename Condition>
  bool wait(const Condition& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), condition);
  }

  void record(const fleet::WatchEvent& event) {
    const std::lock_guard lock(mutex_);
    if (ended_) complaints_.emplace_back("an event after the last one");
    ++events_;
    if (const auto* changes = std::get_if<fleet::Changes>(&event)) {
      if (changes->revision <= told_) complaints_.emplace_back("a revision that was told already");
      if (changes->changes.empty()) complaints_.emplace_back("a revision without changes");
      std::set<std::string> keys;
      for (const fleet::Change& change : changes->changes) {
        if (!keys.insert(change.key).second) complaints_.emplace_back("a key twice in a revision");
        if (change.value.has_value() != (change.version > 0)) {
          complaints_.emplace_back("a delete with a version, or a put without");
        }
      }
      told_ = changes->revision;
      changes_.push_back(*changes);
    } else if (const auto* progress = std::get_if<fleet::Progress>(&event)) {
      if (progress->revision < told_) complaints_.emplace_back("progress that goes back");
      told_ = progress->revision;
    } else if (const auto* compacted = std::get_if<fleet::Compacted>(&event)) {
      compacted_ = *compacted;
      ended_ = true;
    } else {
      lost_ = std::get<fleet::HistoryLost>(event);
      ended_ = true;
    }
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<fleet::Changes> changes_;
  std::vector<std::string> complaints_;
  std::optional<fleet::Compacted> compacted_;
  std::optional<fleet::HistoryLost> lost_;
  fleet::Revision told_;
  std::size_t events_ = 0;
  bool ended_ = false;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_WATCH_RECORDER_HPP_
