// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_ID_BLOCK_HPP_
#define PLACEMENT_DETAIL_ID_BLOCK_HPP_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "placement/detail/out_of_memory.hpp"
#include "placement/detail/word.hpp"
#include "placement/table_memory.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

// The bytes of an id that is too long for a cell. A block keeps its size for ever and is reused
// for other ids of its size class, so a late reader may read the wrong bytes, but never beyond.
class IdBlock {
 public:
  static constexpr std::size_t kHeaderBytes = kCacheLine;

  static constexpr std::size_t kMostBytes = std::size_t{1} << (8 * sizeof(std::size_t) - 2);

  // The whole block, header included, that holds an id of `bytes` bytes: a power of two.
  [[nodiscard]] static std::size_t size_for(std::size_t bytes) {
    if (bytes > kMostBytes - kHeaderBytes) out_of_memory(bytes, to_string(MemoryUse::LongIds));
    return std::bit_ceil(kHeaderBytes + bytes);
  }

  static IdBlock* allocate(TableMemory& memory, std::size_t size) {
    auto* const block = ::new (detail::allocate(memory, size, MemoryUse::LongIds)) IdBlock;
    block->size_ = size;
    return block;
  }
  static void deallocate(TableMemory& memory, IdBlock* block) noexcept {
    memory.deallocate(block, block->size_, MemoryUse::LongIds);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  [[nodiscard]] Word* words() noexcept {
    return reinterpret_cast<Word*>(reinterpret_cast<std::byte*>(this) + kHeaderBytes);
  }

  IdBlock* next_free = nullptr;   // in its size class
  IdBlock* next_owned = nullptr;  // of all blocks of the shard

 private:
  IdBlock() = default;

  std::size_t size_ = 0;
};

static_assert(sizeof(IdBlock) <= IdBlock::kHeaderBytes);

// A shard's blocks. All calls are made with the shard's mutex held, or by the destructor.
class IdBlocks {
 public:
  // A free block of that size. Requires that there is one.
  IdBlock* take(std::size_t size) noexcept {
    IdBlock*& head = free_[size_class(size)];
    return std::exchange(head, head->next_free);
  }

  [[nodiscard]] bool has(std::size_t size) const noexcept {
    return free_[size_class(size)] != nullptr;
  }

  void give_back(IdBlock* block) noexcept {
    IdBlock*& head = free_[size_class(block->size())];
    block->next_free = head;
    head = block;
  }

  // The shard owns the block from now on; it is free.
  void adopt(IdBlock* block) noexcept {
    block->next_owned = owned_;
    owned_ = block;
    give_back(block);
  }

  void deallocate_all(TableMemory& memory) noexcept {
    while (owned_ != nullptr) {
      IdBlock* const block = owned_;
      owned_ = block->next_owned;
      IdBlock::deallocate(memory, block);
    }
  }

 private:
  static std::size_t size_class(std::size_t size) noexcept {
    return static_cast<std::size_t>(std::countr_zero(size));
  }

  std::array<IdBlock*, 8 * sizeof(std::size_t)> free_{};
  IdBlock* owned_ = nullptr;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_ID_BLOCK_HPP_
