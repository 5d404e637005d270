# SPDX-License-Identifier: MIT
"""What the tables of notes/ are computed from: formulas of traffic, devices, committed counts; and
how numbers are written.

All formulas are for one head, Nq = Nk = N, no mask, N and d multiples of 64, and count elements.
Where they come from traffic that was counted, tests/notes_test.py compares them with the counts in
bench/results/trace.json. Device data are read from common/simt/machine/device.cpp. Python's
standard library is all it needs.
"""

import math
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent

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
