// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_HELD_WRITE_HPP_
#define PLACEMENT_DETAIL_HELD_WRITE_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"
#include "placement/epoch.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// A write that waits for its partition to leave cutover. It is in its partition's list, or it was
// taken out: by the transition that resumes it or by the ticket that cancels it, whichever came
// first under the shard's mutex.
struct HeldWrite {
  explicit HeldWrite(absl::AnyInvocable<void()> resume_when_open)
      : resume(std::move(resume_when_open)) {}

  absl::AnyInvocable<void()> resume;
  Epoch cutover;     // the partition's epoch when the write was held
  absl::Time since;  // on the table's clock
  const Clock* clock = nullptr;
  // The rest is guarded by the shard's mutex.
  HeldWrite* next = nullptr;
  HeldWrite* previous = nullptr;
  std::shared_ptr<HeldWrite> self;  // while it is in a list
};

// A partition's held writes, first come, first resumed, and how many there were in this cutover.
// All-zero memory is an empty list. Guarded by the shard's mutex.
class HeldWrites {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  // The partition enters cutover.
  void start_counting() noexcept {
    count_ = 0;
    longest_ = 0;
  }
  // How many were held since start_counting, and how long the longest, those that wait included.
  [[nodiscard]] std::size_t count() const noexcept { return static_cast<std::size_t>(count_); }
  [[nodiscard]] absl::Duration longest() const noexcept {
    const absl::Duration over = absl::Nanoseconds(longest_);
    return first_ == nullptr ? over : std::max(over, first_->clock->now() - first_->since);
  }

  void add(std::shared_ptr<HeldWrite> write) noexcept {
    HeldWrite& added = *write;
    added.previous = last_;
    (last_ == nullptr ? first_ : last_->next) = &added;
    last_ = &added;
    ++count_;
    added.self = std::move(write);
  }

  // Returns what kept the write alive; null if it was in the list no more.
  std::shared_ptr<HeldWrite> remove(HeldWrite& write) noexcept {
    if (write.self == nullptr) return nullptr;
    (write.previous == nullptr ? first_ : write.previous->next) = write.next;
    (write.next == nullptr ? last_ : write.next->previous) = write.previous;
    write.next = write.previous = nullptr;
    longest_ = std::max(longest_, absl::ToInt64Nanoseconds(write.clock->now() - write.since));
    return std::move(write.self);
  }

  // The first that was held in a cutover before `epoch`; null if there is none.
  std::shared_ptr<HeldWrite> take_before(Epoch epoch) noexcept {
    return first_ == nullptr || first_->cutover >= epoch ? nullptr : remove(*first_);
  }

 private:
  HeldWrite* first_;
  HeldWrite* last_;
  std::uint32_t count_;
  std::int64_t longest_;  // nanoseconds, of those that wait no more
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_HELD_WRITE_HPP_
