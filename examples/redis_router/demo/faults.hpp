// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_FAULTS_HPP_
#define REDIS_ROUTER_DEMO_FAULTS_HPP_

#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "demo/redis_server.hpp"
#include "options.hpp"
#include "redis_client.hpp"

namespace redis_router {

// Breaks things while tenants are moved, and mends them again: servers that die, freeze or have no
// memory left, connections of the mover that are cut, clients that vanish.
class Faults {
 public:
  Faults(RedisServer& a, RedisServer& b, Endpoint router, std::vector<std::string> tenants,
         std::uint64_t seed, std::function<void(std::string_view)> say);

  // One fault of some kind, in some step of a migration if one gets there soon. Blocks until it is
  // mended.
  void make_one();

  // How often which fault was made in which step.
  [[nodiscard]] std::vector<std::string> summary() const;

 private:
  enum class Kind { Kill, Freeze, CutMover, NoMemory, VanishingClients };
  struct Running {
    std::string tenant;
    std::string from;
    std::string to;
    std::string step;
  };

  [[nodiscard]] std::optional<Running> find_running();
  [[nodiscard]] Running wait_for_step(std::string_view step, absl::Duration longest);
  void kill(RedisServer& server);
  void freeze(RedisServer& server);
  void cut_mover(RedisServer& server);
  void no_memory(RedisServer& server);
  void vanish(const std::string& tenant);
  void pause(int least_ms, int most_ms);

  RedisServer& a_;
  RedisServer& b_;
  const Endpoint router_;
  const std::vector<std::string> tenants_;
  std::mt19937_64 random_;
  const std::function<void(std::string_view)> say_;
  RedisClient control_;
  std::map<std::pair<std::string, std::string>, std::size_t> made_;  // (fault, step)
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_FAULTS_HPP_
