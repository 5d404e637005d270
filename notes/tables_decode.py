# SPDX-License-Identifier: MIT
"""The tables of chapters/17_decode/README.md."""

from formulas import devices, percent, table, three

H, KV_HEADS, D, KEYS, BYTES = 32, 8, 128, 4096, 4  # of Llama 3 8B; a cache of float32
TILE = 32  # keys
CHIP = int(devices()["H200"]["multiprocessors"])
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


def runs(splits):
    """Tiles of each block: the runs of a head one behind the other, head by head."""
    tiles = KEYS // TILE
    return [tiles * (n + 1) // splits - tiles * n // splits
            for _ in range(KV_HEADS) for n in range(splits)]


def schedule(splits):
    """[(multiprocessor, begin, tiles)] of each block, in time for a tile, and the end of all, if a
    tile always takes equally long and who is free first takes the next block."""
    busy_until, placed = [0] * CHIP, []
    for tiles in runs(splits):
        sm = busy_until.index(min(busy_until))
        placed.append((sm, busy_until[sm], tiles))
        busy_until[sm] += tiles
    return placed, max(busy_until)


def cache_splits_table():
    rows = []
    for splits in SPLITS:
        took = schedule(splits)[1]
        rows.append([splits, KV_HEADS * splits, max(runs(splits)), took,
                     percent(sum(runs(splits)) / (CHIP * took)), mib(requested(splits)),
                     percent(requested(splits) / unsplit() - 1)])
    return table(["runs S:", "blocks:", "tiles of a run, at most:", "all take, in tiles:",
                  "of the chip at work:", "asked for, MiB:", "more than without runs:"], rows)


def tiles_seen(count, before, sinks):
    """Tiles of which the last query sees a key."""
    first = 0 if before is None else max(0, count - 1 - before)
    return {j // TILE for j in range(count) if j >= first or j < sinks}


def cache_windows_table():
    """K and V of a long cache that steps 3 and 4 load for one query of every head."""
    rows = []
    for before, sinks in WINDOWS:
        seen = tiles_seen(LONG, before, sinks)
        keys = sum(min(TILE, LONG - tile * TILE) for tile in seen)
        visible = LONG if before is None else before + 1 + sinks
        rows.append(["all" if before is None else f"{before + 1:,}", sinks, f"{visible:,}",
                     mib(2 * LONG * D * KV_HEADS), mib(2 * keys * D * KV_HEADS), f"{len(seen):,}"])
    return table(["window:", "sink keys:", "keys seen:", "step 3 loads, MiB:",
                  "step 4, MiB:", "in tiles:"], rows)
