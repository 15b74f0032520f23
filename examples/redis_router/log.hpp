// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_LOG_HPP_
#define REDIS_ROUTER_LOG_HPP_

#include <cstdio>

#include "text.hpp"

namespace redis_router {

// One line on stderr, whole also when several threads log.
template <typename... Pieces>
void log_line(const Pieces&... pieces) {
  const std::string line = concat("redis_router: ", pieces..., "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace redis_router

#endif  // REDIS_ROUTER_LOG_HPP_
