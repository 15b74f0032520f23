// SPDX-License-Identifier: Apache-2.0
//
// The one place where it matters whether the program is compiled with exceptions.
#ifndef PLACEMENT_DETAIL_OUT_OF_MEMORY_HPP_
#define PLACEMENT_DETAIL_OUT_OF_MEMORY_HPP_

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string_view>

namespace placement {
inline namespace v1 {
namespace detail {

// A number of bytes that cannot be counted.
inline constexpr std::size_t kMoreThanThereIs = std::numeric_limits<std::size_t>::max();

// Memory could not be had: throws std::bad_alloc. Without exceptions (-fno-exceptions) it says so
// on stderr, in one line, and ends the process.
[[noreturn]] inline void out_of_memory([[maybe_unused]] std::size_t bytes,
                                       [[maybe_unused]] std::string_view use) {
#if defined(__cpp_exceptions)
  throw std::bad_alloc();
#else
  const int length = static_cast<int>(use.size());
  if (bytes == kMoreThanThereIs) {
    std::fprintf(stderr, "placement_table: out of memory: more bytes than there can be for %.*s\n",
                 length, use.data());
  } else {
    std::fprintf(stderr, "placement_table: out of memory: %zu bytes for %.*s\n", bytes, length,
                 use.data());
  }
  std::abort();
#endif
}

// What TableOptions says cannot be: throws std::invalid_argument, or, without exceptions, says so
// and ends the process.
[[noreturn]] inline void invalid_option(const char* what) {
#if defined(__cpp_exceptions)
  throw std::invalid_argument(what);
#else
  std::fprintf(stderr, "%s\n", what);
  std::abort();
#endif
}

}  // namespace detail
}  // namespace v1
}  // namespace placement

#endif  // PLACEMENT_DETAIL_OUT_OF_MEMORY_HPP_
