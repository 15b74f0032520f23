# SPDX-License-Identifier: Apache-2.0
#
# The target placement_table_docs: the API reference, in docs/html of the build tree. Any warning of
# Doxygen's makes it fail.
include_guard()
find_package(Doxygen 1.9 REQUIRED)

# Namespace detail is no part of the API: stability.md.
set(DOXYGEN_EXCLUDE_SYMBOLS "placement::detail" "placement::detail::*" "detail")
set(DOXYGEN_STRIP_FROM_PATH "${PROJECT_SOURCE_DIR}/include")
set(DOXYGEN_STRIP_FROM_INC_PATH "${PROJECT_SOURCE_DIR}/include")
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE "${PROJECT_SOURCE_DIR}/docs/api.md")
set(DOXYGEN_FILTER_PATTERNS
    "\"*.hpp=awk -f ${PROJECT_SOURCE_DIR}/cmake/doxygen-filter.awk\"")

# A class's interface is told where it is declared; what has no comment says all by its name.
set(DOXYGEN_EXTRACT_ALL YES)
set(DOXYGEN_HIDE_FRIEND_COMPOUNDS YES)
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_BUILTIN_STL_SUPPORT YES)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED
    "ABSL_ATTRIBUTE_ALWAYS_INLINE="
    "ABSL_EXCLUSIVE_LOCKS_REQUIRED(x)="
    "ABSL_GUARDED_BY(x)="
    "ABSL_NO_THREAD_SAFETY_ANALYSIS="
    "ABSL_LOCKS_EXCLUDED(x)="
    "PLACEMENT_ASIO_NAMESPACE=asio"
    "PLACEMENT_ASIO_ERROR_CODE=asio::error_code"
    "PLACEMENT_ASIO_DETAIL=standalone_asio"
    "PLACEMENT_ASIO_BEGIN="
    "PLACEMENT_ASIO_END=")
set(DOXYGEN_VERBATIM_HEADERS NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_CLASS_GRAPH NO)
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_WARN_AS_ERROR YES)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/docs")

# asio.hpp and boost_asio.hpp both are asio_operations.hpp, with other names.
file(GLOB public_headers CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/include/placement/*.hpp"
     "${PROJECT_SOURCE_DIR}/include/placement/detail/asio_operations.hpp")
doxygen_add_docs(placement_table_docs ${public_headers} "${PROJECT_SOURCE_DIR}/docs/api.md" ALL
                 COMMENT "The API reference: ${PROJECT_BINARY_DIR}/docs/html/index.html")
