#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws a pool of pages, and the tables of three sequences of which two share a prompt.

    chapters/18_paged/figures/pages.py > pages.svg
"""

PAGE_KEYS, PAGES = 4, 8
PROMPT = 8  # keys that A and B have in common
SEQUENCES = (("A", 11, (5, 2, 7)), ("B", 9, (5, 2, 0)), ("C", 5, (3, 6)))  # keys, table
COLORS = {"A": "#4c78a8", "B": "#f58518", "C": "#54a24b", "prompt": "#8a63a8"}
FREE, INK, LINE = "#fff", "#333", "#9aa5b1"
CELL, HEIGHT = 46, 24
TABLE_X, POOL_X, TOP = 30, 330, 56


def owner(name, key):
    return "prompt" if key < PROMPT and name in "AB" else name


def pool():
    """{(page, row): (owner, key)} of every row that holds a key."""
    rows = {}
    for name, count, table in SEQUENCES:
        for key in range(count):
            rows[table[key // PAGE_KEYS], key % PAGE_KEYS] = owner(name, key), key
    return rows


def rect(x, y, width, height, fill):
    return (f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" '
            f'stroke="{LINE}"/>')


def text(x, y, content, fill=INK, anchor="start", weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="13" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{content}</text>')


def line(x1, y1, x2, y2, color):
    return (f'<path d="M{x1} {y1} C{x1 + 70} {y1} {x2 - 70} {y2} {x2} {y2}" fill="none" '
            f'stroke="{color}" stroke-width="1.5"/>')


def page_y(page):
    return TOP + page * (HEIGHT + 10)


def main():
    rows = pool()
    lines, out = [], []
    out += [text(TABLE_X, 28, "block_table", weight="bold"),
            text(POOL_X, 28, f"the pool: {PAGES} pages of {PAGE_KEYS} keys", weight="bold")]
    for at, (name, count, table) in enumerate(SEQUENCES):
        y = TOP + 18 + at * 100
        out.append(text(TABLE_X, y - 8, f"{name}: {count} keys", COLORS[name], weight="bold"))
        for n, page in enumerate(table):
            x, color = TABLE_X + n * CELL, COLORS[owner(name, n * PAGE_KEYS)]
            out += [rect(x, y, CELL, HEIGHT, FREE),
                    text(x + CELL / 2, y + 17, page, color, "middle", "bold")]
            lines.append(line(x + CELL / 2, y + HEIGHT, POOL_X - 30, page_y(page) + HEIGHT / 2,
                              color))
    for page in range(PAGES):
        y = page_y(page)
        out.append(text(POOL_X - 12, y + 17, page, anchor="end"))
        for row in range(PAGE_KEYS):
            its, key = rows.get((page, row), (None, None))
            x = POOL_X + row * CELL
            out.append(rect(x, y, CELL, HEIGHT, COLORS[its] if its else FREE))
            if its:
                label = f"{'AB' if its == 'prompt' else its}{key}"
                out.append(text(x + CELL / 2, y + 17, label, "#fff", "middle"))
    width, height = POOL_X + PAGE_KEYS * CELL + 30, page_y(PAGES) + 12
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'font-family="sans-serif" role="img">')
    print("<!-- SPDX-License-Identifier: MIT -->")
    print("<title>Three sequences in a pool of pages</title>")
    print("\n".join([rect(0, 0, width, height, "#fff"), *lines, *out]))
    print("</svg>")


if __name__ == "__main__":
    main()
