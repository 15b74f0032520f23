#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""uncovered.py <build directory> <source directory>

Lists the lines and branches in the headers of <source directory> that no test reaches, from gcov's
counters: first those that explained.toml explains, then the others. Exits with 1 if there are
others.

A template has lines and branches in each of its instantiations, and a function that is always
inlined in each of its callers, most of which no test means to reach: an instantiation for one kind
of id never meets what another does. So a line or a branch counts as reached if any copy of it is.
gcov tells of a line's copies one behind the other. The fewest branches that a line has anywhere are
taken for one copy; of a line whose copies differ (`if constexpr`) this can hide a branch that is
not taken, but shows none that is.

Not counted is what no input reaches: the branches along which an exception leaves an expression, and
assertions, whose other branch ends the program.
"""
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

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


class Explanations:
    def __init__(self, path):
        self.entries = tomllib.loads(path.read_text()).get("explained", [])

    def of(self, file, source):
        for entry in self.entries:
            if entry["file"] == file and entry["line"] in source:
                return entry["why"]
        return None


def main():
    build, source = sys.argv[1:]
    source = os.path.realpath(source) + os.sep
    lines = collections.Counter()  # (file, line) -> how often it was reached
    branches = collections.defaultdict(list)  # of each copy, how often each branch was taken
    for unit in counters(build):
        for file in unit["files"]:
            path = os.path.realpath(os.path.join(unit["current_working_directory"], file["file"]))
            if not path.startswith(source):
                continue
            for line in file["lines"]:
                place = path[len(source):], line["line_number"]
                lines[place] += line["count"]
                counts = [b["count"] for b in line["branches"] if not b["throw"]]
                if len(counts) >= 2 and line["count"] != 0:
                    branches[place].append(counts)

    explanations = Explanations(pathlib.Path(__file__).resolve().parent / "explained.toml")
    text = {}
    explained, others = [], []
    total, reached = collections.Counter(), collections.Counter()
    for place in sorted(lines):
        file, number = place
        if file not in text:
            text[file] = pathlib.Path(source + file).read_text(encoding="utf-8").splitlines()
        of_source = text[file][number - 1].strip()
        if ASSERTION.search(of_source):
            continue
        missed = ""
        total["lines"] += 1
        if lines[place] == 0:
            missed = "never reached"
        else:
            reached["lines"] += 1
        if place in branches:
            counts = [0] * min(map(len, branches[place]))
            for copy in branches[place]:
                for at, count in enumerate(copy):
                    counts[at % len(counts)] += count
            total["branches"] += len(counts)
            reached["branches"] += sum(map(bool, counts))
            if not all(counts):
                missed = " ".join("-" if count == 0 else "+" for count in counts)
        if missed:
            why = explanations.of(file, of_source)
            told = f"{file}:{number}: [{missed}] {of_source}"
            (others if why is None else explained).append(told + (f"\n    {why}" if why else ""))
    print("\n".join(["explained:", *explained, "", "not explained:", *others, ""]))
    for what in ("lines", "branches"):
        share = 100 * reached[what] / max(total[what], 1)
        print(f"{what}: {reached[what]} of {total[what]} reached ({share:.1f} %)")
    return 1 if others else 0


sys.exit(main())
