// SPDX-License-Identifier: Apache-2.0
#include "redis_client.hpp"

#include <absl/time/clock.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "text.hpp"

namespace redis_router {
namespace {

absl::Status failure(std::string_view what, int error) {
  return absl::UnavailableError(concat(what, ": ", std::strerror(error)));
}

// Waits until the socket can be read or written.
absl::Status wait_for(int fd, short events, absl::Time deadline) {
  while (true) {
    pollfd waiting{fd, events, 0};
    const auto left =
        std::max<std::int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()) + 1);
    const int ready =
        ::poll(&waiting, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000)));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return failure("poll", errno);
    if (absl::Now() >= deadline) return absl::DeadlineExceededError("no answer in time");
  }
}

absl::StatusOr<int> connect_to(const addrinfo& address, absl::Time deadline) {
  const int fd = ::socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                          address.ai_protocol);
  if (fd < 0) return failure("socket", errno);
  int error = ::connect(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    if (absl::Status waited = wait_for(fd, POLLOUT, deadline); !waited.ok()) {
      ::close(fd);
      return waited;
    }
    socklen_t size = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  }
  if (error != 0) {
    ::close(fd);
    return failure("connect", error);
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace

absl::StatusOr<RedisClient> RedisClient::connect(const Endpoint& endpoint, absl::Duration timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(concat(endpoint.host, ": ", ::gai_strerror(error)));
  absl::StatusOr<int> fd = absl::UnavailableError("no address");
  for (const addrinfo* address = found; address != nullptr && !fd.ok();
       address = address->ai_next) {
    fd = connect_to(*address, absl::Now() + timeout);
  }
  ::freeaddrinfo(found);
  if (!fd.ok()) {
    return absl::Status(fd.status().code(),
                        concat(to_string(endpoint), ": ", std::string(fd.status().message())));
  }
  return RedisClient(*fd, timeout);
}

RedisClient::RedisClient(RedisClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      timeout_(other.timeout_),
      out_(std::move(other.out_)),
      in_(std::move(other.in_)) {}

RedisClient& RedisClient::operator=(RedisClient&& other) noexcept {
  RedisClient moved(std::move(other));
  std::swap(fd_, moved.fd_);
  std::swap(timeout_, moved.timeout_);
  std::swap(out_, moved.out_);
  std::swap(in_, moved.in_);
  return *this;
}

void RedisClient::close_sending_side() { ::shutdown(fd_, SHUT_WR); }

void RedisClient::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

absl::Status RedisClient::flush() {
  if (out_.empty()) return absl::OkStatus();
  if (absl::Status sent = send(out_); !sent.ok()) return sent;
  out_.clear();
  return absl::OkStatus();
}

absl::Status RedisClient::send(std::string_view rest) const {
  while (!rest.empty()) {
    const ssize_t sent = ::send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      // The timeout is for silence, not for all of a large request: each piece gets it anew.
      if (absl::Status waited = wait_for(fd_, POLLOUT, absl::Now() + timeout_); !waited.ok()) {
        return waited;
      }
    } else if (errno != EINTR) {
      return failure("send", errno);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RespValue> RedisClient::read_reply() {
  if (absl::Status flushed = flush(); !flushed.ok()) return flushed;
  ReplyCursor cursor;
  while (true) {
    switch (find_reply_end(in_.view(), cursor)) {
      case ParseStatus::Complete: {
        auto value = parse_reply(in_.view().substr(0, cursor.offset));
        in_.consume(cursor.offset);
        if (!value) return absl::DataLossError("a reply nested too deep");
        return *std::move(value);
      }
      case ParseStatus::Malformed:
        return absl::DataLossError("the server sent what is not RESP2");
      case ParseStatus::Incomplete:
        break;
    }
    const ByteBuffer::Room room = in_.prepare();
    const ssize_t received = ::recv(fd_, room.data, room.size, 0);
    if (received > 0) {
      in_.commit(static_cast<std::size_t>(received));
    } else if (received == 0) {
      return absl::UnavailableError("the server closed the connection");
    } else if (errno == EAGAIN) {
      if (absl::Status waited = wait_for(fd_, POLLIN, absl::Now() + timeout_); !waited.ok()) {
        return waited;
      }
    } else if (errno != EINTR) {
      return failure("recv", errno);
    }
  }
}

absl::StatusOr<RespValue> RedisClient::call(std::initializer_list<std::string_view> args) {
  append(args);
  absl::StatusOr<RespValue> reply = read_reply();
  if (reply.ok() && reply->is_error()) return absl::InternalError(reply->text);
  return reply;
}

}  // namespace redis_router
