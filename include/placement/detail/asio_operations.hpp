// SPDX-License-Identifier: Apache-2.0
//
// The operations of placement/asio.hpp and placement/boost_asio.hpp, which say of which library
// they are. So this has no include guard, and without one of them it is empty.
#ifdef PLACEMENT_ASIO_NAMESPACE

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/executor.hpp"
#include "placement/hold_ticket.hpp"
#include "placement/placement_table.hpp"
#include "placement/write_permit.hpp"
#include "placement/write_refusal.hpp"

namespace placement {
inline namespace v1 {
namespace detail {
namespace PLACEMENT_ASIO_DETAIL {

namespace net = PLACEMENT_ASIO_NAMESPACE;
using ErrorCode = PLACEMENT_ASIO_ERROR_CODE;

// When a deadline of absl::Now() is on a clock that nobody sets; nothing if it is never.
[[nodiscard]] inline std::optional<std::chrono::steady_clock::time_point> on_steady_clock(
    absl::Time deadline) {
  const absl::Duration left = deadline - absl::Now();
  const auto now = std::chrono::steady_clock::now();
  // A century: a sum with more might not fit.
  constexpr absl::Duration kNever = absl::Hours(24 * 365 * 100);
  if (left > kNever) return std::nullopt;
  return now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                   absl::ToChronoNanoseconds(std::max(left, absl::ZeroDuration())));
}

// A timer stands in an execution context, and asks its executor for it in one of two ways.
template <typename NetExecutor>
inline constexpr bool kHasContext =
    net::execution::is_executor<NetExecutor>::value
        ? net::can_query<const NetExecutor&, net::execution::context_t>::value
        : requires(const NetExecutor& executor) { executor.context(); };

// One asynchronous wait. Three may end it, in threads of their own: the table, the timer and the
// cancellation slot. The table's ticket decides between it and the other two; the mutex orders
// those and the initiating function. Whoever ends it only posts; the handler, its slot and the
// timer are touched by the initiating function and by what was posted.
//
// The table has a reference as long as the write is held, the timer and the slot have weak ones.
template <typename Handler, typename Answer>
class Operation : public std::enable_shared_from_this<Operation<Handler, Answer>> {
  using HandlersExecutor = net::associated_executor_t<Handler>;
  // A timer stands in a context. An executor that is in none (use_future's in older releases) calls
  // where it is told to.
  using TimersExecutor =
      std::conditional_t<kHasContext<HandlersExecutor>, HandlersExecutor, net::system_executor>;
  using Timer =
      net::basic_waitable_timer<std::chrono::steady_clock,
                                net::wait_traits<std::chrono::steady_clock>, TimersExecutor>;

 public:
  explicit Operation(Handler&& handler)
      : executor_(net::get_associated_executor(handler)),
        work_(executor_),
        handler_(std::move(handler)) {}

  // `hold` gives its callback to the table and returns the ticket; what it throws, this throws, and
  // then the handler is not called. The answers are those of a deadline that has passed (for which
  // there has to be one) and of a cancellation.
  template <typename Hold>
  void start(Hold hold, absl::Time deadline, std::optional<Answer> late, Answer cancelled) {
    late_ = std::move(late);
    cancelled_ = std::move(cancelled);
    const auto self = this->shared_from_this();
    const HoldTicket ticket = hold([self](Answer answer) { self->arrive(std::move(answer)); });
    std::unique_lock lock(mutex_);
    if (answer_) {
      lock.unlock();
      return post(ErrorCode());
    }
    ticket_ = ticket;
    Undo undo{this};
    auto slot = net::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      slot.assign([weak = this->weak_from_this()](net::cancellation_type_t type) {
        if (type == net::cancellation_type_t::none) return;
        if (const auto operation = weak.lock()) operation->cancel();
      });
    }
    if (const auto when = on_steady_clock(deadline)) {
      timer_.emplace(timers_executor(), *when);
      timer_->async_wait([weak = this->weak_from_this()](ErrorCode stopped) {
        const auto operation = weak.lock();
        if (operation != nullptr && !stopped) operation->expire();
      });
    }
    undo.operation = nullptr;
    is_waiting_ = true;
  }

 private:
  // If there is no memory for the slot or the timer, nobody is answered.
  struct Undo {
    ~Undo() {
      if (operation != nullptr) operation->ticket_.cancel();
    }
    Operation* operation;
  };

  // What is posted.
  class Completion {
   public:
    using allocator_type = net::associated_allocator_t<Handler>;

    Completion(std::shared_ptr<Operation> operation, ErrorCode error)
        : operation_(std::move(operation)), error_(error) {}

    [[nodiscard]] allocator_type get_allocator() const noexcept {
      return net::get_associated_allocator(operation_->handler_);
    }

    void operator()() {
      auto slot = net::get_associated_cancellation_slot(operation_->handler_);
      if (slot.is_connected()) slot.clear();
      operation_->timer_.reset();
      const auto work = std::move(operation_->work_);
      Handler handler = std::move(operation_->handler_);
      Answer answer = std::move(*operation_->answer_);
      operation_.reset();
      std::move(handler)(error_, std::move(answer));
    }

   private:
    std::shared_ptr<Operation> operation_;
    ErrorCode error_;
  };

  [[nodiscard]] TimersExecutor timers_executor() const {
    if constexpr (kHasContext<HandlersExecutor>) {
      return executor_;
    } else {
      return TimersExecutor();
    }
  }

  void arrive(Answer answer) {
    {
      const std::lock_guard lock(mutex_);
      answer_ = std::move(answer);
      if (!std::exchange(is_waiting_, false)) return;  // the initiating function posts, if any does
    }
    post(ErrorCode());
  }

  void cancel() {
    if (!end(cancelled_)) return;
    post(net::error::operation_aborted);
  }

  void expire() {
    if (end(late_)) post(ErrorCode());
  }

  // False if the table was first, or it is over.
  [[nodiscard]] bool end(std::optional<Answer>& answer) {
    const std::lock_guard lock(mutex_);
    if (!is_waiting_ || !ticket_.cancel()) return false;
    is_waiting_ = false;
    answer_ = std::move(answer);
    return true;
  }

  void post(ErrorCode error) { net::post(executor_, Completion(this->shared_from_this(), error)); }

  const HandlersExecutor executor_;
  net::executor_work_guard<HandlersExecutor> work_;
  Handler handler_;
  std::optional<Answer> late_;
  std::optional<Answer> cancelled_;
  std::optional<Timer> timer_;

  std::mutex mutex_;
  // Guarded by it:
  bool is_waiting_ = false;
  HoldTicket ticket_;
  std::optional<Answer> answer_;
};

// An id that outlives the call.
template <typename Id, typename Parameter>
[[nodiscard]] Id own_id(const Parameter& id) {
  if constexpr (std::is_same_v<Id, std::string>) {
    return std::string(id.data(), id.size());
  } else {
    return id;
  }
}

}  // namespace PLACEMENT_ASIO_DETAIL
}  // namespace detail

PLACEMENT_ASIO_BEGIN

// acquire_write_async as an asynchronous operation: `token` is any completion token (a callback,
// use_future, use_awaitable, ...), its signature is void(error_code, BasicWritePermit<P>).
//
// A refusal is an answer, no error: a permit that is empty. DeadlineExceeded if the partition is
// still in cutover at `deadline`, which is one of absl::Now(); absl::InfiniteFuture() for none. The
// operation supports cancellation of every type while the write is held; it then ends with
// operation_aborted and an empty permit.
//
// The handler is called once, by its associated executor, and never inside of this call; in the
// thread of a transition nothing happens but a post there, with the handler's associated
// allocator. A deadline is waited for by a timer of that executor. A callback that is bound to no
// executor has the system's, whose threads run it. While the write is held, the table must live,
// and so must the executor's context; cancel the operation before you end either. That post must
// find memory.
template <typename Id, typename P, typename Token>
auto async_acquire_write(BasicPlacementTable<Id, P>& table,
                         typename BasicPlacementTable<Id, P>::IdParameter id, absl::Time deadline,
                         Token&& token) {
  using Permit = BasicWritePermit<P>;
  namespace net = detail::PLACEMENT_ASIO_DETAIL::net;
  return net::async_initiate<Token, void(detail::PLACEMENT_ASIO_DETAIL::ErrorCode, Permit)>(
      [](auto handler, BasicPlacementTable<Id, P>* in, const Id& which, absl::Time until) {
        using Operation =
            detail::PLACEMENT_ASIO_DETAIL::Operation<std::decay_t<decltype(handler)>, Permit>;
        std::make_shared<Operation>(std::move(handler))
            ->start(
                [&](absl::AnyInvocable<void(Permit)> callback) {
                  return in->acquire_write_async(which, std::move(callback));
                },
                until, Permit(WriteRefusal::DeadlineExceeded), Permit(WriteRefusal::Cutover));
      },
      token, &table, detail::PLACEMENT_ASIO_DETAIL::own_id<Id>(id), deadline);
}

// `hold` as an asynchronous operation, for callers that resolve by themselves. The signature is
// void(error_code, std::optional<WriteRefusal>): TooManyHeld if the write could not be held,
// nothing if the partition is in no cutover any more. The rest is as for async_acquire_write.
template <typename Id, typename P, typename Token>
auto async_hold(BasicPlacementTable<Id, P>& table,
                typename BasicPlacementTable<Id, P>::IdParameter id, Token&& token) {
  using Refusal = std::optional<WriteRefusal>;
  namespace net = detail::PLACEMENT_ASIO_DETAIL::net;
  return net::async_initiate<Token, void(detail::PLACEMENT_ASIO_DETAIL::ErrorCode, Refusal)>(
      [](auto handler, BasicPlacementTable<Id, P>* in, const Id& which) {
        using Operation =
            detail::PLACEMENT_ASIO_DETAIL::Operation<std::decay_t<decltype(handler)>, Refusal>;
        std::make_shared<Operation>(std::move(handler))
            ->start(
                [&](absl::AnyInvocable<void(Refusal)> callback) {
                  // Shared, because a hold that is refused drops its callback.
                  const auto told =
                      std::make_shared<absl::AnyInvocable<void(Refusal)>>(std::move(callback));
                  const HoldTicket ticket = in->hold(which, [told] { (*told)(std::nullopt); });
                  if (ticket.refusal()) (*told)(ticket.refusal());
                  return ticket;
                },
                absl::InfiniteFuture(), Refusal(), Refusal());
      },
      token, &table, detail::PLACEMENT_ASIO_DETAIL::own_id<Id>(id));
}

// A table's executor (TableOptions::executor) that posts to one of Asio's: an io_context's, or a
// strand's of a pool.
class AsioExecutor final : public Executor {
 public:
  explicit AsioExecutor(PLACEMENT_ASIO_NAMESPACE::any_io_executor executor)
      : executor_(std::move(executor)) {}

  void execute(absl::AnyInvocable<void()> task) override {
    PLACEMENT_ASIO_NAMESPACE::post(executor_, std::move(task));
  }

 private:
  const PLACEMENT_ASIO_NAMESPACE::any_io_executor executor_;
};

PLACEMENT_ASIO_END

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_ASIO_NAMESPACE
