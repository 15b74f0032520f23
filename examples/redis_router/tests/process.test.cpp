// SPDX-License-Identifier: Apache-2.0
//
// The router as a program: its exit codes and what it prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "demo/redis_server.hpp"
#include "tests/test_router.hpp"

namespace redis_router {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Process : public testing::Test {
 protected:
  ChildProcess start(std::vector<std::string> args) {
    args.insert(args.begin(), REDIS_ROUTER_BINARY);
    return ChildProcess(std::move(args), log());
  }
  [[nodiscard]] std::string log() const { return directory_.path() + "/log"; }
  [[nodiscard]] std::string output() const { return read_file(log()); }

  TemporaryDirectory directory_;
};

TEST_F(Process, TellsItsOptions) {
  EXPECT_EQ(start({"--help"}).wait_for(kPatience), 0);
  EXPECT_THAT(output(), HasSubstr("--hold-timeout"));
}

TEST_F(Process, AnswersABadOptionWithOneLineAndExitCode2) {
  EXPECT_EQ(start({"--listen", "127.0.0.1:0", "--cluster", "a"}).wait_for(kPatience), 2);
  EXPECT_THAT(output(), StartsWith("redis_router: --cluster: 'a' is not name=host:port"));
  const std::string text = output();
  EXPECT_EQ(text.find('\n'), text.size() - 1);
}

TEST_F(Process, SaysWhenItsPortIsTakenAndExitsWith1) {
  const RedisServer server(directory_.path() + "/a", RedisServer::Keep::Nothing);
  const std::string taken = to_string(server.endpoint());
  EXPECT_EQ(start({"--listen", taken, "--cluster", "a=" + taken}).wait_for(kPatience), 1);
  EXPECT_THAT(output(), StartsWith("redis_router: cannot listen on " + taken));
}

TEST_F(Process, ExitsWith0OnSigtermAndSigint) {
  for (const int number : {SIGTERM, SIGINT}) {
    const RedisServer server(directory_.path() + "/a", RedisServer::Keep::Nothing);
    auto router =
        start({"--listen", "127.0.0.1:0", "--cluster", "a=" + to_string(server.endpoint())});
    const absl::Time deadline = absl::Now() + kPatience;
    while (output().find("listening on 127.0.0.1:") == std::string::npos &&
           absl::Now() < deadline) {
    }
    router.signal(number);
    EXPECT_EQ(router.wait_for(kPatience), 0);
    std::ofstream(log(), std::ios::trunc);
  }
}

}  // namespace
}  // namespace redis_router
