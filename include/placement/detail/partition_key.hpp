// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_PARTITION_KEY_HPP_
#define PLACEMENT_DETAIL_PARTITION_KEY_HPP_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <absl/hash/hash.h>
#include <absl/strings/string_view.h>

#include "placement/detail/word.hpp"

namespace placement {
inline namespace v1 {

// What identifies a partition: text of any length and content, or an integer or enumeration of at
// most 64 bits.
template <typename Id>
concept PartitionKey =
    std::same_as<Id, std::string> || ((std::integral<Id> || std::is_enum_v<Id>) && sizeof(Id) <= 8);

namespace detail {

// A view of a text id as a parameter: made from anything that has data() and size() of char, so
// that abseil's own string_view (not the standard one in older releases) is as welcome as a
// literal.
class TextId {
 public:
  TextId(const char* text) noexcept : bytes_(text) {}  // NOLINT: a parameter type converts

  template <typename Text>
    requires requires(const Text& text) {
      { text.data() } -> std::convertible_to<const char*>;
      { text.size() } -> std::convertible_to<std::size_t>;
    }
  TextId(const Text& text) noexcept  // NOLINT: a parameter type converts
      : bytes_(text.data(), text.size()) {}

  [[nodiscard]] std::string_view bytes() const noexcept { return bytes_; }

 private:
  std::string_view bytes_;
};

// 64 bits on every machine; where a std::size_t has 32, the multiplication spreads them.
[[nodiscard]] constexpr std::uint64_t widen_hash(std::size_t hash) noexcept {
  if constexpr (sizeof(std::size_t) == 8) {
    return hash;
  } else {
    return hash * std::uint64_t{0x9E3779B97F4A7C15};
  }
}

// An id as the table looks for it: its hash, and what a cell that holds it has in its label. The
// hash's low bits choose the shard, its high bits the home in an array, bits between are the tag.
struct TextKey {
  explicit TextKey(std::string_view text) noexcept
      : bytes(text), hash(widen_hash(hash_text(text))) {}

  // As abseil's own view: older releases hash the standard one with std::hash, which is slower.
  static std::size_t hash_text(std::string_view text) noexcept {
    return absl::Hash<absl::string_view>()(absl::string_view(text.data(), text.size()));
  }

  std::string_view bytes;
  std::uint64_t hash;
};

struct NumberKey {
  explicit NumberKey(std::uint64_t id) noexcept
      : number(id), hash(widen_hash(absl::Hash<std::uint64_t>()(id))) {}

  std::uint64_t number;
  std::uint64_t hash;
};

// How an id type appears in the interface and in a cell.
template <typename Id>
struct IdTraits {
  using Parameter = Id;
  using View = Id;
  using Key = NumberKey;
  using Owned = std::uint64_t;
  static constexpr std::size_t kMinWords = 1;

  static Key key(Parameter id) noexcept { return Key(static_cast<std::uint64_t>(id)); }
  static View view(Owned id) noexcept { return static_cast<Id>(id); }
  static std::string print(View id) {
    if constexpr (std::is_enum_v<Id>) {
      return std::to_string(static_cast<std::underlying_type_t<Id>>(id));
    } else {
      return std::to_string(id);
    }
  }
};

template <>
struct IdTraits<std::string> {
  using Parameter = TextId;
  using View = std::string_view;
  using Key = TextKey;
  using Owned = std::string;
  static constexpr std::size_t kMinWords = 5;  // a UUID's 36 characters, inline

  static Key key(Parameter id) noexcept { return Key(id.bytes()); }
  static View view(const Owned& id) noexcept { return id; }
  static std::string print(View id) { return std::string(id); }
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_PARTITION_KEY_HPP_
