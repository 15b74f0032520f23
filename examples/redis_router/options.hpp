// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_OPTIONS_HPP_
#define REDIS_ROUTER_OPTIONS_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "resp.hpp"

namespace redis_router {

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

[[nodiscard]] std::optional<Endpoint> parse_endpoint(
    std::string_view text);  // "host:port", "[::1]:port"
[[nodiscard]] std::string to_string(const Endpoint& endpoint);

struct ClusterOptions {
  std::string name;
  Endpoint endpoint;
};

struct Options {
  Endpoint listen;
  std::vector<ClusterOptions> clusters;
  std::string
      default_cluster;  // where an unknown tenant is registered on first use; empty: nowhere
  std::size_t threads = 2;
  absl::Duration hold_timeout = absl::Seconds(5);  // how long a write is held back in cutover
  absl::Duration upstream_timeout =
      absl::Seconds(2);  // how long an upstream that owes replies may be silent
  absl::Duration shutdown_grace = absl::Seconds(5);  // how long SIGTERM waits for what is in flight
  std::size_t max_clients = 10'000;
  std::size_t max_tenants = 1'000'000;  // that --default-cluster registers
  std::size_t max_held_writes = 100'000;
  std::size_t max_pipeline = 1'024;                       // requests of one client in flight
  std::size_t max_pipeline_bytes = std::size_t{8} << 20;  // their bytes and their replies' bytes
  std::size_t max_reply_bytes = std::size_t{1}
                                << 30;  // replies that wait for one client, past which it is closed
  RespLimits resp;
};

struct HelpWanted {};
struct BadOption {
  std::string message;  // one line
};

// What the command line says; `args` without the program's name.
[[nodiscard]] std::variant<Options, HelpWanted, BadOption> parse_options(
    std::span<const char* const> args);
[[nodiscard]] std::string_view usage() noexcept;

}  // namespace redis_router

#endif  // REDIS_ROUTER_OPTIONS_HPP_
