// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_
#define PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <string>

#include <placement/epoch.hpp>
#include <placement/migration.hpp>
#include <placement/placement.hpp>

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

// What a placement table is, for one thread: a std::map and the tables above.
template <typename Id = std::string, typename P = Placement>
class ReferenceTable {
 public:
  using PlacementAt = BasicPlacementAt<P>;
  using State = BasicPartitionState<P>;
  using StateAt = BasicStateAt<P>;

  Epoch set(const Id& id, P placement) { return *perform(id, Operation::Set, placement); }
  TransitionResult begin_migration(const Id& id, P to) {
    return perform(id, Operation::BeginMigration, to);
  }
  TransitionResult enter_cutover(const Id& id) {
    return perform(id, Operation::EnterCutover, std::nullopt);
  }
  TransitionResult complete_migration(const Id& id) {
    return perform(id, Operation::CompleteMigration, std::nullopt);
  }
  TransitionResult abort_migration(const Id& id) {
    return perform(id, Operation::AbortMigration, std::nullopt);
  }
  TransitionResult erase(const Id& id) { return perform(id, Operation::Erase, std::nullopt); }

  // `placement` is what set and begin_migration take.
  TransitionResult perform(const Id& id, Operation operation, std::optional<P> placement) {
    const Answer answer = answer_of(standing(id), operation);
    if (answer.refusal) return *answer.refusal;
    if (answer.needs_drain && writes_in_flight(id) != 0) return MigrationError::WritesInFlight;
    const Epoch epoch(++generation_);
    if (answer.next == Standing::Absent) {
      partitions_.erase(id);
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
  bool contains(const Id& id) const { return partitions_.contains(id); }
  std::size_t size() const { return partitions_.size(); }

  template <typename F>
  void for_each(F f) const {
    for (const auto& [id, partition] : partitions_) f(id, state_of(partition), partition.epoch);
  }

  // A permit is out from admitted() to released(); whether one would be given is may_write().
  bool may_write(const Id& id) const {
    return standing(id) == Standing::Active || standing(id) == Standing::Draining;
  }
  void admitted(const Id& id) { ++writes_[id]; }
  void released(const Id& id) { --writes_[id]; }
  std::size_t writes_in_flight(const Id& id) const {
    const auto found = writes_.find(id);
    return found == writes_.end() ? 0 : found->second;
  }

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
    partitions_.erase(id);
    erased_.insert_or_assign(id, epoch);
    return true;
  }
  void forget_erased(Epoch up_to) {
    std::erase_if(erased_, [up_to](const auto& entry) { return entry.second <= up_to; });
  }

 private:
  struct Partition {
    Standing standing;
    P from;
    P to;  // while it migrates
    Epoch epoch;
  };

  static State state_of(const Partition& partition) {
    if (partition.standing == Standing::Active) return State::active(partition.from);
    return State::migrating(partition.from, partition.to, phase_of(partition.standing));
  }

  void store(const Id& id, Partition partition) {
    erased_.erase(id);
    partitions_.erase(id);  // P need not be assignable
    partitions_.emplace(id, partition);
  }

  bool is_news(const Id& id, Epoch epoch) {
    if (epoch == Epoch::zero() || epoch > Epoch::max()) return false;
    Epoch newest;
    if (const auto found = partitions_.find(id); found != partitions_.end()) {
      newest = found->second.epoch;
    } else if (const auto erased = erased_.find(id); erased != erased_.end()) {
      newest = erased->second;
    }
    if (epoch <= newest) return false;
    generation_ = std::max(generation_, epoch.value());
    return true;
  }

  std::map<Id, Partition> partitions_;
  std::map<Id, Epoch> erased_;  // by apply_erase
  std::map<Id, std::size_t> writes_;
  std::uint64_t generation_ = 0;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_REFERENCE_TABLE_HPP_
