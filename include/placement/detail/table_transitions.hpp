// SPDX-License-Identifier: Apache-2.0
//
// One partition of a table, as the steps of a migration see it.
#ifndef PLACEMENT_DETAIL_TABLE_TRANSITIONS_HPP_
#define PLACEMENT_DETAIL_TABLE_TRANSITIONS_HPP_

#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <absl/status/status.h>
#include <absl/time/time.h>

#include "placement/detail/migration_steps.hpp"
#include "placement/epoch.hpp"
#include "placement/migration.hpp"
#include "placement/placement_table.hpp"
#include "placement/write_permit.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// By their own comparison if they have one, else byte by byte.
template <typename P>
[[nodiscard]] bool same_placement(const P& a, const P& b) {
  if constexpr (std::equality_comparable<P>) {
    return a == b;
  } else {
    return std::memcmp(&a, &b, sizeof(P)) == 0;
  }
}

template <typename P>
[[nodiscard]] bool leads_nowhere(const BasicPartitionState<P>& state) {
  return state.is_migrating() && same_placement(state.read_placement(), *state.destination());
}
// Its writes are paused, which is no migration.
template <typename P>
[[nodiscard]] bool is_paused(const BasicPartitionState<P>& state) {
  return state.phase() == MigrationPhase::Cutover && leads_nowhere(state);
}

// An id that outlives the call it was passed to.
template <PartitionKey Id>
[[nodiscard]] Id own_id(typename IdTraits<Id>::Parameter id) {
  if constexpr (std::same_as<Id, std::string>) {
    return std::string(id.data(), id.size());
  } else {
    return id;
  }
}

// What two ids have in common if they are the same, and only then: for maps keyed by any id.
template <typename Id>
[[nodiscard]] std::string id_bytes(const Id& id) {
  if constexpr (std::same_as<Id, std::string>) {
    return id;
  } else {
    static_assert(std::has_unique_object_representations_v<Id>);
    return std::string(reinterpret_cast<const char*>(&id), sizeof(Id));
  }
}

template <PartitionKey Id, typename P>
class TableTransitions {
 public:
  using Table = BasicPlacementTable<Id, P>;
  using WaitForReads = std::function<absl::Status(const Id&, const std::stop_token&)>;

  // `to`: where it is to go; nothing: where the migration leads that is found.
  TableTransitions(Table& table, Id id, std::optional<P> to, const WaitForReads& wait_for_reads)
      : table_(table), id_(std::move(id)), to_(to), wait_for_reads_(wait_for_reads) {}

  std::optional<MigrationPosition> position() {
    const auto now = table_.state(id_);
    if (!now) return std::nullopt;
    if (!to_) to_ = now->state.destination();
    const bool is_at_destination = now->state.is_migrating()
                                       ? leads_nowhere(now->state)
                                       : to_ && same_placement(now->state.read_placement(), *to_);
    return MigrationPosition{now->state.phase(), now->epoch, is_at_destination};
  }

  TransitionResult begin(Epoch expected) { return table_.begin_migration(id_, *to_, expected); }
  TransitionResult enter_cutover(Epoch expected) { return table_.enter_cutover(id_, expected); }
  TransitionResult complete(Epoch expected) { return table_.complete_migration(id_, expected); }
  TransitionResult abort(Epoch expected) { return table_.abort_migration(id_, expected); }
  TransitionResult claim(Epoch expected) { return table_.claim_migration(id_, expected); }

  bool wait_until_drained(Epoch while_at, absl::Time deadline) {
    return table_.wait_until_drained(id_, deadline, while_at);
  }
  [[nodiscard]] std::size_t writes_in_flight() const { return table_.writes_in_flight(id_); }
  // A table that does not track its permits knows their number alone.
  [[nodiscard]] std::optional<absl::Duration> oldest_write() const {
    const std::vector<Blocker> blockers = table_.blockers(id_);
    if (blockers.empty()) return std::nullopt;
    return blockers.front().age;
  }
  [[nodiscard]] HeldWriteStats held_writes() const { return table_.held_writes(id_); }

  absl::Status wait_for_reads(const std::stop_token& stop) {
    return wait_for_reads_ ? wait_for_reads_(id_, stop) : absl::OkStatus();
  }

 private:
  Table& table_;
  const Id id_;
  std::optional<P> to_;
  const WaitForReads& wait_for_reads_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_TABLE_TRANSITIONS_HPP_
