# SPDX-License-Identifier: MIT
"""The tables of notes/precision.md: number formats, and what they do to attention."""

import math
import random
import struct

from formulas import percent, table, three

# name: (bits, fraction bits, smallest exponent of a normal number, largest finite number)
FORMATS = {
    "float32": (32, 23, -126, (2 - 2 ** -23) * 2.0 ** 127),
    "bfloat16": (16, 7, -126, (2 - 2 ** -7) * 2.0 ** 127),
    "float16": (16, 10, -14, 65504.0),
    "FP8 e4m3": (8, 3, -6, 448.0),
}


def rounded(x, name):
    """x in the format, to nearest, ties to even; beyond the largest number: that one."""
    _, fraction, smallest, largest = FORMATS[name]
    if x == 0:
        return 0.0
    exponent = max(math.frexp(x)[1] - 1, smallest)
    step = 2.0 ** (exponent - fraction)
    return max(-largest, min(largest, round(x / step) * step))


def float32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def formats_table():
    rows = []
    for name, (bits, fraction, smallest, largest) in FORMATS.items():
        rows.append([name, bits, bits - 1 - fraction, fraction, f"2^−{fraction + 1}",
                     f"{largest:.4g}", f"{2.0 ** smallest:.3g}"])
    return table(["format", "bits:", "of the exponent:", "of the fraction:", "unit roundoff u:",
                  "largest:", "smallest normal:"], rows)


# ---- What rounding the inputs does to O --------------------------------------------------------

KEYS, COLUMNS, ROWS, VALUES = 512, 64, 16, 16
SEED = 1


def problem(outliers):
    """Q (ROWS, d), K (KEYS, d), V (KEYS, VALUES): normal; with outliers one number in a thousand
    has a normal of ten times the size added, as in FlashAttention-3's test."""
    rng = random.Random(SEED)

    def draw():
        x = rng.gauss(0, 1)
        return x + rng.gauss(0, 10) if outliers and rng.random() < 0.001 else x
    return [[[draw() for _ in range(width)] for _ in range(rows)]
            for rows, width in ((ROWS, COLUMNS), (KEYS, COLUMNS), (KEYS, VALUES))]


def to_format(matrix, name, whole_range):
    """The matrix rounded. whole_range: scaled first, so that its largest number is the format's."""
    scale = 1.0
    if whole_range:
        scale = FORMATS[name][3] / max(abs(x) for row in matrix for x in row)
    return [[rounded(x * scale, name) / scale for x in row] for row in matrix]


def to_integers(matrix):
    """The matrix in steps of its largest number / 127."""
    step = max(abs(x) for row in matrix for x in row) / 127
    return [[round(x / step) * step for x in row] for row in matrix]


def attention(q, k, v, weight=lambda p: p):
    outputs = []
    for row in q:
        scores = [sum(map(float.__mul__, row, key)) / math.sqrt(COLUMNS) for key in k]
        top = max(scores)
        p = [math.exp(s - top) for s in scores]
        total = sum(p)
        p = [weight(x) for x in p]
        outputs.append([sum(x * value[c] for x, value in zip(p, v)) / total
                        for c in range(VALUES)])
    return outputs


def error(outputs, exact):
    pairs = [(a, b) for x, y in zip(outputs, exact) for a, b in zip(x, y)]
    return math.sqrt(sum((a - b) ** 2 for a, b in pairs) / sum(b * b for _, b in pairs))


def inputs_table():
    rows = []
    problems = [problem(outliers) for outliers in (False, True)]
    exact = [attention(*its) for its in problems]
    for name, what in (("bfloat16", "Q, K, V"), ("float16", "Q, K, V"),
                       ("FP8 e4m3", "Q, K, V and P"), ("8-bit integers", "Q and K")):
        row = [name, what]
        for (q, k, v), right in zip(problems, exact):
            if name == "8-bit integers":
                o = attention(to_integers(q), to_integers(k), v)
            elif name == "FP8 e4m3":
                o = attention(*(to_format(its, name, True) for its in (q, k, v)),
                              weight=lambda p: rounded(256 * p, "FP8 e4m3") / 256)
            else:
                o = attention(*(to_format(its, name, False) for its in (q, k, v)))
            row.append(percent(error(o, right)))
        rows.append(row)
    return table(["stored as", "what", "error of O, normal inputs:", "with outliers:"], rows)


# ---- What the accumulator does ------------------------------------------------------------------

def dot(a, b, keep):
    total = 0.0
    for x, y in zip(a, b):
        total = keep(total + x * y)
    return total


def sums_table():
    """Sums of products of positive numbers, one after the other: relative errors."""
    rng = random.Random(SEED)
    rows = []
    for length in (64, 1024, 16384):
        a = [rounded(rng.random(), "float16") for _ in range(length)]
        b = [rounded(rng.random(), "float16") for _ in range(length)]
        exact = math.fsum(x * y for x, y in zip(a, b))
        row = [f"{length:,}"]
        for keep in (float32, lambda x: rounded(x, "float16"), lambda x: rounded(x, "bfloat16")):
            row.append(f"{abs(dot(a, b, keep) / exact - 1):.1e}")
        rows.append(row)
    return table(["terms:", "float32 sum:", "float16 sum:", "bfloat16 sum:"], rows)


# ---- What a tolerance sees ----------------------------------------------------------------------

def tolerance_table():
    """How large the outputs of attention are, and what an absolute tolerance lets pass."""
    rng = random.Random(SEED)
    rows = []
    for N in (64, 1024, 8192):
        outputs = []
        for _ in range(100):
            p = [math.exp(rng.gauss(0, 1)) for _ in range(N)]
            total = sum(p)
            outputs.append(sum(x * rng.gauss(0, 1) for x in p) / total)
        size = math.sqrt(sum(o * o for o in outputs) / len(outputs))
        small = sum(abs(o) <= 0.01 for o in outputs)
        rows.append([f"{N:,}", three(size), percent(small, len(outputs))])
    return table(["N:", "size of O (root of the mean square):", "zeros pass at 0.01:"], rows)
