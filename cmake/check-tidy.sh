#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check-tidy.sh <build directory> [<regex of source paths>]
#
# clang-tidy over the library's headers (through one translation unit that includes them all, and
# through what uses them) and over the examples, without their tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build="${1:?usage: check-tidy.sh <build directory> [<regex>]}"
sources="${2:-/(all_headers|tests/two_units/[^/]*|examples/[^/]*|examples/redis_router/(demo/)?[^/]*)\.cpp$}"
run-clang-tidy-19 -quiet -j "$(nproc)" -p "$build" "$sources"
