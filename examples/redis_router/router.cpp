// SPDX-License-Identifier: Apache-2.0
#include "router.hpp"

#include <absl/time/time.h>

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <utility>

#include "log.hpp"
#include "resp.hpp"
#include "text.hpp"

namespace redis_router {

using placement::ClusterId;

Router::Router(Options options)
    : options_(std::move(options)),
      directory_(options_),
      migrations_(options_, directory_,
                  {.are_connected =
                       [this](ClusterId cluster) {
                         return all_workers([cluster](Worker& worker, const Answer& answer) {
                           answer(worker.upstream(cluster)->is_ready());
                         });
                       },
                   .have_answers =
                       [this](ClusterId cluster) {
                         return all_workers([cluster](Worker& worker, const Answer& answer) {
                           worker.upstream(cluster)->fence([answer] { answer(true); });
                         });
                       }}),
      context_{options_, metrics_, commands_, directory_, migrations_},
      io_(1),
      acceptor_(io_),
      signals_(io_),
      grace_timer_(io_) {
  for (std::size_t i = 0; i < options_.threads; ++i) {
    workers_.push_back(std::make_unique<Worker>(context_));
  }
}

Router::~Router() = default;

std::string Router::listen() {
  asio::error_code error;
  asio::ip::tcp::resolver resolver(io_);
  const auto found = resolver.resolve(options_.listen.host, std::to_string(options_.listen.port),
                                      asio::ip::tcp::resolver::passive, error);
  if (error) return concat("cannot resolve ", options_.listen.host, ": ", error.message());
  const asio::ip::tcp::endpoint endpoint = *found.begin();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return concat("cannot listen on ", to_string(options_.listen), ": ", error.message());
  port_ = acceptor_.local_endpoint(error).port();
  return {};
}

void Router::run(bool catch_signals, const std::function<void()>& listening) {
  const auto keep_running = asio::make_work_guard(io_);
  if (catch_signals) {
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.async_wait([this](const asio::error_code& error, int) {
      if (!error) begin_shutdown();
    });
  }
  auto missing = std::make_shared<std::size_t>(workers_.size());
  for (const auto& worker : workers_) {
    asio::post(worker->io(), [this, &worker = *worker, missing, listening] {
      worker.start([this, missing, listening] {
        asio::post(io_, [this, missing, listening] {
          if (--*missing > 0 || shutting_down_) return;
          accept();
          listening();
        });
      });
    });
    threads_.emplace_back([&io = worker->io()] { io.run(); });
  }
  io_.run();
  migrations_.wait();  // they need the workers until they have ended
  for (const auto& worker : workers_) {
    asio::post(worker->io(), [&io = worker->io()] { io.stop(); });
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Router::stop() {
  asio::post(io_, [this] { begin_shutdown(); });
}

void Router::accept() {
  Worker& worker = *workers_[next_worker_++ % workers_.size()];
  acceptor_.async_accept(
      worker.io(), [this, &worker](const asio::error_code& error, asio::ip::tcp::socket client) {
        if (shutting_down_) return;
        if (error) {
          // No more descriptors, most likely: wait for some to be closed, do not spin.
          log_line("accept: ", error.message());
          grace_timer_.expires_after(std::chrono::milliseconds(100));
          grace_timer_.async_wait([this](const asio::error_code& cancelled) {
            if (!cancelled && !shutting_down_) accept();
          });
          return;
        }
        Metrics::add(metrics_.clients_accepted);
        if (Metrics::read(metrics_.clients) >= options_.max_clients) {
          Metrics::add(metrics_.clients_refused);
          asio::error_code ignored;
          const std::string refusal = error_reply("ERR max number of clients reached");
          client.non_blocking(true, ignored);
          client.send(asio::buffer(refusal), 0, ignored);
        } else {
          Metrics::add(metrics_.clients);
          asio::post(worker.io(), [&worker, client = std::move(client)]() mutable {
            worker.adopt(std::move(client));
          });
        }
        accept();
      });
}

void Router::begin_shutdown() {
  if (std::exchange(shutting_down_, true)) return;
  asio::error_code ignored;
  acceptor_.close(ignored);
  signals_.cancel(ignored);
  // Aborting a migration lets the writes go on that it holds.
  migrations_.stop_all();
  auto missing = std::make_shared<std::size_t>(workers_.size());
  for (const auto& worker : workers_) {
    asio::post(worker->io(), [this, &worker = *worker, missing] {
      worker.drain([this, missing] {
        asio::post(io_, [this, missing] {
          if (--*missing == 0) end_shutdown();
        });
      });
    });
  }
  grace_timer_.expires_after(absl::ToChronoNanoseconds(options_.shutdown_grace));
  grace_timer_.async_wait([this](const asio::error_code& cancelled) {
    if (cancelled) return;
    log_line("requests were still in flight at the end of the shutdown grace");
    end_shutdown();
  });
}

void Router::end_shutdown() {
  grace_timer_.cancel();
  for (const auto& worker : workers_) {
    asio::post(worker->io(), [&worker = *worker] { worker.close_all(); });
  }
  io_.stop();
}

// Runs on a migration's thread.
bool Router::all_workers(const std::function<void(Worker&, Answer)>& ask) {
  struct Answers {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t missing;
    bool all_yes = true;
  };
  const auto answers = std::make_shared<Answers>();
  answers->missing = workers_.size();
  for (const auto& worker : workers_) {
    asio::post(worker->io(), [ask, &worker = *worker, answers] {
      ask(worker, [answers](bool yes) {
        const std::lock_guard lock(answers->mutex);
        answers->all_yes &= yes;
        if (--answers->missing == 0) answers->changed.notify_all();
      });
    });
  }
  // A server that owes replies for longer fails, and with it what was sent there.
  const auto longest = absl::ToChronoMilliseconds(2 * options_.upstream_timeout + absl::Seconds(1));
  std::unique_lock lock(answers->mutex);
  return answers->changed.wait_for(lock, longest, [&] { return answers->missing == 0; }) &&
         answers->all_yes;
}

}  // namespace redis_router
