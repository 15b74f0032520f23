// SPDX-License-Identifier: Apache-2.0
//
// A store in one SQLite file: for one machine, with nothing to start. Several processes may use the
// file at once.
//
// Files. Beside PATH there are PATH-wal and PATH-shm, which are SQLite's (what is in PATH-wal is
// part of the store: never delete or copy one without the other), and PATH-wake, by which processes
// wake one another and which holds nothing. The file has to be on a local file system.
//
// Durability. A transaction that is Done has been synced to the disk (write-ahead log,
// `synchronous=FULL`). It survives the end of any process at any instant, and a loss of power, as
// far as the disk keeps what it has confirmed. A transaction that was under way is there as a whole
// or not at all. What a load or a watch shows is on the disk, too. What is damaged in the log's
// middle, SQLite cannot tell from the log's end: the store then opens at an earlier revision, and
// HistoryLost is what tells whoever knew more.
//
// When is a commit Unknown? SQLite appends the transaction's pages to the log, the last one marked
// as the commit, syncs, and then lets others see it. If a write or the sync fails, nobody sees it,
// and SQLite says that it was rolled back. But the mark may be in the file: if all processes then
// end without a checkpoint, the next one reads the log from its beginning, and finds the
// transaction committed. So whatever fails in COMMIT itself is Unknown, a full disk among them.
// What fails before it is Failed: without the mark nothing happens. The next transaction that is
// Done overwrites the place, and so settles it: what is not there by then never will be. A commit
// is Unknown, too, if the file has been replaced while it ran.
//
// Locks. One process writes at a time; readers and watches wait for nobody. A process that is
// stopped (SIGSTOP, a debugger) inside its transaction stops all writers. Their commits then are
// Failed with Unavailable, and the message names the process.
//
// A process must not fork while it has a store open and use it in the child; open another there.
#ifndef PLACEMENT_FLEET_SQLITE_STORE_HPP_
#define PLACEMENT_FLEET_SQLITE_STORE_HPP_

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include "placement/detail/mutex.hpp"
#include "placement/fleet/detail/deadline.hpp"
#include "placement/fleet/detail/lock_holder.hpp"
#include "placement/fleet/detail/random_id.hpp"
#include "placement/fleet/detail/sqlite.hpp"
#include "placement/fleet/detail/wake_file.hpp"
#include "placement/fleet/store.hpp"

namespace placement {
inline namespace v1 {
namespace fleet {

struct SqliteOptions {
  // Makes a store where there is no file, or an empty one. Otherwise that is an error.
  bool create_if_missing = true;
  // The newest revisions, of which every change is kept: a watch or an exact load that begins
  // before them is Compacted. Older changes are removed step by step, as new ones come.
  std::uint64_t keep_revisions = 100'000;
  // A bound for the file, in pages of 4096 bytes; 0 for none. A transaction beyond it is Failed
  // with Full.
  std::uint32_t max_pages = 0;
  // How often a watch looks although nobody woke it: for changes of a process that was killed
  // between its commit and its call to the others.
  absl::Duration poll_interval = absl::Seconds(1);
  // After how long without an event a watch tells a Progress. Looked at every poll_interval.
  absl::Duration progress_interval = absl::Seconds(1);
  // The SQLite VFS to use; its default if empty.
  std::string vfs;
};

namespace detail {

// A connection to the file, with what its handlers need. One thread at a time.
struct SqliteSession {
  SqliteConnection connection;
  const Deadline* deadline = nullptr;  // of the call that uses the connection now
  std::shared_ptr<WakeFile> wake;
  bool is_open = false;
};

// One call's use of a session. Whatever happens, no transaction is open afterwards.
class SqliteCall {
 public:
  SqliteCall(SqliteSession& session, const Deadline& deadline) : session_(session) {
    session_.deadline = &deadline;
  }
  SqliteCall(const SqliteCall&) = delete;
  SqliteCall& operator=(const SqliteCall&) = delete;
  ~SqliteCall() {
    session_.connection.roll_back();
    session_.deadline = nullptr;
  }

 private:
  SqliteSession& session_;
};

// What the file says of itself.
struct SqliteMeta {
  Revision revision;
  Revision compacted;
};

// The file, as one SqliteStore knows it: what its connections and its watches share.
class SqliteFile {
 public:
  // "plfl", in the place where SQLite lets an application leave its mark.
  static constexpr int kApplicationId = 0x706c666c;
  static constexpr int kSchemaVersion = 1;

  SqliteFile(std::string path, SqliteOptions options) : options_(std::move(options)) {
    // SQLite reads meanings of its own into some names, an absolute one is only a name.
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::absolute(path, error);
    path_ = error || path.empty() ? std::string() : absolute.string();
  }

  [[nodiscard]] const SqliteOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  [[nodiscard]] std::string identity() const {
    const placement::detail::MutexLock lock(mutex_);
    return identity_;
  }

  // What every call begins with: the session is open, and in a transaction (a writer's, if
  // `writes`) which the caller's SqliteCall ends.
  absl::Status begin(SqliteSession& session, bool writes, SqliteMeta& meta) {
    if (absl::Status lost = this->lost(); !lost.ok()) return lost;
    if (!session.is_open) {
      if (absl::Status status = open(session); !status.ok()) {
        session.connection.close();
        return status;
      }
      session.is_open = true;
    }
    if (session.connection.has_moved()) return lose(moved());
    // Read before the transaction begins, for others go on. Order: relaxed. A call that happened
    // before this one has left its revision in it, by coherence; of calls at the same time nothing
    // is promised.
    const std::uint64_t floor = greatest_seen_.load(std::memory_order_relaxed);
    const int code = session.connection.run(writes ? "BEGIN IMMEDIATE" : "BEGIN");
    if (code != SQLITE_OK) return failure(session, code, "begin a transaction");
    absl::Status status = read_meta(session, meta);
    if (status.ok() && meta.revision.value() < floor) {
      status = lose(absl::StrCat("it is at revision ", meta.revision.value(), ", and was at ",
                                 floor, " already: it was restored, or its log is damaged"));
    }
    if (status.ok()) saw(meta.revision);
    return status;
  }

  void saw(Revision revision) {
    std::uint64_t seen = greatest_seen_.load(std::memory_order_relaxed);
    while (seen < revision.value() && !greatest_seen_.compare_exchange_weak(
                                          seen, revision.value(), std::memory_order_relaxed)) {
    }
  }

  // From now on every call answers this.
  absl::Status lose(const std::string& why) {
    const placement::detail::MutexLock lock(mutex_);
    if (lost_.ok()) lost_ = to_status(Fault::HistoryLost, absl::StrCat(path_, ": ", why));
    return lost_;
  }

  [[nodiscard]] static std::string moved() {
    return "the file was moved, deleted or replaced while it was open";
  }

  // What `code` says; of a lock, who holds it.
  [[nodiscard]] absl::Status failure(const SqliteSession& session, int code,
                                     std::string_view doing) const {
    if ((code & 0xff) == SQLITE_CANTOPEN && !may_make_files()) {
      return to_status(Fault::ReadOnly,
                       absl::StrCat(path_,
                                    ": its directory may not be written, and SQLite needs files"
                                    " beside this one"));
    }
    if ((code & 0xff) != SQLITE_BUSY) return session.connection.status(code, doing);
    return to_status(Fault::Unavailable,
                     absl::StrCat(path_, ": ", std::string(doing), ": the file is locked by ",
                                  describe_holder(session.connection)));
  }

  // The row's bytes as one number, so that a bit that has turned on the disk is noticed. Every
  // change of one byte changes it.
  [[nodiscard]] static std::uint64_t checksum(std::string_view key, std::uint64_t revision,
                                              std::uint64_t create, std::uint64_t version,
                                              bool has_value, std::string_view value) {
    std::uint64_t sum = 0xcbf29ce484222325;  // FNV-1a
    const auto add = [&sum](std::uint64_t byte) { sum = (sum ^ byte) * 0x100000001b3; };
    const auto add_number = [&add](std::uint64_t number) {
      for (int shift = 0; shift < 64; shift += 8) add((number >> shift) & 0xff);
    };
    const auto add_bytes = [&add, &add_number](std::string_view bytes) {
      add_number(bytes.size());
      for (const char c : bytes) add(static_cast<unsigned char>(c));
    };
    add_bytes(key);
    add_number(revision);
    add_number(create);
    add_number(version);
    add(has_value ? 1 : 0);
    add_bytes(value);
    return sum;
  }

  [[nodiscard]] absl::Status corrupt(std::string_view what) const {
    return to_status(Fault::Corrupt, absl::StrCat(path_, ": ", std::string(what)));
  }

 private:
  absl::Status lost() {
    const placement::detail::MutexLock lock(mutex_);
    return lost_;
  }

  absl::Status open(SqliteSession& session) {
    if (path_.empty()) {
      return to_status(Fault::InputOutput, "a store needs the name of a file; there is none");
    }
    if (sqlite3_threadsafe() == 0) {
      return to_status(Fault::InputOutput, "this SQLite was built without threads");
    }
    struct stat info{};
    const bool exists = ::stat(path_.c_str(), &info) == 0;
    if (!exists && errno != ENOENT) {
      return to_status(errno == EACCES ? Fault::ReadOnly : Fault::InputOutput,
                       absl::StrCat(path_, ": ", std::strerror(errno)));
    }
    if (!exists || info.st_size == 0) {
      // SQLite would delete the log, for a database without pages cannot have one.
      struct stat log{};
      if (::stat((path_ + "-wal").c_str(), &log) == 0 && log.st_size > 0) {
        return corrupt(absl::StrCat(exists ? "the file is empty" : "the file is gone",
                                    ", and its log PATH-wal is not: restore the file"));
      }
      if (!options_.create_if_missing) {
        return to_status(Fault::InputOutput, absl::StrCat(path_, exists ? ": the file is empty"
                                                                        : ": there is no file"));
      }
    }

    SqliteConnection& connection = session.connection;
    const int flags = SQLITE_OPEN_READWRITE |
                      (options_.create_if_missing ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX |
                      SQLITE_OPEN_EXRESCODE;
    int code = connection.open(path_, flags, options_.vfs);
    if (code != SQLITE_OK) {
      const int error = connection.get() == nullptr ? 0 : sqlite3_system_errno(connection.get());
      if (error == EACCES || error == EROFS || error == EPERM) {
        return to_status(Fault::ReadOnly, absl::StrCat(path_, ": ", std::strerror(error)));
      }
      return failure(session, code, "open");
    }
    sqlite3_busy_handler(connection.get(), &SqliteFile::on_busy, &session);

    // Nothing is written before the file is known to be ours, or nobody's.
    bool is_blank = false;
    if (absl::Status status = check_owner(session, is_blank); !status.ok()) return status;
    if (sqlite3_db_readonly(connection.get(), "main") != 0) {
      return to_status(Fault::ReadOnly, absl::StrCat(path_, ": the file may not be written"));
    }
    if (absl::Status status = set_up(session); !status.ok()) return status;
    if (is_blank) {
      if (absl::Status status = make(session); !status.ok()) return status;
    }
    if (absl::Status status = check_log(session); !status.ok()) return status;
    return settle_log(session);
  }

  // Is it ours, and of a version that we know? `is_blank`: it holds nothing at all.
  absl::Status check_owner(SqliteSession& session, bool& is_blank) {
    SqliteConnection& connection = session.connection;
    // One statement: an answer of one instant.
    const SqliteOwner owner = read_owner(connection);
    if (owner.code != SQLITE_OK) {
      if ((owner.code & 0xff) == SQLITE_NOTADB) {
        return to_status(
            Fault::NotOurs,
            absl::StrCat(path_, ": this is no SQLite database, or its head is damaged"));
      }
      return failure(session, owner.code, "look whose it is");
    }
    is_blank = owner.application == 0 && owner.version == 0 && owner.objects == 0;
    if (is_blank) return absl::OkStatus();
    if (owner.application != kApplicationId) {
      return to_status(Fault::NotOurs,
                       absl::StrCat(path_, ": this is another application's database (id ",
                                    owner.application, ", ", owner.objects, " objects)"));
    }
    if (owner.version > kSchemaVersion) {
      return to_status(Fault::NewerVersion,
                       absl::StrCat(path_, ": its format is version ", owner.version,
                                    "; this release knows ", kSchemaVersion, ", so update it"));
    }
    if (owner.version != kSchemaVersion) {
      return corrupt(
          absl::StrCat("its format has the version ", owner.version, ", which never was"));
    }
    return absl::OkStatus();
  }

  struct SqliteOwner {
    int code = SQLITE_OK;
    std::int64_t application = 0;
    std::int64_t version = 0;
    std::int64_t objects = 0;
  };

  static SqliteOwner read_owner(SqliteConnection& connection) {
    SqliteOwner owner;
    SqliteQuery query = connection.query(
        "SELECT (SELECT application_id FROM pragma_application_id),"
        " (SELECT user_version FROM pragma_user_version),"
        " (SELECT count(*) FROM sqlite_master)");
    const int code = query.step();
    if (code != SQLITE_ROW) {
      owner.code = code == SQLITE_DONE ? SQLITE_CORRUPT : code;
      return owner;
    }
    owner.application = static_cast<std::int64_t>(query.number(0));
    owner.version = static_cast<std::int64_t>(query.number(1));
    owner.objects = static_cast<std::int64_t>(query.number(2));
    return owner;
  }

  absl::Status set_up(SqliteSession& session) {
    SqliteConnection& connection = session.connection;
    std::string mode;
    int code = SQLITE_OK;
    // To change the mode takes the whole file. SQLite does not wait for it by itself.
    do {
      code = connection.ask("PRAGMA journal_mode=WAL", mode);
    } while ((code & 0xff) == SQLITE_BUSY && on_busy(&session, 8) != 0);
    if (code != SQLITE_OK) return failure(session, code, "turn the write-ahead log on");
    if (mode != "wal") {
      return to_status(Fault::InputOutput,
                       absl::StrCat(path_, ": this file system cannot keep a write-ahead log"));
    }
    for (const char* const setting :
         {"PRAGMA synchronous=FULL", "PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON",
          "PRAGMA journal_size_limit=67108864"}) {
      code = connection.run(setting);
      if (code != SQLITE_OK) return failure(session, code, setting);
    }
    if (options_.max_pages != 0) {
      const std::string bound = absl::StrCat("PRAGMA max_page_count=", options_.max_pages);
      code = connection.run(bound.c_str());
      if (code != SQLITE_OK) return failure(session, code, "bound the file");
    }

    // The name that SQLite gives its own files: links are followed.
    const char* const name = sqlite3_db_filename(connection.get(), "main");
    const std::string file = name == nullptr ? path_ : name;
    const placement::detail::MutexLock lock(mutex_);
    if (wake_ == nullptr) wake_ = WakeFile::open(file + "-wake", file);
    if (wake_ == nullptr) {
      return to_status(errno == EACCES || errno == EROFS ? Fault::ReadOnly : Fault::InputOutput,
                       absl::StrCat(file, "-wake: ", std::strerror(errno)));
    }
    session.wake = wake_;
    return absl::OkStatus();
  }

  // The tables, unless another process has been faster.
  absl::Status make(SqliteSession& session) {
    SqliteConnection& connection = session.connection;
    int code = connection.run("BEGIN IMMEDIATE");
    if (code != SQLITE_OK) return failure(session, code, "make the store");
    bool is_blank = false;
    absl::Status status = check_owner(session, is_blank);
    if (!status.ok() || !is_blank) {
      connection.roll_back();
      return status;
    }
    const std::string first =
        absl::StrCat("INSERT INTO store VALUES(1, '", random_id(), "', 1, 0)");
    const std::string version = absl::StrCat("PRAGMA user_version=", kSchemaVersion);
    const std::string application = absl::StrCat("PRAGMA application_id=", kApplicationId);
    for (const char* const statement :
         {"CREATE TABLE store(one INTEGER PRIMARY KEY CHECK(one = 1), identity TEXT NOT NULL,"
          " revision INTEGER NOT NULL, compacted INTEGER NOT NULL)",
          // Each put and each delete (value NULL) of the revisions that are kept, and of older ones
          // what is still there.
          "CREATE TABLE versions(key BLOB NOT NULL, revision INTEGER NOT NULL,"
          " created INTEGER NOT NULL, version INTEGER NOT NULL, value BLOB,"
          " checksum INTEGER NOT NULL, PRIMARY KEY(key, revision)) WITHOUT ROWID",
          "CREATE INDEX versions_by_revision ON versions(revision)", first.c_str(), version.c_str(),
          application.c_str(), "COMMIT"}) {
      code = connection.run(statement);
      if (code != SQLITE_OK) {
        status = failure(session, code, "make the store");
        connection.roll_back();
        return status;
      }
    }
    return absl::OkStatus();
  }

  // What the log's last change says against what the counter says.
  absl::Status check_log(SqliteSession& session) {
    SqliteQuery query = session.connection.query(
        "SELECT (SELECT max(revision) FROM versions), (SELECT revision FROM store)");
    const int code = query.step();
    if (code != SQLITE_ROW) return failure(session, code, "look for the last revision");
    if (query.number(0) > query.number(1)) {
      return corrupt(absl::StrCat("it has changes of revision ", query.number(0),
                                  ", and counts only ", query.number(1)));
    }
    return absl::OkStatus();
  }

  // If all processes ended at once, SQLite has just read the log anew, and may have found there a
  // transaction that nobody has synced. Nobody is shown it before it is in the file, and that
  // synced. If another process is at it now, it is his affair.
  absl::Status settle_log(SqliteSession& session) {
    sqlite3* const database = session.connection.get();
    const int code =
        sqlite3_wal_checkpoint_v2(database, "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY) return absl::OkStatus();
    return failure(session, code, "settle the log");
  }

  absl::Status read_meta(SqliteSession& session, SqliteMeta& meta) {
    SqliteQuery query = session.connection.query("SELECT identity, revision, compacted FROM store");
    const int code = query.step();
    if (code == SQLITE_DONE) return corrupt("it does not say at which revision it is");
    if (code != SQLITE_ROW) return failure(session, code, "read the revision");
    meta.revision = Revision(query.number(1));
    meta.compacted = Revision(query.number(2));
    if (meta.revision == Revision::zero() || meta.revision > Revision::max() ||
        meta.compacted > meta.revision) {
      return corrupt(absl::StrCat("it is at revision ", meta.revision.value(), ", compacted at ",
                                  meta.compacted.value(), ", which cannot be"));
    }
    const std::string identity(query.bytes(0));
    {
      const placement::detail::MutexLock lock(mutex_);
      if (identity_.empty()) identity_ = identity;
      if (identity_ == identity) return absl::OkStatus();
    }
    return lose("the file's contents were replaced by another store's");
  }

  // May files be made beside it?
  [[nodiscard]] bool may_make_files() const {
    const std::string directory = std::filesystem::path(path_).parent_path().string();
    return ::faccessat(AT_FDCWD, directory.c_str(), W_OK, AT_EACCESS) == 0 || errno == ENOENT;
  }

  // SQLite's question whether to try once more. Whoever ends a transaction wakes us.
  static int on_busy(void* argument, int tries) {
    const auto* const session = static_cast<const SqliteSession*>(argument);
    if (session->deadline == nullptr || session->deadline->has_passed()) return 0;
    const absl::Duration pause =
        std::min(session->deadline->remaining(), absl::Milliseconds(std::min(20, 1 + tries)));
    if (session->wake != nullptr) {
      session->wake->wait(session->wake->read(), pause);
    } else {
      absl::SleepFor(pause);
    }
    return 1;
  }

  // The locks that matter are bytes of SQLite's files: of PATH-shm those of the writer, of the one
  // who reads the log anew and of the one who sets the index up; of PATH those of the modes in
  // which one process has the file for itself.
  static std::string describe_holder(const SqliteConnection& connection) {
    const char* const name = sqlite3_db_filename(connection.get(), "main");
    const std::string file = name == nullptr ? "" : name;
    for (const std::uint64_t byte : {120U, 122U, 128U}) {
      if (const pid_t pid = holder_of_write_lock(file + "-shm", byte); pid != 0) {
        return describe_process(pid);
      }
    }
    for (const std::uint64_t byte : {0x40000000U, 0x40000001U, 0x40000002U}) {
      if (const pid_t pid = holder_of_write_lock(file, byte); pid != 0)
        return describe_process(pid);
    }
    return "a process that cannot be named, or several in turn";
  }

  std::string path_;
  const SqliteOptions options_;
  std::atomic<std::uint64_t> greatest_seen_{0};  // order: see begin

  mutable placement::detail::Mutex mutex_;
  std::string identity_ ABSL_GUARDED_BY(mutex_);
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<WakeFile> wake_ ABSL_GUARDED_BY(mutex_);
};

// One version of a key, as a row holds it.
struct SqliteRow {
  std::string_view key;
  std::uint64_t revision = 0;
  std::uint64_t create = 0;
  std::uint64_t version = 0;
  bool has_value = false;
  std::string_view value;

  // Reads the columns key, revision, created, version, value, checksum. False if the row is
  // damaged.
  bool read(const SqliteQuery& query) {
    key = query.bytes(0);
    revision = query.number(1);
    create = query.number(2);
    version = query.number(3);
    has_value = !query.is_null(4);
    value = query.bytes(4);
    return query.number(5) ==
           SqliteFile::checksum(key, revision, create, version, has_value, value);
  }

  [[nodiscard]] Entry entry() const {
    return {std::string(key), std::string(value), Revision(create), Revision(revision), version};
  }
};

class SqliteWatch final : public Watch::Running, public std::enable_shared_from_this<SqliteWatch> {
 public:
  SqliteWatch(std::shared_ptr<SqliteFile> file, std::string prefix, Revision from,
              WatchHandler handler)
      : file_(std::move(file)),
        prefix_(std::move(prefix)),
        next_(from),
        handler_(std::move(handler)) {}

  void start() {
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
  }

  void stop() override {
    std::shared_ptr<WakeFile> wake;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      stopped_.notify_all();
      wake = wake_;
    }
    // The word changes, so a thread that is about to sleep does not.
    if (wake != nullptr) wake->bump();
    if (!thread_.joinable()) return;
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();  // it holds a reference to this
    } else {
      thread_.join();
    }
  }

 private:
  // Revisions that are read at once, and bytes, before they are told.
  static constexpr std::uint64_t kRevisions = 1024;
  static constexpr std::size_t kBytes = std::size_t{4} << 20;

  enum class Looked { All, More, Failed, Ended };

  void run() {
    while (!is_stopping()) {
      // Read before the look: a change after the look changes the word, and the wait ends at once.
      const WakeFile::Word seen = session_.wake == nullptr ? 0 : session_.wake->read();
      const bool had_wake = session_.wake != nullptr;
      const Looked looked = look();
      if (looked == Looked::Ended) break;
      if (looked == Looked::More) continue;
      if (looked == Looked::All && !had_wake) continue;  // opened just now: look again, then sleep
      sleep(had_wake, seen, looked);
    }
    session_.connection.close();
  }

  void sleep(bool has_wake, WakeFile::Word seen, Looked looked) {
    const absl::Duration longest = file_->options().poll_interval;
    // A store that fails is not asked again as soon as anybody commits: it may be a busy one.
    if (has_wake && looked == Looked::All) return session_.wake->wait(seen, longest);
    std::unique_lock lock(mutex_);
    if (!stopping_) stopped_.wait_for(lock, absl::ToChronoNanoseconds(longest));
  }

  bool is_stopping() {
    const std::lock_guard lock(mutex_);
    if (wake_ == nullptr) wake_ = session_.wake;  // stop() has to reach it
    return stopping_;
  }

  void tell(const WatchEvent& event) {
    if (is_stopping()) return;
    handler_(event);
    told_ = std::chrono::steady_clock::now();
  }

  // Reads some revisions, then tells them: no transaction is open while the handler runs.
  Looked look() {
    const Deadline deadline(Store::kDefaultTimeout);
    SqliteMeta meta;
    std::vector<Changes> found;
    Revision end;
    if (absl::Status status = look_in_file(deadline, meta, found, end); !status.ok()) {
      return fail(status);
    }
    if (compacted_) {
      tell(Compacted{*compacted_});
      return Looked::Ended;
    }
    for (const Changes& changes : found) tell(changes);
    next_ = std::max(next_, end.next());
    if (end < meta.revision) return Looked::More;
    if (!told_ || std::chrono::steady_clock::now() - *told_ >=
                      absl::ToChronoNanoseconds(file_->options().progress_interval)) {
      if (next_ > Revision(1)) tell(Progress{Revision(next_.value() - 1)});
    }
    return Looked::All;
  }

  absl::Status look_in_file(const Deadline& deadline, SqliteMeta& meta, std::vector<Changes>& found,
                            Revision& end) {
    const SqliteCall call(session_, deadline);
    absl::Status status = file_->begin(session_, false, meta);
    return status.ok() ? read(meta, found, end) : status;
  }

  absl::Status read(const SqliteMeta& meta, std::vector<Changes>& found, Revision& end) {
    if (next_ > meta.revision.next()) {
      return to_status(Fault::HistoryLost,
                       absl::StrCat(file_->path(), ": a watch from revision ", next_.value(),
                                    ", and the store is at ", meta.revision.value()));
    }
    if (next_ <= meta.compacted) {
      compacted_ = meta.compacted;
      return absl::OkStatus();
    }
    end = std::min(meta.revision, Revision(next_.value() + kRevisions - 1));
    SqliteQuery query = session_.connection.query(
        "SELECT key, revision, created, version, value, checksum FROM versions"
        " INDEXED BY versions_by_revision WHERE revision BETWEEN ?1 AND ?2 ORDER BY revision");
    query.bind(1, next_.value()).bind(2, end.value());
    std::size_t bytes = 0;
    int code = SQLITE_OK;
    while ((code = query.step()) == SQLITE_ROW) {
      SqliteRow row;
      if (!row.read(query)) {
        return file_->corrupt(absl::StrCat("a change of revision ", row.revision, " is damaged"));
      }
      const Revision revision(row.revision);
      if (!row.key.starts_with(prefix_)) continue;
      if (found.empty() || found.back().revision != revision) {
        if (bytes > kBytes) {  // only whole revisions are told
          end = Revision(revision.value() - 1);
          return absl::OkStatus();
        }
        found.push_back({revision, {}});
      }
      bytes += row.key.size() + row.value.size();
      Change change{std::string(row.key), std::nullopt, Revision(row.create), row.version};
      if (row.has_value) change.value = std::string(row.value);
      found.back().changes.push_back(std::move(change));
    }
    if (code != SQLITE_DONE) return file_->failure(session_, code, "read the changes");
    return absl::OkStatus();
  }

  Looked fail(const absl::Status& status) {
    const auto fault = fault_of(status);
    if (fault != Fault::HistoryLost && fault != Fault::Corrupt) return Looked::Failed;
    tell(HistoryLost{status});
    return Looked::Ended;
  }

  const std::shared_ptr<SqliteFile> file_;
  const std::string prefix_;
  // Of the watch's thread alone.
  Revision next_;  // the first one that has not been told
  const WatchHandler handler_;
  SqliteSession session_;
  std::optional<Revision> compacted_;
  std::optional<std::chrono::steady_clock::time_point> told_;

  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;           // guarded by mutex_
  std::shared_ptr<WakeFile> wake_;  // guarded by mutex_
};

}  // namespace detail

// See the head of this file, and Store for the contract.
//
// A file that cannot be used is said by every call, which looks anew each time: NotOurs (another
// application's database, or none at all), NewerVersion, ReadOnly, Corrupt, Full, Unavailable
// (locked; the message names who holds it), InputOutput. None of them changes the file. After
// HistoryLost (the file was replaced, or knows less than this object has seen) every call answers
// that; make a new SqliteStore to believe the file again.
//
// Limits beside the contract's: a commit whose sync is under way is not interrupted at the timeout;
// a watch costs a thread and a connection, and opening one throws std::system_error if there is no
// thread left.
class SqliteStore final : public Store {
 public:
  // Opens the file, or makes it. Never fails by itself: see status().
  explicit SqliteStore(std::string path, SqliteOptions options = {})
      : file_(std::make_shared<detail::SqliteFile>(std::move(path), std::move(options))) {
    (void)status();
  }

  // What a call would be answered now.
  [[nodiscard]] absl::Status status(absl::Duration timeout = kDefaultTimeout) {
    return load_with(timeout, [](detail::SqliteSession&, const detail::SqliteMeta&) {
      return absl::OkStatus();
    });
  }

  // 128 random bits, drawn when the file was made.
  [[nodiscard]] absl::StatusOr<std::string> identity(
      absl::Duration timeout = kDefaultTimeout) override {
    if (absl::Status status = this->status(timeout); !status.ok()) return status;
    return file_->identity();
  }

  // Forgets every change up to `revision` that a later one has superseded. Requires a revision that
  // the store has reached. Other calls go on meanwhile.
  absl::Status compact(Revision revision, absl::Duration timeout = kDefaultTimeout) {
    const detail::Deadline deadline(timeout);
    while (true) {
      const detail::GatePass pass(writer_gate_, deadline);
      if (!pass.entered()) return gate_closed();
      const detail::SqliteCall call(writer_, deadline);
      detail::SqliteMeta meta;
      absl::Status status = file_->begin(writer_, true, meta);
      if (!status.ok()) return status;
      if (revision > meta.revision) {
        status = to_status(Fault::LimitReached,
                           absl::StrCat("compaction at revision ", revision.value(),
                                        ", and the store is at ", meta.revision.value()));
      }
      const bool is_there = meta.compacted >= revision;
      if (status.ok() && !is_there) status = compact_step(meta, revision, kCompactAtOnce);
      if (status.ok() && !is_there) {
        const int code = writer_.connection.run("COMMIT");
        if (code != SQLITE_OK) status = file_->failure(writer_, code, "compact");
      }
      if (!status.ok() || is_there) return status;
    }
  }

  // Reads the whole file and says what is damaged in it (Corrupt). Takes time in proportion to the
  // file's size; other calls but loads go on meanwhile.
  absl::Status verify(absl::Duration timeout = absl::InfiniteDuration()) {
    return load_with(timeout, [this](detail::SqliteSession& session, const detail::SqliteMeta&) {
      std::string answer;
      const int code = session.connection.ask("PRAGMA integrity_check(1)", answer);
      if (code != SQLITE_OK) return file_->failure(session, code, "verify");
      if (answer != "ok") return file_->corrupt(answer);
      detail::SqliteQuery query = session.connection.query(
          "SELECT key, revision, created, version, value, checksum FROM versions");
      int step = SQLITE_OK;
      while ((step = query.step()) == SQLITE_ROW) {
        detail::SqliteRow row;
        if (!row.read(query)) return damaged(row);
      }
      return step == SQLITE_DONE ? absl::OkStatus() : file_->failure(session, step, "verify");
    });
  }

 private:
  // Revisions that a transaction compacts on its way: more than it makes, so that a store with too
  // many gets to where it should be.
  static constexpr std::uint64_t kCompactOnTheWay = 4;
  static constexpr std::uint64_t kCompactAtOnce = 1000;

  absl::StatusOr<Snapshot> do_load(std::string_view prefix, At at,
                                   absl::Duration timeout) override {
    Snapshot snapshot;
    const auto body = [&](detail::SqliteSession& session, const detail::SqliteMeta& meta) {
      if (at.revision() > meta.revision) {
        return to_status(
            Fault::HistoryLost,
            absl::StrCat(file_->path(), ": revision ", at.revision().value(),
                         " was asked for, and the store is at ", meta.revision.value()));
      }
      if (at.is_exact() && (at.revision() < meta.compacted || at.revision() == Revision::zero())) {
        return to_status(Fault::Compacted, absl::StrCat("revision ", at.revision().value(),
                                                        " was asked for, and what is older than ",
                                                        meta.compacted.value(), " is gone"));
      }
      snapshot.revision = at.is_exact() ? at.revision() : meta.revision;
      return scan(session, prefix, snapshot);
    };
    if (absl::Status status = load_with(timeout, body); !status.ok()) return status;
    return snapshot;
  }

  absl::Status scan(detail::SqliteSession& session, std::string_view prefix, Snapshot& snapshot) {
    const std::string end = end_of(prefix);
    detail::SqliteQuery query = session.connection.query(
        end.empty() ? "SELECT key, revision, created, version, value, checksum FROM versions"
                      " WHERE key >= ?1 AND revision <= ?3 ORDER BY key, revision"
                    : "SELECT key, revision, created, version, value, checksum FROM versions"
                      " WHERE key >= ?1 AND key < ?2 AND revision <= ?3 ORDER BY key, revision");
    query.bind(1, prefix).bind(3, snapshot.revision.value());
    if (!end.empty()) query.bind(2, end);
    bool last_is_deleted = false;
    std::vector<Entry>& entries = snapshot.entries;
    int code = SQLITE_OK;
    while ((code = query.step()) == SQLITE_ROW) {
      detail::SqliteRow row;
      if (!row.read(query)) return damaged(row);
      // A key's versions come one after the other, and the last one counts.
      if (!entries.empty() && (last_is_deleted || entries.back().key == row.key)) {
        entries.pop_back();
      }
      entries.push_back(row.entry());
      last_is_deleted = !row.has_value;
    }
    if (last_is_deleted) entries.pop_back();
    return code == SQLITE_DONE ? absl::OkStatus() : file_->failure(session, code, "load");
  }

  // The least text above all that begin with `prefix`; empty if there is none.
  static std::string end_of(std::string_view prefix) {
    std::string end(prefix);
    while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
    if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
    return end;
  }

  // `body` in a reader's transaction.
  template <typename Body>
  absl::Status load_with(absl::Duration timeout, const Body& body) {
    const detail::Deadline deadline(timeout);
    const detail::GatePass pass(reader_gate_, deadline);
    if (!pass.entered()) return gate_closed();
    const detail::SqliteCall call(reader_, deadline);
    detail::SqliteMeta meta;
    absl::Status status = file_->begin(reader_, false, meta);
    if (!status.ok()) return status;
    sqlite3_progress_handler(reader_.connection.get(), 10'000, &SqliteStore::on_progress, &reader_);
    status = body(reader_, meta);
    sqlite3_progress_handler(reader_.connection.get(), 0, nullptr, nullptr);
    return status;
  }

  // Ends a load at its timeout.
  static int on_progress(void* session) {
    return static_cast<const detail::SqliteSession*>(session)->deadline->has_passed() ? 1 : 0;
  }

  Outcome do_commit(const Transaction& transaction, absl::Duration timeout) override {
    const detail::Deadline deadline(timeout);
    const detail::GatePass pass(writer_gate_, deadline);
    if (!pass.entered()) return Failed{gate_closed()};
    Outcome outcome = Failed{};
    {
      const detail::SqliteCall call(writer_, deadline);
      detail::SqliteMeta meta;
      if (absl::Status status = file_->begin(writer_, true, meta); !status.ok()) {
        return Failed{std::move(status)};
      }
      outcome = within(transaction, meta);
    }
    writer_.wake->bump();  // watches, and who waits for the lock
    return outcome;
  }

  Outcome within(const Transaction& transaction, detail::SqliteMeta& meta) {
    Keys keys;
    bool holds = true;
    std::vector<std::optional<Entry>> compared;
    for (const Compare& compare : transaction.compares()) {
      const absl::StatusOr<Known*> known = find(keys, compare.key);
      if (!known.ok()) return Failed{known.status()};
      const Revision revision = !(*known)->is_there                  ? Revision::zero()
                                : compare.what == Compare::What::Mod ? (*known)->entry.mod
                                                                     : (*known)->entry.create;
      holds = holds && revision == compare.revision;
      compared.push_back((*known)->found());
    }
    std::vector<std::optional<Entry>> reads;
    for (const std::string& key : transaction.reads()) {
      const absl::StatusOr<Known*> known = find(keys, key);
      if (!known.ok()) return Failed{known.status()};
      reads.push_back((*known)->found());
    }
    if (!holds) return Refused{meta.revision, std::move(compared), std::move(reads)};

    const Revision revision = meta.revision.next();
    if (revision > Revision::max()) {
      return Failed{to_status(Fault::LimitReached, "the store has no revision left")};
    }
    bool changes = false;
    for (const Transaction::Put& put : transaction.puts()) {
      const absl::StatusOr<Known*> known = find(keys, put.key);
      if (!known.ok()) return Failed{known.status()};
      const bool is_there = (*known)->is_there;
      const Revision create = is_there ? (*known)->entry.create : revision;
      const std::uint64_t version = is_there ? (*known)->entry.version + 1 : 1;
      if (absl::Status status = insert(put.key, revision, create, version, &put.value);
          !status.ok()) {
        return Failed{std::move(status)};
      }
      changes = true;
    }
    for (const std::string& key : transaction.deletes()) {
      const absl::StatusOr<Known*> known = find(keys, key);
      if (!known.ok()) return Failed{known.status()};
      if (!(*known)->is_there) continue;
      if (absl::Status status = insert(key, revision, Revision::zero(), 0, nullptr); !status.ok()) {
        return Failed{std::move(status)};
      }
      changes = true;
    }
    if (!changes) return Done{meta.revision, std::move(reads)};

    meta.revision = revision;
    if (absl::Status status = write_revision(revision); !status.ok()) {
      return Failed{std::move(status)};
    }
    const std::uint64_t keep = file_->options().keep_revisions;
    if (revision.value() > keep) {
      if (absl::Status status =
              compact_step(meta, Revision(revision.value() - keep), kCompactOnTheWay);
          !status.ok()) {
        return Failed{std::move(status)};
      }
    }

    const int code = writer_.connection.run("COMMIT");
    if (code != SQLITE_OK) {
      absl::Status status = file_->failure(writer_, code, "commit");
      // A lock in the way of the commit leaves the transaction open, and the caller of this ends
      // it.
      if ((code & 0xff) == SQLITE_BUSY && writer_.connection.is_in_transaction()) {
        return Failed{std::move(status)};
      }
      return Unknown{std::move(status)};
    }
    // A file that nobody else will ever open may be the one that has it.
    if (writer_.connection.has_moved()) return Unknown{file_->lose(detail::SqliteFile::moved())};
    file_->saw(revision);
    return Done{revision, std::move(reads)};
  }

  struct Known {
    bool is_there = false;
    Entry entry;

    [[nodiscard]] std::optional<Entry> found() const {
      return is_there ? std::optional<Entry>(entry) : std::nullopt;
    }
  };
  // What the transaction has found so far.
  using Keys = absl::flat_hash_map<std::string, std::unique_ptr<Known>>;

  absl::StatusOr<Known*> find(Keys& keys, const std::string& key) {
    std::unique_ptr<Known>& known = keys[key];
    if (known != nullptr) return known.get();
    known = std::make_unique<Known>();
    detail::SqliteQuery query = writer_.connection.query(
        "SELECT key, revision, created, version, value, checksum FROM versions"
        " WHERE key = ?1 ORDER BY revision DESC LIMIT 1");
    query.bind(1, key);
    const int code = query.step();
    if (code == SQLITE_DONE) return known.get();
    if (code != SQLITE_ROW) return file_->failure(writer_, code, "read a key");
    detail::SqliteRow row;
    if (!row.read(query)) return damaged(row);
    if (row.has_value) {
      known->is_there = true;
      known->entry = row.entry();
    }
    return known.get();
  }

  absl::Status insert(const std::string& key, Revision revision, Revision create,
                      std::uint64_t version, const std::string* value) {
    detail::SqliteQuery query =
        writer_.connection.query("INSERT INTO versions VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
    query.bind(1, key).bind(2, revision.value()).bind(3, create.value()).bind(4, version);
    if (value != nullptr) {
      query.bind(5, *value);
    } else {
      query.bind_null(5);
    }
    query.bind(6, detail::SqliteFile::checksum(key, revision.value(), create.value(), version,
                                               value != nullptr,
                                               value != nullptr ? *value : std::string_view()));
    const int code = query.step();
    return code == SQLITE_DONE ? absl::OkStatus() : file_->failure(writer_, code, "write a key");
  }

  absl::Status write_revision(Revision revision) {
    detail::SqliteQuery query = writer_.connection.query("UPDATE store SET revision = ?1");
    query.bind(1, revision.value());
    const int code = query.step();
    return code == SQLITE_DONE ? absl::OkStatus() : file_->failure(writer_, code, "count");
  }

  // Compacts up to `goal`, `most` revisions at most. Whatever a revision put or deleted, no version
  // before it is needed any more, and a delete not even itself.
  absl::Status compact_step(const detail::SqliteMeta& meta, Revision goal, std::uint64_t most) {
    const Revision end = std::min(goal, Revision(meta.compacted.value() + most));
    if (end <= meta.compacted) return absl::OkStatus();
    std::vector<std::pair<std::string, std::uint64_t>> superseded;
    {
      detail::SqliteQuery query = writer_.connection.query(
          "SELECT key, revision + (value IS NULL) FROM versions"
          " INDEXED BY versions_by_revision WHERE revision BETWEEN ?1 AND ?2");
      query.bind(1, meta.compacted.value() + 1).bind(2, end.value());
      int code = SQLITE_OK;
      while ((code = query.step()) == SQLITE_ROW) {
        superseded.emplace_back(query.bytes(0), query.number(1));
      }
      if (code != SQLITE_DONE) return file_->failure(writer_, code, "compact");
    }
    for (const auto& [key, revision] : superseded) {
      detail::SqliteQuery query =
          writer_.connection.query("DELETE FROM versions WHERE key = ?1 AND revision < ?2");
      query.bind(1, key).bind(2, revision);
      if (const int code = query.step(); code != SQLITE_DONE) {
        return file_->failure(writer_, code, "compact");
      }
    }
    detail::SqliteQuery query = writer_.connection.query("UPDATE store SET compacted = ?1");
    query.bind(1, end.value());
    const int code = query.step();
    return code == SQLITE_DONE ? absl::OkStatus() : file_->failure(writer_, code, "compact");
  }

  Watch do_watch(std::string prefix, Revision from, WatchHandler handler) override {
    auto watch =
        std::make_shared<detail::SqliteWatch>(file_, std::move(prefix), from, std::move(handler));
    watch->start();
    return Watch(std::move(watch));
  }

  [[nodiscard]] absl::Status damaged(const detail::SqliteRow& row) const {
    return file_->corrupt(absl::StrCat("the key \"", std::string(row.key),
                                       "\" is damaged in revision ", row.revision));
  }

  [[nodiscard]] absl::Status gate_closed() const {
    return to_status(
        Fault::Unavailable,
        absl::StrCat(file_->path(), ": other calls of this process took all the time"));
  }

  const std::shared_ptr<detail::SqliteFile> file_;
  detail::Gate writer_gate_;  // who is inside uses writer_
  detail::SqliteSession writer_;
  detail::Gate reader_gate_;
  detail::SqliteSession reader_;
};

}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_SQLITE_STORE_HPP_
