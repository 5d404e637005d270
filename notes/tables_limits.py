# SPDX-License-Identifier: MIT
"""The tables of notes/limits.md, from the committed counts, registers and machine code."""

import json
import re

from formulas import ROOT, devices, percent, table, three

DEVICE = "H200"
ARCHITECTURE = "sm_90a"
HEADS = 32 * 16  # of the README's tables
SHAPE = {"B": 32, "H": 16, "N": 512, "d": 64}
SCHEDULERS = 4  # per multiprocessor
LANES = 32
SLOTS = 64  # warps that a multiprocessor of compute capability 8.0 or 9.0 can hold
LATENCY_NS = 700  # of a load from HBM in a busy chip: assumed, see the page
FFMA_CLOCKS = 4  # until the next instruction may use the result of a multiply-add

# What the page follows: chapter, step, the kernel's name in ptxas.json and sass.json.
FORWARDS = (
    ("03_tiled", "step4_warp_softmax", "scores_kernel<1>"),
    ("05_fused_forward", "forward", "forward_kernel<64>"),
    ("07_v2_loop_order", "step3_exp2", "forward_kernel<64>"),
    ("08_register_tiles", "step5_exp2",
     "forward_kernel<Tiles<64, 128, 64, 4, 2>, PairedLanes, true, true>"),
)


def load(name):
    """bench/results/NAME.json."""
    return json.loads((ROOT / "bench/results" / f"{name}.json").read_text(encoding="utf-8"))


def find(rows, **wanted):
    """The one row that has these values."""
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows with {wanted}; allowed: 1")
    return found[0]


def counted(chapter, step):
    return find(load("trace")["steps"], chapter=chapter, step=step)["total"]


def compiled(data, chapter, step, kernel):
    """A kernel's row of ptxas.json or sass.json; in the file of its step if there are several."""
    rows = [row for row in data["kernels"] if row["architecture"] == ARCHITECTURE
            and row["chapter"] == chapter and row["kernel"] == kernel]
    own = [row for row in rows if row["file"] == f"{step}.cu"]
    return (own or rows)[0]


def short(chapter):
    return chapter[:2]


# ---- Five resources ----------------------------------------------------------------------------

def resource_seconds(chapter, step):
    """Seconds that each resource of the chip is busy with the pass, all heads."""
    its, device = counted(chapter, step), devices()[DEVICE]
    chip = device["multiprocessors"] * device["clocks_per_second"]
    prediction = find(load("predictions")["predictions"], chapter=chapter, step=step, shape=SHAPE)
    wavefronts = its["shared_load_wavefronts"] + its["shared_store_wavefronts"]
    compulsory = its["global_read_bytes_compulsory"] + its["global_write_bytes_compulsory"]
    flops = 4 * SHAPE["N"] ** 2 * SHAPE["d"]
    return {
        "HBM": HEADS * compulsory / device["memory_bytes_per_second"],
        "L1, loads": HEADS * 32 * its["global_load_sectors"] / device["l1_bytes_per_clock"] / chip,
        "shared memory": HEADS * wavefronts / device["wavefronts_per_clock"] / chip,
        "special functions":
            HEADS * its["special_functions"] / device["special_functions_per_clock"] / chip,
        "multiply-adds": HEADS * flops / device["flops_per_clock"] / chip,
        "issue slots": prediction["from"]["issue_seconds"],
    }


def resources_table():
    rows = []
    for chapter, step, _ in FORWARDS:
        times = resource_seconds(chapter, step)
        most = max(times, key=times.get)
        rows.append([short(chapter)] + [f"**{three(1e3 * its)}**" if which == most else
                                        three(1e3 * its) for which, its in times.items()])
    return table(["chapter", *(f"{which}:" for which in times)], rows)


# ---- Bytes in flight ---------------------------------------------------------------------------

def flight_bytes(latency_ns):
    """Bytes that must be under way in the whole chip for the full rate of the memory."""
    return devices()[DEVICE]["memory_bytes_per_second"] * latency_ns * 1e-9


def flight_table():
    chip = devices()[DEVICE]["multiprocessors"]
    rows = []
    for latency in (600, LATENCY_NS, 800):
        each = flight_bytes(latency) / chip
        rows.append([latency, three(flight_bytes(latency) / 1e6), three(each / 1024),
                     round(each / (LANES * 4)), round(each / (LANES * 16))])
    return table(["latency, ns:", "in the chip, MB:", "in an SM, KiB:",
                  "loads of 4 bytes a lane, by warps, in an SM:",
                  "of 16 bytes a lane:"], rows)


# ---- Occupancy ---------------------------------------------------------------------------------

def occupancy(threads, registers, shared):
    """Blocks that fit on a multiprocessor, by what limits them: as common/simt/watch/bound.cpp."""
    device, warps = devices()[DEVICE], threads // LANES
    of_warp = -(-registers // 8) * 8 * LANES
    resident = device["registers_per_multiprocessor"] // SCHEDULERS // of_warp * SCHEDULERS
    return {
        "warps": int(min(device["blocks_per_multiprocessor"],
                         device["threads_per_multiprocessor"] // threads)),
        "shared memory": int(device["shared_bytes_per_multiprocessor"]
                             // (shared + device["shared_bytes_reserved_per_block"])),
        "registers": int(resident // warps),
    }


# Where the warps of a block stand, if not in the kernel's name.
WARPS_IN = {"03_tiled": "tiles.cuh", "05_fused_forward": "forward.cu",
            "07_v2_loop_order": "step3_exp2.cu"}


def threads_of(chapter, kernel):
    """Threads of a block: Tiles<D, Br, Bc, Warps, Blocks>, or kWarps of the chapter's file."""
    if its := re.search(r"\bTiles<\d+, \d+, \d+, (\d+), \d+>", kernel):
        return LANES * int(its[1])
    text = (ROOT / "chapters" / chapter / WARPS_IN[chapter]).read_text(encoding="utf-8")
    return LANES * int(re.search(r"constexpr int kWarps = (\d+);", text)[1])


def blocks_of(chapter, step, kernel):
    its = compiled(load("ptxas"), chapter, step, kernel)
    shared = its["dynamic_shared_bytes"] + its["static_shared_bytes"]
    return its["registers"], shared, occupancy(threads_of(chapter, kernel), its["registers"],
                                                shared)


def occupancy_table():
    rows = []
    for chapter, step, kernel in FORWARDS:
        threads = threads_of(chapter, kernel)
        registers, shared, limits = blocks_of(chapter, step, kernel)
        blocks = min(limits.values())
        warps = blocks * threads // LANES
        rows.append([short(chapter), threads, registers, three(shared / 1024),
                     *limits.values(), f"**{blocks}**", warps, percent(warps, SLOTS)])
    return table(["chapter", "threads:", "registers of a thread:", "shared memory, KiB:",
                  "blocks by warps:", "by shared memory:", "by registers:", "blocks:",
                  "warps:", f"of {SLOTS}:"], rows)


# ---- Waiting -----------------------------------------------------------------------------------

def waiting():
    """07, d = 64: what a block does in one turn over a tile of keys, and for how long."""
    chapter, step, kernel = FORWARDS[2]
    its, device = counted(chapter, step), devices()[DEVICE]
    tiles = (SHAPE["N"] // 64) * (SHAPE["N"] // 32)  # Br = 64, Bc = 32
    wavefronts = (its["shared_load_wavefronts"] + its["shared_store_wavefronts"]) / tiles
    loop = next(its for its in compiled(load("sass"), chapter, step, kernel)["loops"]
                if its.get("global_load") and its["depth"] == 2)
    loads = 2 * 32 * SHAPE["d"] / threads_of(chapter, kernel)  # of a thread, for K and V
    turns = loads / loop["global_load"]
    blocks = min(blocks_of(chapter, step, kernel)[2].values())
    busy = wavefronts / device["wavefronts_per_clock"] / device["clocks_per_second"] * 1e6
    waits = turns * LATENCY_NS / 1e3
    in_flight = threads_of(chapter, kernel) * 4 * loop["global_load"]
    return {"wavefronts": wavefronts, "loads": loop["global_load"], "turns": turns,
            "blocks": blocks, "busy": busy, "waits": waits, "in_flight": in_flight}


def waiting_table():
    its = waiting()
    need = flight_bytes(LATENCY_NS) / devices()[DEVICE]["multiprocessors"]
    rows = []
    for blocks in (1, 2, its["blocks"]):
        others = (blocks - 1) * its["busy"]
        idle = max(0.0, its["waits"] - others)
        rows.append([blocks, 4 * blocks, three(blocks * its["in_flight"] / 1024),
                     percent(blocks * its["in_flight"], need), three(its["waits"]),
                     three(others), percent(idle, idle + blocks * its["busy"])])
    return table(["blocks on an SM:", "warps:", "in flight while all load, KiB:",
                  "of what HBM needs:", "a block waits, µs:",
                  "the others keep shared memory busy for, µs:", "shared memory idle at least:"],
                 rows)


# ---- Loops -------------------------------------------------------------------------------------

# What it is; chapter, step, kernel; FFMAs, instructions of the loop in sass.json.
LOOPS = (
    ("03, QKᵀ", FORWARDS[0], 16, 54),
    ("07, QKᵀ", FORWARDS[2], 8, 32),
    ("07, PV", FORWARDS[2], 32, 61),
    ("06, dK and dV", ("06_recompute_backward", "step2_recompute", "backward_kernel<64>"), 32, 103),
    ("08, QKᵀ", FORWARDS[3], 512, 551),
    ("08, PV", FORWARDS[3], 256, 279),
)


def loop_of(kernel, ffma, instructions):
    found = [its for its in compiled(load("sass"), *kernel)["loops"]
             if its.get("ffma") == ffma and its["instructions"] == instructions]
    if not found:
        raise ValueError(f"{kernel}: no loop of {instructions} instructions with {ffma} FFMA")
    return found[0]


def loops_table():
    rows = []
    for what, kernel, ffma, instructions in LOOPS:
        its = loop_of(kernel, ffma, instructions)
        loads = its["shared_load"]
        width = 16 if its.get("shared_load_16_bytes") else 4
        rows.append([what, instructions, ffma, f"{loads} × {width} bytes", its["integer"],
                     its["control"], three(instructions / ffma), percent(ffma, instructions)])
    return table(["loop", "instructions:", "FFMA:", "shared loads:", "integer:", "branches:",
                  "instructions per FFMA:", "FFMA share:"], rows)


# ---- Worksheet ---------------------------------------------------------------------------------

def tile_sheet(d, Br, Bc, warps, Nk):
    """What a tile of chapter 08 takes, by hand: {line: (formula, number)}."""
    TM, TN, TC = Br // warps // 4, Bc // 8, d // 32
    floats = (Br + Bc) * (d + 4) + Bc * d + Br * (Bc + 8)
    scores = (2 * TM + 2 * TN) / (4 * TM * TN)  # every 16-byte load takes two wavefronts
    outputs = (2 * TM + 2 * 4 * TC) / (4 * TM * 4 * TC)
    ffma = 2 * Br * Bc * d / LANES
    stores = (2 * Bc * d + Br * Bc) / LANES + Br * d / LANES * Bc / Nk
    return {
        "TM × TN of S in a lane": ("Br / 4 warps × Bc / 8", f"{TM} × {TN}"),
        "TM × 4 TC of O in a lane": ("Br / 4 warps × d / 8", f"{TM} × {4 * TC}"),
        "registers, at least": ("TM · TN + TM · 4 TC + 4 TM + 4 + 2 TM",
                                TM * TN + 4 * TM * TC + 4 * TM + 4 + 2 * TM),
        "shared memory, floats": ("(Br + Bc)(d + 4) + Bc · d + Br (Bc + 8)", f"{floats:,}"),
        "shared memory, KiB": ("floats / 256", f"{floats / 256:.3g}"),
        "wavefronts per FFMA, QKᵀ": ("2 (TM + TN) / 4 TM TN", f"{scores:.3f}"),
        "wavefronts per FFMA, PV": ("2 (TM + 4 TC) / 16 TM TC", f"{outputs:.3f}"),
        "loads per FFMA, both": ("their mean", f"{(scores + outputs) / 2:.3f}"),
        "stores per FFMA": ("(2 Bc d + Br Bc + Br d Bc / Nk) / 2 Br Bc d",
                            f"{stores / ffma:.3f}"),
        "K and V are read": ("Nk / Br times", f"{Nk // Br}"),
    }


SHEETS = ((64, 128, 64, 4), (64, 64, 64, 4))  # d, Br, Bc, warps


def worksheet_table():
    sheets = [tile_sheet(*its, SHAPE["N"]) for its in SHEETS]
    rows = [[line, formula, *(sheet[line][1] for sheet in sheets)]
            for line, (formula, _) in sheets[0].items()]
    return table(["line", "formula", *(f"{Br} × {Bc}, {warps} warps:"
                                       for _, Br, Bc, warps in SHEETS)], rows)


# ---- A profiler's counters ---------------------------------------------------------------------

def profiler_table():
    """What ncu would be asked for 07, beside what was counted for one head."""
    its = counted(*FORWARDS[2][:2])
    rows = [[f"`{metric}`", question, f"{its[counter]:,}"] for metric, question, counter in (
        ("l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum", "loads from global memory, by warps",
         "global_load_requests"),
        ("l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum", "32-byte sectors that they touch",
         "global_load_sectors"),
        ("smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_ld.sum",
         "turns of shared memory for loads", "shared_load_wavefronts"),
        ("smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_st.sum", "and for stores",
         "shared_store_wavefronts"),
        ("dram__bytes_read.sum", "bytes from HBM: at least the compulsory ones",
         "global_read_bytes_compulsory"))]
    return table(["metric", "question", "counted, not measured:"], rows)
