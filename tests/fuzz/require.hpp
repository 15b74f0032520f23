// SPDX-License-Identifier: Apache-2.0
#ifndef PLACEMENT_TESTS_FUZZ_REQUIRE_HPP_
#define PLACEMENT_TESTS_FUZZ_REQUIRE_HPP_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string_view>

// What each fuzzer defines, and what libFuzzer or replay.cpp calls.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace placement::test {

// Ends the program, so that libFuzzer keeps the input.
inline void require(bool holds, std::string_view what) {
  if (holds) return;
  std::cerr << "not so: " << what << std::endl;
  std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace placement::test

#endif  // PLACEMENT_TESTS_FUZZ_REQUIRE_HPP_
