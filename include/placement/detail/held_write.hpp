// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_HELD_WRITE_HPP_
#define PLACEMENT_DETAIL_HELD_WRITE_HPP_

#include <memory>
#include <utility>

#include <absl/functional/any_invocable.h>

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
  Epoch cutover;  // the partition's epoch when the write was held
  // The rest is guarded by the shard's mutex.
  HeldWrite* next = nullptr;
  HeldWrite* previous = nullptr;
  std::shared_ptr<HeldWrite> self;  // while it is in a list
};

// A list of held writes, first come, first resumed. All-zero memory is an empty list.
class HeldWrites {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  void add(std::shared_ptr<HeldWrite> write) noexcept {
    HeldWrite& added = *write;
    added.previous = last_;
    (last_ == nullptr ? first_ : last_->next) = &added;
    last_ = &added;
    added.self = std::move(write);
  }

  // Returns what kept the write alive; null if it was in the list no more.
  std::shared_ptr<HeldWrite> remove(HeldWrite& write) noexcept {
    if (write.self == nullptr) return nullptr;
    (write.previous == nullptr ? first_ : write.previous->next) = write.next;
    (write.next == nullptr ? last_ : write.next->previous) = write.previous;
    write.next = write.previous = nullptr;
    return std::move(write.self);
  }

  // The first that was held in a cutover before `epoch`; null if there is none.
  std::shared_ptr<HeldWrite> take_before(Epoch epoch) noexcept {
    return first_ == nullptr || first_->cutover >= epoch ? nullptr : remove(*first_);
  }

 private:
  HeldWrite* first_;
  HeldWrite* last_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_HELD_WRITE_HPP_
