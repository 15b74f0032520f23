#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Instructions a call, counted by callgrind: exact where time is not. Writes one line of JSON each.
#
#   bench/instructions.sh path/to/placement_table_lookups [PARTITIONS]
set -eu

lookups="$1"
partitions="${2:-1000}"

counted() { # arguments of lookups
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$lookups" "$@" 2>&1 |
    sed -n 's/.*Collected : //p'
}

"$lookups" --list | while read -r contender; do
  for ids in 36-byte 15-byte 16-byte 8-byte; do
    for load in zipf misses; do
      for operation in get admit_write "acquire_write + release"; do
        [ "$contender" = placement_table ] || [ "$operation" = get ] || continue
        few=$(counted "$contender" "$ids" "$partitions" "$load" "$operation" 8192)
        many=$(counted "$contender" "$ids" "$partitions" "$load" "$operation" 16384)
        awk -v c="$contender" -v i="$ids" -v p="$partitions" -v l="$load" -v o="$operation" \
          -v n="$(((many - few)))" 'BEGIN {
            printf "{\"what\":\"instructions\",\"operation\":\"%s\",\"ids\":\"%s\",", o, i
            printf "\"partitions\":%d,\"load\":\"%s\",\"contender\":\"%s\",\"median\":%.1f}\n", \
              p, l, c, n / 8192
          }'
      done
    done
  done
done
