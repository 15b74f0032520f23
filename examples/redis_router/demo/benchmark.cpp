// SPDX-License-Identifier: Apache-2.0
#include "demo/benchmark.hpp"

#include <absl/time/time.h>

#include <csignal>
#include <filesystem>
#include <vector>

namespace redis_router {

Benchmark::Benchmark(const Endpoint& router, const std::string& directory)
    : router_(router), log_(directory + "/benchmark.log") {
  start();
}

void Benchmark::keep_running() {
  if (!process_->poll()) return;
  count_errors();
  start();
}

std::size_t Benchmark::stop() {
  if (process_->poll()) {
    count_errors();
  } else {
    process_->signal(SIGKILL);
    (void)process_->wait_for(absl::Seconds(10));
  }
  process_.reset();
  return errors_;
}

void Benchmark::start() {
  process_.emplace(
      std::vector<std::string>{"redis-benchmark", "-h", router_.host, "-p",
                               std::to_string(router_.port), "-t", "set,get,incr,hset,mset", "-n",
                               "100000", "-r", "10000", "-c", "8", "-P", "16", "--csv"},
      log_);
}

void Benchmark::count_errors() {
  const std::string log = read_file(log_);
  const auto error = log.find("rror");
  if (process_->poll() == 0 && error == std::string::npos) {
    std::filesystem::resize_file(log_, 0);
    return;
  }
  ++errors_;
  if (first_error_.empty()) {
    first_error_ = log.substr(error == std::string::npos ? 0 : error - 1, 200);
  }
}

}  // namespace redis_router
