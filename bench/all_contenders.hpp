// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_BENCH_ALL_CONTENDERS_HPP_
#define PLACEMENT_BENCH_ALL_CONTENDERS_HPP_

#include "contenders.hpp"
#ifdef PLACEMENT_BENCH_URCU
#include "urcu_contender.hpp"
#endif

namespace placement::bench {

// Calls f.template operator()<C>() for every contender, ours first.
template <typename Ids, typename F>
void for_each_contender(F f) {
  f.template operator()<OurTable<Ids>>();
  f.template operator()<Unsynchronised<Ids>>();
  f.template operator()<SharedMutex<Ids>>();
  f.template operator()<ShardedMutex<Ids>>();
#ifdef PLACEMENT_BENCH_TBB
  f.template operator()<Tbb<Ids>>();
#endif
#ifdef PLACEMENT_BENCH_CUCKOO
  f.template operator()<Cuckoo<Ids>>();
#endif
#ifdef PLACEMENT_BENCH_URCU
  f.template operator()<Urcu<Ids>>();
#endif
}

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_ALL_CONTENDERS_HPP_
