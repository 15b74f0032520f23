#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""branches.py <build directory> <source directory>

Lists the branches in the headers of <source directory> that no test takes, from gcov's counters.

A template has branches in each of its instantiations, and a function that is always inlined in each
of its callers, most of which no test means to take: an instantiation for one kind of id never meets
what another does. So a branch counts as taken here if any copy of it is; gcovr would want them all.
gcov tells of a line's copies one behind the other. The fewest branches that a line has anywhere are
taken for one copy; of a line whose copies differ (`if constexpr`) this can hide a branch that is
not taken, but shows none that is.
"""
import collections
import json
import os
import re
import subprocess
import sys

# An assertion's other branch ends the program.
ASSERTION = re.compile(r"\bassert\(")


def counters(build):
    """What gcov says of each object file, as parsed JSON."""
    for directory, _, names in os.walk(build):
        for name in names:
            if name.endswith(".gcda"):
                path = os.path.abspath(os.path.join(directory, name))
                out = subprocess.run(
                    ["gcov-12", "--json-format", "--stdout", "--branch-probabilities", path],
                    cwd=directory, capture_output=True, check=True).stdout
                for line in out.splitlines():
                    yield json.loads(line)


def main():
    build, source = sys.argv[1:]
    source = os.path.realpath(source) + os.sep
    # (file, line) -> of each time that gcov tells of it, how often each branch is taken.
    taken = collections.defaultdict(list)
    for unit in counters(build):
        for file in unit["files"]:
            path = os.path.realpath(os.path.join(unit["current_working_directory"], file["file"]))
            if not path.startswith(source):
                continue
            for line in file["lines"]:
                counts = [b["count"] for b in line["branches"] if not b["throw"]]
                if len(counts) < 2 or line["count"] == 0:
                    continue
                taken[path[len(source):], line["line_number"]].append(counts)

    text = {}
    total = reached = 0
    for (file, number), told in sorted(taken.items()):
        if file not in text:
            with open(source + file, encoding="utf-8") as lines:
                text[file] = lines.read().splitlines()
        source_line = text[file][number - 1].strip()
        if ASSERTION.search(source_line):
            continue
        counts = [0] * min(map(len, told))
        for copies in told:
            for at, count in enumerate(copies):
                counts[at % len(counts)] += count
        total += len(counts)
        reached += sum(map(bool, counts))
        if not all(counts):
            shown = " ".join("-" if count == 0 else "+" for count in counts)
            print(f"{file}:{number}: [{shown}] {source_line}")
    print(f"branches: {reached} of {total} taken ({100 * reached / max(total, 1):.1f} %)")


main()
