#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# coverage.sh [--report-only]
#
# Runs the tests of the core with counters in them and lists its lines and branches that they
# never reach: those that explained.toml explains, then the others. Fails if there are others. What
# is reached how often stands, line by line, in build/coverage/coverage.html.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

build=build/coverage
if [[ "${1:-}" != --report-only ]]; then
  find "$build" -name '*.gcda' -delete 2>/dev/null || true
  cmake --workflow --preset coverage
fi
gcovr --root . --object-directory "$build" --gcov-executable gcov-12 --filter include/placement/ \
  --exclude-throw-branches --exclude-unreachable-branches \
  --exclude-lines-by-pattern '.*\bassert\(.*' --html-details "$build/coverage.html" "$build"
tests/coverage/uncovered.py "$build" include/placement
