#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Searches every interleaving of the models: a model as it stands has to pass, and each of its
# variants, which take one order away, has to violate an assertion. README.md tells more.
#
#   run.sh [--long] [<model>]    needs spin, gcc; --long: larger instances, and up to 7 GB
set -euo pipefail

models="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
long=0
only=""
for argument in "$@"; do
  case "$argument" in
    --long) long=1 ;;
    cell | growth | permit) only="$argument" ;;
    *)
      printf 'usage: %s [--long] [cell|growth|permit]\n' "$0" >&2
      exit 2
      ;;
  esac
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

passed=0
failed=0

# search <output> <megabytes> <model> <flag>...: generates, compiles and runs.
search() {
  local output="$1" megabytes="$2" model="$3" directory status=0
  shift 3
  directory="$(mktemp -d "$work/XXXXXX")"
  (
    cd "$directory"
    spin -a "$@" "$models/$model.pml"
    gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM="$megabytes" -o pan pan.c
    ./pan -m500000
  ) >"$output" 2>&1 || status=$?
  rm -rf "$directory"
  return "$status"
}

# row <model> <what> <fails|passes> <flag>...
row() {
  local model="$1" what="$2" expected="$3" output="$work/output" status=0 states verdict
  local begin="$SECONDS" megabytes=1500
  shift 3
  if [[ -n "$only" && "$only" != "$model" ]]; then return; fi
  if [[ "$long" -eq 1 ]]; then megabytes=7000; fi
  search "$output" "$megabytes" "$model" "$@" || status=$?
  states="$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$output")"
  if [[ "$status" -ne 0 || -z "$states" ]]; then
    verdict="no verdict"
  elif grep -q 'pan:1: assertion violated' "$output" && grep -q 'errors: 1$' "$output"; then
    verdict=fails
  elif grep -q 'errors: 0$' "$output" && grep -q '^Full statespace search' "$output" &&
    ! grep -q -e 'Search not completed' -e 'max search depth too small' -e 'out of memory' \
      "$output"; then
    verdict=passes
  else
    verdict="no verdict"
  fi
  if [[ "$verdict" == "$expected" ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    verdict="$verdict, UNEXPECTED"
  fi
  printf '%-7s %-32s %12s %5ss  %s\n' "$model" "$what" "${states:--}" "$((SECONDS - begin))" \
    "$verdict"
  if [[ "$verdict" == *UNEXPECTED ]]; then
    tail -n 40 "$output"
  fi
}

# variants <model> "<instance>" <flag>...
variants() {
  local model="$1" instance flag
  read -r -a instance <<<"$2"
  shift 2
  for flag in "$@"; do row "$model" "$flag" fails "${instance[@]}" "-D$flag"; done
}

printf '%-7s %-32s %12s %6s  %s\n' model instance states time verdict

row cell "2 readers, 3 epochs" passes -DREADERS=2 -DEPOCHS=3
row cell "1 reader, 4 epochs" passes -DREADERS=1 -DEPOCHS=4
if [[ "$long" -eq 1 ]]; then
  row cell "2 readers, 4 epochs" passes -DREADERS=2 -DEPOCHS=4
  row cell "1 reader, 6 epochs" passes -DREADERS=1 -DEPOCHS=6
fi
variants cell "-DREADERS=2 -DEPOCHS=3" NO_SECOND_LOOK LOOKS_AGAIN_EARLY STAMP_LOADED_LATE \
  PUBLISH_BEFORE_WORDS WORDS_BEFORE_PREVIOUS_STAMP WRITES_ACTIVE_BUFFER SET_OVER_DESTINATION \
  ID_BEFORE_VACATE ID_AFTER_STAMP STAMP_WITHOUT_EPOCH

row growth "2 changes, 2 growths" passes -DCHANGES=2 -DGROWTHS=2
row growth "3 changes, 1 growth" passes -DCHANGES=3 -DGROWTHS=1
row growth "one group, 2 changes, 2 growths" passes -DGROUP=2 -DCHANGES=2 -DGROWTHS=2
row growth "a reference" passes -DREFERENCE -DCHANGES=3 -DGROWTHS=1
row growth "an acquirer" passes -DACQUIRER -DCHANGES=3 -DGROWTHS=1
if [[ "$long" -eq 1 ]]; then
  row growth "3 changes, 3 growths" passes -DCHANGES=3 -DGROWTHS=3
  row growth "4 changes, 2 growths" passes -DCHANGES=4 -DGROWTHS=2
  row growth "5 changes, 1 growth" passes -DCHANGES=5 -DGROWTHS=1
  row growth "one group, 4 changes, 2 growths" passes -DGROUP=2 -DCHANGES=4 -DGROWTHS=2
fi
variants growth "-DCHANGES=2 -DGROWTHS=2" NO_VERSION_CHECK_ON_MISS NO_VERSION_CHECK_ON_HIT \
  VERSION_LOADED_LATE VERSION_LOOKED_AT_EARLY VERSION_BEFORE_ARRAY NEXT_NONE_BEFORE_VERSION \
  NEXT_BEFORE_ARRAY MOVED_BEFORE_NEXT MOVED_BEFORE_CELL DUPLICATES_UNDER_OLD_VERSION \
  GIVES_WAY_FIRST TAGS_AFTER_STAMP TAGS_LOADED_LATE
variants growth "-DCHANGES=4 -DGROWTHS=0" GIVES_WAY_WITHOUT_VERSION GIVES_WAY_BEFORE_VERSION \
  FREES_WITHOUT_LOOKING
variants growth "-DREFERENCE -DCHANGES=4 -DGROWTHS=0" KEEPS_ODD_VERSION
# Not every order that the code keeps is needed by the rest: see README.md.
for flag in SCRUBS_BEFORE_VERSION TAGS_LOADED_BEFORE_ARRAY; do
  row growth "$flag" passes -DCHANGES=2 -DGROWTHS=2 "-D$flag"
done

# Two epochs that partitions share.
for reader in LOOKUP REFERENCE ACQUIRER; do
  shared=(-DSHARED=2 "-D$reader")
  row growth "shared, $reader: 3, 1 growth" passes "${shared[@]}" -DCHANGES=3 -DGROWTHS=1
  row growth "shared, $reader: 5" passes "${shared[@]}" -DCHANGES=5 -DGROWTHS=0
  row growth "shared, $reader: one group, 4" passes "${shared[@]}" -DGROUP=2 -DCHANGES=4 \
    -DGROWTHS=0
  if [[ "$long" -eq 1 ]]; then
    row growth "shared, $reader: 4, 1 growth" passes "${shared[@]}" -DCHANGES=4 -DGROWTHS=1
    row growth "shared, $reader: 3, 2 growths" passes "${shared[@]}" -DCHANGES=3 -DGROWTHS=2
  fi
  variants growth "${shared[*]} -DCHANGES=4 -DGROWTHS=0" INSERTS_WITHOUT_RENEWAL \
    RENEWS_AFTER_STAMP GIVES_WAY_UNNOTED
  variants growth "${shared[*]} -DCHANGES=5 -DGROWTHS=0" NOTES_THE_LAST
  variants growth "${shared[*]} -DCHANGES=3 -DGROWTHS=1" MOVES_WITHOUT_RENEWAL
done
variants growth "-DSHARED=2 -DCHANGES=4 -DGROWTHS=0" LOOKS_AGAIN_RELAXED
variants growth "-DSHARED=2 -DREFERENCE -DCHANGES=4 -DGROWTHS=0" REFERENCE_WITHOUT_VERSION \
  RENEWS_BY_ONE
variants growth "-DSHARED=2 -DACQUIRER -DCHANGES=4 -DGROWTHS=0" DUPLICATES_WITHOUT_RENEWAL \
  RENEWS_BY_ONE ACQUIRES_WITHOUT_VERSION
# What these leave out is needed only where epochs are shared, or only by another kind of reader.
row growth LOOKS_AGAIN_RELAXED passes -DCHANGES=3 -DGROWTHS=1 -DLOOKS_AGAIN_RELAXED
row growth ACQUIRES_WITHOUT_VERSION passes -DACQUIRER -DCHANGES=3 -DGROWTHS=1 \
  -DACQUIRES_WITHOUT_VERSION
row growth "shared, RENEWS_AFTER_WORDS" passes -DSHARED=2 -DCHANGES=4 -DGROWTHS=0 \
  -DRENEWS_AFTER_WORDS
row growth "shared, DUPLICATES_WITHOUT_RENEWAL" passes -DSHARED=2 -DCHANGES=4 -DGROWTHS=0 \
  -DDUPLICATES_WITHOUT_RENEWAL

row permit "2 acquirers, 3 epochs, 1 growth" passes -DACQUIRERS=2 -DEPOCHS=3 -DGROWTHS=1
row permit "1 acquirer, 5 epochs, 2 growths" passes -DACQUIRERS=1 -DEPOCHS=5 -DGROWTHS=2
if [[ "$long" -eq 1 ]]; then
  row permit "2 acquirers, 5 epochs, 2 growths" passes -DACQUIRERS=2 -DEPOCHS=5 -DGROWTHS=2
  row permit "1 acquirer, 8 epochs, 3 growths" passes -DACQUIRERS=1 -DEPOCHS=8 -DGROWTHS=3
fi
variants permit "-DACQUIRERS=1 -DEPOCHS=5 -DGROWTHS=2" P1_PLAIN LOOKS_BEFORE_COUNTING \
  NO_SECOND_LOOK P3_PLAIN COUNT_READ_EARLY FLIPS_UNCOUNTED ERASES_WITHOUT_CLOSING \
  CLOSES_AFTER_LOOKING ENTERS_CLOSED REOPENS_WITH_ZERO MOVED_NOT_IN_TOTAL_ORDER \
  COUNTER_STAYS_BEHIND LEAVES_BEFORE_THE_WRITE

# pause_writes, claim_migration and erase_until.
row permit "2 acquirers, 5 epochs, erasures" passes -DERASURES=2 -DACQUIRERS=2 -DEPOCHS=5 \
  -DGROWTHS=0
row permit "1 acquirer, 5 epochs, erasures" passes -DERASURES=2 -DACQUIRERS=1 -DEPOCHS=5 -DGROWTHS=1
if [[ "$long" -eq 1 ]]; then
  row permit "2 acquirers, 7 epochs, erasures" passes -DERASURES=2 -DACQUIRERS=2 -DEPOCHS=7 \
    -DGROWTHS=0
  row permit "1 acquirer, 7 epochs, erasures" passes -DERASURES=2 -DACQUIRERS=1 -DEPOCHS=7 \
    -DGROWTHS=1
fi
variants permit "-DERASURES=1 -DACQUIRERS=1 -DEPOCHS=5 -DGROWTHS=0" REMOVES_WITHOUT_EPOCH \
  REMOVES_BY_EARLY_COUNT PAUSES_PLAIN ABORTS_WITHOUT_EPOCH
# The pause keeps writers out as closing does, if it is in the total order; and its epoch says the
# phase.
erasures=(-DERASURES=1 -DACQUIRERS=1 -DEPOCHS=5 -DGROWTHS=0)
row permit REMOVES_WITHOUT_CLOSING passes "${erasures[@]}" -DREMOVES_WITHOUT_CLOSING
row permit REMOVES_WITHOUT_PHASE passes "${erasures[@]}" -DREMOVES_WITHOUT_PHASE

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ "$failed" -eq 0 ]]
