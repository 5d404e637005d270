# SPDX-License-Identifier: MIT
"""The tables of notes/versions.md: FlashAttention 1 to 4, and other methods beside them."""

import math

from formulas import devices, evaluate, in_bytes, largest_power, table, three

N, D = 4096, 128  # of one head
HALF = 2  # bytes of a 16-bit float
FLOAT = 4
A100_SHARED = "shared_bytes_per_block"


def giga(number):
    return three(number / 1e9)


def fa1_tiles():
    """(Bc, Tc): the rule of chapter 05 on the shared memory of an A100, 16 bits."""
    keys = largest_power(devices()["A100"][A100_SHARED] / HALF / (4 * D))
    return int(keys), N // int(keys)


def version_rows():
    """name: (compulsory bytes, requested bytes, divisions of O, rescaled elements of O, exps)."""
    _, Tc1 = fa1_tiles()
    rows2, keys2 = 128, 64  # FlashAttention-2's tile at d = 128
    rows3, keys3 = 128, 128  # FlashAttention-3's, causal
    fused = HALF * 4 * N * D + FLOAT * N

    def requested(rows):
        return HALF * evaluate("Tr·2Nd + 2Nd", N=N, d=D, Tr=N // rows) + FLOAT * N
    standard = HALF * evaluate("4Nd + 4N²", N=N, d=D)
    return {
        "standard, three launches": (standard, None, N * N, 0, N * N),
        "FlashAttention-1": (HALF * 5 * N * D + FLOAT * 5 * N,
                             HALF * evaluate("Tc·3Nd + Nd", N=N, d=D, Tc=Tc1)
                             + FLOAT * evaluate("Tc·4N + N", N=N, Tc=Tc1),
                             Tc1 * N * D, Tc1 * N * D, N * N + 2 * Tc1 * N),
        "FlashAttention-2": (fused, requested(rows2), N * D, N // keys2 * N * D,
                             N * N + N // keys2 * N),
        "FlashAttention-3": (fused, requested(rows3), N * D, N // keys3 * N * D,
                             N * N + N // keys3 * N),
    }


def versions_table():
    rows = []
    for name, (compulsory, requested, divisions, rescaled, exps) in version_rows().items():
        rows.append([name, in_bytes(compulsory), in_bytes(requested) if requested else "–",
                     giga(4 * N * N * D), f"{divisions:,}", f"{rescaled:,}", f"{exps:,}"])
    return table([f"one head, N = {N:,}, d = {D}, 16 bits", "compulsory:", "requested:",
                  "products, GFLOP:", "divisions:", "numbers of O rescaled:", "exps:"], rows)


# FLOPs of tensor cores per clock and SM, 16 bits. The B200's is what the abstract of
# FlashAttention-4 says of Blackwell, twice the H100's; special functions as there: unchanged.
def pipes_table():
    its = devices()
    h100 = its["H100"]["tensor_flops_per_clock"]
    rows = []
    for name, tensor, whose in (
            ("A100", its["A100"]["tensor_flops_per_clock"], "FlashAttention-2"),
            ("H100", h100, "FlashAttention-3"), ("B200", 2 * h100, "FlashAttention-4")):
        products = 1000 * 4 * D / tensor
        exps = 1000 / its["H100"]["special_functions_per_clock"]
        rows.append([name, whose, three(products), three(exps), three(exps / products),
                     three(100 * products / (products + exps))])
    return table(["GPU", "version written for it", "products, clocks per 1,000 scores and SM:",
                  "exps, clocks:", "exps / products:",
                  "one after the other: of the peak at most, %:"], rows)


def method_rows():
    """[(method, given up, {N: (FLOPs, compulsory bytes)})] of one head, 16 bits."""
    window, rank, group = 1024, 256, 8

    def both(cost):
        return {size: cost(size) for size in (4096, 65536)}

    def fused(size):
        return HALF * 4 * size * D + FLOAT * size
    return (
        ("exact, unfused", "nothing",
         both(lambda n: (4 * n * n * D, HALF * (4 * n * D + 4 * n * n)))),
        ("exact, fused (FlashAttention)", "nothing", both(lambda n: (4 * n * n * D, fused(n)))),
        (f"window of {window:,} keys", "all pairs farther apart",
         both(lambda n: (4 * n * min(n, window) * D, fused(n)))),
        ("N log₂N pairs", "all other pairs",
         both(lambda n: (4 * n * int(math.log2(n)) * D, fused(n)))),
        (f"low rank, {rank} mixed keys", "what the mixing blurs; causal masks",
         both(lambda n: (8 * n * rank * D, fused(n) + HALF * 2 * n * rank))),
        ("linear attention", "softmax: a state of d × d has to hold all keys",
         both(lambda n: (4 * n * D * D, HALF * (4 * n * D + 2 * D * D)))),
        ("FP8 for Q, K, V, P", "digits: 3 bits of fraction",
         both(lambda n: (4 * n * n * D, 3 * n * D + HALF * n * D + FLOAT * n))),
        ("8-bit integers for Q and K", "digits of the scores",
         both(lambda n: (4 * n * n * D, 2 * n * D + 2 * HALF * n * D + FLOAT * n))),
        (f"{group} query heads to a key head", "keys of their own for each head",
         both(lambda n: (4 * n * n * D, HALF * (2 * n * D + 2 * n * D / group) + FLOAT * n))),
    )


def methods_table():
    rows = []
    for method, lost, costs in method_rows():
        row = [method]
        for flops, size in costs.values():
            row += [giga(flops), in_bytes(size)]
        rows.append(row + [lost])
    return table(["method", "N = 4,096: GFLOP:", "compulsory:", "N = 65,536: GFLOP:",
                  "compulsory:", "given up"], rows)
