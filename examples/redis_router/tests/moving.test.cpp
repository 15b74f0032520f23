// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mover_connection.hpp"
#include "tests/test_router.hpp"

namespace redis_router {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;
using Cutover = RouterTest;
using Moving = RouterTest;

// Tenant t, on its way to b.
void begin_and_cut_over(TestClient& control) {
  ASSERT_THAT(control.call({"PLACEMENT", "BEGIN", "t", "b"}), StartsWith("OK"));
  ASSERT_THAT(control.call({"PLACEMENT", "CUTOVER", "t"}), StartsWith("OK"));
}

TEST_F(Cutover, HoldsWritesUntilTheFlipAndKeepsTheOrder) {
  start_router();
  auto control = connect();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "old"}), "OK");
  ASSERT_THAT(control.call({"PLACEMENT", "BEGIN", "t", "b"}), StartsWith("OK"));
  ASSERT_EQ(client.call({"SET", "t:2", "draining"}), "OK");  // goes to the origin
  ASSERT_THAT(control.call({"PLACEMENT", "CUTOVER", "t"}), StartsWith("OK"));
  EXPECT_EQ(control.call({"GET", "t:1"}), "old");  // reads go on
  client.send({"SET", "t:1", "new"});
  client.send({"GET", "t:1"});
  ASSERT_TRUE(held_writes(control, 1));
  ASSERT_THAT(control.call({"PLACEMENT", "COMPLETE", "t"}), StartsWith("OK"));
  EXPECT_EQ(client.receive(), "OK");
  EXPECT_EQ(client.receive(), "new");
  EXPECT_EQ(connect(a_).call({"GET", "t:1"}), "old");
  EXPECT_EQ(connect(b_).call({"GET", "t:1"}), "new");
}

TEST_F(Cutover, HeldWritesGoToTheOriginAfterAnAbort) {
  start_router();
  auto control = connect();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "old"}), "OK");
  begin_and_cut_over(control);
  client.send({"SET", "t:1", "new"});
  ASSERT_TRUE(held_writes(control, 1));
  ASSERT_THAT(control.call({"PLACEMENT", "ABORT", "t"}), StartsWith("OK"));
  EXPECT_EQ(client.receive(), "OK");
  EXPECT_EQ(connect(a_).call({"GET", "t:1"}), "new");
}

TEST_F(Cutover, LetsGoOfAWriteAtTheHoldTimeoutAndGoesOn) {
  options_.hold_timeout = absl::Milliseconds(50);
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "old"}), "OK");
  begin_and_cut_over(client);
  client.send({"SET", "t:1", "new"});
  client.send({"GET", "t:1"});
  EXPECT_THAT(client.receive(), StartsWith("-TRYAGAIN "));
  EXPECT_EQ(client.receive(), "old");
  EXPECT_THAT(client.call({"INFO"}),
              AllOf(HasSubstr("writes_held_now:0"), HasSubstr("hold_timeouts:1")));
}

TEST_F(Cutover, HoldsNoMoreWritesThanItMay) {
  options_.max_held_writes = 1;
  start_router();
  auto control = connect();
  auto first = connect();
  auto second = connect();
  ASSERT_EQ(first.call({"SET", "t:1", "old"}), "OK");
  begin_and_cut_over(control);
  first.send({"SET", "t:1", "new"});
  ASSERT_TRUE(held_writes(control, 1));
  EXPECT_THAT(second.call({"SET", "t:2", "x"}), StartsWith("-TRYAGAIN "));
  control.call({"PLACEMENT", "COMPLETE", "t"});
  EXPECT_EQ(first.receive(), "OK");
}

TEST_F(Cutover, ForgetsAClientThatVanishesWhileItIsHeld) {
  start_router();
  auto control = connect();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "old"}), "OK");
  begin_and_cut_over(control);
  client.send({"SET", "t:1", "new"});
  ASSERT_TRUE(held_writes(control, 1));
  client.close();
  ASSERT_TRUE(held_writes(control, 0));
  ASSERT_THAT(control.call({"PLACEMENT", "COMPLETE", "t"}), StartsWith("OK"));
  EXPECT_EQ(control.call({"GET", "t:1"}), "(nil)");
}

TEST_F(Cutover, DropsAHeldWriteButNoReplyWhenAClientClosesItsSide) {
  start_router();
  auto control = connect();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "old"}), "OK");
  begin_and_cut_over(control);
  a_.freeze();
  client.send({"SET", "u:1", "sent"});
  client.send({"SET", "t:1", "held"});
  client.send({"SET", "u:1", "behind it"});
  ASSERT_TRUE(held_writes(control, 1));
  client.close_sending_side();
  ASSERT_TRUE(held_writes(control, 0));
  a_.unfreeze();
  EXPECT_EQ(client.receive(), "OK");
  EXPECT_THAT(client.receive(), StartsWith("closed"));
  control.call({"PLACEMENT", "ABORT", "t"});
  EXPECT_EQ(control.call({"GET", "t:1"}), "old");
  EXPECT_EQ(control.call({"GET", "u:1"}), "sent");
}

TEST_F(Cutover, WaitsForTheWritesThatWereSentBefore) {
  start_router();
  auto control = connect();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "old"}), "OK");
  a_.freeze();
  client.send({"SET", "t:1", "new"});
  ASSERT_TRUE(eventually(control, {"PLACEMENT", "GET", "t"}, "writes_in_flight 1"));
  begin_and_cut_over(control);
  EXPECT_THAT(control.call({"PLACEMENT", "COMPLETE", "t"}), StartsWith("-WRITESINFLIGHT 1 writes"));
  client.close();  // it need not stay to hear the answer
  a_.unfreeze();
  EXPECT_TRUE(eventually(control, {"PLACEMENT", "COMPLETE", "t"}, "OK epoch"));
  EXPECT_EQ(connect(a_).call({"GET", "t:1"}), "new");
}

TEST_F(Cutover, EveryRefusedTransitionIsNamed) {
  start_router();
  auto client = connect();
  for (const char* what : {"CUTOVER", "COMPLETE", "ABORT", "ERASE"}) {
    EXPECT_THAT(client.call({"PLACEMENT", what, "t"}), StartsWith("-NOPLACEMENT ")) << what;
  }
  EXPECT_THAT(client.call({"PLACEMENT", "BEGIN", "t", "b"}), StartsWith("-NOPLACEMENT "));
  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", "t", "b"}), StartsWith("-NOPLACEMENT "));
  EXPECT_EQ(client.call({"PLACEMENT", "GET", "t"}), "(nil)");
  EXPECT_EQ(client.call({"PLACEMENT", "STATUS", "t"}), "(nil)");
  EXPECT_THAT(client.call({"PLACEMENT", "SET", "t", "nowhere"}), StartsWith("-NOCLUSTER "));
  client.call({"PLACEMENT", "SET", "t", "a"});
  EXPECT_THAT(client.call({"PLACEMENT", "CUTOVER", "t"}), StartsWith("-NOTMIGRATING "));
  EXPECT_THAT(client.call({"PLACEMENT", "BEGIN", "t", "a"}),
              HasSubstr("lives on cluster a already"));
  client.call({"PLACEMENT", "BEGIN", "t", "b"});
  EXPECT_THAT(client.call({"PLACEMENT", "BEGIN", "t", "b"}), StartsWith("-ALREADYMIGRATING "));
  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", "t", "b"}), StartsWith("-ALREADYMIGRATING "));
  EXPECT_THAT(client.call({"PLACEMENT", "ERASE", "t"}), StartsWith("-ALREADYMIGRATING "));
  EXPECT_THAT(client.call({"PLACEMENT", "COMPLETE", "t"}), StartsWith("-NOTCUTOVER "));
  EXPECT_THAT(client.call({"PLACEMENT", "LIST"}), HasSubstr("t draining a->b epoch=2 age="));
  client.call({"PLACEMENT", "CUTOVER", "t"});
  EXPECT_THAT(client.call({"PLACEMENT", "CUTOVER", "t"}), StartsWith("-NOTDRAINING "));
  EXPECT_THAT(client.call({"PLACEMENT", "LIST", "MIGRATING"}), HasSubstr("t cutover a->b"));
  client.call({"PLACEMENT", "ABORT", "t"});
  EXPECT_EQ(client.call({"PLACEMENT", "LIST", "MIGRATING"}), "[]");
  EXPECT_THAT(client.call({"PLACEMENT", "ERASE", "t"}), StartsWith("OK"));
  EXPECT_THAT(client.call({"PLACEMENT", "NOSUCH"}), StartsWith("-ERR unknown subcommand"));
  EXPECT_THAT(client.call({"PLACEMENT"}), StartsWith("-ERR unknown subcommand"));
  EXPECT_THAT(client.call({"PLACEMENT", "GET"}), StartsWith("-ERR wrong number"));
  EXPECT_THAT(client.call({"PLACEMENT", "HELP"}), HasSubstr("PLACEMENT MIGRATE"));
}

TEST_F(Moving, TakesEveryKindOfKeyAlongAndNoOtherTenants) {
  start_router();
  auto client = connect();
  const std::string tenant = "a*[b]?\\-^";  // all of it literal
  const auto key = [&](std::string_view rest) { return concat(tenant, ":", rest); };
  const std::string binary("\0\r\n\xff", 4);
  client.call({"SET", key(binary), binary});
  client.call({"SET", tenant, "named as the tenant"});
  client.call({"HSET", key("hash"), "f", "v"});
  client.call({"RPUSH", key("list"), "1", "2", "3"});
  client.call({"ZADD", key("zset"), "1.5", "m"});
  client.call({"XADD", key("stream"), "1-1", "f", "v"});
  client.call({"SET", key("ttl"), "x", "PXAT", "33333333333333"});
  client.call({"SET", key("big"), std::string(5 << 20, 'x')});
  client.call({"SET", "axb]:other", "stays"});
  auto stale = connect(b_);
  stale.call({"SET", key("stale"), "from an earlier life"});
  stale.call({"SET", "other:1", "not ours"});

  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", tenant, "b"}), HasSubstr("cutover"));
  EXPECT_EQ(client.call({"GET", key(binary)}), binary);
  EXPECT_EQ(client.call({"GET", tenant}), "named as the tenant");
  EXPECT_EQ(client.call({"HGET", key("hash"), "f"}), "v");
  EXPECT_EQ(client.call({"LRANGE", key("list"), "0", "-1"}), "[1 2 3]");
  EXPECT_EQ(client.call({"ZSCORE", key("zset"), "m"}), "1.5");
  EXPECT_EQ(client.call({"XLEN", key("stream")}), ":1");
  EXPECT_EQ(client.call({"PEXPIRETIME", key("ttl")}), ":33333333333333");
  EXPECT_EQ(client.call({"STRLEN", key("big")}), concat(":", 5 << 20));
  EXPECT_EQ(client.call({"EXISTS", key("stale")}), ":0");
  EXPECT_EQ(connect(a_).call({"KEYS", "*"}), "[axb]:other]");
  EXPECT_EQ(connect(b_).call({"DBSIZE"}), ":9");
  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", tenant, "b"}), StartsWith("-ERR tenant"));
  EXPECT_THAT(client.call({"PLACEMENT", "STATUS", tenant}), HasSubstr("step Flipped"));
  EXPECT_THAT(client.call({"PLACEMENT", "LIST"}),
              AllOf(HasSubstr("a*[b]?"), HasSubstr("settled b epoch=")));
}

TEST_F(Moving, LosesNoWriteThatIsMadeMeanwhile) {
  start_router();
  auto control = connect();
  for (int i = 0; i < 2'000; ++i) control.send({"SET", concat("t:filler:", i), "x"});
  for (int i = 0; i < 2'000; ++i) ASSERT_EQ(control.receive(), "OK");
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  std::vector<std::pair<int, int>> ends(2);
  writers.reserve(ends.size());
  for (std::size_t w = 0; w < ends.size(); ++w) {
    writers.emplace_back([&, w] {
      auto client = connect();
      const std::string counter = concat("t:counter:", w);
      int& count = ends[w].first;
      while (!stop) {
        // A key that comes, moves and goes, and one that counts.
        ASSERT_EQ(client.call({"SET", concat(counter, ":tmp"), "x"}), "OK");
        ASSERT_EQ(client.call({"RENAME", concat(counter, ":tmp"), concat(counter, ":there")}),
                  "OK");
        ASSERT_EQ(client.call({"INCR", counter}), concat(":", ++count));
        ASSERT_EQ(client.call({"DEL", concat(counter, ":there")}), ":1");
      }
      ends[w].second = 1;
    });
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_THAT(control.call({"PLACEMENT", "MIGRATE", "t", i % 2 == 0 ? "b" : "a"}),
                HasSubstr("cutover"));
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  for (std::size_t w = 0; w < ends.size(); ++w) {
    EXPECT_GT(ends[w].first, 0);
    EXPECT_EQ(connect(a_).call({"GET", concat("t:counter:", w)}), std::to_string(ends[w].first));
  }
  EXPECT_EQ(connect(a_).call({"DBSIZE"}), ":2002");
  EXPECT_EQ(connect(b_).call({"DBSIZE"}), ":0");
}

// A server takes some of a long pipeline at a time, and the mover's requests in between.
TEST_F(Moving, ReadsThatWereSentBeforeTheFlipFindTheirKey) {
  options_.max_pipeline = 200'000;
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  constexpr int kReads = 100'000;
  std::string reads;
  for (int i = 0; i < kReads; ++i) append_command(reads, {"GET", "t:1"});
  std::thread sender([&] { client.send_raw(reads); });
  ASSERT_EQ(client.receive(), "x");
  auto control = connect();
  control.send({"PLACEMENT", "MIGRATE", "t", "b"});
  for (int i = 1; i < kReads; ++i) ASSERT_EQ(client.receive(), "x") << i;
  sender.join();
  EXPECT_THAT(control.receive(), HasSubstr("cutover"));
}

// A connection of an earlier mover to a server that was frozen: what it had sent may be carried out
// late, even after the flip.
TEST_F(Moving, ClosesTheConnectionsOfEarlierMovers) {
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  for (const char* to : {"b", "a"}) {  // a is the origin, then the destination
    auto earlier = MoverConnection::connect("earlier", a_.endpoint(), kPatience);
    auto other = MoverConnection::connect("other", a_.endpoint(), kPatience);
    ASSERT_TRUE(earlier.ok() && earlier->take_over("t").ok());
    ASSERT_TRUE(other.ok() && other->take_over("u").ok());
    EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", "t", to}), HasSubstr("cutover"));
    EXPECT_FALSE(earlier->call({"SET", "t:1", "late"}).ok());
    EXPECT_TRUE(other->call({"PING"}).ok());
  }
  EXPECT_EQ(client.call({"GET", "t:1"}), "x");
}

TEST_F(Moving, RefusesToMoveATenantOntoTheServerItIsOn) {
  options_.clusters.push_back({"alias", {"localhost", a_.endpoint().port}});
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "precious"}), "OK");
  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", "t", "alias"}),
              AllOf(StartsWith("-ABORTED "), HasSubstr("one and the same server")));
  EXPECT_EQ(client.call({"GET", "t:1"}), "precious");
}

TEST_F(Moving, AbortsWhenTheDestinationIsDown) {
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  b_.kill();
  // Depending on whether the router has noticed already.
  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", "t", "b"}),
              AnyOf(StartsWith("-ABORTED at Prepare"), StartsWith("-UPSTREAM ")));
  EXPECT_THAT(client.call({"PLACEMENT", "LIST"}), HasSubstr("t settled a"));
  EXPECT_EQ(client.call({"SET", "t:1", "y"}), "OK");
  b_.restart();
  // Not before clients would find it.
  EXPECT_TRUE(eventually(client, {"PLACEMENT", "MIGRATE", "t", "b"}, "cutover"));
  EXPECT_EQ(client.call({"GET", "t:1"}), "y");
}

TEST_F(Moving, AbortsWhenTheDestinationHasNoMemoryLeftAndLeavesNothingThere) {
  start_router();
  auto client = connect();
  ASSERT_EQ(client.call({"SET", "t:1", "x"}), "OK");
  auto b = connect(b_);
  ASSERT_EQ(b.call({"CONFIG", "SET", "maxmemory", "1"}), "OK");
  EXPECT_THAT(client.call({"PLACEMENT", "MIGRATE", "t", "b"}),
              AllOf(StartsWith("-ABORTED at Copy"), HasSubstr("OOM")));
  EXPECT_EQ(client.call({"GET", "t:1"}), "x");
  EXPECT_EQ(b.call({"DBSIZE"}), ":0");
}

TEST_F(Moving, CanBeAbortedAndKeepsOthersOut) {
  start_router();
  auto control = connect();
  auto mover = connect();
  ASSERT_EQ(control.call({"SET", "t:1", "x"}), "OK");
  b_.freeze();
  mover.send({"PLACEMENT", "MIGRATE", "t", "b"});
  mover.send({"PING"});
  ASSERT_TRUE(eventually(control, {"PLACEMENT", "STATUS", "t"}, "step Prepare"));
  for (const char* what : {"CUTOVER", "COMPLETE", "ERASE"}) {
    EXPECT_THAT(control.call({"PLACEMENT", what, "t"}), StartsWith("-BUSY ")) << what;
  }
  EXPECT_THAT(control.call({"PLACEMENT", "SET", "t", "b"}), StartsWith("-BUSY "));
  EXPECT_THAT(control.call({"PLACEMENT", "MIGRATE", "t", "b"}), StartsWith("-BUSY "));
  EXPECT_EQ(control.call({"PLACEMENT", "ABORT", "t"}), "OK aborting");
  b_.unfreeze();
  EXPECT_THAT(mover.receive(), StartsWith("-ABORTED "));
  EXPECT_EQ(mover.receive(), "PONG");
  EXPECT_THAT(control.call({"PLACEMENT", "LIST"}), HasSubstr("t settled a"));
}

TEST_F(Moving, GoesOnWhenItsOperatorLeaves) {
  start_router();
  auto control = connect();
  auto mover = connect();
  ASSERT_EQ(control.call({"SET", "t:1", "x"}), "OK");
  mover.send({"PLACEMENT", "MIGRATE", "t", "b"});
  mover.close();
  EXPECT_TRUE(eventually(control, {"PLACEMENT", "LIST"}, "t settled b"));
}

TEST_F(Moving, AbortsWhenTheRouterStops) {
  start_router();
  auto control = connect();
  auto mover = connect();
  ASSERT_EQ(control.call({"SET", "t:1", "x"}), "OK");
  b_.freeze();
  mover.send({"PLACEMENT", "MIGRATE", "t", "b"});
  ASSERT_TRUE(eventually(control, {"PLACEMENT", "STATUS", "t"}, "step Prepare"));
  router_->stop();
  EXPECT_THAT(control.receive(), StartsWith("closed"));
  b_.unfreeze();
  EXPECT_THAT(mover.receive(), StartsWith("-ABORTED "));
  stop_router();
  EXPECT_EQ(connect(a_).call({"GET", "t:1"}), "x");
}

}  // namespace
}  // namespace redis_router
