#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that clang-format has nothing to change; with --fix, changes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=(--dry-run -Werror)
if [[ "${1:-}" == --fix ]]; then
  mode=(-i)
fi
git ls-files -z '*.hpp' '*.cpp' | xargs -0 --no-run-if-empty clang-format-19 "${mode[@]}"
