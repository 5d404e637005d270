#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the numbers of the pages in notes/ against what they come from.

Every table is computed anew; the formulas behind them are compared with the counts committed in
bench/results/trace.json; what the prose quotes must stand where it is quoted from.
"""

import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "notes"), str(ROOT / "bench"), str(ROOT / "tests")]
sys.dont_write_bytecode = True
import formulas
import tables
import tables_claims
import tables_decode
import tables_limits
import tables_masks
import tables_models
import tables_scores
import tables_versions
from lessons_test import split_markdown
from reporting import sass

VERDICTS = {"right", "right with conditions", "wrong", "not measured here"}
CLAIMS = 18
QUESTIONS = 40

# (quoted in, what, stands in)
QUOTES = [
    ("notes/claims.md", "4.4e-07", "chapters/05_fused_forward/README.md"),
    ("notes/claims.md", "9.2e-07", "chapters/02_naive_gpu/README.md"),
    ("notes/precision.md", "9.2e-07", "chapters/07_v2_loop_order/README.md"),
    ("notes/limits.md", "18 instructions for 2", "chapters/06_recompute_backward/README.md"),
    ("notes/claims.md", "662 µs", "chapters/17_decode/README.md"),
    ("notes/image_and_text.md", "12.5 %", "chapters/13_packed/README.md"),
    ("notes/image_and_text.md", "1.56 %", "chapters/13_packed/README.md"),
    ("chapters/17_decode/README.md", "662 µs", "chapters/16_heads/README.md"),
    ("chapters/17_decode/README.md", "24.9", "notes/limits.md"),
    ("chapters/08_register_tiles/README.md", "2.73 ms", "README.md"),
    ("chapters/08_register_tiles/README.md", "621 µs", "README.md"),
    ("chapters/08_register_tiles/README.md", "1.64 ms", "README.md"),
    ("chapters/09_tensor_cores/README.md", "514 µs", "README.md"),
    ("chapters/09_tensor_cores/README.md", "1,282", "chapters/08_register_tiles/README.md"),
]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def shown_loop():
    """[(instruction, comment)] of the loop in notes/limits.md."""
    lines = next(lines for _, lines in split_markdown(ROOT / "notes/limits.md")[1]
                 if any(line.startswith("FFMA") for line in lines))
    return [tuple(part.strip() for part in line.split("//")) for line in lines]


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
            if key not in formulas.FORMS:
                continue
            total = step["total"]
            requested = sum(total[f"global_{kind}_bytes"] for kind in ("load", "store", "atomic"))
            compulsory = sum(total[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write"))
            floats = formulas.traffic(key, shape["Nq"], shape["d"])
            self.assertEqual([4 * count for count in floats], [requested, compulsory], key)
            compared += 1
        counted = {step["chapter"] for step in data["steps"]}
        self.assertEqual(compared, sum(key[0] in counted for key in formulas.FORMS))

    def test_formulas_are_those_of_the_lessons(self):
        self.assertEqual(formulas.traffic(("05_fused_forward", "forward", "forward"), 4096, 64),
                         (103_026_688, 1_331_200))
        self.assertEqual(formulas.traffic(("02_naive_gpu", "naive", "forward"), 4096, 64),
                         (4_379_119_616, 68_161_536))

    def test_scores_ask_for_what_was_counted(self):
        # io_formulas_test.cpp holds the same numbers against the kernels.
        self.assertEqual(tables_scores.requested(512, 64), 590_336)
        self.assertEqual(tables_scores.requested(512, 64, per_head=1), 591_360)
        self.assertEqual(tables_scores.requested(512, 64, per_pair=1), 852_480)
        self.assertEqual(tables_scores.compulsory(512, 64, 512 * 512), 393_728)
        self.assertEqual([512 * 512 * tables_scores.special_functions(softcap)
                          for softcap in (False, True)], [524_288, 1_048_576])

    def test_pages_of_models_count_as_the_claims_do(self):
        counts = tables_models.shown.counts
        claims = read("notes/claims.md")
        pairs = counts.mask_pairs(counts.LLAVA)
        one_cross = pairs["windowed"] - 1024 * 512
        for number in (pairs["full"], pairs["windowed"], one_cross):
            self.assertIn(f"{number:,}", claims)
        wide = counts.Block(4096, 32, 32, 128, 4 * 4096, gated=False)
        for tokens, share, most in ((1536, "5.88 %", "1.06"), (8704, "26.2 %", "1.35")):
            part = counts.attention_share(wide, tokens, tokens**2)
            self.assertAlmostEqual(part, tokens / (tokens + 6 * 4096))
            self.assertIn(f"| {tokens:,} | {share} | {most} |", claims)
            self.assertEqual([tables_models.shown.percent(part), f"{counts.at_most(part):.2f}"],
                             [share, most])

    def test_a_time_that_was_not_measured_says_so(self):
        record = {"what": "", "queries": 50, "keys": 838, "torch": None, "ours": 0.5,
                  "error": 1e-6}
        self.assertEqual(tables_models.shown.solver_times([record])[1],
                         [["", "not measured", "500 ms", *2 * ["not measured"], "1.0e-06"]])
        record["torch"] = 1.0
        self.assertEqual(tables_models.shown.solver_times([record])[1],
                         [["", "1 s", "500 ms", "2.00", "1.09", "1.0e-06"]])

    def test_runs_of_a_cache_ask_for_what_was_counted(self):
        # io_formulas_test.cpp holds the same formula against the kernels.
        lesson = read("chapters/17_decode/README.md")
        for elements in (tables_decode.unsplit(), tables_decode.requested(32),
                         tables_decode.requested(8) - tables_decode.unsplit()):
            self.assertIn(f"{elements:,}", lesson)
        for splits in tables_decode.SPLITS:
            blocks, took = tables_decode.schedule(splits)
            self.assertEqual(sum(tiles for _, _, tiles in blocks), 8 * 128)
            for sm in range(tables_decode.CHIP):  # one block at a time
                end = 0
                for _, begin, tiles in (block for block in blocks if block[0] == sm):
                    self.assertEqual(begin, end)
                    end += tiles
                self.assertLessEqual(end, took)

    def test_exps_that_the_prose_calls_counted(self):
        self.assertIn("524,288 special functions for both at N = 512", read("notes/claims.md"))
        data = json.loads(read("bench/results/trace.json"))
        counts = [step["total"]["special_functions"] for step in data["steps"]
                  if step["chapter"][:2] in ("05", "07") and step["pass"] == "forward"
                  and "total" in step]
        self.assertEqual(set(counts), {524_288})

    def test_every_device_is_read(self):
        devices = formulas.devices()
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
        self.assertEqual(len(tables_claims.verdicts(text)), CLAIMS)

    def test_quotes_stand_where_they_come_from(self):
        for page, words, source in QUOTES:
            self.assertIn(words, read(page))
            self.assertIn(words, read(source), f"{page} quotes {words}")

    def test_numbers_in_the_prose_of_limits(self):
        text = read("notes/limits.md")
        its = tables_limits.waiting()
        for words in (f"makes {its['loads']} loads of 4 bytes",
                      f"{its['turns']:.0f} times per pair of tiles",
                      f"= {its['in_flight'] // 1024} KiB under way and waits",
                      f"{its['waits']:.1f} µs if all comes from HBM",
                      f"{its['wavefronts']:,.0f} wavefronts, {its['busy']:.1f} µs",
                      f"times {tables_limits.LATENCY_NS} ns are "
                      f"{tables_limits.flight_bytes(tables_limits.LATENCY_NS) / 1e6:.2f} MB"):
            self.assertTrue(words in text, words)
        times = tables_limits.resource_seconds("07_v2_loop_order", "step3_exp2")
        shared, issue, memory = (1e3 * times[it] for it in ("shared memory", "issue slots", "HBM"))
        for words in (f"busy for {memory:.3f} ms of at least {shared:.2f}",
                      f"{shared:.2f} / 2 = {shared / 2:.2f} ms", f"the busiest, with {issue:.2f}",
                      f"{shared:.2f} / {issue:.2f} = {shared / issue:.1f} times"):
            self.assertTrue(words in text, words)

    def test_numbers_in_the_prose_of_versions_and_memory(self):
        Bc, _ = tables_versions.fa1_tiles()
        self.assertIn(f"Bc = {Bc} by the rule", read("notes/versions.md"))
        text = read("notes/memory.md")
        reuse = re.findall(r"^\| HBM .*\| ([\d.]+) \|$", text, re.MULTILINE)[-1]
        self.assertIn(f"some {float(reuse):.0f} times on an H200", text)
        h100 = formulas.devices()["H100"]
        self.assertEqual(h100["tensor_flops_per_clock"], 16 * h100["flops_per_clock"])

    def test_the_worksheet_is_what_attn_tune_prints(self):
        page = read("chapters/08_register_tiles/tune.md").partition("d=128, H200")[0]
        for d, Br, Bc, warps in (*tables_limits.SHEETS, (64, 128, 32, 4)):
            sheet = {line: number for line, (_, number) in
                     tables_limits.tile_sheet(d, Br, Bc, warps, 512).items()}
            row = re.search(rf"^{Br}x{Bc}, {warps} warps(?: \*)? .*", page, re.MULTILINE)[0]
            registers, shared, blocks, resident, loads, stores = re.search(
                r"(\d+) +([\d.]+) KiB +(\d+) +(\d+) +([\d.]+) +([\d.]+)", row).groups()
            self.assertEqual(float(shared), float(sheet["shared memory, KiB"]), row)
            self.assertEqual(loads, sheet["loads per FFMA, both"], row)
            self.assertEqual(stores, sheet["stores per FFMA"], row)
            self.assertLess(sheet["registers, at least"], int(registers), row)
            size = 4 * int(sheet["shared memory, floats"].replace(",", ""))
            fit = min(tables_limits.occupancy(32 * warps, int(registers), size).values())
            self.assertEqual((fit, fit * warps), (int(blocks), int(resident)), row)

    def test_the_worked_answer_of_the_worksheet(self):
        sheet = tables_limits.tile_sheet(64, 128, 32, 4, 512)
        text = read("notes/limits.md")
        for line, unit in (("loads per FFMA, both", ""), ("stores per FFMA", ""),
                           ("shared memory, KiB", " KiB")):
            words = f"**{sheet[line][1]}{unit}**"
            self.assertTrue(words in text, words)

    def test_the_loop_that_limits_shows_is_the_committed_one(self):
        shown = [sass.INSTRUCTION.match(f"/*0000*/ {code};") for code, _ in shown_loop()]
        self.assertNotIn(None, shown)
        counts = sass.count([sass.Instruction(its[1] or "", its[2], its[3], None) for its in shown])
        loop = tables_limits.loop_of(*tables_limits.LOOPS[3][1:])
        self.assertEqual(counts, {key: loop[key] for key in counts})

    def test_its_comments_name_what_is_loaded_and_multiplied(self):
        # Where a tile begins in shared memory, and bytes from row to row: (Br, D + 1) of Q and of
        # dO, (Br, Bc + 1) of P and of dS, at d = 64 with tiles of 32 x 32.
        tiles = {"R56": (("Q", 0, 260), ("dO", 8320, 260)),
                 "R54": (("P", 33_280, 132), ("dS", 37_504, 132))}
        held, checked = {}, 0
        for code, comment in shown_loop():
            if load := re.match(r"LDS (R\d+), \[(R\d+)(?:\+(0x[0-9a-f]+))?\]", code):
                offset = int(load[3] or "0", 16)
                name, start, step = [it for it in tiles[load[2]] if it[1] <= offset][-1]
                row, rest = divmod(offset - start, step)
                held[load[1]] = f"{name}[r+{row}]" if row else f"{name}[r]"
                self.assertEqual((comment, rest), (held[load[1]], 0), code)
            elif code.startswith("FFMA"):
                factors = {held[register] for register in re.findall(r"R\d+", code)[1:3]}
                result, *named = re.match(r"(\w+) \+= (\S+) (\S+)", comment).groups()
                self.assertEqual(factors, set(named), code)
                self.assertEqual({it.partition("[")[0] for it in named},
                                 {"grad_v": {"P", "dO"}, "grad_k": {"dS", "Q"}}[result], code)
            else:
                continue
            checked += 1
        self.assertEqual(checked, 96)

    def test_figures_are_current(self):
        for name in ("notes/figures/memory", "notes/figures/busy",
                     "chapters/13_packed/figures/orders", "chapters/14_masks/figures/tiles",
                     "chapters/15_scores/figures/scores", "chapters/17_decode/figures/runs",
                     "chapters/18_paged/figures/pages"):
            drawn = subprocess.run([sys.executable, ROOT / f"{name}.py"],
                                   capture_output=True, text=True, check=True).stdout
            self.assertEqual(drawn, read(f"{name}.svg"), name)

    def test_neighbourhoods_have_a_size_and_all_pairs_have_a_tile(self):
        seen = tables_masks.neighbourhoods(16, 7)
        self.assertEqual({len(set(keys)) for keys in seen}, {49})
        self.assertTrue(all(token in keys for token, keys in enumerate(seen)))
        order = tables_masks.window_order(16)
        self.assertEqual(sorted(order), list(range(256)))
        self.assertEqual(order[:9], [0, 1, 2, 3, 4, 5, 6, 7, 16])
        for tokens in (range(256), order):
            pairs = tables_masks.pairs_of_tiles(tokens, seen)
            self.assertEqual(sum(pairs.values()), 256 * 49)

    def test_every_answer_has_its_number_from_the_page_it_names(self):
        text = read("notes/interview.md")
        questions = text.split("\n### ")[1:]
        self.assertEqual([its.partition(".")[0] for its in questions],
                         [str(n + 1) for n in range(QUESTIONS)])
        for question in questions:
            title = question.partition("\n")[0]
            answer, found, look = question.partition("\nLook: ")
            self.assertTrue(found, f"{title}: no page")
            self.assertEqual(question.count("<details>"), 1, title)
            names = re.findall(r"\]\(([^)#]+)", look.partition("\n")[0])
            pages = [(ROOT / "notes" / name).read_text(encoding="utf-8") for name in names]
            pages = [page.replace("**", "").replace("\n", " ") for page in pages]
            for quote in re.findall(r"\*\*([^*]+)\*\*", answer):
                self.assertTrue(any(quote in page for page in pages),
                                f"{title}: {quote} does not stand in {', '.join(names)}")

    def test_papers_are_cited_under_one_number_and_once(self):
        text = read("notes/reading.md")
        for page in ("reading", "versions", "precision", "limits"):
            for words, link in re.findall(r"arXiv:([\d.]+)\]\(https://arxiv\.org/abs/([\d.]+)\)",
                                          read(f"notes/{page}.md")):
                self.assertEqual(words, link, page)
        numbers = re.findall(r"arxiv\.org/abs/([\d.]+)", text)
        self.assertEqual(len(numbers), len(set(numbers)))
        entries = re.findall(r"^- .*", text, re.MULTILINE)
        self.assertTrue(all(re.search(r"\bFor \w", its) for its in entries),
                        "an entry that does not say what to read it for")

    def test_a_malformed_formula_is_refused(self):
        with self.assertRaises(ValueError):
            formulas.evaluate("__import__", N=1)


if __name__ == "__main__":
    unittest.main()
