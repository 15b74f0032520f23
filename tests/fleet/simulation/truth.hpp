// SPDX-License-Identifier: Apache-2.0
//
// What is true in a simulation, whatever its processes believe: where each partition was at home
// and when, which writes were acknowledged, which were seen. Finds what was lost.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_TRUTH_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_TRUTH_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "kernel.hpp"
#include "placement/fleet/store.hpp"
#include "places.hpp"

namespace placement::test::simulation {

// What the fleet promises, by what breaks when it is not kept.
enum class Property {
  AcknowledgedWriteLost,
  SeenThenGone,
  ReadIsStale,
  ReadOfCleanedData,
  AcknowledgedAfterErase,
  LeftBehind,
  Believed,
  CutoverWaits,
  Stuck,
};
[[nodiscard]] constexpr const char* to_string(Property property) noexcept {
  switch (property) {
    case Property::AcknowledgedWriteLost:
      return "an acknowledged write is lost";
    case Property::SeenThenGone:
      return "a write was read and then gone";
    case Property::ReadIsStale:
      return "a read was stale";
    case Property::ReadOfCleanedData:
      return "a read of cleaned data";
    case Property::AcknowledgedAfterErase:
      return "a write was acknowledged after its partition was erased";
    case Property::LeftBehind:
      return "a mover's data is left behind";
    case Property::Believed:
      return "a store that went back is believed";
    case Property::CutoverWaits:
      return "a cutover waits for a router that was dead before";
    case Property::Stuck:
      return "it does not come to an end";
  }
  return "?";
}

struct Violation {
  Property property;
  std::string text;
};

class Truth {
 public:
  struct Home {
    Ticks since;
    std::optional<std::size_t> place;  // none: it is erased
    fleet::Revision epoch;
    std::size_t generation;
  };
  struct Write {
    std::size_t key = 0;
    std::size_t generation = 0;
    bool is_acknowledged = false;
    bool is_seen = false;
    bool is_excused = false;  // sent by a process that was stopped before, after its lease
    Ticks acknowledged = 0;
    Ticks executed = 0;
  };
  struct Partition {
    std::vector<Home> homes;
    std::vector<Write> writes;
    std::size_t generation = 0;
    bool is_in_cutover = false;
  };

  explicit Truth(std::size_t partitions) : partitions_(partitions) {}

  [[nodiscard]] std::size_t size() const noexcept { return partitions_.size(); }
  Partition& operator[](std::size_t partition) { return partitions_[partition]; }

  void moved(Ticks now, std::size_t p, std::optional<std::size_t> place, fleet::Revision epoch) {
    Partition& partition = partitions_[p];
    const bool was_there = !partition.homes.empty() && partition.homes.back().place;
    if (was_there && place == partition.homes.back().place) return;
    if (place && !was_there) ++partition.generation;
    partition.homes.push_back({now, place, epoch, partition.generation});
  }
  [[nodiscard]] std::optional<std::size_t> home(std::size_t p) const {
    if (partitions_[p].homes.empty()) return std::nullopt;
    return partitions_[p].homes.back().place;
  }
  [[nodiscard]] std::size_t generation_at(std::size_t p, fleet::Revision epoch) const {
    std::size_t generation = 0;
    for (const Home& home : partitions_[p].homes) {
      if (home.epoch <= epoch) generation = home.generation;
    }
    return generation;
  }

  void acknowledged(Ticks now, std::size_t p, std::size_t w) {
    if (is_suspended) return;
    Partition& partition = partitions_[p];
    Write& write = partition.writes[w];
    // Written, then erased, then told: that is in order. Written when it was erased already is not.
    for (const Home& home : partition.homes) {
      if (home.generation == write.generation && !home.place && home.since < write.executed) {
        return fail(Property::AcknowledgedAfterErase, now, p, w, "");
      }
    }
    write.is_acknowledged = true;
    write.acknowledged = now;
  }

  // What was told so far of this partition does not have to last.
  void excuse(std::size_t p) {
    for (Write& write : partitions_[p].writes) {
      write.is_acknowledged = write.is_seen = false;
      write.is_excused = true;
    }
  }

  // A read of a key that began at `began`, went to `place`, and whose answer is told now.
  void read(Ticks now, Ticks began, std::size_t p, std::size_t key, std::size_t place,
            const Value& value, std::size_t generation, bool is_strict) {
    if (is_suspended) return;
    Partition& partition = partitions_[p];
    if (generation != partition.generation) return;  // of data that was to go
    // Until when was it at home there?
    Ticks until = 0;
    bool was_home = false;
    for (std::size_t i = 0; i < partition.homes.size(); ++i) {
      const Home& home = partition.homes[i];
      if (home.place != place || home.generation != generation || home.since > now) continue;
      was_home = true;
      until = i + 1 < partition.homes.size() ? partition.homes[i + 1].since : now;
    }
    const bool is_erased = !partition.homes.back().place;
    if (is_erased) return;
    for (std::size_t w = 0; w < partition.writes.size(); ++w) {
      Write& write = partition.writes[w];
      if (write.key != key || write.generation != generation) continue;
      if (value.test(w)) {
        write.is_seen = true;
        continue;
      }
      if (!write.is_acknowledged || write.acknowledged >= began) continue;
      if (!was_home || write.acknowledged < until) {
        return fail(was_home && until < began ? Property::ReadOfCleanedData : Property::ReadIsStale,
                    now, p, w, "");
      }
      if (is_strict) return fail(Property::ReadIsStale, now, p, w, "strictly ");
    }
  }

  // Everything has come to rest.
  void check(Ticks now, Places& places) {
    for (std::size_t p = 0; p < partitions_.size(); ++p) {
      Partition& partition = partitions_[p];
      const auto place = home(p);
      for (std::size_t w = 0; place && w < partition.writes.size(); ++w) {
        const Write& write = partition.writes[w];
        if (write.generation != partition.generation) continue;
        if (places[*place].cells(p)[write.key].value.test(w)) continue;
        if (write.is_acknowledged) fail(Property::AcknowledgedWriteLost, now, p, w, "");
        if (write.is_seen && !write.is_excused) fail(Property::SeenThenGone, now, p, w, "");
      }
      for (std::size_t other = 0; other < kPlaces; ++other) {
        if (place == other) continue;
        for (const Cell& cell : places[other].cells(p)) {
          if (cell.is_there && cell.is_movers && !was_restored) {
            fail(Property::LeftBehind, now, p, 0, "at place " + std::to_string(other) + " ");
          }
        }
      }
    }
  }

  void fail(Property property, Ticks now, std::size_t p, std::size_t w, const std::string& more) {
    std::ostringstream text;
    text << to_string(property) << ": " << more << "partition " << p << ", write " << w << ", at "
         << now / kMillisecond << " ms";
    violations.push_back({property, text.str()});
  }

  std::vector<Violation> violations;
  // The store went back, and nobody has restored it yet: nothing that is told now has to last.
  bool is_suspended = false;
  bool was_restored = false;

 private:
  std::vector<Partition> partitions_;
};

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_TRUTH_HPP_
