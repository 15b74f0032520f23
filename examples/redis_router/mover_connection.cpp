// SPDX-License-Identifier: Apache-2.0
#include "mover_connection.hpp"

#include <cstdint>
#include <sstream>

#include "text.hpp"

namespace redis_router {
namespace {

// The name that a tenant's movers give their connections: the same in every router, now and later.
// A hash (FNV-1a), because a connection's name cannot hold every byte that a tenant's can.
std::string connection_name(std::string_view tenant) {
  std::uint64_t hash = 14'695'981'039'346'656'037U;
  for (const char c : tenant) hash = (hash ^ static_cast<unsigned char>(c)) * 1'099'511'628'211U;
  return concat("placement-mover-", hash);
}

absl::Status named(std::string_view role, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), concat(role, ": ", std::string(status.message())));
}

}  // namespace

absl::StatusOr<MoverConnection> MoverConnection::connect(std::string_view role,
                                                         const Endpoint& server,
                                                         absl::Duration timeout) {
  auto client = RedisClient::connect(server, timeout);
  if (!client.ok()) return named(role, client.status());
  return MoverConnection(role, *std::move(client));
}

absl::Status MoverConnection::flush() { return named(role_, client_.flush()); }

absl::StatusOr<RespValue> MoverConnection::read_reply() {
  auto reply = client_.read_reply();
  if (!reply.ok()) return named(role_, reply.status());
  if (reply->is_error()) return named(role_, absl::InternalError(reply->text));
  return reply;
}

absl::Status MoverConnection::take_over(std::string_view tenant) {
  const std::string name = connection_name(tenant);
  const auto connections = call({"CLIENT", "LIST"});
  if (!connections.ok()) return connections.status();
  const std::string field = concat(" name=", name, " ");
  std::istringstream lines(connections->text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(field) == std::string::npos) continue;
    // "id=7 addr=..." Nothing of a connection is carried out once CLIENT KILL has been answered.
    append({"CLIENT", "KILL", "ID", std::string_view(line).substr(3, line.find(' ') - 3)});
    if (const auto killed = read_reply(); !killed.ok()) return killed.status();
  }
  return call({"CLIENT", "SETNAME", name}).status();
}

}  // namespace redis_router
