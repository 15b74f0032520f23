// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_INTERNED_HPP_
#define PLACEMENT_INTERNED_HPP_

#include <compare>
#include <concepts>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include <absl/hash/hash.h>

#include "placement/detail/mutex.hpp"

namespace placement {
inline namespace v1 {
namespace detail {

template <typename T>
struct InternLookup {
  using Key = const T&;
  using Hash = absl::Hash<T>;
};

// Strings are looked up by their text, so that interning a name that is known allocates nothing.
template <>
struct InternLookup<std::string> {
  using Key = std::string_view;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return absl::Hash<std::string_view>()(text);
    }
  };
};

// Every distinct value of T that was ever interned, each at an address that stays. The pool is
// made on first use and never destroyed, so handles are good in destructors of statics, too.
template <typename T>
class InternPool {
 public:
  using Key = typename InternLookup<T>::Key;

  static const T* intern(Key value) {
    static InternPool& pool = *new InternPool;
    const MutexLock lock(pool.mutex_);
    if (const auto found = pool.values_.find(value); found != pool.values_.end()) return &*found;
    return &*pool.values_.emplace(value).first;
  }

 private:
  Mutex mutex_;
  // A set of the standard's, for it stays as it is when an allocation fails; abseil's do not.
  std::unordered_set<T, typename InternLookup<T>::Hash, std::equal_to<>> values_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace detail

// A handle to an immutable value of T that is stored once and never freed: one pointer wide,
// trivially copyable, compared in one instruction when equal. It is the way to put a value that is
// too rich for a cell (a string, a list of endpoints) into a placement of one's own:
//
//   struct ShardPlacement {
//     placement::Interned<std::vector<Endpoint>> replicas;
//     std::uint32_t zone;
//     friend bool operator==(const ShardPlacement&, const ShardPlacement&) = default;
//   };
//
// T needs `==` and a hash (`AbslHashValue` or `std::hash`). Interning keeps every distinct value
// for the life of the process: right for names and topologies, wrong for a value a request makes
// up.
//
// Progress: construction takes one process-wide mutex a type T; everything else is wait-free.
template <typename T>
  requires std::equality_comparable<T> && std::copy_constructible<T>
class Interned {
 public:
  // Throws std::bad_alloc, and then has no effect.
  explicit Interned(typename detail::InternPool<T>::Key value)
      : value_(detail::InternPool<T>::intern(value)) {}

  [[nodiscard]] const T& operator*() const noexcept { return *value_; }
  [[nodiscard]] const T* operator->() const noexcept { return value_; }
  [[nodiscard]] const T& value() const noexcept { return *value_; }

  // Pointers first; the values only where the pointers differ, since a plug-in that was linked with
  // hidden symbols has a pool of its own.
  friend bool operator==(Interned a, Interned b) {
    return a.value_ == b.value_ || *a.value_ == *b.value_;
  }

  template <typename H>
  friend H AbslHashValue(H state, Interned interned) {
    return H::combine(std::move(state), *interned.value_);
  }

 private:
  const T* value_;
};

namespace detail {

// What the built-in names share: an interned text and a type of its own.
template <typename Self>
class InternedName {
 public:
  [[nodiscard]] std::string_view view() const noexcept { return *text_; }

  friend bool operator==(const Self& a, const Self& b) { return a.text_ == b.text_; }
  friend std::strong_ordering operator<=>(const Self& a, const Self& b) {
    return a.view() <=> b.view();
  }

  template <typename H>
  friend H AbslHashValue(H state, const Self& name) {
    return H::combine(std::move(state), name.text_);
  }

  template <typename Stream>
    requires requires(Stream& out, std::string_view text) { out << text; }
  friend Stream& operator<<(Stream& out, const Self& name) {
    out << name.view();
    return out;
  }

 protected:
  explicit InternedName(std::string_view text) : text_(text) {}

  Interned<std::string> text_;
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

template <typename T>
struct std::hash<placement::Interned<T>> {
  std::size_t operator()(placement::Interned<T> interned) const {
    return absl::Hash<placement::Interned<T>>()(interned);
  }
};

#endif  // PLACEMENT_INTERNED_HPP_
