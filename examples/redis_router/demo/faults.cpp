// SPDX-License-Identifier: Apache-2.0
#include "demo/faults.hpp"

#include <absl/strings/str_format.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include "text.hpp"

namespace redis_router {
namespace {

constexpr std::string_view kStageNames[] = {"copying", "cutover", "cleaning"};
constexpr absl::Duration kPatience = absl::Seconds(2);

// Takes a server some 5 ms, in which it does nothing else.
constexpr std::string_view kBusyScript = "local n = 0 for i = 1, 800000 do n = n + i end return n";

// Keeps a server busy half of the time, so that what waits for it in a migration takes long enough
// to be hit.
std::jthread keep_busy(const RedisServer& server) {
  return std::jthread([&server](const std::stop_token& stop) {
    auto client = RedisClient::connect(server.endpoint(), kPatience);
    while (!stop.stop_requested() && client.ok() && client->call({"EVAL", kBusyScript, "0"}).ok()) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  });
}

// The connections that movers have to a server.
std::vector<std::string> movers_at(const RedisServer& server) {
  std::vector<std::string> ids;
  const auto list = server.connect().call({"CLIENT", "LIST"});
  if (!list.ok()) return ids;
  std::istringstream lines(list->text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" name=placement-mover-") == std::string::npos) continue;
    ids.push_back(line.substr(3, line.find(' ') - 3));  // "id=7 addr=..."
  }
  return ids;
}

}  // namespace

Faults::Faults(RedisServer& a, RedisServer& b, const RouterProcess& router,
               std::vector<std::string> tenants, std::uint64_t seed,
               std::function<void(std::string_view)> say)
    : a_(a),
      b_(b),
      router_(router),
      tenants_(std::move(tenants)),
      random_(seed),
      say_(std::move(say)),
      control_(router.connect()) {}

std::optional<Faults::Stage> Faults::stage_of(std::string_view step) {
  for (const std::string_view copying : {"Begin", "Prepare", "Copy", "Look", "Cutover", "Retry"}) {
    if (step == copying) return Stage::Copying;
  }
  for (const std::string_view cutover : {"Drain", "Barrier", "Finish", "Verify", "Flip"}) {
    if (step == cutover) return Stage::Cutover;
  }
  if (step == "Clean") return Stage::Cleaning;
  return std::nullopt;
}

Faults::Target Faults::least_made() {
  std::vector<Target> least;
  std::size_t times = std::numeric_limits<std::size_t>::max();
  for (std::size_t fault = 0; fault < std::size(kFaults); ++fault) {
    for (std::size_t stage = 0; stage < kStages; ++stage) {
      const std::size_t made = made_[fault][stage];
      if (made < times) least.clear();
      times = std::min(times, made);
      if (made == times) least.push_back({fault, stage});
    }
  }
  return least[random_() % least.size()];
}

std::vector<Faults::Running> Faults::ask(const std::vector<std::string>& tenants) {
  for (const std::string& tenant : tenants) control_.append({"PLACEMENT", "STATUS", tenant});
  std::vector<Running> all;
  for (std::size_t i = 0; i < tenants.size(); ++i) {
    const auto status = control_.read_reply();
    if (!status.ok()) throw std::runtime_error("the router does not answer PLACEMENT STATUS");
    auto fields = fields_of(*status);
    all.push_back({fields["tenant"], fields["from"], fields["to"], stage_of(fields["step"]),
                   stage_of(fields["failed_at"])});
  }
  return all;
}

// On the way to a later stage, `on_copying` is told of migrations that are copying.
std::optional<Faults::Running> Faults::wait_for(
    Stage stage, absl::FunctionRef<void(const Running&)> on_copying) {
  std::vector<std::jthread> busy;
  if (stage != Stage::Copying) {
    for (const RedisServer* server : {&a_, &b_}) busy.push_back(keep_busy(*server));
  }
  const absl::Time deadline = absl::Now() + kPatience;
  while (absl::Now() < deadline) {
    for (Running& running : ask(tenants_)) {
      if (running.stage == stage) return std::move(running);
      if (running.stage == Stage::Copying) on_copying(running);
    }
  }
  return std::nullopt;
}

void Faults::make_one() {
  const Target target = least_made();
  const Fault& fault = kFaults[target.fault];
  const auto stage = static_cast<Stage>(target.stage);
  const auto server_of = [&](const Running& running) -> RedisServer& {
    return (fault.at_origin ? running.from : running.to) == "a" ? a_ : b_;
  };
  std::vector<std::string> movers;  // looked for before a stage that is too short for it
  const auto running = wait_for(stage, [&](const Running& copying) {
    if (fault.kind == Kind::CutMover && stage == Stage::Cutover) {
      movers = movers_at(server_of(copying));
    }
  });
  if (!running) return;
  RedisServer& server = server_of(*running);
  const bool is_struck = strike(fault.kind, server, running->tenant, movers);
  // It counts if the migration had not left the stage by then, or never did.
  const Running after = ask({running->tenant}).front();
  const bool is_hit = is_struck && (after.stage == stage || after.failed_in == stage);
  ++made_[target.fault][is_hit ? target.stage : kStages];
  say_(concat(fault.name, ", while ", running->tenant, " is ", kStageNames[target.stage]));
  mend(fault.kind, server);
  pause(50, 500);  // let something happen again
}

// False if there was nothing to strike at.
bool Faults::strike(Kind kind, RedisServer& server, const std::string& tenant,
                    const std::vector<std::string>& movers) {
  switch (kind) {
    case Kind::Kill:
      server.kill();
      return true;
    case Kind::Freeze:
      server.freeze();
      return true;
    case Kind::CutMover:
      return cut(server, movers.empty() ? movers_at(server) : movers);
    case Kind::NoMemory:
      return server.connect().call({"CONFIG", "SET", "maxmemory", "1"}).ok();
    case Kind::VanishingClients:
      vanish(tenant);
      return true;
  }
  return false;
}

void Faults::mend(Kind kind, RedisServer& server) {
  switch (kind) {
    case Kind::Kill:
      pause(0, 500);
      return server.restart();
    case Kind::Freeze:
      pause(10, 3'500);  // shorter and longer than the router's patience with an upstream
      return server.unfreeze();
    case Kind::NoMemory:
      pause(10, 500);
      if (!server.connect().call({"CONFIG", "SET", "maxmemory", "0"}).ok()) {
        throw std::runtime_error("a server does not take CONFIG SET");
      }
      return;
    case Kind::CutMover:
    case Kind::VanishingClients:
      return;
  }
}

bool Faults::cut(const RedisServer& server, const std::vector<std::string>& connections) {
  auto client = server.connect();
  for (const std::string& id : connections) client.append({"CLIENT", "KILL", "ID", id});
  bool any = false;
  for (std::size_t i = 0; i < connections.size(); ++i) {
    const auto killed = client.read_reply();
    any |= killed.ok() && killed->integer > 0;
  }
  return any;
}

// They write and do not stay to hear the answer. Nobody knows what became of these keys; what has
// to come out right is that the writes in flight are counted down, and that they move with the
// tenant.
void Faults::vanish(const std::string& tenant) {
  for (int i = 0; i < 10; ++i) {
    auto client = router_.connect();
    for (int j = 0; j < 50; ++j) client.append({"INCR", concat(tenant, ":vanished:", i, ":", j)});
    (void)client.flush();
  }
}

void Faults::pause(int least_ms, int most_ms) {
  absl::SleepFor(
      absl::Milliseconds(std::uniform_int_distribution<int>(least_ms, most_ms)(random_)));
}

std::vector<std::string> Faults::summary() const {
  const auto row = [](std::string_view name, const auto&... cells) {
    std::string text = absl::StrFormat("%-32s", name);
    ((text += absl::StrFormat("%10s", concat(cells))), ...);
    return text;
  };
  std::vector<std::string> rows{
      row("faults made", kStageNames[0], kStageNames[1], kStageNames[2], "(later)")};
  for (std::size_t fault = 0; fault < std::size(kFaults); ++fault) {
    const auto& times = made_[fault];
    rows.push_back(row(concat("  ", kFaults[fault].name), times[0], times[1], times[2], times[3]));
  }
  return rows;
}

bool Faults::is_complete() const {
  return std::all_of(made_.begin(), made_.end(), [](const auto& times) {
    return std::find(times.begin(), times.begin() + kStages, 0U) == times.begin() + kStages;
  });
}

}  // namespace redis_router
