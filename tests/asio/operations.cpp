// SPDX-License-Identifier: Apache-2.0
//
// The asynchronous operations of placement/asio.hpp and placement/boost_asio.hpp: one program for
// each of the two.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <gtest/gtest.h>
#include PLACEMENT_TESTS_ASIO_HEADER
#include <placement/placement_table.hpp>

#ifdef PLACEMENT_TESTS_BOOST_ASIO
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#else
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#endif

#include "../support/threads.hpp"

namespace placement::test {
namespace {

#ifdef PLACEMENT_TESTS_BOOST_ASIO
namespace net = boost::asio;
namespace operations = placement::boost_asio;
using ErrorCode = boost::system::error_code;
#else
namespace net = ::asio;
namespace operations = placement;
using ErrorCode = ::asio::error_code;
#endif

const Placement& here() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("here"));
  return placement;
}
const Placement& there() {
  static const Placement placement = Placement::dedicated_cluster(ClusterId("there"));
  return placement;
}

void enter_cutover(PlacementTable& table) {
  if (!table.contains("a")) table.set("a", here());
  ASSERT_TRUE(table.begin_migration("a", there()));
  ASSERT_TRUE(table.enter_cutover("a"));
}

struct Answer {
  int times = 0;
  ErrorCode error;
  std::optional<Placement> placement;
  std::optional<WriteRefusal> refusal;
  std::thread::id thread;

  auto handler() {
    return [this](ErrorCode code, WritePermit permit) {
      ++times;
      error = code;
      if (permit) {
        placement = permit.placement();
      } else {
        refusal = permit.refusal();
      }
      thread = std::this_thread::get_id();
    };
  }
};

class AsioOperations : public testing::Test {
 protected:
  template <typename Handler>
  auto bound(Handler handler) {
    return net::bind_executor(context_, std::move(handler));
  }
  void run() {
    context_.restart();
    context_.run();
  }

  PlacementTable table_;
  net::io_context context_;
  Answer answer_;
};

TEST_F(AsioOperations, AreAnsweredByTheHandlersExecutorAndNeverInsideOfTheCall) {
  table_.set("a", here());
  operations::async_acquire_write(table_, "a", absl::InfiniteFuture(), bound(answer_.handler()));
  EXPECT_EQ(answer_.times, 0);
  run();
  EXPECT_EQ(answer_.times, 1);
  EXPECT_FALSE(answer_.error);
  EXPECT_EQ(answer_.placement, here());
  EXPECT_EQ(table_.writes_in_flight("a"), 0U);
}

TEST_F(AsioOperations, TellOfARefusalWithAnEmptyPermit) {
  operations::async_acquire_write(table_, "a", absl::InfiniteFuture(), bound(answer_.handler()));
  run();
  EXPECT_FALSE(answer_.error);
  EXPECT_EQ(answer_.refusal, WriteRefusal::UnknownPartition);
}

TEST_F(AsioOperations, KeepTheContextAtWorkUntilTheFlipAndRunThereAfterIt) {
  enter_cutover(table_);
  operations::async_acquire_write(table_, "a", absl::InfiniteFuture(), bound(answer_.handler()));
  std::thread::id operators_thread;
  run_together({[&] { run(); },
                [&] {
                  while (table_.held_writes("a").count == 0) std::this_thread::yield();
                  operators_thread = std::this_thread::get_id();
                  EXPECT_TRUE(table_.complete_migration("a"));
                }});
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.placement, there());
  EXPECT_NE(answer_.thread, operators_thread);
}

TEST_F(AsioOperations, EndAtTheDeadline) {
  enter_cutover(table_);
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  operations::async_acquire_write(table_, "a", deadline, bound(answer_.handler()));
  Answer late;
  operations::async_acquire_write(table_, "a", absl::InfinitePast(), bound(late.handler()));
  run();
  EXPECT_GE(absl::Now(), deadline);
  for (const Answer& answer : {answer_, late}) {
    EXPECT_EQ(answer.times, 1);
    EXPECT_FALSE(answer.error);
    EXPECT_EQ(answer.refusal, WriteRefusal::DeadlineExceeded);
  }
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(answer_.times, 1);
}

TEST_F(AsioOperations, AreNotEndedByADeadlineThatComesAfterTheFlip) {
  enter_cutover(table_);
  operations::async_acquire_write(table_, "a", absl::Now() + absl::Hours(1),
                                  bound(answer_.handler()));
  ASSERT_TRUE(table_.complete_migration("a"));
  run();  // returns: the timer is not waited for
  EXPECT_EQ(answer_.times, 1);
  EXPECT_EQ(answer_.placement, there());
}

TEST_F(AsioOperations, AreCancelledThroughTheirSlot) {
  for (const auto type : {net::cancellation_type::terminal, net::cancellation_type::partial,
                          net::cancellation_type::total}) {
    table_.set("a", here());
    enter_cutover(table_);
    net::cancellation_signal signal;
    Answer answer;
    operations::async_acquire_write(
        table_, "a", absl::Now() + absl::Hours(1),
        net::bind_cancellation_slot(signal.slot(), bound(answer.handler())));
    signal.emit(net::cancellation_type::none);
    signal.emit(type);
    signal.emit(type);
    EXPECT_EQ(answer.times, 0) << "the handler runs on its executor";
    run();
    EXPECT_EQ(answer.times, 1);
    EXPECT_EQ(answer.error, net::error::operation_aborted);
    EXPECT_TRUE(answer.refusal);
    EXPECT_FALSE(signal.slot().has_handler());
    ASSERT_TRUE(table_.complete_migration("a"));
    EXPECT_EQ(answer.times, 1);
  }
}

TEST_F(AsioOperations, AreNotCancelledOnceTheyAreAnswered) {
  enter_cutover(table_);
  net::cancellation_signal signal;
  operations::async_acquire_write(
      table_, "a", absl::InfiniteFuture(),
      net::bind_cancellation_slot(signal.slot(), bound(answer_.handler())));
  ASSERT_TRUE(table_.complete_migration("a"));
  signal.emit(net::cancellation_type::all);
  run();
  signal.emit(net::cancellation_type::all);
  EXPECT_EQ(answer_.times, 1);
  EXPECT_FALSE(answer_.error);
  EXPECT_EQ(answer_.placement, there());
}

TEST_F(AsioOperations, TellWhenTooManyAreHeld) {
  PlacementTable table(TableOptions{.max_held_writes = 0});
  enter_cutover(table);
  operations::async_acquire_write(table, "a", absl::InfiniteFuture(), bound(answer_.handler()));
  std::optional<WriteRefusal> refusal;
  operations::async_hold(table, "a", bound([&](ErrorCode error, std::optional<WriteRefusal> told) {
                           EXPECT_FALSE(error);
                           refusal = told;
                         }));
  run();
  EXPECT_EQ(answer_.refusal, WriteRefusal::TooManyHeld);
  EXPECT_EQ(refusal, WriteRefusal::TooManyHeld);
}

TEST_F(AsioOperations, HoldUntilThePartitionLeavesCutover) {
  int resumed = 0;
  const auto count = [&](ErrorCode error, std::optional<WriteRefusal> refusal) {
    EXPECT_FALSE(error);
    EXPECT_FALSE(refusal);
    ++resumed;
  };
  operations::async_hold(table_, "a", bound(count));
  EXPECT_EQ(resumed, 0);
  run();
  EXPECT_EQ(resumed, 1);
  enter_cutover(table_);
  operations::async_hold(table_, "a", bound(count));
  ASSERT_TRUE(table_.abort_migration("a"));
  EXPECT_EQ(resumed, 1);
  run();
  EXPECT_EQ(resumed, 2);
}

TEST_F(AsioOperations, ThatHoldAreCancelledThroughTheirSlot) {
  enter_cutover(table_);
  net::cancellation_signal signal;
  ErrorCode told;
  operations::async_hold(
      table_, "a",
      net::bind_cancellation_slot(
          signal.slot(),
          bound([&](ErrorCode error, std::optional<WriteRefusal>) { told = error; })));
  signal.emit(net::cancellation_type::total);
  run();
  EXPECT_EQ(told, net::error::operation_aborted);
  EXPECT_TRUE(table_.complete_migration("a"));
}

TEST_F(AsioOperations, TakeFutures) {
  enter_cutover(table_);
  std::future<WritePermit> permit = operations::async_acquire_write(
      table_, "a", absl::InfiniteFuture(), net::bind_executor(context_, net::use_future));
  std::future<std::optional<WriteRefusal>> open =
      operations::async_hold(table_, "a", net::use_future);
  std::future<WritePermit> late =
      operations::async_acquire_write(table_, "a", absl::InfinitePast(), net::use_future);
  EXPECT_EQ(late.get().refusal(), WriteRefusal::DeadlineExceeded);
  ASSERT_TRUE(table_.complete_migration("a"));
  run();
  EXPECT_EQ(permit.get().placement(), there());
  EXPECT_FALSE(open.get());
}

// Asio 1.22 does not know of clang's coroutines.
#if defined(ASIO_HAS_CO_AWAIT) || defined(BOOST_ASIO_HAS_CO_AWAIT)
TEST_F(AsioOperations, TakeCoroutines) {
  enter_cutover(table_);
  int writes = 0;
  net::co_spawn(
      context_,
      [&]() -> net::awaitable<void> {
        const WritePermit permit = co_await operations::async_acquire_write(
            table_, "a", absl::InfiniteFuture(), net::use_awaitable);
        EXPECT_EQ(permit.placement(), there());
        const std::optional<WriteRefusal> refusal =
            co_await operations::async_hold(table_, "b", net::use_awaitable);
        EXPECT_FALSE(refusal);
        ++writes;
      },
      net::detached);
  context_.poll();
  EXPECT_EQ(table_.held_writes("a").count, 1U);
  ASSERT_TRUE(table_.complete_migration("a"));
  run();
  EXPECT_EQ(writes, 1);
}
#endif

TEST_F(AsioOperations, OfAPartitionThatIsANumberWorkToo) {
  BasicPlacementTable<std::uint32_t, int> table;
  table.set(7, 1);
  int placement = 0;
  operations::async_acquire_write(
      table, 7, absl::InfiniteFuture(),
      bound([&](ErrorCode, BasicWritePermit<int> permit) { placement = permit.placement(); }));
  run();
  EXPECT_EQ(placement, 1);
}

// What a handler's allocator was asked for.
template <typename T>
struct CountingAllocator {
  using value_type = T;

  explicit CountingAllocator(std::atomic<int>& count) : allocations(&count) {}
  template <typename U>
  explicit CountingAllocator(const CountingAllocator<U>& other) : allocations(other.allocations) {}

  T* allocate(std::size_t count) {
    ++*allocations;
    return static_cast<T*>(::operator new(count * sizeof(T)));
  }
  void deallocate(T* memory, std::size_t) { ::operator delete(memory); }

  friend bool operator==(const CountingAllocator&, const CountingAllocator&) = default;

  std::atomic<int>* allocations;
};

struct HandlerWithAnAllocator {
  using allocator_type = CountingAllocator<char>;
  using executor_type = net::io_context::executor_type;

  [[nodiscard]] allocator_type get_allocator() const noexcept {
    return allocator_type(*allocations);
  }
  [[nodiscard]] executor_type get_executor() const noexcept { return context->get_executor(); }
  void operator()(ErrorCode, const WritePermit& permit) const { EXPECT_TRUE(permit); }

  std::atomic<int>* allocations;
  net::io_context* context;
};

TEST_F(AsioOperations, PostWithTheHandlersAllocator) {
  std::atomic<int> allocations{0};
  enter_cutover(table_);
  operations::async_acquire_write(table_, "a", absl::InfiniteFuture(),
                                  HandlerWithAnAllocator{&allocations, &context_});
  EXPECT_EQ(allocations, 0);
  ASSERT_TRUE(table_.complete_migration("a"));
  EXPECT_EQ(allocations, 1);
  run();
}

TEST_F(AsioOperations, HaveAnExecutorForTheTableAtTheirSide) {
  operations::AsioExecutor executor(context_.get_executor());
  PlacementTable table(TableOptions{.executor = &executor});
  enter_cutover(table);
  std::vector<int> order;
  for (int n = 0; n < 3; ++n) {
    table.acquire_write_async("a", [&order, n](const WritePermit&) { order.push_back(n); });
  }
  operations::async_acquire_write(table, "a", absl::InfiniteFuture(), bound(answer_.handler()));
  ASSERT_TRUE(table.complete_migration("a"));
  EXPECT_TRUE(order.empty());
  run();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(answer_.placement, there());
}

// Table, timer and slot race, each in a thread of its own; each handler is called once.
TEST_F(AsioOperations, EndOnceThoughFlipDeadlineAndCancellationRace) {
  const std::uint64_t kRounds = work(300);
  std::atomic<std::uint64_t> permits{0};
  std::atomic<std::uint64_t> aborts{0};
  std::atomic<std::uint64_t> lates{0};
  {
    net::thread_pool pool(2);
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      enter_cutover(table_);
      auto strand = net::make_strand(pool);
      const auto signal = std::make_shared<net::cancellation_signal>();
      std::promise<void> done;
      std::atomic<int> times{0};
      net::post(strand, [&, signal] {
        operations::async_acquire_write(
            table_, "a",
            round % 3 == 0 ? absl::Now() + absl::Microseconds(20) : absl::Now() + absl::Hours(1),
            net::bind_cancellation_slot(
                signal->slot(),
                net::bind_executor(strand, [&, signal](ErrorCode error, WritePermit permit) {
                  if (error == net::error::operation_aborted) {
                    ++aborts;
                  } else if (permit) {
                    ++permits;
                  } else if (permit.refusal() == WriteRefusal::DeadlineExceeded) {
                    ++lates;
                  }
                  permit.release();
                  if (++times == 1) done.set_value();
                })));
        if (round % 3 == 1)
          net::post(strand, [signal] { signal->emit(net::cancellation_type::all); });
      });
      for (std::uint64_t spins = 0; spins < round % 7 * 50; ++spins) std::this_thread::yield();
      ASSERT_TRUE(table_.abort_migration("a"));
      done.get_future().wait();
      ASSERT_EQ(times.load(), 1);
    }
    pool.join();
  }
  EXPECT_EQ(permits + aborts + lates, kRounds);
  EXPECT_GT(permits, 0U);
  EXPECT_GT(aborts + lates, 0U);
  EXPECT_EQ(table_.writes_in_flight("a"), 0U);
}

}  // namespace
}  // namespace placement::test
