// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_DEMO_CHECKING_CLIENT_HPP_
#define REDIS_ROUTER_DEMO_CHECKING_CLIENT_HPP_

#include <absl/functional/function_ref.h>
#include <absl/time/time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "options.hpp"
#include "redis_client.hpp"

namespace redis_router {

// A client that writes and reads through the router, pipelined, and knows of every key that it
// wrote what has to be there: it alone writes its keys, in order. It checks each reply as it comes,
// and in the end what the servers hold.
class CheckingClient {
 public:
  struct Settings {
    Endpoint router;
    std::vector<std::string> tenants;  // the first, hot one gets most of the requests
    int id = 0;                        // different for each client: it is part of the keys
    std::uint64_t seed = 1;
    std::size_t pipeline = 16;
    std::size_t keys_per_tenant = 200;
    // Error replies are expected: the outcome of a write is then unknown, and its keys, not used
    // any more, may hold what they did before or after it.
    bool faults_expected = false;
    absl::Duration timeout = absl::Seconds(30);
  };

  // Read by other threads while the client runs.
  struct Counts {
    std::atomic<std::uint64_t> requests{0};
    std::atomic<std::uint64_t> writes_acknowledged{0};
    std::atomic<std::uint64_t> hot_writes_acknowledged{0};
    std::atomic<std::uint64_t> wrong_replies{0};  // not what this client's own writes made true
    std::atomic<std::uint64_t> error_replies{0};
    std::atomic<std::uint64_t> connections_lost{0};
  };

  struct Verdict {
    std::size_t keys_checked = 0;
    std::size_t lost = 0;  // keys that do not hold what was acknowledged
    std::vector<std::string> examples;
  };

  explicit CheckingClient(Settings settings);

  void run(const std::stop_token& stop);

  // Reads every key back from the server that `server_of` says its tenant lives on. After run().
  void verify(absl::FunctionRef<RedisClient&(std::string_view tenant)> server_of, Verdict& verdict);

  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }
  // What was wrong first, for a report.
  [[nodiscard]] const std::string& first_problem() const noexcept { return first_problem_; }

 private:
  using Value = std::optional<std::string>;  // nothing: the key is absent

  struct Key {
    std::string name;
    Value value;                // after all that was sent
    bool expires = false;       // it has been given a time to live, a long one
    bool is_busy = false;       // a write in this batch has it
    bool was_reverted = false;  // a write in this batch was refused
    std::vector<Value>
        possible;  // not empty: the outcome of a write is unknown, it is one of these
  };

  struct Tenant {
    std::string name;
    std::vector<Key> keys;
    std::size_t next_key = 0;
  };

  // A request that was sent, and what has to come back.
  struct Sent {
    RespValue expected;
    bool is_write = false;
    struct Touched {
      Tenant* tenant;
      std::size_t key;
      Value before;
      bool expired_before;
    };
    std::vector<Touched> touched;
  };

  void send_batch(RedisClient& client);
  void add_request(RedisClient& client);
  void add_get(RedisClient& client, Tenant& tenant);
  void add_set(RedisClient& client, Tenant& tenant);
  void add_big_set(RedisClient& client, Tenant& tenant);
  void add_expiring_set(RedisClient& client, Tenant& tenant);
  void add_delete(RedisClient& client, Tenant& tenant);
  void add_multi_set(RedisClient& client, Tenant& tenant);
  void add_increment(RedisClient& client, Tenant& tenant);
  void add_append(RedisClient& client, Tenant& tenant);
  void add_script(RedisClient& client, Tenant& tenant);
  void add_rename(RedisClient& client, Tenant& tenant);

  void receive(const RespValue& reply, Sent& sent);
  void lose_connection(std::string_view why);
  void outcome_unknown(const Sent& sent);
  void revert(const Sent& sent);
  void problem(std::string text);

  // A key that no write of this batch has, to be written now.
  Key& take_key(Tenant& tenant, Sent& sent);
  void change(Key& key, Value value, bool expires = false);
  Key new_key(Tenant& tenant);
  std::string next_value();
  std::size_t random(std::size_t below);

  const Settings settings_;
  std::mt19937_64 random_;
  std::uint64_t last_value_ = 0;
  std::vector<Tenant> tenants_;
  std::vector<Key> retired_;  // keys whose state is not certain
  std::vector<Sent> sent_;
  bool batch_failed_ = false;
  Counts counts_;
  std::string first_problem_;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_DEMO_CHECKING_CLIENT_HPP_
