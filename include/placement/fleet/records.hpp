// SPDX-License-Identifier: Apache-2.0
//
// What a fleet keeps in its store: the keys, and the values that belong to them.
//
// Keys are text. What comes from outside (ids, places) stands in them percent-encoded: letters,
// digits, `-`, `.`, `_` and `~` as they are, every other byte as `%` and two capital hexadecimal
// digits. A key has one spelling, so what is spelt otherwise is not ours.
//
// Values are JSON objects, in ASCII, with the fields `type` and `v`. Texts in them are lossless for
// any bytes: printable ASCII as it is, `%` and every other byte as in keys. Durations are whole
// nanoseconds.
//
// Versions. `v` is the version of the record's type. Who reads a greater one than he knows refuses
// it (Fault::NewerVersion). A release that adds what older ones may ignore keeps `v`: a reader
// keeps the fields that he does not know, and writes them back when he writes the record again.
// Whatever older ones must not ignore, a new enumerator among it, makes `v` greater.
//
// Thread safety: values and functions of them.
#ifndef PLACEMENT_FLEET_RECORDS_HPP_
#define PLACEMENT_FLEET_RECORDS_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include "placement/fleet/detail/random_id.hpp"
#include "placement/fleet/store.hpp"
#include "placement/migration.hpp"
#include "placement/placement.hpp"

namespace placement {
inline namespace v1 {
namespace fleet {

namespace detail {

[[nodiscard]] constexpr bool is_unreserved(unsigned char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

[[nodiscard]] constexpr bool is_plain_text(unsigned char c) noexcept {
  return c >= 0x20 && c < 0x7f && c != '%';
}

template <typename Stays>
[[nodiscard]] std::string escape(std::string_view bytes, const Stays& stays) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (stays(byte)) {
      text.push_back(c);
    } else {
      text.push_back('%');
      text.push_back(kDigits[byte >> 4]);
      text.push_back(kDigits[byte & 15]);
    }
  }
  return text;
}

// The bytes of which `text` is the escape; none if it is no byte string's.
template <typename Stays>
[[nodiscard]] std::optional<std::string> unescape(std::string_view text, const Stays& stays) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      if (!stays(static_cast<unsigned char>(text[i]))) return std::nullopt;
      bytes.push_back(text[i]);
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = digit(text[i + 1]);
    const int low = digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    const auto byte = static_cast<unsigned char>(high * 16 + low);
    if (stays(byte)) return std::nullopt;  // it would have a second spelling
    bytes.push_back(static_cast<char>(byte));
    i += 2;
  }
  return bytes;
}

}  // namespace detail

// Any bytes as a part of a key, and back. The other way round it fails for what no bytes give.
[[nodiscard]] inline std::string percent_encode(std::string_view bytes) {
  return detail::escape(bytes, detail::is_unreserved);
}
[[nodiscard]] inline std::optional<std::string> percent_decode(std::string_view text) {
  return detail::unescape(text, detail::is_unreserved);
}

// ---- keys ----

inline constexpr std::string_view kTablePrefix = "table/";
inline constexpr std::string_view kPartitionsPrefix = "table/p/";
inline constexpr std::string_view kSessionsPrefix = "sessions/";
inline constexpr std::string_view kRoutersPrefix = "sessions/routers/";
inline constexpr std::string_view kControllersPrefix = "sessions/controllers/";
inline constexpr std::string_view kFencedPrefix = "sessions/fenced/";
inline constexpr std::string_view kMovesPrefix = "moves/";
inline constexpr std::string_view kLeftoversPrefix = "leftovers/";

struct HistoryKey {
  friend bool operator==(const HistoryKey&, const HistoryKey&) = default;
};
struct SettingsKey {
  friend bool operator==(const SettingsKey&, const SettingsKey&) = default;
};
struct HeadKey {
  friend bool operator==(const HeadKey&, const HeadKey&) = default;
};
struct PartitionRecordKey {
  std::string id;  // any bytes
  friend bool operator==(const PartitionRecordKey&, const PartitionRecordKey&) = default;
};
struct RouterKey {
  std::string session;  // as random_id() gives it
  friend bool operator==(const RouterKey&, const RouterKey&) = default;
};
struct ControllerKey {
  std::string session;
  friend bool operator==(const ControllerKey&, const ControllerKey&) = default;
};
struct FencedKey {
  std::string session;
  friend bool operator==(const FencedKey&, const FencedKey&) = default;
};
struct MoveKey {
  std::string id;
  friend bool operator==(const MoveKey&, const MoveKey&) = default;
};
struct LeftoverKey {
  std::string place;  // as Place::name() gives it, or any bytes
  std::string id;
  friend bool operator==(const LeftoverKey&, const LeftoverKey&) = default;
};

using RecordKey = std::variant<HistoryKey, SettingsKey, HeadKey, PartitionRecordKey, RouterKey,
                               ControllerKey, FencedKey, MoveKey, LeftoverKey>;

[[nodiscard]] inline std::string to_key(const HistoryKey& /*key*/) { return "history"; }
[[nodiscard]] inline std::string to_key(const SettingsKey& /*key*/) { return "settings"; }
[[nodiscard]] inline std::string to_key(const HeadKey& /*key*/) { return "table/head"; }
[[nodiscard]] inline std::string to_key(const PartitionRecordKey& key) {
  return std::string(kPartitionsPrefix) + percent_encode(key.id);
}
[[nodiscard]] inline std::string to_key(const RouterKey& key) {
  return std::string(kRoutersPrefix) + percent_encode(key.session);
}
[[nodiscard]] inline std::string to_key(const ControllerKey& key) {
  return std::string(kControllersPrefix) + percent_encode(key.session);
}
[[nodiscard]] inline std::string to_key(const FencedKey& key) {
  return std::string(kFencedPrefix) + percent_encode(key.session);
}
[[nodiscard]] inline std::string to_key(const MoveKey& key) {
  return std::string(kMovesPrefix) + percent_encode(key.id);
}
[[nodiscard]] inline std::string to_key(const LeftoverKey& key) {
  return std::string(kLeftoversPrefix) + percent_encode(key.place) + "/" + percent_encode(key.id);
}
[[nodiscard]] inline std::string to_key(const RecordKey& key) {
  return std::visit([](const auto& one) { return to_key(one); }, key);
}

// 128 bits in 32 small hexadecimal digits?
[[nodiscard]] constexpr bool is_session(std::string_view text) noexcept {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Whose key this is. Fails: NotOurs.
[[nodiscard]] inline absl::StatusOr<RecordKey> parse_key(std::string_view key) {
  const auto not_ours = [key] {
    return to_status(Fault::NotOurs,
                     absl::StrCat("the key \"", detail::escape(key, detail::is_plain_text),
                                  "\" is none of a fleet's"));
  };
  if (key == "history") return RecordKey(HistoryKey{});
  if (key == "settings") return RecordKey(SettingsKey{});
  if (key == "table/head") return RecordKey(HeadKey{});
  const auto after = [&key](std::string_view prefix) -> std::optional<std::string_view> {
    if (!key.starts_with(prefix)) return std::nullopt;
    return key.substr(prefix.size());
  };
  if (const auto rest = after(kPartitionsPrefix)) {
    if (auto id = percent_decode(*rest)) return RecordKey(PartitionRecordKey{*std::move(id)});
  } else if (const auto router = after(kRoutersPrefix)) {
    if (is_session(*router)) return RecordKey(RouterKey{std::string(*router)});
  } else if (const auto controller = after(kControllersPrefix)) {
    if (is_session(*controller)) return RecordKey(ControllerKey{std::string(*controller)});
  } else if (const auto fenced = after(kFencedPrefix)) {
    if (is_session(*fenced)) return RecordKey(FencedKey{std::string(*fenced)});
  } else if (const auto move = after(kMovesPrefix)) {
    if (auto id = percent_decode(*move)) return RecordKey(MoveKey{*std::move(id)});
  } else if (const auto leftover = after(kLeftoversPrefix)) {
    const std::size_t slash = leftover->find('/');
    if (slash != std::string_view::npos) {
      auto place = percent_decode(leftover->substr(0, slash));
      auto id = percent_decode(leftover->substr(slash + 1));
      if (place && id) return RecordKey(LeftoverKey{*std::move(place), *std::move(id)});
    }
  }
  return not_ours();
}

// ---- the parts of values ----

// A placement in plain text. What is read from a store is not interned before it has been checked.
struct Place {
  PlacementMode mode = PlacementMode::DedicatedCluster;
  std::string cluster;
  std::optional<std::string> index;  // there, unless the mode is DedicatedCluster

  [[nodiscard]] static Place of(const Placement& placement) {
    Place place{placement.mode(), std::string(placement.cluster().view()), std::nullopt};
    if (placement.index()) place.index = std::string(placement.index()->view());
    return place;
  }

  [[nodiscard]] bool is_valid() const noexcept {
    return index.has_value() == (mode != PlacementMode::DedicatedCluster);
  }

  // Requires is_valid().
  [[nodiscard]] Placement placement() const {
    const ClusterId id(cluster);
    if (!index) return Placement::dedicated_cluster(id);
    return mode == PlacementMode::SharedIndex ? Placement::shared_index(id, IndexName(*index))
                                              : Placement::dedicated_index(id, IndexName(*index));
  }

  // Which place it is, whoever has it: two places have one name only if their data lies together.
  [[nodiscard]] std::string name() const {
    return index ? percent_encode(cluster) + "/" + percent_encode(*index) : percent_encode(cluster);
  }

  friend bool operator==(const Place&, const Place&) = default;
};

// Partitions of which something is still to come: listed, and where the list would be too long,
// every cutover or flip of a revision at or above `overflow_from`.
struct Pending {
  std::vector<std::string> ids;
  std::optional<Revision> overflow_from;

  friend bool operator==(const Pending&, const Pending&) = default;
};

// As whom a process speaks to each place: by Place::name().
using Users = std::map<std::string, std::string>;

enum class MoveKind { Move, Pause, Set, Erase };
enum class MoveStep { Requested, Begin, Copy, Cutover, Drain, Finish, Flip, Clean };

[[nodiscard]] constexpr std::string_view to_string(MoveKind kind) noexcept {
  constexpr std::array<std::string_view, 4> kNames = {"Move", "Pause", "Set", "Erase"};
  return kNames[static_cast<std::size_t>(kind)];
}
[[nodiscard]] constexpr std::string_view to_string(MoveStep step) noexcept {
  constexpr std::array<std::string_view, 8> kNames = {"Requested", "Begin",  "Copy", "Cutover",
                                                      "Drain",     "Finish", "Flip", "Clean"};
  return kNames[static_cast<std::size_t>(step)];
}
inline std::ostream& operator<<(std::ostream& out, MoveKind kind) { return out << to_string(kind); }
inline std::ostream& operator<<(std::ostream& out, MoveStep step) { return out << to_string(step); }

// Fields that a reader does not know: kept, to be written back. An object.
using UnknownFields = nlohmann::json;

namespace detail {

// What an enumerator is called in a value, and back.
template <typename Enum>
struct RecordEnum;
template <>
struct RecordEnum<MigrationPhase> {
  static constexpr std::array kAll = {MigrationPhase::Settled, MigrationPhase::Draining,
                                      MigrationPhase::Cutover};
};
template <>
struct RecordEnum<PlacementMode> {
  static constexpr std::array kAll = {PlacementMode::DedicatedCluster,
                                      PlacementMode::DedicatedIndex, PlacementMode::SharedIndex};
};
template <>
struct RecordEnum<MoveKind> {
  static constexpr std::array kAll = {MoveKind::Move, MoveKind::Pause, MoveKind::Set,
                                      MoveKind::Erase};
};
template <>
struct RecordEnum<MoveStep> {
  static constexpr std::array kAll = {MoveStep::Requested, MoveStep::Begin, MoveStep::Copy,
                                      MoveStep::Cutover,   MoveStep::Drain, MoveStep::Finish,
                                      MoveStep::Flip,      MoveStep::Clean};
};

// A record lists its fields once, in `fields(self, visit)`. One of these two visits them.
class RecordWriter {
 public:
  explicit RecordWriter(nlohmann::json& object) : object_(object) {}

  template <typename T>
  void operator()(const char* name, const T& value) {
    object_[name] = json(value);
  }
  template <typename T>
  void operator()(const char* name, const std::optional<T>& value) {
    if (value) object_[name] = json(*value);
  }

 private:
  static nlohmann::json json(bool value) { return value; }
  static nlohmann::json json(std::uint32_t value) { return value; }
  static nlohmann::json json(std::uint64_t value) { return value; }
  static nlohmann::json json(Revision value) { return value.value(); }
  static nlohmann::json json(absl::Duration value) {
    return absl::ToInt64Nanoseconds(std::max(value, absl::ZeroDuration()));
  }
  static nlohmann::json json(const std::string& value) { return escape(value, is_plain_text); }
  static nlohmann::json json(const Users& users) {
    nlohmann::json object = nlohmann::json::object();
    for (const auto& [place, user] : users) object[escape(place, is_plain_text)] = json(user);
    return object;
  }
  template <typename T>
  static nlohmann::json json(const std::vector<T>& values) {
    nlohmann::json array = nlohmann::json::array();
    for (const T& value : values) array.push_back(json(value));
    return array;
  }
  static nlohmann::json json(const Place& place) {
    return object_of([&place](RecordWriter& visit) {
      visit("mode", place.mode);
      visit("cluster", place.cluster);
      visit("index", place.index);
    });
  }
  static nlohmann::json json(const Pending& pending) {
    return object_of([&pending](RecordWriter& visit) {
      visit("ids", pending.ids);
      visit("overflow_from", pending.overflow_from);
    });
  }
  template <typename Enum>
    requires requires { RecordEnum<Enum>::kAll; }
  static nlohmann::json json(Enum value) {
    return std::string(to_string(value));
  }
  template <typename Record>
    requires requires { Record::kType; }
  static nlohmann::json json(const Record& record) {
    nlohmann::json object = record.unknown.is_object() ? record.unknown : nlohmann::json::object();
    object["type"] = std::string(Record::kType);
    object["v"] = Record::kVersion;
    RecordWriter visit(object);
    Record::fields(record, visit);
    return object;
  }

  template <typename Body>
  static nlohmann::json object_of(const Body& body) {
    nlohmann::json object = nlohmann::json::object();
    RecordWriter visit(object);
    body(visit);
    return object;
  }

  template <typename Record>
  friend nlohmann::json to_json(const Record& record);

  nlohmann::json& object_;
};

template <typename Record>
nlohmann::json to_json(const Record& record) {
  return RecordWriter::json(record);
}

class RecordReader {
 public:
  explicit RecordReader(const nlohmann::json& object) : object_(object) {}

  template <typename T>
  void operator()(const char* name, T& value) {
    known_.insert(name);
    const auto found = object_.find(name);
    if (found == object_.end()) {
      fail(name, "is missing");
    } else if (!read(*found, value)) {
      fail(name, "is not what it should be");
    }
  }
  template <typename T>
  void operator()(const char* name, std::optional<T>& value) {
    known_.insert(name);
    value.reset();
    const auto found = object_.find(name);
    if (found == object_.end()) return;
    T there{};
    if (!read(*found, there)) return fail(name, "is not what it should be");
    value = std::move(there);
  }

  // OK, or the first field that was wrong.
  [[nodiscard]] const absl::Status& status() const noexcept { return status_; }

  [[nodiscard]] UnknownFields unknown() const {
    UnknownFields rest = nlohmann::json::object();
    for (const auto& [name, value] : object_.items()) {
      if (name != "type" && name != "v" && known_.find(name) == known_.end()) rest[name] = value;
    }
    return rest;
  }

  // `value` as a record: is it one, of that type and of a version that we know?
  template <typename Record>
  static absl::Status read_record(const nlohmann::json& value, Record& record) {
    if (!value.is_object()) return not_ours("is no object");
    const auto type = value.find("type");
    const auto version = value.find("v");
    if (type == value.end() || version == value.end() || !type->is_string() ||
        !version->is_number_unsigned()) {
      return not_ours("has no type and version");
    }
    if (*type->get_ptr<const std::string*>() != Record::kType) {
      return not_ours(absl::StrCat("is a \"", *type->get_ptr<const std::string*>(), "\" where a \"",
                                   std::string(Record::kType), "\" belongs"));
    }
    const auto number = *version->get_ptr<const nlohmann::json::number_unsigned_t*>();
    if (number > Record::kVersion) {
      return to_status(Fault::NewerVersion,
                       absl::StrCat("a ", std::string(Record::kType), " of version ", number,
                                    "; this release knows ", Record::kVersion, ", so update it"));
    }
    if (number == 0) return to_status(Fault::Malformed, "a version of 0");
    RecordReader visit(value);
    Record::fields(record, visit);
    record.unknown = visit.unknown();
    absl::Status status = visit.status();
    if (status.ok() && !record.is_valid()) {
      status = to_status(Fault::Malformed, "its fields contradict one another");
    }
    if (status.ok()) return status;
    return to_status(fault_of(status).value_or(Fault::Malformed),
                     absl::StrCat("a ", std::string(Record::kType), ": ",
                                  std::string(status.message().data(), status.message().size())));
  }

  [[nodiscard]] static absl::Status not_ours(const std::string& why) {
    return to_status(Fault::NotOurs, absl::StrCat("the value ", why));
  }

 private:
  void fail(const char* name, std::string_view what) {
    if (status_.ok()) {
      status_ =
          to_status(Fault::Malformed, absl::StrCat("the field \"", name, "\" ", std::string(what)));
    }
  }

  bool read(const nlohmann::json& json, bool& value) {
    if (!json.is_boolean()) return false;
    value = *json.get_ptr<const bool*>();
    return true;
  }
  bool read(const nlohmann::json& json, std::uint64_t& value) {
    if (!json.is_number_unsigned()) return false;
    value = *json.get_ptr<const nlohmann::json::number_unsigned_t*>();
    return true;
  }
  bool read(const nlohmann::json& json, std::uint32_t& value) {
    std::uint64_t wide = 0;
    if (!read(json, wide) || wide > std::numeric_limits<std::uint32_t>::max()) return false;
    value = static_cast<std::uint32_t>(wide);
    return true;
  }
  bool read(const nlohmann::json& json, Revision& value) {
    std::uint64_t number = 0;
    if (!read(json, number) || number > Revision::max().value()) return false;
    value = Revision(number);
    return true;
  }
  bool read(const nlohmann::json& json, absl::Duration& value) {
    std::uint64_t number = 0;
    if (!read(json, number) ||
        number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return false;
    }
    value = absl::Nanoseconds(static_cast<std::int64_t>(number));
    return true;
  }
  bool read(const nlohmann::json& json, std::string& value) {
    if (!json.is_string()) return false;
    auto bytes = unescape(*json.get_ptr<const std::string*>(), is_plain_text);
    if (!bytes) return false;
    value = *std::move(bytes);
    return true;
  }
  bool read(const nlohmann::json& json, Users& users) {
    if (!json.is_object()) return false;
    users.clear();
    for (const auto& [place, user] : json.items()) {
      auto name = unescape(place, is_plain_text);
      if (!name || !read(user, users[*name])) return false;
    }
    return true;
  }
  template <typename T>
  bool read(const nlohmann::json& json, std::vector<T>& values) {
    if (!json.is_array()) return false;
    values.clear();
    for (const nlohmann::json& element : json) {
      if (!read(element, values.emplace_back())) return false;
    }
    return true;
  }
  bool read(const nlohmann::json& json, Place& place) {
    if (!json.is_object()) return false;
    RecordReader visit(json);
    visit("mode", place.mode);
    visit("cluster", place.cluster);
    visit("index", place.index);
    return visit.status().ok() && place.is_valid();
  }
  bool read(const nlohmann::json& json, Pending& pending) {
    if (!json.is_object()) return false;
    RecordReader visit(json);
    visit("ids", pending.ids);
    visit("overflow_from", pending.overflow_from);
    return visit.status().ok();
  }
  template <typename Enum>
    requires requires { RecordEnum<Enum>::kAll; }
  bool read(const nlohmann::json& json, Enum& value) {
    if (!json.is_string()) return false;
    for (const Enum one : RecordEnum<Enum>::kAll) {
      if (to_string(one) == *json.get_ptr<const std::string*>()) {
        value = one;
        return true;
      }
    }
    return false;
  }
  template <typename Record>
    requires requires { Record::kType; }
  bool read(const nlohmann::json& json, Record& record) {
    absl::Status status = read_record(json, record);
    if (!status.ok() && status_.ok()) status_ = status;  // it may be a newer version
    return status.ok();
  }

  const nlohmann::json& object_;
  std::set<std::string> known_;
  absl::Status status_;
};

// Is no bracket deeper than that? What handles JSON calls itself for each level.
[[nodiscard]] constexpr bool is_shallow(std::string_view json, int deepest) noexcept {
  int depth = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      if (++depth > deepest) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

}  // namespace detail

// ---- values ----

// `history`: which store this is, in which life.
struct HistoryRecord {
  static constexpr std::string_view kType = "history";
  static constexpr std::uint64_t kVersion = 1;

  std::string id;                     // as random_id() gives it
  std::string identity;               // Store::identity()
  std::optional<std::string> former;  // the history that was restored
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept { return !id.empty(); }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("id", self.id);
    visit("identity", self.identity);
    visit("former", self.former);
  }
  friend bool operator==(const HistoryRecord&, const HistoryRecord&) = default;
};

// `settings`: what the whole fleet agrees on.
struct SettingsRecord {
  static constexpr std::string_view kType = "settings";
  static constexpr std::uint64_t kVersion = 1;

  absl::Duration margin;
  std::uint32_t rho_ppm = 0;  // by how many millionths the rates of two clocks may differ
  absl::Duration longest_ttl;
  absl::Duration longest_write_timeout;
  absl::Duration stale_for;
  absl::Duration retention = absl::Hours(24);  // of sessions/fenced/
  bool strict_reads = false;
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept {
    return rho_ppm < 1'000'000 && longest_ttl > margin;
  }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("margin_ns", self.margin);
    visit("rho_ppm", self.rho_ppm);
    visit("longest_ttl_ns", self.longest_ttl);
    visit("longest_write_timeout_ns", self.longest_write_timeout);
    visit("stale_for_ns", self.stale_for);
    visit("retention_ns", self.retention);
    visit("strict_reads", self.strict_reads);
  }
  friend bool operator==(const SettingsRecord&, const SettingsRecord&) = default;
};

// `table/head`: what the last change of partitions changed.
struct HeadRecord {
  static constexpr std::string_view kType = "head";
  static constexpr std::uint64_t kVersion = 1;

  std::vector<std::string> ids;
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept { return true; }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("ids", self.ids);
  }
  friend bool operator==(const HeadRecord&, const HeadRecord&) = default;
};

// `table/p/<id>`: a partition. Its epoch is its key's mod revision.
struct PartitionRecord {
  static constexpr std::string_view kType = "partition";
  static constexpr std::uint64_t kVersion = 1;

  MigrationPhase phase = MigrationPhase::Settled;
  Place from;
  std::optional<Place> to;                 // there, unless it is settled; of a pause, `from`
  std::string operation;                   // the last one that changed it
  std::optional<absl::Duration> deadline;  // of the cutover; none for a pause
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept {
    return to.has_value() == (phase != MigrationPhase::Settled) &&
           (!deadline || phase == MigrationPhase::Cutover);
  }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("phase", self.phase);
    visit("from", self.from);
    visit("to", self.to);
    visit("operation", self.operation);
    visit("deadline_ns", self.deadline);
  }
  friend bool operator==(const PartitionRecord&, const PartitionRecord&) = default;
};

// `sessions/routers/<session>` and `sessions/controllers/<session>`: a process that lives.
struct SessionRecord {
  static constexpr std::string_view kType = "session";
  static constexpr std::uint64_t kVersion = 1;

  std::string name;
  std::string address;
  std::uint32_t protocol = 1;
  absl::Duration ttl;  // these two bind whoever waits for this session
  absl::Duration write_timeout;
  std::uint64_t seq = 0;  // of the heartbeat
  Revision applied;       // zero for a controller
  Pending undrained;
  Pending reading;
  Users users;
  std::optional<std::string> supersedes;  // the session whose first put was Unknown
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept { return !supersedes || is_session(*supersedes); }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("name", self.name);
    visit("address", self.address);
    visit("protocol", self.protocol);
    visit("ttl_ns", self.ttl);
    visit("write_timeout_ns", self.write_timeout);
    visit("seq", self.seq);
    visit("applied", self.applied);
    visit("undrained", self.undrained);
    visit("reading", self.reading);
    visit("users", self.users);
    visit("supersedes", self.supersedes);
  }
  friend bool operator==(const SessionRecord&, const SessionRecord&) = default;
};

// `sessions/fenced/<session>`: a session that was ended by another.
struct FencedRecord {
  static constexpr std::string_view kType = "fenced";
  static constexpr std::uint64_t kVersion = 1;

  SessionRecord held;  // what its key held
  Revision mod;        // of its key
  bool is_controller = false;
  std::string by;  // the session that fenced it
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept { return is_session(by); }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("held", self.held);
    visit("mod", self.mod);
    visit("is_controller", self.is_controller);
    visit("by", self.by);
  }
  friend bool operator==(const FencedRecord&, const FencedRecord&) = default;
};

// `moves/<id>`: something that changes a partition in more than one step.
struct MoveRecord {
  static constexpr std::string_view kType = "move";
  static constexpr std::uint64_t kVersion = 1;

  std::string operation;
  MoveKind kind = MoveKind::Move;
  std::optional<std::string> owner;  // a session; none yet for a request
  MoveStep step = MoveStep::Requested;
  std::optional<Place> from;
  std::optional<Place> to;         // none for a pause and an erase
  std::vector<Users> attempts;     // the users of each attempt's mover, the first one first
  std::vector<std::string> group;  // the ids that move together, this one too; empty if alone
  std::optional<absl::Duration> deadline;
  bool cancel = false;
  std::string progress;
  std::vector<std::string> errors;
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept {
    const bool has_destination = kind == MoveKind::Move || kind == MoveKind::Set;
    return to.has_value() == has_destination && (!owner || is_session(*owner)) &&
           (owner || step == MoveStep::Requested);
  }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("operation", self.operation);
    visit("kind", self.kind);
    visit("owner", self.owner);
    visit("step", self.step);
    visit("from", self.from);
    visit("to", self.to);
    visit("attempts", self.attempts);
    visit("group", self.group);
    visit("deadline_ns", self.deadline);
    visit("cancel", self.cancel);
    visit("progress", self.progress);
    visit("errors", self.errors);
  }
  friend bool operator==(const MoveRecord&, const MoveRecord&) = default;
};

// `leftovers/<place>/<id>`: what a clean-up could not remove there.
struct LeftoverRecord {
  static constexpr std::string_view kType = "leftover";
  static constexpr std::uint64_t kVersion = 1;

  std::string operation;  // that left it
  std::string why;
  UnknownFields unknown = nlohmann::json::object();

  [[nodiscard]] bool is_valid() const noexcept { return true; }
  template <typename Self, typename Visit>
  static void fields(Self& self, Visit& visit) {
    visit("operation", self.operation);
    visit("why", self.why);
  }
  friend bool operator==(const LeftoverRecord&, const LeftoverRecord&) = default;
};

// The record as a value. A duration that is negative is written as zero, one that is longer than
// 2^63 - 1 nanoseconds as that. A field that is in `unknown` and known nevertheless counts as
// known.
template <typename Record>
[[nodiscard]] std::string encode(const Record& record) {
  // Ill-formed UTF-8 can only be in an `unknown` that was not read from a value.
  return detail::to_json(record).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

// The value as a record. Fails: NotOurs (no JSON object with a type and a version, or another
// type), NewerVersion, Malformed (ours, and broken). Never throws but std::bad_alloc, whatever the
// bytes.
template <typename Record>
[[nodiscard]] absl::StatusOr<Record> decode(std::string_view value) {
  constexpr int kDeepest = 32;
  if (!detail::is_shallow(value, kDeepest)) {
    return detail::RecordReader::not_ours(absl::StrCat("is nested deeper than ", kDeepest));
  }
  const nlohmann::json json = nlohmann::json::parse(value.begin(), value.end(), nullptr, false);
  if (json.is_discarded()) return detail::RecordReader::not_ours("is no JSON");
  Record record;
  if (absl::Status status = detail::RecordReader::read_record(json, record); !status.ok()) {
    return status;
  }
  return record;
}

}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_RECORDS_HPP_
