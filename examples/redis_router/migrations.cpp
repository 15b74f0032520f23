// SPDX-License-Identifier: Apache-2.0
#include "migrations.hpp"

#include <absl/time/clock.h>

#include <algorithm>
#include <atomic>
#include <stop_token>
#include <thread>
#include <utility>

#include "log.hpp"
#include "mover.hpp"
#include "placement_commands.hpp"
#include "resp.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

using placement::ClusterId;
using placement::MigrationOutcome;
using placement::MigrationReport;
using placement::MigrationStep;
using placement::Placement;

constexpr std::size_t kMostRunning = 16;
constexpr std::size_t kMostRemembered = 256;
constexpr std::size_t kMostLines = 200;
// The origin's copy is of no use to anyone, but it is not worth keeping an operator waiting for it
// for ever.
constexpr absl::Duration kCleaningDeadline = absl::Seconds(60);
constexpr absl::Duration kFirstCleaningPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestCleaningPause = absl::Seconds(2);

placement::MigrationPolicy policy(const Options& options) {
  placement::MigrationPolicy policy;
  // Held writes are let go when this is over, before they have been held for too long.
  policy.max_cutover = options.hold_timeout * 0.9;
  policy.drain_deadline = policy.max_cutover;
  policy.look = absl::Milliseconds(5);
  // What is written in less is not worth another round.
  policy.target_rest = absl::Milliseconds(3);
  return policy;
}

MoverOptions mover_options(const Options& options) {
  MoverOptions mover;
  mover.timeout = options.upstream_timeout;
  return mover;
}

std::string microseconds(absl::Duration duration) {
  return std::to_string(absl::ToInt64Microseconds(duration));
}

}  // namespace

// One migration, from its begin to the last key removed at the origin.
class Migrations::Run {
 public:
  Run(Migrations& owner, std::string tenant, const ClusterOptions& from, const ClusterOptions& to,
      Done done)
      : owner_(owner),
        directory_(owner.directory_),
        tenant_(std::move(tenant)),
        from_(from),
        to_(to),
        done_(std::move(done)),
        dirty_(directory_.dirty_keys().track(tenant_)),
        mover_(tenant_, from.endpoint, to.endpoint, *dirty_, mover_options(owner.options_),
               [this](std::string line) { say(std::move(line)); }) {}

  void start() {
    // Its owner keeps it until this thread has been joined.
    thread_ = std::jthread([this](const std::stop_token& stop) {
      const MigrationReport report = run(stop);
      owner_.ended(*this);
      answer(report);  // not before the tenant is free for the operator's next command
    });
  }
  void stop() { thread_.request_stop(); }
  [[nodiscard]] const std::string& tenant() const noexcept { return tenant_; }

  [[nodiscard]] Status status() const {
    const std::lock_guard lock(mutex_);
    Status status;
    const auto field = [&](std::string_view name, std::string value) {
      status.fields.emplace_back(name, std::move(value));
    };
    field("tenant", tenant_);
    field("from", from_.name);
    field("to", to_.name);
    field("step", step_);
    field("seconds", std::to_string(absl::ToInt64Seconds(absl::Now() - started_)));
    field("copy_rounds", std::to_string(copy_rounds_));
    field("keys_copied", std::to_string(mover_.keys_copied()));
    field("keys_dirty", std::to_string(dirty_->size()));
    if (report_) {
      field("failed_at", report_->ok() ? "" : std::string(placement::to_string(report_->step)));
      field("cutover_us", microseconds(report_->cutover));
      field("drain_us", microseconds(report_->drain));
      field("drain_added_us", microseconds(drain_added_));
      field("finish_us", microseconds(report_->finish));
      field("writes_held", std::to_string(report_->writes_held));
      field("longest_hold_us", microseconds(report_->longest_hold));
      field("error", std::string(report_->status.message()));
    }
    status.lines = lines_;
    return status;
  }

 private:
  MigrationReport run(const std::stop_token& stop) {
    say(concat(one_word(tenant_), ": ", from_.name, " -> ", to_.name));
    const MigrationReport report = migrate(stop);
    directory_.dirty_keys().untrack(tenant_);
    if (report.outcome != MigrationOutcome::Refused) directory_.touch(tenant_);
    describe(report);
    if (report.outcome == MigrationOutcome::Flipped ||
        report.outcome == MigrationOutcome::Aborted) {
      clean_up(report, stop);
    } else {
      end("");
    }
    return report;
  }

  MigrationReport migrate(const std::stop_token& stop) {
    MigrationReport report;
    if (!owner_.workers_.are_connected(ClusterId(to_.name))) {
      // The mover might reach it, but after the flip the clients would not.
      report.status = absl::UnavailableError(
          concat("UPSTREAM: not all threads are connected to cluster ", to_.name, "; ask again"));
      return report;
    }
    placement::MigrationController controller(directory_.table(), policy(owner_.options_));
    controller.on_progress(
        [this](const placement::MigrationProgress& progress) { on_progress(progress); });
    try {
      report =
          controller.run(tenant_, Placement::dedicated_cluster(ClusterId(to_.name)), mover_, stop);
    } catch (const std::exception& error) {  // out of memory, most likely
      report.outcome = MigrationOutcome::Aborted;
      report.status = absl::InternalError(error.what());
    }
    return report;
  }

  void on_progress(const placement::MigrationProgress& progress) {
    // A step begins when the transition before it has been made: the begin of the first try or of
    // another, the cutover, the flip, the abort of a try.
    if (progress.step == MigrationStep::Prepare || progress.step == MigrationStep::Drain ||
        progress.step == MigrationStep::Clean || progress.step == MigrationStep::Retry ||
        (progress.step == MigrationStep::Copy && progress.copy_round == 1)) {
      directory_.touch(tenant_);
    }
    const absl::Time now = placement::Clock::system().now();  // as the dirty keys' times
    const std::lock_guard lock(mutex_);
    if (progress.step == MigrationStep::Drain) cutover_at_ = now;
    if (progress.step == MigrationStep::Finish) {
      drain_added_ = now - std::max(cutover_at_, dirty_->last_settled());
    }
    step_ = placement::to_string(progress.step);
    copy_rounds_ = progress.copy_round;
  }

  void describe(const MigrationReport& report) {
    if (report.phase == placement::MigrationPhase::Cutover) {
      say(concat("cutover ", microseconds(report.cutover), " us (drain ",
                 microseconds(report.drain), " us, last round ", microseconds(report.finish),
                 " us), ", report.writes_held, " writes held, the longest for ",
                 microseconds(report.longest_hold), " us"));
      if (report.tries.size() > 1) say(concat("that was try ", report.tries.size()));
    }
    if (!report.ok()) {
      say(concat(placement::to_string(report.outcome), " at ", placement::to_string(report.step),
                 ": ", std::string(report.status.message())));
    }
    const std::lock_guard lock(mutex_);
    report_ = report;
    step_ = "Clean";
  }

  // Removes what nobody uses any more: the origin's copy after a flip, the destination's after an
  // abort. It is tried again for a while, after the operator has had his answer.
  void clean_up(const MigrationReport& report, const std::stop_token& stop) {
    const absl::Time deadline = absl::Now() + kCleaningDeadline;
    absl::Duration pause = kFirstCleaningPause;
    while (true) {
      const absl::Status cleaned = report.ok() ? clean_origin() : mover_.clean_destination();
      if (cleaned.ok()) break;
      if (done_) say(concat("stale keys remain: ", std::string(cleaned.message())));
      answer(report);
      if (absl::Now() >= deadline || !sleep_unless_stopped(pause, stop)) {
        return end("NotClean");
      }
      pause = std::min(2 * pause, kLongestCleaningPause);
    }
    end("");
  }

  // Reads that were sent to the origin before the flip may still be on their way: they must not
  // find a hole.
  absl::Status clean_origin() {
    fenced_ = fenced_ || owner_.workers_.have_answers(ClusterId(from_.name));
    if (!fenced_) return absl::DeadlineExceededError("reads are still in flight");
    return mover_.clean_origin();
  }

  static bool sleep_unless_stopped(absl::Duration longest, const std::stop_token& stop) {
    std::mutex unshared;
    std::unique_lock lock(unshared);
    std::condition_variable_any stopped;
    stopped.wait_for(lock, stop, absl::ToChronoMilliseconds(longest), [] { return false; });
    return !stop.stop_requested();
  }

  void end(std::string_view remark) {
    const std::lock_guard lock(mutex_);
    step_ = concat(placement::to_string(report_->outcome), remark);
  }

  // The first call counts.
  void answer(const MigrationReport& report) {
    if (!done_) return;
    std::string reply;
    if (report.ok()) {
      const std::lock_guard lock(mutex_);
      append_array_header(reply, lines_.size());
      for (const std::string& line : lines_) append_bulk(reply, line);
    } else if (report.outcome == MigrationOutcome::Refused) {
      append_error(reply, refusal_text(report.status));
    } else {
      append_error(reply,
                   concat("ABORTED at ", placement::to_string(report.step), ", tenant stays on ",
                          from_.name, ": ", std::string(report.status.message())));
    }
    std::exchange(done_, nullptr)(std::move(reply));
  }

  void say(std::string line) {
    const std::lock_guard lock(mutex_);
    if (lines_.size() < kMostLines) lines_.push_back(std::move(line));
  }

  Migrations& owner_;
  Directory& directory_;
  const std::string tenant_;
  const ClusterOptions& from_;
  const ClusterOptions& to_;
  Done done_;
  const absl::Time started_ = absl::Now();
  const std::shared_ptr<DirtyKeys> dirty_;  // from before the migration begins
  TenantMover mover_;
  bool fenced_ = false;

  mutable std::mutex mutex_;
  std::string step_ = "Begin";
  int copy_rounds_ = 0;
  absl::Time cutover_at_;
  absl::Duration drain_added_;  // from the last write's answer, or the cutover, to the drain's end
  std::vector<std::string> lines_;
  std::optional<MigrationReport> report_;

  std::jthread thread_;
};

Migrations::Migrations(const Options& options, Directory& directory, Workers workers)
    : options_(options), directory_(directory), workers_(std::move(workers)) {}

std::shared_ptr<Migrations::Run> Migrations::find_running(std::string_view tenant) const {
  for (const auto& run : running_) {
    if (run->tenant() == tenant) return run;
  }
  return nullptr;
}

std::optional<std::string> Migrations::start(std::string_view tenant,
                                             const ClusterOptions& destination, Done done) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return "ERR the router is shutting down";
  if (find_running(tenant) != nullptr)
    return "BUSY this tenant is being moved, or cleaned up after, already";
  if (running_.size() >= kMostRunning) {
    return concat("BUSY ", kMostRunning, " migrations are running already");
  }
  std::string why_not;
  const ClusterOptions* origin = directory_.origin_of_move(tenant, destination, why_not);
  if (origin == nullptr) return why_not;
  auto run =
      std::make_shared<Run>(*this, std::string(tenant), *origin, destination, std::move(done));
  running_.push_back(run);
  run->start();
  return std::nullopt;
}

void Migrations::ended(const Run& run) {
  std::shared_ptr<Run> forgotten;
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [&](const auto& running) { return running.get() == &run; });
  recent_.push_back(*found);
  running_.erase(found);
  if (recent_.size() > kMostRemembered) {
    recent_.front().swap(forgotten);  // joins its thread, which has nothing left to do
    recent_.pop_front();
  }
  if (running_.empty()) all_ended_.notify_all();
}

bool Migrations::stop(std::string_view tenant) {
  const std::lock_guard lock(mutex_);
  const auto run = find_running(tenant);
  if (run != nullptr) run->stop();
  return run != nullptr;
}

bool Migrations::unless_running(std::string_view tenant, absl::FunctionRef<void()> transition) {
  const std::lock_guard lock(mutex_);
  if (find_running(tenant) != nullptr) return false;
  transition();
  return true;
}

std::optional<Migrations::Status> Migrations::status(std::string_view tenant) const {
  const std::lock_guard lock(mutex_);
  if (const auto run = find_running(tenant)) return run->status();
  // The newest of them: the list ends with it.
  const auto last = std::find_if(recent_.rbegin(), recent_.rend(),
                                 [&](const auto& run) { return run->tenant() == tenant; });
  if (last == recent_.rend()) return std::nullopt;
  return (*last)->status();
}

std::size_t Migrations::running() const {
  const std::lock_guard lock(mutex_);
  return running_.size();
}

void Migrations::stop_all() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const auto& run : running_) run->stop();
}

void Migrations::wait() {
  std::deque<std::shared_ptr<Run>> ended;
  std::unique_lock lock(mutex_);
  all_ended_.wait(lock, [this] { return running_.empty(); });
  ended.swap(recent_);
  lock.unlock();
  ended.clear();  // joins their threads, which may still be answering
}

Migrations::~Migrations() {
  stop_all();
  wait();
}

}  // namespace redis_router
