// SPDX-License-Identifier: Apache-2.0
//
// SQLite's C interface, with owners for its objects and statuses for its codes.
#ifndef PLACEMENT_FLEET_DETAIL_SQLITE_HPP_
#define PLACEMENT_FLEET_DETAIL_SQLITE_HPP_

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include "placement/fleet/store.hpp"

namespace placement {
inline namespace v1 {
namespace fleet {
namespace detail {

// What an SQLite code means for whoever uses the store. Every code that SQLite has is one of these;
// a code that we do not know is InputOutput, after which nothing is taken for granted.
[[nodiscard]] constexpr Fault fault_of_sqlite(int code) noexcept {
  if (code == SQLITE_IOERR_CORRUPTFS) return Fault::Corrupt;
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:   // the processes race for the log's index for too long
    case SQLITE_INTERRUPT:  // by our own deadline
    case SQLITE_NOMEM:
    case SQLITE_SCHEMA:
      return Fault::Unavailable;
    case SQLITE_CORRUPT:
    case SQLITE_FORMAT:
    case SQLITE_CONSTRAINT:  // our statements break none, unless what is stored is not what we
                             // stored
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:  // such as a table that is not there
      return Fault::Corrupt;
    case SQLITE_NOTADB:
      return Fault::NotOurs;
    case SQLITE_FULL:
      return Fault::Full;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Fault::ReadOnly;
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
      return Fault::LimitReached;
    default:
      return Fault::InputOutput;
  }
}

// One prepared statement, to be stepped. Resets it when the scope ends.
class SqliteQuery {
 public:
  // `code`: of its preparation. If that failed, step() says so.
  SqliteQuery(sqlite3_stmt* statement, int code) : statement_(statement), failed_(code) {}
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;
  SqliteQuery(SqliteQuery&& other) noexcept
      : statement_(std::exchange(other.statement_, nullptr)), failed_(other.failed_) {}
  ~SqliteQuery() {
    if (statement_ == nullptr) return;
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

  // The bytes have to live as long as the query.
  SqliteQuery& bind(int index, std::string_view bytes) {
    // A null pointer would bind NULL, which is not an empty value.
    const char* const data = bytes.data() == nullptr ? "" : bytes.data();
    if (failed_ == SQLITE_OK) {
      failed_ = sqlite3_bind_blob64(statement_, index, data, bytes.size(), SQLITE_STATIC);
    }
    return *this;
  }
  SqliteQuery& bind(int index, std::uint64_t number) {
    if (failed_ == SQLITE_OK) {
      failed_ = sqlite3_bind_int64(statement_, index, static_cast<sqlite3_int64>(number));
    }
    return *this;
  }
  SqliteQuery& bind_null(int index) {
    if (failed_ == SQLITE_OK) failed_ = sqlite3_bind_null(statement_, index);
    return *this;
  }

  // SQLITE_ROW, SQLITE_DONE, or what went wrong.
  int step() { return failed_ != SQLITE_OK ? failed_ : sqlite3_step(statement_); }

  [[nodiscard]] bool is_null(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
  }
  [[nodiscard]] std::string_view bytes(int column) const {
    const void* const data = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return data == nullptr
               ? std::string_view()
               : std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(size));
  }
  [[nodiscard]] std::uint64_t number(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
  }

 private:
  sqlite3_stmt* statement_;
  int failed_;
};

// A connection. One thread at a time.
class SqliteConnection {
 public:
  SqliteConnection() = default;
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;
  ~SqliteConnection() { close(); }

  int open(const std::string& path, int flags, const std::string& vfs) {
    close();
    path_ = path;
    return sqlite3_open_v2(path.c_str(), &database_, flags, vfs.empty() ? nullptr : vfs.c_str());
  }

  void close() {
    for (const auto& [text, statement] : statements_) sqlite3_finalize(statement);
    statements_.clear();
    if (database_ != nullptr) sqlite3_close(std::exchange(database_, nullptr));
  }

  [[nodiscard]] sqlite3* get() const noexcept { return database_; }

  // `text` is a literal: its address is its name.
  SqliteQuery query(const char* text) {
    sqlite3_stmt*& statement = statements_[text];
    int code = SQLITE_OK;
    if (statement == nullptr) {
      code =
          sqlite3_prepare_v3(database_, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    }
    return {statement, code};
  }

  // One statement without results, or of which the results do not matter.
  int run(const char* text) {
    sqlite3_stmt* statement = nullptr;
    int code = sqlite3_prepare_v2(database_, text, -1, &statement, nullptr);
    if (code == SQLITE_OK) {
      do {
        code = sqlite3_step(statement);
      } while (code == SQLITE_ROW);
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
  }

  // The first column of the first row.
  int ask(const char* text, std::string& answer) {
    sqlite3_stmt* statement = nullptr;
    int code = sqlite3_prepare_v2(database_, text, -1, &statement, nullptr);
    if (code == SQLITE_OK) {
      code = sqlite3_step(statement);
      if (code == SQLITE_ROW) {
        const unsigned char* const value = sqlite3_column_text(statement, 0);
        answer = value == nullptr ? "" : reinterpret_cast<const char*>(value);
        code = SQLITE_OK;
      } else if (code == SQLITE_DONE) {
        answer.clear();
        code = SQLITE_OK;
      }
    }
    sqlite3_finalize(statement);
    return code;
  }

  [[nodiscard]] bool is_in_transaction() const {
    return database_ != nullptr && sqlite3_get_autocommit(database_) == 0;
  }

  // After an error SQLite may have ended the transaction itself.
  void roll_back() {
    if (is_in_transaction()) (void)run("ROLLBACK");
  }

  // Is the file at the path another one by now, or none?
  [[nodiscard]] bool has_moved() const {
    int moved = 0;
    return sqlite3_file_control(database_, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved != 0;
  }

  // What the code, which is the connection's last one, says about the store.
  [[nodiscard]] absl::Status status(int code, std::string_view doing) const {
    const int system = database_ == nullptr ? 0 : sqlite3_system_errno(database_);
    std::string why = sqlite3_errstr(code);
    if (database_ != nullptr && (sqlite3_extended_errcode(database_) == code)) {
      why = sqlite3_errmsg(database_);
    }
    return to_status(
        fault_of_sqlite(code),
        absl::StrCat(path_, ": ", std::string(doing), ": ", why, " (SQLite code ", code,
                     system == 0 ? std::string() : absl::StrCat(", errno ", system), ")"));
  }

 private:
  std::string path_;
  sqlite3* database_ = nullptr;
  absl::flat_hash_map<const char*, sqlite3_stmt*> statements_;
};

}  // namespace detail
}  // namespace fleet
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_FLEET_DETAIL_SQLITE_HPP_
