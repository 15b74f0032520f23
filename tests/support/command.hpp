// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_COMMAND_HPP_
#define PLACEMENT_TESTS_SUPPORT_COMMAND_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace placement::test {

// What may be done in a World, and how often it is, in a random history. In the order in which a
// reader would want to see them in a failing history: shrinking goes up the list.
enum class Verb : std::uint8_t {
  Set,
  BeginMigration,
  EnterCutover,
  CompleteMigration,
  AbortMigration,
  ClaimMigration,
  PauseWrites,
  ResumeWrites,
  Erase,
  EraseInNoTime,
  AcquireWrite,
  Release,
  Quarantine,
  Advance,
  WritesInFlight,
  Hold,
  Cancel,
  HeldWrites,
  AcquireInNoTime,
  WaitInNoTime,
  MovePermits,
  Apply,
  ApplyErase,
  ForgetErased,
  Crowd,
  Disperse,
  ForEach,
  Migrations,
  Reserve,
  FailAllocation,
};

struct VerbInfo {
  std::string_view name;
  unsigned weight;
};

inline constexpr std::array kVerbs = {
    VerbInfo{"set", 8},
    VerbInfo{"begin_migration", 10},
    VerbInfo{"enter_cutover", 10},
    VerbInfo{"complete_migration", 10},
    VerbInfo{"abort_migration", 3},
    VerbInfo{"claim_migration", 3},
    VerbInfo{"pause_writes", 5},
    VerbInfo{"resume_writes", 3},
    VerbInfo{"erase", 3},
    VerbInfo{"erase_until, in no time,", 3},
    VerbInfo{"acquire_write", 8},
    VerbInfo{"release", 8},
    VerbInfo{"quarantine", 3},
    VerbInfo{"the clock goes on by", 3},
    VerbInfo{"writes_in_flight", 2},
    VerbInfo{"hold", 5},
    VerbInfo{"cancel", 3},
    VerbInfo{"held_writes", 2},
    VerbInfo{"acquire_write_until, in no time,", 3},
    VerbInfo{"wait_until_drained, in no time,", 2},
    VerbInfo{"swap two permits", 1},
    VerbInfo{"apply", 8},
    VerbInfo{"apply_erase", 3},
    VerbInfo{"forget_erased", 2},
    VerbInfo{"others come", 3},
    VerbInfo{"others go", 2},
    VerbInfo{"for_each", 2},
    VerbInfo{"migrations", 1},
    VerbInfo{"reserve", 1},
    VerbInfo{"let an allocation fail", 2},
};

inline constexpr unsigned kSumOfWeights = [] {
  unsigned sum = 0;
  for (const VerbInfo& verb : kVerbs) sum += verb.weight;
  return sum;
}();
static_assert(kSumOfWeights <= 256, "a byte chooses a verb");

// One command: four bytes, of which any combination means something. `id` chooses the partition;
// what `a` and `b` choose depends on the verb.
struct Command {
  Verb verb = Verb::Set;
  std::uint8_t id = 0;
  std::uint8_t a = 0;
  std::uint8_t b = 0;

  static constexpr std::size_t kBytes = 4;

  static constexpr Command decode(std::uint8_t lot, std::uint8_t id, std::uint8_t a,
                                  std::uint8_t b) {
    unsigned rest = lot % kSumOfWeights;
    std::size_t verb = 0;
    while (rest >= kVerbs[verb].weight) rest -= kVerbs[verb++].weight;
    return {static_cast<Verb>(verb), id, a, b};
  }
};

static_assert(kVerbs.size() == static_cast<std::size_t>(Verb::FailAllocation) + 1);

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_COMMAND_HPP_
