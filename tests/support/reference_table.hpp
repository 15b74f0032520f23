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
// how the table does it. Paused is a Cutover to where the partition is.
enum class Standing { Absent, Active, Draining, Cutover, Paused };
enum class Operation {
  Set,
  BeginMigration,
  EnterCutover,
  CompleteMigration,
  AbortMigration,
  ClaimMigration,
  PauseWrites,
  ResumeWrites,
  Erase,
  EraseDrained  // the end of an erase_until, which begins with PauseWrites
};

inline constexpr std::array kStandings = {Standing::Absent, Standing::Active, Standing::Draining,
                                          Standing::Cutover, Standing::Paused};
inline constexpr std::array kOperations = {Operation::Set,
                                           Operation::BeginMigration,
                                           Operation::EnterCutover,
                                           Operation::CompleteMigration,
                                           Operation::AbortMigration,
                                           Operation::ClaimMigration,
                                           Operation::PauseWrites,
                                           Operation::ResumeWrites,
                                           Operation::Erase,
                                           Operation::EraseDrained};

inline const char* name_of(Standing standing) {
  constexpr std::array kNames = {"absent", "Active", "Draining", "Cutover", "Paused"};
  return kNames[static_cast<std::size_t>(standing)];
}
inline const char* name_of(Operation operation) {
  constexpr std::array kNames = {"set",
                                 "begin_migration",
                                 "enter_cutover",
                                 "complete_migration",
                                 "abort_migration",
                                 "claim_migration",
                                 "pause_writes",
                                 "resume_writes",
                                 "erase",
                                 "the removal after a drain"};
  return kNames[static_cast<std::size_t>(operation)];
}
inline std::ostream& operator<<(std::ostream& out, Standing standing) {
  return out << name_of(standing);
}
inline std::ostream& operator<<(std::ostream& out, Operation operation) {
  return out << name_of(operation);
}

// What a table's observer and statistics call it.
constexpr Transition transition_of(Operation operation) {
  constexpr std::array kTransitions = {Transition::Set,
                                       Transition::BeginMigration,
                                       Transition::EnterCutover,
                                       Transition::CompleteMigration,
                                       Transition::AbortMigration,
                                       Transition::ClaimMigration,
                                       Transition::PauseWrites,
                                       Transition::ResumeWrites,
                                       Transition::Erase,
                                       Transition::EraseDrained};
  return kTransitions[static_cast<std::size_t>(operation)];
}

// One cell of the first table.
struct Answer {
  // Where a placement of the next state comes from; Origin and Destination are of the state before.
  enum class Place { None, Argument, Origin, Destination };

  std::optional<MigrationError> refusal;
  Standing next = Standing::Absent;
  Place origin = Place::Origin;
  Place destination = Place::None;
  bool needs_drain = false;  // WritesInFlight while permits are out
};

constexpr Answer answer_of(Standing standing, Operation operation) {
  using enum MigrationError;
  using enum Answer::Place;
  using enum Standing;
  constexpr auto kDrained = true;
  constexpr Answer kTable[5][10] = {
      // absent
      {{{}, Active, Argument},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition},
       {UnknownPartition}},
      // Active
      {{{}, Active, Argument},
       {{}, Draining, Origin, Argument},
       {NotMigrating},
       {NotMigrating},
       {NotMigrating},
       {NotMigrating},
       {{}, Paused, Origin, Origin},
       {NotPaused},
       {{}, Absent, None, None, kDrained},
       {NotPaused}},
      // Draining
      {{{}, Active, Argument},
       {AlreadyMigrating},
       {{}, Cutover, Origin, Destination},
       {NotCutover},
       {{}, Active, Origin},
       {{}, Draining, Origin, Destination},
       {AlreadyMigrating},
       {NotPaused},
       {AlreadyMigrating},
       {NotPaused}},
      // Cutover
      {{{}, Active, Argument},
       {AlreadyMigrating},
       {NotDraining},
       {{}, Active, Destination, None, kDrained},
       {{}, Active, Origin},
       {{}, Cutover, Origin, Destination},
       {AlreadyMigrating},
       {NotPaused},
       {AlreadyMigrating},
       {NotPaused}},
      // Paused
      {{{}, Active, Argument},
       {AlreadyMigrating},
       {NotDraining},
       {{}, Active, Destination, None, kDrained},
       {{}, Active, Origin},
       {{}, Paused, Origin, Destination},
       {AlreadyMigrating},
       {{}, Active, Origin},
       {AlreadyMigrating},
       {{}, Absent, None, None, kDrained}},
  };
  return kTable[static_cast<std::size_t>(standing)][static_cast<std::size_t>(operation)];
}

// The refusal of an operation that expects another epoch than the partition's; an absent partition
// has epoch zero(). To those who drive a migration it is one that is over, if there is a partition.
constexpr MigrationError refusal_of_stale(Standing standing, Operation operation) {
  switch (operation) {
    case Operation::EnterCutover:
    case Operation::CompleteMigration:
    case Operation::AbortMigration:
    case Operation::ClaimMigration:
      return standing == Standing::Absent ? MigrationError::UnknownPartition
                                          : MigrationError::NotMigrating;
    default:
      return MigrationError::StaleEpoch;
  }
}

constexpr bool is_in_cutover(Standing standing) {
  return standing == Standing::Cutover || standing == Standing::Paused;
}
constexpr bool is_migrating(Standing standing) {
  return standing == Standing::Draining || is_in_cutover(standing);
}
// A Cutover to where the partition is is Paused, however it came about.
constexpr Standing settle(Standing standing, bool is_at_destination) {
  if (!is_in_cutover(standing)) return standing;
  return is_at_destination ? Standing::Paused : Standing::Cutover;
}

constexpr MigrationPhase phase_of(Standing standing) {
  switch (standing) {
    case Standing::Draining:
      return MigrationPhase::Draining;
    case Standing::Cutover:
    case Standing::Paused:
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
  TransitionResult set(const Id& id, P placement, Epoch expected) {
    return perform(id, Operation::Set, placement, expected);
  }
  TransitionResult begin_migration(const Id& id, P to, std::optional<Epoch> expected = {}) {
    return perform(id, Operation::BeginMigration, to, expected);
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
    return perform(id, Operation::ClaimMigration, std::nullopt, expected);
  }
  TransitionResult pause_writes(const Id& id) {
    return perform(id, Operation::PauseWrites, std::nullopt);
  }
  TransitionResult resume_writes(const Id& id) {
    return perform(id, Operation::ResumeWrites, std::nullopt);
  }
  TransitionResult erase(const Id& id, std::optional<Epoch> expected = {}) {
    return perform(id, Operation::Erase, std::nullopt, expected);
  }
  // With a deadline that is over: nobody waits for the writes in flight.
  TransitionResult erase_in_no_time(const Id& id) {
    const TransitionResult paused = pause_writes(id);
    if (!paused) return paused;
    if (writes_in_flight(id) == 0) {
      return perform(id, Operation::EraseDrained, std::nullopt, *paused);
    }
    static_cast<void>(abort_migration(id, *paused));
    return MigrationError::WritesInFlight;
  }

  // `placement` is what set and begin_migration take.
  TransitionResult perform(const Id& id, Operation operation, std::optional<P> placement,
                           std::optional<Epoch> expected = {}) {
    const TransitionResult result = attempt(id, operation, placement, expected);
    count(transition_of(operation), result);
    return result;
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
      case Standing::Paused:
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
  // Of the partition's last change, where that is remembered; else zero.
  Epoch newest(const Id& id) const {
    if (const auto found = partitions_.find(id); found != partitions_.end()) {
      return found->second.epoch;
    }
    const auto erased = erased_.find(id);
    return erased == erased_.end() ? Epoch::zero() : erased->second;
  }
  bool contains(const Id& id) const { return partitions_.contains(id); }
  TableStats stats() const {
    TableStats stats = stats_;
    for (const auto& [id, partition] : partitions_) {
      ++stats.partitions_by_phase[static_cast<std::size_t>(phase_of(partition.standing))];
    }
    return stats;
  }
  std::size_t size() const { return partitions_.size(); }

  template <typename F>
  void for_each(F f) const {
    for (const auto& [id, partition] : partitions_) f(id, state_of(partition), partition.epoch);
  }

  // ---- counted writes ----

  // Counts a write if it is admitted; else says why it is not.
  std::optional<WriteRefusal> acquire_write(const Id& id, std::optional<Epoch> expected = {}) {
    if (standing(id) == Standing::Absent) return WriteRefusal::UnknownPartition;
    if (is_in_cutover(standing(id))) return WriteRefusal::Cutover;
    if (expected && *expected != partitions_.at(id).epoch) return WriteRefusal::StaleEpoch;
    admitted(id);
    return std::nullopt;
  }
  // The same with a deadline that is over: in cutover the write is held for no time at all.
  std::optional<WriteRefusal> acquire_write_in_no_time(const Id& id) {
    if (!is_in_cutover(standing(id))) return acquire_write(id);
    if (too_many_are_held(id)) {
      ++stats_.writes_not_held;
      return WriteRefusal::TooManyHeld;
    }
    ++held_[id].count;
    ++stats_.writes_held;
    ++stats_.writes_timed_out;
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
    if (!is_in_cutover(standing(id))) {
      resumed_.push_back(write);
      return std::nullopt;
    }
    if (too_many_are_held(id)) {
      ++stats_.writes_not_held;
      return WriteRefusal::TooManyHeld;
    }
    ++stats_.writes_held;
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
        ++stats_.writes_cancelled;
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
    count(Transition::Apply, epoch);
    return true;
  }
  bool apply_erase(const Id& id, Epoch epoch) {
    if (!is_news(id, epoch)) return false;
    if (is_in_cutover(standing(id))) resume_held(id);
    partitions_.erase(id);
    erased_.insert_or_assign(id, epoch);
    count(Transition::ApplyErase, epoch);
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

  TransitionResult attempt(const Id& id, Operation operation, const std::optional<P>& placement,
                           std::optional<Epoch> expected) {
    using Place = Answer::Place;
    const Answer answer = answer_of(standing(id), operation);
    const auto found = partitions_.find(id);
    const Epoch own = found == partitions_.end() ? Epoch::zero() : found->second.epoch;
    if (expected && *expected != own) return refusal_of_stale(standing(id), operation);
    if (answer.refusal) return *answer.refusal;
    if (answer.needs_drain && writes_in_flight(id) != 0) return MigrationError::WritesInFlight;
    const Epoch epoch = draw_epoch();
    if (answer.next == Standing::Absent) {
      if (is_in_cutover(standing(id))) resume_held(id);
      partitions_.erase(id);
      held_.erase(id);
      return epoch;
    }
    const auto from = [&](Place place) {
      if (place == Place::Argument) return *placement;
      return place == Place::Destination ? found->second.to : found->second.from;
    };
    const P origin = from(answer.origin);
    const P destination = answer.destination == Place::None ? origin : from(answer.destination);
    store(id, Partition{answer.next, origin, destination, epoch});
    return epoch;
  }

  void count(Transition transition, const TransitionResult& result) {
    if (result) {
      ++stats_.transitions_by_kind[static_cast<std::size_t>(transition)];
    } else {
      ++stats_.refusals_by_reason[static_cast<std::size_t>(result.error())];
    }
  }

  static State state_of(const Partition& partition) {
    if (partition.standing == Standing::Active) return State::active(partition.from);
    return State::migrating(partition.from, partition.to, phase_of(partition.standing));
  }

  void store(const Id& id, Partition partition) {
    const bool was_held_back = is_in_cutover(standing(id));
    const bool is_held_back = is_in_cutover(partition.standing);
    partition.standing = settle(partition.standing, partition.from == partition.to);
    erased_.erase(id);
    partitions_.erase(id);  // P need not be assignable
    partitions_.emplace(id, partition);
    if (was_held_back && !is_held_back) resume_held(id);
    if (is_held_back && !was_held_back) held_.erase(id);
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
      ++stats_.writes_resumed;
    }
    held.waiting.clear();
  }

  void end_quarantine(Writes& writes) const {
    if (writes.until > now_) return;
    writes.in_quarantine = 0;
    writes.until = absl::InfinitePast();
  }

  // An epoch that no source gives is not even counted as a refusal.
  bool is_news(const Id& id, Epoch epoch) {
    if (epoch == Epoch::zero() || epoch > Epoch::max_external()) return false;
    if (epoch <= newest(id)) {
      count(Transition::Apply, MigrationError::StaleEpoch);
      return false;
    }
    generation_ = std::max(generation_, epoch.value());
    return true;
  }

  Epoch draw_epoch() { return Epoch(++generation_); }

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
  TableStats stats_;  // but for the partitions
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_
