#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the tests for other machines and runs them under qemu-user. Needs cmake/setup.sh --machines
# (Debian's cross compilers and qemu-user). abseil, GoogleTest and RapidCheck for each machine are
# Debian's packages, unpacked below build/, so the system stays as it is.
#
#   cmake/other-machines.sh [--short] [arm64] [armhf] [s390x]
#
#   --short   without the tests that run several threads for seconds
#
# qemu-user runs a machine's instructions, its word size and its byte order, and real threads; but the
# host's memory model, which on x86 is stronger than arm64's. For the orders see tests/model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root="$PWD/build/machines"
packages=(libabsl-dev libabsl20220623 libgtest-dev libgmock-dev librapidcheck-dev)
jobs="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

short=0
machines=()
for argument in "$@"; do
  case "$argument" in
    --short) short=1 ;;
    arm64 | armhf | s390x) machines+=("$argument") ;;
    *)
      printf 'usage: %s [--short] [arm64] [armhf] [s390x]\n' "$0" >&2
      exit 2
      ;;
  esac
done
if [[ "${#machines[@]}" -eq 0 ]]; then machines=(arm64 armhf s390x); fi

# apt_for <machine> <argument>...: apt-get with its state below build/, for that machine.
apt_for() {
  local state="$root/$1/apt" machine="$1"
  shift
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : >"$state/status"
  # shellcheck disable=SC1091
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "${PLACEMENT_TABLE_DEBIAN_MIRROR:-http://deb.debian.org/debian}" \
    "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" >"$state/sources.list"
  apt-get -qq -o Acquire::Retries=3 -o "APT::Architecture=$machine" \
    -o "APT::Architectures=$machine" -o "APT::Sandbox::User=$(id -un)" -o Debug::NoLocking=1 \
    -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" \
    -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" \
    -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null "$@"
}

# The libraries of <machine>, unpacked once.
fetch_root() {
  local directory="$root/$1" archive
  if [[ -e "$directory/root.complete" ]]; then return; fi
  rm -rf "$directory/root" "$directory/debs"
  mkdir -p "$directory/root" "$directory/debs"
  apt_for "$1" update
  (cd "$directory/debs" && apt_for "$1" download "${packages[@]}")
  for archive in "$directory"/debs/*.deb; do dpkg-deb -x "$archive" "$directory/root"; done
  : >"$directory/root.complete"
}

run() {
  local machine="$1" build="$root/$1/build" filter=()
  printf '=== %s\n' "$machine"
  fetch_root "$machine"
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/other-machine.cmake" \
    -DPLACEMENT_TABLE_MACHINE="$machine" \
    -DPLACEMENT_TABLE_MACHINE_ROOT="$root/$machine/root" \
    -DPLACEMENT_TABLE_BUILD_EXAMPLES=OFF -DPLACEMENT_TABLE_BUILD_BENCH=OFF
  cmake --build "$build" -j "$jobs"
  # The consumers and the models say nothing about a machine.
  if [[ "$short" -eq 1 ]]; then
    filter=(-L "^(state_machine|table|permits|held_writes|partition_ids|value_types|apply)$")
  fi
  ctest --test-dir "$build" -j "$jobs" --output-on-failure --no-tests=error \
    -LE packaging -E '^model$' "${filter[@]}"
}

for machine in "${machines[@]}"; do run "$machine"; done
