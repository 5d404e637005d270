#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of what `attn run` takes beyond Q, K, V and a diagonal. Needs python3 only.

usage: run_extras_test.py PATH_OF_ATTN

Windows, padding, masks, biases, dropout, packed sequences, elements: `attn run oracle` is compared
with formulas evaluated here pair by pair, in an order and with random numbers of their own, so that
nothing of the project's own code is trusted. Then what every option refuses, and what the chapters
say of what they do not take.
"""
import dataclasses
import itertools
import math
import os
import random
import struct
import sys
from typing import Optional

from cli_test import (TOLERANCE, TOLERANCE_16, Cli, as_float32, assert_close, chapters, npy_bytes,
                      read_npy, shape_of, takes_float32, write, write_npy)

RANDOM_CASES = 48
EXACT = 1e-12  # of sums of a few float64 products of order 1


# ---- elements --------------------------------------------------------------------------------


def float32(x):
    return as_float32([x])[0]


def float16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def bfloat16(x):
    """The upper half of a float32, rounded to the nearest, a tie to the even one."""
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    lower, upper = bits & 0xFFFF, bits >> 16
    upper += lower > 0x8000 or (lower == 0x8000 and upper & 1)
    return struct.unpack("<f", struct.pack("<I", upper << 16))[0]


@dataclasses.dataclass(frozen=True)
class Element:
    """How arrays are stored: files of type `descr`, and rounded values."""
    dtype: Optional[str]  # of --dtype
    descr: str
    round: object
    bits: int  # of the significand
    least: float = 0.0  # distance of the smallest values, where that matters here

    def half_step(self, x):
        """How far rounding may move x. What is stored in 16 bits is rounded to float32 first."""
        if self.bits == 53:
            return 0.0
        step = max(math.ldexp(1.0, math.frexp(x)[1] - self.bits), self.least)
        return step / 2 + (FLOAT32.half_step(x) if self.bits < 24 else 0.0)


FLOAT64 = Element(None, "<f8", lambda x: x, 53)
FLOAT32 = Element(None, "<f4", float32, 24)
BFLOAT16 = Element("bf16", "<f4", lambda x: bfloat16(float32(x)), 8)
FLOAT16 = Element("fp16", "<f4", lambda x: float16(float32(x)), 11, 2.0**-24)
HALF_FILES = dataclasses.replace(FLOAT16, descr="<f2")
ELEMENTS = {"float64": FLOAT64, "float32": FLOAT32, "bf16": BFLOAT16, "fp16": FLOAT16}


def assert_stored(name, got, exact, element):
    """Every value is the exact one, rounded to the element."""
    assert len(got) == len(exact), f"{name}: {len(got)} elements, not {len(exact)}"
    for i, (a, b) in enumerate(zip(got, exact)):
        if not math.isfinite(b):
            assert a == b, f"{name}[{i}] = {a}, expected {b}"
            continue
        most = EXACT * (1 + abs(b)) + element.half_step(b)
        assert abs(a - b) <= most, f"{name}[{i}] = {a!r}, expected {b!r} to {most:.3g}"
        assert a == element.round(a), f"{name}[{i}] = {a!r} is no {element.dtype or element.descr}"


# ---- Philox4x32-10 -------------------------------------------------------------------------------


def philox(counter, key):
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = (b >> 32 ^ counter[1] ^ key[0], b & 0xFFFFFFFF,
                   a >> 32 ^ counter[3] ^ key[1], a & 0xFFFFFFFF)
        key = (key[0] + 0x9E3779B9 & 0xFFFFFFFF, key[1] + 0xBB67AE85 & 0xFFFFFFFF)
    return counter


def is_kept(dropout, b, h, i, j):
    """Counter (j / 4, i, h, b); the seed as key, its lower half first; of the result word j % 4."""
    probability, seed = dropout
    word = philox((j // 4, i, h, b), (seed & 0xFFFFFFFF, seed >> 32))[j % 4]
    return word >= math.ceil(float32(probability) * 2**32)


# ---- problems ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Pairs:
    """An array that is broadcast to [B, H, Nq, Nk]."""
    values: list
    shape: tuple

    def index(self, at):
        index = 0
        for size, place in zip(self.shape, at[4 - len(self.shape):]):
            index = index * size + (0 if size == 1 else place)
        return index


@dataclasses.dataclass
class Problem:
    B: int = 2
    H: int = 2
    Hkv: int = 2
    Nq: int = 5
    Nk: int = 7
    d: int = 4
    dv: int = 4
    scale: Optional[float] = None  # a float32
    window: Optional[tuple] = None  # -1: no limit
    causal: bool = False
    top_left: bool = False
    sinks: int = 0
    key_begin: Optional[list] = None
    key_count: Optional[list] = None
    ranges: Optional[list] = None  # [b][i]: one or two (begin, end)
    mask: Optional[Pairs] = None
    bias: Optional[Pairs] = None
    alibi: Optional[list] = None
    softcap: float = 0.0  # a float32
    sink_logits: Optional[list] = None
    dropout: Optional[tuple] = None  # probability, seed
    grad_lse: bool = False
    layout: Optional[str] = None
    two_d: bool = False
    lengths: Optional[tuple] = None  # of packed sequences: of Q, of K
    integers: str = "<i8"
    booleans: str = "|b1"
    seed: int = 1

    def __post_init__(self):
        if self.lengths:
            self.B = len(self.lengths[0])
            self.Nq, self.Nk = (max(of, default=0) for of in self.lengths)

    def queries(self, b):
        return self.lengths[0][b] if self.lengths else self.Nq

    def keys(self, b):
        return self.lengths[1][b] if self.lengths else self.Nk


def sees(p, b, h, i, j):
    """Whether row i sees key j."""
    begin = p.key_begin[b] if p.key_begin else 0
    count = p.key_count[b] if p.key_count else p.keys(b) - begin
    if not begin <= j < begin + count:
        return False
    own = begin + i + (0 if p.top_left else count - p.queries(b))
    left, right = p.window or (-1, -1)
    if (p.causal or right == 0) and j > own or right > 0 and j > own + right:
        return False
    if left >= 0 and j < own - left and j >= begin + p.sinks:
        return False
    if p.ranges and not any(first <= j < end for first, end in p.ranges[b][i]):
        return False
    if p.mask and not p.mask.values[p.mask.index((b, h, i, j))]:
        return False
    return not p.bias or p.bias.values[p.bias.index((b, h, i, j))] != -math.inf


def alibi_of(p, b, h, i, j):
    begin = p.key_begin[b] if p.key_begin else 0
    count = p.key_count[b] if p.key_count else p.keys(b) - begin
    own = begin + i + (0 if p.top_left else count - p.queries(b))
    return -p.alibi[h] * abs(own - j)


class Values:
    """q, k, v, do: [b][head][row][column]; dlse: [b][head][row]. Random, and of the element."""

    def __init__(self, p, element, padding=None):
        rng = random.Random(p.seed)

        def rows(heads, lengths, width):
            return [[[[element.round(rng.gauss(0, 1)) for _ in range(width)]
                      for _ in range(length)] for _ in range(heads)] for length in lengths]

        queries, keys = ([of(b) for b in range(p.B)] for of in (p.queries, p.keys))
        self.q = rows(p.H, queries, p.d)
        self.k = rows(p.Hkv, keys, p.d)
        self.v = rows(p.Hkv, keys, p.dv)
        self.do = rows(p.H, queries, p.dv)
        self.dlse = [[[float32(rng.gauss(0, 1)) if p.grad_lse else 0.0 for _ in range(n)]
                      for _ in range(p.H)] for n in queries]
        if padding is None:
            return
        for b, hk in itertools.product(range(p.B), range(p.Hkv)):  # keys that no row may see
            for j in range(p.keys(b)):
                begin = p.key_begin[b] if p.key_begin else 0
                if not begin <= j < begin + p.key_count[b]:
                    self.k[b][hk][j] = [padding] * p.d
                    self.v[b][hk][j] = [padding] * p.dv


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def evaluate(p, x, element):
    """Results by name, nested as Values; o, dq, dk, dv not rounded, but computed from rounded o."""
    exact = element is FLOAT64
    scale = 1 / math.sqrt(p.d) if p.scale is None else p.scale
    scale = scale if exact else float32(scale)
    result = {
        "o": [[[[0.0] * p.dv for _ in head] for head in batch] for batch in x.q],
        "lse": [[[-math.inf for _ in head] for head in batch] for batch in x.q],
        "dq": [[[[0.0] * p.d for _ in head] for head in batch] for batch in x.q],
        "dk": [[[[0.0] * p.d for _ in head] for head in batch] for batch in x.k],
        "dv": [[[[0.0] * p.dv for _ in head] for head in batch] for batch in x.k],
        "dbias": [0.0] * len(p.bias.values if p.bias else []),
        "dsink": [0.0] * p.H,
    }
    for b, h in itertools.product(range(p.B), range(p.H)):
        kv = h // (p.H // p.Hkv)
        k, v = x.k[b][kv], x.v[b][kv]
        sink = [p.sink_logits[h]] if p.sink_logits else []
        for i, q in enumerate(x.q[b][h]):
            do, dlse = x.do[b][h][i], x.dlse[b][h][i]
            keys = [j for j in range(len(k)) if sees(p, b, h, i, j)]
            logits, slopes, kept = {}, {}, {}
            for j in keys:
                s = scale * dot(q, k[j])
                t = math.tanh(s / p.softcap) if p.softcap else 0.0
                slopes[j] = 1 - t * t
                logits[j] = p.softcap * t if p.softcap else s
                if p.bias:
                    logits[j] += p.bias.values[p.bias.index((b, h, i, j))]
                if p.alibi:
                    logits[j] += alibi_of(p, b, h, i, j)
                kept[j] = 1.0
                if p.dropout:
                    kept[j] = is_kept(p.dropout, b, h, i, j) / (1 - float32(p.dropout[0]))
            if not keys and not sink:
                continue
            top = max([*logits.values(), *sink])
            lse = top + math.log(sum(math.exp(s - top) for s in [*logits.values(), *sink]))
            o = [sum(math.exp(logits[j] - lse) * kept[j] * v[j][c] for j in keys)
                 for c in range(p.dv)]
            result["lse"][b][h][i], result["o"][b][h][i] = lse, o
            lse = lse if exact else float32(lse)
            delta = dot(do, [element.round(y) for y in o])
            for j in keys:
                weight = math.exp(logits[j] - lse)
                dlogit = weight * (kept[j] * dot(do, v[j]) - delta + dlse)
                ds = scale * slopes[j] * dlogit
                for c in range(p.d):
                    result["dq"][b][h][i][c] += ds * k[j][c]
                    result["dk"][b][kv][j][c] += ds * q[c]
                for c in range(p.dv):
                    result["dv"][b][kv][j][c] += weight * kept[j] * do[c]
                if p.bias:
                    result["dbias"][p.bias.index((b, h, i, j))] += dlogit
            for logit in sink:
                result["dsink"][h] += math.exp(logit - lse) * (dlse - delta)
    return result


# ---- from problems to files and back -------------------------------------------------------------


def flat(p, nested):
    """In the order of the file: [B,H,N,...], [B,N,H,d] or packed [H,total,...]."""
    if p.lengths:
        heads = len(nested[0]) if nested else 0
        return [y for h in range(heads) for batch in nested for row in batch[h]
                for y in (row if isinstance(row, list) else [row])]
    if p.layout == "BNHd" and not is_lse(nested):
        nested = [list(zip(*batch)) for batch in nested]
    return [y for batch in nested for outer in batch for row in outer
            for y in (row if isinstance(row, list) else [row])]


def is_lse(nested):
    return any(not isinstance(row, list) for batch in nested for head in batch for row in head)


def shape_of_rows(p, heads, of_keys, width):
    """Of a file of rows; width: a tuple, empty for LSE."""
    if p.lengths:
        return (heads, sum(p.lengths[1 if of_keys else 0]), *width)
    rows = p.Nk if of_keys else p.Nq
    if p.two_d:
        return (rows, *width)
    if p.layout == "BNHd" and width:
        return (p.B, rows, heads, *width)
    return (p.B, heads, rows, *width)


def file_shapes(p):
    queries, keys = (p.H, False), (p.Hkv, True)
    return {
        "q": shape_of_rows(p, *queries, (p.d,)), "dq": shape_of_rows(p, *queries, (p.d,)),
        "k": shape_of_rows(p, *keys, (p.d,)), "dk": shape_of_rows(p, *keys, (p.d,)),
        "v": shape_of_rows(p, *keys, (p.dv,)), "dv": shape_of_rows(p, *keys, (p.dv,)),
        "o": shape_of_rows(p, *queries, (p.dv,)), "do": shape_of_rows(p, *queries, (p.dv,)),
        "lse": shape_of_rows(p, *queries, ()), "dlse": shape_of_rows(p, *queries, ()),
        "dbias": p.bias.shape if p.bias else None, "dsink": (p.H,),
        "kept": (p.B, p.H, p.Nq, p.Nk),
    }


def offsets(lengths):
    return list(itertools.accumulate(lengths, initial=0))


def write_problem(p, x, element):
    """Writes the files of a problem; returns the options that name them and the rest of it."""
    shapes = file_shapes(p)
    floats = "<f8" if element is FLOAT64 else "<f4"
    options = []

    def add(option, *value):
        options.extend([f"--{option}", *map(str, value)])

    def add_file(option, values, shape, descr):
        name = f"{option}.npy".replace("-", "_")
        write_npy(name, values, shape, descr=descr)
        add(option, name)

    for name in ("q", "k", "v", "do"):
        add_file(name, flat(p, getattr(x, name)), shapes[name], element.descr)
    if element.dtype:
        add("dtype", element.dtype)
    if p.grad_lse:
        add_file("dlse", flat(p, x.dlse), shapes["dlse"], floats)
    if p.scale is not None:
        add("scale", p.scale)
    if p.window:
        add("window", "{},{}".format(*p.window))
    if p.causal:
        add("causal")
    if p.top_left:
        add("causal-align", "top-left")
    if p.sinks:
        add("sinks", p.sinks)
    for name in ("key_begin", "key_count"):
        if getattr(p, name):
            add_file(name.replace("_", "-"), getattr(p, name), (p.B,), p.integers)
    if p.ranges:
        numbers = [y for batch in p.ranges for row in batch for pair in row for y in pair]
        add_file("ranges", numbers, (p.B, p.Nq, len(numbers) // (p.B * p.Nq)), p.integers)
    if p.mask:  # any number but 0 is true
        values = [2 * y if p.booleans == "|u1" else y for y in p.mask.values]
        add_file("mask", values, p.mask.shape, p.booleans)
    if p.bias:
        add_file("bias", p.bias.values, p.bias.shape, floats)
    for name in ("alibi", "sink_logits"):
        if getattr(p, name):
            add_file(name.replace("_", "-"), getattr(p, name), (p.H,), floats)
    if p.softcap:
        add("softcap", p.softcap)
    if p.dropout:
        add("dropout", p.dropout[0], "--seed", p.dropout[1])
    if p.layout:
        add("layout", p.layout)
    if p.lengths:
        for name, lengths in zip("qk", p.lengths):
            write_npy(f"cu_{name}.npy", offsets(lengths), (p.B + 1,), descr=p.integers)
        same = p.lengths[0] == p.lengths[1]
        add("cu-seqlens", "cu_q.npy" if same else "cu_q.npy,cu_k.npy")
    return options


def run_oracle(cli, p, element, padding=None):
    """Forward and backward of a problem; returns every written array, as the files have them."""
    for name in os.listdir("."):  # of an earlier run
        os.remove(name)
    x = Values(p, element, padding)
    options = write_problem(p, x, element)
    before = set(os.listdir("."))
    names = ["o", "lse", "dq", "dk", "dv"]
    names += ["dbias"] * bool(p.bias) + ["dsink"] * bool(p.sink_logits)
    outputs = [y for name in names for y in (f"--{name}", f"{name}.npy")]
    if p.dropout:
        outputs += ["--dropout-mask", "kept.npy"]
    assert cli.succeed("run", "oracle", *options, *outputs) == "", "it printed something"
    descr = "<f8" if element is FLOAT64 else "<f4"
    results, shapes = {}, file_shapes(p)
    for name in names + ["kept"] * bool(p.dropout):
        results[name], shape = read_npy(f"{name}.npy", "|b1" if name == "kept" else descr)
        assert shape == shapes[name], f"{name} has shape {shape}, not {shapes[name]}"
    written = set(os.listdir(".")) - before
    assert written == {f"{name}.npy" for name in results}, sorted(written)
    return x, results


def compare(cli, p, element, padding=None):
    """The oracle's results are those of the formulas."""
    x, results = run_oracle(cli, p, element, padding)
    expected = evaluate(p, x, element)
    single = FLOAT64 if element is FLOAT64 else FLOAT32  # of LSE, dbias, dsink
    for name, got in results.items():
        if name == "kept":
            pairs = itertools.product(range(p.B), range(p.H), range(p.Nq), range(p.Nk))
            assert got == [is_kept(p.dropout, *at) for at in pairs], "kept: not what was drawn"
            continue
        nested = name not in ("dbias", "dsink")
        want = flat(p, expected[name]) if nested else expected[name]
        assert_stored(name, got, want, element if name in ("o", "dq", "dk", "dv") else single)
    return results


# ---- results -------------------------------------------------------------------------------------


def pairs_of(rng, sizes, draw, keep_axes):
    """An array of some of the axes of [B, H, Nq, Nk]; the others are 1, or missing in front."""
    shape = [size if kept else 1 for size, kept in zip(sizes, keep_axes)]
    while shape and shape[0] == 1 and rng.random() < 0.5:
        shape.pop(0)
    return Pairs([draw(rng) for _ in range(math.prod(shape))], tuple(shape))


def draw_bool(rng):
    return rng.random() < 0.6


def draw_bias(rng):
    return -math.inf if rng.random() < 0.2 else float32(rng.gauss(0, 1))


def heads_of(rng, H):
    return [float32(rng.gauss(0, 1)) for _ in range(H)]


def named_problems():
    rng = random.Random(7)
    whole = (2, 2, 5, 7)
    ranges = [[[(0, 3)], [(2, 2)], [(6, 7)], [(0, 7)], [(3, 5)]],
              [[(1, 4)], [(0, 0)], [(7, 7)], [(5, 7)], [(2, 3)]]]
    two = [[[(0, 2), (4, 6)], [(0, 4), (2, 7)], [(6, 7), (0, 1)], [(0, 0), (3, 4)],
            [(1, 1), (7, 7)]]] * 2
    padding = {"key_begin": [1, 3], "key_count": [5, 2]}
    bias = pairs_of(rng, whole, draw_bias, (1, 1, 1, 1))
    packed = {"B": 4, "lengths": ([3, 0, 5, 2], [4, 2, 0, 6])}
    problems = {
        "nothing": {},
        "one head, two axes": {"B": 1, "H": 1, "Hkv": 1, "two_d": True},
        "scale": {"scale": -0.75},
        "window": {"window": (2, 1)},
        "window of its own key": {"window": (0, 0)},
        "window to the left": {"window": (2, 0)},
        "window without a left limit": {"window": (-1, 1)},
        "window without a right limit": {"window": (1, -1)},
        "window without limits": {"window": (-1, -1)},
        "window, top-left": {"window": (1, 2), "top_left": True},
        "window wider than all": {"window": (100, 100)},
        "window, more rows than keys": {"window": (1, 1), "Nq": 9, "Nk": 4},
        "window, causal": {"window": (2, 3), "causal": True},
        "window, causal, top-left": {"window": (1, -1), "causal": True, "top_left": True},
        "causal": {"causal": True},
        "causal, top-left": {"causal": True, "top_left": True},
        "sinks alone": {"sinks": 3},
        "sinks beside a window": {"sinks": 2, "window": (1, 1)},
        "sinks, causal": {"sinks": 3, "window": (1, -1), "causal": True, "top_left": True},
        "more sinks than keys": {"sinks": 9, "window": (0, 0)},
        "key begin": {"key_begin": [0, 7]},
        "key count": {"key_count": [0, 7], "integers": "<i4"},
        "padding": padding,
        "padding, causal": {**padding, "causal": True},
        "padding, window, sinks": {**padding, "window": (1, 0), "sinks": 1, "Nq": 3},
        "padding, window, top-left": {**padding, "window": (0, 1), "top_left": True},
        "ranges": {"ranges": ranges},
        "two ranges": {"ranges": two, "integers": "<i4"},
        "ranges, causal": {"ranges": ranges, "causal": True},
        "mask": {"mask": pairs_of(rng, whole, draw_bool, (1, 1, 1, 1))},
        "mask of bytes": {"mask": pairs_of(rng, whole, draw_bool, (1, 1, 1, 1)),
                          "booleans": "|u1"},
        "mask of heads": {"mask": Pairs([False, True], (2, 1, 1))},
        "mask of batches and keys": {"mask": pairs_of(rng, whole, draw_bool, (1, 0, 0, 1))},
        "mask of rows": {"mask": Pairs([True, False, True, True, False], (5, 1))},
        "mask of keys": {"mask": Pairs([True, False, True, True, False, False, True], (7,))},
        "mask of one number": {"mask": Pairs([True], ())},
        "mask, six heads on two": {"H": 6, "mask": pairs_of(rng, (2, 6, 5, 7), draw_bool,
                                                           (0, 1, 0, 1))},
        "bias": {"bias": bias},
        "bias of heads": {"bias": pairs_of(rng, whole, draw_bias, (0, 1, 0, 1))},
        "bias of batches": {"bias": Pairs([0.5, -1.5], (2, 1, 1, 1))},
        "bias of rows": {"bias": Pairs([0.5, -math.inf, 1.0, -2.0, 0.25], (5, 1))},
        "bias of keys": {"bias": Pairs([0.5, 1.0, -math.inf, 2.0, 0.0, -1.0, 0.25], (7,))},
        "bias of one number": {"bias": Pairs([1.5], ())},
        "bias, six heads on two": {"H": 6, "bias": pairs_of(rng, (2, 6, 5, 7), draw_bias,
                                                           (0, 1, 1, 1))},
        "ALiBi": {"alibi": [0.5, 0.125]},
        "ALiBi, causal": {"alibi": [0.5, -0.25], "causal": True},
        "ALiBi, top-left": {"alibi": [0.5, 0.25], "causal": True, "top_left": True},
        "ALiBi, padding": {"alibi": [0.5, 0.25], **padding},
        "softcap": {"softcap": 0.5},
        "softcap below a bias": {"softcap": 0.75, "bias": bias},
        "sink logits": {"sink_logits": [0.5, -1.0]},
        "a sink far above the logits": {"sink_logits": [40.0, -40.0]},
        "sink logits, rows without keys": {"sink_logits": [0.5, 1.0], "causal": True, "Nk": 3},
        "dropout": {"dropout": (0.25, 7)},
        "dropout of a tenth": {"dropout": (0.1, 2**64 - 3), "Nk": 9},
        "dropout of most": {"dropout": (0.875, 2**32), "H": 6},
        "dropout of nothing": {"dropout": (0.0, 7)},
        "dLSE": {"grad_lse": True},
        "dLSE, sink logits": {"grad_lse": True, "sink_logits": [0.5, 0.0], "causal": True,
                              "Nk": 3},
        "[B,N,H,d]": {"layout": "BNHd", "H": 6, "dv": 3},
        "[B,H,N,d], said": {"layout": "BHNd"},
        "six heads on two": {"H": 6},
        "six heads on one": {"H": 6, "Hkv": 1},
        "values of another width": {"dv": 6},
        "narrow values": {"dv": 1, "layout": "BNHd"},
        "packed": packed,
        "packed, one file": {"B": 3, "lengths": ([2, 0, 6], [2, 0, 6])},
        "packed, causal": {**packed, "causal": True, "integers": "<i4"},
        "packed, window, sinks": {**packed, "window": (1, 1), "sinks": 1},
        "packed, padding": {**packed, "key_begin": [1, 0, 0, 2], "key_count": [2, 2, 0, 4]},
        "packed, dropout": {**packed, "dropout": (0.5, 3), "H": 6},
        "packed, ALiBi": {**packed, "alibi": [0.5, 0.25], "causal": True},
        "packed, dLSE, widths": {**packed, "grad_lse": True, "sink_logits": [0.0, 1.0], "dv": 3,
                                 "H": 2, "Hkv": 1},
        "no packed sequences": {"lengths": ([], [])},
        "no keys": {"Nk": 0, "sink_logits": [0.5, 1.0]},
        "no rows": {"Nq": 0, "bias": Pairs([0.5] * 7, (7,)), "layout": "BNHd"},
        "no batches": {"B": 0, "sink_logits": [0.5, 1.0], "alibi": [0.5, 1.0]},
    }
    return {name: Problem(seed=5 + n, **p) for n, (name, p) in enumerate(problems.items())}


def random_problem(seed):
    rng = random.Random(seed)
    given = lambda: rng.random() < 0.35
    p = Problem(B=rng.randint(1, 3), Hkv=rng.randint(1, 2), Nq=rng.randint(1, 6),
                Nk=rng.randint(1, 9), d=rng.randint(1, 5), seed=seed,
                integers=rng.choice(["<i4", "<i8"]), booleans=rng.choice(["|b1", "|u1"]))
    p.H = p.Hkv * rng.randint(1, 3)
    p.dv = rng.randint(1, 5) if given() else p.d
    if given():
        lengths = tuple([rng.choice([0, 1, 3, 5, 8]) for _ in range(p.B)] for _ in "qk")
        p = dataclasses.replace(p, lengths=lengths)
    if given():
        p.window = rng.randint(-1, 4), rng.randint(-1, 4)
    p.causal = given()
    p.top_left = bool(p.window or p.causal) and given()
    p.sinks = rng.randint(1, 3) if given() else 0
    keys = [p.keys(b) for b in range(p.B)]
    begins = [0] * p.B
    if given():
        p.key_begin = begins = [rng.randint(0, n // 2) for n in keys]
    if given():
        p.key_count = [rng.randint(0, n - begin) for n, begin in zip(keys, begins)]
    if given():
        p.alibi = heads_of(rng, p.H)
    if given():
        p.sink_logits = heads_of(rng, p.H)
    p.softcap = float32(rng.uniform(0.5, 3)) if given() else 0.0
    p.dropout = (rng.choice([0.1, 0.5, 0.75]), rng.getrandbits(64)) if given() else None
    p.grad_lse = given()
    p.scale = float32(rng.uniform(-1, 1)) if given() else None
    if p.lengths:
        return p
    sizes, axes = (p.B, p.H, p.Nq, p.Nk), lambda: [rng.random() < 0.6 for _ in range(4)]
    if given():
        p.mask = pairs_of(rng, sizes, draw_bool, axes())
    if given():
        p.bias = pairs_of(rng, sizes, draw_bias, axes())
    if given():
        count = rng.randint(1, 2)
        p.ranges = [[[tuple(sorted(rng.randint(0, p.Nk) for _ in range(2))) for _ in range(count)]
                     for _ in range(p.Nq)] for _ in range(p.B)]
    p.layout = "BNHd" if given() else None
    return p


def results(cli):
    for name, p in named_problems().items():
        for kind, element in ELEMENTS.items():
            cli.test(f"{name}, {kind}", lambda: compare(cli, p, element))
    for number in range(RANDOM_CASES):
        seed = 1000 + number
        p = random_problem(seed)
        for kind in ("float64", random.Random(seed).choice(["float32", "bf16", "fp16"])):
            cli.test(f"random {p}, {kind}", lambda: compare(cli, p, ELEMENTS[kind]))


# ---- one run is another --------------------------------------------------------------------------


def known_answers():
    """Philox4x32-10 of its authors' test vectors (Random123, kat_vectors)."""
    ones = 0xFFFFFFFF
    assert philox((0,) * 4, (0,) * 2) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox((ones,) * 4, (ones,) * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert philox((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)) == (
        0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def identities(cli):
    def same(one, other, element=FLOAT32):
        _, first = run_oracle(cli, one, element)
        _, second = run_oracle(cli, other, element)
        first.pop("kept", None), second.pop("kept", None)
        assert first == second, "they differ"

    def layout():
        p = Problem(H=6, dv=3, Nk=5, causal=True, grad_lse=True, dropout=(0.5, 1))
        _, plain = run_oracle(cli, p, FLOAT32)
        _, swapped = run_oracle(cli, dataclasses.replace(p, layout="BNHd"), FLOAT32)
        for name, heads, width in (("o", 6, 3), ("dq", 6, 4), ("dk", 2, 4), ("dv", 2, 3)):
            rows = 5
            for b, h, i, c in itertools.product(*map(range, (2, heads, rows, width))):
                got = swapped[name][((b * rows + i) * heads + h) * width + c]
                assert got == plain[name][((b * heads + h) * rows + i) * width + c], name
        assert plain["lse"] == swapped["lse"] and plain["kept"] == swapped["kept"]

    def packed():
        """Every sequence alone gives the rows that it has among the others."""
        lengths = ([3, 0, 5, 2, 0], [4, 2, 0, 6, 0])
        p = Problem(lengths=lengths, H=4, dv=3, causal=True, window=(2, 2), sinks=1, softcap=2.0,
                    alibi=[0.5, 0.25, 1.0, 0.0], sink_logits=[0.5, 0.0, 1.0, -1.0], grad_lse=True)
        x, together = run_oracle(cli, p, FLOAT32)
        totals, starts = (list(map(sum, lengths))), (list(map(offsets, lengths)))
        sinks = [0.0] * 4
        for b, (rows, keys) in enumerate(zip(*lengths)):
            one = dataclasses.replace(p, lengths=None, B=1, Nq=rows, Nk=keys)
            for name in ("q", "k", "v", "do", "dlse"):
                nested = [getattr(x, name)[b]]
                write_npy(f"{name}.npy", flat(one, nested), file_shapes(one)[name])
            arguments = ["run", "oracle"]
            for name in ("q", "k", "v", "do", "dlse", "o", "lse", "dq", "dk", "dv", "dsink",
                         "alibi", "sink-logits"):
                arguments += [f"--{name}", f"{name.replace('-', '_')}.npy"]
            cli.succeed(*arguments, "--causal", "--window", "2,2", "--sinks", 1, "--softcap", 2)
            for name, heads, width, of in (("o", 4, 3, 0), ("lse", 4, 1, 0), ("dq", 4, 4, 0),
                                           ("dk", 2, 4, 1), ("dv", 2, 3, 1)):
                alone, _ = read_npy(f"{name}.npy")
                size = lengths[of][b] * width
                for h in range(heads):
                    at = (h * totals[of] + starts[of][b]) * width
                    got, want = together[name][at : at + size], alone[h * size : (h + 1) * size]
                    assert got == want, f"{name} of sequence {b}, head {h}"
            sinks = [s + y for s, y in zip(sinks, read_npy("dsink.npy")[0])]
        for got, want in zip(together["dsink"], sinks):
            assert abs(got - want) <= 1e-5, "dsink"

    def seeds():
        masks = set()
        for seed in (1, 2, 1 + 2**32, 2**63):
            p = Problem(dropout=(0.5, seed), causal=True)
            masks.add(tuple(compare(cli, p, FLOAT32)["kept"]))
        assert len(masks) == 4, "two seeds drew the same"

    def padding(element, value):
        p = Problem(key_begin=[0, 2], key_count=[5, 3], causal=True)
        for array in compare(cli, p, element, padding=value).values():
            assert all(y == y for y in array), "a NaN came through"

    def some_gradients():
        p = Problem(bias=Pairs([0.5] * 7, (7,)), sink_logits=[0.5, 1.0])
        options = write_problem(p, Values(p, FLOAT32), FLOAT32)
        before = set(os.listdir("."))
        for name in ("dbias", "dsink", "dk"):
            cli.succeed("run", "oracle", *options, "--o", "o.npy", f"--{name}", f"{name}.npy")
            assert set(os.listdir(".")) - before == {"o.npy", f"{name}.npy"}
            os.remove(f"{name}.npy")

    def two_d():
        p = Problem(B=1, H=1, Hkv=1, causal=True, bias=Pairs([0.25] * 35, (5, 7)),
                    key_count=[6], dropout=(0.5, 1))
        same(p, dataclasses.replace(p, two_d=True))

    def double_files():
        """float64 files are rounded to the element, and give float32 files."""
        p = Problem()
        for element in (BFLOAT16, FLOAT16, dataclasses.replace(FLOAT32, dtype="fp32")):
            compare(cli, p, dataclasses.replace(element, descr="<f8"))
        write_npy("k.npy", [1e300] * 112, (2, 2, 7, 4), descr="<f8")
        options = ["--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "--o", "new.npy"]
        cli.refuse(2, ["run", "oracle", *options, "--dtype", "bf16"], "attn: --k k.npy: element 0")

    def rounded_inputs():
        """float32 files are rounded to the element, ties to the even neighbour."""
        ties = [1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-25, 1e-7]
        want = {"bf16": [1, 1 + 2.0**-6, 1, 1, 2.0**-25, bfloat16(1e-7)],
                "fp16": [1 + 2.0**-8, 1 + 3 * 2.0**-8, 1, 1 + 2.0**-9, 0, 2 * 2.0**-24]}
        write_npy("v.npy", ties, (1, 6))
        write_npy("q.npy", [0.0], (1, 1))  # one key: O is V
        for dtype, values in want.items():
            cli.succeed("run", "oracle", "--q", "q.npy", "--k", "q.npy", "--v", "v.npy", "--o",
                        "o.npy", "--dtype", dtype)
            assert read_npy("o.npy")[0] == values, (dtype, read_npy("o.npy")[0])

    def half_files():
        p = Problem(causal=True)
        compare(cli, p, HALF_FILES)
        options = ["run", "oracle", "--q", "q.npy", "--k", "k.npy", "--v", "v.npy", "--o", "o.npy"]
        cli.refuse(2, options, "attn: --q q.npy: type <f2; allowed: <f4")
        cli.succeed(*options, "--dtype", "bf16")

    def says_what_it_did():
        p = Problem(window=(2, 0))
        options = write_problem(p, Values(p, FLOAT32), FLOAT32)
        done = cli.run("run", "oracle", *options, "--o", "o.npy", "--dq", "dq.npy")
        assert done.returncode == 0 and done.stdout == "", done
        assert done.stderr == ("attn: forward, backward by the oracle in float64; B=2 H=2 Nq=5 "
                               "Nk=7 d=4, mask window 2,0, scale 0.5; wrote o.npy, dq.npy\n")

    def prefix(chapter, p):
        """A window without a left limit is one diagonal: every chapter takes it."""
        element = FLOAT32 if takes_float32(chapter) else BFLOAT16
        x = Values(p, element)
        files = write_problem(p, x, element)
        expected = evaluate(p, x, element)
        names = ["o", "lse"]
        if chapter["default_backward_step"]:
            names += ["dq", "dk", "dv"]
        else:
            at = files.index("--do")
            del files[at : at + 2]
        outputs = [y for name in names for y in (f"--{name}", f"{name}.npy")]
        cli.succeed("run", chapter["id"], *files, *outputs)
        for name in names:
            assert_close(name, read_npy(f"{name}.npy")[0], flat(p, expected[name]),
                         TOLERANCE if element is FLOAT32 else TOLERANCE_16)

    test = cli.test
    test("Philox's known answers", known_answers)
    test("--layout BNHd is the transposed run", layout)
    test("packed is every sequence alone", packed)
    test("every seed draws its own", seeds)
    for kind, element in ELEMENTS.items():
        test(f"NaN in padding, {kind}", lambda: padding(element, math.nan))
    test("infinity in padding", lambda: padding(FLOAT32, math.inf))
    test("one gradient only", some_gradients)
    test("two axes are one head", two_d)
    test("float64 files with --dtype", double_files)
    test("float32 files with --dtype", rounded_inputs)
    test("float16 files", half_files)
    test("it says what it did", says_what_it_did)
    p, kept = Problem(), Problem(dropout=(0.0, 1))
    causal = Problem(causal=True)
    whole = Pairs([True], ())
    for name, one, other in (
        ("--dropout 0 drops nothing", p, kept),
        ("a mask of true hides nothing", p, Problem(mask=whole)),
        ("--window -1,-1 is no window", p, Problem(window=(-1, -1))),
        ("--window -1,0 is --causal", causal, Problem(window=(-1, 0))),
        ("--causal caps a window", Problem(window=(2, 0)), Problem(window=(2, 3), causal=True)),
        ("--causal gives a limit", Problem(window=(2, 0)), Problem(window=(2, -1), causal=True)),
    ):
        test(name, lambda: same(one, other))
    for chapter in chapters(cli):
        for window, top_left in (((-1, 1), False), ((-1, 2), True), ((-1, -1), False)):
            d = shape_of(chapter)[-1]
            one = Problem(window=window, top_left=top_left, d=d, dv=d)
            test(f"{chapter['id']}: {window}, top-left: {top_left}", lambda: prefix(chapter, one))


# ---- refusals ------------------------------------------------------------------------------------

QKV = ["--q", "q.npy", "--k", "k.npy", "--v", "v.npy"]
GRADIENT = ["--do", "do.npy", "--dq", "dq.npy"]


def write_good_files():
    """B = 2, H = Hkv = 2, Nq = 5, Nk = 7, d = 4; what options name is good, if not replaced."""
    p = Problem()
    write_problem(p, Values(p, FLOAT32), FLOAT32)
    write_npy("count.npy", [7, 3], (2,), descr="<i8")
    write_npy("mask.npy", [True] * 7, (7,), descr="|b1")
    write_npy("bias.npy", [0.5] * 35, (5, 7))
    write_npy("heads.npy", [0.5, 0.25], (2,))
    write_npy("ranges.npy", [0, 7] * 10, (2, 5, 2), descr="<i8")
    write_npy("dlse.npy", [0.5] * 20, (2, 2, 5))


def write_packed_files():
    """H = 2, 5 rows and 7 keys in two sequences, d = 4."""
    p = Problem(lengths=([2, 3], [3, 4]))
    write_problem(p, Values(p, FLOAT32), FLOAT32)


def bad_values(cli):
    """Options that are wrong by themselves."""
    two = "allowed: LEFT,RIGHT, integers of -1 (no limit) or more"
    cap, part = "allowed: 0 (none), or a float32 above 0", "allowed: a float32 from 0 to below 1"
    whole, seed = "allowed: an integer from 0 to 9223372036854775807", "18446744073709551615"
    dropped = ["--dropout", "0.5"]
    cases = [
        *(("--dtype", x, "allowed: fp32, bf16, fp16", []) for x in ("float16", "BF16", "fp8")),
        *(("--window", x, two, []) for x in (
            "4", "4,", ",0", ",", "a,b", "-2,0", "0,-2", "1.5,0", "4,0,1", "4;0", "4, 0", "+4,0",
            "99999999999999999999,0")),
        ("--causal-align", "top-left", "allowed: with --causal or --window", []),
        ("--causal-align", "centre", "allowed: bottom-right, top-left", ["--window", "1,1"]),
        *(("--sinks", x, whole, []) for x in ("-1", "x", "1.5", "1x", "9223372036854775808")),
        *(("--softcap", x, cap, []) for x in (
            "-1", "-0.5", "nan", "inf", "x", "1x", "1e39", "1e-50")),
        *(("--dropout", x, part, ["--seed", "1"]) for x in (
            "1", "-0.1", "1.5", "0.99999999999", "nan", "x", "inf", "1e-50")),
        ("--dropout", "0.5", "given without --seed; allowed: both together", []),
        *(("--seed", x, f"allowed: an integer from 0 to {seed}", dropped)
          for x in ("-1", "x", "1.5", "18446744073709551616")),
        ("--seed", "3", "given without --dropout; allowed: both together", []),
        ("--dropout-mask", "kept.npy", "given without --dropout; allowed: both together", []),
        ("--dropout-mask", "none/kept.npy", "allowed", [*dropped, "--seed", "1"]),
        ("--dropout-mask", "q.npy", "it is the file of --q too", [*dropped, "--seed", "1"]),
        *(("--layout", x, "allowed: BHNd, BNHd", []) for x in ("bnhd", "BNH", "BHND")),
        ("--step", "naive", "the oracle has no steps; allowed", []),
        ("--dlse", "dlse.npy", "given without --do; allowed: both together", []),
        ("--dbias", "dbias.npy", "given without --do", ["--bias", "bias.npy"]),
        ("--dbias", "dbias.npy", "given without --bias; allowed: both together", GRADIENT),
        ("--dbias", "bias.npy", "it is the file of --bias too",
         ["--bias", "bias.npy", "--do", "do.npy"]),
        ("--dsink", "dsink.npy", "given without --do", ["--sink-logits", "heads.npy"]),
        ("--dsink", "dsink.npy", "given without --sink-logits; allowed: both together", GRADIENT),
        ("--do", "do.npy", "allowed: with at least one of --dq, --dk, --dv, --dbias, --dsink", []),
    ]
    for option, value, allowed, others in cases:
        cli.test(f"{option} {value}", lambda: refused(cli, option, value, allowed, others))
    options = sorted({option for option, *_ in cases} | {*FILE_OPTIONS, "--cu-seqlens"})
    for option in options:
        arguments = ["run", "oracle", *QKV, "--o", "o.npy", option, ""]
        cli.test(f"{option} of nothing",
                 lambda: cli.refuse(2, arguments, f"attn: {option}: an empty value; allowed: "))


def refused(cli, option, value, allowed, others):
    """Exit status 2, one line; no file appears or changes; the same without the option works."""
    write_good_files()
    good = ["run", "oracle", *QKV, "--o", "o.npy"]
    cli.succeed(*good)
    first = read_npy("o.npy")
    cli.refuse(2, [*good, option, value, *others], f"attn: {option} {value}: ", allowed)
    os.remove("o.npy")
    cli.succeed(*good)
    assert read_npy("o.npy") == first, "the next call differs"


FILE_OPTIONS = ("--key-begin --key-count --ranges --mask --bias --alibi --sink-logits "
                "--dlse").split()


def bad_arrays(cli):
    """Files that options name: (option, file's bytes, what the line says behind the name)."""
    def array(values, shape, descr="<i8"):
        return npy_bytes(values, shape, descr=descr)

    def ranges(*at):
        numbers = [0, 7] * 10
        for place, value in at:
            numbers[place] = value
        return array(numbers, (2, 5, 2))

    integers = "allowed: <i4 (int32) or <i8 (int64)"
    floats = "allowed: <f4 (float32) or <f8 (float64)"
    whole = "allowed: what broadcasts to (2,2,5,7)"
    cases = [
        ("--key-begin", array([0, 8], (2,)), "key_begin[1] = 8: allowed: 0 to 7"),
        ("--key-begin", array([-1, 0], (2,)), "key_begin[0] = -1: allowed: 0 to 7"),
        ("--key-begin", array([0], (1,)), "shape (1); allowed: (2)"),
        ("--key-begin", array([0, 0], (2,), "<f4"), "type <f4; " + integers),
        ("--key-count", array([8, 0], (2,)), "key_count[0] = 8: allowed: 0 to 7"),
        ("--key-count", array([7, -1], (2,), "<i4"), "key_count[1] = -1: allowed: 0 to 7"),
        ("--key-count", array([7, 7, 7], (3,)), "shape (3); allowed: (2)"),
        ("--key-count", array([7, 7], (2, 1)), "shape (2,1); allowed: (2)"),
        ("--key-count", array([7], ()), "shape (); allowed: (2)"),
        ("--key-count", array([7, 7], (2,), "<f8"), "type <f8; " + integers),
        ("--key-count", array([True, True], (2,), "|b1"), "type |b1; " + integers),
        ("--ranges", ranges((1, 8)), "ranges[0] = 0, 8: allowed: 0 <= begin <= end <= Nk = 7"),
        ("--ranges", ranges((18, -1)), "ranges[9] = -1, 7: allowed: 0 <= begin <= end"),
        ("--ranges", ranges((6, 5), (7, 4)), "ranges[3] = 5, 4: allowed: 0 <= begin <= end"),
        ("--ranges", array([0] * 30, (2, 5, 3)), "shape (2,5,3); allowed: (2,5,2) or (2,5,4)"),
        ("--ranges", array([0] * 20, (5, 2, 2)), "shape (5,2,2); allowed: (2,5,2) or (2,5,4)"),
        ("--ranges", array([0] * 10, (5, 2)), "shape (5,2); allowed: (2,5,2) or (2,5,4)"),
        ("--ranges", array([0] * 20, (2, 5, 2), "<f4"), "type <f4; " + integers),
        ("--mask", array([True] * 8, (8,), "|b1"), "shape (8); " + whole),
        ("--mask", array([True] * 5, (5,), "|b1"), "shape (5); " + whole),
        ("--mask", array([True] * 15, (3, 1, 5, 1), "|b1"), "shape (3,1,5,1); " + whole),
        ("--mask", array([True], (1, 1, 1, 1, 1), "|b1"), "shape (1,1,1,1,1); " + whole),
        ("--mask", array([1.0] * 7, (7,), "<f4"), "type <f4; allowed: |b1 (bool) or |u1 (uint8)"),
        ("--mask", array([1] * 7, (7,)), "type <i8; allowed: |b1 (bool) or |u1 (uint8)"),
        ("--bias", array([0.0] * 35, (7, 5), "<f4"), "shape (7,5); " + whole),
        ("--bias", array([0.0] * 3, (3, 1, 1), "<f4"), "shape (3,1,1); " + whole),
        ("--bias", array([0.0] * 7, (7,), "<f2"), "type <f2; " + floats),
        ("--bias", array([True] * 7, (7,), "|b1"), "type |b1; " + floats),
        *((option, *case) for option in ("--alibi", "--sink-logits") for case in (
            (array([0.5] * 3, (3,), "<f4"), "shape (3); allowed: (2), the heads of --q"),
            (array([0.5] * 2, (1, 2), "<f4"), "shape (1,2); allowed: (2)"),
            (array([1, 2], (2,)), "type <i8; " + floats))),
        ("--dlse", array([0.5] * 20, (2, 5, 2), "<f4"), "shape (2,5,2); allowed: (2,2,5), as LSE"),
        ("--dlse", array([1] * 20, (2, 2, 5)), "type <i8; " + floats),
        *((option, None, "no such file; allowed: a .npy file") for option in FILE_OPTIONS),
        *((option, b"text", "not a .npy file") for option in FILE_OPTIONS),
    ]

    def one(option, data, expected):
        write_good_files()
        if data is not None:
            write("bad.npy", data)
        others = GRADIENT if option == "--dlse" else []
        good = ["run", "oracle", *QKV, "--o", "o.npy"]
        cli.refuse(2, [*good, option, "bad.npy", *others], f"attn: {option} bad.npy: {expected}")
        cli.succeed(*good)

    for option, data, expected in cases:
        cli.test(f"{option}: {expected}", lambda: one(option, data, expected))

    def both_counts():
        write_good_files()
        write_npy("begin.npy", [0, 5], (2,), descr="<i8")
        options = ["--key-begin", "begin.npy", "--key-count", "count.npy"]
        cli.refuse(2, ["run", "oracle", *QKV, "--o", "o.npy", *options],
                   "attn: --key-count count.npy: key_count[1] = 3: allowed: 0 to 2")

    def layout_of_two_axes():
        p = Problem(B=1, H=1, Hkv=1, two_d=True)
        write_problem(p, Values(p, FLOAT32), FLOAT32)
        cli.refuse(2, ["run", "oracle", *QKV, "--o", "o.npy", "--layout", "BNHd"],
                   "attn: --q q.npy: rank 2; allowed: [B,N,H,d]")

    cli.test("begin and count beyond the keys", both_counts)
    cli.test("--layout with two axes", layout_of_two_axes)
    for name, shape, expected in (
        ("k", (2, 3, 7, 4), "3 heads; allowed: a divisor of 2, the heads of --q q.npy"),
        ("k", (2, 0, 7, 4), "0 heads; allowed: a divisor of 2"),
        ("k", (2, 2, 7, 5), "d = 5; allowed: 4, as in --q q.npy"),
        ("v", (2, 1, 7, 4), "H = 1; allowed: 2, as in --k k.npy"),
        ("v", (2, 2, 6, 4), "N = 6; allowed: 7, as in --k k.npy"),
        ("v", (1, 2, 7, 4), "B = 1; allowed: 2, as in --k k.npy"),
        ("v", (2, 2, 7, 0), "d = 0; allowed: 1 or more"),
        ("do", (2, 2, 5, 3), "d = 3; allowed: 4"),
    ):
        cli.test(f"--{name} of shape {shape}", lambda: bad_rows(cli, name, shape, expected, {}))
    cli.test("--do of Q's width", lambda: bad_rows(cli, "do", (2, 2, 5, 4),
                                                   "d = 4; allowed: 3, as in O", {"dv": 3}))
    cli.test("--do in the other order", lambda: bad_rows(
        cli, "do", (2, 2, 5, 4), "H = 5; allowed: 2, as in --q q.npy", {"layout": "BNHd"}))


def bad_rows(cli, name, shape, expected, keywords):
    p = Problem(**keywords)
    options = write_problem(p, Values(p, FLOAT32), FLOAT32)
    if name == "k" and shape[1] != 2:
        write_npy("v.npy", [0.0] * math.prod(shape), shape)
    write_npy(f"{name}.npy", [0.0] * math.prod(shape), shape)
    cli.refuse(2, ["run", "oracle", *options, "--o", "o.npy", "--dq", "dq.npy"],
               f"attn: --{name} {name}.npy: {expected}")


def bad_packed(cli):
    def offsets_refused(files, expected, value="cu_q.npy,cu_k.npy"):
        write_packed_files()
        good = ["run", "oracle", *QKV, "--o", "o.npy", "--cu-seqlens", "cu_q.npy,cu_k.npy"]
        cli.succeed(*good)
        os.remove("o.npy")
        for name, (values, shape, descr) in files.items():
            write_npy(f"{name}.npy", values, shape, descr=descr)
        cli.refuse(2, [*good[:-1], value], "attn: --cu-seqlens ", expected)
        write_packed_files()
        cli.succeed(*good)

    def i8(*values):
        return values, (len(values),), "<i8"

    for files, expected in (
        ({"cu_q": i8(1, 2, 5)}, "cu_q.npy: offsets from 1 to 5; allowed: from 0 to 5"),
        ({"cu_q": i8(0, 2, 4)}, "cu_q.npy: offsets from 0 to 4; allowed: from 0 to 5"),
        ({"cu_q": i8(0, 2, 6)}, "cu_q.npy: offsets from 0 to 6; allowed: from 0 to 5"),
        ({"cu_q": i8(0, 6, 5)}, "cu_q.npy: 5 behind 6; allowed: offsets that do not decrease"),
        ({"cu_q": i8(0, -1, 5)}, "cu_q.npy: -1 behind 0; allowed: offsets that do not decrease"),
        ({"cu_k": i8(0, 5, 3, 7)}, "cu_k.npy: 3 behind 5; allowed: offsets that do not decrease"),
        ({"cu_k": i8(0, 3, 8)}, "cu_k.npy: offsets from 0 to 8; allowed: from 0 to 7"),
        ({"cu_k": i8(0, 3, 5, 7)}, "cu_q.npy,cu_k.npy: 3 and 4 offsets; allowed: as many"),
        ({"cu_q": i8()}, "cu_q.npy: shape (0); allowed: one axis of B + 1 offsets"),
        ({"cu_q": ([0, 2, 5], (1, 3), "<i8")}, "cu_q.npy: shape (1,3); allowed: one axis"),
        ({"cu_k": ([0, 3, 7], (3,), "<f4")}, "cu_k.npy: type <f4; allowed: <i4 (int32) or <i8"),
    ):
        cli.test(f"--cu-seqlens: {expected}", lambda: offsets_refused(files, expected))
    for value, expected in (
        ("cu_q.npy", "cu_q.npy: offsets from 0 to 5; allowed: from 0 to 7, the rows of --k"),
        ("cu_q.npy,", "cu_q.npy,: allowed: Q.npy or Q.npy,K.npy"),
        (",cu_k.npy", ",cu_k.npy: allowed: Q.npy or Q.npy,K.npy"),
        ("none.npy", "none.npy: no such file"),
        ("cu_q.npy,none.npy", "none.npy: no such file"),
        ("cu_q.npy,cu_k.npy,x.npy", "cu_k.npy,x.npy: no such file"),
    ):
        cli.test(f"--cu-seqlens {value}", lambda: offsets_refused({}, expected, value))

    def together(option, value):
        write_good_files()
        write_packed_files()
        cli.refuse(2, ["run", "oracle", *QKV, "--o", "o.npy", "--cu-seqlens", "cu_q.npy,cu_k.npy",
                       option, value],
                   f"attn: {option} {value}: given with --cu-seqlens; allowed: one of the two")

    for option, value in (("--mask", "mask.npy"), ("--bias", "bias.npy"),
                          ("--ranges", "ranges.npy"), ("--layout", "BNHd")):
        cli.test(f"{option} with --cu-seqlens", lambda: together(option, value))

    def ranks():
        write_good_files()
        write_npy("cu_q.npy", [0, 2, 5], (3,), descr="<i8")
        cli.refuse(2, ["run", "oracle", *QKV, "--o", "o.npy", "--cu-seqlens", "cu_q.npy"],
                   "attn: --q q.npy: rank 4; allowed: [H,total,d]")
        write_packed_files()
        cli.refuse(2, ["run", "oracle", *QKV, "--o", "o.npy"],
                   "attn: --q q.npy: rank 3; allowed: [N,d] or [B,H,N,d]")

    def counts():
        write_packed_files()
        write_npy("count.npy", [3, 5], (2,), descr="<i8")
        cli.refuse(2, ["run", "oracle", *QKV, "--o", "o.npy", "--cu-seqlens", "cu_q.npy,cu_k.npy",
                       "--key-count", "count.npy"],
                   "attn: --key-count count.npy: key_count[1] = 5: allowed: 0 to 4")

    def overwritten():
        write_packed_files()
        for name in ("cu_q", "cu_k"):
            cli.refuse(2, ["run", "oracle", *QKV, "--o", f"{name}.npy", "--cu-seqlens",
                           "cu_q.npy,cu_k.npy"],
                       f"attn: --o {name}.npy: it is the file of --cu-seqlens too")

    cli.test("packed or not, by rank", ranks)
    cli.test("--key-count beyond a packed sequence", counts)
    cli.test("--o on a file of --cu-seqlens", overwritten)


def not_taken(cli):
    """What a chapter does not take: exit status 3, and the feature's name."""
    for chapter in chapters(cli):
        if chapter["id"] < "08":
            assert not chapter["features"], chapter["id"]
            not_taken_by(cli, chapter["id"], chapter["default_backward_step"] is not None)


def not_taken_by(cli, name, has_backward):
    cases = [
        (["--window", "4,0"], "windows"),
        (["--window", "4,0", "--causal"], "windows"),
        (["--sinks", "2"], "sink keys"),
        (["--key-begin", "count.npy"], "key counts"),
        (["--key-count", "count.npy"], "key counts"),
        (["--ranges", "ranges.npy"], "ranges of keys"),
        (["--mask", "mask.npy"], "a mask array"),
        (["--bias", "bias.npy"], "a bias"),
        (["--bias", "bias.npy", "--do", "do.npy", "--dbias", "dbias.npy"], "a bias"),
        (["--alibi", "heads.npy"], "ALiBi slopes"),
        (["--softcap", "2"], "a softcap"),
        (["--sink-logits", "heads.npy"], "sink logits"),
        (["--sink-logits", "heads.npy", "--do", "do.npy", "--dsink", "dsink.npy"], "sink logits"),
        (["--dropout", "0.5", "--seed", "1"], "dropout"),
        (["--dlse", "dlse.npy", *GRADIENT], "a gradient of LSE"),
    ]

    def one(arguments, feature):
        write_good_files()
        good = ["run", name, *QKV, "--o", "o.npy"]
        cli.refuse(3, [*good, *arguments], "attn: " + " ".join(arguments[:2]) +
                   f": this chapter does not take {feature}")
        cli.succeed(*good)

    for arguments, feature in cases:
        if has_backward or "--do" not in arguments:
            cli.test(f"{name}: {' '.join(arguments)}", lambda: one(arguments, feature))

    def packed():
        write_packed_files()
        cli.refuse(3, ["run", name, *QKV, "--o", "o.npy", "--cu-seqlens", "cu_q.npy,cu_k.npy"],
                   "attn: --cu-seqlens cu_q.npy,cu_k.npy: this chapter does not take packed "
                   "sequences")

    def layout():
        p = Problem(layout="BNHd")
        write_problem(p, Values(p, FLOAT32), FLOAT32)
        cli.refuse(3, ["run", name, *QKV, "--o", "o.npy", "--layout", "BNHd"],
                   "attn: --layout BNHd: this chapter does not take strides")

    def element(dtype):
        write_good_files()
        cli.refuse(3, ["run", name, *QKV, "--o", "o.npy", "--dtype", dtype],
                   f"attn: --dtype {dtype}: ", "takes float32")

    def rows(keywords, option, *expected):
        p = Problem(**keywords)
        write_problem(p, Values(p, FLOAT32), FLOAT32)
        cli.refuse(3, ["run", name, *QKV, "--o", "o.npy"], f"attn: {option}: ", *expected)

    cli.test(f"{name}: packed", packed)
    cli.test(f"{name}: --layout", layout)
    for dtype in ("bf16", "fp16"):
        cli.test(f"{name}: {dtype}", lambda: element(dtype))
    cli.test(f"{name}: fewer heads", lambda: rows({"H": 6}, "--k k.npy", "Hkv = 2: H = 6",
                                                  "does not take grouped heads"))
    cli.test(f"{name}: another width", lambda: rows({"dv": 3}, "--v v.npy", "d_v = 3: d = 4",
                                                    "does not take rows of V of another length"))

    def defaults():
        """What an option's value asks nothing for is taken."""
        write_good_files()
        good = ["run", name, *QKV, "--o", "o.npy"]
        cli.succeed(*good)
        plain = read_npy("o.npy")
        for options in (["--sinks", "0"], ["--softcap", "0"], ["--dropout", "0", "--seed", "1"],
                        ["--layout", "BHNd"], ["--dtype", "fp32"], ["--window", "-1,-1"]):
            cli.succeed(*good, *options)
            assert read_npy("o.npy") == plain, options

    cli.test(f"{name}: options that ask for nothing", defaults)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli = Cli(os.path.abspath(sys.argv[1]))
    if any(step["runs_on"] == "no CUDA device" for c in chapters(cli) for step in c["steps"]):
        print("skipped: no CUDA device")
        return
    for group in (results, identities, bad_values, bad_arrays, bad_packed, not_taken):
        group(cli)
    print(f"{cli.passed} passed, {cli.failed} failed")
    sys.exit(1 if cli.failed or not cli.passed else 0)


if __name__ == "__main__":
    main()
