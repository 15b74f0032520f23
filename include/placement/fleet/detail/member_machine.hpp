// SPDX-License-Identifier: Apache-2.0
//
// A router's part of the fleet's protocol, as a pure state machine: it is given the time, the
// store's answers, the revisions of a watch and what the table has in flight, and returns what is
// to be done. No thread, no clock, no socket. docs/fleet-protocol.md argues each of its rules.
//
//   Starting -> Loading -> Joining -> Serving -> Leaving -> Stopped
//                  ^          ^          |
//                  |          +- Fenced -+     (a new session, the same table)
//                  +- Verifying: what was resumed is older than the store remembers
//   any -> Lost                                (the store is not the one it was)
//
// (From Fenced it goes by Verifying: is the store's last change still the one that was applied?)
//
// How it is driven: call start() once; then take_actions() after every call, do what they say, and
// give back what came of it. Call tick() when wakes_at() has come. All times are of one clock of
// this process that nobody sets and that counts while the machine sleeps.
#ifndef PLACEMENT_FLEET_DETAIL_MEMBER_MACHINE_HPP_
#define PLACEMENT_FLEET_DETAIL_MEMBER_MACHINE_HPP_

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
#include <absl/strings/str_cat.h>
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

// The table of a router, as far as the machine has to know it.
class MemberTable {
 public:
  MemberTable(const MemberTable&) = delete;
  MemberTable& operator=(const MemberTable&) = delete;
  virtual ~MemberTable() = default;

  // Both return whether reads go to another place than before (or nowhere any more).
  virtual bool apply(const std::string& id, const PartitionRecord& record, Revision epoch) = 0;
  virtual bool apply_erase(const std::string& id, Revision epoch) = 0;
  // All partitions that are there.
  [[nodiscard]] virtual std::vector<std::string> ids() const = 0;
  // No write of this router is in flight.
  [[nodiscard]] virtual bool has_no_writes() const = 0;
  [[nodiscard]] virtual bool has_no_reads() const = 0;

 protected:
  MemberTable() = default;
};

// What a member knows of the store, to be kept in a file: so that a restart resumes, and a store
// that was restored is recognised.
struct Knowledge {
  std::string history;  // its id; empty: nothing is known
  Revision revision;    // the greatest that was seen
  Revision applied;     // of the last change of partitions that is in the table
  std::uint64_t head_version = 0;
  std::string session;  // the last one, and the seq of its last put that is known to have happened
  bool is_controller = false;
  std::uint64_t seq = 0;

  friend bool operator==(const Knowledge&, const Knowledge&) = default;
};

struct MemberOptions {
  std::string name;
  std::string address;
  absl::Duration ttl = absl::Seconds(6);
  absl::Duration write_timeout = absl::Seconds(3);
  absl::Duration behind_bound = absl::Seconds(2);  // for how long `head` may be above `applied`
  absl::Duration retry = absl::Milliseconds(200);  // after a store did not answer
  absl::Duration least_gap = absl::Milliseconds(20);
  std::size_t most_pending = 10'000;  // ids that a session's key lists
  Users users;
  std::function<std::string()> new_session;  // random, never the same twice
};

struct MemberMachineTypes {
  enum class State {
    Starting,
    Loading,
    Verifying,
    Joining,
    Serving,
    Fenced,
    Leaving,
    Stopped,
    Lost
  };
  enum class Purpose { Introduce, Session, Abort, DeleteHistory };

  // ---- what is to be done ----

  struct Commit {  // answered by on_outcome
    Purpose purpose;
    Transaction transaction;
  };
  struct Load {  // answered by on_snapshot
    std::uint64_t number;
    std::string prefix;
    At at = At::now();
  };
  struct OpenWatch {  // of kTablePrefix; ends the one before
    std::uint64_t number;
    Revision from;
  };
  struct CloseWatch {};
  struct List {};   // what is undrained in the table; answered by on_listed
  struct Flipped {  // answered by on_older_reads_ended, when reads at the former place have ended
    std::string id;
    Revision epoch;
  };
  struct WasFenced {};
  struct WasLost {
    absl::Status why;
  };
  using Action =
      std::variant<Commit, Load, OpenWatch, CloseWatch, List, Flipped, WasFenced, WasLost>;
};

template <typename Codec = JsonCodec, typename Rules = EveryRule>
class MemberMachine : public MemberMachineTypes {
 public:
  MemberMachine(MemberOptions options, MemberTable& table, Knowledge known = {}, Codec codec = {},
                Rules rules = {})
      : options_(std::move(options)),
        table_(table),
        known_(std::move(known)),
        codec_(codec),
        rules_(rules) {}

  [[nodiscard]] std::vector<Action> take_actions() { return std::exchange(actions_, {}); }

  // When to call tick(), at the latest.
  [[nodiscard]] absl::Time wakes_at() const {
    if (state_ == State::Lost || state_ == State::Stopped) return absl::InfiniteFuture();
    absl::Time time = absl::InfiniteFuture();
    if (retry_at_) time = *retry_at_;
    if (load_at_) time = std::min(time, *load_at_);
    if (session_ && !session_->is_waiting() && !is_listing_) time = next_put();
    if (state_ == State::Fenced) time = std::min(time, fenced_at_ + options_.write_timeout);
    if (behind_since_) time = std::min(time, *behind_since_ + options_.behind_bound);
    if (!is_aborting_) {
      for (const auto& [id, cutover] : cutovers_) time = std::min(time, overdue_at(cutover));
    }
    return time;
  }

  // ---- what a request asks ----

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] const absl::Status& why_lost() const noexcept { return why_lost_; }

  // What a request's path has to know, so that it need not ask the machine: whoever publishes this
  // after every call may admit while it covers the time, and confirms with the session's number.
  [[nodiscard]] Lease lease() const {
    if (state_ != State::Serving || is_stopping_) return {};
    return session_->lease();
  }
  [[nodiscard]] bool may_admit(absl::Time now) const { return lease().covers(now); }
  // A write or a read that was admitted by `session`: may its answer, which is here, be told?
  [[nodiscard]] bool confirm(std::uint64_t session, absl::Time now) const {
    if (!session_ || (state_ != State::Serving && state_ != State::Leaving)) return false;
    const Lease lease = session_->lease();
    const bool is_same = lease.session == session || !rules_.holds(Rule::ConfirmSession);
    return is_same && (lease.covers(now) || !rules_.holds(Rule::ConfirmLease));
  }
  // The second form: true once a heartbeat that was sent after `answered` has succeeded, which
  // shows that nobody had fenced the session then. For whom the first form came too late.
  [[nodiscard]] bool confirm_late(std::uint64_t session, absl::Time answered) const {
    if (!session_ || state_ != State::Serving) return false;
    const Lease lease = session_->lease();
    return lease.session == session && lease.sent >= answered;
  }

  [[nodiscard]] Revision applied() const noexcept { return applied_; }
  [[nodiscard]] const Knowledge& knowledge() const noexcept { return known_; }
  [[nodiscard]] const std::string& session() const { return session_->id(); }
  [[nodiscard]] const Users& users() const noexcept { return options_.users; }

  // ---- inputs ----

  // Begins. If the table was filled from a file, `known.applied` says of which revision.
  void start(absl::Time now) {
    now_ = now;
    introduce();
  }

  // No request is admitted any more; when those under way have ended, the session's key is deleted.
  void stop(absl::Time now) {
    now_ = now;
    is_stopping_ = true;
    if (!session_ && state_ != State::Fenced) {
      end(State::Stopped);
    } else {
      advance();
    }
  }

  void tick(absl::Time now) {
    now_ = now;
    if (retry_at_ && now >= *retry_at_) {
      retry_at_.reset();
      if (state_ == State::Starting) {
        introduce();
      } else if (state_ == State::Verifying) {
        verify();
      }
    }
    if (load_at_ && now >= *load_at_) load();
    advance();
  }

  // The last write (with strict reads: or read) in flight at this partition has ended. Of
  // partitions in cutover it has to be told; of others it may be. Of the last of all, too, while
  // `has_no_writes` is waited for: that is, once the member was fenced or is to stop.
  void on_drained(absl::Time now, const std::string& id) {
    now_ = now;
    if (cutovers_.contains(id)) is_urgent_ = true;
    advance();
  }

  // All reads that began before `epoch` was applied have ended at the partition's former place.
  void on_older_reads_ended(absl::Time now, const std::string& id, Revision epoch) {
    now_ = now;
    const auto found = reading_.find(id);
    if (found == reading_.end() || found->second > epoch) return;
    reading_.erase(found);
    is_urgent_ = true;
    advance();
  }

  void on_outcome(absl::Time now, Purpose purpose, const Outcome& outcome) {
    now_ = now;
    switch (purpose) {
      case Purpose::Introduce:
        on_introduced(outcome);
        break;
      case Purpose::Session:
        on_session(outcome);
        break;
      case Purpose::Abort:
        is_aborting_ = false;  // whatever came of it is seen in the watch
        break;
      case Purpose::DeleteHistory:
        break;
    }
    advance();
  }

  void on_snapshot(absl::Time now, std::uint64_t number, const absl::StatusOr<Snapshot>& snapshot) {
    now_ = now;
    if (state_ == State::Lost || state_ == State::Stopped) return;
    if (number == verify_number_ && state_ == State::Verifying) {
      on_verified(snapshot);
    } else if (number == load_number_ && is_loading_) {
      on_loaded(snapshot);
    }
    advance();
  }

  void on_watch(absl::Time now, std::uint64_t number, const WatchEvent& event) {
    now_ = now;
    if (number != watch_number_ || state_ == State::Lost || state_ == State::Stopped) return;
    if (const auto* changes = std::get_if<Changes>(&event)) {
      on_changes(*changes);
    } else if (const auto* lost = std::get_if<HistoryLost>(&event)) {
      lose(lost->why);
    } else if (std::holds_alternative<Compacted>(event)) {
      if (!is_loading_) load();
    }
    // Progress moves nothing: an event that the store forgot would count as applied.
    advance();
  }

  // The answer to List: the partitions in cutover with writes in flight (with strict reads: or
  // reads), as they were at one time or at several since the List was returned.
  void on_listed(absl::Time now, const std::vector<std::string>& undrained) {
    now_ = now;
    if (!is_listing_) return;
    is_listing_ = false;
    if (!session_ || session_->is_waiting()) return;
    SessionRecord record;
    record.name = options_.name;
    record.address = options_.address;
    record.ttl = options_.ttl;
    record.write_timeout = options_.write_timeout;
    // What was applied before the list was made: a cutover that is applied meanwhile is not in the
    // list, and must not seem to be drained.
    record.applied = rules_.holds(Rule::AppliedBeforeList) ? listed_applied_ : applied_;
    std::map<std::string, Revision> undrained_at = unreadable_;
    for (const std::string& id : undrained) {
      const auto cutover = cutovers_.find(id);
      undrained_at.emplace(id, cutover == cutovers_.end() ? Revision() : cutover->second.epoch);
    }
    record.undrained = pending_of(undrained_at);
    std::map<std::string, Revision> reading_at = unreadable_;
    reading_at.insert(reading_.begin(), reading_.end());
    record.reading = pending_of(reading_at);
    record.users = options_.users;
    record.supersedes = supersedes_;
    known_at_put_ = {known_.revision, applied_, head_version_, head_mod_};
    commit(Purpose::Session, session_->put(now_, std::move(record)));
    is_urgent_ = false;
  }

 private:
  struct Cutover {
    Revision epoch;
    absl::Time seen;
    PartitionRecord record;
  };

  struct KnownAtPut {
    Revision revision;
    Revision applied;
    std::uint64_t head_version = 0;
    std::optional<Revision> head_mod;
  };

  void commit(Purpose purpose, Transaction transaction) {
    actions_.emplace_back(Commit{purpose, std::move(transaction)});
  }

  void enter(State state) {
    state_ = state;
    retry_at_.reset();
  }

  void end(State state) {
    enter(state);
    ++watch_number_;
    actions_.emplace_back(CloseWatch{});
  }

  // The store is not the one this process knew. Nothing is admitted any more. If its history still
  // bears the same id, it is deleted, so that everybody stops: whoever knows less cannot tell.
  void lose(absl::Status why) {
    if (state_ == State::Lost) return;
    const bool stops_everybody = history_mod_ != Revision::zero();
    why_lost_ = why;
    end(State::Lost);
    actions_.emplace_back(WasLost{std::move(why)});
    if (!stops_everybody) return;
    Transaction transaction;
    transaction.if_mod(to_key(HistoryKey{}), history_mod_).erase(to_key(HistoryKey{}));
    commit(Purpose::DeleteHistory, std::move(transaction));
  }

  void learn(Revision revision) { known_.revision = std::max(known_.revision, revision); }

  // ---- the start ----

  void introduce() {
    enter(State::Starting);
    Transaction transaction;
    transaction.read(to_key(HistoryKey{})).read(to_key(SettingsKey{})).read(to_key(HeadKey{}));
    if (!known_.session.empty()) {
      transaction
          .read(known_.is_controller ? to_key(ControllerKey{known_.session})
                                     : to_key(RouterKey{known_.session}))
          .read(to_key(FencedKey{known_.session}));
    }
    commit(Purpose::Introduce, std::move(transaction));
  }

  void on_introduced(const Outcome& outcome) {
    if (state_ != State::Starting) return;
    const Done* done = outcome.done();
    if (done == nullptr || !done->reads[0] || !done->reads[1]) {
      retry_at_ = now_ + options_.retry;  // no answer, or no history: nobody made this store yet,
      return;                             // or it is not to be believed
    }
    const auto history = codec_.template decode<HistoryRecord>(done->reads[0]->value);
    const auto settings = codec_.template decode<SettingsRecord>(done->reads[1]->value);
    if (!history.ok()) return lose(history.status());
    if (!settings.ok()) return lose(settings.status());
    settings_ = *settings;
    if (rules_.holds(Rule::StartChecksFile) && !known_.history.empty()) {
      if (known_.history == history->id) {
        history_mod_ = done->reads[0]->mod;
        if (const absl::Status status = compare_with_file(*done); !status.ok()) {
          return lose(status);
        }
      } else if (history->former == known_.history) {
        known_ = {};  // an operator has restored it
      } else {
        return lose(to_status(Fault::HistoryLost,
                              absl::StrCat("the store's history is ", history->id,
                                           ", this process's file is of ", known_.history)));
      }
    }
    history_mod_ = done->reads[0]->mod;
    known_.history = history->id;
    learn(done->revision);
    if (known_.applied != Revision::zero()) {
      applied_ = known_.applied;
      head_version_ = known_.head_version;
      verify();
    } else {
      enter(State::Loading);
      load();
    }
  }

  [[nodiscard]] absl::Status compare_with_file(const Done& done) const {
    const std::optional<Entry>& head = done.reads[2];
    if (done.revision < known_.revision) {
      return to_status(Fault::HistoryLost,
                       absl::StrCat("the store is at revision ", done.revision.value(),
                                    ", and was at ", known_.revision.value()));
    }
    if ((head ? head->version : 0) < known_.head_version) {
      return to_status(Fault::HistoryLost, "the table has seen fewer changes than it had");
    }
    if (!known_.session.empty() && done.reads[3]) {
      const auto own = codec_.template decode<SessionRecord>(done.reads[3]->value);
      if (own.ok() && own->seq < known_.seq) {
        return to_status(Fault::HistoryLost, "this process's former session is older than it was");
      }
    }
    return absl::OkStatus();
  }

  // The table is of `applied_`: is the store's `head` of then the one that was applied? A store
  // that went back and has grown past it since has another.
  void verify() {
    enter(State::Verifying);
    verified_version_ = head_version_;  // the watch goes on meanwhile
    actions_.emplace_back(
        Load{verify_number_ = ++numbers_, to_key(HeadKey{}), At::exactly(applied_)});
  }

  void on_verified(const absl::StatusOr<Snapshot>& snapshot) {
    if (!snapshot.ok()) {
      const auto fault = fault_of(snapshot.status());
      if (fault == Fault::HistoryLost) return lose(snapshot.status());
      if (fault == Fault::Compacted) {
        enter(State::Loading);
        return load();
      }
      retry_at_ = now_ + options_.retry;
      return;
    }
    std::uint64_t version = 0;
    for (const Entry& entry : snapshot->entries) version = entry.version;
    if (version != verified_version_ && rules_.holds(Rule::HeadNeverBack)) {
      return lose(to_status(Fault::HistoryLost, "the table's last change is not the one it was"));
    }
    if (!is_loading_) open_watch();
    join();
  }

  // The whole table. A member that serves goes on with the one it has meanwhile: it acknowledges
  // nothing that it has not applied.
  void load() {
    is_loading_ = true;
    load_at_.reset();
    actions_.emplace_back(
        Load{load_number_ = ++numbers_, std::string(kTablePrefix), At::least(known_.revision)});
  }

  void on_loaded(const absl::StatusOr<Snapshot>& snapshot) {
    if (!snapshot.ok()) {
      if (fault_of(snapshot.status()) == Fault::HistoryLost) return lose(snapshot.status());
      load_at_ = now_ + options_.retry;
      return;
    }
    if (snapshot->revision < applied_) {
      return lose(to_status(Fault::HistoryLost, "the store is older than the table"));
    }
    std::set<std::string> there;
    for (const Entry& entry : snapshot->entries) {
      const auto key = parse_key(entry.key);
      if (!key.ok()) continue;  // another project's
      if (std::holds_alternative<HeadKey>(*key)) {
        if (entry.version < head_version_ && rules_.holds(Rule::HeadNeverBack)) {
          return lose(
              to_status(Fault::HistoryLost, "the table has seen fewer changes than it had"));
        }
        head_version_ = entry.version;
        head_mod_ = entry.mod;
      } else if (const auto* partition = std::get_if<PartitionRecordKey>(&*key)) {
        there.insert(partition->id);
        apply(partition->id, entry.value, entry.mod, rules_.holds(Rule::SnapshotReads));
      }
    }
    if (rules_.holds(Rule::SnapshotErases)) {
      for (const std::string& id : table_.ids()) {
        if (!there.contains(id)) apply_erase(id, snapshot->revision);
      }
    }
    is_loading_ = false;
    move_applied(snapshot->revision);
    open_watch();
    if (state_ == State::Loading) join();
  }

  // ---- the watch ----

  void open_watch() {
    behind_since_.reset();
    actions_.emplace_back(OpenWatch{++watch_number_, applied_.next()});
  }

  void on_changes(const Changes& changes) {
    if (changes.revision <= applied_ || is_loading_) return;
    const HeadRecord* head = nullptr;
    absl::StatusOr<HeadRecord> decoded = absl::UnknownError("");
    std::uint64_t version = 0;
    std::set<std::string> there;
    for (const Change& change : changes.changes) {
      const auto key = parse_key(change.key);
      if (!key.ok()) continue;
      if (std::holds_alternative<HeadKey>(*key) && change.value) {
        decoded = codec_.template decode<HeadRecord>(*change.value);
        if (decoded.ok()) head = &*decoded;
        version = change.version;
      } else if (const auto* partition = std::get_if<PartitionRecordKey>(&*key)) {
        there.insert(partition->id);
        if (change.value) {
          apply(partition->id, *change.value, changes.revision, true);
        } else {
          apply_erase(partition->id, changes.revision);
        }
      }
    }
    // Every change of partitions puts `head`, and names them in it. Where it does not fit, an event
    // was lost on the way.
    bool is_whole = head != nullptr;
    if (rules_.holds(Rule::HeadContinuity)) {
      is_whole = is_whole && version == head_version_ + 1;
    }
    if (rules_.holds(Rule::WholeRevision)) {
      for (std::size_t i = 0; is_whole && i < head->ids.size(); ++i) {
        is_whole = there.contains(head->ids[i]);
      }
    }
    if (!is_whole) return load();
    head_version_ = version;
    head_mod_ = changes.revision;
    move_applied(changes.revision);
  }

  void apply(const std::string& id, const std::string& value, Revision epoch, bool notes_reads) {
    const auto record = codec_.template decode<PartitionRecord>(value);
    if (!record.ok()) {
      // What cannot be read cannot be acknowledged: whoever wants to change this partition waits
      // for this router, until it is upgraded or stopped. The rest goes on.
      unreadable_[id] = epoch;
      return;
    }
    unreadable_.erase(id);
    const bool moved = table_.apply(id, *record, epoch);
    if (moved && notes_reads) note_reads(id, epoch);
    if (record->phase == MigrationPhase::Cutover) {
      auto& cutover = cutovers_[id];
      if (cutover.epoch != epoch) cutover = {epoch, now_, *record};
      is_urgent_ = true;
    } else {
      cutovers_.erase(id);
    }
  }

  void apply_erase(const std::string& id, Revision epoch) {
    unreadable_.erase(id);
    if (table_.apply_erase(id, epoch)) note_reads(id, epoch);
    cutovers_.erase(id);
  }

  void note_reads(const std::string& id, Revision epoch) {
    is_urgent_ = true;
    if (table_.has_no_reads()) return;
    reading_[id] = epoch;
    actions_.emplace_back(Flipped{id, epoch});
  }

  void move_applied(Revision revision) {
    applied_ = std::max(applied_, revision);
    known_.applied = applied_;
    known_.head_version = head_version_;
    learn(revision);
    if (target_ && applied_ >= *target_) serve();
  }

  // ---- the session ----

  void join() {
    enter(State::Joining);
    target_.reset();
    session_.emplace(
        typename Session::Setup{options_.new_session(), ++sessions_, false, history_mod_,
                                settings_.margin, settings_.retention, options_.ttl},
        codec_, rules_);
    is_urgent_ = true;
    is_listing_ = false;
  }

  void serve() {
    if (state_ != State::Joining) return;
    target_.reset();
    enter(State::Serving);
  }

  [[nodiscard]] absl::Time next_put() const {
    using enum SessionMachineTypes::State;
    const absl::Duration gap =
        std::clamp(session_->latency(), options_.least_gap, options_.ttl / 10);
    const bool soon = is_urgent_ || session_->state() != Live;
    return session_->last_sent() + (soon ? gap : options_.ttl / 3);
  }

  void on_session(const Outcome& outcome) {
    if (!session_ || state_ == State::Lost || state_ == State::Stopped) return;
    session_->on_outcome(now_, outcome);
    known_.session = session_->id();
    known_.seq = session_->seq();
    using enum SessionMachineTypes::State;
    switch (session_->state()) {
      case Registering:
        return;
      case Abandoned:
        supersedes_ = session_->id();
        return join();
      case Lost:
        return lose(to_status(Fault::HistoryLost,
                              "this session's key is not what this process made of it"));
      case Expired:
        session_.reset();
        return introduce();
      case Fenced:
        fenced_at_ = now_;
        enter(State::Fenced);
        actions_.emplace_back(WasFenced{});
        return;
      case Gone:
        known_.session.clear();
        session_.reset();
        return end(State::Stopped);
      case Live:
      case Leaving:
        break;
    }
    if (outcome.done() == nullptr && outcome.refused() == nullptr) return;
    on_head();
  }

  void on_head() {
    const std::optional<Entry>& head = session_->head();
    const Revision mod = head ? head->mod : Revision::zero();
    const std::uint64_t version = head ? head->version : 0;
    if (rules_.holds(Rule::HeadNeverBack)) {
      // The store is at least as it was when the put was sent.
      const KnownAtPut& known = known_at_put_;
      if (session_->revision() < known.revision || version < known.head_version ||
          (version == known.head_version && mod > known.applied) ||
          (version == known.head_version && known.head_mod && mod != *known.head_mod)) {
        return lose(to_status(Fault::HistoryLost, "the table has seen other changes than it had"));
      }
    }
    learn(session_->revision());
    if (state_ == State::Joining && !target_) {
      target_ = mod;
      if (applied_ >= mod || !rules_.holds(Rule::ServeAfterHead)) serve();
    }
    if (mod <= applied_) {
      behind_since_.reset();
      if (version > head_version_ && rules_.holds(Rule::HeadContinuity) && !is_loading_) load();
    } else if (!behind_since_) {
      behind_since_ = now_;
    }
  }

  // ---- whatever is due ----

  void advance() {
    if (state_ == State::Lost || state_ == State::Stopped) return;
    if (behind_since_ && now_ >= *behind_since_ + options_.behind_bound &&
        rules_.holds(Rule::WatchRenewed) && !is_loading_) {
      open_watch();  // `head` is known, and the watch does not tell it
    }
    abort_overdue();
    if (state_ == State::Fenced) return leave_fenced();
    if (!session_ || session_->is_waiting() || is_listing_ || state_ == State::Starting) return;
    if (is_stopping_ && table_.has_no_writes() && table_.has_no_reads()) {
      if (session_->state() == SessionMachineTypes::State::Registering) return end(State::Stopped);
      if (session_->state() == SessionMachineTypes::State::Leaving && now_ < next_put()) return;
      enter(State::Leaving);
      return commit(Purpose::Session, session_->leave(now_));
    }
    if (now_ < next_put()) return;
    listed_applied_ = applied_;
    is_listing_ = true;
    actions_.emplace_back(List{});
  }

  // Its requests that are under way cannot be confirmed any more. When they have ended (or are too
  // old to take effect) it comes back, with the table that it has.
  void leave_fenced() {
    const bool is_over = table_.has_no_writes() || now_ >= fenced_at_ + options_.write_timeout;
    if (!is_over && rules_.holds(Rule::OwnPermitsFirst)) return;
    session_.reset();
    if (is_stopping_) return end(State::Stopped);
    verify();
  }

  // A cutover whose owner, and whoever should take over from it, is gone: writes have waited long
  // enough. The compare makes it safe at any time.
  [[nodiscard]] absl::Time overdue_at(const Cutover& cutover) const {
    if (!cutover.record.deadline) return absl::InfiniteFuture();
    const double rho = settings_.rho_ppm * 1e-6;
    return cutover.seen + *cutover.record.deadline + settings_.longest_ttl * (1 + rho) +
           settings_.margin;
  }

  void abort_overdue() {
    if (is_aborting_) return;
    for (auto& [id, cutover] : cutovers_) {
      if (now_ < overdue_at(cutover)) continue;
      const v1::detail::Standing standing{true, MigrationPhase::Cutover,
                                          cutover.record.to == cutover.record.from,
                                          Epoch(cutover.epoch.value())};
      const v1::detail::Step step =
          v1::detail::next_step(standing, Transition::AbortMigration, standing.epoch);
      if (step.refusal) continue;
      PartitionRecord settled = cutover.record;
      settled.phase = step.phase;
      settled.to.reset();
      settled.deadline.reset();
      Transaction transaction;
      if (rules_.holds(Rule::AbortCompares)) {
        transaction.if_mod(to_key(PartitionRecordKey{id}), cutover.epoch);
      }
      transaction.if_mod(to_key(HistoryKey{}), history_mod_)
          .put(to_key(PartitionRecordKey{id}), codec_.encode(settled))
          .put(to_key(HeadKey{}), codec_.encode(HeadRecord{{id}}));
      cutover.seen = now_;  // else it is tried without end while the store is away
      is_aborting_ = true;
      commit(Purpose::Abort, std::move(transaction));
      return;
    }
  }

  // As many as fit, those of the oldest revisions first.
  [[nodiscard]] Pending pending_of(const std::map<std::string, Revision>& epochs) const {
    std::vector<std::pair<Revision, std::string>> sorted;
    sorted.reserve(epochs.size());
    for (const auto& [id, epoch] : epochs) sorted.emplace_back(epoch, id);
    std::sort(sorted.begin(), sorted.end());
    Pending pending;
    for (auto& [epoch, id] : sorted) {
      if (pending.ids.size() == options_.most_pending) {
        pending.overflow_from = epoch;
        break;
      }
      pending.ids.push_back(std::move(id));
    }
    return pending;
  }

  using Session = SessionMachine<Codec, Rules>;

  MemberOptions options_;
  MemberTable& table_;
  Knowledge known_;
  Codec codec_;
  [[no_unique_address]] Rules rules_;

  State state_ = State::Starting;
  absl::Time now_ = absl::InfinitePast();
  absl::Status why_lost_;
  std::vector<Action> actions_;
  std::optional<absl::Time> retry_at_;
  bool is_stopping_ = false;

  SettingsRecord settings_;
  Revision history_mod_;

  // the table
  Revision applied_;
  std::uint64_t head_version_ = 0;
  std::optional<Revision> head_mod_;  // none: resumed from a file
  std::uint64_t numbers_ = 0;
  std::uint64_t load_number_ = 0;
  std::uint64_t watch_number_ = 0;
  std::uint64_t verify_number_ = 0;
  std::uint64_t verified_version_ = 0;
  bool is_loading_ = false;
  std::optional<absl::Time> load_at_;
  std::optional<absl::Time> behind_since_;
  std::map<std::string, Revision> reading_;  // flips whose older reads have not ended
  std::map<std::string, Cutover> cutovers_;
  std::map<std::string, Revision> unreadable_;  // partitions whose record is of a newer release
  bool is_aborting_ = false;

  // the session
  std::optional<Session> session_;
  std::uint64_t sessions_ = 0;
  std::optional<std::string> supersedes_;
  std::optional<Revision> target_;  // the `head` that the first put found
  KnownAtPut known_at_put_;
  bool is_urgent_ = false;
  bool is_listing_ = false;
  Revision listed_applied_;
  absl::Time fenced_at_ = absl::InfinitePast();
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_MEMBER_MACHINE_HPP_
