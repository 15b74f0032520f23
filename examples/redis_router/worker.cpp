// SPDX-License-Identifier: Apache-2.0
#include "worker.hpp"

#include <utility>

#include "client_session.hpp"

namespace redis_router {

Worker::Worker(Context& context)
    : context_(context), io_(1), keep_running_(asio::make_work_guard(io_)) {
  for (const ClusterOptions& cluster : context.options.clusters) {
    upstreams_.push_back(std::make_unique<Upstream>(io_, cluster, context));
  }
}

Worker::~Worker() = default;

void Worker::start(const std::function<void()>& ready) {
  auto missing = std::make_shared<std::size_t>(upstreams_.size());
  for (const auto& upstream : upstreams_) {
    upstream->start([missing, ready] {
      if (--*missing == 0) ready();
    });
  }
}

void Worker::adopt(asio::ip::tcp::socket client) {
  const auto session = std::make_shared<ClientSession>(*this, std::move(client));
  sessions_.insert(session);
  session->start();
}

void Worker::forget(const std::shared_ptr<ClientSession>& session) {
  sessions_.erase(session);
  finish_drain();
}

void Worker::drain(std::function<void()> finished) {
  drained_ = std::move(finished);
  const auto sessions = sessions_;  // a session that has nothing in flight leaves at once
  for (const auto& session : sessions) session->finish();
  finish_drain();
}

void Worker::finish_drain() {
  if (drained_ && sessions_.empty()) std::exchange(drained_, nullptr)();
}

void Worker::close_all() {
  drained_ = nullptr;
  const auto sessions = std::exchange(sessions_, {});
  for (const auto& session : sessions) session->close();
  for (const auto& upstream : upstreams_) upstream->stop();
}

Upstream* Worker::upstream(placement::ClusterId cluster) {
  for (const auto& upstream : upstreams_) {
    if (upstream->cluster() == cluster) return upstream.get();
  }
  return nullptr;
}

Upstream* Worker::any_ready_upstream() {
  for (const auto& upstream : upstreams_) {
    if (upstream->is_ready()) return upstream.get();
  }
  return nullptr;
}

const CommandTable* Worker::commands() {
  const std::uint64_t version = context_.commands.version();
  if (version != commands_version_) {
    commands_ = context_.commands.current();
    commands_version_ = version;
  }
  return commands_.get();
}

}  // namespace redis_router
