#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws which lane holds what of the three matrices of mma.m16n8k16, lane 5's elements marked.

    chapters/09_tensor_cores/figures/fragments.py > fragments.svg

The formulas are read from the comment of common/device/mma.cuh, to which the CPU machine is held by
tests/simt/tensor_core_test.cpp.
"""

import pathlib
import re

COLORS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")  # of the registers
WIDTH, HEIGHT = 22, 17  # of an element
MARKED = 5  # the lane
HEADER = pathlib.Path(__file__).resolve().parents[3] / "common/device/mma.cuh"


def formula(text):
    """"g + 8 (r % 2)" as a function of g, t and a register's number."""
    code = re.sub(r"(\d) ?([a-z(])", r"\1*\2", text).replace("/", "//")

    def value(lane, number):
        names = {"g": lane // 4, "t": lane % 4, "r": number, "i": number}
        return eval(code, {"__builtins__": {}}, names)  # letters of the comment above
    return value


def fragments():
    """{"A": {(row, column): (lane, register)}, ...}, a register of A and B with two elements."""
    found = re.findall(r"//   ([abc])\[\w\]\s+([ABC])\[(.*?)\]\[(.*?)\](?=\s|,)(.*?)\s+[ri] < (\d)",
                       HEADER.read_text(encoding="utf-8"))
    layout = {}
    for _, matrix, row, column, rest, count in found:
        row, column = formula(row), formula(column)
        cells = layout.setdefault(matrix, {})
        for lane in range(32):
            for number in range(int(count)):
                at = row(lane, number), column(lane, number)
                cells[at] = (lane, number)
                if "right" in rest:
                    cells[at[0], at[1] + 1] = (lane, number)
                if "below" in rest:
                    cells[at[0] + 1, at[1]] = (lane, number)
    return layout


def text(x, y, content, size=12, anchor="start", weight="normal", fill="#333"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{fill}">{content}</text>')


def matrix(left, top, cells, first_column=0):
    """A matrix with the lane's number in each element, colored by the register."""
    out = []
    for (row, column), (lane, number) in sorted(cells.items()):
        x, y = left + (first_column + column) * WIDTH, top + row * HEIGHT
        mine = lane == MARKED
        out.append(f'<rect x="{x}" y="{y}" width="{WIDTH - 1}" height="{HEIGHT - 1}" '
                   f'fill="{COLORS[number]}" fill-opacity="{1 if mine else 0.25}"/>')
        out.append(text(x + WIDTH / 2 - 0.5, y + 12.5, lane, 11, "middle",
                        "bold" if mine else "normal", "#fff" if mine else "#333"))
    return out


def main():
    layout = fragments()
    width, height = 1030, 372
    top = 66
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" role="img">',
           "<title>The fragments of mma.m16n8k16</title>",
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    out.append(text(10, top - 38, "A, 16 x 16: four registers", 14, weight="bold"))
    out.append(text(10, top - 20, "two neighbours of a row in each"))
    out += matrix(10, top, layout["A"])
    out.append(text(400, top - 38, "B, 16 x 8: two registers", 14, weight="bold"))
    out.append(text(400, top - 20, "two neighbours of a column in each"))
    out += matrix(400, top, layout["B"])
    out.append(text(650, top - 38, "C twice, 16 x 8 each: four floats each", 14, weight="bold"))
    out.append(text(650, top - 20, "S of 16 keys: the lanes stand as in A"))
    out += matrix(650, top, layout["C"])
    out += matrix(654, top, layout["C"], first_column=8)
    for number, color in enumerate(COLORS):
        x = 10 + 150 * number
        out.append(f'<rect x="{x}" y="{height - 24}" width="14" height="14" fill="{color}"/>')
        out.append(text(x + 20, height - 12, f"register {number}"))
    out.append(text(654, height - 12, "Numbers are lanes; lane 5 is marked."))
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
