# SPDX-License-Identifier: MIT
"""What bench/report.py is made of: collect (counting, compiling), times (measured runs), tables and
plots. Python's standard library is all it needs."""
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "bench" / "results"

SHAPE = {"B": 1, "H": 1, "Nq": 512, "Nk": 512, "d": 64}


class Failure(Exception):
    """What cannot be collected or rendered: one line."""


def load(name):
    """bench/results/NAME.json."""
    try:
        return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; collect first") from error


def run(command, **options):
    """Standard output of a command that must succeed."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from error
    if result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise Failure(f"{' '.join(command[:3])}: {said[-1] if said else 'failed'}")
    return result


def requested(counts):
    """Bytes that the threads ask for."""
    return sum(counts[f"global_{kind}_bytes"] for kind in ("load", "store", "atomic", "async"))


def compulsory(counts):
    """Each distinct byte once per launch."""
    return sum(counts[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write"))
