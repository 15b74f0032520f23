// SPDX-License-Identifier: Apache-2.0
//
// Files that a store cannot use, and what it says of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "child.hpp"
#include "placement/fleet/sqlite_store.hpp"
#include "temporary_directory.hpp"
#include "watch_recorder.hpp"

namespace placement::test {
namespace {

using fleet::Fault;
using fleet::fault_of;
using fleet::Outcome;
using fleet::Revision;
using fleet::SqliteOptions;
using fleet::SqliteStore;
using fleet::Transaction;
using testing::HasSubstr;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_at(const std::string& path, std::size_t at, const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file << bytes;
}

void run_sql(const std::string& path, const char* statements) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, statements, nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

std::string message(const absl::Status& status) { return std::string(status.message()); }

class SqliteFiles : public testing::Test {
 protected:
  // What a store at the path says, to every call.
  std::optional<Fault> fault() {
    SqliteStore store(path_);
    const absl::Status status = store.status();
    const absl::Status loaded = store.load("").status();
    EXPECT_EQ(status.code(), loaded.code());
    const Outcome outcome = store.commit(Transaction().put("a", ""));
    if (status.ok()) {
      EXPECT_NE(outcome.done(), nullptr) << outcome;
    } else {
      EXPECT_NE(outcome.failed(), nullptr) << outcome;
      if (outcome.failed() != nullptr) {
        EXPECT_EQ(fault_of(outcome.failed()->why), fault_of(status));
      }
      EXPECT_FALSE(store.identity().ok());
      EXPECT_FALSE(store.compact(Revision(1)).ok());
      EXPECT_FALSE(store.verify().ok());
    }
    return fault_of(status);
  }

  void make(int revisions = 1) {
    SqliteStore store(path_);
    for (int i = 0; i < revisions; ++i) {
      ASSERT_NE(
          store.commit(Transaction().put("k" + std::to_string(i), "a value to be damaged")).done(),
          nullptr);
    }
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.file("placements.db");
};

TEST_F(SqliteFiles, ATextIsNotOursAndStaysAsItIs) {
  const std::string text(10'000, 'x');
  std::ofstream(path_) << text;
  EXPECT_EQ(fault(), Fault::NotOurs);
  EXPECT_EQ(contents(path_), text);
  EXPECT_FALSE(std::filesystem::exists(path_ + "-wal"));
}

TEST_F(SqliteFiles, AnotherApplicationsDatabaseIsNotOursAndStaysAsItIs) {
  run_sql(path_, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  const std::string before = contents(path_);
  EXPECT_EQ(fault(), Fault::NotOurs);
  EXPECT_EQ(contents(path_), before) << "not even its journal mode changes";
}

TEST_F(SqliteFiles, AnApplicationIdIsEnoughToBeAnothers) {
  run_sql(path_, "PRAGMA application_id=7");
  EXPECT_EQ(fault(), Fault::NotOurs);
  SqliteStore store(path_);
  EXPECT_THAT(message(store.status()), HasSubstr("id 7"));
}

TEST_F(SqliteFiles, ANewerFormatIsSaidToBeNewerAndStaysAsItIs) {
  make();
  run_sql(path_, "PRAGMA user_version=2");
  const std::string before = contents(path_);
  EXPECT_EQ(fault(), Fault::NewerVersion);
  SqliteStore store(path_);
  EXPECT_THAT(message(store.status()), HasSubstr("version 2"));
  EXPECT_EQ(contents(path_), before);
}

TEST_F(SqliteFiles, AnEmptyFileBecomesAStore) {
  std::ofstream{path_};
  EXPECT_EQ(fault(), std::nullopt);
}

TEST_F(SqliteFiles, AFileThatLostAllButItsLogIsNotMadeAnew) {
  SqliteStore store(path_);
  ASSERT_NE(store.commit(Transaction().put("a", "")).done(), nullptr);
  const std::string copy = directory_.file("copy.db");
  copy_store(path_, copy);
  const std::string log = contents(copy + "-wal");
  ASSERT_FALSE(log.empty());
  for (const bool is_gone : {false, true}) {
    if (is_gone) {
      std::filesystem::remove(copy);
    } else {
      std::filesystem::resize_file(copy, 0);
    }
    SqliteStore other(copy);
    EXPECT_EQ(fault_of(other.status()), Fault::Corrupt) << other.status();
    EXPECT_EQ(contents(copy + "-wal"), log) << "what there is to restore is still there";
  }
}

TEST_F(SqliteFiles, NoFileIsAnErrorForWhoMakesNone) {
  SqliteOptions options;
  options.create_if_missing = false;
  SqliteStore store(path_, options);
  EXPECT_EQ(fault_of(store.status()), Fault::InputOutput);
  EXPECT_FALSE(std::filesystem::exists(path_));
  make();
  EXPECT_TRUE(store.status().ok()) << "it looks again: " << store.status();
}

TEST_F(SqliteFiles, NamesThatAreNoFilesAreRefused) {
  for (const std::string& path :
       {std::string(), directory_.path().string(), directory_.file("none/placements.db")}) {
    SqliteStore store(path);
    EXPECT_EQ(fault_of(store.status()), Fault::InputOutput) << store.status();
  }
}

TEST_F(SqliteFiles, ANameIsNeverReadAsAnythingElse) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory_.path());
  for (const char* const path : {":memory:", "file:x.db?mode=memory"}) {
    SqliteStore store(path);
    EXPECT_NE(store.commit(Transaction().put("a", "")).done(), nullptr);
    EXPECT_TRUE(std::filesystem::exists(directory_.file(path)));
  }
  std::filesystem::current_path(before);
}

TEST_F(SqliteFiles, AFileThatMayNotBeWrittenIsReadOnly) {
  make();
  // As a user to whom permissions apply.
  ::chmod(path_.c_str(), 0444);
  ::chmod((path_ + "-wake").c_str(), 0444);
  ::chmod(directory_.path().c_str(), 0755);
  EXPECT_EQ(run_child({"status", path_}, ::geteuid() == 0), "ReadOnly\n");
  ::chmod(path_.c_str(), 0000);
  EXPECT_EQ(run_child({"status", path_}, ::geteuid() == 0), "ReadOnly\n");
  ::chmod(path_.c_str(), 0644);
  EXPECT_EQ(fault(), std::nullopt);
}

TEST_F(SqliteFiles, ADirectoryThatMayNotBeWrittenIsReadOnly) {
  make();
  ::chmod(path_.c_str(), 0666);
  ::chmod((path_ + "-wake").c_str(), 0666);
  ::chmod(directory_.path().c_str(), 0555);
  EXPECT_EQ(run_child({"status", path_}, ::geteuid() == 0), "ReadOnly\n");
  EXPECT_EQ(run_child({"status", directory_.file("new.db")}, ::geteuid() == 0), "ReadOnly\n");
  ::chmod(directory_.path().c_str(), 0755);
}

TEST_F(SqliteFiles, AFullStoreSaysSoAndLosesNothing) {
  SqliteOptions options;
  options.max_pages = 40;
  std::uint64_t done = 0;
  {
    SqliteStore store(path_, options);
    while (true) {
      const Outcome outcome =
          store.commit(Transaction().put("k" + std::to_string(done), std::string(3000, 'x')));
      if (outcome.done() == nullptr) {
        ASSERT_NE(outcome.failed(), nullptr) << outcome;
        EXPECT_EQ(fault_of(outcome.failed()->why), Fault::Full) << outcome;
        break;
      }
      ++done;
    }
    ASSERT_GT(done, 10U);
    ASSERT_LT(done, 100U);
    const auto snapshot = store.load("k");
    ASSERT_TRUE(snapshot.ok()) << "reads go on: " << snapshot.status();
    EXPECT_EQ(snapshot->entries.size(), done);
    EXPECT_EQ(snapshot->revision.value(), 1 + done);
  }
  SqliteStore larger(path_);
  EXPECT_TRUE(larger.verify().ok()) << larger.verify();
  EXPECT_NE(larger.commit(Transaction().put("k", "")).done(), nullptr);
}

TEST_F(SqliteFiles, ASystemThatWritesNoMoreIsUnknownAndLosesNothing) {
  make();
  // The child's files may not grow beyond a bound: the system's own refusal, in the commit.
  const std::string output = run_child({"fill", path_}, false);
  EXPECT_THAT(output, HasSubstr("Unknown"));
  SqliteStore store(path_);
  EXPECT_TRUE(store.verify().ok()) << store.verify();
  std::size_t acknowledged = 0;
  for (const char c : output) acknowledged += c == 'A' ? 1 : 0;
  EXPECT_GT(acknowledged, 3U);
  EXPECT_GE(store.load("fill/")->entries.size(), acknowledged);
}

TEST_F(SqliteFiles, ABitThatTurnedInAValueIsNoticed) {
  make();
  const std::size_t at = contents(path_).find("to be damaged");
  ASSERT_NE(at, std::string::npos);
  write_at(path_, at, "T");
  SqliteStore store(path_);
  EXPECT_EQ(fault_of(store.load("").status()), Fault::Corrupt);
  EXPECT_EQ(fault_of(store.verify()), Fault::Corrupt);
  const Outcome outcome = store.commit(Transaction().put("k0", ""));
  ASSERT_NE(outcome.failed(), nullptr) << outcome;
  EXPECT_EQ(fault_of(outcome.failed()->why), Fault::Corrupt);
  WatchRecorder recorder;
  const fleet::Watch watch = store.watch("", Revision(1), recorder.handler());
  ASSERT_TRUE(recorder.wait_for_end());
  ASSERT_TRUE(recorder.lost());
  EXPECT_EQ(fault_of(recorder.lost()->why), Fault::Corrupt);
  EXPECT_NE(store.commit(Transaction().put("other", "")).done(), nullptr) << "the rest goes on";
}

TEST_F(SqliteFiles, GarbageInAnyPageIsNoticedByVerify) {
  make(60);
  const std::string good = contents(path_);
  constexpr std::size_t kPage = 4096;
  ASSERT_GE(good.size(), 4 * kPage);
  int noticed = 0;
  int pages = 0;
  for (std::size_t page = 0; page < good.size(); page += kPage) {
    const std::string damaged = directory_.file("damaged.db");
    copy_store(path_, damaged);
    write_at(damaged, page + (page == 0 ? 100 : 0), std::string(kPage / 2, '\xa5'));
    SqliteStore store(damaged);
    const absl::Status status = store.verify();
    ++pages;
    if (!status.ok()) {
      ++noticed;
      EXPECT_THAT(fault_of(status), testing::AnyOf(Fault::Corrupt, Fault::NotOurs)) << status;
    }
  }
  EXPECT_EQ(noticed, pages);
}

TEST_F(SqliteFiles, AFileThatWasCutIsCorrupt) {
  make(60);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  SqliteStore store(path_);
  EXPECT_EQ(fault_of(store.verify()), Fault::Corrupt) << store.verify();
}

TEST_F(SqliteFiles, TablesThatAreNotThereAreCorrupt) {
  make();
  run_sql(path_, "DROP TABLE versions");
  EXPECT_EQ(fault(), Fault::Corrupt);
}

TEST_F(SqliteFiles, ACounterBehindItsChangesIsCorrupt) {
  make(3);
  run_sql(path_, "UPDATE store SET revision = 2");
  EXPECT_EQ(fault(), Fault::Corrupt);
}

TEST_F(SqliteFiles, ACounterThatNobodyCanCountToIsCorrupt) {
  make();
  run_sql(path_, "UPDATE store SET revision = 9223372036854775807");
  EXPECT_EQ(fault(), Fault::Corrupt);
}

TEST_F(SqliteFiles, AFileThatWasReplacedHasLostItsHistory) {
  make(3);
  SqliteStore store(path_);
  ASSERT_TRUE(store.status().ok());
  const std::string other = directory_.file("other.db");
  {
    SqliteStore made(other);
    for (int i = 0; i < 9; ++i) (void)made.commit(Transaction().put("k", ""));
  }
  std::filesystem::rename(other, path_);
  EXPECT_EQ(fault_of(store.status()), Fault::HistoryLost) << "also if it is further on";
  EXPECT_EQ(fault_of(store.status()), Fault::HistoryLost);
  EXPECT_TRUE(SqliteStore(path_).status().ok()) << "a new object believes it";
}

TEST_F(SqliteFiles, AFileWhoseContentsAreAnotherStoresHasLostItsHistory) {
  make(3);
  SqliteStore store(path_);
  ASSERT_TRUE(store.status().ok());
  run_sql(path_, "UPDATE store SET identity = '00000000000000000000000000000000', revision = 9");
  EXPECT_EQ(fault_of(store.status()), Fault::HistoryLost);
}

TEST_F(SqliteFiles, ARevisionThatWentBackIsRememberedEvenWhenItHasOvertaken) {
  make(3);
  SqliteStore store(path_);
  ASSERT_TRUE(store.status().ok());
  run_sql(path_, "DELETE FROM versions WHERE revision > 2; UPDATE store SET revision = 2");
  EXPECT_EQ(fault_of(store.status()), Fault::HistoryLost);
  run_sql(path_, "UPDATE store SET revision = 9");
  EXPECT_EQ(fault_of(store.status()), Fault::HistoryLost);
}

TEST_F(SqliteFiles, AProcessThatIsStoppedInItsTransactionIsNamed) {
  make();
  SqliteStore store(path_);
  Child child({"hold", path_});
  ASSERT_EQ(child.read_line(), "ready");
  child.wait_until_stopped();

  const Outcome outcome = store.commit(Transaction().put("a", ""), absl::Milliseconds(50));
  ASSERT_NE(outcome.failed(), nullptr) << outcome;
  EXPECT_EQ(fault_of(outcome.failed()->why), Fault::Unavailable);
  EXPECT_THAT(message(outcome.failed()->why),
              testing::AllOf(HasSubstr("process " + std::to_string(child.pid())),
                             HasSubstr("which is stopped")));
  EXPECT_EQ(fault_of(store.compact(Revision(1), absl::Milliseconds(50))), Fault::Unavailable);
  EXPECT_TRUE(store.load("").ok()) << "reads wait for nobody";
  SqliteStore other(path_);
  EXPECT_TRUE(other.status().ok()) << "nor does opening: " << other.status();

  child.kill();
  EXPECT_NE(store.commit(Transaction().put("a", "")).done(), nullptr) << "nothing is in the way";
  EXPECT_EQ(store.load("held")->entries.size(), 0U);
}

TEST_F(SqliteFiles, ACommitWaitsForWhoHoldsTheLockUntilItsTimeout) {
  make();
  SqliteStore store(path_);
  Child child({"hold", path_});
  ASSERT_EQ(child.read_line(), "ready");
  child.wait_until_stopped();
  std::thread rescue([&] {
    // Not a bound on anything: the commit waits for a minute, the lock for this.
    ::usleep(50'000);
    child.kill();
  });
  EXPECT_NE(store.commit(Transaction().put("a", ""), absl::Seconds(60)).done(), nullptr);
  rescue.join();
}

TEST_F(SqliteFiles, WhoHasTheFileForHimselfIsNamed) {
  make();
  Child child({"exclude", path_});
  ASSERT_EQ(child.read_line(), "ready");
  child.wait_until_stopped();
  SqliteStore store(path_);
  const absl::Status status = store.status(absl::Milliseconds(50));
  EXPECT_EQ(fault_of(status), Fault::Unavailable) << status;
  EXPECT_THAT(message(status), HasSubstr("process " + std::to_string(child.pid())));
  child.kill();
  EXPECT_TRUE(store.status().ok()) << store.status();
}

}  // namespace
}  // namespace placement::test
