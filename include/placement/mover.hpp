// SPDX-License-Identifier: Apache-2.0
//
// What copies a partition's data while its migration is driven. Derive from it; see Mover.
#ifndef PLACEMENT_MOVER_HPP_
#define PLACEMENT_MOVER_HPP_

#include <algorithm>
#include <ostream>
#include <stop_token>
#include <utility>
#include <version>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/clock.hpp"

#if !defined(__cpp_lib_jthread)
#error \
    "placement/mover.hpp needs std::stop_token: libc++ before version 20 has it with -fexperimental-library only"
#endif

namespace placement {
inline namespace v1 {

namespace detail {
struct MoverAccess;  // the driver's way to tell a mover of the call that it makes
}  // namespace detail

// Copies a partition's data. Whoever drives the migration calls it from one thread at a time and
// never with a lock held:
//
//   prepare, copy, copy, ..., [cutover] finish, verify, [flip] clean
//
// A cutover that fails is tried again from `copy` on, so `copy` may be called after `finish`. One
// mover object drives one migration at a time.
//
// A status that is not OK ends the migration at the origin. One exception: `finish` and `verify`
// may answer absl::AbortedError for "I gave up because my time was over, nothing is lost, copy
// again": then the cutover counts as one that failed and may be tried again. Never answer it after
// what was taken out of a list of changes was not copied.
class Mover {
 public:
  // How long the last round would take if the cutover began now: an estimate.
  class Rest {
   public:
    // An estimate below zero is taken for zero.
    [[nodiscard]] static constexpr Rest takes(absl::Duration time) noexcept {
      return Rest(std::max(time, absl::ZeroDuration()));
    }

    // For a mover that gives no estimates. Small: what is left fits into any cutover. Large:
    // another round is worth while; such a mover is judged by how long its rounds take.
    // NOLINTBEGIN(readability-identifier-naming): they read as enumerators
    static const Rest Small;  // takes(absl::ZeroDuration())
    static const Rest Large;  // takes(absl::InfiniteDuration())
    // NOLINTEND(readability-identifier-naming)

    [[nodiscard]] constexpr absl::Duration time() const noexcept { return time_; }

    friend constexpr bool operator==(Rest a, Rest b) noexcept { return a.time_ == b.time_; }

    friend std::ostream& operator<<(std::ostream& out, Rest rest) {
      return out << absl::FormatDuration(rest.time_);
    }

   private:
    explicit constexpr Rest(absl::Duration time) noexcept : time_(time) {}

    absl::Duration time_;
  };

  Mover() = default;
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;
  virtual ~Mover() = default;

  // Once, before the first `copy` of a run or of a resume, while writes go to the origin. Is the
  // destination there, is it empty, is there room? It may hold what a migration that was aborted
  // copied there, and after a resume what the former driver's mover did (see is_resumed).
  // By default it checks nothing: a mover that overwrites what it finds at a wrong destination is
  // not stopped by anyone else.
  virtual absl::Status prepare() { return absl::OkStatus(); }

  // One round of copying while writes still go to the origin: first of all there is, later of what
  // changed since the last round began. Answers how long the last round would take if the cutover
  // began now. It should give up when stop_token() is stopped: nobody interrupts it.
  virtual absl::StatusOr<Rest> copy() = 0;

  // The last round, in cutover: no write is in flight, and none will be before the flip. After an
  // OK the destination has all that the origin has. Writes are held meanwhile, so it should give up
  // at deadline() or when stop_token() is stopped. If it does not, the cutover ends without it:
  // held writes go on at the origin while it still runs, what it copies then is of no use, and the
  // driver waits for its return. The partition is settled by then: nothing but its caller keeps
  // another migration to the same destination from beginning beside it.
  virtual absl::Status finish() = 0;

  // After an OK of `finish`, still in cutover and with the same deadline: compares origin and
  // destination (counts, checksums, whatever it has). It is the last look before the flip.
  // By default it compares nothing: what `finish` missed is lost at the flip.
  virtual absl::Status verify() { return absl::OkStatus(); }

  // After the flip: removes the origin's copy. It is called when the caller has said that his reads
  // on the origin have ended (wait_for_reads of the driver); if he says nothing of them, at once,
  // and then a read that was sent to the origin before the flip may find a hole.
  // By default it removes nothing, and the origin keeps a copy that grows stale.
  virtual absl::Status clean() { return absl::OkStatus(); }

 protected:
  // Stopped when the result of the call under way is not wanted any more: a stop was requested, or
  // the cutover is over. The same throughout a call, so any thread of the mover may keep a copy.
  [[nodiscard]] const std::stop_token& stop_token() const noexcept { return stop_; }

  // What the cutover's bound leaves to `finish` and `verify`, on the driver's clock; infinite in
  // every other call. Zero when it is over.
  [[nodiscard]] absl::Duration time_left() const noexcept {
    if (clock_ == nullptr) return absl::InfiniteDuration();
    return std::max(until_ - clock_->now(), absl::ZeroDuration());
  }
  // The same as a time of absl::Now(), for timeouts of sockets.
  [[nodiscard]] absl::Time deadline() const noexcept { return absl::Now() + time_left(); }

  // Whether the migration was begun by another driver and is resumed by this one.
  [[nodiscard]] bool is_resumed() const noexcept { return resumed_; }

 private:
  friend struct detail::MoverAccess;

  // Set before a call and not changed during it.
  std::stop_token stop_;
  const Clock* clock_ = nullptr;  // null: there is no deadline
  absl::Time until_;
  bool resumed_ = false;
};

inline constexpr Mover::Rest Mover::Rest::Small = Mover::Rest::takes(absl::ZeroDuration());
inline constexpr Mover::Rest Mover::Rest::Large = Mover::Rest::takes(absl::InfiniteDuration());

namespace detail {

struct MoverAccess {
  static void in_cutover(Mover& mover, std::stop_token stop, const Clock& clock, absl::Time until) {
    mover.stop_ = std::move(stop);
    mover.clock_ = &clock;
    mover.until_ = until;
  }
  static void outside_cutover(Mover& mover, std::stop_token stop) {
    mover.stop_ = std::move(stop);
    mover.clock_ = nullptr;
  }
  static void resumed(Mover& mover, bool resumed) noexcept { mover.resumed_ = resumed; }
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_MOVER_HPP_
