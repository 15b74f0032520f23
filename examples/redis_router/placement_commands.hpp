// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_PLACEMENT_COMMANDS_HPP_
#define REDIS_ROUTER_PLACEMENT_COMMANDS_HPP_

#include <absl/status/status.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "context.hpp"
#include "migrations.hpp"

namespace redis_router {

// The operator's commands: PLACEMENT SET, GET, LIST, BEGIN, CUTOVER, COMPLETE, ABORT, MIGRATE,
// STATUS, ERASE, HELP. The reply in RESP, or nothing if `done` will be called with it, by another
// thread.
[[nodiscard]] std::optional<std::string> run_placement_command(
    std::span<const std::string_view> args, Context& context, Migrations::Done done);

// A refused transition as an error's text, which begins with the refusal's name in capitals.
[[nodiscard]] std::string refusal_text(const absl::Status& status);

}  // namespace redis_router

#endif  // REDIS_ROUTER_PLACEMENT_COMMANDS_HPP_
