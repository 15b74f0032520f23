# SPDX-License-Identifier: Apache-2.0
#
# cmake -DSOURCE_DIR=... -DBINARY_DIR=... -DGENERATOR=... -P run_consumer.cmake -- <cmake argument>...
#
# Configures a consumer from scratch, builds it and runs its program: `consumer`, or the one that
# -DPROGRAM=<target> names. With -DEXPECTED_CONFIGURE_ERROR=<regex> the configuration must fail
# instead, with that message.
set(configure_arguments "")
set(seen_separator FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(index RANGE ${last})
  if(seen_separator)
    list(APPEND configure_arguments "${CMAKE_ARGV${index}}")
  elseif(CMAKE_ARGV${index} STREQUAL "--")
    set(seen_separator TRUE)
  endif()
endforeach()

# What an outer build exported for itself is no part of the consumer's.
foreach(variable IN ITEMS CXXFLAGS LDFLAGS CMAKE_PREFIX_PATH DESTDIR)
  unset(ENV{${variable}})
endforeach()

file(REMOVE_RECURSE "${BINARY_DIR}")
execute_process(
  COMMAND "${CMAKE_COMMAND}" -S "${SOURCE_DIR}" -B "${BINARY_DIR}" -G "${GENERATOR}"
          ${configure_arguments}
  RESULT_VARIABLE status
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
message(STATUS "${output}")

if(DEFINED EXPECTED_CONFIGURE_ERROR)
  # CMake wraps its messages.
  string(REGEX REPLACE "[ \n]+" " " unwrapped "${output}")
  if(status EQUAL 0)
    message(FATAL_ERROR "the configuration succeeded, and must not")
  elseif(NOT unwrapped MATCHES "${EXPECTED_CONFIGURE_ERROR}")
    message(FATAL_ERROR "CMake's output does not match \"${EXPECTED_CONFIGURE_ERROR}\"")
  endif()
  return()
endif()

if(NOT status EQUAL 0)
  message(FATAL_ERROR "the configuration failed")
endif()
if(NOT DEFINED PROGRAM)
  set(PROGRAM consumer)
endif()
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BINARY_DIR}" --config Debug --target "${PROGRAM}"
                        COMMAND_ERROR_IS_FATAL ANY)
find_program(
  consumer "${PROGRAM}"
  PATHS "${BINARY_DIR}" "${BINARY_DIR}/Debug"
  NO_DEFAULT_PATH NO_CACHE REQUIRED)
execute_process(COMMAND "${consumer}" COMMAND_ERROR_IS_FATAL ANY)
