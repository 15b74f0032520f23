// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_FLEET_LOST_ANSWERS_HPP_
#define PLACEMENT_TESTS_FLEET_LOST_ANSWERS_HPP_

#include <cstddef>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "placement/fleet/store.hpp"

namespace placement::test {

// A client of `store` between which and the store the network lies: a transaction's answer can be
// lost, and the transaction itself can arrive later, or never.
class LostAnswers final : public fleet::Store {
 public:
  explicit LostAnswers(fleet::Store& store) : store_(store) {}

  enum class Fate {
    Arrives,  // at once: only the answer is lost
    Late,     // when arrive() says so
    Never,
  };

  // The next commit is Unknown.
  void lose_next(Fate fate) {
    const std::lock_guard lock(mutex_);
    fates_.push_back(fate);
  }

  // The oldest transaction that is under way reaches the store; what it was answered nobody is
  // told.
  fleet::Outcome arrive() {
    fleet::Transaction transaction;
    {
      const std::lock_guard lock(mutex_);
      transaction = std::move(under_way_.front());
      under_way_.pop_front();
    }
    return store_.commit(transaction);
  }

  [[nodiscard]] std::size_t under_way() const {
    const std::lock_guard lock(mutex_);
    return under_way_.size();
  }

  absl::StatusOr<std::string> identity(absl::Duration timeout = kDefaultTimeout) override {
    return store_.identity(timeout);
  }

 private:
  absl::StatusOr<fleet::Snapshot> do_load(std::string_view prefix, fleet::At at,
                                          absl::Duration timeout) override {
    return store_.load(prefix, at, timeout);
  }

  fleet::Outcome do_commit(const fleet::Transaction& transaction, absl::Duration timeout) override {
    {
      const std::lock_guard lock(mutex_);
      if (fates_.empty()) return store_.commit(transaction, timeout);
      const Fate fate = fates_.front();
      fates_.pop_front();
      if (fate == Fate::Late) under_way_.push_back(transaction);
      if (fate == Fate::Arrives) (void)store_.commit(transaction, timeout);
    }
    return fleet::Unknown{fleet::to_status(fleet::Fault::Unavailable, "the answer was lost")};
  }

  fleet::Watch do_watch(std::string prefix, fleet::Revision from,
                        fleet::WatchHandler handler) override {
    return store_.watch(std::move(prefix), from, std::move(handler));
  }

  fleet::Store& store_;
  mutable std::mutex mutex_;
  std::deque<Fate> fates_;
  std::deque<fleet::Transaction> under_way_;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_LOST_ANSWERS_HPP_
