// SPDX-License-Identifier: Apache-2.0
//
// The permits of one partition by name, for a table with TableOptions::track_permits.
#ifndef PLACEMENT_DETAIL_TRACKED_PERMITS_HPP_
#define PLACEMENT_DETAIL_TRACKED_PERMITS_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <absl/time/time.h>

#include "placement/epoch.hpp"

namespace placement {
inline namespace v1 {

// What BasicWritePermit::label keeps of a label.
inline constexpr std::size_t kMaxPermitLabelBytes = 63;

namespace detail {

class WriteCounter;

// One write in flight. It belongs to the permit while that is out, then, in quarantine, to its
// list. Guarded by the shard's mutex while it is in a list.
struct TrackedPermit {
  TrackedPermit* next = nullptr;
  TrackedPermit* previous = nullptr;
  WriteCounter* counter = nullptr;  // whose list it is in
  absl::Time granted_at;            // on the table's clock
  Epoch epoch;
  bool in_quarantine = false;
  unsigned char label_size = 0;
  std::array<char, kMaxPermitLabelBytes> label_bytes;

  // In the first one of a list that is in quarantine, of all that are:
  TrackedPermit* last_in_quarantine = nullptr;
  absl::Time oldest_in_quarantine;

  void set_label(std::string_view label) noexcept {
    label_size = static_cast<unsigned char>(std::min(label.size(), label_bytes.size()));
    std::copy_n(label.begin(), label_size, label_bytes.begin());
  }
  [[nodiscard]] std::string_view label() const noexcept { return {label_bytes.data(), label_size}; }
};

// Those that are over, until somebody deletes them outside the mutex.
class PermitsThatAreOver {
 public:
  PermitsThatAreOver() = default;
  PermitsThatAreOver(const PermitsThatAreOver&) = delete;
  PermitsThatAreOver& operator=(const PermitsThatAreOver&) = delete;
  ~PermitsThatAreOver() {
    while (first_ != nullptr) delete std::exchange(first_, first_->next);
  }

  void add(TrackedPermit& first, TrackedPermit& last) noexcept {
    last.next = std::exchange(first_, &first);
  }
  [[nodiscard]] std::unique_ptr<TrackedPermit> take_one() noexcept {
    std::unique_ptr<TrackedPermit> one(first_);
    if (one != nullptr) first_ = one->next;
    return one;
  }

 private:
  TrackedPermit* first_ = nullptr;
};

// A ring, known by one pointer to its last: first those in quarantine, in no order, then those that
// are out, oldest first. So a quarantine ends, for however many writes, in a few steps. All-zero
// memory is an empty list. Guarded by the shard's mutex.
class TrackedPermits {
 public:
  // The newest of all that are out: times are taken under the mutex.
  void add(TrackedPermit& permit) noexcept {
    insert_first(permit);
    last_ = &permit;
  }

  void remove(TrackedPermit& permit) noexcept {
    if (permit.next == &permit) {
      last_ = nullptr;
      return;
    }
    permit.previous->next = permit.next;
    permit.next->previous = permit.previous;
    if (last_ == &permit) last_ = permit.previous;
  }

  // One that is out goes into quarantine. From now on it belongs to the list.
  void quarantine(TrackedPermit& permit) noexcept {
    remove(permit);
    const TrackedPermit* const before = first_in_quarantine();
    permit.in_quarantine = true;
    permit.last_in_quarantine = before == nullptr ? &permit : before->last_in_quarantine;
    permit.oldest_in_quarantine = before == nullptr
                                      ? permit.granted_at
                                      : std::min(permit.granted_at, before->oldest_in_quarantine);
    insert_first(permit);
    if (last_ == nullptr) last_ = &permit;
  }

  // All quarantines are over.
  void end_quarantine(PermitsThatAreOver& over) noexcept {
    TrackedPermit* const first = first_in_quarantine();
    if (first == nullptr) return;
    TrackedPermit& last = *first->last_in_quarantine;
    if (&last == last_) {
      last_ = nullptr;
    } else {
      last_->next = last.next;
      last.next->previous = last_;
    }
    over.add(*first, last);
  }

  // When the oldest was granted.
  [[nodiscard]] std::optional<absl::Time> oldest() const noexcept {
    if (last_ == nullptr) return std::nullopt;
    const TrackedPermit* const quarantined = first_in_quarantine();
    if (quarantined == nullptr) return last_->next->granted_at;
    if (quarantined->last_in_quarantine == last_) return quarantined->oldest_in_quarantine;
    return std::min(quarantined->oldest_in_quarantine,
                    quarantined->last_in_quarantine->next->granted_at);
  }

  template <typename F>
  void for_each(F&& f) const {
    const TrackedPermit* permit = last_;
    if (permit == nullptr) return;
    do {
      permit = permit->next;
      f(*permit);
    } while (permit != last_);
  }

 private:
  [[nodiscard]] TrackedPermit* first_in_quarantine() const noexcept {
    return last_ != nullptr && last_->next->in_quarantine ? last_->next : nullptr;
  }

  void insert_first(TrackedPermit& permit) noexcept {
    permit.previous = last_ == nullptr ? &permit : last_;
    permit.next = last_ == nullptr ? &permit : last_->next;
    permit.previous->next = &permit;
    permit.next->previous = &permit;
  }

  TrackedPermit* last_;
};

static_assert(std::is_trivial_v<TrackedPermits> && sizeof(TrackedPermits) == sizeof(void*));

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_TRACKED_PERMITS_HPP_
