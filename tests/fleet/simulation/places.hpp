// SPDX-License-Identifier: Apache-2.0
//
// Where the data lies: storages that know users, and refuse those that they were told to.
//
// A partition has a few keys; the value of a key is the set of the writes that it has seen. So
// whether a write was lost can be told from the data alone, at any time and at no cost.
#ifndef PLACEMENT_TESTS_FLEET_SIMULATION_PLACES_HPP_
#define PLACEMENT_TESTS_FLEET_SIMULATION_PLACES_HPP_

#include <algorithm>
#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernel.hpp"

namespace placement::test::simulation {

inline constexpr std::size_t kKeys = 3;
inline constexpr std::size_t kMostWrites = 768;  // of one partition
inline constexpr std::size_t kPlaces = 3;

using Value = std::bitset<kMostWrites>;

struct Cell {
  Value value;
  bool is_there = false;
  bool is_movers = false;  // a mover wrote it last
};
using Cells = std::array<Cell, kKeys>;

class Place {
 public:
  Cells& cells(std::size_t partition) { return data_[partition]; }

  // It forgets whom it has removed: a process that was stopped may make its user again, after it
  // was fenced. It cannot name it any more.
  void make_user(const std::string& user) { users_.insert(user); }
  // Its connections end in the same step.
  void remove_user(const std::string& user) {
    users_.erase(user);
    std::erase_if(feeds_, [&](const auto& feed) { return feed.first.first == user; });
  }
  [[nodiscard]] bool knows(const std::string& user) const { return users_.contains(user); }

  void write(std::size_t partition, std::size_t key, std::size_t write) {
    Cell& cell = cells(partition)[key];
    cell.value.set(write);
    cell.is_there = true;
    cell.is_movers = false;
    for (auto& [feed, changed] : feeds_) {
      if (feed.second == partition) changed.set(key);
    }
  }

  void open_feed(const std::string& user, std::size_t partition) {
    feeds_[{user, partition}].reset();
  }
  void break_feeds() { feeds_.clear(); }
  // What changed since it was asked last; nothing: the feed is broken.
  std::optional<std::bitset<kKeys>> take_feed(const std::string& user, std::size_t partition) {
    const auto feed = feeds_.find({user, partition});
    if (feed == feeds_.end()) return std::nullopt;
    return std::exchange(feed->second, {});
  }

 private:
  std::map<std::size_t, Cells> data_;
  std::set<std::string> users_;
  std::map<std::pair<std::string, std::size_t>, std::bitset<kKeys>> feeds_;
};

struct PlaceFaults {
  std::uint64_t slow_once_in = 0;
  std::uint64_t lose_answer_once_in = 0;
  std::uint64_t lose_request_once_in = 0;
};

// The network between processes and places.
class Places {
 public:
  Places(Kernel& kernel, PlaceFaults given) : faults(given), kernel_(kernel) {}

  Place& operator[](std::size_t place) { return places_[place]; }

  // `command` happens at the place at most `within` after now, or never; then `answer` comes, or
  // never.
  void send(Process& process, Ticks within, std::function<void()> command,
            std::function<void()> answer) {
    auto& random = kernel_.random;
    if (random.once_in(faults.lose_request_once_in)) return;
    Ticks delay = random.between(100, 3 * kMillisecond);
    if (random.once_in(faults.slow_once_in)) delay = random.between(0, within - kMillisecond);
    const bool loses_answer = random.once_in(faults.lose_answer_once_in);
    kernel_.after(delay, [this, &process, life = process.life(), command = std::move(command),
                          answer = std::move(answer), loses_answer] {
      command();
      if (loses_answer || process.life() != life) return;
      process.after(kernel_.random.between(100, 3 * kMillisecond), answer);
    });
  }

  PlaceFaults faults;

 private:
  Kernel& kernel_;
  std::array<Place, kPlaces> places_;
};

}  // namespace placement::test::simulation

#endif  // PLACEMENT_TESTS_FLEET_SIMULATION_PLACES_HPP_
