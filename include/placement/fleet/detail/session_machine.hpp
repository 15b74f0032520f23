// SPDX-License-Identifier: Apache-2.0
//
// One session of a router or of a controller: its key in the store from the first put to the end,
// and the lease that it gives. A pure state machine: it is given the time and the store's answers,
// and returns transactions. No thread, no clock, no socket.
//
//   state        | put is Done | Refused: own, newer | Refused: fenced | Refused: else | Unknown
//   -------------+-------------+---------------------+-----------------+---------------+----------
//   Registering  | Live        | -                   | -               | Lost          | Abandoned
//   Live         | Live        | Live                | Fenced          | Lost          | Live
//   Leaving      | Gone        | Leaving             | Fenced          | Gone or Lost  | Leaving
//
// A heartbeat is a transaction which compares the key's mod revision with that of the last put. So
// nobody who was fenced can bring his key back, and of two puts whose answers were lost at most one
// ever happens. The store's leases promise neither.
#ifndef PLACEMENT_FLEET_DETAIL_SESSION_MACHINE_HPP_
#define PLACEMENT_FLEET_DETAIL_SESSION_MACHINE_HPP_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include "placement/fleet/detail/rules.hpp"
#include "placement/fleet/records.hpp"
#include "placement/fleet/store.hpp"

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

// How values are written. The simulation has another, which costs less.
struct JsonCodec {
  template <typename Record>
  [[nodiscard]] static std::string encode(const Record& record) {
    return fleet::encode(record);
  }
  template <typename Record>
  [[nodiscard]] static absl::StatusOr<Record> decode(std::string_view value) {
    return fleet::decode<Record>(value);
  }
};

// For how long a session may be relied on, on the clock of its own process.
struct Lease {
  std::uint64_t session = 0;  // of this process, from 1; zero: there is none
  absl::Time until = absl::InfinitePast();
  absl::Time sent = absl::InfinitePast();  // the put that it counts from

  [[nodiscard]] bool covers(absl::Time now) const noexcept { return session != 0 && now < until; }
};

struct SessionMachineTypes {
  enum class State {
    Registering,  // the first put is under way, or not yet sent
    Live,
    Leaving,    // its key is being deleted
    Gone,       // it was
    Abandoned,  // nobody knows whether the first put happened: it never served
    Fenced,
    Lost,     // the store is not the one it was
    Expired,  // it was silent for longer than the store remembers who was fenced
  };
};

template <typename Codec = JsonCodec, typename Rules = EveryRule>
class SessionMachine : public SessionMachineTypes {
 public:
  struct Setup {
    std::string session;
    std::uint64_t number = 1;  // of this process's sessions
    bool is_controller = false;
    Revision history;  // mod revision of the key `history`
    absl::Duration margin;
    absl::Duration retention;
    absl::Duration ttl;
  };

  SessionMachine(Setup setup, Codec codec, Rules rules)
      : setup_(std::move(setup)), codec_(codec), rules_(rules), key_(key_of(setup_)) {}

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] const std::string& id() const noexcept { return setup_.session; }
  [[nodiscard]] bool is_controller() const noexcept { return setup_.is_controller; }
  [[nodiscard]] std::uint64_t seq() const noexcept { return done_seq_; }
  [[nodiscard]] Revision mod() const noexcept { return mod_; }
  [[nodiscard]] bool is_waiting() const noexcept { return under_way_ != UnderWay::Nothing; }
  // `head`, as the last answer showed it; none if it was not there.
  [[nodiscard]] const std::optional<Entry>& head() const noexcept { return head_; }
  // How long the store took for the last answer.
  [[nodiscard]] absl::Duration latency() const noexcept { return latency_; }
  [[nodiscard]] absl::Time last_sent() const noexcept { return last_sent_; }
  // Of the store, as the last answer showed it.
  [[nodiscard]] Revision revision() const noexcept { return revision_; }

  // The put counts from before its sending: when it has happened, nobody fences this session until
  // a silence has passed since the store had it, which is later.
  [[nodiscard]] Lease lease() const noexcept {
    if (state_ != State::Live) return {};
    const absl::Duration margin =
        rules_.holds(Rule::LeaseMargin) ? setup_.margin : absl::ZeroDuration();
    return {setup_.number, lease_sent_ + setup_.ttl - margin, lease_sent_};
  }

  // The first put, or a heartbeat. Requires Registering or Live, and !is_waiting().
  [[nodiscard]] Transaction put(absl::Time now, SessionRecord record) {
    record.seq = ++seq_;
    sent_[seq_] = now;
    last_sent_ = now;
    under_way_ = UnderWay::Put;
    Transaction transaction = guarded(rules_.holds(Rule::HeartbeatCompares));
    transaction.put(key_, codec_.encode(record));
    return transaction;
  }

  // The orderly end: when this has happened, nobody waits for this session. Requires Live or
  // Leaving, !is_waiting(), and that nothing of this session is under way any more.
  [[nodiscard]] Transaction leave(absl::Time now) {
    state_ = State::Leaving;
    last_sent_ = now;
    under_way_ = UnderWay::Delete;
    Transaction transaction = guarded(true);
    transaction.erase(key_);
    return transaction;
  }

  // The answer to the last transaction.
  void on_outcome(absl::Time now, const Outcome& outcome) {
    const UnderWay what = std::exchange(under_way_, UnderWay::Nothing);
    latency_ = now - last_sent_;
    if (const Done* done = outcome.done()) {
      revision_ = done->revision;
      head_ = done->reads.front();
      if (what == UnderWay::Delete) {
        state_ = State::Gone;
        return;
      }
      adopt(seq_, done->revision, rules_.holds(Rule::LeaseFromSending) ? sent_[seq_] : now);
    } else if (const Refused* refused = outcome.refused()) {
      revision_ = refused->revision;
      head_ = refused->reads.front();
      on_refused(now, *refused);
    } else if (outcome.failed() != nullptr) {
      if (what == UnderWay::Put) sent_.erase(seq_);
    } else if (state_ == State::Registering) {
      // It may still happen, at any time. Another session takes its place, and says so.
      state_ = State::Abandoned;
    }
  }

 private:
  enum class UnderWay { Nothing, Put, Delete };

  static std::string key_of(const Setup& setup) {
    return setup.is_controller ? to_key(ControllerKey{setup.session})
                               : to_key(RouterKey{setup.session});
  }

  [[nodiscard]] Transaction guarded(bool compares) const {
    Transaction transaction;
    if (compares) transaction.if_mod(key_, mod_);
    if (rules_.holds(Rule::HistoryCompared))
      transaction.if_mod(to_key(HistoryKey{}), setup_.history);
    transaction.read(to_key(HeadKey{})).read(to_key(FencedKey{setup_.session})).read(key_);
    transaction.read(to_key(HistoryKey{}));
    return transaction;
  }

  void adopt(std::uint64_t seq, Revision mod, absl::Time sent) {
    if (state_ == State::Registering) state_ = State::Live;
    done_seq_ = seq;
    mod_ = mod;
    lease_sent_ = sent;
    sent_.erase(sent_.begin(), sent_.upper_bound(seq));
  }

  void on_refused(absl::Time now, const Refused& refused) {
    const std::optional<Entry>& fenced = refused.reads[1];
    const std::optional<Entry>& own = refused.reads[2];
    const std::optional<Entry>& history = refused.reads[3];
    // NOLINTNEXTLINE(bugprone-branch-clone): the first reason and the last are two
    if (rules_.holds(Rule::HistoryCompared) && (!history || history->mod != setup_.history)) {
      state_ = State::Lost;
    } else if (own) {
      on_own(*own);
    } else if (fenced) {
      state_ = State::Fenced;
    } else if (state_ == State::Leaving) {
      state_ = State::Gone;  // by a deletion whose answer was lost
    } else if (now - lease_sent_ > setup_.retention) {
      state_ = State::Expired;
    } else {
      state_ = State::Lost;
    }
  }

  // The key is there, at another put than the last one that this session knows of: one whose answer
  // was lost. What is older than that was there before: the store went back.
  void on_own(const Entry& own) {
    const auto record = codec_.template decode<SessionRecord>(own.value);
    const auto sent = record.ok() ? sent_.find(record->seq) : sent_.end();
    if (sent != sent_.end() && record->seq > done_seq_) {
      if (rules_.holds(Rule::AdoptOwnPut)) {
        adopt(record->seq, own.mod, sent->second);
      } else {
        state_ = State::Lost;
      }
    } else if (rules_.holds(Rule::OlderSeqIsLost)) {
      state_ = State::Lost;
    } else {
      mod_ = own.mod;
    }
  }

  Setup setup_;
  Codec codec_;
  [[no_unique_address]] Rules rules_;
  std::string key_;
  State state_ = State::Registering;
  UnderWay under_way_ = UnderWay::Nothing;
  Revision mod_;                // of the last put that is known to have happened
  std::uint64_t seq_ = 0;       // of the last put that was sent
  std::uint64_t done_seq_ = 0;  // of the last one that is known to have happened
  absl::Time lease_sent_ = absl::InfinitePast();
  absl::Time last_sent_ = absl::InfinitePast();
  absl::Duration latency_;
  std::map<std::uint64_t, absl::Time> sent_;  // when, of the puts that are not settled
  std::optional<Entry> head_;
  Revision revision_;
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_SESSION_MACHINE_HPP_
