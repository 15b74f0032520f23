// SPDX-License-Identifier: Apache-2.0
#include "demo/redis_server.hpp"

#include <absl/time/clock.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <utility>
#include <vector>

#include "text.hpp"

namespace redis_router {
namespace {

constexpr absl::Duration kStartDeadline = absl::Seconds(20);
constexpr int kPortAttempts = 10;

}  // namespace

RedisServer::RedisServer(const std::string& directory, Keep keep)
    : directory_(directory), keep_(keep) {
  std::filesystem::create_directories(directory_);
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    // Somebody else may take the port before the server does; then it ends at once.
    endpoint_ = {"127.0.0.1", free_port()};
    launch();
    if (answers()) return;
  }
  throw std::runtime_error("redis-server does not start; is it installed?");
}

void RedisServer::launch() {
  std::vector<std::string> command{"redis-server", "--bind", endpoint_.host, "--port",
                                   std::to_string(endpoint_.port), "--dir", directory_, "--save",
                                   "", "--appendonly", keep_ == Keep::AnsweredWrites ? "yes" : "no",
                                   // "no" leaves the flushing to the system, but still writes
                                   // before it answers; "everysec" may delay even that.
                                   "--appendfsync", "no",
                                   // Short, so that it is soon back after it was killed.
                                   "--auto-aof-rewrite-min-size", "8mb"};
  process_.emplace(std::move(command), directory_ + "/log");
}

bool RedisServer::answers() {
  const absl::Time deadline = absl::Now() + kStartDeadline;
  while (absl::Now() < deadline && !process_->poll()) {
    auto client = RedisClient::connect(endpoint_, absl::Seconds(1));
    if (client.ok()) {
      const auto reply = client->call({"INFO"});
      const auto says = [&](const std::string& line) {
        return reply.ok() && reply->text.find(concat(line, "\r\n")) != std::string::npos;
      };
      // Not of another server which happens to have the port.
      if (reply.ok() && !says(concat("process_id:", process_->pid()))) return false;
      if (says("loading:0")) return true;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

RedisClient RedisServer::connect() const {
  auto client = RedisClient::connect(endpoint_, absl::Seconds(10));
  if (!client.ok()) throw std::runtime_error(std::string(client.status().message()));
  return *std::move(client);
}

void RedisServer::kill() {
  process_->signal(SIGKILL);
  (void)process_->wait_for(absl::Seconds(10));
}

void RedisServer::freeze() { process_->signal(SIGSTOP); }
void RedisServer::unfreeze() { process_->signal(SIGCONT); }

void RedisServer::restart() {
  launch();
  if (!answers()) throw std::runtime_error("redis-server does not start again");
}

}  // namespace redis_router
