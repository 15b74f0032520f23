// SPDX-License-Identifier: Apache-2.0
//
// Histories of commands, run on a table and on the reference at once. What runs them is compiled
// once for all tests: world.hpp, in history_of_numbers.cpp, history_of_texts.cpp and
// history_of_bytes.cpp.
#ifndef PLACEMENT_TESTS_SUPPORT_HISTORY_HPP_
#define PLACEMENT_TESTS_SUPPORT_HISTORY_HPP_

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "command.hpp"

namespace placement::test {

// The table and the reference do not answer alike.
struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What happened in a history: that the interesting things happened at all.
struct Sights {
  std::size_t changes = 0;
  std::size_t refusals = 0;
  std::size_t flips = 0;
  std::size_t flips_refused_for_writes = 0;
  std::size_t stale = 0;  // refused, because another epoch was expected
  std::size_t pauses = 0;
  std::size_t erasures_given_up = 0;
  std::size_t permits = 0;
  std::size_t quarantines = 0;
  std::size_t held = 0;
  std::size_t resumed = 0;
  std::size_t cancelled = 0;
  std::size_t too_many_held = 0;
  std::size_t applied = 0;
  std::size_t applied_at_a_shared_epoch = 0;  // that another change had before
  std::size_t failed_allocations = 0;
  std::size_t changed_during_for_each = 0;
  std::size_t largest = 0;  // partitions
};

// How large a history's table becomes, and how often all of it is looked at.
struct Scale {
  std::size_t shards = 1;
  std::size_t crowd = 1;            // where others come and go: how many for one
  std::size_t check_all_after = 0;  // so many commands; zero: at the end only
};

// A history from an empty table to an empty table. Every command is given to both, and every answer
// compared. Throws Mismatch, which says at which command.
template <typename Kind>
void run_history(const std::vector<Command>& commands, const Scale& scale, Sights& sights);

// The commands as one would write them, with this kind's ids.
template <typename Kind>
std::string describe(const std::vector<Command>& commands);

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_SUPPORT_HISTORY_HPP_
