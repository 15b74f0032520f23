// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <placement/migration_queue.hpp>
#include <placement/placement_table.hpp>

#include "support/manual_clock.hpp"
#include "support/scripted_mover.hpp"

namespace placement::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Which migrations are being copied, and a gate that keeps them there.
class Gate {
 public:
  // A mover whose copy comes to the gate and waits there until it is opened for its partition, or
  // until it is told to stop.
  std::unique_ptr<Mover> mover(const MigrationQueue::Plan& plan) {
    auto mover = std::make_unique<ScriptedMover>();
    mover->on_copy = [this, id = plan.id, self = mover.get()]() -> absl::StatusOr<Mover::Rest> {
      return pass(id, self->stop_token());
    };
    return mover;
  }
  MigrationQueue::MakeMover make() {
    return [this](const MigrationQueue::Plan& plan) { return mover(plan); };
  }

  void open(const std::string& id) {
    const std::lock_guard lock(mutex_);
    open_[id] = true;
    changed_.notify_all();
  }
  void open_all() {
    const std::lock_guard lock(mutex_);
    all_open_ = true;
    changed_.notify_all();
  }

  // Returns those that wait at the gate, when so many do.
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_.size() >= count; });
    return waiting_;
  }
  // In the order in which they came to the gate.
  std::vector<std::string> order() {
    const std::lock_guard lock(mutex_);
    return order_;
  }
  std::size_t most_at_once() {
    const std::lock_guard lock(mutex_);
    return most_;
  }

 private:
  absl::StatusOr<Mover::Rest> pass(const std::string& id, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    waiting_.push_back(id);
    std::sort(waiting_.begin(), waiting_.end());
    order_.push_back(id);
    most_ = std::max(most_, waiting_.size());
    changed_.notify_all();
    changed_.wait(lock, stop, [&] { return all_open_ || open_[id]; });
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), id));
    if (stop.stop_requested()) return absl::CancelledError("told to stop");
    return Mover::Rest::Small;
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, bool> open_;
  bool all_open_ = false;
  std::vector<std::string> waiting_;
  std::vector<std::string> order_;
  std::size_t most_ = 0;
};

Placement cluster(const std::string& name) { return Placement::dedicated_cluster(ClusterId(name)); }

class MigrationQueueTest : public ::testing::Test {
 protected:
  // Registers `id` on a cluster and queues its migration to another.
  MigrationJobId submit(MigrationQueue& queue, const std::string& id, const std::string& from,
                        const std::string& to, int priority = 0) {
    table.set(id, cluster(from));
    return queue.submit(id, cluster(to), gate.make(), {.priority = priority});
  }
  static MigrationQueue::Options at_once(std::size_t all, std::size_t source = 100,
                                         std::size_t destination = 100) {
    return {.max_running = all, .max_per_source = source, .max_per_destination = destination};
  }
  void expect_all_settled() { EXPECT_THAT(table.migrations(), IsEmpty()); }

  PlacementTable table;
  Gate gate;
};

TEST_F(MigrationQueueTest, RunsWhatIsSubmittedAndKeepsTheReport) {
  gate.open_all();
  MigrationQueue queue(table);
  const MigrationJobId job = submit(queue, "p", "a", "b");
  const std::optional<MigrationReport> report = queue.wait(job);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok()) << *report;
  EXPECT_EQ(table.get("p")->placement, cluster("b"));
  const auto status = queue.status(job);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->state, MigrationJobState::Ended);
  EXPECT_EQ(status->id, "p");
  EXPECT_EQ(status->to, cluster("b"));
  EXPECT_TRUE(status->report->ok());
  EXPECT_THAT(queue.list(), IsEmpty());
}

TEST_F(MigrationQueueTest, RunsNoMoreAtOnceThanItMay) {
  MigrationQueue queue(table, at_once(2));
  for (const std::string id : {"p", "q", "r", "s", "t"})
    submit(queue, id, "from " + id, "to " + id);
  EXPECT_THAT(gate.wait_for(2), ElementsAre("p", "q"));
  gate.open_all();
  queue.wait_until_idle();
  EXPECT_EQ(gate.most_at_once(), 2U);
  EXPECT_THAT(gate.order().size(), 5U);
}

TEST_F(MigrationQueueTest, RunsNoMoreFromOneSourceThanItMayAndLetsOthersPass) {
  MigrationQueue queue(table, at_once(3, 1));
  submit(queue, "p", "a", "x");
  submit(queue, "q", "a", "y");
  submit(queue, "r", "b", "z");
  EXPECT_THAT(gate.wait_for(2), ElementsAre("p", "r"));
  EXPECT_EQ(queue.list().back().id, "q");
  gate.open("p");
  // Its source is free.
  while (gate.order().size() < 3) std::this_thread::yield();
  gate.open_all();
  queue.wait_until_idle();
  EXPECT_THAT(gate.order().back(), "q");
}

TEST_F(MigrationQueueTest, RunsNoMoreToOneDestinationThanItMay) {
  MigrationQueue queue(table, at_once(3, 100, 1));
  submit(queue, "p", "a", "x");
  submit(queue, "q", "b", "x");
  submit(queue, "r", "c", "y");
  EXPECT_THAT(gate.wait_for(2), ElementsAre("p", "r"));
  gate.open_all();
  queue.wait_until_idle();
  EXPECT_EQ(gate.order().back(), "q");
}

TEST_F(MigrationQueueTest, RunsOneMigrationOfAPartitionAtATime) {
  MigrationQueue queue(table, at_once(2));
  submit(queue, "p", "a", "b");
  gate.wait_for(1);
  const MigrationJobId second = queue.submit("p", cluster("c"), gate.make());
  const MigrationJobId other = submit(queue, "q", "a", "b");
  EXPECT_THAT(gate.wait_for(2), ElementsAre("p", "q"));
  EXPECT_EQ(queue.status(second)->state, MigrationJobState::Queued);
  gate.open_all();
  EXPECT_TRUE(queue.wait(second)->ok());
  EXPECT_TRUE(queue.wait(other)->ok());
  EXPECT_EQ(table.get("p")->placement, cluster("c"));
}

TEST_F(MigrationQueueTest, CountsPlacesAsItIsTold) {
  auto options = at_once(2, 1);
  options.place_of = [](const Placement& placement) {
    return std::string(placement.cluster().view().substr(0, 4));  // the rack
  };
  MigrationQueue queue(table, std::move(options));
  submit(queue, "p", "rack-a", "x");
  submit(queue, "q", "rack-b", "y");
  submit(queue, "r", "hall-c", "z");
  EXPECT_THAT(gate.wait_for(2), ElementsAre("p", "r"));
  gate.open_all();
}

TEST_F(MigrationQueueTest, GoesByPriorityAndThenInTheOrderOfSubmission) {
  MigrationQueue queue(table, at_once(1));
  submit(queue, "first", "a", "b");
  gate.wait_for(1);
  const MigrationJobId low = submit(queue, "low", "a", "b", -1);
  const MigrationJobId mid1 = submit(queue, "mid1", "a", "b");
  const MigrationJobId mid2 = submit(queue, "mid2", "a", "b");
  const MigrationJobId high = submit(queue, "high", "a", "b", 7);
  EXPECT_EQ(queue.status(high)->place, 0U);
  EXPECT_EQ(queue.status(mid1)->place, 1U);
  EXPECT_EQ(queue.status(mid2)->place, 2U);
  EXPECT_EQ(queue.status(low)->place, 3U);
  std::vector<std::string> listed;
  for (const auto& status : queue.list()) listed.push_back(status.id);
  EXPECT_THAT(listed, ElementsAre("first", "high", "mid1", "mid2", "low"));
  gate.open_all();
  queue.wait_until_idle();
  EXPECT_THAT(gate.order(), ElementsAre("first", "high", "mid1", "mid2", "low"));
}

TEST_F(MigrationQueueTest, TellsHowFarEachHasCome) {
  std::mutex mutex;
  std::vector<std::pair<MigrationJobId, MigrationStep>> told;
  auto options = at_once(1);
  options.on_progress = [&](MigrationJobId job, const MigrationProgress& progress) {
    const std::lock_guard lock(mutex);
    told.emplace_back(job, progress.step);
  };
  MigrationQueue queue(table, std::move(options));
  const MigrationJobId job = submit(queue, "p", "a", "b");
  gate.wait_for(1);
  const auto status = queue.status(job);
  EXPECT_EQ(status->state, MigrationJobState::Running);
  EXPECT_EQ(status->step, MigrationStep::Copy);
  EXPECT_EQ(status->copy_round, 1);
  EXPECT_EQ(status->attempt, 1);
  EXPECT_FALSE(status->report);
  gate.open_all();
  queue.wait_until_idle();
  EXPECT_EQ(told.front(), std::pair(job, MigrationStep::Begin));
  EXPECT_EQ(told.back(), std::pair(job, MigrationStep::Clean));
}

TEST_F(MigrationQueueTest, CancelsOneThatWaits) {
  MigrationQueue queue(table, at_once(1));
  submit(queue, "p", "a", "b");
  gate.wait_for(1);
  table.set("q", cluster("a"));
  std::optional<MigrationOutcome> told;
  const MigrationJobId job = queue.submit(
      "q", cluster("b"), gate.make(),
      {.on_end = [&](MigrationJobId, const MigrationReport& report) { told = report.outcome; }});
  EXPECT_TRUE(queue.cancel(job));
  EXPECT_EQ(told, MigrationOutcome::Refused);
  const auto report = queue.wait(job);
  EXPECT_EQ(report->outcome, MigrationOutcome::Refused);
  EXPECT_EQ(report->status.code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(queue.cancel(job)) << "it has ended";
  gate.open_all();
  queue.wait_until_idle();
  EXPECT_THAT(gate.order(), ElementsAre("p"));
}

TEST_F(MigrationQueueTest, CancelsOneThatRunsAndGoesOnWithTheNext) {
  MigrationQueue queue(table, at_once(1));
  const MigrationJobId job = submit(queue, "p", "a", "b");
  gate.wait_for(1);
  const MigrationJobId next = submit(queue, "q", "a", "b");
  gate.open("q");
  EXPECT_TRUE(queue.cancel(job));
  EXPECT_EQ(queue.wait(job)->outcome, MigrationOutcome::Aborted);
  EXPECT_TRUE(queue.wait(next)->ok());
  EXPECT_EQ(table.state("p")->state, PartitionState::active(cluster("a")));
}

TEST_F(MigrationQueueTest, KnowsNothingOfWhatWasNotSubmitted) {
  MigrationQueue queue(table);
  EXPECT_FALSE(queue.cancel(MigrationJobId{99}));
  EXPECT_FALSE(queue.status(MigrationJobId{99}));
  EXPECT_FALSE(queue.wait(MigrationJobId{99}));
}

TEST_F(MigrationQueueTest, ReportsWhatCannotBeBegun) {
  gate.open_all();
  MigrationQueue queue(table);
  const auto unknown = queue.wait(queue.submit("nobody", cluster("b"), gate.make()));
  EXPECT_EQ(unknown->outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(unknown->status.message()), StartsWith("UnknownPartition"));
  const auto there = queue.wait(submit(queue, "p", "b", "b"));
  EXPECT_EQ(there->outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(there->status.message()), StartsWith("AlreadyThere"));
  const auto moverless = queue.wait(
      queue.submit("p", cluster("c"), [](const auto&) { return std::unique_ptr<Mover>(); }));
  EXPECT_EQ(moverless->outcome, MigrationOutcome::Refused);
  EXPECT_THAT(std::string(moverless->status.message()), StartsWith("NoMover"));
  EXPECT_THAT(gate.order(), IsEmpty());
}

TEST_F(MigrationQueueTest, MakesTheMoverForWhereThePartitionIsWhenItsTurnHasCome) {
  gate.open_all();
  MigrationQueue queue(table, at_once(1));
  table.set("p", cluster("a"));
  std::vector<Placement> origins;
  const MigrationJobId job = queue.submit("p", cluster("b"), [&](const MigrationQueue::Plan& plan) {
    origins.push_back(plan.from);
    if (origins.size() == 1) table.set("p", cluster("moved meanwhile"));
    return gate.mover(plan);
  });
  EXPECT_TRUE(queue.wait(job)->ok());
  EXPECT_THAT(origins, ElementsAre(cluster("a"), cluster("moved meanwhile")));
}

TEST_F(MigrationQueueTest, OutlivesAMoverThatThrows) {
  gate.open_all();
  MigrationQueue queue(table, at_once(1));
  table.set("p", cluster("a"));
  const auto throws = [](const auto&) {
    auto mover = std::make_unique<ScriptedMover>();
    mover->on_finish = []() -> absl::Status { throw std::runtime_error("no such luck"); };
    return std::unique_ptr<Mover>(std::move(mover));
  };
  const auto report = queue.wait(queue.submit("p", cluster("b"), throws));
  EXPECT_EQ(report->outcome, MigrationOutcome::Aborted);
  EXPECT_THAT(std::string(report->status.message()), HasSubstr("no such luck"));
  expect_all_settled();
  const auto odd = [](const auto&) -> std::unique_ptr<Mover> { throw 42; };
  EXPECT_EQ(queue.wait(queue.submit("p", cluster("b"), odd))->status.code(),
            absl::StatusCode::kInternal);
  EXPECT_TRUE(queue.wait(submit(queue, "q", "a", "b"))->ok());
}

TEST_F(MigrationQueueTest, LeavesEveryPartitionSettledWhenItIsStopped) {
  MigrationQueue queue(table, at_once(2));
  std::vector<MigrationJobId> jobs;
  for (const std::string id : {"p", "q", "r", "s"}) jobs.push_back(submit(queue, id, "a", "b"));
  gate.wait_for(2);
  queue.stop();
  expect_all_settled();
  for (const MigrationJobId job : jobs) EXPECT_FALSE(queue.wait(job)->ok());
  EXPECT_EQ(queue.wait(jobs[0])->outcome, MigrationOutcome::Aborted);
  EXPECT_EQ(queue.wait(jobs[3])->outcome, MigrationOutcome::Refused);
  // From now on nothing begins.
  const auto late = queue.wait(submit(queue, "t", "a", "b"));
  EXPECT_EQ(late->outcome, MigrationOutcome::Refused);
  EXPECT_EQ(late->status.code(), absl::StatusCode::kCancelled);
  queue.stop();
}

TEST_F(MigrationQueueTest, LeavesEveryPartitionSettledWhenItIsDestroyed) {
  std::atomic<int> ended = 0;
  {
    MigrationQueue queue(table, at_once(2));
    for (const std::string id : {"p", "q", "r"}) {
      table.set(id, cluster("a"));
      static_cast<void>(
          queue.submit(id, cluster("b"), gate.make(),
                       {.on_end = [&](MigrationJobId, const MigrationReport&) { ++ended; }}));
    }
    gate.wait_for(2);
  }
  EXPECT_EQ(ended, 3) << "each was told of its end";
  expect_all_settled();
}

TEST_F(MigrationQueueTest, EndsACutoverUnderWayWhenItIsDestroyed) {
  auto options = at_once(1);
  options.policy.max_cutover = absl::InfiniteDuration();
  std::latch in_cutover(1);
  std::latch told(1);
  std::optional<MigrationQueue> queue(std::in_place, table, std::move(options));
  table.set("p", cluster("a"));
  const auto make = [&](const auto&) {
    auto mover = std::make_unique<ScriptedMover>();
    mover->on_finish = [&, self = mover.get()] {
      const std::stop_callback on_stop(self->stop_token(), [&] { told.count_down(); });
      in_cutover.count_down();
      told.wait();
      EXPECT_EQ(table.state("p")->state, PartitionState::active(cluster("a")));
      return absl::OkStatus();
    };
    return std::unique_ptr<Mover>(std::move(mover));
  };
  static_cast<void>(queue->submit("p", cluster("b"), make));
  in_cutover.wait();
  queue.reset();
  expect_all_settled();
}

TEST_F(MigrationQueueTest, ForgetsTheOldestOfThoseThatHaveEnded) {
  gate.open_all();
  auto options = at_once(1);
  options.max_remembered = 2;
  MigrationQueue queue(table, std::move(options));
  std::vector<MigrationJobId> jobs;
  for (const std::string id : {"p", "q", "r"}) jobs.push_back(submit(queue, id, "a", "b"));
  queue.wait_until_idle();
  EXPECT_FALSE(queue.status(jobs[0]));
  EXPECT_TRUE(queue.status(jobs[1]));
  EXPECT_TRUE(queue.status(jobs[2]));
}

TEST_F(MigrationQueueTest, WaitsForReadsBeforeAMoverCleans) {
  gate.open_all();
  auto options = at_once(1);
  options.wait_for_reads = [](const std::string&, const std::stop_token&) {
    return absl::UnavailableError("not yet");
  };
  MigrationQueue queue(table, std::move(options));
  EXPECT_EQ(queue.wait(submit(queue, "p", "a", "b"))->cleaned.message(), "not yet");
}

TEST(MigrationQueueOfAnyPlacement, CountsByThePlacementItself) {
  struct Node {
    int number;
  };
  BasicPlacementTable<unsigned, Node> table;
  table.set(7, Node{1});
  BasicMigrationQueue<unsigned, Node> queue(table);
  const auto make = [](const auto&) {
    return std::unique_ptr<Mover>(std::make_unique<ScriptedMover>());
  };
  EXPECT_TRUE(queue.wait(queue.submit(7, Node{2}, make))->ok());
  EXPECT_EQ(table.get(7)->placement.number, 2);
}

TEST(MigrationNames, AreThoseOfTheStatesOfAJob) {
  std::ostringstream out;
  out << MigrationJobState::Queued << ' ' << MigrationJobState::Running << ' '
      << MigrationJobState::Ended << ' ' << static_cast<MigrationJobState>(99);
  EXPECT_EQ(out.str(), "Queued Running Ended unknown MigrationJobState");
}

}  // namespace
}  // namespace placement::test
