# SPDX-License-Identifier: MIT
"""Sphinx's settings for the book, and what it does not do by itself: formulas and source pages.

notes/site.sh runs it. Nothing that a page loads comes from elsewhere: formulas become MathML,
which browsers draw without a script.
"""

import html
import pathlib
import re
import shutil
import sys

import latex2mathml.converter
import ziamath
from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.util import logging

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True
import book
import sections

project = "FlashAttention, chapter by chapter"
language = "en"
root_doc = "index"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = False  # as GitHub reads $
myst_dmath_allow_digits = False
myst_heading_anchors = 6
myst_url_schemes = {"http": None, "https": None, "source": None}
html_math_renderer = "mathml"
highlight_language = "text"

html_theme = "furo"
html_title = project
# A font with which MathML looks the same everywhere; it comes with the package ziamath.
html_static_path = [
    "static", str(pathlib.Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf")]
templates_path = ["templates"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_favicon = html_logo = "static/tiles.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d4ed8", "color-brand-content": "#1d4ed8"},
    "dark_css_variables": {"color-brand-primary": "#8ab4ff", "color-brand-content": "#8ab4ff"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

LOGGER = logging.getLogger(__name__)
LARGE = 200_000  # bytes; a file beyond is copied, not shown
FUNCTION = re.compile(r"<m[io]>(?P<name>ln|log|exp|tanh|max|min)</m[io]>"
                      r"(?P<bracket>(?=<mo[^>]*>&#x00028;))?")
SKIPPED = {"__pycache__"}


def mathml(formula, display):
    """LaTeX as MathML, with the thin spaces around ln, max and tanh that browsers leave out."""
    return FUNCTION.sub(
        lambda match: f'<mo form="prefix" lspace="0.17em" '
        f'rspace="{"0" if match["bracket"] else "0.17em"}">{match["name"]}</mo>',
        latex2mathml.converter.convert(formula, display=display))


def inline_formula(translator, node):
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def displayed_formula(translator, node):
    translator.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def source_page(path):
    """The name of the page that shows a file or a folder, without its ending."""
    return f"source/{path}" if (book.ROOT / path).is_file() else f"source/{path}/index"


def resolve_sources(app, doctree, docname):
    """source:PATH becomes a link from this page to that file's."""
    for node in doctree.findall(nodes.reference):
        scheme, _, path = node.get("refuri", "").partition(":")
        if scheme == "source" and not (book.ROOT / path).exists():
            LOGGER.warning("link to %s: no such file", path, location=node)
        elif scheme == "source":
            app.env.book_sources.add(path)
            node["refuri"] = app.builder.get_relative_uri(docname, source_page(path))


def folder_list(path):
    """The names in a folder as links, and the paths that they lead to."""
    names = [child for child in sorted((book.ROOT / path).iterdir())
             if child.name not in SKIPPED and not child.name.startswith(".")]
    links = []
    for child in names:
        name = html.escape(child.name)
        address, shown = (f"{name}/index", f"{name}/") if child.is_dir() else (name, name)
        links.append(f'<li><a href="{address}.html">{shown}</a></li>')
    return f"<ul>{''.join(links)}</ul>", [str(child.relative_to(book.ROOT)) for child in names]


def copy_beside(app, path):
    """A copy of the file next to its page."""
    target = pathlib.Path(app.outdir) / "source" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(book.ROOT / path, target)
    return html.escape(target.name)


def file_text(app, path):
    """A file, highlighted; a picture as a picture."""
    text = (book.ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".svg"):
        return f'<img alt="" src="{copy_beside(app, path)}">'
    if len(text) > LARGE:
        return (f"<p>{len(text):,} characters of data, too long for a page: "
                f'<a href="{copy_beside(app, path)}">the file</a>.</p>')
    try:
        lexer = get_lexer_for_filename(path).aliases[0]
    except ClassNotFound:
        lexer = "text"
    return app.builder.highlighter.highlight_block(text, lexer, force=True, linenos="inline")


def source_pages(app):
    """A page for every file and folder that the book links to, and for what those folders hold."""
    waiting, done = sorted(app.env.book_sources), set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        if (book.ROOT / path).is_dir():
            body, more = folder_list(path)
            waiting += more
        else:
            body = file_text(app, path)
        title = html.escape(path)
        context = {"title": title, "body": f'<h1 class="path">{title}</h1>{body}'}
        yield source_page(path), context, "page.html"
    yield "search", {}, "search.html"


def name_language(app, page, template, context, doctree):
    """Browsers choose the forms of Chinese characters by it."""
    if page == book.staged(book.CHINESE).removesuffix(".md"):
        context["language"] = "zh-CN"


def begin(app):
    """What the handlers below fill."""
    app.builder.search = False  # the search is ours
    app.env.book_sources = set()
    app.env.book_sections = []
    app.env.book_order = [app.builder.get_target_uri(book.staged(page).removesuffix(".md"))
                          for page in book.reading_order()]


def setup(app):
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    app.connect("builder-inited", begin)
    sections.setup(app)
    app.connect("doctree-resolved", resolve_sources)
    app.connect("html-collect-pages", source_pages)
    app.connect("html-page-context", name_language)
