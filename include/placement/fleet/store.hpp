// SPDX-License-Identifier: Apache-2.0
//
// Where a fleet keeps its one truth: keys and values with one counter of revisions for all of them,
// transactions that compare before they change, and watches. Backends derive from Store; whoever
// uses one needs this header alone.
//
// Thread safety: every method of a Store may be called from any thread at any time. A Watch belongs
// to one thread at a time. Everything else here is a plain value.
#ifndef PLACEMENT_FLEET_STORE_HPP_
#define PLACEMENT_FLEET_STORE_HPP_

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/cord.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>

namespace placement {
inline namespace v1 {
namespace fleet {

// ---- revisions ----

// The state of a store after so many changes. Each transaction that changes anything makes the next
// revision, one greater than the one before. `zero()` is no store's revision: as a key's create or
// mod revision it says that the key is not there.
class Revision {
 public:
  constexpr Revision() noexcept = default;
  explicit constexpr Revision(std::uint64_t value) noexcept : value_(value) {}

  [[nodiscard]] static constexpr Revision zero() noexcept { return Revision(); }

  // The greatest that a store gives: a table takes no greater epoch.
  [[nodiscard]] static constexpr Revision max() noexcept {
    return Revision((std::uint64_t{1} << 59) - 1);
  }

  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
  [[nodiscard]] constexpr Revision next() const noexcept { return Revision(value_ + 1); }

  friend constexpr auto operator<=>(Revision, Revision) noexcept = default;
  friend std::ostream& operator<<(std::ostream& out, Revision revision) {
    return out << revision.value_;
  }

  template <typename H>
  friend H AbslHashValue(H state, Revision revision) {
    return H::combine(std::move(state), revision.value_);
  }

 private:
  std::uint64_t value_ = 0;
};

// ---- faults ----

// Why something failed, where the caller has to tell one reason from another. It travels inside an
// absl::Status: fault_of() finds it there.
enum class Fault {
  // of a store
  Unavailable,   // not now: it is locked, cannot be reached or did not answer in time
  Compacted,     // what was asked for is older than what the store keeps
  HistoryLost,   // the store knows less than it did, or is another one: do not believe it
  Corrupt,       // what it holds is damaged
  Full,          // no room to write
  ReadOnly,      // it may not be written
  InputOutput,   // the system could not read or write it
  LimitReached,  // the transaction is larger than a store takes, or asks for what none can do
  // of a store, a key or a value
  NotOurs,       // it is another project's
  NewerVersion,  // a newer release wrote it
  Malformed,     // it is ours, and broken
};

[[nodiscard]] constexpr std::string_view to_string(Fault fault) noexcept {
  switch (fault) {
    case Fault::Unavailable:
      return "Unavailable";
    case Fault::Compacted:
      return "Compacted";
    case Fault::HistoryLost:
      return "HistoryLost";
    case Fault::Corrupt:
      return "Corrupt";
    case Fault::Full:
      return "Full";
    case Fault::ReadOnly:
      return "ReadOnly";
    case Fault::InputOutput:
      return "InputOutput";
    case Fault::LimitReached:
      return "LimitReached";
    case Fault::NotOurs:
      return "NotOurs";
    case Fault::NewerVersion:
      return "NewerVersion";
    case Fault::Malformed:
      return "Malformed";
  }
  return "unknown Fault";
}

inline std::ostream& operator<<(std::ostream& out, Fault fault) { return out << to_string(fault); }

namespace detail {

inline constexpr char kFaultPayload[] = "placement-table/fleet.Fault";

[[nodiscard]] constexpr absl::StatusCode code_of(Fault fault) noexcept {
  switch (fault) {
    case Fault::Unavailable:
    case Fault::InputOutput:
      return absl::StatusCode::kUnavailable;
    case Fault::Compacted:
      return absl::StatusCode::kOutOfRange;
    case Fault::HistoryLost:
    case Fault::Corrupt:
    case Fault::Malformed:
      return absl::StatusCode::kDataLoss;
    case Fault::Full:
      return absl::StatusCode::kResourceExhausted;
    case Fault::ReadOnly:
      return absl::StatusCode::kPermissionDenied;
    case Fault::LimitReached:
      return absl::StatusCode::kInvalidArgument;
    case Fault::NotOurs:
    case Fault::NewerVersion:
      return absl::StatusCode::kFailedPrecondition;
  }
  return absl::StatusCode::kUnknown;
}

}  // namespace detail

// A status that carries `fault`. Its message begins with the fault's name.
[[nodiscard]] inline absl::Status to_status(Fault fault, std::string_view message) {
  const std::string text = absl::StrCat(std::string(to_string(fault)), ": ", std::string(message));
  absl::Status status(detail::code_of(fault), text);
  // Not from a std::string: that constructor is a template whose symbol is another one for newer
  // compilers than the library's.
  const std::string_view name = to_string(fault);
  status.SetPayload(detail::kFaultPayload, absl::Cord(absl::string_view(name.data(), name.size())));
  return status;
}

// The fault that `status` carries, if it carries one.
[[nodiscard]] inline std::optional<Fault> fault_of(const absl::Status& status) {
  const auto payload = status.GetPayload(detail::kFaultPayload);
  if (!payload) return std::nullopt;
  for (int fault = 0; fault <= static_cast<int>(Fault::Malformed); ++fault) {
    const std::string_view name = to_string(static_cast<Fault>(fault));
    if (*payload == absl::string_view(name.data(), name.size())) return static_cast<Fault>(fault);
  }
  return std::nullopt;
}

// ---- what is in a store ----

// A key that is there.
struct Entry {
  std::string key;
  std::string value;
  Revision create;            // at which it came to be, after it had not been there
  Revision mod;               // of its last put
  std::uint64_t version = 0;  // puts since it came to be, from 1

  friend bool operator==(const Entry&, const Entry&) = default;
};

// All keys of a prefix, as they were at one revision.
struct Snapshot {
  Revision revision;           // of the whole store, not only of the prefix
  std::vector<Entry> entries;  // by their keys' bytes, ascending
};

// At which revision to load.
class At {
 public:
  // The newest state there is. It is never older than a transaction that this store answered with
  // Done before the call.
  [[nodiscard]] static constexpr At now() noexcept { return {Revision::zero(), false}; }
  // The newest state, `revision` or a later one.
  [[nodiscard]] static constexpr At least(Revision revision) noexcept { return {revision, false}; }
  // The state at `revision` itself.
  [[nodiscard]] static constexpr At exactly(Revision revision) noexcept { return {revision, true}; }

  [[nodiscard]] constexpr Revision revision() const noexcept { return revision_; }
  [[nodiscard]] constexpr bool is_exact() const noexcept { return is_exact_; }

 private:
  constexpr At(Revision revision, bool is_exact) noexcept
      : revision_(revision), is_exact_(is_exact) {}

  Revision revision_;
  bool is_exact_;
};

// ---- transactions ----

// What has to be so for a transaction to happen: a revision of `key` equals `revision`. With
// Revision::zero(): the key is not there.
struct Compare {
  enum class What { Create, Mod };

  std::string key;
  What what = What::Mod;
  Revision revision;
};

// Compares, puts, deletes and reads that happen together, or not at all.
//
// The reads (and what a refusal shows) are of the state that the transaction found, before its own
// puts. A key may be put or deleted once in a transaction, not both. To delete a key that is not
// there changes nothing. A transaction that changes nothing makes no revision.
class Transaction {
 public:
  // What every backend takes. A store refuses what is larger before it does anything.
  static constexpr std::size_t kMaxOperations = 100;
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

  struct Put {
    std::string key;
    std::string value;
  };

  Transaction& if_mod(std::string key, Revision revision) {
    compares_.push_back({std::move(key), Compare::What::Mod, revision});
    return *this;
  }
  Transaction& if_create(std::string key, Revision revision) {
    compares_.push_back({std::move(key), Compare::What::Create, revision});
    return *this;
  }
  Transaction& if_absent(std::string key) { return if_mod(std::move(key), Revision::zero()); }
  Transaction& put(std::string key, std::string value) {
    puts_.push_back({std::move(key), std::move(value)});
    return *this;
  }
  Transaction& erase(std::string key) {
    deletes_.push_back(std::move(key));
    return *this;
  }
  Transaction& read(std::string key) {
    reads_.push_back(std::move(key));
    return *this;
  }

  [[nodiscard]] const std::vector<Compare>& compares() const noexcept { return compares_; }
  [[nodiscard]] const std::vector<Put>& puts() const noexcept { return puts_; }
  [[nodiscard]] const std::vector<std::string>& deletes() const noexcept { return deletes_; }
  [[nodiscard]] const std::vector<std::string>& reads() const noexcept { return reads_; }

  // What kMaxOperations bounds. A store does either what follows success, or reads what a refusal
  // shows: the larger of the two counts.
  [[nodiscard]] std::size_t operations() const noexcept {
    return reads_.size() + std::max(compares_.size(), puts_.size() + deletes_.size());
  }

  // What kMaxBytes bounds: all keys and values.
  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t sum = 0;
    for (const Compare& compare : compares_) sum += compare.key.size();
    for (const Put& put : puts_) sum += put.key.size() + put.value.size();
    for (const std::string& key : deletes_) sum += key.size();
    for (const std::string& key : reads_) sum += key.size();
    return sum;
  }

  // OK, or why no store takes it (Fault::LimitReached).
  [[nodiscard]] absl::Status check() const {
    if (operations() > kMaxOperations) {
      return to_status(Fault::LimitReached,
                       absl::StrCat("a transaction of ", operations(), " operations; at most ",
                                    kMaxOperations, " fit, so split it"));
    }
    if (bytes() > kMaxBytes) {
      return to_status(Fault::LimitReached,
                       absl::StrCat("a transaction of ", bytes(), " bytes; at most ", kMaxBytes,
                                    " fit, so split it"));
    }
    absl::flat_hash_set<std::string> changed;
    for (const Put& put : puts_) {
      if (!changed.insert(put.key).second) return changed_twice(put.key);
    }
    for (const std::string& key : deletes_) {
      if (!changed.insert(key).second) return changed_twice(key);
    }
    bool has_empty_key = changed.contains(std::string());
    for (const Compare& compare : compares_) has_empty_key |= compare.key.empty();
    for (const std::string& key : reads_) has_empty_key |= key.empty();
    if (has_empty_key) return to_status(Fault::LimitReached, "a key must not be empty");
    return absl::OkStatus();
  }

 private:
  static absl::Status changed_twice(const std::string& key) {
    return to_status(Fault::LimitReached,
                     absl::StrCat("a transaction changes the key \"", key, "\" twice"));
  }

  std::vector<Compare> compares_;
  std::vector<Put> puts_;
  std::vector<std::string> deletes_;
  std::vector<std::string> reads_;
};

// All compares held, and all puts and deletes are in the store. They are on its disk: they survive
// the end of any process, and a loss of power.
struct Done {
  Revision revision;                        // that it made, or that it found if it changed nothing
  std::vector<std::optional<Entry>> reads;  // in the order of the transaction's reads
};

// A compare did not hold. Nothing has changed.
struct Refused {
  Revision revision;                           // at which the store was looked at
  std::vector<std::optional<Entry>> compared;  // in the order of the transaction's compares
  std::vector<std::optional<Entry>> reads;
};

// The answer was lost: it may have happened, may never happen, or may still happen later. That it
// is not to be seen in the store proves nothing. A transaction which makes it impossible settles
// it: one that compares the same and changes what it compares. Never send it again without that.
struct Unknown {
  absl::Status why;
};

// It has not happened, and never will: the store was not asked, or is known to have undone it. To
// treat this as Unknown is always safe.
struct Failed {
  absl::Status why;
};

class [[nodiscard]] Outcome : public std::variant<Done, Refused, Unknown, Failed> {
 public:
  using variant::variant;

  [[nodiscard]] const Done* done() const noexcept { return std::get_if<Done>(this); }
  [[nodiscard]] const Refused* refused() const noexcept { return std::get_if<Refused>(this); }
  [[nodiscard]] const Unknown* unknown() const noexcept { return std::get_if<Unknown>(this); }
  [[nodiscard]] const Failed* failed() const noexcept { return std::get_if<Failed>(this); }

  friend std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    if (const Done* done = outcome.done()) return out << "Done at " << done->revision;
    if (const Refused* refused = outcome.refused()) {
      return out << "Refused at " << refused->revision;
    }
    if (const Unknown* unknown = outcome.unknown()) return out << "Unknown: " << unknown->why;
    return out << "Failed: " << outcome.failed()->why;
  }
};

// ---- watches ----

// One key that a revision put or deleted.
struct Change {
  std::string key;
  std::optional<std::string> value;  // none: it was deleted
  Revision create;                   // zero if it was deleted
  std::uint64_t version = 0;         // zero if it was deleted

  friend bool operator==(const Change&, const Change&) = default;
};

// All that one revision changed below the prefix: at least one key, each once, in no order.
struct Changes {
  Revision revision;
  std::vector<Change> changes;
};

// The store was heard from, and the watch has told everything up to `revision`.
struct Progress {
  Revision revision;
};

// The watch has ended: revisions that it was to tell are no longer kept. Load a snapshot, erase
// what is not in it, and watch from the revision after it.
struct Compacted {
  Revision revision;  // up to this one they are gone
};

// The watch has ended: the store is not the one it was (Fault::HistoryLost), or what it holds is
// damaged (Fault::Corrupt). Do not believe it.
struct HistoryLost {
  absl::Status why;
};

using WatchEvent = std::variant<Changes, Progress, Compacted, HistoryLost>;
using WatchHandler = std::function<void(const WatchEvent&)>;

// Keeps a watch alive. Ends it when it is destroyed, overwritten or told to.
class [[nodiscard]] Watch {
 public:
  // What a backend's watch is.
  class Running {
   public:
    Running() = default;
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    virtual ~Running() = default;

    // As Watch::stop. May be called again.
    virtual void stop() = 0;
  };

  Watch() = default;
  explicit Watch(std::shared_ptr<Running> running) : running_(std::move(running)) {}
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  Watch(Watch&& other) noexcept = default;
  Watch& operator=(Watch&& other) noexcept {
    if (this != &other) {
      stop();
      running_ = std::move(other.running_);
    }
    return *this;
  }
  ~Watch() { stop(); }

  // Ends it. When this returns the handler does not run, and will not be called again; called by
  // the handler itself it returns at once, and the call under way is the last. Progress: blocks
  // while the handler runs.
  void stop() {
    if (const std::shared_ptr<Running> running = std::move(running_)) running->stop();
  }

 private:
  std::shared_ptr<Running> running_;
};

// ---- the store ----

class Store {
 public:
  // How long a call may take unless told.
  static constexpr absl::Duration kDefaultTimeout = absl::Seconds(5);

  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  // All keys that begin with `prefix` (all there are, if it is empty), at one revision, with their
  // create and mod revisions and versions.
  //
  // Fails: Compacted, if an exact revision is older than what is kept. HistoryLost, if the store is
  // known to be below the revision that is asked for, or below one that this object has seen;
  // Unavailable, if it only may be, and still is at the end of the timeout. Every other fault of a
  // store.
  // Progress: blocks for at most `timeout`, and for a read of the disk that is under way. It does
  // not wait for transactions, nor they for it.
  [[nodiscard]] absl::StatusOr<Snapshot> load(std::string_view prefix, At at = At::now(),
                                              absl::Duration timeout = kDefaultTimeout) {
    return do_load(prefix, at, timeout);
  }

  // One transaction. Transactions are linearizable: each sees all that were Done before it began.
  //
  // Fails: a transaction that no store takes (Transaction::check) is Failed with LimitReached. See
  // Failed and Unknown for the rest.
  // Progress: blocks for at most `timeout`, and for a write of the disk that is under way. When the
  // timeout ends before the store was asked, it is Failed (Unavailable); afterwards, Unknown.
  Outcome commit(const Transaction& transaction, absl::Duration timeout = kDefaultTimeout) {
    if (absl::Status status = transaction.check(); !status.ok()) return Failed{std::move(status)};
    return do_commit(transaction, timeout);
  }

  // Calls `handler` for every revision from `from` on that changes a key which begins with
  // `prefix`: whole revisions, in their order, each once, until it is ended. Requires from >
  // zero(); the one after a snapshot's continues it. A Progress is told when everything there is
  // has been told for the first time, then whenever nothing else was told for the backend's
  // interval. While the store is away nothing is told, and the watch goes on by itself when it is
  // back. Compacted and HistoryLost are the last event. A `from` more than one above the store's
  // revision is HistoryLost.
  //
  // The handler is called by a thread of the watch, one call at a time, with no lock held. It may
  // call the store, open watches and end any, its own among them. It must not throw. A handler that
  // takes long delays its own watch, and nothing else. The watch may outlive the store's object.
  [[nodiscard]] Watch watch(std::string prefix, Revision from, WatchHandler handler) {
    return do_watch(std::move(prefix), from, std::move(handler));
  }

  // Which store this is: another one has another. Empty where a backend has none. A copy of a
  // store, restored, has the same.
  [[nodiscard]] virtual absl::StatusOr<std::string> identity(
      absl::Duration timeout = kDefaultTimeout) = 0;

 protected:
  Store() = default;

  virtual absl::StatusOr<Snapshot> do_load(std::string_view prefix, At at,
                                           absl::Duration timeout) = 0;
  // `transaction` passed its check.
  virtual Outcome do_commit(const Transaction& transaction, absl::Duration timeout) = 0;
  virtual Watch do_watch(std::string prefix, Revision from, WatchHandler handler) = 0;
};

}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_STORE_HPP_
