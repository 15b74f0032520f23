// SPDX-License-Identifier: Apache-2.0
//
// README.md's blocks of C++, as they stand there: compiled, run, and what they do is looked at.
#include <deque>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#ifdef PLACEMENT_TESTS_WITH_ASIO
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <placement/asio.hpp>
#endif
#include <placement/executor.hpp>
#include <placement/placement_table.hpp>

namespace {

using placement::ClusterId;
using placement::Placement;

// What a reader has to imagine: clusters that take writes, and an event loop.

struct Cluster {
  std::vector<std::string> writes;
  std::deque<absl::AnyInvocable<void()>> under_way;

  void write(const std::string& request) { writes.push_back(request); }
  void async_write(const std::string& request, absl::AnyInvocable<void()> done) {
    writes.push_back(request);
    under_way.push_back(std::move(done));
  }
#ifdef ASIO_HAS_CO_AWAIT  // 1.22 does not know of clang's coroutines
  asio::awaitable<void> write(const std::string& request, asio::use_awaitable_t<>) {
    co_await asio::post(asio::use_awaitable);
    writes.push_back(request);
  }
#endif
};

class EventLoop final : public placement::Executor {
 public:
  void execute(absl::AnyInvocable<void()> task) override { tasks_.push_back(std::move(task)); }
  void run() {
    for (; !tasks_.empty(); tasks_.pop_front()) tasks_.front()();
  }

 private:
  std::deque<absl::AnyInvocable<void()>> tasks_;
};

class Readme : public testing::Test {
 protected:
  void refuse(const std::string&, placement::WriteRefusal refusal) { refusal_ = refusal; }

  std::string tenant = "tenant-42";
  std::string request = "SET tenant-42:x 1";
  std::map<ClusterId, Cluster> clusters;
  std::optional<placement::WriteRefusal> refusal_;
};

TEST_F(Readme, TheTenLinesPrintWhatItSays) {
  std::ostringstream printed;
  std::streambuf* const before = std::cout.rdbuf(printed.rdbuf());
  {
#include "snippets/1.inc"
  }
  std::cout.rdbuf(before);
  EXPECT_EQ(printed.str(),
            "begin:   epoch 2\n"
            "cutover: epoch 3\n"
            "flip:    WritesInFlight\n"
            "flip:    epoch 4\n"
            "read:    redis-b\n");
}

TEST_F(Readme, ABlockingWriteGoesWhereThePartitionLivesOrIsRefused) {
  placement::PlacementTable table;
  clusters.emplace(ClusterId("redis-a"), Cluster());
  const auto write = [&] {
#include "snippets/2.inc"
  };
  write();
  EXPECT_EQ(refusal_, placement::WriteRefusal::UnknownPartition);
  table.set(tenant, Placement::dedicated_cluster(ClusterId("redis-a")));
  write();
  EXPECT_EQ(clusters.at(ClusterId("redis-a")).writes.size(), 1U);
  EXPECT_EQ(table.writes_in_flight(tenant), 0U);
}

TEST_F(Readme, AnEventLoopsWriteHasItsPermitUntilItHasFinished) {
  EventLoop loop;
  Cluster& redis_a = clusters.emplace(ClusterId("redis-a"), Cluster()).first->second;
#include "snippets/3.inc"
  loop.run();
  EXPECT_EQ(redis_a.writes.size(), 1U);
  EXPECT_EQ(table.writes_in_flight(tenant), 1U);
  redis_a.under_way.clear();
  EXPECT_EQ(table.writes_in_flight(tenant), 0U);
  EXPECT_FALSE(refusal_);
}

#ifdef ASIO_HAS_CO_AWAIT  // 1.22 does not know of clang's coroutines
TEST_F(Readme, ACoroutineWaitsForItsPermitAndWrites) {
  placement::PlacementTable table;
  asio::io_context context;
  const auto to = Placement::dedicated_cluster(ClusterId("redis-b"));
  Cluster& cluster = clusters.emplace(ClusterId("redis-b"), Cluster()).first->second;
  table.set(tenant, Placement::dedicated_cluster(ClusterId("redis-a")));
  ASSERT_TRUE(table.begin_migration(tenant, to) && table.enter_cutover(tenant));
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
#include "snippets/4.inc"
      },
      asio::detached);
  context.poll();
  EXPECT_TRUE(cluster.writes.empty());
  ASSERT_TRUE(table.complete_migration(tenant));
  context.run();
  EXPECT_EQ(cluster.writes.size(), 1U);
  EXPECT_EQ(table.writes_in_flight(tenant), 0U);
}
#endif

}  // namespace
