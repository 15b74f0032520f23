// SPDX-License-Identifier: Apache-2.0
//
// A controller of a simulation, with its mover.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_CONTROLLER_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_CONTROLLER_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernel.hpp"
#include "placement/fleet/detail/controller_machine.hpp"
#include "places.hpp"
#include "router.hpp"
#include "store.hpp"
#include "truth.hpp"

namespace placement::test::simulation {

struct ControllerSights {
  std::uint64_t flips = 0;
  std::uint64_t ended = 0;
  std::uint64_t aborted = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t fencings = 0;
  std::uint64_t lost = 0;
  std::uint64_t jobs = 0;
  std::uint64_t failed_jobs = 0;
  std::uint64_t refused_commands = 0;
  std::uint64_t requests = 0;
};

class Controller {
 public:
  using Machine = fleet::detail::ControllerMachine<SimulatedCodec, RuleSet>;
  using JobKind = Machine::JobKind;

  Controller(World& world, std::string name, double rate, absl::Duration ttl,
             absl::Duration write_timeout, bool can_fence)
      : process(world.kernel, std::move(name), rate),
        world_(world),
        ttl_(ttl),
        write_timeout_(write_timeout),
        can_fence_(can_fence) {}

  Process process;
  ControllerSights sights;
  std::uint64_t break_job_once_in = 0;

  [[nodiscard]] bool is_lost() const {
    return process.is_up() && life_ && life_->machine.state() == Machine::State::Lost;
  }
  [[nodiscard]] bool is_serving() const {
    return process.is_up() && life_ && life_->machine.state() == Machine::State::Serving;
  }

  void start() {
    process.start();
    fleet::detail::ControllerOptions options;
    options.name = process.name();
    options.ttl = ttl_;
    options.write_timeout = write_timeout_;
    options.cutover_deadline = absl::Seconds(6);
    options.relist = absl::Milliseconds(700);
    options.reopen = absl::Seconds(5);
    options.gap = absl::Seconds(1);
    options.most_attempts = 4;
    options.can_fence = can_fence_;
    options.new_session = [&random = world_.kernel.random] { return random.session(); };
    life_ = std::make_unique<Life>(options, SimulatedCodec{&world_.records}, world_.rules);
    life_->machine.start(process.clock());
    act();
  }
  void kill() {
    process.kill();
    if (life_->stream) life_->stream->close();
    for (auto& [number, running] : running_) running->is_stopped = true;
    running_.clear();
  }

  // As somebody asks it.
  void request(fleet::MoveKind kind, const std::vector<std::size_t>& partitions,
               std::optional<std::size_t> to) {
    if (!is_serving() || process.is_paused()) return;
    ++sights.requests;
    std::vector<std::string> ids;
    for (const std::size_t p : partitions) ids.push_back(id_of(p));
    life_->machine.request(process.clock(), kind, ids,
                           to ? std::optional(place_of(*to)) : std::nullopt);
    act();
  }
  void cancel(std::size_t p) {
    if (!is_serving() || process.is_paused()) return;
    life_->machine.cancel(process.clock(), id_of(p));
    act();
  }
  void set_new(std::size_t p, std::size_t place) {
    if (!is_serving() || process.is_paused()) return;
    life_->machine.set_new(process.clock(), {id_of(p)}, place_of(place));
    act();
  }
  [[nodiscard]] const Machine& machine() const { return life_->machine; }

 private:
  struct Life {
    Life(const fleet::detail::ControllerOptions& options, SimulatedCodec codec, RuleSet rules)
        : machine(options, codec, rules) {}

    Machine machine;
    std::shared_ptr<SimulatedStore::Stream> stream;
    Ticks wakes = -1;
  };

  void tick() {
    life_->machine.tick(process.clock());
    act();
  }

  void act() {
    for (auto& action : life_->machine.take_actions()) {
      std::visit([this](auto& one) { perform(std::move(one)); }, action);
    }
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
    process.step([this, commit = std::move(commit)]() mutable {
      world_.store.commit(process, std::move(commit.transaction),
                          [this, ticket = commit.ticket](const fleet::Outcome& outcome) {
                            life_->machine.on_outcome(process.clock(), ticket, outcome);
                            act();
                          });
    });
  }
  void perform(Machine::Load load) {
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
    process.step([this, watch] {
      if (life_->stream) life_->stream->close();
      life_->stream = world_.store.watch(
          process, "", watch.from, [this, number = watch.number](const fleet::WatchEvent& event) {
            life_->machine.on_watch(process.clock(), number, event);
            act();
          });
    });
  }
  void perform(Machine::CloseWatch /*close*/) {
    if (life_->stream) life_->stream->close();
  }
  void perform(Machine::Ended ended) {
    ++sights.ended;
    if (!ended.status.ok()) ++sights.aborted;
  }
  void perform(Machine::Answered /*answered*/) {}
  void perform(Machine::Fencing /*fencing*/) { ++sights.fencings; }
  void perform(Machine::WasLost /*lost*/) { ++sights.lost; }

  // ---- the mover ----

  struct Command {
    std::size_t place;
    std::string user;               // as whom; empty: as the one who makes users
    std::function<bool()> execute;  // at the place; false: it is refused
  };
  struct MoverJob {
    Machine::Job job;
    std::deque<Command> commands;
    std::map<std::pair<std::size_t, std::size_t>, Cell> copied;
    bool is_stopped = false;
  };
  using Running = std::shared_ptr<MoverJob>;

  void perform(Machine::StopJob stop) {
    const auto found = running_.find(stop.number);
    if (found == running_.end()) return;
    found->second->is_stopped = true;
    running_.erase(found);
  }

  void perform(Machine::Job job) {
    ++sights.jobs;
    world_.kernel.trace(process.name(), " job ", job.number, " kind ", static_cast<int>(job.kind));
    const auto running = std::make_shared<MoverJob>();
    running->job = std::move(job);
    running_[running->job.number] = running;
    plan(*running);
    next(running);
  }

  [[nodiscard]] std::string user_at(const MoverJob& running, std::size_t place) const {
    const auto user = running.job.users.find(place_of(place).name());
    return user == running.job.users.end() ? "nobody" : user->second;
  }

  void plan(MoverJob& running) {
    const Machine::Job& job = running.job;
    auto& commands = running.commands;
    const auto command = [&](std::size_t place, std::function<bool()> execute) {
      commands.push_back({place, user_at(running, place), std::move(execute)});
    };
    switch (job.kind) {
      case JobKind::MakeUsers:
        for (const auto& [name, user] : job.users) {
          const std::size_t place = static_cast<std::size_t>(name[0] - '0');
          commands.push_back({place, "", [this, place, whom = user] {
                                world_.places[place].make_user(whom);
                                return true;
                              }});
        }
        return;
      case JobKind::Refuse:
        for (const auto& users : job.former) {
          for (const auto& [name, user] : users) {
            const std::size_t place = static_cast<std::size_t>(name[0] - '0');
            commands.push_back({place, "", [this, place, whom = user] {
                                  world_.places[place].remove_user(whom);
                                  return true;
                                }});
          }
        }
        return;
      case JobKind::Clean:
        for (const auto& item : job.items) {
          const std::size_t place = number_of(item.to);
          const std::size_t p = partition_of(item.id);
          command(place, [this, place, p] {
            world_.places[place].cells(p) = {};
            return true;
          });
        }
        return;
      case JobKind::Copy:
        for (const auto& item : job.items) {
          const std::size_t from = number_of(item.from);
          const std::size_t to = number_of(item.to);
          const std::size_t p = partition_of(item.id);
          const auto open = [&] {
            command(from, [this, from, p, user = user_at(running, from)] {
              world_.places[from].open_feed(user, p);
              return true;
            });
          };
          if (world_.rules.holds(Rule::FeedFirst)) open();
          if (job.is_anew) {
            command(to, [this, to, p] {
              world_.places[to].cells(p) = {};
              return true;
            });
            for (std::size_t key = 0; key < kKeys; ++key) copy_key(running, from, to, p, key);
          }
          if (!world_.rules.holds(Rule::FeedFirst)) open();
          follow_feed(running, from, to, p);
        }
        return;
      case JobKind::Finish:
        if (!world_.rules.holds(Rule::FeedToMark)) return;
        for (const auto& item : job.items) {
          follow_feed(running, number_of(item.from), number_of(item.to), partition_of(item.id));
        }
        return;
    }
  }

  void copy_key(MoverJob& running, std::size_t from, std::size_t to, std::size_t p,
                std::size_t key) {
    auto commands = copying(running, from, to, p, key);
    for (auto& command : commands) running.commands.push_back(std::move(command));
  }

  std::vector<Command> copying(MoverJob& running, std::size_t from, std::size_t to, std::size_t p,
                               std::size_t key) {
    return {{from, user_at(running, from),
             [this, &running, from, p, key] {
               running.copied[{p, key}] = world_.places[from].cells(p)[key];
               return true;
             }},
            {to, user_at(running, to), [this, &running, to, p, key] {
               Cell cell = running.copied[{p, key}];
               cell.is_movers = true;
               world_.places[to].cells(p)[key] = cell;
               return true;
             }}};
  }

  // Copies again what changed, as the origin tells it.
  void follow_feed(MoverJob& running, std::size_t from, std::size_t to, std::size_t p) {
    running.commands.push_back({from, user_at(running, from),
                                [this, &running, from, to, p, user = user_at(running, from)] {
                                  const auto changed = world_.places[from].take_feed(user, p);
                                  if (!changed) return false;
                                  for (std::size_t key = 0; key < kKeys; ++key) {
                                    if (!changed->test(key)) continue;
                                    auto commands = copying(running, from, to, p, key);
                                    running.commands.push_front(std::move(commands[1]));
                                    running.commands.push_front(std::move(commands[0]));
                                  }
                                  return true;
                                }});
  }

  void finish(const Running& running, absl::Status status) {
    running->is_stopped = true;
    running_.erase(running->job.number);
    if (!status.ok()) ++sights.failed_jobs;
    world_.kernel.trace(process.name(), " job ", running->job.number, ": ", status.message());
    life_->machine.on_job(process.clock(), running->job.number, status);
    act();
  }

  void next(const Running& running) {
    process.step([this, running] {
      if (running->is_stopped) return;
      if (running->commands.empty()) return finish(running, absl::OkStatus());
      if (world_.kernel.random.once_in(break_job_once_in)) {
        return finish(running, absl::UnavailableError("it broke"));
      }
      Command command = std::move(running->commands.front());
      running->commands.pop_front();
      // A place that cannot refuse: whoever sends has to know that it still owns the move.
      if (!can_fence_ && world_.rules.holds(Rule::OwnershipByClock) &&
          !life_->machine.may_command(process.clock())) {
        return finish(running, absl::AbortedError("the ownership has lapsed"));
      }
      process.step([this, running, command = std::move(command)] { send(running, command); });
    });
  }

  void send(const Running& running, const Command& command) {
    auto is_told = std::make_shared<bool>(false);
    auto is_done = std::make_shared<bool>(false);
    const Ticks within = can_fence_ ? 4 * kSecond : process.ticks_of(write_timeout_);
    world_.places.send(
        process, within,
        [this, running, command, is_done] {
          if (can_fence_ && !command.user.empty() &&
              !world_.places[command.place].knows(command.user)) {
            ++sights.refused_commands;
            return;
          }
          *is_done = command.execute();
        },
        [this, running, is_done, is_told] {
          process.step([this, running, is_done, is_told] {
            if (std::exchange(*is_told, true) || running->is_stopped) return;
            if (!*is_done) return finish(running, absl::PermissionDeniedError("it was refused"));
            next(running);
          });
        });
    process.after(kSecond, [this, running, is_told] {
      if (std::exchange(*is_told, true) || running->is_stopped) return;
      finish(running, absl::UnavailableError("no answer"));
    });
  }

  World& world_;
  absl::Duration ttl_;
  absl::Duration write_timeout_;
  bool can_fence_;
  std::unique_ptr<Life> life_;
  std::map<std::uint64_t, Running> running_;
};

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_CONTROLLER_HPP_
