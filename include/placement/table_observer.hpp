// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TABLE_OBSERVER_HPP_
#define PLACEMENT_TABLE_OBSERVER_HPP_

#include <optional>
#include <string>
#include <string_view>

#include "placement/detail/partition_key.hpp"
#include "placement/epoch.hpp"
#include "placement/migration.hpp"
#include "placement/placement.hpp"

namespace placement {
inline namespace v1 {

// One change of one partition.
template <PartitionKey Id, typename P>
struct BasicPartitionChange {
  typename detail::IdTraits<Id>::View id;        // of text: good until on_change returns
  std::optional<BasicPartitionState<P>> before;  // nothing: it was absent
  std::optional<BasicPartitionState<P>> after;   // nothing: it is absent
  Epoch epoch;                                   // that the change stamped
  Transition transition;
};

// What TableOptions::observer points to: a BasicTableObserver, whose types have to be the table's.
class AnyTableObserver {
 public:
  AnyTableObserver(const AnyTableObserver&) = delete;
  AnyTableObserver& operator=(const AnyTableObserver&) = delete;

 private:
  template <PartitionKey Id, typename P>
  friend class BasicTableObserver;

  AnyTableObserver() = default;
  ~AnyTableObserver() = default;

  // Names the types, also across shared libraries and without RTTI.
  [[nodiscard]] virtual std::string_view types() const noexcept = 0;
};

// Is told of every change of a table: derive from it and set TableOptions::observer.
//
//   class Log final : public placement::TableObserver {
//     void on_change(const Change& change) noexcept override {
//       std::clog << change.id << ": " << change.transition << ", epoch " << change.epoch << '\n';
//     }
//   };
//
// on_change runs in the thread that made the change, outside every lock, before the call that made
// it returns, and before the writes that it held back are resumed. It may call the table; what it
// changes there it is told of in turn. So two changes of one partition by two threads may be told
// in either order: the greater epoch is the later one. erase_until is told of as PauseWrites and
// EraseDrained, or as PauseWrites and AbortMigration.
//
// With `for_each` and `apply` it is enough to replicate a table: docs/state-machine.md.
template <PartitionKey Id = std::string, typename P = Placement>
class BasicTableObserver : public AnyTableObserver {
 public:
  using Change = BasicPartitionChange<Id, P>;

  virtual void on_change(const Change& change) noexcept = 0;

  // The observer in TableOptions as one of these types; null if there is none, or it is of others.
  [[nodiscard]] static BasicTableObserver* cast(AnyTableObserver* observer) noexcept {
    if (observer == nullptr || observer->types() != own_types()) return nullptr;
    return static_cast<BasicTableObserver*>(observer);
  }

 protected:
  BasicTableObserver() = default;
  ~BasicTableObserver() = default;

 private:
  static std::string_view own_types() noexcept {
#if defined(_MSC_VER)
    return __FUNCSIG__;
#else
    return __PRETTY_FUNCTION__;
#endif
  }
  [[nodiscard]] std::string_view types() const noexcept final { return own_types(); }
};

using PartitionChange = BasicPartitionChange<std::string, Placement>;
using TableObserver = BasicTableObserver<>;

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_TABLE_OBSERVER_HPP_
