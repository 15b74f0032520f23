#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the presets need, from Debian's packages. Can be repeated.
#
#   cmake/setup.sh        for the presets dev, test, demo and bench
#   cmake/setup.sh --ci   and for .ci/run: the other compilers, clang-tidy, clang-format, model
#                         checker, coverage
#   cmake/setup.sh --machines   and for cmake/other-machines.sh: cross compilers, qemu-user, libc++
#
# Elsewhere than on Debian it only says what is missing: a compiler, CMake 3.25 and Ninja are enough
# for the tests, because CMake fetches a library that is not installed.
set -eu

packages="g++ g++-12 cmake ninja-build
  libabsl-dev libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
  libtbb-dev libcuckoo-dev liburcu-dev valgrind gnuplot-nox
  libasio-dev redis-server redis-tools
  libsqlite3-dev libcurl4-openssl-dev nlohmann-json3-dev"
ci_packages="clang-14 clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev llvm-19 python3
  graphviz spin gcovr"
machines_packages="g++-aarch64-linux-gnu g++-arm-linux-gnueabihf g++-s390x-linux-gnu qemu-user
  clang-19 libc++-19-dev libc++abi-19-dev"

for argument; do
  case "$argument" in
    --ci) packages="$packages $ci_packages" ;;
    --machines) packages="$packages $machines_packages" ;;
    *)
      echo "usage: cmake/setup.sh [--ci] [--machines]" >&2
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

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get -o Acquire::Retries=3 update -qq

available=""
for package in $missing; do
  if [ -n "$(apt-cache policy "$package" | sed -n '/Candidate: (none)/d; s/ *Candidate: //p')" ]; then
    available="$available $package"
  else
    echo "setup.sh: no package $package in this system's sources, going on without it" >&2
  fi
done
[ -n "$available" ] || exit 0

# Debian starts a server when it installs one. The demo starts its own, so this one stays off.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$as_root rm -f "$policy"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod +x "$policy"
fi

# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -qq \
  --no-install-recommends $available
