// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_BYTE_BUFFER_HPP_
#define REDIS_ROUTER_BYTE_BUFFER_HPP_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace redis_router {

// Bytes that came from a socket and are not used up yet. Grows with what has come, never with what
// was announced, and gives a large block back once it is empty.
class ByteBuffer {
 public:
  ByteBuffer() = default;
  ByteBuffer(ByteBuffer&& other) noexcept
      : data_(std::move(other.data_)),
        capacity_(std::exchange(other.capacity_, 0)),
        begin_(std::exchange(other.begin_, 0)),
        end_(std::exchange(other.end_, 0)) {}
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
    return *this;
  }

  struct Room {
    char* data;
    std::size_t size;
  };

  [[nodiscard]] std::string_view view() const noexcept { return {data_.get() + begin_, size()}; }
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }

  // Room behind the bytes for at least kLeastRoom more. Moves them: views are void.
  [[nodiscard]] Room prepare() {
    if (begin_ == end_) {
      begin_ = end_ = 0;
      if (capacity_ > kKeptWhenEmpty) release();
    }
    if (capacity_ - end_ < kLeastRoom) make_room();
    return {data_.get() + end_, capacity_ - end_};
  }
  void commit(std::size_t bytes) noexcept { end_ += bytes; }
  void consume(std::size_t bytes) noexcept { begin_ += bytes; }
  void clear() noexcept { begin_ = end_ = 0; }

 private:
  static constexpr std::size_t kLeastRoom = 4 << 10;
  static constexpr std::size_t kFirst = 16 << 10;
  static constexpr std::size_t kKeptWhenEmpty = 64 << 10;

  void release() noexcept {
    data_.reset();
    capacity_ = 0;
  }

  void make_room() {
    const std::size_t used = size();
    if (capacity_ - used >= kLeastRoom && begin_ >= used) {
      // At least half is used up, so moving the rest costs no more than it took to fill.
      if (used > 0) std::memcpy(data_.get(), data_.get() + begin_, used);
    } else {
      const std::size_t capacity = std::max(kFirst, 2 * (used + kLeastRoom));
      auto data = std::make_unique_for_overwrite<char[]>(capacity);
      if (used > 0) std::memcpy(data.get(), data_.get() + begin_, used);
      data_ = std::move(data);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }

  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace redis_router

#endif  // REDIS_ROUTER_BYTE_BUFFER_HPP_
