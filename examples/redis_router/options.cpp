// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <algorithm>
#include <functional>

#include "text.hpp"

namespace redis_router {
namespace {

// What is wrong with a value; empty if nothing is.
using Problem = std::string;

struct Flag {
  std::string_view name;
  std::function<Problem(std::string_view)> take;
};

Problem take_endpoint(std::string_view text, Endpoint& out) {
  const auto endpoint = parse_endpoint(text);
  if (!endpoint) return concat(quote(text), " is not host:port");
  out = *endpoint;
  return {};
}

Problem take_count(std::string_view text, std::size_t low, std::size_t high, std::size_t& out) {
  const auto number = parse_number<std::size_t>(text);
  if (!number || *number < low || *number > high) {
    return concat(quote(text), " is not a number from ", low, " to ", high);
  }
  out = *number;
  return {};
}

// "64kb", "512mb", "1gb", or plain bytes.
Problem take_size(std::string_view text, std::size_t& out) {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string unit = lower(text.substr(digits));
  const int shift = unit.empty() || unit == "b" ? 0
                    : unit == "kb"              ? 10
                    : unit == "mb"              ? 20
                    : unit == "gb"              ? 30
                                                : -1;
  const auto number = parse_number<std::size_t>(text.substr(0, digits));
  if (!number || shift < 0 || *number == 0 || *number > (std::size_t{1} << 40 >> shift)) {
    return concat(quote(text), " is not a size such as 512mb");
  }
  out = *number << shift;
  return {};
}

Problem take_duration(std::string_view text, absl::Duration& out) {
  absl::Duration duration;
  if (!absl::ParseDuration(std::string(text), &duration) || duration <= absl::ZeroDuration() ||
      duration > absl::Hours(24)) {
    return concat(quote(text), " is not a duration such as 5s or 250ms");
  }
  out = duration;
  return {};
}

// Names stand in replies and in lines of text that programs read; keep them to what needs no
// quoting there.
bool good_cluster_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '-' ||
           c == '_' || c == '.';
  });
}

Problem take_cluster(std::string_view text, std::vector<ClusterOptions>& out) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return concat(quote(text), " is not name=host:port");
  ClusterOptions cluster{std::string(text.substr(0, equals)), {}};
  if (!good_cluster_name(cluster.name))
    return concat(quote(cluster.name), " is not a name of letters, digits, '-', '_' and '.'");
  if (Problem problem = take_endpoint(text.substr(equals + 1), cluster.endpoint); !problem.empty())
    return problem;
  if (cluster.endpoint.port == 0) return "a cluster's port cannot be 0";
  for (const ClusterOptions& other : out) {
    if (other.name == cluster.name)
      return concat("cluster ", quote(cluster.name), " is given twice");
    // Two names for one server: moving a tenant from one to the other would delete it.
    if (other.endpoint == cluster.endpoint)
      return concat(quote(to_string(cluster.endpoint)), " is given twice");
  }
  out.push_back(std::move(cluster));
  return {};
}

}  // namespace

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;
  }
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  if (host.empty() || !port) return std::nullopt;
  return Endpoint{std::string(host), *port};
}

std::string to_string(const Endpoint& endpoint) {
  const bool bare_ipv6 = endpoint.host.find(':') != std::string::npos;
  return bare_ipv6 ? concat("[", endpoint.host, "]:", endpoint.port)
                   : concat(endpoint.host, ":", endpoint.port);
}

std::variant<Options, HelpWanted, BadOption> parse_options(std::span<const char* const> args) {
  Options options;
  bool listen_given = false;
  const Flag flags[] = {
      {"--listen",
       [&](auto v) {
         listen_given = true;
         return take_endpoint(v, options.listen);
       }},
      {"--cluster", [&](auto v) { return take_cluster(v, options.clusters); }},
      {"--default-cluster",
       [&](auto v) {
         options.default_cluster = v;
         return v.empty() ? Problem("it wants the name of a cluster") : Problem();
       }},
      {"--threads", [&](auto v) { return take_count(v, 1, 256, options.threads); }},
      {"--hold-timeout", [&](auto v) { return take_duration(v, options.hold_timeout); }},
      {"--upstream-timeout", [&](auto v) { return take_duration(v, options.upstream_timeout); }},
      {"--shutdown-grace", [&](auto v) { return take_duration(v, options.shutdown_grace); }},
      {"--max-clients", [&](auto v) { return take_count(v, 1, 1'000'000, options.max_clients); }},
      {"--max-tenants",
       [&](auto v) { return take_count(v, 1, 1'000'000'000, options.max_tenants); }},
      {"--max-held-writes",
       [&](auto v) { return take_count(v, 1, 10'000'000, options.max_held_writes); }},
      {"--max-pipeline", [&](auto v) { return take_count(v, 1, 1'000'000, options.max_pipeline); }},
      {"--max-pipeline-bytes", [&](auto v) { return take_size(v, options.max_pipeline_bytes); }},
      {"--max-reply-bytes", [&](auto v) { return take_size(v, options.max_reply_bytes); }},
      {"--max-bulk", [&](auto v) { return take_size(v, options.resp.max_bulk); }},
      {"--max-request", [&](auto v) { return take_size(v, options.resp.max_request); }},
  };
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string_view word = args[i];
    if (word == "--help" || word == "-h") return HelpWanted{};
    const auto equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const auto flag = std::find_if(std::begin(flags), std::end(flags),
                                   [&](const Flag& f) { return f.name == name; });
    if (flag == std::end(flags)) return BadOption{concat("unknown option ", quote(word))};
    std::string_view value;
    if (equals != std::string_view::npos) {
      value = word.substr(equals + 1);
    } else if (++i < args.size()) {
      value = args[i];
    } else {
      return BadOption{concat(name, " wants a value")};
    }
    if (const Problem problem = flag->take(value); !problem.empty())
      return BadOption{concat(name, ": ", problem)};
  }
  if (!listen_given) return BadOption{"--listen host:port is missing"};
  if (options.clusters.empty()) return BadOption{"at least one --cluster name=host:port is needed"};
  const auto is_default = [&](const ClusterOptions& cluster) {
    return cluster.name == options.default_cluster;
  };
  if (!options.default_cluster.empty() &&
      std::none_of(options.clusters.begin(), options.clusters.end(), is_default)) {
    return BadOption{
        concat("--default-cluster: there is no cluster ", quote(options.default_cluster))};
  }
  return options;
}

std::string_view usage() noexcept {
  return R"(A router for many tenants' Redis commands, which moves tenants between servers under traffic.

redis_router --listen HOST:PORT --cluster NAME=HOST:PORT [--cluster NAME=HOST:PORT ...]

  --listen HOST:PORT         where clients connect; port 0 takes a free one, which is printed
  --cluster NAME=HOST:PORT   a Redis server that tenants can live on; give one for each
  --default-cluster NAME     register an unknown tenant here on first use (else it gets -NOPLACEMENT)
  --threads N                threads that serve clients (default 2)
  --hold-timeout D           how long a write is held during a cutover before -TRYAGAIN (default 5s)
  --upstream-timeout D       silence after which a server that owes replies counts as failed (default 2s)
  --shutdown-grace D         how long SIGTERM lets requests in flight finish (default 5s)
  --max-clients N            connections served at once (default 10000)
  --max-tenants N            tenants that --default-cluster registers at most (default 1000000)
  --max-held-writes N        writes held at once, past which -TRYAGAIN at once (default 100000)
  --max-pipeline N           requests of one client in flight before it is read no further (default 1024)
  --max-pipeline-bytes SIZE  the same in bytes, replies that wait included (default 8mb)
  --max-reply-bytes SIZE     replies waiting for one client, past which it is closed (default 1gb)
  --max-bulk SIZE            one argument (default 512mb)
  --max-request SIZE         one request (default 1gb)
  --help                     this text

Operators: redis-cli -p PORT PLACEMENT HELP
)";
}

}  // namespace redis_router
