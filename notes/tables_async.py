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


# Of the backward pass, with dQ and without: columns, warps that own 128 keys, queries of a tile and
# of a strip of it.
BACKWARD_TILES = {True: ((64, 4, 64, 32), (128, 8, 64, 32)),
                  False: ((64, 4, 64, 16), (128, 8, 64, 32))}
KEYS = 128


def of_backward_tile(D, warps, Br, strip, with_dq):
    """(mma, ldmatrix, exponentials) of a block that owns keys and one tile of queries."""
    fragments = KEYS // warps // 16  # of a warp's keys
    dots = 2 * (D // 16) * (fragments + strip // 16)  # S^T and dP^T
    sums = 2 * (strip // 16) * (D // 16)              # of dV and dK
    loads = warps * (Br // strip) * (dots + sums)
    if with_dq:  # 32 queries and 32 columns a warp
        loads += warps * (KEYS // 16) * (2 + 2)
    return (5 if with_dq else 4) * KEYS * Br * D // 2048, loads, KEYS * Br


def clocks_of_backward_tile_table():
    """As clocks_of_tile_table, for the kernel that owns keys."""
    h200 = devices()["H200"]
    rows = []
    for with_dq, tiles in BACKWARD_TILES.items():
        for D, warps, Br, strip in tiles:
            mma, loads, exponentials = of_backward_tile(D, warps, Br, strip, with_dq)
            rows.append(["5, with dQ" if with_dq else "6, without", str(D), f"{mma:,}",
                         f"{4 * loads / mma:.3g}",
                         f"{mma * FLOPS / h200['tensor_flops_per_clock']:,.0f}", f"{4 * loads:,}",
                         str(exponentials // SPECIAL), f"{4 * Br * D if with_dq else 0:,}"])
    return table(["step", "d:", "mma:", "wavefronts of ldmatrix, per mma:", "tensor cores, clocks:",
                  "ldmatrix:", "exponentials:", "bytes by atomics:"], rows)
