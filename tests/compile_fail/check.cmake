# SPDX-License-Identifier: Apache-2.0
#
# Compiles one case and compares what happened with what the case expects, in its comments:
#   // expect: <regex>     it does not compile, and the compiler's output matches (each such line)
#   // expect-success      it compiles: the proof that the other cases fail for their own reason
foreach(variable IN ITEMS COMPILER STANDARD_FLAG FLAGS_FILE CASE)
  if(NOT DEFINED ${variable})
    message(FATAL_ERROR "check.cmake needs -D${variable}=...")
  endif()
endforeach()

file(STRINGS "${CASE}" expected_messages REGEX "^// expect: ")
file(STRINGS "${CASE}" expects_success REGEX "^// expect-success")
if(expected_messages AND expects_success OR NOT expected_messages AND NOT expects_success)
  message(FATAL_ERROR "${CASE}: needs \"// expect: <regex>\" lines or \"// expect-success\"")
endif()

set(ENV{LC_ALL} C)
execute_process(
  COMMAND "${COMPILER}" ${STANDARD_FLAG} -fmessage-length=0 -fsyntax-only "@${FLAGS_FILE}" "${CASE}"
  RESULT_VARIABLE status
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)

if(expects_success)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${CASE} does not compile:\n${output}")
  endif()
  return()
endif()

if(status EQUAL 0)
  message(FATAL_ERROR "${CASE} compiles, and must not")
endif()
foreach(line IN LISTS expected_messages)
  string(REGEX REPLACE "^// expect: " "" expected "${line}")
  if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "${CASE}: the compiler's output does not match \"${expected}\":\n${output}")
  endif()
endforeach()
