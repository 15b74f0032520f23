// SPDX-License-Identifier: Apache-2.0
#include "demo/router_process.hpp"

#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <csignal>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "text.hpp"

namespace redis_router {
namespace {

std::vector<std::string> command(const std::string& program, const RedisServer& a,
                                 const RedisServer& b, const std::vector<std::string>& flags) {
  std::vector<std::string> words{
      program, "--listen=127.0.0.1:0", concat("--cluster=a=", to_string(a.endpoint())),
      concat("--cluster=b=", to_string(b.endpoint())), "--default-cluster=a"};
  words.insert(words.end(), flags.begin(), flags.end());
  return words;
}

}  // namespace

RouterProcess::RouterProcess(const std::string& program, const std::string& directory,
                             const RedisServer& a, const RedisServer& b,
                             const std::vector<std::string>& flags)
    : log_(directory + "/router.log"), process_(command(program, a, b, flags), log_) {
  constexpr std::string_view kListening = "listening on ";
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (absl::Now() < deadline && !process_.poll()) {
    const std::string text = log();
    const auto begin = text.find(kListening);
    const auto end = begin == std::string::npos ? begin : text.find('\n', begin);
    if (end != std::string::npos) {
      endpoint_ = *parse_endpoint(
          std::string_view(text).substr(begin, end - begin).substr(kListening.size()));
      return;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  throw std::runtime_error(concat("the router does not start: ", log()));
}

RedisClient RouterProcess::connect() const {
  auto client = RedisClient::connect(endpoint_, absl::Seconds(120));
  if (!client.ok()) throw std::runtime_error(std::string(client.status().message()));
  return *std::move(client);
}

int RouterProcess::stop() {
  process_.signal(SIGTERM);
  return process_.wait_for(absl::Seconds(20)).value_or(-1);
}

std::map<std::string, std::string> fields_of(const RespValue& reply) {
  std::map<std::string, std::string> fields;
  for (std::size_t i = 0; i + 1 < reply.elements.size(); i += 2) {
    fields[reply.elements[i].text] = reply.elements[i + 1].text;
  }
  return fields;
}

}  // namespace redis_router
