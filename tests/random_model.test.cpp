// SPDX-License-Identifier: Apache-2.0
//
// Long random histories, step by step against the reference. The same histories every time, unless
// PLACEMENT_TEST_SEED names another seed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"
#include "support/reference_table.hpp"

namespace placement {
namespace {

using test::Operation;
using test::perform;
using test::place;
using test::ReferenceTable;

std::uint64_t seed() {
  const char* const given = std::getenv("PLACEMENT_TEST_SEED");
  return given == nullptr ? 20'240'607 : std::strtoull(given, nullptr, 10);
}

std::string id_of(std::uint64_t n) {
  if (n == 0) return "";
  return "tenant-" + std::to_string(n) + std::string(n % 4 == 3 ? 60 : 0, '+');
}

// One history: commands over `few` ids, while others come and go and make the table grow.
class History {
 public:
  History(std::uint64_t seed, std::size_t shards) : random_(seed), table_({.shards = shards}) {}

  void step() {
    const std::string id = id_of(pick(kFew));
    const std::uint64_t command = pick(100);
    if (command < 66) {
      transition(id);
    } else if (command < 78) {
      writes(id);
    } else if (command < 88) {
      apply(id);
    } else if (command < 99) {
      fill();
    } else {
      const Epoch up_to(pick(table_.current_epoch().value() + 2));
      table_.forget_erased(up_to);
      reference_.forget_erased(up_to);
    }
    test::expect_same_partition(table_, reference_, id);
    EXPECT_EQ(table_.writes_in_flight(id), reference_.writes_in_flight(id));
    EXPECT_EQ(table_.current_epoch(), reference_.current_epoch());
    EXPECT_EQ(table_.size(), reference_.size());
  }

  void expect_same() {
    for (std::uint64_t n = 0; n < kFew; ++n) {
      test::expect_same_partition(table_, reference_, id_of(n));
    }
    test::expect_same_contents(table_, reference_);
  }

  [[nodiscard]] std::size_t successes() const { return successes_; }
  [[nodiscard]] std::size_t refusals() const { return refusals_; }
  [[nodiscard]] std::size_t flips() const { return flips_; }
  [[nodiscard]] std::size_t applied() const { return applied_; }

 private:
  static constexpr std::uint64_t kFew = 9;
  static constexpr std::uint64_t kPlaces = 25;

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  void transition(const std::string& id) {
    const Operation operation = test::kOperations[pick(test::kOperations.size())];
    const Placement placement = place(pick(kPlaces));
    const TransitionResult result = perform(table_, operation, id, placement);
    EXPECT_EQ(result, perform(reference_, operation, id, placement)) << operation;
    ++(result ? successes_ : refusals_);
    if (result && operation == Operation::CompleteMigration) ++flips_;
  }

  // Takes a permit, or gives the oldest back.
  void writes(const std::string& id) {
    if (!permits_.empty() && (permits_.size() > 3 || pick(2) == 0)) {
      reference_.released(permits_.front().first);
      permits_.pop_front();
      return;
    }
    const auto at = reference_.get(id);
    WritePermit permit = table_.acquire_write(id);
    ASSERT_EQ(static_cast<bool>(permit), reference_.may_write(id));
    if (!permit) return;
    EXPECT_EQ(permit.placement(), at->placement);
    EXPECT_EQ(permit.epoch(), at->epoch);
    reference_.admitted(id);
    permits_.emplace_back(id, std::move(permit));
  }

  // News from elsewhere, of a little while ago or a little ahead.
  void apply(const std::string& id) {
    const std::uint64_t now = table_.current_epoch().value();
    const Epoch epoch(now + 3 - std::min(now + 3, pick(12)));
    const Placement from = place(pick(kPlaces));
    const Placement to = place(pick(kPlaces));
    bool news = false;
    switch (pick(4)) {
      case 0:
        news = reference_.apply_erase(id, epoch);
        EXPECT_EQ(table_.apply_erase(id, epoch), news);
        break;
      case 1:
        news = apply(id, PartitionState::active(from), epoch);
        break;
      case 2:
        news = apply(id, PartitionState::migrating(from, to, MigrationPhase::Draining), epoch);
        break;
      default:
        news = apply(id, PartitionState::migrating(from, to, MigrationPhase::Cutover), epoch);
        break;
    }
    if (news) ++applied_;
  }
  bool apply(const std::string& id, const PartitionState& state, Epoch epoch) {
    const bool news = reference_.apply(id, state, epoch);
    EXPECT_EQ(table_.apply(id, state, epoch), news);
    return news;
  }

  // The others: a window of ids that widens and narrows.
  void fill() {
    const bool widen = (filled_ / 700) % 2 == 0;
    for (int i = 0; i < 7; ++i, ++filled_) {
      if (!widen && !others_.empty()) {
        EXPECT_EQ(table_.erase(others_.front()), reference_.erase(others_.front()));
        others_.pop_front();
      } else {
        others_.push_back(id_of(100 + filled_));
        EXPECT_EQ(table_.set(others_.back(), place(1)), reference_.set(others_.back(), place(1)));
      }
    }
  }

  std::mt19937_64 random_;
  PlacementTable table_;
  ReferenceTable<> reference_;
  std::deque<std::pair<std::string, WritePermit>> permits_;
  std::deque<std::string> others_;
  std::uint64_t filled_ = 0;
  std::size_t successes_ = 0;
  std::size_t refusals_ = 0;
  std::size_t flips_ = 0;
  std::size_t applied_ = 0;
};

void run(std::size_t shards) {
  std::cout << "seed " << seed() << '\n';
  for (std::uint64_t round = 0; round < 8; ++round) {
    History history(seed() + round, shards);
    for (std::size_t steps = 1; steps <= 6000; ++steps) {
      history.step();
      if (steps % 250 == 0) history.expect_same();
      ASSERT_FALSE(testing::Test::HasFailure())
          << "seed " << seed() << " + " << round << ", step " << steps;
    }
    EXPECT_GT(history.successes(), 1000U);
    EXPECT_GT(history.refusals(), 1000U);
    EXPECT_GT(history.flips(), 20U);
    EXPECT_GT(history.applied(), 50U);
  }
}

TEST(RandomModel, OneShardDoesAsTheReferenceDoes) { run(1); }
TEST(RandomModel, ManyShardsDoAsTheReferenceDoes) { run(16); }

}  // namespace
}  // namespace placement
