#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws S of an image with windows, its tokens in two orders, and the tiles that are touched.

    chapters/13_packed/figures/orders.py > orders.svg
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "notes"))
sys.dont_write_bytecode = True
from tables_packed import KEYS, ROWS, segments, tiles  # noqa: E402  (found by the line above)

SIDE, WINDOW = 16, 8
TOKENS = SIDE * SIDE  # one pixel each way
COLORS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")
TOP, LEFT, GAP = 66, 40, 90


def rect(x, y, width, height, fill):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'


def text(x, y, content, size=12, weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'fill="#333">{content}</text>')


def runs(order, segment):
    """[(first, length)] of the tokens of a segment."""
    found = []
    for at, its in enumerate(order):
        if its != segment:
            continue
        if found and sum(found[-1]) == at:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((at, 1))
    return found


def panel(x, title, order):
    """S, row by row downwards: touched tiles grey, visible pairs in the colour of the window."""
    out = [text(x, 24, title, 14, "bold"),
           text(x, 44, f"{tiles(order)} of {TOKENS // ROWS * (TOKENS // KEYS)} tiles touched"),
           rect(x, TOP, TOKENS, TOKENS, "#f4f5f7")]
    for i in range(0, TOKENS, ROWS):
        for j in range(0, TOKENS, KEYS):
            if not set(order[i:i + ROWS]).isdisjoint(order[j:j + KEYS]):
                out.append(rect(x + j, TOP + i, KEYS, ROWS, "#d5dbe3"))
    for segment, color in zip(sorted(set(order)), COLORS):
        path = "".join(f"M{x + j} {TOP + i}h{keys}v{rows}h-{keys}z"
                       for i, rows in runs(order, segment) for j, keys in runs(order, segment))
        out.append(f'<path fill="{color}" d="{path}"/>')
    lines = "".join(f"M{x} {TOP + i}h{TOKENS}" for i in range(0, TOKENS + 1, ROWS))
    lines += "".join(f"M{x + j} {TOP}v{TOKENS}" for j in range(0, TOKENS + 1, KEYS))
    out.append(f'<path stroke="#52606d" stroke-width="0.7" fill="none" d="{lines}"/>')
    return out


def main():
    raster = segments(SIDE, SIDE, WINDOW, 0)
    second = LEFT + TOKENS + GAP
    width, height = second + TOKENS + LEFT, TOP + TOKENS + 34
    out = [rect(0, 0, width, height, "#fff")]
    out += panel(LEFT, "raster order", raster) + panel(second, "window order", sorted(raster))
    out.append(text(LEFT, height - 12, f"S of a {SIDE} × {SIDE} image, windows of {WINDOW} × "
                    f"{WINDOW}: queries down, keys across; tiles of {ROWS} × {KEYS}"))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'font-family="sans-serif" role="img">')
    print("<!-- SPDX-License-Identifier: MIT -->")
    print("<title>Visible pairs and touched tiles of S, in raster and in window order</title>")
    print("\n".join(out))
    print("</svg>")


if __name__ == "__main__":
    main()
