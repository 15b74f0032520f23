// SPDX-License-Identifier: Apache-2.0
#include "command_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "demo/child_process.hpp"
#include "demo/redis_server.hpp"

namespace redis_router {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Verdict = Routing::Verdict;

RespValue text(std::string value) {
  return {
      .type = RespValue::Type::BulkString, .integer = 0, .text = std::move(value), .elements = {}};
}
RespValue number(std::int64_t value) {
  return {.type = RespValue::Type::Integer, .integer = value, .text = {}, .elements = {}};
}
RespValue list(std::vector<RespValue> values) {
  return {.type = RespValue::Type::Array, .integer = 0, .text = {}, .elements = std::move(values)};
}
// As servers before Redis 7 send it.
RespValue entry(const char* name, std::int64_t arity, std::vector<RespValue> flags,
                std::int64_t first, std::int64_t last, std::int64_t step) {
  return list({text(name), number(arity), list(std::move(flags)), number(first), number(last),
               number(step)});
}

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> args;
  while (!line.empty()) {
    const auto end = std::min(line.find(' '), line.size());
    args.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return args;
}

struct Plan {
  Verdict verdict;
  bool write;
  std::string keys;
  std::string error;
};

Plan plan(const CommandTable& table, std::string_view line) {
  const auto args = words(line);
  Routing routing;
  plan_route(table, args, false, routing);
  Plan plan{routing.verdict, routing.write, {}, routing.error};
  for (const std::size_t position : routing.keys) {
    plan.keys += plan.keys.empty() ? "" : " ";
    plan.keys += args[position];
  }
  return plan;
}

TEST(CommandTable, TakesTheShortEntriesOfOlderServers) {
  const auto table =
      CommandTable::from_reply(list({entry("mset", -3, {text("write")}, 1, -1, 2),
                                     entry("eval", -3, {text("movablekeys")}, 0, 0, 0)}));
  ASSERT_TRUE(table);
  EXPECT_EQ(plan(*table, "MSET t:1 a t:2 b").keys, "t:1 t:2");
  EXPECT_EQ(plan(*table, "EVAL x 1 t:1").verdict, Verdict::AskForKeys);
}

TEST(CommandTable, IsNothingIfTheReplyIsNone) {
  EXPECT_FALSE(CommandTable::from_reply(RespValue()));
  EXPECT_FALSE(CommandTable::from_reply(list({})));
}

TEST(CommandTable, MergedTakesTheSaferOfTwoAnswers) {
  auto one = CommandTable::from_reply(list(
      {entry("x", -2, {text("readonly")}, 1, 1, 1), entry("y", -2, {text("write")}, 1, 1, 1)}));
  const auto two = CommandTable::from_reply(list(
      {entry("x", -2, {text("write")}, 1, 1, 1), entry("y", -2, {text("readonly")}, 1, -1, 1)}));
  one->merge(*two);
  EXPECT_TRUE(plan(*one, "x t:1").write);
  EXPECT_TRUE(plan(*one, "y t:1").write);
  EXPECT_EQ(plan(*one, "y t:1").verdict, Verdict::AskForKeys);
}

// What the installed server says of its commands.
class RealCommandTable : public testing::Test {
 protected:
  static const CommandTable& table() {
    static const CommandTable* const kTable = [] {
      const TemporaryDirectory directory;
      const RedisServer server(directory.path() + "/r", RedisServer::Keep::Nothing);
      auto client = server.connect();
      return new CommandTable(CommandTable::from_reply(*client.call({"COMMAND"})).value());
    }();
    return *kTable;
  }
};

TEST_F(RealCommandTable, FindsKeysAndTellsWritesFromReads) {
  const struct {
    const char* line;
    bool write;
    const char* keys;
  } cases[] = {
      {"GET t:1", false, "t:1"},
      {"set t:1 v", true, "t:1"},
      {"MGET t:1 t:2 t:3", false, "t:1 t:2 t:3"},
      {"MSET t:1 a t:2 b", true, "t:1 t:2"},
      {"DEL t:1 t:2", true, "t:1 t:2"},
      {"RENAME t:1 t:2", true, "t:1 t:2"},
      {"COPY t:1 t:2 REPLACE", true, "t:1 t:2"},
      {"BITOP AND t:1 t:2 t:3", true, "t:1 t:2 t:3"},
      {"EVAL script 2 t:1 t:2 arg", true, "t:1 t:2"},
      {"EVAL_RO script 1 t:1 arg", false, "t:1"},
      {"EVALSHA sha 1 t:1", true, "t:1"},
      {"ZUNIONSTORE t:1 2 t:2 t:3", true, "t:1 t:2 t:3"},
      {"ZUNION 2 t:2 t:3", false, "t:2 t:3"},
      {"LMPOP 2 t:1 t:2 LEFT", true, "t:1 t:2"},
      {"GETDEL t:1", true, "t:1"},
      {"GETEX t:1", true, "t:1"},
      {"TTL t:1", false, "t:1"},
      {"OBJECT ENCODING t:1", false, "t:1"},
      {"MEMORY USAGE t:1", false, "t:1"},
      {"XGROUP CREATE t:1 g 0", true, "t:1"},
      {"XINFO STREAM t:1", false, "t:1"},
  };
  for (const auto& expected : cases) {
    const Plan got = plan(table(), expected.line);
    EXPECT_EQ(got.verdict, Verdict::Route) << expected.line << ": " << got.error;
    EXPECT_EQ(got.write, expected.write) << expected.line;
    EXPECT_EQ(got.keys, expected.keys) << expected.line;
  }
}

TEST_F(RealCommandTable, AsksTheServerWhereWordsDecide) {
  for (const char* line : {"SORT t:1 STORE t:2", "SORT_RO t:1", "XREAD COUNT 1 STREAMS t:1 0",
                           "GEORADIUS t:1 1 1 1 km STORE t:2"}) {
    EXPECT_EQ(plan(table(), line).verdict, Verdict::AskForKeys) << line;
  }
}

TEST_F(RealCommandTable, RefusesWhatCannotBeRouted) {
  for (const char* line : {"MULTI",
                           "EXEC",
                           "WATCH t:1",
                           "SUBSCRIBE c",
                           "PUBLISH c m",
                           "SPUBLISH c m",
                           "KEYS *",
                           "SCAN 0",
                           "DBSIZE",
                           "FLUSHALL",
                           "FLUSHDB",
                           "RANDOMKEY",
                           "BLPOP t:1 0",
                           "BLMPOP 0 1 t:1 LEFT",
                           "BRPOPLPUSH t:1 t:2 0",
                           "XREAD BLOCK 0 STREAMS t:1 0",
                           "MONITOR",
                           "DEBUG SLEEP 1",
                           "SHUTDOWN",
                           "SAVE",
                           "SCRIPT FLUSH",
                           "MIGRATE h 1 t:1 0 5",
                           "MOVE t:1 2",
                           "COPY t:1 t:2 DB 3",
                           "SWAPDB 0 1",
                           "WAIT 1 0",
                           "EVAL script 0",
                           "OBJECT HELP",
                           "CLUSTER INFO",
                           "REPLICAOF h 1"}) {
    const Plan got = plan(table(), line);
    EXPECT_EQ(got.verdict, Verdict::Refuse) << line;
    EXPECT_THAT(got.error, StartsWith("NOROUTE ")) << line;
  }
}

TEST_F(RealCommandTable, SaysWhy) {
  EXPECT_THAT(plan(table(), "MULTI").error, HasSubstr("'multi' cannot be routed: transactions"));
  EXPECT_THAT(plan(table(), "SUBSCRIBE c").error, HasSubstr("channels"));
  EXPECT_THAT(plan(table(), "KEYS *").error, HasSubstr("names no key"));
  EXPECT_THAT(plan(table(), "BLPOP t:1 0").error, HasSubstr("block"));
}

TEST_F(RealCommandTable, RefusesWrongRequestsAsTheServerWould) {
  EXPECT_THAT(plan(table(), "NOSUCH x").error, HasSubstr("unknown command 'NOSUCH'"));
  EXPECT_THAT(plan(table(), "OBJECT NOSUCH x").error, HasSubstr("unknown command"));
  EXPECT_THAT(plan(table(), "GET").error, HasSubstr("wrong number of arguments for 'get'"));
  EXPECT_THAT(plan(table(), "GET a b").error, HasSubstr("wrong number of arguments"));
  for (const char* line : {"EVAL s 3 t:1", "EVAL s -1 t:1", "EVAL s x t:1",
                           "EVAL s 99999999999999999999 t:1", "ZUNION 9 t:1"}) {
    EXPECT_EQ(plan(table(), line).verdict, Verdict::Refuse) << line;
  }
}

}  // namespace
}  // namespace redis_router
