// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_TESTS_TEST_ROUTER_HPP_
#define REDIS_ROUTER_TESTS_TEST_ROUTER_HPP_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <future>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "demo/child_process.hpp"
#include "demo/redis_server.hpp"
#include "redis_client.hpp"
#include "router.hpp"
#include "text.hpp"

namespace redis_router {

// Long enough for anything that comes at all.
inline constexpr absl::Duration kPatience = absl::Seconds(30);

// A client whose replies read as text: "OK", ":1", "-ERR ...", "(nil)", "[a b]".
class TestClient {
 public:
  explicit TestClient(const Endpoint& endpoint)
      : client_(RedisClient::connect(endpoint, kPatience).value()) {}

  void send(std::initializer_list<std::string_view> args) {
    client_.append(args);
    ASSERT_TRUE(client_.flush().ok());
  }
  void send_raw(std::string_view bytes) {
    (void)client_.send(bytes);  // the router may have closed by then: receive() shows
  }
  [[nodiscard]] std::string receive() {
    const auto reply = client_.read_reply();
    return reply.ok() ? shown(*reply) : concat("closed: ", std::string(reply.status().message()));
  }
  std::string call(std::initializer_list<std::string_view> args) {
    send(args);
    return receive();
  }
  void close() { client_.close(); }
  void close_sending_side() { client_.close_sending_side(); }

 private:
  static std::string shown(const RespValue& value) {
    switch (value.type) {
      case RespValue::Type::Null:
        return "(nil)";
      case RespValue::Type::Integer:
        return concat(":", value.integer);
      case RespValue::Type::Error:
        return concat("-", value.text);
      case RespValue::Type::Array: {
        std::string text = "[";
        for (const RespValue& element : value.elements) {
          if (text.size() > 1) text += " ";
          text += shown(element);
        }
        return text + "]";
      }
      default:
        return value.text;
    }
  }

  RedisClient client_;
};

// Servers a and b, and a router before them in this process. Tenants start on a.
class RouterTest : public testing::Test {
 protected:
  RouterTest() : a_(directory_.path() + "/a", keep()), b_(directory_.path() + "/b", keep()) {
    options_.listen = {"127.0.0.1", 0};
    options_.clusters = {{"a", a_.endpoint()}, {"b", b_.endpoint()}};
    options_.default_cluster = "a";
    // A busy machine is not a server that fails: only tests of these two set them shorter.
    options_.upstream_timeout = kPatience;
    options_.hold_timeout = kPatience;
  }
  ~RouterTest() override { stop_router(); }

  void start_router() {
    router_ = std::make_unique<Router>(options_);
    ASSERT_EQ(router_->listen(), "");
    std::promise<void> listening;
    auto is_listening = listening.get_future();
    thread_ =
        std::thread([this, &listening] { router_->run(false, [&] { listening.set_value(); }); });
    is_listening.wait();
  }
  void stop_router() {
    if (router_ == nullptr) return;
    router_->stop();
    thread_.join();
    router_.reset();
  }

  [[nodiscard]] TestClient connect() const {
    return TestClient(Endpoint{"127.0.0.1", router_->port()});
  }
  [[nodiscard]] static TestClient connect(const RedisServer& server) {
    return TestClient(server.endpoint());
  }

  // Asks again and again until the answer has `part` in it.
  static bool eventually(TestClient& client, std::initializer_list<std::string_view> args,
                         std::string_view part) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (absl::Now() < deadline) {
      if (client.call(args).find(part) != std::string::npos) return true;
    }
    return false;
  }
  static bool held_writes(TestClient& client, int count) {
    return eventually(client, {"INFO"}, concat("writes_held_now:", count, "\r\n"));
  }

  Options options_;
  TemporaryDirectory directory_;
  RedisServer a_;
  RedisServer b_;
  std::unique_ptr<Router> router_;
  std::thread thread_;

 private:
  static RedisServer::Keep keep() { return RedisServer::Keep::AnsweredWrites; }
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_TESTS_TEST_ROUTER_HPP_
