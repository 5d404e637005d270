# SPDX-License-Identifier: MIT
"""Numbers and tables as text."""

PASSES = {"en": {"forward": "Forward", "backward": "Backward"},
          "zh": {"forward": "前向传播", "backward": "反向传播"}}


def grouped(number):
    return f"{number:,}"


def kib(size):
    """"4,610" or "0.5": KiB, with a digit behind the point only where there is something."""
    return f"{size / 1024:,.1f}".removesuffix(".0")


def ratio(part, whole):
    """Three digits; nothing where there is no whole."""
    if whole == 0:
        return ""
    quotient = part / whole
    return f"{quotient:.0f}" if quotient >= 100 else f"{quotient:.3g}"


def seconds_text(seconds):
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            break
    return f"{seconds * factor:.3g} {unit}"


def bytes_text(size):
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= 999.5 / 1024 * factor:  # 1,000 MiB and more would need four digits
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def markdown(titles, rows):
    """A table, without the columns that hold nothing. A title that ends in a colon, which is not
    shown, stands over numbers."""
    used = [c for c in range(len(titles)) if any(row[c] for row in rows)]
    lines = ["| " + " | ".join(titles[c].removesuffix(":") for c in used) + " |",
             "|" + "|".join("---:" if titles[c].endswith(":") else "---" for c in used) + "|"]
    lines += ["| " + " | ".join(row[c] for c in used) + " |" for row in rows]
    return "\n".join(lines)
