#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs `attn run` on random inputs that are hard on float32, and judges every output.

    tests/fuzz_run.py --attn build/attn                         a minute of random cases
    tests/fuzz_run.py --chapters 04,07 --seconds 600            these chapters, ten minutes
    tests/fuzz_run.py --case 1234567 --chapters 07 --step step3_exp2      one case again

Four named cases come first, on every step and twin: one large logit, a scale near the end of
float32, logits to 1e5 and to 1e7. Then random ones: shapes, masks, scales (to 3e38, negative, zero,
tiny), logits to 1e38, each on some of the steps. A failure prints the line that repeats it.

What is right: the formulas in float64. Where float32 can hold every logit, and every partial sum of
it, no correct kernel has an excuse: 256 rounding errors of what is summed (ROUNDINGS); LSE must be
rounded once, for the backward pass raises e to it. Elsewhere a logit may be off by four times what
a plain float32 evaluation is off, and the outputs by what follows. A backward pass is judged by its
formula on the numbers it was fed, O and the float32 LSE of the same run among them: P is
exp(S - LSE), whatever that rounding of LSE makes of it. Rows without keys, and keys without rows,
give exact zeros. Not judged: what float32 cannot hold, and steps that do not take float32.

Exit status 0 if all was right, 1 if not, 2 for bad usage. Needs python3 only.
"""
import argparse
import array
import collections
import functools
import itertools
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
from operator import mul

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEED = 20260101
UNIT = 2.0**-24  # half a unit in the last place, relative
ROUNDINGS = 256 * UNIT
TINY = 2.0**-125  # P may be flushed to zero below it
HUGE = 1e60  # P, or its tolerance, where nothing can be said
MOST_SLACK = 80.0  # logits that are off by more say nothing
LARGEST = 2.0**127  # outputs are judged where their terms add up to less
NAMED = 1e-4  # what the named cases must keep, relative to what is summed
MOST_PRODUCT = 118  # log2 of what is multiplied by small integers: float32 can hold the products
MOST_WORK = 60_000  # B H Nq Nk d of a random case: the oracle is plain Python
STEPS_PER_CASE = 6
MOST_SHOWN = 12
TIMEOUT = 120  # seconds of one run


class Usage(Exception):
    """One line for the reader; exit status 2."""


class NoDevice(Exception):
    """attn-cuda on a computer without a GPU: nothing to do."""


# ---- numbers and files ---------------------------------------------------------------------------


def float32(values):
    """The nearest float32 values, as a list of Python's own floats."""
    return list(struct.unpack(f"{len(values)}f", struct.pack(f"{len(values)}f", *values)))


def exp(x):
    """As float64 can hold it, so that no infinity meets a 0."""
    return math.exp(x) if x < 138 else HUGE


def dot(a, b):
    return sum(map(mul, a, b))


def transposed(rows, columns):
    return [list(column) for column in zip(*rows)] if rows else [[] for _ in range(columns)]


def absolute(rows):
    return [list(map(abs, row)) for row in rows]


def lowest_bit(x):
    """The exponent of the last one-bit of x, a float other than 0."""
    mantissa, exponent = math.frexp(x)
    digits = int(mantissa * 2**53)
    return exponent - 53 + (digits & -digits).bit_length() - 1


def write_npy(path, values, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        file.write(array.array("f", values).tobytes())


def read_npy(path):
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    return array.array("f", data[10 + length:]).tolist()


# ---- a case and what is right --------------------------------------------------------------------


class Case:
    """One problem: sizes, mask ("full", "causal", "top-left"), scale (None: the default), and q, k,
    v, do as lists of rows for each head."""

    def __init__(self, name, shape, mask, scale, q, k, v, do):
        self.name, self.shape, self.mask = name, shape, mask
        self.scale_text = None if scale is None else repr(scale)
        *_, self.Nq, self.Nk, self.d = shape
        (self.scale,) = float32([self.d**-0.5 if scale is None else scale])
        self.q, self.k, self.v, self.do = q, k, v, do

    def describe(self):
        B, H, Nq, Nk, d = self.shape
        return (f"{self.name}: B={B} H={H} Nq={Nq} Nk={Nk} d={d}, {self.mask}, "
                f"scale {self.scale_text or 'default'}")

    def options(self):
        options = [] if self.scale_text is None else [f"--scale={self.scale_text}"]
        return options + {"full": [], "causal": ["--causal"],
                          "top-left": ["--causal", "--causal-align", "top-left"]}[self.mask]

    def visible(self, i):
        diagonal = {"full": self.Nk, "causal": self.Nk - self.Nq, "top-left": 0}[self.mask]
        return max(0, min(self.Nk, i + diagonal + 1))

    def write(self, folder):
        B, H, Nq, Nk, d = self.shape
        for name, heads, n in (("q", self.q, Nq), ("k", self.k, Nk), ("v", self.v, Nk),
                               ("do", self.do, Nq)):
            flat = [x for head in heads for row in head for x in row]
            write_npy(folder / f"{name}.npy", flat, (B, H, n, d))


class Head:
    """The forward pass of one head in float64; row i has its visible keys only."""

    def __init__(self, case, h):
        self.case = case
        self.q, self.k, self.v, self.do = case.q[h], case.k[h], case.v[h], case.do[h]
        self.k_columns = transposed(self.k, case.d)
        self.v_columns = transposed(self.v, case.d)
        self.s = [[case.scale * dot(row, key) for key in self.k[:case.visible(i)]]
                  for i, row in enumerate(self.q)]
        self.slack = self.plain_errors()

    def plain_errors(self):
        """How far each row's logits may be off: not at all where float32 can hold them and their
        partial sums in any order, else four times what plain float32 loses, measured in |q| |k|
        over the whole head, so that luck in one row does not count."""
        sizes = {i: max(abs(self.case.scale) * dot(map(abs, self.q[i]), map(abs, key))
                        for key in self.k[:len(s)])
                 for i, s in enumerate(self.s)
                 if not all(self.is_exact(self.q[i], key, x) for key, x in zip(self.k, s))}
        worst = max((self.plain_error(i) / size for i, size in sizes.items()), default=0.0)
        return [4 * max(worst, UNIT) * sizes.get(i, 0.0) for i in range(self.case.Nq)]

    def plain_error(self, i):
        """The largest error of row i's logits in plain float32."""
        sums = [0.0] * len(self.s[i])
        for x, column in zip(self.q[i], self.k_columns):
            products = float32([x * y for y in column[:len(sums)]])
            sums = float32(list(map(sum, zip(sums, products))))
        plain = float32([self.case.scale * x for x in sums])
        return max(abs(a - b) for a, b in zip(plain, self.s[i]))

    def is_exact(self, row, key, s):
        terms = [x * y for x, y in zip(row, key) if x != 0 and y != 0]
        if not terms:
            return True
        unit = min(map(lowest_bit, terms))
        power_of_two = self.case.scale == 0 or abs(math.frexp(self.case.scale)[0]) == 0.5
        return (sum(map(abs, terms)) <= 2.0**(24 + unit) and unit >= -149
                and float32([s]) == [s] and (power_of_two or len(terms) == 1))

    @functools.lru_cache(maxsize=8)
    def forward(self):
        """[(O, its tolerance)], [(LSE, its tolerance)], by rows; O flat"""
        o, lse = [], []
        for s, slack in zip(self.s, self.slack):
            if not s:
                o += [(0.0, 0.0)] * self.case.d
                lse.append((-math.inf, 0.0))
                continue
            top = max(s)
            p = [math.exp(x - top) for x in s]
            total = sum(p)
            level = max(abs(top), abs(top + math.log(total)))
            lse.append((top + math.log(total), UNIT * level + 32 * UNIT + slack))
            for column in self.v_columns:
                column = column[:len(s)]
                mean = dot(p, column) / total
                away = [abs(x - mean) for x in column]
                spread = max(away)
                if slack < MOST_SLACK:
                    spread = min(spread, math.expm1(2 * slack) * dot(p, away) / total)
                o.append((mean, spread + ROUNDINGS * max(map(abs, column)) + 2.0**-140))
        return o, lse

    def backward(self, o, lse, rounding=ROUNDINGS):
        """{"dq": [(value, tolerance)], "dk": ..., "dv": ...}, flat, from the O and LSE given."""
        case, d = self.case, self.case.d
        p, p_off = [], []  # and how far P may be off; hidden keys are zeros
        ds, ds_off = [], []
        v_sizes = absolute(self.v)
        for i, (row, grad) in enumerate(zip(self.s, self.do)):
            rest = [0.0] * (case.Nk - len(row))
            mine = o[i * d:(i + 1) * d]
            delta, sizes = dot(grad, mine), list(map(abs, grad))
            p.append([exp(x - lse[i]) for x in row] + rest)
            slack = self.slack[i]
            freedom = math.expm1(slack) + rounding if slack < MOST_SLACK else 0.0
            least = TINY if slack < MOST_SLACK else HUGE
            p_off.append([freedom * x + least for x in p[-1][:len(row)]] + rest)
            products = [dot(grad, key) - delta for key in self.v]
            reach = [dot(sizes, key) + dot(sizes, map(abs, mine)) for key in v_sizes]
            ds.append(list(map(mul, p[-1], products)))
            ds_off.append([off * abs(x) + (weight + off) * rounding * r for off, x, weight, r in
                           zip(p_off[-1], products, p[-1], reach)])
        size = abs(case.scale)
        return {
            "dq": product(case.scale, ds, self.k_columns, size, ds_off),
            "dk": product(case.scale, transposed(ds, case.Nk), transposed(self.q, d), size,
                          transposed(ds_off, case.Nk)),
            "dv": product(1.0, transposed(p, case.Nk), transposed(self.do, d), 1.0,
                          transposed(p_off, case.Nk)),
        }


def product(scale, rows, columns, size, off):
    """scale * rows * columns^T, flat, each element with its tolerance; None for one that float32
    may not be able to hold."""
    result = []
    column_sizes = absolute(columns)
    for row, its_off in zip(rows, off):
        row_sizes = list(map(abs, row))
        for column, sizes in zip(columns, column_sizes):
            terms = dot(row_sizes, sizes)
            tolerance = size * (dot(its_off, sizes) + ROUNDINGS * terms)
            reach = max(size, 1.0) * terms + tolerance
            if terms > 0:  # what is lost where a product is a denormal number
                tolerance += 2.0**-140 * max(size, 1.0) + 2.0**-148 * sum(sizes)
            result.append((scale * dot(row, column), tolerance) if reach < LARGEST else None)
    return result


def first_wrong(got, expected):
    """The index of the first element that is not within its tolerance; None if there is none."""
    for index, (value, pair) in enumerate(zip(got, expected)):
        if pair is None:
            continue
        want, tolerance = pair
        if value == want or abs(value - want) <= tolerance:
            continue
        return index
    return None


# ---- random inputs -------------------------------------------------------------------------------


def log_uniform(rng, low, high):
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def largest_logit(rng):
    ranges = [(1.0, 1e7)] * 4 + [(1e7, 1e12)] * 3 + [(1e12, 2e38)] * 2 + [(1e-3, 1.0)]
    return log_uniform(rng, *rng.choice(ranges))


def power_of_two(x):
    return 2.0**math.floor(math.log2(x))


def random_shape(rng):
    def length():
        return rng.choice([1, rng.randint(1, 20), rng.randint(1, 20), rng.randint(16, 80),
                           rng.choice([16, 17, 31, 32, 33, 63, 64, 65, 128, 129])])

    while True:
        B, H = rng.choice([1, 1, 1, 2]), rng.choice([1, 1, 2, 3])
        d = rng.choice([1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64, 65, 100, 128])
        shape = (B, H, length(), 0 if rng.random() < 0.02 else length(), d)
        if math.prod(shape) <= MOST_WORK:
            return shape


def split_exponent(rng, exponent):
    """Powers of two for q, k and scale whose product is 2^exponent."""
    c = rng.choice([rng.randint(-4, 0), rng.randint(-4, 0), rng.randint(-100, 120)])
    c = max(c, exponent - MOST_PRODUCT)
    a = (exponent - c) // 2 + rng.randint(-3, 3)
    return 2.0**a, 2.0**(exponent - c - a), rng.choice([-1, 1, 1]) * 2.0**c


def placed(rng, d, rows):
    """Rows of a few numbers, spread over d columns of zeros."""
    columns = rng.sample(range(d), len(rows[0])) if rows else []
    result = [[0.0] * d for _ in rows]
    for row, numbers in zip(result, rows):
        for column, number in zip(columns, numbers):
            row[column] = float(number)
    return result


def place_both(rng, d, queries, keys):
    both = placed(rng, d, queries + keys)
    return both[:len(queries)], both[len(queries):]


def scaled(rows, factor):
    return [[x * factor for x in row] for row in rows]


def small_integers(rng, d, Nq, Nk, most):
    width = min(d, rng.randint(1, 4))
    rows = [[rng.randint(-most, most) for _ in range(width)] for _ in range(Nq + Nk)]
    return rows[:Nq], rows[Nq:], width


def exact_integers(rng, shape, pool=None):
    """q and k of small integers times powers of two; with `pool`, so many different keys only."""
    *_, Nq, Nk, d = shape
    most = rng.choice([1, 3, 7])
    queries, keys, width = small_integers(rng, d, Nq, Nk, most)
    if pool:
        keys = [rng.choice(keys[:pool]) for _ in keys]
    if rng.random() < 0.2:
        queries = [queries[0] for _ in queries]
    exponent = math.floor(math.log2(largest_logit(rng) / (most * most * width)))
    a, b, scale = split_exponent(rng, exponent)
    q, k = place_both(rng, d, queries, keys)
    return scaled(q, a), scaled(k, b), scale


def ties(rng, shape):
    return exact_integers(rng, shape, pool=rng.choice([1, 2, 3]))


def dominating(rng, shape):
    """Logits of a few units, and keys whose logit is far above or below."""
    *_, Nq, Nk, d = shape
    spike = min(power_of_two(largest_logit(rng)), 2.0**MOST_PRODUCT) * 8
    queries = [[rng.randint(-2, 2), rng.choice([1, 1, 1, 0, -1])] for _ in range(Nq)]
    keys = [[rng.randint(-2, 2), 0] for _ in range(Nk)]
    for key in keys:
        if rng.random() < 1.5 / Nk:
            key[:] = [0, spike]
    if d == 1:
        queries, keys = ([row[1:] for row in rows] for rows in (queries, keys))
    q, k = place_both(rng, d, queries, keys)
    return q, k, rng.choice([1.0, 0.5, 0.125, -0.25])


def saw(rng, shape):
    """Logits that rise from key to key, fall, or do both: a new maximum in every tile, or none."""
    *_, Nq, Nk, d = shape
    period = rng.choice([2, 5, 16, 33, max(Nk, 2)])
    teeth = [j % period for j in range(Nk)]
    kind = rng.choice(["up", "down", "alternating"])
    if kind == "down":
        teeth = [-x for x in teeth]
    elif kind == "alternating":
        teeth = [x if j % 2 else -x for j, x in enumerate(teeth)]
    exponent = math.floor(math.log2(largest_logit(rng) / period))
    a, b, scale = split_exponent(rng, exponent)
    queries = [[rng.choice([1, 1, -1, 0, 2, 0.5])] for _ in range(Nq)]
    q, k = place_both(rng, d, queries, [[x] for x in teeth])
    return scaled(q, a), scaled(k, b), scale


def offset(rng, shape):
    """Large logits a few units apart: what matters are the last bits of float32."""
    *_, Nq, Nk, d = shape
    unit = 2.0**-rng.randint(0, 7)
    large = rng.choice([-1, 1]) * power_of_two(log_uniform(rng, 2**23 * unit / 1000, 2**23 * unit))
    steps = round(8 / unit)
    apart = [unit * rng.randint(-steps, steps) for _ in range(Nk)]
    if d == 1:
        queries, keys = [[rng.choice([1, 1, -1])] for _ in range(Nq)], [[large + x] for x in apart]
    else:
        queries = [[rng.choice([1, 1, 1, -1]), rng.randint(-2, 2)] for _ in range(Nq)]
        keys = [[large, x] for x in apart]
    q, k = place_both(rng, d, queries, keys)
    return q, k, rng.choice([1.0, 1.0, 0.5, -0.25])


def any_scale(rng, shape):
    """Any scale at all, on products that are powers of two or 0."""
    *_, Nq, Nk, d = shape
    scale = rng.choice([log_uniform(rng, 1e-3, 1e3), log_uniform(rng, 1e-38, 3e38),
                        log_uniform(rng, 1e30, 3e38), log_uniform(rng, 1e-44, 1e-30), 0.0])
    (scale,) = float32([scale * rng.choice([1, 1, -1])])
    logit = largest_logit(rng)
    exponent = 0 if scale == 0 else math.floor(math.log2(logit / abs(scale)))
    exponent = max(-MOST_PRODUCT, min(MOST_PRODUCT, exponent))
    a = exponent // 2
    nothing = rng.random() < 0.2
    queries = [[rng.choice([0, 1, 1, -1, 0.5])] for _ in range(Nq)]
    keys = [[0 if nothing else rng.choice([0, 1, -1, 0.5, 0.25])] for _ in range(Nk)]
    q, k = place_both(rng, d, queries, keys)
    return scaled(q, 2.0**a), scaled(k, 2.0**(exponent - a)), scale


def normal_rows(rng, rows, d, deviations):
    return [float32([rng.gauss(0, deviation) for _ in range(d)])
            for deviation in itertools.islice(deviations, rows)]


def normal(rng, shape):
    *_, Nq, Nk, d = shape
    deviation = [log_uniform(rng, 1e-2, rng.choice([10, 1e4])) for _ in "qk"]
    scale = rng.choice([None, None, log_uniform(rng, 1e-6, 1e6) * rng.choice([1, -1])])
    return (normal_rows(rng, Nq, d, itertools.repeat(deviation[0])),
            normal_rows(rng, Nk, d, itertools.repeat(deviation[1])),
            scale if scale is None else float32([scale])[0])


def mixture(rng, shape):
    """Rows and keys of very different sizes in one problem."""
    *_, Nq, Nk, d = shape
    rows = iter(lambda: rng.choice([0.0, 1e-20, 1.0, 1e3, 1e6]), None)
    keys = iter(lambda: rng.choice([0.0, 1.0, 1.0, 100.0]), None)
    return normal_rows(rng, Nq, d, rows), normal_rows(rng, Nk, d, keys), None


FAMILIES = [exact_integers, ties, dominating, saw, offset, any_scale, normal, mixture]


def random_case(seed):
    rng = random.Random(seed)
    family = rng.choice(FAMILIES)
    B, H, Nq, Nk, d = shape = random_shape(rng)
    q, k, scale = family(rng, shape)
    v, do = [], []
    q, k = ([rng.sample(rows, len(rows)) for _ in range(B * H)] for rows in (q, k))
    for heads, n in ((v, Nk), (do, Nq)):
        deviation = rng.choice([1.0, 1.0, 1e-3, 1e3])
        heads += [normal_rows(rng, n, d, itertools.repeat(deviation)) for _ in range(B * H)]
    mask = rng.choice(["full", "full", "causal", "top-left"])
    return Case(family.__name__, shape, mask, scale, q, k, v, do)


# ---- the named cases -----------------------------------------------------------------------------


def far_apart(rng, n, d, deviation, lead):
    """q and k of random rows; in every row of logits the largest leads by so much that rounding
    cannot change the answer."""
    k = normal_rows(rng, n, d, itertools.repeat(deviation))
    q = []
    while len(q) < n:
        (row,) = normal_rows(rng, 1, d, [deviation])
        second, first = sorted(dot(row, key) * d**-0.5 for key in k)[-2:]
        if first - second > lead:
            q.append(row)
    return q, k


def named_cases():
    rng = random.Random(SEED)
    ones = [[1.0] * 64 for _ in range(48)]
    one = Case("one_large_logit", (1, 1, 1, 1, 1), "full", 1.0, [[float32([1.7 * 2.0**33])]],
               [[[1.0]]], [[[3.0]]], [[[1.0]]])
    gauss = itertools.repeat(1.0)
    q, v = normal_rows(rng, 5, 8, gauss), normal_rows(rng, 9, 8, itertools.repeat(16.0))
    huge = Case("huge_scale", (1, 1, 5, 9, 8), "full", 3e38, [q], [[[0.0] * 8] * 9], [v],
                [ones[:5] and [[1.0] * 8] * 5])
    cases = [one, huge]
    for name, deviation in (("hundred_thousand", 100.0), ("ten_million", 1000.0)):
        q, k = far_apart(rng, 48, 64, deviation, 60.0)
        v = normal_rows(rng, 48, 64, gauss)
        cases.append(Case(name, (1, 1, 48, 48, 64), "full", None, [q], [k], [v], [ones]))
    return cases


@functools.lru_cache(maxsize=1)  # the steps of a case follow each other
def named_truth(head):
    o, lse = head.forward()
    head.slack = [0.0] * len(head.slack)  # the leader's lead makes up for any rounding
    return {
        "o": [(x, NAMED * max(max(map(abs, row)) for row in head.v)) for x, _ in o],
        "lse": [(x, NAMED + 2e-6 * abs(x)) for x, _ in lse],
    } | head.backward([x for x, _ in o], [x for x, _ in lse], NAMED)


def judge_named(head, got):
    """As judge(), but against the true P, not the one that a rounded LSE makes."""
    return {name: pairs for name, pairs in named_truth(head).items() if name in got}


def judge(head, got):
    o, lse = head.forward()
    expected = {"o": o, "lse": lse}
    if "dq" in got:
        expected |= head.backward(got["o"], got["lse"])
    return expected


# ---- running and judging -------------------------------------------------------------------------


class Fuzz:
    def __init__(self, options):
        self.options = options
        self.attn = os.path.abspath(options.attn)
        self.runs = 0
        self.failures = collections.Counter()
        self.steps = self.chosen_steps()

    def chosen_steps(self):
        """[(chapter, step, whether it has a backward pass)]"""
        try:
            result = subprocess.run([self.attn, "list", "--json"], stdout=subprocess.PIPE,
                                    text=True, check=True, timeout=TIMEOUT)
        except (OSError, subprocess.SubprocessError) as error:
            raise Usage(f"--attn {self.options.attn}: {error}; "
                        "allowed: the program attn") from error
        chapters = json.loads(result.stdout)["chapters"]
        if self.options.chapters:
            wanted = self.options.chapters.split(",")
            for name in wanted:
                if not any(chapter["id"].startswith(name) for chapter in chapters):
                    known = ", ".join(chapter["id"] for chapter in chapters)
                    raise Usage(f"--chapters {name}: allowed: beginnings of {known}")
            chapters = [chapter for chapter in chapters
                        if any(chapter["id"].startswith(name) for name in wanted)]
        steps = [(chapter["id"], step["id"], step["backward"]) for chapter in chapters
                 for step in chapter["steps"]
                 if self.options.step in (None, step["id"])
                 and "float32" in step["forward_elements"] + step["backward_elements"]]
        if any(step["runs_on"] == "no CUDA device" for chapter in chapters
               for step in chapter["steps"]):
            raise NoDevice
        if not steps:
            raise Usage(f"--step {self.options.step}: none of these chapters has it")
        return steps

    def outputs(self, case, step, folder):
        """{"o": [a list for each head], ...}; or what went wrong, as a text."""
        chapter, name, backward = step
        names = ["o", "lse"] + ["dq", "dk", "dv"] * backward
        command = [self.attn, "run", chapter, "--step", name, *case.options()]
        for array_name in ["q", "k", "v"] + ["do"] * backward + names:
            command += [f"--{array_name}", str(folder / f"{array_name}.npy")]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False,
                                    timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return f"no end after {TIMEOUT} s"
        if result.returncode != 0:
            return f"exit status {result.returncode}: {result.stderr.strip()}"
        arrays = {}
        heads = case.shape[0] * case.shape[1]
        for array_name in names:
            flat = read_npy(folder / f"{array_name}.npy")
            size = len(flat) // heads
            arrays[array_name] = [flat[h * size:(h + 1) * size] for h in range(heads)]
        return arrays

    def try_case(self, case, steps, judge_head, repeat):
        """Runs a case on some steps. `repeat`: the options that bring it back."""
        heads = [Head(case, h) for h in range(case.shape[0] * case.shape[1])]
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            case.write(folder)
            for step in steps:
                self.runs += 1
                text = self.verdict(case, step, heads, folder, judge_head)
                if text:
                    self.fail(case, step, text, repeat)

    def verdict(self, case, step, heads, folder, judge_head):
        """What is wrong first; empty if nothing is."""
        arrays = self.outputs(case, step, folder)
        if isinstance(arrays, str):
            return arrays
        widths = {"lse": 1}
        for h, head in enumerate(heads):
            got = {name: values[h] for name, values in arrays.items()}
            for name, pairs in judge_head(head, got).items():
                index = first_wrong(got[name], pairs)
                if index is None:
                    continue
                row, column = divmod(index, widths.get(name, case.d))
                place = f"{row}" if name == "lse" else f"{row}, {column}"
                want, tolerance = pairs[index]
                return (f"{name}[{place}] of head {h} = {got[name][index]:.9g}, "
                        f"expected {want:.9g} to {tolerance:.2g}")
        return ""

    def fail(self, case, step, text, repeat):
        chapter, name, _ = step
        self.failures[chapter, name, case.name] += 1
        if sum(self.failures.values()) <= MOST_SHOWN or self.options.all:
            print(f"FAILED {chapter} {name}, {case.describe()}\n  {text}\n"
                  f"  tests/fuzz_run.py --attn {self.options.attn} {repeat} --chapters {chapter} "
                  f"--step {name}", flush=True)

    def run(self):
        options = self.options
        for case in named_cases():
            if options.case in (None, case.name):
                self.try_case(case, self.steps, judge_named, f"--case {case.name}")
        if options.case is None:
            self.run_random()
        elif options.case.isdigit():
            self.try_case(random_case(int(options.case)), self.steps, judge,
                          f"--case {options.case}")
        if self.runs == 0:
            names = ", ".join(case.name for case in named_cases())
            raise Usage(f"--case {options.case}: allowed: a number, {names}")
        for (chapter, step, family), count in sorted(self.failures.items()):
            print(f"failed {count:4d} times: {chapter} {step}, {family}")
        print(f"{self.runs} runs, {sum(self.failures.values())} failed (seed {options.seed})")
        return 1 if self.failures else 0

    def run_random(self):
        rng = random.Random(self.options.seed)
        deadline = time.monotonic() + self.options.seconds
        for number in itertools.count():
            if number == self.options.cases or time.monotonic() > deadline:
                return
            seed = rng.randrange(2**32)
            steps = rng.sample(self.steps, min(STEPS_PER_CASE, len(self.steps)))
            self.try_case(random_case(seed), steps, judge, f"--case {seed}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attn", default=str(ROOT / "build" / "attn"), help="the program")
    parser.add_argument("--chapters", help="beginnings of ids, with commas; all by default")
    parser.add_argument("--step", help="this step only")
    parser.add_argument("--seconds", type=float, default=60.0, help="of random cases (60)")
    parser.add_argument("--cases", type=int, help="at most so many random cases")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the random cases ({SEED})")
    parser.add_argument("--case", help="this one only: its number, or its name")
    parser.add_argument("--all", action="store_true",
                        help=f"shows every failure, not the first {MOST_SHOWN} only")
    try:
        return Fuzz(parser.parse_args()).run()
    except NoDevice:
        print("skipped: no CUDA device")
        return 0
    except Usage as problem:
        print(f"fuzz_run.py: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
