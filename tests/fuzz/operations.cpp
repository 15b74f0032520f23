// SPDX-License-Identifier: Apache-2.0
//
// Sequences of operations against the reference. The first byte chooses the kind of table and its
// shards, and every four that follow are a command.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "../support/command.hpp"
#include "../support/history.hpp"
#include "../support/kinds.hpp"
#include "require.hpp"

namespace {

using placement::test::Command;

template <typename Kind>
void run(const std::vector<Command>& commands, std::size_t shards) {
  placement::test::Sights sights;
  try {
    placement::test::run_history<Kind>(commands, {.shards = shards}, sights);
  } catch (const placement::test::Mismatch& mismatch) {
    std::cerr << shards << " shards:\n"
              << placement::test::describe<Kind>(commands) << mismatch.what() << std::endl;
    std::abort();
  }
}

constexpr std::array kRun = {
    run<placement::test::PlainText>,     run<placement::test::HostileText>,
    run<placement::test::CollidingText>, run<placement::test::BigNumbers>,
    run<placement::test::SignedNumbers>, run<placement::test::Enumerated>,
    run<placement::test::Uuids>,         run<placement::test::ShardIds>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t shards = std::size_t{1} << (data[0] / kRun.size() % 3);
  std::vector<Command> commands;
  for (std::size_t at = 1; at + Command::kBytes <= size; at += Command::kBytes) {
    commands.push_back(Command::decode(data[at], data[at + 1], data[at + 2], data[at + 3]));
  }
  kRun[data[0] % kRun.size()](commands, shards);
  return 0;
}
