#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws how long each resource of an H200 is busy with four forward passes.

    notes/figures/busy.py > busy.svg

The numbers are those of the first table of computed ones in notes/limits.md.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True
from formulas import three  # noqa: E402  (found by the line above)
from tables_limits import FORWARDS, resource_seconds  # noqa: E402

COLORS = {"HBM": "#f58518", "shared memory": "#4c78a8", "multiply-adds": "#54a24b",
          "issue slots": "#b279a2"}
TITLES = {"03": "tiled, S in HBM", "05": "fused, FlashAttention-1", "07": "loops swapped",
          "08": "register tiles"}
LEFT, WIDEST, BAR, ROW, TOP = 190, 400, 13, 76, 70


def text(x, y, content, size=12, weight="normal", fill="#333"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'fill="{fill}">{content}</text>')


def rect(x, y, width, height, fill):
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{fill}"/>'


def main():
    passes = [(chapter[:2], resource_seconds(chapter, step)) for chapter, step, _ in FORWARDS]
    longest = max(times[name] for _, times in passes for name in COLORS)
    height = TOP + ROW * len(passes)
    out = [rect(0, 0, 700, height, "#fff"),
           text(10, 24, "How long an H200 is busy with what, in milliseconds", 15, "bold")]
    x = LEFT
    for name, color in COLORS.items():
        out += [rect(x, 40, 12, 12, color), text(x + 17, 51, name)]
        x += 40 + 8 * len(name)
    for n, (chapter, times) in enumerate(passes):
        top = TOP + n * ROW
        out += [text(10, top + 26, chapter, 15, "bold"), text(36, top + 26, TITLES[chapter])]
        for bar, (name, color) in enumerate(COLORS.items()):
            width = max(1.5, WIDEST * times[name] / longest)
            y = top + bar * (BAR + 3)
            out += [rect(LEFT, y, width, BAR, color),
                    text(LEFT + round(width) + 6, y + 11, three(1e3 * times[name]), 11)]
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" '
          f'font-family="sans-serif" role="img">')
    print("<title>Busy times of HBM, shared memory, multiply-adds and issue slots</title>")
    print("\n".join(out))
    print("</svg>")


if __name__ == "__main__":
    main()
