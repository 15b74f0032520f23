// SPDX-License-Identifier: Apache-2.0
//
// The contenders, each behind the same small interface. A further one (boost::concurrent_flat_map,
// folly::ConcurrentHashMap) is a header that defines one class as below, and a line in
// `for_each_contender` (all_contenders.hpp).
#ifndef PLACEMENT_BENCH_CONTENDERS_HPP_
#define PLACEMENT_BENCH_CONTENDERS_HPP_

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/hash/hash.h>
#include <absl/strings/string_view.h>

#include "placement/detail/mutex.hpp"
#include "placement/placement_table.hpp"

#ifdef PLACEMENT_BENCH_TBB
#include <oneapi/tbb/concurrent_hash_map.h>
#endif
#ifdef PLACEMENT_BENCH_CUCKOO
#include <libcuckoo/cuckoohash_map.hh>
#endif

namespace placement::bench {

// The value of every peer: all that a partition's state needs.
struct Record {
  Placement from;
  Placement to;
  Epoch epoch;
  MigrationPhase phase = MigrationPhase::Settled;
};

// The hash of every contender. Looks text up without copying it.
struct IdHash {
  using is_transparent = void;
  // As abseil's own view, which older releases hash faster than the standard one; so does the
  // table.
  std::size_t operator()(std::string_view id) const {
    return absl::Hash<absl::string_view>()(absl::string_view(id.data(), id.size()));
  }
  std::size_t operator()(std::uint64_t id) const { return absl::Hash<std::uint64_t>()(id); }
  template <std::size_t Size>
  std::size_t operator()(const std::array<std::uint8_t, Size>& id) const {
    return absl::Hash<std::array<std::uint8_t, Size>>()(id);
  }
};

// What is measured. `Thread` lives on the stack of each thread that calls the rest; `quiescent`
// says, every thousand calls or so, that the thread holds no reference into the table.
template <typename C>
concept Contender =
    requires(C& c, typename C::View id, const Placement& placement, Epoch epoch, std::size_t n) {
      typename C::Thread;
      { C::kName } -> std::convertible_to<std::string_view>;
      { C::kForThreads } -> std::convertible_to<bool>;
      { c.get(id) } -> std::same_as<std::optional<PlacementAt>>;
      { c.admit_write(id, epoch) } -> std::same_as<bool>;
      { c.set(id, placement) } -> std::same_as<void>;
      { c.begin_migration(id, placement) } -> std::same_as<bool>;
      { c.enter_cutover(id) } -> std::same_as<bool>;
      { c.complete_migration(id) } -> std::same_as<bool>;
      { c.abort_migration(id) } -> std::same_as<bool>;
      { c.reserve(n) } -> std::same_as<void>;
      { C::quiescent() } -> std::same_as<void>;
    };

struct NoThread {};

// ---- this library ----

template <typename Ids>
class OurTable {
 public:
  using View = typename Ids::View;
  using Table = BasicPlacementTable<typename Ids::Id>;
  using Thread = NoThread;
  static constexpr const char* kName = "placement_table";
  static constexpr bool kForThreads = true;

  OurTable() = default;
  explicit OurTable(const TableOptions& options) : table_(options) {}

  std::optional<PlacementAt> get(View id) const { return table_.get(id); }
  bool admit_write(View id, Epoch epoch) const {
    return table_.admit_write(id, epoch) == WriteAdmission::Admit;
  }
  std::optional<PlacementAt> acquire_and_release(View id) {
    const WritePermit permit = table_.acquire_write(id);
    if (!permit) return std::nullopt;
    return PlacementAt{permit.placement(), permit.epoch(), MigrationPhase::Settled};
  }
  void get_many(std::span<const View> ids, std::span<std::optional<PlacementAt>> answers) const {
    table_.get_many(ids, answers);
  }
  // One thread: each partition has one reference, made when it is first asked for.
  std::optional<PlacementAt> get_by_ref(View id, std::size_t partition) {
    if (partition >= refs_.size()) refs_.resize(partition + 1);
    if (!refs_[partition]) refs_[partition].emplace(table_.ref(id));
    return refs_[partition]->get();
  }
  void set(View id, const Placement& placement) { table_.set(id, placement); }
  bool begin_migration(View id, const Placement& to) {
    return table_.begin_migration(id, to).has_value();
  }
  bool enter_cutover(View id) { return table_.enter_cutover(id).has_value(); }
  bool complete_migration(View id) { return table_.complete_migration(id).has_value(); }
  bool abort_migration(View id) { return table_.abort_migration(id).has_value(); }
  void reserve(std::size_t partitions) { table_.reserve(partitions); }
  static void quiescent() {}

  Table& table() { return table_; }

 private:
  Table table_;
  std::vector<std::optional<typename Table::Ref>> refs_;
};

// ---- the peers ----

// What a peer is: a map from id to Record, and the state machine on top. A peer provides
//   bool read(View, f)     calls f(const Record&), under whatever makes that safe
//   bool change(View, f)   calls bool f(Record&), exclusively
//   void put(View, record) inserts or replaces
template <typename Self, typename Ids>
class Peer {
 public:
  using View = typename Ids::View;
  using Thread = NoThread;
  static constexpr bool kForThreads = true;

  std::optional<PlacementAt> get(View id) const {
    std::optional<PlacementAt> answer;
    static_cast<const Self*>(this)->read(id, [&](const Record& record) {
      answer.emplace(PlacementAt{record.from, record.epoch, record.phase});
    });
    return answer;
  }
  bool admit_write(View id, Epoch epoch) const {
    bool admitted = false;
    static_cast<const Self*>(this)->read(id, [&](const Record& record) {
      admitted = record.phase != MigrationPhase::Cutover && record.epoch == epoch;
    });
    return admitted;
  }
  void set(View id, const Placement& placement) {
    self().put(id, Record{placement, placement, draw_epoch()});
  }
  bool begin_migration(View id, const Placement& to) {
    return self().change(id, [&](Record& record) {
      if (record.phase != MigrationPhase::Settled) return false;
      record = Record{record.from, to, draw_epoch(), MigrationPhase::Draining};
      return true;
    });
  }
  bool enter_cutover(View id) {
    return self().change(id, [&](Record& record) {
      if (record.phase != MigrationPhase::Draining) return false;
      record = Record{record.from, record.to, draw_epoch(), MigrationPhase::Cutover};
      return true;
    });
  }
  bool complete_migration(View id) {
    return self().change(id, [&](Record& record) {
      if (record.phase != MigrationPhase::Cutover) return false;
      record = Record{record.to, record.to, draw_epoch()};
      return true;
    });
  }
  bool abort_migration(View id) {
    return self().change(id, [&](Record& record) {
      if (record.phase == MigrationPhase::Settled) return false;
      record = Record{record.from, record.from, draw_epoch()};
      return true;
    });
  }
  static void quiescent() {}

 private:
  friend Self;
  Peer() = default;

  Self& self() { return static_cast<Self&>(*this); }
  Epoch draw_epoch() { return Epoch(generation_.fetch_add(1, std::memory_order_acq_rel) + 1); }

  alignas(128) std::atomic<std::uint64_t> generation_{0};
};

template <typename Ids>
using FlatMap = absl::flat_hash_map<typename Ids::Id, Record, IdHash, std::equal_to<>>;

// The limit on one thread.
template <typename Ids>
class Unsynchronised : public Peer<Unsynchronised<Ids>, Ids> {
 public:
  using typename Peer<Unsynchronised, Ids>::View;
  static constexpr const char* kName = "flat_hash_map";
  static constexpr bool kForThreads = false;

  template <typename F>
  bool read(View id, F f) const {
    const auto found = map_.find(id);
    if (found == map_.end()) return false;
    f(found->second);
    return true;
  }
  template <typename F>
  bool change(View id, F f) {
    const auto found = map_.find(id);
    return found != map_.end() && f(found->second);
  }
  void put(View id, const Record& record) { map_.insert_or_assign(typename Ids::Id(id), record); }
  void reserve(std::size_t partitions) { map_.reserve(partitions); }

 private:
  FlatMap<Ids> map_;
};

// What most routers do today.
template <typename Ids>
class SharedMutex : public Peer<SharedMutex<Ids>, Ids> {
 public:
  using typename Peer<SharedMutex, Ids>::View;
  static constexpr const char* kName = "shared_mutex";

  template <typename F>
  bool read(View id, F f) const {
    const std::shared_lock lock(mutex_);
    const auto found = map_.find(id);
    if (found == map_.end()) return false;
    f(found->second);
    return true;
  }
  template <typename F>
  bool change(View id, F f) {
    const std::unique_lock lock(mutex_);
    const auto found = map_.find(id);
    return found != map_.end() && f(found->second);
  }
  void put(View id, const Record& record) {
    const std::unique_lock lock(mutex_);
    map_.insert_or_assign(typename Ids::Id(id), record);
  }
  void reserve(std::size_t partitions) {
    const std::unique_lock lock(mutex_);
    map_.reserve(partitions);
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<typename Ids::Id, Record, IdHash, std::equal_to<>> map_;
};

// The obvious design. The hash is computed once and its high bits choose the shard, for the map
// uses the low ones.
template <typename Ids>
class ShardedMutex : public Peer<ShardedMutex<Ids>, Ids> {
 public:
  using typename Peer<ShardedMutex, Ids>::View;
  static constexpr const char* kName = "64 x absl::Mutex";

  template <typename F>
  bool read(View id, F f) const {
    const std::size_t hash = IdHash()(id);
    Shard& shard = shard_of(hash);
    const detail::MutexLock lock(shard.mutex);
    const auto found = shard.map.find(id, hash);
    if (found == shard.map.end()) return false;
    f(found->second);
    return true;
  }
  template <typename F>
  bool change(View id, F f) {
    const std::size_t hash = IdHash()(id);
    Shard& shard = shard_of(hash);
    const detail::MutexLock lock(shard.mutex);
    const auto found = shard.map.find(id, hash);
    return found != shard.map.end() && f(found->second);
  }
  void put(View id, const Record& record) {
    Shard& shard = shard_of(IdHash()(id));
    const detail::MutexLock lock(shard.mutex);
    shard.map.insert_or_assign(typename Ids::Id(id), record);
  }
  void reserve(std::size_t partitions) {
    for (Shard& shard : shards_) {
      const detail::MutexLock lock(shard.mutex);
      shard.map.reserve(partitions / kShards);
    }
  }

 private:
  static constexpr std::size_t kShards = 64;
  struct alignas(128) Shard {
    detail::Mutex mutex;
    FlatMap<Ids> map ABSL_GUARDED_BY(mutex);
  };
  Shard& shard_of(std::size_t hash) const { return shards_[hash >> (8 * sizeof(hash) - 6)]; }

  mutable std::array<Shard, kShards> shards_;
};

#ifdef PLACEMENT_BENCH_TBB
template <typename Ids>
class Tbb : public Peer<Tbb<Ids>, Ids> {
 public:
  using typename Peer<Tbb, Ids>::View;
  static constexpr const char* kName = "tbb";

  template <typename F>
  bool read(View id, F f) const {
    typename Map::const_accessor found;
    if (!map_.find(found, id)) return false;
    f(found->second);
    return true;
  }
  template <typename F>
  bool change(View id, F f) {
    typename Map::accessor found;
    return map_.find(found, id) && f(found->second);
  }
  void put(View id, const Record& record) {
    typename Map::accessor found;
    if (!map_.emplace(found, typename Ids::Id(id), record)) found->second = record;
  }
  void reserve(std::size_t partitions) { map_.rehash(partitions); }

 private:
  struct HashCompare {
    using is_transparent = void;
    template <typename Id>
    std::size_t hash(const Id& id) const {
      return IdHash()(id);
    }
    template <typename A, typename B>
    bool equal(const A& a, const B& b) const {
      return a == b;
    }
  };
  // The allocator that the others have, so that memory is counted alike.
  using Map = tbb::concurrent_hash_map<typename Ids::Id, Record, HashCompare,
                                       std::allocator<std::pair<const typename Ids::Id, Record>>>;
  // Its transparent find is not const.
  mutable Map map_;
};
#endif

#ifdef PLACEMENT_BENCH_CUCKOO
template <typename Ids>
class Cuckoo : public Peer<Cuckoo<Ids>, Ids> {
 public:
  using typename Peer<Cuckoo, Ids>::View;
  static constexpr const char* kName = "libcuckoo";

  template <typename F>
  bool read(View id, F f) const {
    return map_.find_fn(id, f);
  }
  template <typename F>
  bool change(View id, F f) {
    bool changed = false;
    map_.update_fn(id, [&](Record& record) { changed = f(record); });
    return changed;
  }
  void put(View id, const Record& record) { map_.insert_or_assign(typename Ids::Id(id), record); }
  void reserve(std::size_t partitions) { map_.reserve(partitions); }

 private:
  libcuckoo::cuckoohash_map<typename Ids::Id, Record, IdHash, std::equal_to<>> map_;
};
#endif

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_CONTENDERS_HPP_
