// SPDX-License-Identifier: Apache-2.0
//
// The worlds of the tests of schedules: a few threads, each with a short program on one partition,
// run by every schedule of few preemptions (scheduler.hpp) through the library's own headers, but
// for two: placement/detail has words and a mutex that let the scheduler in. Of each execution the
// history is given to the linearizability checker.
//
// Each test says how many preemptions there are at most. PLACEMENT_TEST_MORE_PREEMPTIONS=1 is one
// more, and takes much longer.
#ifndef PLACEMENT_TESTS_SCHEDULES_WORLDS_HPP_
#define PLACEMENT_TESTS_SCHEDULES_WORLDS_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "../support/linearizability.hpp"
#include "../support/partition_calls.hpp"
#include "../support/partition_model.hpp"
#include "../support/sanitizers.hpp"
#include "scheduler.hpp"

namespace placement::test {

// Two words: put together from two others, it is equal to neither.
struct Place {
  std::uint64_t sequence = 0;
  std::uint64_t negated = ~std::uint64_t{0};

  Place() = default;
  explicit Place(std::uint64_t nth) : sequence(nth), negated(~nth) {}

  friend bool operator==(const Place&, const Place&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Place& place) {
    return out << '#' << place.sequence << (place.negated == ~place.sequence ? "" : " (torn)");
  }
};

using Model = PartitionModel<Place>;
using Op = PartitionOperation<Place>;
using PartitionState = BasicPartitionState<Place>;

// ---- ids, chosen by their hashes ----

struct NumberIds {
  using Id = std::uint64_t;
  static Id make(std::uint64_t nth) { return nth; }
  static Id make_twin(std::uint64_t nth) { return nth; }
};
struct TextIds {
  using Id = std::string;
  static Id make(std::uint64_t nth) { return "tenant-" + std::to_string(nth); }
  static Id make_twin(std::uint64_t nth) { return make(nth); }
};
struct LongTextIds {  // with a block
  using Id = std::string;
  static Id make(std::uint64_t nth) {
    const std::string digits = std::to_string(nth);
    return std::string(kBytes - digits.size(), 'x') + digits;
  }
  // In the same cell, its two words are where the others have a block's address, and their length.
  static Id make_twin(std::uint64_t nth) {
    const std::array<std::uint64_t, 2> words = {nth, kBytes};
    std::string id(sizeof words, '\0');
    std::memcpy(id.data(), words.data(), sizeof words);
    return id;
  }

 private:
  static constexpr std::size_t kBytes = 70;
};

// The ids that the worlds are made of. `key` is the partition that all is about. In an array of 16
// cells, the least, there are two groups: an id's home is the first bit of its hash.
template <typename Kind>
struct Ids {
  using Id = typename Kind::Id;

  Ids() {
    key = find(Kind::make, [](std::uint64_t hash) { return home_of_64(hash) == kHomeOfKey; });
    const std::uint64_t key_hash = hash_of(key);
    twin = find(Kind::make_twin, [key_hash](std::uint64_t hash) {
      return home_of_256(hash) == home_of_256(key_hash) && tag(hash) == tag(key_hash);
    });
    for (Id& id : neighbours) {
      id = find(Kind::make, [key_hash](std::uint64_t hash) {
        return (hash >> 63) == (key_hash >> 63) && home_of_64(hash) != kHomeOfKey;
      });
    }
    for (Id& id : others) {
      id = find(Kind::make,
                [key_hash](std::uint64_t hash) { return (hash >> 63) != (key_hash >> 63); });
    }
    for (Id& id : strangers) {
      id = find(Kind::make, [](std::uint64_t hash) { return home_of_64(hash) != kHomeOfKey; });
    }
  }

  static const Ids& instance() {
    static const Ids ids;
    return ids;
  }

  Id key;
  Id twin;                        // has its home in arrays of up to 256, and its tag
  std::array<Id, 24> neighbours;  // have its home in an array of 16, not in one of 64
  std::array<Id, 24> others;      // have another home
  std::array<Id, 79> strangers;   // have another home in an array of 64, and of more

 private:
  static constexpr std::uint64_t kHomeOfKey = 5;  // of 8: moved by the second step of a growth

  static std::uint64_t hash_of(const Id& id) { return detail::IdTraits<Id>::key(id).hash; }
  static std::uint64_t home_of_64(std::uint64_t hash) { return hash >> 61; }
  static std::uint64_t home_of_256(std::uint64_t hash) { return hash >> 59; }
  static std::uint64_t tag(std::uint64_t hash) { return (hash >> 16) & 0x7F; }

  template <typename Make, typename Fits>
  Id find(Make make, Fits fits) {
    for (;;) {
      Id id = make(++last_);
      if (fits(hash_of(id))) return id;
    }
  }

  std::uint64_t last_ = 0;
};

// ---- what threads do ----

enum class Act {
  Get,
  State,
  Contains,
  AdmitWrite,  // at the epoch that the partition had when the threads began
  Acquire,
  AcquireExpecting,  // that epoch
  AcquireOnceOpen,   // acquire_write_until
  AcquireInTime,     // the same with a deadline, which may pass at any time
  Release,           // the last permit, if this thread has one
  WritesInFlight,
  AwaitDrained,
  AwaitDrainedOrChanged,  // since the threads began
  ForEach,
  GetMany,
  RefGet,  // through a reference that found the partition before the threads began
  RefAcquire,
  Set,
  Begin,
  Cutover,
  Complete,
  Abort,
  Claim,
  Pause,
  Resume,
  Erase,
  EraseUntil,     // with all the time there is
  EraseInNoTime,  // with none
  AwaitPause,     // requires an observer, which is told of it
  SetExpecting,   // the epoch that the partition had when the threads began; zero, if it was absent
  BeginExpecting,
  EraseExpecting,
  ApplyActive,  // news of a source, each of a newer epoch than the last
  ApplyDraining,
  ApplyCutover,
  ApplyErase,
  ApplyShared,  // at an epoch that the twin has or gets, too
  ApplyTwinShared,
  SetTwin,
  EraseTwin,
  AwaitTwinDrained,
  Churn,  // neighbours come and go until the cells are moved to an array of the same size
  Grow,   // others come until the array is replaced by a larger one
  EraseNeighbour,
  SetOther,        // it gets the counter that was freed last
  ChangeStranger,  // a step of a growth
  ForgetErased,
};

using Program = std::vector<Act>;

constexpr std::array kActNames = {"Get",
                                  "State",
                                  "Contains",
                                  "AdmitWrite",
                                  "Acquire",
                                  "AcquireExpecting",
                                  "AcquireOnceOpen",
                                  "AcquireInTime",
                                  "Release",
                                  "WritesInFlight",
                                  "AwaitDrained",
                                  "AwaitDrainedOrChanged",
                                  "ForEach",
                                  "GetMany",
                                  "RefGet",
                                  "RefAcquire",
                                  "Set",
                                  "Begin",
                                  "Cutover",
                                  "Complete",
                                  "Abort",
                                  "Claim",
                                  "Pause",
                                  "Resume",
                                  "Erase",
                                  "EraseUntil",
                                  "EraseInNoTime",
                                  "AwaitPause",
                                  "SetExpecting",
                                  "BeginExpecting",
                                  "EraseExpecting",
                                  "ApplyActive",
                                  "ApplyDraining",
                                  "ApplyCutover",
                                  "ApplyErase",
                                  "ApplyShared",
                                  "ApplyTwinShared",
                                  "SetTwin",
                                  "EraseTwin",
                                  "AwaitTwinDrained",
                                  "Churn",
                                  "Grow",
                                  "EraseNeighbour",
                                  "SetOther",
                                  "ChangeStranger",
                                  "ForgetErased"};

inline std::ostream& operator<<(std::ostream& out, Act act) {
  return out << kActNames[static_cast<std::size_t>(act)];
}

// ---- where it begins ----

enum class Surroundings {
  Alone,
  BehindTwin,       // which is what a lookup tries first
  BehindFullGroup,  // in the group after its home
  InVacantCell,     // in a full home, once it is set
  BeforeGrowth,
  InGrowth,
  AfterGrowth,
  // At the shared epoch, before a neighbour at an older one:
  Sharing,
  SharingBesideTwin,  // which is Draining, so that its next state needs a second cell
  SharingInGrowth     // in the new array; the twin has that epoch, and is still in the old one
};

constexpr std::array kSurroundingNames = {
    "Alone",    "BehindTwin",  "BehindFullGroup", "InVacantCell",      "BeforeGrowth",
    "InGrowth", "AfterGrowth", "Sharing",         "SharingBesideTwin", "SharingInGrowth"};

// What the table told of the partition.
struct Event {
  std::optional<PartitionState> before;
  std::optional<PartitionState> after;
  Epoch epoch;
};

template <typename Kind>
class World {
 public:
  using Id = typename Kind::Id;
  using Table = BasicPlacementTable<Id, Place>;

  World(Surroundings surroundings, Standing standing, std::size_t threads, bool observed)
      : is_observed_(observed),
        notes_(threads),
        table_(options_for(surroundings)),
        permits_(threads) {
    surround(surroundings, standing);
    if (const auto at = table_.state(ids_.key)) epoch_ = at->epoch;
    for (std::size_t i = 0; i < threads; ++i) {
      refs_.push_back(table_.ref(ids_.key));
      static_cast<void>(refs_.back().get());
    }
  }

  void perform(std::size_t thread, Act act) {
    switch (act) {
      case Act::Get:
        return call(thread, {.method = Method::Get});
      case Act::State:
        return call(thread, {.method = Method::State});
      case Act::Contains:
        return call(thread, {.method = Method::Contains});
      case Act::AdmitWrite:
        return call(thread, {.method = Method::AdmitWrite, .epoch = epoch_});
      case Act::Acquire:
        return call(thread, {.method = Method::AcquireWrite});
      case Act::AcquireExpecting:
        return call(thread, {.method = Method::AcquireWrite, .epoch = epoch_});
      case Act::AcquireOnceOpen:
        return record(thread, {.method = Method::AcquireWrite}, [&](Op& op) {
          granted(thread, table_.acquire_write_until(ids_.key, absl::InfiniteFuture()), op);
        });
      case Act::AcquireInTime:
        return record(thread, {.method = Method::AcquireWrite}, [&](Op& op) {
          granted(thread, table_.acquire_write_until(ids_.key, absl::Now() + absl::Hours(1)), op);
          // What it found at the deadline.
          if (op.result == Op::Result(WriteRefusal::DeadlineExceeded)) {
            op.result = WriteRefusal::Cutover;
          }
        });
      case Act::Release:
        if (permits_[thread].empty()) return;
        return call(thread, {.method = Method::Release});
      case Act::WritesInFlight:
        return call(thread, {.method = Method::WritesInFlight});
      case Act::AwaitDrained:
        return record(thread, {.method = Method::WritesInFlight}, [&](Op& op) {
          EXPECT_TRUE(table_.wait_until_drained(ids_.key, absl::InfiniteFuture()));
          op.result = std::size_t{0};
        });
      case Act::AwaitDrainedOrChanged:
        EXPECT_TRUE(table_.wait_until_drained(ids_.key, absl::InfiniteFuture(), epoch_));
        return;
      case Act::ForEach:
        return record(thread, {.method = Method::State}, [&](Op& op) {
          std::optional<BasicStateAt<Place>> found;
          table_.for_each([&](auto id, const PartitionState& state, Epoch epoch) {
            if (id != ids_.key) return;
            EXPECT_FALSE(found) << "visited twice";
            found = BasicStateAt<Place>{state, epoch};
          });
          op.result = found;
        });
      case Act::GetMany:
        return record(thread, {.method = Method::Get}, [&](Op& op) {
          const std::array<typename Table::IdView, 2> ids = {ids_.twin, ids_.key};
          std::array<std::optional<BasicPlacementAt<Place>>, 2> found;
          table_.get_many(ids, found);
          op.result = found[1];
        });
      case Act::RefGet:
        return record(thread, {.method = Method::Get},
                      [&](Op& op) { op.result = refs_[thread].get(); });
      case Act::RefAcquire:
        return record(thread, {.method = Method::AcquireWrite},
                      [&](Op& op) { granted(thread, refs_[thread].acquire_write(), op); });
      case Act::Set:
        return call(thread, {.method = Method::Set, .placement = fresh()});
      case Act::Begin:
        return call(thread, {.method = Method::BeginMigration, .placement = fresh()});
      case Act::Cutover:
        return call(thread, {.method = Method::EnterCutover});
      case Act::Complete:
        return call(thread, {.method = Method::CompleteMigration});
      case Act::Abort:
        return call(thread, {.method = Method::AbortMigration});
      case Act::Claim:
        return call(thread, {.method = Method::ClaimMigration});
      case Act::Pause:
        return call(thread, {.method = Method::PauseWrites});
      case Act::Resume:
        return call(thread, {.method = Method::ResumeWrites});
      case Act::Erase:
        return call(thread, {.method = Method::Erase});
      case Act::EraseUntil:
        return erase_until(thread, absl::InfiniteFuture());
      case Act::EraseInNoTime:
        return erase_until(thread, absl::InfinitePast());
      case Act::AwaitPause:
        return Scheduler::block_until([this] { return was_paused_; });
      case Act::SetExpecting:
        return call(thread, {.method = Method::Set, .placement = fresh(), .epoch = epoch_});
      case Act::BeginExpecting:
        return call(thread,
                    {.method = Method::BeginMigration, .placement = fresh(), .epoch = epoch_});
      case Act::EraseExpecting:
        return call(thread, {.method = Method::Erase, .epoch = epoch_});
      case Act::ApplyActive:
        return apply(thread, PartitionState::active(fresh()));
      case Act::ApplyDraining:
        return apply(thread, PartitionState::migrating(fresh(), fresh(), MigrationPhase::Draining));
      case Act::ApplyCutover:
        return apply(thread, PartitionState::migrating(fresh(), fresh(), MigrationPhase::Cutover));
      case Act::ApplyErase:
        return call(thread, {.method = Method::ApplyErase, .epoch = news()});
      case Act::ApplyShared:
        return call(
            thread,
            {.method = Method::Apply, .state = PartitionState::active(fresh()), .epoch = kShared});
      case Act::ApplyTwinShared:
        EXPECT_TRUE(table_.apply(ids_.twin, PartitionState::active(fresh()), kShared));
        return;
      case Act::SetTwin:
        table_.set(ids_.twin, fresh());
        return;
      case Act::EraseTwin:
        static_cast<void>(table_.erase(ids_.twin));
        return;
      case Act::AwaitTwinDrained:
        EXPECT_TRUE(table_.wait_until_drained(ids_.twin, absl::InfiniteFuture()));
        return;
      case Act::Churn:
        return churn();
      case Act::Grow:
        for (std::size_t i = 0; i < 12; ++i) table_.set(ids_.others[i], fresh());
        return;
      case Act::EraseNeighbour:
        EXPECT_TRUE(table_.erase(ids_.neighbours[0]));
        return;
      case Act::SetOther:
        table_.set(ids_.others[0], fresh());
        return;
      case Act::ChangeStranger:
        table_.set(ids_.strangers[0], fresh());
        return;
      case Act::ForgetErased:
        return call(thread, {.method = Method::ForgetErased});
    }
  }

  // What is seen when all is over, as one thread sees it.
  void look_at_the_end(std::size_t thread) {
    for (const Act act : {Act::Get, Act::State, Act::Contains, Act::ForEach, Act::RefGet}) {
      perform(thread, act);
    }
    while (!permits_[thread].empty()) perform(thread, Act::Release);
  }
  void look_at_the_count() {
    perform(0, Act::WritesInFlight);
    EXPECT_EQ(std::get<std::size_t>(histories_[0].back().operation.result), 0U);
  }

  // What the partition's history, with what it was at the beginning, has to say for itself.
  [[nodiscard]] Verdict check() {
    count_passing_writes(histories_);
    return check_linearizable<Model>(histories_[0]);
  }
  [[nodiscard]] const History<Op>& history() const { return histories_[0]; }

  // Whatever the order in which the table told of them: by their epochs each change begins where
  // the one before ended, and the last is what the partition is.
  void check_events() {
    if (!is_observed_) return;
    std::sort(events_.begin(), events_.end(),
              [](const Event& a, const Event& b) { return a.epoch < b.epoch; });
    std::optional<PartitionState> now;
    for (const Event& event : events_) {
      EXPECT_EQ(event.before, now) << "before epoch " << event.epoch;
      now = event.after;
    }
    const auto last = table_.state(ids_.key);
    EXPECT_EQ(last ? std::optional(last->state) : std::nullopt, now);
    if (last) {
      EXPECT_EQ(last->epoch, events_.back().epoch);
    }
  }

 private:
  static constexpr Epoch kShared{500};

  // An observer costs accesses, so it is there only where it is asked for.
  class Observer final : public BasicTableObserver<Id, Place> {
   public:
    explicit Observer(World& world) : world_(world) {}
    void on_change(const BasicPartitionChange<Id, Place>& change) noexcept override {
      if (change.id != world_.ids_.key) return;
      world_.events_.push_back({change.before, change.after, change.epoch});
      if (change.transition == Transition::PauseWrites) world_.was_paused_ = true;
      const std::size_t thread = Scheduler::running_thread();
      if (thread >= world_.notes_.size()) return;
      std::uint64_t& clock = world_.clock_;
      world_.notes_[thread].push_back({change.epoch, {clock, clock + 1, clock + 2}});
      clock += 3;
    }

   private:
    World& world_;
  };

  TableOptions options_for(Surroundings surroundings) {
    TableOptions options{.shards = 1};
    if (surroundings == Surroundings::InGrowth) options.expected_partitions = 40;  // 64 cells
    if (surroundings == Surroundings::SharingInGrowth) options.expected_partitions = 80;  // 128
    if (is_observed_) options.observer = &observer_;
    return options;
  }

  // The key comes to its standing, and its neighbours come before, or after.
  void surround(Surroundings surroundings, Standing standing) {
    const auto set_neighbours = [this](std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) table_.set(ids_.neighbours[i], fresh());
    };
    switch (surroundings) {
      case Surroundings::Alone:
        return bring_to(standing);
      case Surroundings::BehindTwin:
        table_.set(ids_.twin, fresh());
        return bring_to(standing);
      case Surroundings::BehindFullGroup:
        set_neighbours(8);
        return bring_to(standing);
      case Surroundings::InVacantCell:
        set_neighbours(8);
        static_cast<void>(table_.erase(ids_.neighbours[3]));
        return bring_to(standing);
      case Surroundings::BeforeGrowth:
        bring_to(standing);
        for (std::size_t i = 0; table_.size() < 10; ++i) table_.set(ids_.others[i], fresh());
        return;
      case Surroundings::InGrowth:
        bring_to(standing);
        for (std::uint64_t i = 1; table_.size() < 41; ++i)
          table_.set(Kind::make(1'000'000 + i), fresh());
        return;
      case Surroundings::AfterGrowth:
        bring_to(standing);
        for (std::size_t i = 0; table_.size() < 11; ++i) table_.set(ids_.others[i], fresh());
        return;
      case Surroundings::Sharing:
      case Surroundings::SharingBesideTwin:
        perform(0, Act::ApplyShared);
        table_.apply(ids_.neighbours[0], PartitionState::active(fresh()), Epoch(300));
        if (surroundings == Surroundings::Sharing) return;
        table_.apply(ids_.twin,
                     PartitionState::migrating(fresh(), fresh(), MigrationPhase::Draining),
                     Epoch(400));
        return;
      case Surroundings::SharingInGrowth:  // the key is the 81st
        perform(0, Act::ApplyTwinShared);
        for (const Id& id : ids_.strangers) table_.set(id, fresh());
        perform(0, Act::ApplyShared);
        return;
    }
  }
  void bring_to(Standing standing) {
    if (standing == Standing::Absent) return;
    perform(0, Act::Set);
    if (standing == Standing::Active) return;
    if (standing == Standing::Paused) return perform(0, Act::Pause);
    perform(0, Act::Begin);
    if (standing == Standing::Cutover) perform(0, Act::Cutover);
  }

  // A cell that is freed in a full group is vacant, not empty: so the array is used up.
  void churn() {
    for (std::size_t i = 0; i < 8; ++i) table_.set(ids_.neighbours[8 + i], fresh());
    for (std::size_t i = 0; i < 8; ++i) static_cast<void>(table_.erase(ids_.neighbours[8 + i]));
    for (std::size_t i = 0; i < 3; ++i) table_.set(ids_.others[i], fresh());
    for (std::size_t i = 0; i < 3; ++i) static_cast<void>(table_.erase(ids_.others[i]));
  }

  void apply(std::size_t thread, PartitionState state) {
    call(thread, {.method = Method::Apply, .state = state, .epoch = news()});
  }

  // Requires an observer.
  void erase_until(std::size_t thread, absl::Time deadline) {
    ASSERT_TRUE(is_observed_);
    Scheduler::point();
    notes_[thread].clear();
    History<Op> steps;
    perform_erase_until(
        table_, ids_.key, deadline, thread, notes_[thread], [this] { return clock_++; }, steps);
    histories_[0].insert(histories_[0].end(), steps.begin(), steps.end());
  }

  void call(std::size_t thread, Op op) {
    record(thread, std::move(op),
           [&](Op& made) { test::perform(table_, ids_.key, made, permits_[thread]); });
  }
  template <typename Make>
  void record(std::size_t thread, Op op, Make make) {
    Scheduler::point();  // between two calls, too
    Call<Op> made{.called = clock_++, .operation = std::move(op), .thread = thread};
    make(made.operation);
    made.returned = clock_++;
    histories_[0].push_back(std::move(made));
  }
  void granted(std::size_t thread, BasicWritePermit<Place> permit, Op& op) {
    if (!permit) {
      op.result = permit.refusal();
      return;
    }
    op.result = Granted<Place>{permit.placement(), permit.epoch()};
    permits_[thread].push_back(std::move(permit));
  }

  Place fresh() { return Place(++sequence_); }
  // Newer than anything yet, and than what the threads' own changes will draw.
  Epoch news() { return Epoch(1000 + ++sequence_); }

  const Ids<Kind>& ids_ = Ids<Kind>::instance();
  bool is_observed_;
  Observer observer_{*this};
  std::vector<Event> events_;  // of the key
  bool was_paused_ = false;
  std::vector<std::vector<Note>> notes_;  // of each thread's changes of it
  std::uint64_t clock_ = 0;
  Table table_;
  std::vector<std::vector<BasicWritePermit<Place>>> permits_;
  std::vector<BasicPartitionRef<Id, Place>> refs_;
  Epoch epoch_;
  std::uint64_t sequence_ = 0;
  std::vector<History<Op>> histories_{1};
};

// What a thread does, and how often it is preempted in an execution.
struct Thread {
  Program program;
  std::size_t preemptions = 1;
  std::size_t every = 1;  // at every so many accesses only
};

inline std::size_t more_preemptions() {
  const char* const given = std::getenv("PLACEMENT_TEST_MORE_PREEMPTIONS");
  return given == nullptr ? 0 : std::strtoull(given, nullptr, 10);
}

// Every execution of the threads from there; returns how many.
template <typename Kind>
std::size_t explore(Surroundings surroundings, Standing standing,
                    const std::vector<Thread>& threads, std::size_t preemptions,
                    bool observed = false) {
  for (const Thread& thread : threads) {
    for (const Act act : thread.program) {
      observed = observed || act == Act::EraseUntil || act == Act::EraseInNoTime;
    }
  }
  Choices choices;
  std::size_t executions = 0;
  do {
    ++executions;
    auto world = std::make_unique<World<Kind>>(surroundings, standing, threads.size(), observed);
    Scheduler scheduler(choices, preemptions);
    std::vector<Scheduler::Thread> bodies;
    for (std::size_t i = 0; i < threads.size(); ++i) {
      const auto body = [&world = *world, &program = threads[i].program, i] {
        for (const Act act : program) world.perform(i, act);
      };
      bodies.push_back({body, threads[i].preemptions, threads[i].every});
    }
    bool is_right = scheduler.run(std::move(bodies));
    std::string why = "it goes on for ever, or all threads are blocked\n";
    if (is_right) {
      for (std::size_t i = 0; i < threads.size(); ++i) world->look_at_the_end(i);
      world->look_at_the_count();
      world->check_events();
      const Verdict verdict = world->check();
      is_right = verdict.linearizable;
      why = describe(world->history(), verdict);
    }
    if (!is_right || ::testing::Test::HasFailure()) {
      for (const Thread& thread : threads) {
        std::cout << ::testing::PrintToString(thread.program) << " beside ";
      }
      ADD_FAILURE() << "from " << kSurroundingNames[static_cast<std::size_t>(surroundings)] << ", "
                    << ::testing::PrintToString(standing) << "\n"
                    << why << "execution " << executions << ": " << scheduler.schedule();
      static_cast<void>(world.release());  // it may be in use for ever
      return executions;
    }
  } while (choices.advance());
  return executions;
}

// ---- what the tests are made of ----

using enum Act;
using Programs = std::vector<Program>;

inline const Programs kReads = {{Get, Get}, {State},   {Contains},   {AdmitWrite},
                                {ForEach},  {GetMany}, {Get, RefGet}};
inline const Programs kWrites = {
    {Acquire, Release}, {AcquireExpecting, Release}, {RefAcquire, Release}};
// What a thread may do: one of the programs.
struct Threads {
  Programs programs;
  std::size_t preemptions = 1;
  std::size_t every = 1;
};

// By every schedule of one thread of each kind, all such, from all these standings.
template <typename Kind>
void explore_all(Surroundings surroundings, const std::vector<Standing>& standings,
                 const std::vector<Threads>& kinds, std::size_t preemptions,
                 bool observed = false) {
  std::size_t executions = 0;
  Choices choices;
  do {
    std::vector<Thread> threads;
    for (const Threads& kind : kinds) {
      const std::size_t chosen = choices.choose(kind.programs.size());
      threads.push_back({kind.programs[chosen], kind.preemptions + more_preemptions(),
                         kind.every * (kSlow ? 5 : 1)});
    }
    for (const Standing standing : standings) {
      executions += explore<Kind>(surroundings, standing, threads, preemptions + more_preemptions(),
                                  observed);
      if (testing::Test::HasFailure()) return;
    }
  } while (choices.advance());
  std::cout << executions << " executions\n";
}

inline const std::vector<Standing> kAnyStanding = {Standing::Absent, Standing::Active,
                                                   Standing::Draining, Standing::Cutover};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SCHEDULES_WORLDS_HPP_
