#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the presets need, from Debian's packages. Says before what and how much; waits while
# another installation is under way. Can be repeated.
#
#   cmake/setup.sh        for the presets dev, test, demo and bench
#   cmake/setup.sh --ci   and for .ci/run: the other compilers, clang-tidy, clang-format, model
#                         checker, coverage
#   cmake/setup.sh --docs   and for the preset docs and the pictures: doxygen, graphviz
#   cmake/setup.sh --machines   and for cmake/other-machines.sh: cross compilers, qemu-user, libc++
#
# Elsewhere than on Debian it only says what is missing: a compiler, CMake 3.25 and Ninja are enough
# for the tests, because CMake fetches a library that is not installed.
set -eu

packages="g++ g++-12 cmake ninja-build
  libabsl-dev libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
  libtbb-dev libcuckoo-dev liburcu-dev valgrind
  libasio-dev libboost1.81-dev redis-server redis-tools
  libsqlite3-dev libcurl4-openssl-dev nlohmann-json3-dev"
ci_packages="clang-14 clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev llvm-19 python3
  graphviz spin gcovr gdb"
docs_packages="doxygen graphviz fonts-dejavu-core"
machines_packages="g++-aarch64-linux-gnu g++-arm-linux-gnueabihf g++-s390x-linux-gnu qemu-user
  clang-19 libc++-19-dev libc++abi-19-dev"

for argument; do
  case "$argument" in
    --ci) packages="$packages $ci_packages" ;;
    --docs) packages="$packages $docs_packages" ;;
    --machines) packages="$packages $machines_packages" ;;
    *)
      echo "usage: cmake/setup.sh [--ci] [--docs] [--machines]" >&2
      exit 2
      ;;
  esac
done

if ! command -v apt-get >/dev/null 2>&1; then
  status=0
  for tool in c++ cmake ninja; do
    command -v "$tool" >/dev/null 2>&1 || {
      echo "setup.sh: please install $tool (there is no apt-get here)" >&2
      status=1
    }
  done
  exit "$status"
fi

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=""
for package in $packages; do
  is_installed "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then
  echo "setup.sh: everything is installed"
  exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "setup.sh: run as root, please: apt-get install$missing" >&2
    exit 1
  fi
  as_root="sudo"
fi

# apt_get <argument>...: waits for whoever holds a lock of the package manager, ten minutes at most.
# Its own option for that, DPkg::Lock::Timeout, holds for some of the locks only.
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
apt_get() {
  patience=300 # times two seconds
  until $as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
    apt-get -o Acquire::Retries=3 "$@" 2>"$errors"; do
    if ! grep -q 'Could not get lock\|Unable to lock\|Unable to acquire' "$errors" ||
      [ "$patience" -eq 0 ]; then
      cat "$errors" >&2
      return 1
    fi
    if [ "$patience" -eq 300 ]; then
      echo "setup.sh: another installation is under way, waiting for it to finish" >&2
    fi
    patience=$((patience - 1))
    sleep 2
  done
  cat "$errors" >&2
}

echo "setup.sh: fetching the list of packages; missing here:$missing"
apt_get update -qq

available=""
for package in $missing; do
  if [ -n "$(apt-cache policy "$package" | sed -n '/Candidate: (none)/d; s/ *Candidate: //p')" ]; then
    available="$available $package"
  else
    echo "setup.sh: no package $package in this system's sources, going on without it" >&2
  fi
done
[ -n "$available" ] || exit 0

# What it comes to: apt's own words, from an installation that is answered with no.
# shellcheck disable=SC2086 # a list of words
summary=$(LC_ALL=C apt-get -o Debug::NoLocking=1 --assume-no --no-install-recommends install \
  $available 2>/dev/null |
  sed -n 's/.* \([0-9]*\) newly installed.*/\1 new packages in all. /p
    s/^Need to get .*/& /p; s/^After this.*/&/p' | tr -d '\n') || true
echo "setup.sh: installing$available"
echo "setup.sh: ${summary:-apt does not say how much that is}"

# Debian starts a server when it installs one. The demo starts its own, so this one stays off.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$errors"; $as_root rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod +x "$policy"
fi

# shellcheck disable=SC2086 # a list of words
apt_get install -y -qq --no-install-recommends $available
echo "setup.sh: done"
