#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs check_<what>.py in a gdb that has the program loaded. 77: skipped, there is none that can.
#
#   run.sh <gdb> printers|natvis <program>
set -eu

gdb="$1"
what="$2"
program="$3"
here=$(cd "$(dirname "$0")" && pwd)
PRINTERS="$here/../../cmake/debugger/placement_table_gdb.py"
NATVIS="$here/../../cmake/debugger/placement_table.natvis"
export PRINTERS NATVIS

if [ ! -x "$gdb" ]; then
  echo "skipped: there is no gdb (cmake/setup.sh --ci installs it)"
  exit 77
fi
# Some containers forbid to trace a process, and some emulators cannot.
if ! "$gdb" --nx --batch -ex 'python print("python")' -ex 'break main' -ex run -ex kill \
  "$program" 2>/dev/null | grep -q 'Breakpoint 1, '; then
  echo "skipped: this gdb cannot run a program here"
  exit 77
fi
exec "$gdb" --nx --batch -x "$here/check_$what.py" "$program"
