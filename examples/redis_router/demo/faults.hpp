// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_FAULTS_HPP_
#define REDIS_ROUTER_DEMO_FAULTS_HPP_

#include <absl/functional/function_ref.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "demo/redis_server.hpp"
#include "demo/router_process.hpp"
#include "redis_client.hpp"

namespace redis_router {

// Breaks things while tenants are moved, and mends them again: servers that die, freeze or have no
// memory left, connections of the mover that are cut, clients that vanish. It makes each fault in
// each stage of a migration, and next always what it has made least often.
class Faults {
 public:
  Faults(RedisServer& a, RedisServer& b, const RouterProcess& router,
         std::vector<std::string> tenants, std::uint64_t seed,
         std::function<void(std::string_view)> say);

  // One fault, if a migration gets to the wanted stage soon. Blocks until it is mended.
  void make_one();

  // How often which fault was made in which stage, as a table.
  [[nodiscard]] std::vector<std::string> summary() const;
  // Whether each was made in each stage.
  [[nodiscard]] bool is_complete() const;

 private:
  enum class Kind { Kill, Freeze, CutMover, NoMemory, VanishingClients };
  enum class Stage { Copying, Cutover, Cleaning };
  static constexpr std::size_t kStages = 3;
  struct Fault {
    Kind kind;
    bool at_origin;
    std::string_view name;
  };
  static constexpr Fault kFaults[] = {
      {Kind::Kill, true, "kill -9, origin"},
      {Kind::Kill, false, "kill -9, destination"},
      {Kind::Freeze, true, "SIGSTOP, origin"},
      {Kind::Freeze, false, "SIGSTOP, destination"},
      {Kind::CutMover, true, "mover cut off, origin"},
      {Kind::CutMover, false, "mover cut off, destination"},
      {Kind::NoMemory, false, "no memory, destination"},
      {Kind::VanishingClients, true, "vanishing clients"},
  };
  struct Target {
    std::size_t fault;
    std::size_t stage;
  };
  struct Running {
    std::string tenant;
    std::string from;
    std::string to;
    std::optional<Stage> stage;      // none: it does not run any more
    std::optional<Stage> failed_in;  // where it failed, once it has
  };

  static std::optional<Stage> stage_of(std::string_view step);

  [[nodiscard]] Target least_made();
  [[nodiscard]] std::vector<Running> ask(const std::vector<std::string>& tenants);
  [[nodiscard]] std::optional<Running> wait_for(Stage stage,
                                                absl::FunctionRef<void(const Running&)> on_copying);
  bool strike(Kind kind, RedisServer& server, const std::string& tenant,
              const std::vector<std::string>& movers);
  void mend(Kind kind, RedisServer& server);
  static bool cut(const RedisServer& server, const std::vector<std::string>& connections);
  void vanish(const std::string& tenant);
  void pause(int least_ms, int most_ms);

  RedisServer& a_;
  RedisServer& b_;
  const RouterProcess& router_;
  const std::vector<std::string> tenants_;
  std::mt19937_64 random_;
  const std::function<void(std::string_view)> say_;
  RedisClient control_;
  // The last: the wanted stage was over when the fault came.
  std::array<std::array<std::size_t, kStages + 1>, std::size(kFaults)> made_{};
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_FAULTS_HPP_
