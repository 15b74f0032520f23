// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_SUPPORT_THREADS_HPP_
#define PLACEMENT_TESTS_SUPPORT_THREADS_HPP_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "sanitizers.hpp"

namespace placement::test {

// Runs all of them, each on a thread of its own that starts with the others, to their end.
inline void run_together(const std::vector<std::function<void()>>& bodies) {
  std::latch start(static_cast<std::ptrdiff_t>(bodies.size()));
  std::vector<std::jthread> threads;
  threads.reserve(bodies.size());
  for (const auto& body : bodies) {
    threads.emplace_back([&start, &body] {
      start.arrive_and_wait();
      body();
    });
  }
}

using Random = std::mt19937_64;

// The test's random numbers: the same in every run, unless the environment has another
// PLACEMENT_TEST_SEED. The seed is printed.
inline Random make_random() {
  const char* const given = std::getenv("PLACEMENT_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : 20'251'123;
  std::cout << "PLACEMENT_TEST_SEED=" << seed << '\n';
  return Random(seed);
}

// A number below `limit`.
inline std::uint64_t below(Random& random, std::uint64_t limit) { return random() % limit; }

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_THREADS_HPP_
