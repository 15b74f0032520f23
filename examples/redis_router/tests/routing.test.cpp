// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <string>
#include <vector>

#include "tests/test_router.hpp"

namespace redis_router {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Routing = RouterTest;

TEST_F(Routing, SendsEachTenantToItsServer) {
  start_router();
  auto client = connect();
  EXPECT_EQ(client.call({"PLACEMENT", "SET", "u", "b"}), "OK epoch 1");
  EXPECT_EQ(client.call({"SET", "t:1", "on a"}), "OK");
  EXPECT_EQ(client.call({"SET", "u:1", "on b"}), "OK");
  EXPECT_EQ(client.call({"GET", "t:1"}), "on a");
  EXPECT_EQ(connect(a_).call({"KEYS", "*"}), "[t:1]");
  EXPECT_EQ(connect(b_).call({"KEYS", "*"}), "[u:1]");
}

TEST_F(Routing, AnswersInOrderAcrossServers) {
  start_router();
  auto client = connect();
  client.call({"PLACEMENT", "SET", "u", "b"});
  constexpr int kRequests = 5'000;
  std::string requests;
  for (int i = 0; i < kRequests; ++i) {
    const std::string number = std::to_string(i);
    const std::string key = concat(i % 3 == 0 ? "u" : "t", ":", i);
    append_command(requests, {"SET", key, number});
    append_command(requests, {"GET", key});
    append_command(requests, {"ECHO", number});
  }
  // A thread of its own: neither side may wait for the other to read.
  std::thread sender([&] { client.send_raw(requests); });
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_EQ(client.receive(), "OK");
    ASSERT_EQ(client.receive(), std::to_string(i));
    ASSERT_EQ(client.receive(), std::to_string(i));
  }
  sender.join();
}

TEST_F(Routing, RefusesKeysOfTwoTenants) {
  start_router();
  auto client = connect();
  EXPECT_THAT(client.call({"MGET", "t:1", "u:1"}), StartsWith("-CROSSTENANT "));
  EXPECT_THAT(client.call({"EVAL", "return 1", "2", "t:1", "u:1"}), StartsWith("-CROSSTENANT "));
  EXPECT_THAT(client.call({"SORT", "t:1", "STORE", "u:1"}), StartsWith("-CROSSTENANT "));
  EXPECT_EQ(client.call({"MSET", "t:1", "x", "t:2", "y"}), "OK");
  EXPECT_EQ(client.call({"MGET", "t:1", "t:2"}), "[x y]");
}

TEST_F(Routing, AsksTheServerForKeysAndKeepsTheOrder) {
  start_router();
  auto client = connect();
  client.send({"RPUSH", "t:list", "2", "1"});
  client.send({"SORT", "t:list", "STORE", "t:sorted"});
  client.send({"LRANGE", "t:sorted", "0", "-1"});
  client.send({"XREAD", "STREAMS", "t:stream", "0"});
  client.send({"PING"});
  EXPECT_EQ(client.receive(), ":2");
  EXPECT_EQ(client.receive(), ":2");
  EXPECT_EQ(client.receive(), "[1 2]");
  EXPECT_EQ(client.receive(), "(nil)");
  EXPECT_EQ(client.receive(), "PONG");
  EXPECT_THAT(client.call({"XREAD", "STREAMS", "t:x"}), StartsWith("-ERR wrong number"));
  EXPECT_THAT(client.call({"XREAD", "STREAMS", "t:x", "t:y", "0"}), StartsWith("-ERR Unbalanced"));
  EXPECT_THAT(client.call({"SORT", "t:x", "STORE"}), StartsWith("-ERR syntax error"));
}

TEST_F(Routing, AnswersWithErrorsAndLivesOn) {
  start_router();
  auto client = connect();
  for (const auto& request : std::vector<std::vector<std::string_view>>{{"MULTI"},
                                                                        {"SUBSCRIBE", "c"},
                                                                        {"KEYS", "*"},
                                                                        {"BLPOP", "t:1", "0"},
                                                                        {"FLUSHALL"},
                                                                        {"WATCH", "t:1"}}) {
    std::string bytes;
    append_command(bytes, request);
    client.send_raw(bytes);
    EXPECT_THAT(client.receive(), StartsWith("-NOROUTE ")) << request[0];
  }
  EXPECT_THAT(client.call({"NOSUCH"}), StartsWith("-ERR unknown command"));
  EXPECT_EQ(client.call({"PING"}), "PONG");
}

TEST_F(Routing, RefusesAnUnknownTenantUnlessThereIsADefault) {
  options_.default_cluster.clear();
  start_router();
  auto client = connect();
  EXPECT_THAT(client.call({"GET", "t:1"}), StartsWith("-NOPLACEMENT "));
  EXPECT_THAT(client.call({"SET", "t:1", "x"}), StartsWith("-NOPLACEMENT "));
  EXPECT_EQ(client.call({"PLACEMENT", "SET", "t", "b"}), "OK epoch 1");
  EXPECT_EQ(client.call({"SET", "t:1", "x"}), "OK");
}

TEST_F(Routing, RegistersNoMoreTenantsThanItMay) {
  options_.max_tenants = 2;
  start_router();
  auto client = connect();
  EXPECT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  EXPECT_EQ(client.call({"GET", "u:1"}), "(nil)");
  EXPECT_THAT(client.call({"SET", "v:1", "x"}), StartsWith("-NOPLACEMENT "));
}

TEST_F(Routing, AnswersForItselfWhatClientsAskOnConnecting) {
  start_router();
  auto client = connect();
  EXPECT_EQ(client.call({"PING"}), "PONG");
  EXPECT_EQ(client.call({"PING", "x"}), "x");
  EXPECT_THAT(client.call({"HELLO", "3"}), StartsWith("-NOPROTO"));
  EXPECT_THAT(client.call({"HELLO", "2", "SETNAME", "me"}), HasSubstr("proto :2"));
  EXPECT_EQ(client.call({"CLIENT", "GETNAME"}), "me");
  EXPECT_EQ(client.call({"CLIENT", "SETINFO", "lib-name", "x"}), "OK");
  EXPECT_THAT(client.call({"AUTH", "x"}), StartsWith("-ERR AUTH"));
  EXPECT_EQ(client.call({"SELECT", "0"}), "OK");
  EXPECT_THAT(client.call({"SELECT", "1"}), StartsWith("-ERR"));
  EXPECT_EQ(client.call({"CONFIG", "GET", "save"}), "[save ]");
  EXPECT_EQ(client.call({"CONFIG", "GET", "appendonly"}), "[appendonly no]");
  EXPECT_THAT(client.call({"COMMAND", "COUNT"}), StartsWith(":"));
  EXPECT_THAT(client.call({"INFO"}), HasSubstr("connected_clients:1"));
  EXPECT_EQ(client.call({"RESET"}), "RESET");
  client.send_raw("PING\r\n\r\nGET t:1\r\n");
  EXPECT_EQ(client.receive(), "PONG");
  EXPECT_EQ(client.receive(), "(nil)");
  client.send({"QUIT"});
  EXPECT_EQ(client.receive(), "OK");
  EXPECT_THAT(client.receive(), StartsWith("closed"));
}

// What a web page can make a browser send.
TEST_F(Routing, TakesNoCommandOutOfAnHttpRequest) {
  start_router();
  for (const char* first : {"POST / HTTP/1.1\r\n", "Host: 127.0.0.1\r\n"}) {
    auto client = connect();
    client.send_raw(concat(first, "\r\nSET t:1 x\r\n"));
    EXPECT_EQ(client.receive(), "-ERR this is not an HTTP server");
    EXPECT_THAT(client.receive(), StartsWith("closed"));
  }
  EXPECT_EQ(connect().call({"GET", "t:1"}), "(nil)");
}

TEST_F(Routing, AnswersAClientThatHasClosedItsSide) {
  start_router();
  auto client = connect();
  for (int i = 1; i <= 100; ++i) client.send({"INCR", "t:1"});
  client.close_sending_side();
  for (int i = 1; i <= 100; ++i) ASSERT_EQ(client.receive(), concat(":", i));
  EXPECT_THAT(client.receive(), StartsWith("closed"));
}

TEST_F(Routing, PassesBinaryKeysAndBigValuesUnchanged) {
  start_router();
  auto client = connect();
  const std::string key("t:\0\r\n\xff", 6);
  std::string value(20 << 20, '\0');
  for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * i >> 7);
  EXPECT_EQ(client.call({"SET", key, value}), "OK");
  EXPECT_TRUE(client.call({"GET", key}) == value);
  EXPECT_EQ(client.call({"STRLEN", key}), concat(":", value.size()));
}

TEST_F(Routing, ClosesAfterWhatIsNotRespAndServesTheOthers) {
  options_.resp.max_bulk = 1'000;
  start_router();
  auto other = connect();
  for (const std::string wrong :
       {"*1\r\n$999999999999\r\n", "*1\r\n$1001\r\n", "*1\r\nx", "*x\r\n", "\"\r\n"}) {
    auto client = connect();
    client.send_raw("PING\r\n" + wrong + std::string(100'000, 'x'));
    EXPECT_EQ(client.receive(), "PONG");
    EXPECT_THAT(client.receive(), StartsWith("-ERR Protocol error")) << wrong;
    EXPECT_THAT(client.receive(), StartsWith("closed"));
  }
  EXPECT_EQ(other.call({"PING"}), "PONG");
}

TEST_F(Routing, StopsReadingAClientThatDoesNotRead) {
  options_.max_pipeline = 8;
  options_.max_pipeline_bytes = 100'000;
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", std::string(50'000, 'x')}), "OK");
  constexpr int kRequests = 2'000;  // whose replies are 100 MB
  std::string requests;
  for (int i = 0; i < kRequests; ++i) {
    append_command(requests, {"GET", "t:1"});
    append_command(requests, {"ECHO", std::to_string(i)});
  }
  std::thread sender([&] { client.send_raw(requests); });
  auto other = connect();
  EXPECT_EQ(other.call({"GET", "t:2"}), "(nil)");
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_EQ(client.receive().size(), 50'000U);
    ASSERT_EQ(client.receive(), std::to_string(i));
  }
  sender.join();
}

TEST_F(Routing, TakesNoMoreClientsThanItMay) {
  options_.max_clients = 1;
  start_router();
  auto client = connect();
  EXPECT_EQ(client.call({"PING"}), "PONG");
  auto refused = connect();
  EXPECT_THAT(refused.receive(), StartsWith("-ERR max number of clients"));
  EXPECT_THAT(refused.receive(), StartsWith("closed"));
}

TEST_F(Routing, OtherTenantsGoOnWhenAServerDies) {
  start_router();
  auto client = connect();
  client.call({"PLACEMENT", "SET", "u", "b"});
  ASSERT_EQ(client.call({"SET", "t:1", "kept"}), "OK");
  a_.kill();
  EXPECT_THAT(client.call({"GET", "t:1"}), StartsWith("-UPSTREAM"));
  EXPECT_EQ(client.call({"SET", "u:1", "x"}), "OK");
  a_.restart();
  EXPECT_TRUE(eventually(client, {"GET", "t:1"}, "kept"));
}

TEST_F(Routing, StartsWithoutItsServersAndFindsThemLater) {
  a_.kill();
  start_router();
  auto client = connect();
  EXPECT_THAT(client.call({"SET", "t:1", "x"}), StartsWith("-UPSTREAM "));
  a_.restart();
  EXPECT_TRUE(eventually(client, {"SET", "t:1", "x"}, "OK"));
}

TEST_F(Routing, FailsRequestsOfASilentServerAndQuarantinesTheirPermits) {
  options_.upstream_timeout = absl::Milliseconds(200);
  start_router();
  auto client = connect();
  // From here on the server owes nothing, however slow it was to get here.
  ASSERT_TRUE(eventually(client, {"SET", "t:1", "x"}, "OK"));
  a_.freeze();
  const absl::Time sent = absl::Now();
  client.send({"SET", "t:1", "y"});
  EXPECT_THAT(client.receive(), StartsWith("-UPSTREAMLOST "));
  EXPECT_THAT(client.call({"INFO"}), Not(HasSubstr("writes_quarantined:0")));
  // The server may still do it, so it counts for as long again.
  EXPECT_TRUE(eventually(client, {"PLACEMENT", "LIST"}, "writes_in_flight=0"));
  EXPECT_GE(absl::Now() - sent, 2 * options_.upstream_timeout);
  a_.unfreeze();
  EXPECT_TRUE(eventually(client, {"SET", "t:1", "z"}, "OK"));
}

TEST_F(Routing, FinishesWhatIsInFlightWhenItStops) {
  options_.shutdown_grace = kPatience;
  start_router();
  auto client = connect();
  auto control = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  a_.freeze();
  client.send({"SET", "t:1", "y"});
  ASSERT_TRUE(eventually(control, {"PLACEMENT", "LIST"}, "writes_in_flight=1"));
  router_->stop();
  EXPECT_THAT(control.receive(), StartsWith("closed"));  // it had nothing in flight
  a_.unfreeze();
  EXPECT_EQ(client.receive(), "OK");
  EXPECT_THAT(client.receive(), StartsWith("closed"));
  stop_router();
  EXPECT_EQ(connect(a_).call({"GET", "t:1"}), "y");
}

TEST_F(Routing, DoesNotWaitForeverWhenItStops) {
  options_.shutdown_grace = absl::Milliseconds(100);
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  a_.freeze();
  client.send({"SET", "t:1", "y"});
  stop_router();
  EXPECT_THAT(client.receive(), StartsWith("closed"));
  a_.unfreeze();
}

}  // namespace
}  // namespace redis_router
