// SPDX-License-Identifier: Apache-2.0
//
// INV-L again, exhaustively: a reader or a writer beside whatever changes its partition or moves
// its cell, in all surroundings that matter to a lookup, by every schedule of few preemptions.
// Races of a particular kind are in schedules_of_races.test.cpp, and how it is done in
// schedules/worlds.hpp.
#include <cstddef>
#include <string>
#include <type_traits>

#include <gtest/gtest.h>

#include "schedules/worlds.hpp"
#include "support/sanitizers.hpp"

namespace placement::test {
namespace {

// By which surroundings, and with which ids.
template <typename Of>
class Schedules : public testing::Test {};

template <typename K, Surroundings kWhere, std::size_t kMost = 1>
struct Of {
  using Kind = K;
  static constexpr Surroundings kSurroundings = kWhere;
  static constexpr std::size_t kPreemptions = kSlow ? 1 : kMost;
};

struct Name {
  template <typename Of>
  static std::string GetName(int) {
    const std::string where = kSurroundingNames[static_cast<std::size_t>(Of::kSurroundings)];
    if constexpr (std::is_same_v<typename Of::Kind, NumberIds>) return where + "OfNumbers";
    if constexpr (std::is_same_v<typename Of::Kind, TextIds>) return where + "OfTexts";
    return where + "OfLongTexts";
  }
};

using Everywhere =
    testing::Types<Of<NumberIds, Surroundings::Alone, 2>, Of<NumberIds, Surroundings::BehindTwin>,
                   Of<NumberIds, Surroundings::BehindFullGroup>,
                   Of<NumberIds, Surroundings::InVacantCell, 2>,
                   Of<NumberIds, Surroundings::BeforeGrowth>, Of<NumberIds, Surroundings::InGrowth>,
                   Of<NumberIds, Surroundings::AfterGrowth>, Of<TextIds, Surroundings::BehindTwin>,
                   Of<LongTextIds, Surroundings::Alone>, Of<LongTextIds, Surroundings::BehindTwin>,
                   Of<LongTextIds, Surroundings::BeforeGrowth>>;
TYPED_TEST_SUITE(Schedules, Everywhere, Name);

const Programs kTransitions = {{Set},
                               {Set, Begin, Set},
                               {Begin, Cutover, Complete},
                               {Complete, Begin},
                               {Begin, Abort},
                               {Claim},
                               {Erase, SetTwin},
                               {Erase, Set},
                               {Erase, SetTwin, EraseTwin, Set}};
const Programs kApplications = {{ApplyActive, ApplyDraining},
                                {ApplyCutover, ApplyActive},
                                {ApplyErase, ForgetErased},
                                {ApplyErase, ApplyDraining}};
const Programs kMoves = {{Grow, Set}, {Churn, Churn}, {Erase, Churn, Set}};

template <typename Of>
void explore_all(const Programs& some, const Programs& others, std::size_t preemptions) {
  explore_all<typename Of::Kind>(Of::kSurroundings, kAnyStanding, {{some}, {others}}, preemptions);
}

TYPED_TEST(Schedules, OfAReadBesideTransitions) {
  explore_all<TypeParam>(kReads, kTransitions, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAReadBesideApplications) {
  explore_all<TypeParam>(kReads, kApplications, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAReadWhileCellsMove) { explore_all<TypeParam>(kReads, kMoves, 1); }
TYPED_TEST(Schedules, OfAWriteBesideTransitions) {
  explore_all<TypeParam>(kWrites, kTransitions, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAWriteBesideApplications) {
  explore_all<TypeParam>(kWrites, kApplications, TypeParam::kPreemptions);
}
TYPED_TEST(Schedules, OfAWriteWhileCellsMove) { explore_all<TypeParam>(kWrites, kMoves, 1); }

}  // namespace
}  // namespace placement::test
