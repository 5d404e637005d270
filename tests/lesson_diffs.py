#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Folds the kernels' code into the lessons: what a step changes, or a whole file.

    tests/lesson_diffs.py     writes each chapter's pages anew; lessons_test.py says if one is stale

Two markers, each alone on its line, with paths relative to the page:
    <!-- diff: step1_loop_swap.cu step2_skip.cu -->   up to <!-- /diff -->
    <!-- whole: tiles.cuh -->                         up to <!-- /whole -->
What stands between the two is written here. A diff leaves out comments, includes, namespaces and
empty lines; a whole file begins below its licence line.
"""

import difflib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTEXT = 2  # unchanged lines around a change
OPENING = re.compile(r"^<!-- (diff|whole): (.*?) -->$", re.MULTILINE)
MARKER = re.compile(OPENING.pattern + r"\n((?:(?!<!-- (?:diff|whole): ).*\n)*?)<!-- /\1 -->$",
                    re.MULTILINE)
LEFT_OUT = re.compile(r"\s*(//|#include|#pragma once|namespace\b|}\s*// namespace|$)")
FUNCTION = re.compile(r"(?!static_assert|template)[\w\[].*?\b(?!__launch_bounds__)(\w+)\(")
NOT_STEPS = {"candidates.cu"}  # tiles to choose from; no step launches them


def kernel_files(chapter):
    """The kernel files and headers that a chapter's steps are made of."""
    return sorted(path for path in chapter.iterdir()
                  if path.suffix in (".cu", ".cuh") and path.name not in NOT_STEPS)


def code(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines()
            if not LEFT_OUT.match(line)]


def function_of(lines, at):
    """The name of the function that the line belongs to, or nothing."""
    for line in reversed(lines[:at + 1]):
        found = FUNCTION.match(line)
        if found:
            return found[1]
        if line.startswith("}"):
            return ""
    return ""


def changes(old, new):
    """The lines of a diff; in its headings, the function instead of line numbers."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    lines = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        _, out, out_end, put, put_end = next(step for step in group if step[0] != "equal")
        name = function_of(new, put) if put_end > put else function_of(old, out)
        lines.append(f"@@ {name} @@" if name else "@@ @@")
        for kind, a, a_end, b, b_end in group:
            if kind == "equal":
                lines += [" " + line for line in old[a:a_end]]
            else:
                lines += ["-" + line for line in old[a:a_end]]
                lines += ["+" + line for line in new[b:b_end]]
    return lines


def fold(summary, language, lines):
    return "\n".join([f"<details><summary>{summary}</summary>", "", f"```{language}", *lines,
                      "```", "", "</details>", ""])


def name_of(path):
    return f"<code>{path.replace('../', '')}</code>"


def diff_block(folder, old, new):
    lines = changes(code(folder / old), code(folder / new))
    out, put = (sum(line.startswith(sign) for line in lines) for sign in "-+")
    return fold(f"{name_of(old)} to {name_of(new)}: {out} lines of code out, {put} in", "diff",
                lines)


def whole_block(folder, name):
    lines = (folder / name).read_text(encoding="utf-8").splitlines()[1:]
    while lines and lines[0] in ("", "//"):
        del lines[0]
    return fold(f"{name_of(name)}, all of it", "cuda", lines)


BLOCKS = {"diff": (2, diff_block), "whole": (1, whole_block)}


def filled(page):
    """The page's text with its blocks as they should be, and what is wrong: [(line, message)]."""
    text, wrong = page.read_text(encoding="utf-8"), []
    closed = {found.start() for found in MARKER.finditer(text)}

    def complain(at, message):
        wrong.append((text.count("\n", 0, at) + 1, message))

    def block(found):
        kind, names = found[1], found[2].split()
        number, made = BLOCKS[kind]
        missing = [name for name in names if not (page.parent / name).is_file()]
        if len(names) != number or missing:
            complain(found.start(), f"{kind} of {' and '.join(missing)}: no such file" if missing
                     else f"{kind}: {len(names)} files; needed: {number}")
            return found[0]
        right = made(page.parent, *names)
        if found[3] != right:
            complain(found.start(), f"{kind} of {found[2]}: stale; tests/lesson_diffs.py writes it")
        return f"<!-- {kind}: {found[2]} -->\n{right}<!-- /{kind} -->"

    for opening in OPENING.finditer(text):
        if opening.start() not in closed:
            complain(opening.start(), f"{opening[1]} without its <!-- /{opening[1]} -->")
    return MARKER.sub(block, text), sorted(wrong)


def shown(page):
    """The names of the files whose changes, or the whole of which, a page shows."""
    return {found[2].split()[-1] for found in MARKER.finditer(page.read_text(encoding="utf-8"))}


def main():
    status = 0
    for page in sorted(ROOT.glob("chapters/*/*.md")):
        text, wrong = filled(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
            wrong = filled(page)[1]
        for line, message in wrong:
            status = 1
            print(f"{page.relative_to(ROOT)}:{line}: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main())
