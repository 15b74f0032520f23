// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_PLACEMENT_HPP_
#define PLACEMENT_PLACEMENT_HPP_

#include <cstddef>
#include <functional>
#include <optional>
#include <ostream>
#include <string_view>
#include <type_traits>
#include <utility>

#include <absl/hash/hash.h>

#include "placement/interned.hpp"

namespace placement {
inline namespace v1 {

// The name of a cluster. Interned: copying is copying a pointer. Throws std::bad_alloc on
// construction only.
class ClusterId : public detail::InternedName<ClusterId> {
 public:
  explicit ClusterId(std::string_view name) : InternedName(name) {}
};

// The name of an index (a table, a database) on a cluster. Interned, as ClusterId.
class IndexName : public detail::InternedName<IndexName> {
 public:
  explicit IndexName(std::string_view name) : InternedName(name) {}
};

enum class PlacementMode {
  DedicatedCluster,  // the partition owns the cluster
  DedicatedIndex,    // the partition owns an index on a shared cluster
  SharedIndex,       // many partitions share one index
};

[[nodiscard]] constexpr std::string_view to_string(PlacementMode mode) noexcept {
  switch (mode) {
    case PlacementMode::DedicatedCluster:
      return "DedicatedCluster";
    case PlacementMode::DedicatedIndex:
      return "DedicatedIndex";
    case PlacementMode::SharedIndex:
      return "SharedIndex";
  }
  return "unknown PlacementMode";
}

inline std::ostream& operator<<(std::ostream& out, PlacementMode mode) {
  return out << to_string(mode);
}

// Where a partition lives: a cluster, and possibly an index on it. Two pointers wide, trivially
// copyable, immutable.
//
// Progress: the three factories intern and so take a process-wide mutex; the rest is wait-free.
class Placement {
 public:
  [[nodiscard]] static Placement dedicated_cluster(ClusterId cluster) {
    return Placement(cluster, Slot{PlacementMode::DedicatedCluster, std::nullopt});
  }
  [[nodiscard]] static Placement dedicated_index(ClusterId cluster, IndexName index) {
    return Placement(cluster, Slot{PlacementMode::DedicatedIndex, index});
  }
  [[nodiscard]] static Placement shared_index(ClusterId cluster, IndexName index) {
    return Placement(cluster, Slot{PlacementMode::SharedIndex, index});
  }

  [[nodiscard]] PlacementMode mode() const noexcept { return slot_->mode; }
  [[nodiscard]] ClusterId cluster() const noexcept { return cluster_; }
  [[nodiscard]] std::optional<IndexName> index() const noexcept { return slot_->index; }

  friend bool operator==(const Placement&, const Placement&) = default;

  template <typename H>
  friend H AbslHashValue(H state, const Placement& placement) {
    return H::combine(std::move(state), placement.cluster_, placement.slot_);
  }

  // `cluster`, `cluster/index`, or `cluster/index (shared)`.
  friend std::ostream& operator<<(std::ostream& out, const Placement& placement) {
    out << placement.cluster_;
    if (placement.index()) out << '/' << *placement.index();
    if (placement.mode() == PlacementMode::SharedIndex) out << " (shared)";
    return out;
  }

 private:
  // What the partition has on the cluster. Mode and index are interned as one value, which keeps a
  // placement at two words and a cell's two placements on one cache line.
  struct Slot {
    PlacementMode mode;
    std::optional<IndexName> index;

    friend bool operator==(const Slot&, const Slot&) = default;

    template <typename H>
    friend H AbslHashValue(H state, const Slot& slot) {
      return H::combine(std::move(state), slot.mode, slot.index);
    }
  };

  Placement(ClusterId cluster, const Slot& slot) : cluster_(cluster), slot_(slot) {}

  ClusterId cluster_;
  Interned<Slot> slot_;
};

static_assert(std::is_trivially_copyable_v<Placement>);
static_assert(sizeof(Placement) == 2 * sizeof(void*));

}  // namespace v1
}  // namespace placement

template <>
struct std::hash<placement::ClusterId> {
  std::size_t operator()(placement::ClusterId name) const {
    return absl::Hash<placement::ClusterId>()(name);
  }
};

template <>
struct std::hash<placement::IndexName> {
  std::size_t operator()(placement::IndexName name) const {
    return absl::Hash<placement::IndexName>()(name);
  }
};

template <>
struct std::hash<placement::Placement> {
  std::size_t operator()(const placement::Placement& placement) const {
    return absl::Hash<placement::Placement>()(placement);
  }
};

#endif  // PLACEMENT_PLACEMENT_HPP_
