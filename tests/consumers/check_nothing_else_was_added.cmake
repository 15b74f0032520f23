# SPDX-License-Identifier: Apache-2.0
#
# As a subproject, placement_table adds its targets (the second one if what it needs is installed),
# and no tests, benchmarks, examples or options
# of its own development.
function(check_nothing_else_was_added source_dir)
  get_property(targets DIRECTORY "${source_dir}" PROPERTY BUILDSYSTEM_TARGETS)
  if(NOT targets MATCHES "^placement_table(;placement_table_fleet)?$")
    message(FATAL_ERROR "the subproject added these targets: ${targets}")
  endif()
  get_property(tests DIRECTORY "${source_dir}" PROPERTY TESTS)
  if(tests)
    message(FATAL_ERROR "the subproject added these tests: ${tests}")
  endif()
  get_property(directories DIRECTORY "${source_dir}" PROPERTY SUBDIRECTORIES)
  foreach(directory IN LISTS directories)
    cmake_path(IS_PREFIX source_dir "${directory}" NORMALIZE is_ours)
    cmake_path(IS_PREFIX CMAKE_BINARY_DIR "${directory}" NORMALIZE is_fetched)
    if(is_ours AND NOT is_fetched)
      message(FATAL_ERROR "the subproject added its directory ${directory}")
    endif()
  endforeach()
  if(TARGET placement_table_development OR TARGET placement_table_all_headers)
    message(FATAL_ERROR "the subproject added targets of its own development")
  endif()
endfunction()
