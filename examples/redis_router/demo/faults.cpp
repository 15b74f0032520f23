// SPDX-License-Identifier: Apache-2.0
#include "demo/faults.hpp"

#include <absl/strings/str_format.h>
#include <absl/time/clock.h>

#include <iterator>
#include <sstream>
#include <stdexcept>

#include "text.hpp"

namespace redis_router {
namespace {

constexpr std::string_view kSteps[] = {"Copy", "Cutover", "Drain", "Finish", "Flip", "Clean"};
constexpr std::string_view kKinds[] = {"kill -9", "freeze", "cut the mover off", "no memory",
                                       "vanishing clients"};

RedisClient connect(const Endpoint& router) {
  auto client = RedisClient::connect(router, absl::Seconds(120));
  if (!client.ok()) throw std::runtime_error("the router does not accept connections");
  return *std::move(client);
}

}  // namespace

Faults::Faults(RedisServer& a, RedisServer& b, Endpoint router, std::vector<std::string> tenants,
               std::uint64_t seed, std::function<void(std::string_view)> say)
    : a_(a),
      b_(b),
      router_(std::move(router)),
      tenants_(std::move(tenants)),
      random_(seed),
      say_(std::move(say)),
      control_(connect(router_)) {}

std::optional<Faults::Running> Faults::find_running() {
  const auto at = [](const RespValue& status, std::size_t field) {
    return status.elements[2 * field + 1].text;
  };
  for (const std::string& tenant : tenants_) control_.append({"PLACEMENT", "STATUS", tenant});
  std::optional<Running> running;
  for (std::size_t i = 0; i < tenants_.size(); ++i) {
    const auto status = control_.read_reply();
    if (!status.ok()) throw std::runtime_error("the router does not answer PLACEMENT STATUS");
    if (!status->is_array() || status->elements.size() < 8) continue;
    Running found{at(*status, 0), at(*status, 1), at(*status, 2), at(*status, 3)};
    for (const std::string_view step : kSteps) {
      if (found.step == step) running = found;
    }
  }
  return running;
}

Faults::Running Faults::wait_for_step(std::string_view step, absl::Duration longest) {
  const absl::Time deadline = absl::Now() + longest;
  Running last{tenants_.front(), "a", "b", "none"};
  while (absl::Now() < deadline) {
    if (auto running = find_running()) {
      last = *std::move(running);
      if (last.step == step) return last;
    }
  }
  return last;
}

void Faults::pause(int least_ms, int most_ms) {
  absl::SleepFor(
      absl::Milliseconds(std::uniform_int_distribution<int>(least_ms, most_ms)(random_)));
}

void Faults::make_one() {
  const Running running =
      wait_for_step(kSteps[random_() % std::size(kSteps)], absl::Milliseconds(500));
  const bool at_origin = random_() % 2 == 0;
  RedisServer& server = (at_origin ? running.from : running.to) == "a" ? a_ : b_;
  const auto kind = static_cast<Kind>(random_() % std::size(kKinds));
  const std::string what = kind == Kind::VanishingClients
                               ? std::string(kKinds[static_cast<std::size_t>(kind)])
                               : concat(kKinds[static_cast<std::size_t>(kind)],
                                        at_origin ? ", origin" : ", destination");
  ++made_[{what, running.step}];
  say_(concat(what, ", in step ", running.step, " of ", running.tenant));
  switch (kind) {
    case Kind::Kill:
      kill(server);
      break;
    case Kind::Freeze:
      freeze(server);
      break;
    case Kind::CutMover:
      cut_mover(server);
      break;
    case Kind::NoMemory:
      no_memory(server);
      break;
    case Kind::VanishingClients:
      vanish(running.tenant);
      break;
  }
  pause(50, 500);  // let something happen again
}

void Faults::kill(RedisServer& server) {
  server.kill();
  pause(0, 500);
  server.restart();
}

// Shorter and longer than the router's patience with an upstream.
void Faults::freeze(RedisServer& server) {
  server.freeze();
  pause(10, 3'500);
  server.unfreeze();
}

// The mover's are the connections that last asked for what no client asks for.
void Faults::cut_mover(RedisServer& server) {
  auto client = server.connect();
  const auto list = client.call({"CLIENT", "LIST"});
  if (!list.ok()) return;
  std::istringstream lines(list->text);
  for (std::string line; std::getline(lines, line);) {
    const auto last = [&](std::string_view command) {
      return line.find(concat(" cmd=", command)) != std::string::npos;
    };
    if (!last("dump") && !last("restore") && !last("scan") && !last("pexpiretime") &&
        !last("unlink"))
      continue;
    const std::string_view id = std::string_view(line).substr(3, line.find(' ') - 3);
    (void)client.call({"CLIENT", "KILL", "ID", id});
  }
}

void Faults::no_memory(RedisServer& server) {
  auto client = server.connect();
  (void)client.call({"CONFIG", "SET", "maxmemory", "1"});
  pause(10, 500);
  if (!client.call({"CONFIG", "SET", "maxmemory", "0"}).ok()) {
    throw std::runtime_error("a server does not take CONFIG SET");
  }
}

// They write and do not stay to hear the answer. Nobody knows what became of these keys; what has
// to come out right is that the writes in flight are counted down, and that they move with the
// tenant.
void Faults::vanish(const std::string& tenant) {
  for (int i = 0; i < 10; ++i) {
    auto client = connect(router_);
    for (int j = 0; j < 50; ++j) client.append({"INCR", concat(tenant, ":vanished:", i, ":", j)});
    (void)client.flush();
  }
}

std::vector<std::string> Faults::summary() const {
  std::vector<std::string> rows;
  for (const auto& [what, times] : made_) {
    rows.push_back(
        absl::StrFormat("fault: %-32s in step %-8s %4d times", what.first, what.second, times));
  }
  return rows;
}

}  // namespace redis_router
