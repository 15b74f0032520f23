// SPDX-License-Identifier: Apache-2.0
//
// Runs threads of a test one at a time, by every schedule with few preemptions.
#ifndef PLACEMENT_TESTS_SCHEDULES_SCHEDULER_HPP_
#define PLACEMENT_TESTS_SCHEDULES_SCHEDULER_HPP_

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../support/sanitizers.hpp"

#ifdef PLACEMENT_TESTS_UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace placement::test {

// The decisions of one execution, and from there the way to the next, depth first.
class Choices {
 public:
  // One of [0, options). What was chosen before is chosen again; then comes 0.
  std::size_t choose(std::size_t options) {
    if (at_ == made_.size()) made_.push_back({0, options});
    return made_[at_++].taken;
  }
  // False if there is no other execution.
  bool advance() {
    at_ = 0;
    while (!made_.empty() && made_.back().taken + 1 == made_.back().options) made_.pop_back();
    if (made_.empty()) return false;
    ++made_.back().taken;
    return true;
  }

 private:
  struct Choice {
    std::size_t taken;
    std::size_t options;
  };
  std::vector<Choice> made_;
  std::size_t at_ = 0;
};

// Threads of one program that take turns: fibers of the thread that runs them. At every access to
// memory that they share (point()) the one that runs may be preempted, up to `preemptions` times in
// an execution; which other goes on, there and where one ends or blocks, is chosen as well. That
// most errors of concurrency show with two or three preemptions, and that there are few enough
// schedules of so many to try them all, is from Musuvathi and Qadeer's CHESS ("Iterative context
// bounding for systematic testing of multithreaded programs", 2007). Memory is sequentially
// consistent here.
class Scheduler {
 public:
  static constexpr std::size_t kMain = static_cast<std::size_t>(-1);  // no thread of the program

  struct Thread {
    std::function<void()> program;
    std::size_t preemptions = 0;  // at most, of those in an execution
    std::size_t every = 1;        // at every so many accesses only: less than all schedules
  };

  Scheduler(Choices& choices, std::size_t preemptions)
      : choices_(choices), preemptions_(preemptions) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs all threads to their ends. False if they never get there: all that are left are blocked,
  // or one goes on for ever. They are abandoned then, with all that they hold.
  bool run(std::vector<Thread> threads) {
    running_ = this;
    while (stacks_.size() < threads.size()) {
      stacks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kStackBytes));
    }
    for (Thread& thread : threads) fibers_.push_back(std::make_unique<Fiber>(std::move(thread)));
    resume_another();
    running_ = nullptr;
    return !is_stuck_;
  }

  // Who ran how many accesses, one after another.
  [[nodiscard]] std::string schedule() const {
    std::ostringstream out;
    for (const Turn& turn : turns_)
      out << "thread " << turn.thread << ": " << turn.accesses << ", ";
    return out.str();
  }

  // ---- for what is under test; nothing happens outside of run ----

  // Which of the threads runs; more than there are, outside of run.
  static std::size_t running_thread() { return running_ == nullptr ? kMain : running_->current_; }
  // Before each access to memory that others use.
  static void point() {
    if (running_ != nullptr) running_->before_access();
  }
  // The one that runs cannot go on until `is_ready()`, which another will bring about. `is_ready`
  // looks at memory only.
  static void block_until(std::function<bool()> is_ready) {
    if (running_ == nullptr || is_ready()) return;
    running_->current().is_ready = std::move(is_ready);
    running_->resume_another();
  }

 private:
  struct Fiber {
    explicit Fiber(Thread of) : thread(std::move(of)) {}

    Thread thread;
    ucontext_t context{};
    std::size_t accesses = 0;
    bool has_begun = false;
    bool has_ended = false;
    std::function<bool()> is_ready;  // while it is blocked
    void* fake_stack = nullptr;      // AddressSanitizer's
  };
  struct Turn {
    std::size_t thread;
    std::size_t accesses;
  };

  static constexpr std::size_t kStackBytes = std::size_t{256} << 10;
  static constexpr std::size_t kMostAccesses = 1'000'000;
  Fiber& current() { return *fibers_[current_]; }

  void before_access() {
    ++turns_.back().accesses;
    if (++accesses_ > kMostAccesses) give_up();
    Fiber& fiber = current();
    if (++fiber.accesses % fiber.thread.every != 0) return;
    if (preemptions_ == 0 || fiber.thread.preemptions == 0) return;
    const std::vector<std::size_t>& others = ready_but_for(current_);
    if (others.empty()) return;
    const std::size_t chosen = choices_.choose(1 + others.size());
    if (chosen == 0) return;
    --preemptions_;
    --fiber.thread.preemptions;
    switch_to(others[chosen - 1]);
  }

  // The one that ran has ended or is blocked.
  void resume_another() {
    const std::vector<std::size_t>& ready = ready_but_for(current_);
    if (ready.empty()) {
      for (const auto& fiber : fibers_) {
        if (!fiber->has_ended) give_up();
      }
      return switch_to(kMain);
    }
    switch_to(ready[ready.size() == 1 ? 0 : choices_.choose(ready.size())]);
  }

  const std::vector<std::size_t>& ready_but_for(std::size_t one) {
    ready_.clear();
    for (std::size_t i = 0; i < fibers_.size(); ++i) {
      const Fiber& fiber = *fibers_[i];
      if (i == one || fiber.has_ended || (fiber.is_ready && !fiber.is_ready())) continue;
      ready_.push_back(i);
    }
    return ready_;
  }

  void give_up() {
    is_stuck_ = true;
    switch_to(kMain);
  }

  void switch_to(std::size_t to) {
    const std::size_t from = std::exchange(current_, to);
    if (from == to) return;
    ucontext_t& left = from == kMain ? main_ : fibers_[from]->context;
    if (to == kMain) {
      leave(from, nullptr, 0);
      ::swapcontext(&left, &main_);
    } else {
      Fiber& fiber = *fibers_[to];
      fiber.is_ready = nullptr;
      turns_.push_back({to, 0});
      if (!std::exchange(fiber.has_begun, true)) {
        ::getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = stacks_[to].get();
        fiber.context.uc_stack.ss_size = kStackBytes;
        ::makecontext(&fiber.context, &Scheduler::begin, 0);
      }
      leave(from, stacks_[to].get(), kStackBytes);
      ::swapcontext(&left, &fiber.context);
    }
    arrive(from);
  }

  static void begin() {
    Scheduler& scheduler = *running_;
    scheduler.arrive(scheduler.current_);
    scheduler.current().thread.program();
    scheduler.current().has_ended = true;
    scheduler.resume_another();
  }

  // AddressSanitizer wants to know of a switch of stacks.
  void leave([[maybe_unused]] std::size_t from, [[maybe_unused]] const void* stack,
             [[maybe_unused]] std::size_t bytes) {
#ifdef PLACEMENT_TESTS_UNDER_ASAN
    if (stack == nullptr) {
      stack = main_stack_;
      bytes = main_stack_bytes_;
    }
    __sanitizer_start_switch_fiber(from == kMain ? &main_fake_stack_ : &fibers_[from]->fake_stack,
                                   stack, bytes);
#endif
  }
  void arrive([[maybe_unused]] std::size_t at) {
#ifdef PLACEMENT_TESTS_UNDER_ASAN
    const void* stack = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(at == kMain ? main_fake_stack_ : fibers_[at]->fake_stack,
                                    &stack, &bytes);
    if (main_stack_ == nullptr) {  // the first switch came from there
      main_stack_ = stack;
      main_stack_bytes_ = bytes;
    }
#endif
  }

  static inline Scheduler* running_ = nullptr;
  static inline std::vector<std::unique_ptr<std::byte[]>> stacks_;  // used by one after another

  Choices& choices_;
  std::size_t preemptions_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<std::size_t> ready_;
  std::size_t current_ = kMain;
  ucontext_t main_{};
  std::vector<Turn> turns_;
  std::size_t accesses_ = 0;
  bool is_stuck_ = false;
#ifdef PLACEMENT_TESTS_UNDER_ASAN
  const void* main_stack_ = nullptr;
  std::size_t main_stack_bytes_ = 0;
  void* main_fake_stack_ = nullptr;
#endif
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SCHEDULES_SCHEDULER_HPP_
