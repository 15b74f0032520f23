#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the tests for other machines and runs them under qemu-user. Needs cmake/setup.sh --machines
# (Debian's cross compilers and qemu-user). abseil, GoogleTest and RapidCheck for each machine are
# Debian's packages, unpacked once below ${XDG_CACHE_HOME:-~/.cache}/placement_table, so the system
# stays as it is.
#
#   cmake/other-machines.sh [--short] [arm64] [armhf] [s390x] [libc++]
#
#   --short   a few tests, and of those none that run several threads for seconds
#   libc++    on this machine, with clang and LLVM's standard library. abseil and GoogleTest are built
#             from Debian's sources; tests that use RapidCheck are left out, for Debian's is built
#             with the other library
#
# qemu-user runs a machine's instructions, its word size and its byte order, and real threads; but the
# host's memory model, which on x86 is stronger than arm64's. For the orders see tests/model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

libraries="${XDG_CACHE_HOME:-$HOME/.cache}/placement_table"
packages=(libabsl-dev libabsl20220623 libgtest-dev libgmock-dev librapidcheck-dev)
sources=(abseil googletest)
short_areas=(arrays permits shard state_machine system table value_types)
jobs="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

short=0
machines=()
for argument in "$@"; do
  case "$argument" in
    --short) short=1 ;;
    arm64 | armhf | s390x | libc++) machines+=("$argument") ;;
    *)
      printf 'usage: %s [--short] [arm64] [armhf] [s390x] [libc++]\n' "$0" >&2
      exit 2
      ;;
  esac
done
if [[ "${#machines[@]}" -eq 0 ]]; then machines=(arm64 armhf s390x libc++); fi

# apt_for <machine> <kind> <argument>...: apt-get with a state of its own, for that machine and that
# kind of source (deb, deb-src).
apt_for() {
  local state="$libraries/$1/apt" architecture="$1" kind="$2"
  if [[ "$1" == "libc++" ]]; then architecture="$(dpkg --print-architecture)"; fi
  shift 2
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : >"$state/status"
  # shellcheck disable=SC1091
  printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$kind" \
    "${PLACEMENT_TABLE_DEBIAN_MIRROR:-http://deb.debian.org/debian}" \
    "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" >"$state/sources.list"
  apt-get -qq -o Acquire::Retries=3 -o "APT::Architecture=$architecture" \
    -o "APT::Architectures=$architecture" -o "APT::Sandbox::User=$(id -un)" -o Debug::NoLocking=1 \
    -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" \
    -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" \
    -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null "$@"
}

# The libraries of <machine>, unpacked once; for libc++, their sources.
fetch() {
  local directory="$libraries/$1" archive
  if [[ -e "$directory/complete" ]]; then return; fi
  rm -rf "$directory/root" "$directory/archives"
  mkdir -p "$directory/root" "$directory/archives"
  if [[ "$1" == "libc++" ]]; then
    apt_for "$1" deb-src update
    (cd "$directory/archives" && apt_for "$1" deb-src source --download-only "${sources[@]}")
    for archive in "${sources[@]}"; do
      mkdir "$directory/root/$archive"
      tar -C "$directory/root/$archive" --strip-components=1 -xf \
        "$directory/archives/${archive}_"*.orig.tar.*
    done
  else
    apt_for "$1" deb update
    (cd "$directory/archives" && apt_for "$1" deb download "${packages[@]}")
    for archive in "$directory"/archives/*.deb; do dpkg-deb -x "$archive" "$directory/root"; done
  fi
  : >"$directory/complete"
}

run() {
  local machine="$1" build="build/machines/$1" source area arguments=() targets=() filter=()
  printf '=== %s\n' "$machine"
  fetch "$machine"
  if [[ "$machine" == "libc++" ]]; then
    arguments=(-DCMAKE_CXX_COMPILER=clang++-19
      # std::stop_token is experimental in this release.
      "-DCMAKE_CXX_FLAGS=-O1 -stdlib=libc++ -fexperimental-library"
      -DCMAKE_DISABLE_FIND_PACKAGE_absl=ON "-DFETCHCONTENT_SOURCE_DIR_ABSL=$libraries/libc++/root/abseil"
      -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON
      "-DFETCHCONTENT_SOURCE_DIR_GOOGLETEST=$libraries/libc++/root/googletest")
    targets=(--target placement_table_all_headers placement_table_two_units_test)
  else
    arguments=(-DCMAKE_CXX_FLAGS=-O1 "-DCMAKE_TOOLCHAIN_FILE=$PWD/cmake/other-machine.cmake"
      "-DPLACEMENT_TABLE_MACHINE=$machine" "-DPLACEMENT_TABLE_MACHINE_ROOT=$libraries/$machine/root")
    if [[ "$short" -eq 1 ]]; then targets=(--target placement_table_all_headers); fi
  fi
  # The consumers and the models say nothing about a machine; and the emulator's own pages would be
  # counted with the program's.
  local left_out='^model$|_NOT_BUILT$|^SystemMemory\.TakesThePages'
  if [[ "$short" -eq 1 ]]; then
    filter=(-L "^($(printf '%s|' "${short_areas[@]}")x)$")
    left_out+='|UnderContention'
  fi
  for source in tests/*.test.cpp; do
    area="$(basename "$source" .test.cpp)"
    if [[ "$machine" == "libc++" ]] && grep -q '<rapidcheck' "$source"; then continue; fi
    if [[ "$short" -eq 1 && ! " ${short_areas[*]} " =~ " $area " ]]; then continue; fi
    if [[ "${#targets[@]}" -gt 0 ]]; then targets+=("placement_table_${area}_test"); fi
  done
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=None "${arguments[@]}" \
    -DPLACEMENT_TABLE_BUILD_EXAMPLES=OFF -DPLACEMENT_TABLE_BUILD_BENCH=OFF \
    -DPLACEMENT_TABLE_INSTALL=OFF -DPLACEMENT_TABLE_BUILD_FLEET=OFF
  cmake --build "$build" -j "$jobs" "${targets[@]}"
  ctest --test-dir "$build" -j "$jobs" --output-on-failure --no-tests=error -LE packaging \
    -E "$left_out" "${filter[@]}"
}

for machine in "${machines[@]}"; do run "$machine"; done
