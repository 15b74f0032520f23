// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_PARTITION_MODEL_HPP_
#define PLACEMENT_TESTS_SUPPORT_PARTITION_MODEL_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <placement/epoch.hpp>
#include <placement/migration.hpp>
#include <placement/write_permit.hpp>

#include "linearizability.hpp"
#include "reference_table.hpp"

namespace placement::test {

enum class Method {
  Set,
  BeginMigration,
  EnterCutover,
  CompleteMigration,
  AbortMigration,
  ClaimMigration,
  PauseWrites,
  ResumeWrites,
  Erase,
  EraseDrained,  // the second step of an erase_until, of which PauseWrites is the first
  Apply,
  ApplyErase,
  ForgetErased,  // of every epoch
  Get,
  AdmitWrite,
  State,
  Contains,
  AcquireWrite,
  Release,
  WritesInFlight,
};

inline constexpr std::array kMethodNames = {"set",
                                            "begin_migration",
                                            "enter_cutover",
                                            "complete_migration",
                                            "abort_migration",
                                            "claim_migration",
                                            "pause_writes",
                                            "resume_writes",
                                            "erase",
                                            "erase, drained",
                                            "apply",
                                            "apply_erase",
                                            "forget_erased",
                                            "get",
                                            "admit_write",
                                            "state",
                                            "contains",
                                            "acquire_write",
                                            "release",
                                            "writes_in_flight"};

inline std::ostream& operator<<(std::ostream& out, Method method) {
  return out << kMethodNames[static_cast<std::size_t>(method)];
}

// What acquire_write answered: where to write, or why not.
template <typename P>
struct Granted {
  P placement;
  Epoch epoch;

  friend bool operator==(const Granted&, const Granted&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Granted& granted) {
    return out << "permit for " << granted.placement << '@' << granted.epoch;
  }
};

// One operation on one partition, with its result.
template <typename P>
struct PartitionOperation {
  using PlacementAt = BasicPlacementAt<P>;
  using State = BasicPartitionState<P>;
  using StateAt = BasicStateAt<P>;
  using Result =
      std::variant<std::monostate, TransitionResult, std::optional<PlacementAt>, WriteAdmission,
                   std::optional<StateAt>, bool, Granted<P>, WriteRefusal, std::size_t>;

  Method method = Method::Get;
  std::optional<P> placement{};  // the argument of set and begin_migration
  std::optional<State> state{};  // that of apply
  std::optional<Epoch> epoch{};  // that of admit_write, apply and apply_erase; or the one expected
  Result result{};
  // The acquire_writes under way meanwhile that may be counted for an instant, granted or not.
  std::size_t passing_writes = 0;

  friend std::ostream& operator<<(std::ostream& out, const PartitionOperation& operation) {
    out << operation.method << '(';
    if (operation.placement) out << *operation.placement;
    if (operation.state) out << *operation.state << ", ";
    if (operation.epoch) out << *operation.epoch;
    out << ") -> ";
    std::visit(
        [&out](const auto& answer) {
          using R = std::remove_cvref_t<decltype(answer)>;
          if constexpr (std::is_same_v<R, std::monostate>) {
            out << "done";
          } else if constexpr (std::is_same_v<R, std::optional<PlacementAt>>) {
            if (!answer) {
              out << "nothing";
            } else {
              out << answer->placement << ' ' << answer->phase << '@' << answer->epoch;
            }
          } else if constexpr (std::is_same_v<R, std::optional<StateAt>>) {
            if (!answer) {
              out << "nothing";
            } else {
              out << answer->state << '@' << answer->epoch;
            }
          } else if constexpr (std::is_same_v<R, bool>) {
            out << (answer ? "true" : "false");
          } else {
            out << answer;
          }
        },
        operation.result);
    if (operation.passing_writes != 0) out << " (" << operation.passing_writes << " passing)";
    return out;
  }
};

// One partition, for one thread: the tables of the state machine, the partition's epoch and the
// count of the permits that are out. Which epoch a success stamps is the whole table's affair
// (GenerationModel); of one partition it is known that it grows.
template <typename P>
struct PartitionModel {
  using Operation = PartitionOperation<P>;

  struct State {
    Standing standing = Standing::Absent;
    std::optional<P> from{};  // unless it is absent
    std::optional<P> to{};    // while it migrates
    Epoch epoch{};            // of the last change; once there was one, also while it is absent
    std::size_t permits = 0;

    friend bool operator==(const State&, const State&) = default;
  };

  // The epoch is all but unique to the state.
  static std::size_t hash(const State& state) {
    return std::hash<Epoch>()(state.epoch) * 31 + state.permits;
  }

  static std::optional<State> step(const State& state, const Operation& operation) {
    switch (operation.method) {
      case Method::Set:
        return change(state, operation, test::Operation::Set);
      case Method::BeginMigration:
        return change(state, operation, test::Operation::BeginMigration);
      case Method::EnterCutover:
        return change(state, operation, test::Operation::EnterCutover);
      case Method::CompleteMigration:
        return change(state, operation, test::Operation::CompleteMigration);
      case Method::AbortMigration:
        return change(state, operation, test::Operation::AbortMigration);
      case Method::ClaimMigration:
        return change(state, operation, test::Operation::ClaimMigration);
      case Method::PauseWrites:
        return change(state, operation, test::Operation::PauseWrites);
      case Method::ResumeWrites:
        return change(state, operation, test::Operation::ResumeWrites);
      case Method::Erase:
        return change(state, operation, test::Operation::Erase);
      case Method::EraseDrained:
        return change(state, operation, test::Operation::EraseDrained);
      case Method::Apply:
      case Method::ApplyErase:
        return apply(state, operation);
      case Method::ForgetErased:
        return forget(state);
      case Method::Get:
        return unchanged_if(operation.result == result_of(get(state)), state);
      case Method::AdmitWrite:
        return unchanged_if(operation.result == result_of(admit_write(state, *operation.epoch)),
                            state);
      case Method::State:
        return unchanged_if(operation.result == result_of(state_at(state)), state);
      case Method::Contains:
        return unchanged_if(operation.result == result_of(state.standing != Standing::Absent),
                            state);
      case Method::AcquireWrite:
        return acquire(state, operation);
      case Method::Release:
        return release(state);
      case Method::WritesInFlight:
        break;
    }
    const std::size_t count = std::get<std::size_t>(operation.result);
    return unchanged_if(count >= state.permits && count - state.permits <= operation.passing_writes,
                        state);
  }

 private:
  using Result = typename Operation::Result;
  using Next = std::optional<State>;

  template <typename R>
  static Result result_of(R result) {
    return Result(std::in_place_type<R>, result);
  }
  static Next unchanged_if(bool right, const State& state) {
    return right ? Next(state) : std::nullopt;
  }
  static bool is_superseded(const State& state, const Operation& operation) {
    const Epoch own = state.standing == Standing::Absent ? Epoch::zero() : state.epoch;
    return operation.epoch && *operation.epoch != own;
  }

  static Next change(const State& state, const Operation& operation, test::Operation what) {
    using Place = Answer::Place;
    Answer answer = answer_of(state.standing, what);
    if (is_superseded(state, operation)) answer.refusal = refusal_of_stale(state.standing, what);
    const TransitionResult& result = std::get<TransitionResult>(operation.result);
    if (answer.refusal) return unchanged_if(result == *answer.refusal, state);
    if (answer.needs_drain) {
      if (result == MigrationError::WritesInFlight) {
        return unchanged_if(state.permits + operation.passing_writes > 0, state);
      }
      if (state.permits > 0) return std::nullopt;
    }
    if (!result || *result <= state.epoch) return std::nullopt;
    State next;
    next.epoch = *result;
    next.permits = state.permits;
    if (answer.next == Standing::Absent) return next;
    const auto from = [&](Place place) {
      if (place == Place::Argument) return operation.placement;
      return place == Place::Destination ? state.to : state.from;
    };
    next.from = from(answer.origin);
    if (answer.destination != Place::None) next.to = from(answer.destination);
    next.standing = settle(answer.next, next.from == next.to);
    return next;
  }

  static Next apply(const State& state, const Operation& operation) {
    const bool is_news = *operation.epoch > state.epoch;
    if (std::get<bool>(operation.result) != is_news) return std::nullopt;
    if (!is_news) return state;
    State next;
    next.epoch = *operation.epoch;
    next.permits = state.permits;
    if (operation.method == Method::ApplyErase) return next;
    next.from = operation.state->read_placement();
    next.to = operation.state->destination();
    next.standing = operation.state->phase() == MigrationPhase::Draining ? Standing::Draining
                    : operation.state->phase() == MigrationPhase::Cutover
                        ? settle(Standing::Cutover, next.from == next.to)
                        : Standing::Active;
    return next;
  }

  // Where an acquire_write passes it may be put off: so nothing is to be applied after that.
  static Next forget(State state) {
    if (state.standing == Standing::Absent && state.permits == 0) state.epoch = Epoch::zero();
    return state;
  }

  static std::optional<BasicPlacementAt<P>> get(const State& state) {
    if (state.standing == Standing::Absent) return std::nullopt;
    return BasicPlacementAt<P>{*state.from, state.epoch, phase_of(state.standing)};
  }

  static std::optional<BasicStateAt<P>> state_at(const State& state) {
    using PartitionState = BasicPartitionState<P>;
    if (state.standing == Standing::Absent) return std::nullopt;
    if (!is_migrating(state.standing)) {
      return BasicStateAt<P>{PartitionState::active(*state.from), state.epoch};
    }
    return BasicStateAt<P>{
        PartitionState::migrating(*state.from, *state.to, phase_of(state.standing)), state.epoch};
  }

  static bool is_open(const State& state) {
    return state.standing == Standing::Active || state.standing == Standing::Draining;
  }

  static WriteAdmission admit_write(const State& state, Epoch epoch) {
    return is_open(state) && state.epoch == epoch ? WriteAdmission::Admit : WriteAdmission::Reject;
  }

  static Next acquire(const State& state, const Operation& operation) {
    std::optional<WriteRefusal> refusal;
    if (operation.epoch && *operation.epoch != state.epoch) refusal = WriteRefusal::StaleEpoch;
    if (is_in_cutover(state.standing)) refusal = WriteRefusal::Cutover;
    if (state.standing == Standing::Absent) refusal = WriteRefusal::UnknownPartition;
    if (refusal) return unchanged_if(operation.result == result_of(*refusal), state);
    if (operation.result != result_of(Granted<P>{*state.from, state.epoch})) return std::nullopt;
    State next = state;
    ++next.permits;
    return next;
  }

  static Next release(const State& state) {
    if (state.permits == 0) return std::nullopt;
    State next = state;
    --next.permits;
    return next;
  }
};

// Counts the passing writes. An acquire_write counts itself before it knows whether it may, so
// whatever overlaps it may find it counted: on its own partition, and also on another, if its own
// was erased meanwhile and the other got its counter. `histories` are those of one table, a
// partition each.
template <typename P>
void count_passing_writes(std::vector<History<PartitionOperation<P>>>& histories) {
  using Recorded = Call<PartitionOperation<P>>;
  std::vector<std::pair<std::size_t, const Recorded*>> writes;  // by partition
  std::vector<const Recorded*> strays;                          // those of an erased partition
  for (std::size_t partition = 0; partition < histories.size(); ++partition) {
    std::vector<const Recorded*> erases;
    for (const Recorded& call : histories[partition]) {
      const Method method = call.operation.method;
      if (method != Method::Erase && method != Method::EraseDrained) continue;
      if (std::get<TransitionResult>(call.operation.result)) erases.push_back(&call);
    }
    for (const Recorded& call : histories[partition]) {
      if (call.operation.method != Method::AcquireWrite) continue;
      writes.emplace_back(partition, &call);
      for (const Recorded* const erase : erases) {
        if (!erase->overlaps(call)) continue;
        strays.push_back(&call);
        break;
      }
    }
  }
  for (std::size_t partition = 0; partition < histories.size(); ++partition) {
    for (Recorded& call : histories[partition]) {
      PartitionOperation<P>& operation = call.operation;
      const auto* const result = std::get_if<TransitionResult>(&operation.result);
      const bool looks = operation.method == Method::WritesInFlight ||
                         (result != nullptr && *result == MigrationError::WritesInFlight);
      operation.passing_writes = 0;
      if (!looks) continue;
      for (const auto& [of, write] : writes) {
        if (of == partition && write->overlaps(call)) ++operation.passing_writes;
      }
      for (const Recorded* const write : strays) {
        const auto& own = histories[partition];
        const bool is_own = write >= own.data() && write < own.data() + own.size();
        if (!is_own && write->overlaps(call)) ++operation.passing_writes;
      }
    }
  }
}

// The table's generation: every success draws the next epoch, apply raises it.
struct GenerationOperation {
  enum class Kind { Draw, Raise, Read };

  Kind kind = Kind::Read;
  Epoch epoch{};

  friend std::ostream& operator<<(std::ostream& out, const GenerationOperation& operation) {
    constexpr std::array kNames = {"draw ", "raise to ", "current_epoch() -> "};
    return out << kNames[static_cast<std::size_t>(operation.kind)] << operation.epoch;
  }
};

struct GenerationModel {
  using State = Epoch;
  using Operation = GenerationOperation;

  static std::size_t hash(const State& now) { return std::hash<Epoch>()(now); }

  static std::optional<State> step(const State& now, const Operation& operation) {
    switch (operation.kind) {
      case Operation::Kind::Draw:
        if (operation.epoch.value() != now.value() + 1) return std::nullopt;
        return operation.epoch;
      case Operation::Kind::Raise:
        return operation.epoch > now ? operation.epoch : now;
      case Operation::Kind::Read:
        break;
    }
    if (operation.epoch != now) return std::nullopt;
    return now;
  }
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_PARTITION_MODEL_HPP_
