# SPDX-License-Identifier: MIT
"""The tables of chapters/15_scores/README.md."""

from formulas import table

ROWS, KEYS, THREADS = 64, 32, 128  # of a tile, and of a block, at d <= 64
MIB = 2**20


def requested(N, d, per_pair=0, per_head=0):
    """Elements of a forward pass: each pair asks for so many numbers of a bias, each thread for so
    many of its head's."""
    tiles = N // ROWS
    return 2 * N * d + N + tiles * 2 * N * d + per_pair * N * N + per_head * THREADS * tiles


def compulsory(N, d, stored=0):
    return 4 * N * d + N + stored


def special_functions(softcap=False):
    """For each score: its own exp, and a 32nd of the 32 by which the lanes of a warp rescale their
    row, once per tile of 32 keys. A tanh is an exp and a reciprocal."""
    return 1 + 32 // KEYS + (2 if softcap else 0)


def mib(elements):
    size = 4 * elements / MIB
    return f"{size:.0f}" if size >= 100 else f"{size:.3g}" if size >= 0.01 else "0"


def score_costs_table():
    N, d = 4096, 64
    rows = []

    def row(name, stored, special=special_functions(), **asked):
        rows.append([name, mib(stored), mib(requested(N, d, **asked)),
                     mib(compulsory(N, d, stored)), special])
    row("nothing", 0)
    row("ALiBi", 1, per_head=1)
    row("a bias, a number per pair", N * N, per_pair=1)
    row("a bias, a number per key", N, per_pair=1)
    row("softcap", 0, special_functions(softcap=True))
    row("a sink", 1, per_head=1)
    row("dropout", 0)
    return table(["done to the scores", "stored for it, MiB:", "requested, MiB:",
                  "compulsory, MiB:", "special functions per score:"], rows)
