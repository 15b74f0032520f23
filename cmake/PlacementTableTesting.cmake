# SPDX-License-Identifier: Apache-2.0

placement_table_require_googletest()
include(GoogleTest)

# placement_table_add_test(<name>
#   SOURCES <file>...       one executable, which has GoogleMock's main
#   [LIBRARIES <target>...] besides placement_table, GoogleTest and our warnings and sanitizers
#   [DEFINITIONS <macro>...]
#   [OPTIONS <flag>...]     compile and link options
#   [LABEL <label>]         for ctest -L and -LE, <name> unless told
#   [PREFIX <text>]         before the names of its TESTs, where another program has them as well
#   [TIMEOUT <seconds>]     for each TEST, 300 unless told
#   [SERIAL]                its TESTs run alone, as one that measures time or memory must
# )
function(placement_table_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "SERIAL" "LABEL;PREFIX;TIMEOUT"
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

  # PRE_TEST: a build does not fail because a test program cannot be run on the building machine.
  # NO_PRETTY: names as the suites give them, not what a compiler calls a type.
  gtest_discover_tests(
    ${target}
    TEST_PREFIX "${test_PREFIX}"
    NO_PRETTY_TYPES NO_PRETTY_VALUES
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${test_TIMEOUT} LABELS ${test_LABEL} RUN_SERIAL ${test_SERIAL})
endfunction()
