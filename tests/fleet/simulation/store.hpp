// SPDX-License-Identifier: Apache-2.0
//
// The store of a simulation, and the network before it: answers get lost, transactions happen late,
// loads are as old as the contract allows, watch events come late, twice or never.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_STORE_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_STORE_HPP_

#include <algorithm>
#include <any>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "kernel.hpp"
#include "placement/fleet/records.hpp"
#include "placement/fleet/store.hpp"

namespace placement::test::simulation {

// Records that are not written down, but kept: a value is the number of one. JSON has tests of its
// own, and would take most of the time.
class Records {
 public:
  template <typename Record>
  std::string encode(const Record& record) {
    kept_.push_back(record);
    const std::uint64_t number = kept_.size() - 1;
    std::string value(sizeof(number), '\0');
    std::memcpy(value.data(), &number, sizeof(number));
    return value;
  }
  template <typename Record>
  [[nodiscard]] absl::StatusOr<Record> decode(std::string_view value) const {
    std::uint64_t number = 0;
    std::memcpy(&number, value.data(), sizeof(number));
    const auto* record = std::any_cast<Record>(&kept_.at(number));
    if (record == nullptr) return fleet::to_status(fleet::Fault::NotOurs, "another record");
    return *record;
  }

 private:
  std::deque<std::any> kept_;
};

struct SimulatedCodec {
  Records* records;

  template <typename Record>
  [[nodiscard]] std::string encode(const Record& record) const {
    return records->encode(record);
  }
  template <typename Record>
  [[nodiscard]] absl::StatusOr<Record> decode(std::string_view value) const {
    return records->decode<Record>(value);
  }
};

struct StoreFaults {
  std::uint64_t lose_request_once_in = 0;
  std::uint64_t lose_answer_once_in = 0;
  std::uint64_t slow_answer_once_in = 0;
  std::uint64_t late_request_once_in = 0;  // it arrives after the client has given up
  std::uint64_t stale_load_once_in = 0;    // as old as the contract allows
  std::uint64_t ignores_at_once_in = 0;
  std::uint64_t lose_event_once_in = 0;
  std::uint64_t lose_key_once_in = 0;  // one of a revision's
  std::uint64_t repeat_event_once_in = 0;
  std::uint64_t late_event_once_in = 0;
  std::uint64_t end_watch_once_in = 0;  // silently
};

struct StoreSights {
  std::uint64_t commits = 0;
  std::uint64_t lost_answers = 0;
  std::uint64_t lost_answers_that_happened = 0;
  std::uint64_t late_commits = 0;
  std::uint64_t stale_loads = 0;
  std::uint64_t lost_events = 0;
  std::uint64_t repeated_events = 0;
  std::uint64_t ended_watches = 0;
  std::uint64_t compactions = 0;
  std::uint64_t freezes = 0;
  std::uint64_t rollbacks = 0;
};

class SimulatedStore {
 public:
  using Outcome = fleet::Outcome;
  using Revision = fleet::Revision;

  SimulatedStore(Kernel& kernel, StoreFaults given) : faults(given), kernel_(kernel) {}

  // ---- as the simulation's operator sees it ----

  [[nodiscard]] Revision revision() const noexcept { return revision_; }
  [[nodiscard]] std::optional<fleet::Entry> find(const std::string& key) const {
    return at(key, revision_);
  }
  [[nodiscard]] std::vector<fleet::Entry> list(const std::string& prefix, Revision revision) const {
    std::vector<fleet::Entry> entries;
    for (auto it = keys_.lower_bound(prefix); it != keys_.end() && it->first.starts_with(prefix);
         ++it) {
      if (auto entry = at(it->second, revision)) entries.push_back(*std::move(entry));
    }
    return entries;
  }
  [[nodiscard]] std::vector<fleet::Entry> list(const std::string& prefix) const {
    return list(prefix, revision_);
  }

  Outcome apply(const fleet::Transaction& transaction) {
    bool holds = true;
    std::vector<std::optional<fleet::Entry>> compared;
    for (const fleet::Compare& compare : transaction.compares()) {
      compared.push_back(find(compare.key));
      const auto& entry = compared.back();
      const bool is_create = compare.what == fleet::Compare::What::Create;
      const Revision is = !entry ? Revision() : is_create ? entry->create : entry->mod;
      holds = holds && is == compare.revision;
    }
    std::vector<std::optional<fleet::Entry>> reads;
    for (const std::string& key : transaction.reads()) reads.push_back(find(key));
    if (!holds) return fleet::Refused{revision_, std::move(compared), std::move(reads)};

    const Revision next = revision_.next();
    fleet::Changes changes{next, {}};
    for (const auto& put : transaction.puts()) {
      fleet::Entry entry = find(put.key).value_or(fleet::Entry{put.key, {}, next, Revision(), 0});
      entry.value = put.value;
      entry.mod = next;
      ++entry.version;
      changes.changes.push_back({put.key, put.value, entry.create, entry.version});
      keys_[put.key].push_back({next, std::move(entry)});
    }
    for (const std::string& key : transaction.deletes()) {
      if (!find(key)) continue;
      changes.changes.push_back({key, std::nullopt, Revision(), 0});
      keys_[key].push_back({next, std::nullopt});
    }
    if (changes.changes.empty()) return fleet::Done{revision_, std::move(reads)};
    revision_ = next;
    ++sights.commits;
    if (on_commit) on_commit(changes);
    log_.push_back(std::move(changes));
    for (const auto& stream : streams_) tell(*stream, log_.back());
    return fleet::Done{next, std::move(reads)};
  }

  void freeze(Ticks length) {
    ++sights.freezes;
    frozen_until_ = kernel_.now() + length;
  }
  void thaw() { frozen_until_ = 0; }
  [[nodiscard]] Ticks frozen_until() const noexcept { return frozen_until_; }

  void compact(Revision revision) {
    ++sights.compactions;
    compacted_ = std::max(compacted_, std::min(revision, revision_));
  }

  // What a restored backup does.
  void roll_back(Revision revision) {
    ++sights.rollbacks;
    for (auto& [key, versions] : keys_) {
      while (!versions.empty() && versions.back().revision > revision) versions.pop_back();
    }
    while (!log_.empty() && log_.back().revision > revision) log_.pop_back();
    revision_ = revision;
    compacted_ = std::min(compacted_, revision);
    streams_.clear();
  }

  // ---- as a process sees it ----

  // How long a process waits for an answer.
  static constexpr Ticks kTimeout = 800 * kMillisecond;

  void commit(Process& process, fleet::Transaction transaction,
              std::function<void(Outcome)> answer) {
    auto& random = kernel_.random;
    // Whichever comes first: the answer, or the end of the patience.
    auto told = std::make_shared<bool>(false);
    process.after(kTimeout, [told, answer] {
      if (std::exchange(*told, true)) return;
      answer(fleet::Unknown{absl::DeadlineExceededError("no answer")});
    });
    if (random.once_in(faults.lose_request_once_in) || process.is_cut()) {
      ++sights.lost_answers;
      return;
    }
    Ticks delay = random.between(200, 3 * kMillisecond);
    bool is_late = false;
    if (random.once_in(faults.late_request_once_in)) {
      is_late = true;
      delay = random.between(kTimeout / 2, 5 * kTimeout);
    }
    const bool loses_answer = random.once_in(faults.lose_answer_once_in);
    arrive(delay, [this, &process, life = process.life(), transaction = std::move(transaction),
                   told, answer, is_late, loses_answer] {
      Outcome outcome = apply(transaction);
      if (is_late && outcome.done() != nullptr) ++sights.late_commits;
      if (loses_answer || process.is_cut() || process.life() != life) {
        ++sights.lost_answers;
        if (outcome.done() != nullptr) ++sights.lost_answers_that_happened;
        return;
      }
      process.after(answer_delay(), [told, answer, outcome = std::move(outcome)] {
        if (!std::exchange(*told, true)) answer(outcome);
      });
    });
  }

  void load(Process& process, std::string prefix, fleet::At at,
            std::function<void(absl::StatusOr<fleet::Snapshot>)> answer) {
    auto told = std::make_shared<bool>(false);
    process.after(kTimeout, [told, answer] {
      if (std::exchange(*told, true)) return;
      answer(fleet::to_status(fleet::Fault::Unavailable, "no answer"));
    });
    if (kernel_.random.once_in(faults.lose_request_once_in) || process.is_cut()) return;
    arrive(kernel_.random.between(200, 3 * kMillisecond),
           [this, &process, life = process.life(), prefix = std::move(prefix), at, told, answer] {
             absl::StatusOr<fleet::Snapshot> snapshot = look(prefix, at);
             if (process.is_cut() || process.life() != life) return;
             process.after(answer_delay(), [told, answer, snapshot = std::move(snapshot)] {
               if (!std::exchange(*told, true)) answer(snapshot);
             });
           });
  }

  class Stream;
  using Handler = std::function<void(const fleet::WatchEvent&)>;

  // Ends when the result is dropped.
  [[nodiscard]] std::shared_ptr<Stream> watch(Process& process, std::string prefix, Revision from,
                                              Handler handler);

  StoreFaults faults;
  StoreSights sights;
  std::function<void(const fleet::Changes&)> on_commit;

 private:
  struct Version {
    Revision revision;
    std::optional<fleet::Entry> entry;  // none: it was deleted
  };
  using Versions = std::vector<Version>;

  static std::optional<fleet::Entry> at(const Versions& versions, Revision revision) {
    for (auto it = versions.rbegin(); it != versions.rend(); ++it) {
      if (it->revision <= revision) return it->entry;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::optional<fleet::Entry> at(const std::string& key, Revision revision) const {
    const auto found = keys_.find(key);
    return found == keys_.end() ? std::nullopt : at(found->second, revision);
  }

  // A table of a million keys takes its time, and so does a store that is busy.
  Ticks answer_delay() {
    if (kernel_.random.once_in(faults.slow_answer_once_in)) {
      return kernel_.random.between(0, kTimeout);
    }
    return kernel_.random.between(200, 3 * kMillisecond);
  }

  void arrive(Ticks delay, std::function<void()> what) {
    kernel_.after(delay, [this, what = std::move(what)]() mutable {
      if (kernel_.now() < frozen_until_) {
        kernel_.at(frozen_until_ + kernel_.random.between(0, 5 * kMillisecond), std::move(what));
      } else {
        what();
      }
    });
  }

  absl::StatusOr<fleet::Snapshot> look(const std::string& prefix, fleet::At at) {
    if (at.revision() > revision_) {
      return fleet::to_status(fleet::Fault::HistoryLost, "the store is older");
    }
    Revision revision = revision_;
    if (at.is_exact()) {
      if (at.revision() < compacted_) return fleet::to_status(fleet::Fault::Compacted, "");
      revision = at.revision();
    } else if (kernel_.random.once_in(faults.stale_load_once_in)) {
      const auto oldest = std::max(at.revision(), compacted_).value();
      revision = Revision(static_cast<std::uint64_t>(kernel_.random.between(
          static_cast<Ticks>(oldest), static_cast<Ticks>(revision_.value()))));
      if (revision < revision_) ++sights.stale_loads;
    }
    return fleet::Snapshot{revision, list(prefix, revision)};
  }

  void tell(Stream& stream, const fleet::Changes& changes);

  Kernel& kernel_;
  std::map<std::string, Versions> keys_;
  std::deque<fleet::Changes> log_;
  Revision revision_{1};
  Revision compacted_;
  Ticks frozen_until_ = 0;
  std::vector<std::shared_ptr<Stream>> streams_;
};

class SimulatedStore::Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(Process& process, std::string prefix, Handler handler)
      : process_(process), prefix_(std::move(prefix)), handler_(std::move(handler)) {}

  void close() { is_open_ = false; }

 private:
  friend class SimulatedStore;

  Process& process_;
  std::string prefix_;
  Handler handler_;
  bool is_open_ = true;
  bool is_dead_ = false;
  Ticks last_ = 0;
};

inline void SimulatedStore::tell(Stream& stream, const fleet::Changes& changes) {
  auto& random = kernel_.random;
  if (!stream.is_open_ || stream.is_dead_) return;
  fleet::Changes mine{changes.revision, {}};
  for (const fleet::Change& change : changes.changes) {
    if (!change.key.starts_with(stream.prefix_)) continue;
    if (random.once_in(faults.lose_key_once_in)) {
      ++sights.lost_events;
      continue;
    }
    mine.changes.push_back(change);
  }
  if (mine.changes.empty()) return;
  if (random.once_in(faults.lose_event_once_in)) {
    ++sights.lost_events;
    return;
  }
  if (random.once_in(faults.end_watch_once_in)) {
    ++sights.ended_watches;
    stream.is_dead_ = true;
    return;
  }
  Ticks delay = random.between(200, 5 * kMillisecond);
  if (random.once_in(faults.late_event_once_in)) delay = random.between(0, 3 * kSecond);
  Ticks time = std::max({stream.last_ + 1, kernel_.now() + delay, frozen_until_});
  if (stream.process_.is_cut()) time = std::max(time, stream.process_.cut_until() + delay);
  stream.last_ = time;
  auto event = std::make_shared<const fleet::WatchEvent>(std::move(mine));
  const auto deliver = [self = stream.shared_from_this(), event] {
    if (self->is_open_) self->handler_(*event);
  };
  stream.process_.at(time, deliver);
  if (random.once_in(faults.repeat_event_once_in)) {
    ++sights.repeated_events;
    stream.process_.at(time, deliver);
  }
}

inline std::shared_ptr<SimulatedStore::Stream> SimulatedStore::watch(Process& process,
                                                                     std::string prefix,
                                                                     Revision from,
                                                                     Handler handler) {
  auto stream = std::make_shared<Stream>(process, std::move(prefix), std::move(handler));
  arrive(kernel_.random.between(200, 3 * kMillisecond), [this, &process, stream, from] {
    if (!stream->is_open_) return;
    if (process.is_cut()) {
      stream->is_dead_ = true;
      return;
    }
    const auto end = [&](fleet::WatchEvent event) {
      process.after(kMillisecond, [stream, event = std::move(event)] {
        if (stream->is_open_) stream->handler_(event);
      });
    };
    if (from <= compacted_) return end(fleet::Compacted{compacted_});
    if (from > revision_.next()) {
      return end(fleet::HistoryLost{fleet::to_status(fleet::Fault::HistoryLost, "it is older")});
    }
    for (const fleet::Changes& changes : log_) {
      if (changes.revision >= from) tell(*stream, changes);
    }
    std::erase_if(streams_, [](const auto& one) { return !one->is_open_; });
    streams_.push_back(stream);
  });
  return stream;
}

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_STORE_HPP_
