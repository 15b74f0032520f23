// SPDX-License-Identifier: Apache-2.0
//
// Readers against writers. INV-M4: what a read returns is what the partition was at one instant,
// whole; and a reader never sees a partition go back.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/checksummed_placement.hpp"
#include "support/test_memory.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

using NumberTable = BasicPlacementTable<std::uint64_t, ChecksummedPlacement>;
using TextTable = BasicPlacementTable<std::string, ChecksummedPlacement>;
using State = BasicPartitionState<ChecksummedPlacement>;

constexpr std::size_t kReaders = 2;

// Lets the readers have a turn now and then, so that they overlap with the writer on any machine.
class Pace {
 public:
  explicit Pace(const std::atomic<std::uint64_t>& turns) : turns_(turns) {}

  // By the writer, before each of its changes.
  void operator()() {
    if (++changes_ % 997 != 0) return;
    const std::uint64_t seen = turns_.load();
    while (turns_.load() < seen + 2) std::this_thread::yield();
  }

 private:
  const std::atomic<std::uint64_t>& turns_;
  std::uint64_t changes_ = 0;
};

// Runs the writer once, and the reader, with its number and its turn, again and again until the
// writer is done. Returns how many turns there were.
std::uint64_t read_while(const std::function<void(Pace&)>& write,
                         const std::function<void(std::size_t, std::uint64_t)>& read) {
  std::atomic<bool> writing{true};
  std::atomic<std::uint64_t> turns{0};
  std::vector<std::function<void()>> bodies;
  bodies.emplace_back([&] {
    Pace pace(turns);
    write(pace);
    writing = false;
  });
  for (std::size_t reader = 0; reader < kReaders; ++reader) {
    bodies.emplace_back([&, reader] {
      std::uint64_t turn = 0;
      do {
        read(reader, turn++);
        turns.fetch_add(1, std::memory_order_relaxed);  // orders nothing that is tested
      } while (writing.load(std::memory_order_relaxed));
    });
  }
  run_together(bodies);
  return turns;
}

// How often something happened that must not.
class Violations {
 public:
  explicit Violations(const char* what) : what_(what) {}
  ~Violations() { EXPECT_EQ(count_.load(), 0U) << what_; }
  Violations(const Violations&) = delete;
  Violations& operator=(const Violations&) = delete;

  void count_if(bool happened) {
    if (happened) ++count_;
  }

 private:
  const char* what_;
  std::atomic<std::uint64_t> count_{0};
};

// A table whose one writer writes down what every epoch means before it makes the change. The
// log is no atomic: that a reader may look an epoch up is what the table has to guarantee, and
// ThreadSanitizer checks it.
class LoggedTable {
 public:
  LoggedTable(std::uint64_t partitions, std::uint64_t changes)
      : table_(TableOptions{.shards = 2}), last_seen_(kReaders * partitions), states_(partitions) {
    log_.reserve(changes + partitions + 1);
    log_.emplace_back(0, State::active({}));
    for (std::uint64_t id = 0; id < partitions; ++id) {
      change(id, State::active({id, 0}), [&] { return table_.set(id, {id, 0}); });
    }
  }

  template <typename Make>
  void change(Pace& pace, std::uint64_t id, State to, Make make) {
    pace();
    change(id, to, make);
  }
  template <typename Make>
  void change(std::uint64_t id, State to, Make make) {
    log_.emplace_back(id, to);
    if (static_cast<std::size_t>(id) < states_.size()) states_[id] = to;
    const TransitionResult made = make();
    wrong_epoch_.count_if(made != Epoch(log_.size() - 1));
  }

  // The next step of the partition's migration, or now and then something else.
  void step(Pace& pace, std::uint64_t id, Random& random) {
    const State now = *states_[id];
    const ChecksummedPlacement from = now.read_placement();
    const ChecksummedPlacement next(id, ++sequence_);
    const std::uint64_t dice = below(random, 16);
    if (dice == 0) {
      return change(pace, id, State::active(next), [&] { return table_.set(id, next); });
    }
    if (!now.is_migrating()) {
      return change(pace, id, State::migrating(from, next, MigrationPhase::Draining),
                    [&] { return table_.begin_migration(id, next); });
    }
    const ChecksummedPlacement to = *now.destination();
    if (dice == 1) {
      return change(pace, id, State::active(from), [&] { return table_.abort_migration(id); });
    }
    if (dice == 2) return change(pace, id, now, [&] { return table_.claim_migration(id); });
    if (now.phase() == MigrationPhase::Draining) {
      return change(pace, id, State::migrating(from, to, MigrationPhase::Cutover),
                    [&] { return table_.enter_cutover(id); });
    }
    ++flips_;
    change(pace, id, State::active(to), [&] { return table_.complete_migration(id); });
  }

  // By a reader: all that get, state, admit_write and contains say of one partition.
  void check(std::size_t reader, std::uint64_t id) {
    Epoch& last = last_seen_[reader * states_.size() + static_cast<std::size_t>(id)];
    const auto at = table_.get(id);
    missed_.count_if(!at);
    if (!at) return;
    went_back_.count_if(at->epoch < last);
    if (at->epoch > last) ++seen_changing_;
    last = at->epoch;
    torn_.count_if(!at->placement.is_whole());
    {
      const auto& [owner, state] = log_[at->epoch.value()];
      mixed_up_.count_if(owner != id || at->placement != state.read_placement() ||
                         at->phase != state.phase());
      if (at->phase != MigrationPhase::Settled) ++seen_migrating_;
    }
    const auto whole = table_.state(id);
    missed_.count_if(!whole);
    if (!whole) return;
    went_back_.count_if(whole->epoch < last);
    if (whole->epoch > last) ++seen_changing_;
    last = whole->epoch;
    const auto& [owner, state] = log_[whole->epoch.value()];
    mixed_up_.count_if(owner != id || whole->state != state);
    missed_.count_if(!table_.contains(id));
    // Whatever it is by now, an epoch that was cutover never admits, nor does one long gone.
    const bool admitted = table_.admit_write(id, last) == WriteAdmission::Admit;
    mixed_up_.count_if(admitted && state.phase() == MigrationPhase::Cutover);
    mixed_up_.count_if(table_.admit_write(id, Epoch::zero()) == WriteAdmission::Admit);
  }

  // By a reader: the same of all of them.
  void check_all() {
    std::vector<int> visits(states_.size());
    table_.for_each([&](std::uint64_t id, const State& state, Epoch epoch) {
      ++visits[id];
      const auto& [owner, expected] = log_[epoch.value()];
      mixed_up_.count_if(owner != id || state != expected);
    });
    missed_.count_if(std::any_of(visits.begin(), visits.end(), [](int n) { return n != 1; }));
  }

  [[nodiscard]] NumberTable& table() { return table_; }
  [[nodiscard]] const State& now(std::uint64_t id) const { return *states_[id]; }
  [[nodiscard]] ChecksummedPlacement next(std::uint64_t id) { return {id, ++sequence_}; }
  [[nodiscard]] std::uint64_t next_epoch() const { return log_.size(); }
  [[nodiscard]] std::uint64_t flips() const { return flips_; }
  [[nodiscard]] std::uint64_t seen_changing() const { return seen_changing_; }
  [[nodiscard]] std::uint64_t seen_migrating() const { return seen_migrating_; }

 private:
  NumberTable table_;
  std::vector<std::pair<std::uint64_t, State>> log_;  // by epoch; never reallocated
  std::vector<Epoch> last_seen_;                      // by reader and partition
  std::vector<std::optional<State>> states_;          // the writer's
  std::uint64_t sequence_ = 0;
  std::uint64_t flips_ = 0;
  std::atomic<std::uint64_t> seen_changing_{0};
  std::atomic<std::uint64_t> seen_migrating_{0};
  Violations wrong_epoch_{"a change had another epoch than the next"};
  Violations missed_{"a partition that was there throughout was not found, or found twice"};
  Violations went_back_{"a reader saw an epoch go back"};
  Violations torn_{"a reader saw a torn placement"};
  Violations mixed_up_{"a read was not what the partition was at that epoch"};
};

TEST(ConcurrentReads, SeeOneStateOfAPartitionWholeInAStormOfFlips) {
  constexpr std::uint64_t kPartitions = 3;
  const std::uint64_t kChanges = work(400'000);
  LoggedTable logged(kPartitions, kChanges);
  Random random = make_random();
  const std::uint64_t reads = read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < kChanges; ++i)
          logged.step(pace, below(random, kPartitions), random);
      },
      [&](std::size_t reader, std::uint64_t turn) {
        logged.check(reader, turn % kPartitions);
        if (turn % 64 == 0) logged.check_all();
      });
  EXPECT_GT(reads, 0U);
  EXPECT_GT(logged.flips(), 1000U);
  EXPECT_GT(logged.seen_changing(), 0U);
  EXPECT_GT(logged.seen_migrating(), 0U);
}

// `set` overrides a migration: its placement goes where the destination stands.
TEST(ConcurrentReads, SeeOneStateWholeWhileSetOverridesMigrations) {
  const std::uint64_t kChanges = work(200'000);
  LoggedTable logged(1, 2 * kChanges);
  read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < kChanges; ++i) {
          const ChecksummedPlacement from = logged.now(0).read_placement();
          const ChecksummedPlacement to = logged.next(0);
          logged.change(pace, 0, State::migrating(from, to, MigrationPhase::Draining),
                        [&] { return logged.table().begin_migration(0, to); });
          const ChecksummedPlacement instead = logged.next(0);
          logged.change(pace, 0, State::active(instead),
                        [&] { return logged.table().set(0, instead); });
        }
      },
      [&](std::size_t reader, std::uint64_t turn) {
        logged.check(reader, 0);
        if (turn % 64 == 0) logged.check_all();
      });
  EXPECT_GT(logged.seen_changing(), 0U);
  EXPECT_GT(logged.seen_migrating(), 0U);
}

// A cell that was moved and is not marked would go on answering with what it was then.
TEST(ConcurrentReads, SeeOneStateWholeWhileCellsMove) {
  constexpr std::uint64_t kPartitions = 40;
  const std::uint64_t kChanges = work(200'000);
  LoggedTable logged(kPartitions, 2 * kChanges);
  Random random = make_random();
  read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < kChanges; ++i) {
          logged.step(pace, below(random, kPartitions), random);
          const std::uint64_t newcomer = kPartitions + i;
          logged.change(pace, newcomer, State::active({newcomer, 0}),
                        [&] { return logged.table().set(newcomer, {newcomer, 0}); });
        }
      },
      [&](std::size_t reader, std::uint64_t turn) { logged.check(reader, turn % kPartitions); });
  EXPECT_GT(logged.flips(), 1000U);
  EXPECT_GT(logged.seen_changing(), 0U);
}

// A replica takes any state after any other: where neither buffer may be overwritten, the
// partition moves to another cell.
TEST(ConcurrentReads, SeeOneStateWholeWhileAReplicaAppliesAnyStateAfterAnyOther) {
  constexpr std::uint64_t kPartitions = 3;
  const std::uint64_t kChanges = work(200'000);
  LoggedTable logged(kPartitions, kChanges);
  Random random = make_random();
  read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < kChanges; ++i) {
          const std::uint64_t id = below(random, kPartitions);
          const State now = logged.now(id);
          const auto origin = [&] {
            return below(random, 2) == 0 ? now.read_placement() : logged.next(id);
          };
          const auto phase = static_cast<MigrationPhase>(below(random, 3));
          const State next = phase == MigrationPhase::Settled
                                 ? State::active(origin())
                                 : State::migrating(origin(), logged.next(id), phase);
          const Epoch epoch(logged.next_epoch());
          logged.change(pace, id, next, [&]() -> TransitionResult {
            if (!logged.table().apply(id, next, epoch)) return MigrationError::UnknownPartition;
            return epoch;
          });
        }
      },
      [&](std::size_t reader, std::uint64_t turn) {
        logged.check(reader, turn % kPartitions);
        if (turn % 64 == 0) logged.check_all();
      });
  EXPECT_GT(logged.seen_changing(), 0U);
  EXPECT_GT(logged.seen_migrating(), 0U);
}

std::string resident_name(std::uint64_t n) { return "resident-" + std::to_string(n); }
std::string passing_name(std::uint64_t n) { return "passing-" + std::to_string(n); }
std::string absent_name(std::uint64_t n) { return "absent-" + std::to_string(n); }

TEST(ConcurrentReads, FindWhatIsThereAndNothingElseWhileTheTableGrows) {
  constexpr std::uint64_t kResidents = 64;
  constexpr std::uint64_t kRounds = 4;
  constexpr std::uint64_t kNewcomers = kSlow ? 12'000 : 50'000;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    CountingMemory memory;
    TextTable table(TableOptions{.shards = 1, .memory = &memory});
    for (std::uint64_t n = 0; n < kResidents; ++n) table.set(resident_name(n), {n, 0});
    const std::size_t arrays_before = memory.allocations(MemoryUse::Cells);
    Violations lost("a resident partition was not found");
    Violations made_up("a partition was found that never was");
    Violations wrong("another partition's placement was found");
    std::array<std::uint64_t, kReaders> high{};
    const std::uint64_t reads = read_while(
        [&](Pace& pace) {
          for (std::uint64_t n = 0; n < kNewcomers; ++n) {
            pace();
            table.set(passing_name(n), {n, 1});
          }
        },
        [&](std::size_t reader, std::uint64_t turn) {
          const std::uint64_t n = turn % kResidents;
          const auto at = table.get(resident_name(n));
          lost.count_if(!at);
          wrong.count_if(at && at->placement != ChecksummedPlacement(n, 0));
          made_up.count_if(table.contains(absent_name(n)));
          made_up.count_if(table.get(absent_name(turn)).has_value());
          // A newcomer that was seen once stays.
          if (high[reader] < kNewcomers && table.contains(passing_name(high[reader]))) {
            ++high[reader];
          }
          if (high[reader] > 0) {
            const std::uint64_t known = turn * 7919 % high[reader];
            const auto newcomer = table.get(passing_name(known));
            lost.count_if(!newcomer);
            wrong.count_if(newcomer && newcomer->placement != ChecksummedPlacement(known, 1));
          }
        });
    EXPECT_GT(reads, 0U);
    EXPECT_GE(memory.allocations(MemoryUse::Cells), arrays_before + 3) << "it did not grow";
    EXPECT_EQ(table.size(), kResidents + kNewcomers);
  }
}

TEST(ConcurrentReads, SeeAnErasedPartitionGoAndComeBackNewer) {
  constexpr std::uint64_t kPartitions = 4;
  const std::uint64_t kChanges = work(300'000);
  NumberTable table(TableOptions{.shards = 1});
  Random random = make_random();
  std::array<std::array<Epoch, kPartitions>, kReaders> last{};
  std::atomic<std::uint64_t> there{0};
  std::atomic<std::uint64_t> gone{0};
  Violations wrong("a placement was torn, or another partition's");
  Violations went_back("a reader saw an epoch go back");
  read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < kChanges; ++i) {
          pace();
          const std::uint64_t id = below(random, kPartitions);
          if (below(random, 2) == 0 || !table.erase(id)) table.set(id, {id, i});
        }
      },
      [&](std::size_t reader, std::uint64_t turn) {
        const std::uint64_t id = turn % kPartitions;
        const auto at = table.get(id);
        ++(at ? there : gone);
        if (!at) return;
        wrong.count_if(!at->placement.is_whole() || at->placement.partition != id);
        went_back.count_if(at->epoch < last[reader][id]);
        last[reader][id] = at->epoch;
      });
  EXPECT_GT(there.load(), 0U);
  EXPECT_GT(gone.load(), 0U);
}

// The first of the ids stays, the others come and go.
template <typename Id>
void expect_none_is_taken_for_another(const std::vector<Id>& ids, TableMemory& memory) {
  const std::uint64_t kChanges = work(400'000);
  BasicPlacementTable<Id, ChecksummedPlacement> table(TableOptions{.shards = 1, .memory = &memory});
  Random random = make_random();
  table.set(ids[0], {0, 0});
  std::atomic<std::uint64_t> there{0};
  std::atomic<std::uint64_t> gone{0};
  Violations lost("the resident partition was not found");
  Violations wrong("a placement was torn, or another partition's");
  read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < kChanges; ++i) {
          pace();
          const std::uint64_t n = 1 + below(random, ids.size() - 1);
          if (!table.erase(ids[n])) table.set(ids[n], {n, i});
        }
      },
      [&](std::size_t, std::uint64_t turn) {
        const std::uint64_t n = turn % ids.size();
        const auto at = table.get(ids[n]);
        lost.count_if(n == 0 && !at);
        ++(at ? there : gone);
        wrong.count_if(at && (!at->placement.is_whole() || at->placement.partition != n));
        if (turn % 16 != 0) return;
        table.for_each([&](const auto& id, const auto& state, Epoch) {
          const std::uint64_t of = state.read_placement().partition;
          wrong.count_if(!state.read_placement().is_whole() || of >= ids.size() || id != ids[of]);
        });
      });
  EXPECT_GT(there.load(), 0U);
  EXPECT_GT(gone.load(), 0U);
}

// Ids beyond a cell, alike but for their ends, take turns in the same blocks and cells.
TEST(ConcurrentReads, TakeNoLongIdForAnotherWhileTheirBlocksAreRecycled) {
  constexpr std::uint64_t kIds = 12;
  std::vector<std::string> ids;
  for (std::uint64_t n = 0; n < kIds; ++n) {
    // Two lengths of one size class of blocks, and one of another.
    ids.push_back(std::string(std::array<std::size_t, 3>{180, 190, 400}[n % 3], 'x') +
                  std::to_string(n));
  }
  CountingMemory memory;
  expect_none_is_taken_for_another(ids, memory);
  EXPECT_LE(memory.allocations(MemoryUse::LongIds), kIds) << "the blocks were not recycled";
}

// Each word is that of others, too, so what is put together from two of them is often a third.
TEST(ConcurrentReads, TakeNoIdOfSeveralWordsForAnotherWhileTheirCellsAreRecycled) {
  std::vector<std::array<std::uint64_t, 4>> ids;
  for (std::uint64_t n = 0; n < 16; ++n) ids.push_back({n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3});
  CountingMemory memory;
  expect_none_is_taken_for_another(ids, memory);
}

// At a steady number of partitions an array whose groups are full of vacant cells is replaced by
// one of its own size, and that by the first one again: the same addresses come back under the
// readers. Two residents stand in every group, and ids that come and go fill it, so that what these
// leave behind stays vacant and the array is used up as fast as it can be.
void expect_reads_survive_recycled_arrays(unsigned log2_capacity, std::uint64_t changes) {
  constexpr std::uint64_t kResidents = 2;
  constexpr std::uint64_t kPassers = detail::TagGroup::kCells - kResidents;
  const std::uint64_t capacity = std::uint64_t{1} << log2_capacity;
  const std::uint64_t groups = capacity / detail::TagGroup::kCells;
  std::vector<std::vector<std::uint64_t>> ids_by_home(groups);
  for (std::uint64_t id = 0, full = 0; full < groups; ++id) {
    auto& ids = ids_by_home[detail::IdTraits<std::uint64_t>::key(id).hash /
                            (~std::uint64_t{0} / groups + 1)];
    if (ids.size() == kResidents + kPassers) continue;
    ids.push_back(id);
    if (ids.size() == kResidents + kPassers) ++full;
  }
  CountingMemory memory;
  NumberTable table(
      TableOptions{.shards = 1, .expected_partitions = capacity / 2, .memory = &memory});
  for (const auto& ids : ids_by_home) {
    for (std::uint64_t n = 0; n < kResidents; ++n) table.set(ids[n], {ids[n], 0});
  }
  const std::size_t arrays = memory.allocations(MemoryUse::Cells);
  constexpr std::uint64_t kNever = std::uint64_t{1} << 60;
  Violations lost("a resident partition was not found");
  Violations made_up("a partition was found that never was");
  Violations wrong("a placement was torn, or another partition's");
  std::atomic<std::uint64_t> newest{ids_by_home[0][kResidents]};
  std::atomic<std::uint64_t> met{0};
  const std::uint64_t reads = read_while(
      [&](Pace& pace) {
        for (std::uint64_t i = 0; i < changes; i += kPassers) {
          const auto& ids = ids_by_home[i / kPassers % groups];
          for (std::uint64_t n = kResidents; n < ids.size(); ++n) {
            table.set(ids[n], {ids[n], i});
            newest.store(ids[n], std::memory_order_relaxed);
            pace();
          }
          for (std::uint64_t n = kResidents; n < ids.size(); ++n) {
            static_cast<void>(table.erase(ids[n]));
          }
        }
      },
      [&](std::size_t, std::uint64_t turn) {
        const std::uint64_t resident = ids_by_home[turn % groups][turn / groups % kResidents];
        const auto at = table.get(resident);
        lost.count_if(!at);
        wrong.count_if(at && at->placement != ChecksummedPlacement(resident, 0));
        made_up.count_if(table.contains(kNever + turn));
        const std::uint64_t passer = newest.load(std::memory_order_relaxed);
        const auto passer_at = table.get(passer);
        if (passer_at) ++met;
        wrong.count_if(passer_at && (!passer_at->placement.is_whole() ||
                                     passer_at->placement.partition != passer));
      });
  EXPECT_GT(reads, 0U);
  EXPECT_GT(met.load(), 0U);
  EXPECT_EQ(memory.allocations(MemoryUse::Cells), arrays + 1) << "not two arrays that take turns";
  if (capacity >= 1024) {
    EXPECT_GT(memory.discards(), changes / capacity) << "no array came back";
  }
}

TEST(ConcurrentReads, AreRightWhileChurnRecyclesTheArraysOfASmallTable) {
  expect_reads_survive_recycled_arrays(4, work(500'000));
}

TEST(ConcurrentReads, AreRightWhileChurnRecyclesArraysOfManyPages) {
  expect_reads_survive_recycled_arrays(10, work(300'000));
}

// The second array is a mixture of what was moved and what is new.
template <typename Table, typename Name>
void expect_for_each_visits_once(Name name) {
  constexpr std::uint64_t kResidents = 200;
  constexpr std::uint64_t kRounds = 4;
  std::uint64_t visits = 0;
  std::uint64_t arrays = 0;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    CountingMemory memory;
    Table table(TableOptions{.shards = 2, .memory = &memory});
    for (std::uint64_t n = 0; n < kResidents; ++n) table.set(name(n), {n, 0});
    const std::uint64_t kChanges = work(30'000);
    Violations wrong("a placement was torn, or another partition's");
    Violations not_once("a resident partition was not visited exactly once");
    Violations twice("a partition was visited twice");
    Random random(round);
    visits += read_while(
        [&](Pace& pace) {
          for (std::uint64_t i = 0; i < kChanges; ++i) {
            pace();
            const std::uint64_t n = kResidents + i;
            table.set(name(n), {n, 1});
            if (i % 3 == 0) {
              const std::uint64_t before = kResidents + below(random, i + 1);
              static_cast<void>(table.erase(name(before)));
            }
          }
        },
        [&](std::size_t, std::uint64_t) {
          std::vector<std::uint8_t> seen(kResidents + kChanges);
          table.for_each([&](const auto& id, const State& state, Epoch) {
            const ChecksummedPlacement placement = state.read_placement();
            const bool good = placement.is_whole() && placement.partition < seen.size() &&
                              id == name(placement.partition);
            wrong.count_if(!good);
            if (good && seen[placement.partition]++ != 0) twice.count_if(true);
          });
          not_once.count_if(std::count(seen.begin(), seen.begin() + kResidents, 1) !=
                            static_cast<std::ptrdiff_t>(kResidents));
        });
    arrays += memory.allocations(MemoryUse::Cells);
  }
  EXPECT_GT(visits, kRounds);
  EXPECT_GE(arrays, 2 * 2 * kRounds) << "the table did not grow";
}

TEST(ConcurrentReads, ForEachVisitsNumbersExactlyOnceUnderGrowthAndChurn) {
  expect_for_each_visits_once<NumberTable>([](std::uint64_t n) { return n * 0x9E3779B97F4A7C15U; });
}

TEST(ConcurrentReads, ForEachVisitsTextsExactlyOnceUnderGrowthAndChurn) {
  expect_for_each_visits_once<TextTable>([](std::uint64_t n) {
    // Some fit a cell, some do not.
    return std::string(n % 5 == 0 ? 100 : 3, '-') + std::to_string(n);
  });
}

}  // namespace
}  // namespace placement::test
