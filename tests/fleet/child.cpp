// SPDX-License-Identifier: Apache-2.0
//
// What other processes do to a store:
//
//   status PATH                the fault that the store has, or OK
//   commit PATH NAME COUNT     one transaction after the other, COUNT of them or (0) for ever; each
//   one
//                              that is Done is printed: "A <number> <revision>"
//   watch PATH FROM UNTIL      prints each revision that a watch tells: "R <revision> <changes>"
//   fill PATH                  commits until the system refuses to write
//   hold PATH                  stops itself in a transaction that has written
//   exclude PATH               stops itself with the file locked for itself alone
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <latch>
#include <string>
#include <string_view>
#include <variant>

#include "placement/fleet/sqlite_store.hpp"

namespace {

using placement::fleet::Changes;
using placement::fleet::Outcome;
using placement::fleet::Revision;
using placement::fleet::SqliteOptions;
using placement::fleet::SqliteStore;
using placement::fleet::Transaction;
using placement::fleet::WatchEvent;

// In one call, so that a process that is killed has printed a line or has not.
void print(const std::string& line) {
  const std::string whole = line + "\n";
  if (::write(STDOUT_FILENO, whole.data(), whole.size()) < 0) std::_Exit(3);
}

int status(const std::string& path) {
  const absl::Status status = SqliteStore(path).status();
  const auto fault = placement::fleet::fault_of(status);
  print(fault ? std::string(to_string(*fault)) : std::string("OK"));
  return 0;
}

// The counter of this name goes up by one, in whoever's hands it was before; one in four
// transactions is large, one in three deletes.
int commit(const std::string& path, const std::string& name, std::uint64_t count) {
  SqliteOptions options;
  options.keep_revisions = 2000;
  SqliteStore store(path, options);
  const std::string counter = "count/" + name;
  const std::string extra = "extra/" + name;
  std::uint64_t number = 0;
  Revision mod;
  for (std::uint64_t done = 0; count == 0 || done < count;) {
    Transaction transaction;
    transaction.if_mod(counter, mod).put(counter, std::to_string(number + 1));
    if (number % 4 == 0) transaction.put(extra, std::string(20'000, 'x'));
    if (number % 3 == 1) transaction.erase(extra);
    const Outcome outcome = store.commit(transaction, absl::Seconds(60));
    if (outcome.done() != nullptr) {
      ++number;
      ++done;
      mod = outcome.done()->revision;
      print("A " + std::to_string(number) + " " + std::to_string(mod.value()));
    } else if (outcome.refused() != nullptr && done == 0 && outcome.refused()->compared[0]) {
      number = std::stoull(outcome.refused()->compared[0]->value);  // a former life's
      mod = outcome.refused()->compared[0]->mod;
    } else {
      std::cerr << name << ": " << outcome << '\n';
      return 1;
    }
  }
  return 0;
}

int watch(const std::string& path, Revision from, Revision until) {
  SqliteOptions options;
  options.poll_interval = absl::Minutes(10);  // it has to be woken
  SqliteStore store(path, options);
  std::latch over(1);
  const auto watch = store.watch("", from, [&](const WatchEvent& event) {
    if (const auto* changes = std::get_if<Changes>(&event)) {
      print("R " + std::to_string(changes->revision.value()) + " " +
            std::to_string(changes->changes.size()));
      if (changes->revision == until) over.count_down();
    } else if (!std::holds_alternative<placement::fleet::Progress>(event)) {
      print("the watch ended");
      std::_Exit(1);
    } else {
      print("P");
    }
  });
  over.wait();
  return 0;
}

int fill(const std::string& path) {
  SqliteStore store(path);
  if (!store.status().ok()) return 1;
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit bound{500'000, 500'000};
  ::setrlimit(RLIMIT_FSIZE, &bound);
  for (int i = 0;; ++i) {
    const Outcome outcome =
        store.commit(Transaction().put("fill/" + std::to_string(i), std::string(30'000, 'x')));
    if (outcome.done() == nullptr) {
      std::cout << (outcome.unknown() != nullptr ? "Unknown" : "another outcome") << std::endl;
      return 0;
    }
    print("A");
  }
}

// With SQLite alone: a store never stops in there by itself.
int run_and_stop(const std::string& path, const char* statements) {
  sqlite3* database = nullptr;
  if (sqlite3_open(path.c_str(), &database) != SQLITE_OK ||
      sqlite3_exec(database, statements, nullptr, nullptr, nullptr) != SQLITE_OK) {
    print(sqlite3_errmsg(database));
    return 1;
  }
  print("ready");
  ::raise(SIGSTOP);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--nobody") {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 3;
    --argc;
    ++argv;
  }
  if (argc < 3) return 2;
  const std::string_view what = argv[1];
  const std::string path = argv[2];
  if (what == "status") return status(path);
  if (what == "commit" && argc == 5) return commit(path, argv[3], std::stoull(argv[4]));
  if (what == "watch" && argc == 5) {
    return watch(path, Revision(std::stoull(argv[3])), Revision(std::stoull(argv[4])));
  }
  if (what == "fill") return fill(path);
  if (what == "hold") {
    return run_and_stop(path, "BEGIN IMMEDIATE; UPDATE store SET revision = revision + 1");
  }
  if (what == "exclude") {
    return run_and_stop(path,
                        "PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE;"
                        "UPDATE store SET revision = revision");
  }
  return 2;
}
