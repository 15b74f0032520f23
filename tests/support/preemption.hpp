// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_PREEMPTION_HPP_
#define PLACEMENT_TESTS_SUPPORT_PREEMPTION_HPP_

#include <cstdint>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#endif

namespace placement::test {

// Takes the processor from the thread that made it, at any instruction, soon after it was asked to:
// by a signal whose handler yields. So a call is left half done while others run, also on a machine
// of few cores, and no code under test has to help. Elsewhere than on Linux it does nothing. Used
// by the thread that made it.
class Preemption {
 public:
#if defined(__linux__)
  Preemption() {
    struct sigaction action = {};
    action.sa_handler = [](int) { sched_yield(); };
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    works_ = sigaction(SIGUSR1, &action, nullptr) == 0 &&
             timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  ~Preemption() {
    if (works_) timer_delete(timer_);
  }

  // Once, about so many nanoseconds from now. Not zero.
  void arm(std::uint32_t nanoseconds) {
    itimerspec when = {};
    when.it_value.tv_nsec = static_cast<long>(nanoseconds);
    if (works_) timer_settime(timer_, 0, &when, nullptr);
  }

 private:
  timer_t timer_{};
  bool works_ = false;
#else
  Preemption() = default;
  void arm(std::uint32_t) {}
#endif

 public:
  Preemption(const Preemption&) = delete;
  Preemption& operator=(const Preemption&) = delete;
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_PREEMPTION_HPP_
