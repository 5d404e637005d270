# SPDX-License-Identifier: MIT
"""The tables of chapters/13_packed/README.md."""

from formulas import table

ROWS, KEYS = 64, 32  # of chapter 07's tiles at d = 64

# height, width, window, shift
IMAGES = ((16, 16, 8, 0), (16, 16, 7, 0), (16, 16, 4, 0), (56, 56, 7, 0), (56, 56, 7, 3),
          (64, 64, 4, 0), (64, 64, 8, 0), (64, 64, 8, 4))


def segments(height, width, window, shift):
    """For each token in raster order, what tells its segment: the window in the image rolled by
    `shift`, and across which edges it has come there."""
    def place(at, size):
        return (at - shift) % size // window, at < shift
    return [place(y, height) + place(x, width) for y in range(height) for x in range(width)]


def tiles(order):
    """Tiles of S of which a pair is visible, tokens in this order."""
    def parts(size):
        return [set(order[first:first + size]) for first in range(0, len(order), size)]
    keys = parts(KEYS)
    return sum(not rows.isdisjoint(of) for rows in parts(ROWS) for of in keys)


def lengths(order):
    return [order.count(segment) for segment in sorted(set(order))]


def packed_tiles(sizes):
    """The same where every segment begins tiles of its own."""
    return sum(-(-size // ROWS) * -(-size // KEYS) for size in sizes)


def image_windows_table():
    rows = []
    for height, width, window, shift in IMAGES:
        raster = segments(height, width, window, shift)
        sizes = lengths(raster)
        tokens = height * width
        all_tiles = tokens // ROWS * (tokens // KEYS)

        def percent(part, whole):
            return f"{100 * part / whole:.3g} %"
        rows.append([f"{height} × {width}", f"{window} × {window}", shift or "-",
                     percent(sum(size * size for size in sizes), tokens * tokens),
                     percent(tiles(raster), all_tiles), percent(tiles(sorted(raster)), all_tiles),
                     percent(packed_tiles(sizes), all_tiles)])
    return table(["image", "windows", "shift:", "pairs:", "raster order:", "window order, ranges:",
                  "window order, packed:"], rows)
