// SPDX-License-Identifier: Apache-2.0
#include "resp.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace redis_router {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using namespace std::string_literals;

const RespLimits kLimits;

struct Parsed {
  ParseStatus status = ParseStatus::Incomplete;
  std::vector<std::string> args;
  std::size_t size = 0;
  std::string resp;
  std::string error;

  friend bool operator==(const Parsed&, const Parsed&) = default;
};

Parsed result_of(ParseStatus status, const Request& request, std::string_view bytes) {
  Parsed parsed;
  parsed.status = status;
  parsed.error = request.error();
  if (status == ParseStatus::Complete) {
    std::vector<std::string_view> args;
    request.arguments(bytes, args);
    parsed.args.assign(args.begin(), args.end());
    parsed.size = request.size();
    parsed.resp = request.resp(bytes);
  }
  return parsed;
}

Parsed parse(std::string_view bytes, const RespLimits& limits = kLimits) {
  Request request;
  const ParseStatus status = parse_request(bytes, limits, request);
  return result_of(status, request, bytes);
}

// The same bytes, of which one more is there at each call.
Parsed parse_byte_by_byte(std::string_view bytes, const RespLimits& limits = kLimits) {
  Request request;
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    // A block of its own, so that a sanitizer sees a read behind its end.
    const std::vector<char> so_far(bytes.begin(),
                                   bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const std::string_view view(so_far.data(), so_far.size());
    const ParseStatus status = parse_request(view, limits, request);
    if (status != ParseStatus::Incomplete) return result_of(status, request, view);
  }
  return {};
}

TEST(RequestParser, ReadsTheArgumentsOfAnArray) {
  const Parsed parsed = parse("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\0\r\n:\r\n"s);
  EXPECT_EQ(parsed.status, ParseStatus::Complete);
  EXPECT_THAT(parsed.args, ElementsAre("SET", "k", "\0\r\n:"s));
}

TEST(RequestParser, LeavesWhatComesBehindTheRequest) {
  const std::string one = "*1\r\n$4\r\nPING\r\n";
  EXPECT_EQ(parse(one + one).size, one.size());
  EXPECT_EQ(parse(one + "garbage").resp, one);
}

TEST(RequestParser, StaysCompleteUntilReset) {
  Request request;
  const std::string bytes = "*1\r\n$4\r\nPING\r\n";
  ASSERT_EQ(parse_request(bytes, kLimits, request), ParseStatus::Complete);
  ASSERT_EQ(parse_request(bytes + "more", kLimits, request), ParseStatus::Complete);
  EXPECT_EQ(request.size(), bytes.size());
  request.reset();
  EXPECT_EQ(parse_request("*1\r\n", kLimits, request), ParseStatus::Incomplete);
}

TEST(RequestParser, TakesInlineRequestsAndTurnsThemIntoResp) {
  EXPECT_THAT(parse("PING\r\n").args, ElementsAre("PING"));
  EXPECT_THAT(parse("  set  k v \n").args, ElementsAre("set", "k", "v"));
  EXPECT_THAT(parse("SET k \"a b\\x41\\n\\\"\" 'it\\'s \\n'\r\n").args,
              ElementsAre("SET", "k", "a bA\n\"", "it's \\n"));
  EXPECT_EQ(parse("GET k\r\n").resp, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
  EXPECT_EQ(parse("GET k\r\n").size, 7U);
}

TEST(RequestParser, TakesRequestsThatSayNothing) {
  for (const char* empty : {"\r\n", "\n", "   \r\n", "*0\r\n", "*-1\r\n"}) {
    const Parsed parsed = parse(empty);
    EXPECT_EQ(parsed.status, ParseStatus::Complete) << empty;
    EXPECT_THAT(parsed.args, IsEmpty());
    EXPECT_EQ(parsed.size, std::string_view(empty).size());
  }
}

TEST(RequestParser, RefusesWhatIsNotResp) {
  const std::pair<std::string, std::string> wrong[] = {
      {"*x\r\n", "invalid multibulk length"},
      {"*\r\n", "invalid multibulk length"},
      {"*+1\r\n", "invalid multibulk length"},
      {"*1 \r\n", "invalid multibulk length"},
      {"*1\rx", "invalid multibulk length"},
      {"*99999999999999999999\r\n", "invalid multibulk length"},
      {"*2000000\r\n", "invalid multibulk length"},
      {"*" + std::string(40, '1'), "too big mbulk count string"},
      {"*1\r\nx", "expected '$', got 'x'"},
      {"*1\r\n$-1\r\n", "invalid bulk length"},
      {"*1\r\n$x\r\n", "invalid bulk length"},
      {"*1\r\n$9999999999\r\n", "invalid bulk length"},
      {"*1\r\n$1\r\nabc", "line break"},
      {"*1\r\n$" + std::string(40, '1'), "too big bulk count string"},
      {"SET \"k\r\n", "unbalanced quotes"},
      {"SET \"k\"v\r\n", "unbalanced quotes"},
      {std::string(70'000, 'x'), "too big inline request"},
  };
  for (const auto& [bytes, error] : wrong) {
    const Parsed parsed = parse(bytes);
    EXPECT_EQ(parsed.status, ParseStatus::Malformed) << bytes;
    EXPECT_THAT(parsed.error, HasSubstr(error));
    EXPECT_EQ(parse_byte_by_byte(bytes).error, parsed.error);
  }
}

TEST(RequestParser, RefusesAtTheAnnouncementWhatIsOverALimit) {
  RespLimits limits;
  limits.max_bulk = 10;
  limits.max_request = 40;
  limits.max_args = 3;
  EXPECT_EQ(parse("*1\r\n$10\r\n", limits).status, ParseStatus::Incomplete);
  EXPECT_EQ(parse("*1\r\n$11\r\n", limits).status, ParseStatus::Malformed);
  EXPECT_EQ(parse("*3\r\n", limits).status, ParseStatus::Incomplete);
  EXPECT_EQ(parse("*4\r\n", limits).status, ParseStatus::Malformed);
  EXPECT_EQ(parse("*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$9\r\n", limits).error,
            "ERR Protocol error: too big request");
}

TEST(RequestParser, SaysTheSameHoweverTheBytesArrive) {
  constexpr int kRuns = 20'000;
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  RespLimits limits;
  limits.max_bulk = 64;
  limits.max_inline = 64;
  limits.max_request = 128;
  // Pieces that make up good requests more often than chance would.
  const std::string pieces[] = {"*1\r\n",  "*2\r\n", "$3\r\n", "GET", "\r\n", "$0\r\n\r\n",
                                "k",       "\"",     "'",      " ",   "\\x4", "\n",
                                "$64\r\n", "\0"s,    "*",      "-1"};
  int complete = 0;
  int malformed = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::string bytes;
    for (std::size_t length = random() % 12; length > 0; --length) {
      bytes += pieces[random() % std::size(pieces)];
    }
    const Parsed whole = parse(bytes, limits);
    ASSERT_EQ(whole, parse_byte_by_byte(bytes, limits)) << testing::PrintToString(bytes);
    complete += whole.status == ParseStatus::Complete ? 1 : 0;
    malformed += whole.status == ParseStatus::Malformed ? 1 : 0;
  }
  EXPECT_GT(complete, kRuns / 100);
  EXPECT_GT(malformed, kRuns / 100);
}

TEST(ReplyScanner, FindsTheEndOfEveryKindOfReply) {
  for (const std::string& reply :
       {"+OK\r\n"s, "-ERR x\r\n"s, ":-12\r\n"s, "$-1\r\n"s, "$0\r\n\r\n"s, "$4\r\n\r\n\r\n\r\n"s,
        "*-1\r\n"s, "*0\r\n"s, "*2\r\n*1\r\n:1\r\n$1\r\nx\r\n"s, "*2\r\n*0\r\n*1\r\n*-1\r\n"s}) {
    for (std::size_t size = 0; size < reply.size(); ++size) {
      ReplyCursor cursor;
      EXPECT_EQ(find_reply_end(std::string_view(reply).substr(0, size), cursor),
                ParseStatus::Incomplete);
      EXPECT_EQ(find_reply_end(reply + "+next\r\n", cursor), ParseStatus::Complete);
      EXPECT_EQ(cursor.offset, reply.size());
    }
  }
}

TEST(ReplyScanner, RefusesWhatNoServerSends) {
  for (const char* wrong :
       {"x", "%1\r\n", "$x\r\n", "$-2\r\n", "*9999999999999\r\n", "$1\r\nxyz"}) {
    ReplyCursor cursor;
    EXPECT_EQ(find_reply_end(wrong, cursor), ParseStatus::Malformed) << wrong;
  }
}

TEST(ReplyParser, TakesAReplyApart) {
  const auto value = parse_reply("*4\r\n:7\r\n$2\r\nhi\r\n$-1\r\n*1\r\n-ERR no\r\n");
  ASSERT_TRUE(value);
  ASSERT_EQ(value->elements.size(), 4U);
  EXPECT_EQ(value->elements[0].integer, 7);
  EXPECT_EQ(value->elements[1].text, "hi");
  EXPECT_TRUE(value->elements[2].is_null());
  EXPECT_TRUE(value->elements[3].elements[0].is_error());
}

TEST(ReplyParser, DoesNotFollowEndlessNesting) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "*1\r\n";
  EXPECT_FALSE(parse_reply(deep + ":1\r\n"));
}

TEST(Writing, KeepsTextOnItsLine) {
  EXPECT_EQ(error_reply("ERR a\r\nb"), "-ERR a  b\r\n");
  EXPECT_EQ(simple_reply("a\nb"), "+a b\r\n");
}

}  // namespace
}  // namespace redis_router
