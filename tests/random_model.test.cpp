// SPDX-License-Identifier: Apache-2.0
//
// Random histories of all methods, step by step against the reference: many short ones, which
// RapidCheck shrinks to a minimal failing one, and a few long ones, in which the table grows and
// recycles what it has. RC_PARAMS and PLACEMENT_TEST_SEED choose others than a run would.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <ostream>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <placement/placement_table.hpp>

#include "support/command.hpp"
#include "support/history.hpp"
#include "support/kinds.hpp"
#include "support/sanitizers.hpp"
#include "support/threads.hpp"

namespace placement {
namespace {

using test::below;
using test::Command;
using test::make_random;
using test::Random;
using test::Scale;
using test::Sights;

// What RapidCheck generates, shrinks and shows.
template <typename Kind>
struct History {
  std::size_t shards = 1;
  std::vector<Command> commands;

  friend std::ostream& operator<<(std::ostream& out, const History& history) {
    return out << history.shards << " shards:\n" << test::describe<Kind>(history.commands);
  }
};

rc::Gen<std::uint8_t> any_byte() {
  return rc::gen::resize(rc::kNominalSize, rc::gen::map(rc::gen::inRange(0, 256), [](int value) {
                           return static_cast<std::uint8_t>(value);
                         }));
}

rc::Gen<Command> any_command() {
  return rc::gen::map(
      rc::gen::tuple(any_byte(), any_byte(), any_byte(), any_byte()),
      [](const std::tuple<std::uint8_t, std::uint8_t, std::uint8_t, std::uint8_t>& bytes) {
        return std::apply(Command::decode, bytes);
      });
}

// Up to five times as long as RapidCheck's own idea of a long sequence.
template <typename Kind>
rc::Gen<History<Kind>> any_history() {
  const auto commands =
      rc::gen::scale(5.0, rc::gen::container<std::vector<Command>>(any_command()));
  return rc::gen::map(
      rc::gen::pair(rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, 3)), commands),
      [](const std::pair<int, std::vector<Command>>& parts) {
        return History<Kind>{std::size_t{1} << parts.first, parts.second};
      });
}

void expect_interesting(const Sights& sights) {
  EXPECT_GT(sights.changes, 1000U);
  EXPECT_GT(sights.refusals, 1000U);
  EXPECT_GT(sights.flips, 10U);
  EXPECT_GT(sights.stale, 50U);
  EXPECT_GT(sights.pauses, 50U);
  EXPECT_GT(sights.permits, 100U);
  EXPECT_GT(sights.quarantines, 10U);
  EXPECT_GT(sights.held, 10U);
  EXPECT_GT(sights.resumed, 10U);
  EXPECT_GT(sights.applied, 50U);
  EXPECT_GT(sights.applied_at_a_shared_epoch, 10U);
  EXPECT_GT(sights.changed_during_for_each, 10U);
  EXPECT_GT(sights.largest, 30U);
}

template <typename Kind>
class RandomModel : public testing::Test {};

struct KindNames {
  template <typename Kind>
  static std::string GetName(int) {
    return std::string(Kind::kName);
  }
};

using Kinds =
    testing::Types<test::PlainText, test::HostileText, test::CollidingText, test::BigNumbers,
                   test::SignedNumbers, test::Enumerated, test::Uuids, test::ShardIds>;
TYPED_TEST_SUITE(RandomModel, Kinds, KindNames);

TYPED_TEST(RandomModel, EveryHistoryIsThatOfTheReference) {
  ::setenv("RC_PARAMS", "max_success=300", /*overwrite=*/0);
  Sights sights;
  const bool holds = rc::check([&] {
    const History<TypeParam> history = *any_history<TypeParam>();
    test::run_history<TypeParam>(history.commands, {.shards = history.shards}, sights);
  });
  EXPECT_TRUE(holds);
  if (holds) expect_interesting(sights);
}

template <typename Kind>
void run_long(Random& random, std::size_t steps, const Scale& scale, Sights& sights) {
  std::vector<Command> commands;
  const auto byte = [&] { return static_cast<std::uint8_t>(below(random, 256)); };
  while (commands.size() < steps) {
    const std::uint8_t lot = byte();
    const std::uint8_t id = byte();
    const std::uint8_t a = byte();
    commands.push_back(Command::decode(lot, id, a, byte()));
  }
  try {
    test::run_history<Kind>(commands, scale, sights);
  } catch (const test::Mismatch& mismatch) {
    FAIL() << mismatch.what();
  }
}

TYPED_TEST(RandomModel, ALongHistoryIsThatOfTheReference) {
  Random random = make_random();
  Sights sights;
  for (const std::size_t shards : {1U, 16U}) {
    run_long<TypeParam>(random, test::kSlow || test::work_divisor() > 1 ? 3'000 : 20'000,
                        {.shards = shards, .check_all_after = 500}, sights);
    if (testing::Test::HasFailure()) return;
  }
  expect_interesting(sights);
  // What is too rare to be expected of short histories.
  EXPECT_GT(sights.flips_refused_for_writes, 0U);
  EXPECT_GT(sights.erasures_given_up, 0U);
  EXPECT_GT(sights.cancelled, 0U);
  EXPECT_GT(sights.too_many_held, 0U);
  EXPECT_GT(sights.failed_allocations, 0U);
  EXPECT_GT(sights.largest, 200U);
}

// Arrays so large that the memory of the next is prepared over several changes.
TYPED_TEST(RandomModel, AHistoryOfALargeTableIsThatOfTheReference) {
  Random random = make_random();
  Sights sights;
  run_long<TypeParam>(random, 1'500, {.crowd = 8, .check_all_after = 500}, sights);
  constexpr bool kFewOthers = std::is_same_v<TypeParam, test::CollidingText>;
  EXPECT_GT(sights.largest, kFewOthers ? 500U : 2000U);
}

}  // namespace
}  // namespace placement
