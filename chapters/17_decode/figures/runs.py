#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws how the tiles of a cache lie on the multiprocessors of a GPU, in more and more runs.

    chapters/17_decode/figures/runs.py > runs.svg
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "notes"))
sys.dont_write_bytecode = True
from tables_decode import CHIP, KEYS, KV_HEADS, TILE, schedule  # noqa: E402  (the line above)

SPLITS = (1, 4, 8, 16, 17, 32)
WIDTH, HEIGHT = 4, 2  # of a tile's time, of a multiprocessor, in pixels
COLORS = ("#4c78a8", "#f58518")  # a multiprocessor's first block, and its second
TOP, LEFT, GAP = 84, 24, 62


def rect(x, y, width, height, fill):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'


def text(x, y, content, size=12, weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'fill="#333">{content}</text>')


def panel(x, splits):
    """The chip downwards, time to the right; and how long it takes, in tiles."""
    blocks, took = schedule(splits)
    bars = [rect(x + begin * WIDTH, TOP + sm * HEIGHT, tiles * WIDTH - 1, HEIGHT,
                 COLORS[min(1, begin)]) for sm, begin, tiles in blocks]
    return [text(x, 24, f"S = {splits}", 14, "bold"),
            text(x, 44, f"{len(blocks)} blocks"),
            text(x, 62, f"{took} tiles"),
            rect(x, TOP, took * WIDTH, CHIP * HEIGHT, "#e4e7eb"), *bars], took


def main():
    x, out = LEFT, []
    for splits in SPLITS:
        drawn, took = panel(x, splits)
        out += drawn
        x += max(took * WIDTH, 28) + GAP
    width, height = x - GAP + LEFT + 40, TOP + CHIP * HEIGHT + 34
    out.append(text(LEFT, height - 12,
                    f"{KV_HEADS * KEYS // TILE:,} tiles of {TILE} keys, {KV_HEADS} heads of K and "
                    f"V, on {CHIP} multiprocessors, one downwards each; time to the right"))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'font-family="sans-serif" role="img">')
    print("<!-- SPDX-License-Identifier: MIT -->")
    print("<title>One cache in 1 to 32 runs on the multiprocessors of a GPU</title>")
    print("\n".join([rect(0, 0, width, height, "#fff"), *out]))
    print("</svg>")


if __name__ == "__main__":
    main()
