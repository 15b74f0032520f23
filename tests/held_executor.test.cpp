// SPDX-License-Identifier: Apache-2.0
//
// acquire_write_async, and held writes that an executor resumes.
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/executor.hpp>
#include <placement/placement_table.hpp>

#include "support/threads.hpp"

namespace placement::test {
namespace {

const Placement& here() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("here"));
  return placement;
}
const Placement& there() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("there"));
  return placement;
}

void enter_cutover(PlacementTable& table, const std::string& id = "a") {
  if (!table.contains(id)) table.set(id, here());
  ASSERT_TRUE(table.begin_migration(id, there()));
  ASSERT_TRUE(table.enter_cutover(id));
}

// Runs a task when the test says so.
class ManualExecutor final : public Executor {
 public:
  void execute(absl::AnyInvocable<void()> task) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  // False if there is none.
  bool run_one() {
    std::unique_lock lock(mutex_);
    if (tasks_.empty()) return false;
    absl::AnyInvocable<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    return true;
  }
  std::size_t run_all() {
    std::size_t count = 0;
    while (run_one()) ++count;
    return count;
  }
  void drop_all() {
    std::deque<absl::AnyInvocable<void()>> dropped;
    const std::lock_guard lock(mutex_);
    dropped.swap(tasks_);
  }
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return tasks_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::deque<absl::AnyInvocable<void()>> tasks_;
};

// A pool of threads, which has run all when it is destroyed.
class Pool final : public Executor {
 public:
  explicit Pool(std::size_t threads) {
    for (std::size_t n = 0; n < threads; ++n) threads_.emplace_back([this] { run(); });
  }
  ~Pool() override {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void execute(absl::AnyInvocable<void()> task) override {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ends_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      absl::AnyInvocable<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<absl::AnyInvocable<void()>> tasks_;
  bool ends_ = false;
  std::vector<std::thread> threads_;
};

// What a handler was told.
struct Answer {
  int times = 0;
  std::optional<Placement> placement;
  std::optional<WriteRefusal> refusal;
  WritePermit permit{WriteRefusal::Cutover};

  absl::AnyInvocable<void(WritePermit)> handler() {
    return [this](WritePermit answered) {
      ++times;
      if (answered) {
        placement = answered.placement();
      } else {
        refusal = answered.refusal();
      }
      permit = std::move(answered);
    };
  }
};

// ---- acquire_write_async without an executor ----

class AsyncAcquisition : public testing::Test {
 protected:
  PlacementTable table_;
  Answer answer_;
};

TEST_F(AsyncAcquisition, OutsideOfACutoverIsAnsweredAtOnce) {
  table_.set("a", here());
  EXPECT_FALSE(table_.acquire_write_async("a", answer_.handler()).cancel());
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.placement, here());
  EXPECT_EQ(table_.writes_in_flight("a"), 1U);
  ASSERT_TRUE(table_.begin_migration("a", there()));
  Answer draining;
  table_.acquire_write_async("a", draining.handler());
  EXPECT_EQ(draining.placement, here());
}

TEST_F(AsyncAcquisition, OfAnUnknownPartitionIsRefusedAtOnce) {
  EXPECT_FALSE(table_.acquire_write_async("a", answer_.handler()).refusal());
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.refusal, WriteRefusal::UnknownPartition);
}

TEST_F(AsyncAcquisition, IsHeldInCutoverAndGetsTheDestinationAfterTheFlip) {
  enter_cutover(table_);
  table_.acquire_write_async("a", answer_.handler());
  EXPECT_EQ(answer_.times, 0);
  EXPECT_EQ(table_.held_writes("a").count, 1U);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.placement, there());
  EXPECT_EQ(table_.writes_in_flight("a"), 1U);
}

TEST_F(AsyncAcquisition, GetsTheOriginAfterAnAbort) {
  enter_cutover(table_);
  table_.acquire_write_async("a", answer_.handler());
  ASSERT_TRUE(table_.abort_migration("a"));
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.placement, here());
}

TEST_F(AsyncAcquisition, IsRefusedWhenThePartitionIsErased) {
  enter_cutover(table_);
  table_.acquire_write_async("a", answer_.handler());
  ASSERT_TRUE(table_.apply_erase("a", Epoch(100)));
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.refusal, WriteRefusal::UnknownPartition);
}

TEST_F(AsyncAcquisition, IsRefusedByTheHandlerWhenTooManyAreHeld) {
  PlacementTable table(TableOptions{.max_held_writes = 1});
  enter_cutover(table);
  Answer second;
  table.acquire_write_async("a", answer_.handler());
  EXPECT_FALSE(table.acquire_write_async("a", second.handler()).cancel());
  EXPECT_EQ(second.times, 1);
  EXPECT_EQ(second.refusal, WriteRefusal::TooManyHeld);
  EXPECT_EQ(answer_.times, 0);
  ASSERT_TRUE(table.complete_migration("a"));
  EXPECT_EQ(answer_.placement, there());
  answer_.permit.release();  // before the table goes
}

TEST_F(AsyncAcquisition, IsCancelledByTheTicket) {
  enter_cutover(table_);
  const HoldTicket ticket = table_.acquire_write_async("a", answer_.handler());
  EXPECT_TRUE(ticket.cancel());
  EXPECT_FALSE(ticket.cancel());
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(answer_.times, 0);
  EXPECT_EQ(table_.writes_in_flight("a"), 0U);
}

TEST_F(AsyncAcquisition, KeepsItsPlaceThroughTheNextCutover) {
  enter_cutover(table_);
  std::vector<int> order;
  const auto handler = [&order](int n) {
    return [&order, n](const WritePermit& permit) {
      EXPECT_TRUE(permit);
      order.push_back(n);
    };
  };
  EXPECT_FALSE(table_.hold("a", [&] { enter_cutover(table_); }).refusal());
  const HoldTicket ticket = table_.acquire_write_async("a", handler(1));
  table_.acquire_write_async("a", handler(2));
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_TRUE(order.empty()) << "the first callback began the next cutover";
  table_.acquire_write_async("a", handler(3));
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_FALSE(ticket.cancel());
}

// The partition comes back with another's counter, and is in cutover when the second write's turn
// comes: it was held for the one that is gone.
TEST(AsyncAcquisitions, OfAPartitionThatCameBackElsewhereAreRefused) {
  const auto place = Placement::dedicated_cluster(ClusterId("a"));
  PlacementTable table{TableOptions{.shards = 1}};
  table.set("x", place);
  table.set("y", place);
  ASSERT_TRUE(table.pause_writes("x"));
  std::optional<WriteRefusal> refusal;
  table.acquire_write_async("x", [&](WritePermit permit) {
    permit.release();
    ASSERT_TRUE(table.erase("x"));
    ASSERT_TRUE(table.erase("y"));
    table.set("x", place);
    ASSERT_TRUE(table.pause_writes("x"));
  });
  table.acquire_write_async("x", [&](WritePermit permit) { refusal = permit.refusal(); });
  ASSERT_TRUE(table.resume_writes("x"));
  EXPECT_EQ(refusal, WriteRefusal::UnknownPartition);
}

TEST_F(AsyncAcquisition, OfNumbersAndEnumerationsIsHeldToo) {
  enum class Shard : std::uint8_t { First = 1 };
  BasicPlacementTable<Shard, int> table;
  table.set(Shard::First, 1);
  ASSERT_TRUE(table.begin_migration(Shard::First, 2));
  ASSERT_TRUE(table.enter_cutover(Shard::First));
  int placement = 0;
  table.acquire_write_async(Shard::First,
                            [&](BasicWritePermit<int> permit) { placement = permit.placement(); });
  ASSERT_TRUE(table.complete_migration(Shard::First));
  EXPECT_EQ(placement, 2);
}

TEST_F(AsyncAcquisition, ForNobodyIsCaughtInDebugBuilds) {
#ifdef NDEBUG
  GTEST_SKIP() << "no assertions in this build";
#else
  EXPECT_DEATH(static_cast<void>(table_.acquire_write_async("a", nullptr)), "for nobody");
#endif
}

// ---- with an executor ----

class HeldByExecutor : public testing::Test {
 protected:
  HeldByExecutor() : table_(TableOptions{.shards = 1, .executor = &executor_}) {}

  // The n-th of those that note their number.
  void hold(int n, const std::string& id = "a") {
    EXPECT_FALSE(table_.hold(id, [this, n] { order_.push_back(n); }).refusal());
  }
  void acquire(int n, const std::string& id = "a") {
    table_.acquire_write_async(id, [this, n](const WritePermit& permit) {
      EXPECT_TRUE(permit);
      order_.push_back(n);
    });
  }
  static std::vector<int> up_to(int n) {
    std::vector<int> numbers;
    for (int i = 1; i <= n; ++i) numbers.push_back(i);
    return numbers;
  }

  ManualExecutor executor_;
  PlacementTable table_;
  std::vector<int> order_;
};

TEST_F(HeldByExecutor, AreNotResumedByTheTransitionButByTheExecutor) {
  enter_cutover(table_);
  hold(1);
  acquire(2);
  EXPECT_EQ(executor_.size(), 0U);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_TRUE(order_.empty());
  EXPECT_EQ(executor_.size(), 1U);
  EXPECT_EQ(executor_.run_all(), 1U);
  EXPECT_EQ(order_, up_to(2));
}

TEST_F(HeldByExecutor, OutsideOfACutoverAreHandedOverToo) {
  table_.set("a", here());
  hold(1);
  acquire(2);
  hold(3, "nobody");
  EXPECT_TRUE(order_.empty()) << "never inside of the call";
  executor_.run_all();
  EXPECT_EQ(order_, up_to(3));
}

TEST_F(HeldByExecutor, LetOthersRunAfterABatch) {
  enter_cutover(table_);
  const int count = 2 * detail::HeldQueue::kResumedAtOnce + 1;
  for (int n = 1; n <= count; ++n) hold(n);
  ASSERT_TRUE(table_.complete_migration("a"));
  std::size_t before_the_other = 0;
  executor_.execute([&] { before_the_other = order_.size(); });
  executor_.run_all();
  EXPECT_EQ(before_the_other, static_cast<std::size_t>(detail::HeldQueue::kResumedAtOnce));
  EXPECT_EQ(order_, up_to(count));
}

TEST_F(HeldByExecutor, MayBeCancelledUntilTheyAreResumed) {
  enter_cutover(table_);
  hold(1);
  const HoldTicket ticket = table_.hold("a", [] { FAIL(); });
  const HoldTicket acquisition =
      table_.acquire_write_async("a", [](const WritePermit&) { FAIL(); });
  hold(2);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_TRUE(ticket.cancel());
  EXPECT_TRUE(acquisition.cancel());
  executor_.run_all();
  EXPECT_EQ(order_, up_to(2));
}

TEST_F(HeldByExecutor, AreResumedAsTheyCameThoughTwoTransitionsFollowEachOther) {
  enter_cutover(table_);
  hold(1);
  acquire(2);
  ASSERT_TRUE(table_.complete_migration("a"));
  enter_cutover(table_);
  hold(3);
  acquire(4);
  executor_.run_all();
  EXPECT_TRUE(order_.empty()) << "the partition is in cutover: none would get a permit";
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(executor_.run_all(), 1U);
  EXPECT_EQ(order_, up_to(4));
}

TEST_F(HeldByExecutor, AreResumedAsTheyCameThoughOneComesWhenThePartitionIsOpenAgain) {
  enter_cutover(table_);
  hold(1);
  acquire(2);
  ASSERT_TRUE(table_.complete_migration("a"));
  acquire(3);
  hold(4);
  executor_.run_all();
  EXPECT_EQ(order_, up_to(4));
}

TEST_F(HeldByExecutor, OfAPartitionThatIsGoneDoNotWaitForTheNextInItsCounter) {
  enter_cutover(table_);
  hold(1);
  Answer answer;
  table_.acquire_write_async("a", answer.handler());
  ASSERT_TRUE(table_.complete_migration("a"));
  ASSERT_TRUE(table_.erase("a"));
  enter_cutover(table_, "b");
  hold(2, "b");
  EXPECT_EQ(table_.held_writes("b").count, 1U);
  executor_.run_all();
  EXPECT_EQ(order_, up_to(1));
  EXPECT_EQ(answer.times, 1);
  EXPECT_EQ(answer.refusal, WriteRefusal::UnknownPartition);
  ASSERT_TRUE(table_.complete_migration("b"));
  executor_.run_all();
  EXPECT_EQ(order_, up_to(2));
}

TEST_F(HeldByExecutor, OfAPartitionThatWasErasedAreRefusedWhenTheNextOfItsNameIsInCutover) {
  enter_cutover(table_);
  Answer answer;
  table_.acquire_write_async("a", answer.handler());
  ASSERT_TRUE(table_.complete_migration("a"));
  ASSERT_TRUE(table_.erase("a"));
  enter_cutover(table_);
  executor_.run_all();
  EXPECT_EQ(answer.times, 1);
  EXPECT_EQ(answer.refusal, WriteRefusal::UnknownPartition);
  ASSERT_TRUE(table_.complete_migration("a"));
}

TEST_F(HeldByExecutor, AreResumedLaterIfTheExecutorDropsItsTasks) {
  enter_cutover(table_);
  hold(1);
  ASSERT_TRUE(table_.complete_migration("a"));
  executor_.drop_all();
  hold(2);
  EXPECT_EQ(executor_.run_all(), 1U);
  EXPECT_EQ(order_, up_to(2));
}

TEST_F(HeldByExecutor, DoNotKeepAWaitingThreadWaiting) {
  enter_cutover(table_);
  hold(1);
  run_together({[&] {
                  EXPECT_EQ(table_.acquire_write_until("a", absl::InfiniteFuture()).placement(),
                            there());
                },
                [&] {
                  while (table_.held_writes("a").count < 2) std::this_thread::yield();
                  EXPECT_TRUE(table_.complete_migration("a"));
                }});
  EXPECT_TRUE(order_.empty()) << "the executor has run nothing";
  executor_.run_all();
  EXPECT_EQ(order_, up_to(1));
}

TEST_F(HeldByExecutor, ThatIsToRunTheTablesTasksYetIsCaughtInDebugBuilds) {
#ifdef NDEBUG
  GTEST_SKIP() << "no assertions in this build";
#else
  EXPECT_DEATH(
      {
        auto table = std::make_unique<PlacementTable>(TableOptions{.executor = &executor_});
        enter_cutover(*table);
        const HoldTicket ticket = table->hold("a", [] {});
        static_cast<void>(table->complete_migration("a"));
        ticket.cancel();
        table.reset();
      },
      "task");
#endif
}

// ---- under contention ----

enum class Resuming { ByTheTransition, ByAPool };

class AsyncAcquisitionUnderContention : public testing::TestWithParam<Resuming> {};

// Every handler is called once with a permit, or its write was cancelled, and never both.
TEST_P(AsyncAcquisitionUnderContention, AnswersOnceOrIsCancelled) {
  const std::uint64_t kRounds = work(5'000);
  std::optional<Pool> pool;
  if (GetParam() == Resuming::ByAPool) pool.emplace(2);
  PlacementTable table(TableOptions{.shards = 1, .executor = pool ? &*pool : nullptr});
  table.set("a", here());
  std::atomic<bool> storming{true};
  std::atomic<std::uint64_t> asked{0};
  std::atomic<std::uint64_t> answered{0};
  std::atomic<std::uint64_t> violations{0};
  std::uint64_t cancelled = 0;
  const auto write = [&] {
    do {
      const auto times = std::make_shared<std::atomic<int>>(0);
      const HoldTicket ticket =
          table.acquire_write_async("a", [times, &violations, &answered](WritePermit permit) {
            if (!permit) ++violations;
            permit.release();
            ++answered;
            ++*times;  // last: the test may end
          });
      ++asked;
      if (asked % 2 == 0) std::this_thread::yield();
      if (ticket.cancel()) {
        ++cancelled;
        if (times->load() != 0) ++violations;
      } else {
        while (times->load() == 0) std::this_thread::yield();
        if (times->load() != 1) ++violations;
      }
    } while (storming.load());
  };
  std::uint64_t held = 0;
  run_together({write, [&] {
                  for (std::uint64_t round = 0; round < kRounds; ++round) {
                    static_cast<void>(table.begin_migration("a", there()));
                    static_cast<void>(table.enter_cutover("a"));
                    const std::uint64_t before = asked.load();
                    while (round % 64 == 0 && asked.load() < before + 3) std::this_thread::yield();
                    held += table.held_writes("a").count;
                    if (round % 2 == 0) {
                      while (!table.complete_migration("a")) std::this_thread::yield();
                    } else {
                      static_cast<void>(table.abort_migration("a"));
                    }
                  }
                  storming = false;
                }});
  pool.reset();
  EXPECT_EQ(violations.load(), 0U);
  EXPECT_EQ(answered.load() + cancelled, asked.load());
  EXPECT_GT(answered.load(), 0U);
  EXPECT_GT(cancelled, 0U);
  EXPECT_GT(held, 0U);
  EXPECT_EQ(table.writes_in_flight("a"), 0U);
}

// One at a time, and in the order in which they were held, whoever makes the transitions.
TEST_P(AsyncAcquisitionUnderContention, AnswersInOrder) {
  const std::uint64_t kRounds = work(2'000);
  std::optional<Pool> pool;
  if (GetParam() == Resuming::ByAPool) pool.emplace(1);
  PlacementTable table(
      TableOptions{.shards = 1, .max_held_writes = 1'000'000, .executor = pool ? &*pool : nullptr});
  table.set("a", here());
  std::atomic<std::uint64_t> last{0};
  std::atomic<std::uint64_t> violations{0};
  std::atomic<std::uint64_t> ended{0};
  std::uint64_t number = 0;
  const auto flip = [&] {
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      static_cast<void>(table.begin_migration("a", there()));
      static_cast<void>(table.enter_cutover("a"));
      static_cast<void>(table.abort_migration("a"));
    }
    ++ended;
  };
  std::uint64_t held = 0;
  run_together({flip, flip, [&] {
                  while (ended.load() < 2) {
                    if (table.get("a")->phase != MigrationPhase::Cutover) continue;
                    ++number;
                    const HoldTicket ticket = table.hold("a", [&, n = number] {
                      // Without an executor one that comes late is resumed at once, by another
                      // thread than the one that resumes the earlier ones.
                      if (GetParam() == Resuming::ByAPool && last.load() + 1 != n) ++violations;
                      last = n;
                    });
                    if (!ticket.refusal()) ++held;
                  }
                }});
  pool.reset();
  EXPECT_EQ(violations.load(), 0U);
  EXPECT_EQ(held, number);
  if (GetParam() == Resuming::ByAPool) {
    EXPECT_EQ(last.load(), number);
  }
}

INSTANTIATE_TEST_SUITE_P(Resumed, AsyncAcquisitionUnderContention,
                         testing::Values(Resuming::ByTheTransition, Resuming::ByAPool),
                         [](const auto& tested) {
                           return std::string(
                               tested.param == Resuming::ByAPool ? "ByAPool" : "ByTheTransition");
                         });

}  // namespace
}  // namespace placement::test
