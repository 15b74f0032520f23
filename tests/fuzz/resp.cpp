// SPDX-License-Identifier: Apache-2.0
//
// The router's RESP parser: it says the same however the bytes arrive, takes memory only for what
// has come, and reads back what it writes. The first byte chooses where the rest is split.
#include "resp.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "require.hpp"

// The sanitizers' way to tell of allocations; null in a program without one.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*,
                                                                           std::size_t),
                                                         void (*freed)(const volatile void*))
    __attribute__((weak));

namespace {

using placement::test::require;
using redis_router::ParseStatus;
using redis_router::RespValue;

// ---- memory ----

// The largest allocation since it was last set to zero, where a sanitizer tells of them.
thread_local std::size_t largest_allocation = 0;

bool observe_allocations() {
  if (__sanitizer_install_malloc_and_free_hooks == nullptr) return false;
  __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, std::size_t size) {
        largest_allocation = std::max(largest_allocation, size);
      },
      [](const volatile void*) {});
  return true;
}

// A parsed argument or element takes several times the bytes it came in, never more than this.
constexpr std::size_t kFactor = 64;
constexpr std::size_t kAlways = 4096;

void expect_bounded(std::size_t input) {
  require(largest_allocation <= kAlways + kFactor * input, "memory is taken for what has come");
}

// ---- input in pieces ----

// Where the bytes are cut: after 1 to 16 more, by a generator that the first byte seeds.
class Cuts {
 public:
  explicit Cuts(std::uint8_t seed) : state_(seed + 1U) {}
  std::size_t next() {
    state_ = state_ * 1'103'515'245U + 12'345U;
    return 1 + (state_ >> 16U) % 16;
  }

 private:
  std::uint32_t state_;
};

// Calls parse with more and more of the bytes until it has an answer, each time in a block of their
// own, so that a sanitizer sees a read behind their end.
template <typename Parse>
ParseStatus in_pieces(std::string_view bytes, std::uint8_t seed, Parse parse) {
  Cuts cuts(seed);
  for (std::size_t size = 0;; size = std::min(size + cuts.next(), bytes.size())) {
    const auto block = std::make_unique<char[]>(size);
    std::copy_n(bytes.data(), size, block.get());
    const ParseStatus status = parse(std::string_view(block.get(), size));
    if (status != ParseStatus::Incomplete || size == bytes.size()) return status;
  }
}

// ---- requests ----

struct Parsed {
  ParseStatus status = ParseStatus::Incomplete;
  std::vector<std::string> args;
  std::size_t size = 0;
  std::string resp;
  std::string error;

  friend bool operator==(const Parsed&, const Parsed&) = default;
};

Parsed result_of(ParseStatus status, const redis_router::Request& request, std::string_view bytes) {
  Parsed parsed{status, {}, 0, {}, request.error()};
  require((status == ParseStatus::Malformed) == !parsed.error.empty(), "malformed has an error");
  if (status != ParseStatus::Complete) return parsed;
  std::vector<std::string_view> args;
  request.arguments(bytes, args);
  parsed.args.assign(args.begin(), args.end());
  parsed.size = request.size();
  parsed.resp = request.resp(bytes);
  require(parsed.size > 0 && parsed.size <= bytes.size(), "a request is a part of the bytes");
  return parsed;
}

redis_router::RespLimits limits() {
  redis_router::RespLimits limits;
  limits.max_bulk = 4096;
  limits.max_request = 8192;
  limits.max_args = 64;
  limits.max_inline = 256;
  return limits;
}

Parsed parse_whole(std::string_view bytes, const redis_router::RespLimits& limits) {
  redis_router::Request request;
  return result_of(parse_request(bytes, limits, request), request, bytes);
}

void check_requests(std::string_view bytes, std::uint8_t seed,
                    const redis_router::RespLimits& limits) {
  // A pipeline: one request behind the other.
  for (;;) {
    largest_allocation = 0;
    const Parsed whole = parse_whole(bytes, limits);
    expect_bounded(bytes.size());
    redis_router::Request request;
    Parsed pieces;
    in_pieces(bytes, seed, [&](std::string_view so_far) {
      const ParseStatus status = parse_request(so_far, limits, request);
      if (status != ParseStatus::Incomplete) pieces = result_of(status, request, so_far);
      return status;
    });
    require(pieces == whole, "a request is the same in one piece and in several");
    if (whole.status != ParseStatus::Complete) return;

    if (!whole.args.empty()) {
      const std::vector<std::string_view> args(whole.args.begin(), whole.args.end());
      std::string command;
      redis_router::append_command(command, args);
      const Parsed again = parse_whole(command, redis_router::RespLimits());
      require(again.status == ParseStatus::Complete && again.args == whole.args,
              "a command that is written is read back");
      require(again.size == command.size() && again.resp == command, "it is all of the bytes");
      require(parse_whole(whole.resp, redis_router::RespLimits()).args == whole.args,
              "a request as RESP has the same arguments");
    }
    bytes.remove_prefix(whole.size);
    if (bytes.empty()) return;
  }
}

// ---- replies ----

void append(std::string& out, const RespValue& value) {
  switch (value.type) {
    case RespValue::Type::SimpleString:
      return redis_router::append_simple(out, value.text);
    case RespValue::Type::Error:
      return redis_router::append_error(out, value.text);
    case RespValue::Type::Integer:
      return redis_router::append_integer(out, value.integer);
    case RespValue::Type::BulkString:
      return redis_router::append_bulk(out, value.text);
    case RespValue::Type::Null:
      return redis_router::append_null(out);
    case RespValue::Type::Array:
      redis_router::append_array_header(out, value.elements.size());
      for (const RespValue& element : value.elements) append(out, element);
  }
}

void check_replies(std::string_view bytes, std::uint8_t seed) {
  for (;;) {
    redis_router::ReplyCursor whole;
    largest_allocation = 0;
    const ParseStatus status = find_reply_end(bytes, whole);
    require(largest_allocation == 0, "the end of a reply is found without memory");
    redis_router::ReplyCursor pieces;
    const ParseStatus status_in_pieces = in_pieces(
        bytes, seed, [&](std::string_view so_far) { return find_reply_end(so_far, pieces); });
    require(status_in_pieces == status, "a reply ends alike in one piece and in several");
    if (status != ParseStatus::Complete) return;
    require(pieces.offset == whole.offset, "a reply ends at the same place");
    require(whole.offset > 0 && whole.offset <= bytes.size(), "a reply is a part of the bytes");

    largest_allocation = 0;
    const std::optional<RespValue> value = redis_router::parse_reply(bytes.substr(0, whole.offset));
    expect_bounded(whole.offset);
    if (value) {
      std::string once;
      append(once, *value);
      const std::optional<RespValue> again = redis_router::parse_reply(once);
      require(again.has_value(), "a reply that is written is read back");
      std::string twice;
      append(twice, *again);
      require(once == twice, "as it was");
    }
    bytes.remove_prefix(whole.offset);
    if (bytes.empty()) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const bool observed = observe_allocations();
  static_cast<void>(observed);
  const std::uint8_t seed = data[0];
  const std::string_view bytes = placement::test::as_text(data + 1, size - 1);
  check_requests(bytes, seed, limits());
  check_requests(bytes, seed, redis_router::RespLimits());
  check_replies(bytes, seed);
  return 0;
}
