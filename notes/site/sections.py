# SPDX-License-Identifier: MIT
"""What the search of the site reads: the text of every section of every page.

Sphinx's own search shows no text of what it finds unless a server delivers the pages, and finds
pages of 5,000 words rather than sections. This one is a list in a script, so it works from a disk.
"""

import json
import pathlib
import re

from docutils import nodes
from sphinx.util.nodes import clean_astext


def text_of(section):
    """A section's own words, without those of the sections in it."""
    parts = [clean_astext(child) for child in section.children
             if not isinstance(child, (nodes.section, nodes.title, nodes.raw))]
    return re.sub(r"\s+", " ", " ".join(parts)).strip()


def collect(app, doctree, docname):
    """[page, address, heading, text] of a page's sections."""
    page = clean_astext(app.env.titles[docname])
    address = app.builder.get_target_uri(docname)
    for section in doctree.findall(nodes.section):
        heading = clean_astext(section.next_node(nodes.title))
        anchor = "" if heading == page else f"#{section['ids'][0]}"
        app.env.book_sections.append([page, address + anchor, heading, text_of(section)])


def write(app, exception):
    """The list, in reading order, as a script."""
    if exception is None:
        order = {name: n for n, name in enumerate(app.env.book_order)}
        sections = sorted(app.env.book_sections, key=lambda its: order[its[1].partition("#")[0]])
        text = json.dumps(sections, ensure_ascii=False, separators=(",", ":"))
        path = pathlib.Path(app.outdir) / "_static" / "sections.js"
        path.write_text(f"const bookSections = {text};\n", encoding="utf-8")


def setup(app):
    """The list is complete when the last page has been written."""
    app.connect("doctree-resolved", collect)
    app.connect("build-finished", write)
