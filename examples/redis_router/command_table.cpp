// SPDX-License-Identifier: Apache-2.0
#include "command_table.hpp"

#include <algorithm>
#include <cstdlib>

#include "tenant.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

using Verdict = Routing::Verdict;

// The fields of an entry of COMMAND's reply, in the order the protocol gives them. Servers before
// Redis 7 send fewer.
constexpr std::size_t kName = 0;
constexpr std::size_t kArity = 1;
constexpr std::size_t kFlags = 2;
constexpr std::size_t kFirstKey = 3;
constexpr std::size_t kLastKey = 4;
constexpr std::size_t kStep = 5;
constexpr std::size_t kCategories = 6;
constexpr std::size_t kKeySpecs = 8;
constexpr std::size_t kSubcommands = 9;

bool has_word(const RespValue& list, std::string_view word) {
  return std::any_of(list.elements.begin(), list.elements.end(),
                     [&](const RespValue& element) { return element.text == word; });
}

// The value behind `name` in a list of alternating names and values, as RESP2 sends maps.
const RespValue* field(const RespValue& map, std::string_view name) {
  for (std::size_t i = 0; i + 1 < map.elements.size(); i += 2) {
    if (map.elements[i].text == name) return &map.elements[i + 1];
  }
  return nullptr;
}

std::string_view text_field(const RespValue& map, std::string_view name) {
  const RespValue* value = field(map, name);
  return value == nullptr ? std::string_view() : std::string_view(value->text);
}

int int_field(const RespValue* map, std::string_view name, int otherwise) {
  const RespValue* value = map == nullptr ? nullptr : field(*map, name);
  return value == nullptr ? otherwise : static_cast<int>(value->integer);
}

// Nothing if the keys cannot be found by counting arguments.
std::optional<KeySpec> key_spec(const RespValue& value) {
  const RespValue* flags = field(value, "flags");
  const RespValue* begin = field(value, "begin_search");
  const RespValue* find = field(value, "find_keys");
  if (flags == nullptr || begin == nullptr || find == nullptr) return std::nullopt;
  if (has_word(*flags, "incomplete") || text_field(*begin, "type") != "index") return std::nullopt;
  const RespValue* how = field(*find, "spec");
  KeySpec spec;
  spec.first = int_field(field(*begin, "spec"), "index", 0);
  if (spec.first <= 0) return std::nullopt;
  if (text_field(*find, "type") == "range") {
    spec.kind = KeySpec::Kind::Range;
    // The server counts the last key from the first one, but a negative one from the end of the
    // request.
    const int last = int_field(how, "lastkey", 0);
    spec.last = last < 0 ? last : spec.first + last;
    spec.step = int_field(how, "keystep", 1);
    spec.limit = int_field(how, "limit", 0);
    return spec.step > 0 ? std::optional(spec) : std::nullopt;
  }
  if (text_field(*find, "type") == "keynum" && int_field(how, "keynumidx", 0) == 0 &&
      int_field(how, "keystep", 1) == 1) {
    spec.kind = KeySpec::Kind::Counted;
    spec.offset = int_field(how, "firstkey", 1);
    return spec.offset > 0 ? std::optional(spec) : std::nullopt;
  }
  return std::nullopt;
}

void read_keys(const RespValue& entry, CommandInfo& info) {
  info.movable_keys = has_word(entry.elements[kFlags], "movablekeys");
  if (entry.elements.size() > kKeySpecs) {
    for (const RespValue& value : entry.elements[kKeySpecs].elements) {
      if (const auto spec = key_spec(value)) {
        info.keys.push_back(*spec);
      } else {
        info.ask_for_keys = true;
      }
    }
    return;
  }
  info.ask_for_keys = info.movable_keys;
  const auto first = static_cast<int>(entry.elements[kFirstKey].integer);
  if (first > 0) {
    info.keys.push_back({.kind = KeySpec::Kind::Range,
                         .first = first,
                         .last = static_cast<int>(entry.elements[kLastKey].integer),
                         .step = std::max(1, static_cast<int>(entry.elements[kStep].integer))});
  }
}

// Appends the positions that `spec` means in a request of `args`; false if the request does not
// make sense.
bool append_positions(const KeySpec& spec, std::span<const std::string_view> args,
                      std::vector<std::size_t>& out) {
  const auto count = static_cast<std::int64_t>(args.size());
  if (spec.kind == KeySpec::Kind::Counted) {
    if (spec.first >= count) return false;
    const auto keys = parse_number<std::int64_t>(args[static_cast<std::size_t>(spec.first)]);
    if (!keys || *keys < 0 || *keys > count - spec.first - spec.offset) return false;
    for (std::int64_t i = 0; i < *keys; ++i)
      out.push_back(static_cast<std::size_t>(spec.first + spec.offset + i));
    return true;
  }
  std::int64_t last = spec.last >= 0 ? spec.last : count + spec.last;
  if (spec.last == -1 && spec.limit > 1) last = spec.first + (count - spec.first) / spec.limit - 1;
  if (spec.first > last || last >= count) return false;
  for (std::int64_t i = spec.first; i <= last; i += spec.step)
    out.push_back(static_cast<std::size_t>(i));
  return true;
}

bool has_argument(std::span<const std::string_view> args, std::string_view word) {
  return std::any_of(args.begin() + 1, args.end(),
                     [&](std::string_view arg) { return same_word(arg, word); });
}

// Commands that carry a key out of the tenant's reach: to another database or another server, where
// no move finds it.
bool leaves_the_router(const CommandInfo& info, std::span<const std::string_view> args) {
  if (info.name == "migrate" || info.name == "move") return true;
  return info.name == "copy" && args.size() > 3 && has_argument(args.subspan(2), "db");
}

// Why a request cannot be routed whatever its keys are; empty if it can.
std::string_view refusal(const CommandInfo& info, std::span<const std::string_view> args) {
  if (info.pubsub) return "channels do not belong to a tenant";
  if (info.transaction) return "transactions need a server connection of their own";
  if (info.admin) return "it administers a server";
  // Those whose keys stand behind a keyword (XREAD) block only if asked to.
  if (info.blocking && (!info.ask_for_keys || has_argument(args, "block")))
    return "it can block the connection";
  if (leaves_the_router(info, args)) return "it takes keys away from their tenant's server";
  if (info.keys.empty() && !info.ask_for_keys) return "it names no key, hence no tenant";
  // Neither reads nor writes and no script either: what it does is bound to the connection.
  if (info.use == CommandUse::Unknown && !info.movable_keys)
    return "it needs a server connection of its own";
  return {};
}

}  // namespace

std::optional<CommandTable> CommandTable::from_reply(const RespValue& reply) {
  if (!reply.is_array() || reply.elements.empty()) return std::nullopt;
  CommandTable table;
  for (const RespValue& entry : reply.elements) table.add(entry, {});
  return table;
}

void CommandTable::add(const RespValue& entry, std::string_view parent) {
  if (entry.elements.size() <= kStep) return;
  CommandInfo info;
  info.name = lower(entry.elements[kName].text);
  if (!parent.empty() && info.name.find('|') == std::string::npos)
    info.name = concat(parent, "|", info.name);
  info.arity = static_cast<int>(entry.elements[kArity].integer);
  const RespValue& flags = entry.elements[kFlags];
  info.use = has_word(flags, "write")      ? CommandUse::Write
             : has_word(flags, "readonly") ? CommandUse::Read
                                           : CommandUse::Unknown;
  info.blocking = has_word(flags, "blocking");
  info.pubsub = has_word(flags, "pubsub");
  info.admin = has_word(flags, "admin");
  info.transaction =
      entry.elements.size() > kCategories && has_word(entry.elements[kCategories], "@transaction");
  read_keys(entry, info);
  if (entry.elements.size() > kSubcommands) {
    for (const RespValue& subcommand : entry.elements[kSubcommands].elements) {
      info.has_subcommands = true;
      add(subcommand, info.name);
    }
  }
  std::string name = info.name;
  commands_.insert_or_assign(std::move(name), std::move(info));
}

const CommandInfo* CommandTable::find(std::span<const std::string_view> args) const {
  // Lower case in a buffer of its own: this runs for every request. No command has a name this
  // long.
  char buffer[64];
  std::size_t size = 0;
  const auto append = [&](std::string_view word) {
    if (word.size() > sizeof buffer - size) return false;
    std::transform(word.begin(), word.end(), buffer + size, ascii_lower);
    size += word.size();
    return true;
  };
  if (args.empty() || !append(args[0])) return nullptr;
  const auto command = commands_.find(std::string_view(buffer, size));
  if (command == commands_.end()) return nullptr;
  if (!command->second.has_subcommands || args.size() < 2) return &command->second;
  if (!append("|") || !append(args[1])) return nullptr;
  const auto subcommand = commands_.find(std::string_view(buffer, size));
  return subcommand == commands_.end() ? nullptr : &subcommand->second;
}

void CommandTable::merge(const CommandTable& other) {
  for (const auto& [name, theirs] : other.commands_) {
    const auto [mine, added] = commands_.try_emplace(name, theirs);
    if (added) continue;
    CommandInfo& info = mine->second;
    if (theirs.use == CommandUse::Write ||
        (theirs.use == CommandUse::Unknown && info.use == CommandUse::Read)) {
      info.use = theirs.use;
    }
    info.blocking |= theirs.blocking;
    info.pubsub |= theirs.pubsub;
    info.admin |= theirs.admin;
    info.transaction |= theirs.transaction;
    info.movable_keys |= theirs.movable_keys;
    info.has_subcommands |= theirs.has_subcommands;
    info.ask_for_keys |= theirs.ask_for_keys || info.keys != theirs.keys;
  }
}

void plan_route(const CommandTable& table, std::span<const std::string_view> args, bool keys_asked,
                Routing& routing) {
  routing.verdict = Verdict::Refuse;
  routing.keys.clear();
  routing.error.clear();
  const CommandInfo* info = table.find(args);
  if (info == nullptr) {
    routing.error = concat("ERR unknown command ", quote(args[0]));
    return;
  }
  const auto count = static_cast<int>(std::min<std::size_t>(args.size(), 1 << 30));
  if (info->arity >= 0 ? count != info->arity : count < -info->arity) {
    routing.error = concat("ERR wrong number of arguments for ", quote(info->name), " command");
    return;
  }
  if (const auto why = refusal(*info, args); !why.empty()) {
    routing.error = concat("NOROUTE ", quote(info->name), " cannot be routed: ", why);
    return;
  }
  routing.write = info->use != CommandUse::Read;
  if (keys_asked || info->ask_for_keys) {
    routing.verdict = keys_asked ? Verdict::Route : Verdict::AskForKeys;
    return;
  }
  for (const KeySpec& spec : info->keys) {
    if (!append_positions(spec, args, routing.keys)) {
      routing.error = concat("ERR the keys of ", quote(info->name),
                             " cannot be told: wrong number of keys or arguments");
      return;
    }
  }
  if (routing.keys.empty()) {
    routing.error = concat("NOROUTE ", quote(info->name),
                           " cannot be routed: it names no key, hence no tenant");
    return;
  }
  routing.verdict = Verdict::Route;
}

bool one_tenant(std::span<const std::string_view> keys) {
  return std::all_of(keys.begin(), keys.end(), [&](std::string_view key) {
    return tenant_of(key) == tenant_of(keys.front());
  });
}

}  // namespace redis_router
