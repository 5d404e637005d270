#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs what the lessons tell their readers to run.

    tests/lessons_run_test.py nvcc               each lesson's line for nvcc compiles its step;
                                                 without nvcc exits with 77, which ctest shows as
                                                 Skipped
    tests/lessons_run_test.py demos PROGRAM...   a block below <!-- printed by: PROGRAM --> is what
                                                 the demo prints, but for what "..." leaves out

Prints every failed check as lessons_test.py does; exits with 1 if one failed, or none was made.
"""

import itertools
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
from lessons_test import Report, lessons, nvcc_lines, split_markdown  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = 77
PRINTED = re.compile(r"<!-- printed by: (ch\d\d_demo) -->")
TIME = re.compile(r"\d[\d.]* [mnu]?s\b")
ERROR = re.compile(r"\d\.\de-\d\d")  # its last digit may differ from processor to processor
NEAR = 1.5


def compile_steps(report):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("skipped: there is no nvcc")
        return SKIPPED
    for chapter in lessons(ROOT):
        readme = chapter / "README.md"
        for number, command in nvcc_lines(split_markdown(readme)[1]):
            result = subprocess.run([nvcc, *shlex.split(command)[1:]], cwd=ROOT,
                                    capture_output=True, text=True, check=False)
            report.check(result.returncode == 0, readme, number,
                         f"{command}\n{result.stdout}{result.stderr}")
    return None


def same(quoted, printed):
    """Two lines, whatever their blanks and times, with errors that are near each other. A table's
    ruler is as long as its times are."""
    def skeleton(line):
        line = re.sub("--+", "--", ERROR.sub("error", TIME.sub("time", line)))
        return " ".join(line.split())
    pairs = zip(map(float, ERROR.findall(quoted)), map(float, ERROR.findall(printed)))
    return skeleton(quoted) == skeleton(printed) and all(
        a <= NEAR * b and b <= NEAR * a for a, b in pairs)


def missing(quoted, printed):
    """The first quoted line that is not printed where it should be, or None. A line "..." leaves
    out any number of lines; the first part may begin anywhere."""
    at, anywhere = 0, True
    for skips, part in itertools.groupby(quoted, lambda line: line.strip() == "..."):
        part = list(part)
        if skips:
            anywhere = True
            continue
        starts = range(at, len(printed) - len(part) + 1) if anywhere else [at]
        fits = [n for n in starts if all(map(same, part, printed[n:n + len(part)]))]
        if not fits:
            known = [any(same(line, its) for its in printed) for line in part]
            return part[known.index(False)] if False in known else part[0]
        at, anywhere = fits[0] + len(part), False
    return None


def compare_demos(report, programs):
    paths = {pathlib.Path(path).name: path for path in programs}
    for chapter in lessons(ROOT):
        readme = chapter / "README.md"
        prose, blocks = split_markdown(readme)
        quotes = [(number, found[1]) for number, text in prose if (found := PRINTED.search(text))]
        report.check(quotes, readme, 1, "shows nothing that its demo prints")
        for number, name in quotes:
            lines = next((lines for first, lines in blocks if first == number + 1), [])
            report.check(lines, readme, number, "no block right below")
            if name not in paths:
                continue  # not built here
            printed = subprocess.run([paths[name]], capture_output=True, text=True,
                                     check=True).stdout.splitlines()
            lost = missing(lines, printed)
            report.check(lost is None, readme, number, f"{name} does not print there: {lost}")


def main():
    report = Report(ROOT)
    if sys.argv[1:] == ["nvcc"]:
        status = compile_steps(report)
    elif sys.argv[1:2] == ["demos"]:
        status = compare_demos(report, sys.argv[2:])
    else:
        sys.exit(__doc__)
    if status is not None:
        return status
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
