#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws what a lane holds, and in how many turns a warp's load of K is served.

    chapters/08_register_tiles/figures/lanes.py > lanes.svg

The lane maps are read from tiles.cuh, the turns worked out from the addresses.
"""

import pathlib
import re

ROWS, KEYS, LANE_ROWS, LANE_COLUMNS = 32, 64, 4, 8  # of a warp's tile of S at d = 64; of the lanes
CELL = 6
COLORS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")
HEADER = pathlib.Path(__file__).resolve().parents[1] / "tiles.cuh"


def lane_maps():
    """{name: [(row, column) of lane 0, 1, ... 31]}, by the expressions in tiles.cuh."""
    maps = {}
    for name, body in re.findall(r"struct (\w+Lanes) \{(.*?)\n\};", HEADER.read_text(), re.S):
        row, column = (re.sub(r"static_cast<int>\(([^()]*)\)", r"(\1)",
                              re.search(rf"int {what} =(.*?);", body, re.S)[1])
                       for what in ("row", "column"))
        constants = {"kWarp": 32, "kLaneColumns": LANE_COLUMNS}
        values = []
        for lane in range(32):
            names = constants | {"x": lane}
            values.append(tuple(
                eval(" ".join(text.replace("threadIdx.x", "x").replace("/", "//").split())
                     .replace("1u", "1").replace("3u", "3"), {"__builtins__": {}}, names)
                for text in (row, column)))
        maps[name] = values
    return maps


def turns(addresses):
    """[turn of each lane] for a load of 16 bytes: four of 8 lanes, or two of 16 where lanes n and
    n ^ 1 always share an address, or always n and n ^ 2."""
    paired = any(all(addresses[n] == addresses[n ^ bit] for n in range(32)) for bit in (1, 2))
    return [n // (16 if paired else 8) for n in range(32)]


def text(x, y, content, size=12, anchor="start", weight="normal", fill="#333"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{fill}">{content}</text>')


def rect(x, y, width, height, fill, stroke="none"):
    return (f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" '
            f'stroke="{stroke}"/>')


def one_lane(left, top):
    """The warp's (32, 64) of S, with the results of the lane at row 1, column 2 marked."""
    row, column = 1, 2
    out = [text(left, top - 38, "What one lane holds of S", 14, weight="bold"),
           text(left + 40, top - 20, "64 keys: it loads 8 of them"),
           rect(left + 40, top, KEYS * CELL, ROWS * CELL, "#f4f4f4", "#bbb")]
    for n in range(KEYS // LANE_COLUMNS):
        x = left + 40 + (column + LANE_COLUMNS * n) * CELL
        out.append(rect(x, top - 12, CELL, 8, COLORS[1]))
        for m in range(ROWS // LANE_ROWS):
            y = top + (row + LANE_ROWS * m) * CELL
            out.append(rect(x, y, CELL, CELL, COLORS[2]))
    for m in range(ROWS // LANE_ROWS):
        out.append(rect(left + 28, top + (row + LANE_ROWS * m) * CELL, 8, CELL, COLORS[0]))
    middle = top + ROWS * CELL / 2
    out.append(f'<text font-size="12" fill="#333" text-anchor="middle" '
               f'transform="translate({left + 16} {middle}) rotate(-90)">'
               '32 queries: 8 of them</text>')
    out.append(text(left + 40, top + ROWS * CELL + 20,
                    "8 + 8 loads of 16 bytes (4 columns of d) feed 8 · 8 · 4 = 256 multiply-adds."))
    return out


def grid(left, top, title, lanes):
    """The grid of lanes, colored by the turn in which a load of K serves them."""
    size = 26
    turn = turns([column for _, column in lanes])
    out = [text(left, top - 12, f"{title}: K in {max(turn) + 1} turns", 14, weight="bold")]
    for lane, (row, column) in enumerate(lanes):
        x, y = left + column * size, top + row * size
        out.append(rect(x, y, size - 2, size - 2, COLORS[turn[lane]]))
        out.append(text(x + size / 2 - 1, y + 17, lane, 12, "middle", fill="#fff"))
    return out


def main():
    maps = lane_maps()
    width, height = 810, 336
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" role="img">',
           "<title>A lane's part of a tile, and the turns of a load</title>",
           rect(0, 0, width, height, "#fff")]
    out += one_lane(10, 60)
    out += grid(510, 60, "Reading order", maps["PlainLanes"])
    out += grid(510, 198, "In pairs", maps["PairedLanes"])
    out.append(text(510, 322, "Lanes of one column read the same 16 bytes."))
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
