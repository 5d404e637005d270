# SPDX-License-Identifier: MIT
"""The tables of notes/claims.md."""

import math
import random
import re

from formulas import (BUDGET, ROOT, UNFUSED, devices, evaluate, in_bytes, percent, table, three,
                      tile_keys, traffic)


def room_table():
    """Memory time over arithmetic time of unfused attention."""
    N, d = 4096, 64
    compulsory = evaluate(UNFUSED, N=N, d=d)
    flops = 4 * N * N * d
    rows = []
    for device, its in devices().items():
        row = [device]
        for size, rate in ((4, "flops_per_clock"), (2, "tensor_flops_per_clock")):
            memory = size * compulsory / its["memory_bytes_per_second"]
            peak = its[rate] * its["multiprocessors"] * its["clocks_per_second"]
            row += [three(memory * peak / flops), three(1 + memory * peak / flops)]
        rows.append(row)
    return table(["device", "float32: memory / arithmetic:", "gain at most:",
                  "float16, tensor cores: memory / arithmetic:", "gain at most:"], rows)


def memory_table():
    rows = []
    for N in (197, 512, 1024, 2048, 4096, 8192, 16384):
        row = [f"{N:,}", in_bytes(4 * N * N), in_bytes(8 * N)]
        for d in (64, 128):
            ratio = 1 + N / (4 * d)  # Q, K, V, O and S, over Q, K, V, O
            row += [three(ratio), percent(1 / ratio)]
        rows.append(row)
    return table(["N:", "02, 03: S:", "05: m and l:", "d = 64, all arrays: ratio:", "that is:",
                  "d = 128: ratio:", "that is:"], rows)


def device_table():
    rows = []
    for device, its in devices().items():
        chip = its["multiprocessors"]
        shared = its["shared_bytes_per_multiprocessor"]
        registers = 4 * its["registers_per_multiprocessor"]
        per_second = 128 * its["wavefronts_per_clock"] * chip * its["clocks_per_second"]
        rows.append([device, in_bytes(its["memory_bytes"]),
                     three(its["memory_bytes_per_second"] / 1e12), f"{shared / 1024:.0f}",
                     f"{registers / 1024:.0f}", three(shared * chip / 2 ** 20),
                     three(registers * chip / 2 ** 20), three(per_second / 1e12),
                     three(its["l2_bytes"] / 2 ** 20)])
    return table(["device", "memory:", "TB/s:", "shared memory, KiB per SM:",
                  "registers, KiB per SM:", "shared memory, MiB per chip:",
                  "registers, MiB per chip:", "shared memory, TB/s per chip:", "L2, MiB:"], rows)


def tiles_table():
    """Bytes of the tiles Q, K, V, and of S with them."""
    rows = []
    for Br, Bc, d, size, whose in (
            (64, 32, 64, 4, "ours, 05 and 07"), (32, 16, 128, 4, "ours, 05 and 07"),
            (64, 64, 64, 4, "the claim, float32"), (64, 64, 64, 2, "the claim, float16"),
            (128, 64, 64, 2, "the claim on an A100, float16"),
            (128, 128, 64, 2, "FlashAttention-2, d = 64"),
            (128, 64, 128, 2, "FlashAttention-2, d = 128")):
        tiles = size * d * (Br + 2 * Bc) / 1024
        rows.append([f"{Br} × {Bc}", d, whose, three(tiles), three(tiles + 4 * Br * Bc / 1024),
                     1024 // Br, 1024 // Bc])
    return table(["Br × Bc", "d:", "whose", "Q, K, V, KiB:", "with S in float32, KiB:",
                  "N = 1,024: 07 loads K, V, times:", "05 loads Q, times:"], rows)


def attention_row(scores, values, tile, twice):
    """One output of one row, tile by tile; twice: with the claim's second factor."""
    row_max, row_sum, o = -math.inf, 0.0, 0.0
    for j in range(0, len(scores), tile):
        tile_max = max(scores[j:j + tile])
        new_max = max(row_max, tile_max)
        p = [math.exp(s - new_max) for s in scores[j:j + tile]]
        old_weight = row_sum * math.exp(row_max - new_max)
        factor = math.exp(tile_max - new_max) if twice else 1.0
        new_sum = old_weight + sum(p)
        pv = sum(a * b for a, b in zip(p, values[j:j + tile]))
        o = (old_weight * o + factor * pv) / new_sum
        row_max, row_sum = new_max, new_sum
    return o


def rescale_table():
    rows = []
    for what, order in (("as they come", None), ("rising", False), ("falling", True)):
        rng = random.Random(1)
        wrong, worst, error, norm = 0, 0.0, 0.0, 0.0
        problems = 1000
        for _ in range(problems):
            scores = [rng.gauss(0, 1) for _ in range(256)]
            values = [rng.gauss(0, 1) for _ in range(256)]
            if order is not None:
                scores.sort(reverse=order)
            right = attention_row(scores, values, 32, False)
            difference = abs(attention_row(scores, values, 32, True) - right)
            wrong += difference > 1e-12
            worst = max(worst, difference)
            error += difference ** 2
            norm += right ** 2
        rows.append([what, f"{wrong} of {problems}", three(worst), percent((error / norm) ** 0.5)])
    hand = [attention_row([1, 0], [0, 1], 1, twice) for twice in (False, True)]
    note = (f"\n\nBy hand: scores 1 and 0, values 0 and 1, tiles of one key. Right: "
            f"e⁻¹ / (1 + e⁻¹) = {hand[0]:.4f}. Twice: e⁻² / (1 + e⁻¹) = {hand[1]:.4f}.")
    return table(["order of the scores", "wrong rows:", "largest error:",
                  "error, relative to O:"], rows) + note


def order_table():
    N, d = 4096, 64
    key5 = ("05_fused_forward", "forward", "forward")
    key7 = ("07_v2_loop_order", "step1_loop_swap", "forward")
    Bc, Br = tile_keys(BUDGET, d), 64
    five, seven = traffic(key5, N, d), traffic(key7, N, d)
    exps = N * N + 32 * N * (N // Bc)
    rows = [
        ["elements requested", f"{five[0]:,}", f"{seven[0]:,}", three(five[0] / seven[0])],
        ["elements compulsory", f"{five[1]:,}", f"{seven[1]:,}", three(five[1] / seven[1])],
        ["divisions of O", f"{N // Bc * N * d:,}", f"{N * d:,}", three(N // Bc)],
        ["loads and stores of O in HBM", f"{(2 * (N // Bc) - 1) * N * d:,}", f"{N * d:,}",
         three(2 * (N // Bc) - 1)],
        ["blocks per head", "1", str(N // Br), three(Br / N)],
        ["exps, those of the 32 lanes' rescaling included", f"{exps:,}", f"{exps:,}", "1"],
    ]
    return table([f"N = {N:,}, d = {d}, one head", "05:", "07:", "05 / 07:"], rows)


def exp_table():
    rows = []
    for device in ("H100", "A100", "RTX4090"):
        its = devices()[device]
        for d in (64, 128):
            products = 4 * d / its["tensor_flops_per_clock"]
            rows.append([device, d, three(1000 * products),
                         three(1000 / its["special_functions_per_clock"]),
                         three(1 / its["special_functions_per_clock"] / products)])
    return table(["device", "d:", "products, clocks per 1,000 scores and SM:",
                  "exps, clocks per 1,000 scores and SM:", "exps / products:"], rows)


def fits_table():
    heads = 32
    rows = []
    for device, its in devices().items():
        rows.append([device, in_bytes(its["memory_bytes"]),
                     *(f"{math.isqrt(int(its['memory_bytes'] // (size * heads))):,}"
                       for size in (4, 2))])
    sizes = [f"{N:,}: {in_bytes(2 * heads * N * N)}" for N in (1024, 8192, 32768)]
    return (table(["device", "memory:", "float32 S of 32 heads fills it at N:", "float16:"], rows) +
            f"\n\nS of 32 heads in float16 at N = {'; '.join(sizes)}.")


def vit_table():
    width, heads, d = 768, 12, 64
    rows = []
    for side, patch, extra in ((224, 16, 0), (224, 16, 1), (224, 8, 1), (1024, 16, 1)):
        N = (side // patch) ** 2 + extra
        share = N / (N + 6 * width)
        rows.append([f"{side}, patch {patch}{', class token' if extra else ''}", f"{N:,}",
                     f"{N * N:,}", in_bytes(4 * heads * N * N),
                     three(evaluate(UNFUSED, N=N, d=d) / (4 * N * d + N)), percent(share),
                     three(1 / (1 - share))])
    return table(["image", "N:", "scores per head:", "S, 12 heads, float32:",
                  "compulsory, unfused / fused:", "attention's share of the block's FLOPs:",
                  "at most, if attention cost nothing:"], rows)


IMAGES, IMAGE, TEXT = 4, 256, 512
TOKENS = IMAGES * IMAGE + TEXT


def split_table():
    pairs = TOKENS ** 2
    rows = [[what, f"{n:,}", percent(n, pairs)] for what, n in (
        ("image to image", (IMAGES * IMAGE) ** 2), ("text to text", TEXT ** 2),
        ("image to text and text to image", 2 * IMAGES * IMAGE * TEXT), ("all", pairs))]
    return table(["pairs", "scores:", "share:"], rows)


def skip_table():
    """What masks hide of the 1,536 tokens, in pairs and in tiles that hold no visible pair."""
    def block(i):
        return min(i // IMAGE, IMAGES)
    masks = (
        ("causal over all tokens", lambda i, j: j <= i),
        ("images whole, text causal; an image sees no text",
         lambda i, j: j < IMAGES * IMAGE or (block(i) == IMAGES and j <= i)),
        ("an image sees itself only; text sees all", lambda i, j: block(i) == IMAGES
         or block(i) == block(j)),
        ("both of these, text causal", lambda i, j: j <= i if block(i) == IMAGES
         else block(i) == block(j)),
        ("window of 256 keys", lambda i, j: i - 128 <= j < i + 128),
    )
    rows = []
    for what, sees in masks:
        visible = [[sees(i, j) for j in range(TOKENS)] for i in range(TOKENS)]
        row = [what, percent(1 - sum(map(sum, visible)) / TOKENS ** 2)]
        for Br, Bc in ((32, 16), (128, 64)):
            tiles = sum(any(any(line[j:j + Bc]) for line in visible[i:i + Br])
                        for i in range(0, TOKENS, Br) for j in range(0, TOKENS, Bc))
            row.append(percent(1 - tiles * Br * Bc / TOKENS ** 2))
        rows.append(row)
    return table(["mask", "pairs hidden:", "tiles of 32 × 16 skipped:",
                  "tiles of 128 × 64 skipped:"], rows)


GRID, WINDOW = 16, 7  # tokens of an image in a row; of a window in a row and in a column


def window_lengths(padded):
    """Tokens of each window of an image, the grid cut or padded to whole windows."""
    along = [WINDOW if padded else min(WINDOW, GRID - first) for first in range(0, GRID, WINDOW)]
    return [height * width for height in along for width in along]


def windows_table():
    """What the two proposals for the 1,536 tokens compute, in pairs, cut and padded."""
    crosses = {"windows in every image; text and images as before": 2,
               "layers: the same, and images see text, but text no image": 1}
    rows = []
    for what, cross in crosses.items():
        row = [what]
        for padded in (False, True):
            pairs = (IMAGES * sum(n * n for n in window_lengths(padded)) + TEXT ** 2
                     + cross * IMAGES * IMAGE * TEXT)
            row += [f"{pairs:,}", three(TOKENS ** 2 / pairs)]
        rows.append(row)
    return table(["what is computed", "pairs, windows cut:", "gain:", "padded to 21 × 21:",
                  "gain:"],
                 rows)


def window_order_table():
    """Tiles of S with a visible pair for the first proposal, an image's tokens row by row or
    window by window."""
    def window_of(token):
        return token // GRID // WINDOW, token % GRID // WINDOW
    raster = [window_of(token) for token in range(IMAGE)]
    rows = []
    for what, order in (("row by row", raster), ("window by window", sorted(raster))):
        groups = [(image, *window) for image in range(IMAGES) for window in order]
        groups += ["text"] * TEXT
        row = [what]
        for Br, Bc in ((32, 16), (128, 64)):
            parts = {size: [set(groups[first:first + size]) for first in range(0, TOKENS, size)]
                     for size in (Br, Bc)}
            tiles = sum("text" in of_rows | of_keys or not of_rows.isdisjoint(of_keys)
                        for of_rows in parts[Br] for of_keys in parts[Bc])
            row += [percent(tiles * Br * Bc / TOKENS ** 2), three(TOKENS ** 2 / (tiles * Br * Bc))]
        rows.append(row)
    return table(["tokens of an image", "tiles of 32 × 16 computed:", "gain:",
                  "tiles of 128 × 64 computed:", "gain:"], rows)


def block_table():
    """What attention can gain in a block of width 4,096 as language models have it."""
    width = 4096
    rows = []
    for N in (TOKENS, 8192 + TEXT):
        share = N / (N + 6 * width)
        rows.append([f"{N:,}", percent(share), three(1 / (1 - share))]
                    + [three(1 / (1 - share + share / gain)) for gain in (1.74, 2.12)])
    return table(["tokens:", "attention's share of the block's FLOPs:", "at most:",
                  "with attention 1.74 times as fast:", "2.12 times:"], rows)


def windowed_rows(rows, keys, values, windows):
    """[(relative error, weight outside)] of windowed attention, for each (width, first keys)."""
    d = len(keys[0])
    totals = [[0.0, 0.0] for _ in windows]
    norm = 0.0
    for i, q in rows:
        scores = [sum(a * b for a, b in zip(q, k)) / math.sqrt(d) for k in keys]
        top = max(scores)
        p = [math.exp(s - top) for s in scores]

        def output(seen):
            weight = sum(p[j] for j in seen)
            return weight, [sum(p[j] * values[j][c] for j in seen) / weight
                            for c in range(len(values[0]))]
        whole, exact = output(range(len(keys)))
        norm += sum(x * x for x in exact)
        for total, (width, first) in zip(totals, windows):
            low = max(0, i - width // 2)
            seen = [*range(min(first, low)), *range(low, min(len(keys), i + width // 2))]
            weight, o = output(seen)
            total[0] += sum((a - b) ** 2 for a, b in zip(o, exact))
            total[1] += 1 - weight / whole
    return [(math.sqrt(error / norm), outside / len(rows)) for error, outside in totals]


def window_table():
    """Two random problems of N keys, d = 64; outputs of every 64th row."""
    N, d, seed, memory = TOKENS, 64, 1, 0.98
    windows = ((128, 0), (256, 0), (256, 64), (512, 0), (1024, 0))
    rng = random.Random(seed)

    def independent():
        return [[rng.gauss(0, 1) for _ in range(d)] for _ in range(N)]

    def neighbours():
        # x_i = a x_(i-1) + sqrt(1 - a^2) noise: variance 1, alike where i is close.
        x = [[rng.gauss(0, 1) for _ in range(d)]]
        while len(x) < N:
            x.append([memory * old + math.sqrt(1 - memory ** 2) * rng.gauss(0, 1) for old in x[-1]])
        return x
    queries, keys, values = independent(), independent(), independent()
    alike = neighbours()
    values = [row[:16] for row in values]  # 16 columns tell as much as 64
    results = [windowed_rows([(i, q[i]) for i in range(32, N, 64)], k, values, windows)
               for q, k in ((queries, keys), (alike, alike))]
    rows = []
    for n, (width, first) in enumerate(windows):
        seen = sum(min(N, i + width // 2) - max(0, i - width // 2) +
                   min(first, max(0, i - width // 2)) for i in range(N))
        row = [f"{width}{f' and the first {first}' if first else ''}", percent(1 - seen / N ** 2)]
        for result in results:
            row += [percent(result[n][1]), percent(result[n][0])]
        rows.append(row)
    return table(["keys seen", "work saved:", "independent: weight lost:", "error of O:",
                  "neighbours alike: weight lost:", "error of O:"], rows)


def width_table():
    N = 1024
    rows = []
    for D in (768, 256):
        rows.append([D, N, f"{N * N:,}", in_bytes(4 * N * N), f"{4 * N * N * D / 1e9:.2f}",
                     in_bytes(4 * 4 * N * D)])
    return table(["features:", "N:", "scores:", "S, float32:", "products, GFLOP:",
                  "Q, K, V, O, float32:"], rows)


def growth_table():
    d = 64
    rows = []
    for N in (1024, 4096, 16384, 65536):
        pairs = N * int(math.log2(N))
        requested = traffic(("07_v2_loop_order", "step1_loop_swap", "forward"), N, d)[0]
        rows.append([f"{N:,}", three(4 * N * N * d / 1e9), three(4 * pairs * d / 1e9),
                     three(4 * N * d * d / 1e9), in_bytes(4 * evaluate(UNFUSED, N=N, d=d)),
                     in_bytes(4 * requested), in_bytes(4 * (4 * N * d + N)),
                     in_bytes(4 * (4 * N * d + 4 * pairs)), in_bytes(4 * (4 * N * d + 2 * d * d))])
    return table(["N:", "exact, GFLOP:", "N log₂N pairs, GFLOP:", "linear, GFLOP:",
                  "bytes: exact, unfused:", "07, requested:", "07, compulsory:",
                  "N log₂N pairs, unfused:", "linear:"], rows)


def robot_table():
    rows = []
    for what, Nq, Nk, width in (("prefill: 3 images of 256, 20 of text", 788, 788, 4096),
                                ("solver step: 50 actions, 788 cached keys", 50, 838, 1024)):
        share = Nk / (Nk + 6 * width)
        rows.append([what, Nq, Nk, f"{width:,}", percent(share), three(1 / (1 - share)),
                     in_bytes(2 * 32 * Nq * Nk)])
    return table(["step", "queries:", "keys:", "width D:", "attention's share of FLOPs:",
                  "at most, if it cost nothing:", "S, 32 heads, float16:"], rows)


def decode_table():
    """One query: what a fused kernel saves of the bytes of an unfused one."""
    rows = []
    for Nk in (1024, 32768):
        d = 128
        unfused, fused = 2 * Nk * d + 4 * Nk + 2 * d, 2 * Nk * d + 2 * d
        rows.append([f"{Nk:,}", f"{unfused:,}", f"{fused:,}", percent(1 - fused / unfused),
                     three(4 * Nk * d / (2 * fused))])
    return table(["keys:", "unfused, elements:", "fused, elements:", "saved:",
                  "FLOPs per byte, float16:"], rows)


def verdicts(text):
    """[(number, title, verdict)] of a page's sections."""
    return re.findall(r"^## (\d+)\. ([^\n]+)\n.*?^\*\*Verdict: ([^.*]+)\.\*\*", text,
                      re.DOTALL | re.MULTILINE)


def verdict_table():
    text = (ROOT / "notes/claims.md").read_text(encoding="utf-8")
    return table(["section", "claim", "verdict"], verdicts(text))
