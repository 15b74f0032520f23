// SPDX-License-Identifier: Apache-2.0
//
// What each transition does in each state: the table of docs/state-machine.md, written down once.
// A table applies it under a shard's mutex; whatever else decides on transitions asks it as well.
#ifndef PLACEMENT_DETAIL_STATE_MACHINE_HPP_
#define PLACEMENT_DETAIL_STATE_MACHINE_HPP_

#include <optional>

#include "placement/epoch.hpp"
#include "placement/migration.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// What the state machine has to know of a partition.
struct Standing {
  bool is_there = false;
  MigrationPhase phase = MigrationPhase::Settled;
  bool is_at_destination = false;  // it migrates to where it is; in Cutover: its writes are paused
  Epoch epoch;                     // zero() while it is absent

  [[nodiscard]] constexpr bool is_paused() const noexcept {
    return is_there && phase == MigrationPhase::Cutover && is_at_destination;
  }
};

// What becomes of it.
struct Step {
  // Where a placement of the next state comes from.
  enum class Source {
    Nowhere,      // there is none
    Origin,       // of the state before
    Destination,  // of the state before
    Argument,     // of the transition
  };

  std::optional<MigrationError> refusal{};  // then the rest means nothing
  bool is_there = true;                     // false: absent
  MigrationPhase phase = MigrationPhase::Settled;
  Source origin = Source::Origin;
  Source destination = Source::Nowhere;
  bool needs_drain = false;  // refused with WritesInFlight while a write is in flight
};

// Pure: it reads nothing and changes nothing. `expected` is the epoch that the caller last saw.
[[nodiscard]] constexpr Step next_step(const Standing& now, Transition transition,
                                       std::optional<Epoch> expected) noexcept {
  using enum MigrationError;
  using enum MigrationPhase;
  using Source = Step::Source;
  const auto refused = [](MigrationError why) { return Step{.refusal = why}; };
  // To another phase of the migration that it is in.
  const auto onward = [](MigrationPhase phase) {
    return Step{.phase = phase, .destination = Source::Destination};
  };
  const bool is_stale = expected && *expected != now.epoch;

  // Who drives a migration gives its last epoch. With another one that migration is over, or
  // someone else has moved it on; either way it is not the caller's.
  const auto is_over = [&] { return now.phase == Settled || is_stale; };

  switch (transition) {
    case Transition::Set:
      if (is_stale) return refused(StaleEpoch);
      return {.origin = Source::Argument};

    case Transition::BeginMigration:
      if (is_stale) return refused(StaleEpoch);
      if (!now.is_there) return refused(UnknownPartition);
      if (now.phase != Settled) return refused(AlreadyMigrating);
      return {.phase = Draining, .destination = Source::Argument};

    case Transition::EnterCutover:
      if (!now.is_there) return refused(UnknownPartition);
      if (is_over()) return refused(NotMigrating);
      if (now.phase == Cutover) return refused(NotDraining);
      return onward(Cutover);

    case Transition::CompleteMigration:
      if (!now.is_there) return refused(UnknownPartition);
      if (is_over()) return refused(NotMigrating);
      if (now.phase == Draining) return refused(NotCutover);
      return {.origin = Source::Destination, .needs_drain = true};

    case Transition::AbortMigration:
      if (!now.is_there) return refused(UnknownPartition);
      if (is_over()) return refused(NotMigrating);
      return {};

    case Transition::ClaimMigration:
      if (!now.is_there) return refused(UnknownPartition);
      if (is_over()) return refused(NotMigrating);
      return onward(now.phase);

    case Transition::PauseWrites:
      if (is_stale) return refused(StaleEpoch);
      if (!now.is_there) return refused(UnknownPartition);
      if (now.phase != Settled) return refused(AlreadyMigrating);
      return {.phase = Cutover, .destination = Source::Origin};

    case Transition::ResumeWrites:
      if (is_stale) return refused(StaleEpoch);
      if (!now.is_there) return refused(UnknownPartition);
      if (!now.is_paused()) return refused(NotPaused);
      return {};

    case Transition::Erase:
      if (is_stale) return refused(StaleEpoch);
      if (!now.is_there) return refused(UnknownPartition);
      if (now.phase != Settled) return refused(AlreadyMigrating);
      return {.is_there = false, .origin = Source::Nowhere, .needs_drain = true};

    case Transition::EraseDrained:
      if (is_stale) return refused(StaleEpoch);
      if (!now.is_there) return refused(UnknownPartition);
      if (!now.is_paused()) return refused(NotPaused);
      return {.is_there = false, .origin = Source::Nowhere, .needs_drain = true};

    case Transition::Apply:
    case Transition::ApplyErase:
      break;  // their source has decided already
  }
  return refused(UnknownPartition);
}

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_STATE_MACHINE_HPP_
