// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_BENCHMARK_HPP_
#define REDIS_ROUTER_DEMO_BENCHMARK_HPP_

#include <cstddef>
#include <optional>
#include <string>

#include "demo/child_process.hpp"
#include "options.hpp"

namespace redis_router {

// redis-benchmark, again and again.
class Benchmark {
 public:
  Benchmark(const Endpoint& router, const std::string& directory);

  // To be called now and then.
  void keep_running();
  // How many of its runs failed.
  std::size_t stop();
  [[nodiscard]] const std::string& first_error() const { return first_error_; }

 private:
  void start();
  void count_errors();

  const Endpoint router_;
  const std::string log_;
  std::optional<ChildProcess> process_;
  std::size_t errors_ = 0;
  std::string first_error_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_BENCHMARK_HPP_
