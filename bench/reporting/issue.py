# SPDX-License-Identifier: MIT
"""The issue estimate: how long the schedulers of a GPU are busy with the instructions that nvcc
made of a pass, read from bench/results/sass.json. An estimate, never part of the bound.

A multiprocessor has four schedulers that issue one instruction of a warp per clock each, and a
multiply-add (FFMA) is one of them. How many FFMAs a pass needs follows from its shape: the forward
pass makes two products of Nq x Nk x d multiply-adds, the backward pass five, or as many as its
kernels spell out, if one computes a product again. How many instructions come with one FFMA is read
off the code: sass.json names, for each source line that multiplies and adds in a loop, the
straight-line code that does most of it. Every such line is one product, and all products are
equally large. So

    instructions = FFMAs of one product * sum over products of (instructions / FFMAs of its code)

A kernel that multiplies on the tensor cores has no FFMAs to go by. Its products of fragments (HMMA)
were counted; how many instructions come with one is read off its loop over tiles, of which the
bodies are unrolled. (tensor_issue_seconds)

In chapters 08 and 12 to 16 a kernel names its tile among its template arguments. There the count is
of one whole turn of the loop over tiles, loads, softmax and stores included: its own instructions,
and those of the loops inside it as often as their products need (iteration()).

What the first count leaves out makes it too small: whatever stands outside of that straight-line
code (tiles copied to shared memory, the softmax where it has code of its own, remainders, rows and
keys that only fill a tile up). Waiting is left out too: it is a time for schedulers that always
find a warp that is ready. What makes it too large: keys that a mask hides in a tile that is
skipped.
"""
import re
import sys

from . import ROOT
from .sass import UNROLLED

sys.path.insert(0, str(ROOT / "notes"))
import formulas as forms  # noqa: E402  (found by the line above)

SCHEDULERS = 4  # per multiprocessor
LANES = 32
PRODUCTS = {"forward": 2, "backward": 5}
# Whose code a device runs. (The T4 runs none of it.)
ARCHITECTURE = {"H200": "sm_90a", "H100": "sm_90a", "A100": "sm_80", "RTX4090": "sm_80",
                "RTX3090": "sm_80"}
NO_PRODUCT = ("delta_kernel",)  # sums of d, not of d for each query and key


def tile_of(name):
    """(queries, keys, columns, threads) of the tile that a kernel's name tells, or None."""
    if its := re.search(r"\bTiles<(\d+), (\d+), (\d+), (\d+), \d+>", name):
        columns, queries, keys, warps = map(int, its.groups())
        return queries, keys, columns, LANES * warps
    if its := re.search(r"\bBackwardTiles<(\d+)>", name):
        columns = int(its[1])
        return 64, 64, columns, LANES * (8 if columns == 128 else 4)
    return None


def iteration(kernel):
    """(products, FFMAs, instructions) of a thread in one whole turn of the kernel's loop over
    tiles: of the loop without masks, which is the shorter one. None if it has no such loop, or does
    not tell its tile."""
    tile = tile_of(kernel["kernel"])
    if tile is None:
        return None
    loops = kernel["loops"]
    queries, keys, columns, threads = tile
    product = queries * keys * columns // threads
    inside = {i: [its for its in loops if its.get("inside") == i] for i in range(len(loops))}
    outer = [i for i, its in inside.items()
             if any(loop.get("ffma", 0) >= UNROLLED for loop in its)]
    if not outer:
        return None
    turn = min(outer, key=lambda i: loops[i]["instructions"])
    products, instructions = 0, loops[turn]["instructions"]
    for loop in inside[turn]:
        if loop.get("ffma", 0) >= UNROLLED:
            products += loop["copies"]
            instructions += loop["copies"] * loop["instructions"] * product / loop["ffma"]
        else:  # it brings a tile, a float at a time
            turns = keys * columns / threads / loop["global_load"]
            instructions += loop["copies"] * loop["instructions"] * turns
    return products, products * product, instructions


def launched_kernels(sass, chapter, step, pass_name, d):
    """[kernel's name] in the order of the launches of a step's pass for the head size d."""
    passes = {its["d"]: its["kernels"] for its in sass["launches"]
              if (its["chapter"], its["step"], its["pass"]) == (chapter, step, pass_name)}
    return passes.get(min((size for size in passes if d <= size), default=None), [])


def kernel_of(sass, chapter, step, name, architecture):
    """The entry of sass.json: from the file named after the step, if there is such a file."""
    found = [its for its in sass["kernels"] if its["chapter"] == chapter
             and its["kernel"] == name and its["architecture"] == architecture]
    own = [its for its in found if its["file"].removesuffix(".cu") == step]
    return next(iter(own or found), None)


def instructions_per_ffma(sass, chapter, step, pass_name, d, architecture):
    """[instructions that come with one FFMA], product by product; empty where sass.json lacks a
    kernel of this pass."""
    costs = []
    lines = []  # (FFMAs, launch, block, instructions of the block)
    for launch, name in enumerate(launched_kernels(sass, chapter, step, pass_name, d)):
        kernel = kernel_of(sass, chapter, step, name, architecture)
        if kernel is None:
            return []
        if turn := iteration(kernel):
            products, ffma, instructions = turn
            costs += products * [instructions / ffma]
        elif tile_of(name):  # one tile and no loop around its product, which has lines of its own
            product = kernel["products"][0]
            ffma = sum(its["ffma"] for its in kernel["products"]
                       if its["block"] == product["block"])
            costs.append(product["block_instructions"] / ffma)
        elif name.partition("<")[0] not in NO_PRODUCT:
            lines += [(its["ffma"], launch, its["block"], its["block_instructions"])
                      for its in kernel["products"]]
    if costs:
        return costs
    if pass_name == "forward":  # a sum over a row, if there is one, has fewer FFMAs than both
        lines = sorted(lines, key=lambda line: -line[0])[:PRODUCTS["forward"]]
    in_block = {}
    for ffma, launch, block, _ in lines:
        in_block[launch, block] = in_block.get((launch, block), 0) + ffma
    return [instructions / in_block[launch, block] for _, launch, block, instructions in lines]


def tensor_turn(kernel):
    """{kind: number} of one turn of the loop that makes products on the tensor cores with the
    fewest instructions for each: the one over tiles that need no mask. None if there is none, or
    if all products are made in loops inside it, of which nobody knows how often they go round. One
    loop inside it, beside products of the turn's own, makes a product as large as those."""
    loops, turns = kernel["loops"], []
    for number, loop in enumerate(loops):
        if not loop.get("tensor") or "inside" in loop:
            continue
        turn = {kind: count for kind, count in loop.items()
                if kind not in ("copies", "depth", "inside", "innermost")}
        for its in loops:
            if its.get("inside") == number and its.get("tensor"):
                rounds = loop["tensor"] // its["tensor"]
                for kind in turn:
                    turn[kind] += rounds * its.get(kind, 0)
        turns.append(turn)
    return min(turns, key=lambda turn: turn["instructions"] / turn["tensor"], default=None)


def wgmma_turn(kernel):
    """The same where warpgroups multiply: the loop over tiles has all their products, and may lie
    in one over tiles of Q."""
    loops = [loop for loop in kernel["loops"] if loop.get("tensor") and loop.get("warpgroup")]
    return min(loops, key=lambda loop: loop["instructions"] / loop["tensor"], default=None)


def tensor_issue_seconds(step, times, multiprocessors, sass):
    """Of a pass as trace.json has it, all its products so many times; None where sass.json lacks a
    kernel of it or knows no code for the device. Kernels without products are left out."""
    device = forms.devices()[step["device"]]
    architecture, instructions = ARCHITECTURE.get(step["device"]), 0.0
    for launch in step["launches"]:
        products = launch.get("mma_instructions") or launch.get("wgmma_instructions")
        if not products:
            continue
        kernel = kernel_of(sass, step["chapter"], step["step"], launch["kernel"], architecture)
        turn_of = wgmma_turn if launch.get("wgmma_instructions") else tensor_turn
        turn = turn_of(kernel) if kernel else None
        if turn is None:
            return None
        instructions += products * turn["instructions"] / turn["tensor"]
    return times * instructions / (SCHEDULERS * multiprocessors) / device["clocks_per_second"]


def visible_pairs(shape, mask):
    """Pairs of a query and a key that it sees, of one head."""
    Nq, Nk = shape["Nq"], shape["Nk"]
    if mask == "full":
        return Nq * Nk
    offset = Nk - Nq if mask == "causal" else 0
    return sum(min(max(i + offset + 1, 0), Nk) for i in range(Nq))


def issue_estimate_seconds(chapter, step, pass_name, shape_dict, device_name, sass, *,
                           mask="full", multiprocessors=None):
    """Seconds that the schedulers of a device are busy with one pass, or None where sass.json has
    no code for it (plain C++, a device that its architectures do not cover, tensor cores).

    shape_dict: B, H, Nq, Nk, d. sass: what bench/results/sass.json holds. multiprocessors: how many
    of them have work, for a grid that does not fill the device; all of them if None."""
    device = forms.devices()[device_name]
    architecture = ARCHITECTURE.get(device_name)
    cost = instructions_per_ffma(sass, chapter, step, pass_name, shape_dict["d"], architecture)
    if not cost:
        return None
    products = max(len(cost), PRODUCTS[pass_name])
    pairs = visible_pairs(shape_dict, mask)
    ffma = shape_dict["B"] * shape_dict["H"] * pairs * shape_dict["d"] / LANES
    instructions = ffma * products * sum(cost) / len(cost)
    rate = SCHEDULERS * (multiprocessors or device["multiprocessors"])
    return instructions / rate / device["clocks_per_second"]
