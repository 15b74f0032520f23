// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_EXECUTOR_HPP_
#define PLACEMENT_EXECUTOR_HPP_

#include <absl/functional/any_invocable.h>

namespace placement {
inline namespace v1 {

// Where a table has held writes resumed (TableOptions::executor): an event loop, a pool of threads.
// Thread-safe.
class Executor {
 public:
  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  // Has `task` run once, soon, and never before this call returns. Tasks that one thread hands over
  // should begin in that order. A task may be destroyed without having run, at the end of the
  // executor's life for example; a held write that it was to resume is then resumed by the next
  // transition out of cutover, or cancelled. Must not throw: the transition that calls it has
  // happened.
  virtual void execute(absl::AnyInvocable<void()> task) = 0;
};

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_EXECUTOR_HPP_
