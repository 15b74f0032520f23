#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# coverage.sh [--report-only]
#
# Runs the tests with counters in them and tells which lines and branches of the library they never
# reach. The counts are in build/coverage/coverage.txt and, line by line, in coverage.html.
#
# Not counted: what no input reaches. Those are the branches along which an exception would leave an
# expression, the lines of assertions (their other branch ends the program, in a death test's child
# if anywhere), and the branches that the compiler has for no source.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=build/coverage
status=0
if [[ "${1:-}" != --report-only ]]; then
  find "$build" -name '*.gcda' -delete 2>/dev/null || true
  cmake --workflow --preset coverage || status=$?
fi
gcovr --root . --object-directory "$build" --gcov-executable gcov-12 --filter include/placement/ \
  --exclude-throw-branches --exclude-unreachable-branches \
  --exclude-lines-by-pattern '.*\bassert\(.*' \
  --txt "$build/coverage.txt" --html-details "$build/coverage.html" \
  --json "$build/coverage.json" "$build"
sed -n '/^File/,$p' "$build/coverage.txt"
gcovr --root . --add-tracefile "$build/coverage.json" --exclude-throw-branches --branches
exit "$status"
