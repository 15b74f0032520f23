// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <placement/fleet/records.hpp>
#include <placement/fleet/sqlite_store.hpp>

int main() {
  placement::fleet::SqliteStore store("consumer.db");
  const auto outcome = store.commit(placement::fleet::Transaction().put("key", "value"));
  const auto loaded = store.load("key");
  const bool works = outcome.done() != nullptr && loaded.ok() && loaded->entries.size() == 1;
  if (!works) std::cout << outcome << ", " << loaded.status() << '\n';
  std::puts(works ? "consumer: works" : "consumer: does not work");
  return works ? 0 : 1;
}
