#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the numbers of notes/io_complexity.md and notes/claims.md against what they come from.

Every table is computed anew; the formulas behind them are compared with the counts committed in
bench/results/trace.json; what the prose quotes must stand where it is quoted from.
"""

import json
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notes"))
sys.dont_write_bytecode = True
import tables

VERDICTS = {"right", "right with conditions", "wrong", "not measured here"}
CLAIMS = 18

# (quoted in, what, stands in)
QUOTES = [
    ("notes/claims.md", "4.4e-07", "chapters/05_fused_forward/README.md"),
    ("notes/claims.md", "9.2e-07", "chapters/02_naive_gpu/README.md"),
    ("chapters/08_register_tiles/README.md", "2.73 ms", "README.md"),
    ("chapters/08_register_tiles/README.md", "621 µs", "README.md"),
    ("chapters/08_register_tiles/README.md", "1.64 ms", "README.md"),
]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


class Notes(unittest.TestCase):

    def test_tables_are_current(self):
        for page in tables.PAGES:
            text = read(page)
            self.assertEqual(text.count("<!-- computed:"), text.count("<!-- /computed -->"), page)
            self.assertEqual(text.count("<!-- computed:"), len(tables.MARKER.findall(text)), page)
            self.assertEqual(tables.filled(text)[1], [], f"{page}: run notes/tables.py")

    def test_every_table_is_shown(self):
        text = "".join(map(read, tables.PAGES))
        self.assertEqual(set(re.findall(r"<!-- computed: (\w+) -->", text)), set(tables.TABLES))

    def test_one_changed_digit_is_stale(self):
        text = read("notes/io_complexity.md").replace("| 412 MB |", "| 413 MB |")
        self.assertEqual(tables.filled(text)[1], ["budget", "traffic"])

    def test_formulas_are_what_was_counted(self):
        data = json.loads(read("bench/results/trace.json"))
        shape = data["shape"]
        compared = 0
        for step in data["steps"]:
            key = (step["chapter"], step["step"], step["pass"])
            if key not in tables.FORMS:
                continue
            total = step["total"]
            requested = sum(total[f"global_{kind}_bytes"] for kind in ("load", "store", "atomic"))
            compulsory = sum(total[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write"))
            self.assertEqual([4 * count for count in tables.traffic(key, shape["Nq"], shape["d"])],
                             [requested, compulsory], key)
            compared += 1
        counted = {step["chapter"] for step in data["steps"]}
        self.assertEqual(compared, sum(key[0] in counted for key in tables.FORMS))

    def test_formulas_are_those_of_the_lessons(self):
        self.assertEqual(tables.traffic(("05_fused_forward", "forward", "forward"), 4096, 64),
                         (103_026_688, 1_331_200))
        self.assertEqual(tables.traffic(("02_naive_gpu", "naive", "forward"), 4096, 64),
                         (4_379_119_616, 68_161_536))

    def test_exps_that_the_prose_calls_counted(self):
        self.assertIn("524,288 special functions for both at N = 512", read("notes/claims.md"))
        data = json.loads(read("bench/results/trace.json"))
        counts = [step["total"]["special_functions"] for step in data["steps"]
                  if step["chapter"][:2] in ("05", "07") and step["pass"] == "forward"
                  and "total" in step]
        self.assertEqual(set(counts), {524_288})

    def test_every_device_is_read(self):
        devices = tables.devices()
        source = read("common/simt/machine/device.cpp")
        names = re.search(r"kDevices\[\] = \{(.*?)\};", source)[1].split(", ")
        self.assertEqual([name.removesuffix("()").upper() for name in names],
                         [name.upper() for name in devices])
        self.assertEqual(devices["A100"]["shared_bytes_per_block"], 163 * 1024)
        self.assertEqual(devices["H200"]["memory_bytes"], 141e9)
        self.assertEqual(devices["H100"]["multiprocessors"], 132)
        self.assertEqual(len({frozenset(its) - {"l2_total_bytes_per_clock"}
                              for its in devices.values()}), 1)

    def test_every_claim_has_a_verdict(self):
        text = read("notes/claims.md")
        sections = text.split("\n## ")[1:]
        self.assertEqual(len(sections), CLAIMS)
        for number, section in enumerate(sections, 1):
            self.assertTrue(section.startswith(f"{number}. "), section[:20])
            found = re.findall(r"^\*\*Verdict: ([^.*]+)\.\*\* \S", section, re.MULTILINE)
            self.assertEqual(len(found), 1, f"section {number}")
            self.assertIn(found[0], VERDICTS, f"section {number}")
            self.assertRegex(section, r"\nLook: \S", f"section {number}")
        self.assertEqual(len(tables.verdicts(text)), CLAIMS)

    def test_quotes_stand_where_they_come_from(self):
        for page, words, source in QUOTES:
            self.assertIn(words, read(page))
            self.assertIn(words, read(source), f"{page} quotes {words}")

    def test_a_malformed_formula_is_refused(self):
        with self.assertRaises(ValueError):
            tables.evaluate("__import__", N=1)


if __name__ == "__main__":
    unittest.main()
