// SPDX-License-Identifier: Apache-2.0
//
// Every write that the store makes fails once, and the store's process ends at every write once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "fault_vfs.hpp"
#include "placement/fleet/sqlite_store.hpp"
#include "temporary_directory.hpp"

namespace placement::test {
namespace {

using fleet::Fault;
using fleet::fault_of;
using fleet::Outcome;
using fleet::Revision;
using fleet::SqliteOptions;
using fleet::SqliteStore;
using fleet::Transaction;

SqliteOptions on_faults() {
  SqliteOptions options;
  options.vfs = FaultVfs::kName;
  return options;
}

std::string key_of(int number) { return "k" + std::to_string(1000 + number); }

// Of some size: more than one page.
Transaction numbered(int number) {
  return Transaction()
      .put(key_of(number), std::string(3000, 'x'))
      .put("last", std::to_string(number));
}

// How many of numbered(0), numbered(1), ... are in the file, from the first on: as a process finds
// them that starts after all others have ended at once.
int found_after_a_crash(const TemporaryDirectory& directory, const std::string& path) {
  const std::string copy = directory.file("crashed.db");
  copy_store(path, copy);
  SqliteStore store(copy);
  EXPECT_TRUE(store.verify().ok()) << store.verify();
  const auto snapshot = store.load("");
  if (!snapshot.ok()) {
    ADD_FAILURE() << snapshot.status();
    return -1;
  }
  const int count = static_cast<int>(snapshot->entries.size()) - 1;
  for (int i = 0; i < count; ++i) {
    EXPECT_EQ(snapshot->entries[static_cast<std::size_t>(i)].key, key_of(i));
  }
  if (count >= 0) {
    EXPECT_EQ(snapshot->entries.back().value, std::to_string(count - 1));
  }
  // Each is one revision: none is there in part, none is there twice.
  EXPECT_EQ(snapshot->revision.value(), static_cast<std::uint64_t>(1 + std::max(count, 0)));
  return std::max(count, 0);
}

class SqliteFaults : public testing::Test {
 protected:
  ~SqliteFaults() override { FaultVfs::get().reset(); }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.file("placements.db");
};

struct Failure {
  int code;
  bool fails_on;
};

class SqliteEveryFailure : public SqliteFaults, public testing::WithParamInterface<Failure> {};

TEST_P(SqliteEveryFailure, OfACommitLeavesItUndoneOrUnknown) {
  int unknown = 0;
  int undone = 0;
  int came_true = 0;
  for (std::uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE("change " + std::to_string(nth));
    FaultVfs& faults = FaultVfs::get();
    faults.reset();
    copy_store(directory_.file("none"), path_);  // removes what is there
    bool was_hit = false;
    {
      SqliteStore store(path_, on_faults());
      for (int i = 0; i < 3; ++i) ASSERT_NE(store.commit(numbered(i)).done(), nullptr);

      faults.fail(nth, GetParam().code, GetParam().fails_on);
      const Outcome outcome = store.commit(numbered(3));
      was_hit = faults.has_failed();
      const int found = found_after_a_crash(directory_, path_);
      if (outcome.done() != nullptr) {
        EXPECT_FALSE(was_hit);
        EXPECT_EQ(found, 4);
      } else if (outcome.failed() != nullptr) {
        ++undone;
        EXPECT_EQ(found, 3) << outcome;
      } else {
        ++unknown;
        ASSERT_NE(outcome.unknown(), nullptr) << outcome;
        const auto fault = fault_of(outcome.unknown()->why);
        EXPECT_EQ(fault, GetParam().code == SQLITE_FULL ? Fault::Full : Fault::InputOutput);
        EXPECT_TRUE(found == 3 || found == 4) << found;
        if (found == 4) ++came_true;
      }

      // When the disk is well again, the store goes on, and what was Unknown is settled: whatever
      // comes next has overwritten it.
      faults.reset();
      const auto entries = store.load("");
      ASSERT_TRUE(entries.ok()) << entries.status();
      EXPECT_EQ(entries->entries.size(), outcome.done() != nullptr ? 5U : 4U);
      if (outcome.done() == nullptr) {
        const Outcome again = store.commit(Transaction().put("other", ""));
        ASSERT_NE(again.done(), nullptr) << again;
        EXPECT_EQ(again.done()->revision, Revision(5));
        copy_store(path_, directory_.file("settled.db"));
        SqliteStore settled(directory_.file("settled.db"));
        EXPECT_EQ(settled.load(key_of(3))->entries.size(), 0U);
        EXPECT_EQ(settled.load("other")->entries.size(), 1U);
      }
    }
    if (!was_hit) break;
  }
  EXPECT_GT(unknown, 0);
  if (GetParam().code == SQLITE_IOERR_FSYNC) {
    EXPECT_GT(came_true, 0) << "a commit whose sync failed can be found after a crash";
  }
  std::cout << undone << " undone, " << unknown << " unknown, of which " << came_true
            << " were found after a crash\n";
}

INSTANTIATE_TEST_SUITE_P(Codes, SqliteEveryFailure,
                         testing::Values(Failure{SQLITE_FULL, false}, Failure{SQLITE_FULL, true},
                                         Failure{SQLITE_IOERR_WRITE, true},
                                         Failure{SQLITE_IOERR_FSYNC, false},
                                         Failure{SQLITE_IOERR_FSYNC, true}));

TEST_F(SqliteFaults, AFailureWhileTheStoreIsMadeLeavesNothingInTheWay) {
  for (std::uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE("change " + std::to_string(nth));
    FaultVfs& faults = FaultVfs::get();
    copy_store(directory_.file("none"), path_);
    faults.reset();
    faults.fail(nth, SQLITE_IOERR_WRITE, true);
    SqliteStore store(path_, on_faults());
    const absl::Status status = store.status();
    if (!faults.has_failed()) {
      EXPECT_TRUE(status.ok()) << status;
      break;
    }
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(fault_of(status), Fault::InputOutput);
    faults.reset();
    EXPECT_TRUE(store.status().ok()) << store.status() << ": the same object tries again";
    EXPECT_NE(store.commit(numbered(0)).done(), nullptr);
  }
}

TEST_F(SqliteFaults, AProcessMayEndAtEveryWrite) {
  FaultVfs& faults = FaultVfs::get();
  faults.reset();
  int acknowledged = 0;
  int instants = 0;
  bool is_looking = false;
  // Before each write: what would a process find that starts when this one has ended here?
  faults.before([&] {
    if (is_looking) return;
    is_looking = true;
    ++instants;
    const int found = found_after_a_crash(directory_, path_);
    EXPECT_GE(found, acknowledged);
    EXPECT_LE(found, acknowledged + 1);
    is_looking = false;
  });
  {
    SqliteOptions options = on_faults();
    options.keep_revisions = 3;  // compaction on the way
    SqliteStore store(path_, options);
    for (; acknowledged < 12; ++acknowledged) {
      ASSERT_NE(store.commit(numbered(acknowledged)).done(), nullptr);
    }
    EXPECT_TRUE(store.compact(Revision(13)).ok());
  }  // the last connection moves the log into the file
  EXPECT_GT(instants, 100);
  std::cout << instants << " instants\n";
  faults.reset();
  EXPECT_EQ(found_after_a_crash(directory_, path_), 12);
}

TEST_F(SqliteFaults, ALogThatIsTornAnywhereLosesOnlyItsEnd) {
  const std::string copy = directory_.file("torn.db");
  std::vector<std::uintmax_t> ends = {};
  {
    SqliteStore store(path_);
    for (int i = 0; i < 6; ++i) {
      ASSERT_NE(store.commit(numbered(i)).done(), nullptr);
      ends.push_back(std::filesystem::file_size(path_ + "-wal"));
    }
    copy_store(path_, copy);  // while the log is there
  }
  const std::uintmax_t size = ends.back();
  int shorter = 0;
  for (const bool is_garbage : {false, true}) {
    for (std::uintmax_t end = ends.front(); end < size; end += 1237) {
      SCOPED_TRACE("torn at " + std::to_string(end));
      const std::string torn = directory_.file("torn-now.db");
      copy_store(copy, torn);
      if (is_garbage) {
        std::fstream log(torn + "-wal", std::ios::in | std::ios::out | std::ios::binary);
        log.seekp(static_cast<std::streamoff>(end));
        log << std::string(size - end, '\x5a');
      } else {
        std::filesystem::resize_file(torn + "-wal", end);
      }
      int whole = 0;
      while (ends[static_cast<std::size_t>(whole)] <= end) ++whole;
      const int found = found_after_a_crash(directory_, torn);
      EXPECT_EQ(found, whole);
      if (found < 6) ++shorter;
      // Who knew more is told.
      SqliteStore store(torn);
      EXPECT_EQ(fault_of(store.load("", fleet::At::least(Revision(7))).status()),
                Fault::HistoryLost);
      EXPECT_NE(store.commit(numbered(found)).done(), nullptr);
    }
  }
  EXPECT_GT(shorter, 20);
}

}  // namespace
}  // namespace placement::test
