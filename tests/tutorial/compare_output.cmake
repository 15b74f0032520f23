# SPDX-License-Identifier: Apache-2.0
#
# cmake -DPROGRAM=... -DARGUMENT=... -DEXPECTED=<file> -P compare_output.cmake
execute_process(
  COMMAND "${PROGRAM}" "${ARGUMENT}"
  OUTPUT_VARIABLE output
  RESULT_VARIABLE status)
file(READ "${EXPECTED}" expected)
if(NOT status EQUAL 0)
  message(NOTICE "${output}")
  message(FATAL_ERROR "${ARGUMENT} ended with ${status}")
elseif(NOT output STREQUAL expected)
  message(NOTICE "What it printed:\n${output}\nWhat the page says:\n${expected}")
  message(FATAL_ERROR "${ARGUMENT} does not print what the page says")
endif()
