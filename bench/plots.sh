#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Draws what placement_table_compare wrote: SVGs for docs/.
#
#   bench/plots.sh bench.json docs
set -eu

json="$1"
out="$2"
here=$(dirname "$0")
records=$(mktemp)
trap 'rm -f "$records"' EXIT

# One line a record: tab-separated what, operation, ids, partitions, load, threads, contender, unit,
# median.
sed -n 's/^{"what":"\([^"]*\)","operation":"\([^"]*\)","ids":"\([^"]*\)","partitions":\([0-9]*\),"load":"\([^"]*\)","threads":\([0-9]*\),"contender":"\([^"]*\)","unit":"\([^"]*\)","median":\([^,]*\),.*/\1\t\2\t\3\t\4\t\5\t\6\t\7\t\8\t\9/p' \
  "$json" >"$records"

draw() {
  awk -f "$here/plots.awk" -v figure="$1" "$records" >"$out/$2.svg"
}
draw lookup-time lookup-time
draw throughput throughput
draw latency latency-beside-flips
draw memory memory
