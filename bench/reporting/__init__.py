# SPDX-License-Identifier: MIT
"""What bench/report.py is made of: collect (counting, compiling), predict (times of a GPU before it
is measured), times (measured runs), tables and plots. Python's standard library is all it needs."""
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "bench" / "results"

SHAPE = {"B": 1, "H": 1, "Nq": 512, "Nk": 512, "d": 64}  # counted: one head, and they are all alike
FULL = {"B": 32, "H": 16}  # heads of what tables show: they fill every GPU; a shape of gpu.sh
LONG = {"B": 4, "H": 16, "N": 4096, "d": 64}  # predicted, too: gpu.sh's first shape
# Chapters about few queries of a long cache are counted at one new token of Llama 3 8B, whose heads
# are not alike any more: how a cache is shared out depends on how many there are.
DECODING = ("17_decode",)
TOKEN = {"B": 1, "H": 32, "Hkv": 8, "Nq": 1, "Nk": 4096, "d": 128}


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


def load_if_there(name):
    """bench/results/NAME.json, or None."""
    return load(name) if (RESULTS / f"{name}.json").exists() else None


def heads_of(shape):
    return shape["B"] * shape["H"]


def requested(counts):
    """Bytes that the threads ask for."""
    kinds = ("load", "store", "atomic", "async")
    return (sum(counts[f"global_{kind}_bytes"] for kind in kinds)
            + counts.get("global_async_store_bytes", 0))


def compulsory(counts):
    """Each distinct byte once per launch."""
    return sum(counts[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write"))
