// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_PREFETCH_HPP_
#define PLACEMENT_DETAIL_PREFETCH_HPP_

namespace placement {
inline namespace v1 {
namespace detail {

// Has the cache line fetched. Absl's own moved from header to header, and takes older releases to
// different caches.
inline void prefetch([[maybe_unused]] const void* memory) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(memory);
#endif
}

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_PREFETCH_HPP_
