// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "placement/fleet/sqlite_store.hpp"
#include "store_conformance.hpp"
#include "temporary_directory.hpp"

namespace placement::test {
namespace {

struct SqliteHarness {
  [[nodiscard]] std::unique_ptr<fleet::Store> open() const {
    fleet::SqliteOptions options;
    options.progress_interval = absl::Milliseconds(50);
    options.poll_interval = absl::Milliseconds(50);
    return std::make_unique<fleet::SqliteStore>(path(), options);
  }
  void compact(fleet::Revision revision) const {
    const absl::Status status = fleet::SqliteStore(path()).compact(revision);
    EXPECT_TRUE(status.ok()) << status;
  }
  void back_up() const { copy_store(path(), directory.file("backup")); }
  // As the documentation says: the files are replaced, not written over.
  void restore() const { copy_store(directory.file("backup"), path()); }

  [[nodiscard]] std::string path() const { return directory.file("placements.db"); }

  TemporaryDirectory directory;
};

}  // namespace

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreConformance, SqliteHarness);

}  // namespace placement::test
