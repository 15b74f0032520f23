// SPDX-License-Identifier: Apache-2.0
#include "upstream.hpp"

#include <absl/time/time.h>

#include <algorithm>
#include <asio/connect.hpp>
#include <asio/post.hpp>
#include <utility>

#include "log.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstBackoff{50};
constexpr std::chrono::milliseconds kLongestBackoff{2000};
// What a buffer may keep when it is empty.
constexpr std::size_t kKeptWhenEmpty = std::size_t{1} << 20;

}  // namespace

Upstream::Upstream(asio::io_context& io, const ClusterOptions& cluster, Context& context)
    : io_(io),
      cluster_(cluster),
      id_(cluster.name),
      context_(context),
      backoff_(kFirstBackoff),
      resolver_(io),
      socket_(io),
      reconnect_timer_(io),
      silence_timer_(io) {}

void Upstream::start(std::function<void()> first_outcome) {
  first_outcome_ = std::move(first_outcome);
  connect();
}

void Upstream::stop() {
  if (state_ == State::Stopped) return;
  why_down_ = "the router is shutting down";  // which is not worth a line in the log
  fail(why_down_);
  state_ = State::Stopped;
  reconnect_timer_.cancel();
}

std::string Upstream::down_error() const {
  return concat("UPSTREAM cluster ", cluster_.name, " (", to_string(cluster_.endpoint),
                ") is not available: ", why_down_);
}

void Upstream::announce_first_outcome() {
  if (first_outcome_) std::exchange(first_outcome_, nullptr)();
}

void Upstream::connect() {
  state_ = State::Connecting;
  const std::uint64_t generation = ++generation_;
  socket_ = asio::ip::tcp::socket(io_);
  in_.clear();
  cursor_ = {};
  out_.clear();
  write_under_way_ = false;
  queued_end_ = submitted_end_ = accepted_end_ = 0;
  last_progress_ = steady_clock::now();
  watch_for_silence();
  resolver_.async_resolve(cluster_.endpoint.host, std::to_string(cluster_.endpoint.port),
                          [this, generation](const asio::error_code& error, const auto& found) {
                            if (generation != generation_) return;
                            if (error) return fail(error.message());
                            asio::async_connect(
                                socket_, found,
                                [this, generation](const asio::error_code& refused, const auto&) {
                                  if (generation != generation_) return;
                                  if (refused) return fail(refused.message());
                                  connected();
                                });
                          });
}

void Upstream::connected() {
  asio::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  state_ = State::Handshake;
  std::string request;
  append_command(request, {"COMMAND"});
  enqueue(request, Pending());
  read();
}

void Upstream::send(std::string_view request, std::shared_ptr<ReplySink> sink, std::uint64_t tag,
                    std::optional<WriteInFlight> write) {
  Pending pending;
  pending.sink = std::move(sink);
  pending.tag = tag;
  pending.write = std::move(write);
  enqueue(request, std::move(pending));
}

void Upstream::enqueue(std::string_view request, Pending pending) {
  if (pending_.empty()) last_progress_ = steady_clock::now();
  pending.begin = queued_end_;
  queued_end_ += request.size();
  pending.end = queued_end_;
  pending_.push_back(std::move(pending));
  out_ += request;
  watch_for_silence();
  schedule_flush();
}

void Upstream::fence(absl::AnyInvocable<void()> passed) {
  if (pending_.empty()) return passed();
  Pending pending;
  pending.begin = pending.end = queued_end_;
  pending.fence = std::move(passed);
  pending_.push_back(std::move(pending));
}

// One write for all requests of this turn of the event loop.
void Upstream::schedule_flush() {
  if (flush_scheduled_) return;
  flush_scheduled_ = true;
  asio::post(io_, [this] {
    flush_scheduled_ = false;
    flush();
  });
}

void Upstream::flush() {
  if (write_under_way_ || (state_ != State::Handshake && state_ != State::Ready)) return;
  if (writing_.capacity() > kKeptWhenEmpty) writing_ = std::string();
  writing_.clear();
  if (out_.empty()) return;
  writing_.swap(out_);
  written_ = 0;
  submitted_end_ = queued_end_;
  write_some();
}

void Upstream::write_some() {
  write_under_way_ = true;
  socket_.async_write_some(
      asio::buffer(writing_.data() + written_, writing_.size() - written_),
      [this, generation = generation_](const asio::error_code& error, std::size_t bytes) {
        if (generation != generation_) return;
        if (error) return fail(error.message());
        // A large request that is still being sent is progress; piling up more requests at a server
        // that answers none is not.
        if (!pending_.empty() && pending_.front().end > accepted_end_) {
          last_progress_ = steady_clock::now();
        }
        written_ += bytes;
        accepted_end_ += bytes;
        if (written_ < writing_.size()) return write_some();
        write_under_way_ = false;
        flush();
      });
}

void Upstream::read() {
  const ByteBuffer::Room room = in_.prepare();
  socket_.async_read_some(asio::buffer(room.data, room.size), [this, generation = generation_](
                                                                  const asio::error_code& error,
                                                                  std::size_t bytes) {
    if (generation != generation_) return;
    if (error) {
      return fail(error == asio::error::eof ? "the server closed the connection" : error.message());
    }
    in_.commit(bytes);
    on_bytes();
  });
}

void Upstream::on_bytes() {
  last_progress_ = steady_clock::now();
  const std::uint64_t generation = generation_;
  while (in_.size() > 0) {
    const ParseStatus status = find_reply_end(in_.view(), cursor_);
    if (status == ParseStatus::Incomplete) break;
    if (status == ParseStatus::Malformed) return fail("the server sent what is not RESP2");
    if (pending_.empty()) return fail("the server sent a reply that nobody asked for");
    deliver(in_.view().substr(0, cursor_.offset));
    if (generation != generation_) return;
    in_.consume(cursor_.offset);
    cursor_ = {};
  }
  read();
}

void Upstream::deliver(std::string_view reply) {
  Pending answered = std::move(pending_.front());
  pending_.pop_front();
  settle(answered.write, true);
  if (answered.sink != nullptr) {
    answered.sink->on_reply(answered.tag, reply);
  } else {
    on_command_table(reply);
  }
  pass_fences();
}

void Upstream::on_command_table(std::string_view reply) {
  const auto value = parse_reply(reply);
  auto table = value ? CommandTable::from_reply(*value) : std::nullopt;
  if (!table) {
    return fail(value && value->is_error() ? concat("it does not answer COMMAND: ", value->text)
                                           : "it does not answer COMMAND");
  }
  context_.commands.publish(cluster_.name, *std::move(table));
  state_ = State::Ready;
  backoff_ = kFirstBackoff;
  why_down_.clear();
  announce_first_outcome();
}

void Upstream::pass_fences() {
  while (!pending_.empty() && pending_.front().fence) {
    auto passed = std::move(pending_.front().fence);
    pending_.pop_front();
    passed();
  }
}

void Upstream::watch_for_silence() {
  if (silence_watched_) return;
  silence_watched_ = true;
  const auto timeout = absl::ToChronoNanoseconds(context_.options.upstream_timeout);
  silence_timer_.expires_at(last_progress_ +
                            std::chrono::duration_cast<steady_clock::duration>(timeout));
  silence_timer_.async_wait([this](const asio::error_code& error) {
    silence_watched_ = false;
    const bool owes = !pending_.empty() || state_ == State::Connecting;
    if (error || !owes || state_ == State::Waiting || state_ == State::Stopped) return;
    const auto silent = steady_clock::now() - last_progress_;
    if (silent >= absl::ToChronoNanoseconds(context_.options.upstream_timeout)) {
      return fail(
          concat("no answer for ", absl::FormatDuration(context_.options.upstream_timeout)));
    }
    watch_for_silence();
  });
}

// The keys first, then the permit: whoever sees the tenant drained has every mark.
void Upstream::settle(std::optional<WriteInFlight>& write, bool outcome_known) {
  if (!write) return;
  DirtyKeyRegistry& dirty_keys = context_.directory.dirty_keys();
  if (outcome_known) {
    dirty_keys.mark_answered(write->keys);
    write->permit.release();
    return;
  }
  Metrics::add(context_.metrics.writes_quarantined);
  const absl::Duration quarantine = context_.options.upstream_timeout;
  dirty_keys.mark_unknown(std::move(write->keys), quarantine);
  write->permit.quarantine(quarantine);
}

void Upstream::fail(const std::string& why) {
  if (state_ == State::Stopped || state_ == State::Waiting) return;
  const bool was_ready = state_ == State::Ready;
  state_ = State::Waiting;
  ++generation_;
  if (why_down_ != why) {
    log_line("cluster ", cluster_.name, " (", to_string(cluster_.endpoint), "): ", why);
  }
  if (was_ready) Metrics::add(context_.metrics.upstream_failures);
  why_down_ = why;
  asio::error_code ignored;
  resolver_.cancel();
  socket_.close(ignored);
  silence_timer_.cancel();

  std::deque<Pending> failed = std::exchange(pending_, {});
  const std::string not_sent = down_error();
  const std::string lost =
      concat("UPSTREAMLOST cluster ", cluster_.name, " (", to_string(cluster_.endpoint),
             ") failed before it answered, so it "
             "is not known whether it did what it was asked: ",
             why_down_);
  for (Pending& pending : failed) {
    const bool was_sent = pending.begin < submitted_end_;
    settle(pending.write, !was_sent);
    if (pending.sink != nullptr) pending.sink->on_failure(pending.tag, was_sent ? lost : not_sent);
    if (pending.fence) pending.fence();
  }
  announce_first_outcome();

  reconnect_timer_.expires_after(backoff_);
  backoff_ = std::min(2 * backoff_, kLongestBackoff);
  reconnect_timer_.async_wait([this](const asio::error_code& cancelled) {
    if (!cancelled && state_ == State::Waiting) connect();
  });
}

}  // namespace redis_router
