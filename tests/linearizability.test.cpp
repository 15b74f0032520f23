// SPDX-License-Identifier: Apache-2.0
//
// INV-L: whatever threads do to a partition at once, there is an order of their calls that explains
// every result. Short histories, many of them; the checker is checked in
// linearizability_checker.test.cpp.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/linearizability.hpp"
#include "support/partition_calls.hpp"
#include "support/partition_model.hpp"
#include "support/preemption.hpp"
#include "support/test_memory.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

using P = ChecksummedPlacement;
using Model = PartitionModel<P>;
using Op = PartitionOperation<P>;
using State = BasicPartitionState<P>;

constexpr std::size_t kPartitions = 2;
constexpr std::size_t kThreads = 4;
constexpr std::size_t kCallsOfThread = 200;

// How often a thread calls what.
using Weights = std::array<unsigned, kMethodNames.size()>;

constexpr Weights weights(std::initializer_list<std::pair<Method, unsigned>> given) {
  Weights result{};
  for (const auto& [method, weight] : given) result[static_cast<std::size_t>(method)] = weight;
  return result;
}

constexpr Weights kAnything = weights({{Method::Set, 2},
                                       {Method::BeginMigration, 3},
                                       {Method::EnterCutover, 3},
                                       {Method::CompleteMigration, 4},
                                       {Method::AbortMigration, 1},
                                       {Method::ClaimMigration, 1},
                                       {Method::PauseWrites, 2},
                                       {Method::ResumeWrites, 2},
                                       {Method::Erase, 2},
                                       {Method::EraseDrained, 2},
                                       {Method::Get, 4},
                                       {Method::AdmitWrite, 2},
                                       {Method::State, 2},
                                       {Method::Contains, 1},
                                       {Method::AcquireWrite, 4},
                                       {Method::Release, 4},
                                       {Method::WritesInFlight, 1}});
constexpr Weights kOperator = weights({{Method::Set, 1},
                                       {Method::BeginMigration, 4},
                                       {Method::EnterCutover, 4},
                                       {Method::CompleteMigration, 6},
                                       {Method::State, 1}});
constexpr Weights kRegistrar = weights({{Method::Set, 6},
                                        {Method::Erase, 2},
                                        {Method::EraseDrained, 3},
                                        {Method::PauseWrites, 1},
                                        {Method::ResumeWrites, 1},
                                        {Method::Get, 1},
                                        {Method::Contains, 1}});
constexpr Weights kReader = weights({{Method::Get, 6},
                                     {Method::State, 4},
                                     {Method::AdmitWrite, 2},
                                     {Method::Contains, 1},
                                     {Method::AcquireWrite, 1},
                                     {Method::Release, 1}});
constexpr Weights kWriter = weights({{Method::AcquireWrite, 6},
                                     {Method::Release, 6},
                                     {Method::Get, 1},
                                     {Method::AdmitWrite, 1},
                                     {Method::WritesInFlight, 1}});
constexpr Weights kReplica =
    weights({{Method::Apply, 8}, {Method::ApplyErase, 1}, {Method::State, 1}});

constexpr std::array kRouterRoles = {kAnything, kOperator, kRegistrar, kReader, kWriter};
constexpr std::array kReplicaRoles = {kReplica, kReplica, kReader, kReader, kWriter};

Method draw(Random& random, const Weights& of) {
  std::uint64_t sum = 0;
  for (const unsigned weight : of) sum += weight;
  std::uint64_t left = below(random, sum);
  std::size_t method = 0;
  while (left >= of[method]) left -= of[method++];
  return static_cast<Method>(method);
}

// What the histories have shown.
struct Sights {
  std::uint64_t calls = 0;
  std::uint64_t overlaps = 0;  // pairs of two threads' calls on one partition
  std::uint64_t flips = 0;
  std::uint64_t overlapped_flips = 0;
  std::uint64_t permits = 0;
  std::uint64_t drains = 0;    // flips and erases refused for a permit or a passing write
  std::uint64_t cutovers = 0;  // writes refused by one
  std::uint64_t erases = 0;
  std::uint64_t pauses = 0;     // those of erase_until among them
  std::uint64_t removals = 0;   // by erase_until
  std::uint64_t overtaken = 0;  // erase_until, after somebody else changed the partition
  std::uint64_t stale = 0;      // refused, because another epoch was expected
  std::uint64_t applied = 0;
  std::uint64_t growths = 0;  // arrays of cells
};

// Takes notes of what the calling thread changes, while it calls erase_until.
template <typename Id>
class NoteTaker final : public BasicTableObserver<Id, P> {
 public:
  static inline thread_local std::vector<Note>* notes_of_thread = nullptr;
  static inline thread_local StampClock* clock_of_thread = nullptr;

  void on_change(const BasicPartitionChange<Id, P>& change) noexcept override {
    if (notes_of_thread == nullptr) return;
    const std::uint64_t first = clock_of_thread->next();
    const std::uint64_t second = clock_of_thread->next();
    notes_of_thread->push_back({change.epoch, {first, second, clock_of_thread->next()}});
  }
};

// What one thread of a round does, and what it saw.
template <typename Table, typename Id>
class Worker {
 public:
  Worker(Table& table, StampClock& clock, const std::vector<Id>& ids, std::size_t thread,
         const Weights& role, std::uint64_t seed)
      : table_(table),
        clock_(clock),
        ids_(ids),
        thread_(thread),
        role_(role),
        random_(seed),
        permits_(ids.size()),
        epochs_(ids.size()),
        histories(ids.size()) {}

  // `base` is the generation when the round began, and `churn` makes ids that nobody else has.
  template <typename Churn>
  void run(Epoch base, Churn churn) {
    NoteTaker<Id>::clock_of_thread = &clock_;
    Preemption preemption;
    for (std::size_t i = 0; i < kCallsOfThread; ++i) {
      if (below(random_, 20) == 0) {
        preemption.arm(static_cast<std::uint32_t>(1 + below(random_, 20'000)));
      }
      perform(below(random_, ids_.size()), draw(random_, role_), base);
      if (below(random_, 8) == 0) look_at_the_generation();
      if (below(random_, 4) == 0) change_another(churn(thread_, below(random_, 64)));
    }
    for (std::size_t which = 0; which < ids_.size(); ++which) {
      while (!permits_[which].empty()) perform(which, Method::Release, base);
    }
  }

 private:
  using Permit = typename Table::Permit;

  void perform(std::size_t which, Method method, Epoch base) {
    const Id& id = ids_[which];
    Call<Op> call;
    call.thread = thread_;
    Op& op = call.operation;
    op.method = method;
    switch (method) {
      case Method::Set:
        op.placement = fresh_placement(which);
        op.epoch = perhaps_expected(which);
        if (op.epoch && below(random_, 2) == 0) op.epoch = Epoch::zero();
        break;
      case Method::BeginMigration:
        op.placement = fresh_placement(which);
        op.epoch = perhaps_expected(which);
        break;
      case Method::EraseDrained:
        return erase_until(which);
      case Method::Erase:
      case Method::EnterCutover:
      case Method::CompleteMigration:
      case Method::AbortMigration:
      case Method::ClaimMigration:
      case Method::AcquireWrite:
        op.epoch = perhaps_expected(which);
        break;
      case Method::Apply:
        op.state = fresh_state(which);
        op.epoch = news(base);
        break;
      case Method::ApplyErase:
        op.epoch = news(base);
        break;
      case Method::AdmitWrite:
        op.epoch = epochs_[which];
        break;
      case Method::Release:
        if (permits_[which].empty()) return;
        break;
      case Method::PauseWrites:
      case Method::ResumeWrites:
      case Method::ForgetErased:
      case Method::Get:
      case Method::State:
      case Method::Contains:
      case Method::WritesInFlight:
        break;
    }
    call.called = clock_.next();
    test::perform(table_, id, op, permits_[which]);
    call.returned = clock_.next();
    histories[which].push_back(call);
    learn(which, call);
  }

  void erase_until(std::size_t which) {
    std::vector<Note> notes;
    NoteTaker<Id>::notes_of_thread = &notes;
    const absl::Time deadline = absl::Now() + absl::Microseconds(below(random_, 100));
    History<Op> steps;
    perform_erase_until(
        table_, ids_[which], deadline, thread_, notes, [this] { return clock_.next(); }, steps);
    NoteTaker<Id>::notes_of_thread = nullptr;
    for (Call<Op>& step : steps) {
      learn(which, step);
      histories[which].push_back(std::move(step));
    }
  }

  // The partition's last epoch that this thread saw, and of the table a change that it made.
  void learn(std::size_t which, const Call<Op>& call) {
    const Op& op = call.operation;
    if (const auto* const result = std::get_if<TransitionResult>(&op.result)) {
      if (!*result) return;
      epochs_[which] = **result;
      changes.push_back(
          {call.called, call.returned, {GenerationOperation::Kind::Draw, **result}, thread_});
    } else if (const auto* const at = std::get_if<std::optional<BasicPlacementAt<P>>>(&op.result)) {
      if (*at) epochs_[which] = (*at)->epoch;
    } else if (const auto* const state = std::get_if<std::optional<BasicStateAt<P>>>(&op.result)) {
      if (*state) epochs_[which] = (*state)->epoch;
    } else if (const auto* const taken = std::get_if<bool>(&op.result)) {
      if (op.method == Method::Contains || !*taken) return;
      changes.push_back(
          {call.called, call.returned, {GenerationOperation::Kind::Raise, *op.epoch}, thread_});
    }
  }

  void look_at_the_generation() {
    Call<GenerationOperation> call;
    call.thread = thread_;
    call.called = clock_.next();
    call.operation.epoch = table_.current_epoch();
    call.returned = clock_.next();
    changes.push_back(call);
  }

  // Neighbours come and go, so that the arrays grow and cells are used again.
  void change_another(const Id& id) {
    Call<GenerationOperation> call;
    call.thread = thread_;
    call.operation.kind = GenerationOperation::Kind::Draw;
    call.called = clock_.next();
    if (role_ == kReplica || role_ == kReader || role_ == kWriter || below(random_, 3) != 0) {
      call.operation.epoch = table_.set(id, P(7, ++sequence_));
    } else {
      const TransitionResult erased = table_.erase(id);
      if (!erased) return;
      call.operation.epoch = *erased;
    }
    call.returned = clock_.next();
    changes.push_back(call);
  }

  P fresh_placement(std::size_t which) { return P(which, ++sequence_ * kThreads + thread_); }

  State fresh_state(std::size_t which) {
    const std::uint64_t phase = below(random_, 3);
    // Often one of the few that the partition may have now: then its buffers stay as they are.
    const P from = P(which, below(random_, 3));
    if (phase == 0) return State::active(from);
    return State::migrating(from, fresh_placement(which),
                            phase == 1 ? MigrationPhase::Draining : MigrationPhase::Cutover);
  }

  // Epochs of a source of truth: in no order, and shared by the partitions and the threads.
  Epoch news(Epoch base) { return Epoch(base.value() + 1 + (++news_ + below(random_, 8)) * 2); }

  std::optional<Epoch> perhaps_expected(std::size_t which) {
    if (below(random_, 3) != 0) return std::nullopt;
    return epochs_[which];
  }

  Table& table_;
  StampClock& clock_;
  const std::vector<Id>& ids_;
  std::size_t thread_;
  Weights role_;
  Random random_;
  std::vector<std::vector<Permit>> permits_;
  std::vector<Epoch> epochs_;
  std::uint64_t news_ = 0;
  std::uint64_t sequence_ = 0;

 public:
  std::vector<History<Op>> histories;    // one for each partition
  History<GenerationOperation> changes;  // of the table's generation, and looks at it
};

void look(const History<Op>& history, Sights& sights) {
  sights.calls += history.size();
  for (const Call<Op>& call : history) {
    const Op& op = call.operation;
    const auto* const result = std::get_if<TransitionResult>(&op.result);
    const bool is_flip = op.method == Method::CompleteMigration && *result;
    bool is_alone = true;
    for (const Call<Op>& other : history) {
      if (other.thread == call.thread || !other.overlaps(call)) continue;
      is_alone = false;
      if (other.called > call.called) ++sights.overlaps;
    }
    if (is_flip) ++sights.flips;
    if (is_flip && !is_alone) ++sights.overlapped_flips;
    if (result != nullptr && *result == MigrationError::WritesInFlight) ++sights.drains;
    if (op.method == Method::Erase && *result) ++sights.erases;
    if (op.method == Method::PauseWrites && *result) ++sights.pauses;
    if (op.method == Method::EraseDrained && *result) ++sights.removals;
    if (result != nullptr && *result == MigrationError::StaleEpoch) {
      ++(op.method == Method::EraseDrained ? sights.overtaken : sights.stale);
    }
    if (op.method == Method::Apply && std::get<bool>(op.result)) ++sights.applied;
    if (std::holds_alternative<Granted<P>>(op.result)) ++sights.permits;
    const auto* const refusal = std::get_if<WriteRefusal>(&op.result);
    if (refusal != nullptr && *refusal == WriteRefusal::Cutover) ++sights.cutovers;
  }
}

// Ids of the three kinds that the table keeps in different ways.
struct NumberIds {
  using Id = std::uint64_t;
  static Id make(std::uint64_t n) { return n; }
};
struct ShortIds {
  using Id = std::string;
  static Id make(std::uint64_t n) { return "tenant-" + std::to_string(n); }
};
struct LongIds {
  using Id = std::string;
  static Id make(std::uint64_t n) { return std::string(100, 'x') + std::to_string(n); }
};

template <typename Ids>
class Linearizability : public testing::Test {
 protected:
  using Id = typename Ids::Id;
  using Table = BasicPlacementTable<Id, P>;

  // `rounds` of calls by two to four threads, each round on new partitions, each table for some.
  template <std::size_t N>
  Sights check_rounds(std::uint64_t rounds, const std::array<Weights, N>& roles) {
    constexpr std::uint64_t kRoundsOfTable = 10;
    Random random = make_random();
    Sights sights;
    for (std::uint64_t round = 0; round < rounds && !this->HasFailure(); ++round) {
      if (round % kRoundsOfTable == 0) {
        table_.reset();
        TableOptions options;
        options.shards = 1 + round / kRoundsOfTable % 2;
        options.memory = &memory_;
        options.observer = &notes_;
        table_ = std::make_unique<Table>(options);
      }
      check_round(round, roles, random, sights);
    }
    sights.growths = memory_.allocations(MemoryUse::Cells);
    return sights;
  }

 private:
  template <std::size_t N>
  void check_round(std::uint64_t round, const std::array<Weights, N>& roles, Random& random,
                   Sights& sights) {
    const std::size_t threads = 2 + below(random, kThreads - 1);
    std::vector<Id> ids;
    for (std::uint64_t i = 0; i < kPartitions; ++i) {
      ids.push_back(Ids::make(1'000 + kPartitions * round + i));
    }
    const auto churn = [round](std::uint64_t thread, std::uint64_t n) {
      return Ids::make(1'000'000 + (round % 8 * kThreads + thread) * 64 + n);
    };
    const Epoch base = table_->current_epoch();
    StampClock clock;
    std::vector<Worker<Table, Id>> workers;
    workers.reserve(threads);
    for (std::size_t thread = 0; thread < threads; ++thread) {
      workers.emplace_back(*table_, clock, ids, thread, roles[below(random, N)], random());
    }
    // Threads that wake up one after another would be done one after another.
    std::atomic<std::size_t> awake{0};
    std::vector<std::function<void()>> bodies;
    for (auto& worker : workers) {
      bodies.emplace_back([&] {
        awake.fetch_add(1);
        while (awake.load() < threads) std::this_thread::yield();
        worker.run(base, churn);
      });
    }
    run_together(bodies);

    std::vector<History<Op>> histories(kPartitions);
    History<GenerationOperation> changes;
    for (const auto& worker : workers) {
      for (std::size_t i = 0; i < kPartitions; ++i) {
        histories[i].insert(histories[i].end(), worker.histories[i].begin(),
                            worker.histories[i].end());
      }
      changes.insert(changes.end(), worker.changes.begin(), worker.changes.end());
    }
    count_passing_writes(histories);
    for (const History<Op>& history : histories) {
      look(history, sights);
      const Verdict verdict = check_linearizable<Model>(history);
      ASSERT_TRUE(verdict.linearizable) << "round " << round << ": " << describe(history, verdict);
    }
    const Verdict verdict = check_linearizable<GenerationModel>(changes, base);
    ASSERT_TRUE(verdict.linearizable) << "round " << round << ": " << describe(changes, verdict);
  }

  CountingMemory memory_;
  NoteTaker<Id> notes_;
  std::unique_ptr<Table> table_;
};

using Kinds = testing::Types<NumberIds, ShortIds, LongIds>;
struct KindNames {
  template <typename Kind>
  static std::string GetName(int) {
    if constexpr (std::is_same_v<Kind, NumberIds>) return "NumberIds";
    return std::is_same_v<Kind, ShortIds> ? "ShortIds" : "LongIds";
  }
};
TYPED_TEST_SUITE(Linearizability, Kinds, KindNames);

std::uint64_t rounds(std::uint64_t count) {
  return count / std::max<std::uint64_t>(kSlow ? 3 : 1, std::min<std::uint64_t>(work_divisor(), 5));
}

TYPED_TEST(Linearizability, OfEveryMethodOfARouter) {
  const Sights sights = this->check_rounds(rounds(500), kRouterRoles);
  EXPECT_GT(sights.overlaps, sights.calls / 1'000);
  EXPECT_GT(sights.flips, 0U);
  EXPECT_GT(sights.overlapped_flips, 0U);
  EXPECT_GT(sights.permits, 0U);
  EXPECT_GT(sights.drains, 0U);
  EXPECT_GT(sights.cutovers, 0U);
  EXPECT_GT(sights.erases, 0U);
  EXPECT_GT(sights.pauses, 0U);
  EXPECT_GT(sights.removals, 0U);
  EXPECT_GT(sights.overtaken, 0U);
  EXPECT_GT(sights.stale, 0U);
  EXPECT_GT(sights.growths, 10U);
  std::cout << sights.calls << " calls, " << sights.overlaps << " overlaps, " << sights.flips
            << " flips (" << sights.overlapped_flips << " overlapped), " << sights.permits
            << " permits, " << sights.drains << " drains, " << sights.cutovers
            << " writes met a cutover, " << sights.erases << " erases, " << sights.pauses
            << " pauses, " << sights.removals << " removals, " << sights.overtaken << " overtaken, "
            << sights.stale << " stale, " << sights.growths << " arrays\n";
}

TYPED_TEST(Linearizability, OfWhatAReplicaApplies) {
  const Sights sights = this->check_rounds(rounds(250), kReplicaRoles);
  EXPECT_GT(sights.overlaps, sights.calls / 1'000);
  EXPECT_GT(sights.applied, 0U);
  EXPECT_GT(sights.permits, 0U);
  EXPECT_GT(sights.cutovers, 0U);
  EXPECT_GT(sights.growths, 10U);
  std::cout << sights.calls << " calls, " << sights.overlaps << " overlaps, " << sights.applied
            << " applied, " << sights.permits << " permits, " << sights.growths << " arrays\n";
}

}  // namespace
}  // namespace placement::test
