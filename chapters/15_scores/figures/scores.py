#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws the weights of one row of S, plain and after each thing that may be done to its scores.

    chapters/15_scores/figures/scores.py > scores.svg
"""

import math

SCORES = (0.6, -0.4, 2.1, 0.2, -1.0, 0.9, 4.2, 0.1, -0.3, 1.6, 0.7, 1.2)
ROW = OWN = 11  # the row, and its own key
SLOPE, CAP, SINK, RATE, SEED = 0.25, 2.0, 3.5, 0.25, 15
BIAS = (0.0, 1.5, -1.0, 0.5, 2.0, -0.5, -math.inf, 1.0, 2.0, -1.5, 0.0, 0.5)

WIDTH, HEIGHT, BAR = 300, 120, 20  # of a panel and of a bar
LEFT, TOP, GAP_X, GAP_Y = 24, 50, 40, 78
BLUE, GREY, RED = "#4c78a8", "#b0b7c3", "#d1495b"


def words(key, counter):
    """Philox4x32-10, as in common/philox.hpp."""
    key = list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = ((b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF,
                   (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF)
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def is_kept(j):
    return words((SEED, 0), (j // 4, ROW, 0, 0))[j % 4] >= math.ceil(2**32 * RATE)


def softmax(scores, sink=-math.inf):
    total = math.exp(sink) + sum(map(math.exp, scores))
    return [math.exp(s) / total for s in scores], math.exp(sink) / total


def panels():
    """[(title, what is below it, weights, what is marked: a key or the sink)]."""
    plain, _ = softmax(SCORES)
    alibi, _ = softmax([s - SLOPE * abs(OWN - j) for j, s in enumerate(SCORES)])
    bias, _ = softmax([s + b for s, b in zip(SCORES, BIAS)])
    capped, _ = softmax([CAP * math.tanh(s / CAP) for s in SCORES])
    sunk, rest = softmax(SCORES, SINK)
    dropped = [p / (1 - RATE) if is_kept(j) else 0.0 for j, p in enumerate(plain)]
    return [("as they are", "exp(s - LSE)", plain, None),
            ("ALiBi", f"s - {SLOPE} · distance to key {OWN}", alibi, None),
            ("a bias", f"s + b; b is -∞ for key {BIAS.index(-math.inf)}", bias, None),
            ("softcap", f"{CAP:g} tanh(s / {CAP:g})", capped, None),
            ("a sink", f"its logit is {SINK}; its weight has no V", sunk, rest),
            ("dropout", f"{RATE:g} of them 0, the others × {1 / (1 - RATE):.2f}", dropped, None)]


def text(x, y, content, size=11, weight="normal", anchor="start", fill="#333"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{fill}">{content}</text>')


def panel(x, y, title, below, weights, rest):
    out = [text(x, y - 24, title, 14, "bold"), text(x, y - 8, below, 11, fill="#52606d")]
    out.append(f'<path d="M{x} {y + HEIGHT}h{WIDTH}" stroke="#52606d"/>')
    shown = [*enumerate(weights)] + ([("sink", rest)] if rest is not None else [])
    for place, (name, weight) in enumerate(shown):
        left, height = x + 4 + place * (BAR + 2), round(weight * HEIGHT, 1)
        fill = GREY if name == "sink" else BLUE
        if height >= 0.5:
            out.append(f'<rect x="{left}" y="{round(y + HEIGHT - height, 1)}" width="{BAR}" '
                       f'height="{height}" fill="{fill}"/>')
        gone = weight == 0
        out.append(text(left + BAR // 2, y + HEIGHT + 14, name, 10, anchor="middle",
                        fill=RED if gone else "#333"))
    total = sum(weights)
    out.append(text(x + WIDTH, y - 24, f"largest {max(weights):.2f}, sum {total:.2f}", 11,
                    anchor="end", fill="#52606d"))
    return out


def main():
    width, height = 2 * LEFT + 3 * WIDTH + 2 * GAP_X, TOP + 2 * HEIGHT + GAP_Y + 34
    out = [f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for number, its in enumerate(panels()):
        out += panel(LEFT + number % 3 * (WIDTH + GAP_X), TOP + number // 3 * (HEIGHT + GAP_Y),
                     *its)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'font-family="sans-serif" role="img">')
    print("<!-- SPDX-License-Identifier: MIT -->")
    print("<title>Weights of one row, plain and with each thing done to its scores</title>")
    print("\n".join(out))
    print("</svg>")


if __name__ == "__main__":
    main()
