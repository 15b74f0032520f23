// SPDX-License-Identifier: Apache-2.0
//
// One contender's operation, a given number of times and nothing else that depends on that number:
// the difference of two runs under callgrind is what the operations cost. See instructions.sh.
//
//   placement_table_lookups CONTENDER IDS PARTITIONS LOAD OPERATION COUNT
//   placement_table_lookups --list
//
// IDS are 36-byte, 15-byte, 16-byte or 8-byte.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "measure.hpp"

namespace {

using namespace placement::bench;  // a program of its own

template <typename Ids>
int run(const std::vector<std::string>& arguments) {
  const auto partitions = static_cast<std::size_t>(std::stoul(arguments[2]));
  const auto count = static_cast<std::size_t>(std::stoul(arguments[5]));
  for (const Load load : {Load::Zipf, Load::Uniform, Load::OneHot, Load::Misses}) {
    if (arguments[3] != to_string(load)) continue;
    const std::vector<Request<Ids>> requests = make_requests<Ids>(load, partitions);
    for (const auto& maker : contender_makers<Ids>()) {
      if (arguments[0] != maker.name) continue;
      const auto contender = maker.make();
      for (const Operation operation :
           {Operation::Get, Operation::AdmitWrite, Operation::AcquireAndRelease, Operation::GetMany,
            Operation::GetByRef}) {
        if (arguments[4] != to_string(operation)) continue;
        contender->with_thread([&] {
          contender->set(0, partitions);
          contender->ask(operation, requests, 0, count, load != Load::Misses);
        });
        return 0;
      }
    }
  }
  std::fputs("lookups: no such contender, load or operation\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 1 && arguments[0] == "--list") {
    for (const auto& maker : contender_makers<Uuids>()) std::puts(maker.name);
    return 0;
  }
  if (arguments.size() != 6) {
    std::fputs("usage: see the head of lookups.cpp\n", stderr);
    return 2;
  }
  if (arguments[1] == "36-byte") return run<Uuids>(arguments);
  if (arguments[1] == "15-byte") return run<ShortNames>(arguments);
  if (arguments[1] == "16-byte") return run<UuidBytes>(arguments);
  return run<Integers>(arguments);
}
