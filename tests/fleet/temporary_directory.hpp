// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_FLEET_TEMPORARY_DIRECTORY_HPP_
#define PLACEMENT_TESTS_FLEET_TEMPORARY_DIRECTORY_HPP_

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace placement::test {

// A directory of the test's own, removed with all that is in it. In memory where that is possible:
// nothing here depends on a disk, and syncs take time. TMPDIR chooses another place.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::filesystem::path parent = std::filesystem::temp_directory_path();
    if (std::getenv("TMPDIR") == nullptr && std::filesystem::is_directory("/dev/shm")) {
      parent = "/dev/shm";
    }
    std::string name = (parent / "fleet.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Copies a store that nobody writes: the file, and the log which is a part of it.
inline void copy_store(const std::string& from, const std::string& to) {
  for (const char* const part : {"", "-wal", "-shm", "-wake"}) {
    std::filesystem::remove(to + part);
  }
  for (const char* const part : {"", "-wal"}) {
    if (std::filesystem::exists(from + part)) {
      std::filesystem::copy_file(from + part, to + part);
    }
  }
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FLEET_TEMPORARY_DIRECTORY_HPP_
