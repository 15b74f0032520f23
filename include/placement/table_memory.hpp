// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TABLE_MEMORY_HPP_
#define PLACEMENT_TABLE_MEMORY_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <string_view>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "placement/detail/out_of_memory.hpp"

namespace placement {
inline namespace v1 {

// What a piece of a table's memory is for, so that an implementation can account for it or place
// it.
enum class MemoryUse {
  Directory,  // the shards and where their arrays are; allocated once
  Cells,      // arrays of cells
  LongIds,    // ids that are too long for a cell
  Counters,   // counts of the writes in flight
};

[[nodiscard]] constexpr std::string_view to_string(MemoryUse use) noexcept {
  switch (use) {
    case MemoryUse::Directory:
      return "the directory";
    case MemoryUse::Cells:
      return "cells";
    case MemoryUse::LongIds:
      return "long ids";
    case MemoryUse::Counters:
      return "counters";
  }
  return "unknown MemoryUse";
}

// Where a table gets its memory. Derive from it to account for a table, to place it on a NUMA node
// or on huge pages, or to make an allocation fail in a test.
//
// A table frees nothing while it lives: what its readers may touch stays mapped, so they need no
// protection against reclamation. It gives content back through `discard` instead.
class TableMemory {
 public:
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  // Memory that reads as zeros, aligned to 64 bytes. If there is none, throws std::bad_alloc or
  // returns null; for null the table throws. Without exceptions it can only return null: then the
  // table says on stderr what it could not get, and ends the process. Never called with a lock of
  // the table held; may be called by several threads at once, as may the other two.
  virtual void* allocate(std::size_t bytes, MemoryUse use) = 0;

  // Takes back what `allocate` returned for `bytes`.
  virtual void deallocate(void* memory, std::size_t bytes, MemoryUse use) noexcept = 0;

  // The content of [memory, memory + bytes), whole pages of 4096 bytes in a piece of at least
  // kDiscardableBytes, is not needed any more. Makes it read as zeros, keeps it readable and
  // writable at every moment, and returns true; or does nothing and returns false, and the table
  // stores the zeros itself. Called with a shard's lock held, for at most 16 KiB at a time.
  virtual bool discard([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
    return false;
  }

  // [memory, memory + bytes), a part of what `allocate` returned, will soon be written. May have
  // the system provide its pages now rather than at the first touch; must not change what it holds,
  // for others may be using it. Never called with a lock of the table held.
  virtual void populate([[maybe_unused]] void* memory,
                        [[maybe_unused]] std::size_t bytes) noexcept {}

  static constexpr std::size_t kDiscardableBytes = std::size_t{32} << 10;

  // The default: small pieces from operator new, large ones as pages from the system, huge ones
  // where it populates enough at once. Its `allocate` never returns null: without exceptions it
  // ends the process itself.
  [[nodiscard]] static TableMemory& system() noexcept;

 protected:
  TableMemory() = default;
  ~TableMemory() = default;
};

namespace detail {

// A multiple of the destructive interference size of all machines we know; a constant, so that
// the layout does not depend on a compiler's flags.
inline constexpr std::size_t kCacheLine = 64;

class SystemMemory final : public TableMemory {
 public:
  constexpr SystemMemory() = default;

  void* allocate(std::size_t bytes, MemoryUse use) override {
    void* const memory = try_allocate(bytes);
    if (memory == nullptr) out_of_memory(bytes, to_string(use));
    return memory;
  }

  void deallocate(void* memory, std::size_t bytes, MemoryUse) noexcept override {
#if defined(__linux__)
    if (bytes >= kDiscardableBytes) {
      ::munmap(memory, bytes);
      return;
    }
#endif
    ::operator delete(memory, std::align_val_t{kCacheLine});
  }

#if defined(__linux__)
  // Private anonymous pages read as zeros after this, and the mapping stays.
  bool discard(void* memory, std::size_t bytes) noexcept override {
    return ::madvise(memory, bytes, MADV_DONTNEED) == 0;
  }
#endif

  // On failure the pages come at the first touch, as they would without it.
  void populate([[maybe_unused]] void* memory,
                [[maybe_unused]] std::size_t bytes) noexcept override {
#if defined(__linux__) && defined(MADV_HUGEPAGE) && defined(MADV_POPULATE_WRITE)
    if (bytes < kDiscardableBytes) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    const auto madvise_inside = [&](std::size_t page, int advice) {
      const std::uintptr_t first = (begin + page - 1) / page * page;
      const std::uintptr_t last = (begin + bytes) / page * page;
      if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, advice);
    };
    madvise_inside(kHugePage, MADV_HUGEPAGE);
    madvise_inside(kSmallPage, MADV_POPULATE_WRITE);
#endif
  }

 private:
#if defined(__linux__)
  static constexpr std::size_t kSmallPage = std::size_t{4} << 10;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  static void* map(std::size_t bytes) noexcept {
    void* const pages =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? nullptr : pages;
  }
  // So that huge pages fit.
  static void* map_aligned(std::size_t bytes) noexcept {
    if (bytes > std::numeric_limits<std::size_t>::max() - 2 * kHugePage) return nullptr;
    const std::size_t whole = (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
    auto* const pages = static_cast<std::byte*>(map(whole + kHugePage));
    if (pages == nullptr) return nullptr;
    const std::size_t before = kHugePage - reinterpret_cast<std::uintptr_t>(pages) % kHugePage;
    ::munmap(pages, before);
    if (before < kHugePage) ::munmap(pages + before + whole, kHugePage - before);
    return pages + before;
  }
#endif

  // Null if there is none.
  static void* try_allocate(std::size_t bytes) noexcept {
#if defined(__linux__)
    if (bytes >= kHugePage) return map_aligned(bytes);
    if (bytes >= kDiscardableBytes) return map(bytes);
#endif
    void* const memory = ::operator new(bytes, std::align_val_t{kCacheLine}, std::nothrow);
    if (memory != nullptr) std::memset(memory, 0, bytes);
    return memory;
  }
};

// As memory.allocate, but never null. Throws std::bad_alloc.
[[nodiscard]] inline void* allocate(TableMemory& memory, std::size_t bytes, MemoryUse use) {
  void* const piece = memory.allocate(bytes, use);
  if (piece == nullptr) out_of_memory(bytes, to_string(use));
  return piece;
}

// A piece of a table's memory that goes back unless it is released.
class TablePiece {
 public:
  // Throws std::bad_alloc.
  TablePiece(TableMemory& memory, std::size_t bytes, MemoryUse use)
      : memory_(memory), bytes_(bytes), use_(use), begin_(detail::allocate(memory, bytes, use)) {}
  TablePiece(const TablePiece&) = delete;
  TablePiece& operator=(const TablePiece&) = delete;
  ~TablePiece() {
    if (begin_ != nullptr) memory_.deallocate(begin_, bytes_, use_);
  }

  [[nodiscard]] void* release() noexcept { return std::exchange(begin_, nullptr); }

 private:
  TableMemory& memory_;
  std::size_t bytes_;
  MemoryUse use_;
  void* begin_;
};

}  // namespace detail

inline TableMemory& TableMemory::system() noexcept {
  static constinit detail::SystemMemory memory;
  return memory;
}

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_TABLE_MEMORY_HPP_
