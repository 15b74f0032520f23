// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_REDIS_CLIENT_HPP_
#define REDIS_ROUTER_REDIS_CLIENT_HPP_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "byte_buffer.hpp"
#include "options.hpp"
#include "resp.hpp"

namespace redis_router {

// A blocking connection to a Redis server, for threads that do one thing at a time: the mover, the
// checking client, the tests. Requests are pipelined: append() some, then read as many replies.
// Anything that takes longer than the timeout fails; after a failure only close() makes sense.
class RedisClient {
 public:
  [[nodiscard]] static absl::StatusOr<RedisClient> connect(const Endpoint& endpoint,
                                                           absl::Duration timeout);

  RedisClient(RedisClient&& other) noexcept;
  RedisClient& operator=(RedisClient&& other) noexcept;
  ~RedisClient() { close(); }

  void append(std::initializer_list<std::string_view> args) { append_command(out_, args); }
  void append(std::span<const std::string_view> args) { append_command(out_, args); }
  [[nodiscard]] std::size_t unsent() const noexcept { return out_.size(); }
  [[nodiscard]] absl::Status flush();
  // Bytes as they are, past those that were appended. One thread may send so while another reads.
  [[nodiscard]] absl::Status send(std::string_view bytes) const;

  // The next reply; flushes first. An error reply is a value, not a failure.
  [[nodiscard]] absl::StatusOr<RespValue> read_reply();

  // One request and its reply, where an error reply is a failure, too.
  [[nodiscard]] absl::StatusOr<RespValue> call(std::initializer_list<std::string_view> args);

  // The server sees the end of the requests; its replies still come.
  void close_sending_side();
  void close();

 private:
  RedisClient(int fd, absl::Duration timeout) : fd_(fd), timeout_(timeout) {}

  int fd_ = -1;
  absl::Duration timeout_;
  std::string out_;
  ByteBuffer in_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_REDIS_CLIENT_HPP_
