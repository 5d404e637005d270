#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Computes the tables of the pages in notes/.

    notes/tables.py            writes them into the pages
    notes/tables.py --check    exit status 1 if a page holds other ones

A table stands between <!-- computed: NAME --> and <!-- /computed -->. It is made by the function
NAME_table() of the page's module, tables_<page>.py; what the tables are computed from is in
formulas.py. Python's standard library is all it needs.
"""

import re
import sys

import tables_async
import tables_claims
import tables_decode
import tables_heads
import tables_hopper
import tables_io
import tables_limits
import tables_masks
import tables_memory
import tables_models
import tables_packed
import tables_paged
import tables_precision
import tables_scores
import tables_versions
from formulas import ROOT

PAGES = {f"notes/{page}.md": module for page, module in (
    ("io_complexity", tables_io), ("claims", tables_claims), ("limits", tables_limits),
    ("memory", tables_memory), ("precision", tables_precision), ("versions", tables_versions))}
for _page in ("README", "backward"):
    PAGES[f"chapters/10_async_pipeline/{_page}.md"] = tables_async
for _page in ("vision_transformers", "image_and_text", "vision_language_action"):
    PAGES[f"notes/{_page}.md"] = tables_models
PAGES["chapters/11_hopper/README.md"] = tables_hopper
PAGES["chapters/13_packed/README.md"] = tables_packed
PAGES["chapters/14_masks/README.md"] = tables_masks
PAGES["chapters/15_scores/README.md"] = tables_scores
PAGES["chapters/16_heads/README.md"] = tables_heads
PAGES["chapters/17_decode/README.md"] = tables_decode
PAGES["chapters/18_paged/README.md"] = tables_paged
TABLES = {name.removesuffix("_table"): function for module in PAGES.values()
          for name, function in vars(module).items() if name.endswith("_table")}

MARKER = re.compile(r"(<!-- computed: (\w+) -->\n)(.*?)(<!-- /computed -->)", re.DOTALL)


def filled(text):
    """The page with its tables computed anew, and the names of those that were others."""
    stale = []

    def replace(marker):
        new = f"\n{TABLES[marker[2]]()}\n\n"
        if new != marker[3]:
            stale.append(marker[2])
        return marker[1] + new + marker[4]
    return MARKER.sub(replace, text), stale


def main(arguments):
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if arguments not in ([], ["--check"]):
        print(f"tables.py: {' '.join(arguments)}: unknown; allowed: nothing, --check or --help",
              file=sys.stderr)
        return 2
    status = 0
    for page in PAGES:
        path = ROOT / page
        text, stale = filled(path.read_text(encoding="utf-8"))
        for its in stale:
            print(f"{page}: table {its} {'is stale' if arguments else 'written'}")
        if arguments:
            status = status or int(bool(stale))
        elif stale:
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
