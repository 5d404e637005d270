#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
r"""Doxygen's input filter: prints a Markdown page written for GitHub as Doxygen wants it.

Formulas, $...$, $$...$$ and fenced math blocks, become \f$...\f$ and \f[...\f]. Links to source
files lead to Doxygen's page of that file; links to what has no page there become plain text.
"""

import os
import re
import sys

INLINE = re.compile(r"(?P<code>`+[^`]+`+)(?!\]\()|\$\$(?P<display>.+?)\$\$|"
                    r"\$(?P<inline>[^$\s][^$]*?)\$|"
                    r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<link>[^)#:]+)\)")
SOURCE = re.compile(r"(chapters|common)/(?!.*exercises/).*\.(hpp|cpp|cuh|cu)")


def rewrite(match, folder):
    """One formula, link or piece of inline code."""
    if match["display"]:
        return rf"\f[{match['display']}\f]"
    if match["inline"]:
        return rf"\f${match['inline']}\f$"
    if match["code"] or match["link"].endswith(".md"):
        return match[0]
    file = os.path.relpath(os.path.join(folder, match["link"]))
    if SOURCE.fullmatch(file):
        return f"[{match['text'].strip('`')}](@ref {file})"
    return match["text"]


def main():
    folder = os.path.dirname(sys.argv[1])
    fence = None  # what closes the block we are in
    for line in open(sys.argv[1], encoding="utf-8").read().splitlines():
        mark = line.strip()
        if fence is None and mark in ("```math", "$$"):
            fence = "```" if mark == "```math" else "$$"
            print(r"\f[")
        elif fence is None and mark.startswith("```"):
            fence = "code"
            print(line)
        elif fence == "code":
            fence = None if mark == "```" else fence
            print(line)
        elif fence is not None and mark == fence:
            fence = None
            print(r"\f]")
        else:
            print(line if fence else INLINE.sub(lambda match: rewrite(match, folder), line))


if __name__ == "__main__":
    main()
