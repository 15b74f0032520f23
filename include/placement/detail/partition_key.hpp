// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_DETAIL_PARTITION_KEY_HPP_
#define PLACEMENT_DETAIL_PARTITION_KEY_HPP_

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>

#include <absl/hash/hash.h>
#include <absl/strings/string_view.h>

#include "placement/detail/text_words.hpp"

namespace placement {
inline namespace v1 {

// The largest id of plain bytes, in bytes; text may be of any length.
inline constexpr std::size_t kMaxIdBytes = 32;

// What identifies a partition: text of any length and content (std::string), or plain bytes that
// are kept in the table as they are: an integer, an enumeration, the 16 bytes of a UUID, a struct
// of integers. Ids of plain bytes are compared byte by byte, whatever `==` their type has, or if it
// has none. Each condition is a concept of its own, so that a compiler names the one that an id
// type does not meet.

// A pointer, or a view of what stands elsewhere, says where an id is and not what it is. (What has
// a pointer inside cannot be told from what has none: an iterator, say. Do not use it.)
template <typename Id>
concept IdIsNoPointerOrView =
    !std::is_pointer_v<Id> && !std::is_member_pointer_v<Id> && !std::is_null_pointer_v<Id> &&
    !std::ranges::borrowed_range<Id> && !std::same_as<Id, absl::string_view>;

template <typename Id>
concept IdIsTextOrTriviallyCopyable =
    std::same_as<Id, std::string> ||
    (std::is_object_v<Id> && !std::is_array_v<Id> && std::same_as<Id, std::remove_cv_t<Id>> &&
     std::is_trivially_copyable_v<Id> && std::copy_constructible<Id>);

// Then equal ids have equal bytes.
template <typename Id>
concept IdHasNoPaddingAndNoFloatingPoint =
    std::same_as<Id, std::string> || std::integral<Id> || std::is_enum_v<Id> ||
    std::has_unique_object_representations_v<Id>;

template <typename Id>
concept IdHasAtMost32Bytes = std::same_as<Id, std::string> || sizeof(Id) <= kMaxIdBytes;

template <typename Id>
concept PartitionKey = IdIsNoPointerOrView<Id> && IdIsTextOrTriviallyCopyable<Id> &&
                       IdHasNoPaddingAndNoFloatingPoint<Id> && IdHasAtMost32Bytes<Id>;

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

// An id of a fixed number of words.
template <std::size_t Words>
struct FixedKey {
  using Id = std::array<std::uint64_t, Words>;

  explicit FixedKey(const Id& words) noexcept : FixedKey(words, widen_hash(hash_words(words))) {}
  FixedKey(const Id& words, std::uint64_t hash_of_words) noexcept
      : id(words), hash(hash_of_words) {}

  static std::size_t hash_words(const Id& words) noexcept {
    if constexpr (Words == 1) {
      return absl::Hash<std::uint64_t>()(words[0]);
    } else {
      return absl::Hash<Id>()(words);
    }
  }

  Id id;
  std::uint64_t hash;
};

// How an id type appears in the interface and in a cell.
template <typename Id>
struct IdTraits {
  static constexpr std::size_t kMinWords = words_for(sizeof(Id));

  using Parameter = Id;
  using View = Id;
  using Key = FixedKey<kMinWords>;
  using Owned = typename Key::Id;

  static Key key(const Id& id) noexcept { return Key(owned(id)); }
  static Key key(const Id& id, std::uint64_t hash) noexcept { return Key(owned(id), hash); }
  // An integer is one word by its value. All else is its bytes, and zeros up to a whole word.
  static Owned owned(const Id& id) noexcept {
    Owned words{};
    if constexpr (kIsNumber) {
      words[0] = static_cast<std::uint64_t>(id);
    } else {
      std::memcpy(words.data(), &id, sizeof(Id));
    }
    return words;
  }
  static View view(const Owned& words) noexcept {
    if constexpr (kIsNumber) {
      return static_cast<Id>(words[0]);
    } else {
      std::array<std::byte, sizeof(Id)> bytes;
      std::memcpy(bytes.data(), words.data(), bytes.size());
      return std::bit_cast<Id>(bytes);
    }
  }

 private:
  static constexpr bool kIsNumber =
      (std::integral<Id> || std::is_enum_v<Id>) && sizeof(Id) <= sizeof(std::uint64_t);
};

template <>
struct IdTraits<std::string> {
  using Parameter = TextId;
  using View = std::string_view;
  using Key = TextKey;
  using Owned = std::string;
  static constexpr std::size_t kMinWords = 5;  // a UUID's 36 characters, inline

  static Key key(Parameter id) noexcept { return Key(id); }
  static Key key(Parameter id, std::uint64_t hash) noexcept { return Key(id, hash); }
  static Owned owned(Parameter id) { return Owned(id.data(), id.size()); }
  static View view(const Owned& id) noexcept { return id; }
};

// What get_many takes as ids: any of them at once, and how many there are.
template <typename Ids, typename Id>
concept ManyIds =
    std::ranges::random_access_range<Ids> && std::ranges::sized_range<Ids> &&
    std::convertible_to<std::ranges::range_reference_t<Ids>, typename IdTraits<Id>::Parameter>;

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_PARTITION_KEY_HPP_
