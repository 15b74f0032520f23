# SPDX-License-Identifier: Apache-2.0

placement_table_require_googletest()
include(GoogleTest)

# In a quick build the tests share precompiled headers: one set for those that are optimised, and
# one for those that are not.
if(PLACEMENT_TABLE_QUICK_BUILD)
  set(empty_source "${PROJECT_BINARY_DIR}/precompiled.cpp")
  file(CONFIGURE OUTPUT "${empty_source}" CONTENT "")
  foreach(flag IN ITEMS "" -O0)
    add_library(placement_table_precompiled${flag} OBJECT "${empty_source}")
    target_link_libraries(placement_table_precompiled${flag} PRIVATE placement_table_development
                                                                     GTest::gmock_main)
    target_compile_options(placement_table_precompiled${flag} PRIVATE ${flag})
    target_precompile_headers(placement_table_precompiled${flag} PRIVATE
                              ${placement_table_precompiled_headers} <gmock/gmock.h>
                              <gtest/gtest.h>)
  endforeach()
endif()

# placement_table_add_test(<name>
#   SOURCES <file>...       one executable, which has GoogleMock's main
#   [LIBRARIES <target>...] besides placement_table, GoogleTest and our warnings and sanitizers
#   [DEFINITIONS <macro>...]
#   [OPTIONS <flag>...]     compile and link options
#   [LABEL <label>]         for ctest -L and -LE, <name> unless told
#   [PREFIX <text>]         before the names of its TESTs, where another program has them as well
#   [TIMEOUT <seconds>]     for each TEST, 300 unless told
#   [RUNS_LONG]             seconds: optimised in a quick build, too, and begun before the others
#   [SERIAL]                its TESTs run alone, as one that measures time or memory must
# )
function(placement_table_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "RUNS_LONG;SERIAL" "LABEL;PREFIX;TIMEOUT"
                        "SOURCES;LIBRARIES;DEFINITIONS;OPTIONS")
  if(test_UNPARSED_ARGUMENTS OR NOT test_SOURCES)
    message(FATAL_ERROR "placement_table_add_test(${name}): what is \"${test_UNPARSED_ARGUMENTS}\"?")
  endif()
  if(NOT test_LABEL)
    set(test_LABEL ${name})
  endif()
  if(NOT test_TIMEOUT)
    set(test_TIMEOUT 300)
  endif()

  set(target "placement_table_${name}_test")
  add_executable(${target} ${test_SOURCES})
  target_link_libraries(${target} PRIVATE placement_table_development ${test_LIBRARIES}
                                          GTest::gmock_main)
  target_compile_definitions(${target} PRIVATE ${test_DEFINITIONS})
  target_compile_options(${target} PRIVATE ${test_OPTIONS})
  target_link_options(${target} PRIVATE ${test_OPTIONS})
  if(PLACEMENT_TABLE_QUICK_BUILD)
    set(flag "")
    if(NOT test_RUNS_LONG AND NOT PLACEMENT_TABLE_SANITIZE)
      set(flag -O0)
    endif()
    target_compile_options(${target} PRIVATE ${flag})
    list(LENGTH test_SOURCES number_of_sources)
    if(NOT test_OPTIONS AND NOT test_DEFINITIONS)
      target_precompile_headers(${target} REUSE_FROM placement_table_precompiled${flag})
    elseif(number_of_sources GREATER 2)
      # Other flags need another set, which is worth while for so many.
      target_precompile_headers(
        ${target} PRIVATE ${placement_table_precompiled_headers} <gmock/gmock.h> <gtest/gtest.h>)
    endif()
  endif()
  set(cost 1)
  if(test_RUNS_LONG)
    set(cost 10)
  endif()

  # PRE_TEST: a build does not fail because a test program cannot be run on the building machine.
  # NO_PRETTY: names as the suites give them, not what a compiler calls a type.
  gtest_discover_tests(
    ${target}
    TEST_PREFIX "${test_PREFIX}"
    NO_PRETTY_TYPES NO_PRETTY_VALUES
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${test_TIMEOUT} LABELS ${test_LABEL} RUN_SERIAL ${test_SERIAL} COST ${cost})
endfunction()
