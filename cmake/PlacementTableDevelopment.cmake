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
