// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_ROUTER_PROCESS_HPP_
#define REDIS_ROUTER_DEMO_ROUTER_PROCESS_HPP_

#include <map>
#include <string>
#include <vector>

#include "demo/child_process.hpp"
#include "demo/redis_server.hpp"
#include "options.hpp"
#include "redis_client.hpp"
#include "resp.hpp"

namespace redis_router {

// The router in front of two servers, on a free loopback port.
class RouterProcess {
 public:
  // `flags`: further ones. Throws std::runtime_error if it does not come up.
  RouterProcess(const std::string& program, const std::string& directory, const RedisServer& a,
                const RedisServer& b, const std::vector<std::string>& flags);

  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] bool is_running() { return !process_.poll(); }
  // For operators' commands, some of which take their time.
  [[nodiscard]] RedisClient connect() const;
  // SIGTERM; its exit code, or -1 if it does not end.
  int stop();
  [[nodiscard]] std::string log() const { return read_file(log_); }

 private:
  std::string log_;
  ChildProcess process_;
  Endpoint endpoint_;
};

// An array of names and values, as PLACEMENT GET and STATUS answer.
[[nodiscard]] std::map<std::string, std::string> fields_of(const RespValue& reply);

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_ROUTER_PROCESS_HPP_
