// SPDX-License-Identifier: Apache-2.0
//
// The rules of the fleet's protocol that can be named. Every rule holds in every program; the
// simulation alone takes one away, to find what it prevents (docs/fleet-protocol.md).
#ifndef PLACEMENT_FLEET_DETAIL_RULES_HPP_
#define PLACEMENT_FLEET_DETAIL_RULES_HPP_

#include <array>
#include <cstddef>
#include <string_view>

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

enum class Rule {
  // of a session (detail/session_machine.hpp)
  HeartbeatCompares,
  LeaseFromSending,
  LeaseMargin,
  AdoptOwnPut,
  HistoryCompared,
  OlderSeqIsLost,
  // of a router (detail/member_machine.hpp)
  ServeAfterHead,
  AppliedBeforeList,
  WholeRevision,
  HeadContinuity,
  WatchRenewed,
  SnapshotErases,
  SnapshotReads,
  OwnPermitsFirst,
  HeadNeverBack,
  StartChecksFile,
  AbortCompares,
  // of whoever answers a router's clients
  AdmitUnderLease,
  ConfirmLease,
  ConfirmSession,
  ConfirmAfterAnswer,
  ReadsConfirm,
  StrictReadsHeld,
  StrictReadsCounted,
  // of a controller (detail/controller_machine.hpp)
  DrainEverywhere,
  UndrainedCounted,
  ListByLoad,
  ListAtCutover,
  WholeSilence,
  SilenceMargin,
  SilenceOfItsOwn,
  FenceCompares,
  FencedWait,
  RecordCompared,
  PartitionCompared,
  UnknownIsSettled,
  CleanAfterApplied,
  CleanAfterReads,
  RecordUntilClean,
  SilentFirst,
  TakeOverAfterSilence,
  ClaimNewEpoch,
  // of a mover
  MoversFenced,
  UserNamedFirst,
  UsersFencedLast,
  CopyAnew,
  FeedFirst,
  FeedToMark,
  OwnershipByClock,
  NewAttemptWaits,
};

inline constexpr std::array kRuleNames = std::to_array<std::string_view>({
    "HeartbeatCompares",    "LeaseFromSending", "LeaseMargin",       "AdoptOwnPut",
    "HistoryCompared",      "OlderSeqIsLost",   "ServeAfterHead",    "AppliedBeforeList",
    "WholeRevision",        "HeadContinuity",   "WatchRenewed",      "SnapshotErases",
    "SnapshotReads",        "OwnPermitsFirst",  "HeadNeverBack",     "StartChecksFile",
    "AbortCompares",        "AdmitUnderLease",  "ConfirmLease",      "ConfirmSession",
    "ConfirmAfterAnswer",   "ReadsConfirm",     "StrictReadsHeld",   "StrictReadsCounted",
    "DrainEverywhere",      "UndrainedCounted", "ListByLoad",        "ListAtCutover",
    "WholeSilence",         "SilenceMargin",    "SilenceOfItsOwn",   "FenceCompares",
    "FencedWait",           "RecordCompared",   "PartitionCompared", "UnknownIsSettled",
    "CleanAfterApplied",    "CleanAfterReads",  "RecordUntilClean",  "SilentFirst",
    "TakeOverAfterSilence", "ClaimNewEpoch",    "MoversFenced",      "UserNamedFirst",
    "UsersFencedLast",      "CopyAnew",         "FeedFirst",         "FeedToMark",
    "OwnershipByClock",     "NewAttemptWaits",
});

[[nodiscard]] constexpr std::string_view to_string(Rule rule) noexcept {
  return kRuleNames[static_cast<std::size_t>(rule)];
}
static_assert(kRuleNames.size() == static_cast<std::size_t>(Rule::NewAttemptWaits) + 1);

// What a program uses: all of them, at no cost.
struct EveryRule {
  [[nodiscard]] static constexpr bool holds(Rule /*rule*/) noexcept { return true; }
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_RULES_HPP_
