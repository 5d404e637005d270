# SPDX-License-Identifier: MIT
"""The pages of the book in reading order, and a copy of them as Sphinx wants it.

The Markdown is written for GitHub and stays as it is. In the copy every README.md is an index.md,
the tables of contents stand at the end of the pages that have one, and a link to what is no page
of the book reads source:PATH, PATH counted from the project's root.
"""

import os
import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHINESE = "README.zh-CN.md"
ABSTRACT = "中文摘要"  # what the fold in Chinese at the top of a lesson says

FENCE = re.compile(r" {0,3}(```+|~~~+)")
EXCERPT = re.compile(r"<!-- excerpt: (\S+) -->")
# Inline code goes through unchanged, unless it is the text of a link.
LINK = re.compile(r"(?P<code>`+[^`]+`+)(?!\]\()|(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s]+)\)")


def in_order(pages, guide):
    """The pages as `guide` links to them, counting the last link to each; then all others."""
    folder = (ROOT / guide).parent
    targets = re.findall(r"\]\(([^)\s#]+\.md)[)#]", (ROOT / guide).read_text(encoding="utf-8"))
    place = {os.path.relpath(folder / target, ROOT): n for n, target in enumerate(targets)}
    return sorted(sorted(pages), key=lambda page: place.get(page, len(targets)))


def find(pattern):
    """Pages whose path from the root matches."""
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))


def contents():
    """{page: [(caption, pages below it)]}, paths from the root, all in reading order."""
    chapters = find("chapters/[0-9][0-9]_*/README.md")
    notes = in_order(find("notes/*.md"), "README.md")
    below = {"README.md": [("Chapters", chapters), ("Notes", notes), ("中文", [CHINESE])]}
    for chapter in chapters:
        folder = pathlib.PurePath(chapter).parent
        more = [page for page in find(f"{folder}/*.md") + find(f"{folder}/*/README.md")
                if page != chapter]
        if more:
            below[chapter] = [("", in_order(more, chapter))]
    return below


def reading_order():
    """All pages, each once, as "next" goes through them."""
    below = contents()

    def walk(page):
        yield page
        for _, pages in below.get(page, []):
            for child in pages:
                yield from walk(child)

    return list(walk("README.md"))


def staged(page):
    """What a page is called in the copy."""
    return str(pathlib.PurePath(page).with_name(
        pathlib.PurePath(page).name.replace("README", "index", 1)))


def rewrite(match, page, pages):
    """One link, or a piece of inline code."""
    if match["code"] or re.match(r"[a-z]+:|#", match["target"]):
        return match[0]
    name, _, anchor = match["target"].partition("#")
    target = os.path.relpath((ROOT / page).parent / name, ROOT)
    if target in pages:
        name = os.path.relpath(staged(target), pathlib.PurePath(page).parent)
    elif not match["text"].startswith("!"):
        name = f"source:{target}"
    return f"{match['text']}({name}{'#' if anchor else ''}{anchor})"


def convert(page, pages, below):
    """A page's text, changed."""
    lines, fence = [], None
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        mark = FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
            line = line.replace("```math", "```{math}")
        elif fence is not None:
            fence = None if mark and line.strip() == fence else fence
        elif excerpt := EXCERPT.fullmatch(line):
            name = excerpt[1]
            target = os.path.relpath((ROOT / page).parent / name, ROOT)
            line = f'<div class="excerpt">\n\n[{name}](source:{target})\n\n</div>\n'
        elif line == f"<details><summary>{ABSTRACT}</summary>":
            line = line.replace("<details>", '<details lang="zh-CN">')
        else:
            line = LINK.sub(lambda match: rewrite(match, page, pages), line)
        lines.append(line)
    folder = pathlib.PurePath(page).parent
    for caption, children in below.get(page, []):
        lines += ["", "```{toctree}", ":hidden:", f":caption: {caption}" if caption else "", ""]
        lines += [os.path.relpath(staged(child), folder).removesuffix(".md") for child in children]
        lines += ["```"]
    return "\n".join(lines) + "\n"


def write_copy(folder):
    """Pages and figures, for Sphinx to read."""
    pages = reading_order()
    for page in pages:
        path = folder / staged(page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(convert(page, pages, contents()), encoding="utf-8")
    for figure in [*ROOT.glob("*/*/figures/*.svg"), *ROOT.glob("notes/figures/*.svg")]:
        path = folder / figure.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(figure, path)


if __name__ == "__main__":
    write_copy(pathlib.Path(sys.argv[1]))
