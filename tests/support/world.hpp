// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_WORLD_HPP_
#define PLACEMENT_TESTS_SUPPORT_WORLD_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <absl/time/time.h>
#include <placement/partition_ref.hpp>
#include <placement/placement_table.hpp>

#include "command.hpp"
#include "history.hpp"
#include "kinds.hpp"
#include "manual_clock.hpp"
#include "metered_memory.hpp"
#include "reference_table.hpp"

namespace placement::test {

// ---- how things are shown ----

// Text of any bytes, on one line, with the middle of a long one left out.
inline std::string in_quotes(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto escape = [&](std::string_view part) {
    std::string out;
    for (const char c : part) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= ' ' && byte < 0x7f && c != '"' && c != '\\') {
        out += c;
      } else {
        out += {'\\', 'x', kDigits[byte / 16], kDigits[byte % 16]};
      }
    }
    return out;
  };
  if (text.size() <= 40) return '"' + escape(text) + '"';
  return '"' + escape(text.substr(0, 8)) + "..." + escape(text.substr(text.size() - 8)) + "\" (" +
         std::to_string(text.size()) + " bytes)";
}

template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return in_quotes(value);
  } else {
    std::ostringstream out;
    out << value;
    return out.str();
  }
}
template <typename P>
std::string show(const BasicPlacementAt<P>& at) {
  return show(at.placement) + ' ' + show(at.phase) + " at epoch " + show(at.epoch);
}
template <typename P>
std::string show(const BasicStateAt<P>& at) {
  return show(at.state) + " at epoch " + show(at.epoch);
}
inline std::string show(const HeldWriteStats& stats) {
  return show(stats.count) + ", the longest " + absl::FormatDuration(stats.longest);
}
template <typename T>
std::string show(const std::optional<T>& value) {
  return value ? show(*value) : "nothing";
}

inline absl::Duration duration_of(std::uint8_t choice) {
  constexpr std::array kNanoseconds = {std::int64_t{5'000'000'000}, std::int64_t{1},
                                       std::int64_t{0}, std::int64_t{3'600'000'000'000}};
  return absl::Nanoseconds(kNanoseconds[choice % kNanoseconds.size()]);
}

// The command as one would write it, with this kind's ids.
template <typename Kind>
std::string describe(const Command& command) {
  std::string text(kVerbs[static_cast<std::size_t>(command.verb)].name);
  const auto place = [](std::size_t n) {
    return show(nth_placement<typename Kind::P>(n % kFewPlacements));
  };
  const std::string id = show(Kind::id(command.id % kFewIds));
  constexpr std::array<std::string_view, 6> kExpected = {"",
                                                         "",
                                                         ", expecting its epoch",
                                                         ", expecting an older epoch",
                                                         ", expecting a newer epoch",
                                                         ", expecting epoch 0"};
  const std::string expected(kExpected[command.b % kExpected.size()]);
  switch (command.verb) {
    case Verb::Set:
    case Verb::BeginMigration:
      return text + '(' + id + ", " + place(command.a) + expected + ')';
    case Verb::Erase:
    case Verb::EnterCutover:
    case Verb::CompleteMigration:
    case Verb::AbortMigration:
    case Verb::ClaimMigration:
      return text + '(' + id + expected + ')';
    case Verb::AcquireWrite:
      if (command.a % 2 != 0) text += " through a reference";
      return text + '(' + id + expected + ')';
    case Verb::Release:
      return text + " permit " + std::to_string(command.a);
    case Verb::Quarantine:
      return text + " permit " + std::to_string(command.a) + " for " +
             absl::FormatDuration(duration_of(command.b));
    case Verb::Advance:
      return text + ' ' + absl::FormatDuration(duration_of(command.a));
    case Verb::Hold:
      return text + '(' + id + ", then " +
             (command.b % 3 == 0   ? "nothing"
              : command.b % 3 == 1 ? "acquire_write"
                                   : "set(the next id, " + place(command.a) + ')') +
             ')';
    case Verb::Cancel:
      return text + " ticket " + std::to_string(command.a);
    case Verb::Apply: {
      constexpr std::array<std::string_view, 3> kPhases = {"Active", "Draining", "Cutover"};
      text += '(' + id + ", ";
      text += kPhases[command.b % 3];
      text += ' ' + place(command.a);
      if (command.b % 3 != 0) text += " -> " + place(command.a / kFewPlacements);
      break;
    }
    case Verb::ApplyErase:
      text += '(' + id;
      break;
    case Verb::ForgetErased:
    case Verb::Crowd:
    case Verb::Disperse:
    case Verb::ForEach:
    case Verb::Reserve:
    case Verb::FailAllocation:
      return text + " (" + std::to_string(command.a) + ", " + std::to_string(command.b) + ')';
    case Verb::MovePermits:
    case Verb::Migrations:
      return text;
    default:
      return text + '(' + id + ')';
  }
  constexpr std::array<std::string_view, 8> kEpochs = {"the next epoch",
                                                       "an epoch ahead",
                                                       "the table's epoch",
                                                       "the partition's epoch",
                                                       "the epoch after its own",
                                                       "the epoch before its own",
                                                       "epoch 0",
                                                       "an epoch beyond the greatest"};
  text += ", ";
  text += kEpochs[command.b / 3 % kEpochs.size()];
  return text + ')';
}

// ---- the world ----

// A second table, which is told of every change of a first one and applies it; and whether it was
// told rightly.
template <typename Id, typename P>
class Replica final : public BasicTableObserver<Id, P> {
  using Table = BasicPlacementTable<Id, P>;
  using Change = BasicPartitionChange<Id, P>;

 public:
  void on_change(const Change& change) noexcept override {
    ++told_[static_cast<std::size_t>(change.transition)];
    const auto before = table_.state(change.id);
    if (before.has_value() != change.before.has_value() ||
        (before && before->state != *change.before)) {
      wrong_ = "the observer is told of another state before";
    }
    const bool taken = change.after ? table_.apply(change.id, *change.after, change.epoch)
                                    : table_.apply_erase(change.id, change.epoch);
    if (!taken) wrong_ = "the observer is told of an epoch that is not news";
    // Its source forgets as well, some at once: what comes later is not older.
    if (!change.after) table_.forget_erased(Epoch::max());
  }

  [[nodiscard]] const Table& table() const { return table_; }
  [[nodiscard]] const auto& told() const { return told_; }
  [[nodiscard]] std::string_view wrong() const { return wrong_; }

 private:
  Table table_{TableOptions{.shards = 2}};
  decltype(TableStats::transitions_by_kind) told_{};
  std::string_view wrong_;
};

// One table and the reference for it. Every command is given to both, and every answer compared:
// the command's own, then whatever a reader of its partition can see. Throws Mismatch.
template <typename Kind>
class World {
  using Id = typename Kind::Id;
  using P = typename Kind::P;
  using Table = BasicPlacementTable<Id, P>;
  using Reference = ReferenceTable<Id, P>;
  using Permit = typename Table::Permit;
  using State = typename Table::State;

 public:
  World(const Scale& scale, Sights& sights) : sights_(sights), crowd_(scale.crowd) {
    table_.emplace(TableOptions{.shards = scale.shards,
                                .max_held_writes = kMostHeld,
                                .max_held_writes_per_partition = kMostHeldOfOne,
                                .memory = &memory_,
                                .clock = &clock_,
                                .observer = scale.shards == 2 ? nullptr : &replica_});
    is_observed_ = scale.shards != 2;
  }
  ~World() { cancel_all(); }  // after a mismatch; else after finish()
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void run(const Command& command) {
    const Id id = Kind::id(command.id % kFewIds);
    perform(command, id);
    check_reads(id);
    sights_.largest = std::max(sights_.largest, reference_.size());
  }

  // The table as a whole.
  void check_all() {
    for (std::size_t n = 0; n < kFewIds; ++n) check_partition(Kind::id(n));
    for_each(Visitor::Looks, 0);
    get_many();
    migrations();
    stats();
    replicated();
  }

  // Gives back what is out, and the table its memory.
  void finish() {
    check_all();
    permits_.clear();
    for (const auto& [number, held] : held_) reference_.cancel(number);
    cancel_all();
    clock_.advance(absl::Hours(10));
    for (std::size_t n = 0; n < kFewIds; ++n) {
      expect_same(table_->writes_in_flight(Kind::id(n)), std::size_t{0},
                  "writes in flight at the end");
    }
    consulted_.clear();
    neglected_.clear();
    table_.reset();
    expect_same(memory_.bytes(), std::size_t{0}, "bytes that the table did not give back");
  }

 private:
  static constexpr std::size_t kMostHeld = 3;  // of so few, so that there are too many at times
  static constexpr std::size_t kMostHeldOfOne = 2;
  static constexpr std::size_t kMostTickets = 8;
  static constexpr std::size_t kMostPermits = 5;
  static constexpr std::size_t kMostOthers = 700;

  enum class Resuming { DoesNothing, AcquiresAWrite, SetsTheNext };
  enum class Visitor { Looks, Throws, Changes };

  struct Out {
    Id id;
    Permit permit;
  };
  struct Held {
    std::size_t id;  // among the few
    Resuming resuming;
    std::uint8_t place;
    HoldTicket ticket;
  };
  // What a held write did when the table resumed it.
  struct Resumed {
    std::uint64_t number;
    std::optional<Permit> permit;
    std::optional<Epoch> set_at;
  };

  static P place(std::size_t n) { return nth_placement<P>(n % kFewPlacements); }

  [[noreturn]] static void fail(const std::string& what) { throw Mismatch(what); }

  template <typename T>
  static void expect_same(const T& table, const T& reference, std::string_view what) {
    if (table == reference) return;
    fail(std::string(what) + ": the table says " + show(table) + ", the reference " +
         show(reference));
  }
  static void expect_same(const HeldWriteStats& table, const HeldWriteStats& reference,
                          std::string_view what) {
    if (table.count == reference.count && table.longest == reference.longest) return;
    fail(std::string(what) + ": the table says " + show(table) + ", the reference " +
         show(reference));
  }

  // Asks the table, then the reference, then follows up on what was resumed. An allocation that was
  // made to fail excuses the table, and then nothing may have changed.
  template <typename AskTable, typename AskReference>
  auto both(std::string_view what, AskTable ask_table, AskReference ask_reference)
      -> std::optional<decltype(ask_reference())> {
    const std::size_t failures = memory_.failures();
    std::optional<decltype(ask_reference())> answer;
    try {
      answer.emplace(ask_table());
    } catch (const std::bad_alloc&) {
      if (memory_.failures() == failures) fail("bad_alloc, but no allocation failed");
      ++sights_.failed_allocations;
      if (!resumed_.empty()) fail("a held write was resumed by a change that was not made");
      return std::nullopt;
    }
    const auto expected = ask_reference();
    expect_same(*answer, expected, what);
    follow(reference_.take_resumed());
    if (!resumed_.empty()) fail("a held write was resumed that should not have been");
    return expected;
  }

  bool transition(std::string_view what, auto ask_table, auto ask_reference) {
    const std::optional<TransitionResult> result = both(what, ask_table, ask_reference);
    ++(result && *result ? sights_.changes : sights_.refusals);
    if (result == MigrationError::WritesInFlight) ++sights_.flips_refused_for_writes;
    if (result == MigrationError::StaleEpoch) ++sights_.stale;
    return result && *result;
  }

  void perform(const Command& command, const Id& id) {
    const std::optional<Epoch> expected = expected_epoch(id, command.b);
    switch (command.verb) {
      case Verb::Set:
        if (expected) {
          transition(
              "set, if", [&] { return table_->set(id, place(command.a), *expected); },
              [&] { return reference_.set(id, place(command.a), *expected); });
        } else {
          set(id, place(command.a));
        }
        break;
      case Verb::BeginMigration:
        transition(
            "begin_migration",
            [&] { return table_->begin_migration(id, place(command.a), expected); },
            [&] { return reference_.begin_migration(id, place(command.a), expected); });
        break;
      case Verb::EnterCutover:
        transition(
            "enter_cutover", [&] { return table_->enter_cutover(id, expected); },
            [&] { return reference_.enter_cutover(id, expected); });
        break;
      case Verb::CompleteMigration:
        if (transition(
                "complete_migration", [&] { return table_->complete_migration(id, expected); },
                [&] { return reference_.complete_migration(id, expected); })) {
          ++sights_.flips;
        }
        break;
      case Verb::AbortMigration:
        transition(
            "abort_migration", [&] { return table_->abort_migration(id, expected); },
            [&] { return reference_.abort_migration(id, expected); });
        break;
      case Verb::ClaimMigration:
        transition(
            "claim_migration", [&] { return table_->claim_migration(id, expected); },
            [&] { return reference_.claim_migration(id, expected); });
        break;
      case Verb::PauseWrites:
        if (transition(
                "pause_writes", [&] { return table_->pause_writes(id); },
                [&] { return reference_.pause_writes(id); })) {
          ++sights_.pauses;
        }
        break;
      case Verb::ResumeWrites:
        transition(
            "resume_writes", [&] { return table_->resume_writes(id); },
            [&] { return reference_.resume_writes(id); });
        break;
      case Verb::Erase:
        erase(id, expected);
        break;
      case Verb::EraseInNoTime:
        if (both(
                "erase_until", [&] { return table_->erase_until(id, absl::InfinitePast()); },
                [&] { return reference_.erase_in_no_time(id); }) ==
            MigrationError::WritesInFlight) {
          ++sights_.erasures_given_up;
        }
        break;
      case Verb::AcquireWrite: {
        Permit permit = expected ? table_->acquire_write(id, *expected) : table_->acquire_write(id);
        check_permit(id, std::move(permit), reference_.acquire_write(id, expected));
        break;
      }
      case Verb::AcquireInNoTime: {
        Permit permit = table_->acquire_write_until(id, absl::InfinitePast());
        check_permit(id, std::move(permit), reference_.acquire_write_in_no_time(id));
        break;
      }
      case Verb::Release:
        if (!permits_.empty()) release(command.a % permits_.size());
        break;
      case Verb::Quarantine:
        if (!permits_.empty()) quarantine(command.a % permits_.size(), duration_of(command.b));
        break;
      case Verb::MovePermits:
        if (!permits_.empty()) move_permits();
        break;
      case Verb::Advance:
        clock_.advance(duration_of(command.a));
        reference_.advance(duration_of(command.a));
        break;
      case Verb::WritesInFlight:
        expect_same(table_->writes_in_flight(id), reference_.writes_in_flight(id),
                    "writes_in_flight");
        break;
      case Verb::WaitInNoTime:
        expect_same(table_->wait_until_drained(id, absl::InfinitePast()),
                    reference_.writes_in_flight(id) == 0, "wait_until_drained");
        break;
      case Verb::Hold:
        hold(command);
        break;
      case Verb::Cancel:
        if (!held_.empty()) cancel(std::next(held_.begin(), command.a % ssize(held_)));
        break;
      case Verb::HeldWrites:
        expect_same(table_->held_writes(id), reference_.held_writes(id), "held_writes");
        break;
      case Verb::Apply: {
        const P from = place(command.a);
        const P to = place(command.a / kFewPlacements);
        const State state = command.b % 3 == 0 ? State::active(from)
                            : command.b % 3 == 1
                                ? State::migrating(from, to, MigrationPhase::Draining)
                                : State::migrating(from, to, MigrationPhase::Cutover);
        const Epoch epoch = applied_epoch(id, command.b / 3);
        const bool is_shared = epoch <= reference_.current_epoch();
        if (both(
                "apply", [&] { return table_->apply(id, state, epoch); },
                [&] { return reference_.apply(id, state, epoch); }) == true) {
          ++sights_.applied;
          if (is_shared) ++sights_.applied_at_a_shared_epoch;
        }
        break;
      }
      case Verb::ApplyErase: {
        const Epoch epoch = applied_epoch(id, command.b / 3);
        if (both(
                "apply_erase", [&] { return table_->apply_erase(id, epoch); },
                [&] { return reference_.apply_erase(id, epoch); }) == true) {
          ++sights_.applied;
        }
        break;
      }
      case Verb::ForgetErased: {
        const std::uint64_t now = reference_.current_epoch().value();
        const Epoch up_to(now + 1 - std::min<std::uint64_t>(now + 1, command.a % 16));
        table_->forget_erased(up_to);
        reference_.forget_erased(up_to);
        break;
      }
      case Verb::Crowd:
        crowd(1 + command.a % 40U);
        break;
      case Verb::Disperse:
        disperse(1 + command.a % 60U);
        break;
      case Verb::ForEach:
        for_each(static_cast<Visitor>(command.a % 3), command.b);
        break;
      case Verb::Migrations:
        migrations();
        break;
      case Verb::Reserve:
        reserve(command);
        break;
      case Verb::FailAllocation:
        memory_.fail_at(command.a % 4);
        break;
    }
  }

  std::optional<Epoch> expected_epoch(const Id& id, std::uint8_t choice) const {
    const std::uint64_t own = reference_.newest(id).value();
    switch (choice % 6) {
      case 2:
        return Epoch(own);
      case 3:
        return Epoch(own - 1);
      case 4:
        return Epoch(own + 1);
      case 5:
        return Epoch::zero();
      default:
        return std::nullopt;
    }
  }

  // Epochs are newer for the partition, or not; others may have them.
  Epoch applied_epoch(const Id& id, unsigned choice) const {
    const std::uint64_t now = reference_.current_epoch().value();
    const std::uint64_t own = reference_.newest(id).value();
    switch (choice % 8) {
      case 0:
        return Epoch(now + 1);
      case 1:
        return Epoch(now + 3);  // which leaves two for those that are late
      case 2:
        return Epoch(now);
      case 3:
        return Epoch(own);
      case 4:
        return Epoch(own + 1);
      case 5:
        return Epoch(own == 0 ? 0 : own - 1);
      case 6:
        return Epoch::zero();
      default:
        return Epoch(Epoch::max_external().value() + 1);
    }
  }

  bool set(const Id& id, const P& to) {
    const auto epoch =
        both("set", [&] { return table_->set(id, to); }, [&] { return reference_.set(id, to); });
    if (epoch) ++sights_.changes;
    return epoch.has_value();
  }
  bool erase(const Id& id, std::optional<Epoch> expected = {}) {
    return transition(
        "erase", [&] { return table_->erase(id, expected); },
        [&] { return reference_.erase(id, expected); });
  }

  // ---- permits ----

  // The reference has counted the write, or `refusal` says why not.
  void check_permit(const Id& id, Permit permit, std::optional<WriteRefusal> refusal) {
    expect_same(permit ? std::nullopt : std::optional(permit.refusal()), refusal,
                "a write permit's refusal");
    if (!permit) return;
    ++sights_.permits;
    const auto at = reference_.get(id);
    expect_same(permit.placement(), at->placement, "the permit's placement");
    expect_same(permit.epoch(), at->epoch, "the permit's epoch");
    permits_.push_back({id, std::move(permit)});
    if (permits_.size() > kMostPermits) release(0);
  }

  static Permit acquire(Table& table, const Id& id, std::optional<Epoch> expected) {
    return expected ? table.acquire_write(id, *expected) : table.acquire_write(id);
  }
  static Permit acquire(typename Table::Ref& ref, std::optional<Epoch> expected) {
    return expected ? ref.acquire_write(*expected) : ref.acquire_write();
  }

  Out take(std::size_t n) {
    const auto at = std::next(permits_.begin(), static_cast<std::ptrdiff_t>(n));
    Out out = std::move(*at);
    permits_.erase(at);
    if (!out.permit) fail("a permit that was moved is empty");
    return out;
  }
  void release(std::size_t n) {
    Out out = take(n);
    out.permit.release();
    out.permit.release();  // twice does nothing
    if (out.permit) fail("a permit that was released is still out");
    reference_.released(out.id);
  }
  void quarantine(std::size_t n, absl::Duration duration) {
    Out out = take(n);
    out.permit.quarantine(duration);
    out.permit.release();
    ++sights_.quarantines;
    reference_.quarantined(out.id, duration);
  }
  void move_permits() {
    // A permit can be assigned to if its placement can.
    if constexpr (std::is_move_assignable_v<Permit>) {
      Out& first = permits_.front();
      Out& last = permits_.back();
      using std::swap;
      swap(first.id, last.id);
      swap(first.permit, last.permit);
      Permit moved(std::move(first.permit));
      if (first.permit) fail("a permit that was moved from is still out");
      first.permit = std::move(moved);
    }
  }

  // ---- held writes ----

  void hold(const Command& command) {
    if (held_.size() == kMostTickets) cancel(held_.begin());
    const std::uint64_t number = next_held_++;
    const std::size_t n = command.id % kFewIds;
    held_.emplace(number, Held{n, static_cast<Resuming>(command.b % 3), command.a, HoldTicket()});
    const std::optional<std::optional<WriteRefusal>> refusal = both(
        "hold",
        [&] {
          HoldTicket ticket = table_->hold(Kind::id(n), [this, number] { resume(number); });
          const std::optional<WriteRefusal> refused = ticket.refusal();
          held_.at(number).ticket = std::move(ticket);
          return refused;
        },
        [&] { return reference_.hold(Kind::id(n), number); });
    ++(*refusal ? sights_.too_many_held : sights_.held);
  }

  void cancel(typename std::map<std::uint64_t, Held>::iterator held) {
    const bool prevented = held->second.ticket.cancel();
    expect_same(prevented, reference_.cancel(held->first), "cancel");
    expect_same(held->second.ticket.cancel(), false, "cancel, once more,");
    if (prevented) ++sights_.cancelled;
    held_.erase(held);
  }

  void cancel_all() {
    for (const auto& [number, held] : held_) held.ticket.cancel();
    held_.clear();
  }

  // The table calls this.
  void resume(std::uint64_t number) {
    const Held& held = held_.at(number);
    const std::size_t log = resumed_.size();
    resumed_.push_back({number, std::nullopt, std::nullopt});
    if (held.resuming == Resuming::AcquiresAWrite) {
      resumed_[log].permit.emplace(table_->acquire_write(Kind::id(held.id)));
    }
    // It must not throw.
    if (held.resuming == Resuming::SetsTheNext && !memory_.will_fail()) {
      const Epoch epoch = table_->set(Kind::id((held.id + 1) % kFewIds), place(held.place));
      resumed_[log].set_at = epoch;  // which may have resumed others meanwhile
    }
  }

  // The reference resumes these, in this order: the table has done the same.
  void follow(const std::vector<std::uint64_t>& numbers) {
    for (const std::uint64_t number : numbers) {
      if (resumed_.empty()) fail("a held write was not resumed");
      ++sights_.resumed;
      Resumed resumed = std::move(resumed_.front());
      resumed_.pop_front();
      expect_same(resumed.number, number, "the held write that is resumed next");
      const Held& held = held_.at(number);
      if (resumed.permit) {
        const Id id = Kind::id(held.id);
        check_permit(id, std::move(*resumed.permit), reference_.acquire_write(id));
      }
      if (resumed.set_at) {
        const Epoch epoch = reference_.set(Kind::id((held.id + 1) % kFewIds), place(held.place));
        expect_same(*resumed.set_at, epoch, "set, in a resumed write,");
        follow(reference_.take_resumed());
      }
    }
  }

  // ---- many partitions ----

  void crowd(std::size_t count) {
    for (count *= crowd_; count > 0 && others_.size() < kMostOthers * crowd_; --count) {
      const Id id = Kind::other(next_other_++);
      if (others_present_.contains(id)) continue;
      if (!set(id, place(next_other_))) continue;
      others_.push_back(id);
      others_present_.insert(id);
    }
  }
  void disperse(std::size_t count) {
    for (count *= crowd_; count > 0 && !others_.empty(); --count) {
      if (!erase(others_.front())) fail("one of the others is not there");
      others_present_.erase(others_.front());
      others_.pop_front();
    }
  }

  void reserve(const Command& command) {
    const bool impossible = command.b % 16 == 15;
    const std::size_t failures = memory_.failures();
    try {
      table_->reserve(impossible ? std::numeric_limits<std::size_t>::max()
                                 : command.a * 4U * crowd_);
      if (impossible) fail("reserve found room for more than there can be");
    } catch (const std::bad_alloc&) {
      if (!impossible && memory_.failures() == failures) {
        fail("bad_alloc, but no allocation failed");
      }
    }
  }

  // What is there throughout is visited once, anything else once at most.
  void for_each(Visitor visitor, std::uint8_t amount) {
    struct Stop {};
    std::set<Id> throughout;
    reference_.for_each([&](const Id& id, const State&, Epoch) { throughout.insert(id); });
    std::set<Id> visited;
    std::size_t visits = 0;
    bool stopped = false;
    const auto visit = [&](typename Table::IdView view, const State& state, Epoch epoch) {
      const Id id(view);
      if (!visited.insert(id).second) fail("for_each visits " + show(id) + " twice");
      const auto expected = reference_.state(id);
      if (throughout.contains(id)) {
        expect_same(std::optional(typename Table::StateAt{state, epoch}), expected,
                    "a state in for_each");
      } else if (visitor != Visitor::Changes) {
        fail("for_each visits " + show(id) + ", which is not there");
      }
      ++visits;
      if (visitor == Visitor::Throws && visits > amount % 8) throw Stop();
      if (visitor == Visitor::Changes && visits <= 4) {
        const std::size_t gone = amount % 5U;
        for (std::size_t n = 0; n < std::min(gone * crowd_, others_.size()); ++n) {
          throughout.erase(others_[n]);
        }
        disperse(gone);
        crowd(amount / 5U);
        ++sights_.changed_during_for_each;
      }
    };
    try {
      table_->for_each(visit);
    } catch (const Stop&) {
      stopped = true;
    }
    expect_same(stopped, visitor == Visitor::Throws && visits > amount % 8, "for_each throws");
    if (stopped) return;
    for (const Id& id : throughout) {
      if (!visited.contains(id)) fail("for_each does not visit " + show(id));
    }
  }

  void migrations() {
    using Row = std::tuple<std::string, std::string, std::uint64_t, std::size_t>;
    std::vector<Row> expected;
    reference_.for_each([&](const Id& id, const State& state, Epoch epoch) {
      if (!state.is_migrating()) return;
      expected.emplace_back(show(id), show(state), epoch.value(), reference_.writes_in_flight(id));
    });
    std::vector<Row> found;
    for (const auto& info : table_->migrations()) {
      found.emplace_back(show(info.id), show(State::migrating(info.from, info.to, info.phase)),
                         info.epoch.value(), info.writes_in_flight);
    }
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    if (found != expected) fail("migrations() does not list what the reference does");
  }

  // ---- statistics, and whoever watches ----

  void stats() const {
    const TableStats told = table_->stats();
    const TableStats expected = reference_.stats();
    const auto compare = [](const auto& table, const auto& reference, std::string_view what) {
      for (std::size_t n = 0; n < table.size(); ++n) {
        expect_same<std::uint64_t>(table[n], reference[n], what);
      }
    };
    compare(told.partitions_by_phase, expected.partitions_by_phase, "partitions, by phase");
    compare(told.transitions_by_kind, expected.transitions_by_kind, "transitions, by kind");
    compare(told.refusals_by_reason, expected.refusals_by_reason, "refusals, by reason");
    expect_same(told.writes_held, expected.writes_held, "writes held, in all");
    expect_same(told.writes_not_held, expected.writes_not_held, "writes not held, in all");
    expect_same(told.writes_resumed, expected.writes_resumed, "writes resumed, in all");
    expect_same(told.writes_cancelled, expected.writes_cancelled, "writes cancelled, in all");
    expect_same(told.writes_timed_out, expected.writes_timed_out, "writes timed out, in all");
    if (is_observed_) compare(replica_.told(), expected.transitions_by_kind, "what is told of");
  }

  // The changes that the observer was told of make the same table.
  void replicated() const {
    if (!replica_.wrong().empty()) fail(std::string(replica_.wrong()));
    if (!is_observed_) return;
    expect_same(replica_.table().size(), reference_.size(), "the replica's size");
    reference_.for_each([this](const Id& id, const State& state, Epoch epoch) {
      expect_same(replica_.table().state(id), std::optional(typename Table::StateAt{state, epoch}),
                  "the replica's state");
    });
  }

  // ---- reads ----

  // Without a look at the writes in flight: that one may change what it looks at.
  void check_reads(const Id& id) {
    const auto at = reference_.get(id);
    expect_same(table_->get(id), at, "get");
    expect_same(ref(id, consulted_).get(), at, "get through a reference");
    expect_same(table_->state(id), reference_.state(id), "state");
    if (is_observed_) {
      expect_same(replica_.table().state(id), reference_.state(id), "the replica's state");
    }
    expect_same(table_->contains(id), reference_.contains(id), "contains");
    expect_same(table_->current_epoch(), reference_.current_epoch(), "current_epoch");
    expect_same(table_->size(), reference_.size(), "size");
    const std::uint64_t own = reference_.newest(id).value();
    for (const std::uint64_t epoch :
         {std::uint64_t{0}, own - 1, own, own + 1, reference_.current_epoch().value()}) {
      const WriteAdmission admission = reference_.admit_write(id, Epoch(epoch));
      expect_same(table_->admit_write(id, Epoch(epoch)), admission, "admit_write");
      expect_same(ref(id, consulted_).admit_write(Epoch(epoch)), admission,
                  "admit_write through a reference");
    }
  }

  void check_partition(const Id& id) {
    check_reads(id);
    expect_same(ref(id, neglected_).get(), reference_.get(id), "get through an old reference");
    expect_same(table_->writes_in_flight(id), reference_.writes_in_flight(id), "writes_in_flight");
    expect_same(table_->held_writes(id), reference_.held_writes(id), "held_writes");
  }

  // Many at once, one that is not there among them, and one of them twice.
  void get_many() const {
    std::vector<Id> ids;
    for (std::size_t n = 0; n < kFewIds; ++n) ids.push_back(Kind::id(n));
    for (std::size_t n = 0; n < 20; ++n) ids.push_back(Kind::other(n));
    ids.push_back(ids.front());
    const std::vector<typename Table::IdView> views(ids.begin(), ids.end());
    std::vector<std::optional<typename Table::PlacementAt>> results(ids.size());
    table_->get_many(views, results);
    for (std::size_t n = 0; n < ids.size(); ++n) {
      expect_same(results[n], reference_.get(ids[n]), "get_many");
    }
  }

  using Refs = std::map<Id, typename Table::Ref>;
  typename Table::Ref& ref(const Id& id, Refs& refs) {
    const auto found = refs.find(id);
    return found != refs.end() ? found->second : refs.emplace(id, table_->ref(id)).first->second;
  }

  Sights& sights_;
  MeteredMemory memory_;
  ManualClock clock_;
  Replica<Id, P> replica_;
  bool is_observed_ = false;  // by the replica
  std::optional<Table> table_;
  Refs consulted_;  // after every command on its partition
  Refs neglected_;  // but for a look at everything
  Reference reference_{kMostHeld, kMostHeldOfOne};
  std::list<Out> permits_;
  std::map<std::uint64_t, Held> held_;  // by number, in the order of their coming
  std::uint64_t next_held_ = 0;
  std::deque<Resumed> resumed_;  // by the table, and not yet by the reference
  std::deque<Id> others_;
  std::set<Id> others_present_;
  std::size_t next_other_ = 0;
  std::size_t crowd_;
};

template <typename Kind>
void run_history(const std::vector<Command>& commands, const Scale& scale, Sights& sights) {
  World<Kind> world(scale, sights);
  std::size_t step = 0;
  try {
    for (const Command& command : commands) {
      ++step;
      world.run(command);
      if (scale.check_all_after != 0 && step % scale.check_all_after == 0) world.check_all();
    }
    step = 0;
    world.finish();
  } catch (const Mismatch& mismatch) {
    const std::string where =
        step == 0 ? "at the end"
                  : "at step " + std::to_string(step) + ", " + describe<Kind>(commands[step - 1]);
    throw Mismatch(where + ": " + mismatch.what());
  }
}

template <typename Kind>
std::string describe(const std::vector<Command>& commands) {
  std::string text;
  std::size_t step = 0;
  for (const Command& command : commands) {
    text += "  " + std::to_string(++step) + ". " + describe<Kind>(command) + '\n';
  }
  return text;
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_WORLD_HPP_
