#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what people read: lessons, links, figures, and the rules of the house.

    tests/lessons_test.py [FOLDER]     FOLDER is the project, by default this one

Prints every failed check as "file:line: what is wrong", then "N passed, N failed"; exits with 1 if
one failed. Python's standard library is all it needs.
"""

import itertools
import json
import pathlib
import re
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import lesson_diffs  # noqa: E402  (found by the line above)

SECTIONS = ["The problem", "The idea", "Predict", "The code", "What changed",
            "Build, test, measure", "Measured", "What can go wrong", "Exercises", "Recap",
            "The map"]
CARD = ["need", "new idea", "minutes"]
MAX_EXCERPTS = 5
MAX_KERNEL_LINES = 250
MAX_WORDS = 3000  # of a lesson, code and folds not counted
QUOTES = [  # (chapter that quotes, what, chapter or file where it stands)
    ("02_naive_gpu", "13.1 ms", "chapters/01_naive_cpu/README.md"),
    ("03_tiled", "131 GiB", "README.md"),
    ("03_tiled", "1.6e-06", "chapters/02_naive_gpu/README.md"),
]
TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "README.md", "README.zh-CN.md", "LICENSE",
             "chapters", "common", "tests", "bench", "notes"}
NOT_OURS = re.compile(r"\.git|build.*|out|\.cache|__pycache__|.*\.pyc|compile_commands\.json|"
                      r"CMakeUserPresets\.json")
CODE = {".cpp", ".hpp", ".cu", ".cuh", ".py", ".sh"}

EXCERPT = re.compile(r"<!-- excerpt: (\S+) -->")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\s[^>]*(?:src|href)=\"([^\"]+)\"")
BLANK = re.compile(r"@@\w+@@")  # a place to be filled in from a run
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
ABSTRACT = re.compile(r"<details><summary>中文摘要</summary>\n(.*?)\n</details>", re.DOTALL)
ABSTRACT_LINES = range(8, 13)  # "about ten"
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:(?:home|root|work)/|tmp/\w+/)")


class Report:
    """Counts checks and prints those that fail."""

    def __init__(self, root):
        self.root = root
        self.passed = 0
        self.failed = 0

    def check(self, good, path, line, message):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"{path.relative_to(self.root)}:{line}: {message}")


def project_files(folder):
    """All files of the project below `folder`, without builds and caches, in a fixed order."""
    for path in sorted(folder.iterdir()):
        if NOT_OURS.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from project_files(path)
        else:
            yield path


def read(path):
    return path.read_text(encoding="utf-8")


def split_markdown(path):
    """[(line number, text)] outside fenced blocks, and the blocks: [(first line, [lines])]."""
    prose, blocks, fence = [], [], None
    for number, text in enumerate(read(path).splitlines(), 1):
        mark = FENCE.match(text)
        if fence is None and mark:
            fence = mark[1]
            blocks.append((number, []))
        elif fence is not None and mark and text.strip().startswith(fence):
            fence = None
        elif fence is not None:
            blocks[-1][1].append(text)
        else:
            prose.append((number, text))
    return prose, blocks


def anchors(path):
    """The names GitHub gives to the headings of a page."""
    found = set()
    for _, text in split_markdown(path)[0]:
        heading = re.match(r"#+ +(.*)", text)
        if heading:
            name = re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-")
            repeat = 0
            while (f"{name}-{repeat}" if repeat else name) in found:
                repeat += 1
            found.add(f"{name}-{repeat}" if repeat else name)
    return found


def words(path):
    """How many words a page has, without code and without what is folded away."""
    text = re.sub(r"<details>.*?</details>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"^```.*?^```|^ {4}.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    # Markers, what describes a picture, and where links lead.
    text = re.sub(r"<!--.*?-->|!\[[^\]]*\]|(?<=\])\([^)\s]*\)", "", text)
    return sum(any(letter.isalnum() for letter in word) for word in text.split())


def nvcc_lines(blocks):
    """[(line number, command)] of what a page asks nvcc to compile."""
    found = []
    for first, lines in blocks:
        joined = "\n".join(lines).replace("\\\n", " ")
        found += [(first, text) for text in joined.splitlines() if text.startswith("nvcc ")]
    return found


def check_kernels(report, chapter, blocks):
    """The lesson's pages show all that the chapter's kernel files change, and it has one line by
    which nvcc compiles one of them."""
    kernels = {path.name for path in lesson_diffs.kernel_files(chapter)}
    shown = set()
    for page in sorted(chapter.glob("*.md")):
        for line, message in lesson_diffs.filled(page)[1] or [(1, None)]:
            report.check(message is None, page, line, message)
        shown |= lesson_diffs.shown(page)
    readme = chapter / "README.md"
    for name in sorted(kernels):
        report.check(name in shown, readme, 1, f"{name}: its changes are not shown, by a marker "
                     f"<!-- diff: OLD {name} --> or <!-- whole: {name} -->")
    if kernels:
        lines = nvcc_lines(blocks)
        report.check(len(lines) == 1, readme, lines[-1][0] if lines else 1,
                     f"{len(lines)} lines for nvcc; needed: one that compiles a step alone")
        for number, command in lines:
            names = [word for word in shlex.split(command) if word.endswith(".cu")]
            good = len(names) == 1 and (chapter / pathlib.Path(names[0]).name).is_file()
            report.check(good and chapter.name in names[0], readme, number,
                         f"nvcc compiles {' '.join(names) or 'nothing'}, not a step of the chapter")


def check_beginning_and_end(report, readme, headings, blocks):
    """A lesson opens with its demo, is short enough, and ends with a map to papers and sources."""
    demo = f"ch{readme.parent.name[:2]}_demo"
    idea = next((number for number, name in headings if name == "The idea"), 0)
    report.check(any(demo in text for first, lines in blocks if first < idea for text in lines),
                 readme, 1, f"no command with {demo} before the idea")
    number = words(readme)
    report.check(number <= MAX_WORDS, readme, 1, f"{number} words; allowed: {MAX_WORDS}")
    end = readme.read_text(encoding="utf-8").partition("\n## The map\n")[2]
    for word in ("arxiv.org/abs/", "Dao-AILab/flash-attention", "| --"):
        report.check(word in end.replace("|--", "| --"), readme, 1, f'the map has no "{word}"')


def check_excerpts(report, readme, prose, blocks, least=1):
    """Each block announced by an excerpt comment stands in the named file, line for line."""
    announced = [(number, mark[1]) for number, text in prose if (mark := EXCERPT.search(text))]
    report.check(least <= len(announced) <= MAX_EXCERPTS, readme, 1,
                 f"{len(announced)} excerpts; allowed: {least} to {MAX_EXCERPTS}")
    for number, name in announced:
        source = readme.parent / name
        block = next((lines for first, lines in blocks if first == number + 1), None)
        report.check(block is not None, readme, number, f"no code block right below excerpt {name}")
        report.check(source.is_file(), readme, number, f"excerpt of {name}: no such file")
        if block is None or not source.is_file():
            continue
        lines = read(source).splitlines()
        at = [i for i in range(len(lines)) if lines[i:i + len(block)] == block]
        report.check(block and at, readme, number,
                     f"excerpt of {name}: these {len(block)} lines do not stand there so")


def check_abstract(report, readme):
    """A lesson opens with a fold in Chinese whose numbers stand in the lesson, too."""
    text = read(readme)
    top, _, lesson = text.partition("\n## ")
    found = ABSTRACT.findall(top)
    report.check(len(found) == 1, readme, 1, f"{len(found)} folds 中文摘要 at the top; allowed: 1")
    if len(found) != 1:
        return
    lines = [line for line in found[0].splitlines() if line.startswith("- ")]
    chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in found[0])
    report.check(len(lines) in ABSTRACT_LINES and chinese >= 20 * len(lines), readme, 1,
                 f"中文摘要 has {len(lines)} lines and {chinese} Chinese characters; allowed: "
                 f"{ABSTRACT_LINES.start} to {ABSTRACT_LINES.stop - 1} lines of 20 or more")
    known = set(NUMBER.findall(ABSTRACT.sub("", top) + lesson))
    for number in NUMBER.findall(found[0]):
        report.check(number in known, readme, 1, f"中文摘要 says {number}, the lesson does not")


def outline(path):
    """What a page and its translation have in common, by name."""
    prose, blocks = split_markdown(path)
    text = "\n".join(line for _, line in prose)
    links = {link[1] or link[2] for link in LINK.finditer(text)}
    return {
        "headings": [mark[0] for _, line in prose if (mark := re.match(r"#+ ", line))],
        "links": links - {"README.md", "README.zh-CN.md"},
        "inline code": set(re.findall(r"`[^`\n]+`", text)),
        "tables": re.findall(r"<!-- table: .*? -->", text),
        "numbers": set(NUMBER.findall(re.sub(r"`[^`\n]+`", "", text))),
        # The words before a comment, or before the gap that a table's first column ends with.
        "blocks": [[re.split(r"  | #", line.strip())[0] for line in lines] for _, lines in blocks],
    }


def check_translation(report, page, translation):
    """Whoever changes the one page changes the other."""
    ours, theirs = outline(page), outline(translation)
    for name, value in ours.items():
        report.check(value == theirs[name], translation, 1,
                     f"not the {name} of {page.name}: {differing(value, theirs[name])}")


def differing(ours, theirs):
    """The first thing that one of the two has and the other does not."""
    if isinstance(ours, set):
        return ", ".join(sorted(ours ^ theirs)[:5])
    pairs = itertools.zip_longest(ours, theirs)
    return next((f"{a!r} there, {b!r} here" for a, b in pairs if a != b), "")


def check_lesson(report, chapter):
    """One chapter's README: the card, the sections in order, the excerpts, a figure."""
    readme = chapter / "README.md"
    report.check(readme.is_file(), readme, 1, "missing")
    if not readme.is_file():
        return
    prose, blocks = split_markdown(readme)
    headings = [(number, text[3:].strip()) for number, text in prose if text.startswith("## ")]
    card = " ".join(text for number, text in prose
                    if not headings or number < headings[0][0]).lower()
    for word in CARD:
        report.check(word in card, readme, 1, f'the card does not say "{word}"')
    at = 0
    for section in SECTIONS:
        place = next((n for n in range(at, len(headings)) if headings[n][1] == section), None)
        report.check(place is not None, readme, 1, f'no section "## {section}" at its place')
        at = at if place is None else place + 1
    check_excerpts(report, readme, prose, blocks)
    check_abstract(report, readme)
    report.check(any("figures/" in text for _, text in prose), readme, 1, "no figure")
    for page in sorted(chapter.glob("*.md")):
        if page != readme:
            check_excerpts(report, page, *split_markdown(page), least=0)
    check_kernels(report, chapter, blocks)
    check_beginning_and_end(report, readme, headings, blocks)


def check_quotes(report, root):
    """What a lesson quotes of another page stands in both."""
    for chapter, text, source in QUOTES:
        readme = root / "chapters" / chapter / "README.md"
        for path in (readme, root / source):
            report.check(path.is_file() and text in path.read_text(encoding="utf-8"), path, 1,
                         f'"{text}", quoted from {source} by {chapter}, does not stand here')


def check_containers(report, root):
    """A development container installs all that tests/run.sh would."""
    asked = re.search(r"setup\.sh\" \\\n((?:  .*\n)+)", read(root / "tests" / "run.sh"))
    for path in sorted(root.glob(".devcontainer/**/devcontainer.json")):
        container = json.loads(re.sub(r"(?m)^//.*$", "", read(path)))
        installed = container["postCreateCommand"].strip("'").split()
        for package in asked[1].replace("\\\n", " ").split():
            report.check(package in installed, path, 1, f"{package}: asked for by tests/run.sh")


def check_links(report, path):
    """Every relative link and figure of a page leads to a file, and every #anchor to a heading."""
    for number, text in split_markdown(path)[0]:
        for link in LINK.finditer(re.sub(r"`[^`]*`", "", text)):
            target = link[1] or link[2]
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            report.check(file.exists(), path, number, f"link to {target}: no such file")
            if anchor and file.suffix == ".md" and file.is_file():
                report.check(anchor in anchors(file), path, number,
                             f"link to {target}: no such heading")


def check_file(report, path):
    """The rules every text file keeps."""
    try:
        lines = read(path).splitlines()
    except UnicodeDecodeError:
        return
    hits = [number for number, text in enumerate(lines, 1) if MACHINE_PATH.search(text)]
    report.check(not hits, path, hits[0] if hits else 1, "a path of somebody's machine")
    blanks = [number for number, text in enumerate(lines, 1) if BLANK.search(text)]
    report.check(not blanks, path, blanks[0] if blanks else 1, "a place left to be filled in")
    if path.suffix in CODE:
        report.check(any("SPDX-License-Identifier: MIT" in text for text in lines[:2]), path, 1,
                     "no licence line at the top")
    if path.suffix == ".cu" and "chapters" in path.parts:
        report.check(len(lines) <= MAX_KERNEL_LINES, path, len(lines),
                     f"{len(lines)} lines; allowed: {MAX_KERNEL_LINES}")


def lessons(root):
    return [path for path in sorted(root.glob("chapters/*"))
            if re.match(r"(?!00)\d\d_", path.name)]  # the playground is no lesson


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else here
    report = Report(root)
    for path in sorted(root.iterdir()):
        if not NOT_OURS.fullmatch(path.name) and not path.name.startswith("."):
            report.check(path.name in TOP_LEVEL, path, 1, "does not belong at the top level")
    chapters = lessons(root)
    report.check(chapters, root / "chapters", 1, "no chapter found")
    for chapter in chapters:
        check_lesson(report, chapter)
    check_translation(report, root / "README.md", root / "README.zh-CN.md")
    check_containers(report, root)
    for path in project_files(root):
        check_file(report, path)
        if path.suffix == ".md":
            check_links(report, path)
    check_quotes(report, root)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
