# SPDX-License-Identifier: Apache-2.0
#
# What our own tests, benchmarks and examples are compiled with. Nothing of this reaches a user's
# target.

option(PLACEMENT_TABLE_WERROR "Turn warnings into errors in our own targets" OFF)
set(PLACEMENT_TABLE_SANITIZE
    ""
    CACHE STRING "Sanitizers for our own targets: \"address,undefined\" or \"thread\"")
set_property(CACHE PLACEMENT_TABLE_SANITIZE PROPERTY STRINGS "" "address,undefined" "thread")

option(PLACEMENT_TABLE_COVERAGE "Count the lines and branches that our own targets reach" OFF)

find_package(Threads REQUIRED)

# Link it PRIVATE into each of our own executables.
add_library(placement_table_development INTERFACE)
target_link_libraries(placement_table_development INTERFACE placement_table::placement_table
                                                            Threads::Threads)
target_compile_options(
  placement_table_development
  INTERFACE -Wall
            -Wextra
            -Wpedantic
            -Wconversion
            -Wshadow
            -Wsign-conversion
            $<$<CXX_COMPILER_ID:Clang,AppleClang>:-Wthread-safety>
            $<$<BOOL:${PLACEMENT_TABLE_WERROR}>:-Werror>)

if(PLACEMENT_TABLE_SANITIZE)
  set(placement_table_sanitizer_flags
      "-fsanitize=${PLACEMENT_TABLE_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(placement_table_development INTERFACE ${placement_table_sanitizer_flags})
  target_link_options(placement_table_development INTERFACE ${placement_table_sanitizer_flags})
endif()

if(PLACEMENT_TABLE_COVERAGE)
  # Threads count in the same places.
  target_compile_options(placement_table_development INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(placement_table_development INTERFACE --coverage)
  target_compile_definitions(placement_table_development INTERFACE PLACEMENT_TESTS_UNDER_COVERAGE)
endif()

# For who wants results soon: what is parsed again and again is precompiled, headers of other
# libraries alone, so that another build shows it if one of ours misses an include.
option(PLACEMENT_TABLE_QUICK_BUILD
       "Build the tests sooner: precompiled headers, and only what runs long is optimised" OFF)
set(placement_table_precompiled_headers
    <algorithm>
    <array>
    <atomic>
    <functional>
    <map>
    <memory>
    <mutex>
    <optional>
    <ostream>
    <span>
    <sstream>
    <string>
    <string_view>
    <thread>
    <tuple>
    <utility>
    <variant>
    <vector>
    <absl/functional/any_invocable.h>
    <absl/functional/function_ref.h>
    <absl/hash/hash.h>
    <absl/status/statusor.h>
    <absl/strings/string_view.h>
    <absl/synchronization/mutex.h>
    <absl/time/clock.h>
    <absl/time/time.h>)
