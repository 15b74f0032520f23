// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_CLIENT_SESSION_HPP_
#define REDIS_ROUTER_CLIENT_SESSION_HPP_

#include <absl/time/time.h>

#include <asio/cancellation_signal.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "byte_buffer.hpp"
#include "command_table.hpp"
#include "local_commands.hpp"
#include "resp.hpp"
#include "upstream.hpp"
#include "worker.hpp"

namespace redis_router {

// One client's connection. Its requests are sent on in order, pipelined, each to the server that
// its tenant lives on, and answered in order. A request that has to wait (a write in cutover, one
// whose keys the server is asked for, an operator's MIGRATE) makes those behind it wait too.
//
// Belongs to its worker's thread.
class ClientSession final : public ReplySink, public std::enable_shared_from_this<ClientSession> {
 public:
  ClientSession(Worker& worker, asio::ip::tcp::socket socket);

  void start();
  // No further bytes are read; what has come is answered, then the connection closes.
  void finish();
  void close();

  void on_reply(std::uint64_t tag, std::string_view reply) override;
  void on_failure(std::uint64_t tag, std::string_view error) override;

 private:
  // What the request at the head of the buffer, and so the connection, waits for.
  enum class Waiting { Nothing, Cutover, KeysFromServer, Migration };
  enum class Closing {
    No,
    AfterReplies,  // QUIT, or the client has sent all it had to
    AfterError,    // the same, but what still comes is read and dropped, so that the client
                   // gets to see the error and not a connection reset
    Lingering,
  };

  struct Slot {
    std::size_t request_bytes = 0;
    bool is_filled = false;
    std::string reply;
  };

  // Processes what has come, as far as it may go. Safe to call at any time.
  void process();
  // The request at the head of the buffer. False if it has to wait: it will be tried again.
  bool execute();
  bool execute_placement();
  bool execute_routed();
  bool route_read(std::string_view tenant);
  bool route_write(std::string_view tenant);
  bool hold_write(std::string_view tenant);
  void resume(std::uint64_t wait, placement::WritePermit permit);
  bool ask_for_keys();
  void take_keys(std::string_view reply);
  void forward(Upstream& upstream, std::optional<WriteInFlight> write);
  void request_done();

  std::uint64_t open_slot(std::size_t request_bytes);
  void fill_slot(std::uint64_t slot, std::string_view reply);
  bool answer(std::string_view reply);
  bool answer_error(std::string_view text) { return answer(error_reply(text)); }
  [[nodiscard]] bool is_over_limits() const;

  void read();
  void on_read(std::size_t bytes);
  void on_end_of_input();
  void schedule_flush();
  void flush();
  void linger();
  void stop_waiting();
  void close_if_finished();

  Worker& worker_;
  Context& context_;
  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  ClientInfo info_;
  bool closed_ = false;
  Closing closing_ = Closing::No;
  bool end_of_input_ = false;

  ByteBuffer in_;
  bool reading_ = false;
  bool processing_ = false;
  Request request_;
  std::vector<std::string_view> args_;
  std::vector<std::string_view> keys_;
  Routing routing_;

  Waiting waiting_ = Waiting::Nothing;
  std::uint64_t wait_ = 0;  // number of the wait; a resume that belongs to an older one is void
  asio::cancellation_signal hold_;
  // Of the request at the head: when its hold ends, what its hold ended with, and the keys that the
  // server told.
  std::optional<absl::Time> hold_deadline_;
  std::optional<placement::WritePermit> held_permit_;
  std::optional<RespValue> keys_reply_;

  std::deque<Slot> slots_;  // replies owed, in order
  std::uint64_t first_slot_ = 0;
  std::size_t bytes_in_slots_ = 0;    // requests in flight, and replies behind one that is missing
  std::size_t replies_in_slots_ = 0;  // bytes of those replies alone
  std::string out_;
  std::string writing_;
  bool write_under_way_ = false;
  bool flush_scheduled_ = false;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_CLIENT_SESSION_HPP_
