// SPDX-License-Identifier: Apache-2.0
//
// INV-L again, exhaustively: a few threads, each with a short program on one partition, run by
// every schedule of few preemptions (schedules/scheduler.hpp) through the library's own headers,
// but for two: schedules/placement/detail has words and a mutex that let the scheduler in. Of each
// execution the history is given to the linearizability checker.
//
// Each test says how many preemptions there are at most. PLACEMENT_TEST_MORE_PREEMPTIONS=1 is one
// more, and takes much longer.
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
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "schedules/scheduler.hpp"
#include "support/linearizability.hpp"
#include "support/partition_calls.hpp"
#include "support/partition_model.hpp"
#include "support/sanitizers.hpp"

namespace placement::test {
namespace {

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
      return home_of_64(hash) == kHomeOfKey && tag(hash) == tag(key_hash);
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
  }

  static const Ids& instance() {
    static const Ids ids;
    return ids;
  }

  Id key;
  Id twin;                        // has its home and its tag
  std::array<Id, 24> neighbours;  // have its home in an array of 16, not in one of 64
  std::array<Id, 24> others;      // have another home

 private:
  static constexpr std::uint64_t kHomeOfKey = 5;  // of 8: moved by the second step of a growth

  static std::uint64_t hash_of(const Id& id) { return detail::IdTraits<Id>::key(id).hash; }
  static std::uint64_t home_of_64(std::uint64_t hash) { return hash >> 61; }
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
  Erase,
  ApplyActive,  // news of a source, each of a newer epoch than the last
  ApplyDraining,
  ApplyCutover,
  ApplyErase,
  SetTwin,
  EraseTwin,
  AwaitTwinDrained,
  Churn,  // neighbours come and go until the cells are moved to an array of the same size
  Grow,   // others come until the array is replaced by a larger one
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
                                  "Erase",
                                  "ApplyActive",
                                  "ApplyDraining",
                                  "ApplyCutover",
                                  "ApplyErase",
                                  "SetTwin",
                                  "EraseTwin",
                                  "AwaitTwinDrained",
                                  "Churn",
                                  "Grow",
                                  "ForgetErased"};

std::ostream& operator<<(std::ostream& out, Act act) {
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
  AfterGrowth
};

constexpr std::array kSurroundingNames = {"Alone",        "BehindTwin",   "BehindFullGroup",
                                          "InVacantCell", "BeforeGrowth", "InGrowth",
                                          "AfterGrowth"};

template <typename Kind>
class World {
 public:
  using Id = typename Kind::Id;
  using Table = BasicPlacementTable<Id, Place>;

  World(Surroundings surroundings, Standing standing, std::size_t threads)
      : table_(options_for(surroundings)), permits_(threads) {
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
      case Act::Erase:
        return call(thread, {.method = Method::Erase});
      case Act::ApplyActive:
        return apply(thread, PartitionState::active(fresh()));
      case Act::ApplyDraining:
        return apply(thread, PartitionState::migrating(fresh(), fresh(), MigrationPhase::Draining));
      case Act::ApplyCutover:
        return apply(thread, PartitionState::migrating(fresh(), fresh(), MigrationPhase::Cutover));
      case Act::ApplyErase:
        return call(thread, {.method = Method::ApplyErase, .epoch = news()});
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
      case Act::ForgetErased:
        return table_.forget_erased(Epoch::max());
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

 private:
  static TableOptions options_for(Surroundings surroundings) {
    TableOptions options{.shards = 1};
    if (surroundings == Surroundings::InGrowth) options.expected_partitions = 40;  // 64 cells
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
    }
  }
  void bring_to(Standing standing) {
    if (standing == Standing::Absent) return;
    perform(0, Act::Set);
    if (standing == Standing::Active) return;
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
  Table table_;
  std::vector<std::vector<BasicWritePermit<Place>>> permits_;
  std::vector<BasicPartitionRef<Id, Place>> refs_;
  Epoch epoch_;
  std::uint64_t sequence_ = 0;
  std::uint64_t clock_ = 0;
  std::vector<History<Op>> histories_{1};
};

// What a thread does, and how often it is preempted in an execution.
struct Thread {
  Program program;
  std::size_t preemptions = 1;
  std::size_t every = 1;  // at every so many accesses only
};

std::size_t more_preemptions() {
  const char* const given = std::getenv("PLACEMENT_TEST_MORE_PREEMPTIONS");
  return given == nullptr ? 0 : std::strtoull(given, nullptr, 10);
}

// Every execution of the threads from there; returns how many.
template <typename Kind>
std::size_t explore(Surroundings surroundings, Standing standing,
                    const std::vector<Thread>& threads, std::size_t preemptions) {
  Choices choices;
  std::size_t executions = 0;
  do {
    ++executions;
    auto world = std::make_unique<World<Kind>>(surroundings, standing, threads.size());
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

// ---- the tests ----

using enum Act;

// By which surroundings, and with which ids.
template <typename Of>
class Schedules : public testing::Test {};

template <typename K, Surroundings kWhere, std::size_t kMost = 1>
struct Of {
  using Kind = K;
  static constexpr Surroundings kSurroundings = kWhere;
  static constexpr std::size_t kPreemptions = kSlow ? 1 : kMost;
};

struct Name {
  template <typename Of>
  static std::string GetName(int) {
    const std::string where = kSurroundingNames[static_cast<std::size_t>(Of::kSurroundings)];
    if constexpr (std::is_same_v<typename Of::Kind, NumberIds>) return where + "OfNumbers";
    if constexpr (std::is_same_v<typename Of::Kind, TextIds>) return where + "OfTexts";
    return where + "OfLongTexts";
  }
};

using Everywhere =
    testing::Types<Of<NumberIds, Surroundings::Alone, 2>, Of<NumberIds, Surroundings::BehindTwin>,
                   Of<NumberIds, Surroundings::BehindFullGroup>,
                   Of<NumberIds, Surroundings::InVacantCell, 2>,
                   Of<NumberIds, Surroundings::BeforeGrowth>, Of<NumberIds, Surroundings::InGrowth>,
                   Of<NumberIds, Surroundings::AfterGrowth>, Of<TextIds, Surroundings::BehindTwin>,
                   Of<LongTextIds, Surroundings::Alone>, Of<LongTextIds, Surroundings::BehindTwin>,
                   Of<LongTextIds, Surroundings::BeforeGrowth>>;
TYPED_TEST_SUITE(Schedules, Everywhere, Name);

using Programs = std::vector<Program>;

const Programs kReads = {{Get, Get}, {State},   {Contains},   {AdmitWrite},
                         {ForEach},  {GetMany}, {Get, RefGet}};
const Programs kWrites = {{Acquire, Release}, {AcquireExpecting, Release}, {RefAcquire, Release}};
const Programs kTransitions = {{Set},
                               {Set, Begin, Set},
                               {Begin, Cutover, Complete},
                               {Complete, Begin},
                               {Begin, Abort},
                               {Claim},
                               {Erase, SetTwin},
                               {Erase, Set},
                               {Erase, SetTwin, EraseTwin, Set}};
const Programs kApplications = {{ApplyActive, ApplyDraining},
                                {ApplyCutover, ApplyActive},
                                {ApplyErase, ForgetErased},
                                {ApplyErase, ApplyDraining}};
const Programs kMoves = {{Grow, Set}, {Churn, Churn}, {Erase, Churn, Set}};

// What a thread may do: one of the programs.
struct Threads {
  Programs programs;
  std::size_t preemptions = 1;
  std::size_t every = 1;
};

// By every schedule of one thread of each kind, all such, from all these standings.
template <typename Kind>
void explore_all(Surroundings surroundings, const std::vector<Standing>& standings,
                 const std::vector<Threads>& kinds, std::size_t preemptions) {
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
      executions +=
          explore<Kind>(surroundings, standing, threads, preemptions + more_preemptions());
      if (testing::Test::HasFailure()) return;
    }
  } while (choices.advance());
  std::cout << executions << " executions\n";
}

const std::vector<Standing> kAnyStanding = {Standing::Absent, Standing::Active, Standing::Draining,
                                            Standing::Cutover};

template <typename Of>
void explore_all(const Programs& some, const Programs& others, std::size_t preemptions) {
  explore_all<typename Of::Kind>(Of::kSurroundings, kAnyStanding, {{some}, {others}}, preemptions);
}

TYPED_TEST(Schedules, OfAReadBesideTransitions) {
  explore_all<TypeParam>(kReads, kTransitions, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAReadBesideApplications) {
  explore_all<TypeParam>(kReads, kApplications, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAReadWhileCellsMove) { explore_all<TypeParam>(kReads, kMoves, 1); }
TYPED_TEST(Schedules, OfAWriteBesideTransitions) {
  explore_all<TypeParam>(kWrites, kTransitions, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAWriteBesideApplications) {
  explore_all<TypeParam>(kWrites, kApplications, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAWriteWhileCellsMove) { explore_all<TypeParam>(kWrites, kMoves, 1); }

// Twice, so that the cells come back to the array in which they were. A long program: it is not
// preempted at every access, unless there is time.
template <typename Kind>
void explore_a_return_to_the_first_array(const Program& reader, std::size_t every) {
  explore_all<Kind>(Surroundings::Alone, {Standing::Draining},
                    {{{reader}, 2}, {{{Churn, Churn}}, 1, more_preemptions() == 0 ? every : 1}}, 3);
}

TEST(SchedulesOfARead, ThatFindsTheCellBackInItsFirstArray) {
  explore_a_return_to_the_first_array<NumberIds>({State}, 8);
}
TEST(SchedulesOfARead, ThatFindsTheBlockBackInItsFirstArray) {
  explore_a_return_to_the_first_array<LongTextIds>({State}, 16);
}
TEST(SchedulesOfAScan, ThatFindsTheCellBackInItsFirstArray) {
  explore_a_return_to_the_first_array<NumberIds>({ForEach}, 32);
}
TEST(SchedulesOfAScan, ThatFindsTheBlockBackInItsFirstArray) {
  explore_a_return_to_the_first_array<LongTextIds>({ForEach}, 64);
}

// Found while a partition is about to get a second cell, before the first on a lookup's way, and
// asked again when that is there and the first has not given way yet.
TEST(SchedulesOfARef, ThatIsNeverBehindTheTable) {
  const Threads read = {{{RefGet, Get, RefGet}, {RefAcquire, Get, RefAcquire}}, 1};
  const Threads change = {{{EraseTwin, Set}, {EraseTwin, ApplyCutover}}, 2};
  explore_all<NumberIds>(Surroundings::BehindTwin, {Standing::Draining}, {read, change}, 3);
}

// Preempted while it acquires, and again with the permit out.
TEST(SchedulesOfAWriter, LetNothingFlipOrGoUnderAPermit) {
  const Threads write = {{{Acquire, Release}, {RefAcquire, Release}}, 2};
  const Threads change = {{{Begin, Cutover, Complete}, {Erase, Set}, {Erase, SetTwin}}, 2};
  const std::vector<Standing> active = {Standing::Active};
  explore_all<NumberIds>(Surroundings::Alone, active, {write, change}, 3);
  explore_all<NumberIds>(Surroundings::BeforeGrowth, active, {write, {{{Grow, Erase, Set}}}}, 2);
}

TEST(SchedulesOfHeldWrites, LoseNoWakeUp) {
  const Threads held = {{{AcquireOnceOpen, Release}}, 2};
  const Threads opening = {{{Complete}, {Abort}, {Set}, {ApplyActive}, {ApplyErase}}};
  const std::vector<Standing> cutover = {Standing::Cutover};
  explore_all<NumberIds>(Surroundings::Alone, cutover, {held, opening}, 3);
  explore_all<NumberIds>(Surroundings::Alone, cutover, {held, held, opening}, 1);
  // Who gives up at the moment at which he is resumed.
  const Threads impatient = {{{AcquireInTime, Release}}, 2};
  explore_all<NumberIds>(Surroundings::Alone, cutover, {impatient, opening}, 3);
}

TEST(SchedulesOfDrains, EndWhenTheLastWriteIsOver) {
  const Threads write = {{{Acquire, Release}}, 2};
  const Threads drain = {{{Cutover, AwaitDrained, Complete}}, 2};
  const Threads look = {{{AwaitDrained}}, 2};
  const std::vector<Standing> draining = {Standing::Draining};
  explore_all<NumberIds>(Surroundings::Alone, draining, {write, drain}, 4);
  explore_all<NumberIds>(Surroundings::Alone, draining, {write, write, drain}, 2);
  explore_all<NumberIds>(Surroundings::Alone, draining, {write, look, drain}, 2);
}

// A writer that is late for a partition counts itself at the next one that has its counter.
TEST(SchedulesOfDrains, EndThoughALateWriterPassed) {
  explore_all<NumberIds>(Surroundings::Alone, {Standing::Active},
                         {{{{Acquire, Release}}, 2}, {{{Erase, SetTwin, AwaitTwinDrained}}, 2}}, 3);
}

// An id that stands after its home comes back to it when the cells move to an array of the same
// size: behind the groups that were searched already.
TEST(SchedulesOfForgetting, MissNothingThatMovesMeanwhile) {
  using Table = BasicPlacementTable<std::uint64_t, Place>;
  std::array<std::vector<std::uint64_t>, 8> of_home;  // in an array of 64
  for (std::uint64_t id = 0;
       std::any_of(of_home.begin(), of_home.end(), [](const auto& ids) { return ids.size() < 12; });
       ++id) {
    of_home[detail::IdTraits<std::uint64_t>::key(id).hash >> 61].push_back(id);
  }
  Choices choices;
  do {
    Table table{TableOptions{.shards = 1, .expected_partitions = 40}};
    const auto set = [&](std::size_t home, std::size_t first, std::size_t count) {
      for (std::size_t i = first; i < first + count; ++i) table.set(of_home[home][i], Place(1));
    };
    const auto erase = [&](std::size_t home, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(table.erase(of_home[home][i]));
    };
    for (const std::size_t home : {0U, 1U, 2U, 3U}) set(home, 0, 8);
    const std::uint64_t erased = of_home[0][8];  // stands in group 4
    set(0, 8, 1);
    ASSERT_TRUE(table.apply_erase(erased, Epoch(1000)));
    for (const std::size_t home : {0U, 1U, 2U, 3U}) erase(home, 8);
    set(5, 0, 6);
    Scheduler scheduler(choices, 1);
    ASSERT_TRUE(
        scheduler.run({{[&] { table.forget_erased(Epoch::max()); }, 1}, {[&] { set(6, 0, 5); }}}));
    ASSERT_TRUE(table.apply(erased, PartitionState::active(Place(2)), Epoch(1)))
        << "it is still remembered";
  } while (choices.advance());
}

TEST(SchedulesOfDrivers, OfOneMigrationGiveEachStepToOne) {
  explore_all<NumberIds>(Surroundings::Alone, kAnyStanding,
                         {{{{Begin, Cutover, Complete}, {Abort}}},
                          {{{Cutover, Complete, Erase}, {Claim, Set}}},
                          {{{Get, Get}, {Acquire, Release}}}},
                         1);
}

}  // namespace
}  // namespace placement::test
