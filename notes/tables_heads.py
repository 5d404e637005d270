# SPDX-License-Identifier: MIT
"""The tables of chapters/16_heads/README.md."""

from formulas import table

H, D, KEYS, BYTES = 32, 128, 4096, 4  # of Llama 3 8B; a cache of float32
ROWS = 32  # of a tile at d = 128
GROUPS = (1, 2, 4, 8, 32)


def mib(elements):
    return f"{elements * BYTES / 2 ** 20:,.3g}"


def group_sizes_table():
    """One query of each head, and its keys in a cache: what comes, and what for."""
    rows = []
    for group in GROUPS:
        kv_heads = H // group
        cache = 2 * kv_heads * KEYS * D  # of K and V, of one layer
        each_head = 2 * H * KEYS * D
        tiles = -(-group // ROWS)  # of a group's rows
        flops = 4 * H * KEYS * D
        rows.append([kv_heads, group, mib(cache), mib(each_head), mib(tiles * cache),
                     kv_heads * tiles, f"{flops / (cache * BYTES):.3g}"])
    return table(["K/V heads:", "heads a group:", "K and V of a layer, MiB:",
                  "step 1 asks for, MiB:", "step 2, MiB:", "blocks of step 2:",
                  "FLOP per byte of K and V:"], rows)
