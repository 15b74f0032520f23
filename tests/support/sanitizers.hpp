// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_SANITIZERS_HPP_
#define PLACEMENT_TESTS_SUPPORT_SANITIZERS_HPP_

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_THREAD__)
#define PLACEMENT_TESTS_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PLACEMENT_TESTS_UNDER_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define PLACEMENT_TESTS_UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define PLACEMENT_TESTS_UNDER_ASAN 1
#endif

#ifdef PLACEMENT_TESTS_UNDER_TSAN
// abseil's own detector of deadlocks guards its graph with a lock that the sanitizer cannot see
// in a library that was built without it. Not inline: the runtime's own, weak one would win. So
// one translation unit of a program includes this header.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {  // NOLINT(misc-definitions-in-headers)
  return "race:synchronization_internal::GraphCycles\n";
}
#endif

namespace placement::test {

#if defined(PLACEMENT_TESTS_UNDER_TSAN) || defined(PLACEMENT_TESTS_UNDER_ASAN)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Where a sanitizer, or counting each line, makes everything slow.
#ifdef PLACEMENT_TESTS_UNDER_COVERAGE
inline constexpr bool kSlow = true;
#else
inline constexpr bool kSlow = kSanitized;
#endif

// By how much the environment wants the work of a test to be less, for tests that are run again and
// again: PLACEMENT_TEST_WORK_DIVISOR.
inline std::uint64_t work_divisor() {
  static const std::uint64_t divisor = [] {
    const char* const given = std::getenv("PLACEMENT_TEST_WORK_DIVISOR");
    return given == nullptr ? 1 : std::max<std::uint64_t>(1, std::strtoull(given, nullptr, 10));
  }();
  return divisor;
}

// An amount of work: less of it where everything is slow.
inline std::uint64_t work(std::uint64_t amount) {
  return std::max<std::uint64_t>(1,
                                 amount / std::max<std::uint64_t>(kSlow ? 25 : 1, work_divisor()));
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_SANITIZERS_HPP_
