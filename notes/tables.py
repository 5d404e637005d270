#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Computes the tables of notes/io_complexity.md and notes/claims.md.

    notes/tables.py            writes them into the pages
    notes/tables.py --check    exit status 1 if a page holds other ones

A table stands between <!-- computed: NAME --> and <!-- /computed -->; NAME is a key of TABLES. All
formulas are for one head, Nq = Nk = N, no mask, N and d multiples of 64, and count elements. Where
they come from traffic that was counted, tests/notes_test.py compares them with the counts in
bench/results/trace.json. Device data are read from common/simt/machine/device.cpp. Python's
standard library is all it needs.
"""

import math
import pathlib
import random
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("notes/io_complexity.md", "notes/claims.md")

# ---- Formulas ----------------------------------------------------------------------------------

# chapter, step, pass: requested, compulsory. Written as the page shows them; evaluate() reads them.
# The compulsory ones of 05 and 06 hold for more than one tile of keys.
UNFUSED = "4Nd + 4N² + N"
FORMS = {
    ("02_naive_gpu", "naive", "forward"): ("4N²d + 5N² + Nd + N", UNFUSED),
    ("03_tiled", "step4_warp_softmax", "forward"): ("N²d/8 + 5N² + Nd + N", UNFUSED),
    ("04_online_softmax", "forward", "forward"): ("2N²d + 2Nd + N", "4Nd + N"),
    ("05_fused_forward", "forward", "forward"): ("Tc(3Nd + 4N) + Nd + N", "5Nd + 5N"),
    ("07_v2_loop_order", "step1_loop_swap", "forward"): ("Tr·2Nd + 2Nd + N", "4Nd + N"),
    ("08_register_tiles", "step5_exp2", "forward"): ("Tr·2Nd + 2Nd + N", "4Nd + N"),
    ("06_recompute_backward", "step1_textbook", "backward"):
        ("5N²d/16 + 5N² + 5Nd + N", "12Nd + 6N² + 3N"),
    ("06_recompute_backward", "step2_recompute", "backward"):
        ("Tc(4Nd + 2N) + 5Nd + N", "10Nd + 3N"),
    ("07_v2_loop_order", "step4_backward", "backward"): ("Tc(3Nd + 2N) + 6Nd + N", "10Nd + 3N"),
    ("07_v2_loop_order", "step5_deterministic", "backward"):
        ("Tc(2Nd + 2N) + Tr·2Nd + 9Nd + 3N", "13Nd + 5N"),
}
SHORT = {"step4_warp_softmax": "last step", "step1_textbook": "textbook",
         "step2_recompute": "recompute", "step4_backward": "atomics",
         "step5_deterministic": "deterministic"}


def evaluate(form, **sizes):
    """The value of a formula such as "Tc(3Nd + 4N) + Nd + N"."""
    tokens = re.findall(r"T[cr]|[Nd]|\d+|[()+/·²]", form)
    if "".join(tokens) != form.replace(" ", ""):
        raise ValueError(f"{form}: not a formula")
    code = ""
    for token in tokens:
        if code and token not in ")+/·²" and code[-1] not in "(+/*":
            code += "*"
        code += {"·": "*", "²": "**2", "/": "//"}.get(token, token)
    return eval(code, {"__builtins__": {}}, sizes)  # only the tokens above


def largest_power(limit):
    """The largest power of two up to limit."""
    return 2 ** math.floor(math.log2(limit))


def tile_keys(floats, d):
    """Bc of chapter 05's rule: the largest power of two up to M / 4d."""
    return largest_power(floats / (4 * d))


BUDGET = 48 * 1024 // 4  # M of the chapters: 48 KiB in floats


def traffic(key, N, d):
    """(requested, compulsory) of one head, with the tiles of the chapters."""
    keys = tile_keys(BUDGET, d)
    rows = 64 if d <= 64 else 32  # Br of the forward pass: what still fits beside the keys
    if key[0] == "08_register_tiles":
        rows = 128
    if key[2] == "backward":
        rows = min(keys, 32)
    sizes = {"N": N, "d": d, "Tc": N // keys, "Tr": N // rows}
    return tuple(evaluate(form, **sizes) for form in FORMS[key])


def name(key):
    """"06 textbook" of ("06_recompute_backward", "step1_textbook", ...)."""
    return f"{key[0][:2]} {SHORT.get(key[1], '')}".strip()


def devices():
    """{name: {field: number}} of common/simt/machine/device.cpp."""
    text = (ROOT / "common/simt/machine/device.cpp").read_text(encoding="utf-8")
    found, names = {}, {}
    for body in re.finditer(r"constexpr DeviceDescription (\w+)\(.*?\n}\n", text, re.DOTALL):
        base = re.search(r"DeviceDescription device = (\w+)\((?:\"(\w+)\")?", body[0])
        fields = dict(found[base[1]]) if base else {}
        for field, value in re.findall(r"device\.(\w+) = ([^;]+);", body[0]):
            value = value.replace("kKiB", "1024").replace("kMiB", "1048576").replace("'", "")
            if re.fullmatch(r"[\d.e* ]+", value):
                fields[field] = math.prod(float(factor) for factor in value.split("*"))
        found[body[1]] = fields
        if base and base[2]:
            names[base[2]] = fields
    return names


# ---- Writing -----------------------------------------------------------------------------------


def table(titles, rows):
    """Markdown. A title that ends in a colon, which is not shown, stands over numbers."""
    lines = ["| " + " | ".join(title.removesuffix(":") for title in titles) + " |",
             "|" + "|".join("---:" if title.endswith(":") else "---" for title in titles) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def three(number):
    """Three digits: 0.0123, 1.23, 12.3, 123, 1,230."""
    if number == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(number)))
    return f"{round(number, digits):,.{max(digits, 0)}f}"


def in_bytes(size):
    """12.3 kB, 1.23 MB, 1.23 GB: powers of 1000, as memories are sold."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= 0.9995 * factor:
            return f"{three(size / factor)} {unit}"
    return f"{size:.0f} B"


def percent(part, whole=1.0):
    return f"{three(100 * part / whole)} %"


# ---- io_complexity.md --------------------------------------------------------------------------

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


# ---- claims.md ---------------------------------------------------------------------------------


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


# ---- Pages -------------------------------------------------------------------------------------

TABLES = {function.__name__.removesuffix("_table"): function for function in (
    forms_table, traffic_table, budget_table, published_table, published_flops_table, cache_table,
    room_table, memory_table, device_table, tiles_table, rescale_table, order_table,
    exp_table, fits_table, vit_table, split_table, skip_table, window_table, width_table,
    growth_table, robot_table, decode_table, verdict_table)}

MARKER = re.compile(r"(<!-- computed: (\w+) -->\n)(.*?)(<!-- /computed -->)", re.DOTALL)


def filled(text):
    """The page with its tables computed anew, and the names of those that were others."""
    stale = []

    def replace(marker):
        new = f"\n{TABLES[marker[2]]()}\n\n"
        if new != marker[3]:
            stale.append(marker[2])
        return marker[1] + new + marker[4]
    return MARKER.sub(replace, text), stale


def main(arguments):
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if arguments not in ([], ["--check"]):
        print(f"tables.py: {' '.join(arguments)}: unknown; allowed: nothing, --check or --help",
              file=sys.stderr)
        return 2
    status = 0
    for page in PAGES:
        path = ROOT / page
        text, stale = filled(path.read_text(encoding="utf-8"))
        for its in stale:
            print(f"{page}: table {its} {'is stale' if arguments else 'written'}")
        if arguments:
            status = status or int(bool(stale))
        elif stale:
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
