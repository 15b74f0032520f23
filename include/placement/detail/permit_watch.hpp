// SPDX-License-Identifier: Apache-2.0
//
// Which partitions does this thread hold a permit on? Only debug builds ask, to catch a thread that
// waits for itself.
#ifndef PLACEMENT_DETAIL_PERMIT_WATCH_HPP_
#define PLACEMENT_DETAIL_PERMIT_WATCH_HPP_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__GLIBC__)
#include <pthread.h>
#endif

namespace placement {
inline namespace v1 {
namespace detail {

// What the check is where it is off.
struct NoPermitWatch {
  static void arrived(const void*, const void*) noexcept {}
  static void left(const void*) noexcept {}
  [[nodiscard]] static bool this_thread_holds(const void*) noexcept { return false; }
  [[nodiscard]] static bool watches(const void*) noexcept { return false; }
};

#if !defined(__GLIBC__)

using PermitWatch = NoPermitWatch;

#elif defined(NDEBUG)

using PermitWatch = NoPermitWatch;

// A program may have units of both kinds. A permit that moves through this one is not seen to do
// so; that this symbol is in the program tells the others that what they know is incomplete.
[[gnu::used, gnu::visibility("default")]] inline const char kSomePermitsAreNotWatched = 0;

#else

[[gnu::weak, gnu::visibility("default")]] extern const char kSomePermitsAreNotWatched;

// The permits that are in variables on the stacks of threads. Such a permit is held by the thread
// that has the stack. Nothing is concluded from one anywhere else (in a container, a coroutine's
// frame, a task on its way to another thread): any thread may be the one that will release it.
//
// It is known where each permit stands: it tells when it arrives at an address and when it leaves,
// also when another thread takes it away. So an entry is never out of date. Entries are few, so a
// table of fixed size does; a permit that finds no place in it is not watched.
class StackPermitWatch {
 public:
  // A permit on the counter's partition is at `object` from now on.
  static void arrived(const void* object, const void* counter) noexcept {
    if (!is_on_this_stack(object)) return;
    for (std::size_t i = 0; i < kWays; ++i) {
      Slot& slot = slot_for(object, i);
      const void* none = nullptr;
      // Only this thread concludes anything from its own address, so the order does not matter.
      if (slot.object.compare_exchange_strong(none, object, std::memory_order_relaxed)) {
        slot.counter.store(counter, std::memory_order_release);  // (1)
        return;
      }
    }
  }

  // It is there no more.
  static void left(const void* object) noexcept {
    for (std::size_t i = 0; i < kWays; ++i) {
      Slot& slot = slot_for(object, i);
      // The entry was made before, by this thread or by the one that gave it the permit.
      if (slot.object.load(std::memory_order_relaxed) == object) {
        slot.object.store(nullptr, std::memory_order_relaxed);
      }
    }
  }

  // Whether a permit on the counter's partition is in a variable of the calling thread.
  [[nodiscard]] static bool this_thread_holds(const void* counter) noexcept {
    if (&kSomePermitsAreNotWatched != nullptr) return false;
    for (const Slot& slot : slots) {
      // Acquire pairs with (1): who sees the counter of a later use of the slot sees the object of
      // that, or of a later one, and not an address of this thread that was there before.
      if (slot.counter.load(std::memory_order_acquire) == counter &&
          is_on_this_stack(slot.object.load(std::memory_order_relaxed))) {
        return true;
      }
    }
    return false;
  }

  // Whether a permit would be watched at that address by the calling thread.
  [[nodiscard]] static bool watches(const void* object) noexcept {
    return &kSomePermitsAreNotWatched == nullptr && is_on_this_stack(object);
  }

 private:
  struct Slot {
    std::atomic<const void*> object{nullptr};   // null: free
    std::atomic<const void*> counter{nullptr};  // kept when it is free
  };
  static constexpr std::size_t kSlots = 1024;  // a power of two
  static constexpr std::size_t kWays = 8;

  struct Stack {
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;  // zero: unknown

    [[nodiscard]] static Stack of_this_thread() noexcept {
      Stack stack;
      pthread_attr_t attributes;
      if (pthread_getattr_np(pthread_self(), &attributes) != 0) return stack;
      void* begin = nullptr;
      std::size_t bytes = 0;
      if (pthread_attr_getstack(&attributes, &begin, &bytes) == 0) {
        stack = {reinterpret_cast<std::uintptr_t>(begin), bytes};
      }
      pthread_attr_destroy(&attributes);
      return stack;
    }
  };

  [[nodiscard]] static bool is_on_this_stack(const void* object) noexcept {
    static thread_local Stack stack = Stack::of_this_thread();
    return reinterpret_cast<std::uintptr_t>(object) - stack.begin < stack.bytes;
  }

  [[nodiscard]] static Slot& slot_for(const void* object, std::size_t way) noexcept {
    const std::uint64_t mixed =
        std::uint64_t{reinterpret_cast<std::uintptr_t>(object)} * 0x9E37'79B9'7F4A'7C15U;
    return slots[(static_cast<std::size_t>(mixed >> 32) + way) % kSlots];
  }

  // One for the program, whatever the visibility of the library that a unit is linked into.
  [[gnu::visibility("default")]] static std::array<Slot, kSlots> slots;
};

inline constinit std::array<StackPermitWatch::Slot, StackPermitWatch::kSlots>
    StackPermitWatch::slots{};

using PermitWatch = StackPermitWatch;

#endif

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_PERMIT_WATCH_HPP_
