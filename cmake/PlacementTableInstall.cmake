# SPDX-License-Identifier: Apache-2.0
#
# `cmake --install` and `find_package(placement_table)`.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# An abseil that was built along with us is in no export set, so an export of ours could not name it.
get_target_property(placement_table_absl_is_a_package absl::base IMPORTED)
if(NOT placement_table_absl_is_a_package)
  message(STATUS "placement_table: no install rules, because abseil is not an installed package")
  return()
endif()

set(placement_table_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/placement_table")

install(
  TARGETS placement_table
  EXPORT placement_table
  FILE_SET HEADERS
  FILE_SET asio_headers)
install(
  EXPORT placement_table
  NAMESPACE placement_table::
  FILE placement_tableTargets.cmake
  DESTINATION "${placement_table_package_dir}")

# A file of its own, which is read only by those who ask for the component.
if(TARGET placement_table_fleet)
  install(
    TARGETS placement_table_fleet
    EXPORT placement_table_fleet
    FILE_SET HEADERS)
  install(
    EXPORT placement_table_fleet
    NAMESPACE placement_table::
    FILE placement_table_fleetTargets.cmake
    DESTINATION "${placement_table_package_dir}")
  install(FILES "${CMAKE_CURRENT_LIST_DIR}/PlacementTableFleetDependencies.cmake"
          DESTINATION "${placement_table_package_dir}")
endif()

configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/placement_tableConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/placement_tableConfig.cmake"
  INSTALL_DESTINATION "${placement_table_package_dir}"
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/placement_tableConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/placement_tableConfig.cmake"
              "${PROJECT_BINARY_DIR}/placement_tableConfigVersion.cmake"
        DESTINATION "${placement_table_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
