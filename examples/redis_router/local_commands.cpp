// SPDX-License-Identifier: Apache-2.0
#include "local_commands.hpp"

#include <algorithm>
#include <atomic>
#include <iterator>

#include "migrations.hpp"
#include "resp.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

constexpr std::string_view kVersion = "7.0.0";  // the protocol that clients may expect

using Args = std::span<const std::string_view>;

struct Call {
  Args args;
  Context& context;
  ClientInfo& client;
  std::string& reply;

  void ok() const { append_simple(reply, "OK"); }
  void error(std::string_view text) const { append_error(reply, text); }
  void wrong_arity() const {
    error(concat("ERR wrong number of arguments for ", quote(lower(args[0])), " command"));
  }
};

void ping(const Call& call) {
  if (call.args.size() > 2) return call.wrong_arity();
  if (call.args.size() == 2) return append_bulk(call.reply, call.args[1]);
  append_simple(call.reply, "PONG");
}

void echo(const Call& call) {
  if (call.args.size() != 2) return call.wrong_arity();
  append_bulk(call.reply, call.args[1]);
}

void quit(const Call& call) {
  call.client.has_quit = true;
  call.ok();
}

// A web page can make a browser send an HTTP request to any port, with commands in its body. None
// of its lines is taken for one.
void refuse_http(const Call& call) {
  call.client.has_quit = true;
  call.error("ERR this is not an HTTP server");
}

void reset(const Call& call) {
  call.client.name.clear();
  append_simple(call.reply, "RESET");
}

void select(const Call& call) {
  if (call.args.size() != 2) return call.wrong_arity();
  if (call.args[1] == "0") return call.ok();
  call.error("ERR SELECT: tenants live in database 0, there is no other");
}

void auth(const Call& call) {
  call.error("ERR AUTH <password> called without any password configured for the default user");
}

bool good_client_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

void set_name(const Call& call, std::string_view name) {
  if (!good_client_name(name)) {
    return call.error("ERR Client names cannot contain spaces, newlines or special characters.");
  }
  call.client.name = name;
  call.ok();
}

void hello(const Call& call) {
  if (call.args.size() > 1) {
    const auto version = parse_number<int>(call.args[1]);
    if (!version) return call.error("ERR Protocol version is not an integer or out of range");
    if (*version != 2)
      return call.error("NOPROTO unsupported protocol version: this router speaks RESP2");
  }
  for (std::size_t i = 2; i < call.args.size(); ++i) {
    if (!same_word(call.args[i], "setname") || i + 1 == call.args.size()) {
      return call.error(concat("ERR Syntax error in HELLO option ", quote(call.args[i])));
    }
    if (!good_client_name(call.args[++i])) {
      return call.error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    call.client.name = call.args[i];
  }
  append_array_header(call.reply, 14);
  const auto field = [&](std::string_view name, std::string_view value) {
    append_bulk(call.reply, name);
    append_bulk(call.reply, value);
  };
  field("server", "redis");
  field("version", kVersion);
  append_bulk(call.reply, "proto");
  append_integer(call.reply, 2);
  append_bulk(call.reply, "id");
  append_integer(call.reply, static_cast<std::int64_t>(call.client.id));
  field("mode", "standalone");
  field("role", "master");
  append_bulk(call.reply, "modules");
  append_array_header(call.reply, 0);
}

void client(const Call& call) {
  if (call.args.size() < 2) return call.wrong_arity();
  const std::string_view what = call.args[1];
  if (same_word(what, "setname") && call.args.size() == 3) return set_name(call, call.args[2]);
  if (same_word(what, "getname")) return append_bulk(call.reply, call.client.name);
  if (same_word(what, "id")) {
    return append_integer(call.reply, static_cast<std::int64_t>(call.client.id));
  }
  if (same_word(what, "setinfo") || same_word(what, "no-evict") || same_word(what, "no-touch")) {
    return call.ok();
  }
  if (same_word(what, "info")) {
    return append_bulk(call.reply,
                       concat("id=", call.client.id, " name=", call.client.name, " db=0 resp=2\n"));
  }
  call.error(
      concat("NOROUTE 'client|", lower(what.substr(0, 32)), "' is not supported by this router"));
}

// redis-benchmark asks for these two before it starts.
void config(const Call& call) {
  if (call.args.size() < 3 || !same_word(call.args[1], "get")) {
    return call.error("NOROUTE 'config' administers a server; ask it directly");
  }
  std::string found;
  std::size_t fields = 0;
  for (const std::string_view name : call.args.subspan(2)) {
    std::string_view value;
    if (same_word(name, "appendonly")) {
      value = "no";
    } else if (same_word(name, "databases")) {
      value = "1";
    } else if (!same_word(name, "save")) {
      continue;
    }
    append_bulk(found, lower(name));
    append_bulk(found, value);
    fields += 2;
  }
  append_array_header(call.reply, fields);
  call.reply += found;
}

void info(const Call& call) {
  const Metrics& metrics = call.context.metrics;
  const Options& options = call.context.options;
  std::string text = concat(
      "# Server\r\nredis_version:", kVersion,
      "\r\nredis_mode:standalone\r\nserver_name:redis_router\r\nthreads:", options.threads, "\r\n");
  const auto line = [&](std::string_view name, const Metrics::Count& count) {
    text += concat(name, ":", Metrics::read(count), "\r\n");
  };
  text += "\r\n# Clients\r\n";
  line("connected_clients", metrics.clients);
  line("total_connections_received", metrics.clients_accepted);
  line("rejected_connections", metrics.clients_refused);
  text += "\r\n# Stats\r\n";
  line("total_commands_processed", metrics.commands);
  line("protocol_errors", metrics.protocol_errors);
  line("upstream_failures", metrics.upstream_failures);
  text += "\r\n# Placement\r\n";
  text += concat("tenants:", call.context.directory.table().size(), "\r\n");
  text += concat("tenants_migrating:", call.context.directory.table().migrations().size(), "\r\n");
  text += concat("migrations_running:", call.context.migrations.running(), "\r\n");
  text += concat("epoch:", call.context.directory.table().current_epoch().value(), "\r\n");
  line("writes_held_now", metrics.writes_held_now);
  line("writes_held", metrics.writes_held);
  line("hold_timeouts", metrics.hold_timeouts);
  line("writes_quarantined", metrics.writes_quarantined);
  text += "\r\n# Clusters\r\n";
  for (const ClusterOptions& cluster : options.clusters) {
    text += concat("cluster_", cluster.name, ":", to_string(cluster.endpoint), "\r\n");
  }
  append_bulk(call.reply, text);
}

struct Command {
  std::string_view name;
  void (*run)(const Call&);
};

constexpr Command kCommands[] = {
    {"ping", ping}, {"echo", echo},     {"quit", quit},        {"reset", reset},
    {"auth", auth}, {"select", select}, {"hello", hello},      {"client", client},
    {"info", info}, {"config", config}, {"post", refuse_http}, {"host:", refuse_http},
};

}  // namespace

ClientInfo::ClientInfo() {
  static std::atomic<std::uint64_t> last_id{0};
  id = last_id.fetch_add(1, std::memory_order_relaxed) + 1;  // only has to differ
}

bool run_local_command(Args args, Context& context, ClientInfo& client, std::string& reply) {
  const auto* const command =
      std::find_if(std::begin(kCommands), std::end(kCommands),
                   [&](const Command& known) { return same_word(known.name, args[0]); });
  if (command == std::end(kCommands)) return false;
  command->run(Call{args, context, client, reply});
  return true;
}

}  // namespace redis_router
