// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_MOVER_CONNECTION_HPP_
#define REDIS_ROUTER_MOVER_CONNECTION_HPP_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "options.hpp"
#include "redis_client.hpp"

namespace redis_router {

// A mover's connection to one of its two servers. What fails names the server, and a server's error
// reply is a failure.
class MoverConnection {
 public:
  // `role`: "origin" or "destination"; must outlive the connection.
  [[nodiscard]] static absl::StatusOr<MoverConnection> connect(std::string_view role,
                                                               const Endpoint& server,
                                                               absl::Duration timeout);

  // Closes the connections that earlier movers and cleanings of the tenant have to this server. One
  // that was frozen may still have requests of theirs to carry out, and a late RESTORE or UNLINK
  // would undo an acknowledged write. To be called before anything is changed.
  [[nodiscard]] absl::Status take_over(std::string_view tenant);

  void append(std::initializer_list<std::string_view> args) { client_.append(args); }
  void append(std::span<const std::string_view> args) { client_.append(args); }
  [[nodiscard]] std::size_t unsent() const noexcept { return client_.unsent(); }
  [[nodiscard]] absl::Status flush();
  [[nodiscard]] absl::StatusOr<RespValue> read_reply();
  [[nodiscard]] absl::StatusOr<RespValue> call(std::initializer_list<std::string_view> args) {
    append(args);
    return read_reply();
  }

 private:
  MoverConnection(std::string_view role, RedisClient client)
      : role_(role), client_(std::move(client)) {}

  std::string_view role_;
  RedisClient client_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_MOVER_CONNECTION_HPP_
