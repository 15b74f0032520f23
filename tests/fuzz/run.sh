#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [<seconds>] [<fuzzer>...]
#
# Builds the fuzzers and runs them side by side for so many seconds (60, unless told). They start
# from the committed corpus and keep what they find new in build/fuzz/corpus; an input that fails is
# left in build/fuzz/failures, and `build/fuzz/tests/fuzz/placement_table_<fuzzer>_fuzzer <file>`
# runs it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds="${1:-60}"
shift || true
fuzzers=("$@")
[[ "${#fuzzers[@]}" -gt 0 ]] || fuzzers=(operations ids resp)

# Debian calls it llvm-symbolizer-19 in /usr/bin; the sanitizers look for it without the number.
export PATH="$PATH:/usr/lib/llvm-19/bin"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
mkdir -p build/fuzz/failures

running=()
trap '[[ "${#running[@]}" -eq 0 ]] || kill "${running[@]}" 2>/dev/null || true' EXIT
for fuzzer in "${fuzzers[@]}"; do
  mkdir -p "build/fuzz/corpus/$fuzzer"
  "build/fuzz/tests/fuzz/placement_table_${fuzzer}_fuzzer" \
    -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="build/fuzz/failures/$fuzzer-" \
    "build/fuzz/corpus/$fuzzer" "tests/fuzz/corpus/$fuzzer" >"build/fuzz/$fuzzer.log" 2>&1 &
  running+=("$!")
done

status=0
for i in "${!fuzzers[@]}"; do
  log="build/fuzz/${fuzzers[i]}.log"
  printf '\n=== %s, %s seconds\n' "${fuzzers[i]}" "$seconds"
  if wait "${running[i]}"; then
    grep -E 'DONE|number_of_executed_units|average_exec|peak_rss' "$log"
  else
    tail -n 100 "$log"
    status=1
  fi
done
running=()
exit "$status"
