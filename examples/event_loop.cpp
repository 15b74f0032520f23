// SPDX-License-Identifier: Apache-2.0
//
// An event loop that writes while one tenant moves from one cluster to another: a write that meets
// the cutover waits, without keeping the loop, and goes to the destination after the flip.
#include <condition_variable>
#include <deque>
#include <iostream>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <placement/executor.hpp>
#include <placement/placement_table.hpp>

namespace {

using placement::ClusterId;
using placement::Placement;

// The loop: one thread that runs what others post.
class EventLoop final : public placement::Executor {
 public:
  void execute(absl::AnyInvocable<void()> task) override {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    posted_.notify_one();
  }

  // Until a task says so, and what was posted before has run.
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      posted_.wait(lock, [this] { return is_stopped_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      absl::AnyInvocable<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    posted_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<absl::AnyInvocable<void()>> tasks_;
  bool is_stopped_ = false;
};

class Router {
 public:
  Router(EventLoop& loop, placement::PlacementTable& table) : loop_(loop), table_(table) {}

  // On the loop's thread, like the handler: nothing here needs a lock.
  void route(std::string_view tenant, std::string request) {
    std::cout << request << ": comes\n";
    table_.acquire_write_async(
        tenant, [this, request = std::move(request)](placement::WritePermit permit) {
          if (!permit) {
            std::cout << request << ": refused, " << permit.refusal() << '\n';
          } else {
            // A real router sends it now, and keeps the permit until the reply is there.
            std::cout << request << ": goes to " << permit.placement() << '\n';
          }
          if (++answered_ == 3) loop_.stop();
        });
  }

 private:
  EventLoop& loop_;
  placement::PlacementTable& table_;
  int answered_ = 0;
};

}  // namespace

int main() {
  EventLoop loop;
  placement::PlacementTable table({.executor = &loop});
  Router router(loop, table);
  table.set("tenant-42", Placement::dedicated_cluster(ClusterId("redis-a")));

  loop.execute([&] { router.route("tenant-42", "first"); });
  loop.execute([&] {
    // An operator's thread would do that, step by step, and copy the data meanwhile.
    const auto to = Placement::dedicated_cluster(ClusterId("redis-b"));
    std::cout << "begin:   " << table.begin_migration("tenant-42", to) << '\n';
    std::cout << "cutover: " << table.enter_cutover("tenant-42") << '\n';
    router.route("tenant-42", "second");
    router.route("tenant-7", "third");
    loop.execute(
        [&] { std::cout << "flip:    " << table.complete_migration("tenant-42") << '\n'; });
  });
  std::thread thread([&] { loop.run(); });
  thread.join();
}
