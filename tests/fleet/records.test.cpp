// SPDX-License-Identifier: Apache-2.0
#include "placement/fleet/records.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "../support/threads.hpp"

namespace placement::test {
namespace {

using namespace fleet;  // NOLINT(google-build-using-namespace): every name here is from there
using testing::HasSubstr;

const std::string kSession = "0123456789abcdef0123456789abcdef";

std::string all_bytes() {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  return bytes;
}

// Bytes that somebody else chose: of any length, often of what has a meaning to us.
std::string hostile(Random& random) {
  static const std::vector<std::string> kPieces = {
      "%", "/",  "\"",   "\\",       "{",
      "}", "\n", "\xff", "\xc3\xa9", "\xed\xa0\x80",
      "a", " ",  "%41",  "..",       std::string("\0", 1)};
  std::string bytes;
  for (std::uint64_t pieces = below(random, 8); pieces > 0; --pieces) {
    bytes += kPieces[below(random, kPieces.size())];
  }
  return bytes;
}

Place hostile_place(Random& random) {
  Place place;
  place.mode = static_cast<PlacementMode>(below(random, 3));
  place.cluster = hostile(random);
  if (place.mode != PlacementMode::DedicatedCluster) place.index = hostile(random);
  return place;
}

std::vector<std::string> hostile_texts(Random& random) {
  std::vector<std::string> texts;
  for (std::uint64_t left = below(random, 4); left > 0; --left) texts.push_back(hostile(random));
  return texts;
}

Users hostile_users(Random& random) {
  Users users;
  for (std::uint64_t left = below(random, 4); left > 0; --left) {
    users[hostile(random)] = hostile(random);
  }
  return users;
}

SessionRecord hostile_session(Random& random) {
  SessionRecord record;
  record.name = hostile(random);
  record.address = hostile(random);
  record.protocol = static_cast<std::uint32_t>(random());
  record.ttl = absl::Nanoseconds(below(random, 1U << 30));
  record.write_timeout = absl::Nanoseconds(std::numeric_limits<std::int64_t>::max());
  record.seq = random();
  record.applied = Revision(below(random, Revision::max().value() + 1));
  record.undrained = {hostile_texts(random), std::nullopt};
  record.reading = {hostile_texts(random), Revision::max()};
  record.users = hostile_users(random);
  if (below(random, 2) == 0) record.supersedes = kSession;
  return record;
}

template <typename Record>
void expect_round_trip(const Record& record) {
  const std::string value = encode(record);
  for (const char c : value) ASSERT_TRUE(c >= 0x20 && c < 0x7f) << value;
  const auto decoded = decode<Record>(value);
  ASSERT_TRUE(decoded.ok()) << decoded.status() << "\n" << value;
  EXPECT_EQ(*decoded, record) << value;
  EXPECT_EQ(encode(*decoded), value);
}

template <typename Record>
std::optional<Fault> fault(std::string_view value) {
  const auto decoded = decode<Record>(value);
  return decoded.ok() ? std::nullopt : fault_of(decoded.status());
}

// ---- keys ----

TEST(RecordKeys, AreThoseOfTheDesign) {
  EXPECT_EQ(to_key(HistoryKey{}), "history");
  EXPECT_EQ(to_key(SettingsKey{}), "settings");
  EXPECT_EQ(to_key(HeadKey{}), "table/head");
  EXPECT_EQ(to_key(PartitionRecordKey{"tenant-42"}), "table/p/tenant-42");
  EXPECT_EQ(to_key(PartitionRecordKey{"a/b c%"}), "table/p/a%2Fb%20c%25");
  EXPECT_EQ(to_key(RouterKey{kSession}), "sessions/routers/" + kSession);
  EXPECT_EQ(to_key(ControllerKey{kSession}), "sessions/controllers/" + kSession);
  EXPECT_EQ(to_key(FencedKey{kSession}), "sessions/fenced/" + kSession);
  EXPECT_EQ(to_key(MoveKey{"x"}), "moves/x");
  EXPECT_EQ(to_key(LeftoverKey{"c/i", "x"}), "leftovers/c%2Fi/x");
}

TEST(RecordKeys, GiveBackWhatTheyWereMadeOf) {
  Random random = make_random();
  std::vector<RecordKey> keys = {HistoryKey{},        SettingsKey{},
                                 HeadKey{},           PartitionRecordKey{all_bytes()},
                                 RouterKey{kSession}, ControllerKey{kSession},
                                 FencedKey{kSession}, MoveKey{""},
                                 LeftoverKey{"", ""}, LeftoverKey{all_bytes(), all_bytes()}};
  for (int i = 0; i < 2000; ++i) {
    keys.emplace_back(PartitionRecordKey{hostile(random)});
    keys.emplace_back(MoveKey{hostile(random)});
    keys.emplace_back(LeftoverKey{hostile(random), hostile(random)});
  }
  for (const RecordKey& key : keys) {
    const auto parsed = parse_key(to_key(key));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(*parsed == key) << to_key(key);
  }
}

TEST(RecordKeys, OfDifferentIdsDiffer) {
  Random random = make_random();
  std::set<std::string> ids;
  std::set<std::string> keys;
  for (int i = 0; i < 5000; ++i) {
    const std::string id = hostile(random);
    ids.insert(id);
    keys.insert(to_key(PartitionRecordKey{id}));
  }
  EXPECT_EQ(keys.size(), ids.size());
}

TEST(RecordKeys, RefuseWhatIsNotOurs) {
  for (const std::string& key :
       {std::string(), std::string("histor"), std::string("history/"), std::string("table/"),
        std::string("table/heads"), std::string("table/q/a"), std::string("sessions/"),
        "sessions/routers/" + kSession.substr(1), "sessions/routers/" + kSession + "0",
        std::string("sessions/fenced/0123456789ABCDEF0123456789abcdef"),
        std::string("sessions/other/") + kSession, std::string("leftovers/place"),
        std::string("leftovers/a/b/c"), std::string("table/p/a/b"), std::string("moves/a b"),
        std::string("\0history", 8), std::string("registry/pods/x"),
        // Another spelling of a key that is ours.
        std::string("table/p/%41"), std::string("table/p/%2f"), std::string("table/p/%"),
        std::string("table/p/%2"), std::string("table/p/%zz"), std::string("table/p/\xc3\xa9")}) {
    const auto parsed = parse_key(key);
    ASSERT_FALSE(parsed.ok()) << key;
    EXPECT_EQ(fault_of(parsed.status()), Fault::NotOurs) << key;
  }
}

TEST(RecordKeys, OfTheTableHaveItsPrefixAndNoOthersDo) {
  // Whoever watches table/ sees the head and the partitions, whatever their ids.
  EXPECT_TRUE(to_key(PartitionRecordKey{all_bytes()}).starts_with(kTablePrefix));
  EXPECT_TRUE(to_key(HeadKey{}).starts_with(kTablePrefix));
  EXPECT_FALSE(to_key(MoveKey{"table/"}).starts_with(kTablePrefix));
}

// ---- values ----

TEST(Records, AreReadAsTheyWereWritten) {
  Random random = make_random();
  for (int i = 0; i < 500; ++i) {
    HistoryRecord history;
    history.id = random_id();
    history.identity = hostile(random);
    if (i % 2 == 0) history.former = hostile(random);
    expect_round_trip(history);

    SettingsRecord settings;
    settings.margin = absl::Milliseconds(500);
    settings.rho_ppm = static_cast<std::uint32_t>(below(random, 1'000'000));
    settings.longest_ttl = absl::Seconds(10) + absl::Nanoseconds(below(random, 1000));
    settings.longest_write_timeout = absl::Seconds(5);
    settings.stale_for = absl::ZeroDuration();
    settings.strict_reads = i % 2 == 0;
    expect_round_trip(settings);

    HeadRecord head;
    head.ids = hostile_texts(random);
    expect_round_trip(head);

    PartitionRecord partition;
    partition.phase = static_cast<MigrationPhase>(below(random, 3));
    partition.from = hostile_place(random);
    partition.operation = random_id();
    if (partition.phase != MigrationPhase::Settled) partition.to = hostile_place(random);
    if (partition.phase == MigrationPhase::Cutover && i % 2 == 0) {
      partition.deadline = absl::Seconds(30);
    }
    expect_round_trip(partition);

    expect_round_trip(hostile_session(random));

    FencedRecord fenced;
    fenced.held = hostile_session(random);
    fenced.mod = Revision(7);
    fenced.is_controller = i % 2 == 0;
    fenced.by = kSession;
    expect_round_trip(fenced);

    MoveRecord move;
    move.operation = random_id();
    move.kind = static_cast<MoveKind>(below(random, 4));
    if (i % 2 == 0) {
      move.owner = kSession;
      move.step = static_cast<MoveStep>(below(random, 8));
    }
    if (i % 3 == 0) move.from = hostile_place(random);
    if (move.kind == MoveKind::Move || move.kind == MoveKind::Set) move.to = hostile_place(random);
    move.attempts = {hostile_users(random), hostile_users(random)};
    move.group = hostile_texts(random);
    if (i % 5 == 0) move.deadline = absl::Seconds(i);
    move.cancel = i % 2 == 0;
    move.progress = hostile(random);
    move.errors = hostile_texts(random);
    expect_round_trip(move);

    LeftoverRecord leftover;
    leftover.operation = random_id();
    leftover.why = hostile(random);
    expect_round_trip(leftover);
  }
}

TEST(Records, AValueIsWhatOtherProgramsCanRead) {
  PartitionRecord partition;
  partition.from = Place::of(Placement::dedicated_index(ClusterId("eu"), IndexName("t42")));
  partition.operation = "op";
  EXPECT_EQ(encode(partition),
            R"({"from":{"cluster":"eu","index":"t42","mode":"DedicatedIndex"},"operation":"op",)"
            R"("phase":"Settled","type":"partition","v":1})");
}

TEST(Records, WhatIsNoneOfOursIsSaidToBe) {
  for (const char* const value :
       {"", "x", "[]", "null", "7", "\"text\"", "{}", R"({"v":1})", R"({"type":"head"})",
        R"({"type":7,"v":1})", R"({"type":"head","v":"1"})", R"({"type":"head","v":-1})",
        R"({"type":"head","v":1.5})", R"({"type":"partition","v":1,"ids":[]})",
        R"({"type":"head","v":1,"ids":[]} )"
        "x",
        R"({"type":"head","v":1,"ids":[])", "{\"type\":\"head\",\"v\":1,\"ids\":[\"\xff\"]}"}) {
    EXPECT_EQ(fault<HeadRecord>(value), Fault::NotOurs) << value;
  }
  EXPECT_EQ(fault<HeadRecord>(std::string(100'000, '[')), Fault::NotOurs);
  EXPECT_EQ(fault<HeadRecord>(R"({"type":"head","v":1,"ids":[],"x":)" + std::string(100'000, '[') +
                              std::string(100'000, ']') + "}"),
            Fault::NotOurs);
}

TEST(Records, WhatANewerReleaseWroteIsRefusedWithItsVersion) {
  const std::string value = R"({"type":"head","v":2,"changed":true})";
  EXPECT_EQ(fault<HeadRecord>(value), Fault::NewerVersion);
  EXPECT_THAT(std::string(decode<HeadRecord>(value).status().message()), HasSubstr("version 2"));
  EXPECT_EQ(fault<HeadRecord>(R"({"type":"head","v":18446744073709551615})"), Fault::NewerVersion);

  FencedRecord fenced;
  fenced.by = kSession;
  std::string inner = encode(fenced);
  const std::string session = R"("users":{},"v":1)";
  ASSERT_THAT(inner, HasSubstr(session));
  inner.replace(inner.find(session), session.size(), R"("users":{},"v":2)");
  EXPECT_EQ(fault<FencedRecord>(inner), Fault::NewerVersion) << "of a record in a record, too";
}

TEST(Records, WhatIsOursAndBrokenIsSaidToBe) {
  for (const char* const value :
       {R"({"type":"head","v":1})", R"({"type":"head","v":1,"ids":{}})",
        R"({"type":"head","v":1,"ids":[7]})", R"({"type":"head","v":1,"ids":["%"]})",
        R"({"type":"head","v":1,"ids":["%41"]})", R"({"type":"head","v":1,"ids":["\u00e9"]})",
        R"({"type":"head","v":1,"ids":["\n"]})", R"({"type":"head","v":0,"ids":[]})"}) {
    EXPECT_EQ(fault<HeadRecord>(value), Fault::Malformed) << value;
  }
  const std::string place = R"({"mode":"DedicatedCluster","cluster":"a"})";
  for (const std::string& fields : {
           R"("phase":"Frozen","from":)" + place + R"(,"operation":"")",
           R"("phase":"Settled","from":)" + place + R"(,"operation":"","to":)" + place,
           R"("phase":"Cutover","from":)" + place + R"(,"operation":"")",
           R"("phase":"Settled","from":)" + place + R"(,"operation":"","deadline_ns":1)",
           std::string(R"("phase":"Settled","from":"a","operation":"")"),
           std::string(R"("phase":"Settled","operation":"")"),
           std::string(
               R"("phase":"Settled","from":{"mode":"SharedIndex","cluster":"a"},"operation":"")"),
       }) {
    EXPECT_EQ(fault<PartitionRecord>(R"({"type":"partition","v":1,)" + fields + "}"),
              Fault::Malformed)
        << fields;
  }
  const std::string good =
      R"({"type":"partition","v":1,"phase":"Settled","from":)" + place + R"(,"operation":""})";
  EXPECT_EQ(fault<PartitionRecord>(good), std::nullopt);
}

TEST(Records, NumbersOutOfRangeAreMalformed) {
  SettingsRecord settings;
  settings.longest_ttl = absl::Seconds(1);
  const std::string good = encode(settings);
  ASSERT_EQ(fault<SettingsRecord>(good), std::nullopt);
  const auto with = [&good](const std::string& field, const std::string& number) {
    std::string value = good;
    const std::size_t begin = value.find("\"" + field + "\":") + field.size() + 3;
    value.replace(begin, value.find_first_of(",}", begin) - begin, number);
    return value;
  };
  for (const char* const number : {"-1", "9223372036854775808", "1.0", "\"1\"", "null", "true"}) {
    EXPECT_EQ(fault<SettingsRecord>(with("retention_ns", number)), Fault::Malformed) << number;
  }
  EXPECT_EQ(fault<SettingsRecord>(with("retention_ns", "9223372036854775807")), std::nullopt);
  EXPECT_EQ(fault<SettingsRecord>(with("rho_ppm", "1000000")), Fault::Malformed);
  EXPECT_EQ(fault<SettingsRecord>(with("rho_ppm", "4294967296")), Fault::Malformed);
  EXPECT_EQ(fault<SettingsRecord>(with("longest_ttl_ns", "0")), Fault::Malformed);
}

TEST(Records, UnknownFieldsAreKeptAndWrittenBack) {
  const std::string value =
      R"({"cancel":false,"errors":[],"group":[],"kind":"Erase","later":{"deep":[1,2.5,"\u00e9"]},)"
      R"("operation":"o","progress":"","attempts":[],"step":"Requested","type":"move","v":1})";
  auto move = decode<MoveRecord>(value);
  ASSERT_TRUE(move.ok()) << move.status();
  move->cancel = true;  // as an older release sets the mark
  const auto again = decode<MoveRecord>(encode(*move));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->cancel);
  EXPECT_EQ(again->unknown, move->unknown);
  EXPECT_THAT(encode(*again), HasSubstr(R"("later":{"deep":[1,2.5,"\u00e9"]})"));

  // Nor can such a field pass for one that is known.
  move->unknown["cancel"] = "no";
  move->unknown["v"] = 99;
  EXPECT_TRUE(decode<MoveRecord>(encode(*move)).ok());
}

TEST(Records, NoBytesMakeTheParserFail) {
  Random random = make_random();
  SessionRecord session = hostile_session(random);
  const std::string good = encode(session);
  for (int i = 0; i < 5000; ++i) {
    std::string value = good;
    for (std::uint64_t changes = 1 + below(random, 4); changes > 0; --changes) {
      const std::size_t at = below(random, value.size());
      switch (below(random, 3)) {
        case 0:
          value[at] = static_cast<char>(random());
          break;
        case 1:
          value.erase(at, 1 + below(random, 5));
          break;
        default:
          value.insert(at, hostile(random));
      }
      if (value.empty()) value = "{";
    }
    const auto decoded = decode<SessionRecord>(value);
    EXPECT_TRUE(decoded.ok() || fault_of(decoded.status()).has_value()) << decoded.status();
    (void)parse_key(value);
  }
}

TEST(Places, ComeBackAsTheyWent) {
  const ClusterId cluster("c");
  const IndexName index("i");
  for (const Placement& placement :
       {Placement::dedicated_cluster(cluster), Placement::dedicated_index(cluster, index),
        Placement::shared_index(cluster, index)}) {
    EXPECT_EQ(Place::of(placement).placement(), placement);
    EXPECT_TRUE(Place::of(placement).is_valid());
  }
}

TEST(Places, HaveOneNameOnlyIfTheirDataLiesTogether) {
  const Place cluster{PlacementMode::DedicatedCluster, "a/b", std::nullopt};
  const Place index{PlacementMode::DedicatedIndex, "a", "b"};
  const Place shared{PlacementMode::SharedIndex, "a", "b"};
  EXPECT_NE(cluster.name(), index.name());
  EXPECT_EQ(index.name(), shared.name());
}

TEST(RandomIds, AreSessionsAndDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = random_id();
    EXPECT_TRUE(is_session(id)) << id;
    EXPECT_TRUE(ids.insert(id).second);
  }
}

TEST(Faults, TravelInAStatus) {
  for (int i = 0; i <= static_cast<int>(Fault::Malformed); ++i) {
    const auto fault = static_cast<Fault>(i);
    const absl::Status status = to_status(fault, "why");
    EXPECT_EQ(fault_of(status), fault);
    EXPECT_EQ(std::string(status.message()), std::string(to_string(fault)) + ": why");
  }
  EXPECT_EQ(fault_of(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(fault_of(absl::UnavailableError("Unavailable: not ours")), std::nullopt);
}

}  // namespace
}  // namespace placement::test
