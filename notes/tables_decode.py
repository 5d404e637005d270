# SPDX-License-Identifier: MIT
"""The tables of chapters/17_decode/README.md."""

from formulas import devices, percent, table, three

H, KV_HEADS, D, KEYS, BYTES = 32, 8, 128, 4096, 4  # of Llama 3 8B; a cache of float32
TILE = 32  # keys
DEVICE = "H200"
SPLITS = (1, 4, 8, 15, 16, 17, 32)
LONG = 32750  # keys in a longer cache
WINDOWS = ((None, 0), (1023, 0), (1023, 4), (4095, 4))  # keys before the row's own; sink keys


def mib(elements):
    return three(elements * BYTES / 2 ** 20)


def requested(splits):
    """Elements that the threads of steps 3 and 4 and of the merge ask for: K and V once for a
    group; the queries for every run; what the runs leave, out and in; O and LSE."""
    partial = splits * H * (D + 2)
    return 2 * KEYS * D * KV_HEADS + splits * H * D + 2 * partial + H * (D + 1)


def unsplit():
    """The same of one run that divides its own O: chapter 16's step 2."""
    return 2 * KEYS * D * KV_HEADS + H * D + H * (D + 1)


def longest_run(splits):
    return -(-KEYS // TILE // splits)


def busy(splits):
    """The part of all multiprocessors' time that is work, if a tile always takes equally long: the
    busiest of them has so many blocks, one after the other or at a time."""
    chip = int(devices()[DEVICE]["multiprocessors"])
    turns = -(-KV_HEADS * splits // chip)
    return KV_HEADS * KEYS // TILE / (chip * turns * longest_run(splits))


def splits_table():
    rows = []
    for splits in SPLITS:
        rows.append([splits, KV_HEADS * splits, longest_run(splits), percent(busy(splits)),
                     mib(requested(splits)), percent(requested(splits) / unsplit() - 1)])
    return table(["runs S:", "blocks:", "tiles of a run, at most:", "of the chip at work:",
                  "asked for, MiB:", "more than without runs:"], rows)


def tiles_seen(count, before, sinks):
    """Tiles of which the last query sees a key."""
    first = 0 if before is None else max(0, count - 1 - before)
    return {j // TILE for j in range(count) if j >= first or j < sinks}


def windows_table():
    """K and V of a long cache that steps 3 and 4 load for one query of every head."""
    rows = []
    for before, sinks in WINDOWS:
        seen = tiles_seen(LONG, before, sinks)
        keys = sum(min(TILE, LONG - tile * TILE) for tile in seen)
        visible = LONG if before is None else before + 1 + sinks
        rows.append(["all" if before is None else f"{before + 1:,}", sinks, f"{visible:,}",
                     mib(2 * LONG * D * KV_HEADS), mib(2 * keys * D * KV_HEADS), len(seen)])
    return table(["window:", "sink keys:", "keys seen:", "step 3 loads, MiB:",
                  "step 4, MiB:", "in tiles:"], rows)
