// SPDX-License-Identifier: Apache-2.0
//
// What every contender is asked: the ids, the order in which they are asked for, and what the right
// answer is.
#ifndef PLACEMENT_BENCH_WORKLOAD_HPP_
#define PLACEMENT_BENCH_WORKLOAD_HPP_

#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "placement/placement.hpp"

namespace placement::bench {

// Small, fast and the same everywhere, which std::uniform_int_distribution is not.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t next() noexcept { return mix(state_ += 0x9E3779B97F4A7C15); }
  std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }
  double unit() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  static constexpr std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

// ---- ids ----

struct Integers {
  using Id = std::uint64_t;
  using View = std::uint64_t;
  static constexpr const char* kName = "8-byte integer";
  static constexpr std::size_t kBytes = 8;
  static Id make(std::size_t index) { return Random::mix(index + 1); }
};

// tenant-01234567: no string of the peers' allocates.
struct ShortNames {
  using Id = std::string;
  using View = std::string_view;
  static constexpr const char* kName = "15-byte";
  static constexpr std::size_t kBytes = 15;
  static Id make(std::size_t index) {
    Id id = "tenant-00000000";
    for (std::size_t at = kBytes; index > 0; index /= 10) {
      id[--at] = static_cast<char>('0' + index % 10);
    }
    return id;
  }
};

struct Uuids {
  using Id = std::string;
  using View = std::string_view;
  static constexpr const char* kName = "36-byte";
  static constexpr std::size_t kBytes = 36;
  static Id make(std::size_t index) {
    Id id = "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx";
    std::uint64_t bits = 0;
    std::uint64_t word = 0;
    for (char& c : id) {
      if (c != 'x') continue;
      if (bits % 16 == 0) word = Random::mix(2 * index + bits / 16 + 1);
      c = "0123456789abcdef"[(word >> (4 * (bits++ % 16))) & 15];
    }
    return id;
  }
};

// The same as bytes: half of what the text takes, and inline in a smaller cell.
struct UuidBytes {
  using Id = std::array<std::uint8_t, 16>;
  using View = Id;
  static constexpr const char* kName = "16-byte";
  static constexpr std::size_t kBytes = 16;
  static Id make(std::size_t index) {
    const std::array<std::uint64_t, 2> words = {Random::mix(2 * index + 1),
                                                Random::mix(2 * index + 2)};
    return std::bit_cast<Id>(words);
  }
};

// One request, as a router has it: the id's bytes in a buffer. The partition's number says what the
// right answer is.
template <typename Ids>
struct Request {
  void assign(const typename Ids::Id& from) {
    std::memcpy(bytes.data(), from.data(), from.size());
    size = static_cast<std::uint32_t>(from.size());
  }
  [[nodiscard]] std::string_view id() const noexcept { return {bytes.data(), size}; }

  std::array<char, (Ids::kBytes + 7) / 8 * 8> bytes;
  std::uint32_t size;
  std::uint32_t partition;
};

template <>
struct Request<Integers> {
  void assign(std::uint64_t from) { number = from; }
  [[nodiscard]] std::uint64_t id() const noexcept { return number; }

  std::uint64_t number;
  std::uint32_t partition;
};

template <>
struct Request<UuidBytes> {
  void assign(const UuidBytes::Id& from) { bytes = from; }
  [[nodiscard]] UuidBytes::Id id() const noexcept { return bytes; }

  UuidBytes::Id bytes;
  std::uint32_t partition;
};

// ---- loads ----

enum class Load { Zipf, Uniform, OneHot, Misses };

[[nodiscard]] constexpr const char* to_string(Load load) noexcept {
  switch (load) {
    case Load::Zipf:
      return "zipf";
    case Load::Uniform:
      return "uniform";
    case Load::OneHot:
      return "one-hot";
    case Load::Misses:
      return "misses";
  }
  return "unknown";
}

// Ranks by Zipf's law with exponent 0.99, as YCSB draws them (Gray et al., 1994).
class Zipf {
 public:
  explicit Zipf(std::size_t count) : count_(static_cast<double>(count)) {
    for (std::size_t rank = 1; rank <= count; ++rank) {
      zeta_ += std::pow(static_cast<double>(rank), -kExponent);
    }
    const double zeta_of_2 = 1 + std::pow(2.0, -kExponent);
    eta_ = (1 - std::pow(2 / count_, 1 - kExponent)) / (1 - zeta_of_2 / zeta_);
  }

  std::size_t draw(Random& random) const {
    const double unit = random.unit();
    if (unit * zeta_ < 1) return 0;
    if (unit * zeta_ < 1 + std::pow(0.5, kExponent)) return 1;
    const double rank = count_ * std::pow(eta_ * unit - eta_ + 1, 1 / (1 - kExponent));
    return rank < count_ ? static_cast<std::size_t>(rank) : static_cast<std::size_t>(count_) - 1;
  }

 private:
  static constexpr double kExponent = 0.99;
  double count_;
  double zeta_ = 0;
  double eta_ = 0;
};

// A power of two of requests: enough to visit a large table all over, read from front to back so
// that the requests themselves are prefetched.
template <typename Ids>
[[nodiscard]] std::vector<Request<Ids>> make_requests(Load load, std::size_t partitions) {
  Random random(42);
  const Zipf zipf(load == Load::Zipf ? partitions : 2);
  std::vector<Request<Ids>> requests(std::bit_ceil(std::max<std::size_t>(partitions, 1U << 15)));
  for (Request<Ids>& request : requests) {
    std::size_t partition = 0;
    switch (load) {
      case Load::Zipf:
        // The popular ones are anywhere, not the first that were set.
        partition = zipf.draw(random) * 2654435761 % partitions;
        break;
      case Load::Uniform:
        partition = random.below(partitions);
        break;
      case Load::OneHot:
        partition = partitions / 2;
        break;
      case Load::Misses:
        partition = partitions + random.below(partitions);
        break;
    }
    request.assign(Ids::make(partition));
    request.partition = static_cast<std::uint32_t>(partition);
  }
  return requests;
}

// ---- placements ----

// Where a partition lives, and where it moves to and back: few enough to stay in the nearest cache,
// so that checking an answer costs next to nothing.
class Places {
 public:
  static constexpr std::size_t kClusters = 8;

  Places() {
    for (std::size_t i = 0; i < 2 * kClusters; ++i) {
      places_.push_back(Placement::shared_index(ClusterId("cluster-" + std::to_string(i)),
                                                IndexName("index-" + std::to_string(i))));
    }
  }
  [[nodiscard]] const Placement& origin(std::size_t partition) const noexcept {
    return places_[partition % kClusters];
  }
  [[nodiscard]] const Placement& destination(std::size_t partition) const noexcept {
    return places_[partition % kClusters + kClusters];
  }
  // It is the one or the other at every moment.
  [[nodiscard]] bool is_right(std::size_t partition, const Placement& answer) const {
    return answer == origin(partition) || answer == destination(partition);
  }

 private:
  std::vector<Placement> places_;
};

inline const Places& places() {
  static const Places all;
  return all;
}

// ---- time ----

using SteadyClock = std::chrono::steady_clock;

[[nodiscard]] inline double nanoseconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::nano>(SteadyClock::now() - start).count();
}

// What this thread has run, without what the scheduler gave to others meanwhile. A system call.
[[nodiscard]] inline double thread_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// For timing one lookup: steady_clock itself costs as much as a lookup does.
[[nodiscard]] inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<std::uint64_t>(SteadyClock::now().time_since_epoch().count());
#endif
}

[[nodiscard]] inline double nanoseconds_a_tick() {
  static const double value = [] {
    const auto start = SteadyClock::now();
    const std::uint64_t first = ticks();
    while (nanoseconds_since(start) < 20e6) {
    }
    return nanoseconds_since(start) / static_cast<double>(ticks() - first);
  }();
  return value;
}

}  // namespace placement::bench

#endif  // PLACEMENT_BENCH_WORKLOAD_HPP_
