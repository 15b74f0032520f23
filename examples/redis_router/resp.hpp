// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_RESP_HPP_
#define REDIS_ROUTER_RESP_HPP_

// RESP2, the protocol of Redis: requests from clients, replies from servers.
//
// Every function here is a pure function over bytes: no sockets, no clocks, no globals. What has
// come so far goes in, and the cursor carries what is known of a message that has not all come yet,
// so that a message which arrives byte by byte costs no more to parse than one that arrives whole.
// Nothing is allocated because of a length that a peer merely announces.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace redis_router {

struct RespLimits {
  std::size_t max_bulk = std::size_t{512} << 20;  // one argument; as Redis's proto-max-bulk-len
  std::size_t max_request =
      std::size_t{1} << 30;  // one request with all its arguments; as client-query-buffer-limit
  std::size_t max_args = std::size_t{1} << 20;     // arguments of one request
  std::size_t max_inline = std::size_t{64} << 10;  // a line that is not RESP ("PING\r\n")
};

enum class ParseStatus { Complete, Incomplete, Malformed };

// One request of a client. Fill it with parse_request(); reset() before the next one.
class Request {
 public:
  void reset();

  // Bytes of the input that the request takes up. Only when complete.
  [[nodiscard]] std::size_t size() const noexcept { return offset_; }
  // What is wrong with a malformed one, in the words Redis uses.
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  // The arguments, and the request as RESP. Both point into `bytes`, or into this object if the
  // client wrote inline. Only when complete; `bytes` must begin with the bytes that were parsed.
  void arguments(std::string_view bytes, std::vector<std::string_view>& out) const;
  [[nodiscard]] std::string_view resp(std::string_view bytes) const;

 private:
  friend ParseStatus parse_request(std::string_view, const RespLimits&, Request&);
  struct Span {
    std::size_t offset;
    std::size_t size;
  };

  ParseStatus malformed(std::string_view what);
  ParseStatus parse_inline(std::string_view bytes, const RespLimits& limits);

  bool complete_ = false;
  bool header_seen_ = false;
  std::size_t offset_ = 0;    // parsed so far
  std::size_t searched_ = 0;  // how far the end of an inline line was looked for
  std::size_t missing_ = 0;   // arguments still to come
  std::vector<Span> args_;
  std::string rewritten_;  // an inline request as RESP
  std::string error_;
};

// Looks for one request at the start of `bytes`. Call it again with more bytes after Incomplete;
// after Complete it keeps answering Complete until reset(). A request without arguments (an empty
// line) is complete, and says nothing.
[[nodiscard]] ParseStatus parse_request(std::string_view bytes, const RespLimits& limits,
                                        Request& request);

// Finds the end of a server's reply without looking into it. Start with a fresh cursor for each
// reply.
struct ReplyCursor {
  std::size_t offset = 0;     // when complete: the size of the reply
  std::uint64_t missing = 1;  // elements still to come, over all levels of nesting
};
[[nodiscard]] ParseStatus find_reply_end(std::string_view bytes, ReplyCursor& cursor);

// A reply taken apart, for the few that the router itself reads.
struct RespValue {
  enum class Type { SimpleString, Error, Integer, BulkString, Array, Null };

  Type type = Type::Null;
  std::int64_t integer = 0;
  std::string text;                 // SimpleString, Error, BulkString
  std::vector<RespValue> elements;  // Array

  [[nodiscard]] bool is_error() const noexcept { return type == Type::Error; }
  [[nodiscard]] bool is_null() const noexcept { return type == Type::Null; }
  [[nodiscard]] bool is_array() const noexcept { return type == Type::Array; }
  [[nodiscard]] bool is_text() const noexcept {
    return type == Type::SimpleString || type == Type::BulkString;
  }
};
// Nothing if `bytes` is not exactly one reply, or one nested deeper than any that Redis sends.
[[nodiscard]] std::optional<RespValue> parse_reply(std::string_view bytes);

// Writing. An error's or simple string's text has line breaks replaced: it can never end its line
// early.
void append_simple(std::string& out, std::string_view text);
void append_error(std::string& out, std::string_view text);
void append_integer(std::string& out, std::int64_t number);
void append_bulk(std::string& out, std::string_view bytes);
void append_null(std::string& out);
void append_array_header(std::string& out, std::size_t elements);
void append_command(std::string& out, std::span<const std::string_view> args);
inline void append_command(std::string& out, std::initializer_list<std::string_view> args) {
  append_command(out, std::span<const std::string_view>(args.begin(), args.size()));
}

[[nodiscard]] std::string error_reply(std::string_view text);
[[nodiscard]] std::string simple_reply(std::string_view text);

}  // namespace redis_router

#endif  // REDIS_ROUTER_RESP_HPP_
