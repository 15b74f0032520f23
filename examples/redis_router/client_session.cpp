// SPDX-License-Identifier: Apache-2.0
#include "client_session.hpp"

#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>
#include <limits>
#include <utility>

#include "placement_commands.hpp"
#include "tenant.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

using std::chrono::steady_clock;

// The reply to COMMAND GETKEYS has no slot: it is not the client's.
constexpr std::uint64_t kKeysTag = std::numeric_limits<std::uint64_t>::max();
// What is read ahead of a client whose requests wait: enough to notice that it has gone.
constexpr std::size_t kReadAhead = std::size_t{64} << 10;
constexpr std::size_t kKeptWhenEmpty = std::size_t{1} << 20;
constexpr std::chrono::seconds kLinger{1};

constexpr std::string_view kNoCommands =
    "UPSTREAM no server has been reached yet, so it is not known which commands there are";

}  // namespace

ClientSession::ClientSession(Worker& worker, asio::ip::tcp::socket socket)
    : worker_(worker),
      context_(worker.context()),
      socket_(std::move(socket)),
      timer_(worker.io()),
      routing_() {}

void ClientSession::start() {
  asio::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  read();
}

void ClientSession::finish() {
  if (closing_ == Closing::No) closing_ = Closing::AfterReplies;
  process();
}

void ClientSession::close() {
  if (std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  stop_waiting();
  timer_.cancel();
  asio::error_code ignored;
  socket_.close(ignored);
  Metrics::subtract(context_.metrics.clients);
  worker_.forget(self);
}

// ---- requests ----

void ClientSession::process() {
  if (closed_ || processing_) return;
  processing_ = true;
  while (waiting_ == Waiting::Nothing && !is_over_limits() && closing_ < Closing::AfterError &&
         !info_.has_quit) {
    const ParseStatus status = parse_request(in_.view(), context_.options.resp, request_);
    if (status == ParseStatus::Incomplete) break;
    if (status == ParseStatus::Malformed) {
      Metrics::add(context_.metrics.protocol_errors);
      answer_error(request_.error());
      closing_ = Closing::AfterError;
      in_.clear();
      break;
    }
    request_.arguments(in_.view(), args_);
    if (!args_.empty() && !execute()) break;
    request_done();
    if (closed_) break;
  }
  processing_ = false;
  // If its write could not go on at once, it asks again: no flip waits for a client.
  held_permit_.reset();
  if (closed_) return;
  read();
  close_if_finished();
}

void ClientSession::request_done() {
  Metrics::add(context_.metrics.commands);
  hold_deadline_.reset();
  keys_reply_.reset();
  in_.consume(request_.size());
  request_.reset();
}

bool ClientSession::execute() {
  std::string reply;
  if (run_local_command(args_, context_, info_, reply)) return answer(reply);
  if (same_word(args_[0], "placement")) return execute_placement();
  if (worker_.commands() == nullptr) return answer_error(kNoCommands);
  if (same_word(args_[0], "command")) {
    Upstream* upstream = worker_.any_ready_upstream();
    if (upstream == nullptr) return answer_error(kNoCommands);
    forward(*upstream, {});
    return true;
  }
  return execute_routed();
}

bool ClientSession::execute_placement() {
  const std::uint64_t slot = open_slot(0);
  // Called by the thread that moved the tenant, possibly long after.
  auto done = [weak = weak_from_this(), &io = worker_.io(), slot](std::string reply) {
    asio::post(io, [weak, slot, reply = std::move(reply)] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->waiting_ = Waiting::Nothing;
      self->fill_slot(slot, reply);
      self->process();
    });
  };
  if (const auto reply = run_placement_command(args_, context_, std::move(done))) {
    fill_slot(slot, *reply);
  } else {
    waiting_ = Waiting::Migration;
  }
  return true;
}

bool ClientSession::execute_routed() {
  plan_route(*worker_.commands(), args_, keys_reply_.has_value(), routing_);
  if (routing_.verdict == Routing::Verdict::Refuse) return answer_error(routing_.error);
  if (routing_.verdict == Routing::Verdict::AskForKeys) return ask_for_keys();
  keys_.clear();
  if (keys_reply_) {
    if (keys_reply_->is_error()) {
      return answer_error(keys_reply_->text.starts_with("UPSTREAM")
                              ? keys_reply_->text
                              : concat("NOROUTE ", quote(args_[0]),
                                       " cannot be routed, the server says: ", keys_reply_->text));
    }
    for (const RespValue& key : keys_reply_->elements) keys_.emplace_back(key.text);
    if (keys_.empty())
      return answer_error(concat("NOROUTE ", quote(args_[0]),
                                 " cannot be routed: it names no key, hence no tenant"));
  } else {
    for (const std::size_t position : routing_.keys) keys_.push_back(args_[position]);
  }
  if (!one_tenant(keys_)) {
    return answer_error(
        concat("CROSSTENANT the keys of ", quote(args_[0]), " belong to more than one tenant"));
  }
  const std::string_view tenant = tenant_of(keys_.front());
  return routing_.write ? route_write(tenant) : route_read(tenant);
}

bool ClientSession::route_read(std::string_view tenant) {
  const auto cluster = context_.directory.cluster_for_read(tenant);
  if (!cluster)
    return answer_error(concat("NOPLACEMENT tenant ", quote(tenant), " has no placement"));
  Upstream* upstream = worker_.upstream(*cluster);
  if (!upstream->is_ready()) return answer_error(upstream->down_error());
  forward(*upstream, {});
  return true;
}

bool ClientSession::route_write(std::string_view tenant) {
  // A write that was held brings its permit. Meanwhile the tenant may have been erased; then it is
  // registered anew, as on first use.
  const bool was_held =
      held_permit_ &&
      (*held_permit_ || held_permit_->refusal() != placement::WriteRefusal::UnknownPartition);
  placement::WritePermit permit =
      was_held ? std::move(*held_permit_) : context_.directory.acquire_write(tenant);
  held_permit_.reset();
  if (!permit) {
    switch (permit.refusal()) {
      case placement::WriteRefusal::UnknownPartition:
        return answer_error(concat("NOPLACEMENT tenant ", quote(tenant), " has no placement"));
      case placement::WriteRefusal::Cutover:
        return hold_write(tenant);
      case placement::WriteRefusal::DeadlineExceeded:
        Metrics::add(context_.metrics.hold_timeouts);
        return answer_error(concat("TRYAGAIN tenant ", quote(tenant),
                                   " is being moved: the write was held for ",
                                   absl::FormatDuration(context_.options.hold_timeout)));
      case placement::WriteRefusal::TooManyHeld:
        return answer_error("TRYAGAIN too many writes are held already");
      case placement::WriteRefusal::StaleEpoch:
        break;  // only asked for with an epoch
    }
    return answer_error("ERR the write was refused");
  }
  Upstream* upstream = worker_.upstream(permit.placement().cluster());
  if (!upstream->is_ready()) return answer_error(upstream->down_error());
  WriteInFlight write{std::move(permit), {}};
  for (const std::string_view key : keys_) write.keys.add(key);
  forward(*upstream, std::move(write));
  return true;
}

bool ClientSession::hold_write(std::string_view tenant) {
  if (!hold_deadline_) {
    hold_deadline_ = absl::Now() + context_.options.hold_timeout;
    Metrics::add(context_.metrics.writes_held);
  }
  waiting_ = Waiting::Cutover;
  Metrics::add(context_.metrics.writes_held_now);
  // The session has the signal, so it lives as long as the operation.
  context_.directory.async_acquire_write(
      tenant, *hold_deadline_,
      asio::bind_cancellation_slot(
          hold_.slot(),
          asio::bind_executor(
              worker_.io(), [self = shared_from_this(), wait = ++wait_](
                                const asio::error_code& cancelled, placement::WritePermit permit) {
                if (!cancelled) self->resume(wait, std::move(permit));
              })));
  return false;
}

void ClientSession::stop_waiting() {
  if (waiting_ == Waiting::Cutover) {
    hold_.emit(asio::cancellation_type::total);
    Metrics::subtract(context_.metrics.writes_held_now);
  }
  ++wait_;
  waiting_ = Waiting::Nothing;
}

void ClientSession::resume(std::uint64_t wait, placement::WritePermit permit) {
  if (closed_ || wait != wait_) return;
  stop_waiting();
  held_permit_.emplace(std::move(permit));
  process();
}

bool ClientSession::ask_for_keys() {
  Upstream* upstream = worker_.any_ready_upstream();
  if (upstream == nullptr) return answer_error(kNoCommands);
  std::vector<std::string_view> question{"COMMAND", "GETKEYS"};
  question.insert(question.end(), args_.begin(), args_.end());
  std::string request;
  append_command(request, question);
  waiting_ = Waiting::KeysFromServer;
  upstream->send(request, shared_from_this(), kKeysTag);
  return false;
}

void ClientSession::take_keys(std::string_view reply) {
  if (closed_) return;
  keys_reply_ = parse_reply(reply).value_or(RespValue());
  stop_waiting();
  process();
}

void ClientSession::forward(Upstream& upstream, std::optional<WriteInFlight> write) {
  const std::string_view request = request_.resp(in_.view());
  upstream.send(request, shared_from_this(), open_slot(request.size()), std::move(write));
}

// ---- replies ----

std::uint64_t ClientSession::open_slot(std::size_t request_bytes) {
  slots_.push_back({request_bytes, false, {}});
  bytes_in_slots_ += request_bytes;
  return first_slot_ + slots_.size() - 1;
}

void ClientSession::fill_slot(std::uint64_t number, std::string_view reply) {
  if (closed_) return;
  Slot& slot = slots_[number - first_slot_];
  bytes_in_slots_ -= slot.request_bytes;
  slot.request_bytes = 0;
  if (number == first_slot_) {
    out_ += reply;
    slots_.pop_front();
    ++first_slot_;
    while (!slots_.empty() && slots_.front().is_filled) {
      const std::string& next = slots_.front().reply;
      out_ += next;
      bytes_in_slots_ -= next.size();
      replies_in_slots_ -= next.size();
      slots_.pop_front();
      ++first_slot_;
    }
  } else {
    slot.is_filled = true;
    slot.reply = reply;
    bytes_in_slots_ += reply.size();
    replies_in_slots_ += reply.size();
  }
  if (replies_in_slots_ + out_.size() + writing_.size() > context_.options.max_reply_bytes) {
    return close();
  }
  schedule_flush();
}

bool ClientSession::answer(std::string_view reply) {
  fill_slot(open_slot(0), reply);
  return true;
}

bool ClientSession::is_over_limits() const {
  return slots_.size() >= context_.options.max_pipeline ||
         bytes_in_slots_ + out_.size() + writing_.size() >= context_.options.max_pipeline_bytes;
}

void ClientSession::on_reply(std::uint64_t tag, std::string_view reply) {
  if (tag == kKeysTag) return take_keys(reply);
  fill_slot(tag, reply);
}

void ClientSession::on_failure(std::uint64_t tag, std::string_view error) {
  on_reply(tag, error_reply(error));
}

// ---- the socket ----

void ClientSession::read() {
  if (reading_ || end_of_input_ || closed_ || closing_ == Closing::AfterReplies) return;
  const bool wants_more = waiting_ == Waiting::Nothing && !is_over_limits();
  if (!wants_more && closing_ == Closing::No && in_.size() >= kReadAhead) return;
  reading_ = true;
  const ByteBuffer::Room room = in_.prepare();
  socket_.async_read_some(
      asio::buffer(room.data, room.size),
      [self = shared_from_this()](const asio::error_code& error, std::size_t bytes) {
        self->reading_ = false;
        if (self->closed_) return;
        if (!error) return self->on_read(bytes);
        if (error == asio::error::eof) return self->on_end_of_input();
        self->close();
      });
}

void ClientSession::on_read(std::size_t bytes) {
  in_.commit(bytes);
  if (closing_ >= Closing::AfterError) in_.clear();
  process();
}

// The client has closed its side, or is gone altogether: that looks the same. What was sent on is
// answered, but a write that is held, and what came behind it, is forgotten.
void ClientSession::on_end_of_input() {
  end_of_input_ = true;
  if (closing_ == Closing::Lingering) return close();
  if (waiting_ == Waiting::Cutover) {
    stop_waiting();
    in_.clear();
    request_.reset();
  }
  process();
}

void ClientSession::schedule_flush() {
  if (flush_scheduled_) return;
  flush_scheduled_ = true;
  asio::post(worker_.io(), [self = shared_from_this()] {
    self->flush_scheduled_ = false;
    if (self->closed_) return;
    self->flush();
    self->process();  // there may be room for more now
  });
}

void ClientSession::flush() {
  if (write_under_way_) return;
  if (writing_.capacity() > kKeptWhenEmpty) writing_ = std::string();
  writing_.clear();
  if (out_.empty()) return;
  writing_.swap(out_);
  write_under_way_ = true;
  asio::async_write(socket_, asio::buffer(writing_),
                    [self = shared_from_this()](const asio::error_code& error, std::size_t) {
                      self->write_under_way_ = false;
                      if (self->closed_) return;
                      if (error) return self->close();
                      self->flush();
                      self->process();
                    });
}

void ClientSession::linger() {
  closing_ = Closing::Lingering;
  asio::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  timer_.expires_at(steady_clock::now() + kLinger);
  timer_.async_wait([weak = weak_from_this()](const asio::error_code& cancelled) {
    if (cancelled) return;
    if (const auto self = weak.lock()) self->close();
  });
}

void ClientSession::close_if_finished() {
  const bool ending = closing_ != Closing::No || end_of_input_ || info_.has_quit;
  if (!ending || waiting_ != Waiting::Nothing || !slots_.empty() || !out_.empty() ||
      write_under_way_ || closing_ == Closing::Lingering) {
    return;
  }
  if (closing_ != Closing::AfterError || end_of_input_) return close();
  linger();
}

}  // namespace redis_router
