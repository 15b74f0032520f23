// SPDX-License-Identifier: Apache-2.0
//
// Time under load: readers, writers with permits and an operator on one table, for as long as one
// likes, with every answer checked.
//
//   stress [--seconds N] [--operations N] [--threads N] [--partitions N] [--ids numbers|text]
//          [--seed N]
//
// It ends at whichever of seconds (10, if neither is given) and operations comes first, but not
// before the interesting things have happened at all. Of its threads (4) one is the operator, and
// the others are readers and writers in turn. What has to hold:
//   - a placement is whole, of its partition, and no older than the one the thread saw before;
//   - a partition's epochs never go back, and the table's is never behind them;
//   - while a permit on a partition is out, the partition is where the permit says. The odd ones
//     are excepted, of which the operator sets some over, waiting for nobody;
//   - the operator, who alone makes changes, gets the answers of the state machine, each with an
//     epoch beyond the last; that he erases with a deadline under writers and pauses them, too;
//   - a few partitions are a replica's: they share epochs, and one takes the cell of another;
//   - every held write is resumed or cancelled, once; and no write is in flight at the end.
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <iomanip>
#include <iostream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <placement/partition_ref.hpp>
#include <placement/placement_table.hpp>

#include "../support/checksummed_placement.hpp"
#include "../support/metered_memory.hpp"
#include "../support/sanitizers.hpp"

namespace placement::test {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;
using std::chrono::steady_clock;

struct Settings {
  std::optional<std::uint64_t> seconds;
  std::optional<std::uint64_t> operations;
  std::uint64_t threads = 4;
  std::uint64_t partitions = 64;
  std::uint64_t seed = 1;
  bool text = false;
};

[[noreturn]] void fail(std::string_view what, std::uint64_t partition) {
  // One write, so that two threads that fail do not mix their lines.
  std::ostringstream out;
  out << "FAILED: " << what << " (partition " << partition << ")\n";
  std::cerr << out.str() << std::flush;
  std::_Exit(1);
}
void require(bool holds, std::string_view what, std::uint64_t partition) {
  if (!holds) [[unlikely]]
    fail(what, partition);
}

// xorshift64*: a few instructions.
class FastRandom {
 public:
  explicit FastRandom(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U + 1) {}
  std::uint64_t operator()() {
    state_ ^= state_ >> 12U;
    state_ ^= state_ << 25U;
    state_ ^= state_ >> 27U;
    return state_ * 0x2545F4914F6CDD1DU;
  }
  // Below a limit that is small beside 2^32.
  std::uint64_t below(std::uint64_t limit) { return ((*this)() >> 32U) * limit >> 32U; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

// A thread's own; added up when it has ended.
struct Counts {
  std::uint64_t reads = 0;
  std::uint64_t admissions = 0;  // admit_write
  std::uint64_t acquisitions = 0;
  std::uint64_t permits = 0;
  std::uint64_t refused_for_cutover = 0;
  std::uint64_t quarantines = 0;
  std::uint64_t holds = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t too_many_held = 0;
  std::uint64_t releases = 0;
  std::uint64_t looks_in_flight = 0;
  std::uint64_t changes = 0;
  std::uint64_t flips = 0;
  std::uint64_t drains_awaited = 0;  // flips and erases refused for writes in flight
  std::uint64_t aborts = 0;
  std::uint64_t erases = 0;
  std::uint64_t overrides = 0;
  std::uint64_t pauses = 0;
  std::uint64_t erasures = 0;  // with a deadline
  std::uint64_t erasures_given_up = 0;
  std::uint64_t comparisons = 0;  // compare and set, refused as it has to be
  std::uint64_t applied = 0;
  steady_clock::duration longest_read{};
  steady_clock::duration longest_acquisition{};
  steady_clock::duration longest_change{};

  [[nodiscard]] std::uint64_t operations() const {
    return reads + admissions + acquisitions + holds + cancelled + releases + looks_in_flight +
           changes + drains_awaited + erasures_given_up + comparisons;
  }

  void add(const Counts& other) {
    for (const auto member :
         {&Counts::reads,    &Counts::admissions,          &Counts::acquisitions,
          &Counts::permits,  &Counts::refused_for_cutover, &Counts::quarantines,
          &Counts::holds,    &Counts::cancelled,           &Counts::too_many_held,
          &Counts::releases, &Counts::looks_in_flight,     &Counts::changes,
          &Counts::flips,    &Counts::drains_awaited,      &Counts::aborts,
          &Counts::erases,   &Counts::overrides,           &Counts::pauses,
          &Counts::erasures, &Counts::erasures_given_up,   &Counts::comparisons,
          &Counts::applied}) {
      this->*member += other.*member;
    }
    for (const auto member :
         {&Counts::longest_read, &Counts::longest_acquisition, &Counts::longest_change}) {
      this->*member = std::max(this->*member, other.*member);
    }
  }
};

// When to stop. A thread asks once for so many operations that asking costs nothing.
class Course {
 public:
  static constexpr std::uint64_t kAtOnce = 4096;

  explicit Course(const Settings& settings)
      : most_(settings.operations.value_or(std::numeric_limits<std::uint64_t>::max())),
        begin_(steady_clock::now()) {
    if (settings.seconds) deadline_ = begin_ + std::chrono::seconds(*settings.seconds);
  }

  // Also tells that the thread has done kAtOnce more.
  [[nodiscard]] bool goes_on() {
    const std::uint64_t done = done_.fetch_add(kAtOnce, std::memory_order_relaxed) + kAtOnce;
    if (!is_interesting_.load(std::memory_order_relaxed)) return true;
    return done < most_ && (!deadline_ || steady_clock::now() < *deadline_);
  }
  void is_interesting() { is_interesting_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] SteadyTime begin() const { return begin_; }

 private:
  std::uint64_t most_;
  SteadyTime begin_;
  std::optional<SteadyTime> deadline_;
  alignas(64) std::atomic<std::uint64_t> done_{0};
  alignas(64) std::atomic<bool> is_interesting_{false};
};

// Times one call in so many, because asking for the time takes as long as a read.
constexpr std::uint64_t kTimedOneIn = 15;  // odd: both ways of asking

template <typename Call>
decltype(auto) timed(bool is_timed, steady_clock::duration& longest, Call call) {
  if (!is_timed) [[likely]]
    return call();
  const SteadyTime begin = steady_clock::now();
  decltype(auto) result = call();
  longest = std::max(longest, steady_clock::now() - begin);
  return result;
}

template <typename Id>
class Stress {
  using Table = BasicPlacementTable<Id, ChecksummedPlacement>;
  using Permit = typename Table::Permit;

 public:
  explicit Stress(const Settings& settings)
      : settings_(settings),
        course_(settings),
        table_({.shards = 4, .max_held_writes = 1024, .memory = &memory_}) {
    const std::uint64_t all = settings_.partitions + kReplicated;
    for (std::uint64_t n = 0; n < all; ++n) ids_.push_back(id_of(n));
  }

  Counts run() {
    std::vector<Counts> counts(settings_.threads);
    {
      std::vector<std::jthread> threads;
      for (std::size_t n = 0; n < counts.size(); ++n) {
        threads.emplace_back([this, n, &counts] {
          Counts mine;  // on its own stack, away from the others'
          FastRandom random(settings_.seed + n);
          if (n == 0) {
            operate(random, mine);
          } else if (n % 2 == 1) {
            read(random, mine);
          } else {
            write(random, mine);
          }
          counts[n] = mine;
        });
      }
    }
    Counts all;
    for (const Counts& mine : counts) all.add(mine);
    check_end(all);
    return all;
  }

  [[nodiscard]] std::uint64_t resumed() const { return resumed_; }
  [[nodiscard]] std::size_t arrays() const { return memory_.allocations(MemoryUse::Cells); }
  [[nodiscard]] std::size_t discards() const { return memory_.discards(); }
  [[nodiscard]] std::size_t bytes() const { return memory_.bytes(); }
  [[nodiscard]] std::size_t most_partitions() const { return most_partitions_; }
  [[nodiscard]] SteadyTime begin() const { return course_.begin(); }

 private:
  static constexpr std::uint64_t kReplicated = 8;  // the last of the ids, whose state is applied

  // A source may move a replicated one under a permit; of the others the operator sets odd ones.
  [[nodiscard]] bool stays_under_permits(std::uint64_t n) const {
    return n < settings_.partitions && n % 2 == 0;
  }

  static Id id_of(std::uint64_t n) {
    if constexpr (std::is_same_v<Id, std::string>) {
      return "tenant-" + std::to_string(n) + std::string(n % 8 == 7 ? 60 : 0, '+');
    } else {
      return n;
    }
  }

  // What a thread has seen of a partition.
  struct Seen {
    Epoch epoch;
    std::uint64_t sequence = 0;

    void check(const ChecksummedPlacement& placement, Epoch at, std::uint64_t partition) {
      require(placement.is_whole(), "a placement is whole", partition);
      require(placement.partition == partition, "a placement is its partition's", partition);
      require(at >= epoch, "a partition's epochs never go back", partition);
      require(placement.sequence >= sequence, "a partition never moves back", partition);
      epoch = at;
      sequence = placement.sequence;
    }
  };

  // ---- readers ----

  // References of its own, of which a thread takes every other answer.
  std::vector<typename Table::Ref> refs() {
    std::vector<typename Table::Ref> refs;
    for (const Id& id : ids_) refs.push_back(table_.ref(id));
    return refs;
  }

  void read(FastRandom& random, Counts& counts) {
    std::vector<Seen> seen(ids_.size());
    std::vector<typename Table::Ref> refs = this->refs();
    do {
      for (std::uint64_t i = 0; i < Course::kAtOnce; ++i) {
        const std::uint64_t n = random.below(ids_.size());
        const auto at =
            timed(i % kTimedOneIn == 0, counts.longest_read, [&] { return table_.get(ids_[n]); });
        ++counts.reads;
        if (!at) continue;
        seen[n].check(at->placement, at->epoch, n);
        if (i % 64 == 1) {
          require(table_.current_epoch() >= at->epoch, "the table's epoch is never behind", n);
          static_cast<void>(table_.admit_write(ids_[n], at->epoch));
          ++counts.admissions;
        }
        if (i % 64 == 2) {
          const auto state = table_.state(ids_[n]);
          ++counts.reads;
          if (!state) continue;
          seen[n].check(state->state.read_placement(), state->epoch, n);
          if (!state->state.is_migrating()) continue;
          const ChecksummedPlacement to = *state->state.destination();
          const bool may_be_paused = state->state.phase() == MigrationPhase::Cutover;
          require(to.is_whole() && to.partition == n &&
                      (to.sequence > seen[n].sequence ||
                       (may_be_paused && to.sequence == seen[n].sequence)),
                  "a destination is whole, its partition's, and new, unless writes are paused", n);
        }
      }
    } while (course_.goes_on());
  }

  // ---- writers ----

  struct Write {
    std::uint64_t partition;
    Permit permit;
  };

  static constexpr std::size_t kMostOut = 4;
  static constexpr std::size_t kMostTickets = 256;

  void write(FastRandom& random, Counts& counts) {
    std::vector<Seen> seen(ids_.size());
    std::vector<typename Table::Ref> refs = this->refs();
    std::deque<Write> out;
    std::deque<HoldTicket> tickets;
    do {
      for (std::uint64_t i = 0; i < Course::kAtOnce; ++i) {
        const std::uint64_t n = random.below(ids_.size());
        Permit permit = timed(i % kTimedOneIn == 0, counts.longest_acquisition, [&] {
          return i % 2 == 0 ? table_.acquire_write(ids_[n]) : refs[n].acquire_write();
        });
        ++counts.acquisitions;
        if (permit) {
          ++counts.permits;
          seen[n].check(permit.placement(), permit.epoch(), n);
          out.push_back({n, std::move(permit)});
        } else if (permit.refusal() == WriteRefusal::Cutover) {
          ++counts.refused_for_cutover;
          if (random.one_in(32)) hold(n, tickets, counts);
        }
        if (out.size() >= kMostOut) give_back(out, random, counts);
      }
    } while (course_.goes_on());
    while (!out.empty()) give_back(out, random, counts);
    while (!tickets.empty()) cancel(tickets, counts);
  }

  void give_back(std::deque<Write>& out, FastRandom& random, Counts& counts) {
    const std::uint64_t n = out.front().partition;
    Permit permit = std::move(out.front().permit);
    out.pop_front();
    const auto at = table_.get(ids_[n]);
    ++counts.reads;
    if (stays_under_permits(n)) {
      require(at && at->placement == permit.placement(),
              "a partition does not move while a permit is out", n);
    }
    if (random.one_in(256)) {
      require(table_.writes_in_flight(ids_[n]) > 0 || !stays_under_permits(n),
              "a permit is counted", n);
      ++counts.looks_in_flight;
    }
    if (random.one_in(1024)) {
      permit.quarantine(absl::Microseconds(1));
      ++counts.quarantines;
    } else {
      permit.release();
    }
    ++counts.releases;
  }

  void hold(std::uint64_t n, std::deque<HoldTicket>& tickets, Counts& counts) {
    // Few are cancelled: most of the oldest were resumed long ago.
    if (tickets.size() == kMostTickets) cancel(tickets, counts);
    tickets.push_back(
        table_.hold(ids_[n], [this] { resumed_.fetch_add(1, std::memory_order_relaxed); }));
    ++counts.holds;
    if (tickets.back().refusal()) ++counts.too_many_held;
  }
  void cancel(std::deque<HoldTicket>& tickets, Counts& counts) {
    if (tickets.front().cancel()) ++counts.cancelled;
    tickets.pop_front();
  }

  // ---- the operator ----

  enum class Standing : std::uint8_t { Absent, Active, Draining, Cutover, Paused };

  struct Partition {
    Standing standing = Standing::Absent;
    std::uint64_t next = 0;         // sequence of placements
    std::uint64_t refused = 0;      // in a row, for writes in flight
    std::uint64_t at = 0;           // sequence of the origin
    std::uint64_t destination = 0;  // and of the destination
  };

  void operate(FastRandom& random, Counts& counts) {
    std::vector<Partition> partitions(settings_.partitions);
    Epoch last;
    std::uint64_t i = 0;
    do {
      for (const std::uint64_t end = i + Course::kAtOnce; i < end; ++i) {
        if (random.one_in(4)) {
          churn(random, counts, last);
        } else if (random.one_in(512)) {
          replicate(random, counts, last);
        } else {
          const std::uint64_t n = random.below(partitions.size());
          move_on(partitions[n], n, random, counts, last);
        }
      }
      if (counts.flips > 100 && counts.drains_awaited > 0 && counts.erasures > 0 &&
          counts.pauses > 0 && counts.applied > 100 && arrays() > 8) {
        course_.is_interesting();
      }
    } while (course_.goes_on());
    // The end is checked of partitions that are there and settled. Writers may still be at work.
    for (std::uint64_t n = 0; n < partitions.size(); ++n) {
      Partition& partition = partitions[n];
      if (partition.standing == Standing::Absent) {
        set(partition, n, counts, last);
      } else if (partition.standing != Standing::Active) {
        abort(partition, n, counts, last);
      }
      left_.push_back(partition.at);
    }
  }

  // Every change: its epoch is beyond the last.
  void changed(Epoch epoch, Epoch& last, Counts& counts, std::uint64_t n) {
    require(epoch > last, "each change has an epoch beyond the last", n);
    last = epoch;
    ++counts.changes;
  }

  void set(Partition& partition, std::uint64_t n, Counts& counts, Epoch& last) {
    const ChecksummedPlacement to(n, ++partition.next);
    changed(timed(true, counts.longest_change, [&] { return table_.set(ids_[n], to); }), last,
            counts, n);
    partition.at = partition.next;
    partition.standing = Standing::Active;
  }

  // True if it was made, false if it was refused for writes in flight; anything else is wrong.
  bool make(std::uint64_t n, Counts& counts, Epoch& last, auto change) {
    const TransitionResult result = timed(true, counts.longest_change, change);
    if (result) {
      changed(*result, last, counts, n);
      return true;
    }
    require(result == MigrationError::WritesInFlight, "a refusal is for writes in flight", n);
    ++counts.drains_awaited;
    return false;
  }

  void move_on(Partition& partition, std::uint64_t n, FastRandom& random, Counts& counts,
               Epoch& last) {
    const Id& id = ids_[n];
    if (partition.standing == Standing::Absent) return set(partition, n, counts, last);
    if (n % 2 == 1 && random.one_in(8)) {
      ++counts.overrides;
      return set(partition, n, counts, last);
    }
    switch (partition.standing) {
      case Standing::Absent:
        break;
      case Standing::Active:
        if (random.one_in(16)) {
          if (!make(n, counts, last, [&] { return table_.erase(id, last_of(id)); })) return;
          ++counts.erases;
          partition.standing = Standing::Absent;
        } else if (random.one_in(16)) {
          erase_until(partition, n, random, counts, last);
        } else if (random.one_in(16)) {
          require(make(n, counts, last, [&] { return table_.pause_writes(id); }),
                  "pause_writes waits for no write", n);
          ++counts.pauses;
          partition.standing = Standing::Paused;
        } else if (random.one_in(16)) {
          compare_and_set(partition, n, counts, last);
        } else {
          partition.destination = ++partition.next;
          const ChecksummedPlacement to(n, partition.destination);
          require(
              make(n, counts, last, [&] { return table_.begin_migration(id, to, last_of(id)); }),
              "begin_migration waits for no write", n);
          partition.standing = Standing::Draining;
        }
        break;
      case Standing::Draining:
        if (random.one_in(16)) {
          abort(partition, n, counts, last);
        } else {
          require(make(n, counts, last, [&] { return table_.enter_cutover(id, last_of(id)); }),
                  "enter_cutover waits for no write", n);
          partition.standing = Standing::Cutover;
          partition.refused = 0;
        }
        break;
      case Standing::Paused:
        require(table_.get(id)->phase == MigrationPhase::Cutover, "paused is a cutover", n);
        require(make(n, counts, last, [&] { return table_.resume_writes(id); }),
                "resume_writes waits for no write", n);
        partition.standing = Standing::Active;
        break;
      case Standing::Cutover:
        if (random.one_in(32)) {
          require(make(n, counts, last, [&] { return table_.claim_migration(id); }),
                  "claim_migration waits for no write", n);
        } else if (partition.refused > 64) {
          abort(partition, n, counts, last);
        } else if (make(n, counts, last, [&] { return table_.complete_migration(id); })) {
          ++counts.flips;
          partition.at = partition.destination;
          partition.standing = Standing::Active;
        } else {
          ++partition.refused;
        }
        break;
    }
  }

  Epoch last_of(const Id& id) const { return table_.get(id)->epoch; }

  void abort(Partition& partition, std::uint64_t n, Counts& counts, Epoch& last) {
    require(make(n, counts, last, [&] { return table_.abort_migration(ids_[n]); }),
            "abort_migration waits for no write", n);
    ++counts.aborts;
    partition.standing = Standing::Active;
  }

  // At its deadline it leaves the partition as it was, but for the epoch.
  void erase_until(Partition& partition, std::uint64_t n, FastRandom& random, Counts& counts,
                   Epoch& last) {
    const absl::Time deadline = absl::Now() + absl::Microseconds(random.below(200));
    const TransitionResult erased = table_.erase_until(ids_[n], deadline);
    if (erased) {
      changed(*erased, last, counts, n);
      ++counts.erasures;
      partition.standing = Standing::Absent;
      return;
    }
    require(erased == MigrationError::WritesInFlight, "erase_until is refused for writes", n);
    const auto at = table_.get(ids_[n]);
    require(at && at->placement == ChecksummedPlacement(n, partition.at) &&
                at->phase == MigrationPhase::Settled,
            "erase_until that is given up leaves the partition as it was", n);
    changed(at->epoch, last, counts, n);
    ++counts.erasures_given_up;
  }

  void compare_and_set(Partition& partition, std::uint64_t n, Counts& counts, Epoch& last) {
    const Epoch own = last_of(ids_[n]);
    const ChecksummedPlacement to(n, partition.at);  // where it is: whoever writes may go on
    for (const Epoch wrong : {Epoch::zero(), Epoch(own.value() - 1), Epoch(own.value() + 1)}) {
      require(table_.set(ids_[n], to, wrong) == MigrationError::StaleEpoch,
              "a comparison fails for another epoch", n);
      ++counts.comparisons;
    }
    require(make(n, counts, last, [&] { return table_.set(ids_[n], to, own); }),
            "a comparison holds for the partition's epoch", n);
  }

  // One replicated partition goes, and another comes at the epoch that it had: into its cell, as
  // likely as not. All that a source changed at once has one epoch.
  void replicate(FastRandom& random, Counts& counts, Epoch& last) {
    using State = BasicPartitionState<ChecksummedPlacement>;
    const Epoch epoch(table_.current_epoch().value() + 1);
    const Epoch next(epoch.value() + 1);
    const std::uint64_t gone = random.below(kReplicated);
    const std::uint64_t come = (gone + 1 + random.below(kReplicated - 1)) % kReplicated;
    const auto apply = [&](std::uint64_t which) {
      const std::uint64_t n = settings_.partitions + which;
      const ChecksummedPlacement at(n, ++replicated_[which]);
      require(table_.apply(ids_[n], State::active(at), epoch), "what is newer is applied", n);
      require(!table_.apply(ids_[n], State::active(at), epoch), "nothing is applied twice", n);
      ++counts.applied;
    };
    apply(gone);
    require(table_.apply_erase(ids_[settings_.partitions + gone], next), "and so is its end", gone);
    table_.forget_erased(next);
    apply(come);
    require(table_.current_epoch() == next, "the table's epoch is the newest that was applied",
            gone);
    last = next;
    counts.changes += 3;
  }

  // Others come until they are many, then go until they are few: the shards grow, are scrubbed, and
  // recycle what they have.
  void churn(FastRandom& random, Counts& counts, Epoch& last) {
    constexpr std::uint64_t kFirst = 1'000'000;
    constexpr std::uint64_t kMany = 20'000;
    const std::uint64_t few = random.below(1000);
    if (widening_) {
      const std::uint64_t n = kFirst + last_other_++;
      changed(table_.set(id_of(n), ChecksummedPlacement(n, 1)), last, counts, n);
      if (last_other_ - first_other_ >= kMany) widening_ = false;
      most_partitions_ = std::max(most_partitions_, table_.size());
    } else {
      const std::uint64_t n = kFirst + first_other_++;
      require(make(n, counts, last, [&] { return table_.erase(id_of(n)); }),
              "nobody writes to the others", n);
      ++counts.erases;
      if (last_other_ - first_other_ <= few) widening_ = true;
    }
  }

  // ---- the end ----

  void check_end(const Counts& counts) {
    std::uint64_t replicated = 0;
    for (std::uint64_t n = 0; n < ids_.size(); ++n) {
      // What is in quarantine yet comes back by itself.
      require(table_.wait_until_drained(ids_[n], absl::InfiniteFuture()), "drained", n);
      require(table_.writes_in_flight(ids_[n]) == 0, "no write is in flight at the end", n);
      const auto at = table_.get(ids_[n]);
      if (n >= settings_.partitions) {
        if (at) ++replicated;
        continue;
      }
      require(at && at->placement == ChecksummedPlacement(n, left_[n]), "it is where it was put",
              n);
    }
    const std::uint64_t others = last_other_ - first_other_;
    require(table_.size() == settings_.partitions + replicated + others,
            "size() is what was set and not erased", 0);
    std::uint64_t visited = 0;
    table_.for_each([&](auto, const auto& state, Epoch) {
      require(state.read_placement().is_whole(), "a placement is whole", 0);
      ++visited;
    });
    require(visited == table_.size(), "for_each visits what was set and not erased", 0);
    require(counts.holds == resumed_ + counts.cancelled + counts.too_many_held,
            "every held write is resumed or cancelled, once", 0);
  }

  const Settings& settings_;
  Course course_;
  MeteredMemory memory_;
  Table table_;
  std::vector<Id> ids_;
  alignas(64) std::atomic<std::uint64_t> resumed_{0};
  // The operator's:
  alignas(64) std::uint64_t first_other_ = 0;
  std::uint64_t last_other_ = 0;
  bool widening_ = true;
  std::size_t most_partitions_ = 0;
  std::vector<std::uint64_t> left_;
  std::array<std::uint64_t, kReplicated> replicated_{};  // sequences of placements
};

// ---- the report ----

std::string grouped(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at != 0 && (digits.size() - at) % 3 == 0) text += ',';
    text += digits[at];
  }
  return text;
}

void line(std::string_view what, std::string_view value) {
  std::cout << std::left << std::setw(44) << what << std::right << std::setw(16) << value << '\n';
}
void line(std::string_view what, std::uint64_t value) { line(what, grouped(value)); }
void line(std::string_view what, steady_clock::duration value) {
  using Nanoseconds = std::chrono::nanoseconds;
  const auto count = std::chrono::duration_cast<Nanoseconds>(value).count();
  line(what, absl::FormatDuration(absl::Nanoseconds(count)));
}

template <typename Id>
void run(const Settings& settings) {
  Stress<Id> stress(settings);
  const Counts counts = stress.run();
  const steady_clock::duration took = steady_clock::now() - stress.begin();
  const double seconds = std::chrono::duration<double>(took).count();
  line("operations", counts.operations());
  line("  a second",
       static_cast<std::uint64_t>(static_cast<double>(counts.operations()) / seconds));
  line("reads", counts.reads);
  line("admit_write", counts.admissions);
  line("acquire_write", counts.acquisitions);
  line("  permits", counts.permits);
  line("  refused: cutover", counts.refused_for_cutover);
  line("  quarantined", counts.quarantines);
  line("held writes", counts.holds);
  line("  resumed", stress.resumed());
  line("  cancelled", counts.cancelled);
  line("  refused: too many held", counts.too_many_held);
  line("changes", counts.changes);
  line("  flips", counts.flips);
  line("  aborts", counts.aborts);
  line("  erases", counts.erases);
  line("  set over whatever was there", counts.overrides);
  line("  pauses", counts.pauses);
  line("  erased under writers (erase_until)", counts.erasures);
  line("    given up at the deadline", counts.erasures_given_up);
  line("  applied, at epochs that are shared", counts.applied);
  line("  refused: writes in flight (drains)", counts.drains_awaited);
  line("arrays allocated, for growth", stress.arrays());
  line("pieces of retired arrays discarded", stress.discards());
  line("most partitions at once", stress.most_partitions());
  line("bytes of the table at the end", stress.bytes());
  line("longest read (one in 15 is timed)", counts.longest_read);
  line("longest acquire_write (one in 15 is timed)", counts.longest_acquisition);
  line("longest change", counts.longest_change);
  line("took", took);
  std::cout << "every check held" << std::endl;
}

int usage() {
  std::cerr << "usage: stress [--seconds N] [--operations N] [--threads N] [--partitions N] "
               "[--ids numbers|text] [--seed N]\n";
  return 2;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

int main(int count, char** arguments) {
  Settings settings;
  for (int i = 1; i < count; i += 2) {
    const std::string_view name(arguments[i]);
    if (i + 1 == count) return usage();
    const std::string_view value(arguments[i + 1]);
    if (name == "--ids") {
      if (value != "numbers" && value != "text") return usage();
      settings.text = value == "text";
      continue;
    }
    const std::optional<std::uint64_t> number = number_in(value);
    if (!number) return usage();
    if (name == "--seconds") {
      settings.seconds = number;
    } else if (name == "--operations") {
      settings.operations = number;
    } else if (name == "--threads") {
      settings.threads = *number;
    } else if (name == "--partitions") {
      settings.partitions = *number;
    } else if (name == "--seed") {
      settings.seed = *number;
    } else {
      return usage();
    }
  }
  // An operator, a reader and a writer; and one partition of either sort.
  if (settings.threads < 3 || settings.partitions < 2) return usage();
  if (!settings.seconds && !settings.operations) settings.seconds = 10;
  if (settings.text) {
    run<std::string>(settings);
  } else {
    run<std::uint64_t>(settings);
  }
  return 0;
}

}  // namespace
}  // namespace placement::test

int main(int count, char** arguments) { return placement::test::main(count, arguments); }
