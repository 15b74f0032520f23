// SPDX-License-Identifier: Apache-2.0
//
// A thread that holds a permit must not wait for that partition: builds with assertions catch it,
// and nothing else. Here assertions are on in every build.
#undef NDEBUG

#include <array>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <placement/migration_controller.hpp>
#include <placement/placement_table.hpp>

#include "support/sanitizers.hpp"
#include "support/threads.hpp"

#ifdef PLACEMENT_TESTS_UNDER_ASAN
#include <sanitizer/asan_interface.h>
#endif

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

// A deadline that has not passed, and will not while a test runs.
absl::Time later() { return absl::Now() + absl::Hours(1); }
// One that passes soon: where a wait is legal and nobody ends it.
absl::Time soon() { return absl::Now() + absl::Milliseconds(1); }

class PermitWatch : public testing::Test {
 protected:
  PermitWatch() : table_(TableOptions{.shards = 1}) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    table_.set("a", here());
    table_.set("b", here());
  }

  void SetUp() override {
#ifdef PLACEMENT_TESTS_UNDER_ASAN
    if (__asan_get_current_fake_stack() != nullptr) {
      GTEST_SKIP() << "AddressSanitizer puts variables elsewhere";
    }
#endif
    const char variable = 0;
    if (!detail::PermitWatch::watches(&variable)) {
      GTEST_SKIP() << "it is not known here what is on a thread's stack";
    }
  }

  void enter_cutover(const char* id) {
    ASSERT_TRUE(table_.begin_migration(id, there()));
    ASSERT_TRUE(table_.enter_cutover(id));
  }
  // Both ways to wait for "a". Requires that it is not in cutover, and that a permit on it is out.
  void expect_legal() {
    EXPECT_FALSE(table_.wait_until_drained("a", soon()));
    enter_cutover("a");
    EXPECT_EQ(table_.acquire_write_until("a", soon()).refusal(), WriteRefusal::DeadlineExceeded);
    ASSERT_TRUE(table_.abort_migration("a"));
  }

  PlacementTable table_;
};

using PermitWatchDeathTest = PermitWatch;

constexpr const char* kCaught = "waits for its own permit";

// ---- what is caught ----

TEST_F(PermitWatchDeathTest, CatchesAWaitForTheDrainOfOnesOwnPermit) {
  const WritePermit permit = table_.acquire_write("a");
  EXPECT_DEATH(static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAWaitForTheCutoverThatOnesOwnPermitHoldsUp) {
  const WritePermit permit = table_.acquire_write("a");
  enter_cutover("a");
  EXPECT_DEATH(static_cast<void>(table_.acquire_write_until("a", absl::InfiniteFuture())), kCaught);
  EXPECT_DEATH(static_cast<void>(table_.acquire_write_until("a", later())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAnEraseThatOnesOwnPermitHoldsUp) {
  const WritePermit permit = table_.acquire_write("a");
  EXPECT_DEATH(static_cast<void>(table_.erase_until("a", absl::InfiniteFuture())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesItOnAnyThread) {
  const auto wait = [this] {
    std::jthread([this] {
      const WritePermit permit = table_.acquire_write("a");
      static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture()));
    }).join();
  };
  EXPECT_DEATH(wait(), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAPermitOfAReference) {
  PartitionRef ref = table_.ref("a");
  const WritePermit permit = ref.acquire_write();
  EXPECT_DEATH(static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAPermitThatWasMovedFromVariableToVariable) {
  WritePermit first = table_.acquire_write("a");
  std::optional<WritePermit> second = std::move(first);
  struct Request {
    WritePermit permit;
  };
  Request request{std::move(*second)};
  const auto wait = [this](WritePermit) {
    static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture()));
  };
  EXPECT_DEATH(wait(std::move(request.permit)), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAPermitThatWasAssigned) {
  WritePermit permit = table_.acquire_write("b");
  permit = table_.acquire_write("a");
  EXPECT_DEATH(static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAPermitThatWasSwapped) {
  WritePermit a = table_.acquire_write("a");
  WritePermit b = table_.acquire_write("b");
  swap(a, b);
  a.release();
  EXPECT_DEATH(static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAPermitThatCameFromAnotherThread) {
  auto given = std::make_unique<WritePermit>(WriteRefusal::Cutover);
  std::jthread([&] { *given = table_.acquire_write("a"); }).join();
  const WritePermit permit = std::move(*given);
  EXPECT_DEATH(static_cast<void>(table_.wait_until_drained("a", absl::InfiniteFuture())), kCaught);
}

TEST_F(PermitWatchDeathTest, CatchesAPermitOfATableThatTracks) {
  PlacementTable table(TableOptions{.track_permits = true});
  table.set("a", here());
  const WritePermit permit = table.acquire_write("a");
  EXPECT_DEATH(static_cast<void>(table.wait_until_drained("a", absl::InfiniteFuture())), kCaught);
}

// ---- what is legal ----

TEST_F(PermitWatch, TakesADeadlineThatHasPassedForALook) {
  const WritePermit permit = table_.acquire_write("a");
  EXPECT_FALSE(table_.wait_until_drained("a", absl::InfinitePast()));
  EXPECT_FALSE(table_.wait_until_drained("a", absl::Now()));
  enter_cutover("a");
  for (const absl::Time deadline : {absl::InfinitePast(), absl::Now()}) {
    EXPECT_EQ(table_.acquire_write_until("a", deadline).refusal(), WriteRefusal::DeadlineExceeded);
  }
}

// It says how the drain goes, and whoever drives a migration can do something about it.
TEST_F(PermitWatch, HasNothingAgainstAWaitForADrainThatEnds) {
  class NothingToMove final : public Mover {
   public:
    absl::StatusOr<Rest> copy() override { return Rest::Small; }
    absl::Status finish() override { return absl::OkStatus(); }
  };
  NothingToMove mover;
  MigrationPolicy policy;
  policy.max_cutover = policy.drain_deadline = policy.look = absl::Milliseconds(1);
  policy.max_tries = 1;
  MigrationController controller(table_, policy);
  const WritePermit permit = table_.acquire_write("a");
  EXPECT_FALSE(table_.wait_until_drained("a", soon()));
  EXPECT_FALSE(controller.run("a", there(), mover).ok());
  EXPECT_EQ(table_.erase_until("a", soon()), MigrationError::WritesInFlight);
}

TEST_F(PermitWatch, HasNothingAgainstASecondPermit) {
  const WritePermit permit = table_.acquire_write("a");
  EXPECT_TRUE(table_.acquire_write_until("a", absl::InfiniteFuture()));
}

TEST_F(PermitWatch, HasNothingAgainstAPermitOnAnotherPartition) {
  PlacementTable other;
  other.set("a", here());
  const WritePermit b = table_.acquire_write("b");
  const WritePermit same_id = other.acquire_write("a");
  const auto a = std::make_unique<WritePermit>(table_.acquire_write("a"));
  expect_legal();
}

TEST_F(PermitWatch, HasNothingAgainstAPermitThatIsBack) {
  WritePermit released = table_.acquire_write("a");
  released.release();
  {
    const WritePermit destroyed = table_.acquire_write("a");
  }
  WritePermit assigned = table_.acquire_write("a");
  assigned = table_.acquire_write("b");
  EXPECT_TRUE(table_.wait_until_drained("a", absl::InfiniteFuture()));
  WritePermit quarantined = table_.acquire_write("a");
  quarantined.quarantine(absl::Hours(1));
  expect_legal();
}

TEST_F(PermitWatch, HasNothingAgainstAPermitThatAnotherThreadGaveBack) {
  WritePermit released = table_.acquire_write("a");
  std::optional<WritePermit> destroyed = table_.acquire_write("a");
  WritePermit moved = table_.acquire_write("a");
  auto to = std::make_unique<WritePermit>(WriteRefusal::Cutover);
  std::jthread([&] {
    released.release();
    destroyed.reset();
    *to = std::move(moved);
  }).join();
  expect_legal();
}

TEST_F(PermitWatch, HasNothingAgainstAPermitThatIsMovedToTheThreadThatReleasesIt) {
  std::atomic<bool> waits{false};
  const std::jthread thread([&waits, permit = table_.acquire_write("a")]() mutable {
    waits.wait(false);
    permit.release();
  });
  waits = true;
  waits.notify_all();
  EXPECT_TRUE(table_.wait_until_drained("a", absl::InfiniteFuture()));
}

TEST_F(PermitWatch, HasNothingAgainstAPermitOfAnotherThread) {
  std::atomic<bool> is_out{false};
  std::atomic<bool> is_over{false};
  const std::jthread thread([&] {
    const WritePermit permit = table_.acquire_write("a");
    is_out = true;
    is_out.notify_all();
    is_over.wait(false);
  });
  is_out.wait(false);
  expect_legal();
  is_over = true;
  is_over.notify_all();
}

// Any thread may be the one to release those.
TEST_F(PermitWatch, HasNothingAgainstAPermitThatIsOnNoStack) {
  std::vector<WritePermit> many;
  for (int n = 0; n < 10; ++n) many.push_back(table_.acquire_write("a"));
  WritePermit variable = table_.acquire_write("a");
  many.push_back(std::move(variable));
  const auto one = std::make_unique<WritePermit>(table_.acquire_write("a"));
  const auto shared = std::make_shared<std::optional<WritePermit>>(table_.acquire_write("a"));
  expect_legal();
}

// A coroutine that has suspended, and that any thread may resume.
struct Coroutine {
  struct promise_type {
    Coroutine get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

// Not inlined, so that its frame is no part of the caller's.
[[gnu::noinline]] Coroutine write_to(PlacementTable& table) {
  const WritePermit permit = table.acquire_write("a");
  co_await std::suspend_always{};
}

TEST_F(PermitWatch, HasNothingAgainstAPermitInACoroutine) {
  const Coroutine write = write_to(table_);
  EXPECT_EQ(table_.writes_in_flight("a"), 1U);
  expect_legal();
  std::jthread([&write] { write.handle.resume(); }).join();
  EXPECT_TRUE(table_.wait_until_drained("a", absl::InfiniteFuture()));
  write.handle.destroy();
}

// A thread's stack is used again.
TEST_F(PermitWatch, HasNothingAgainstThePermitsOfThreadsThatAreGone) {
  for (int n = 0; n < 50; ++n) {
    std::jthread([this, n] {
      if (n % 2 == 0) {
        const WritePermit permit = table_.acquire_write("a");
        WritePermit other = table_.acquire_write("b");
        const WritePermit moved = std::move(other);
      } else {
        const auto elsewhere = std::make_unique<WritePermit>(table_.acquire_write("a"));
        EXPECT_FALSE(table_.wait_until_drained("a", absl::Now() + absl::Microseconds(1)));
      }
    }).join();
  }
}

// There are only so many places for them.
TEST_F(PermitWatch, LetsGoWhatItHasNoRoomFor) {
  constexpr std::size_t kMany = 4'000;
  {
    std::array<std::optional<WritePermit>, kMany> on_the_stack;
    for (std::optional<WritePermit>& permit : on_the_stack) permit = table_.acquire_write("b");
    EXPECT_EQ(table_.writes_in_flight("b"), kMany);
    const auto a = std::make_unique<WritePermit>(table_.acquire_write("a"));
    expect_legal();
  }
  EXPECT_TRUE(table_.wait_until_drained("b", absl::InfiniteFuture()));
}

// Several threads at once, each with permits of its own and with some that it gets from the others.
TEST_F(PermitWatch, KnowsWhoHoldsWhatWhileManyDo) {
  constexpr std::size_t kThreads = 3;
  std::array<std::atomic<WritePermit*>, kThreads> mailboxes{};
  std::atomic<int> received{0};
  std::vector<std::function<void()>> bodies;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    bodies.emplace_back([&, thread] {
      for (int round = 0; round < 2'000; ++round) {
        WritePermit mine = table_.acquire_write("a");
        auto parcel = std::make_unique<WritePermit>(std::move(mine));
        std::atomic<WritePermit*>& to = mailboxes[(thread + 1) % kThreads];
        const std::unique_ptr<WritePermit> back(to.exchange(parcel.release()));
        const std::unique_ptr<WritePermit> got(mailboxes[thread].exchange(nullptr));
        const bool has_permit = got != nullptr && *got;
        std::optional<WritePermit> held;
        if (has_permit) {
          held = std::move(*got);
          ++received;
        }
        if (!has_permit) {
          static_cast<void>(table_.wait_until_drained("a", absl::Now() + absl::Nanoseconds(1)));
        }
      }
    });
  }
  run_together(bodies);
  for (std::atomic<WritePermit*>& mailbox : mailboxes) delete mailbox.exchange(nullptr);
  EXPECT_GT(received.load(), 0);
  EXPECT_EQ(table_.writes_in_flight("a"), 0U);
}

}  // namespace
}  // namespace placement::test
