// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzzer once over each of some files, where there is no libFuzzer: any compiler, any
// sanitizer. The arguments are files and directories; what begins with '-' is libFuzzer's.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string_view>
#include <vector>

#include "../support/sanitizers.hpp"
#include "require.hpp"

namespace {

void replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  placement::test::require(!file.bad() && file.is_open(), "the file can be read");
  std::cout << path.filename().string() << ": " << bytes.size() << " bytes" << std::endl;
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int count, char** arguments) {
  std::size_t files = 0;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument(arguments[i]);
    if (argument.starts_with('-')) continue;
    if (std::filesystem::is_directory(argument)) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argument)) {
        if (!entry.is_regular_file()) continue;
        replay(entry.path());
        ++files;
      }
    } else {
      replay(argument);
      ++files;
    }
  }
  std::cout << files << " inputs" << std::endl;
  return files == 0 ? 1 : 0;
}
