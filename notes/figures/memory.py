#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws the memories of an H200: size against rate.

    notes/figures/memory.py > memory.svg

The numbers are those of the table in notes/memory.md, from common/simt/machine/device.cpp.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True
from formulas import in_bytes, three  # noqa: E402  (found by the line above)
from tables_memory import memories  # noqa: E402

DEVICE = "H200"
COLORS = {"registers": "#54a24b", "shared memory": "#4c78a8", "L2": "#b279a2", "HBM": "#f58518"}
WHO = {"registers": ("one thread's, up to 255", "the compiler fills them"),
       "shared memory": ("one block's, up to 227 KiB", "the program fills it"),
       "L2": ("all SMs'", "the hardware fills it"),
       "HBM": ("all threads', and the host's", "arrays live here")}
LEFT, WIDEST, ROW = 170, 330, 62


def text(x, y, content, size=12, weight="normal", anchor="start", fill="#333"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{fill}">{content}</text>')


def rect(x, y, width, height, fill):
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{fill}"/>'


def main():
    rows = memories()
    fastest = max(its[DEVICE][1] or 0 for its in rows.values())
    out = [text(10, 24, "The memories of an H200, all 132 SMs together", 15, "bold"),
           text(LEFT, 48, "how much comes in a second (length of the bar)"),
           text(680, 48, "how much fits", anchor="end")]
    for n, (name, its) in enumerate(rows.items()):
        size, rate = its[DEVICE]
        top = 62 + n * ROW
        out += [text(10, top + 16, name, 13, "bold"), text(10, top + 33, WHO[name][0], 11),
                text(10, top + 48, WHO[name][1], 11),
                text(680, top + 22, in_bytes(size), 13, "bold", "end")]
        if rate is None:
            out.append(text(LEFT, top + 22, "not published for this chip", 12, fill="#777"))
            continue
        width = max(2.0, WIDEST * rate / fastest)
        out += [rect(LEFT, top + 6, width, 22, COLORS[name]),
                text(LEFT + round(width) + 8, top + 22, f"{three(rate / 1e12)} TB/s")]
    height = 62 + len(rows) * ROW + 8
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" '
          f'font-family="sans-serif" role="img">')
    print("<title>Registers, shared memory, L2 and HBM of an H200: size and rate</title>")
    print(rect(0, 0, 700, height, "#fff"))
    print("\n".join(out))
    print("</svg>")


if __name__ == "__main__":
    main()
