#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws in which banks a tile's chunks of 16 bytes lie, in three layouts of its rows.

    chapters/10_async_pipeline/figures/banks.py > banks.svg
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "notes"))
sys.dont_write_bytecode = True
from tables_async import CHUNKS, LAYOUTS, ROWS, chunks_of_row, wavefronts  # noqa: E402

CHUNK = 2  # the one that is read of every row
CELL, TOP, LEFT, GAP = 30, 74, 58, 46
MARKED, PLAIN, INK, GRID = "#f58518", "#e4e8ee", "#333", "#ffffff"


def text(x, y, content, size=12, weight="normal", anchor="start"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{INK}">{content}</text>')


def panel(x, title, shift):
    """Rows downwards, banks across: each cell says which chunk of the row lies in its 4 banks."""
    turns = wavefronts(shift, CHUNK)
    out = [text(x, 24, title, 14, "bold"),
           text(x, 44, f"eight rows at chunk {CHUNK}: {turns} wavefront{'s' * (turns != 1)}")]
    for bank in range(0, 8, 2):
        out.append(text(x + bank * CELL, TOP - 8, f"{4 * bank}", 11))
    for row in range(ROWS):
        for place, chunk in enumerate(chunks_of_row(shift, row)):
            fill = MARKED if chunk == CHUNK else PLAIN
            at = x + place * CELL, TOP + row * CELL
            out.append(f'<rect x="{at[0]}" y="{at[1]}" width="{CELL}" height="{CELL}" '
                       f'fill="{fill}" stroke="{GRID}"/>')
            out.append(text(at[0] + CELL / 2, at[1] + 20, str(chunk), 12,
                            "bold" if chunk == CHUNK else "normal", "middle"))
    return out


def main():
    width = LEFT + len(LAYOUTS) * (CHUNKS * CELL + GAP)
    height = TOP + ROWS * CELL + 40
    out = [f'<rect x="0" y="0" width="{width}" height="{height}" fill="#fff"/>',
           text(8, TOP - 8, "bank", 11)]
    out += [text(8, TOP + row * CELL + 20, f"row {row}", 11) for row in range(ROWS)]
    for n, (title, shift) in enumerate(LAYOUTS.items()):
        out += panel(LEFT + n * (CHUNKS * CELL + GAP), title, shift)
    out.append(text(LEFT, height - 14, "Numbers: chunks of 16 bytes of a row of 64 16-bit elements,"
                    " in the four banks that hold them."))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'font-family="sans-serif" role="img">')
    print("<!-- SPDX-License-Identifier: MIT -->")
    print("<title>Banks of shared memory that hold the chunks of eight rows, in three layouts"
          "</title>")
    print("\n".join(out))
    print("</svg>")


if __name__ == "__main__":
    main()
