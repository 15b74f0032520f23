// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>
#include <absl/hash/hash_testing.h>
#include <absl/status/status.h>
#include <absl/strings/string_view.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <placement/placement_table.hpp>

#include "support/lockstep.hpp"

namespace placement {
namespace {

using std::string_literals::operator""s;

template <typename T>
std::string print(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

// ---- Epoch ----

static_assert(std::is_trivially_copyable_v<Epoch>);
static_assert(sizeof(Epoch) == sizeof(std::uint64_t));
static_assert(std::is_nothrow_default_constructible_v<Epoch>);
static_assert(!std::is_convertible_v<std::uint64_t, Epoch>);
static_assert(!std::is_convertible_v<Epoch, std::uint64_t>);
static_assert(std::totally_ordered<Epoch> &&
              std::three_way_comparable<Epoch, std::strong_ordering>);
static_assert(Epoch() == Epoch::zero() && Epoch::zero().value() == 0);
static_assert(Epoch(7).value() == 7);

TEST(Epoch, IsOrderedByItsValue) {
  const std::vector<std::uint64_t> values = {0, 1, 2, std::uint64_t{1} << 59,
                                             std::numeric_limits<std::uint64_t>::max()};
  for (const std::uint64_t a : values) {
    for (const std::uint64_t b : values) {
      EXPECT_EQ(Epoch(a) == Epoch(b), a == b);
      EXPECT_EQ(Epoch(a) != Epoch(b), a != b);
      EXPECT_EQ(Epoch(a) < Epoch(b), a < b);
      EXPECT_EQ(Epoch(a) <= Epoch(b), a <= b);
      EXPECT_EQ(Epoch(a) > Epoch(b), a > b);
      EXPECT_EQ(Epoch(a) >= Epoch(b), a >= b);
      EXPECT_EQ(Epoch(a) <=> Epoch(b), a <=> b);
    }
  }
}

TEST(Epoch, LeavesFourBitsOfAStampToThePhase) {
  EXPECT_EQ(Epoch::max().value(), std::numeric_limits<std::uint64_t>::max() >> 4);
}

TEST(Epoch, PrintsItsValue) { EXPECT_EQ(print(Epoch(18)), "18"); }

TEST(Epoch, IsHashedByItsValue) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Epoch(), Epoch(1), Epoch(2), Epoch(std::uint64_t{1} << 40), Epoch::max()}));
  EXPECT_EQ(std::hash<Epoch>()(Epoch(5)), std::hash<Epoch>()(Epoch(5)));
  EXPECT_EQ((std::unordered_set<Epoch>{Epoch(1), Epoch(2), Epoch(1)}.size()), 2U);
}

// ---- ClusterId and IndexName ----

template <typename Name>
class Names : public testing::Test {};
using NameTypes = testing::Types<ClusterId, IndexName>;
TYPED_TEST_SUITE(Names, NameTypes);

template <typename Name>
constexpr bool kIsNameType =
    std::is_trivially_copyable_v<Name> && sizeof(Name) == sizeof(void*) &&
    !std::is_convertible_v<std::string_view, Name> &&
    std::constructible_from<Name, std::string_view> && std::totally_ordered<Name> &&
    std::same_as<decltype(Name("a") <=> Name("b")), std::strong_ordering>;
static_assert(kIsNameType<ClusterId> && kIsNameType<IndexName>);
static_assert(!std::equality_comparable_with<ClusterId, IndexName>);

const std::vector<std::string>& texts() {
  static const std::vector<std::string>& all = *new std::vector<std::string>{
      "", "a", "aa", "b", "\0"s, "\0\0"s, "a\0b"s, "a\0c"s, "\xff\x80"s, std::string(100'000, 'x')};
  return all;
}

TYPED_TEST(Names, KeepTheirTextWhateverItsBytes) {
  for (const std::string& text : texts()) EXPECT_EQ(TypeParam(text).view(), text);
  EXPECT_EQ(TypeParam(std::string_view()).view(), "");
}

TYPED_TEST(Names, OutliveTheStringTheyWereMadeFrom) {
  std::string text = "short-lived and too long for a small string";
  const TypeParam name(text);
  text.assign(text.size(), '?');
  EXPECT_EQ(name.view(), "short-lived and too long for a small string");
}

TYPED_TEST(Names, CompareAsTheirTexts) {
  for (const std::string& a : texts()) {
    for (const std::string& b : texts()) {
      EXPECT_EQ(TypeParam(a) == TypeParam(b), a == b);
      EXPECT_EQ(TypeParam(a) != TypeParam(b), a != b);
      EXPECT_EQ(TypeParam(a) < TypeParam(b), a < b);
      EXPECT_EQ(TypeParam(a) <=> TypeParam(b), a <=> b);
    }
  }
}

TYPED_TEST(Names, AreStoredOncePerText) {
  EXPECT_EQ(TypeParam("one text").view().data(), TypeParam("one "s + "text").view().data());
}

TYPED_TEST(Names, HashAndPrintAsTheirTexts) {
  std::vector<TypeParam> names;
  for (const std::string& text : texts()) {
    names.emplace_back(text);
    EXPECT_EQ(print(names.back()), text);
  }
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(names));
  EXPECT_EQ(std::unordered_set<TypeParam>(names.begin(), names.end()).size(), names.size());
}

TYPED_TEST(Names, ArePrintedInTheWidthOfTheStream) {
  std::ostringstream out;
  out.width(5);
  out << TypeParam("ab");
  EXPECT_EQ(out.str(), "   ab");
}

// ---- Interned ----

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const Endpoint& endpoint) {
    return H::combine(std::move(state), endpoint.host, endpoint.port);
  }
};
using Endpoints = std::vector<Endpoint>;

static_assert(std::is_trivially_copyable_v<Interned<Endpoints>>);
static_assert(sizeof(Interned<Endpoints>) == sizeof(void*));
static_assert(PlacementValue<Interned<Endpoints>>);
static_assert(!std::is_convertible_v<Endpoints, Interned<Endpoints>>);

TEST(Interned, HoldsAValueOfAnyTypeByAddress) {
  const Endpoints replicas = {{"10.0.0.1", 6379}, {"10.0.0.2", 6380}};
  const Interned<Endpoints> handle(replicas);
  EXPECT_EQ(*handle, replicas);
  EXPECT_EQ(handle.value(), replicas);
  EXPECT_EQ(handle->size(), 2U);
  EXPECT_NE(&*handle, &replicas);
}

TEST(Interned, StoresEveryValueOnce) {
  const Interned<Endpoints> a(Endpoints{{"x", 1}});
  const Interned<Endpoints> b(Endpoints{{"x", 1}});
  const Interned<Endpoints> c(Endpoints{{"x", 2}});
  EXPECT_EQ(&*a, &*b);
  EXPECT_TRUE(a == b);
  EXPECT_FALSE(a != b);
  EXPECT_FALSE(a == c);
  EXPECT_TRUE(a != c);
}

// A plug-in may have a pool of its own: a handle is an address in it.
TEST(Interned, EqualsTheSameValueInAnotherPool) {
  const Interned<std::string> here("text");
  const std::string in_another_pool = "text";
  const std::string other_in_another_pool = "other text";
  EXPECT_TRUE(here == std::bit_cast<Interned<std::string>>(&in_another_pool));
  EXPECT_FALSE(here == std::bit_cast<Interned<std::string>>(&other_in_another_pool));
}

TEST(Interned, IsHashedByItsValue) {
  const std::vector<Interned<Endpoints>> handles = {
      Interned<Endpoints>(Endpoints{}), Interned<Endpoints>(Endpoints{{"x", 1}}),
      Interned<Endpoints>(Endpoints{{"x", 2}}), Interned<Endpoints>(Endpoints{{"x", 1}, {"y", 1}})};
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(handles));
  EXPECT_EQ(std::hash<Interned<Endpoints>>()(handles[1]),
            absl::Hash<Interned<Endpoints>>()(Interned<Endpoints>(Endpoints{{"x", 1}})));
}

TEST(Interned, StaysWhereItIsWhileManyMoreAreInterned) {
  const Interned<std::string> first("the first");
  const std::string* const address = &*first;
  for (int i = 0; i < 20'000; ++i)
    static_cast<void>(Interned<std::string>("n" + std::to_string(i)));
  EXPECT_EQ(&*first, address);
  EXPECT_EQ(&*Interned<std::string>("the first"), address);
}

TEST(Interned, ThreadsThatInternTheSameValuesGetTheSameHandles) {
  constexpr int kValues = 500;
  std::vector<std::vector<const std::string*>> found(4);
  std::vector<std::thread> threads;
  for (auto& addresses : found) {
    threads.emplace_back([&addresses] {
      for (int i = 0; i < kValues; ++i) {
        addresses.push_back(&*Interned<std::string>("shared " + std::to_string(i)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& addresses : found) EXPECT_EQ(addresses, found[0]);
}

struct Zone {
  Interned<Endpoints> replicas;
  std::uint32_t zone;
  friend bool operator==(const Zone&, const Zone&) = default;
};

TEST(Interned, MakesARichPlacementFitATable) {
  const Zone east{Interned<Endpoints>(Endpoints{{"east-1", 1}, {"east-2", 2}}), 1};
  const Zone west{Interned<Endpoints>(Endpoints{{"west-1", 1}}), 2};
  BasicPlacementTable<std::string, Zone> table;
  table.set("acme", east);
  ASSERT_TRUE(table.begin_migration("acme", west));
  EXPECT_EQ(table.get("acme")->placement, east);
  EXPECT_EQ(table.state("acme")->state.destination()->replicas->front().host, "west-1");
}

// ---- PlacementMode and Placement ----

static_assert(std::is_trivially_copyable_v<Placement>);
static_assert(sizeof(Placement) <= 2 * sizeof(void*));
static_assert(PlacementValue<Placement>);

const ClusterId kA("a");
const ClusterId kB("b");
const IndexName kI("i");
const IndexName kJ("j");

std::vector<Placement> different_placements() {
  return {Placement::dedicated_cluster(kA),
          Placement::dedicated_cluster(kB),
          Placement::dedicated_index(kA, kI),
          Placement::dedicated_index(kA, kJ),
          Placement::dedicated_index(kB, kI),
          Placement::shared_index(kA, kI),
          Placement::shared_index(kA, kJ),
          Placement::shared_index(kB, kI),
          Placement::dedicated_index(ClusterId(""), IndexName("")),
          Placement::dedicated_cluster(ClusterId(""))};
}

TEST(Placement, KeepsWhatItWasMadeOf) {
  const Placement owns = Placement::dedicated_cluster(kA);
  EXPECT_EQ(owns.mode(), PlacementMode::DedicatedCluster);
  EXPECT_EQ(owns.cluster(), kA);
  EXPECT_EQ(owns.index(), std::nullopt);

  const Placement index = Placement::dedicated_index(kA, kI);
  EXPECT_EQ(index.mode(), PlacementMode::DedicatedIndex);
  EXPECT_EQ(index.cluster(), kA);
  EXPECT_EQ(index.index(), kI);

  const Placement shared = Placement::shared_index(kB, kJ);
  EXPECT_EQ(shared.mode(), PlacementMode::SharedIndex);
  EXPECT_EQ(shared.cluster(), kB);
  EXPECT_EQ(shared.index(), kJ);
}

TEST(Placement, IsEqualIfModeClusterAndIndexAre) {
  const std::vector<Placement> placements = different_placements();
  const std::vector<Placement> again = different_placements();
  for (std::size_t i = 0; i < placements.size(); ++i) {
    for (std::size_t j = 0; j < placements.size(); ++j) {
      EXPECT_EQ(placements[i] == again[j], i == j) << placements[i] << " and " << again[j];
      EXPECT_EQ(placements[i] != again[j], i != j);
    }
  }
}

TEST(Placement, IsHashedByModeClusterAndIndex) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(different_placements()));
  const std::vector<Placement> placements = different_placements();
  EXPECT_EQ(std::unordered_set<Placement>(placements.begin(), placements.end()).size(),
            placements.size());
  EXPECT_EQ(absl::flat_hash_set<Placement>(placements.begin(), placements.end()).size(),
            placements.size());
}

TEST(Placement, PrintsClusterIndexAndWhetherItIsShared) {
  EXPECT_EQ(print(Placement::dedicated_cluster(kA)), "a");
  EXPECT_EQ(print(Placement::dedicated_index(kA, kI)), "a/i");
  EXPECT_EQ(print(Placement::shared_index(kA, kI)), "a/i (shared)");
}

TEST(PlacementMode, PrintsItsName) {
  EXPECT_EQ(print(PlacementMode::DedicatedCluster), "DedicatedCluster");
  EXPECT_EQ(print(PlacementMode::DedicatedIndex), "DedicatedIndex");
  EXPECT_EQ(print(PlacementMode::SharedIndex), "SharedIndex");
}

// ---- the enumerations of a migration ----

TEST(MigrationPhase, PrintsItsName) {
  EXPECT_EQ(print(MigrationPhase::Settled), "Settled");
  EXPECT_EQ(print(MigrationPhase::Draining), "Draining");
  EXPECT_EQ(print(MigrationPhase::Cutover), "Cutover");
}

TEST(WriteAdmission, PrintsItsName) {
  EXPECT_EQ(print(WriteAdmission::Admit), "Admit");
  EXPECT_EQ(print(WriteAdmission::Reject), "Reject");
}

struct ErrorCase {
  MigrationError error;
  std::string_view name;
  absl::StatusCode code;
};
constexpr ErrorCase kErrors[] = {
    {MigrationError::UnknownPartition, "UnknownPartition", absl::StatusCode::kNotFound},
    {MigrationError::AlreadyMigrating, "AlreadyMigrating", absl::StatusCode::kAlreadyExists},
    {MigrationError::NotMigrating, "NotMigrating", absl::StatusCode::kFailedPrecondition},
    {MigrationError::NotDraining, "NotDraining", absl::StatusCode::kFailedPrecondition},
    {MigrationError::NotCutover, "NotCutover", absl::StatusCode::kFailedPrecondition},
    {MigrationError::WritesInFlight, "WritesInFlight", absl::StatusCode::kUnavailable},
};

TEST(MigrationError, PrintsItsName) {
  for (const ErrorCase& known : kErrors) EXPECT_EQ(print(known.error), known.name);
}

// ---- TransitionResult ----

static_assert(std::is_trivially_copyable_v<TransitionResult>);
static_assert(!std::is_default_constructible_v<TransitionResult>);
static_assert(!std::is_convertible_v<TransitionResult, bool>);
static_assert(!std::is_convertible_v<TransitionResult, Epoch>);
static_assert(TransitionResult(Epoch(3)).has_value() && *TransitionResult(Epoch(3)) == Epoch(3));
static_assert(!TransitionResult(MigrationError::NotDraining));
static_assert(TransitionResult(MigrationError::NotDraining).error() == MigrationError::NotDraining);

TEST(TransitionResult, OfASuccessHoldsTheEpoch) {
  const TransitionResult result = Epoch(9);
  EXPECT_TRUE(result.has_value());
  EXPECT_TRUE(static_cast<bool>(result));
  EXPECT_EQ(result.value(), Epoch(9));
  EXPECT_EQ(*result, Epoch(9));
  EXPECT_TRUE(result.status().ok());
  EXPECT_EQ(print(result), "epoch 9");
}

TEST(TransitionResult, OfARefusalHoldsTheErrorAndAStatusThatNamesIt) {
  for (const ErrorCase& known : kErrors) {
    const TransitionResult result = known.error;
    EXPECT_FALSE(result.has_value());
    EXPECT_FALSE(static_cast<bool>(result));
    EXPECT_EQ(result.error(), known.error);
    EXPECT_EQ(result.status().code(), known.code);
    EXPECT_THAT(std::string(result.status().message()),
                testing::StartsWith(std::string(known.name) + ": "));
    EXPECT_EQ(print(result), known.name);
  }
}

TEST(TransitionResult, ComparesWithResultsEpochsAndErrors) {
  std::vector<TransitionResult> results = {Epoch(0), Epoch(1), Epoch(2)};
  for (const ErrorCase& known : kErrors) results.emplace_back(known.error);
  for (std::size_t i = 0; i < results.size(); ++i) {
    for (std::size_t j = 0; j < results.size(); ++j) {
      EXPECT_EQ(results[i] == results[j], i == j);
      EXPECT_EQ(results[i] != results[j], i != j);
    }
    for (const std::uint64_t n : {0U, 1U, 2U, 3U}) {
      const bool same = i < 3 && i == n;
      EXPECT_EQ(results[i] == Epoch(n), same);
      EXPECT_EQ(Epoch(n) == results[i], same);
      EXPECT_EQ(results[i] != Epoch(n), !same);
    }
    for (std::size_t e = 0; e < std::size(kErrors); ++e) {
      const bool same = i == e + 3;
      EXPECT_EQ(results[i] == kErrors[e].error, same);
      EXPECT_EQ(kErrors[e].error == results[i], same);
      EXPECT_EQ(kErrors[e].error != results[i], !same);
    }
  }
}

// ---- BasicPartitionState ----

struct Plain {  // neither default-constructible, nor comparable, nor printable
  explicit constexpr Plain(int value) : n(value) {}
  int n;
};

using IntState = BasicPartitionState<int>;
static_assert(std::is_trivially_copyable_v<IntState> &&
              std::is_trivially_copyable_v<PartitionState>);
static_assert(IntState::active(1).read_placement() == 1);
static_assert(IntState::migrating(1, 2, MigrationPhase::Cutover).destination() == 2);
static_assert(!std::equality_comparable<BasicPartitionState<Plain>>);
static_assert(BasicPartitionState<Plain>::active(Plain(4)).read_placement().n == 4);

TEST(PartitionState, ActiveReadsAndWritesAtItsPlacement) {
  const IntState state = IntState::active(1);
  EXPECT_FALSE(state.is_migrating());
  EXPECT_EQ(state.phase(), MigrationPhase::Settled);
  EXPECT_EQ(state.read_placement(), 1);
  EXPECT_EQ(state.write_placement(), 1);
  EXPECT_EQ(state.destination(), std::nullopt);
}

TEST(PartitionState, DrainingReadsAndWritesAtTheOrigin) {
  const IntState state = IntState::migrating(1, 2, MigrationPhase::Draining);
  EXPECT_TRUE(state.is_migrating());
  EXPECT_EQ(state.phase(), MigrationPhase::Draining);
  EXPECT_EQ(state.read_placement(), 1);
  EXPECT_EQ(state.write_placement(), 1);
  EXPECT_EQ(state.destination(), 2);
}

TEST(PartitionState, CutoverReadsAtTheOriginAndWritesNowhere) {
  const IntState state = IntState::migrating(1, 2, MigrationPhase::Cutover);
  EXPECT_TRUE(state.is_migrating());
  EXPECT_EQ(state.phase(), MigrationPhase::Cutover);
  EXPECT_EQ(state.read_placement(), 1);
  EXPECT_EQ(state.write_placement(), std::nullopt);
  EXPECT_EQ(state.destination(), 2);
}

TEST(PartitionState, IsEqualIfPhaseAndPlacementsAre) {
  const auto all = [] {
    return std::vector<IntState>{IntState::active(1),
                                 IntState::active(2),
                                 IntState::migrating(1, 2, MigrationPhase::Draining),
                                 IntState::migrating(1, 3, MigrationPhase::Draining),
                                 IntState::migrating(1, 1, MigrationPhase::Draining),
                                 IntState::migrating(2, 1, MigrationPhase::Draining),
                                 IntState::migrating(1, 2, MigrationPhase::Cutover),
                                 IntState::migrating(1, 1, MigrationPhase::Cutover)};
  };
  const std::vector<IntState> states = all();
  const std::vector<IntState> again = all();
  for (std::size_t i = 0; i < states.size(); ++i) {
    for (std::size_t j = 0; j < states.size(); ++j) EXPECT_EQ(states[i] == again[j], i == j);
  }
}

TEST(PartitionState, PrintsPhaseAndPlacements) {
  const Placement a = Placement::dedicated_cluster(kA);
  const Placement b = Placement::dedicated_index(kB, kI);
  EXPECT_EQ(print(PartitionState::active(a)), "Active(a)");
  EXPECT_EQ(print(PartitionState::migrating(a, b, MigrationPhase::Draining)), "Draining(a -> b/i)");
  EXPECT_EQ(print(PartitionState::migrating(a, b, MigrationPhase::Cutover)), "Cutover(a -> b/i)");
}

TEST(PlacementAt, IsEqualIfPlacementEpochAndPhaseAre) {
  const PlacementAt at{Placement::dedicated_cluster(kA), Epoch(1), MigrationPhase::Settled};
  PlacementAt other = at;
  EXPECT_EQ(at, other);
  other.epoch = Epoch(2);
  EXPECT_NE(at, other);
  other = at;
  other.phase = MigrationPhase::Draining;
  EXPECT_NE(at, other);
  other = at;
  other.placement = Placement::dedicated_cluster(kB);
  EXPECT_NE(at, other);
}

TEST(StateAt, IsEqualIfStateAndEpochAre) {
  const StateAt at{PartitionState::active(Placement::dedicated_cluster(kA)), Epoch(1)};
  StateAt other = at;
  EXPECT_EQ(at, other);
  other.epoch = Epoch(2);
  EXPECT_NE(at, other);
  other = at;
  other.state = PartitionState::active(Placement::dedicated_cluster(kB));
  EXPECT_NE(at, other);
}

// ---- names ----

TEST(WriteRefusal, PrintsItsName) {
  EXPECT_EQ(print(WriteRefusal::UnknownPartition), "UnknownPartition");
  EXPECT_EQ(print(WriteRefusal::Cutover), "Cutover");
  EXPECT_EQ(print(WriteRefusal::StaleEpoch), "StaleEpoch");
  EXPECT_EQ(print(WriteRefusal::DeadlineExceeded), "DeadlineExceeded");
  EXPECT_EQ(print(WriteRefusal::TooManyHeld), "TooManyHeld");
}

TEST(MemoryUse, HasAName) {
  EXPECT_EQ(to_string(MemoryUse::Directory), "the directory");
  EXPECT_EQ(to_string(MemoryUse::Cells), "cells");
  EXPECT_EQ(to_string(MemoryUse::LongIds), "long ids");
  EXPECT_EQ(to_string(MemoryUse::Counters), "counters");
}

// A value from a newer version, or a corrupt one.
TEST(Names, OfWhatIsNoEnumeratorSayThatItIsUnknown) {
  EXPECT_EQ(print(static_cast<PlacementMode>(99)), "unknown PlacementMode");
  EXPECT_EQ(print(static_cast<MigrationPhase>(99)), "unknown MigrationPhase");
  EXPECT_EQ(print(static_cast<MigrationError>(99)), "unknown MigrationError");
  EXPECT_EQ(print(static_cast<WriteRefusal>(99)), "unknown WriteRefusal");
  EXPECT_EQ(to_string(static_cast<MemoryUse>(99)), "unknown MemoryUse");
  EXPECT_EQ(to_status(static_cast<MigrationError>(99)).code(), absl::StatusCode::kUnknown);
}

// ---- what a table stores ----

struct Large {
  char bytes[kMaxPlacementBytes];
};
struct TooLarge {
  char bytes[kMaxPlacementBytes + 1];
};
static_assert(kMaxPlacementBytes >= 32);
static_assert(PlacementValue<int> && PlacementValue<Large> && PlacementValue<Plain>);
static_assert(!PlacementValue<TooLarge> && !PlacementValue<std::string> && !PlacementValue<int&>);
static_assert(!PlacementValue<void>);
static_assert(PartitionKey<std::string> && PartitionKey<int> && PartitionKey<PlacementMode>);
static_assert(PartitionKey<bool> && PartitionKey<char32_t> && PartitionKey<std::array<char, 32>>);
static_assert(!PartitionKey<double> && !PartitionKey<std::vector<int>> && !PartitionKey<void*>);
static_assert(!PartitionKey<std::array<char, 33>> && !PartitionKey<char[16]> &&
              !PartitionKey<int&> && !PartitionKey<void> && !PartitionKey<std::nullptr_t> &&
              !PartitionKey<void (*)()> && !PartitionKey<int Epoch::*>);
static_assert(!PartitionKey<std::string_view> && !PartitionKey<absl::string_view> &&
              !PartitionKey<std::span<const char>>);
static_assert(!PartitionKey<std::atomic<int>> && !PartitionKey<std::array<float, 2>>);
static_assert(!std::copy_constructible<PlacementTable> && !std::move_constructible<PlacementTable>);
static_assert(!std::is_copy_assignable_v<PlacementTable> &&
              !std::is_move_assignable_v<PlacementTable>);

}  // namespace
}  // namespace placement
