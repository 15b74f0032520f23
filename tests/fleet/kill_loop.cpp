// SPDX-License-Identifier: Apache-2.0
//
//   kill_loop [--seed S] [--rounds N] [--seconds T]
//
// Processes commit to one store, and are killed at random instants. After each kill the store has
// to hold every transaction that was acknowledged, at the revision that was said; the revisions
// that a watch tells have no gap and come once each; and the file is whole. In some rounds this
// process has the file open meanwhile, in others nobody is left who has, so that the next one reads
// the log anew. CTest runs the short form.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "child.hpp"
#include "placement/fleet/sqlite_store.hpp"
#include "temporary_directory.hpp"
#include "watch_recorder.hpp"

namespace placement::test {
namespace {

using fleet::Change;
using fleet::Changes;
using fleet::Revision;
using fleet::SqliteOptions;
using fleet::SqliteStore;
using fleet::Transaction;

struct Arguments {
  std::uint64_t seed = 20'251'123;
  std::uint64_t rounds = 40;
  std::uint64_t seconds = 0;
};

// What was acknowledged: for each revision, whose counter it put to what.
using Acknowledged = std::map<Revision, std::pair<std::string, std::string>>;

class KillLoop {
 public:
  explicit KillLoop(const Arguments& arguments)
      : arguments_(arguments), random_(arguments.seed), path_(directory_.file("placements.db")) {}

  bool run() {
    std::cout << "seed " << arguments_.seed << std::endl;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(arguments_.seconds);
    std::uint64_t round = 0;
    while (ok_ && (arguments_.seconds != 0 ? std::chrono::steady_clock::now() < end
                                           : round < arguments_.rounds)) {
      one_round(round++);
    }
    std::cout << round << " rounds, " << kills_ << " kills, " << acknowledged_in_all_
              << " acknowledged transactions, " << unacknowledged_ << " that happened without, "
              << told_.value() << " revisions\n";
    // Whoever never strikes in a transaction proves nothing.
    if (round >= 30) expect(unacknowledged_ > 0, "no kill came between a commit and its answer");
    expect(acknowledged_in_all_ > round, "hardly anything was committed");
    return ok_;
  }

 private:
  static constexpr std::uint64_t kWriters = 3;

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  void expect(bool condition, const std::string& complaint) {
    if (condition) return;
    std::cout << "FAILED: " << complaint << '\n';
    ok_ = false;
  }

  void one_round(std::uint64_t round) {
    if (below(8) == 0) begin_anew();  // kills strike while the file is made
    const bool is_open = below(2) == 0;
    WatchRecorder recorder;
    std::unique_ptr<SqliteStore> store;
    fleet::Watch watch;
    if (is_open) {
      store = std::make_unique<SqliteStore>(path_);
      watch = store->watch("", told_.next(), recorder.handler());
    }

    Acknowledged acknowledged;
    std::vector<std::unique_ptr<Child>> writers;
    for (std::uint64_t i = 0; i < kWriters; ++i) {
      writers.push_back(std::make_unique<Child>(
          std::vector<std::string>{"commit", path_, std::to_string(i), "0"}));
    }
    ::usleep(static_cast<useconds_t>(below(60'000)));
    // One, then the others: those go on for a while beside the dead one's locks.
    std::shuffle(writers.begin(), writers.end(), random_);
    for (const auto& writer : writers) {
      writer->kill();
      ++kills_;
      if (below(2) == 0) ::usleep(static_cast<useconds_t>(below(10'000)));
    }
    for (const auto& writer : writers) collect(*writer, acknowledged);
    acknowledged_in_all_ += acknowledged.size();

    if (!is_open) {
      store = std::make_unique<SqliteStore>(path_);
      watch = store->watch("", told_.next(), recorder.handler());
    }
    const absl::Status whole = store->verify();
    expect(whole.ok(), absl::StrCat("the file after round ", round, ": ", whole.ToString()));
    const auto snapshot = store->load("count/");
    if (!snapshot.ok()) return expect(false, snapshot.status().ToString());
    expect(recorder.wait_for(snapshot->revision), "the watch did not get to the end");
    if (const auto lost = recorder.lost()) expect(false, lost->why.ToString());
    expect(!recorder.compacted(), "the watch came too late for a compaction");
    for (const std::string& complaint : recorder.complaints()) expect(false, complaint);
    compare(acknowledged, recorder.changes(), snapshot->revision);
    if (!ok_) std::cout << "in round " << round << '\n';
    // And it can be written.
    const auto outcome = store->commit(Transaction().put("round", std::to_string(round)));
    expect(outcome.done() != nullptr && outcome.done()->revision == snapshot->revision.next(),
           "the store cannot be written, or counts wrongly");
    told_ = snapshot->revision.next();
  }

  void begin_anew() {
    copy_store(directory_.file("none"), path_);
    told_ = Revision(1);
  }

  static void collect(Child& writer, Acknowledged& acknowledged) {
    std::istringstream lines(writer.read_all());
    const std::string name = name_of(writer);
    std::string a;
    std::string number;
    std::uint64_t revision = 0;
    while (lines >> a >> number >> revision) {
      acknowledged[Revision(revision)] = {name, number};
    }
  }
  static std::string name_of(const Child& writer) { return writer.arguments().at(2); }

  void compare(const Acknowledged& acknowledged, const std::vector<Changes>& changes,
               Revision end) {
    Revision next = told_.next();
    std::uint64_t found = 0;
    for (const Changes& told : changes) {
      expect(told.revision == next, absl::StrCat("revision ", next.value(), " was not told"));
      next = told.revision.next();
      const auto said = acknowledged.find(told.revision);
      if (said == acknowledged.end()) {
        ++unacknowledged_;
        continue;
      }
      ++found;
      const auto& [name, number] = said->second;
      const bool is_there =
          std::any_of(told.changes.begin(), told.changes.end(), [&](const Change& change) {
            return change.key == "count/" + name && change.value == number;
          });
      expect(is_there, absl::StrCat("revision ", told.revision.value(), " is not what was said"));
    }
    expect(next == end.next(), "the last revisions were not told");
    expect(found == acknowledged.size(),
           absl::StrCat(acknowledged.size() - found, " acknowledged transactions are lost"));
  }

  const Arguments arguments_;
  std::mt19937_64 random_;
  TemporaryDirectory directory_;
  const std::string path_;
  Revision told_{1};
  std::uint64_t kills_ = 0;
  std::uint64_t acknowledged_in_all_ = 0;
  std::uint64_t unacknowledged_ = 0;
  bool ok_ = true;
};

int main_of(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) return 2;
    const std::uint64_t value = std::strtoull(argv[i + 1], nullptr, 0);
    if (name == "--seed") {
      arguments.seed = value;
    } else if (name == "--rounds") {
      arguments.rounds = value;
    } else if (name == "--seconds") {
      arguments.seconds = value;
    } else {
      std::cerr << "usage: kill_loop [--seed S] [--rounds N] [--seconds T]\n";
      return 2;
    }
  }
  return KillLoop(arguments).run() ? 0 : 1;
}

}  // namespace
}  // namespace placement::test

int main(int argc, char** argv) { return placement::test::main_of(argc, argv); }
