# SPDX-License-Identifier: MIT
"""One kind of picture: points and lines over two logarithmic axes, as an SVG that follows the
reader's light or dark mode. The same input gives the same bytes."""
import dataclasses
import math

WIDTH, HEIGHT = 820, 470
LEFT, RIGHT, TOP, BOTTOM = 104, 216, 46, 54  # margins; the labels stand on the right
LABEL_HEIGHT = 17  # two labels keep at least that apart

LIGHT = "#1d4ed8 #b45309 #047857 #7e22ce #b91c1c #0e7490 #4d7c0f #64748b #be185d".split()
DARK = "#7aa2f7 #f0a35e #5fd0a5 #c49bf0 #f28b82 #67d3e8 #b5d66b #a3afbf #f19ac0".split()


@dataclasses.dataclass
class Series:
    """points: [(x, y)], in the order of x. A line, or dots, or both; perhaps a label at its end."""
    label: str
    color: int
    points: list
    line: bool = True
    dots: bool = True
    dashed: bool = False


def style():
    def rules(ink, faint, paper, colors):
        own = "".join(f".c{n}{{stroke:{color};fill:{color}}}" for n, color in enumerate(colors))
        return (f"text{{fill:{ink}}}.axis{{stroke:{ink}}}.grid{{stroke:{faint}}}"
                f".paper{{fill:{paper}}}{own}")
    return ("<style>text{font:13px system-ui,sans-serif;stroke:none}"
            ".title{font-weight:600;font-size:15px}.line{fill:none;stroke-width:2}"
            ".leader{stroke-width:1;opacity:.5}"
            ".dashed{stroke-dasharray:5 4}.axis,.grid{stroke-width:1}"
            + rules("#1f2328", "#d8dee4", "#ffffff", LIGHT)
            + "@media(prefers-color-scheme:dark){"
            + rules("#e6edf3", "#30363d", "#0d1117", DARK) + "}.line{fill:none}</style>")


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def decades(low, high):
    return [10.0**n for n in range(math.ceil(math.log10(low) - 1e-9),
                                   math.floor(math.log10(high) + 1e-9) + 1)]


def apart(wanted, low, high):
    """Heights close to the wanted ones, LABEL_HEIGHT apart, between low and high."""
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    placed, last = [0.0] * len(wanted), low - LABEL_HEIGHT
    for n in order:
        last = placed[n] = max(wanted[n], last + LABEL_HEIGHT)
    limit = high
    for n in reversed(order):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - LABEL_HEIGHT
    return placed


def chart(title, x_title, y_title, series, x_ticks, x_text, y_text):
    """x_ticks: where the x axis has its numbers; x_text, y_text: a number as the axis shows it."""
    xs = [x for its in series for x, _ in its.points] + list(x_ticks)
    ys = [y for its in series for _, y in its.points]
    x_low, x_high = math.log10(min(xs)), math.log10(max(xs))
    y_low, y_high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))

    def place(x, y):
        right, top = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return (LEFT + right * (math.log10(x) - x_low) / (x_high - x_low),
                TOP + top * (y_high - math.log10(y)) / (y_high - y_low))

    bottom, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
             f"<title>{escaped(title)}</title>", style(),
             f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
             f'<text class="title" x="{LEFT}" y="26">{escaped(title)}</text>']
    for tick in decades(10.0**y_low, 10.0**y_high):
        y = place(10.0**x_low, tick)[1]
        parts += [f'<path class="grid" d="M{LEFT} {y:.1f}H{end}"/>',
                  f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{y_text(tick)}</text>']
    for tick in x_ticks:
        x = place(tick, 10.0**y_low)[0]
        parts += [f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>',
                  f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{x_text(tick)}</text>']
    parts += [f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{end}" fill="none"/>',
              f'<text x="{(LEFT + end) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">'
              f"{escaped(x_title)}</text>",
              f'<text transform="translate(17 {(TOP + bottom) / 2:.0f}) rotate(-90)" '
              f'text-anchor="middle">{escaped(y_title)}</text>']
    for its in series:
        spots = [place(*point) for point in its.points]
        if its.line:
            path = "L".join(f"{px:.1f} {py:.1f}" for px, py in spots)
            dashed = " dashed" if its.dashed else ""
            parts.append(f'<path class="line c{its.color}{dashed}" d="M{path}"/>')
        if its.dots:
            parts += [f'<circle class="c{its.color}" cx="{px:.1f}" cy="{py:.1f}" r="3.6"/>'
                      for px, py in spots]
    labeled = [its for its in series if its.label]
    ends = [place(*its.points[-1]) for its in labeled]
    labels = apart([y for _, y in ends], TOP + 6, bottom - 4)
    for its, (x, y), label in zip(labeled, ends, labels, strict=True):
        parts += [f'<path class="leader line c{its.color}" d="M{x + 5:.1f} {y:.1f}L{end + 14} '
                  f'{label:.1f}"/>',
                  f'<text x="{end + 19}" y="{label + 4:.1f}">{escaped(its.label)}</text>']
    return "\n".join([*parts, "</svg>"]) + "\n"
