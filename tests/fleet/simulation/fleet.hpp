// SPDX-License-Identifier: Apache-2.0
//
// A whole fleet in one process and in virtual time: routers, controllers, a store, places, clients,
// and everything that can go wrong. One seed is one run, always the same.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_FLEET_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_FLEET_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controller.hpp"
#include "kernel.hpp"
#include "placement/fleet/records.hpp"
#include "places.hpp"
#include "router.hpp"
#include "store.hpp"
#include "truth.hpp"

namespace placement::test::simulation {

using Removed = std::bitset<fleet::detail::kRuleNames.size()>;

// What was seen, of one run or of many.
struct Coverage {
  std::uint64_t runs = 0;
  std::uint64_t events = 0;
  std::uint64_t flips = 0;
  std::uint64_t group_flips = 0;
  std::uint64_t aborts = 0;
  std::uint64_t erased = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t kills = 0;
  std::uint64_t pauses = 0;
  std::uint64_t cuts = 0;
  RouterSights router;
  ControllerSights controller;
  StoreSights store;

  void add(const Coverage& other);
  // The things that never happened.
  [[nodiscard]] std::vector<std::string> missing() const;
  [[nodiscard]] std::string text() const;

 private:
  // Every number, with its name.
  template <typename Self, typename Visit>
  static void visit(Self& self, Visit visit) {
    visit("runs", self.runs);
    visit("events", self.events);
    visit("flips", self.flips);
    visit("flips of groups", self.group_flips);
    visit("aborts", self.aborts);
    visit("erasures", self.erased);
    visit("takeovers", self.takeovers);
    visit("kills", self.kills);
    visit("pauses", self.pauses);
    visit("cuts", self.cuts);
    visit("writes", self.router.writes);
    visit("acknowledged", self.router.acknowledged);
    visit("of unknown outcome", self.router.unknown);
    visit("refused", self.router.refused);
    visit("not confirmed", self.router.not_confirmed);
    visit("confirmed late", self.router.confirmed_late);
    visit("paused acknowledgements", self.router.paused_acknowledgements);
    visit("reads", self.router.reads);
    visit("reads of the former home", self.router.old_reads);
    visit("fenced routers", self.router.fenced);
    visit("orderly stops", self.router.stops);
    visit("aborts by members", self.router.aborts);
    visit("fencings", self.controller.fencings);
    visit("jobs", self.controller.jobs);
    visit("failed jobs", self.controller.failed_jobs);
    visit("refused commands", self.controller.refused_commands);
    visit("commits", self.store.commits);
    visit("lost answers", self.store.lost_answers);
    visit("lost answers that happened", self.store.lost_answers_that_happened);
    visit("late commits", self.store.late_commits);
    visit("stale loads", self.store.stale_loads);
    visit("lost events", self.store.lost_events);
    visit("repeated events", self.store.repeated_events);
    visit("ended watches", self.store.ended_watches);
    visit("compactions", self.store.compactions);
    visit("freezes", self.store.freezes);
    visit("rollbacks", self.store.rollbacks);
  }
};

inline void Coverage::add(const Coverage& other) {
  std::vector<std::uint64_t> numbers;
  visit(other, [&](const char*, std::uint64_t number) { numbers.push_back(number); });
  std::size_t i = 0;
  visit(*this, [&](const char*, std::uint64_t& number) { number += numbers[i++]; });
}
inline std::vector<std::string> Coverage::missing() const {
  std::vector<std::string> names;
  visit(*this, [&](const char* name, std::uint64_t number) {
    if (number == 0) names.emplace_back(name);
  });
  return names;
}
inline std::string Coverage::text() const {
  std::string text;
  visit(*this, [&](const char* name, std::uint64_t number) {
    text += "  " + std::to_string(number) + " " + name + "\n";
  });
  return text;
}

class Fleet {
 public:
  Fleet(std::uint64_t seed, const Removed& removed)
      : kernel_(seed),
        removed_(removed),
        store_(kernel_, {}),
        places_(kernel_, {}),
        truth_(1 + kernel_.random.below(3)),
        world_{kernel_,
               records_,
               store_,
               places_,
               truth_,
               RuleSet{&removed_},
               kernel_.random.once_in(3)} {
    auto& random = kernel_.random;
    can_fence_ = !random.once_in(4);
    goes_back_ = random.once_in(6);
    const auto some = [&](std::uint64_t rate) { return random.once_in(3) ? 0 : rate; };
    store_.faults.lose_request_once_in = some(60);
    store_.faults.lose_answer_once_in = some(50);
    store_.faults.slow_answer_once_in = some(15);
    store_.faults.late_request_once_in = some(60);
    store_.faults.stale_load_once_in = some(2);
    store_.faults.lose_event_once_in = some(40);
    store_.faults.lose_key_once_in = some(60);
    store_.faults.repeat_event_once_in = some(30);
    store_.faults.late_event_once_in = some(25);
    store_.faults.end_watch_once_in = some(300);
    places_.faults.slow_once_in = some(8);
    places_.faults.lose_answer_once_in = some(30);
    places_.faults.lose_request_once_in = some(60);
    const std::uint64_t pauses = some(500);
    const std::size_t routers = 1 + random.below(3);
    const auto rate = [&] {
      return 1 + 0.004 * static_cast<double>(random.between(-100, 100)) / 100;
    };
    for (std::size_t i = 0; i < routers; ++i) {
      routers_.push_back(
          std::make_unique<Router>(world_, "router-" + std::to_string(i), rate(),
                                   absl::Milliseconds(random.between(1000, kLongestTtl)),
                                   absl::Milliseconds(random.between(500, kLongestWriteTimeout))));
      routers_.back()->process.pause_once_in = 10 * pauses;
      routers_.back()->process.longest_pause = 8 * kSecond;
    }
    for (std::size_t i = 0; i < 2; ++i) {
      controllers_.push_back(std::make_unique<Controller>(
          world_, "controller-" + std::to_string(i), rate(),
          absl::Milliseconds(random.between(1000, kLongestTtl)),
          absl::Milliseconds(random.between(500, kLongestWriteTimeout)), can_fence_));
      // A mover that nobody can refuse is the worse the longer it stands still: assumed not to.
      controllers_.back()->process.pause_once_in = can_fence_ ? pauses : 0;
      controllers_.back()->process.longest_pause = 8 * kSecond;
      controllers_.back()->break_job_once_in = some(60);
    }
    store_.on_commit = [this](const fleet::Changes& changes) { watch_truth(changes); };
  }

  void run() {
    prepare();
    for (auto& router : routers_) router->start(false);
    for (auto& controller : controllers_) controller->start();
    for (auto& router : routers_) serve(*router);
    kernel_.after(kernel_.random.between(kSecond, 2 * kSecond), [this] { disturb(); });
    kernel_.after(kernel_.random.between(kSecond / 2, 2 * kSecond), [this] { ask(); });
    if (goes_back_) {
      kernel_.after(kernel_.random.between(5 * kSecond, 12 * kSecond), [this] { go_back(); });
    }
    kernel_.run_until(kChaos);
    if (goes_back_) kernel_.run_until(restored_at_ + 6 * kSecond);
    settle();
    collect();
  }

  [[nodiscard]] const std::vector<Violation>& violations() const { return truth_.violations; }
  Coverage coverage;
  void trace() { kernel_.is_traced = true; }

 private:
  static constexpr Ticks kLongestTtl = 3000;           // in milliseconds
  static constexpr Ticks kLongestWriteTimeout = 2000;  // likewise
  static constexpr Ticks kChaos = 20 * kSecond;

  template <typename Record>
  std::string encode(const Record& record) {
    return records_.encode(record);
  }

  void prepare() {
    fleet::HistoryRecord history;
    history.id = history_ = kernel_.random.session();
    fleet::SettingsRecord settings;
    settings.margin = absl::Milliseconds(300);
    settings.rho_ppm = 10'000;
    settings.longest_ttl = absl::Milliseconds(kLongestTtl);
    settings.longest_write_timeout = absl::Milliseconds(kLongestWriteTimeout);
    settings.stale_for = absl::Milliseconds(400);
    settings.strict_reads = world_.is_strict;
    fleet::Transaction transaction;
    transaction.put("history", encode(history)).put("settings", encode(settings));
    fleet::HeadRecord head;
    for (std::size_t p = 0; p < truth_.size(); ++p) {
      fleet::PartitionRecord record;
      record.from = place_of(kernel_.random.below(kPlaces));
      transaction.put(fleet::to_key(fleet::PartitionRecordKey{id_of(p)}), encode(record));
      head.ids.push_back(id_of(p));
    }
    transaction.put("table/head", encode(head));
    static_cast<void>(store_.apply(transaction));
  }

  // What the store has is the truth.
  void watch_truth(const fleet::Changes& changes) {
    std::size_t flipped = 0;
    if (kernel_.is_traced) trace(changes);
    changed_[changes.revision.value()] = kernel_.now();
    for (const fleet::Change& change : changes.changes) {
      if (!change.key.starts_with(fleet::kPartitionsPrefix)) continue;
      const std::size_t p = partition_of(change.key.substr(fleet::kPartitionsPrefix.size()));
      if (truth_.is_suspended && undone_[p]) continue;
      auto& partition = truth_[p];
      if (!change.value) {
        truth_.moved(kernel_.now(), p, std::nullopt, changes.revision);
        partition.is_in_cutover = false;
        ++coverage.erased;
        continue;
      }
      const auto record = *records_.decode<fleet::PartitionRecord>(*change.value);
      const std::size_t place = number_of(record.from);
      const bool is_settled = record.phase == MigrationPhase::Settled;
      if (partition.is_in_cutover && is_settled) {
        if (truth_.home(p) == place) {
          ++coverage.aborts;
        } else {
          ++flipped;
        }
      }
      if (record.phase == MigrationPhase::Cutover && !partition.is_in_cutover) look_for_dead(p);
      partition.is_in_cutover = record.phase == MigrationPhase::Cutover;
      truth_.moved(kernel_.now(), p, place, changes.revision);
    }
    coverage.flips += flipped;
    if (flipped > 1) ++coverage.group_flips;
    for (const fleet::Change& change : changes.changes) {
      if (!change.key.starts_with(fleet::kMovesPrefix) || !change.value) continue;
      const auto record = *records_.decode<fleet::MoveRecord>(*change.value);
      auto& owner = owners_[record.operation];
      if (record.owner && !owner.empty() && owner != *record.owner) ++coverage.takeovers;
      if (record.owner) owner = *record.owner;
    }
  }

  // Whoever is silent was fenced before: if whoever fences was well, and heard of everything in
  // time.
  void look_for_dead(std::size_t p) {
    const StoreFaults& faults = store_.faults;
    if (faults.late_event_once_in + faults.end_watch_once_in + faults.lose_event_once_in +
            faults.lose_key_once_in !=
        0)
      return;
    Ticks well_since = store_.frozen_until();
    for (const auto& controller : controllers_) {
      // A watch that died in it is opened anew some seconds later.
      well_since = std::max(well_since, controller->process.trouble_until() + 7 * kSecond);
    }
    std::set<std::string> superseded;
    for (const fleet::Entry& entry : store_.list(std::string(fleet::kRoutersPrefix))) {
      const auto session = *records_.decode<fleet::SessionRecord>(entry.value);
      if (session.supersedes) superseded.insert(*session.supersedes);
    }
    for (const fleet::Entry& entry : store_.list(std::string(fleet::kRoutersPrefix))) {
      if (superseded.contains(entry.key.substr(fleet::kRoutersPrefix.size()))) continue;
      const auto session = *records_.decode<fleet::SessionRecord>(entry.value);
      const Ticks since = changed_[entry.mod.value()];
      const Ticks silence = absl::ToInt64Microseconds(session.ttl * 1.02) + 1300 * kMillisecond;
      if (since > well_since && kernel_.now() - since > silence) {
        truth_.fail(Property::CutoverWaits, kernel_.now(), p, 0, session.name + " ");
      }
    }
  }

  void trace(const fleet::Changes& changes) {
    std::string text = std::to_string(changes.revision.value()) + ":";
    for (const fleet::Change& change : changes.changes) {
      text += " " + change.key.substr(0, 24);
      if (!change.value) {
        text += " deleted";
      } else if (const auto p = records_.decode<fleet::PartitionRecord>(*change.value); p.ok()) {
        text += "=" + std::string(to_string(p->phase)) + "(" + p->from.cluster +
                (p->to ? "," + p->to->cluster : "") + ")";
      } else if (const auto session = records_.decode<fleet::SessionRecord>(*change.value);
                 session.ok()) {
        text += "=" + session->name + " seq " + std::to_string(session->seq) + " applied " +
                std::to_string(session->applied.value());
        for (const auto& id : session->undrained.ids) text += " undrained " + id;
        for (const auto& id : session->reading.ids) text += " reading " + id;
      } else if (const auto move = records_.decode<fleet::MoveRecord>(*change.value); move.ok()) {
        text += "=" + move->operation.substr(0, 4) + " " + std::string(to_string(move->kind)) +
                " " + std::string(to_string(move->step)) + " of " +
                move->owner.value_or("nobody").substr(0, 4) + " attempts " +
                std::to_string(move->attempts.size()) + (move->cancel ? " cancel" : "");
      }
    }
    kernel_.trace(text);
  }

  // ---- clients ----

  void serve(Router& router) {
    kernel_.after(kernel_.random.between(10 * kMillisecond, 120 * kMillisecond), [this, &router] {
      if (is_over_) return;
      const std::size_t p = kernel_.random.below(truth_.size());
      if (kernel_.random.once_in(3)) {
        router.read(p);
      } else {
        router.write(p);
      }
      serve(router);
    });
  }

  // ---- operators ----

  void ask() {
    if (is_over_) return;
    if (truth_.is_suspended) {
      kernel_.after(kSecond, [this] { ask(); });
      return;
    }
    auto& random = kernel_.random;
    Controller& controller = *controllers_[random.below(controllers_.size())];
    const std::size_t p = random.below(truth_.size());
    switch (random.below(10)) {
      case 0:
        controller.cancel(p);
        break;
      case 1:
        controller.request(fleet::MoveKind::Erase, {p}, std::nullopt);
        break;
      case 2:
      case 3:
        controller.set_new(p, random.below(kPlaces));
        break;
      default: {
        const auto home = truth_.home(p);
        std::vector<std::size_t> group = {p};
        const std::size_t other = random.below(truth_.size());
        if (other != p && random.once_in(2)) group.push_back(other);
        const std::size_t to = random.below(kPlaces);
        if (!home) {
          controller.set_new(p, to);
        } else if (to != *home) {
          controller.request(fleet::MoveKind::Move, group, to);
        }
      }
    }
    kernel_.after(random.between(100 * kMillisecond, 1500 * kMillisecond), [this] { ask(); });
  }

  // ---- what goes wrong ----

  void disturb() {
    if (is_over_) return;
    auto& random = kernel_.random;
    // A controller has no file: one that starts after the store went back would believe it.
    const bool hits_router = !random.once_in(3) || truth_.is_suspended;
    Router& router = *routers_[random.below(routers_.size())];
    Controller& controller = *controllers_[random.below(controllers_.size())];
    Process& process = hits_router ? router.process : controller.process;
    switch (random.below(9)) {
      case 0:
      case 1:
        if (!process.is_up()) break;
        ++coverage.kills;
        kernel_.trace(process.name(), " is killed");
        if (hits_router) {
          router.kill();
        } else {
          controller.kill();
        }
        kernel_.after(random.between(50 * kMillisecond, 4 * kSecond),
                      [this, hits_router, &router, &controller] {
                        if (hits_router) {
                          restart(router);
                        } else {
                          restart(controller);
                        }
                      });
        break;
      case 2:
      case 3:
        // A mover that cannot be refused is assumed not to stand still.
        if (!hits_router && !can_fence_) break;
        ++coverage.pauses;
        process.pause(random.between(0, 7 * kSecond));
        break;
      case 4:
      case 5:
        ++coverage.cuts;
        kernel_.trace(process.name(), " is cut off");
        process.cut(random.between(0, 5 * kSecond));
        break;
      case 6:
        if (random.once_in(3)) store_.freeze(random.between(0, 3 * kSecond));
        break;
      case 7:
        if (random.once_in(2)) {
          store_.compact(store_.revision());
        } else {
          places_[random.below(kPlaces)].break_feeds();
        }
        break;
      case 8:
        if (!router.process.is_up() || router.process.is_paused()) break;
        router.stop();
        kernel_.after(random.between(100 * kMillisecond, 3 * kSecond), [this, &router] {
          if (router.process.is_up()) router.kill();
          restart(router);
        });
        break;
    }
    kernel_.after(random.between(100 * kMillisecond, 1800 * kMillisecond), [this] { disturb(); });
  }

  void restart(Router& router) {
    if (!router.process.is_up()) router.start(goes_back_ || !kernel_.random.once_in(3));
  }
  void restart(Controller& controller) {
    if (!controller.process.is_up()) controller.start();
  }

  // ---- a backup is restored ----

  void go_back() {
    const std::uint64_t now = store_.revision().value();
    const std::uint64_t depth = static_cast<std::uint64_t>(kernel_.random.between(1, 60));
    const fleet::Revision to(now > depth + 3 ? now - depth : 3);
    for (const auto& router : routers_) {
      knew_more_.push_back(router->process.is_up() && router->machine().knowledge().revision > to
                               ? router->process.life()
                               : 0);
    }
    const bool is_noticed = std::any_of(routers_.begin(), routers_.end(), [&](const auto& router) {
      return router->is_serving() && !router->process.is_paused() && !router->process.is_cut() &&
             router->machine().knowledge().revision > to;
    });
    if (!is_noticed) {  // nobody ever will: to all that live it is the store that it was
      goes_back_ = false;
      return;
    }
    // What an operator does who knows all files: what was undone is done again, and what went on
    // where nothing was undone stays.
    for (std::size_t p = 0; p < truth_.size(); ++p) {
      std::optional<std::size_t> place;
      const std::string key = fleet::to_key(fleet::PartitionRecordKey{id_of(p)});
      for (const fleet::Entry& entry : store_.list(key, to)) {
        if (entry.key == key) {
          place = number_of(records_.decode<fleet::PartitionRecord>(entry.value)->from);
        }
      }
      undone_.push_back(place != truth_.home(p) || truth_[p].homes.back().epoch > to);
      // Until somebody who knew more has spoken, nobody can tell: a mover may do again, at the
      // data, what was undone. That is no promise; that everybody stops is.
      if (undone_.back()) truth_.excuse(p);
    }
    kernel_.trace("the store goes back from ", now, " to ", to.value());
    truth_.is_suspended = truth_.was_restored = true;
    store_.roll_back(to);
    // Later the new history is as long as the old one was.
    kernel_.after(3 * kSecond, [this] {
      for (int i = 0; i < 80; ++i) {
        fleet::Transaction other;
        other.put("other", encode(fleet::HeadRecord{}));
        static_cast<void>(store_.apply(other));
      }
    });
    restored_at_ = kernel_.now() + 20 * kSecond;
    kernel_.at(restored_at_ - 6 * kSecond, [this] { stop_all(); });
    kernel_.at(restored_at_, [this] { restore(); });
  }

  // Who knew more has stopped, and has stopped everybody.
  void stop_all() {
    bool is_known = false;
    for (const auto& router : routers_) is_known = is_known || router->is_lost();
    for (std::size_t i = 0; i < routers_.size(); ++i) {
      Router& router = *routers_[i];
      const bool is_well = router.process.is_up() && !router.process.is_paused() &&
                           kernel_.now() > router.process.trouble_until() + 4 * kSecond;
      const bool knew = knew_more_[i] == router.process.life();
      if (is_well && router.is_serving() && (is_known || knew)) {
        truth_.fail(Property::Believed, kernel_.now(), 0, 0, router.process.name() + " ");
      }
      if (router.process.is_up()) router.kill();
    }
    for (auto& controller : controllers_) {
      if (controller->process.is_up()) controller->kill();
    }
  }

  // What the operator's command does, who knows all files.
  void restore() {
    fleet::HistoryRecord history;
    history.id = kernel_.random.session();
    history.former = history_;
    history_ = history.id;
    fleet::Transaction transaction;
    transaction.put("history", encode(history));
    for (const std::string_view prefix : {fleet::kSessionsPrefix, fleet::kMovesPrefix}) {
      for (const fleet::Entry& entry : store_.list(std::string(prefix))) {
        transaction.erase(entry.key);
      }
    }
    fleet::HeadRecord head;
    for (std::size_t p = 0; p < truth_.size(); ++p) {
      const std::string key = fleet::to_key(fleet::PartitionRecordKey{id_of(p)});
      truth_[p].is_in_cutover = false;
      if (const auto home = truth_.home(p)) {
        fleet::PartitionRecord record;
        record.from = place_of(*home);
        transaction.put(key, encode(record));
      } else {
        transaction.erase(key);
      }
      head.ids.push_back(id_of(p));
    }
    transaction.put("table/head", encode(head));
    static_cast<void>(store_.apply(transaction));
    truth_.is_suspended = false;
    for (auto& router : routers_) restart(*router);
    for (auto& controller : controllers_) restart(*controller);
  }

  // ---- the end: nothing goes wrong any more, and everything comes to rest ----

  void settle() {
    is_over_ = true;
    store_.faults = {};
    places_.faults = {};
    store_.thaw();
    for (auto& router : routers_) {
      router->process.pause_once_in = 0;
      router->process.heal();
      restart(*router);
      if (router->is_stopped()) {
        router->kill();
        restart(*router);
      }
    }
    for (auto& controller : controllers_) {
      controller->process.pause_once_in = 0;
      controller->break_job_once_in = 0;
      controller->process.heal();
      restart(*controller);
    }
    for (int second = 0; second < 120; ++second) {
      kernel_.run_until(kernel_.now() + kSecond);
      if (second >= 6 && is_at_rest()) break;
    }
    for (auto& router : routers_) {
      if (router->is_lost()) {
        truth_.fail(Property::Stuck, kernel_.now(), 0, 0,
                    router->process.name() + " does not believe the store: " +
                        std::string(router->machine().why_lost().message()) + " ");
      }
    }
    for (auto& controller : controllers_) {
      if (controller->is_lost()) {
        truth_.fail(Property::Stuck, kernel_.now(), 0, 0,
                    controller->process.name() + " does not believe the store: " +
                        std::string(controller->machine().why_lost().message()) + " ");
      }
    }
    if (!is_at_rest()) truth_.fail(Property::Stuck, kernel_.now(), 0, 0, why_not_at_rest());
    truth_.check(kernel_.now(), places_);
  }

  [[nodiscard]] bool is_at_rest() const { return why_not_at_rest().empty(); }
  [[nodiscard]] std::string why_not_at_rest() const {
    for (const auto& router : routers_) {
      if (!router->is_serving()) return router->process.name() + " does not serve ";
    }
    for (const auto& controller : controllers_) {
      if (!controller->is_serving()) return controller->process.name() + " does not serve ";
    }
    for (const fleet::Entry& entry : store_.list(std::string(fleet::kMovesPrefix))) {
      return entry.key + " is there ";
    }
    for (const fleet::Entry& entry : store_.list(std::string(fleet::kPartitionsPrefix))) {
      if (records_.decode<fleet::PartitionRecord>(entry.value)->phase != MigrationPhase::Settled) {
        return entry.key + " is not settled ";
      }
    }
    return "";
  }

  void collect() {
    coverage.runs = 1;
    coverage.events = kernel_.count();
    coverage.store = store_.sights;
    const auto add = [](auto& sum, const auto& other) {
      using Sights = std::remove_cvref_t<decltype(sum)>;
      static_assert(sizeof(Sights) % sizeof(std::uint64_t) == 0);
      auto* to = reinterpret_cast<std::uint64_t*>(&sum);
      const auto* from = reinterpret_cast<const std::uint64_t*>(&other);
      for (std::size_t i = 0; i < sizeof(Sights) / sizeof(std::uint64_t); ++i) to[i] += from[i];
    };
    for (const auto& router : routers_) {
      add(coverage.router, router->sights);
      coverage.pauses += router->process.pauses;
    }
    for (const auto& controller : controllers_) {
      add(coverage.controller, controller->sights);
      coverage.pauses += controller->process.pauses;
    }
  }

  Kernel kernel_;
  Removed removed_;
  Records records_;
  SimulatedStore store_;
  Places places_;
  Truth truth_;
  World world_;
  bool can_fence_ = true;
  std::vector<std::unique_ptr<Router>> routers_;
  std::vector<std::unique_ptr<Controller>> controllers_;
  std::map<std::string, std::string> owners_;  // by operation
  std::map<std::uint64_t, Ticks> changed_;     // when a revision was made
  std::string history_;
  bool goes_back_ = false;
  Ticks restored_at_ = 0;
  std::vector<bool> undone_;              // partitions whose last change of place was
  std::vector<std::uint64_t> knew_more_;  // the lives of routers that did
  bool is_over_ = false;
};

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_FLEET_HPP_
