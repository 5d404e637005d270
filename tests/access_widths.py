#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares how wide the kernels' memory accesses are for nvcc and for the CPU machine.

    tests/access_widths.py DUMP_COUNTERS [--nvcc NVCC] [--arch sm_90a]

nvcc compiles each chapter's kernels to PTX, whose loads and stores name their width; DUMP_COUNTERS
--widths lists what the tracer saw. A kernel's widths per kind of access must be the same set: a
float4 that one of the two splits would make the counted requests differ from a GPU's.

Prints every failed check, then "N passed, N failed"; exits with 1 if one failed and with 77, which
ctest shows as Skipped, where there is no nvcc.
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = 77

ENTRY = re.compile(r"^\s*(?:\.visible\s+|\.weak\s+)?\.entry\s+([\w$]+)")
ACCESS = re.compile(r"\b(ld|st)((?:\.\w+(?:::\w+)*)+)\s")
# Written as PTX: a row of a matrix has 16 bytes, and a copy says how many it has.
MATRIX_LOAD = re.compile(r"\bldmatrix\.")
ASYNC_COPY = re.compile(r"\bcp\.async\.c[ag]\.\S+ \[[^\]]+\], \[[^\]]+\], (\d+)")
# A tensor copy moves chunks of 16 bytes.
TENSOR_COPY = re.compile(r"\bcp\.async\.bulk\.tensor\.\dd\.(shared|global)")
# Neither global nor shared memory: parameters, constants, a thread's own stack.
NOT_TRACED = {"param", "const", "local"}


def base_name(kernel):
    """softmax_kernel from "void attn::(anonymous namespace)::softmax_kernel<64, true>(float*)"."""
    kernel = kernel.replace("(anonymous namespace)::", "")
    kernel = re.split(r"[<(]", kernel, maxsplit=1)[0]
    return re.split(r"::|\s", kernel.strip())[-1]


def ptx_access(kind, suffixes):
    """("global load", 16) from "ld" and ".global.nc.v4.f32"; None if it is not traced."""
    parts = [part.split("::")[0] for part in suffixes.strip(".").split(".")]
    if NOT_TRACED.intersection(parts):
        return None
    space = next((part for part in parts if part in ("global", "shared")), "generic")
    count = next((int(part[1]) for part in parts if part in ("v2", "v4", "v8")), 1)
    bits = int(re.fullmatch(r"[a-z]+(\d+)", parts[-1]).group(1))
    return f"{space} {'load' if kind == 'ld' else 'store'}", count * bits // 8


def ptx_widths(ptx):
    """{kernel: {(access, bytes per lane)}}, template instances of a kernel together."""
    widths = collections.defaultdict(set)
    kernel = None
    for line in ptx.splitlines():
        entry = ENTRY.match(line)
        if entry:
            demangled = subprocess.run(["c++filt", entry.group(1)], text=True, check=True,
                                       capture_output=True).stdout
            kernel = base_name(demangled)
            widths[kernel]  # a kernel without accesses is a kernel too
            continue
        if kernel and MATRIX_LOAD.search(line):
            widths[kernel].add(("matrix load", 16))
        if kernel and (copy := ASYNC_COPY.search(line)):
            widths[kernel].add(("async copy", int(copy.group(1))))
        if kernel and (copy := TENSOR_COPY.search(line)):
            into = "load" if copy.group(1) == "shared" else "store"
            widths[kernel].add((f"tensor {into}", 16))
        access = ACCESS.search(line)
        if kernel and access:
            found = ptx_access(*access.groups())
            if found:
                widths[kernel].add(found)
    return widths


def nvcc_widths(nvcc, arch, chapter):
    widths = collections.defaultdict(set)
    for kernels in sorted((ROOT / "chapters" / chapter).glob("*.cu")):
        with tempfile.TemporaryDirectory() as folder:
            ptx = pathlib.Path(folder) / "kernels.ptx"
            subprocess.run([nvcc, "-ptx", "-std=c++20", f"-arch={arch}", f"-I{ROOT}", "-o", ptx,
                            kernels], check=True)
            for kernel, accesses in ptx_widths(ptx.read_text()).items():
                widths[kernel] |= accesses
    return widths


def traced_widths(program):
    """{chapter: {kernel: {(access, bytes per lane)}}}; atomics are no loads or stores in PTX."""
    result = collections.defaultdict(lambda: collections.defaultdict(set))
    output = subprocess.run([program, "--widths"], text=True, check=True,
                            capture_output=True).stdout
    for line in output.splitlines():
        chapter, kernel, access, lane_bytes = line.split("\t")
        if not access.endswith("atomic"):
            result[chapter][base_name(kernel)].add((access, int(lane_bytes)))
    return result


def in_words(accesses):
    return ", ".join(f"{access} of {lane_bytes} bytes"
                     for access, lane_bytes in sorted(accesses)) or "none"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump_counters")
    parser.add_argument("--nvcc", default="")
    parser.add_argument("--arch", default="sm_90a")
    arguments = parser.parse_args()
    nvcc = arguments.nvcc or shutil.which("nvcc")
    if not nvcc:
        print("skipped: no nvcc")
        sys.exit(SKIPPED)

    passed = failed = 0
    for chapter, kernels in traced_widths(arguments.dump_counters).items():
        compiled = nvcc_widths(nvcc, arguments.arch, chapter)
        for kernel, seen in sorted(kernels.items()):
            if compiled.get(kernel) == seen:
                passed += 1
                continue
            failed += 1
            print(f"{chapter}: {kernel}: the tracer saw {in_words(seen)}; nvcc made "
                  f"{in_words(compiled[kernel]) if kernel in compiled else 'no such kernel'}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
