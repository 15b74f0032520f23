// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_PARTITION_REF_HPP_
#define PLACEMENT_PARTITION_REF_HPP_

#include <cstdint>
#include <optional>

#include "placement/epoch.hpp"
#include "placement/migration.hpp"
#include "placement/placement.hpp"
#include "placement/placement_table.hpp"
#include "placement/write_permit.hpp"

namespace placement {
inline namespace v1 {

// A caller's cached way to one partition: it remembers where it found the partition and what that
// was, and asks the table for no more than whether it still is so, which takes two loads. If it is
// not (the partition changed, or its cell moved), it looks again. So it answers exactly as the
// table does with the same id, whatever happens to the partition: it survives transitions, growth,
// erase and a later set of the same id; of a partition that is not there it says so.
//
//   placement::PartitionRef tenant = table.ref("tenant-42");
//   if (auto at = tenant.get()) clusters.at(at->placement.cluster()).read(...);
//
// It keeps the id. It must not outlive its table. Not safe for two threads at once: give each its
// own, a copy is as good.
template <PartitionKey Id, typename P>
class BasicPartitionRef {
 public:
  using Table = BasicPlacementTable<Id, P>;

  // Throws std::bad_alloc. Neither here nor later does it matter whether the partition is there.
  BasicPartitionRef(Table& table, typename Table::IdParameter id)
      : table_(&table), id_(Traits::owned(id)), hash_(Traits::key(id).hash) {}

  [[nodiscard]] typename Table::IdView id() const noexcept { return Traits::view(id_); }

  // As the table's methods of the same names: results, errors, progress and linearizability.
  [[nodiscard]] std::optional<typename Table::PlacementAt> get() {
    if (!is_found()) return std::nullopt;
    return at_.placement_at();
  }
  [[nodiscard]] WriteAdmission admit_write(Epoch epoch) {
    return is_found() && at_.stamp.is_open() && at_.stamp.epoch() == epoch ? WriteAdmission::Admit
                                                                           : WriteAdmission::Reject;
  }
  [[nodiscard]] typename Table::Permit acquire_write() {
    return table_->acquire(key(), std::nullopt, at_);
  }
  [[nodiscard]] typename Table::Permit acquire_write(Epoch expected) {
    return table_->acquire(key(), expected, at_);
  }

 private:
  using Traits = detail::IdTraits<Id>;
  using Key = typename Traits::Key;
  using Owned = typename Traits::Owned;

  [[nodiscard]] Key key() const noexcept { return Key(typename Key::Id(id_), hash_); }

  [[nodiscard]] bool is_found() {
    return table_->is_current(key(), at_) || table_->find(key(), at_);
  }

  Table* table_;
  Owned id_;
  std::uint64_t hash_;
  typename Table::Found at_;
};

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_PARTITION_REF_HPP_
