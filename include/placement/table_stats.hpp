// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TABLE_STATS_HPP_
#define PLACEMENT_TABLE_STATS_HPP_

#include <array>
#include <cstddef>
#include <cstdint>

#include "placement/migration.hpp"

namespace placement {
inline namespace v1 {

// What a table holds, and what has happened to it since it was made. Made for gauges and counters
// of a monitoring system. Reads are not counted: they store to no shared memory.
struct TableStats {
  static constexpr std::size_t kPhases = static_cast<std::size_t>(MigrationPhase::Cutover) + 1;
  static constexpr std::size_t kTransitions = static_cast<std::size_t>(Transition::ApplyErase) + 1;
  static constexpr std::size_t kErrors = static_cast<std::size_t>(MigrationError::NotPaused) + 1;

  // Gauges: partitions that are there, by phase.
  [[nodiscard]] std::size_t partitions(MigrationPhase phase) const noexcept {
    return partitions_by_phase[static_cast<std::size_t>(phase)];
  }
  // Counters: changes that were made, by kind, and those that were refused, by reason. An apply
  // that brings nothing new is one that was refused with StaleEpoch.
  [[nodiscard]] std::uint64_t transitions(Transition kind) const noexcept {
    return transitions_by_kind[static_cast<std::size_t>(kind)];
  }
  [[nodiscard]] std::uint64_t refusals(MigrationError reason) const noexcept {
    return refusals_by_reason[static_cast<std::size_t>(reason)];
  }

  TableStats& operator+=(const TableStats& other) noexcept {
    const auto add = [](auto& sums, const auto& terms) {
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += terms[i];
    };
    add(partitions_by_phase, other.partitions_by_phase);
    add(transitions_by_kind, other.transitions_by_kind);
    add(refusals_by_reason, other.refusals_by_reason);
    return *this;
  }

  std::array<std::size_t, kPhases> partitions_by_phase{};
  std::array<std::uint64_t, kTransitions> transitions_by_kind{};
  std::array<std::uint64_t, kErrors> refusals_by_reason{};
};

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_TABLE_STATS_HPP_
