// SPDX-License-Identifier: Apache-2.0
#include "demo/checking_client.hpp"

#include <absl/time/clock.h>

#include <algorithm>
#include <utility>

#include "resp.hpp"
#include "tenant.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

constexpr std::string_view kLongTime = "86400000";  // milliseconds
constexpr std::string_view kScript =
    "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])";
// Keeps a client whose requests fail at once from filling the servers with keys it cannot use.
constexpr absl::Duration kPauseAfterError = absl::Milliseconds(2);
constexpr std::size_t kBigValue = 100'000;
constexpr std::size_t kMostExamples = 5;

RespValue simple(std::string text) {
  return {
      .type = RespValue::Type::SimpleString, .integer = 0, .text = std::move(text), .elements = {}};
}
RespValue integer(std::int64_t number) {
  return {.type = RespValue::Type::Integer, .integer = number, .text = {}, .elements = {}};
}
RespValue bulk(const std::optional<std::string>& value) {
  if (!value) return {};
  return {.type = RespValue::Type::BulkString, .integer = 0, .text = *value, .elements = {}};
}

// Errors that say the request was not carried out. All others leave that open.
bool was_not_applied(std::string_view error) {
  static constexpr std::string_view kCodes[] = {"TRYAGAIN ", "UPSTREAM ", "OOM ", "LOADING "};
  return std::any_of(std::begin(kCodes), std::end(kCodes),
                     [&](std::string_view code) { return error.starts_with(code); });
}

bool same(const RespValue& a, const RespValue& b) {
  return a.type == b.type && a.integer == b.integer && a.text == b.text;
}

std::string shown(const RespValue& value) {
  switch (value.type) {
    case RespValue::Type::Null:
      return "nothing";
    case RespValue::Type::Integer:
      return std::to_string(value.integer);
    case RespValue::Type::Array:
      return "an array";
    default:
      return quote(value.text);
  }
}

}  // namespace

CheckingClient::CheckingClient(Settings settings)
    : settings_(std::move(settings)),
      random_(settings_.seed * 1'000'003 + static_cast<std::uint64_t>(settings_.id)) {
  tenants_.reserve(settings_.tenants.size());
  for (const std::string& name : settings_.tenants) {
    Tenant& tenant = tenants_.emplace_back();
    tenant.name = name;
    for (std::size_t i = 0; i < settings_.keys_per_tenant; ++i) {
      tenant.keys.push_back(new_key(tenant));
    }
  }
}

CheckingClient::Key CheckingClient::new_key(Tenant& tenant) {
  Key key;
  // Bytes that a careless router or mover would trip over.
  static constexpr std::string_view kHostile[] = {"",    "*",   "\r\n", std::string_view("\0", 1),
                                                  "[a]", "\xff"};
  key.name = concat(tenant.name, ":check:", settings_.id, ":", tenant.next_key, ":",
                    kHostile[tenant.next_key % std::size(kHostile)]);
  ++tenant.next_key;
  return key;
}

std::size_t CheckingClient::random(std::size_t below) {
  return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_);
}

std::string CheckingClient::next_value() { return concat(settings_.id, "-", ++last_value_); }

void CheckingClient::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto client = RedisClient::connect(settings_.router, settings_.timeout);
    if (!client.ok()) {
      problem(concat("cannot connect: ", std::string(client.status().message())));
      return;
    }
    bool connected = true;
    while (connected && !stop.stop_requested()) {
      send_batch(*client);
      for (Sent& sent : sent_) {
        const auto reply = connected ? client->read_reply()
                                     : absl::StatusOr<RespValue>(absl::UnavailableError("lost"));
        if (reply.ok()) {
          receive(*reply, sent);
        } else {
          if (std::exchange(connected, false))
            lose_connection(std::string(reply.status().message()));
          outcome_unknown(sent);
        }
      }
      for (Sent& sent : sent_) {
        for (const Sent::Touched& touched : sent.touched) {
          touched.tenant->keys[touched.key].is_busy = false;
          touched.tenant->keys[touched.key].was_reverted = false;
        }
      }
      // A key whose state is not certain is replaced by a new one.
      for (Tenant& tenant : tenants_) {
        for (Key& key : tenant.keys) {
          if (!key.possible.empty()) retired_.push_back(std::exchange(key, new_key(tenant)));
        }
      }
      if (std::exchange(batch_failed_, false)) absl::SleepFor(kPauseAfterError);
    }
  }
}

void CheckingClient::send_batch(RedisClient& client) {
  sent_.clear();
  const std::size_t size = 1 + random(settings_.pipeline);
  for (std::size_t i = 0; i < size; ++i) add_request(client);
}

void CheckingClient::add_request(RedisClient& client) {
  Tenant& tenant = random(4) != 0 ? tenants_.front() : tenants_[random(tenants_.size())];
  const std::size_t kind = random(100);
  if (kind < 30) return add_get(client, tenant);
  if (kind < 62) return add_set(client, tenant);
  if (kind < 67) return add_expiring_set(client, tenant);
  if (kind < 75) return add_delete(client, tenant);
  if (kind < 83) return add_multi_set(client, tenant);
  if (kind < 89) return add_append(client, tenant);
  if (kind < 93) return add_increment(client, tenant);
  if (kind < 96) return add_script(client, tenant);
  if (kind < 99) return add_rename(client, tenant);
  add_big_set(client, tenant);
}

CheckingClient::Key& CheckingClient::take_key(Tenant& tenant, Sent& sent) {
  std::size_t index = random(tenant.keys.size());
  while (tenant.keys[index].is_busy) index = (index + 1) % tenant.keys.size();
  Key& key = tenant.keys[index];
  key.is_busy = true;
  sent.is_write = true;
  sent.touched.push_back({&tenant, index, key.value, key.expires});
  return key;
}

void CheckingClient::change(Key& key, Value value, bool expires) {
  key.value = std::move(value);
  key.expires = expires;
}

void CheckingClient::add_get(RedisClient& client, Tenant& tenant) {
  const std::size_t index = random(tenant.keys.size());
  Key& key = tenant.keys[index];
  client.append({"GET", key.name});
  Sent sent{.expected = bulk(key.value), .is_write = false, .touched = {}};
  sent.touched.push_back({&tenant, index, key.value, key.expires});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_set(RedisClient& client, Tenant& tenant) {
  Sent sent{.expected = simple("OK"), .is_write = true, .touched = {}};
  Key& key = take_key(tenant, sent);
  change(key, next_value());
  client.append({"SET", key.name, *key.value});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_big_set(RedisClient& client, Tenant& tenant) {
  Sent sent{.expected = simple("OK"), .is_write = true, .touched = {}};
  Key& key = take_key(tenant, sent);
  std::string value = next_value();
  value.resize(kBigValue);
  for (std::size_t i = 32; i < value.size(); i += 8) value[i] = static_cast<char>(random_());
  change(key, std::move(value));
  client.append({"SET", key.name, *key.value});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_expiring_set(RedisClient& client, Tenant& tenant) {
  Sent sent{.expected = simple("OK"), .is_write = true, .touched = {}};
  Key& key = take_key(tenant, sent);
  change(key, next_value(), true);
  client.append({"SET", key.name, *key.value, "PX", kLongTime});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_delete(RedisClient& client, Tenant& tenant) {
  Sent sent;
  Key& key = take_key(tenant, sent);
  sent.expected = integer(key.value ? 1 : 0);
  change(key, std::nullopt);
  client.append({random(2) == 0 ? "DEL" : "UNLINK", key.name});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_multi_set(RedisClient& client, Tenant& tenant) {
  Sent sent{.expected = simple("OK"), .is_write = true, .touched = {}};
  Key& one = take_key(tenant, sent);
  Key& two = take_key(tenant, sent);
  change(one, next_value());
  change(two, next_value());
  client.append({"MSET", one.name, *one.value, two.name, *two.value});
  sent_.push_back(std::move(sent));
}

// A write that would show if it were carried out twice.
void CheckingClient::add_append(RedisClient& client, Tenant& tenant) {
  Sent sent;
  Key& key = take_key(tenant, sent);
  const std::string more = next_value();
  change(key, key.value.value_or("") + more, key.expires && key.value.has_value());
  sent.expected = integer(static_cast<std::int64_t>(key.value->size()));
  client.append({"APPEND", key.name, more});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_increment(RedisClient& client, Tenant& tenant) {
  Sent sent;
  Key& key = take_key(tenant, sent);
  const auto number = key.value ? parse_number<std::int64_t>(*key.value) : 0;
  if (number) {
    change(key, std::to_string(*number + 1), key.expires && key.value.has_value());
    sent.expected = integer(*number + 1);
    client.append({"INCR", key.name});
  } else {
    change(key, std::to_string(last_value_));
    sent.expected = simple("OK");
    client.append({"SET", key.name, *key.value});
  }
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_script(RedisClient& client, Tenant& tenant) {
  Sent sent;
  Key& key = take_key(tenant, sent);
  change(key, next_value());
  sent.expected = bulk(key.value);
  client.append({"EVAL", kScript, "1", key.name, *key.value});
  sent_.push_back(std::move(sent));
}

void CheckingClient::add_rename(RedisClient& client, Tenant& tenant) {
  Sent sent;
  Key& from = take_key(tenant, sent);
  Key& to = take_key(tenant, sent);
  if (from.value) {
    sent.expected = simple("OK");
    change(to, from.value, from.expires);
    change(from, std::nullopt);
    client.append({"RENAME", from.name, to.name});
  } else {
    sent.expected = integer(to.value ? 1 : 0);
    change(to, std::nullopt);
    client.append({"DEL", from.name, to.name});
  }
  sent_.push_back(std::move(sent));
}

void CheckingClient::receive(const RespValue& reply, Sent& sent) {
  counts_.requests.fetch_add(1, std::memory_order_relaxed);  // all of these are only shown
  if (same(reply, sent.expected)) {
    if (!sent.is_write) return;
    counts_.writes_acknowledged.fetch_add(1, std::memory_order_relaxed);
    if (sent.touched.front().tenant == &tenants_.front()) {
      counts_.hot_writes_acknowledged.fetch_add(1, std::memory_order_relaxed);
    }
    return;
  }
  if (reply.is_error()) {
    counts_.error_replies.fetch_add(1, std::memory_order_relaxed);
    if (!settings_.faults_expected) problem(reply.text);
    batch_failed_ = true;
    return was_not_applied(reply.text) ? revert(sent) : outcome_unknown(sent);
  }
  // What a read finds behind a write of the same batch that failed is not known.
  const bool is_known =
      std::all_of(sent.touched.begin(), sent.touched.end(), [](const auto& touched) {
        const Key& key = touched.tenant->keys[touched.key];
        return key.possible.empty() && !key.was_reverted;
      });
  if (!is_known) return;
  counts_.wrong_replies.fetch_add(1, std::memory_order_relaxed);
  problem(concat(quote(sent.touched.front().tenant->keys[sent.touched.front().key].name), ": ",
                 shown(reply), " instead of ", shown(sent.expected)));
}

void CheckingClient::lose_connection(std::string_view why) {
  counts_.connections_lost.fetch_add(1, std::memory_order_relaxed);
  problem(concat("connection lost: ", why));
}

void CheckingClient::outcome_unknown(const Sent& sent) {
  if (!sent.is_write) return;
  for (const Sent::Touched& touched : sent.touched) {
    Key& key = touched.tenant->keys[touched.key];
    key.possible = {touched.before, key.value};
  }
}

void CheckingClient::revert(const Sent& sent) {
  if (!sent.is_write) return;
  for (const Sent::Touched& touched : sent.touched) {
    Key& key = touched.tenant->keys[touched.key];
    key.value = touched.before;
    key.expires = touched.expired_before;
    key.was_reverted = true;
  }
}

void CheckingClient::problem(std::string text) {
  if (first_problem_.empty()) first_problem_ = std::move(text);
}

void CheckingClient::verify(absl::FunctionRef<RedisClient&(std::string_view)> server_of,
                            Verdict& verdict) {
  const auto check = [&](RedisClient& server, const Key& key) {
    server.append({"GET", key.name});
    server.append({"PTTL", key.name});
    const auto value = server.read_reply();
    const auto left = server.read_reply();
    ++verdict.keys_checked;
    std::string wrong;
    if (!value.ok() || !left.ok()) {
      wrong = "the server does not answer";
    } else if (!key.possible.empty()) {
      const bool is_possible = std::any_of(key.possible.begin(), key.possible.end(),
                                           [&](const Value& v) { return same(*value, bulk(v)); });
      if (!is_possible) wrong = concat("holds ", shown(*value), " instead of one of two");
    } else if (!same(*value, bulk(key.value))) {
      wrong = concat("holds ", shown(*value), " instead of ", shown(bulk(key.value)));
    } else if (key.value && (left->integer > 0) != key.expires) {
      wrong = concat("has a time to live of ", left->integer);
    }
    if (wrong.empty()) return;
    ++verdict.lost;
    if (verdict.examples.size() < kMostExamples) {
      verdict.examples.push_back(concat(quote(key.name), " ", wrong));
    }
  };
  for (const Tenant& tenant : tenants_) {
    for (const Key& key : tenant.keys) check(server_of(tenant.name), key);
  }
  for (const Key& key : retired_) check(server_of(tenant_of(key.name)), key);
}

}  // namespace redis_router
