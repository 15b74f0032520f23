// SPDX-License-Identifier: Apache-2.0
//
// A router of a simulation: the real table and the real machine, and the clients that it serves.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_ROUTER_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_ROUTER_HPP_

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernel.hpp"
#include "placement/fleet/detail/member_machine.hpp"
#include "placement/placement_table.hpp"
#include "places.hpp"
#include "store.hpp"
#include "truth.hpp"

namespace placement::test::simulation {

using Rule = fleet::detail::Rule;

struct RuleSet {
  const std::bitset<fleet::detail::kRuleNames.size()>* removed;

  [[nodiscard]] bool holds(Rule rule) const {
    return !removed->test(static_cast<std::size_t>(rule));
  }
};

inline fleet::Place place_of(std::size_t place) {
  return {PlacementMode::DedicatedCluster, std::to_string(place), std::nullopt};
}
inline std::size_t number_of(const fleet::Place& place) {
  return static_cast<std::size_t>(place.cluster[0] - '0');
}
inline std::string id_of(std::size_t partition) { return "p" + std::to_string(partition); }
inline std::size_t partition_of(const std::string& id) {
  return static_cast<std::size_t>(std::stoul(id.substr(1)));
}

struct RouterSights {
  std::uint64_t writes = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t unknown = 0;
  std::uint64_t refused = 0;  // at the check
  std::uint64_t not_confirmed = 0;
  std::uint64_t confirmed_late = 0;
  std::uint64_t paused_acknowledgements = 0;  // stopped between the check and the answer
  std::uint64_t reads = 0;
  std::uint64_t old_reads = 0;  // told from a place that is not the home any more
  std::uint64_t fenced = 0;
  std::uint64_t lost = 0;
  std::uint64_t loads = 0;
  std::uint64_t watches = 0;
  std::uint64_t stops = 0;
  std::uint64_t aborts = 0;
};

// What all processes of a simulation share.
struct World {
  Kernel& kernel;
  Records& records;
  SimulatedStore& store;
  Places& places;
  Truth& truth;
  RuleSet rules;
  bool is_strict = false;
};

class Router {
 public:
  using Table = BasicPlacementTable<std::string, std::uint32_t>;
  using Machine = fleet::detail::MemberMachine<SimulatedCodec, RuleSet>;

  Router(World& world, std::string name, double rate, absl::Duration ttl,
         absl::Duration write_timeout)
      : process(world.kernel, std::move(name), rate),
        world_(world),
        ttl_(ttl),
        write_timeout_(write_timeout) {}

  Process process;
  RouterSights sights;

  [[nodiscard]] bool is_lost() const {
    return process.is_up() && life_ && life_->machine.state() == Machine::State::Lost;
  }
  [[nodiscard]] bool is_serving() const {
    return process.is_up() && life_ && life_->machine.state() == Machine::State::Serving;
  }
  [[nodiscard]] bool is_stopped() const {
    return life_ && life_->machine.state() == Machine::State::Stopped;
  }

  void start(bool has_file) {
    process.start();
    fleet::detail::Knowledge known;
    if (has_file && life_) known = life_->machine.knowledge();
    known.applied = fleet::Revision();  // the table itself is not in the file
    life_ = std::make_unique<Life>(*this, known);
    life_->machine.start(process.clock());
    act();
  }
  void kill() {
    process.kill();
    if (life_->stream) life_->stream->close();
    life_->permits.clear();
    life_->reads.clear();
  }
  void stop() {
    ++sights.stops;
    life_->machine.stop(process.clock());
    act();
  }

  void write(std::size_t p) {
    if (!process.is_up() || process.is_paused()) return;
    auto& random = world_.kernel.random;
    auto& partition = world_.truth[p];
    if (partition.writes.size() >= kMostWrites) return;
    const absl::Time now = process.clock();
    const fleet::detail::Lease lease = life_->machine.lease();
    if (!life_->machine.may_admit(now) &&
        (world_.rules.holds(Rule::AdmitUnderLease) || !was_serving())) {
      ++sights.refused;
      return;
    }
    Table::Permit permit = life_->table.acquire_write(id_of(p));
    if (!permit) {
      ++sights.refused;
      return;
    }
    ++sights.writes;
    const std::size_t w = partition.writes.size();
    const std::size_t place = permit.placement();
    Truth::Write written;
    written.key = random.below(kKeys);
    written.generation = world_.truth.generation_at(p, fleet::Revision(permit.epoch().value()));
    partition.writes.push_back(written);
    world_.kernel.trace(process.name(), " admits ", p, "/", w, " to ", place, " at epoch ",
                        permit.epoch().value());
    const std::uint64_t number = ++life_->requests;
    life_->permits.emplace(number, std::pair(p, std::move(permit)));
    // Between the check and the send the process may be stopped.
    process.step([this, p, w, place, number, session = lease.session, began = world_.kernel.now()] {
      send(p, w, place, number, session, began);
    });
  }

  void read(std::size_t p) {
    if (!process.is_up() || process.is_paused()) return;
    const absl::Time now = process.clock();
    const fleet::detail::Lease lease = life_->machine.lease();
    if (!life_->machine.may_admit(now) &&
        (world_.rules.holds(Rule::AdmitUnderLease) || !was_serving())) {
      return;
    }
    const auto found = life_->table.get(id_of(p));
    if (!found) return;
    if (world_.is_strict && found->phase == MigrationPhase::Cutover &&
        world_.rules.holds(Rule::StrictReadsHeld)) {
      return;
    }
    ++sights.reads;
    const std::uint64_t number = ++life_->requests;
    life_->reads.emplace(number, p);
    const std::size_t key = world_.kernel.random.below(kKeys);
    const std::size_t generation =
        world_.truth.generation_at(p, fleet::Revision(found->epoch.value()));
    process.step([this, p, key, generation, place = std::size_t{found->placement}, number,
                  session = lease.session, began = world_.kernel.now()] {
      auto value = std::make_shared<Value>();
      world_.places.send(
          process, process.ticks_of(write_timeout_),
          [this, p, key, place, value] { *value = world_.places[place].cells(p)[key].value; },
          [this, p, key, generation, place, number, session, began, value] {
            process.step([this, p, key, generation, place, number, session, began, value] {
              if (!life_->reads.contains(number)) return;
              const bool is_good = life_->machine.confirm(session, process.clock());
              end_read(number);
              if (!is_good && world_.rules.holds(Rule::ReadsConfirm)) return;
              if (world_.truth.home(p) != place) ++sights.old_reads;
              world_.truth.read(world_.kernel.now(), began, p, key, place, *value, generation,
                                world_.is_strict);
            });
          });
      process.after(process.ticks_of(write_timeout_), [this, number] {
        if (life_->reads.contains(number)) end_read(number);
      });
    });
  }

  void tick() {
    life_->machine.tick(process.clock());
    act();
  }

  [[nodiscard]] const Machine& machine() const { return life_->machine; }

 private:
  // The table, as the machine sees it.
  struct Life final : fleet::detail::MemberTable {
    Life(Router& router, const fleet::detail::Knowledge& known)
        : owner(router),
          table(TableOptions{.shards = 1}),
          machine(options_of(router), *this, known, SimulatedCodec{&router.world_.records},
                  router.world_.rules) {}

    static fleet::detail::MemberOptions options_of(Router& router) {
      fleet::detail::MemberOptions options;
      options.name = router.process.name();
      options.ttl = router.ttl_;
      options.write_timeout = router.write_timeout_;
      options.behind_bound = absl::Milliseconds(500);
      options.new_session = [&random = router.world_.kernel.random] { return random.session(); };
      return options;
    }

    bool apply(const std::string& id, const fleet::PartitionRecord& record,
               fleet::Revision epoch) override {
      using State = Table::State;
      const auto from = static_cast<std::uint32_t>(number_of(record.from));
      const auto before = table.get(id);
      const State state =
          record.phase == MigrationPhase::Settled
              ? State::active(from)
              : State::migrating(from, static_cast<std::uint32_t>(number_of(*record.to)),
                                 record.phase);
      if (!table.apply(id, state, Epoch(epoch.value()))) return false;
      return before && before->placement != from;
    }
    bool apply_erase(const std::string& id, fleet::Revision epoch) override {
      const bool was_there = table.contains(id);
      return table.apply_erase(id, Epoch(epoch.value())) && was_there;
    }
    [[nodiscard]] std::vector<std::string> ids() const override {
      std::vector<std::string> all;
      table.for_each([&](std::string_view id, const auto&, Epoch) { all.emplace_back(id); });
      return all;
    }
    [[nodiscard]] bool has_no_writes() const override { return permits.empty(); }
    [[nodiscard]] bool has_no_reads() const override { return reads.empty(); }

    Router& owner;
    Table table;
    Machine machine;
    std::uint64_t requests = 0;
    std::map<std::uint64_t, std::pair<std::size_t, Table::Permit>> permits;
    std::map<std::uint64_t, std::size_t> reads;  // in flight: of which partition
    struct Waiting {                             // for older reads to end
      std::string id;
      fleet::Revision epoch;
      std::vector<std::uint64_t> reads;
    };
    std::vector<Waiting> flips;
    std::shared_ptr<SimulatedStore::Stream> stream;
    Ticks wakes = -1;
    bool was_serving = false;
  };

  [[nodiscard]] bool was_serving() const { return life_->was_serving; }

  void send(std::size_t p, std::size_t w, std::size_t place, std::uint64_t number,
            std::uint64_t session, Ticks began) {
    // A request that leaves late, since the process was stopped, is nobody's fault.
    if (world_.kernel.now() - began > 100 * kMillisecond)
      world_.truth[p].writes[w].is_excused = true;
    const bool early = life_->machine.confirm(session, process.clock());
    auto is_done = std::make_shared<bool>(false);
    const std::size_t key = world_.truth[p].writes[w].key;
    world_.places.send(
        process, process.ticks_of(write_timeout_),
        [this, p, w, place, key] {
          world_.places[place].write(p, key, w);
          world_.truth[p].writes[w].executed = world_.kernel.now();
        },
        [this, p, w, number, session, began, is_done, early] {
          process.step([this, p, w, number, session, began, is_done, early] {
            if (std::exchange(*is_done, true)) return;
            const absl::Time answered = process.clock();
            const bool is_good = world_.rules.holds(Rule::ConfirmAfterAnswer)
                                     ? life_->machine.confirm(session, answered)
                                     : early;
            end_write(number);
            if (is_good) {
              if (world_.kernel.now() - began > 500 * kMillisecond)
                ++sights.paused_acknowledgements;
              return acknowledge(p, w);
            }
            ++sights.not_confirmed;
            confirm_late(p, w, session, answered, 20);
          });
        });
    process.after(process.ticks_of(write_timeout_), [this, number, is_done] {
      if (std::exchange(*is_done, true)) return;
      ++sights.unknown;
      end_write(number);
    });
  }

  void acknowledge(std::size_t p, std::size_t w) {
    ++sights.acknowledged;
    world_.kernel.trace(process.name(), " acknowledges ", p, "/", w);
    world_.truth.acknowledged(world_.kernel.now(), p, w);
  }

  void confirm_late(std::size_t p, std::size_t w, std::uint64_t session, absl::Time answered,
                    int tries) {
    if (life_->machine.confirm_late(session, answered)) {
      ++sights.confirmed_late;
      return acknowledge(p, w);
    }
    if (tries == 0) return;
    process.after(100 * kMillisecond,
                  [=, this] { confirm_late(p, w, session, answered, tries - 1); });
  }

  void end_write(std::uint64_t number) {
    const auto found = life_->permits.find(number);
    if (found == life_->permits.end()) return;
    const std::size_t p = found->second.first;
    life_->permits.erase(found);
    life_->machine.on_drained(process.clock(), id_of(p));
    act();
  }

  void end_read(std::uint64_t number) {
    const auto ended = life_->reads.find(number);
    const std::size_t p = ended->second;
    life_->reads.erase(ended);
    for (auto& flip : life_->flips) std::erase(flip.reads, number);
    for (std::size_t i = 0; i < life_->flips.size();) {
      if (life_->flips[i].reads.empty()) {
        const auto flip = life_->flips[i];
        life_->flips.erase(life_->flips.begin() + static_cast<std::ptrdiff_t>(i));
        life_->machine.on_older_reads_ended(process.clock(), flip.id, flip.epoch);
      } else {
        ++i;
      }
    }
    life_->machine.on_drained(process.clock(), id_of(p));
    act();
  }

  // Writes (with strict reads: and reads) in flight at partitions in cutover.
  [[nodiscard]] std::vector<std::string> undrained() const {
    std::vector<std::string> ids;
    for (std::size_t p = 0; p < world_.truth.size(); ++p) {
      const std::string id = id_of(p);
      const auto found = life_->table.get(id);
      if (!found || found->phase != MigrationPhase::Cutover) continue;
      const bool is_read = world_.is_strict && world_.rules.holds(Rule::StrictReadsCounted) &&
                           std::any_of(life_->reads.begin(), life_->reads.end(),
                                       [&](const auto& one) { return one.second == p; });
      if (is_read || life_->table.writes_in_flight(id) > 0) ids.push_back(id);
    }
    return ids;
  }

  // Does what the machine says, each in a step of its own.
  void act() {
    for (auto& action : life_->machine.take_actions()) {
      std::visit([this](auto& one) { perform(std::move(one)); }, action);
    }
    if (life_->machine.state() == Machine::State::Serving) life_->was_serving = true;
    const Ticks time =
        std::max(process.ticks_of(life_->machine.wakes_at()), world_.kernel.now() + 200);
    if (life_->wakes > world_.kernel.now() && life_->wakes <= time) return;
    if (time > world_.kernel.now() + 3600 * kSecond) return;
    life_->wakes = time;
    process.at(time, [this, time] {
      if (life_->wakes == time) tick();
    });
  }

  void perform(Machine::Commit commit) {
    if (commit.purpose == Machine::Purpose::Abort) ++sights.aborts;
    process.step([this, commit = std::move(commit)]() mutable {
      world_.store.commit(process, std::move(commit.transaction),
                          [this, purpose = commit.purpose](const fleet::Outcome& outcome) {
                            life_->machine.on_outcome(process.clock(), purpose, outcome);
                            act();
                          });
    });
  }
  void perform(Machine::Load load) {
    ++sights.loads;
    process.step([this, load = std::move(load)] {
      world_.store.load(
          process, load.prefix, load.at,
          [this, number = load.number](const absl::StatusOr<fleet::Snapshot>& result) {
            life_->machine.on_snapshot(process.clock(), number, result);
            act();
          });
    });
  }
  void perform(Machine::OpenWatch watch) {
    ++sights.watches;
    process.step([this, watch] {
      if (life_->stream) life_->stream->close();
      life_->stream =
          world_.store.watch(process, std::string(fleet::kTablePrefix), watch.from,
                             [this, number = watch.number](const fleet::WatchEvent& event) {
                               life_->machine.on_watch(process.clock(), number, event);
                               act();
                             });
    });
  }
  void perform(Machine::CloseWatch /*close*/) {
    if (life_->stream) life_->stream->close();
  }
  void perform(Machine::List /*list*/) {
    process.step([this] {
      // What was listed is told later: a table of a million partitions takes its time.
      const Ticks delay =
          world_.kernel.random.once_in(3) ? world_.kernel.random.between(0, 30 * kMillisecond) : 0;
      process.after(delay, [this, listed = undrained()] {
        life_->machine.on_listed(process.clock(), listed);
        act();
      });
    });
  }
  void perform(Machine::Flipped flipped) {
    Life::Waiting waiting{flipped.id, flipped.epoch, {}};
    const std::size_t p = partition_of(flipped.id);
    for (const auto& [number, partition] : life_->reads) {
      if (partition == p) waiting.reads.push_back(number);
    }
    if (waiting.reads.empty()) {
      process.step([this, flipped] {
        life_->machine.on_older_reads_ended(process.clock(), flipped.id, flipped.epoch);
        act();
      });
    } else {
      life_->flips.push_back(std::move(waiting));
    }
  }
  void perform(Machine::WasFenced /*fenced*/) {
    world_.kernel.trace(process.name(), " was fenced");
    ++sights.fenced;
  }
  void perform(Machine::WasLost lost) {
    world_.kernel.trace(process.name(), " lost: ", lost.why.message());
    ++sights.lost;
  }

  World& world_;
  absl::Duration ttl_;
  absl::Duration write_timeout_;
  std::unique_ptr<Life> life_;
};

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_ROUTER_HPP_
