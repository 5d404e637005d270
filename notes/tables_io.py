# SPDX-License-Identifier: MIT
"""The tables of notes/io_complexity.md."""

import math

from formulas import (BUDGET, FORMS, devices, evaluate, in_bytes, name, table, three, tile_keys,
                      traffic)

N_OF_TABLES = (1024, 4096, 16384)


def forms_table():
    rows = [[f"{name(key)}, {key[2]}", *forms] for key, forms in FORMS.items()]
    return table(["step", "requested", "compulsory"], rows)


def traffic_table():
    rows = []
    for key in FORMS:
        row = [f"{name(key)}, {key[2]}"]
        for N in N_OF_TABLES:
            requested, compulsory = traffic(key, N, 64)
            row += [in_bytes(4 * requested), in_bytes(4 * compulsory),
                    three(requested / compulsory)]
        rows.append(row)
    titles = ["step"]
    for N in N_OF_TABLES:
        titles += [f"N = {N:,}: requested:", "compulsory:", "ratio:"]
    return table(titles, rows)


def budget_table():
    N, d = 4096, 64
    rows = []
    for kib in (12, 24, 48, 96, 192):
        floats = kib * 1024 // 4
        keys = tile_keys(floats, d)
        requested = evaluate(FORMS["05_fused_forward", "forward", "forward"][0], N=N, d=d,
                             Tc=N // keys)
        rows.append([kib, f"{floats:,}", keys, N // keys, in_bytes(4 * requested),
                     three(requested * floats / (N * d) ** 2)])
    return table(["KiB:", "M, floats:", "Bc:", "Tc:", "requested:", "requested · M / N²d²:"], rows)


# FlashAttention-1's table (Dao et al. 2022, figure 2, left): A100, forward + backward.
PAPER = {"N": 1024, "d": 64, "heads": 16 * 64, "standard_GB": 40.3, "flash_GB": 4.4,
         "standard_GFLOP": 66.6, "flash_GFLOP": 75.2, "standard_ms": 41.7, "flash_ms": 7.3}
HALF = 2  # bytes of a float16


def paper_bytes(visits, rows, statistics=0.0):
    """Bytes of float16 visits of N x N and N x d matrices, and of float32 rows of N, all heads."""
    N, d, heads = PAPER["N"], PAPER["d"], PAPER["heads"]
    return heads * (HALF * (visits * N * N + rows * N * d) + 4 * statistics * N)


def paper_flash(keys, running=HALF):
    """Bytes of 05 and of 06's recompute, all heads, float16, with tiles of so many keys. The
    statistics m, l, LSE and delta stay float32. running: bytes per number of the O and dQ that are
    stored and loaded again between two tiles of keys."""
    Tc = PAPER["N"] // keys
    again = 2 * 2 * (Tc - 1) * (running - HALF) / HALF
    return paper_bytes(0, (3 * Tc + 1) + (4 * Tc + 5) + again, (4 * Tc + 1) + (2 * Tc + 1))


def miss(derived, published):
    return f"{100 * (derived / published - 1):+.1f} %"


def published_table():
    standard, flash = PAPER["standard_GB"] * 1e9, PAPER["flash_GB"] * 1e9
    shared = devices()["A100"]["shared_bytes_per_block"]
    keys = tile_keys(shared / HALF, PAPER["d"])
    small = tile_keys(48 * 1024 / HALF, PAPER["d"])
    lines = [
        ("standard", "02 or 03, then 06 textbook: 10 visits of N², 16 of Nd, 4 of N",
         paper_bytes(10, 16, 4), standard),
        ("standard", "a graph of ready-made operations: 11 visits of N², 12 of Nd",
         paper_bytes(11, 12), standard),
        ("standard", "the same with a mask and dropout as operations of their own: 18 and 12",
         paper_bytes(18, 12), standard),
        ("flash", "05 + 06 recompute, each array once per launch (compulsory)",
         paper_bytes(0, 15, 8), flash),
        ("flash", f"the same requested, 48 KiB: Bc = {small}, Tc = {PAPER['N'] // small}",
         paper_flash(small), flash),
        ("flash", f"the same requested, {shared / 1024:.0f} KiB of an A100: Bc = {keys}, "
         f"Tc = {PAPER['N'] // keys}", paper_flash(keys), flash),
        ("flash", "the same with the running O and dQ in float32", paper_flash(keys, 4), flash),
    ]
    rows = [[which, what, in_bytes(derived), in_bytes(published), miss(derived, published)]
            for which, what, derived, published in lines]
    return table(["attention", "derived from", "derived:", "published:", "miss:"], rows)


def published_flops_table():
    """FLOPs of products: forward 4 N^2 d, backward 8 with P kept, 10 with P recomputed."""
    product = 2 * PAPER["N"] ** 2 * PAPER["d"] / 1e9
    rows = []
    for what, products, published in (("standard", 6, PAPER["standard_GFLOP"]),
                                      ("flash", 7, PAPER["flash_GFLOP"]),
                                      ("difference", 1,
                                       PAPER["flash_GFLOP"] - PAPER["standard_GFLOP"])):
        rows.append([what, products, three(products * product * PAPER["heads"]),
                     three(products * product * 64), three(published)])
    return table(["attention", "products of 2N²d:", "GFLOP, 1,024 heads:", "GFLOP, 64 heads:",
                  "published GFLOP:"], rows)


def cache_table():
    rows = []
    for device, its in devices().items():
        l2 = its["l2_bytes"]
        rows.append([device, in_bytes(l2), f"{math.isqrt(int(l2 // 4)):,}",
                     f"{math.isqrt(int(l2 // (4 * 12))):,}", f"{int(l2 // (2 * 64 * 4)):,}"])
    return table(["device", "L2:", "S of one head fits up to N:", "of 12 heads:",
                  "K and V of one head, d = 64:"], rows)
