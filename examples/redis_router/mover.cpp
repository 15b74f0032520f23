// SPDX-License-Identifier: Apache-2.0
#include "mover.hpp"

#include <absl/time/clock.h>

#include <algorithm>
#include <utility>

#include "tenant.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

constexpr std::size_t kBatchKeys = 128;
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;
constexpr std::string_view kScanCount = "1000";

absl::StatusOr<std::string> run_id(MoverConnection& server) {
  const auto reply = server.call({"INFO", "server"});
  if (!reply.ok()) return reply.status();
  constexpr std::string_view kField = "run_id:";
  const std::string_view text = reply->text;
  const auto begin = text.find(kField);
  if (begin == std::string_view::npos) return absl::DataLossError("INFO names no run_id");
  return std::string(text.substr(begin + kField.size(), 40));
}

}  // namespace

TenantMover::TenantMover(std::string tenant, Endpoint from, Endpoint to, DirtyKeys& dirty,
                         const MoverOptions& options, Say say)
    : tenant_(std::move(tenant)),
      from_(std::move(from)),
      to_(std::move(to)),
      dirty_(dirty),
      options_(options),
      say_(std::move(say)) {}

absl::StatusOr<placement::Mover::Rest> TenantMover::copy() {
  const absl::Time began = absl::Now();
  const std::size_t copied_before = keys_copied();
  ++rounds_;
  absl::Status copied = rounds_ == 1 ? copy_all() : copy_keys(dirty_.take());
  if (!copied.ok()) return copied;
  const std::size_t keys = keys_copied() - copied_before;
  const absl::Duration took = absl::Now() - began;
  if (keys > 0) time_per_key_ = took / static_cast<std::int64_t>(keys);
  const std::size_t rest = dirty_.size();
  say_(concat("round ", rounds_, ": ", keys, " keys copied in ", absl::FormatDuration(took), ", ",
              rest, " written meanwhile"));
  return rest_of(rest);
}

placement::Mover::Rest TenantMover::rest_of(std::size_t keys) const {
  if (keys <= options_.always_small) return Rest::Small;
  return Rest::takes(time_per_key_ * static_cast<std::int64_t>(keys));
}

absl::Status TenantMover::finish() { return copy_keys(dirty_.take()); }

absl::Status TenantMover::connect() {
  auto origin = MoverConnection::connect(kOrigin, from_, options_.timeout);
  if (!origin.ok()) return origin.status();
  auto destination = MoverConnection::connect(kDestination, to_, options_.timeout);
  if (!destination.ok()) return destination.status();
  origin_ = *std::move(origin);
  destination_ = *std::move(destination);
  if (absl::Status differ = check_servers_differ(); !differ.ok()) return differ;
  for (MoverConnection* server : {&*origin_, &*destination_}) {
    if (absl::Status alone = server->take_over(tenant_); !alone.ok()) return alone;
  }
  may_write_ = true;
  const auto known = origin_->call({"COMMAND", "INFO", "pexpiretime"});
  if (!known.ok()) return known.status();
  absolute_expiry_ = !known->elements.empty() && known->elements.front().is_array();
  return absl::OkStatus();
}

// Two addresses may lead to one server, and what is stale at the destination is about to be
// removed.
absl::Status TenantMover::check_servers_differ() {
  const auto origin = run_id(*origin_);
  if (!origin.ok()) return origin.status();
  const auto destination = run_id(*destination_);
  if (!destination.ok()) return destination.status();
  if (*origin != *destination) return absl::OkStatus();
  return absl::FailedPreconditionError("origin and destination are one and the same server");
}

absl::Status TenantMover::for_each_batch(MoverConnection& server, BatchTask task) {
  const std::string pattern = keys_pattern(tenant_);
  std::string cursor = "0";
  do {
    auto reply = server.call({"SCAN", cursor, "MATCH", pattern, "COUNT", kScanCount});
    if (!reply.ok()) return reply.status();
    if (reply->elements.size() != 2) return absl::DataLossError("SCAN answered what it should not");
    cursor = reply->elements[0].text;
    std::vector<std::string> keys;
    for (RespValue& key : reply->elements[1].elements) keys.push_back(std::move(key.text));
    if (keys.empty()) continue;
    if (absl::Status done = task(keys); !done.ok()) return done;
  } while (cursor != "0");
  // The one key that is named as the tenant itself.
  return task(Batch(&tenant_, 1));
}

absl::StatusOr<std::size_t> TenantMover::remove_all(MoverConnection& server) {
  std::size_t removed = 0;
  absl::Status status = for_each_batch(server, [&](Batch keys) -> absl::Status {
    std::vector<std::string_view> request{"UNLINK"};
    request.insert(request.end(), keys.begin(), keys.end());
    server.append(request);
    const auto reply = server.read_reply();
    if (!reply.ok()) return reply.status();
    removed += static_cast<std::size_t>(reply->integer);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return removed;
}

absl::Status TenantMover::copy_all() {
  const auto stale = remove_all(*destination_);
  if (!stale.ok()) return stale.status();
  if (*stale > 0) say_(concat(*stale, " stale keys removed at the destination"));
  return for_each_batch(*origin_, [this](Batch keys) { return copy_keys(keys); });
}

// The origin is always asked for one batch more than is being passed on, and the destination's
// answers to a batch are read after the next one has been sent, so that neither server waits for
// the other.
absl::Status TenantMover::copy_keys(Batch keys) {
  ask_for(keys.first(std::min(keys.size(), kBatchKeys)));
  std::size_t unanswered = 0;
  while (!keys.empty()) {
    // The migration ends with this, so the keys that are left need not be remembered.
    if (stop_token().stop_requested()) return absl::CancelledError("a stop was requested");
    const Batch batch = keys.first(std::min(keys.size(), kBatchKeys));
    keys = keys.subspan(batch.size());
    ask_for(keys.first(std::min(keys.size(), kBatchKeys)));
    const std::size_t before = unanswered;
    if (absl::Status passed = pass_on(batch, unanswered); !passed.ok()) return passed;
    if (absl::Status flushed = destination_->flush(); !flushed.ok()) return flushed;
    const std::size_t answered = std::min(before, unanswered);
    if (absl::Status restored = read_restored(answered); !restored.ok()) return restored;
    unanswered -= answered;
  }
  return read_restored(unanswered);
}

void TenantMover::ask_for(Batch keys) {
  for (const std::string& key : keys) {
    origin_->append({"DUMP", key});
    origin_->append({absolute_expiry_ ? "PEXPIRETIME" : "PTTL", key});
  }
}

// Passes each value on as it is read, so no more than one of them, and a megabyte, is in memory.
absl::Status TenantMover::pass_on(Batch keys, std::size_t& unanswered) {
  for (const std::string& key : keys) {
    const auto dumped = origin_->read_reply();
    if (!dumped.ok()) return dumped.status();
    const auto expiry = origin_->read_reply();
    if (!expiry.ok()) return expiry.status();
    constexpr std::int64_t kNoExpiry = -1;
    constexpr std::int64_t kNoKey = -2;  // it expired between the two
    if (dumped->is_null() || expiry->integer == kNoKey) {
      destination_->append({"UNLINK", key});
    } else if (expiry->integer == kNoExpiry) {
      destination_->append({"RESTORE", key, "0", dumped->text, "REPLACE"});
    } else {
      // Zero would mean that it never expires.
      const std::string when = std::to_string(std::max<std::int64_t>(1, expiry->integer));
      destination_->append(
          {"RESTORE", key, when, dumped->text, "REPLACE", absolute_expiry_ ? "ABSTTL" : "REPLACE"});
    }
    ++unanswered;
    if (destination_->unsent() > kBatchBytes) {
      if (absl::Status restored = read_restored(std::exchange(unanswered, 0)); !restored.ok()) {
        return restored;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TenantMover::read_restored(std::size_t count) {
  for (; count > 0; --count) {
    if (const auto reply = destination_->read_reply(); !reply.ok()) return reply.status();
    keys_copied_.fetch_add(1, std::memory_order_relaxed);  // for display
  }
  return absl::OkStatus();
}

absl::Status TenantMover::sweep(std::string_view role, const Endpoint& server) {
  auto connection = MoverConnection::connect(role, server, options_.timeout);
  if (!connection.ok()) return connection.status();
  if (absl::Status alone = connection->take_over(tenant_); !alone.ok()) return alone;
  const auto removed = remove_all(*connection);
  if (!removed.ok()) return removed.status();
  say_(concat(*removed, " keys removed at the ", role));
  return absl::OkStatus();
}

}  // namespace redis_router
