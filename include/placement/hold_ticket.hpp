// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_HOLD_TICKET_HPP_
#define PLACEMENT_HOLD_TICKET_HPP_

#include <cstdint>
#include <optional>
#include <type_traits>

#include "placement/detail/held_write.hpp"
#include "placement/write_refusal.hpp"

namespace placement {
inline namespace v1 {

// The name of a held write: what `hold` and `acquire_write_async` answer. It owns nothing. Copying,
// overwriting and destroying it change nothing, so it may be dropped, and it does not matter
// whether the write is resumed before the ticket has arrived where it is kept. Only `cancel` ends
// the wait. A ticket may be used as long as its table lives, also when the partition is gone. Two
// threads may use copies of one ticket.
class HoldTicket {
 public:
  // Nothing is held: the callback was called or handed over at once, or, with `refusal()`, will not
  // be called.
  HoldTicket() = default;
  explicit HoldTicket(WriteRefusal refusal) noexcept : refusal_(refusal) {}

  // TooManyHeld, if `hold` could not hold the write.
  [[nodiscard]] std::optional<WriteRefusal> refusal() const noexcept { return refusal_; }

  // True if the callback is thereby prevented from being called: nobody called it, and nobody will.
  // False if it was called, is being called at this moment or is about to be, if the write was
  // cancelled before, or if there is nothing to cancel.
  //
  // Progress: one short critical section of the shard's mutex.
  bool cancel() const noexcept { return queue_ != nullptr && queue_->cancel(sequence_); }

 private:
  friend struct detail::TicketAccess;

  HoldTicket(detail::HeldQueue& queue, std::uint64_t sequence) noexcept
      : queue_(&queue), sequence_(sequence) {}

  detail::HeldQueue* queue_ = nullptr;
  std::uint64_t sequence_ = 0;
  std::optional<WriteRefusal> refusal_;
};

static_assert(std::is_trivially_copyable_v<HoldTicket>);
static_assert(std::is_trivially_destructible_v<HoldTicket>);

namespace detail {

struct TicketAccess {
  static HoldTicket ticket(HeldQueue& queue, std::uint64_t sequence) noexcept {
    return HoldTicket(queue, sequence);
  }
};

}  // namespace detail

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_HOLD_TICKET_HPP_
