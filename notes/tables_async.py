# SPDX-License-Identifier: MIT
"""The tables of chapters/10_async_pipeline/README.md."""

from formulas import devices, table

ROWS, CHUNKS = 8, 8  # of a tile of 64 columns: a row of 128 bytes, in chunks of 16

# The place, in chunks from the start of the row's first bank, of chunk c in row r.
LAYOUTS = {
    "no padding": lambda r, c: c,
    "16 bytes of padding": lambda r, c: (r + c) % CHUNKS,
    "swizzled": lambda r, c: c ^ r,
}


def chunks_of_row(layout, row):
    """Which chunk lies in banks 0 to 3, in 4 to 7, ..."""
    found = {layout(row, chunk): chunk for chunk in range(CHUNKS)}
    return [found[place] for place in range(CHUNKS)]


def wavefronts(layout, chunk):
    """Of the rows' chunk `chunk`: as many as one group of four banks has to deliver."""
    places = [layout(row, chunk) for row in range(ROWS)]
    return max(places.count(place) for place in places)


def banks_table():
    rows = [[str(row), *(" ".join(map(str, chunks_of_row(layout, row)))
                         for layout in LAYOUTS.values())] for row in range(ROWS)]
    rows.append(["wavefronts of a chunk of eight rows",
                 *(str(max(wavefronts(layout, chunk) for chunk in range(CHUNKS)))
                   for layout in LAYOUTS.values())])
    return table(["row", *LAYOUTS], rows)


# Columns, queries and keys of the tiles of step 4, and whether Q stays in registers.
TILES = ((64, 128, 64, True), (128, 128, 32, False))
WARPS, ROWS_OF_WARP = 4, 32
FLOPS = 2 * 16 * 8 * 16  # of an mma
SPECIAL = 16  # exponentials per clock and multiprocessor


def of_tile(D, Br, Bc, keeps_q):
    """(mma, ldmatrix, wavefronts of the arriving K and V, exponentials) of a block and one tile of
    keys."""
    row_fragments = ROWS_OF_WARP // 16
    fetched = 0 if keeps_q else row_fragments
    mma = WARPS * row_fragments * (D // 16 * (Bc // 8) + Bc // 16 * (D // 8))
    loads = WARPS * (D // 16 * (fetched + Bc // 16) + Bc // 16 * (D // 16))
    return mma, loads, 2 * Bc * D * 2 // 128, Br * Bc


def clocks_of_tile_table():
    """Clocks of a multiprocessor of an H200 for one tile of keys, by what is busy."""
    h200 = devices()["H200"]
    rows = []
    for D, Br, Bc, keeps_q in TILES:
        mma, loads, stores, exponentials = of_tile(D, Br, Bc, keeps_q)
        rows.append([str(D), f"{Br} × {Bc}", str(mma), str(loads), f"{4 * loads / mma:.3g}",
                     f"{mma * FLOPS / h200['tensor_flops_per_clock']:.0f}",
                     str(4 * loads + stores), str(exponentials // SPECIAL),
                     f"{2 * Bc * D * 2 / h200['l2_bytes_per_clock']:.0f}"])
    return table(["d:", "tile", "mma:", "ldmatrix:", "wavefronts per mma:",
                  "clocks: tensor cores:", "shared memory:", "exponentials:", "K, V from L2:"],
                 rows)
