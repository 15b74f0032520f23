// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_LOCAL_COMMANDS_HPP_
#define REDIS_ROUTER_LOCAL_COMMANDS_HPP_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "context.hpp"

namespace redis_router {

// What belongs to a client's connection.
struct ClientInfo {
  ClientInfo();
  std::uint64_t id;
  std::string name;
  bool has_quit = false;
};

// Commands about the connection or the router itself, which no server is asked for. False if the
// request is none of them.
bool run_local_command(std::span<const std::string_view> args, Context& context, ClientInfo& client,
                       std::string& reply);

}  // namespace redis_router

#endif  // REDIS_ROUTER_LOCAL_COMMANDS_HPP_
