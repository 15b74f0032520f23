// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_REDIS_SERVER_HPP_
#define REDIS_ROUTER_DEMO_REDIS_SERVER_HPP_

#include <absl/status/statusor.h>

#include <optional>
#include <string>

#include "demo/child_process.hpp"
#include "options.hpp"
#include "redis_client.hpp"

namespace redis_router {

// A redis-server of our own on a free loopback port, with its files in a directory of ours.
class RedisServer {
 public:
  enum class Keep {
    Nothing,
    // What was answered survives kill -9: every write is in the system's hands before its reply.
    AnsweredWrites,
  };

  // Throws std::runtime_error if it does not come up.
  RedisServer(const std::string& directory, Keep keep);

  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
  [[nodiscard]] RedisClient connect() const;

  void kill();      // kill -9
  void freeze();    // SIGSTOP
  void unfreeze();  // SIGCONT
  // Starts it again on the same port, with what it kept.
  void restart();

 private:
  void launch();
  [[nodiscard]] bool answers();

  std::string directory_;
  Keep keep_;
  Endpoint endpoint_;
  std::optional<ChildProcess> process_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_REDIS_SERVER_HPP_
