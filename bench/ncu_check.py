#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sets the counts of the CPU machine beside those of NVIDIA's profiler ncu, launch by launch.

    bench/ncu_check.py 02 --shape N=512,d=64

runs `attn trace --json` on the CPU machine and `attn-cuda run` on the GPU, under ncu, on the same
problem. Counters that mean the same must be equal; a difference is marked and gives exit status 1.
ncu counts shared memory twice: by instruction (smsp__sass_*), which must agree, and in the L1 cache
(l1tex__data_*), where the hardware's own traffic may come on top, so that they are only shown.
(nvcc may merge or split accesses, or keep a value in a register, so a difference is not always a
bug: look at the SASS. Nor is DRAM below the compulsory reads of a kernel that reads back what it
has written itself, as 05 and 06 do.)
Where there is no ncu, no GPU, or no permission to read its counters, one line says so and the exit
status is 0.

Needs python3 only. ncu flushes the caches before every kernel, so its DRAM reads of a launch are at
least the launch's compulsory reads.
"""
import argparse
import csv
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

L1 = "l1tex__{}_pipe_lsu_mem_global_op_{}.sum"
WAVEFRONTS = "{}_pipe_lsu_wavefronts_mem_shared_op_{}.sum"
CONFLICTS = "{}_bank_conflicts_pipe_lsu_mem_shared_op_{}.sum"
SASS, CACHE = "smsp__sass_l1tex_data", "l1tex__data"
EQUAL, BOUNDS, SHOWN = range(3)  # what a counter of ncu is to ours


def difference(a, b):
    return lambda launch: launch[a] - launch[b]


def counters():
    """[(what it is, how to get it from a traced launch, ncu's metric, what that is to ours)]"""
    rows = []
    for kind, op in (("load", "ld"), ("store", "st")):
        wavefronts = f"shared_{kind}_wavefronts"
        conflicts = difference(wavefronts, wavefronts + "_ideal")
        rows += [
            (f"global {kind} requests", lambda t, k=f"global_{kind}_requests": t[k],
             L1.format("t_requests", op), EQUAL),
            (f"global {kind} sectors", lambda t, k=f"global_{kind}_sectors": t[k],
             L1.format("t_sectors", op), EQUAL),
        ]
        for unit, relation in ((SASS, EQUAL), (CACHE, SHOWN)):
            rows += [
                (f"shared {kind} wavefronts", lambda t, k=wavefronts: t[k],
                 WAVEFRONTS.format(unit, op), relation),
                (f"shared {kind} bank conflicts", conflicts, CONFLICTS.format(unit, op), relation),
            ]
    rows.append(("compulsory read bytes", lambda t: t["global_read_bytes_compulsory"],
                 "dram__bytes_read.sum", BOUNDS))
    return rows


COUNTERS = counters()


class CannotCompare(Exception):
    """Something that comparing needs is not there: one line, exit status 0."""


def base_name(kernel):
    """The kernel's name without return type, namespaces, parameters and template arguments."""
    name = kernel.split("(anonymous namespace)::")[-1].split("<unnamed>::")[-1]
    name = name.split("(")[0].split("<")[0].strip()
    return name.split("::")[-1].split(" ")[-1]


def read_metrics(lines):
    """[(kernel, {metric: value})] in launch order, from the CSV that `ncu --csv` prints."""
    rows = list(lines)
    start = next((i for i, line in enumerate(rows) if line.startswith('"ID"')), None)
    if start is None:
        raise CannotCompare("ncu profiled no kernel; its output has no table")
    launches = {}
    for row in csv.DictReader(line for line in rows[start:] if not line.startswith("==")):
        if not row.get("Metric Name"):
            continue
        _, metrics = launches.setdefault(int(row["ID"]), (base_name(row["Kernel Name"]), {}))
        try:
            metrics[row["Metric Name"]] = float(row["Metric Value"].replace(",", ""))
        except ValueError:  # "n/a": a metric that this GPU does not have
            continue
    return [launches[number] for number in sorted(launches)]


def compare(traced, measured):
    """Prints one table per launch; returns how many counters differ."""
    if len(measured) < len(traced):
        raise CannotCompare(f"ncu saw {len(measured)} launches, the CPU machine {len(traced)}")
    different = 0
    # A backward pass is run after a forward pass; the last launches are its own.
    for launch, (kernel, metrics) in zip(traced, measured[len(measured) - len(traced):]):
        print(f"\n{launch['kernel']}")
        if base_name(launch["kernel"]) != kernel:
            print(f"  ncu saw {kernel} in its place")
            different += 1
            continue
        print(f"  {'counter':<30}{'CPU machine':>16}{'ncu':>16}")
        for title, value_of, metric, relation in COUNTERS:
            expected = value_of(launch)
            if metric not in metrics:
                print(f"  {title:<30}{expected:>16,}{'not measured':>16}  {metric}")
                continue
            got = metrics[metric]
            good = expected <= got if relation == BOUNDS else expected == got
            word = {EQUAL: ("DIFFERS", "equal"), BOUNDS: ("MORE", "at most"),
                    SHOWN: ("differs", "equal")}[relation][good]
            print(f"  {title:<30}{expected:>16,}{got:>16,.0f}  {word:<8} {metric}")
            different += not good and relation != SHOWN
    return different


def input_shapes(text):
    """Sizes of Q, K, V and dO for a SHAPE of attn's."""
    given = {name: int(size) for name, size in (item.split("=") for item in text.split(","))}
    B, H, n, d = given.get("B", 1), given.get("H", 1), given.get("N", 0), given.get("d", 0)
    Nq, Nk = given.get("Nq", n), given.get("Nk", n)
    Hkv, dv = given.get("Hkv", H), given.get("dv", d)
    return {"q": (B, H, Nq, d), "k": (B, Hkv, Nk, d), "v": (B, Hkv, Nk, dv), "do": (B, H, Nq, dv)}


def write_npy(path, shape, rng):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    count = 1
    for size in shape:
        count *= size
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        file.write(struct.pack(f"<{count}f", *(rng.gauss(0, 1) for _ in range(count))))


def profile(options):
    """Runs the problem under ncu; its output as lines. An ncu that does not know the counters by
    instruction is asked for the others."""
    names = [metric for _, _, metric, _ in COUNTERS]
    result = run_ncu(options, names)
    if result.returncode != 0 and SASS in result.stdout + result.stderr:
        result = run_ncu(options, [name for name in names if not name.startswith(SASS)])
    output = result.stdout + result.stderr
    if "ERR_NVGPUCTRPERM" in output:
        raise CannotCompare("no permission to read the GPU's counters (ERR_NVGPUCTRPERM); see "
                            "https://developer.nvidia.com/ERR_NVGPUCTRPERM, or run as root")
    if result.returncode != 0:
        lines = [line for line in output.splitlines() if line.strip()]
        raise CannotCompare("ncu failed: " + (lines[-1] if lines else f"{result.returncode}"))
    return result.stdout.splitlines()


def run_ncu(options, metrics):
    ncu = shutil.which(options.ncu)
    if ncu is None:
        raise CannotCompare("ncu was not found; it comes with the CUDA Toolkit")
    if not os.access(options.attn_cuda, os.X_OK):
        raise CannotCompare(f"{options.attn_cuda} was not found; nvcc builds it")
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        def file(name):
            return os.path.join(folder, name + ".npy")

        for name, shape in input_shapes(options.shape).items():
            write_npy(file(name), shape, rng)
        command = [ncu, "--csv", "--print-units", "base", "--print-kernel-base", "function",
                   "--metrics", ",".join(metrics),
                   os.path.abspath(options.attn_cuda), "run", options.chapter]
        for name in ("q", "k", "v", "o"):
            command += ["--" + name, file(name)]
        if options.step:
            command += ["--step", options.step]
        if options.causal:
            command.append("--causal")
        if options.run_pass == "backward":
            for name in ("do", "dq", "dk", "dv"):
                command += ["--" + name, file(name)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def trace(options):
    command = [options.attn, "trace", options.chapter, "--shape", options.shape,
               "--pass", options.run_pass, "--json"]
    if options.step:
        command += ["--step", options.step]
    if options.causal:
        command.append("--causal")
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        sys.exit(f"ncu_check.py: {options.attn}: {error.strerror}; build the target attn first")
    if result.returncode != 0:
        sys.exit(result.returncode)
    return json.loads(result.stdout)


def main():
    build = pathlib.Path(__file__).resolve().parent.parent / "build"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapter", help="id or number")
    parser.add_argument("--step", help="a step other than the last")
    parser.add_argument("--shape", default="B=1,H=1,Nq=512,Nk=512,d=64", help="as in attn")
    parser.add_argument("--pass", dest="run_pass", default="forward",
                        choices=("forward", "backward"))
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--attn", default=str(build / "attn"), help="the program")
    parser.add_argument("--attn-cuda", default=str(build / "attn-cuda"), help="the same for a GPU")
    parser.add_argument("--ncu", default="ncu", help="the profiler")
    parser.add_argument("--metrics-csv", help="what `ncu --csv` printed, instead of running it")
    parser.add_argument("--trace-json", help="what `attn trace --json` printed, likewise")
    parser.add_argument("--save-csv", help="keeps what ncu printed")
    options = parser.parse_args()
    try:
        if options.metrics_csv:
            with open(options.metrics_csv, encoding="utf-8") as file:
                lines = file.read().splitlines()
        else:
            lines = profile(options)
        if options.save_csv:
            pathlib.Path(options.save_csv).write_text("\n".join(lines) + "\n", encoding="utf-8")
        measured = read_metrics(lines)
        if options.trace_json:
            with open(options.trace_json, encoding="utf-8") as file:
                traced = json.load(file)
        else:
            traced = trace(options)
        different = compare(traced["launches"], measured)
    except CannotCompare as reason:
        print(f"ncu_check.py: not compared: {reason}")
        return 0
    print(f"\n{different} counters differ" if different else "\nAll counters agree.")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
