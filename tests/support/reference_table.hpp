// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_
#define PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <absl/time/time.h>
#include <placement/epoch.hpp>
#include <placement/migration.hpp>
#include <placement/placement.hpp>
#include <placement/placement_table.hpp>

namespace placement::test {

// The state machine as data: what the table promises, written down once more without looking at
// how the table does it.
enum class Standing { Absent, Active, Draining, Cutover };
enum class Operation {
  Set,
  BeginMigration,
  EnterCutover,
  CompleteMigration,
  AbortMigration,
  Erase
};

inline constexpr std::array kStandings = {Standing::Absent, Standing::Active, Standing::Draining,
                                          Standing::Cutover};
inline constexpr std::array kOperations = {Operation::Set,
                                           Operation::BeginMigration,
                                           Operation::EnterCutover,
                                           Operation::CompleteMigration,
                                           Operation::AbortMigration,
                                           Operation::Erase};

inline const char* name_of(Standing standing) {
  constexpr std::array kNames = {"absent", "Active", "Draining", "Cutover"};
  return kNames[static_cast<std::size_t>(standing)];
}
inline const char* name_of(Operation operation) {
  constexpr std::array kNames = {
      "set", "begin_migration", "enter_cutover", "complete_migration", "abort_migration", "erase"};
  return kNames[static_cast<std::size_t>(operation)];
}
inline std::ostream& operator<<(std::ostream& out, Standing standing) {
  return out << name_of(standing);
}
inline std::ostream& operator<<(std::ostream& out, Operation operation) {
  return out << name_of(operation);
}

// One cell of the first table.
struct Answer {
  enum class Origin { Argument, Kept, Destination };  // where the partition's origin comes from

  std::optional<MigrationError> refusal;
  Standing next = Standing::Absent;
  Origin origin = Origin::Kept;
  bool needs_drain = false;  // WritesInFlight while permits are out
};

constexpr Answer answer_of(Standing standing, Operation operation) {
  using enum MigrationError;
  using Origin = Answer::Origin;
  constexpr auto kDrained = true;
  constexpr Answer kTable[4][6] = {
      // absent
      {{{}, Standing::Active, Origin::Argument},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition}},
      // Active
      {{{}, Standing::Active, Origin::Argument},
       {{}, Standing::Draining, Origin::Kept},
       {NotMigrating},
       {NotMigrating},
       {NotMigrating},
       {{}, Standing::Absent, Origin::Kept, kDrained}},
      // Draining
      {{{}, Standing::Active, Origin::Argument},
       {AlreadyMigrating},
       {{}, Standing::Cutover, Origin::Kept},
       {NotCutover},
       {{}, Standing::Active, Origin::Kept},
       {AlreadyMigrating}},
      // Cutover
      {{{}, Standing::Active, Origin::Argument},
       {AlreadyMigrating},
       {NotDraining},
       {{}, Standing::Active, Origin::Destination, kDrained},
       {{}, Standing::Active, Origin::Kept},
       {AlreadyMigrating}},
  };
  return kTable[static_cast<std::size_t>(standing)][static_cast<std::size_t>(operation)];
}

constexpr MigrationPhase phase_of(Standing standing) {
  switch (standing) {
    case Standing::Draining:
      return MigrationPhase::Draining;
    case Standing::Cutover:
      return MigrationPhase::Cutover;
    case Standing::Absent:
    case Standing::Active:
      break;
  }
  return MigrationPhase::Settled;
}

// What a placement table is, for one thread: a std::map and the tables above. Time stands still
// but for `advance`. A held write is a number; `take_resumed` tells which of them the changes since
// the last call have resumed.
template <typename Id = std::string, typename P = Placement>
class ReferenceTable {
 public:
  using PlacementAt = BasicPlacementAt<P>;
  using State = BasicPartitionState<P>;
  using StateAt = BasicStateAt<P>;

  explicit ReferenceTable(std::size_t max_held_writes = 65'536,
                          std::size_t max_held_writes_per_partition = 16'384)
      : max_held_writes_(max_held_writes),
        max_held_writes_per_partition_(max_held_writes_per_partition) {}

  Epoch set(const Id& id, P placement) { return *perform(id, Operation::Set, placement); }
  TransitionResult begin_migration(const Id& id, P to) {
    return perform(id, Operation::BeginMigration, to);
  }
  TransitionResult enter_cutover(const Id& id, std::optional<Epoch> expected = {}) {
    return perform(id, Operation::EnterCutover, std::nullopt, expected);
  }
  TransitionResult complete_migration(const Id& id, std::optional<Epoch> expected = {}) {
    return perform(id, Operation::CompleteMigration, std::nullopt, expected);
  }
  TransitionResult abort_migration(const Id& id, std::optional<Epoch> expected = {}) {
    return perform(id, Operation::AbortMigration, std::nullopt, expected);
  }
  TransitionResult claim_migration(const Id& id, std::optional<Epoch> expected = {}) {
    const auto found = partitions_.find(id);
    if (found == partitions_.end()) return MigrationError::UnknownPartition;
    if (found->second.standing == Standing::Active || is_other(id, expected)) {
      return MigrationError::NotMigrating;
    }
    return found->second.epoch = draw_epoch();
  }
  TransitionResult erase(const Id& id) { return perform(id, Operation::Erase, std::nullopt); }

  // `placement` is what set and begin_migration take.
  TransitionResult perform(const Id& id, Operation operation, std::optional<P> placement,
                           std::optional<Epoch> expected = {}) {
    const Answer answer = answer_of(standing(id), operation);
    if (is_other(id, expected)) return MigrationError::NotMigrating;
    if (answer.refusal) return *answer.refusal;
    if (answer.needs_drain && writes_in_flight(id) != 0) return MigrationError::WritesInFlight;
    const Epoch epoch = draw_epoch();
    if (answer.next == Standing::Absent) {
      partitions_.erase(id);
      held_.erase(id);
      return epoch;
    }
    const auto found = partitions_.find(id);
    const P origin = answer.origin == Answer::Origin::Argument ? *placement
                     : answer.origin == Answer::Origin::Kept   ? found->second.from
                                                               : found->second.to;
    const P destination = answer.next == Standing::Draining  ? *placement
                          : answer.next == Standing::Cutover ? found->second.to
                                                             : origin;
    store(id, Partition{answer.next, origin, destination, epoch});
    return epoch;
  }

  Standing standing(const Id& id) const {
    const auto found = partitions_.find(id);
    return found == partitions_.end() ? Standing::Absent : found->second.standing;
  }

  // The second table.
  std::optional<PlacementAt> get(const Id& id) const {
    const auto found = partitions_.find(id);
    if (found == partitions_.end()) return std::nullopt;
    const Partition& partition = found->second;
    return PlacementAt{partition.from, partition.epoch, phase_of(partition.standing)};
  }
  WriteAdmission admit_write(const Id& id, Epoch epoch) const {
    switch (standing(id)) {
      case Standing::Active:
      case Standing::Draining:
        return partitions_.at(id).epoch == epoch ? WriteAdmission::Admit : WriteAdmission::Reject;
      case Standing::Absent:
      case Standing::Cutover:
        break;
    }
    return WriteAdmission::Reject;
  }

  std::optional<StateAt> state(const Id& id) const {
    const auto found = partitions_.find(id);
    if (found == partitions_.end()) return std::nullopt;
    return StateAt{state_of(found->second), found->second.epoch};
  }
  Epoch current_epoch() const { return Epoch(generation_); }
  // Whether no change of any partition has ever had it.
  bool is_fresh(Epoch epoch) const { return !stamped_.contains(epoch); }
  // Of the partition's last change, where that is remembered; else zero.
  Epoch newest(const Id& id) const {
    if (const auto found = partitions_.find(id); found != partitions_.end()) {
      return found->second.epoch;
    }
    const auto erased = erased_.find(id);
    return erased == erased_.end() ? Epoch::zero() : erased->second;
  }
  bool contains(const Id& id) const { return partitions_.contains(id); }
  std::size_t size() const { return partitions_.size(); }

  template <typename F>
  void for_each(F f) const {
    for (const auto& [id, partition] : partitions_) f(id, state_of(partition), partition.epoch);
  }

  // ---- counted writes ----

  // Counts a write if it is admitted; else says why it is not.
  std::optional<WriteRefusal> acquire_write(const Id& id, std::optional<Epoch> expected = {}) {
    if (standing(id) == Standing::Absent) return WriteRefusal::UnknownPartition;
    if (standing(id) == Standing::Cutover) return WriteRefusal::Cutover;
    if (is_other(id, expected)) return WriteRefusal::StaleEpoch;
    admitted(id);
    return std::nullopt;
  }
  // The same with a deadline that is over: in cutover the write is held for no time at all.
  std::optional<WriteRefusal> acquire_write_in_no_time(const Id& id) {
    if (standing(id) != Standing::Cutover) return acquire_write(id);
    if (too_many_are_held(id)) return WriteRefusal::TooManyHeld;
    ++held_[id].count;
    return WriteRefusal::DeadlineExceeded;
  }

  // A permit is out from admitted() to released() or quarantined(); whether one would be given is
  // may_write().
  bool may_write(const Id& id) const {
    return standing(id) == Standing::Active || standing(id) == Standing::Draining;
  }
  void admitted(const Id& id) { ++writes_[id].out; }
  void released(const Id& id) { --writes_[id].out; }
  void quarantined(const Id& id, absl::Duration duration) {
    Writes& writes = writes_[id];
    --writes.out;
    ++writes.in_quarantine;
    writes.until = std::max(writes.until, now_ + duration);
    end_quarantine(writes);
  }
  std::size_t writes_in_flight(const Id& id) const {
    const auto found = writes_.find(id);
    return found == writes_.end() ? 0 : found->second.out + found->second.in_quarantine;
  }

  void advance(absl::Duration by) {
    now_ += by;
    for (auto& [id, writes] : writes_) end_quarantine(writes);
  }

  // Holds the write in cutover. Else it is refused, or was resumed at once: then take_resumed has
  // it.
  std::optional<WriteRefusal> hold(const Id& id, std::uint64_t write) {
    if (standing(id) != Standing::Cutover) {
      resumed_.push_back(write);
      return std::nullopt;
    }
    if (too_many_are_held(id)) return WriteRefusal::TooManyHeld;
    ++held_count_;
    ++held_[id].count;
    held_[id].waiting.push_back({write, now_});
    return std::nullopt;
  }
  bool cancel(std::uint64_t write) {
    for (auto& [id, held] : held_) {
      for (auto at = held.waiting.begin(); at != held.waiting.end(); ++at) {
        if (at->write != write) continue;
        held.longest_over = std::max(held.longest_over, now_ - at->since);
        held.waiting.erase(at);
        --held_count_;
        return true;
      }
    }
    return false;
  }
  std::vector<std::uint64_t> take_resumed() { return std::exchange(resumed_, {}); }

  HeldWriteStats held_writes(const Id& id) const {
    const auto found = held_.find(id);
    if (found == held_.end()) return {};
    absl::Duration longest = found->second.longest_over;
    for (const Waiting& waiting : found->second.waiting) {
      longest = std::max(longest, now_ - waiting.since);
    }
    return {found->second.count, longest};
  }

  // ---- replicas ----

  bool apply(const Id& id, const State& state, Epoch epoch) {
    if (!is_news(id, epoch)) return false;
    const Standing standing = state.phase() == MigrationPhase::Draining  ? Standing::Draining
                              : state.phase() == MigrationPhase::Cutover ? Standing::Cutover
                                                                         : Standing::Active;
    const P from = state.read_placement();
    store(id, Partition{standing, from, state.destination().value_or(from), epoch});
    return true;
  }
  bool apply_erase(const Id& id, Epoch epoch) {
    if (!is_news(id, epoch)) return false;
    if (standing(id) == Standing::Cutover) resume_held(id);
    partitions_.erase(id);
    erased_.insert_or_assign(id, epoch);
    return true;
  }
  void forget_erased(Epoch up_to) {
    std::erase_if(erased_, [&](const auto& entry) {
      const bool forgets = entry.second <= up_to && writes_in_flight(entry.first) == 0;
      if (forgets) held_.erase(entry.first);
      return forgets;
    });
  }

 private:
  struct Partition {
    Standing standing;
    P from;
    P to;  // while it migrates
    Epoch epoch;
  };
  struct Writes {
    std::size_t out = 0;
    std::size_t in_quarantine = 0;
    absl::Time until = absl::InfinitePast();
  };
  struct Waiting {
    std::uint64_t write;
    absl::Time since;
  };
  struct Held {
    std::size_t count = 0;  // since the partition entered cutover
    absl::Duration longest_over;
    std::deque<Waiting> waiting;
  };

  static State state_of(const Partition& partition) {
    if (partition.standing == Standing::Active) return State::active(partition.from);
    return State::migrating(partition.from, partition.to, phase_of(partition.standing));
  }

  void store(const Id& id, Partition partition) {
    const bool was_in_cutover = standing(id) == Standing::Cutover;
    const bool is_in_cutover = partition.standing == Standing::Cutover;
    erased_.erase(id);
    partitions_.erase(id);  // P need not be assignable
    partitions_.emplace(id, partition);
    if (was_in_cutover && !is_in_cutover) resume_held(id);
    if (is_in_cutover && !was_in_cutover) held_.erase(id);
  }

  bool too_many_are_held(const Id& id) const {
    const auto found = held_.find(id);
    return held_count_ >= max_held_writes_ ||
           (found == held_.end() ? 0 : found->second.waiting.size()) >=
               max_held_writes_per_partition_;
  }

  // First come, first resumed.
  void resume_held(const Id& id) {
    Held& held = held_[id];
    for (const Waiting& waiting : held.waiting) {
      held.longest_over = std::max(held.longest_over, now_ - waiting.since);
      resumed_.push_back(waiting.write);
      --held_count_;
    }
    held.waiting.clear();
  }

  void end_quarantine(Writes& writes) const {
    if (writes.until > now_) return;
    writes.in_quarantine = 0;
    writes.until = absl::InfinitePast();
  }

  // Whether the partition is there, at another epoch than the caller expects.
  bool is_other(const Id& id, std::optional<Epoch> expected) const {
    const auto found = partitions_.find(id);
    return expected && found != partitions_.end() && found->second.epoch != *expected;
  }

  bool is_news(const Id& id, Epoch epoch) {
    if (epoch == Epoch::zero() || epoch > Epoch::max() || epoch <= newest(id)) return false;
    generation_ = std::max(generation_, epoch.value());
    stamped_.insert(epoch);
    return true;
  }

  Epoch draw_epoch() {
    const Epoch epoch(++generation_);
    stamped_.insert(epoch);
    return epoch;
  }

  std::map<Id, Partition> partitions_;
  std::map<Id, Epoch> erased_;  // by apply_erase
  std::map<Id, Writes> writes_;
  std::map<Id, Held> held_;
  std::size_t held_count_ = 0;
  std::size_t max_held_writes_;
  std::size_t max_held_writes_per_partition_;
  std::vector<std::uint64_t> resumed_;
  absl::Time now_ = absl::UnixEpoch();
  std::uint64_t generation_ = 0;
  std::set<Epoch> stamped_;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_
