// SPDX-License-Identifier: Apache-2.0
//
// Writes that wait for their partition to leave cutover, and how they are resumed.
#ifndef PLACEMENT_DETAIL_HELD_WRITE_HPP_
#define PLACEMENT_DETAIL_HELD_WRITE_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <absl/base/thread_annotations.h>
#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/detail/mutex.hpp"
#include "placement/executor.hpp"
#include "placement/table_stats.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

struct TicketAccess;  // the table's way to make tickets

// A flag that one thread raises and one waits for.
class Event {
 public:
  void raise() {
    const MutexLock lock(mutex_);
    raised_ = true;
    changed_.Signal();
  }
  void wait_until(absl::Time deadline) {
    const MutexLock lock(mutex_);
    while (!raised_) {
      if (mutex_.wait(changed_, deadline)) return;
    }
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool raised_ ABSL_GUARDED_BY(mutex_) = false;
};

// A write that a callback waits for. Whoever takes it out of its queue, to resume or to cancel it,
// owns it.
class HeldWrite {
 public:
  HeldWrite(const HeldWrite&) = delete;
  HeldWrite& operator=(const HeldWrite&) = delete;
  virtual ~HeldWrite() = default;

  // Whether, when its turn has come, something has to succeed before it leaves the queue.
  [[nodiscard]] bool has_to_resolve() const noexcept { return has_to_resolve_; }
  // That: false if the partition is in cutover again, and the write keeps its place. The partition
  // for which an orphan was held is gone.
  virtual bool resolve(bool /*is_orphan*/) { return true; }
  // Calls back. Both run without the mutex, and must not throw.
  virtual void resume() = 0;

  absl::Time since;  // on the table's clock

 protected:
  explicit HeldWrite(bool has_to_resolve) noexcept : has_to_resolve_(has_to_resolve) {}

 private:
  const bool has_to_resolve_;
};

// What `hold` holds.
class HeldCallback final : public HeldWrite {
 public:
  explicit HeldCallback(absl::AnyInvocable<void()> callback) noexcept
      : HeldWrite(/*has_to_resolve=*/false), callback_(std::move(callback)) {}
  void resume() override { callback_(); }

 private:
  absl::AnyInvocable<void()> callback_;
};

using HeldMap = std::map<std::uint64_t, std::unique_ptr<HeldWrite>>;
using HeldNode = HeldMap::node_type;

// Memory for the write's place in a queue, taken before the mutex is.
[[nodiscard]] inline HeldNode make_held(std::unique_ptr<HeldWrite> write) {
  HeldMap alone;
  alone.emplace(0, std::move(write));
  return alone.extract(alone.begin());
}

// A thread that waits in acquire_write_until. It stands on that thread's stack.
struct HeldThread {
  Event resumed;
  absl::Time since;
  std::uint64_t sequence = 0;
  bool is_in_queue = false;
  HeldThread* next = nullptr;
  HeldThread* previous = nullptr;
};

class HeldQueue;

// What the queues of one table share.
class HeldInTable {
 public:
  HeldInTable(std::size_t max, std::size_t max_per_partition, Executor* executor,
              const Clock& clock) noexcept
      : max_(max), max_per_partition_(max_per_partition), executor_(executor), clock_(clock) {}

  [[nodiscard]] Executor* executor() const noexcept { return executor_; }
  [[nodiscard]] const Clock& clock() const noexcept { return clock_; }

  // A bound and no synchronization: hence relaxed. Whoever has learned that a write was held, finds
  // it counted.
  [[nodiscard]] std::size_t count() const noexcept {
    return count_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool take_place(std::size_t taken_by_partition) noexcept {
    if (taken_by_partition < max_per_partition_) {
      if (count_.fetch_add(1, std::memory_order_relaxed) < max_) return one_more(held_);
      count_.fetch_sub(1, std::memory_order_relaxed);
    }
    return !one_more(not_held_);
  }
  // How a write has left its queue.
  enum class Left { Resumed, Cancelled, TimedOut };
  void give_back_place(Left how) noexcept {
    count_.fetch_sub(1, std::memory_order_relaxed);
    one_more(left_[static_cast<std::size_t>(how)]);
  }

  // The counts are of one moment each, and nothing is concluded from them.
  void add_to(TableStats& stats) const noexcept {
    const auto now = [](const std::atomic<std::uint64_t>& count) {
      return count.load(std::memory_order_relaxed);
    };
    stats.writes_held += now(held_);
    stats.writes_not_held += now(not_held_);
    stats.writes_resumed += now(left_[static_cast<std::size_t>(Left::Resumed)]);
    stats.writes_cancelled += now(left_[static_cast<std::size_t>(Left::Cancelled)]);
    stats.writes_timed_out += now(left_[static_cast<std::size_t>(Left::TimedOut)]);
  }

  // Tasks that are with the executor. The release is the last access of a task to its table; who
  // destroys the table acquires.
  void task_begins() noexcept { tasks_.fetch_add(1, std::memory_order_relaxed); }
  void task_ends() noexcept { tasks_.fetch_sub(1, std::memory_order_release); }
  [[nodiscard]] bool has_tasks() const noexcept {
    return tasks_.load(std::memory_order_acquire) != 0;
  }

  void adopt(HeldQueue& queue) noexcept;
  // No thread uses the table any more.
  void destroy_queues() noexcept;

 private:
  const std::size_t max_;
  const std::size_t max_per_partition_;
  Executor* const executor_;
  const Clock& clock_;
  static bool one_more(std::atomic<std::uint64_t>& count) noexcept {
    count.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> held_{0};
  std::atomic<std::uint64_t> not_held_{0};
  std::array<std::atomic<std::uint64_t>, 3> left_{};
  std::atomic<std::size_t> tasks_{0};
  std::atomic<HeldQueue*> queues_{nullptr};
};

// The held writes of one counter's partition, by sequence number: first come, first resumed. Once a
// counter has a queue it keeps it, from partition to partition, until the table dies; so a ticket
// needs no more than the queue and a number that is never used again.
//
// Threads that wait in acquire_write_until are woken by the transition itself, before it turns to
// the callbacks, so that they depend on nobody who runs callbacks. Callbacks are called by one
// thread at a time, the pump: the thread of a transition, or, with an executor, a task.
//
// What a queue knows is guarded by its shard's mutex.
class HeldQueue {
 public:
  // So many are resumed by one task of the executor before others get their turn.
  static constexpr int kResumedAtOnce = 16;

  HeldQueue(Mutex& mutex, HeldInTable& table) noexcept : mutex_(mutex), table_(table) {}
  HeldQueue(const HeldQueue&) = delete;
  HeldQueue& operator=(const HeldQueue&) = delete;

  // ---- with the mutex held ----

  [[nodiscard]] bool empty() const noexcept { return writes_.empty() && first_thread_ == nullptr; }
  [[nodiscard]] bool has_callbacks() const noexcept { return !writes_.empty(); }
  [[nodiscard]] bool is_open() const noexcept { return is_open_; }

  void enter_cutover() noexcept {
    is_open_ = false;
    start_counting();
  }
  void leave_cutover() noexcept { is_open_ = true; }
  // The counter has another partition from now on. What is in the queue still was held for one that
  // is gone, so it is due whatever becomes of this one.
  void change_partition() noexcept {
    is_open_ = true;
    orphans_before_ = next_;
    start_counting();
  }

  // Returns the write's number; nothing, and the caller keeps the write, if too many are held.
  [[nodiscard]] std::optional<std::uint64_t> add(HeldNode& write) noexcept {
    if (!table_.take_place(size())) return std::nullopt;
    write.key() = next_++;
    write.mapped()->since = table_.clock().now();
    if (!is_open_) ++count_;
    return writes_.insert(writes_.end(), std::move(write))->first;
  }
  [[nodiscard]] bool add(HeldThread& thread) noexcept {
    if (!table_.take_place(size())) return false;
    thread.sequence = next_++;
    thread.since = table_.clock().now();
    thread.is_in_queue = true;
    thread.previous = last_thread_;
    (last_thread_ == nullptr ? first_thread_ : last_thread_->next) = &thread;
    last_thread_ = &thread;
    ++threads_;
    ++count_;
    return true;
  }

  // How many were held since the partition entered cutover, and how long the longest, those that
  // wait included.
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] absl::Duration longest() const noexcept {
    absl::Duration longest = longest_;
    const auto oldest = writes_.lower_bound(orphans_before_);
    if (oldest != writes_.end()) longest = std::max(longest, age(oldest->second->since));
    for (const HeldThread* at = first_thread_; at != nullptr; at = at->next) {
      if (is_orphan(at->sequence)) continue;
      return std::max(longest, age(at->since));
    }
    return longest;
  }

  // ---- without it ----

  // After a transition out of cutover: wakes the threads that wait, then sees to it that the
  // callbacks are called.
  void resume() {
    wake_threads();
    {
      const MutexLock lock(mutex_);
      if (has_pump_ || !has_due()) return;
      has_pump_ = true;
    }
    if (table_.executor() == nullptr) {
      while (resume_next()) {
      }
    } else {
      table_.task_begins();
      table_.executor()->execute(Pump(*this));
    }
  }

  bool cancel(std::uint64_t sequence) noexcept {
    HeldNode write;  // destroyed after the mutex is released: its destructor is a caller's
    const MutexLock lock(mutex_);
    return cancel(sequence, write);
  }

  // False if a transition was first: then its thread has raised the event, or is about to.
  [[nodiscard]] bool cancel(HeldThread& thread) noexcept {
    {
      const MutexLock lock(mutex_);
      if (!thread.is_in_queue) return false;
      take(thread);
    }
    table_.give_back_place(HeldInTable::Left::TimedOut);
    return true;
  }

 private:
  friend class HeldInTable;

  // A task that resumes some writes, and hands itself over again while there are more.
  class Pump {
   public:
    explicit Pump(HeldQueue& queue) noexcept : queue_(&queue) {}
    Pump(Pump&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)) {}
    Pump& operator=(Pump&&) = delete;
    ~Pump() {
      if (queue_ != nullptr) queue_->lose_pump();
    }

    void operator()() {
      HeldQueue& queue = *std::exchange(queue_, nullptr);
      HeldInTable& table = queue.table_;
      for (int n = 0; n < kResumedAtOnce; ++n) {
        if (!queue.resume_next()) return table.task_ends();
      }
      table.executor()->execute(Pump(queue));
    }

   private:
    HeldQueue* queue_;  // null: moved from, or it has run
  };

  [[nodiscard]] std::size_t size() const noexcept { return writes_.size() + threads_; }
  [[nodiscard]] bool is_orphan(std::uint64_t sequence) const noexcept {
    return sequence < orphans_before_;
  }
  [[nodiscard]] bool is_due(std::uint64_t sequence) const noexcept {
    return is_open_ || is_orphan(sequence);
  }
  [[nodiscard]] bool has_due() const noexcept {
    return !writes_.empty() && is_due(writes_.begin()->first);
  }
  [[nodiscard]] absl::Duration age(absl::Time since) const noexcept {
    return table_.clock().now() - since;
  }

  void start_counting() noexcept {
    count_ = 0;
    longest_ = absl::ZeroDuration();
  }
  void stop_waiting(std::uint64_t sequence, absl::Time since) noexcept {
    if (!is_orphan(sequence)) longest_ = std::max(longest_, age(since));
  }

  [[nodiscard]] HeldNode take(HeldMap::iterator at) noexcept {
    stop_waiting(at->first, at->second->since);
    return writes_.extract(at);
  }
  void take(HeldThread& thread) noexcept {
    stop_waiting(thread.sequence, thread.since);
    (thread.previous == nullptr ? first_thread_ : thread.previous->next) = thread.next;
    (thread.next == nullptr ? last_thread_ : thread.next->previous) = thread.previous;
    thread.is_in_queue = false;
    --threads_;
  }

  bool cancel(std::uint64_t sequence, HeldNode& write) noexcept {
    // It is being resolved, without the mutex, and will be dropped.
    if (sequence == resolving_) return !std::exchange(is_resolved_in_vain_, true);
    const auto found = writes_.find(sequence);
    if (found == writes_.end()) return false;
    write = take(found);
    table_.give_back_place(HeldInTable::Left::Cancelled);
    return true;
  }

  void wake_threads() {
    for (;;) {
      HeldThread* woken = nullptr;
      {
        const MutexLock lock(mutex_);
        woken = first_thread_;
        if (woken == nullptr || !is_due(woken->sequence)) return;
        take(*woken);
      }
      table_.give_back_place(HeldInTable::Left::Resumed);
      woken->resumed.raise();
    }
  }

  // The pump's step. False if nothing is due: then there is no pump any more.
  bool resume_next() {
    HeldNode write;
    HeldWrite* resolving = nullptr;
    bool is_orphan = false;
    {
      const MutexLock lock(mutex_);
      if (!has_due()) {
        has_pump_ = false;
        return false;
      }
      const auto first = writes_.begin();
      if (first->second->has_to_resolve()) {
        resolving = first->second.get();
        resolving_ = first->first;
        is_orphan = this->is_orphan(resolving_);
      } else {
        write = take(first);
      }
    }
    bool is_cancelled = false;
    if (resolving != nullptr) {
      const bool is_resolved = resolving->resolve(is_orphan);
      const MutexLock lock(mutex_);
      resolving_ = kNone;
      is_cancelled = std::exchange(is_resolved_in_vain_, false);
      // It is the first still: nobody else takes it, and those that come are later.
      if (is_resolved || is_cancelled) write = take(writes_.begin());
    }
    if (write.empty()) return true;
    table_.give_back_place(is_cancelled ? HeldInTable::Left::Cancelled
                                        : HeldInTable::Left::Resumed);
    if (!is_cancelled) write.mapped()->resume();
    return true;
  }

  // The executor has dropped the task: there is none, until a transition hands over another.
  void lose_pump() noexcept {
    {
      const MutexLock lock(mutex_);
      has_pump_ = false;
    }
    table_.task_ends();
  }

  static constexpr std::uint64_t kNone = 0;

  Mutex& mutex_;
  HeldInTable& table_;
  HeldQueue* next_queue_ = nullptr;  // of the table's
  HeldMap writes_;
  HeldThread* first_thread_ = nullptr;
  HeldThread* last_thread_ = nullptr;
  std::size_t threads_ = 0;
  std::uint64_t next_ = kNone + 1;
  std::uint64_t orphans_before_ = 0;
  std::uint64_t resolving_ = kNone;   // which write the pump is resolving
  bool is_resolved_in_vain_ = false;  // that one is cancelled
  bool has_pump_ = false;
  bool is_open_ = false;  // the partition is in no cutover
  std::size_t count_ = 0;
  absl::Duration longest_;  // of those that wait no more
};

// A counter's way to its queue. All-zero memory has none.
class HeldWrites {
 public:
  // Null if no write was ever held at this counter.
  [[nodiscard]] HeldQueue* queue() const noexcept { return queue_; }

  // The rest: with the shard's mutex held.

  [[nodiscard]] bool empty() const noexcept { return queue_ == nullptr || queue_->empty(); }
  HeldQueue& adopt(std::unique_ptr<HeldQueue> queue, HeldInTable& table) noexcept {
    queue_ = queue.release();
    table.adopt(*queue_);
    return *queue_;
  }

  // The partition enters cutover.
  void start_counting() noexcept {
    if (queue_ != nullptr) queue_->enter_cutover();
  }
  // It leaves cutover.
  void leave_cutover() noexcept {
    if (queue_ != nullptr) queue_->leave_cutover();
  }
  // The counter has another partition.
  void change_partition() noexcept {
    if (queue_ != nullptr) queue_->change_partition();
  }

 private:
  HeldQueue* queue_;
};

inline void HeldInTable::adopt(HeldQueue& queue) noexcept {
  // Only pushed to while the table lives, and read when it dies: relaxed but for what the queue's
  // own fields need, which the shard's mutex orders.
  queue.next_queue_ = queues_.load(std::memory_order_relaxed);
  while (!queues_.compare_exchange_weak(queue.next_queue_, &queue, std::memory_order_release,
                                        std::memory_order_relaxed)) {
  }
}

inline void HeldInTable::destroy_queues() noexcept {
  HeldQueue* queue = queues_.exchange(nullptr, std::memory_order_acquire);
  while (queue != nullptr) delete std::exchange(queue, queue->next_queue_);
}

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_HELD_WRITE_HPP_
