// SPDX-License-Identifier: Apache-2.0
//
// liburcu's lock-free hash table under QSBR, where a reader pays nothing but to say now and then
// that it holds no reference. LGPL: a benchmark's dependency only.
#ifndef PLACEMENT_BENCH_URCU_CONTENDER_HPP_
#define PLACEMENT_BENCH_URCU_CONTENDER_HPP_

#include <bit>
#include <cstddef>
#include <mutex>
#include <string>

#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-qsbr.h>
// After the flavour.
#include <urcu/rculfhash.h>

#include "contenders.hpp"

namespace placement::bench {

template <typename Ids>
class Urcu : public Peer<Urcu<Ids>, Ids> {
 public:
  using typename Peer<Urcu, Ids>::View;
  static constexpr const char* kName = "liburcu QSBR";

  class Thread {
   public:
    Thread() { urcu_qsbr_register_thread(); }
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;
    ~Thread() { urcu_qsbr_unregister_thread(); }
  };

  // Grown here, by twice: with CDS_LFHT_AUTO_RESIZE a fill of a million did not end.
  Urcu()
      : table_(
            cds_lfht_new_flavor(kFirstBuckets, kFirstBuckets, 0, 0, &urcu_qsbr_flavor, nullptr)) {}
  Urcu(const Urcu&) = delete;
  Urcu& operator=(const Urcu&) = delete;
  ~Urcu() {
    {
      const Thread thread;
      cds_lfht_iter at;
      for (cds_lfht_first(table_, &at); cds_lfht_iter_get_node(&at) != nullptr;
           cds_lfht_next(table_, &at)) {
        cds_lfht_node* const link = cds_lfht_iter_get_node(&at);
        cds_lfht_del(table_, link);
        retire(*node_of(link));
      }
    }
    urcu_qsbr_barrier();
    cds_lfht_destroy(table_, nullptr);
  }

  template <typename F>
  bool read(View id, F f) const {
    cds_lfht_iter at;
    const Node* const node = find(id, IdHash()(id), at);
    if (node == nullptr) return false;
    f(node->record);
    return true;
  }
  // Readers see one node or the other, whole. The mutex keeps two changes apart.
  template <typename F>
  bool change(View id, F f) {
    const std::scoped_lock lock(mutex_);
    const std::size_t hash = IdHash()(id);
    cds_lfht_iter at;
    Node* const old = find(id, hash, at);
    if (old == nullptr) return false;
    Record record = old->record;
    if (!f(record)) return false;
    auto* const node = new Node{{}, {}, old->id, record};
    cds_lfht_replace(table_, &at, hash, matches, &id, &node->link);
    retire(*old);
    return true;
  }
  void put(View id, const Record& record) {
    const std::scoped_lock lock(mutex_);
    auto* const node = new Node{{}, {}, typename Ids::Id(id), record};
    cds_lfht_node* const old =
        cds_lfht_add_replace(table_, IdHash()(id), matches, &id, &node->link);
    if (old != nullptr) {
      retire(*node_of(old));
    } else if (++count_ > buckets_) {
      resize(2 * buckets_);
    }
  }
  void reserve(std::size_t partitions) {
    const std::scoped_lock lock(mutex_);
    resize(std::bit_ceil(partitions));
  }

  static void quiescent() { urcu_qsbr_quiescent_state(); }

 private:
  struct Node {
    cds_lfht_node link;  // first, so that its address is the node's
    rcu_head head;
    typename Ids::Id id;
    Record record;
  };

  static Node* node_of(cds_lfht_node* link) { return reinterpret_cast<Node*>(link); }
  static int matches(cds_lfht_node* link, const void* id) {
    return node_of(link)->id == *static_cast<const View*>(id) ? 1 : 0;
  }
  static void retire(Node& node) {
    urcu_qsbr_call_rcu(&node.head, [](rcu_head* head) {
      delete reinterpret_cast<Node*>(reinterpret_cast<char*>(head) - offsetof(Node, head));
    });
  }
  void resize(std::size_t buckets) {
    buckets_ = buckets;
    cds_lfht_resize(table_, static_cast<unsigned long>(buckets));
  }
  Node* find(View id, std::size_t hash, cds_lfht_iter& at) const {
    cds_lfht_lookup(table_, hash, matches, &id, &at);
    cds_lfht_node* const link = cds_lfht_iter_get_node(&at);
    return link == nullptr ? nullptr : node_of(link);
  }

  static constexpr std::size_t kFirstBuckets = 1024;

  cds_lfht* table_;
  std::mutex mutex_;
  std::size_t count_ = 0;
  std::size_t buckets_ = kFirstBuckets;
};

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_URCU_CONTENDER_HPP_
