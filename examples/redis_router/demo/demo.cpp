// SPDX-License-Identifier: Apache-2.0
//
// The router at work: two Redis servers, the router in front of them, redis-benchmark and clients
// that check every reply, while tenants are moved back and forth. In the end everything is read
// back. With --faults servers are killed, frozen and starved of memory meanwhile: the soak.
#include <absl/strings/str_format.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "demo/benchmark.hpp"
#include "demo/checking_client.hpp"
#include "demo/child_process.hpp"
#include "demo/faults.hpp"
#include "demo/redis_server.hpp"
#include "demo/router_process.hpp"
#include "redis_client.hpp"
#include "tenant.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

std::atomic<int> interrupted{0};

constexpr absl::Duration kPauseAfterAbort = absl::Milliseconds(50);
// A soak of this length makes every fault in every stage of a migration, or does not pass.
constexpr int kSecondsForAllFaults = 300;
// What waiting for the writes in flight may add, at the median, to the time that they take.
constexpr double kMostAddedMs = 1.0;

struct DemoOptions {
  std::string router;
  int seconds = 20;
  bool faults = false;
  std::uint64_t seed = 1;
  std::size_t cold_tenants = 3;
};

// What happened, as it happens: one line each, with the time since the start.
class Narrator {
 public:
  void say(std::string_view text) {
    const std::lock_guard lock(mutex_);
    std::printf("[%6.2f s] %.*s\n", absl::ToDoubleSeconds(absl::Now() - started_),
                static_cast<int>(text.size()), text.data());
    std::fflush(stdout);
  }

 private:
  std::mutex mutex_;
  const absl::Time started_ = absl::Now();
};

double milliseconds(std::string_view microseconds) {
  return static_cast<double>(parse_number<std::int64_t>(microseconds).value_or(0)) / 1000.0;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

struct Moves {
  std::size_t done = 0;
  std::size_t aborted = 0;
  std::vector<double> cutover_ms;
  std::vector<double> drain_ms;
  std::vector<double> drain_added_ms;
  double longest_hold_ms = 0;
  std::uint64_t writes_held = 0;
};

class Demo {
 public:
  explicit Demo(const DemoOptions& options)
      : options_(options),
        keep_(options.faults ? RedisServer::Keep::AnsweredWrites : RedisServer::Keep::Nothing),
        a_(directory_.path() + "/a", keep_),
        b_(directory_.path() + "/b", keep_),
        router_(options.router, directory_.path(), a_, b_, router_flags(options)) {
    tenants_.emplace_back("hot");
    for (std::size_t i = 1; i <= options.cold_tenants; ++i) tenants_.push_back(concat("cold-", i));
  }

  int run() {
    narrator_.say(concat("redis-server a on ", to_string(a_.endpoint()), ", b on ",
                         to_string(b_.endpoint()), ", the router on ",
                         to_string(router_.endpoint())));
    start_load();
    const absl::Time began = absl::Now();
    const std::uint64_t before = commands_processed();
    {
      // Servers are started again by this thread: they would end with one that ends before us.
      std::jthread mover([this](const std::stop_token& stop) { move_tenants(stop); });
      play(began + absl::Seconds(options_.seconds));
    }
    const double elapsed = absl::ToDoubleSeconds(absl::Now() - began);
    const auto rate = static_cast<double>(commands_processed() - before) / elapsed;
    stop_load();
    if (interrupted != 0) {
      narrator_.say("interrupted");
      return 128 + interrupted;
    }
    settle();
    return report(rate);
  }

 private:
  // Where no server is made to fail, one that is slow has not failed: the machine is busy.
  static std::vector<std::string> router_flags(const DemoOptions& options) {
    if (options.faults) return {};
    return {"--upstream-timeout=30s", "--hold-timeout=30s"};
  }

  void start_load() {
    for (int id = 1; id <= 4; ++id) {
      CheckingClient::Settings settings;
      settings.router = router_.endpoint();
      settings.tenants = tenants_;
      settings.id = id;
      settings.seed = options_.seed;
      settings.faults_expected = options_.faults;
      clients_.push_back(std::make_unique<CheckingClient>(std::move(settings)));
    }
    for (const auto& client : clients_) {
      client_threads_.emplace_back(
          [&client = *client](const std::stop_token& stop) { client.run(stop); });
    }
    // It gives up at the first error, so it has no place where errors are made on purpose.
    if (!options_.faults) benchmark_.emplace(router_.endpoint(), directory_.path());
    narrator_.say(concat(clients_.size(), " checking clients",
                         options_.faults ? "" : " and redis-benchmark", " are writing"));
  }

  void stop_load() {
    client_threads_.clear();
    if (benchmark_) benchmark_errors_ = benchmark_->stop();
  }

  std::uint64_t commands_processed() {
    auto client = router_.connect();
    const auto info = client.call({"INFO"});
    if (!info.ok()) throw std::runtime_error("the router does not answer INFO");
    constexpr std::string_view kName = "total_commands_processed:";
    const std::string_view text =
        std::string_view(info->text).substr(info->text.find(kName) + kName.size());
    return parse_number<std::uint64_t>(text.substr(0, text.find('\r'))).value_or(0);
  }

  // Runs on a thread of its own: moves one tenant after another to where it is not.
  void move_tenants(const std::stop_token& stop) {
    std::vector<std::string> movable = tenants_;
    if (benchmark_) movable.insert(movable.end(), {"key", "counter", "myhash"});
    std::mt19937_64 random(options_.seed);
    auto client = router_.connect();
    for (std::size_t turn = 0; !stop.stop_requested() && router_alive_; ++turn) {
      // Every other time the hot one: it is the hard one.
      const std::string& tenant =
          turn % 2 == 0 ? movable.front() : movable[random() % movable.size()];
      const auto placed = client.call({"PLACEMENT", "GET", tenant});
      if (!placed.ok() || !placed->is_array()) {
        absl::SleepFor(absl::Milliseconds(10));
        continue;
      }
      const std::string from = fields_of(*placed)["cluster"];
      const std::string to = from == "a" ? "b" : "a";
      const auto moved = client.call({"PLACEMENT", "MIGRATE", tenant, to});
      const auto status = client.call({"PLACEMENT", "STATUS", tenant});
      if (!status.ok()) continue;
      if (!moved.ok()) absl::SleepFor(kPauseAfterAbort);
      // Removing what is left of an earlier move goes on after its answer.
      if (!moved.ok() && moved.status().message().substr(0, 5) == "BUSY ") continue;
      tell(tenant, from, to, moved.ok(), moved.ok() ? "" : std::string(moved.status().message()),
           fields_of(*status));
    }
  }

  void tell(const std::string& tenant, const std::string& from, const std::string& to, bool moved,
            const std::string& error, std::map<std::string, std::string> fields) {
    if (!moved) {
      ++moves_.aborted;
      narrator_.say(absl::StrFormat("%-8s %s -> %s   %s", tenant, from, to, error));
      return;
    }
    ++moves_.done;
    moves_.cutover_ms.push_back(milliseconds(fields["cutover_us"]));
    moves_.drain_ms.push_back(milliseconds(fields["drain_us"]));
    moves_.drain_added_ms.push_back(milliseconds(fields["drain_added_us"]));
    moves_.longest_hold_ms =
        std::max(moves_.longest_hold_ms, milliseconds(fields["longest_hold_us"]));
    moves_.writes_held += parse_number<std::uint64_t>(fields["writes_held"]).value_or(0);
    narrator_.say(absl::StrFormat(
        "%-8s %s -> %s   %6s keys in %s rounds, cutover %.2f ms (drain %.2f ms), %s writes held",
        tenant, from, to, fields["keys_copied"], fields["copy_rounds"], moves_.cutover_ms.back(),
        moves_.drain_ms.back(), fields["writes_held"]));
  }

  void play(absl::Time until) {
    std::optional<Faults> faults;
    if (options_.faults) {
      faults.emplace(a_, b_, router_, tenants_, options_.seed,
                     [this](std::string_view text) { narrator_.say(text); });
    }
    while (absl::Now() < until && interrupted == 0 && router_alive_) {
      if (!router_.is_running()) router_alive_ = false;
      if (benchmark_) benchmark_->keep_running();
      if (faults) {
        faults->make_one();
      } else {
        absl::SleepFor(absl::Milliseconds(20));
      }
    }
    if (!faults) return;
    fault_summary_ = faults->summary();
    faults_missing_ = options_.seconds >= kSecondsForAllFaults && !faults->is_complete();
  }

  // Waits until no migration runs, nothing is left to clean up after one, and no write is in
  // flight, as far as that comes true.
  void settle() {
    auto client = router_.connect();
    const absl::Time deadline = absl::Now() + absl::Seconds(90);
    while (true) {
      unsettled_ = 0;
      placement_.clear();
      const auto list = client.call({"PLACEMENT", "LIST"});
      if (!list.ok()) throw std::runtime_error("the router does not answer PLACEMENT LIST");
      for (const RespValue& line : list->elements) {
        std::istringstream words(line.text);
        std::string tenant;
        std::string phase;
        words >> tenant >> phase >> placement_[tenant];
        if (phase != "settled" || !line.text.ends_with(" writes_in_flight=0")) ++unsettled_;
      }
      const auto info = client.call({"INFO"});
      if (!info.ok()) throw std::runtime_error("the router does not answer INFO");
      const auto says = [&](const char* line) {
        return info->text.find(line) != std::string::npos;
      };
      forgotten_ = !says("writes_held_now:0\r\n");
      if (unsettled_ == 0 && !forgotten_ && says("migrations_running:0\r\n")) return;
      if (absl::Now() > deadline) return;
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

  // Keys that stand on a server on which their tenant does not live.
  std::size_t count_misplaced(std::vector<std::string>& examples) {
    std::size_t misplaced = 0;
    for (const auto& [name, server] : {std::pair{"a", &a_}, std::pair{"b", &b_}}) {
      auto client = server->connect();
      std::string cursor = "0";
      do {
        const auto page = client.call({"SCAN", cursor, "COUNT", "1000"});
        if (!page.ok()) throw std::runtime_error("a server does not answer SCAN");
        cursor = page->elements[0].text;
        for (const RespValue& key : page->elements[1].elements) {
          if (placement_[std::string(tenant_of(key.text))] == name) continue;
          ++misplaced;
          if (examples.size() < 5) examples.push_back(concat(quote(key.text), " is on ", name));
        }
      } while (cursor != "0");
    }
    return misplaced;
  }

  int report(double rate) {
    narrator_.say("reading everything back from the servers");
    CheckingClient::Verdict verdict;
    std::map<std::string, RedisClient> servers;
    servers.emplace("a", a_.connect());
    servers.emplace("b", b_.connect());
    std::uint64_t acknowledged = 0, hot = 0, wrong = 0, lost_connections = 0;
    std::uint64_t errors = benchmark_errors_;
    for (const auto& client : clients_) {
      client->verify(
          [&](std::string_view tenant) -> RedisClient& {
            const auto server = servers.find(placement_[std::string(tenant)]);
            return server == servers.end() ? servers.at("a") : server->second;
          },
          verdict);
      acknowledged += client->counts().writes_acknowledged;
      hot += client->counts().hot_writes_acknowledged;
      wrong += client->counts().wrong_replies;
      errors += client->counts().error_replies;
      lost_connections += client->counts().connections_lost;
      if (!client->first_problem().empty()) verdict.examples.push_back(client->first_problem());
    }
    if (benchmark_errors_ > 0) verdict.examples.push_back(benchmark_->first_error());
    const std::size_t misplaced = count_misplaced(verdict.examples);
    const int exit_code = router_.stop();
    const double added = quantile(moves_.drain_added_ms, 0.5);

    std::printf("\n");
    const auto line = [](const char* what, const std::string& value) {
      std::printf("%-36s %s\n", what, value.c_str());
    };
    line("writes acknowledged",
         concat(acknowledged, " (", 100 * hot / std::max<std::uint64_t>(1, acknowledged),
                "% of them the hot tenant's; ", verdict.keys_checked, " keys read back)"));
    line("acknowledged writes lost", std::to_string(verdict.lost));
    line("keys on the wrong server", std::to_string(misplaced));
    line("wrong replies", std::to_string(wrong));
    line("errors seen by clients", concat(errors, options_.faults ? " (faults were made)" : ""));
    line("clients' connections lost", std::to_string(lost_connections));
    line("tenants not settled", std::to_string(unsettled_));
    line("held writes forgotten", forgotten_ ? "some" : "0");
    line("router's exit code", std::to_string(exit_code));
    line("requests per second", absl::StrFormat("%.0f", rate));
    line("migrations", concat(moves_.done, " done, ", moves_.aborted, " aborted"));
    line("time in cutover", spread(moves_.cutover_ms));
    line("  until the writes in flight ended", spread(moves_.drain_ms));
    line("  of that, after the last one had", spread(moves_.drain_added_ms));
    line("writes held", absl::StrFormat("%d, the longest for %.2f ms", moves_.writes_held,
                                        moves_.longest_hold_ms));
    for (const std::string& row : fault_summary_) std::printf("%s\n", row.c_str());
    for (const std::string& example : verdict.examples) line("e.g.", example);
    if (added >= kMostAddedMs) line("the drain adds too much", absl::StrFormat("%.2f ms", added));
    if (faults_missing_) line("not every fault was made", "in every stage");

    const bool good = acknowledged > 0 && verdict.lost == 0 && misplaced == 0 && wrong == 0 &&
                      (options_.faults || errors == 0) && lost_connections == 0 &&
                      unsettled_ == 0 && !forgotten_ && exit_code == 0 && moves_.done > 0 &&
                      added < kMostAddedMs && !faults_missing_ && router_alive_;
    if (!good) std::printf("\nthe router's log:\n%s", router_.log().c_str());
    std::printf("\n%s\n", good ? "All is well." : "SOMETHING IS WRONG.");
    return good ? 0 : 1;
  }

  static std::string spread(const std::vector<double>& ms) {
    return absl::StrFormat("median %.2f ms, p99 %.2f ms, worst %.2f ms", quantile(ms, 0.5),
                           quantile(ms, 0.99), quantile(ms, 1));
  }

  const DemoOptions options_;
  const RedisServer::Keep keep_;
  Narrator narrator_;
  TemporaryDirectory directory_;
  RedisServer a_;
  RedisServer b_;
  RouterProcess router_;
  std::vector<std::string> tenants_;
  std::vector<std::unique_ptr<CheckingClient>> clients_;
  std::vector<std::jthread> client_threads_;
  std::optional<Benchmark> benchmark_;
  std::atomic<bool> router_alive_{true};
  Moves moves_;
  std::size_t benchmark_errors_ = 0;
  std::map<std::string, std::string> placement_;  // tenant -> cluster, in the end
  std::size_t unsettled_ = 0;
  bool forgotten_ = false;
  std::vector<std::string> fault_summary_;
  bool faults_missing_ = false;
};

std::optional<DemoOptions> parse(int argc, char** argv) {
  DemoOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--faults") {
      options.faults = true;
      continue;
    }
    if (i + 1 == argc) return std::nullopt;
    const std::string_view value = argv[++i];
    if (flag == "--router") {
      options.router = value;
      continue;
    }
    const auto number = parse_number<int>(value);
    if (!number || *number <= 0) return std::nullopt;
    if (flag == "--seconds") {
      options.seconds = *number;
    } else if (flag == "--seed") {
      options.seed = static_cast<std::uint64_t>(*number);
    } else if (flag == "--cold-tenants") {
      options.cold_tenants = static_cast<std::size_t>(*number);
    } else {
      return std::nullopt;
    }
  }
  const char* const seconds = std::getenv("PLACEMENT_TABLE_DEMO_SECONDS");
  if (seconds != nullptr)
    options.seconds = parse_number<int>(std::string_view(seconds)).value_or(options.seconds);
  if (options.router.empty()) return std::nullopt;
  return options;
}

}  // namespace
}  // namespace redis_router

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    std::signal(number, [](int caught) { redis_router::interrupted = caught; });
  }
  const auto options = redis_router::parse(argc, argv);
  if (!options) {
    std::fprintf(stderr,
                 "usage: %s --router PATH [--seconds N] [--seed N] [--cold-tenants N] [--faults]\n",
                 argv[0]);
    return 2;
  }
  try {
    return redis_router::Demo(*options).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "demo: %s\n", error.what());
    return 1;
  }
}
