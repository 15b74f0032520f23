// SPDX-License-Identifier: Apache-2.0
//
// Runs many migrations, so many at a time, on threads of its own.
//
//   placement::MigrationQueue queue(table, {.max_running = 8, .max_per_source = 2});
//   const placement::MigrationJobId job = queue.submit(
//       "tenant-42", to,
//       [](const placement::MigrationQueue::Plan& plan) {
//         // When its turn has come, on a thread of the queue.
//         return std::make_unique<RowMover>(plan.id, plan.from, plan.to);
//       },
//       {.priority = 1});
//   queue.status(job)->place;                      // how many go before it, while it waits
//   queue.cancel(job);                             // whether it waits or runs
//   const placement::MigrationReport report = *queue.wait(job);
//
// What it promises:
//   - Never more than max_running migrations at once, max_per_source from one source,
//     max_per_destination to one destination, one of a partition.
//   - Of those that may run, the one with the highest priority is next; of equals the one that was
//     submitted first. One that may not run yet holds up nobody else.
//   - However it ends (stop, destructor, a mover that throws), every partition is settled, or left
//     to whoever took its migration over: see MigrationController, whose promises hold for each.
//
// Threads belong to the queue: max_running of them, started by the constructor, and one more for
// each migration that is in its last steps. Movers, callbacks, and what resumes held writes at the
// end of a cutover are called by them. Of these none may wait for the queue (`wait`, `stop`, the
// destructor), which would wait for itself; `submit`, `cancel` and `status` are welcome.
#ifndef PLACEMENT_MIGRATION_QUEUE_HPP_
#define PLACEMENT_MIGRATION_QUEUE_HPP_

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if defined(__cpp_exceptions)
#include <exception>
#endif

#include <absl/container/flat_hash_map.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include "placement/clock.hpp"
#include "placement/detail/table_transitions.hpp"
#include "placement/migration_controller.hpp"
#include "placement/placement.hpp"
#include "placement/placement_table.hpp"

namespace placement {
inline namespace v1 {

// Names one submitted migration of one queue. Never used again.
enum class MigrationJobId : std::uint64_t {};

enum class MigrationJobState {
  Queued,   // it waits for its turn
  Running,  // from Begin to the end of the cleaning
  Ended,    // there is a report
};

[[nodiscard]] constexpr std::string_view to_string(MigrationJobState state) noexcept {
  switch (state) {
    case MigrationJobState::Queued:
      return "Queued";
    case MigrationJobState::Running:
      return "Running";
    case MigrationJobState::Ended:
      return "Ended";
  }
  return "unknown MigrationJobState";
}

inline std::ostream& operator<<(std::ostream& out, MigrationJobState state) {
  return out << to_string(state);
}

struct MigrationJobOptions {
  int priority = 0;  // the higher, the sooner
  // Called once, at the end, by a thread of the queue or, for one that never ran, by the thread
  // that cancelled it. It must not throw.
  std::function<void(MigrationJobId, const MigrationReport&)> on_end = nullptr;
};

// A placement as the queue counts it: equal text, equal place. For the built-in placements it is
// the cluster, whose load a migration is, else the placement's bytes.
template <typename P>
[[nodiscard]] std::string default_place(const P& placement) {
  return std::string(reinterpret_cast<const char*>(&placement), sizeof(P));
}
[[nodiscard]] inline std::string default_place(const Placement& placement) {
  return std::string(placement.cluster().view());
}

template <PartitionKey Id = std::string, typename P = Placement>
class BasicMigrationQueue {
 public:
  using Table = BasicPlacementTable<Id, P>;
  using IdParameter = typename Table::IdParameter;
  using Controller = BasicMigrationController<Id, P>;

  // What a migration that is about to run is to do.
  struct Plan {
    Id id;
    P from;  // where the partition is now
    P to;
  };
  // Makes the mover when the migration's turn has come; null: there is none, and nothing is begun.
  using MakeMover = absl::AnyInvocable<std::unique_ptr<Mover>(const Plan&)>;

  struct Options {
    std::size_t max_running = 4;          // at least 1
    std::size_t max_per_source = 2;       // at least 1
    std::size_t max_per_destination = 2;  // at least 1
    std::size_t max_remembered = 1024;    // of those that have ended, the newest
    MigrationPolicy policy = {};
    Clock* clock = nullptr;  // null: Clock::system(); must outlive the queue
    // What max_per_source and max_per_destination count by; null: default_place. Called with the
    // queue's lock held, so it must not call the queue. It must not throw.
    std::function<std::string(const P&)> place_of = nullptr;
    // See BasicMigrationController::wait_for_reads.
    std::function<absl::Status(const Id&, const std::stop_token&)> wait_for_reads = nullptr;
    // At the begin of each step. It must not throw.
    std::function<void(MigrationJobId, const MigrationProgress&)> on_progress = nullptr;
  };

  struct JobStatus {
    MigrationJobId job{};
    Id id;
    P to;
    int priority = 0;
    MigrationJobState state = MigrationJobState::Queued;
    std::size_t place = 0;  // while it waits: how many others are to be tried before it
    MigrationStep step = MigrationStep::Begin;  // while it runs
    int attempt = 0;
    int copy_round = 0;
    std::optional<MigrationReport> report;  // once it has ended
  };

  // `table` must outlive the queue. Throws std::bad_alloc and std::system_error.
  explicit BasicMigrationQueue(Table& table, Options options = {})
      : table_(table),
        options_(std::move(options)),
        clock_(options_.clock != nullptr ? *options_.clock : Clock::system()) {
    const std::size_t count = std::max<std::size_t>(options_.max_running, 1);
    threads_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
  }
  BasicMigrationQueue(const BasicMigrationQueue&) = delete;
  BasicMigrationQueue& operator=(const BasicMigrationQueue&) = delete;
  // As `stop`, then waits for the threads.
  ~BasicMigrationQueue() {
    stop();
    threads_.clear();
  }

  // Queues a migration of the partition to `to`. Whether it can be begun is found out when its turn
  // has come: the report of one that cannot is Refused. After `stop` it ends at once, as cancelled.
  // Throws std::bad_alloc.
  MigrationJobId submit(IdParameter id, P to, MakeMover make_mover,
                        MigrationJobOptions options = {}) {
    const auto job = std::make_shared<Job>(detail::own_id<Id>(id), to, std::move(make_mover),
                                           std::move(options));
    bool is_queued = false;
    {
      const std::lock_guard lock(mutex_);
      job->number = MigrationJobId{++last_number_};
      queued_.reserve(queued_.size() + 1);  // so that it is in both or in none
      jobs_.emplace(job->number, job);
      is_queued = !stopped_;
      if (is_queued) {
        const auto behind_equals = std::find_if(
            queued_.begin(), queued_.end(),
            [&](const JobPtr& other) { return other->options.priority < job->options.priority; });
        queued_.insert(behind_equals, job);
      }
    }
    if (is_queued) {
      work_.notify_one();
    } else {
      conclude(job, cancelled());
    }
    return job->number;
  }

  // Takes a queued one out of the queue (its report is Refused), or asks a running one to stop (it
  // ends Aborted, unless its flip comes first). False if it has ended, or is unknown.
  bool cancel(MigrationJobId number) {
    std::shared_ptr<Job> job;
    bool was_queued = false;
    {
      const std::lock_guard lock(mutex_);
      job = find(number);
      if (job == nullptr || job->is_concluded) return false;
      was_queued = std::erase(queued_, job) != 0;
      if (was_queued) begin_to_conclude(job);
    }
    if (was_queued) {
      conclude(job, cancelled());
    } else {
      job->stop.request_stop();  // without the lock: it calls whoever waits for it
    }
    return true;
  }

  // Cancels every one, lets no more begin, and returns when none runs: every partition is settled.
  // A mover that does not heed its stop token is waited for. Others may still submit, in vain.
  void stop() {
    std::vector<std::shared_ptr<Job>> never_ran;
    std::vector<std::shared_ptr<Job>> running;
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
      never_ran.swap(queued_);
      running = running_;
      for (const auto& job : never_ran) begin_to_conclude(job);
    }
    work_.notify_all();
    for (const auto& job : running) job->stop.request_stop();
    for (const auto& job : never_ran) conclude(job, cancelled());
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return running_.empty(); });
  }

  // Returns the report when it has ended; nothing if it is unknown, or was forgotten before.
  std::optional<MigrationReport> wait(MigrationJobId number) const {
    std::unique_lock lock(mutex_);
    const std::shared_ptr<const Job> job = find(number);
    if (job == nullptr) return std::nullopt;
    ended_.wait(lock, [&job] { return job->state == MigrationJobState::Ended; });
    return job->report;
  }

  // Returns when none waits and none runs.
  void wait_until_idle() const {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return queued_.empty() && running_.empty(); });
  }

  // Nothing: it is unknown, or forgotten. Throws std::bad_alloc.
  [[nodiscard]] std::optional<JobStatus> status(MigrationJobId number) const {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<const Job> job = find(number);
    if (job == nullptr) return std::nullopt;
    return status_of(*job);
  }

  // Those that run, then those that wait, in the order in which they are tried, all of one instant.
  // Throws std::bad_alloc.
  [[nodiscard]] std::vector<JobStatus> list() const {
    const std::lock_guard lock(mutex_);
    std::vector<JobStatus> all;
    all.reserve(running_.size() + queued_.size());
    for (const auto* jobs : {&running_, &queued_}) {
      for (const auto& job : *jobs) all.push_back(status_of(*job));
    }
    return all;
  }

 private:
  struct Job {
    Job(Id partition, P place, MakeMover make, MigrationJobOptions with)
        : id(std::move(partition)),
          to(place),
          make_mover(std::move(make)),
          options(std::move(with)) {}

    MigrationJobId number{};
    const Id id;
    const P to;
    MakeMover make_mover;  // called by the thread that runs it, let go at its end
    const MigrationJobOptions options;
    std::stop_source stop;

    // Guarded by the queue's mutex:
    MigrationJobState state = MigrationJobState::Queued;
    bool is_concluded = false;  // its report is made, and on_end is called or about to be
    std::string source;         // while it runs; empty: the partition was not there
    std::string destination;
    std::optional<MigrationProgress> progress;
    std::optional<MigrationReport> report;
  };
  using JobPtr = std::shared_ptr<Job>;

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      JobPtr job;
      work_.wait(lock, [&] { return (job = take_next()) != nullptr || stopped_; });
      if (job == nullptr) return;
      lock.unlock();
      conclude(job, run_and_catch(*job));
      lock.lock();
    }
  }

  // The first that may run now, which it then does; null if there is none.
  JobPtr take_next() {
    for (auto place = queued_.begin(); place != queued_.end(); ++place) {
      const JobPtr job = *place;
      const auto at = table_.get(job->id);
      std::string source = at ? place_of(at->placement) : std::string();
      std::string destination = place_of(job->to);
      if (!has_room(*job, source, destination)) continue;
      running_.push_back(job);
      queued_.erase(place);
      job->source = std::move(source);
      job->destination = std::move(destination);
      job->state = MigrationJobState::Running;
      return job;
    }
    return nullptr;
  }

  [[nodiscard]] bool has_room(const Job& job, const std::string& source,
                              const std::string& destination) const {
    std::size_t from_there = 0;
    std::size_t to_there = 0;
    for (const JobPtr& other : running_) {
      if (detail::id_bytes(other->id) == detail::id_bytes(job.id)) return false;
      if (!source.empty() && other->source == source) ++from_there;
      if (other->destination == destination) ++to_there;
    }
    return from_there < std::max<std::size_t>(options_.max_per_source, 1) &&
           to_there < std::max<std::size_t>(options_.max_per_destination, 1);
  }

  [[nodiscard]] std::string place_of(const P& placement) const {
    return options_.place_of ? options_.place_of(placement) : default_place(placement);
  }

  // A mover may throw, and must not take the queue with it. Its partition is settled by then.
  MigrationReport run_and_catch(Job& job) {
#if defined(__cpp_exceptions)
    try {
      return run(job);
    } catch (const std::exception& error) {
      return threw(error.what());
    } catch (...) {
      return threw("something that is no std::exception");
    }
#else
    return run(job);
#endif
  }

  MigrationReport run(Job& job) {
    Controller controller(table_, options_.policy, clock_);
    if (options_.wait_for_reads) controller.wait_for_reads(options_.wait_for_reads);
    controller.on_progress([&](const MigrationProgress& progress) {
      {
        const std::lock_guard lock(mutex_);
        job.progress = progress;
      }
      if (options_.on_progress) options_.on_progress(job.number, progress);
    });
    for (;;) {
      if (job.stop.stop_requested()) return cancelled();
      const auto now = table_.state(job.id);
      if (!now) return refused(to_status(MigrationError::UnknownPartition));
      const std::unique_ptr<Mover> mover =
          job.make_mover(Plan{job.id, now->state.read_placement(), job.to});
      if (mover == nullptr) return refused(absl::CancelledError("NoMover: none was made"));
      MigrationReport report =
          controller.run(job.id, job.to, *mover, job.stop.get_token(), now->epoch);
      // The partition was changed since: this mover was made for another origin.
      const bool is_stale =
          report.outcome == MigrationOutcome::Refused && absl::IsAborted(report.status);
      if (!is_stale) return report;
    }
  }

  // It has ended: tells who wants to know, then everyone.
  // With the mutex held, of one that will not run: whoever waits until all have ended waits for it.
  void begin_to_conclude(const JobPtr& job) {
    job->is_concluded = true;
    running_.push_back(job);
  }

  void conclude(const JobPtr& job, MigrationReport report) {
    {
      const std::lock_guard lock(mutex_);
      job->is_concluded = true;
    }
    if (job->options.on_end) job->options.on_end(job->number, report);
    MakeMover let_go;
    JobPtr forgotten;
    {
      const std::lock_guard lock(mutex_);
      std::swap(let_go, job->make_mover);
      std::erase(running_, job);
      job->report = std::move(report);
      job->state = MigrationJobState::Ended;
      remembered_.push_back(job->number);
      if (remembered_.size() > options_.max_remembered) {
        const auto oldest = jobs_.find(remembered_.front());
        forgotten = std::move(oldest->second);
        jobs_.erase(oldest);
        remembered_.pop_front();
      }
    }
    ended_.notify_all();
    work_.notify_all();  // there is room for others
  }

  [[nodiscard]] JobPtr find(MigrationJobId number) const {
    const auto found = jobs_.find(number);
    return found == jobs_.end() ? nullptr : found->second;
  }

  [[nodiscard]] JobStatus status_of(const Job& job) const {
    const MigrationProgress progress =
        job.progress.value_or(MigrationProgress{MigrationStep::Begin, 0, Epoch::zero()});
    JobStatus status{job.number, job.id,        job.to,           job.options.priority, job.state,
                     0,          progress.step, progress.attempt, progress.copy_round,  job.report};
    const auto place = std::find_if(queued_.begin(), queued_.end(),
                                    [&](const JobPtr& other) { return other.get() == &job; });
    if (place != queued_.end()) status.place = static_cast<std::size_t>(place - queued_.begin());
    return status;
  }

  static MigrationReport refused(absl::Status why) {
    MigrationReport report;
    report.status = std::move(why);
    return report;
  }
  static MigrationReport cancelled() {
    return refused(absl::CancelledError("Stopped: it was cancelled before it began"));
  }
  static MigrationReport threw(std::string_view what) {
    MigrationReport report = refused(absl::InternalError(
        absl::StrCat("the mover threw: ", absl::string_view(what.data(), what.size()))));
    report.outcome = MigrationOutcome::Aborted;
    return report;
  }

  Table& table_;
  const Options options_;
  Clock& clock_;

  mutable std::mutex mutex_;
  std::condition_variable work_;           // there is something to run, or nothing more to come
  mutable std::condition_variable ended_;  // one has ended
  // Guarded by mutex_:
  bool stopped_ = false;
  std::uint64_t last_number_ = 0;
  std::vector<JobPtr> queued_;  // in the order in which they are tried
  std::vector<JobPtr> running_;
  absl::flat_hash_map<MigrationJobId, JobPtr> jobs_;  // all that are remembered
  std::deque<MigrationJobId> remembered_;             // that have ended, the newest last

  std::vector<std::jthread> threads_;  // last: they use the rest
};

using MigrationQueue = BasicMigrationQueue<>;

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_MIGRATION_QUEUE_HPP_
