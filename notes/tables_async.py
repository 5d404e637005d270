# SPDX-License-Identifier: MIT
"""The tables of chapters/10_async_pipeline/README.md."""

from formulas import devices, table

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
        rows.append([str(D), f"{Br} × {Bc}", f"{4 * loads / mma:.3g}",
                     f"{mma * FLOPS / h200['tensor_flops_per_clock']:.0f}", str(4 * loads),
                     str(exponentials // SPECIAL), str(stores),
                     f"{2 * Bc * D * 2 / h200['l2_bytes_per_clock']:.0f}"])
    return table(["d:", "tile", "wavefronts per mma:", "tensor cores, clocks:", "ldmatrix:",
                  "exponentials:", "K and V into shared memory:", "K and V out of L2:"], rows)
