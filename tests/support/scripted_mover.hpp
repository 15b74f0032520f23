// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_SCRIPTED_MOVER_HPP_
#define PLACEMENT_TESTS_SUPPORT_SCRIPTED_MOVER_HPP_

#include <functional>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <placement/migration_report.hpp>
#include <placement/mover.hpp>

namespace placement::test {

// A mover whose rounds and last round are the test's functions.
class ScriptedMover : public Mover {
 public:
  absl::Status prepare() override {
    calls.push_back("prepare");
    return on_prepare ? on_prepare() : absl::OkStatus();
  }
  absl::StatusOr<Rest> copy() override {
    ++copies;
    calls.push_back("copy");
    return on_copy ? on_copy() : absl::StatusOr<Rest>(Rest::Small);
  }
  absl::Status finish() override {
    ++finishes;
    calls.push_back("finish");
    return on_finish ? on_finish() : absl::OkStatus();
  }
  absl::Status verify() override {
    calls.push_back("verify");
    return on_verify ? on_verify() : absl::OkStatus();
  }
  absl::Status clean() override {
    calls.push_back("clean");
    return on_clean ? on_clean() : absl::OkStatus();
  }

  using Mover::deadline;
  using Mover::is_resumed;
  using Mover::stop_token;
  using Mover::time_left;

  std::function<absl::Status()> on_prepare;
  std::function<absl::StatusOr<Rest>()> on_copy;
  std::function<absl::Status()> on_finish;
  std::function<absl::Status()> on_verify;
  std::function<absl::Status()> on_clean;
  std::vector<std::string> calls;
  int copies = 0;
  int finishes = 0;
};

// One try, which does not look before it cuts over: where a test is about what happens then.
inline MigrationPolicy one_try(MigrationPolicy policy = {}) {
  policy.look = absl::ZeroDuration();
  policy.first_drain = policy.drain_deadline;
  policy.max_tries = 1;
  return policy;
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_SCRIPTED_MOVER_HPP_
