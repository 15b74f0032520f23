// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_PARTITION_CALLS_HPP_
#define PLACEMENT_TESTS_SUPPORT_PARTITION_CALLS_HPP_

#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <placement/placement_table.hpp>

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
      return result_is(TransitionResult(table.set(id, *operation.placement)));
    case Method::BeginMigration:
      return result_is(table.begin_migration(id, *operation.placement));
    case Method::EnterCutover:
      return result_is(table.enter_cutover(id, operation.epoch));
    case Method::CompleteMigration:
      return result_is(table.complete_migration(id, operation.epoch));
    case Method::AbortMigration:
      return result_is(table.abort_migration(id, operation.epoch));
    case Method::ClaimMigration:
      return result_is(table.claim_migration(id, operation.epoch));
    case Method::Erase:
      return result_is(table.erase(id));
    case Method::Apply:
      return result_is(table.apply(id, *operation.state, *operation.epoch));
    case Method::ApplyErase:
      return result_is(table.apply_erase(id, *operation.epoch));
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

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_PARTITION_CALLS_HPP_
