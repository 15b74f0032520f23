// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_UPSTREAM_HPP_
#define REDIS_ROUTER_UPSTREAM_HPP_

#include <absl/functional/any_invocable.h>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "byte_buffer.hpp"
#include "context.hpp"
#include "resp.hpp"

namespace redis_router {

// Who waits for the reply to a request: a client's session.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  // The reply as it came, in RESP.
  virtual void on_reply(std::uint64_t tag, std::string_view reply) = 0;
  // There will be no reply. `error` is an error's text.
  virtual void on_failure(std::uint64_t tag, std::string_view error) = 0;
};

// A write that was sent: its permit is out until the reply has come.
struct WriteInFlight {
  placement::WritePermit permit;
  WriteKeys keys;
};

// One thread's connection to one server: pipelined, answered in order. Belongs to the thread that
// runs `io`; every method is called there.
//
// The connection is good once the server has answered COMMAND on it. When it fails, or the server
// owes replies and is silent for the upstream timeout, the requests on it fail, the permits of
// writes that the server may still carry out are quarantined, and it reconnects with backoff.
class Upstream {
 public:
  Upstream(asio::io_context& io, const ClusterOptions& cluster, Context& context);
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // `first_outcome` is called once: when the server has answered, or the first attempt has failed.
  void start(std::function<void()> first_outcome);
  void stop();

  [[nodiscard]] placement::ClusterId cluster() const noexcept { return id_; }
  [[nodiscard]] bool is_ready() const noexcept { return state_ == State::Ready; }
  // Why it is not ready, as an error for a client.
  [[nodiscard]] std::string down_error() const;

  // Requires is_ready(). Exactly one of the sink's methods will be called, with `tag`, but not
  // before this has returned.
  void send(std::string_view request, std::shared_ptr<ReplySink> sink, std::uint64_t tag,
            std::optional<WriteInFlight> write = {});

  // Calls `passed` when everything sent before has been answered or has failed; at once if nothing
  // is out.
  void fence(absl::AnyInvocable<void()> passed);

 private:
  enum class State { Stopped, Connecting, Handshake, Ready, Waiting };

  struct Pending {
    std::shared_ptr<ReplySink> sink;  // none: a fence, or the connection's own COMMAND
    std::uint64_t tag = 0;
    std::uint64_t begin = 0;  // where the request stands in the connection's stream
    std::uint64_t end = 0;
    std::optional<WriteInFlight> write;
    absl::AnyInvocable<void()> fence;
  };

  void connect();
  void connected();
  void enqueue(std::string_view request, Pending pending);
  void schedule_flush();
  void flush();
  void write_some();
  void read();
  void on_bytes();
  void deliver(std::string_view reply);
  void on_command_table(std::string_view reply);
  void pass_fences();
  void watch_for_silence();
  void fail(const std::string& why);
  void settle(std::optional<WriteInFlight>& write, bool outcome_known);
  void announce_first_outcome();

  asio::io_context& io_;
  const ClusterOptions& cluster_;
  const placement::ClusterId id_;
  Context& context_;
  std::function<void()> first_outcome_;

  State state_ = State::Stopped;
  std::string why_down_ = "it has not been reached yet";
  std::uint64_t generation_ = 0;  // of the connection; a completion of an older one is void
  std::chrono::milliseconds backoff_;
  asio::ip::tcp::resolver resolver_;
  asio::ip::tcp::socket socket_;
  asio::steady_timer reconnect_timer_;
  asio::steady_timer silence_timer_;
  bool silence_watched_ = false;
  std::chrono::steady_clock::time_point last_progress_;

  std::deque<Pending> pending_;
  ByteBuffer in_;
  ReplyCursor cursor_;
  std::string out_;      // to be written
  std::string writing_;  // being written, from written_ on
  std::size_t written_ = 0;
  bool write_under_way_ = false;
  bool flush_scheduled_ = false;
  // Offsets in the connection's stream of requests.
  std::uint64_t queued_end_ = 0;     // of what was ever put into out_
  std::uint64_t submitted_end_ = 0;  // of what the system may have taken
  std::uint64_t accepted_end_ = 0;   // of what the system is known to have taken
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_UPSTREAM_HPP_
