// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_CONTEXT_HPP_
#define REDIS_ROUTER_CONTEXT_HPP_

#include "command_store.hpp"
#include "directory.hpp"
#include "metrics.hpp"
#include "options.hpp"

namespace redis_router {

class Migrations;

// What all threads of one router share. Everything in it is thread-safe.
struct Context {
  const Options& options;
  Metrics& metrics;
  CommandStore& commands;
  Directory& directory;
  Migrations& migrations;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_CONTEXT_HPP_
