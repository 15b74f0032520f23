// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_WORKER_HPP_
#define REDIS_ROUTER_WORKER_HPP_

#include <absl/container/flat_hash_set.h>
#include <absl/functional/any_invocable.h>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "context.hpp"
#include "upstream.hpp"

namespace redis_router {

class ClientSession;

// One thread's share of the router: its clients and its own connection to each server. Everything
// but io() is called on the thread that runs it.
class Worker {
 public:
  explicit Worker(Context& context);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  [[nodiscard]] asio::io_context& io() noexcept { return io_; }
  [[nodiscard]] Context& context() noexcept { return context_; }

  // Connects to the servers; `ready` is called when each has answered or failed once.
  void start(const std::function<void()>& ready);
  void adopt(asio::ip::tcp::socket client);

  // Lets every client's requests in flight finish, closes the clients, then calls `finished`.
  void drain(std::function<void()> finished);
  // Closes all connections at once.
  void close_all();

  // The connection to that cluster; null if none is configured.
  [[nodiscard]] Upstream* upstream(placement::ClusterId cluster);
  [[nodiscard]] Upstream* any_ready_upstream();
  // What the servers said of their commands; null if none has yet.
  [[nodiscard]] const CommandTable* commands();

  void forget(const std::shared_ptr<ClientSession>& session);

 private:
  void finish_drain();

  Context& context_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> keep_running_;
  std::vector<std::unique_ptr<Upstream>> upstreams_;
  absl::flat_hash_set<std::shared_ptr<ClientSession>> sessions_;
  std::function<void()> drained_;
  std::shared_ptr<const CommandTable> commands_;
  std::uint64_t commands_version_ = 0;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_WORKER_HPP_
