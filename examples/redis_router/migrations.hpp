// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_MIGRATIONS_HPP_
#define REDIS_ROUTER_MIGRATIONS_HPP_

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>
#include <absl/time/time.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "directory.hpp"
#include "options.hpp"

namespace redis_router {

// The migrations that the router itself drives (PLACEMENT MIGRATE): each on a thread of its own, at
// most one for a tenant. Thread-safe.
class Migrations {
 public:
  // What the operator is answered at the end, in RESP. Called by the migration's thread.
  using Done = absl::AnyInvocable<void(std::string)>;
  // What a migration asks of the threads that serve clients. False if not so, or not in time.
  struct Workers {
    // Whether each of them is connected to that cluster.
    std::function<bool(placement::ClusterId)> are_connected;
    // Waits until everything that they sent to that cluster before has been answered or has failed.
    std::function<bool(placement::ClusterId)> have_answers;
  };

  struct Status {
    std::vector<std::pair<std::string, std::string>> fields;
    std::vector<std::string> lines;
  };

  Migrations(const Options& options, Directory& directory, Workers workers);
  Migrations(const Migrations&) = delete;
  Migrations& operator=(const Migrations&) = delete;
  ~Migrations();

  // Starts one. Nothing if it runs, and `done` will be called; else an error's text.
  [[nodiscard]] std::optional<std::string> start(std::string_view tenant,
                                                 const ClusterOptions& destination, Done done);
  // Asks the migration of that tenant to abort; false if none is running.
  bool stop(std::string_view tenant);

  // Runs `transition` unless a migration of that tenant is running (then false). No migration of it
  // starts meanwhile.
  bool unless_running(std::string_view tenant, absl::FunctionRef<void()> transition);

  // The migration that is running, or the last one.
  [[nodiscard]] std::optional<Status> status(std::string_view tenant) const;

  // How many are running, or cleaning up.
  [[nodiscard]] std::size_t running() const;

  // Asks all of them to abort, and lets no more start.
  void stop_all();
  // Waits until all have ended.
  void wait();

 private:
  class Run;

  [[nodiscard]] std::shared_ptr<Run> find_running(std::string_view tenant) const;
  void ended(const Run& run);

  const Options& options_;
  Directory& directory_;
  const Workers workers_;

  mutable std::mutex mutex_;
  std::condition_variable all_ended_;
  bool stopped_ = false;
  std::vector<std::shared_ptr<Run>> running_;
  std::deque<std::shared_ptr<Run>> recent_;  // ended, the newest last
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_MIGRATIONS_HPP_
