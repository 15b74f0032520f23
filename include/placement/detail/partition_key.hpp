// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_PARTITION_KEY_HPP_
#define PLACEMENT_DETAIL_PARTITION_KEY_HPP_

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
  TextId(const char* text) noexcept  // NOLINT: a parameter type converts
      : TextId(std::string_view(text)) {}

  template <typename Text>
    requires requires(const Text& text) {
      { text.data() } -> std::convertible_to<const char*>;
      { text.size() } -> std::convertible_to<std::size_t>;
    }
  TextId(const Text& text) noexcept  // NOLINT: a parameter type converts
      : data_(text.data()), size_(text.size()) {}

  [[nodiscard]] const char* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  const char* data_;
  std::size_t size_;
};

// 64 bits on every machine; where a std::size_t has 32, the multiplication spreads them.
[[nodiscard]] constexpr std::uint64_t widen_hash(std::size_t hash) noexcept {
  if constexpr (sizeof(std::size_t) == 8) {
    return hash;
  } else {
    return hash * std::uint64_t{0x9E3779B97F4A7C15};
  }
}

// An id as the table looks for it, with its hash: the low bits choose the shard, the high bits the
// home in an array, others are the tag and the label.
struct TextKey {
  using Id = TextId;

  explicit TextKey(Id text) noexcept : TextKey(text, widen_hash(hash_text(text))) {}
  TextKey(Id text, std::uint64_t hash_of_text) noexcept : id(text), hash(hash_of_text) {}

  // As abseil's own view: older releases hash the standard one with std::hash, which is slower.
  static std::size_t hash_text(Id text) noexcept {
    return absl::Hash<absl::string_view>()(absl::string_view(text.data(), text.size()));
  }

  Id id;
  std::uint64_t hash;
};

struct NumberKey {
  using Id = std::uint64_t;

  explicit NumberKey(Id number) noexcept
      : NumberKey(number, widen_hash(absl::Hash<std::uint64_t>()(number))) {}
  NumberKey(Id number, std::uint64_t hash_of_number) noexcept : id(number), hash(hash_of_number) {}

  Id id;
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

  static Key key(Parameter id) noexcept { return Key(id); }
  static View view(const Owned& id) noexcept { return id; }
  static std::string print(View id) { return std::string(id); }
};

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_PARTITION_KEY_HPP_
