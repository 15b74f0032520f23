// SPDX-License-Identifier: Apache-2.0
//
// A contender behind the interface that the programs use.
#ifndef PLACEMENT_BENCH_ADAPTED_HPP_
#define PLACEMENT_BENCH_ADAPTED_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "all_contenders.hpp"
#include "measure.hpp"
#include "workload.hpp"

namespace placement::bench {

template <typename C>
concept GrantsPermits = requires(C& c, typename C::View id) { c.acquire_and_release(id); };
template <typename C>
concept GetsMany =
    requires(C& c, std::span<const typename C::View> ids,
             std::span<std::optional<PlacementAt>> answers) { c.get_many(ids, answers); };
template <typename C>
concept HasRefs = requires(C& c, typename C::View id) { c.get_by_ref(id, std::size_t{}); };

template <typename C>
[[nodiscard]] constexpr bool can(Operation operation) noexcept {
  switch (operation) {
    case Operation::AcquireAndRelease:
      return GrantsPermits<C>;
    case Operation::GetMany:
      return GetsMany<C>;
    case Operation::GetByRef:
      return HasRefs<C>;
    default:
      return true;
  }
}

// Asks `count` requests from `first` on, round and round. Returns how many answers were right.
template <Operation kOperation, Contender C, typename Ids>
std::size_t ask(C& contender, std::span<const Request<Ids>> requests, std::size_t first,
                std::size_t count, bool present) {
  const Places& all = places();
  const std::size_t mask = requests.size() - 1;
  std::size_t right = 0;
  std::size_t at = first;
  for (std::size_t i = 0; i < count; ++i) {
    const Request<Ids>& request = requests[at & mask];
    ++at;
    if constexpr (kOperation == Operation::AdmitWrite) {
      // As set in the order of their numbers, partition n has epoch n + 1 until something flips.
      right += contender.admit_write(request.id(), Epoch(request.partition + 1)) == present;
    } else {
      std::optional<PlacementAt> answer;
      if constexpr (kOperation == Operation::AcquireAndRelease && GrantsPermits<C>) {
        answer = contender.acquire_and_release(request.id());
      } else if constexpr (kOperation == Operation::GetByRef && HasRefs<C>) {
        answer = contender.get_by_ref(request.id(), request.partition);
      } else {
        answer = contender.get(request.id());
      }
      if (answer) {
        right += present && all.is_right(request.partition, answer->placement);
        if constexpr (kOperation == Operation::DependentGet) at += answer->epoch.value() >> 50;
        if constexpr (kOperation == Operation::GetAndAdmitWrite) {
          right += contender.admit_write(request.id(), answer->epoch);
        }
      } else {
        right += !present;
      }
    }
    if (i % 1024 == 1023) C::quiescent();
  }
  return right;
}

// The same in batches, the last one perhaps a short one.
template <GetsMany C, typename Ids>
std::size_t ask_many(C& contender, std::span<const Request<Ids>> requests, std::size_t first,
                     std::size_t count, bool present) {
  constexpr std::size_t kBatch = 128;
  const Places& all = places();
  const std::size_t mask = requests.size() - 1;
  std::array<typename C::View, kBatch> ids;
  std::array<std::optional<PlacementAt>, kBatch> answers;
  std::size_t right = 0;
  for (std::size_t done = 0; done < count; done += kBatch) {
    const std::size_t some = std::min(kBatch, count - done);
    for (std::size_t i = 0; i < some; ++i) ids[i] = requests[(first + done + i) & mask].id();
    contender.get_many(std::span(ids).first(some), std::span(answers).first(some));
    for (std::size_t i = 0; i < some; ++i) {
      const auto& answer = answers[i];
      const std::size_t partition = requests[(first + done + i) & mask].partition;
      right += answer ? present && all.is_right(partition, answer->placement) : !present;
    }
  }
  return right;
}

template <typename C, typename Ids>
class Adapted final : public AnyContender<Ids> {
 public:
  using typename AnyContender<Ids>::Requests;

  [[nodiscard]] const char* name() const override { return C::kName; }
  [[nodiscard]] bool is_for_threads() const override { return C::kForThreads; }
  [[nodiscard]] bool can(Operation operation) const override { return bench::can<C>(operation); }

  void with_thread(absl::FunctionRef<void()> f) override {
    [[maybe_unused]] const typename C::Thread thread;
    f();
  }
  void set(std::size_t first, std::size_t last) override {
    for (std::size_t i = first; i < last; ++i) {
      contender_.set(Ids::make(i), places().origin(i));
      if (i % 1024 == 1023) C::quiescent();
    }
  }
  void set(std::span<const typename Ids::Id> ids) override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      contender_.set(ids[i], places().origin(i));
      if (i % 1024 == 1023) C::quiescent();
    }
  }
  void reserve(std::size_t partitions) override { contender_.reserve(partitions); }

  void ask(Operation operation, Requests requests, std::size_t first, std::size_t count,
           bool present) override {
    switch (operation) {
      case Operation::Get:
        return asked<Operation::Get>(requests, first, count, present);
      case Operation::DependentGet:
        return asked<Operation::DependentGet>(requests, first, count, present);
      case Operation::AdmitWrite:
        return asked<Operation::AdmitWrite>(requests, first, count, present);
      case Operation::GetAndAdmitWrite:
        return asked<Operation::GetAndAdmitWrite>(requests, first, count, present);
      case Operation::AcquireAndRelease:
        return asked<Operation::AcquireAndRelease>(requests, first, count, present);
      case Operation::GetByRef:
        return asked<Operation::GetByRef>(requests, first, count, present);
      case Operation::GetMany:
        if constexpr (GetsMany<C>) {
          if (ask_many<C, Ids>(contender_, requests, first, count, present) != count) {
            fail(C::kName);
          }
        }
        return;
    }
  }

  void time_each(Requests requests, std::size_t first, std::size_t count,
                 Histogram& histogram) override {
    const std::size_t mask = requests.size() - 1;
    for (std::size_t i = 0; i < count; ++i) {
      const Request<Ids>& request = requests[(first + i) & mask];
      const std::uint64_t start = ticks();
      const std::optional<PlacementAt> answer = contender_.get(request.id());
      if (!answer || !places().is_right(request.partition, answer->placement)) fail(C::kName);
      histogram.add(ticks() - start);
      if (i % 1024 == 1023) C::quiescent();
    }
  }

  void transit(Transition transition, Requests requests) override {
    for (const Request<Ids>& request : requests) {
      bool done = false;
      switch (transition) {
        case Transition::BeginMigration:
          done = contender_.begin_migration(request.id(), places().destination(request.partition));
          break;
        case Transition::EnterCutover:
          done = contender_.enter_cutover(request.id());
          break;
        case Transition::CompleteMigration:
          done = contender_.complete_migration(request.id());
          break;
        case Transition::AbortMigration:
          done = contender_.abort_migration(request.id());
          break;
      }
      if (!done) fail(C::kName);
    }
    C::quiescent();
  }

  std::size_t flip_until(Requests requests, const std::atomic<bool>& stop) override {
    std::size_t count = 0;
    for (; !stop.load(std::memory_order_relaxed); ++count) {  // it stops a moment later
      const Request<Ids>& request = requests[count & (requests.size() - 1)];
      const std::optional<PlacementAt> now = contender_.get(request.id());
      if (!now) fail(C::kName);
      const bool is_away = now->placement == places().destination(request.partition);
      const Placement to =
          is_away ? places().origin(request.partition) : places().destination(request.partition);
      if (!contender_.begin_migration(request.id(), to) ||
          !contender_.enter_cutover(request.id()) || !contender_.complete_migration(request.id())) {
        fail(C::kName);
      }
      if (count % 64 == 63) C::quiescent();
    }
    return count;
  }

 private:
  template <Operation kOperation>
  void asked(Requests requests, std::size_t first, std::size_t count, bool present) {
    const std::size_t right =
        bench::ask<kOperation, C, Ids>(contender_, requests, first, count, present);
    constexpr bool kTwice = kOperation == Operation::GetAndAdmitWrite;
    if (right != (kTwice && present ? 2 * count : count)) fail(C::kName);
  }

  C contender_;
};

template <typename Ids>
std::vector<Maker<Ids>> contender_makers() {
  std::vector<Maker<Ids>> all;
  for_each_contender<Ids>([&]<typename C>() {
    all.push_back(
        {C::kName, C::kForThreads, bench::can<C>, []() -> std::unique_ptr<AnyContender<Ids>> {
           return std::make_unique<Adapted<C, Ids>>();
         }});
  });
  return all;
}

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_ADAPTED_HPP_
