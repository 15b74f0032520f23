// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_MIGRATION_HPP_
#define PLACEMENT_MIGRATION_HPP_

#include <cassert>
#include <optional>
#include <ostream>
#include <string_view>

#include <absl/status/status.h>

#include "placement/epoch.hpp"
#include "placement/placement.hpp"

namespace placement {
inline namespace v1 {

enum class MigrationPhase {
  Settled,   // no migration: reads and writes go to the partition's placement
  Draining,  // data is being copied: reads and writes still go to the origin
  Cutover,   // reads go to the origin, writes are held back until the flip
};

// Why a transition was refused. A refusal changes nothing.
enum class MigrationError {
  UnknownPartition,  // the table has no such partition
  AlreadyMigrating,  // the partition is in a migration already
  NotMigrating,      // the partition is settled
  NotDraining,       // the partition is past Draining: it is in Cutover
  NotCutover,        // the partition has not entered Cutover yet
  WritesInFlight,    // write permits on the partition are still out
  StaleEpoch,        // the partition's epoch is not the expected one
  NotPaused,         // the partition's writes are not paused
};

// What changes a partition.
enum class Transition {
  Set,
  BeginMigration,
  EnterCutover,
  CompleteMigration,
  AbortMigration,
  ClaimMigration,
  PauseWrites,
  ResumeWrites,
  Erase,
  EraseDrained,  // the removal at the end of erase_until
  Apply,
  ApplyErase,
};

// May a write that was resolved at some epoch still go there?
enum class WriteAdmission { Admit, Reject };

[[nodiscard]] constexpr std::string_view to_string(MigrationPhase phase) noexcept {
  switch (phase) {
    case MigrationPhase::Settled:
      return "Settled";
    case MigrationPhase::Draining:
      return "Draining";
    case MigrationPhase::Cutover:
      return "Cutover";
  }
  return "unknown MigrationPhase";
}

[[nodiscard]] constexpr std::string_view to_string(MigrationError error) noexcept {
  switch (error) {
    case MigrationError::UnknownPartition:
      return "UnknownPartition";
    case MigrationError::AlreadyMigrating:
      return "AlreadyMigrating";
    case MigrationError::NotMigrating:
      return "NotMigrating";
    case MigrationError::NotDraining:
      return "NotDraining";
    case MigrationError::NotCutover:
      return "NotCutover";
    case MigrationError::WritesInFlight:
      return "WritesInFlight";
    case MigrationError::StaleEpoch:
      return "StaleEpoch";
    case MigrationError::NotPaused:
      return "NotPaused";
  }
  return "unknown MigrationError";
}

[[nodiscard]] constexpr std::string_view to_string(Transition transition) noexcept {
  switch (transition) {
    case Transition::Set:
      return "Set";
    case Transition::BeginMigration:
      return "BeginMigration";
    case Transition::EnterCutover:
      return "EnterCutover";
    case Transition::CompleteMigration:
      return "CompleteMigration";
    case Transition::AbortMigration:
      return "AbortMigration";
    case Transition::ClaimMigration:
      return "ClaimMigration";
    case Transition::PauseWrites:
      return "PauseWrites";
    case Transition::ResumeWrites:
      return "ResumeWrites";
    case Transition::Erase:
      return "Erase";
    case Transition::EraseDrained:
      return "EraseDrained";
    case Transition::Apply:
      return "Apply";
    case Transition::ApplyErase:
      return "ApplyErase";
  }
  return "unknown Transition";
}

[[nodiscard]] constexpr std::string_view to_string(WriteAdmission admission) noexcept {
  return admission == WriteAdmission::Admit ? "Admit" : "Reject";
}

inline std::ostream& operator<<(std::ostream& out, MigrationPhase phase) {
  return out << to_string(phase);
}
inline std::ostream& operator<<(std::ostream& out, MigrationError error) {
  return out << to_string(error);
}
inline std::ostream& operator<<(std::ostream& out, Transition transition) {
  return out << to_string(transition);
}
inline std::ostream& operator<<(std::ostream& out, WriteAdmission admission) {
  return out << to_string(admission);
}

// `error` as a status: its code is what a gRPC handler would want to return, its message begins
// with the error's name.
[[nodiscard]] inline absl::Status to_status(MigrationError error) {
  switch (error) {
    case MigrationError::UnknownPartition:
      return absl::NotFoundError("UnknownPartition: the table has no such partition");
    case MigrationError::AlreadyMigrating:
      return absl::AlreadyExistsError(
          "AlreadyMigrating: the partition is in a migration; complete or abort it first");
    case MigrationError::NotMigrating:
      return absl::FailedPreconditionError("NotMigrating: the partition is settled");
    case MigrationError::NotDraining:
      return absl::FailedPreconditionError("NotDraining: the partition is in cutover already");
    case MigrationError::NotCutover:
      return absl::FailedPreconditionError("NotCutover: the partition has not entered cutover");
    case MigrationError::WritesInFlight:
      return absl::UnavailableError(
          "WritesInFlight: write permits on the partition are still out; ask again");
    case MigrationError::StaleEpoch:
      return absl::AbortedError(
          "StaleEpoch: the partition's epoch is not the expected one; look at it again");
    case MigrationError::NotPaused:
      return absl::FailedPreconditionError("NotPaused: the partition's writes are not paused");
  }
  return absl::UnknownError("unknown MigrationError");
}

// What a transition answers: the epoch it stamped, or why it was refused. It has the shape of
// std::expected<Epoch, MigrationError>.
class [[nodiscard]] TransitionResult {
 public:
  constexpr TransitionResult(Epoch epoch) noexcept : epoch_(epoch) {}  // NOLINT: as std::expected
  constexpr TransitionResult(MigrationError error) noexcept            // NOLINT: as std::expected
      : error_(error), refused_(true) {}

  [[nodiscard]] constexpr bool has_value() const noexcept { return !refused_; }
  [[nodiscard]] explicit constexpr operator bool() const noexcept { return has_value(); }

  // Require has_value(); asserted in debug builds, Epoch::zero() otherwise.
  [[nodiscard]] constexpr Epoch value() const noexcept {
    assert(has_value());
    return epoch_;
  }
  [[nodiscard]] constexpr Epoch operator*() const noexcept { return value(); }

  // Requires !has_value(); asserted in debug builds.
  [[nodiscard]] constexpr MigrationError error() const noexcept {
    assert(!has_value());
    return error_;
  }

  [[nodiscard]] absl::Status status() const {
    return has_value() ? absl::OkStatus() : to_status(error_);
  }

  friend constexpr bool operator==(const TransitionResult&,
                                   const TransitionResult&) noexcept = default;
  friend constexpr bool operator==(const TransitionResult& result, Epoch epoch) noexcept {
    return result.has_value() && result.epoch_ == epoch;
  }
  friend constexpr bool operator==(const TransitionResult& result, MigrationError error) noexcept {
    return !result.has_value() && result.error_ == error;
  }

  friend std::ostream& operator<<(std::ostream& out, const TransitionResult& result) {
    return result.has_value() ? out << "epoch " << result.epoch_ : out << result.error_;
  }

 private:
  Epoch epoch_;
  MigrationError error_{};
  bool refused_ = false;
};

// What a partition is doing: Active at a placement, or Migrating between two.
template <typename P>
class BasicPartitionState {
 public:
  [[nodiscard]] static constexpr BasicPartitionState active(P placement) {
    return BasicPartitionState(placement, placement, MigrationPhase::Settled);
  }

  // Requires phase != Settled; asserted in debug builds.
  [[nodiscard]] static constexpr BasicPartitionState migrating(P from, P to, MigrationPhase phase) {
    assert(phase != MigrationPhase::Settled);
    return BasicPartitionState(from, to, phase);
  }

  [[nodiscard]] constexpr bool is_migrating() const noexcept {
    return phase_ != MigrationPhase::Settled;
  }
  [[nodiscard]] constexpr MigrationPhase phase() const noexcept { return phase_; }

  // The origin until the flip.
  [[nodiscard]] constexpr P read_placement() const { return from_; }

  // Where writes go: the origin, or nowhere in cutover.
  [[nodiscard]] constexpr std::optional<P> write_placement() const {
    if (phase_ == MigrationPhase::Cutover) return std::nullopt;
    return from_;
  }

  // Where the partition moves to, if it moves.
  [[nodiscard]] constexpr std::optional<P> destination() const {
    if (!is_migrating()) return std::nullopt;
    return to_;
  }

  friend constexpr bool operator==(const BasicPartitionState& a, const BasicPartitionState& b)
    requires requires(const P& p) { p == p; }
  {
    return a.phase_ == b.phase_ && a.from_ == b.from_ && a.to_ == b.to_;
  }

  friend std::ostream& operator<<(std::ostream& out, const BasicPartitionState& state)
    requires requires(std::ostream& o, const P& p) { o << p; }
  {
    if (!state.is_migrating()) return out << "Active(" << state.from_ << ')';
    return out << state.phase_ << '(' << state.from_ << " -> " << state.to_ << ')';
  }

 private:
  constexpr BasicPartitionState(P from, P to, MigrationPhase phase)
      : from_(from), to_(to), phase_(phase) {}

  P from_;
  P to_;  // equals from_ while settled, so that P needs no default
  MigrationPhase phase_;
};

// What a read resolves to, all of one instant.
template <typename P>
struct BasicPlacementAt {
  P placement;  // where to read: the origin until the flip
  Epoch epoch;
  MigrationPhase phase;

  friend bool operator==(const BasicPlacementAt&, const BasicPlacementAt&) = default;
};

// A partition's whole state, all of one instant.
template <typename P>
struct BasicStateAt {
  BasicPartitionState<P> state;
  Epoch epoch;

  friend bool operator==(const BasicStateAt&, const BasicStateAt&) = default;
};

using PlacementAt = BasicPlacementAt<Placement>;
using PartitionState = BasicPartitionState<Placement>;
using StateAt = BasicStateAt<Placement>;

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_MIGRATION_HPP_
