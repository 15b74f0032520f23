// SPDX-License-Identifier: Apache-2.0
//
// fleet_simulation [--first-seed S] [--seeds N] [--without RULE[,RULE]...] [--table]
// [--only-losses] [--trace]
//                  [--list-rules]
//
// Runs the fleet's protocol in virtual time, once a seed. Exit code 1, and the seed, when something
// was lost, or when something that is to be tested never happened.
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fleet.hpp"

namespace {

using placement::fleet::detail::kRuleNames;
using placement::test::simulation::Coverage;
using placement::test::simulation::Fleet;
using placement::test::simulation::Property;
using placement::test::simulation::Removed;
using placement::test::simulation::to_string;

// Rules that cover for one another: each can be removed alone, but not all of them.
constexpr const char* kCovers[] = {
    "LeaseMargin,SilenceMargin",
    "LeaseMargin,SilenceMargin,FencedWait",
    "LeaseFromSending,FencedWait",
    "WholeSilence,FencedWait",
    "ConfirmLease,FencedWait",
    "ConfirmSession,OwnPermitsFirst",
    "AdmitUnderLease,ConfirmLease,ReadsConfirm",
    "RecordCompared,ClaimNewEpoch",
    "RecordCompared,PartitionCompared",
    "TakeOverAfterSilence,MoversFenced",
    "TakeOverAfterSilence,RecordCompared,ClaimNewEpoch",
    "MoversFenced,UsersFencedLast",
    "HistoryCompared,OlderSeqIsLost",
    "HistoryCompared,OlderSeqIsLost,HeadNeverBack",
    "HistoryCompared,HeadNeverBack,StartChecksFile,OlderSeqIsLost",
    "ListByLoad,ListAtCutover",
};

struct Found {
  std::uint64_t seed;
  placement::test::simulation::Violation violation;
};

std::optional<Removed> parse_rules(std::string_view text) {
  Removed removed;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view name = text.substr(0, comma);
    bool is_known = false;
    for (std::size_t i = 0; i < kRuleNames.size(); ++i) {
      if (kRuleNames[i] != name) continue;
      removed.set(i);
      is_known = true;
    }
    if (!is_known) return std::nullopt;
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return removed;
}

// Of data; not of time.
bool is_loss(Property property) {
  return property != Property::Stuck && property != Property::CutoverWaits;
}

std::optional<Found> search(std::uint64_t first, std::uint64_t seeds, const Removed& removed,
                            Coverage& coverage, bool only_losses = false, bool is_traced = false) {
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    Fleet fleet(seed, removed);
    if (is_traced) fleet.trace();
    fleet.run();
    coverage.add(fleet.coverage);
    for (const auto& violation : fleet.violations()) {
      if (!only_losses || is_loss(violation.property)) return Found{seed, violation};
    }
  }
  return std::nullopt;
}

int usage() {
  std::cerr << "fleet_simulation [--first-seed S] [--seeds N] [--without RULE[,RULE]...] [--table]"
               " [--trace] [--list-rules]\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t first = 1;
  std::uint64_t seeds = 1000;
  Removed removed;
  bool is_table = false;
  bool is_traced = false;
  bool only_losses = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--list-rules") {
      for (const std::string_view name : kRuleNames) std::cout << name << '\n';
      return 0;
    }
    if (option == "--table") {
      is_table = true;
      continue;
    }
    if (option == "--only-losses") {
      only_losses = true;
      continue;
    }
    if (option == "--trace") {
      is_traced = true;
      continue;
    }
    if (i + 1 == argc) return usage();
    const std::string_view value = argv[++i];
    if (option == "--without") {
      const auto rules = parse_rules(value);
      if (!rules) {
        std::cerr << "no such rule in \"" << value << "\"; see --list-rules\n";
        return 2;
      }
      removed = *rules;
      continue;
    }
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) return usage();
    if (option == "--first-seed") {
      first = number;
    } else if (option == "--seeds") {
      seeds = number;
    } else {
      return usage();
    }
  }

  if (is_table) {
    std::vector<std::string> sets(kRuleNames.begin(), kRuleNames.end());
    for (const char* covers : kCovers) sets.emplace_back(covers);
    for (const std::string& names : sets) {
      const Removed one = *parse_rules(names);
      Coverage coverage;
      const auto found = search(first, seeds, one, coverage, only_losses);
      std::cout << "| " << names << " | " << (found ? to_string(found->violation.property) : "-")
                << " | "
                << (found ? std::to_string(found->seed) : "none in " + std::to_string(seeds))
                << " |" << std::endl;
    }
    return 0;
  }

  const auto began = std::chrono::steady_clock::now();
  Coverage coverage;
  const auto found = search(first, seeds, removed, coverage, only_losses, is_traced);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  if (found) {
    std::cout << "seed " << found->seed << ": " << found->violation.text << '\n';
    return 1;
  }
  std::cout << coverage.text() << "  " << static_cast<double>(coverage.runs) / took.count()
            << " seeds a second\n";
  const auto missing = coverage.missing();
  for (const std::string& name : missing) std::cout << "never happened: " << name << '\n';
  return missing.empty() ? 0 : 1;
}
