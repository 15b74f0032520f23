// SPDX-License-Identifier: Apache-2.0
//
// INV-L and INV-P, exhaustively, where something in particular is feared: cells and blocks that
// come back, epochs that come back, drains, pauses and erasures under writers, wake-ups, compare
// and set. By every schedule of few preemptions: schedules/worlds.hpp.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "schedules/worlds.hpp"

namespace placement::test {
namespace {

// Twice, so that the cells come back to the array in which they were. A long program: it is not
// preempted at every access, unless there is time.
template <typename Kind>
void explore_a_return_to_the_first_array(const Program& reader, std::size_t every) {
  explore_all<Kind>(Surroundings::Alone, {Standing::Draining},
                    {{{reader}, 2}, {{{Churn, Churn}}, 1, more_preemptions() == 0 ? every : 1}}, 3);
}

TEST(SchedulesOfARead, ThatFindsTheCellBackInItsFirstArray) {
  explore_a_return_to_the_first_array<NumberIds>({State}, 8);
}
TEST(SchedulesOfARead, ThatFindsTheBlockBackInItsFirstArray) {
  explore_a_return_to_the_first_array<LongTextIds>({State}, 16);
}
TEST(SchedulesOfAScan, ThatFindsTheCellBackInItsFirstArray) {
  explore_a_return_to_the_first_array<NumberIds>({ForEach}, 32);
}
TEST(SchedulesOfAScan, ThatFindsTheBlockBackInItsFirstArray) {
  explore_a_return_to_the_first_array<LongTextIds>({ForEach}, 64);
}

// Found while a partition is about to get a second cell, before the first on a lookup's way, and
// asked again when that is there and the first has not given way yet.
TEST(SchedulesOfARef, ThatIsNeverBehindTheTable) {
  const Threads read = {{{RefGet, Get, RefGet}, {RefAcquire, Get, RefAcquire}}, 1};
  const Threads change = {{{EraseTwin, Set}, {EraseTwin, ApplyCutover}}, 2};
  explore_all<NumberIds>(Surroundings::BehindTwin, {Standing::Draining}, {read, change}, 3);
}

// Preempted while it acquires, and again with the permit out.
TEST(SchedulesOfAWriter, LetNothingFlipOrGoUnderAPermit) {
  const Threads write = {{{Acquire, Release}, {RefAcquire, Release}}, 2};
  const Threads change = {{{Begin, Cutover, Complete}, {Erase, Set}, {Erase, SetTwin}}, 2};
  const std::vector<Standing> active = {Standing::Active};
  explore_all<NumberIds>(Surroundings::Alone, active, {write, change}, 3);
  explore_all<NumberIds>(Surroundings::BeforeGrowth, active, {write, {{{Grow, Erase, Set}}}}, 2);
}

TEST(SchedulesOfHeldWrites, LoseNoWakeUp) {
  const Threads held = {{{AcquireOnceOpen, Release}}, 2};
  const Threads opening = {{{Complete}, {Abort}, {Set}, {ApplyActive}, {ApplyErase}}};
  const std::vector<Standing> cutover = {Standing::Cutover};
  explore_all<NumberIds>(Surroundings::Alone, cutover, {held, opening}, 3);
  explore_all<NumberIds>(Surroundings::Alone, cutover, {held, held, opening}, 1);
  // Who gives up at the moment at which he is resumed.
  const Threads impatient = {{{AcquireInTime, Release}}, 2};
  explore_all<NumberIds>(Surroundings::Alone, cutover, {impatient, opening}, 3);
}

TEST(SchedulesOfDrains, EndWhenTheLastWriteIsOver) {
  const Threads write = {{{Acquire, Release}}, 2};
  const Threads drain = {{{Cutover, AwaitDrained, Complete}}, 2};
  const Threads look = {{{AwaitDrained}}, 2};
  const std::vector<Standing> draining = {Standing::Draining};
  explore_all<NumberIds>(Surroundings::Alone, draining, {write, drain}, 4);
  explore_all<NumberIds>(Surroundings::Alone, draining, {write, write, drain}, 2);
  explore_all<NumberIds>(Surroundings::Alone, draining, {write, look, drain}, 2);
}

// Whatever the partition was doing, and whatever it does then; the write is in flight until the
// end.
TEST(SchedulesOfDrains, EndWhenThePartitionIsAtAnotherEpoch) {
  const Threads write = {{{Acquire}}};
  const Threads look = {{{AwaitDrainedOrChanged}}};
  const Threads change = {{{Set}, {Begin, Abort}, {Begin, Cutover}, {Claim, Set}, {ApplyActive}}};
  explore_all<NumberIds>(Surroundings::Alone, {Standing::Active, Standing::Draining},
                         {write, look, change}, 2);
}

// A writer that is late for a partition counts itself at the next one that has its counter.
TEST(SchedulesOfDrains, EndThoughALateWriterPassed) {
  explore_all<NumberIds>(Surroundings::Alone, {Standing::Active},
                         {{{{Acquire, Release}}, 2}, {{{Erase, SetTwin, AwaitTwinDrained}}, 2}}, 3);
}

// An id that stands after its home comes back to it when the cells move to an array of the same
// size: behind the groups that were searched already.
TEST(SchedulesOfForgetting, MissNothingThatMovesMeanwhile) {
  using Table = BasicPlacementTable<std::uint64_t, Place>;
  std::array<std::vector<std::uint64_t>, 8> of_home;  // in an array of 64
  for (std::uint64_t id = 0;
       std::any_of(of_home.begin(), of_home.end(), [](const auto& ids) { return ids.size() < 12; });
       ++id) {
    of_home[detail::IdTraits<std::uint64_t>::key(id).hash >> 61].push_back(id);
  }
  Choices choices;
  do {
    Table table{TableOptions{.shards = 1, .expected_partitions = 40}};
    const auto set = [&](std::size_t home, std::size_t first, std::size_t count) {
      for (std::size_t i = first; i < first + count; ++i) table.set(of_home[home][i], Place(1));
    };
    const auto erase = [&](std::size_t home, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(table.erase(of_home[home][i]));
    };
    for (const std::size_t home : {0U, 1U, 2U, 3U}) set(home, 0, 8);
    const std::uint64_t erased = of_home[0][8];  // stands in group 4
    set(0, 8, 1);
    ASSERT_TRUE(table.apply_erase(erased, Epoch(1000)));
    for (const std::size_t home : {0U, 1U, 2U, 3U}) erase(home, 8);
    set(5, 0, 6);
    Scheduler scheduler(choices, 1);
    ASSERT_TRUE(
        scheduler.run({{[&] { table.forget_erased(Epoch::max()); }, 1}, {[&] { set(6, 0, 5); }}}));
    ASSERT_TRUE(table.apply(erased, PartitionState::active(Place(2)), Epoch(1)))
        << "it is still remembered";
  } while (choices.advance());
}

TEST(SchedulesOfDrivers, OfOneMigrationGiveEachStepToOne) {
  explore_all<NumberIds>(Surroundings::Alone, kAnyStanding,
                         {{{{Begin, Cutover, Complete}, {Abort}}},
                          {{{Cutover, Complete, Erase}, {Claim, Set}}},
                          {{{Get, Get}, {Acquire, Release}}}},
                         1);
}

// ---- epochs that partitions share ----

// A stamp comes back: the key is erased, and its twin gets its cell at the epoch that the key had.
// Whoever found the key before must not take the twin's placement, epoch or counter for the key's.
const Programs kReadsOfOne = {{Get, Get}, {State}, {Contains}, {AdmitWrite}, {GetMany}, {RefGet}};

template <typename Kind>
void explore_sharing(Surroundings surroundings, const Programs& readers, const Programs& changes,
                     std::size_t preemptions = 2) {
  explore_all<Kind>(surroundings, {Standing::Active}, {{readers}, {changes}}, preemptions);
}

// In which a twin is inserted; also after one of an older epoch was vacated.
const Programs kInserts = {{Erase, ApplyTwinShared}, {Erase, EraseNeighbour, ApplyTwinShared}};

TEST(SchedulesOfSharedEpochs, KeepAReadFromACellThatAnotherWasInsertedIn) {
  explore_sharing<NumberIds>(Surroundings::Sharing, kReadsOfOne, kInserts);
  explore_sharing<NumberIds>(Surroundings::Sharing, {{ForEach}}, kInserts);
  explore_sharing<TextIds>(Surroundings::Sharing, {{Get, Get}, {RefGet}}, kInserts);
  explore_sharing<LongTextIds>(Surroundings::Sharing, {{Get, Get}, {State}}, kInserts);
}
TEST(SchedulesOfSharedEpochs, KeepAWriteFromACellThatAnotherWasInsertedIn) {
  explore_sharing<NumberIds>(Surroundings::Sharing, kWrites, kInserts);
  explore_sharing<TextIds>(Surroundings::Sharing, kWrites, kInserts);
}

// Which is a twin's second. The key's counter is another's by then, or it would still be closed.
TEST(SchedulesOfSharedEpochs, KeepAReadFromACellThatIsAnothersSecond) {
  explore_sharing<NumberIds>(Surroundings::SharingBesideTwin, kReadsOfOne,
                             {{Erase, ApplyTwinShared}});
}
TEST(SchedulesOfSharedEpochs, KeepAWriteFromACellThatIsAnothersSecond) {
  explore_sharing<NumberIds>(Surroundings::SharingBesideTwin, kWrites,
                             {{Erase, SetOther, ApplyTwinShared}});
}

// To which a twin is moved by a growth.
TEST(SchedulesOfSharedEpochs, KeepAReadFromACellThatAnotherWasMovedTo) {
  explore_sharing<NumberIds>(Surroundings::SharingInGrowth, kReadsOfOne, {{Erase, ChangeStranger}},
                             1);
}
TEST(SchedulesOfSharedEpochs, KeepAWriteFromACellThatAnotherWasMovedTo) {
  explore_sharing<NumberIds>(Surroundings::SharingInGrowth, kWrites,
                             {{Erase, ChangeStranger}, {Erase, SetOther}}, 1);
}

// The same partition, forgotten, at the same epoch in the same cell with another placement.
TEST(SchedulesOfSharedEpochs, KeepAReadFromWhatThePartitionBecameAfterItWasForgotten) {
  explore_sharing<NumberIds>(Surroundings::Sharing, kReadsOfOne,
                             {{ApplyErase, ForgetErased, ApplyShared}});
}

// ---- pauses, and erasures under writers ----

const std::vector<Standing> kOpen = {Standing::Active};

TEST(SchedulesOfPauses, AreNotInTheWayOfReads) {
  const Threads pause = {{{Pause, Resume}, {Pause, Complete}, {EraseInNoTime}}};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {{kReads, 1}, pause}, 2);
  explore_all<NumberIds>(Surroundings::BeforeGrowth, kOpen, {{kReads, 1}, pause}, 1);
}

TEST(SchedulesOfPauses, AdmitNoWriteAndLoseNoWakeUp) {
  const Threads write = {{{Acquire, Release}, {RefAcquire, Release}}, 2};
  const Threads pause = {{{Pause, WritesInFlight, Resume}, {Pause, AwaitDrained, Complete}}, 2};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {write, pause}, 3);
  explore_all<NumberIds>(Surroundings::BeforeGrowth, kOpen, {write, {{{Grow, Pause, Resume}}}}, 2);
  const Threads held = {{{AcquireOnceOpen, Release}}, 2};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {held, {{{Pause, Resume}}, 2}}, 3);
  const Threads opening = {{{Resume}, {Abort}, {Complete}, {Set}, {Claim, Resume}}};
  explore_all<NumberIds>(Surroundings::Alone, {Standing::Paused}, {held, opening}, 3);
}

TEST(SchedulesOfErasures, RemoveNothingUnderAPermit) {
  const Threads write = {{{Acquire, Release}, {RefAcquire, Release}}, 2};
  const Threads erase = {{{EraseUntil}, {EraseUntil, SetTwin}, {EraseInNoTime}}};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {write, erase}, 3);
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {{{{Acquire, Release}}}, write, erase}, 1);
}
TEST(SchedulesOfErasures, ResumeWhatTheyHeldBack) {
  const Threads held = {{{AcquireOnceOpen, Release}, {AcquireInTime, Release}}, 2};
  const Threads erase = {{{EraseUntil}, {EraseUntil, Set}, {EraseInNoTime}}, 2};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {held, erase}, 2);
}
// Whoever changes the partition meanwhile has it.
TEST(SchedulesOfErasures, LeaveThePartitionToWhoeverChangesIt) {
  const Threads erase = {{{EraseUntil}, {EraseInNoTime}}, 2};
  const Threads change = {
      {{Resume}, {Claim}, {Set}, {Erase}, {Abort, Pause}, {Complete, Begin}, {Erase, Set}}, 1};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {erase, change}, 2);
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {{{{Acquire, Release}}}, erase, change}, 1);
  // While a write is in flight, which nobody waits for then.
  const Threads write = {{{Acquire}}, 1};
  const Threads takes_over = {
      {{AwaitPause, Resume, Begin}, {AwaitPause, Claim}, {AwaitPause, Set}}};
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {write, {{{EraseUntil}}}, takes_over}, 1);
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {write, {{{EraseInNoTime}}}, takes_over}, 2);
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {erase, erase}, 2);
  explore_all<NumberIds>(Surroundings::Alone, kOpen, {{{{Pause, Resume}}, 2}, erase}, 2);
}

// ---- compare and set ----

TEST(SchedulesOfComparisons, HaveOneWinner) {
  const Threads compare = {{{SetExpecting}, {BeginExpecting}, {EraseExpecting}}};
  const std::vector<Standing> from = {Standing::Absent, Standing::Active, Standing::Draining,
                                      Standing::Paused};
  explore_all<NumberIds>(Surroundings::Alone, from, {compare, compare}, 2);
  explore_all<NumberIds>(Surroundings::BehindTwin, from,
                         {compare, {{{Set}, {Erase, Set}, {Begin, Abort}, {Pause}}}}, 2);
  explore_all<NumberIds>(Surroundings::BeforeGrowth, {Standing::Absent},
                         {{{{SetExpecting}}}, {{{SetExpecting}}}, {{{Get, Get}}}}, 1);
}

// ---- observers ----

TEST(SchedulesOfObservers, AreToldOfEachChangeWhatItChanged) {
  const Threads change = {{{Set, Begin, Cutover, Complete},
                           {Pause, Resume, Erase},
                           {Set, Claim, Abort},
                           {ApplyCutover, ApplyErase},
                           {EraseUntil}}};
  explore_all<NumberIds>(Surroundings::Alone, {Standing::Active, Standing::Cutover},
                         {change, change}, 2, /*observed=*/true);
}

}  // namespace
}  // namespace placement::test
