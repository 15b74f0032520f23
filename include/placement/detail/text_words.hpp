// SPDX-License-Identifier: Apache-2.0
//
// A text as a sequence of words, so that it can be stored and compared a word at a time.
#ifndef PLACEMENT_DETAIL_TEXT_WORDS_HPP_
#define PLACEMENT_DETAIL_TEXT_WORDS_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace placement {
inline namespace v1 {
namespace detail {

[[nodiscard]] constexpr std::size_t words_for(std::size_t bytes) noexcept {
  return (bytes + 7) / 8;
}

// Eight bytes as a word.
[[nodiscard]] inline std::uint64_t word_at(const char* bytes) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, 8);
  return word;
}

// The word of a text shorter than eight bytes: two halves that may overlap. Together with the size
// it says what the text is.
[[nodiscard]] inline std::uint64_t short_text_word(const char* text, std::size_t size) noexcept {
  if (size >= 4) {
    std::uint32_t first = 0;
    std::uint32_t last = 0;
    std::memcpy(&first, text, 4);
    std::memcpy(&last, text + size - 4, 4);
    return first | (std::uint64_t{last} << 32);
  }
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < size; ++i) {
    word |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
  }
  return word;
}
inline void put_short_text_word(char* text, std::size_t size, std::uint64_t word) noexcept {
  if (size >= 4) {
    const auto first = static_cast<std::uint32_t>(word);
    const auto last = static_cast<std::uint32_t>(word >> 32);
    std::memcpy(text, &first, 4);
    std::memcpy(text + size - 4, &last, 4);
    return;
  }
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(word >> (8 * i));
}

// Where the i-th word of a text of eight bytes or more stands in it: one after the other, but the
// last is the text's last eight bytes, whatever of them the one before has already. So no word is
// padded, and none needs a shift.
[[nodiscard]] constexpr std::size_t text_word_offset(std::size_t size, std::size_t i) noexcept {
  return 8 * i + 8 <= size ? 8 * i : size - 8;
}

// The i-th of the words_for(size) words.
[[nodiscard]] inline std::uint64_t text_word(const char* text, std::size_t size,
                                             std::size_t i) noexcept {
  if (size < 8) return short_text_word(text, size);
  return word_at(text + text_word_offset(size, i));
}
inline void put_text_word(char* text, std::size_t size, std::size_t i,
                          std::uint64_t word) noexcept {
  if (size < 8) {
    put_short_text_word(text, size, word);
  } else {
    std::memcpy(text + text_word_offset(size, i), &word, 8);
  }
}

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_TEXT_WORDS_HPP_
