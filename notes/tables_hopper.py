# SPDX-License-Identifier: MIT
"""The tables of chapters/11_hopper/README.md."""

import json
import pathlib

from formulas import devices, table

CONSUMERS = {64: 3, 128: 2}  # warpgroups that multiply, by d
ROWS, KEYS = 64, 128         # of a warpgroup; of a tile
BYTES = 2                    # of an element
SPECIAL = 16                 # exponentials per clock and multiprocessor
WAVEFRONT = 128              # bytes of shared memory per clock
SCHEDULERS = 4               # of a multiprocessor; each starts an instruction in a clock
SASS = pathlib.Path(__file__).resolve().parent.parent / "bench" / "results" / "sass.json"


def instructions(d):
    """Of a warp for one tile of keys without a mask: the loop of step 5, as ptxas has made it."""
    kernel = next(its for its in json.loads(SASS.read_text(encoding="utf-8"))["kernels"]
                  if (its["chapter"], its["file"]) == ("11_hopper", "step5_overlap.cu")
                  and its["kernel"] == f"forward_kernel<bfloat16, Tiles<{d}> >")
    loops = [loop for loop in kernel["loops"] if loop.get("tensor") and loop.get("warpgroup")]
    return min(loop["instructions"] for loop in loops)


def products(d):
    """(wgmma, FLOPs, bytes of shared memory) of one warpgroup and one tile of keys: steps of 16
    along the sum, d for Q K^T, with both factors in shared memory, and the keys for P V, with P in
    registers."""
    scores, values = d // 16, KEYS // 16
    flops = scores * 2 * ROWS * KEYS * 16 + values * 2 * ROWS * d * 16
    read = scores * (ROWS + KEYS) * 16 * BYTES + values * 16 * d * BYTES
    return scores + values, flops, read


def clocks_of_turn_table():
    """Clocks of a multiprocessor of an H200 for one tile of keys, by what is busy."""
    h200 = devices()["H200"]
    rows = []
    for d, consumers in CONSUMERS.items():
        wgmma, flops, read = products(d)
        multiplied = consumers * flops / h200["tensor_flops_per_clock"]
        exponentials = consumers * ROWS * KEYS / SPECIAL
        rows.append([str(d), f"{consumers * ROWS} × {KEYS}", str(consumers * wgmma),
                     f"{multiplied:,.0f}", f"{exponentials:,.0f}",
                     f"{4 * consumers * instructions(d) / SCHEDULERS:,.0f}",
                     f"{consumers * read / WAVEFRONT:,.0f}",
                     f"{2 * KEYS * d * BYTES / h200['l2_bytes_per_clock']:,.0f}",
                     f"{100 * multiplied / (multiplied + exponentials):.0f} %"])
    return table(["d:", "tile", "wgmma:", "tensor cores, clocks:", "exponentials:",
                  "instructions:", "factors out of shared memory:", "K and V out of L2:",
                  "of the peak, if exponentials come after products:"], rows)


def registers_table():
    """How a multiprocessor's registers are dealt out, at the launch and by setmaxnreg."""
    rows = []
    for d, consumers in CONSUMERS.items():
        threads = 128 * (consumers + 1)
        launched = 65536 // threads // 8 * 8
        producer, consumer = {64: (32, 160), 128: (24, 240)}[d]
        assert 128 * producer + 128 * consumers * consumer <= launched * threads
        needed = (KEYS // 8 * 4, d // 8 * 4, KEYS // 16 * 4)
        rows.append([str(d), str(threads), str(launched), str(producer), str(consumer),
                     " + ".join(str(n) for n in needed) + f" = {sum(needed)}"])
    return table(["d:", "threads:", "registers of each at the launch:", "producer:", "consumer:",
                  "S + O + P of a consumer's thread:"], rows)
