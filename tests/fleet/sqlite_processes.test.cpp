// SPDX-License-Identifier: Apache-2.0
//
// Several processes, and several objects of one process, on one file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <latch>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../support/sanitizers.hpp"
#include "child.hpp"
#include "placement/fleet/sqlite_store.hpp"
#include "temporary_directory.hpp"
#include "watch_recorder.hpp"

namespace placement::test {
namespace {

using fleet::fault_of;
using fleet::Outcome;
using fleet::Revision;
using fleet::SqliteOptions;
using fleet::SqliteStore;
using fleet::Transaction;

class SqliteProcesses : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  const std::string path_ = directory_.file("placements.db");
};

TEST_F(SqliteProcesses, EveryProcessSeesEveryRevisionOnceAndInOrder) {
  constexpr std::uint64_t kWriters = 3;
  const std::uint64_t each = kSlow ? 30 : 150;
  const Revision until(1 + kWriters * each);
  std::vector<std::unique_ptr<Child>> watchers;
  std::vector<std::unique_ptr<Child>> writers;
  // All begin with the making of the file, at once.
  for (int i = 0; i < 3; ++i) {
    watchers.push_back(std::make_unique<Child>(
        std::vector<std::string>{"watch", path_, "2", std::to_string(until.value())}));
  }
  for (std::uint64_t i = 0; i < kWriters; ++i) {
    writers.push_back(std::make_unique<Child>(
        std::vector<std::string>{"commit", path_, std::to_string(i), std::to_string(each)}));
  }
  WatchRecorder mine;
  SqliteStore store(path_);
  const fleet::Watch watch = store.watch("", Revision(2), mine.handler());

  std::vector<Revision> acknowledged;
  for (const auto& writer : writers) {
    std::istringstream lines(writer->read_all());
    EXPECT_EQ(writer->wait(), 0);
    std::string a;
    std::uint64_t number = 0;
    std::uint64_t revision = 0;
    std::uint64_t expected = 0;
    while (lines >> a >> number >> revision) {
      EXPECT_EQ(number, ++expected);
      acknowledged.emplace_back(revision);
    }
    EXPECT_EQ(expected, each);
  }
  std::sort(acknowledged.begin(), acknowledged.end());
  for (std::size_t i = 0; i < acknowledged.size(); ++i) {
    EXPECT_EQ(acknowledged[i], Revision(2 + i)) << "each revision is one writer's";
  }

  for (const auto& watcher : watchers) {
    std::istringstream lines(watcher->read_all());
    EXPECT_EQ(watcher->wait(), 0);
    std::string line;
    std::uint64_t expected = 1;
    while (std::getline(lines, line)) {
      if (line == "P") continue;
      std::istringstream words(line);
      std::string r;
      std::uint64_t revision = 0;
      words >> r >> revision;
      EXPECT_EQ(r, "R") << line;
      EXPECT_EQ(revision, ++expected);
    }
    EXPECT_EQ(expected, until.value());
  }
  ASSERT_TRUE(mine.wait_for(until));
  EXPECT_EQ(mine.changes().size(), kWriters * each);
  EXPECT_TRUE(mine.complaints().empty());
  EXPECT_TRUE(store.verify().ok()) << store.verify();
}

TEST_F(SqliteProcesses, AWatchInAnotherProcessIsWokenAtOnce) {
  SqliteStore store(path_);
  // It looks by itself every ten minutes.
  Child child({"watch", path_, "2", "21"});
  ASSERT_EQ(child.read_line(), "P");
  absl::Duration longest = absl::ZeroDuration();
  absl::Duration sum = absl::ZeroDuration();
  for (std::uint64_t i = 2; i <= 21; ++i) {
    const Outcome outcome = store.commit(Transaction().put("a", std::to_string(i)));
    ASSERT_NE(outcome.done(), nullptr) << outcome;
    const auto begin = std::chrono::steady_clock::now();
    std::string line = child.read_line();
    while (line == "P") line = child.read_line();
    EXPECT_EQ(line, "R " + std::to_string(i) + " 1");
    const absl::Duration took = absl::FromChrono(std::chrono::steady_clock::now() - begin);
    longest = std::max(longest, took);
    sum += took;
  }
  EXPECT_EQ(child.wait(), 0);
  std::cout << "woken after " << absl::FormatDuration(sum / 20) << " on average, "
            << absl::FormatDuration(longest) << " at most\n";
}

TEST_F(SqliteProcesses, AWatchThatNobodyWakesLooksByItself) {
  SqliteOptions options;
  options.poll_interval = absl::Milliseconds(20);
  SqliteStore store(path_, options);
  WatchRecorder recorder;
  const fleet::Watch watch = store.watch("", Revision(2), recorder.handler());
  ASSERT_TRUE(recorder.wait_for(Revision(1)));
  // The other one wakes by another file: as one that is killed before it has called.
  std::filesystem::remove(path_ + "-wake");
  SqliteStore other(path_);
  const Outcome outcome = other.commit(Transaction().put("a", ""));
  ASSERT_NE(outcome.done(), nullptr) << outcome;
  EXPECT_TRUE(recorder.wait_for(outcome.done()->revision));
}

TEST_F(SqliteProcesses, AnIdleWatchSleeps) {
  SqliteOptions options;
  options.poll_interval = absl::Minutes(10);
  options.progress_interval = absl::ZeroDuration();  // so each look is an event
  SqliteStore store(path_, options);
  WatchRecorder recorder;
  const fleet::Watch watch = store.watch("", Revision(2), recorder.handler());
  ASSERT_TRUE(recorder.wait_for(Revision(1)));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // nothing may happen meanwhile
  EXPECT_LE(recorder.events(), 3U);
}

TEST_F(SqliteProcesses, TheLogIsCompactedOnTheWay) {
  SqliteOptions options;
  options.keep_revisions = 10;
  SqliteStore store(path_, options);
  for (int i = 0; i < 100; ++i) {
    ASSERT_NE(store.commit(Transaction().put("a", std::string(1000, 'x'))).done(), nullptr);
  }
  const auto kept = store.load("", fleet::At::exactly(Revision(101 - 10)));
  EXPECT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(fault_of(store.load("", fleet::At::exactly(Revision(101 - 11))).status()),
            fleet::Fault::Compacted);
  // A store that kept many gets to where it should be.
  SqliteOptions fewer = options;
  fewer.keep_revisions = 2;
  SqliteStore other(path_, fewer);
  for (int i = 0; i < 10; ++i) {
    ASSERT_NE(other.commit(Transaction().put("a", "")).done(), nullptr);
  }
  EXPECT_EQ(fault_of(other.load("", fleet::At::exactly(Revision(108))).status()),
            fleet::Fault::Compacted);
  EXPECT_TRUE(other.load("", fleet::At::exactly(Revision(109))).ok());
}

TEST_F(SqliteProcesses, AWatchOutlivesItsStoreAndEndsWithItsHandle) {
  WatchRecorder recorder;
  auto store = std::make_unique<SqliteStore>(path_);
  fleet::Watch watch = store->watch("", Revision(2), recorder.handler());
  store.reset();
  SqliteStore other(path_);
  const Outcome outcome = other.commit(Transaction().put("a", ""));
  ASSERT_NE(outcome.done(), nullptr) << outcome;
  EXPECT_TRUE(recorder.wait_for(outcome.done()->revision));
  watch = fleet::Watch();
}

TEST_F(SqliteProcesses, ACallWaitsForOthersOfItsProcessNoLongerThanItsTimeout) {
  SqliteStore store(path_);
  ASSERT_TRUE(store.status().ok());
  Child child({"hold", path_});
  ASSERT_EQ(child.read_line(), "ready");
  child.wait_until_stopped();
  std::latch begun(1);
  std::thread first([&] {
    begun.count_down();
    const Outcome outcome = store.commit(Transaction().put("a", ""), absl::Seconds(60));
    EXPECT_NE(outcome.done(), nullptr) << outcome;
  });
  begun.wait();
  for (int i = 0; i < 3; ++i) {
    const Outcome outcome = store.commit(Transaction().put("b", ""), absl::Milliseconds(30));
    ASSERT_NE(outcome.failed(), nullptr) << outcome;
    EXPECT_EQ(fault_of(outcome.failed()->why), fleet::Fault::Unavailable);
  }
  EXPECT_TRUE(store.load("").ok()) << "loads are not behind commits";
  child.kill();
  first.join();
}

TEST_F(SqliteProcesses, AWatchOfAStoreThatIsNotThereYetBeginsWhenItIs) {
  SqliteOptions options;
  options.create_if_missing = false;
  options.poll_interval = absl::Milliseconds(20);
  SqliteStore store(path_, options);
  WatchRecorder recorder;
  fleet::Watch watch = store.watch("", Revision(2), recorder.handler());
  WatchRecorder never;
  fleet::Watch ended = store.watch("", Revision(2), never.handler());
  ended.stop();
  SqliteStore other(path_);
  const Outcome outcome = other.commit(Transaction().put("a", ""));
  ASSERT_NE(outcome.done(), nullptr) << outcome;
  EXPECT_TRUE(recorder.wait_for(outcome.done()->revision));
  EXPECT_EQ(never.events(), 0U);
}

}  // namespace
}  // namespace placement::test
