#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws the loop orders of chapters 05 and 07 side by side, from their logs.

    build/ch05_touch_log > 05.csv
    build/ch05_touch_log 07 step1_loop_swap > 07.csv
    chapters/07_v2_loop_order/figures/loop_orders.py 05.csv 07.csv > loop_orders.svg

Time runs to the right in both, over the same number of loads and stores per unit of length.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "05_fused_forward/figures"))
import touch_order as before  # noqa: E402

GAP = 28  # between the two halves
BLOCKS = 4  # of the second half: tiles of 64 queries


def main():
    logs = [pathlib.Path(name).read_text(encoding="utf-8").splitlines() for name in sys.argv[1:3]]
    columns = [before.read(log)[1] for log in logs]
    widths = [(before.WIDTH - GAP) * n / sum(columns) for n in columns]
    lefts = [before.LEFT, before.LEFT + widths[0] + GAP]
    bottom = before.top(before.ARRAYS[-1]) + before.HEIGHT
    height = bottom + 58
    out = before.head(height, "Two loop orders",
                      "Loads and stores of global memory over time, N = 256, d = 64. Left, chapter "
                      "05, one block: K and V are walked once; Q is loaded eight times, O loaded "
                      "seven times and stored eight times. Right, chapter 07, four blocks: each "
                      "loads its quarter of Q once, walks all of K and V, and stores its quarter "
                      "of O once.")
    for left, text in zip(lefts, ("05: K and V stay", "07: Q and O stay"), strict=True):
        out.append(f'<text class="head" x="{left:.1f}" y="24">{text}</text>')
    out += before.labels()
    for log, left, width in zip(logs, lefts, widths, strict=True):
        out += before.bands(log, round(left, 1), round(width, 1))
    out.append(f'<text x="{lefts[0]:.1f}" y="{bottom + 20}">one block, from start to end →</text>')
    for block in range(BLOCKS):
        x = lefts[1] + (block + 0.5) * widths[1] / BLOCKS
        out.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">block {block}</text>')
    out.append(f'<text x="{lefts[1]:.1f}" y="{bottom + 42}">on a GPU all four at '
               "once</text>")
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
