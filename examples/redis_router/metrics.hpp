// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_METRICS_HPP_
#define REDIS_ROUTER_METRICS_HPP_

#include <atomic>
#include <cstdint>

namespace redis_router {

// What INFO reports. Relaxed throughout: these are counts to look at, nothing is decided by them.
struct Metrics {
  using Count = std::atomic<std::uint64_t>;

  static void add(Count& count) noexcept { count.fetch_add(1, std::memory_order_relaxed); }
  static void subtract(Count& count) noexcept { count.fetch_sub(1, std::memory_order_relaxed); }
  static std::uint64_t read(const Count& count) noexcept {
    return count.load(std::memory_order_relaxed);
  }

  Count clients{0};
  Count clients_accepted{0};
  Count clients_refused{0};
  Count commands{0};
  Count writes_held_now{0};
  Count writes_held{0};
  Count hold_timeouts{0};
  Count protocol_errors{0};
  Count upstream_failures{0};
  Count writes_quarantined{0};
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_METRICS_HPP_
