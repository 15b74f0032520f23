// SPDX-License-Identifier: Apache-2.0
#ifndef REDIS_ROUTER_COMMAND_TABLE_HPP_
#define REDIS_ROUTER_COMMAND_TABLE_HPP_

// Which commands there are, which of them write, and where their keys stand: learned from the
// server's answer to COMMAND, so that a server's new commands and modules are routed without a
// change here.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "resp.hpp"

namespace redis_router {

// Maps from std::string that are asked with a std::string_view, also with abseils whose string_view
// is another type.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return absl::Hash<std::string_view>{}(text);
  }
};
template <class Value>
using TextMap = absl::flat_hash_map<std::string, Value, TextHash, std::equal_to<>>;

// Where some keys of a command stand.
struct KeySpec {
  enum class Kind {
    Range,    // arguments first, first + step, ... up to last (negative: counted from the end)
    Counted,  // argument `first` says how many keys follow from `first + offset` on
  };
  Kind kind = Kind::Range;
  int first = 1;
  int last = 1;
  int step = 1;
  int limit =
      0;  // Range with last == -1: only the first 1/limit of the arguments, if it is 2 or more
  int offset = 1;  // Counted

  friend bool operator==(const KeySpec&, const KeySpec&) = default;
};

enum class CommandUse {
  Read,
  Write,
  // The server says neither: scripts and functions, which may do both.
  Unknown,
};

struct CommandInfo {
  std::string name;  // in lower case; a subcommand's is "xgroup|create"
  int arity = -1;    // arguments with the name; negative: at least that many
  CommandUse use = CommandUse::Unknown;
  bool blocking = false;
  bool pubsub = false;
  bool admin = false;
  bool transaction = false;
  // Where the keys stand depends on words among the arguments: only the server can say (COMMAND
  // GETKEYS).
  bool ask_for_keys = false;
  bool movable_keys = false;
  std::vector<KeySpec> keys;
  bool has_subcommands = false;
};

class CommandTable {
 public:
  // From the reply to COMMAND; nothing if it is not one.
  [[nodiscard]] static std::optional<CommandTable> from_reply(const RespValue& reply);

  // The command, or its subcommand, that a request names.
  [[nodiscard]] const CommandInfo* find(std::span<const std::string_view> args) const;
  [[nodiscard]] std::size_t size() const noexcept { return commands_.size(); }

  // Makes this table good for requests to either server: what one of them takes for a write is one,
  // and where they do not agree on the keys the server is asked.
  void merge(const CommandTable& other);

 private:
  void add(const RespValue& entry, std::string_view parent);

  TextMap<CommandInfo> commands_;
};

// What the router can do with a request.
struct Routing {
  enum class Verdict {
    Route,
    AskForKeys,  // COMMAND GETKEYS first
    Refuse,      // `error` says why
  };
  Verdict verdict = Verdict::Refuse;
  bool write = true;
  std::vector<std::size_t> keys;  // positions among the arguments
  std::string error;
};

// Decides from the table alone. `keys_asked`: the keys are known from the server already, so only
// the rest counts.
void plan_route(const CommandTable& table, std::span<const std::string_view> args, bool keys_asked,
                Routing& routing);

// What is wrong with keys that do not all belong to one tenant; nothing if they do.
[[nodiscard]] bool one_tenant(std::span<const std::string_view> keys);

}  // namespace redis_router

#endif  // REDIS_ROUTER_COMMAND_TABLE_HPP_
