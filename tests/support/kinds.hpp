// SPDX-License-Identifier: Apache-2.0
//
// The kinds of tables that histories are run on: what the ids are, and what the placements.
#ifndef PLACEMENT_TESTS_SUPPORT_KINDS_HPP_
#define PLACEMENT_TESTS_SUPPORT_KINDS_HPP_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <absl/hash/hash.h>
#include <absl/strings/string_view.h>
#include <placement/placement.hpp>

#include "checksummed_placement.hpp"
#include "place.hpp"

namespace placement::test {

// The few ids of a kind are id(0) to id(kFewIds - 1), those of the crowd other(0), other(1), ...
// Placements are placement(0) to placement(kFewPlacements - 1): so few that a partition often
// comes to one of the two that it has already.
inline constexpr std::size_t kFewIds = 6;
inline constexpr std::size_t kFewPlacements = 5;

// A user's placement of so many bytes, every one of which tells.
template <std::size_t Size>
struct PlacementOfBytes {
  std::array<unsigned char, Size> bytes{};

  static PlacementOfBytes nth(std::size_t n) {
    PlacementOfBytes placement;
    for (std::size_t i = 0; i < Size; ++i) {
      placement.bytes[i] = static_cast<unsigned char>(n + 7 * i);
    }
    return placement;
  }

  friend bool operator==(const PlacementOfBytes&, const PlacementOfBytes&) = default;
  friend std::ostream& operator<<(std::ostream& out, const PlacementOfBytes& placement) {
    const bool is_whole = placement == nth(placement.bytes[0]);
    return out << "place " << int{placement.bytes[0]} << (is_whole ? "" : " (torn)");
  }
};

// One that can be neither made from nothing nor assigned to.
struct StubbornPlacement {
  explicit StubbornPlacement(std::uint16_t number) : value(number) {}

  const std::uint16_t value;

  friend bool operator==(const StubbornPlacement&, const StubbornPlacement&) = default;
  friend std::ostream& operator<<(std::ostream& out, const StubbornPlacement& placement) {
    return out << "place " << placement.value;
  }
};

template <typename P>
P nth_placement(std::size_t n) {
  if constexpr (std::is_same_v<P, Placement>) {
    return place(n);
  } else if constexpr (std::is_same_v<P, ChecksummedPlacement>) {
    return ChecksummedPlacement(n, 1000 - n);
  } else if constexpr (std::is_same_v<P, StubbornPlacement>) {
    return StubbornPlacement(static_cast<std::uint16_t>(n));
  } else {
    return P::nth(n);
  }
}

// Ids as they are in life.
struct PlainText {
  static constexpr std::string_view kName = "PlainText";
  using Id = std::string;
  using P = Placement;

  static Id id(std::size_t n) { return "tenant-" + std::to_string(n); }
  static Id other(std::size_t n) { return "other-" + std::to_string(n); }
};

// Empty, of NULs, and longer than a cell has room for, with differences where one might not look.
struct HostileText {
  static constexpr std::string_view kName = "HostileText";
  using Id = std::string;
  using P = PlacementOfBytes<33>;

  static Id id(std::size_t n) {
    switch (n) {
      case 0:
        return "";
      case 1:
        return std::string(1, '\0');
      case 2:
        return std::string(9, '\0');
      case 3:
        return std::string(200, 'l');
      case 4:
        return std::string(199, 'l') + '\0';
      default:
        return std::string(199, 'l');
    }
  }
  // Of every length, so that they use all the room there is, and blocks of every size.
  static Id other(std::size_t n) {
    return std::string(n * 37 % 300, '\xff') + "other" + std::to_string(n);
  }
};

// Ids of one length whose hashes begin alike: they meet in one home, in an array of any size up to
// 2^kAlike cells.
struct CollidingText {
  static constexpr std::string_view kName = "CollidingText";
  using Id = std::string;
  using P = ChecksummedPlacement;

  static Id id(std::size_t n) { return found().at(n); }
  static Id other(std::size_t n) { return found().at(kFewIds + n % (kFound - kFewIds)); }

 private:
  static constexpr std::size_t kFound = 600;
  static constexpr unsigned kAlike = 8;

  // absl::Hash is seeded anew in every process.
  static const std::vector<std::string>& found() {
    static const std::vector<std::string> ids = [] {
      std::vector<std::string> alike;
      for (std::uint64_t n = 100'000; alike.size() < kFound; ++n) {
        std::string id = "colliding-" + std::to_string(n % 900'000 + 100'000);
        const absl::string_view view(id.data(), id.size());
        const std::size_t hash = absl::Hash<absl::string_view>()(view);
        if (hash >> (8 * sizeof hash - kAlike) == 0) alike.push_back(std::move(id));
      }
      return alike;
    }();
    return ids;
  }
};

struct BigNumbers {
  static constexpr std::string_view kName = "BigNumbers";
  using Id = std::uint64_t;
  using P = PlacementOfBytes<1>;

  static Id id(std::size_t n) {
    constexpr Id kTop = std::numeric_limits<Id>::max();
    constexpr std::array<Id, kFewIds> kIds = {0, 1, kTop, kTop - 1, Id{1} << 63, Id{1} << 32};
    return kIds[n];
  }
  static Id other(std::size_t n) { return 1000 + n; }
};

struct SignedNumbers {
  static constexpr std::string_view kName = "SignedNumbers";
  using Id = std::int32_t;
  using P = PlacementOfBytes<64>;

  static Id id(std::size_t n) {
    constexpr std::array<Id, kFewIds> kIds = {
        0, -1, 1, std::numeric_limits<Id>::min(), std::numeric_limits<Id>::max(), -2};
    return kIds[n];
  }
  static Id other(std::size_t n) { return -1000 - static_cast<Id>(n); }
};

enum class Region : std::uint16_t {};
inline std::ostream& operator<<(std::ostream& out, Region region) {
  return out << "region " << static_cast<unsigned>(region);
}

struct Enumerated {
  static constexpr std::string_view kName = "Enumerated";
  using Id = Region;
  using P = StubbornPlacement;

  static Id id(std::size_t n) { return static_cast<Id>(n * 13107); }
  static Id other(std::size_t n) { return static_cast<Id>(1 + n % 13000); }
};

// The 16 bytes of a UUID. They differ in one byte, wherever it is.
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  friend auto operator<=>(const Uuid&, const Uuid&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Uuid& uuid) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    for (const std::uint8_t byte : uuid.bytes) {
      out << kDigits[byte / 16] << kDigits[byte % 16];
    }
    return out;
  }
};

struct Uuids {
  static constexpr std::string_view kName = "Uuids";
  using Id = Uuid;
  using P = Placement;

  static Id id(std::size_t n) {
    constexpr std::array<std::size_t, kFewIds> kWhere = {0, 7, 8, 15, 3, 12};
    Id uuid;
    uuid.bytes[kWhere[n]] = static_cast<std::uint8_t>(n == 0 ? 0 : 1);
    return uuid;
  }
  static Id other(std::size_t n) {
    Id uuid = id(n % kFewIds);
    for (std::size_t i = 0; i < 4; ++i) {
      uuid.bytes[5 + i] = static_cast<std::uint8_t>((n + 1) >> (8 * i));
    }
    return uuid;
  }
};

// Two words and a half, and an `==` that means less than the bytes: the table does not ask it.
struct ShardId {
  std::uint32_t tenant;
  std::uint32_t region;
  std::uint32_t shard;
  std::uint32_t index;
  std::uint32_t copy;

  friend bool operator==(const ShardId&, const ShardId&) { return true; }
  friend bool operator<(const ShardId& a, const ShardId& b) {  // for the reference's maps
    return std::tie(a.tenant, a.region, a.shard, a.index, a.copy) <
           std::tie(b.tenant, b.region, b.shard, b.index, b.copy);
  }
  friend std::ostream& operator<<(std::ostream& out, const ShardId& id) {
    return out << "shard " << id.tenant << '.' << id.region << '.' << id.shard << '.' << id.index
               << '.' << id.copy;
  }
};

struct ShardIds {
  static constexpr std::string_view kName = "ShardIds";
  using Id = ShardId;
  using P = PlacementOfBytes<12>;

  static Id id(std::size_t n) {
    constexpr std::uint32_t kTop = std::numeric_limits<std::uint32_t>::max();
    constexpr std::array<Id, kFewIds> kIds = {{{0, 0, 0, 0, 0},
                                               {0, 0, 0, 0, 1},
                                               {1, 0, 0, 0, 0},
                                               {0, 0, 1, 0, 0},
                                               {0, 1, 0, 0, 0},
                                               {kTop, kTop, kTop, kTop, kTop}}};
    return kIds[n];
  }
  static Id other(std::size_t n) {
    const auto number = static_cast<std::uint32_t>(n);
    return {7, number % 3, number / 3, 7, number % 2};
  }
};

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_KINDS_HPP_
