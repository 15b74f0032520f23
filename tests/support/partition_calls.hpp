// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_PARTITION_CALLS_HPP_
#define PLACEMENT_TESTS_SUPPORT_PARTITION_CALLS_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <absl/time/time.h>
#include <placement/placement_table.hpp>

#include "linearizability.hpp"
#include "partition_model.hpp"

namespace placement::test {

// Calls the method that the operation names, with its arguments, and puts the result into it. What
// acquire_write grants comes to `permits`; release gives the last of them back, so there has to be
// one.
template <typename Table, typename Id, typename P>
void perform(Table& table, const Id& id, PartitionOperation<P>& operation,
             std::vector<BasicWritePermit<P>>& permits) {
  const auto result_is = [&](auto result) {
    using R = decltype(result);
    if constexpr (std::is_same_v<R, BasicWritePermit<P>>) {
      if (result) {
        operation.result = Granted<P>{result.placement(), result.epoch()};
        permits.push_back(std::move(result));
      } else {
        operation.result = result.refusal();
      }
    } else {
      operation.result.template emplace<R>(result);
    }
  };
  switch (operation.method) {
    case Method::Set:
      return result_is(operation.epoch ? table.set(id, *operation.placement, *operation.epoch)
                                       : TransitionResult(table.set(id, *operation.placement)));
    case Method::BeginMigration:
      return result_is(table.begin_migration(id, *operation.placement, operation.epoch));
    case Method::EnterCutover:
      return result_is(table.enter_cutover(id, operation.epoch));
    case Method::CompleteMigration:
      return result_is(table.complete_migration(id, operation.epoch));
    case Method::AbortMigration:
      return result_is(table.abort_migration(id, operation.epoch));
    case Method::ClaimMigration:
      return result_is(table.claim_migration(id, operation.epoch));
    case Method::PauseWrites:
      return result_is(table.pause_writes(id));
    case Method::ResumeWrites:
      return result_is(table.resume_writes(id));
    case Method::Erase:
      return result_is(table.erase(id, operation.epoch));
    case Method::EraseDrained:
      break;  // a part of erase_until: see below
    case Method::Apply:
      return result_is(table.apply(id, *operation.state, *operation.epoch));
    case Method::ApplyErase:
      return result_is(table.apply_erase(id, *operation.epoch));
    case Method::ForgetErased:
      table.forget_erased(Epoch::max());
      return result_is(std::monostate());
    case Method::Get:
      return result_is(table.get(id));
    case Method::AdmitWrite:
      return result_is(table.admit_write(id, *operation.epoch));
    case Method::State:
      return result_is(table.state(id));
    case Method::Contains:
      return result_is(table.contains(id));
    case Method::AcquireWrite:
      return result_is(operation.epoch ? table.acquire_write(id, *operation.epoch)
                                       : table.acquire_write(id));
    case Method::Release:
      permits.back().release();
      permits.pop_back();
      return result_is(std::monostate());
    case Method::WritesInFlight:
      return result_is(table.writes_in_flight(id));
  }
}

// What a table told its observer of a change, and when: in three stamps, one after another, of
// which what ends there and what begins there each take their own.
struct Note {
  Epoch epoch;
  std::array<std::uint64_t, 3> at;
};
// erase_until as what it is, one step after another: a pause, then the removal, or, at the
// deadline, a look at the writes in flight and the way back. `notes` are those that the observer
// takes.
template <typename Table, typename Id, typename P>
void perform_erase_until(Table& table, const Id& id, absl::Time deadline, std::size_t thread,
                         const std::vector<Note>& notes, auto now,
                         History<PartitionOperation<P>>& history) {
  const auto record = [&](std::uint64_t called, Method method, TransitionResult result,
                          std::optional<Epoch> expected, std::uint64_t returned) {
    PartitionOperation<P> operation;
    operation.method = method;
    operation.epoch = expected;
    operation.result = result;
    history.push_back({called, returned, std::move(operation), thread});
  };
  const std::uint64_t called = now();
  const TransitionResult result = table.erase_until(id, deadline);
  const std::uint64_t returned = now();
  if (notes.empty()) return record(called, Method::PauseWrites, result, {}, returned);
  const Note& paused = notes.front();
  const Note& last = notes.back();
  record(called, Method::PauseWrites, paused.epoch, {}, paused.at[0]);
  if (result != MigrationError::WritesInFlight) {  // removed, or left to whoever changed it
    return record(paused.at[1], Method::EraseDrained, result, paused.epoch, returned);
  }
  // Without a way back: an answer that nothing explains.
  if (notes.size() < 2) return record(paused.at[1], Method::AbortMigration, result, {}, returned);
  record(paused.at[1], Method::EraseDrained, result, paused.epoch, last.at[0]);
  record(paused.at[2], Method::AbortMigration, last.epoch, paused.epoch, last.at[1]);
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_PARTITION_CALLS_HPP_
