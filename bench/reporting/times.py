# SPDX-License-Identifier: MIT
"""Measured runs: bench/results/<device>/<date>/*.json, each in Google Benchmark's form. One folder
is one run on one machine, or one and another of more sizes; of each device the latest counts."""
import json
import re

from . import RESULTS

PLAIN = "01_naive_cpu/naive"  # what everything on a CPU is compared with
PEAK = "cpu/peak"  # multiply-adds on registers (bench/benchmarks/cpu_peak.cpp)
UNITS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}  # in milliseconds
COPY = "cpu/copy"  # from memory and to it (bench/benchmarks/cpu_copy.cpp)


def read_run(folder):
    """{"device", "context", "results": {benchmark name: its medians, and its file}} of one run."""
    found = {"device": folder.parent.name, "context": {}, "results": {}}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        found["context"][path.stem] = data["context"]
        for entry in data["benchmarks"]:
            if entry.get("aggregate_name") == "median" and not entry.get("error_occurred"):
                found["results"][entry["run_name"]] = entry | {"file": path.stem}
    return found


def runs(results=RESULTS):
    """The latest run of every device, by the name of its folder."""
    latest = {}
    for folder in sorted(path for path in results.glob("*/*/") if any(path.glob("*.json"))):
        latest[folder.parent.name] = folder
    return {device: read_run(folder) for device, folder in latest.items()}


def is_cpu(run):
    return run["device"].startswith("cpu-")


def on_cpu(found):
    """The latest run on a CPU; None if there is none."""
    def began(run):
        return max(context.get("date", "") for context in run["context"].values())

    return max(filter(is_cpu, found.values()), key=began, default=None)


def on_gpu(found, name):
    """The first run on such a GPU, "RTX 4090" say; None if there is none."""
    slug = name.lower().replace(" ", "-")
    return next((run for run in found.values() if not is_cpu(run) and slug in run["device"]), None)


def device_text(run):
    """The device as its own driver or system calls it."""
    return next(iter(run["context"].values()))["device"]


def milliseconds(run, implementation, name="forward", B=1, H=1, N=4096, d=64, mask="full"):
    """The median, or None where it was not measured."""
    key = f"{implementation}/{name}/B:{B}/H:{H}/N:{N}/d:{d}/{mask}"
    entry = run["results"].get(key) if run else None
    if entry is None:
        return None
    return entry["real_time"] * UNITS[entry["time_unit"]]


def peak(run):
    """FLOP/s of this CPU's multiply-adds on registers, or None where it was not measured."""
    return next((its["FLOP/s"] for name, its in run["results"].items() if name.startswith(PEAK)),
                None)


def copied(run):
    """Bytes per second that a copy by all cores reads and writes, or None likewise."""
    return next((its["bytes/s"] for name, its in run["results"].items() if name.startswith(COPY)),
                None)


def tokens(run):
    """{(new tokens, keys): {implementation: its median at decoding}}"""
    found = {}
    for name, entry in run["results"].items():
        if its := re.match(r"([^/]+/[^/]+)/decode/Nq:(\d+)/Nk:(\d+)", name):
            found.setdefault((int(its[2]), int(its[3])), {})[its[1]] = entry
    return found


def workspace_bytes(run, implementation, **shape):
    entry = run["results"].get(
        "{}/forward/B:1/H:1/N:{N}/d:64/full".format(implementation, **shape)) if run else None
    return entry.get("workspace_bytes") if entry else None


def implementations(run, which="forward"):
    """Those whose pass was timed, in their order: chapters first, then the peers."""
    names = dict.fromkeys("/".join(name.split("/")[:2]) for name in run["results"]
                          if name.split("/")[2] == which)
    return sorted(names, key=lambda name: (not name[0].isdigit(), name))
