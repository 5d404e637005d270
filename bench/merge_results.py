#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Joins results of Google Benchmark (or of peers/pytorch.py) into one file that can be committed.

    bench/merge_results.py --out chapters.json part1.json part2.json ...

The context is the first file's, without the names of this computer and of the program's folder. A
benchmark is called what it is, without suffixes for how it was timed (/manual_time, /repeats:3),
and counters that are not numbers are left out. A benchmark that several parts have is an error.

Needs python3 only.
"""
import argparse
import json
import math
import os
import pathlib
import re
import sys

PRIVATE = ("host_name", "executable")
SUFFIX = re.compile(r"(/(?:full|causal|K:\d+))(?:/[a-z_]+(?::[0-9.]+)?)*$")


class Failure(Exception):
    """One line for the reader."""


def cleaned(entry):
    """One entry of "benchmarks", under its plain name and without NaN."""
    entry = {key: value for key, value in entry.items()
             if not (isinstance(value, float) and math.isnan(value))}
    run_name = SUFFIX.sub(r"\1", entry["run_name"])
    ending = entry["name"].removeprefix(entry["run_name"])  # "_median"
    return entry | {"name": run_name + ending, "run_name": run_name}


def merged(files):
    """The joined results of {file name: text}."""
    context, entries, seen = None, [], {}
    for name, text in files.items():
        try:
            part = json.loads(text)
            found = [cleaned(entry) for entry in part["benchmarks"]]
            own = part["context"]
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"{name}: not a complete result file ({error})") from error
        context = context or {key: value for key, value in own.items() if key not in PRIVATE}
        for run_name in {entry["run_name"] for entry in found}:
            if run_name in seen:
                raise Failure(f"{run_name}: in {seen[run_name]} and in {name}")
            seen[run_name] = name
        # A benchmark that did not run says so once for each repetition; once is enough.
        for entry in found:
            if entry not in entries and not (entry.get("error_occurred")
                                             and entry.get("repetition_index", 0) > 0):
                entries.append(entry)
    return {"context": context or {}, "benchmarks": entries}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="the parts, in order")
    parser.add_argument("--out", required=True, help="the file to write")
    options = parser.parse_args()
    try:
        files = {name: pathlib.Path(name).read_text(encoding="utf-8") for name in options.files}
        result = json.dumps(merged(files), indent=1, allow_nan=False) + "\n"
        beside = pathlib.Path(f"{options.out}.{os.getpid()}.tmp")
        beside.write_text(result, encoding="utf-8")
        os.replace(beside, options.out)  # whole, or as it was
    except (OSError, Failure) as failure:
        print(f"merge_results.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
