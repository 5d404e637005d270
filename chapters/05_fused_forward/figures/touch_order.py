#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws the order of touches from the log of touch_log.cpp.

    build/ch05_touch_log | chapters/05_fused_forward/figures/touch_order.py > touch_order.svg

Time runs to the right, one column per 2,048 loads and stores; the rows of K, V, Q and O run down.
"""

import csv
import pathlib
import sys

ARRAYS = ["K", "V", "Q", "O"]
ROWS = 256  # of each array
ROWS_PER_CELL = 16
LEFT, TOP, CELL, GAP = 92, 64, 6, 22
HEIGHT = ROWS // ROWS_PER_CELL * CELL
WIDTH = 856

STYLE = """
  text { font: 13px "DejaVu Sans", Verdana, sans-serif; fill: #1f2933; }
  .head { font-weight: bold; font-size: 14px; }
  .card { fill: #ffffff; }
  .array { fill: #eef2f7; }
  .load { fill: #2f6fb0; }
  .store { fill: #d9822b; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .card { fill: #161b22; }
    .array { fill: #222b36; }
    .load { fill: #6cb0f2; }
    .store { fill: #f0a04b; }
  }
"""


def runs(columns):
    """[(first, last)] of neighbouring numbers."""
    found = []
    for column in sorted(columns):
        if found and column == found[-1][1] + 1:
            found[-1][1] = column
        else:
            found.append([column, column])
    return found


def read(log):
    """{(array, cell, is a store): columns} of a log, and the number of columns."""
    touched = {}
    last = 0
    for row in csv.DictReader(log):
        column = int(row["column"])
        last = max(last, column)
        key = (row["array"], int(row["cell"]), row["store"] == "1")
        touched.setdefault(key, set()).add(column)
    return touched, last + 1


def top(name):
    """Where the band of an array begins."""
    return TOP + ARRAYS.index(name) * (HEIGHT + GAP)


def head(height, title, description):
    """The first lines of a picture 960 wide, up to and with its legend."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" width="960" '
        f'height="{height}" role="img" aria-labelledby="title desc">',
        "<!-- SPDX-License-Identifier: MIT -->",
        f"<!-- Made by {pathlib.Path(sys.argv[0]).name} from the log of touch_log.cpp. -->",
        f'<title id="title">{title}</title>',
        f'<desc id="desc">{description}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="card" width="960" height="{height}"/>',
        f'<rect class="load" x="{LEFT}" y="38" width="12" height="12"/>'
        f'<text x="{LEFT + 18}" y="49">load</text>',
        f'<rect class="store" x="{LEFT + 70}" y="38" width="12" height="12"/>'
        f'<text x="{LEFT + 88}" y="49">store</text>',
    ]


def labels():
    """The names of the arrays and the numbers of their rows, left of the bands."""
    out = []
    for name in ARRAYS:
        y = top(name)
        out.append(f'<text class="head" x="16" y="{y + HEIGHT / 2 + 5:.0f}">{name}</text>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">0</text>')
        out.append(f'<text x="{LEFT - 8}" y="{y + HEIGHT}" text-anchor="end">{ROWS - 1}</text>')
    return out


def bands(log, left, width):
    """The four arrays with their touches, as wide as `width`."""
    touched, columns_in_all = read(log)
    step = width / columns_in_all
    out = [f'<rect class="array" x="{left}" y="{top(name)}" width="{width}" height="{HEIGHT}"/>'
           for name in ARRAYS]
    for (name, cell, store), columns in sorted(touched.items()):
        # A cell that is both loaded and stored in one column shows both, one above the other.
        half = CELL / 2
        kind = "store" if store else "load"
        y = top(name) + cell * CELL
        both = touched.get((name, cell, not store), set())
        for first, final in runs(columns - both):
            out.append(f'<rect class="{kind}" x="{left + first * step:.1f}" '
                       f'y="{y}" width="{(final - first + 1) * step:.1f}" height="{CELL}"/>')
        for first, final in runs(columns & both):
            out.append(f'<rect class="{kind}" x="{left + first * step:.1f}" '
                       f'y="{y + (half if store else 0):.0f}" '
                       f'width="{(final - first + 1) * step:.1f}" height="{half:.0f}"/>')
    return out


def main():
    height = top(ARRAYS[-1]) + HEIGHT + 34
    out = head(height, "The order of touches",
               "Loads and stores of global memory by one block over time, N = 256, d = 64. K and V "
               "are walked once, in eight steps. In each step all of Q is loaded, and all of O is "
               "loaded and stored, but for the first step, which only stores O.")
    out.append(f'<text class="head" x="{LEFT}" y="24">What one block touches in HBM, in order '
               "(N = 256, d = 64, Br = 64, Bc = 32)</text>")
    out += labels() + bands(sys.stdin, LEFT, WIDTH)
    out.append(f'<text x="{LEFT}" y="{height - 12}">time: every load and store, in the order in '
               "which they happen →</text>")
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
