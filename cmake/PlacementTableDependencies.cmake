# SPDX-License-Identifier: Apache-2.0
#
# Where each dependency comes from: a target that is there already, else an installed package, else
# a pinned release. A fetched dependency is SYSTEM (its warnings are not ours) and stays out of
# our install.
include_guard()
include(FetchContent)

# The URL hashes are of the releases' own archives.
set(placement_table_absl_release
    URL https://github.com/abseil/abseil-cpp/releases/download/20250127.1/abseil-cpp-20250127.1.tar.gz
    URL_HASH SHA256=b396401fd29e2e679cace77867481d388c807671dc2acc602a0259eeb79b7811
    DOWNLOAD_EXTRACT_TIMESTAMP ON)
set(placement_table_googletest_release
    URL https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
    URL_HASH SHA256=8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7
    DOWNLOAD_EXTRACT_TIMESTAMP ON)
set(placement_table_benchmark_release
    URL https://github.com/google/benchmark/archive/refs/tags/v1.8.3.tar.gz
    URL_HASH SHA256=6bc180a57d23d4d9515519f92b0c83d61b05b5bab188961f36ac7b06b0d9e9ce
    DOWNLOAD_EXTRACT_TIMESTAMP ON)
# rapidcheck makes no releases.
set(placement_table_rapidcheck_release GIT_REPOSITORY https://github.com/emil-e/rapidcheck.git
                                       GIT_TAG a5724ea5b0b00147109b0605c377f1e54c353ba2)

# FetchContent with `variables` (name, value, name, value, ...) set for the fetched project alone.
function(placement_table_fetch name release)
  message(STATUS "placement_table: no installed ${name} found, fetching it")
  while(ARGN)
    list(POP_FRONT ARGN variable value)
    set(${variable} "${value}")
  endwhile()
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW) # let option() keep the values just set
  set(CMAKE_VERIFY_INTERFACE_HEADER_SETS OFF)
  FetchContent_Declare(${name} ${${release}} SYSTEM)
  FetchContent_MakeAvailable(${name})
endfunction()

macro(placement_table_require_absl)
  if(NOT TARGET absl::base)
    find_package(absl CONFIG QUIET)
  endif()
  if(NOT TARGET absl::base)
    # abseil's ABI follows the language version, so it is built with the one that our users have.
    if(NOT CMAKE_CXX_STANDARD)
      set(placement_table_absl_standard 20)
    else()
      set(placement_table_absl_standard ${CMAKE_CXX_STANDARD})
    endif()
    placement_table_fetch(
      absl
      placement_table_absl_release
      CMAKE_CXX_STANDARD
      ${placement_table_absl_standard}
      ABSL_PROPAGATE_CXX_STD
      ON
      ABSL_ENABLE_INSTALL
      OFF
      BUILD_TESTING
      OFF)
  endif()
endmacro()

macro(placement_table_require_googletest)
  if(NOT TARGET GTest::gmock_main)
    find_package(GTest CONFIG QUIET)
  endif()
  if(NOT TARGET GTest::gmock_main)
    placement_table_fetch(googletest placement_table_googletest_release INSTALL_GTEST OFF)
  endif()
endmacro()

macro(placement_table_require_rapidcheck)
  if(NOT TARGET rapidcheck)
    find_package(rapidcheck CONFIG QUIET)
  endif()
  if(NOT TARGET rapidcheck)
    placement_table_fetch(rapidcheck placement_table_rapidcheck_release)
  endif()
endmacro()

macro(placement_table_require_benchmark)
  if(NOT TARGET benchmark::benchmark)
    find_package(benchmark CONFIG QUIET)
  endif()
  if(NOT TARGET benchmark::benchmark)
    placement_table_fetch(
      benchmark
      placement_table_benchmark_release
      BENCHMARK_ENABLE_TESTING
      OFF
      BENCHMARK_ENABLE_INSTALL
      OFF)
  endif()
endmacro()
