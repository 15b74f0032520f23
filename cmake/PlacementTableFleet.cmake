# SPDX-License-Identifier: Apache-2.0
#
# placement_table::fleet, and what it needs beyond the core: libsqlite3, libcurl and nlohmann-json,
# installed. They are not fetched: the first two are the system's affair.
include_guard()
include("${CMAKE_CURRENT_LIST_DIR}/PlacementTableFleetDependencies.cmake")

set(PLACEMENT_TABLE_BUILD_FLEET
    AUTO
    CACHE STRING "The fleet library: ON, OFF, or AUTO (on if its dependencies are installed)")
set_property(CACHE PLACEMENT_TABLE_BUILD_FLEET PROPERTY STRINGS AUTO ON OFF)

if(NOT PLACEMENT_TABLE_BUILD_FLEET)
  return()
endif()
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(placement_table_fleet_missing "Linux")
else()
  placement_table_find_fleet_dependencies(placement_table_fleet_missing)
endif()
if(placement_table_fleet_missing)
  set(message "placement_table: no target placement_table::fleet, which needs"
              "${placement_table_fleet_missing}")
  list(JOIN message " " message)
  if(PLACEMENT_TABLE_BUILD_FLEET STREQUAL "AUTO")
    message(STATUS "${message}")
  else()
    message(FATAL_ERROR "${message} (PLACEMENT_TABLE_BUILD_FLEET is ON)")
  endif()
  return()
endif()

add_library(placement_table_fleet INTERFACE)
add_library(placement_table::fleet ALIAS placement_table_fleet)
set_target_properties(placement_table_fleet PROPERTIES EXPORT_NAME fleet)

file(GLOB placement_table_fleet_headers CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/include/placement/fleet/*.hpp"
     "${PROJECT_SOURCE_DIR}/include/placement/fleet/detail/*.hpp")
target_sources(
  placement_table_fleet INTERFACE FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES
                                  ${placement_table_fleet_headers})
target_link_libraries(
  placement_table_fleet INTERFACE placement_table absl::cord SQLite::SQLite3 CURL::libcurl
                                  nlohmann_json::nlohmann_json Threads::Threads)
