#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws S of neighbourhood attention in tiles, its tokens in two orders: how many pairs each has.

    chapters/14_masks/figures/tiles.py > tiles.svg
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "notes"))
sys.dont_write_bytecode = True
from tables_masks import (  # noqa: E402  (found by the line above)
    KEYS, ROWS, neighbourhoods, pairs_of_tiles, window_order)

SIZE, SIDE = 32, 7
TOKENS = SIZE * SIZE
SCALE = 4  # tokens per pixel
WIDTH = TOKENS // SCALE
TOP, LEFT, GAP = 66, 40, 60
# Up to which part of a tile's pairs is visible, and its colour.
SHADES = ((0.1, "#d5dbe3"), (0.2, "#9fb6d6"), (0.3, "#4c78a8"), (1.0, "#2f4b6b"))


def rect(x, y, width, height, fill):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'


def text(x, y, content, size=12, weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'fill="#333">{content}</text>')


def shade(part):
    return next(color for most, color in SHADES if part <= most)


def panel(x, title, order):
    """S, row by row downwards: a rectangle for each tile with a pair."""
    pairs = pairs_of_tiles(order, neighbourhoods(SIZE, SIDE))
    out = [text(x, 24, title, 14, "bold"),
           text(x, 44, f"{len(pairs)} of {TOKENS // ROWS * (TOKENS // KEYS)} tiles listed"),
           rect(x, TOP, WIDTH, WIDTH, "#f4f5f7")]
    width, height = KEYS // SCALE, ROWS // SCALE
    paths = {}
    for (i, j), count in sorted(pairs.items()):
        path = f"M{x + j * width} {TOP + i * height}h{width}v{height}h-{width}z"
        color = shade(count / (ROWS * KEYS))
        paths[color] = paths.get(color, "") + path
    out += [f'<path fill="{color}" stroke="#fff" stroke-width="0.7" d="{path}"/>'
            for color, path in paths.items()]
    return out


def legend(x, y):
    out, least = [], 0
    for most, color in SHADES:
        words = f"to {most:.0%}" if most < 1 else f"more than {least:.0%}"
        out += [rect(x, y - 10, 12, 12, color), text(x + 17, y, words)]
        x, least = x + 80, most
    return out + [text(x + 50, y, "of its pairs visible")]


def main():
    second = LEFT + WIDTH + GAP
    width, height = second + WIDTH + LEFT, TOP + WIDTH + 60
    out = [rect(0, 0, width, height, "#fff")]
    out += panel(LEFT, "raster order", range(TOKENS))
    out += panel(second, "window order", window_order(SIZE))
    out += legend(LEFT, height - 34)
    out.append(text(LEFT, height - 12, f"S of a {SIZE} × {SIZE} image, each token sees {SIDE} × "
                    f"{SIDE}: queries down, keys across; tiles of {ROWS} × {KEYS}"))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'font-family="sans-serif" role="img">')
    print("<!-- SPDX-License-Identifier: MIT -->")
    print("<title>Tiles of S with a visible pair, in raster and in window order</title>")
    print("\n".join(out))
    print("</svg>")


if __name__ == "__main__":
    main()
