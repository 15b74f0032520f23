// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_ROUTER_HPP_
#define REDIS_ROUTER_ROUTER_HPP_

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "context.hpp"
#include "migrations.hpp"
#include "worker.hpp"

namespace redis_router {

// The whole router: accepts clients and hands each to one of its workers.
class Router {
 public:
  explicit Router(Options options);
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;
  ~Router();

  // Takes the listening port; what went wrong, or empty.
  [[nodiscard]] std::string listen();
  // The port that listen() took.
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

  // Serves until stop(), or until SIGTERM or SIGINT if `catch_signals`. `listening` is called when
  // every server has answered, or failed to, and clients are being accepted.
  void run(bool catch_signals, const std::function<void()>& listening);
  // Finishes what is in flight, for at most the shutdown grace, and lets run() return. From any
  // thread.
  void stop();

 private:
  void accept();
  void begin_shutdown();
  void end_shutdown();
  // Asks every worker, on its thread, to answer; true if all say yes in time.
  using Answer = std::function<void(bool)>;
  [[nodiscard]] bool all_workers(const std::function<void(Worker&, Answer)>& ask);

  const Options options_;
  Metrics metrics_;
  CommandStore commands_;
  Directory directory_;
  Migrations migrations_;
  Context context_;

  // Before io_, hence destroyed after it: an accept that io_ has not delivered holds a client's
  // socket, which is of its worker's context.
  std::vector<std::unique_ptr<Worker>> workers_;
  asio::io_context io_;  // accepts, and handles signals
  asio::ip::tcp::acceptor acceptor_;
  asio::signal_set signals_;
  asio::steady_timer grace_timer_;
  std::uint16_t port_ = 0;
  bool shutting_down_ = false;
  std::size_t next_worker_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_ROUTER_HPP_
