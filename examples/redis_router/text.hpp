// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_TEXT_HPP_
#define REDIS_ROUTER_TEXT_HPP_

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace redis_router {

// Older releases of abseil have a string_view of their own that absl::StrCat insists on; the router
// speaks std::string_view throughout and joins its messages here.
inline void append_text(std::string& out, std::string_view text) { out.append(text); }
inline void append_text(std::string& out, std::integral auto number) {
  out.append(std::to_string(number));
}

template <class... Pieces>
[[nodiscard]] std::string concat(const Pieces&... pieces) {
  std::string out;
  (append_text(out, pieces), ...);
  return out;
}

// The whole of `text` as a decimal number: no sign but '-', no spaces, no overflow.
template <std::integral Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) noexcept {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

[[nodiscard]] constexpr char ascii_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

[[nodiscard]] inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = ascii_lower(c);
  return out;
}

// Command names and options are ASCII words whose case does not matter.
[[nodiscard]] constexpr bool same_word(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (ascii_lower(a[i]) != ascii_lower(b[i])) return false;
  }
  return true;
}

// A name as one word of a line that programs read: as it is, or in quotes with escapes, as
// redis-cli takes it, if it is empty or has bytes that would break the line up.
[[nodiscard]] inline std::string one_word(std::string_view name) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto is_plain = [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '\\'; };
  if (!name.empty() && std::all_of(name.begin(), name.end(), is_plain)) return std::string(name);
  std::string word = "\"";
  for (const char c : name) {
    if (is_plain(c) || c == ' ') {
      word += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      word += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return word += '"';
}

// What a client sent, cut short and made printable, for a message that quotes it.
[[nodiscard]] inline std::string quote(std::string_view text) {
  constexpr std::size_t kMostShown = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kMostShown)) out += c >= ' ' && c <= '~' ? c : '?';
  out += text.size() > kMostShown ? "...'" : "'";
  return out;
}

}  // namespace redis_router

#endif  // REDIS_ROUTER_TEXT_HPP_
