// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <absl/time/time.h>

#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "byte_buffer.hpp"
#include "dirty_keys.hpp"
#include "options.hpp"
#include "placement/clock.hpp"
#include "placement_commands.hpp"
#include "tenant.hpp"
#include "text.hpp"

namespace redis_router {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using namespace std::string_literals;

TEST(Tenant, IsTheTextBeforeTheFirstColon) {
  EXPECT_EQ(tenant_of("acme:user:1"), "acme");
  EXPECT_EQ(tenant_of(":x"), "");
  EXPECT_EQ(tenant_of("acme"), "acme");
  EXPECT_EQ(tenant_of("a\0b:c"s), "a\0b"s);
}

TEST(Tenant, PatternTakesGlobCharactersLiterally) {
  EXPECT_EQ(keys_pattern("acme"), "acme:*");
  EXPECT_EQ(keys_pattern("a*?[x-y]\\^"), "a\\*\\?\\[x\\-y\\]\\\\\\^:*");
}

std::variant<Options, HelpWanted, BadOption> parse(std::vector<const char*> args) {
  return parse_options(args);
}
std::string problem(std::vector<const char*> args) {
  const auto parsed = parse(std::move(args));
  const auto* bad = std::get_if<BadOption>(&parsed);
  return bad == nullptr ? "" : bad->message;
}

TEST(CommandLine, TakesWhatTheUsageSays) {
  const auto parsed = parse({"--listen", "127.0.0.1:7000", "--cluster", "a=127.0.0.1:7001",
                             "--cluster=b=[::1]:7002", "--threads", "3", "--hold-timeout", "250ms",
                             "--default-cluster", "b", "--max-bulk", "1mb"});
  const auto* options = std::get_if<Options>(&parsed);
  ASSERT_NE(options, nullptr);
  EXPECT_EQ(options->listen, (Endpoint{"127.0.0.1", 7000}));
  ASSERT_EQ(options->clusters.size(), 2U);
  EXPECT_EQ(options->clusters[1].name, "b");
  EXPECT_EQ(options->clusters[1].endpoint, (Endpoint{"::1", 7002}));
  EXPECT_EQ(options->threads, 3U);
  EXPECT_EQ(options->hold_timeout, absl::Milliseconds(250));
  EXPECT_EQ(options->default_cluster, "b");
  EXPECT_EQ(options->resp.max_bulk, std::size_t{1} << 20);
}

TEST(CommandLine, AsksForHelpAnywhere) {
  EXPECT_TRUE(std::holds_alternative<HelpWanted>(parse({"--threads", "2", "--help"})));
}

TEST(CommandLine, NamesWhatIsWrong) {
  const char* const listen = "--listen=127.0.0.1:7000";
  const char* const a = "--cluster=a=127.0.0.1:7001";
  EXPECT_THAT(problem({a}), HasSubstr("--listen"));
  EXPECT_THAT(problem({listen}), HasSubstr("--cluster"));
  EXPECT_THAT(problem({listen, a, "--what"}), HasSubstr("unknown option '--what'"));
  EXPECT_THAT(problem({listen, a, "--threads"}), HasSubstr("--threads wants a value"));
  for (const char* wrong :
       {"--threads=0", "--threads=x", "--threads=2x", "--hold-timeout=5", "--hold-timeout=-1s",
        "--hold-timeout=0", "--max-bulk=0", "--max-bulk=12pb", "--listen=7000", "--cluster=b",
        "--cluster=b=x", "--cluster=b=127.0.0.1:99999", "--cluster=b=h:0", "--cluster==h:1",
        "--cluster=b c=h:1", "--default-cluster=zz",
        "--default-cluster=", "--max-request=99999999999999999999gb"}) {
    const std::string message = problem({listen, a, wrong});
    EXPECT_THAT(message, HasSubstr(std::string(wrong).substr(0, std::string(wrong).find('='))))
        << wrong;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST(CommandLine, RefusesTwoNamesForOneServer) {
  EXPECT_THAT(problem({"--listen=h:1", "--cluster=a=h:2", "--cluster=b=h:2"}),
              HasSubstr("given twice"));
  EXPECT_THAT(problem({"--listen=h:1", "--cluster=a=h:2", "--cluster=a=h:3"}),
              HasSubstr("given twice"));
}

WriteKeys keys(std::initializer_list<std::string_view> names) {
  WriteKeys keys;
  for (const std::string_view name : names) keys.add(name);
  return keys;
}

TEST(DirtyKeys, KeepsTheKeysOfAWriteApart) {
  std::vector<std::string> seen;
  const WriteKeys written = keys({"t:", "t", "t:\0x"});
  written.for_each([&](std::string_view key) { seen.emplace_back(key); });
  EXPECT_THAT(seen, ElementsAre("t:", "t", "t:\0x"));
  EXPECT_EQ(written.tenant(), "t");
}

TEST(DirtyKeys, AreTakenOnce) {
  DirtyKeyRegistry registry;
  const auto tracker = registry.track("t");
  registry.mark_answered(keys({"t:1", "t:2"}));
  registry.mark_answered(keys({"t:2"}));
  EXPECT_EQ(tracker->size(), 2U);
  EXPECT_THAT(tracker->take(), UnorderedElementsAre("t:1", "t:2"));
  EXPECT_EQ(tracker->size(), 0U);
}

TEST(DirtyKeys, AreThoseOfTrackedTenantsAlone) {
  DirtyKeyRegistry registry;
  registry.mark_answered(keys({"t:0"}));
  const auto tracker = registry.track("t");
  registry.mark_answered(keys({"u:1"}));
  registry.mark_answered(keys({"t"}));
  registry.untrack("t");
  registry.mark_answered(keys({"t:2"}));
  EXPECT_THAT(tracker->take(), ElementsAre("t"));
}

TEST(DirtyKeys, OfAWriteWhoseOutcomeIsUnknownAreKnownToATrackerThatIsMadeLater) {
  DirtyKeyRegistry registry;
  registry.mark_unknown(keys({"t:over"}), -absl::Seconds(1));
  registry.mark_unknown(keys({"t:1", "t:2"}), absl::Hours(1));
  registry.mark_unknown(keys({"u:1"}), absl::Hours(1));
  const auto tracker = registry.track("t");
  EXPECT_GT(tracker->last_settled(), placement::Clock::system().now());
  registry.mark_unknown(keys({"t:3"}), absl::Hours(1));
  EXPECT_THAT(tracker->take(), UnorderedElementsAre("t:1", "t:2", "t:3"));
}

TEST(DirtyKeys, OfAWriteInQuarantineAreTakenAgain) {
  DirtyKeyRegistry registry;
  const auto tracker = registry.track("t");
  registry.mark_answered(keys({"t:1"}));
  registry.mark_unknown(keys({"t:2"}), absl::Hours(1));
  EXPECT_THAT(tracker->take(), UnorderedElementsAre("t:1", "t:2"));
  EXPECT_THAT(tracker->take(), ElementsAre("t:2"));
  EXPECT_EQ(tracker->size(), 1U);
}

TEST(DirtyKeys, AreNoLongerTakenAgainAfterTheQuarantine) {
  DirtyKeyRegistry registry;
  const auto tracker = registry.track("t");
  registry.mark_unknown(keys({"t:1"}), absl::Milliseconds(1));
  while (placement::Clock::system().now() < tracker->last_settled()) {
  }
  EXPECT_THAT(tracker->take(), ElementsAre("t:1"));
  EXPECT_EQ(tracker->size(), 0U);
}

TEST(ByteBuffer, GivesBackWhatCameInOrder) {
  ByteBuffer buffer;
  std::string expected;
  std::size_t consumed = 0;
  for (std::size_t i = 0; i < 2'000; ++i) {
    const ByteBuffer::Room room = buffer.prepare();
    ASSERT_GE(room.size, 4096U);
    const std::size_t size = 1 + (i * 977) % 4096;
    for (std::size_t j = 0; j < size; ++j) {
      room.data[j] = static_cast<char>(i + j);
      expected += room.data[j];
    }
    buffer.commit(size);
    const std::size_t used = i % 3 == 0 ? buffer.size() : buffer.size() / 2;
    ASSERT_EQ(buffer.view(), std::string_view(expected).substr(consumed));
    buffer.consume(used);
    consumed += used;
  }
}

TEST(OneWord, KeepsAnyNameInOnePiece) {
  EXPECT_EQ(one_word("acme-1"), "acme-1");
  EXPECT_EQ(one_word(""), "\"\"");
  EXPECT_EQ(one_word("a b\r\n\"\\\xff"), "\"a b\\x0d\\x0a\\x22\\x5c\\xff\"");
}

TEST(RefusalText, BeginsWithTheRefusalsName) {
  EXPECT_THAT(refusal_text(placement::to_status(placement::MigrationError::NotCutover)),
              testing::StartsWith("NOTCUTOVER the "));
  EXPECT_THAT(refusal_text(placement::to_status(placement::MigrationError::UnknownPartition)),
              testing::StartsWith("NOPLACEMENT the "));
}

}  // namespace
}  // namespace redis_router
