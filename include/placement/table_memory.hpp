// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TABLE_MEMORY_HPP_
#define PLACEMENT_TABLE_MEMORY_HPP_

#include <cstddef>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

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

// Where a table gets its memory. Derive from it to account for a table, to place it on a NUMA node
// or on huge pages, or to make an allocation fail in a test.
//
// A table frees nothing while it lives: what its readers may touch stays mapped, so they need no
// protection against reclamation. It gives content back through `discard` instead.
class TableMemory {
 public:
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  // Memory that reads as zeros, aligned to 64 bytes. Throws std::bad_alloc. Never called with a
  // lock of the table held; may be called by several threads at once, as may the other two.
  virtual void* allocate(std::size_t bytes, MemoryUse use) = 0;

  // Takes back what `allocate` returned for `bytes`.
  virtual void deallocate(void* memory, std::size_t bytes, MemoryUse use) noexcept = 0;

  // The content of [memory, memory + bytes), whole pages of 4096 bytes in a piece of at least
  // kDiscardableBytes, is not needed any more. Makes it read as zeros, keeps it readable and
  // writable at every moment, and returns true; or does nothing and returns false, and the table
  // stores the zeros itself. Called with a shard's lock held, for at most 16 KiB at a time.
  virtual bool discard(void* memory, std::size_t bytes) noexcept {
    static_cast<void>(memory);
    static_cast<void>(bytes);
    return false;
  }

  static constexpr std::size_t kDiscardableBytes = std::size_t{32} << 10;

  // The default: small pieces from operator new, large ones as pages from the system.
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

  void* allocate(std::size_t bytes, MemoryUse) override {
#if defined(__linux__)
    if (bytes >= kDiscardableBytes) {
      void* const pages =
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (pages == MAP_FAILED) throw std::bad_alloc();
      return pages;
    }
#endif
    void* const memory = ::operator new(bytes, std::align_val_t{kCacheLine});
    std::memset(memory, 0, bytes);
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

  bool discard(void* memory, std::size_t bytes) noexcept override {
#if defined(__linux__)
    // Private anonymous pages read as zeros after this, and the mapping stays.
    return ::madvise(memory, bytes, MADV_DONTNEED) == 0;
#else
    return TableMemory::discard(memory, bytes);
#endif
  }
};

}  // namespace detail

inline TableMemory& TableMemory::system() noexcept {
  static constinit detail::SystemMemory memory;
  return memory;
}

}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_TABLE_MEMORY_HPP_
