// SPDX-License-Identifier: Apache-2.0
//
// Whoever watches a table: an observer, a replica, a monitoring system.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"
#include "support/place.hpp"
#include "support/threads.hpp"

namespace placement {
namespace {

using test::place;

PartitionState active(std::uint64_t at) { return PartitionState::active(place(at)); }
PartitionState migrating(std::uint64_t from, std::uint64_t to, MigrationPhase phase) {
  return PartitionState::migrating(place(from), place(to), phase);
}

// A change that outlives on_change.
struct Told {
  std::string id;
  std::optional<PartitionState> before;
  std::optional<PartitionState> after;
  Epoch epoch;
  Transition transition;

  friend bool operator==(const Told&, const Told&) = default;
};

class Recorder final : public TableObserver {
 public:
  void on_change(const Change& change) noexcept override {
    const std::lock_guard lock(mutex_);
    told_.push_back(
        {std::string(change.id), change.before, change.after, change.epoch, change.transition});
  }
  std::vector<Told> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(told_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Told> told_;
};

TEST(Observer, IsToldOfEveryChangeBeforeTheCallReturns) {
  using enum MigrationPhase;
  Recorder recorder;
  PlacementTable table{TableOptions{.observer = &recorder}};
  const auto expect = [&](Transition transition, std::optional<PartitionState> before,
                          std::optional<PartitionState> after) {
    EXPECT_EQ(recorder.take(),
              (std::vector<Told>{{"a", before, after, table.current_epoch(), transition}}));
  };
  table.set("a", place(1));
  expect(Transition::Set, {}, active(1));
  ASSERT_TRUE(table.begin_migration("a", place(2)));
  expect(Transition::BeginMigration, active(1), migrating(1, 2, Draining));
  ASSERT_TRUE(table.claim_migration("a"));
  expect(Transition::ClaimMigration, migrating(1, 2, Draining), migrating(1, 2, Draining));
  ASSERT_TRUE(table.enter_cutover("a"));
  expect(Transition::EnterCutover, migrating(1, 2, Draining), migrating(1, 2, Cutover));
  ASSERT_TRUE(table.complete_migration("a"));
  expect(Transition::CompleteMigration, migrating(1, 2, Cutover), active(2));
  ASSERT_TRUE(table.begin_migration("a", place(3)));
  recorder.take();
  ASSERT_TRUE(table.abort_migration("a"));
  expect(Transition::AbortMigration, migrating(2, 3, Draining), active(2));
  ASSERT_TRUE(table.pause_writes("a"));
  expect(Transition::PauseWrites, active(2), migrating(2, 2, Cutover));
  ASSERT_TRUE(table.resume_writes("a"));
  expect(Transition::ResumeWrites, migrating(2, 2, Cutover), active(2));
  ASSERT_TRUE(table.set("a", place(4), table.current_epoch()));
  expect(Transition::Set, active(2), active(4));
  ASSERT_TRUE(table.erase("a"));
  expect(Transition::Erase, active(4), {});
  ASSERT_TRUE(table.apply("a", migrating(1, 2, Draining), Epoch(100)));
  expect(Transition::Apply, {}, migrating(1, 2, Draining));
  // Neither placement can stay where it is: the partition gets a second cell.
  ASSERT_TRUE(table.apply("a", migrating(3, 4, Cutover), Epoch(101)));
  expect(Transition::Apply, migrating(1, 2, Draining), migrating(3, 4, Cutover));
  ASSERT_TRUE(table.apply_erase("a", Epoch(102)));
  expect(Transition::ApplyErase, migrating(3, 4, Cutover), {});
  ASSERT_TRUE(table.apply_erase("a", Epoch(103)));
  expect(Transition::ApplyErase, {}, {});
  table.forget_erased(Epoch(103));
  EXPECT_TRUE(recorder.take().empty()) << "it was absent, and is";
}

TEST(Observer, IsToldOfAnEraseUntilStepByStep) {
  Recorder recorder;
  PlacementTable table{TableOptions{.observer = &recorder}};
  table.set("a", place(1));
  const auto kinds = [&recorder] {
    std::vector<Transition> transitions;
    for (const Told& told : recorder.take()) transitions.push_back(told.transition);
    return transitions;
  };
  {
    const WritePermit permit = table.acquire_write("a");
    recorder.take();
    EXPECT_FALSE(table.erase_until("a", absl::InfinitePast()));
    EXPECT_EQ(kinds(), (std::vector{Transition::PauseWrites, Transition::AbortMigration}));
  }
  EXPECT_TRUE(table.erase_until("a", absl::InfinitePast()));
  EXPECT_EQ(kinds(), (std::vector{Transition::PauseWrites, Transition::EraseDrained}));
}

TEST(Observer, IsNotToldOfWhatWasRefused) {
  Recorder recorder;
  PlacementTable table{TableOptions{.observer = &recorder}};
  EXPECT_FALSE(table.begin_migration("a", place(1)));
  EXPECT_FALSE(table.erase("a"));
  EXPECT_FALSE(table.set("a", place(1), Epoch(7)));
  EXPECT_FALSE(table.apply("a", active(1), Epoch::zero()));
  ASSERT_TRUE(table.apply("a", active(1), Epoch(5)));
  recorder.take();
  EXPECT_FALSE(table.apply("a", active(2), Epoch(5)));
  EXPECT_FALSE(table.apply_erase("a", Epoch(4)));
  EXPECT_TRUE(recorder.take().empty());
}

TEST(Observer, MayCallTheTable) {
  class Placer final : public TableObserver {
   public:
    void on_change(const Change& change) noexcept override {
      if (change.transition != Transition::Set || change.id != "a") return;
      seen = table->get("a")->epoch;
      table->set("b", change.after->read_placement());
    }
    PlacementTable* table = nullptr;
    Epoch seen;
  } placer;
  PlacementTable table{TableOptions{.observer = &placer}};
  placer.table = &table;
  const Epoch epoch = table.set("a", place(1));
  EXPECT_EQ(placer.seen, epoch);
  EXPECT_EQ(table.get("b")->placement, place(1));
}

TEST(Observer, IsToldBeforeHeldWritesAreResumed) {
  Recorder recorder;
  PlacementTable table{TableOptions{.observer = &recorder}};
  table.set("a", place(1));
  ASSERT_TRUE(table.pause_writes("a"));
  recorder.take();
  std::size_t told = 0;
  const HoldTicket ticket = table.hold("a", [&] { told = recorder.take().size(); });
  ASSERT_TRUE(table.resume_writes("a"));
  EXPECT_EQ(told, 1U);
}

TEST(Observer, HasToBeOfTheTablesTypes) {
  Recorder recorder;
  using NumberTable = BasicPlacementTable<std::uint64_t, std::uint32_t>;
  EXPECT_THROW(NumberTable(TableOptions{.observer = &recorder}), std::invalid_argument);

  struct Numbers final : BasicTableObserver<std::uint64_t, std::uint32_t> {
    void on_change(const Change& change) noexcept override { sum += change.id; }
    std::uint64_t sum = 0;
  } numbers;
  NumberTable table{TableOptions{.observer = &numbers}};
  table.set(41, 1);
  table.set(1, 1);
  EXPECT_EQ(numbers.sum, 42U);
  EXPECT_THROW(PlacementTable(TableOptions{.observer = &numbers}), std::invalid_argument);
}

// ---- a replica ----

// A transport that loses, repeats and reorders what it is given.
class BadTransport final : public TableObserver {
 public:
  explicit BadTransport(test::Random random) : random_(random) {}

  void on_change(const Change& change) noexcept override {
    const std::lock_guard lock(mutex_);
    if (test::below(random_, 4) == 0) return ++lost_, void();
    const Message message{std::string(change.id), change.after, change.epoch};
    const std::size_t copies = 1 + test::below(random_, 2);
    for (std::size_t i = 0; i < copies; ++i) {
      const auto at = static_cast<std::ptrdiff_t>(test::below(random_, queue_.size() + 1));
      queue_.insert(queue_.begin() + at, message);
    }
  }
  void deliver(PlacementTable& replica, std::size_t most) {
    for (std::size_t i = 0; i < most; ++i) {
      std::optional<Message> next;
      {
        const std::lock_guard lock(mutex_);
        if (queue_.empty()) return;
        next = std::move(queue_.front());
        queue_.pop_front();
      }
      if (next->state) {
        replica.apply(next->id, *next->state, next->epoch);
      } else {
        replica.apply_erase(next->id, next->epoch);
      }
    }
  }
  [[nodiscard]] std::size_t lost() const { return lost_; }

 private:
  struct Message {
    std::string id;
    std::optional<PartitionState> state;
    Epoch epoch;
  };

  test::Random random_;
  std::mutex mutex_;
  std::deque<Message> queue_;
  std::size_t lost_ = 0;
};

// Brings the replica to where the source is, whatever it has missed. What the source does meanwhile
// may or may not be in it, and is told by the observer.
void resynchronise(const PlacementTable& source, PlacementTable& replica) {
  const Epoch before = source.current_epoch();
  std::map<std::string, std::pair<PartitionState, Epoch>> snapshot;
  source.for_each([&](std::string_view id, const PartitionState& state, Epoch epoch) {
    snapshot.emplace(id, std::pair(state, epoch));
  });
  for (const auto& [id, at] : snapshot) replica.apply(id, at.first, at.second);
  // What was there before and is not in the snapshot was erased, at the earliest by the next
  // change; and if it came back, that was later.
  std::vector<std::string> gone;
  replica.for_each([&](std::string_view id, const PartitionState&, Epoch epoch) {
    if (epoch <= before && !snapshot.contains(std::string(id))) gone.emplace_back(id);
  });
  for (const std::string& id : gone) replica.apply_erase(id, Epoch(before.value() + 1));
}

void change_something(PlacementTable& table, test::Random& random) {
  const std::string id = std::to_string(test::below(random, 40));
  switch (test::below(random, 7)) {
    case 0:
      table.set(id, place(test::below(random, 5)));
      break;
    case 1:
      static_cast<void>(table.begin_migration(id, place(test::below(random, 5))));
      break;
    case 2:
      static_cast<void>(table.enter_cutover(id));
      break;
    case 3:
      static_cast<void>(table.complete_migration(id));
      break;
    case 4:
      static_cast<void>(table.abort_migration(id));
      break;
    case 5:
      static_cast<void>(table.pause_writes(id));
      break;
    default:
      static_cast<void>(table.erase(id));
      break;
  }
}

void expect_same(const PlacementTable& source, const PlacementTable& replica) {
  EXPECT_EQ(source.size(), replica.size());
  source.for_each([&](std::string_view id, const PartitionState& state, Epoch epoch) {
    EXPECT_EQ(replica.state(id), (StateAt{state, epoch})) << id;
  });
}

TEST(Replica, FollowsThroughATransportThatLosesRepeatsAndReorders) {
  test::Random random = test::make_random();
  BadTransport transport{test::Random(random())};
  PlacementTable source{TableOptions{.observer = &transport}};
  PlacementTable replica;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 50; ++i) {
      change_something(source, random);
      if (i % 7 == 0) transport.deliver(replica, 5);
    }
    resynchronise(source, replica);
    expect_same(source, replica);
    transport.deliver(replica, 30);  // old messages change nothing
    expect_same(source, replica);
  }
  EXPECT_GT(transport.lost(), 100U);
}

TEST(Replica, ResynchronisesWhileTheSourceChanges) {
  test::Random random = test::make_random();
  BadTransport transport{test::Random(random())};
  PlacementTable source{TableOptions{.observer = &transport}};
  PlacementTable replica;
  const std::uint64_t seed = random();
  const auto change = [&] {
    test::Random mine(seed);
    for (int i = 0; i < 30'000; ++i) change_something(source, mine);
  };
  const auto follow = [&] {
    for (int i = 0; i < 300; ++i) {
      transport.deliver(replica, 50);
      resynchronise(source, replica);
    }
  };
  test::run_together({change, follow});
  resynchronise(source, replica);
  expect_same(source, replica);
}

// ---- statistics ----

TEST(Stats, CountPartitionsByPhaseAndChangesByKind) {
  PlacementTable table;
  for (const char* id : {"a", "b", "c", "d"}) table.set(id, place(1));
  for (const char* id : {"b", "c", "d"}) ASSERT_TRUE(table.begin_migration(id, place(2)));
  for (const char* id : {"c", "d"}) ASSERT_TRUE(table.enter_cutover(id));
  ASSERT_TRUE(table.apply_erase("d", Epoch(100)));
  ASSERT_TRUE(table.apply("e", active(1), Epoch(101)));
  TableStats stats = table.stats();
  EXPECT_EQ(stats.partitions(MigrationPhase::Settled), 2U);
  EXPECT_EQ(stats.partitions(MigrationPhase::Draining), 1U);
  EXPECT_EQ(stats.partitions(MigrationPhase::Cutover), 1U);
  EXPECT_EQ(stats.transitions(Transition::Set), 4U);
  EXPECT_EQ(stats.transitions(Transition::BeginMigration), 3U);
  EXPECT_EQ(stats.transitions(Transition::EnterCutover), 2U);
  EXPECT_EQ(stats.transitions(Transition::Apply), 1U);
  EXPECT_EQ(stats.transitions(Transition::ApplyErase), 1U);

  ASSERT_TRUE(table.complete_migration("c"));
  ASSERT_TRUE(table.claim_migration("b"));
  ASSERT_TRUE(table.abort_migration("b"));
  ASSERT_TRUE(table.pause_writes("a"));
  ASSERT_TRUE(table.resume_writes("a"));
  ASSERT_TRUE(table.erase("a"));
  ASSERT_TRUE(table.erase_until("b", absl::InfinitePast()));
  stats = table.stats();
  EXPECT_EQ(stats.partitions(MigrationPhase::Settled), 2U);
  EXPECT_EQ(stats.partitions(MigrationPhase::Draining), 0U);
  EXPECT_EQ(stats.partitions(MigrationPhase::Cutover), 0U);
  for (const Transition once :
       {Transition::CompleteMigration, Transition::ClaimMigration, Transition::AbortMigration,
        Transition::ResumeWrites, Transition::Erase, Transition::EraseDrained}) {
    EXPECT_EQ(stats.transitions(once), 1U) << once;
  }
  EXPECT_EQ(stats.transitions(Transition::PauseWrites), 2U);
}

TEST(Stats, CountRefusalsByReason) {
  PlacementTable table;
  EXPECT_FALSE(table.enter_cutover("a"));
  EXPECT_FALSE(table.set("a", place(1), Epoch(5)));
  table.set("a", place(1));
  EXPECT_FALSE(table.enter_cutover("a"));
  EXPECT_FALSE(table.resume_writes("a"));
  EXPECT_FALSE(table.apply("a", active(1), Epoch(1)));
  {
    const WritePermit permit = table.acquire_write("a");
    EXPECT_FALSE(table.erase("a"));
  }
  const TableStats stats = table.stats();
  EXPECT_EQ(stats.refusals(MigrationError::UnknownPartition), 1U);
  EXPECT_EQ(stats.refusals(MigrationError::StaleEpoch), 2U);
  EXPECT_EQ(stats.refusals(MigrationError::NotMigrating), 1U);
  EXPECT_EQ(stats.refusals(MigrationError::NotPaused), 1U);
  EXPECT_EQ(stats.refusals(MigrationError::WritesInFlight), 1U);
  EXPECT_EQ(stats.refusals(MigrationError::AlreadyMigrating), 0U);
}

TEST(Stats, AgreeWithTheTableAfterAnything) {
  test::Random random = test::make_random();
  PlacementTable table;
  for (int i = 0; i < 20'000; ++i) change_something(table, random);
  std::map<MigrationPhase, std::size_t> found;
  table.for_each(
      [&](std::string_view, const PartitionState& state, Epoch) { ++found[state.phase()]; });
  const TableStats stats = table.stats();
  std::uint64_t changes = 0;
  for (const std::uint64_t kind : stats.transitions_by_kind) changes += kind;
  EXPECT_EQ(Epoch(changes), table.current_epoch());
  for (const MigrationPhase phase :
       {MigrationPhase::Settled, MigrationPhase::Draining, MigrationPhase::Cutover}) {
    EXPECT_EQ(stats.partitions(phase), found[phase]) << phase;
  }
}

}  // namespace
}  // namespace placement
