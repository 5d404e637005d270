# SPDX-License-Identifier: MIT
"""The tables of chapters/14_masks/README.md."""

import math
import random

from formulas import percent, table

ROWS, KEYS = 64, 32  # of the chapter's tiles at d = 64

# ---- What a mask costs to read -----------------------------------------------------------------


def in_mib(size):
    return f"{size / 2 ** 20:,.4g} MiB"


def mask_bytes_table():
    rows = []
    for N in (1024, 4096, 16384):
        tensors = 4 * N * 64 * 4
        rows.append([f"{N:,}", in_mib(tensors), in_mib(4 * N * N), in_mib(N * N),
                     in_mib(N * N // 8)])
    return table(["N:", "Q, K, V, O:", "float32, 4N²:", "bytes, N²:", "bits, N²/8:"], rows)


# ---- Neighbourhood attention -------------------------------------------------------------------

# height and width, side of the neighbourhood
IMAGES = ((16, 7), (32, 7), (64, 7), (128, 7), (32, 13), (64, 13), (128, 13))
WINDOW = 8  # so that a tile of queries is one window


def neighbourhoods(size, side):
    """For each token of a square image in raster order, the tokens that it sees: at the edges the
    square is moved inside."""
    def axis(at):
        first = min(max(at - side // 2, 0), size - side)
        return range(first, first + side)
    return [[size * key_y + key_x for key_y in axis(y) for key_x in axis(x)]
            for y in range(size) for x in range(size)]


def window_order(size):
    """Which token of a square image in raster order stands where in window order."""
    return sorted(range(size * size),
                  key=lambda token: (token // size // WINDOW, token % size // WINDOW, token))


def pairs_of_tiles(order, seen):
    """{(tile of queries, tile of keys): visible pairs}, tokens in this order."""
    place = [0] * len(order)
    for at, token in enumerate(order):
        place[token] = at
    pairs = {}
    for at, token in enumerate(order):
        for key in seen[token]:
            tile = at // ROWS, place[key] // KEYS
            pairs[tile] = pairs.get(tile, 0) + 1
    return pairs


def neighbourhoods_table():
    rows = []
    for size, side in IMAGES:
        seen, tokens = neighbourhoods(size, side), size * size

        def part(order):
            tiles = len(pairs_of_tiles(order, seen))
            return percent(tiles, tokens // ROWS * (tokens // KEYS))
        rows.append([f"{size} × {size}", f"{side} × {side}", percent(side * side, tokens),
                     part(range(tokens)), part(window_order(size))])
    return table(["image", "each sees", "pairs:", "raster order, tiles:", "window order, tiles:"],
                 rows)


# ---- Dynamic block sparsity --------------------------------------------------------------------

TOKENS, WIDTH, SEED = 512, 32, 1
TOPIC = 64  # tokens of a topic: one tile of queries
SHARE = 0.8  # of a token's variance that it shares with its topic
KEPT = (1, 2, 4, 8)


def tokens_of(kind):
    """Q and K: every number normal; "topics" and "topics, shuffled" have groups of TOPIC tokens
    around a common centre, side by side or anywhere."""
    rng = random.Random(SEED)

    def draw():
        return [rng.gauss(0, 1) for _ in range(WIDTH)]
    if kind == "normal":
        return [draw() for _ in range(TOKENS)], [draw() for _ in range(TOKENS)]
    centres = [draw() for _ in range(TOKENS // TOPIC)]

    def around(centre):
        return [math.sqrt(SHARE) * c + math.sqrt(1 - SHARE) * n for c, n in zip(centre, draw())]
    q, k = ([around(centres[token // TOPIC]) for token in range(TOKENS)] for _ in range(2))
    order = list(range(TOKENS))
    if kind == "topics, shuffled":
        rng.shuffle(order)
    return [q[token] for token in order], [k[token] for token in order]


def dot(a, b):
    return math.fsum(map(float.__mul__, a, b))


def mean(rows):
    return [math.fsum(column) / len(rows) for column in zip(*rows)]


def tiles_of(rows, size):
    return [rows[first:first + size] for first in range(0, len(rows), size)]


def lost_weight(kind):
    """{(how tiles are chosen, tiles kept): part of the weight of a row that is lost, on average}.
    Chosen by mean q times mean k of a tile, or by the weight itself, which nobody knows before.
    """
    q, k = tokens_of(kind)
    key_means = [mean(tile) for tile in tiles_of(k, KEYS)]
    lost = {}
    for tile in tiles_of(q, ROWS):
        weights = []  # of every row of the tile in every tile of keys
        for row in tile:
            p = [math.exp(dot(row, key) / math.sqrt(WIDTH)) for key in k]
            total = math.fsum(p)
            weights.append([math.fsum(its) / total for its in tiles_of(p, KEYS)])
        query_mean = mean(tile)
        guess = [dot(query_mean, key_mean) for key_mean in key_means]
        for name, worth in (("mean", guess), ("best", mean(weights))):
            order = sorted(range(len(worth)), key=lambda j: -worth[j])
            for kept in KEPT:
                its = math.fsum(mean(weights)[j] for j in order[kept:])
                lost[name, kept] = lost.get((name, kept), 0) + its * ROWS / TOKENS
    return lost


def kept_tiles_table():
    rows = []
    for kind in ("normal", "topics", "topics, shuffled"):
        lost = lost_weight(kind)
        for name, title in (("mean", "mean q · mean k"), ("best", "the best possible")):
            rows.append([kind, title] + [percent(lost[name, kept]) for kept in KEPT])
    tiles = TOKENS // KEYS
    return table(["inputs", "tiles chosen by"] + [f"{kept} of {tiles} kept:" for kept in KEPT],
                 rows)
