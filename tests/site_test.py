#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the book's site and reads it as a visitor would.

    tests/site_test.py [FOLDER]     FOLDER holds a site already built; without it one is made

Exits with 77, "skipped", where notes/site.sh cannot install its tools. What needs a browser (how
wide a page is, what the search finds) is skipped where there is no chromium.
"""

import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = 77
TOOLS_MISSING = 3  # notes/site.sh: the tools cannot be installed
WIDTHS = [390, 1300]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or \
    shutil.which("google-chrome")
CODE = {"pre", "code", "script", "style"}
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(html.parser.HTMLParser):
    """What the checks ask of one page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.formulas = set(), [], [], 0
        self.sidebar, self.next, self.previous, self.prose = [], None, None, []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        its = {name: value or "" for name, value in attributes}
        classes = its.get("class", "").split()
        if "id" in its:
            self.ids.add(its["id"])
        if tag == "a" and "href" in its:
            self.links.append(its["href"])
            if any("sidebar-tree" in classes for _, classes in self.open):
                self.sidebar.append(its["href"])
            self.next = its["href"] if "next-page" in classes else self.next
            self.previous = its["href"] if "prev-page" in classes else self.previous
        if tag in ("script", "img", "source", "iframe") and its.get("src"):
            self.loads.append(its["src"])
        if tag == "link" and its.get("rel") in ("stylesheet", "icon", "preload", "prefetch"):
            self.loads.append(its["href"])
        self.formulas += tag == "math"
        if tag not in VOID:
            self.open.append((tag, classes))

    def handle_endtag(self, tag):
        if any(name == tag for name, _ in self.open):
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data):
        if not any(name in CODE for name, _ in self.open):
            self.prose.append(data)


def target(page, link):
    """The file that a link of `page` leads to, and the anchor; None for other places."""
    address = urllib.parse.urlsplit(link)
    if address.scheme or address.netloc:
        return None
    path = urllib.parse.unquote(address.path)
    return (os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page,
            urllib.parse.unquote(address.fragment))


def dead_links(pages, exists):
    """"page: link" of all that lead nowhere. exists(file): is there such a file of the site?"""
    dead = []
    for name, page in pages.items():
        for link in page.links + page.loads:
            its = target(name, link)
            if its is None or link == "#":
                continue
            file, anchor = its
            known = pages[file].ids if file in pages else None
            if not exists(file) or (anchor and known is not None and anchor not in known):
                dead.append(f"{name}: {link}")
    return dead


def foreign_loads(pages):
    """"page: address" of scripts, styles, fonts and pictures from elsewhere."""
    return [f"{name}: {load}" for name, page in pages.items() for load in page.loads
            if target(name, load) is None and not load.startswith("data:")]


def unrendered(pages):
    """Prose in which a formula is still LaTeX."""
    return [f"{name}: {data.strip()[:60]}" for name, page in pages.items() for data in page.prose
            if re.search(r"\$|\\[a-zA-Z]{2,}", data)]


def address_of(page):
    """Where a Markdown page of the repository stands in the site."""
    return page.replace("README", "index").removesuffix(".md") + ".html"


def formulas_in(page):
    """How many formulas a Markdown page has."""
    text = re.sub(r"```.*?```|`[^`\n]+`", "", (ROOT / page).read_text(encoding="utf-8"),
                  flags=re.DOTALL)
    return len(re.findall(r"\$\$.+?\$\$|\$[^$\s][^$]*?\$", text, re.DOTALL))


def in_browser(site, job, data):
    """What the function `job(frame, address, width, found)` of JavaScript finds in the pages."""
    page = site / "site_test.html"
    page.write_text(f"""<!DOCTYPE html><meta charset="utf-8"><pre id="found"></pre><script>
const jobs = {json.dumps(data)}, found = [];
function next() {{
  if (jobs.length === 0) {{
    document.getElementById("found").textContent = JSON.stringify(found);
    return;
  }}
  const [address, width] = jobs.shift();
  const frame = document.createElement("iframe");
  frame.style = `width: ${{width}}px; height: 800px; border: 0`;
  frame.onload = () => {{
    ({job})(frame.contentDocument, address, width);
    frame.remove();
    next();
  }};
  frame.src = address;
  document.body.append(frame);
}}
next();
</script>""", encoding="utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               "--allow-file-access-from-files", "--virtual-time-budget=30000", "--dump-dom",
               page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    page.unlink()
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    return json.loads(html.unescape(text))


class Site(unittest.TestCase):
    folder = None  # of the site

    @classmethod
    def setUpClass(cls):
        cls.pages = {}
        for path in sorted(cls.folder.rglob("*.html")):
            name, text = str(path.relative_to(cls.folder)), path.read_text(encoding="utf-8")
            if name.startswith("source/"):  # a listing has no links, and takes long to read
                text = re.sub("<pre>.*?</pre>", "", text, flags=re.DOTALL)
            if not name.startswith("_static"):
                cls.pages[name] = Page(text)
        cls.sources = ["README.md", "README.zh-CN.md"]
        for pattern in ("chapters/*/*.md", "chapters/*/*/README.md", "notes/*.md"):
            cls.sources += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))
        cls.book = {name: page for name, page in cls.pages.items()
                    if name in map(address_of, cls.sources)}

    def test_next_goes_through_every_page_once(self):
        order = ["index.html"]
        while (page := self.pages[order[-1]]).next:
            order.append(target(order[-1], page.next)[0])
            self.assertEqual(order.count(order[-1]), 1, f"{order[-1]} comes twice")
            self.assertEqual(target(order[-1], self.pages[order[-1]].previous)[0], order[-2])
        self.assertEqual(sorted(order), sorted(map(address_of, self.sources)))
        lessons = [name for name in order if re.fullmatch(r"chapters/[^/]+/index.html", name)]
        self.assertEqual(lessons, sorted(lessons))
        self.assertEqual(order[1], lessons[0])
        for name, page in self.book.items():
            sidebar = [target(name, link)[0] for link in page.sidebar if link != "#"]
            current = [at for at in order if at != "index.html" and (at in sidebar or at == name)]
            self.assertEqual(current, order[1:], f"the sidebar of {name}")
            self.assertEqual(sidebar, [at for at in order if at in sidebar], name)

    def test_links_lead_somewhere(self):
        exists = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}
        self.assertEqual(dead_links(self.pages, lambda file: file in exists), [])
        self.assertGreater(sum(len(page.links) for page in self.book.values()), 1000)

    def test_nothing_is_loaded_from_elsewhere(self):
        self.assertEqual(foreign_loads(self.pages), [])
        for path in [*self.folder.rglob("*.css"), *self.folder.rglob("*.svg")]:
            text = path.read_text(encoding="utf-8")
            self.assertEqual(re.findall(r"""url\(["']?(?:https?:)?//[^)]*\)|@import[^;]*""", text),
                             [], path.name)

    def test_formulas_are_drawn(self):
        self.assertEqual(unrendered(self.book), [])
        counted = {address_of(page): formulas_in(page) for page in self.sources}
        self.assertEqual({name: page.formulas for name, page in self.book.items()}, counted)
        self.assertGreater(sum(counted.values()), 50)
        self.assertTrue((self.folder / "_static" / "STIXTwoMath-Regular.ttf").is_file())

    def test_checks_find_what_is_wrong(self):
        pages = {"a.html": Page('<h1 id="top">A</h1><a href="a.html#top">yes</a>'
                                '<a href="https://example.org">yes</a><pre>$no$ \\frac</pre>'),
                 "b/c.html": Page('<a href="../a.html#bottom">no</a><a href="d.html">no</a>'
                                  '<script src="https://example.org/x.js"></script>'
                                  '<link rel="stylesheet" href="//example.org/x.css">'
                                  '<p>so $x$ and <b>\\frac</b></p>')}
        self.assertEqual(dead_links(pages, lambda file: file in pages),
                         ["b/c.html: ../a.html#bottom", "b/c.html: d.html"])
        self.assertEqual(len(foreign_loads(pages)), 2)
        self.assertEqual(unrendered(pages), ["b/c.html: so $x$ and", "b/c.html: \\frac"])

    @unittest.skipUnless(BROWSER, "no chromium")
    def test_no_page_is_wider_than_the_window(self):
        sources = [name for name in self.pages if name.startswith("source/")]
        some = {max(sources, key=len), *sources[::len(sources) // 8]}
        names = [*self.book, "search.html", *sorted(some)]
        jobs = [(name, width) for name in names for width in WIDTHS]
        found = in_browser(self.folder, """(page, address, width) => {
          for (const fold of page.querySelectorAll("details")) fold.open = true;
          // On a phone the theme lets the page's middle scroll by itself; that is too wide, too.
          const boxes = [page.scrollingElement, ...page.querySelectorAll(".main, .content")];
          const excess = boxes.map((box) => box.scrollWidth - box.clientWidth);
          found.push([address, width, Math.max(...excess), page.documentElement.clientWidth]);
        }""", jobs)
        self.assertEqual([job[:2] for job in found], [list(job) for job in jobs])
        self.assertEqual([job for job in found if job[2] > 0 or job[3] != job[1]], [])

    @unittest.skipUnless(BROWSER, "no chromium")
    def test_search_finds_sections(self):
        found = in_browser(self.folder, """(page) => found.push(
            [...page.querySelectorAll("#found li")].map((item) => [
                item.querySelector("a").getAttribute("href"), item.textContent]))""",
            [("search.html?q=online%20softmax", 1300), ("search.html?q=zzzzz", 1300)])
        self.assertEqual(found[0][0][0], "chapters/04_online_softmax/index.html")
        self.assertGreater(len(found[0]), 5)
        for link, text in found[0]:
            self.assertIn(target("search.html", link)[0], self.book)
            self.assertIn("softmax", text.lower())
        self.assertEqual(found[1], [])


def main():
    if len(sys.argv) > 1:
        Site.folder = pathlib.Path(sys.argv[1]).resolve()
        return 0 if unittest.main(argv=sys.argv[:1], exit=False).result.wasSuccessful() else 1
    with tempfile.TemporaryDirectory() as folder:
        Site.folder = pathlib.Path(folder).resolve() / "site"
        built = subprocess.run([ROOT / "notes" / "site.sh", Site.folder], check=False)
        if built.returncode == TOOLS_MISSING:
            print("skipped: the site's tools cannot be installed")
            return SKIPPED
        if built.returncode:
            return 1
        return 0 if unittest.main(exit=False).result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
