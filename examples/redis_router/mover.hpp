// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_MOVER_HPP_
#define REDIS_ROUTER_MOVER_HPP_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dirty_keys.hpp"
#include "mover_connection.hpp"
#include "options.hpp"
#include "placement/migration_controller.hpp"

namespace redis_router {

struct MoverOptions {
  absl::Duration timeout = absl::Seconds(2);  // for a server that is silent
  std::size_t always_small = 32;  // keys, which are not worth another round at any speed
};

// Copies one tenant's keys from server to server, with DUMP and RESTORE.
//
// The first round copies all keys there are, each later one those that were written meanwhile. What
// it cannot read any more at the origin it deletes at the destination, so deletions, renames and
// keys that expire need no case of their own. Expiry times are copied as points in time. How long
// the rest takes is estimated by the speed seen so far.
class TenantMover final : public placement::Mover {
 public:
  using Say = std::function<void(std::string)>;

  TenantMover(std::string tenant, Endpoint from, Endpoint to, DirtyKeys& dirty,
              const MoverOptions& options, Say say);

  absl::Status prepare() override { return connect(); }
  absl::StatusOr<Rest> copy() override;
  absl::Status finish() override;

  // Removes the tenant's keys from the server that it does not live on (any more). They connect
  // anew, so that they can be tried again.
  absl::Status clean_origin() { return sweep(kOrigin, from_); }
  absl::Status clean_destination() {
    // What was never written to needs no cleaning, and may not be what we took it for.
    return may_write_ ? sweep(kDestination, to_) : absl::OkStatus();
  }

  [[nodiscard]] std::size_t keys_copied() const noexcept {
    return keys_copied_.load(std::memory_order_relaxed);  // for display
  }

 private:
  using Batch = std::span<const std::string>;
  using BatchTask = absl::FunctionRef<absl::Status(Batch)>;

  static constexpr std::string_view kOrigin = "origin";
  static constexpr std::string_view kDestination = "destination";

  absl::Status connect();
  absl::Status check_servers_differ();
  absl::StatusOr<std::size_t> remove_all(MoverConnection& server);
  absl::Status for_each_batch(MoverConnection& server, BatchTask task);
  absl::Status copy_all();
  absl::Status copy_keys(Batch keys);
  void ask_for(Batch keys);
  absl::Status pass_on(Batch keys, std::size_t& unanswered);
  absl::Status read_restored(std::size_t count);
  absl::Status sweep(std::string_view role, const Endpoint& server);
  [[nodiscard]] Rest rest_of(std::size_t keys) const;

  const std::string tenant_;
  const Endpoint from_;
  const Endpoint to_;
  DirtyKeys& dirty_;
  const MoverOptions options_;
  const Say say_;
  std::optional<MoverConnection> origin_;
  std::optional<MoverConnection> destination_;
  bool absolute_expiry_ = true;  // whether the origin knows PEXPIRETIME (Redis 7)
  bool may_write_ = false;       // to the destination: it is not the origin
  int rounds_ = 0;
  absl::Duration time_per_key_;
  std::atomic<std::size_t> keys_copied_{0};
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_MOVER_HPP_
