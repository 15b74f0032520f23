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
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT

# One line a record: tab-separated what, operation, ids, partitions, load, threads, contender, unit,
# median.
sed -n 's/^{"what":"\([^"]*\)","operation":"\([^"]*\)","ids":"\([^"]*\)","partitions":\([0-9]*\),"load":"\([^"]*\)","threads":\([0-9]*\),"contender":"\([^"]*\)","unit":"\([^"]*\)","median":\([^,]*\),.*/\1\t\2\t\3\t\4\t\5\t\6\t\7\t\8\t\9/p' \
  "$json" >"$data/all"

# select FILE CONDITION COLUMNS: one block of lines a contender, headed by its name.
select_blocks() {
  awk -F '\t' "$2 { if (!(\$7 in seen)) { seen[\$7] = 1; order[++count] = \$7 }
                    lines[\$7] = lines[\$7] $3 \"\\n\" }
               END { for (i = 1; i <= count; ++i)
                       printf \"%s\\\"%s\\\"\\n%s\", (i > 1 ? \"\\n\\n\" : \"\"), order[i], lines[order[i]] }" \
    "$data/all" >"$1"
}
main='$2 == "get" && $3 == "36-byte"'
select_blocks "$data/partitions" \
  "\$1 == \"lookup\" && $main && \$5 == \"uniform\" && \$6 == 1 && \$8 == \"ns\"" '$4 " " $9'
select_blocks "$data/threads_uniform" \
  "\$1 == \"lookup\" && $main && \$5 == \"uniform\" && \$4 == 100000 && \$8 == \"ns\"" '$6 " " 1000 / $9'
select_blocks "$data/threads_hot" \
  "\$1 == \"lookup\" && $main && \$5 == \"one-hot\" && \$4 == 1000 && \$8 == \"ns\"" '$6 " " 1000 / $9'
select_blocks "$data/latency" \
  "\$1 == \"beside flips\" && $main && \$5 == \"zipf\" && \$4 == 100000 && \$8 ~ /^p/" \
  '(1 / (1 - substr($8, 2) / 100)) " " $9'
awk -F '\t' '$1 == "memory" && $2 == "growing" && $3 == "36-byte" && $4 == 1000000 {
    if ($8 == "bytes") bytes[$7] = $9; else resident[$7] = $9 }
  END { for (name in bytes) printf "\"%s\" %s %s\n", name, bytes[name], resident[name] }' \
  "$data/all" | sort >"$data/memory"

gnuplot -e "data='$data'; out='$out'" "$here/plots.gnuplot"
