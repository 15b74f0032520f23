// SPDX-License-Identifier: Apache-2.0
//
// TableOptions::track_permits: who blocks the flip, and since when.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/time/time.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/manual_clock.hpp"
#include "support/sanitizers.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const Placement& here() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("here"));
  return placement;
}
const Placement& there() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("there"));
  return placement;
}

class TrackedPermits : public testing::Test {
 protected:
  TrackedPermits() : table_(TableOptions{.shards = 1, .clock = &clock_, .track_permits = true}) {
    table_.set("a", here());
  }

  // A second after the one before.
  [[nodiscard]] WritePermit acquire(std::string_view label, std::string_view id = "a") {
    clock_.advance(absl::Seconds(1));
    WritePermit permit = table_.acquire_write(id);
    permit.label(label);
    return permit;
  }
  [[nodiscard]] std::vector<std::string> labels(std::string_view id = "a") const {
    std::vector<std::string> all;
    for (const Blocker& blocker : table_.blockers(id)) all.push_back(blocker.label);
    return all;
  }

  ManualClock clock_;
  PlacementTable table_;
};

// ---- what is named ----

TEST_F(TrackedPermits, AreNamedOldestFirst) {
  const absl::Time start = clock_.now();
  const Epoch settled = table_.get("a")->epoch;
  const WritePermit one = acquire("one");
  const Epoch draining = table_.begin_migration("a", there()).value();
  const WritePermit two = acquire("two");
  clock_.advance(absl::Seconds(5));
  const std::vector<Blocker> blockers = table_.blockers("a");
  ASSERT_EQ(blockers.size(), 2U);
  EXPECT_EQ(blockers[0].label, "one");
  EXPECT_EQ(blockers[0].granted_at, start + absl::Seconds(1));
  EXPECT_EQ(blockers[0].age, absl::Seconds(6));
  EXPECT_EQ(blockers[0].epoch, settled);
  EXPECT_EQ(blockers[0].quarantined_until, std::nullopt);
  EXPECT_EQ(blockers[1].label, "two");
  EXPECT_EQ(blockers[1].granted_at, start + absl::Seconds(2));
  EXPECT_EQ(blockers[1].age, absl::Seconds(5));
  EXPECT_EQ(blockers[1].epoch, draining);
  EXPECT_EQ(table_.oldest_write("a"), start + absl::Seconds(1));
}

TEST_F(TrackedPermits, AreNobodyWhereNoWriteIsInFlight) {
  EXPECT_THAT(table_.blockers("a"), IsEmpty());
  EXPECT_EQ(table_.oldest_write("a"), std::nullopt);
  EXPECT_THAT(table_.blockers("nobody"), IsEmpty());
  EXPECT_EQ(table_.oldest_write("nobody"), std::nullopt);
}

TEST_F(TrackedPermits, AreNotNamedByATableThatDoesNotTrack) {
  PlacementTable table(TableOptions{.clock = &clock_});
  table.set("a", here());
  WritePermit permit = table.acquire_write("a");
  permit.label("one");
  table.acquire_write("a").quarantine(absl::Hours(1));
  EXPECT_EQ(table.writes_in_flight("a"), 2U);
  EXPECT_THAT(table.blockers("a"), IsEmpty());
  EXPECT_EQ(table.oldest_write("a"), std::nullopt);
}

TEST_F(TrackedPermits, OfOnePartitionAreNotNamedAtAnother) {
  table_.set("b", here());
  const WritePermit a = acquire("one");
  const WritePermit b = acquire("two", "b");
  EXPECT_THAT(labels("a"), ElementsAre("one"));
  EXPECT_THAT(labels("b"), ElementsAre("two"));
}

TEST_F(TrackedPermits, ThatAreRefusedAreNotNamed) {
  EXPECT_FALSE(table_.acquire_write("a", Epoch::zero()));
  ASSERT_TRUE(table_.begin_migration("a", there()));
  ASSERT_TRUE(table_.enter_cutover("a"));
  WritePermit refused = acquire("one");
  EXPECT_FALSE(refused);
  EXPECT_THAT(labels(), IsEmpty());
}

TEST_F(TrackedPermits, ThatAreGivenBackInAnyOrderAreNamedNoMore) {
  std::array<std::string, 3> names = {"one", "two", "three"};
  std::array<std::size_t, 3> order = {0, 1, 2};
  do {
    std::vector<WritePermit> permits;
    for (const std::string& name : names) permits.push_back(acquire(name));
    std::vector<std::string> left(names.begin(), names.end());
    for (const std::size_t which : order) {
      EXPECT_EQ(labels(), left);
      permits[which].release();
      std::erase(left, names[which]);
    }
    EXPECT_THAT(labels(), IsEmpty());
    EXPECT_EQ(table_.writes_in_flight("a"), 0U);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(TrackedPermits, OfAReferenceAreNamedToo) {
  PartitionRef ref = table_.ref("a");
  WritePermit found = ref.acquire_write();
  found.label("found");
  clock_.advance(absl::Seconds(1));
  WritePermit kept = ref.acquire_write(table_.get("a")->epoch);
  kept.label("kept");
  EXPECT_THAT(labels(), ElementsAre("found", "kept"));
}

TEST_F(TrackedPermits, ThatWaitedForACutoverAreNamedToo) {
  WritePermit permit = table_.acquire_write_until("a", absl::InfinitePast());
  permit.label("one");
  EXPECT_THAT(labels(), ElementsAre("one"));
}

// ---- labels ----

TEST_F(TrackedPermits, HaveNoLabelUntilTheyAreGivenOne) {
  WritePermit permit = table_.acquire_write("a");
  EXPECT_THAT(labels(), ElementsAre(""));
  permit.label("first");
  EXPECT_THAT(labels(), ElementsAre("first"));
  permit.label("2nd");
  EXPECT_THAT(labels(), ElementsAre("2nd"));
  permit.label({});
  EXPECT_THAT(labels(), ElementsAre(""));
}

TEST_F(TrackedPermits, KeepTheBeginningOfALongLabel) {
  const std::string fits(kMaxPermitLabelBytes, 'x');
  WritePermit permit = acquire(fits);
  EXPECT_THAT(labels(), ElementsAre(fits));
  permit.label(fits + "y");
  EXPECT_THAT(labels(), ElementsAre(fits));
  permit.label(std::string(1000, 'z'));
  EXPECT_THAT(labels(), ElementsAre(std::string(kMaxPermitLabelBytes, 'z')));
}

TEST_F(TrackedPermits, KeepAnyBytesOfALabel) {
  const std::string bytes("a\0\xFF", 3);
  const WritePermit permit = acquire(bytes);
  EXPECT_THAT(labels(), ElementsAre(bytes));
}

TEST_F(TrackedPermits, ThatAreNotOutTakeNoLabel) {
  WritePermit permit = acquire("one");
  WritePermit moved = std::move(permit);
  permit.label("moved from");  // NOLINT(bugprone-use-after-move): what that does is documented
  EXPECT_THAT(labels(), ElementsAre("one"));
  moved.quarantine(absl::Seconds(5));
  moved.label("in quarantine");
  EXPECT_THAT(labels(), ElementsAre("one"));
  WritePermit released = acquire("two");
  released.release();
  released.label("released");
  WritePermit(WriteRefusal::Cutover).label("refused");
  EXPECT_THAT(labels(), ElementsAre("one"));
}

// ---- the permit as an object ----

TEST_F(TrackedPermits, KeepTheirNamesWhenTheyAreMoved) {
  table_.set("b", here());
  WritePermit a = acquire("of a");
  WritePermit b = acquire("of b", "b");
  WritePermit moved = std::move(a);
  EXPECT_THAT(labels("a"), ElementsAre("of a"));
  swap(moved, b);
  EXPECT_THAT(labels("a"), ElementsAre("of a"));
  EXPECT_THAT(labels("b"), ElementsAre("of b"));
  moved.label("moved");
  EXPECT_THAT(labels("b"), ElementsAre("moved"));
  WritePermit& same = moved;
  moved = std::move(same);
  EXPECT_THAT(labels("b"), ElementsAre("moved"));
  moved = std::move(b);
  EXPECT_THAT(labels("a"), ElementsAre("of a"));
  EXPECT_THAT(labels("b"), IsEmpty());
}

TEST_F(TrackedPermits, OfATableThatTracksAndOfOneThatDoesNotCanBeSwapped) {
  PlacementTable other(TableOptions{.clock = &clock_});
  other.set("a", here());
  WritePermit untracked = other.acquire_write("a");
  WritePermit tracked = acquire("one");
  swap(tracked, untracked);
  tracked.label("nobody asks");
  EXPECT_THAT(labels(), ElementsAre("one"));
  tracked.release();
  EXPECT_EQ(other.writes_in_flight("a"), 0U);
  EXPECT_THAT(labels(), ElementsAre("one"));
  untracked.release();
  EXPECT_THAT(labels(), IsEmpty());
}

TEST_F(TrackedPermits, MayBeGivenBackByAnotherThread) {
  WritePermit permit = acquire("one");
  run_together(
      {[permit = std::make_shared<WritePermit>(std::move(permit))] { permit->release(); }});
  EXPECT_THAT(labels(), IsEmpty());
}

// ---- quarantine ----

TEST_F(TrackedPermits, InQuarantineAreNamedUntilItIsOver) {
  const WritePermit first = acquire("first");
  WritePermit lost = acquire("lost");
  const WritePermit last = acquire("last");
  const absl::Time until = clock_.now() + absl::Seconds(5);
  lost.quarantine(absl::Seconds(5));
  clock_.advance(absl::Seconds(5) - absl::Nanoseconds(1));
  const std::vector<Blocker> blockers = table_.blockers("a");
  ASSERT_EQ(blockers.size(), 3U);
  EXPECT_EQ(blockers[0].label, "first");
  EXPECT_EQ(blockers[0].quarantined_until, std::nullopt);
  EXPECT_EQ(blockers[1].label, "lost");
  EXPECT_EQ(blockers[1].quarantined_until, until);
  EXPECT_EQ(blockers[2].label, "last");
  EXPECT_EQ(blockers[2].quarantined_until, std::nullopt);
  clock_.advance(absl::Nanoseconds(1));
  EXPECT_THAT(labels(), ElementsAre("first", "last"));
}

// They are counted until the last of them is over.
TEST_F(TrackedPermits, InSeveralQuarantinesAreSaidToEndTogether) {
  WritePermit one = acquire("one");
  WritePermit two = acquire("two");
  const absl::Time start = clock_.now();
  two.quarantine(absl::Seconds(9));
  one.quarantine(absl::Seconds(5));
  clock_.advance(absl::Seconds(6));
  const std::vector<Blocker> blockers = table_.blockers("a");
  ASSERT_EQ(blockers.size(), 2U);
  EXPECT_EQ(blockers[0].label, "one");
  EXPECT_EQ(blockers[0].quarantined_until, start + absl::Seconds(9));
  EXPECT_EQ(blockers[1].quarantined_until, start + absl::Seconds(9));
  clock_.advance(absl::Seconds(3));
  EXPECT_THAT(table_.blockers("a"), IsEmpty());
}

TEST_F(TrackedPermits, InQuarantineCountForTheOldest) {
  const absl::Time start = clock_.now();
  WritePermit one = acquire("one");
  WritePermit two = acquire("two");
  WritePermit three = acquire("three");
  two.quarantine(absl::Hours(1));
  EXPECT_EQ(table_.oldest_write("a"), start + absl::Seconds(1));
  one.release();
  EXPECT_EQ(table_.oldest_write("a"), start + absl::Seconds(2));
  three.quarantine(absl::Hours(1));
  EXPECT_EQ(table_.oldest_write("a"), start + absl::Seconds(2));
  clock_.advance(absl::Hours(1));
  EXPECT_EQ(table_.oldest_write("a"), std::nullopt);
}

TEST_F(TrackedPermits, InAQuarantineThatIsOverAreNotNamedByTheNextOne) {
  acquire("one").quarantine(absl::Seconds(5));
  clock_.advance(absl::Seconds(5));
  acquire("two").quarantine(absl::Seconds(9));
  EXPECT_THAT(labels(), ElementsAre("two"));
}

// Also the memory: the leak checker looks on.
TEST_F(TrackedPermits, InQuarantineMayOutliveTheTable) {
  auto table = std::make_unique<PlacementTable>(
      TableOptions{.shards = 1, .clock = &clock_, .track_permits = true});
  for (const char* id : {"a", "b", "gone", "last"}) table->set(id, here());
  ASSERT_TRUE(table->erase("gone"));  // its counter is free
  table->acquire_write("a").quarantine(absl::Seconds(5));
  table->acquire_write("a").quarantine(absl::Seconds(5));
  table->acquire_write("b").quarantine(absl::Seconds(1));
  clock_.advance(absl::Seconds(1));
  EXPECT_EQ(table->writes_in_flight("b"), 0U);
  table.reset();
}

// ---- a partition's life ----

TEST_F(TrackedPermits, StayNamedThroughEveryChange) {
  const WritePermit permit = acquire("one");
  ASSERT_TRUE(table_.begin_migration("a", there()));
  ASSERT_TRUE(table_.enter_cutover("a"));
  EXPECT_EQ(table_.complete_migration("a"), MigrationError::WritesInFlight);
  EXPECT_THAT(labels(), ElementsAre("one"));
  table_.set("a", Placement::dedicated_cluster(ClusterId("third")));  // in another cell
  EXPECT_THAT(labels(), ElementsAre("one"));
  ASSERT_TRUE(table_.apply_erase("a", Epoch(1'000)));
  EXPECT_THAT(labels(), ElementsAre("one"));
  ASSERT_TRUE(table_.apply("a", PartitionState::active(here()), Epoch(1'001)));
  EXPECT_THAT(labels(), ElementsAre("one"));
  for (int n = 0; n < 1'000; ++n) table_.set(std::to_string(n), here());  // the shard grows
  EXPECT_THAT(labels(), ElementsAre("one"));
}

TEST_F(TrackedPermits, OfAPartitionThatIsGoneAreNotNamedAtTheNextInItsCounter) {
  for (int n = 0; n < 100; ++n) {
    const std::string id = std::to_string(n);
    table_.set(id, here());
    EXPECT_THAT(labels(id), IsEmpty());
    WritePermit permit = acquire("one", id);
    acquire("two", id).quarantine(absl::Seconds(1));
    EXPECT_THAT(labels(id), ElementsAre("one", "two"));
    permit.release();
    clock_.advance(absl::Seconds(1));
    ASSERT_TRUE(table_.erase(id));
  }
}

TEST_F(TrackedPermits, InQuarantineAreForgottenWithTheirPartition) {
  acquire("one").quarantine(absl::Seconds(5));
  ASSERT_TRUE(table_.apply_erase("a", Epoch(1'000)));
  table_.forget_erased(Epoch(1'000));
  EXPECT_THAT(labels(), ElementsAre("one"));
  clock_.advance(absl::Seconds(5));
  table_.forget_erased(Epoch(1'000));
  table_.set("a", here());
  EXPECT_THAT(labels(), IsEmpty());
}

// ---- with other threads ----

TEST_F(TrackedPermits, WakeADrainWhenTheLastIsGivenBack) {
  const int kRounds = static_cast<int>(work(500));
  for (int round = 0; round < kRounds; ++round) {
    auto permit = std::make_unique<WritePermit>(table_.acquire_write("a"));
    std::atomic<bool> drained{false};
    run_together({[&] { drained = table_.wait_until_drained("a", absl::InfiniteFuture()); },
                  [&] { permit->release(); }});
    EXPECT_TRUE(drained);
  }
}

// Each thread finds its own permits named, by their labels, and only while it has them.
TEST_F(TrackedPermits, AreNamedFromTheAcquireToTheRelease) {
  constexpr std::uint64_t kThreads = 3;
  const std::uint64_t kRounds = work(5'000);
  std::atomic<std::uint64_t> others{0};
  const auto count = [&](const std::string& label) {
    const std::vector<Blocker> blockers = table_.blockers("a");
    const auto is_older = [](const Blocker& a, const Blocker& b) {
      return a.granted_at < b.granted_at;
    };
    EXPECT_TRUE(std::is_sorted(blockers.begin(), blockers.end(), is_older));
    if (blockers.size() > 2) ++others;
    return std::count_if(blockers.begin(), blockers.end(),
                         [&](const Blocker& blocker) { return blocker.label == label; });
  };
  std::vector<std::function<void()>> bodies;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    bodies.emplace_back([&, thread] {
      for (std::uint64_t round = 0; round < kRounds; ++round) {
        const std::string label = std::to_string(thread) + "/" + std::to_string(round);
        clock_.advance(absl::Nanoseconds(1));
        std::optional<WritePermit> one = table_.acquire_write("a");
        one->label(label);
        std::optional<WritePermit> two = table_.acquire_write("a");
        two->label(label);
        ASSERT_EQ(count(label), 2);
        (round % 2 == 0 ? one : two).reset();
        ASSERT_EQ(count(label), 1);
        if (round % 3 == 0) {
          (round % 2 == 0 ? two : one)->quarantine(absl::ZeroDuration());
        } else {
          (round % 2 == 0 ? two : one).reset();
        }
        ASSERT_EQ(count(label), 0);
      }
    });
  }
  run_together(bodies);
  EXPECT_GT(others.load(), 0U);
  EXPECT_EQ(table_.writes_in_flight("a"), 0U);
  EXPECT_EQ(table_.oldest_write("a"), std::nullopt);
}

// ---- the list ----

// Against a list that anyone can see to be right.
TEST(ListOfTrackedPermits, IsWhatWasDoneToIt) {
  struct Known {
    absl::Time granted_at;
    bool in_quarantine = false;
    std::unique_ptr<detail::TrackedPermit> permit;  // until it is in quarantine
    detail::TrackedPermit* node = nullptr;
  };
  Random random = make_random();
  detail::PermitsThatAreOver over;
  detail::TrackedPermits list{};
  std::vector<Known> known;
  std::uint64_t quarantines_of_some = 0;
  std::uint64_t over_count = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t at = known.empty() ? 0 : below(random, known.size());
    switch (below(random, 8)) {
      default: {
        if (known.size() > 6) break;
        Known one;
        one.granted_at = absl::FromUnixNanos(step);
        one.permit = std::make_unique<detail::TrackedPermit>();
        one.node = one.permit.get();
        one.node->granted_at = one.granted_at;
        list.add(*one.node);
        known.push_back(std::move(one));
        break;
      }
      case 0:
      case 1:
        if (known.empty() || known[at].in_quarantine) break;
        list.remove(*known[at].node);
        known.erase(known.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 2:
      case 3:
        if (known.empty() || known[at].in_quarantine) break;
        list.quarantine(*known[at].permit.release());
        known[at].in_quarantine = true;
        break;
      case 4: {
        const std::size_t before = known.size();
        list.end_quarantine(over);
        std::erase_if(known, [](const Known& one) { return one.in_quarantine; });
        if (before - known.size() > 1 && !known.empty()) ++quarantines_of_some;
        over_count += before - known.size();
        break;
      }
      case 5:
        if (over.take_one() != nullptr) --over_count;
        break;
    }
    std::vector<const detail::TrackedPermit*> quarantined;
    std::vector<const detail::TrackedPermit*> out;
    std::optional<absl::Time> oldest;
    for (const Known& one : known) {
      (one.in_quarantine ? quarantined : out).push_back(one.node);
      oldest = std::min(oldest.value_or(one.granted_at), one.granted_at);
    }
    std::vector<const detail::TrackedPermit*> found_quarantined;
    std::vector<const detail::TrackedPermit*> found_out;
    list.for_each([&](const detail::TrackedPermit& permit) {
      (permit.in_quarantine ? found_quarantined : found_out).push_back(&permit);
      ASSERT_LE(found_quarantined.size() + found_out.size(), known.size());
    });
    ASSERT_THAT(found_quarantined, testing::UnorderedElementsAreArray(quarantined));
    ASSERT_EQ(found_out, out);
    ASSERT_EQ(list.oldest(), oldest);
  }
  EXPECT_GT(quarantines_of_some, 0U);
  while (over.take_one() != nullptr) --over_count;
  EXPECT_EQ(over_count, 0U);
  for (const Known& one : known) list.remove(*one.node);
  for (Known& one : known) {
    if (one.in_quarantine) one.permit.reset(one.node);
  }
}

}  // namespace
}  // namespace placement::test
