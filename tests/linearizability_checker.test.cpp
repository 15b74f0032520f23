// SPDX-License-Identifier: Apache-2.0
//
// The checker of linearizability is checked: it catches what is wrong in each way that we fear, it
// accepts what is right, and it agrees with trying every order.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/linearizability.hpp"
#include "support/partition_model.hpp"
#include "support/threads.hpp"

namespace placement::test {
namespace {

// Two halves that belong together.
struct Pair {
  int left = 0;
  int right = 0;

  friend bool operator==(const Pair&, const Pair&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Pair& pair) {
    return out << pair.left << '|' << pair.right;
  }
};

using Model = PartitionModel<Pair>;
using Op = PartitionOperation<Pair>;
using OpHistory = History<Op>;
using State = BasicPartitionState<Pair>;
using enum MigrationError;
using enum MigrationPhase;

constexpr Pair kA{1, 1};
constexpr Pair kB{2, 2};
constexpr Pair kC{3, 3};

// ---- operations with their results ----

Op make(Method method, Op::Result result) {
  Op op;
  op.method = method;
  op.result = std::move(result);
  return op;
}
Op set(Pair placement, std::uint64_t epoch) {
  Op op = make(Method::Set, TransitionResult(Epoch(epoch)));
  op.placement = placement;
  return op;
}
Op fenced(Method method, TransitionResult result, std::optional<std::uint64_t> expected) {
  Op op = make(method, result);
  if (expected) op.epoch = Epoch(*expected);
  return op;
}
using Expected = std::optional<std::uint64_t>;
Op set_at(Pair placement, std::uint64_t expected, TransitionResult result) {
  Op op = fenced(Method::Set, result, expected);
  op.placement = placement;
  return op;
}
Op begin(Pair to, TransitionResult result, Expected expected = {}) {
  Op op = fenced(Method::BeginMigration, result, expected);
  op.placement = to;
  return op;
}
Op begin(Pair to, std::uint64_t epoch, Expected expected = {}) {
  return begin(to, TransitionResult(Epoch(epoch)), expected);
}
Op enter(std::uint64_t epoch, Expected expected = {}) {
  return fenced(Method::EnterCutover, Epoch(epoch), expected);
}
Op enter(MigrationError error, Expected expected = {}) {
  return fenced(Method::EnterCutover, error, expected);
}
Op complete(std::uint64_t epoch, Expected expected = {}) {
  return fenced(Method::CompleteMigration, Epoch(epoch), expected);
}
Op complete(MigrationError error, Expected expected = {}) {
  return fenced(Method::CompleteMigration, error, expected);
}
Op abort_(std::uint64_t epoch, Expected expected = {}) {
  return fenced(Method::AbortMigration, Epoch(epoch), expected);
}
Op claim(std::uint64_t epoch) { return fenced(Method::ClaimMigration, Epoch(epoch), {}); }
Op pause(std::uint64_t epoch) { return fenced(Method::PauseWrites, Epoch(epoch), {}); }
Op pause(MigrationError error) { return fenced(Method::PauseWrites, error, {}); }
Op resume(std::uint64_t epoch) { return fenced(Method::ResumeWrites, Epoch(epoch), {}); }
Op resume(MigrationError error) { return fenced(Method::ResumeWrites, error, {}); }
Op erase(std::uint64_t epoch, Expected expected = {}) {
  return fenced(Method::Erase, Epoch(epoch), expected);
}
Op erase(MigrationError error, Expected expected = {}) {
  return fenced(Method::Erase, error, expected);
}
// The second step of an erase_until whose pause was at `paused`.
Op remove_(std::uint64_t epoch, std::uint64_t paused) {
  return fenced(Method::EraseDrained, Epoch(epoch), paused);
}
Op remove_(MigrationError error, std::uint64_t paused) {
  return fenced(Method::EraseDrained, error, paused);
}

Op get(Pair placement, std::uint64_t epoch, MigrationPhase phase = Settled) {
  return make(Method::Get, std::optional(BasicPlacementAt<Pair>{placement, Epoch(epoch), phase}));
}
Op get_nothing() { return make(Method::Get, std::optional<BasicPlacementAt<Pair>>()); }
Op state(State now, std::uint64_t epoch) {
  return make(Method::State, std::optional(BasicStateAt<Pair>{now, Epoch(epoch)}));
}
Op contains(bool is_there) { return make(Method::Contains, is_there); }
Op admit(std::uint64_t epoch, WriteAdmission answer) {
  Op op = make(Method::AdmitWrite, answer);
  op.epoch = Epoch(epoch);
  return op;
}
Op acquire(Pair placement, std::uint64_t epoch, Expected expected = {}) {
  Op op = make(Method::AcquireWrite, Granted<Pair>{placement, Epoch(epoch)});
  if (expected) op.epoch = Epoch(*expected);
  return op;
}
Op acquire(WriteRefusal refusal, Expected expected = {}) {
  Op op = make(Method::AcquireWrite, refusal);
  if (expected) op.epoch = Epoch(*expected);
  return op;
}
Op release() { return make(Method::Release, std::monostate()); }
Op in_flight(std::size_t count) { return make(Method::WritesInFlight, count); }
Op apply(State now, std::uint64_t epoch, bool taken) {
  Op op = make(Method::Apply, taken);
  op.state = now;
  op.epoch = Epoch(epoch);
  return op;
}
Op apply_erase(std::uint64_t epoch, bool taken) {
  Op op = make(Method::ApplyErase, taken);
  op.epoch = Epoch(epoch);
  return op;
}

// ---- histories ----

// One after another.
OpHistory serial(const std::vector<Op>& ops) {
  OpHistory history;
  for (const Op& op : ops) history.push_back({2 * history.size(), 2 * history.size() + 1, op});
  return history;
}

// `ops` one after another, then all of `together` at once.
OpHistory then_together(const std::vector<Op>& ops, const std::vector<Op>& together) {
  OpHistory history = serial(ops);
  const std::uint64_t begin = 2 * history.size();
  const std::uint64_t end = begin + together.size();
  for (std::size_t i = 0; i < together.size(); ++i) {
    history.push_back({begin + i, end + i, together[i], i});
  }
  return history;
}

bool is_linearizable(OpHistory history) {
  std::vector<OpHistory> histories{std::move(history)};
  count_passing_writes(histories);
  return check_linearizable<Model>(histories.front()).linearizable;
}

#define EXPECT_RIGHT(...) EXPECT_TRUE(is_linearizable(__VA_ARGS__))
#define EXPECT_WRONG(...) EXPECT_FALSE(is_linearizable(__VA_ARGS__))

const std::vector<Op> kDraining = {set(kA, 1), begin(kB, 2)};
const std::vector<Op> kCutover = {set(kA, 1), begin(kB, 2), enter(3)};

std::vector<Op> operator+(std::vector<Op> ops, const std::vector<Op>& more) {
  ops.insert(ops.end(), more.begin(), more.end());
  return ops;
}

// ---- what is right ----

TEST(LinearizabilityChecker, AcceptsTheEmptyHistory) { EXPECT_RIGHT({}); }

TEST(LinearizabilityChecker, AcceptsEveryMethodInItsPlace) {
  EXPECT_RIGHT(serial({
      get_nothing(),
      contains(false),
      acquire(WriteRefusal::UnknownPartition),
      erase(UnknownPartition),
      set(kA, 1),
      get(kA, 1),
      admit(1, WriteAdmission::Admit),
      admit(2, WriteAdmission::Reject),
      acquire(WriteRefusal::StaleEpoch, 7),
      acquire(kA, 1, 1),
      in_flight(1),
      erase(WritesInFlight),
      begin(kB, 4),
      begin(kC, AlreadyMigrating),
      state(State::migrating(kA, kB, Draining), 4),
      complete(NotCutover),
      enter(NotMigrating, 3),
      claim(5),
      enter(6, 5),
      get(kA, 6, Cutover),
      admit(6, WriteAdmission::Reject),
      acquire(WriteRefusal::Cutover),
      complete(WritesInFlight),
      release(),
      in_flight(0),
      complete(9, 6),
      get(kB, 9),
      begin(kC, 10),
      abort_(11),
      state(State::active(kB), 11),
      erase(12),
      contains(false),
      set_at(kB, 12, StaleEpoch),
      set_at(kC, 0, Epoch(13)),
      set_at(kB, 0, StaleEpoch),
      resume(NotPaused),
      pause(14),
      state(State::migrating(kC, kC, Cutover), 14),
      pause(AlreadyMigrating),
      acquire(WriteRefusal::Cutover),
      erase(AlreadyMigrating),
      claim(15),
      resume(16),
      begin(kA, StaleEpoch, 15),
      begin(kA, 17, 16),
      pause(AlreadyMigrating),
      resume(NotPaused),
      abort_(18, 17),
      pause(19),
      complete(20),
      get(kC, 20),
      acquire(kC, 20),
      pause(21),
      remove_(WritesInFlight, 21),
      abort_(22, 21),
      release(),
      erase(StaleEpoch, 21),
      pause(23),
      remove_(24, 23),
      pause(UnknownPartition),
      remove_(StaleEpoch, 23),
  }));
}

TEST(LinearizabilityChecker, AcceptsBothAnswersOfAReadThatOverlapsTheFlip) {
  EXPECT_RIGHT(then_together(kCutover, {complete(4), get(kA, 3, Cutover), get(kB, 4)}));
}

TEST(LinearizabilityChecker, AcceptsCallsThatTakeEffectInAnotherOrderThanTheyBegan) {
  EXPECT_RIGHT(then_together({set(kA, 1)}, {set(kB, 5), set(kC, 4), get(kC, 4), get(kA, 1)}));
}

TEST(LinearizabilityChecker, AcceptsARefusalWhileAnAcquirePasses) {
  EXPECT_RIGHT(then_together(kCutover, {complete(WritesInFlight), acquire(WriteRefusal::Cutover)}));
  EXPECT_RIGHT(then_together({set(kA, 1)}, {erase(WritesInFlight), acquire(kA, 1)}));
}

TEST(LinearizabilityChecker, AcceptsARefusalByALateWriterOfAnErasedPartition) {
  const OpHistory other = {{0, 1, set(kA, 1)}, {2, 5, acquire(kA, 1)}, {6, 7, release()}};
  OpHistory erased = {{8, 9, set(kB, 2)}, {10, 40, acquire(WriteRefusal::UnknownPartition)}};
  erased.push_back({11, 12, erase(3), 1});
  const OpHistory heir = {{13, 14, set(kA, 4)}, {15, 16, erase(WritesInFlight)}};
  std::vector<OpHistory> histories = {other, erased, heir};
  count_passing_writes(histories);
  for (const OpHistory& history : histories) {
    EXPECT_TRUE(check_linearizable<Model>(history).linearizable);
  }
}

TEST(LinearizabilityChecker, AcceptsWhatIsAppliedInAnyOrder) {
  EXPECT_RIGHT(serial({apply(State::migrating(kA, kB, Cutover), 30, true),
                       apply(State::active(kA), 10, false), get(kA, 30, Cutover),
                       apply(State::active(kB), 40, true), get(kB, 40), apply_erase(50, true),
                       get_nothing(), apply(State::active(kB), 50, false), contains(false)}));
}

// ---- what is wrong ----

TEST(LinearizabilityChecker, CatchesAStaleReadAfterTheFlip) {
  EXPECT_WRONG(serial(kCutover + std::vector{complete(4), get(kA, 3, Cutover)}));
  EXPECT_WRONG(serial(kCutover + std::vector{complete(4), get(kA, 4)}));
}

TEST(LinearizabilityChecker, CatchesTwoReadsThatSeeTheFlipInTurn) {
  OpHistory history = then_together(kCutover, {complete(4)});
  history.front().thread = 0;
  history.back().returned = 100;
  history.push_back({20, 21, get(kB, 4), 1});
  history.push_back({22, 23, get(kA, 3, Cutover), 2});
  EXPECT_WRONG(history);
  std::swap(history[history.size() - 1].operation, history[history.size() - 2].operation);
  EXPECT_RIGHT(history);
}

TEST(LinearizabilityChecker, CatchesATornPlacement) {
  EXPECT_WRONG(then_together({set(kA, 1)}, {set(kB, 2), get({1, 2}, 2)}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {set(kB, 2), get({2, 1}, 1)}));
  EXPECT_WRONG(
      then_together(kDraining, {set(kC, 3), state(State::migrating(kA, kC, Draining), 2)}));
}

TEST(LinearizabilityChecker, CatchesAPlacementWithTheEpochOfAnother) {
  EXPECT_WRONG(then_together({set(kA, 1)}, {set(kB, 2), get(kB, 1)}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {set(kB, 2), get(kA, 2)}));
}

TEST(LinearizabilityChecker, CatchesAnEpochThatGoesBack) {
  EXPECT_WRONG(serial({set(kA, 5), set(kB, 4)}));
  EXPECT_WRONG(serial({set(kA, 5), begin(kB, 5)}));
  EXPECT_WRONG(serial({set(kA, 5), erase(6), set(kB, 4)}));
  EXPECT_WRONG(serial({set(kA, 5), begin(kB, 6), claim(6)}));
  // Two racing sets, drawn before the lock: the older epoch stays behind.
  OpHistory history = then_together({}, {set(kA, 1), set(kB, 2)});
  history.push_back({10, 11, get(kA, 1)});
  EXPECT_WRONG(history);
  history.back().operation = get(kB, 2);
  EXPECT_RIGHT(history);
}

TEST(LinearizabilityChecker, CatchesAWriteThatIsAdmittedInCutover) {
  EXPECT_WRONG(serial(kCutover + std::vector{admit(3, WriteAdmission::Admit)}));
  EXPECT_WRONG(serial(kCutover + std::vector{admit(2, WriteAdmission::Admit)}));
  EXPECT_WRONG(serial(kCutover + std::vector{acquire(kA, 3)}));
  EXPECT_WRONG(serial(kCutover + std::vector{acquire(kA, 2)}));
}

TEST(LinearizabilityChecker, CatchesAWriteThatIsAdmittedAtASupersededEpoch) {
  EXPECT_WRONG(serial({set(kA, 1), set(kB, 2), admit(1, WriteAdmission::Admit)}));
  EXPECT_WRONG(serial({set(kA, 1), set(kB, 2), acquire(kB, 2, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), erase(2), admit(1, WriteAdmission::Admit)}));
}

TEST(LinearizabilityChecker, CatchesAWriteThatIsRefusedWithoutNeed) {
  EXPECT_WRONG(serial({set(kA, 1), admit(1, WriteAdmission::Reject)}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(WriteRefusal::Cutover)}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(WriteRefusal::StaleEpoch, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(WriteRefusal::UnknownPartition)}));
}

TEST(LinearizabilityChecker, CatchesAPermitForTheOldPlacementAfterTheFlip) {
  EXPECT_WRONG(serial(kCutover + std::vector{complete(4), acquire(kA, 4)}));
  EXPECT_WRONG(serial(kCutover + std::vector{complete(4), acquire(kA, 2)}));
  // Also if it overlaps the flip: before that there was the cutover.
  EXPECT_WRONG(then_together(kCutover, {complete(4), acquire(kA, 3)}));
  EXPECT_RIGHT(then_together(kCutover, {complete(4), acquire(kB, 4)}));
}

TEST(LinearizabilityChecker, CatchesAFlipWhileAPermitIsOut) {
  const std::vector<Op> flip = {enter(3), complete(4)};
  EXPECT_WRONG(serial(kDraining + std::vector{acquire(kA, 2)} + flip));
  EXPECT_WRONG(serial(kDraining + std::vector{acquire(kA, 2)} + flip + std::vector{release()}));
  EXPECT_RIGHT(serial(kDraining + std::vector{acquire(kA, 2), release()} + flip));
  // Granted while the cutover begins, out until after the flip.
  OpHistory history = then_together(kDraining, {enter(3), acquire(kA, 2)});
  history.push_back({20, 21, complete(4)});
  history.push_back({22, 23, release(), 1});
  EXPECT_WRONG(history);
}

TEST(LinearizabilityChecker, CatchesAnEraseWhileAPermitIsOut) {
  EXPECT_WRONG(serial({set(kA, 1), acquire(kA, 1), erase(2), release()}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(kA, 1), acquire(kA, 1), release(), erase(2)}));
}

TEST(LinearizabilityChecker, CatchesARefusalWithWritesInFlightWhereThereAreNone) {
  EXPECT_WRONG(serial(kCutover + std::vector{complete(WritesInFlight)}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(kA, 1), release(), erase(WritesInFlight)}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(kA, 1), in_flight(0)}));
  EXPECT_WRONG(serial({set(kA, 1), in_flight(1)}));
}

TEST(LinearizabilityChecker, CatchesAPermitThatIsReleasedTwice) {
  EXPECT_WRONG(serial({set(kA, 1), acquire(kA, 1), release(), release()}));
}

TEST(LinearizabilityChecker, CatchesAReadOfTheDestinationBeforeTheFlip) {
  EXPECT_WRONG(serial(kDraining + std::vector{get(kB, 2, Draining)}));
  EXPECT_WRONG(serial(kCutover + std::vector{get(kB, 3, Cutover)}));
  EXPECT_WRONG(then_together(kDraining, {enter(3), get(kB, 3, Cutover)}));
  EXPECT_WRONG(serial(kCutover + std::vector{get(kB, 4), complete(4)}));
  EXPECT_WRONG(serial(kDraining + std::vector{acquire(kB, 2)}));
}

TEST(LinearizabilityChecker, CatchesALostSet) {
  EXPECT_WRONG(serial({set(kA, 1), set(kB, 2), get(kA, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), get_nothing()}));
  EXPECT_WRONG(serial({set(kA, 1), contains(false)}));
  EXPECT_WRONG(serial(kDraining + std::vector{set(kC, 3), enter(4)}));
}

TEST(LinearizabilityChecker, CatchesAnEraseThatIsUndone) {
  EXPECT_WRONG(serial({set(kA, 1), erase(2), get(kA, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), erase(2), contains(true)}));
  EXPECT_WRONG(serial({set(kA, 1), erase(2), erase(3)}));
  OpHistory history = then_together({set(kA, 1)}, {erase(2)});
  history.back().returned = 100;
  history.push_back({20, 21, get_nothing(), 1});
  history.push_back({22, 23, get(kA, 1), 1});
  EXPECT_WRONG(history);
}

TEST(LinearizabilityChecker, CatchesATransitionThatSucceedsTwice) {
  EXPECT_WRONG(then_together(kDraining, {enter(3), enter(4)}));
  EXPECT_WRONG(then_together(kCutover, {complete(4), complete(5)}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {begin(kB, 2), begin(kC, 3)}));
  EXPECT_RIGHT(then_together({set(kA, 1)}, {begin(kB, AlreadyMigrating), begin(kC, 3)}));
}

TEST(LinearizabilityChecker, CatchesAFencedTransitionOfASupersededMigration) {
  EXPECT_WRONG(serial(kDraining + std::vector{claim(3), enter(4, 2)}));
  EXPECT_RIGHT(serial(kDraining + std::vector{claim(3), enter(NotMigrating, 2), enter(4, 3)}));
}

TEST(LinearizabilityChecker, CatchesAWriteThatIsAdmittedWhileWritesArePaused) {
  const std::vector<Op> paused = {set(kA, 1), pause(2)};
  EXPECT_WRONG(serial(paused + std::vector{acquire(kA, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{acquire(kA, 1)}));
  EXPECT_WRONG(serial(paused + std::vector{admit(2, WriteAdmission::Admit)}));
  EXPECT_WRONG(serial(paused + std::vector{resume(3), acquire(WriteRefusal::Cutover)}));
  EXPECT_WRONG(serial(paused + std::vector{state(State::active(kA), 2)}));
  EXPECT_WRONG(serial(paused + std::vector{resume(3), get(kA, 3, Cutover)}));
  EXPECT_WRONG(then_together(paused, {claim(3), acquire(kA, 2)}));
  EXPECT_RIGHT(then_together(paused, {resume(3), acquire(kA, 3), acquire(WriteRefusal::Cutover)}));
}

TEST(LinearizabilityChecker, CatchesAPauseAndAResumeOfWhatIsNotTheirs) {
  EXPECT_WRONG(serial(kDraining + std::vector{pause(3)}));
  EXPECT_WRONG(serial(kCutover + std::vector{pause(4)}));
  EXPECT_WRONG(serial(kCutover + std::vector{resume(4)}));
  EXPECT_WRONG(serial(kDraining + std::vector{resume(3)}));
  EXPECT_WRONG(serial({set(kA, 1), resume(2)}));
  EXPECT_WRONG(serial({set(kA, 1), resume(UnknownPartition)}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {pause(2), pause(3)}));
  EXPECT_WRONG(then_together({set(kA, 1), pause(2)}, {resume(3), resume(4)}));
  EXPECT_RIGHT(then_together({set(kA, 1), pause(2)}, {resume(3), resume(NotPaused)}));
}

TEST(LinearizabilityChecker, TakesACutoverToWhereThePartitionIsForAPause) {
  EXPECT_RIGHT(serial({set(kA, 1), begin(kA, 2), resume(NotPaused), enter(3), resume(4)}));
  EXPECT_WRONG(serial({set(kA, 1), begin(kA, 2), enter(3), resume(NotPaused)}));
  EXPECT_RIGHT(serial({apply(State::migrating(kA, kA, Cutover), 5, true), resume(6)}));
}

TEST(LinearizabilityChecker, CatchesARemovalThatDoesNotWaitForItsDrain) {
  const std::vector<Op> paused = {set(kA, 1), acquire(kA, 1), pause(2)};
  EXPECT_WRONG(serial(paused + std::vector{remove_(3, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{remove_(3, 2), release()}));
  EXPECT_RIGHT(serial(paused + std::vector{release(), remove_(3, 2)}));
  // Granted while the pause begins, out until after the removal.
  OpHistory history = then_together({set(kA, 1)}, {pause(2), acquire(kA, 1)});
  history.push_back({20, 21, remove_(3, 2)});
  history.push_back({22, 23, release(), 1});
  EXPECT_WRONG(history);
}

TEST(LinearizabilityChecker, CatchesARemovalOfWhatSomebodyElseHasChanged) {
  const std::vector<Op> paused = {set(kA, 1), pause(2)};
  EXPECT_WRONG(serial(paused + std::vector{resume(3), remove_(4, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{resume(3), pause(4), remove_(5, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{claim(3), remove_(4, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{set(kB, 3), remove_(4, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{remove_(3, 2), remove_(4, 2)}));
  EXPECT_RIGHT(serial(paused + std::vector{claim(3), remove_(StaleEpoch, 2)}));
  EXPECT_WRONG(then_together(paused, {remove_(3, 2), resume(4)}));
  EXPECT_RIGHT(then_together(paused, {remove_(StaleEpoch, 2), resume(3)}));
  EXPECT_RIGHT(then_together(paused, {remove_(3, 2), resume(UnknownPartition)}));
}

TEST(LinearizabilityChecker, CatchesARemovalThatIsGivenUpWithoutNeed) {
  const std::vector<Op> paused = {set(kA, 1), pause(2)};
  EXPECT_WRONG(serial(paused + std::vector{remove_(WritesInFlight, 2)}));
  EXPECT_WRONG(serial(paused + std::vector{remove_(StaleEpoch, 2)}));
  EXPECT_RIGHT(then_together(paused, {remove_(WritesInFlight, 2), acquire(WriteRefusal::Cutover)}));
  // The way back is only for the one who paused.
  EXPECT_WRONG(serial(paused + std::vector{claim(3), abort_(4, 2)}));
}

TEST(LinearizabilityChecker, CatchesAChangeThatExpectedAnotherEpoch) {
  EXPECT_WRONG(serial({set(kA, 1), set_at(kB, 0, Epoch(2))}));
  EXPECT_WRONG(serial({set(kA, 1), set(kB, 2), set_at(kC, 1, Epoch(3))}));
  EXPECT_WRONG(serial({set(kA, 1), erase(2), set_at(kC, 2, Epoch(3))}));
  EXPECT_WRONG(serial({set(kA, 1), set(kB, 2), begin(kC, 3, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), set(kB, 2), erase(3, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), erase(2, 0)}));
}

TEST(LinearizabilityChecker, CatchesAStaleEpochThatIsNotOrThatComesSecond) {
  EXPECT_WRONG(serial({set(kA, 1), set_at(kB, 1, StaleEpoch)}));
  EXPECT_WRONG(serial({set_at(kB, 0, StaleEpoch)}));
  EXPECT_WRONG(serial({set(kA, 1), begin(kB, StaleEpoch, 1)}));
  EXPECT_WRONG(serial({set(kA, 1), erase(StaleEpoch, 1)}));
  // Before every other reason.
  EXPECT_WRONG(serial(kDraining + std::vector{begin(kC, AlreadyMigrating, 1)}));
  EXPECT_RIGHT(serial(kDraining + std::vector{begin(kC, AlreadyMigrating, 2)}));
  EXPECT_WRONG(serial({begin(kC, UnknownPartition, 1)}));
  EXPECT_WRONG(serial({erase(UnknownPartition, 1)}));
  EXPECT_RIGHT(serial({erase(UnknownPartition, 0)}));
  EXPECT_WRONG(serial({set(kA, 1), acquire(kA, 1), erase(WritesInFlight, 7)}));
}

TEST(LinearizabilityChecker, CatchesTwoThatBothWinWhatTheyComparedAndSet) {
  EXPECT_WRONG(then_together({}, {set_at(kA, 0, Epoch(1)), set_at(kB, 0, Epoch(2))}));
  EXPECT_RIGHT(then_together({}, {set_at(kA, 0, StaleEpoch), set_at(kB, 0, Epoch(2))}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {set_at(kB, 1, Epoch(2)), set_at(kC, 1, Epoch(3))}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {begin(kB, 2, 1), erase(3, 1)}));
  EXPECT_WRONG(then_together({set(kA, 1)}, {set_at(kB, 1, StaleEpoch), set_at(kC, 1, StaleEpoch)}));
}

// What the fault of a stamp that came back looks like from the partition that is gone.
TEST(LinearizabilityChecker, CatchesTheAnswersOfAnotherPartitionAtASharedEpoch) {
  const std::vector<Op> gone = {apply(State::active(kA), 10, true), erase(11)};
  EXPECT_WRONG(serial(gone + std::vector{get(kB, 10)}));
  EXPECT_WRONG(serial(gone + std::vector{get(kA, 10)}));
  EXPECT_WRONG(serial(gone + std::vector{acquire(kA, 10)}));
  EXPECT_WRONG(then_together({apply(State::active(kA), 10, true)}, {erase(11), get(kB, 10)}));
  EXPECT_WRONG(then_together({apply(State::active(kA), 10, true)}, {erase(11), acquire(kB, 10)}));
  // Granted, but counted for another.
  OpHistory history = then_together({apply(State::active(kA), 10, true)}, {acquire(kA, 10)});
  history.push_back({20, 21, erase(11), 1});
  history.push_back({22, 23, release()});
  EXPECT_WRONG(history);
}

TEST(LinearizabilityChecker, CatchesAnOldStateThatIsApplied) {
  EXPECT_WRONG(serial({apply(State::active(kA), 10, true), apply(State::active(kB), 10, true)}));
  EXPECT_WRONG(serial({apply_erase(10, true), apply(State::active(kB), 9, true)}));
  EXPECT_WRONG(serial({apply(State::active(kA), 10, false)}));
}

TEST(LinearizabilityChecker, NamesTheCallsThatHaveNoPlace) {
  const OpHistory history = serial(kCutover + std::vector{complete(4), get(kA, 3, Cutover)});
  const Verdict verdict = check_linearizable<Model>(history);
  EXPECT_EQ(verdict.order, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_NE(describe(history, verdict).find("get() -> 1|1 Cutover@3"), std::string::npos);
}

TEST(LinearizabilityChecker, CatchesAGenerationThatIsBehindOrSkips) {
  using Kind = GenerationOperation::Kind;
  const auto is_right = [](const std::vector<GenerationOperation>& ops) {
    History<GenerationOperation> history;
    for (const auto& op : ops) history.push_back({2 * history.size(), 2 * history.size() + 1, op});
    return check_linearizable<GenerationModel>(history).linearizable;
  };
  const GenerationOperation one{Kind::Draw, Epoch(1)};
  EXPECT_TRUE(is_right({one, {Kind::Read, Epoch(1)}, {Kind::Draw, Epoch(2)}}));
  EXPECT_TRUE(is_right({one, {Kind::Raise, Epoch(7)}, {Kind::Draw, Epoch(8)}}));
  EXPECT_FALSE(is_right({one, {Kind::Read, Epoch(0)}}));
  EXPECT_FALSE(is_right({one, {Kind::Draw, Epoch(1)}}));
  EXPECT_FALSE(is_right({one, {Kind::Draw, Epoch(3)}}));
  EXPECT_FALSE(is_right({{Kind::Read, Epoch(1)}, one}));
  EXPECT_FALSE(is_right({one, {Kind::Raise, Epoch(7)}, {Kind::Read, Epoch(1)}}));
}

// ---- against trying every order ----

bool some_order_explains(const OpHistory& history) {
  std::vector<std::size_t> order(history.size());
  std::iota(order.begin(), order.end(), 0U);
  do {
    std::optional<Model::State> now = Model::State();
    for (std::size_t i = 0; i < order.size() && now; ++i) {
      for (std::size_t later = i + 1; later < order.size(); ++later) {
        if (history[order[later]].returned < history[order[i]].called) now.reset();
      }
      if (now) now = Model::step(*now, history[order[i]].operation);
    }
    if (now) return true;
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

// One of few operations, with a result that is right in some state.
Op random_op(Random& random) {
  const std::uint64_t epoch = 1 + below(random, 4);
  const Pair place = below(random, 2) == 0 ? kA : kB;
  switch (below(random, 13)) {
    case 0:
    case 1:
      return set(place, epoch);
    case 2:
      return begin(place, epoch);
    case 3:
      return enter(epoch);
    case 4:
      return complete(epoch);
    case 5:
      return erase(epoch);
    case 6:
      return acquire(place, epoch);
    case 7:
      return release();
    case 8:
      return contains(below(random, 2) == 0);
    case 9:
      return pause(epoch);
    case 10:
      return resume(epoch);
    case 11:
      return remove_(epoch, epoch - 1);
    default:
      return get(place, epoch);
  }
}

TEST(LinearizabilityChecker, AgreesWithTryingEveryOrder) {
  constexpr std::size_t kCalls = 5;
  Random random = make_random();
  std::size_t right = 0;
  std::size_t wrong = 0;
  for (std::uint64_t round = 0; round < work(10'000); ++round) {
    // Short of the last, calls that one thread could have made: so some histories are right.
    OpHistory history;
    Model::State now;
    while (history.size() < kCalls) {
      const Op op = random_op(random);
      const std::optional<Model::State> next = Model::step(now, op);
      const bool is_last = history.size() + 1 == kCalls;
      if (!next && !is_last) continue;
      if (next) now = *next;
      const std::uint64_t effect = 1'000 + 100 * history.size();
      const std::uint64_t unique = history.size();
      history.push_back({effect - 10 * below(random, 20) + unique,
                         effect + 10 * below(random, 20) + unique + kCalls, op});
    }
    const Verdict verdict = check_linearizable<Model>(history);
    ASSERT_EQ(verdict.linearizable, some_order_explains(history)) << describe(history, verdict);
    ++(verdict.linearizable ? right : wrong);
  }
  EXPECT_GT(right, work(10'000) / 20);
  EXPECT_GT(wrong, work(10'000) / 20);
}

}  // namespace
}  // namespace placement::test
