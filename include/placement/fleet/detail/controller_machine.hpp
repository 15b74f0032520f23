// SPDX-License-Identifier: Apache-2.0
//
// A controller's part of the fleet's protocol, as a pure state machine: it is given the time, the
// store's answers, the revisions of a watch and the mover's, and returns what is to be done. No
// thread, no clock, no socket. docs/fleet-protocol.md argues each of its rules.
//
// Nothing about a move is remembered here that is not in its record: what is to be done next
// follows from the record's step and the partition's phase. So to take a move over, to learn that a
// transaction whose answer was lost has happened, and to go on after a refusal are one thing: look
// at the record and the partition, and go on from there.
//
//   step      | partition            | what is done next
//   ----------+----------------------+---------------------------------------------------------
//   Requested | any                  | somebody with a mover takes it: Begin
//   Begin     | Active(from)         | earlier movers are refused; begin: Copy (a pause: Cutover)
//   Copy      | Draining(from, to)   | the copy; dead routers are fenced; Cutover
//   Cutover   | Cutover(from, to)    | drain everywhere, finish, verify, flip: Clean
//   Clean     | settled, or absent   | what lies where the partition is not goes; no record
//
// What aborts goes to Clean as well: then it is the destination that is cleaned.
#ifndef PLACEMENT_FLEET_DETAIL_CONTROLLER_MACHINE_HPP_
#define PLACEMENT_FLEET_DETAIL_CONTROLLER_MACHINE_HPP_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include "placement/detail/state_machine.hpp"
#include "placement/fleet/detail/rules.hpp"
#include "placement/fleet/detail/session_machine.hpp"
#include "placement/fleet/records.hpp"
#include "placement/fleet/store.hpp"

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

struct ControllerOptions {
  std::string name;
  std::string address;
  absl::Duration ttl = absl::Seconds(6);
  absl::Duration write_timeout = absl::Seconds(3);
  absl::Duration retry = absl::Milliseconds(200);
  absl::Duration relist = absl::Seconds(2);   // how often sessions are listed while a move waits
  absl::Duration reopen = absl::Seconds(10);  // how often all is loaded anew: events may be lost
  absl::Duration gap = absl::Seconds(2);      // not to have heard from the store for longer is one
  absl::Duration cutover_deadline = absl::Seconds(30);  // where a request names none
  std::size_t most_attempts = 8;             // of a mover that fails; then the move is aborted
  std::uint32_t protocol = 1;                // the newest that it knows
  bool can_fence = true;                     // the places refuse a mover that is told to them
  std::function<std::string()> new_session;  // random, never the same twice
  std::function<bool(const MoveRecord&)> takes = [](const MoveRecord&) { return true; };
};

struct ControllerMachineTypes {
  enum class State { Starting, Loading, Joining, Serving, Leaving, Stopped, Lost };
  enum class JobKind {
    MakeUsers,  // the users of `users`, at their places
    Refuse,     // the places are to refuse the users of `former`, whatever they sent or will send
    Copy,       // all data, while writes go on; the feed is open before the first key is copied
    Finish,     // no write is in flight: the rest; and verify
    Clean,      // remove the partitions' data at `to`
  };

  struct Commit {  // answered by on_outcome
    std::uint64_t ticket;
    Transaction transaction;
  };
  struct Load {  // answered by on_snapshot
    std::uint64_t number;
    std::string prefix;
    At at = At::now();
  };
  struct OpenWatch {  // of all keys; ends the one before
    std::uint64_t number;
    Revision from;
  };
  struct CloseWatch {};
  struct Item {
    std::string id;
    Place from;
    Place to;  // of a Clean: where
  };
  struct Job {  // answered by on_job; its commands go as the user that it names for the place
    std::uint64_t number;
    JobKind kind;
    std::string operation;
    std::vector<Item> items;
    Users users;
    std::vector<Users> former;
    bool is_anew = true;  // of a Copy: nothing that lies at the destination is believed
  };
  struct StopJob {  // it is not answered any more, and is to send nothing more
    std::uint64_t number;
  };
  struct Ended {  // a move that this controller owned; OK if it flipped
    std::string operation;
    absl::Status status;
  };
  struct Answered {  // to request, cancel or set_new
    std::uint64_t ticket;
    Outcome outcome;
  };
  struct Fencing {  // for those who watch over a fleet
    std::string session;
    bool is_controller;
  };
  struct WasLost {
    absl::Status why;
  };
  using Action = std::variant<Commit, Load, OpenWatch, CloseWatch, Job, StopJob, Ended, Answered,
                              Fencing, WasLost>;
};

template <typename Codec = JsonCodec, typename Rules = EveryRule>
class ControllerMachine : public ControllerMachineTypes {
 public:
  explicit ControllerMachine(ControllerOptions options, Codec codec = {}, Rules rules = {})
      : options_(std::move(options)), codec_(codec), rules_(rules) {}

  [[nodiscard]] std::vector<Action> take_actions() { return std::exchange(actions_, {}); }
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] const absl::Status& why_lost() const noexcept { return why_lost_; }

  // May a mover of this controller send a command? Asked where the storage cannot refuse one.
  [[nodiscard]] bool may_command(absl::Time now) const {
    return session_ && session_->lease().covers(now);
  }

  // When to call tick(), at the latest.
  [[nodiscard]] absl::Time wakes_at() const {
    if (state_ == State::Lost || state_ == State::Stopped) return absl::InfiniteFuture();
    absl::Time time = retry_at_.value_or(absl::InfiniteFuture());
    if (session_ && !session_->is_waiting()) time = std::min(time, next_put());
    if (state_ == State::Serving) time = std::min(time, look_at_);
    return time;
  }

  // ---- requests ----

  // Asks for a move of partitions that go together, or for a pause, a removal or another place
  // (`kind`). Whoever has a mover takes it up. Returns the ticket of the answer: refused if one of
  // them is being moved already, or has something left at the destination.
  std::uint64_t request(absl::Time now, MoveKind kind, const std::vector<std::string>& ids,
                        const std::optional<Place>& to,
                        std::optional<absl::Duration> deadline = {}) {
    now_ = now;
    MoveRecord record;
    record.operation = options_.new_session();
    record.kind = kind;
    record.to = to;
    record.deadline = deadline;
    if (ids.size() > 1) record.group = ids;
    Transaction transaction = guarded();
    for (const std::string& id : ids) {
      transaction.if_absent(to_key(MoveKey{id}));
      if (to) transaction.if_absent(to_key(LeftoverKey{to->name(), id}));
      transaction.put(to_key(MoveKey{id}), codec_.encode(record));
    }
    return ask(std::move(transaction));
  }

  // The move of this partition is to be aborted. Its owner does so at its next step, or has
  // flipped. Zero if there is none that this controller knows of.
  std::uint64_t cancel(absl::Time now, const std::string& id) {
    now_ = now;
    const auto found = moves_.find(id);
    if (found == moves_.end()) return 0;
    MoveRecord record = found->second.record;
    record.cancel = true;
    Transaction transaction = guarded();
    transaction.if_mod(to_key(MoveKey{id}), found->second.mod);
    transaction.put(to_key(MoveKey{id}), codec_.encode(record));
    return ask(std::move(transaction));
  }

  // Registers partitions that are not there. One step, so it needs no record; it compares that
  // there is none, else it might bring back what a clean-up is about to remove.
  std::uint64_t set_new(absl::Time now, const std::vector<std::string>& ids, const Place& place) {
    now_ = now;
    PartitionRecord record;
    record.from = place;
    record.operation = options_.new_session();
    Transaction transaction = guarded();
    for (const std::string& id : ids) {
      if (rules_.holds(Rule::RecordUntilClean)) transaction.if_absent(to_key(MoveKey{id}));
      transaction.if_absent(to_key(PartitionRecordKey{id}));
      transaction.put(to_key(PartitionRecordKey{id}), codec_.encode(record));
    }
    transaction.put(to_key(HeadKey{}), codec_.encode(HeadRecord{ids}));
    return ask(std::move(transaction));
  }

  // ---- inputs ----

  void start(absl::Time now) {
    now_ = now;
    introduce();
  }

  void tick(absl::Time now) {
    now_ = now;
    if (retry_at_ && now >= *retry_at_) {
      retry_at_.reset();
      if (state_ == State::Starting) {
        introduce();
      } else if (reopens_) {
        load_all();
      }
    }
    advance();
  }

  void on_outcome(absl::Time now, std::uint64_t ticket, const Outcome& outcome) {
    now_ = now;
    if (!is_believed(ticket, outcome)) return;
    if (ticket == introduce_ticket_) {
      on_introduced(outcome);
    } else if (ticket == session_ticket_) {
      on_session(outcome);
    } else if (const auto asked = asked_.find(ticket); asked != asked_.end()) {
      asked_.erase(asked);
      actions_.emplace_back(Answered{ticket, outcome});
    } else if (ticket == fence_ticket_) {
      fence_ticket_ = 0;  // whatever came of it is seen in the watch
      relist();
    } else {
      for (auto& [operation, run] : runs_) {
        if (run.ticket != ticket) continue;
        run.ticket = 0;
        on_change(run, outcome);
        break;
      }
    }
    advance();
  }

  void on_snapshot(absl::Time now, std::uint64_t number, const absl::StatusOr<Snapshot>& snapshot) {
    now_ = now;
    if (state_ == State::Lost || state_ == State::Stopped) return;
    if (snapshot.ok()) heard();
    if (number == sessions_load_) {
      sessions_load_ = 0;
      on_sessions(snapshot);
    } else if (number == moves_load_) {
      moves_load_ = 0;
      on_moves(snapshot);
    }
    advance();
  }

  void on_watch(absl::Time now, std::uint64_t number, const WatchEvent& event) {
    now_ = now;
    if (number != watch_number_ || state_ == State::Lost || state_ == State::Stopped) return;
    heard();
    if (const auto* changes = std::get_if<Changes>(&event)) {
      for (const Change& change : changes->changes) on_key(changes->revision, change);
      known_ = std::max(known_, changes->revision);
    } else if (const auto* lost = std::get_if<HistoryLost>(&event)) {
      lose(lost->why);
    } else if (std::holds_alternative<Compacted>(event)) {
      load_all();
    }
    advance();
  }

  void on_job(absl::Time now, std::uint64_t number, const absl::Status& status) {
    now_ = now;
    for (auto& [operation, run] : runs_) {
      if (run.job != number) continue;
      run.job = 0;
      on_job_done(run, status);
      break;
    }
    advance();
  }

 private:
  using Session = SessionMachine<Codec, Rules>;

  struct Seen {  // a session's key
    SessionRecord record;
    Revision create;
    Revision mod;
    absl::Time since;    // for how long this value has been seen
    bool lives = false;  // it has been seen to change: it may have been dead for long otherwise
  };
  struct FencedSeen {
    FencedRecord record;
    Revision create;
    absl::Time since;
  };
  struct MoveSeen {
    MoveRecord record;
    Revision mod;
  };

  struct Part {
    std::string id;
    MoveRecord move;
    Revision move_mod;
    std::optional<PartitionRecord> partition;  // none: it is not there
    Revision mod;                              // of it; zero if it is not there
  };

  // A move that this controller drives, or is about to take.
  struct Run {
    std::string operation;
    std::vector<Part> parts;
    std::uint64_t ticket = 0;  // of the transaction under way
    std::uint64_t job = 0;
    JobKind job_kind = JobKind::MakeUsers;
    absl::Time not_before = absl::InfinitePast();  // the next try
    std::optional<Transaction> change;             // not settled: to be sent again until it is
    bool is_read = false;  // the parts are as the store has them, or had a while ago
    bool is_reading = false;
    std::string taken_from;  // the session that owned it; empty: nobody did
    // of this attempt
    Users users;
    bool has_users = false;
    bool is_named = false;
    absl::Time named_at = absl::InfinitePast();
    bool is_exclusive = false;  // every earlier mover is refused
    bool is_copied = false;
    bool is_finished = false;
    bool is_cleaned = false;
    bool is_closed = false;
    std::size_t failures = 0;
    // of the cutover, or the flip: who has to acknowledge
    Revision barrier;
    absl::Time barrier_at = absl::InfinitePast();
    bool is_listed = false;
    std::set<std::string> needed;
    absl::Status why;  // it is being aborted
  };

  // ---- small things ----

  [[nodiscard]] double rate() const { return 1 + settings_.rho_ppm * 1e-6; }
  [[nodiscard]] absl::Duration silence(const Seen& seen) const {
    const absl::Duration ttl = rules_.holds(Rule::SilenceOfItsOwn) ? seen.record.ttl : options_.ttl;
    if (!rules_.holds(Rule::WholeSilence)) return ttl / 2;
    if (!rules_.holds(Rule::SilenceMargin)) return ttl;
    return ttl * rate() + settings_.margin;
  }

  [[nodiscard]] Transaction guarded() const {
    Transaction transaction;
    if (rules_.holds(Rule::HistoryCompared)) {
      transaction.if_mod(to_key(HistoryKey{}), history_mod_);
    }
    return transaction;
  }

  std::uint64_t commit(Transaction transaction) {
    actions_.emplace_back(Commit{++tickets_, std::move(transaction)});
    known_at_.emplace(tickets_, known_);
    return tickets_;
  }

  std::uint64_t ask(Transaction transaction) {
    const std::uint64_t ticket = commit(std::move(transaction));
    asked_.insert(ticket);
    return ticket;
  }

  // Silences begin anew after a time in which this process heard nothing: else everybody is fenced
  // when a store comes back.
  void heard() {
    if (now_ - heard_at_ > options_.gap) {
      for (auto& [id, seen] : routers_) {
        seen.since = now_;
        seen.lives = false;
      }
      for (auto& [id, seen] : controllers_) seen.since = now_;
    }
    heard_at_ = now_;
  }

  // An answer is of the store as it was when the transaction was sent, or later. What is older
  // shows that the store went back: before anything is done at the data, for that follows an
  // answer.
  [[nodiscard]] bool is_believed(std::uint64_t ticket, const Outcome& outcome) {
    const auto known = known_at_.extract(ticket);
    Revision revision = Revision::max();
    if (const Done* done = outcome.done()) revision = done->revision;
    if (const Refused* refused = outcome.refused()) revision = refused->revision;
    if (revision == Revision::max()) return true;
    heard();
    if (known.empty() || revision >= known.mapped() || !rules_.holds(Rule::HeadNeverBack)) {
      return true;
    }
    lose(to_status(Fault::HistoryLost, "the store is older than it was"));
    return false;
  }

  void look(absl::Time time) { look_at_ = std::min(look_at_, time); }

  // ---- the start, and the end ----

  void introduce() {
    state_ = State::Starting;
    Transaction transaction;
    transaction.read(to_key(HistoryKey{})).read(to_key(SettingsKey{}));
    introduce_ticket_ = commit(std::move(transaction));
  }

  void on_introduced(const Outcome& outcome) {
    introduce_ticket_ = 0;
    const Done* done = outcome.done();
    if (state_ != State::Starting) return;
    if (done == nullptr || !done->reads[0] || !done->reads[1]) {
      retry_at_ = now_ + options_.retry;
      return;
    }
    const auto settings = codec_.template decode<SettingsRecord>(done->reads[1]->value);
    if (!settings.ok()) return lose(settings.status());
    settings_ = *settings;
    history_mod_ = done->reads[0]->mod;
    known_ = done->revision;
    state_ = State::Loading;
    load_all();
  }

  void load_all() {
    actions_.emplace_back(
        Load{sessions_load_ = ++loads_, std::string(kSessionsPrefix), At::least(known_)});
    actions_.emplace_back(
        Load{moves_load_ = ++loads_, std::string(kMovesPrefix), At::least(known_)});
    has_sessions_ = has_moves_ = false;
    reopens_ = true;
  }

  void open_watch_when_loaded() {
    if (!reopens_ || !has_sessions_ || !has_moves_) return;
    reopens_ = false;
    gone_.clear();
    reopen_at_ = now_ + options_.reopen;
    actions_.emplace_back(OpenWatch{++watch_number_, std::min(sessions_at_, moves_at_).next()});
    if (state_ == State::Loading) join();
  }

  void join() {
    state_ = State::Joining;
    drop_all();
    session_.emplace(
        typename Session::Setup{options_.new_session(), ++sessions_, true, history_mod_,
                                settings_.margin, settings_.retention, options_.ttl},
        codec_, rules_);
  }

  void lose(absl::Status why) {
    if (state_ == State::Lost) return;
    state_ = State::Lost;
    why_lost_ = why;
    drop_all();
    ++watch_number_;
    actions_.emplace_back(CloseWatch{});
    actions_.emplace_back(WasLost{std::move(why)});
    if (history_mod_ == Revision::zero()) return;
    Transaction transaction;
    transaction.if_mod(to_key(HistoryKey{}), history_mod_).erase(to_key(HistoryKey{}));
    static_cast<void>(commit(std::move(transaction)));
  }

  [[nodiscard]] absl::Time next_put() const {
    const absl::Duration gap =
        session_->state() == SessionMachineTypes::State::Live ? options_.ttl / 3 : options_.retry;
    return session_->last_sent() + gap;
  }

  void heartbeat() {
    if (!session_ || session_->is_waiting() || now_ < next_put()) return;
    SessionRecord record;
    record.name = options_.name;
    record.address = options_.address;
    record.ttl = options_.ttl;
    record.write_timeout = options_.write_timeout;
    record.supersedes = supersedes_;
    session_ticket_ = commit(session_->put(now_, std::move(record)));
  }

  void on_session(const Outcome& outcome) {
    session_ticket_ = 0;
    if (!session_ || state_ == State::Lost || state_ == State::Stopped) return;
    session_->on_outcome(now_, outcome);
    using enum SessionMachineTypes::State;
    switch (session_->state()) {
      case Abandoned:
        supersedes_ = session_->id();
        return join();
      case Fenced:  // whoever did it takes its moves; their movers are refused at the places
        return join();
      case Expired:
        return introduce();
      case Lost:
        return lose(to_status(Fault::HistoryLost,
                              "this session's key is not what this process made of it"));
      case Live:
        if (outcome.done() == nullptr && outcome.refused() == nullptr) return;
        known_ = std::max(known_, session_->revision());
        state_ = State::Serving;
        return;
      case Registering:
      case Leaving:
      case Gone:
        return;
    }
  }

  // ---- what the store has ----

  void relist() {
    if (sessions_load_ != 0) return;
    listed_at_ = now_;
    actions_.emplace_back(
        Load{sessions_load_ = ++loads_, std::string(kSessionsPrefix), At::least(known_)});
  }

  // Nothing for a key is older here than what was seen of it: revisions only grow.
  void on_sessions(const absl::StatusOr<Snapshot>& snapshot) {
    if (!snapshot.ok()) {
      if (fault_of(snapshot.status()) == Fault::HistoryLost) return lose(snapshot.status());
      if (reopens_) retry_at_ = now_ + options_.retry;
      return;
    }
    has_sessions_ = true;
    if (snapshot->revision < sessions_at_) return open_watch_when_loaded();
    std::set<std::string> there;
    for (const Entry& entry : snapshot->entries) {
      there.insert(entry.key);
      on_session_key(entry.key, &entry.value, entry.create, entry.mod, false);
    }
    const auto is_gone = [&](const std::string& key, Revision mod) {
      return mod <= snapshot->revision && !there.contains(key);
    };
    std::erase_if(routers_, [&](const auto& one) {
      return is_gone(to_key(RouterKey{one.first}), one.second.mod);
    });
    std::erase_if(controllers_, [&](const auto& one) {
      return is_gone(to_key(ControllerKey{one.first}), one.second.mod);
    });
    std::erase_if(fenced_, [&](const auto& one) {
      return is_gone(to_key(FencedKey{one.first}), one.second.create);
    });
    sessions_at_ = snapshot->revision;
    for (auto& [operation, run] : runs_) list_needed(run, snapshot->revision);
    open_watch_when_loaded();
  }

  void on_moves(const absl::StatusOr<Snapshot>& snapshot) {
    if (!snapshot.ok()) {
      if (fault_of(snapshot.status()) == Fault::HistoryLost) return lose(snapshot.status());
      if (reopens_) retry_at_ = now_ + options_.retry;
      return;
    }
    has_moves_ = true;
    if (snapshot->revision < moves_at_) return open_watch_when_loaded();
    moves_.clear();
    for (const Entry& entry : snapshot->entries) on_move_key(entry.key, &entry.value, entry.mod);
    moves_at_ = snapshot->revision;
    open_watch_when_loaded();
  }

  void on_key(Revision revision, const Change& change) {
    const std::string* value = change.value ? &*change.value : nullptr;
    if (change.key.starts_with(kSessionsPrefix)) {
      if (revision > sessions_at_) on_session_key(change.key, value, change.create, revision, true);
    } else if (change.key.starts_with(kMovesPrefix)) {
      if (revision > moves_at_) on_move_key(change.key, value, revision);
    }
  }

  void on_session_key(const std::string& name, const std::string* value, Revision create,
                      Revision mod, bool is_watched) {
    const auto key = parse_key(name);
    if (!key.ok()) return;
    if (const auto* router = std::get_if<RouterKey>(&*key)) {
      see(routers_, router->session, value, create, mod, is_watched);
    } else if (const auto* controller = std::get_if<ControllerKey>(&*key)) {
      see(controllers_, controller->session, value, create, mod, is_watched);
    } else if (const auto* fenced = std::get_if<FencedKey>(&*key)) {
      if (value == nullptr) {
        fenced_.erase(fenced->session);
      } else if (!fenced_.contains(fenced->session)) {
        if (auto record = codec_.template decode<FencedRecord>(*value); record.ok()) {
          fenced_.emplace(fenced->session, FencedSeen{*std::move(record), create, now_});
        }
      }
    }
  }

  void see(std::map<std::string, Seen>& sessions, const std::string& id, const std::string* value,
           Revision create, Revision mod, bool is_watched) {
    const auto found = sessions.find(id);
    if (value == nullptr) {
      gone_.insert(id);
      if (found != sessions.end()) sessions.erase(found);
      return;
    }
    if (gone_.contains(id)) return;
    if (found != sessions.end() && found->second.mod >= mod) return;
    auto record = codec_.template decode<SessionRecord>(*value);
    Seen seen{SessionRecord(), create, mod, now_, is_watched && found != sessions.end()};
    if (record.ok()) {
      seen.record = *std::move(record);
    } else {  // of a newer release: it is counted, and cannot acknowledge
      seen.record.protocol = options_.protocol + 1;
      seen.record.ttl = settings_.longest_ttl;
      seen.record.write_timeout = settings_.longest_write_timeout;
    }
    if (seen.record.supersedes) superseded_.insert(*seen.record.supersedes);
    sessions.insert_or_assign(id, std::move(seen));
  }

  void on_move_key(const std::string& name, const std::string* value, Revision mod) {
    const auto key = parse_key(name);
    const auto* move = key.ok() ? std::get_if<MoveKey>(&*key) : nullptr;
    if (move == nullptr) return;
    if (value == nullptr) {
      moves_.erase(move->id);
    } else if (auto record = codec_.template decode<MoveRecord>(*value); record.ok()) {
      moves_.insert_or_assign(move->id, MoveSeen{*std::move(record), mod});
    }
  }

  // ---- silences ----

  [[nodiscard]] bool is_silent(const Seen& seen) const {
    return now_ - seen.since >= silence(seen);
  }
  // Two heartbeats are missing, or none was watched yet: a load does not tell how old a value is.
  [[nodiscard]] bool is_suspect(const Seen& seen) const {
    return !seen.lives || now_ - seen.since >= seen.record.ttl * 2 / 3 + options_.retry;
  }

  // Deletes the key of a session whose silence is over, if it still has the value that was watched:
  // one that has been renewed since is left alone, and then lives.
  void fence(const std::string& id, const Seen& seen, bool is_controller) {
    if (fence_ticket_ != 0 || !session_ || !is_silent(seen)) return;
    const std::string key = is_controller ? to_key(ControllerKey{id}) : to_key(RouterKey{id});
    FencedRecord record;
    record.held = seen.record;
    record.mod = seen.mod;
    record.is_controller = is_controller;
    record.by = session_->id();
    Transaction transaction = guarded();
    if (rules_.holds(Rule::FenceCompares)) {
      transaction.if_mod(key, seen.mod);
    } else {
      transaction.if_create(key, seen.create);
    }
    transaction.erase(key).put(to_key(FencedKey{id}), codec_.encode(record));
    actions_.emplace_back(Fencing{id, is_controller});
    fence_ticket_ = commit(std::move(transaction));
  }

  // After so long nobody asks any more whether a session was fenced.
  void forget_fenced() {
    if (fence_ticket_ != 0) return;
    for (const auto& [id, fenced] : fenced_) {
      if (now_ < fenced.since + settings_.retention) continue;
      Transaction transaction = guarded();
      transaction.if_create(to_key(FencedKey{id}), fenced.create).erase(to_key(FencedKey{id}));
      fence_ticket_ = commit(std::move(transaction));
      return;
    }
  }

  // Is there a router that was fenced a short while ago? What it sent may still take effect.
  [[nodiscard]] bool has_late_writes() {
    if (!rules_.holds(Rule::FencedWait)) return false;
    for (const auto& [id, fenced] : fenced_) {
      if (fenced.record.is_controller) continue;
      const absl::Time until = fenced.since + fenced.record.held.write_timeout;
      if (now_ < until) {
        look(until);
        return true;
      }
    }
    return false;
  }

  // ---- runs ----

  void advance() {
    if (state_ == State::Lost || state_ == State::Stopped) return;
    heartbeat();
    if (state_ != State::Serving) return;
    look_at_ = now_ + options_.retry;
    if (now_ >= reopen_at_ && !reopens_) load_all();
    forget_fenced();
    find_work();
    for (auto it = runs_.begin(); it != runs_.end();) {
      Run& run = it->second;
      step(run);
      if (run.parts.empty()) {
        it = runs_.erase(it);
      } else {
        ++it;
      }
    }
  }

  void find_work() {
    for (const auto& [id, seen] : moves_) {
      const MoveRecord& record = seen.record;
      if (runs_.contains(record.operation) || !options_.takes(record)) continue;
      const std::vector<std::string> ids =
          record.group.empty() ? std::vector<std::string>{id} : record.group;
      std::string from;
      if (record.owner && *record.owner != session_->id()) {
        from = *record.owner;
        const auto owner = controllers_.find(from);
        if (owner != controllers_.end()) {
          look(owner->second.since + silence(owner->second));
          if (is_silent(owner->second)) fence(from, owner->second, true);
          if (rules_.holds(Rule::TakeOverAfterSilence)) continue;
          if (!is_suspect(owner->second)) continue;
        } else if (!fenced_.contains(from) && seen.mod > sessions_at_) {
          continue;  // its key may only not have been seen yet
        }
      }
      Run run;
      run.operation = record.operation;
      run.taken_from = from;
      for (const std::string& one : ids) run.parts.push_back({one, {}, {}, {}, {}});
      runs_.emplace(record.operation, std::move(run));
    }
  }

  void stop_job(Run& run) {
    if (run.job != 0) actions_.emplace_back(StopJob{std::exchange(run.job, 0)});
  }
  void drop(Run& run) {
    stop_job(run);
    run.parts.clear();
  }
  void drop_all() {
    for (auto& [operation, run] : runs_) stop_job(run);
    runs_.clear();
  }

  // What is next, from what the record and the partition are.
  void step(Run& run) {
    if (run.ticket != 0 || run.job != 0) {
      // A mover that is at work does not keep a cutover open.
      if (run.ticket == 0 && run.is_named && run.parts.front().move.step == MoveStep::Cutover &&
          run.job_kind != JobKind::Refuse && is_overdue(run)) {
        abort(run, absl::DeadlineExceededError("the cutover took too long"));
      }
      return;
    }
    if (now_ < run.not_before) return look(run.not_before);
    if (run.change) return send(run);
    for (const Part& part : run.parts) {
      const auto seen = moves_.find(part.id);  // somebody may have set `cancel`
      if (seen != moves_.end() && seen->second.mod > part.move_mod) run.is_read = false;
    }
    if (!run.is_read) return read(run);
    const Part& part = run.parts.front();
    const MoveRecord& move = part.move;
    const bool is_move = move.kind == MoveKind::Move;
    const bool cleans = is_move || move.kind == MoveKind::Erase;

    const bool is_mine = move.owner == session_->id();
    if (!is_mine) {
      if (cleans && !run.has_users) return make_users(run);
      return take(run);
    }
    const auto phase = part.partition ? part.partition->phase : MigrationPhase::Settled;

    switch (move.step) {
      case MoveStep::Requested:
      case MoveStep::Begin:
        if (is_cancelled(run)) return abort(run, absl::CancelledError("it was cancelled"));
        for (const Part& one : run.parts) {
          if (absl::Status status = can_begin(one); !status.ok()) return abort(run, status);
        }
        if (is_move && !prepare(run)) return;
        if (!is_move && !is_calm()) return;
        if (is_move) return change(run, Transition::BeginMigration, MoveStep::Copy);
        return change(run, Transition::PauseWrites, MoveStep::Cutover);

      case MoveStep::Copy:
        if (phase != MigrationPhase::Draining) return to_clean(run);
        if (is_cancelled(run)) return abort(run, absl::CancelledError("it was cancelled"));
        if (!prepare(run)) return;
        if (!run.is_copied) return start_job(run, JobKind::Copy);
        if (rules_.holds(Rule::SilentFirst) && !is_calm()) return;
        return change(run, Transition::EnterCutover, MoveStep::Cutover);

      case MoveStep::Cutover:
      case MoveStep::Drain:
      case MoveStep::Finish:
      case MoveStep::Flip:
        if (phase != MigrationPhase::Cutover) return to_clean(run);
        if (is_cancelled(run)) return abort(run, absl::CancelledError("it was cancelled"));
        if (move.kind != MoveKind::Pause && is_overdue(run)) {
          return abort(run, absl::DeadlineExceededError("the cutover took too long"));
        }
        if (is_move && !prepare(run)) return;
        if (is_move && !run.is_copied) return start_job(run, JobKind::Copy);
        if (rules_.holds(Rule::DrainEverywhere) && !is_drained(run)) return;
        if (has_late_writes()) return;
        if (move.kind == MoveKind::Pause) return;
        if (is_move && !run.is_finished) return start_job(run, JobKind::Finish);
        if (is_move) return change(run, Transition::CompleteMigration, MoveStep::Clean);
        if (move.kind == MoveKind::Erase) {
          return change(run, Transition::EraseDrained, MoveStep::Clean);
        }
        return change(run, Transition::Set, MoveStep::Clean);

      case MoveStep::Clean:
        if (cleans) {
          if (rules_.holds(Rule::CleanAfterApplied) && !run.is_cleaned && !is_followed(run)) return;
          if (!run.is_cleaned && !prepare(run)) return;
          if (!run.is_cleaned) return start_job(run, JobKind::Clean);
          if (!run.is_closed) return start_job(run, JobKind::Refuse);
        }
        return remove_record(run);
    }
  }

  // Whoever cancels a group names one of it.
  [[nodiscard]] static bool is_cancelled(const Run& run) {
    return std::any_of(run.parts.begin(), run.parts.end(),
                       [](const Part& part) { return part.move.cancel; });
  }

  [[nodiscard]] static absl::Status can_begin(const Part& part) {
    if (!part.partition) return absl::NotFoundError("there is no such partition");
    if (part.partition->phase != MigrationPhase::Settled) {
      return absl::FailedPreconditionError("the partition is in a migration");
    }
    // To copy a place onto itself begins with emptying it.
    if (part.move.kind == MoveKind::Move && part.move.to->name() == part.partition->from.name()) {
      return absl::AlreadyExistsError("the partition is there");
    }
    return absl::OkStatus();
  }

  // Before the first command of an attempt: a user of its own, named in the record, and every
  // earlier one refused at both places.
  bool prepare(Run& run) {
    if (!run.has_users) {
      make_users(run);
      return false;
    }
    if (!run.is_named) {
      name_users(run);
      return false;
    }
    if (run.is_exclusive) return true;
    if (!options_.can_fence && rules_.holds(Rule::NewAttemptWaits)) {
      const absl::Time until = run.named_at + settings_.longest_write_timeout;
      if (now_ < until) {
        look(until);
        return false;
      }
    }
    if (!options_.can_fence || !rules_.holds(Rule::MoversFenced)) {
      run.is_exclusive = true;
      return true;
    }
    start_job(run, JobKind::Refuse);
    return false;
  }

  void new_attempt(Run& run) {
    run.users.clear();
    run.has_users = run.is_named = run.is_exclusive = false;
    run.is_copied = run.is_finished = run.is_cleaned = run.is_closed = false;
  }

  void make_users(Run& run) {
    run.users.clear();
    for (const Part& part : run.parts) {
      for (const Place& place : places_of(part)) {
        auto& name = run.users[place.name()];
        if (name.empty()) name = options_.new_session();
      }
    }
    start_job(run, JobKind::MakeUsers);
  }

  [[nodiscard]] static std::vector<Place> places_of(const Part& part) {
    std::vector<Place> places;
    if (part.move.from) {
      places.push_back(*part.move.from);
    } else if (part.partition) {
      places.push_back(part.partition->from);
    }
    if (part.move.to) places.push_back(*part.move.to);
    return places;
  }

  // Where data of the partition lies, or may lie, that is not its own: never where it is.
  [[nodiscard]] static std::optional<Place> litter_of(const Part& part) {
    const MoveRecord& move = part.move;
    if (!part.partition) return move.kind == MoveKind::Erase ? move.from : move.to;
    const std::string home = part.partition->from.name();
    if (move.from && move.from->name() != home) return move.from;
    if (move.kind == MoveKind::Move && move.to->name() != home) return move.to;
    return std::nullopt;
  }

  void start_job(Run& run, JobKind kind) {
    Job job;
    job.kind = kind;
    job.operation = run.operation;
    job.users = run.users;
    for (const Part& part : run.parts) {
      Item item;
      item.id = part.id;
      if (part.move.from) item.from = *part.move.from;
      if (part.move.to) item.to = *part.move.to;
      if (kind == JobKind::Clean) {
        const auto litter = litter_of(part);
        if (!litter) continue;
        item.to = *litter;
      }
      job.items.push_back(std::move(item));
    }
    if (job.items.empty()) {
      run.is_cleaned = true;
      return look(now_);
    }
    job.number = run.job = ++jobs_;
    run.job_kind = kind;
    const Part& first = run.parts.front();
    if (kind == JobKind::Refuse) {
      job.former = first.move.attempts;
      // At the end its own as well: what it sent may still be under way when the record is gone.
      if (!run.is_cleaned) std::erase(job.former, run.users);
      if (run.is_cleaned && (!rules_.holds(Rule::UsersFencedLast) || !options_.can_fence)) {
        job.former.clear();
      }
    }
    job.is_anew = rules_.holds(Rule::CopyAnew) || first.move.attempts.size() < 2;
    actions_.emplace_back(std::move(job));
  }

  void on_job_done(Run& run, const absl::Status& status) {
    if (!status.ok()) {
      run.not_before = now_ + options_.retry;
      if (run.job_kind == JobKind::Copy || run.job_kind == JobKind::Finish) {
        new_attempt(run);
        const MoveStep step = run.parts.front().move.step;
        if (++run.failures >= options_.most_attempts && step != MoveStep::Clean) {
          run.not_before = now_;
          abort(run, status);
        }
      } else if (run.job_kind == JobKind::MakeUsers) {
        run.has_users = false;
      }
      return;
    }
    switch (run.job_kind) {
      case JobKind::MakeUsers:
        run.has_users = true;
        return;
      case JobKind::Refuse:
        (run.is_cleaned ? run.is_closed : run.is_exclusive) = true;
        return;
      case JobKind::Copy:
        run.is_copied = true;
        return;
      case JobKind::Finish:
        run.is_finished = true;
        return;
      case JobKind::Clean:
        run.is_cleaned = true;
        return;
    }
  }

  // ---- transactions ----

  void read(Run& run) {
    Transaction transaction;
    for (const Part& part : run.parts) {
      transaction.read(to_key(MoveKey{part.id})).read(to_key(PartitionRecordKey{part.id}));
    }
    transaction.read(to_key(HeadKey{})).read(to_key(HistoryKey{}));
    run.is_reading = true;
    run.ticket = commit(std::move(transaction));
  }

  [[nodiscard]] Transaction of(const Run& run, bool compares_partitions) const {
    Transaction transaction = guarded();
    for (const Part& part : run.parts) {
      if (rules_.holds(Rule::RecordCompared)) {
        transaction.if_mod(to_key(MoveKey{part.id}), part.move_mod);
      }
      if (compares_partitions && rules_.holds(Rule::PartitionCompared)) {
        transaction.if_mod(to_key(PartitionRecordKey{part.id}), part.mod);
      }
    }
    return transaction;
  }

  void send(Run& run) { run.ticket = commit(*run.change); }
  void send(Run& run, Transaction transaction) {
    run.change = std::move(transaction);
    send(run);
  }

  // What the transition makes of the partition, as the state machine has it: nothing if it refuses,
  // and no record in it if the partition is to be absent.
  struct Next {
    std::optional<PartitionRecord> record;
  };
  [[nodiscard]] static std::optional<Next> next(const Part& part, Transition transition) {
    v1::detail::Standing standing;
    if (part.partition) {
      standing = {true, part.partition->phase, part.partition->to == part.partition->from,
                  Epoch(part.mod.value())};
    }
    const v1::detail::Step step = v1::detail::next_step(standing, transition, standing.epoch);
    if (step.refusal) return std::nullopt;
    if (!step.is_there) return Next{};
    using Source = v1::detail::Step::Source;
    const auto place = [&](Source source) -> std::optional<Place> {
      switch (source) {
        case Source::Origin:
          return part.partition->from;
        case Source::Destination:
          return part.partition->to;
        case Source::Argument:
          return part.move.to;
        case Source::Nowhere:
          break;
      }
      return std::nullopt;
    };
    PartitionRecord record;
    if (part.partition) record = *part.partition;
    record.phase = step.phase;
    record.from = place(step.origin).value();
    record.to = place(step.destination);
    record.deadline.reset();
    record.operation = part.move.operation;
    return Next{std::move(record)};
  }

  [[nodiscard]] absl::Duration deadline_of(const Part& part) const {
    return part.move.deadline.value_or(options_.cutover_deadline);
  }

  // One step of all partitions of the move, and of their records.
  void change(Run& run, Transition transition, MoveStep to) {
    Transaction transaction = of(run, true);
    HeadRecord head;
    for (const Part& part : run.parts) {
      auto after = next(part, transition);
      if (!after) return to_clean(run);
      const std::string key = to_key(PartitionRecordKey{part.id});
      if (after->record) {
        if (after->record->phase == MigrationPhase::Cutover && part.move.kind != MoveKind::Pause) {
          after->record->deadline = deadline_of(part);
        }
        transaction.put(key, codec_.encode(*after->record));
      } else {
        transaction.erase(key);
      }
      head.ids.push_back(part.id);
      MoveRecord move = part.move;
      move.step = to;
      transaction.put(to_key(MoveKey{part.id}), codec_.encode(move));
    }
    transaction.put(to_key(HeadKey{}), codec_.encode(head));
    run.barrier_at = now_;
    send(run, std::move(transaction));
  }

  // Takes the records, and the partitions where they are in a migration: with a fresh epoch, so
  // that whatever the former owner still sends compares another one.
  void take(Run& run) {
    Transaction transaction = of(run, true);
    HeadRecord head;
    for (const Part& part : run.parts) {
      if (!run.taken_from.empty() && rules_.holds(Rule::TakeOverAfterSilence)) {
        if (&part == &run.parts.front()) {
          transaction.if_absent(to_key(ControllerKey{run.taken_from}));
        }
      }
      if (auto claimed = next(part, Transition::ClaimMigration);
          claimed && rules_.holds(Rule::ClaimNewEpoch)) {
        claimed->record->deadline = part.partition->deadline;
        transaction.put(to_key(PartitionRecordKey{part.id}), codec_.encode(*claimed->record));
        head.ids.push_back(part.id);
      }
      MoveRecord move = part.move;
      move.owner = session_->id();
      if (move.step == MoveStep::Requested) move.step = MoveStep::Begin;
      if (!move.from && part.partition) move.from = part.partition->from;
      if (run.has_users && rules_.holds(Rule::UserNamedFirst)) move.attempts.push_back(run.users);
      transaction.put(to_key(MoveKey{part.id}), codec_.encode(move));
    }
    if (!head.ids.empty()) transaction.put(to_key(HeadKey{}), codec_.encode(head));
    run.barrier_at = now_;
    send(run, std::move(transaction));
  }

  void name_users(Run& run) {
    if (!rules_.holds(Rule::UserNamedFirst)) {
      run.is_named = true;
      run.named_at = now_;
      return look(now_);
    }
    Transaction transaction = of(run, false);
    for (const Part& part : run.parts) {
      MoveRecord move = part.move;
      move.attempts.push_back(run.users);
      transaction.put(to_key(MoveKey{part.id}), codec_.encode(move));
    }
    send(run, std::move(transaction));
  }

  void abort(Run& run, absl::Status why) {
    run.why = std::move(why);
    stop_job(run);
    const Part& part = run.parts.front();
    const bool is_settled = !part.partition || part.partition->phase == MigrationPhase::Settled;
    if (is_settled) return to_clean(run);
    change(run, Transition::AbortMigration, MoveStep::Clean);
  }

  // The partitions are settled (somebody aborted, or nothing was begun): only the records go on.
  void to_clean(Run& run) {
    if (run.why.ok()) run.why = absl::AbortedError("the partition is in no migration any more");
    Transaction transaction = of(run, true);
    for (const Part& part : run.parts) {
      MoveRecord move = part.move;
      move.step = MoveStep::Clean;
      transaction.put(to_key(MoveKey{part.id}), codec_.encode(move));
    }
    send(run, std::move(transaction));
  }

  void remove_record(Run& run) {
    Transaction transaction = of(run, false);
    for (const Part& part : run.parts) transaction.erase(to_key(MoveKey{part.id}));
    send(run, std::move(transaction));
  }

  // The answer to a transaction of a run. Whatever it is, afterwards the parts are as the store
  // showed them, or it is sent again.
  void on_change(Run& run, const Outcome& outcome) {
    if (outcome.unknown() != nullptr && !run.is_reading && !rules_.holds(Rule::UnknownIsSettled)) {
      // (A simulation's: it takes what was not answered for what has not happened.)
      if (run.parts.front().move.step == MoveStep::Cutover && run.is_finished) {
        run.change.reset();
        run.parts.front().move.step = MoveStep::Clean;
        new_attempt(run);
        run.has_users = run.is_named = run.is_exclusive = true;
        return;
      }
    }
    if (outcome.unknown() != nullptr || outcome.failed() != nullptr) {
      // Sent again as it is: it compares what it changes, so it happens once, or a refusal shows
      // that it has happened. Until then nothing is done at the data.
      run.not_before = now_ + options_.retry;
      if (run.is_reading) run.is_reading = false;
      return;
    }
    if (run.is_reading) return on_read(run, *outcome.done());
    if (const Done* done = outcome.done()) return on_done(run, done->revision);
    // Refused: it is read anew, and goes on from what is there.
    run.change.reset();
    run.is_read = false;
  }

  void on_done(Run& run, Revision revision) {
    known_ = std::max(known_, revision);
    const Transaction transaction = *std::exchange(run.change, std::nullopt);
    std::map<std::string, const std::string*> puts;
    for (const auto& put : transaction.puts()) puts[put.key] = &put.value;
    for (Part& part : run.parts) {
      const std::string move_key = to_key(MoveKey{part.id});
      const std::string key = to_key(PartitionRecordKey{part.id});
      if (const auto put = puts.find(move_key); put != puts.end()) {
        if (auto move = codec_.template decode<MoveRecord>(*put->second); move.ok()) {
          take_part(run, part, *std::move(move), revision);
        }
      } else {
        actions_.emplace_back(Ended{run.operation, run.why});
        return drop(run);  // the record is gone
      }
      if (const auto put = puts.find(key); put != puts.end()) {
        if (auto record = codec_.template decode<PartitionRecord>(*put->second); record.ok()) {
          part.partition = *std::move(record);
        }
        part.mod = revision;
        new_barrier(run, revision);
      } else if (std::find(transaction.deletes().begin(), transaction.deletes().end(), key) !=
                 transaction.deletes().end()) {
        part.partition.reset();
        part.mod = Revision::zero();
        new_barrier(run, revision);
      }
    }
  }

  void new_barrier(Run& run, Revision revision) {
    run.barrier = revision;
    run.is_listed = false;
    run.needed.clear();
  }

  // The record as it is in the store now.
  void take_part(Run& run, Part& part, MoveRecord move, Revision mod) {
    const bool is_named =
        (!move.attempts.empty() && move.attempts.back() == run.users && run.has_users) ||
        !rules_.holds(Rule::UserNamedFirst);
    if (is_named && !run.is_named) {
      run.is_named = true;
      run.named_at = now_;
    }
    // To clean up is an attempt of its own: what the copy has sent may still be under way.
    const bool turns = move.step == MoveStep::Clean && part.move.step != MoveStep::Clean;
    part.move = std::move(move);
    part.move_mod = mod;
    if (turns) new_attempt(run);
  }

  void on_read(Run& run, const Done& done) {
    run.is_reading = false;
    known_ = std::max(known_, done.revision);
    const std::optional<Entry>& history = done.reads.back();
    if (rules_.holds(Rule::HistoryCompared) && (!history || history->mod != history_mod_)) {
      return lose(to_status(Fault::HistoryLost, "the store's history is another one"));
    }
    const std::optional<Entry>& head = done.reads[done.reads.size() - 2];
    run.is_read = true;
    Revision barrier;
    for (std::size_t i = 0; i < run.parts.size(); ++i) {
      Part& part = run.parts[i];
      const std::optional<Entry>& move_entry = done.reads[2 * i];
      const std::optional<Entry>& entry = done.reads[2 * i + 1];
      if (!move_entry) {
        actions_.emplace_back(Ended{run.operation, run.why});
        return drop(run);
      }
      auto move = codec_.template decode<MoveRecord>(move_entry->value);
      const bool is_other = !move.ok() || move->operation != run.operation;
      const bool was_mine = part.move.owner == session_->id();
      const bool is_mine = !is_other && move->owner == session_->id();
      const bool is_free = !is_other && !move->owner;
      const bool is_dead = !is_other && move->owner == run.taken_from && !run.taken_from.empty();
      if (is_other || (was_mine && !is_mine) || !(is_mine || is_free || is_dead)) return drop(run);
      const bool had_users = run.has_users;
      take_part(run, part, *std::move(move), move_entry->mod);
      if (had_users && !run.is_named && is_mine) run.has_users = false;
      part.partition.reset();
      part.mod = Revision::zero();
      if (entry) {
        auto record = codec_.template decode<PartitionRecord>(entry->value);
        if (!record.ok()) return drop(run);  // of a newer release: not for this controller
        part.partition = *std::move(record);
        part.mod = entry->mod;
      }
      barrier = std::max(barrier, entry ? entry->mod : head ? head->mod : Revision::zero());
    }
    if (barrier != run.barrier) {
      new_barrier(run, barrier);
      run.barrier_at = now_;
    }
  }

  // ---- who has to follow ----

  [[nodiscard]] bool is_overdue(const Run& run) {
    const absl::Time until = run.barrier_at + deadline_of(run.parts.front());
    look(until);
    return now_ >= until;
  }

  // No router seems dead: whoever is silent is fenced now, and not in the cutover.
  [[nodiscard]] bool is_calm() {
    for (const auto& [id, seen] : routers_) {
      if (is_silent(seen)) fence(id, seen, false);
      if (superseded_.contains(id)) continue;
      if (is_suspect(seen)) return false;
      look(seen.since + seen.record.ttl * 2 / 3 + options_.retry);
    }
    return !has_late_writes();
  }

  // Every router whose key was there before the barrier. Later ones have applied it before they
  // serve. From a load: an event of a watch may have been lost.
  void list_needed(Run& run, Revision revision) {
    if (run.is_listed || run.barrier == Revision::zero()) return;
    if (revision < run.barrier && rules_.holds(Rule::ListAtCutover)) return;
    run.is_listed = true;
    run.needed.clear();
    for (const auto& [id, seen] : routers_) {
      if (seen.create < run.barrier && !superseded_.contains(id)) run.needed.insert(id);
    }
  }

  [[nodiscard]] static bool is_pending(const Pending& pending, const Run& run) {
    if (pending.overflow_from && run.barrier >= *pending.overflow_from) return true;
    return std::any_of(run.parts.begin(), run.parts.end(), [&](const Part& part) {
      return std::find(pending.ids.begin(), pending.ids.end(), part.id) != pending.ids.end();
    });
  }

  template <typename Followed>
  [[nodiscard]] bool all_followed(Run& run, Followed followed) {
    if (!rules_.holds(Rule::ListByLoad)) list_needed(run, Revision::max());
    if (!run.is_listed) {
      relist();
      return false;
    }
    bool all = true;
    std::erase_if(run.needed, [&](const std::string& id) { return !routers_.contains(id); });
    for (const std::string& id : run.needed) {
      const Seen& seen = routers_.at(id);
      const bool knows = seen.record.protocol <= options_.protocol;
      if (knows && seen.record.applied >= run.barrier && followed(seen.record)) continue;
      all = false;
      look(seen.since + silence(seen));
      if (is_silent(seen)) fence(id, seen, false);
    }
    if (!all && now_ >= listed_at_ + options_.relist) relist();
    return all;
  }

  [[nodiscard]] bool is_drained(Run& run) {
    return all_followed(run, [&](const SessionRecord& record) {
      return !rules_.holds(Rule::UndrainedCounted) || !is_pending(record.undrained, run);
    });
  }

  // Nobody reads any more where the partition was.
  [[nodiscard]] bool is_followed(Run& run) {
    const bool all = all_followed(run, [&](const SessionRecord& record) {
      return !rules_.holds(Rule::CleanAfterReads) || !is_pending(record.reading, run);
    });
    if (!all) return false;
    for (const auto& [id, fenced] : fenced_) {
      if (fenced.record.is_controller) continue;
      const absl::Time until =
          fenced.since + std::max(settings_.stale_for, fenced.record.held.write_timeout);
      if (now_ >= until) continue;
      look(until);
      return false;
    }
    return true;
  }

  ControllerOptions options_;
  Codec codec_;
  [[no_unique_address]] Rules rules_;

  State state_ = State::Starting;
  absl::Time now_ = absl::InfinitePast();
  absl::Time heard_at_ = absl::InfinitePast();
  absl::Time look_at_ = absl::InfiniteFuture();
  std::optional<absl::Time> retry_at_;
  absl::Status why_lost_;
  std::vector<Action> actions_;
  std::uint64_t tickets_ = 0;
  std::uint64_t loads_ = 0;
  std::uint64_t jobs_ = 0;
  std::set<std::uint64_t> asked_;
  std::uint64_t introduce_ticket_ = 0;
  std::uint64_t session_ticket_ = 0;
  std::uint64_t fence_ticket_ = 0;

  SettingsRecord settings_;
  Revision history_mod_;
  Revision known_;                              // the greatest revision that was answered
  std::map<std::uint64_t, Revision> known_at_;  // by ticket: when it was sent

  std::optional<Session> session_;
  std::uint64_t sessions_ = 0;
  std::optional<std::string> supersedes_;

  // the store's sessions/ and moves/
  std::uint64_t sessions_load_ = 0;  // under way
  std::uint64_t moves_load_ = 0;
  bool has_sessions_ = false;
  bool has_moves_ = false;
  bool reopens_ = false;  // the watch, when both are loaded
  Revision sessions_at_;
  Revision moves_at_;
  absl::Time reopen_at_ = absl::InfiniteFuture();
  std::uint64_t watch_number_ = 0;
  absl::Time listed_at_ = absl::InfinitePast();
  std::map<std::string, Seen> routers_;
  std::map<std::string, Seen> controllers_;
  std::map<std::string, FencedSeen> fenced_;
  std::set<std::string> superseded_;
  std::set<std::string> gone_;  // sessions whose key was deleted: it never comes back
  std::map<std::string, MoveSeen> moves_;

  std::map<std::string, Run> runs_;  // by operation
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_CONTROLLER_MACHINE_HPP_
