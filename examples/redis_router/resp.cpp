// SPDX-License-Identifier: Apache-2.0
#include "resp.hpp"

#include <algorithm>

#include "text.hpp"

namespace redis_router {
namespace {

// A length line is a type byte and a 64-bit number; whatever is longer is not one.
constexpr std::size_t kMaxLengthLine = 32;
constexpr int kMaxReplyDepth = 64;

enum class LineStatus { Complete, Incomplete, TooLong, Broken };

struct LengthLine {
  LineStatus status = LineStatus::Incomplete;
  std::int64_t length = 0;
  std::size_t end = 0;  // behind the line break
};

// Reads "<type><number>\r\n" at `offset`; the type byte is the caller's concern.
LengthLine read_length_line(std::string_view bytes, std::size_t offset) {
  LengthLine line;
  const std::string_view rest = bytes.substr(offset, kMaxLengthLine);
  const std::size_t end = rest.find('\r');
  if (end == std::string_view::npos) {
    line.status = rest.size() == kMaxLengthLine ? LineStatus::TooLong : LineStatus::Incomplete;
    return line;
  }
  if (offset + end + 1 >= bytes.size()) return line;
  const auto number = parse_number<std::int64_t>(rest.substr(1, end - 1));
  if (bytes[offset + end + 1] != '\n' || !number) {
    line.status = LineStatus::Broken;
    return line;
  }
  return {LineStatus::Complete, *number, offset + end + 2};
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

char unescaped(char c) noexcept {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// Reads a quoted word that starts behind its quote at `i`; false if the quote is not closed, or not
// followed by a space.
bool read_quoted(std::string_view line, std::size_t& i, char quote, std::string& word) {
  for (; i < line.size(); ++i) {
    const char c = line[i];
    if (c == quote) {
      ++i;
      return i == line.size() || is_space(line[i]);
    }
    if (c == '\\' && i + 1 < line.size()) {
      if (quote == '\'') {
        if (line[i + 1] == '\'') ++i;
        word += line[i];
      } else if (line[i + 1] == 'x' && i + 3 < line.size() && hex_digit(line[i + 2]) >= 0 &&
                 hex_digit(line[i + 3]) >= 0) {
        word += static_cast<char>(hex_digit(line[i + 2]) * 16 + hex_digit(line[i + 3]));
        i += 3;
      } else {
        word += unescaped(line[++i]);
      }
      continue;
    }
    word += c;
  }
  return false;
}

// Splits an inline request the way redis-server does: spaces, "..." with escapes, '...' without.
bool split_words(std::string_view line, std::vector<std::string>& words) {
  std::size_t i = 0;
  while (true) {
    while (i < line.size() && is_space(line[i])) ++i;
    if (i == line.size()) return true;
    std::string word;
    while (i < line.size() && !is_space(line[i])) {
      const char c = line[i++];
      if (c == '"' || c == '\'') {
        if (!read_quoted(line, i, c, word)) return false;
      } else {
        word += c;
      }
    }
    words.push_back(std::move(word));
  }
}

void append_number_line(std::string& out, char type, std::int64_t number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out += type;
  out.append(digits, end);
  out += "\r\n";
}

void append_text_line(std::string& out, char type, std::string_view text) {
  out += type;
  const std::size_t begin = out.size();
  out += text;
  std::replace_if(
      out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(),
      [](char c) { return c == '\r' || c == '\n'; }, ' ');
  out += "\r\n";
}

// `bytes` holds a whole reply (find_reply_end said so) that starts at `offset`; moves `offset`
// behind it.
bool read_value(std::string_view bytes, std::size_t& offset, int depth, RespValue& value) {
  if (depth > kMaxReplyDepth) return false;
  const char type = bytes[offset];
  if (type == '+' || type == '-') {
    const std::size_t end = bytes.find("\r\n", offset);
    value.type = type == '+' ? RespValue::Type::SimpleString : RespValue::Type::Error;
    value.text = bytes.substr(offset + 1, end - offset - 1);
    offset = end + 2;
    return true;
  }
  const LengthLine line = read_length_line(bytes, offset);
  offset = line.end;
  if (type == ':') {
    value.type = RespValue::Type::Integer;
    value.integer = line.length;
    return true;
  }
  if (line.length < 0) return true;
  if (type == '$') {
    const auto size = static_cast<std::size_t>(line.length);
    value.type = RespValue::Type::BulkString;
    value.text = bytes.substr(offset, size);
    offset += size + 2;
    return true;
  }
  value.type = RespValue::Type::Array;
  for (std::int64_t i = 0; i < line.length; ++i) {
    if (!read_value(bytes, offset, depth + 1, value.elements.emplace_back())) return false;
  }
  return true;
}

}  // namespace

void Request::reset() {
  complete_ = false;
  header_seen_ = false;
  offset_ = 0;
  searched_ = 0;
  missing_ = 0;
  args_.clear();
  rewritten_.clear();
  error_.clear();
}

void Request::arguments(std::string_view bytes, std::vector<std::string_view>& out) const {
  const std::string_view base = rewritten_.empty() ? bytes : std::string_view(rewritten_);
  out.clear();
  for (const Span& arg : args_) out.push_back(base.substr(arg.offset, arg.size));
}

std::string_view Request::resp(std::string_view bytes) const {
  return rewritten_.empty() ? bytes.substr(0, offset_) : std::string_view(rewritten_);
}

ParseStatus Request::malformed(std::string_view what) {
  error_ = concat("ERR Protocol error: ", what);
  return ParseStatus::Malformed;
}

ParseStatus Request::parse_inline(std::string_view bytes, const RespLimits& limits) {
  const std::size_t end = bytes.find('\n', searched_);
  if (std::min(end, bytes.size()) > limits.max_inline) return malformed("too big inline request");
  if (end == std::string_view::npos) {
    searched_ = bytes.size();
    return ParseStatus::Incomplete;
  }
  std::string_view line = bytes.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::vector<std::string> words;
  if (!split_words(line, words)) return malformed("unbalanced quotes in request");
  if (!words.empty()) {
    append_array_header(rewritten_, words.size());
    for (const std::string& word : words) {
      append_bulk(rewritten_, word);
      args_.push_back({rewritten_.size() - word.size() - 2, word.size()});
    }
  }
  offset_ = end + 1;
  complete_ = true;
  return ParseStatus::Complete;
}

ParseStatus parse_request(std::string_view bytes, const RespLimits& limits, Request& request) {
  if (request.complete_) return ParseStatus::Complete;
  if (!request.error_.empty()) return ParseStatus::Malformed;
  if (bytes.empty()) return ParseStatus::Incomplete;
  if (!request.header_seen_) {
    if (bytes[0] != '*') return request.parse_inline(bytes, limits);
    const LengthLine line = read_length_line(bytes, 0);
    if (line.status == LineStatus::Incomplete) return ParseStatus::Incomplete;
    if (line.status == LineStatus::TooLong) return request.malformed("too big mbulk count string");
    if (line.status == LineStatus::Broken ||
        line.length > static_cast<std::int64_t>(limits.max_args)) {
      return request.malformed("invalid multibulk length");
    }
    request.header_seen_ = true;
    request.offset_ = line.end;
    request.missing_ = line.length > 0 ? static_cast<std::size_t>(line.length) : 0;
  }
  while (request.missing_ > 0) {
    if (request.offset_ >= bytes.size()) return ParseStatus::Incomplete;
    if (bytes[request.offset_] != '$') {
      return request.malformed(
          concat("expected '$', got ", quote(bytes.substr(request.offset_, 1))));
    }
    const LengthLine line = read_length_line(bytes, request.offset_);
    if (line.status == LineStatus::Incomplete) return ParseStatus::Incomplete;
    if (line.status == LineStatus::TooLong) return request.malformed("too big bulk count string");
    if (line.status == LineStatus::Broken || line.length < 0 ||
        static_cast<std::uint64_t>(line.length) > limits.max_bulk) {
      return request.malformed("invalid bulk length");
    }
    const auto size = static_cast<std::size_t>(line.length);
    if (line.end + size + 2 > limits.max_request) return request.malformed("too big request");
    if (bytes.size() < line.end + size + 2) return ParseStatus::Incomplete;
    if (bytes.substr(line.end + size, 2) != "\r\n")
      return request.malformed("bulk string without its line break");
    request.args_.push_back({line.end, size});
    request.offset_ = line.end + size + 2;
    --request.missing_;
  }
  request.complete_ = true;
  return ParseStatus::Complete;
}

ParseStatus find_reply_end(std::string_view bytes, ReplyCursor& cursor) {
  while (cursor.missing > 0) {
    if (cursor.offset >= bytes.size()) return ParseStatus::Incomplete;
    const char type = bytes[cursor.offset];
    if (type == '+' || type == '-') {
      const std::size_t end = bytes.find("\r\n", cursor.offset);
      if (end == std::string_view::npos) return ParseStatus::Incomplete;
      cursor.offset = end + 2;
      --cursor.missing;
      continue;
    }
    if (type != ':' && type != '$' && type != '*') return ParseStatus::Malformed;
    const LengthLine line = read_length_line(bytes, cursor.offset);
    if (line.status == LineStatus::Incomplete) return ParseStatus::Incomplete;
    if (line.status != LineStatus::Complete || (type != ':' && line.length < -1))
      return ParseStatus::Malformed;
    std::size_t end = line.end;
    if (type == '$' && line.length >= 0) {
      const auto size = static_cast<std::uint64_t>(line.length);
      if (size > std::uint64_t{1} << 40) return ParseStatus::Malformed;
      if (bytes.size() - end < size + 2) return ParseStatus::Incomplete;
      end += static_cast<std::size_t>(size);
      if (bytes.substr(end, 2) != "\r\n") return ParseStatus::Malformed;
      end += 2;
    }
    if (type == '*' && line.length > 0) {
      if (line.length > std::int64_t{1} << 40) return ParseStatus::Malformed;
      cursor.missing += static_cast<std::uint64_t>(line.length);
    }
    cursor.offset = end;
    --cursor.missing;
  }
  return ParseStatus::Complete;
}

std::optional<RespValue> parse_reply(std::string_view bytes) {
  ReplyCursor cursor;
  if (find_reply_end(bytes, cursor) != ParseStatus::Complete || cursor.offset != bytes.size())
    return std::nullopt;
  RespValue value;
  std::size_t offset = 0;
  if (!read_value(bytes, offset, 0, value)) return std::nullopt;
  return value;
}

void append_simple(std::string& out, std::string_view text) { append_text_line(out, '+', text); }
void append_error(std::string& out, std::string_view text) { append_text_line(out, '-', text); }
void append_integer(std::string& out, std::int64_t number) { append_number_line(out, ':', number); }
void append_null(std::string& out) { out += "$-1\r\n"; }

void append_bulk(std::string& out, std::string_view bytes) {
  append_number_line(out, '$', static_cast<std::int64_t>(bytes.size()));
  out += bytes;
  out += "\r\n";
}

void append_array_header(std::string& out, std::size_t elements) {
  append_number_line(out, '*', static_cast<std::int64_t>(elements));
}

void append_command(std::string& out, std::span<const std::string_view> args) {
  append_array_header(out, args.size());
  for (const std::string_view arg : args) append_bulk(out, arg);
}

std::string error_reply(std::string_view text) {
  std::string out;
  append_error(out, text);
  return out;
}

std::string simple_reply(std::string_view text) {
  std::string out;
  append_simple(out, text);
  return out;
}

}  // namespace redis_router
