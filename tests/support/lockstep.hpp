// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_LOCKSTEP_HPP_
#define PLACEMENT_TESTS_SUPPORT_LOCKSTEP_HPP_

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "place.hpp"
#include "reference_table.hpp"

namespace placement {

// How GoogleTest shows what the library has no stream operator for.
template <typename P>
void PrintTo(const BasicPlacementAt<P>& at, std::ostream* out) {
  *out << testing::PrintToString(at.placement) << ' ' << at.phase << '@' << at.epoch;
}
template <typename P>
void PrintTo(const BasicStateAt<P>& at, std::ostream* out) {
  *out << testing::PrintToString(at.state) << '@' << at.epoch;
}

}  // namespace placement

namespace placement::test {

// What can be called by itself: the removal after a drain cannot.
inline constexpr std::array kCalls = {Operation::Set,
                                      Operation::BeginMigration,
                                      Operation::EnterCutover,
                                      Operation::CompleteMigration,
                                      Operation::AbortMigration,
                                      Operation::ClaimMigration,
                                      Operation::PauseWrites,
                                      Operation::ResumeWrites,
                                      Operation::Erase};

// Those that take no expected epoch.
constexpr bool takes_expected(Operation operation) {
  return operation != Operation::PauseWrites && operation != Operation::ResumeWrites;
}

// The same operation, on a table or on the reference; at `expected`, where it takes one.
template <typename Table, typename Id, typename P>
TransitionResult perform(Table& table, Operation operation, const Id& id, P placement,
                         std::optional<Epoch> expected = {}) {
  switch (operation) {
    case Operation::Set:
      return expected ? table.set(id, placement, *expected)
                      : TransitionResult(table.set(id, placement));
    case Operation::BeginMigration:
      return table.begin_migration(id, placement, expected);
    case Operation::EnterCutover:
      return table.enter_cutover(id, expected);
    case Operation::CompleteMigration:
      return table.complete_migration(id, expected);
    case Operation::AbortMigration:
      return table.abort_migration(id, expected);
    case Operation::ClaimMigration:
      return table.claim_migration(id, expected);
    case Operation::PauseWrites:
      return table.pause_writes(id);
    case Operation::ResumeWrites:
      return table.resume_writes(id);
    case Operation::Erase:
    case Operation::EraseDrained:
      break;
  }
  return table.erase(id, expected);
}

// Every read of one partition answers as the reference does.
template <typename Table, typename Reference, typename Id>
void expect_same_partition(const Table& table, const Reference& reference, const Id& id) {
  EXPECT_EQ(table.get(id), reference.get(id));
  EXPECT_EQ(table.state(id), reference.state(id));
  EXPECT_EQ(table.contains(id), reference.contains(id));
  const auto at = reference.state(id);
  const Epoch own = at ? at->epoch : reference.current_epoch();
  const Epoch now = reference.current_epoch();
  for (const Epoch epoch : {Epoch::zero(), Epoch(1), Epoch(own.value() - 1), own,
                            Epoch(own.value() + 1), now, Epoch(now.value() + 1), Epoch::max()}) {
    EXPECT_EQ(table.admit_write(id, epoch), reference.admit_write(id, epoch)) << "at " << epoch;
  }
}

// for_each visits the reference's partitions, each once, with its state and epoch.
template <typename Table, typename Reference>
void expect_same_contents(const Table& table, const Reference& reference) {
  using Id = std::conditional_t<std::is_same_v<typename Table::IdView, std::string_view>,
                                std::string, typename Table::IdView>;
  EXPECT_EQ(table.size(), reference.size());
  EXPECT_EQ(table.current_epoch(), reference.current_epoch());
  std::map<Id, std::size_t> visits;
  table.for_each([&](typename Table::IdView view, const auto& state, Epoch epoch) {
    const Id id(view);
    EXPECT_EQ(++visits[id], 1U);
    const auto expected = reference.state(id);
    ASSERT_TRUE(expected.has_value()) << "for_each found what is not there";
    EXPECT_TRUE(expected->state == state);
    EXPECT_EQ(expected->epoch, epoch);
  });
  EXPECT_EQ(visits.size(), reference.size());
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_LOCKSTEP_HPP_
