// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "log.hpp"
#include "options.hpp"
#include "router.hpp"
#include "text.hpp"

namespace {

constexpr int kFailed = 1;
constexpr int kBadUsage = 2;

void print(std::FILE* to, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), to);
  std::fflush(to);
}

int run(redis_router::Options options) {
  const std::string host = options.listen.host;
  redis_router::Router router(std::move(options));
  if (const std::string problem = router.listen(); !problem.empty()) {
    redis_router::log_line(problem);
    return kFailed;
  }
  router.run(true, [&] {
    print(stdout,
          redis_router::concat("listening on ",
                               to_string(redis_router::Endpoint{host, router.port()}), "\n"));
  });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::span<const char* const> args(argv, static_cast<std::size_t>(argc));
  auto parsed = redis_router::parse_options(args.subspan(args.empty() ? 0 : 1));
  if (std::holds_alternative<redis_router::HelpWanted>(parsed)) {
    print(stdout, redis_router::usage());
    return 0;
  }
  if (const auto* bad = std::get_if<redis_router::BadOption>(&parsed)) {
    redis_router::log_line(bad->message, " (--help tells all options)");
    return kBadUsage;
  }
  try {
    return run(std::move(std::get<redis_router::Options>(parsed)));
  } catch (const std::exception& error) {
    redis_router::log_line(error.what());
    return kFailed;
  }
}
