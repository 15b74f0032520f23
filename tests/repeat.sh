#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# repeat.sh [<build directory> [<times> [<program>...]]]
#
# Runs all tests of a build that many times in a row (200, unless told), each program as one process,
# as many at once as there are processors; with less work in the tests that take seconds, a 25th unless
# PLACEMENT_TEST_WORK_DIVISOR says otherwise. A failure ends nothing but makes the whole fail. Left out
# unless named: schedules, which does the same each time, and the router's tests, which start servers.
set -euo pipefail
export PLACEMENT_TEST_WORK_DIVISOR="${PLACEMENT_TEST_WORK_DIVISOR:-25}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build="${1:-build/test}"
times="${2:-200}"
programs=("${@:3}")
if [[ ! -d "$build/tests" || ! "$times" =~ ^[1-9][0-9]*$ ]]; then
  printf 'usage: %s [<build directory> [<times> [<program>...]]]\n' "$0" >&2
  exit 2
fi
if [[ "${#programs[@]}" -eq 0 ]]; then
  for program in "$build"/tests/placement_table_*_test; do
    name="$(basename "$program")"
    name="${name#placement_table_}"
    [[ "$name" == schedules*_test ]] || programs+=("${name%_test}")
  done
fi

run() {
  local build="$1" times="$2" program="$3" begin="$SECONDS" log
  log="$build/repeat.$program.log"
  if "$build/tests/placement_table_${program}_test" --gtest_repeat="$times" --gtest_brief=1 \
    >"$log" 2>&1; then
    printf '%-26s %5d times, %4d s\n' "$program" "$times" "$((SECONDS - begin))"
  else
    printf '%-26s FAILED: %s\n' "$program" "$log"
    return 1
  fi
}
export -f run
printf '%s\0' "${programs[@]}" |
  xargs -0 -n 1 -P "$(nproc)" bash -c 'run "$0" "$1" "$2"' "$build" "$times"
