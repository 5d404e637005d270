#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of `attn draw` and of ATTN_DRAW: pictures, refusals, and that the figures of the lessons
are what their commands draw today. Needs python3 only.

usage: draw_test.py PATH_OF_ATTN PATH_OF_MINE
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from cli_test import Cli, chapters

ROOT = pathlib.Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 300 * 1024  # bytes, for N = 256
REWRITE = "--rewrite" in sys.argv


class Picture:
    """An SVG file, well formed and inside its frame, or an AssertionError."""

    def __init__(self, path):
        self.bytes = pathlib.Path(path).read_bytes()
        self.root = ElementTree.fromstring(self.bytes)
        assert self.root.tag == SVG + "svg"
        self.texts = [node.text or "" for node in self.root.iter(SVG + "text")]
        width, height = (float(self.root.get(size)) for size in ("width", "height"))
        assert self.root.get("viewBox") == f"0 0 {width:g} {height:g}"
        assert self.root.find(SVG + "title").text and self.root.find(SVG + "desc").text
        assert self.root.find(SVG + "metadata").text.startswith(("attn draw ", "mine"))
        for left, top, across, down in self.boxes():
            assert across > 0 and down > 0, (left, top, across, down)
            assert -0.1 <= left and left + across <= width + 0.1, (left, across)
            assert -0.1 <= top and top + down <= height + 0.1, (top, down)
        for node in self.root.iter(SVG + "text"):
            assert 0 <= float(node.get("x")) <= width and 0 <= float(node.get("y")) <= height

    def boxes(self, kind=None):
        """(left, top, width, height) of all rectangles, or of those of a kind."""
        for node in self.root.iter(SVG + "rect"):
            if kind is None or node.get("class") == kind:
                yield tuple(float(node.get(key, 0)) for key in ("x", "y", "width", "height"))
        for node in self.root.iter(SVG + "path"):
            if kind is None or node.get("class") == kind:
                shapes = re.findall(r"M(\S+) (\S+?)h(\S+?)v(\S+?)h-(\S+?)z", node.get("d"))
                assert len(shapes) == node.get("d").count("M") and shapes
                yield from (tuple(map(float, shape[:4])) for shape in shapes)

    def says(self, *parts):
        for part in parts:
            assert any(part in text for text in self.texts), f"{part!r} is not in {self.texts}"


def draw(cli, *arguments):
    out = cli.succeed("draw", *arguments, "--out", "x.svg")
    assert out.splitlines()[-1].startswith("x.svg: "), out
    assert out.count("\n") == 1 or {"fragments", "swizzle"} & set(arguments), out
    return Picture("x.svg")


def touches(cli):
    def lesson():
        """Chapter 05: K once from top to bottom, O stored eight times."""
        picture = draw(cli, "05", "--arrays", "k,v,q,o")
        picture.says("05_fused_forward", "forward", "K", "V", "Q", "O", "load", "store",
                     "B=1 H=1 Nq=256 Nk=256 d=64, forward pass, mask full", "one block")
        bands = sorted(picture.boxes("array"), key=lambda box: box[1])
        assert len(bands) == 4
        def inside(kind, band):
            return sorted(box for box in picture.boxes(kind)
                          if band[1] <= box[1] < band[1] + band[3] and box[1] > 80)
        k, _, _, o = bands
        steps = inside("load", k)
        assert len(steps) == 8, steps  # eight tiles of K, each further down than the last
        assert all(a[1] < b[1] and a[0] < b[0] for a, b in zip(steps, steps[1:])), steps
        assert not inside("store", k)
        last_rows = [box for box in inside("store", o) if box[1] >= o[1] + 15 / 16 * o[3]
                     or box[1] + box[3] > o[1] + o[3] - 1]
        visits = [box for before, box in zip([(-100, 0)] + last_rows, last_rows)
                  if box[0] - before[0] > 40]
        assert len(visits) == 8, visits  # the last rows of O are stored once per tile of K

    def chapters_all():
        """Every step of every chapter has a picture that a page can show."""
        drawn = 0
        for chapter in [*chapters(cli), {"id": "mine", "steps": [{"id": "mine"}]}]:
            for step in chapter["steps"]:
                if step.get("runs_on") == "host":
                    continue
                for pass_name in ("forward", "backward"):
                    if not step.get(pass_name, pass_name == "forward"):
                        continue
                    target = chapter["id"] if chapter["id"] == "mine" else (
                        f"{chapter['id']}/{step['id']}")
                    picture = draw(cli, target, "--pass", pass_name, "--shape", "N=256,d=64")
                    assert len(picture.bytes) < LARGEST, (target, len(picture.bytes))
                    picture.says("workspace" if "02" in target else "K")
                    drawn += 1
        assert drawn > 15, drawn

    def two():
        """Two beside each other, on one scale of time."""
        picture = draw(cli, "05", "7/1", "--arrays", "K,O", "--shape", "N=128,d=64")
        bands = sorted(picture.boxes("array"))
        assert len(bands) == 4
        counts = [int(text.split()[0].replace(",", "")) for text in picture.texts
                  if "loads and stores, in order" in text]
        assert len(counts) == 2
        assert abs(bands[0][2] / bands[-1][2] - counts[0] / counts[1]) < 0.01, (bands, counts)
        total = [sum(sum(launch[f"global_{kind}_bytes"] for kind in ("load", "store")) // 4
                     for launch in json.loads(cli.succeed(
                         "trace", *target, "--shape", "N=128,d=64", "--json"))["launches"])
                 for target in (["05"], ["07", "--step", "1"])]
        assert counts == total, (counts, total)

    def same():
        first = draw(cli, "07", "--pass", "backward", "--shape", "N=64,d=32", "--causal").bytes
        assert first == draw(cli, "07", "--pass", "backward", "--shape", "N=64,d=32",
                             "--causal").bytes
        assert first != draw(cli, "07", "--pass", "backward", "--shape", "N=64,d=32").bytes

    def sizes():
        for shape in ("N=1,d=1", "Nq=1,Nk=70,d=8", "B=2,H=3,Nq=5,Nk=7,d=4", "N=512,d=64"):
            assert len(draw(cli, "05", "--shape", shape).bytes) < LARGEST
        assert len(draw(cli, "02", "--dtype", "fp32", "--shape", "Nq=3,Nk=0,d=4").bytes) < LARGEST

    cli.test("touches: the lesson", lesson)
    cli.test("touches: every chapter", chapters_all)
    cli.test("touches: two chapters", two)
    cli.test("touches: always the same", same)
    cli.test("touches: sizes", sizes)


def line_with(path, text):
    """"forward.cu:32" for the one line of a file that has this text."""
    file = ROOT / path
    found = [n for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
             if text in line]
    assert len(found) == 1, (path, text, found)
    return f"{file.name}:{found[0]}"


def traced_line(cli, place, access, *arguments):
    """Requests and cost of a line, as `attn trace` counts them."""
    launches = json.loads(cli.succeed("trace", *arguments, "--lines", "--json"))["launches"]
    lines = [line for launch in launches for line in launch["lines"]
             if place == f"{pathlib.Path(line['file']).name}:{line['line']}"
             and line["access"] == access]
    return [sum(line[key] for line in lines) for key in ("requests", "sectors", "wavefronts")]


def warps(cli):
    def banks():
        place = line_with("chapters/03_tiled/tiles.cuh", "dot[n] += q * sK[x][c];")
        for step, degree in (("step2_tiled", 32), ("step3_padded", 1)):
            picture = draw(cli, f"03/{step}", "--line", place, "--shape", "N=64,d=32")
            requests, _, wavefronts = traced_line(cli, place, "shared load", "03", "--step", step,
                                                  "--shape", "N=64,d=32")
            assert wavefronts == degree * requests
            counted = f"{degree} wavefront{'s' if degree > 1 else ''}"
            picture.says(f"{counted} for 32 lanes: ",
                         f"One of {requests:,} requests, each of {counted}.")
            late = [box for box in picture.boxes("late") if box[1] > 40]
            on_time = [box for box in picture.boxes("load") if box[1] > 40]
            assert len(late) == degree - 1 and len(on_time) == 33 - degree, (late, on_time)
            across = {round(box[0]) for box in late + on_time}
            assert len(across) == 33 - degree if degree > 1 else 32, across

    def sectors():
        place = line_with("chapters/02_naive_gpu/forward.cu", "dot += q[c] * k[c];")
        picture = draw(cli, "02", "--line", place, "--arrays", "K", "--shape", "N=64,d=64")
        picture.says("32 lanes ask for 128 bytes. Moved: 32 sectors of 32 bytes, 1,024 bytes; "
                     "4 would do.", "Neighbouring lanes are 256 bytes apart.", "K[0][0]",
                     "K[31][0]")
        assert len([box for box in picture.boxes("unused") if box[1] > 40]) == 32
        both = draw(cli, "02", "--line", place, "--shape", "N=64,d=64")
        both.says("load from K", "load from Q", "Moved: 1 sector of 32 bytes", "All lanes ask for")
        requests, sector_count, _ = traced_line(cli, place, "global load", "02", "--shape",
                                                "N=64,d=64")
        assert sector_count == requests // 2 * (32 + 1)

    def two():
        pad = line_with("chapters/03_tiled/tiles.cuh", "dot[n] += q * sK[x][c];")
        picture = draw(cli, "3/2", "3/3", "--line", pad, "--shape", "N=64,d=32")
        picture.says("03_tiled step2_tiled", "03_tiled step3_padded")
        old = line_with("chapters/02_naive_gpu/forward.cu", "dot += q[c] * k[c];")
        new = line_with("chapters/03_tiled/step1_coalesced.cu", "dot += q[c] * kt[c * Nk];")
        draw(cli, "2", "3/1", "--line", old, "--line", new, "--shape", "N=64,d=32").says(
            "02_naive_gpu naive", "03_tiled step1_coalesced")

    cli.test("warp: banks as the tracer counts them", banks)
    cli.test("warp: sectors", sectors)
    cli.test("warp: two steps", two)


def timelines(cli):
    def barriers():
        picture = draw(cli, "05", "--what", "timeline")
        barriers = json.loads(cli.succeed("trace", "05", "--shape", "N=256,d=64",
                                          "--json"))["total"]["barriers"]
        picture.says(f"4 warps, {barriers} barriers, of which 12 are shown", "warp 0", "warp 3")
        marks = [node for node in picture.root.iter(SVG + "line")
                 if node.get("class") == "barrier" and float(node.get("y1")) > 40]
        assert len(marks) == 12, len(marks)
        last = line_with("chapters/05_fused_forward/forward.cu", "wait until everyone is done with")
        picture.says(last.split(":")[1])

    def waiting():
        """18 rows for 8 warps: two of them have three rows, the others wait."""
        picture = draw(cli, "3/2", "--what", "timeline", "--shape", "Nq=18,Nk=32,d=32")
        share = [float(re.search(r"wait ([\d.]+)%", text)[1]) for text in picture.texts
                 if "warps wait" in text]
        assert len(share) == 1 and 10 < share[0] < 40, share
        even = draw(cli, "3/2", "--what", "timeline", "--shape", "N=32,d=32")
        even.says("warps wait 0% of the time")

    cli.test("timeline: barriers", barriers)
    cli.test("timeline: who waits", waiting)

    def phases():
        """Four tiles of keys and a ring of two stages: each full barrier ends two phases."""
        picture = draw(cli, "11/3", "--what", "phases", "--shape", "N=512,d=128")
        picture.says("warp 0", "warp 4", "warp 8", "Q0 full", "K0 full", "K1 empty", "V1 full")
        asked = [node for node in picture.root.iter(SVG + "rect")
                 if node.get("class") == "copy" and node.get("height") == "6"]
        assert len(asked) == 1 + 2 * 4, len(asked)
        ends = [node for node in picture.root.iter(SVG + "line") if node.get("class") == "barrier"]
        assert len(ends) == 1 + 8 * 2, len(ends)
        result = cli.run("draw", "10", "--what", "phases", "--out", "x.svg")
        assert result.returncode == 3 and "no kernel has an mbarrier" in result.stderr, result

    cli.test("phases of mbarriers", phases)


def diagram(cli, *arguments):
    """A picture of no run: what is printed, and the file."""
    text, _, last = cli.succeed("draw", "--what", *arguments, "--out", "x.svg").rpartition("x.svg")
    assert re.fullmatch(r": \d+ KiB; any browser shows it\n", last), last
    assert all(len(line) <= 100 and line == line.rstrip() for line in text.splitlines()), text
    return text, Picture("x.svg")


def lanes_of(text, name):
    """{(row, column): lane} of the matrix under this name; 16 columns take 55 characters."""
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if name in line)
    begin = lines[at].index(name) - 2
    rows = [line[begin:begin + 55].split() for line in lines[at + 2:at + 19]]
    return {(int(row[0]), column): int(lane) for row in rows if row
            for column, lane in enumerate(row[1:])}


def diagrams(cli):
    def fragments():
        """Every lane holds 8 elements of A, 4 of B and of C; those of C lie as in A."""
        text, picture = diagram(cli, "fragments")
        a, b, c = (lanes_of(text, name) for name in ("A: ", "B: ", "C: "))
        for lanes, count in ((a, 8), (b, 4), (c, 4)):
            assert [list(lanes.values()).count(lane) for lane in range(32)] == [count] * 32, lanes
        assert all(a[at] == lane for at, lane in c.items())
        for line in ("a[0]: A[1][2], A[1][3]", "a[1]: A[9][2], A[9][3]", "b[0]: B[2][1], B[3][1]",
                     "c[3]: C[9][3]"):
            assert line in text, text
            picture.says(line)
        assert len(list(picture.boxes("mine"))) == 4 + 2 + 2  # lane 5, outlined
        for group in range(8):
            assert len(list(picture.boxes(f"g{group}"))) == 16 + 8 + 8

    def ldmatrix():
        text, picture = diagram(cli, "fragments", "--of", "ldmatrix")
        plain, transposed = (lanes_of(text, f"{way} trans:") for way in ("without", "with"))
        assert all(transposed[column, row] == lane for (row, column), lane in plain.items())
        picture.says("without .trans", "with .trans", "lane 31")

    def p():
        text, picture = diagram(cli, "fragments", "--of", "p")
        for line in ("a[1] = pack(c[2], c[3]) of the left tile",
                     "a[2] = pack(c[0], c[1]) of the right tile"):
            assert line in text, text
            picture.says(line)

    def swizzle():
        for elements, boxes in ((64, 8 * 8), (128, 8 * 16)):
            text, picture = diagram(cli, "swizzle", "--of", str(elements))
            picture.says("all from banks 8-11: 8 wavefronts", "from all 32 banks: 1 wavefront",
                         f"byte {2 * elements + 16} row + 16 chunk",
                         f"byte {2 * elements} row + 16 (chunk ^ (row & 7))")
            assert re.findall(r"\d+ wavefronts?", text) == ["8 wavefronts"] + 2 * ["1 wavefront"]
            below = [[box for box in picture.boxes(kind) if box[1] > 40]
                     for kind in ("array", "load", "late")]
            assert [len(found) for found in below] == [3 * (boxes - 8), 1 + 8 + 8, 7], below
            # The eight that are read at once have eight places, or one.
            right = [box for box in below[1] if box[0] > 640]
            assert len(right) == 8 and len({box[0] for box in right}) == 8, right
            assert text.count("[2]") == 1 + 3 * 8
        assert diagram(cli, "swizzle")[0] == diagram(cli, "swizzle", "--of", "64")[0]

    cli.test("fragments: A, B and C", fragments)
    cli.test("fragments: ldmatrix", ldmatrix)
    cli.test("fragments: P in place", p)
    cli.test("swizzle", swizzle)


def tensor_cores(cli):
    """ldmatrix and cp.async in the pictures of a run."""
    shape = ["--shape", "N=64,d=64", "--dtype", "bf16"]

    def banks():
        place = line_with("chapters/09_tensor_cores/fragments.cuh", "device::ldmatrix_x4<")
        picture = draw(cli, "9/2", "--line", place, *shape)
        picture.says("matrix load from shared memory", "4 wavefronts for 32 lanes: the least that")
        requests, _, wavefronts = traced_line(cli, place, "matrix load", "09", "--step", "2",
                                              *shape)
        assert wavefronts == 4 * requests > 0
        assert len([box for box in picture.boxes("load") if box[1] > 40]) == 4 * 32

    def timeline():
        assert "ldmatrix" in draw(cli, "9/2", "--what", "timeline", *shape).texts
        plain = draw(cli, "9/1", "--what", "timeline", *shape)
        assert "ldmatrix" not in plain.texts, plain.texts

    def copies():
        """Both sides of a cp.async, although it loads from three arrays."""
        whole = ["--shape", "N=128,d=64", "--dtype", "bf16"]  # no rows of Q that are zeros
        place = line_with("chapters/10_async_pipeline/step2_cp_async.cu", "device::cp_async_16(")
        picture = draw(cli, "10/2", "--line", place, *whole)
        picture.says("async copy to shared memory", "4 wavefronts for 32 lanes: the least that",
                     "32 lanes ask for 512 bytes. Moved: 16 sectors of 32 bytes")
        assert sum("async copy from" in text for text in picture.texts) == 2, picture.texts
        _, sectors, wavefronts = traced_line(cli, place, "async copy", "10", "--step", "2", *whole)
        assert sectors == 4 * wavefronts > 0
        draw(cli, "10/2", "--what", "timeline", *whole).says("cp.async", "ldmatrix")
        touched = draw(cli, "10/2", *whole)
        touched.says("load by cp.async", "store")
        assert "load" not in touched.texts and len(list(touched.boxes("copy"))) > 3

    cli.test("tensor cores: banks of ldmatrix", banks)
    cli.test("tensor cores: ldmatrix in time", timeline)
    cli.test("tensor cores: cp.async", copies)


def refusals(cli):
    def refuse(name, status, arguments, *expected):
        cli.test(f"refused: {name}", lambda: cli.refuse(status, ["draw", *arguments], *expected))

    place = line_with("chapters/02_naive_gpu/forward.cu", "dot += q[c] * k[c];")
    small = ["--shape", "N=32,d=8"]
    refuse("no chapter", 2, [], "05_fused_forward")
    refuse("unknown chapter", 2, ["99"], "99")
    refuse("unknown step", 2, ["7/9"], "7/9: allowed in 07_v2_loop_order: step1_loop_swap")
    refuse("three chapters", 2, ["5", "7", "8"], "CHAPTER 5 7 8: 3 of them; allowed: one, or two")
    refuse("plain C++", 3, ["01"], "plain C++; allowed: a chapter with kernels")
    refuse("no such pass", 3, ["05", "--pass", "backward"], "--pass backward")
    refuse("unknown picture", 2, ["05", "--what", "cake"],
           "--what cake: allowed: touches, warp, timeline, phases, fragments, swizzle")
    refuse("a kernel of no run", 2, ["5", "--what", "fragments"],
           "CHAPTER 5: given with --what fragments; allowed: none")
    refuse("a shape of no run", 2, ["--what", "swizzle", *small],
           "--shape N=32,d=8: given with --what swizzle; allowed: --of and --out")
    refuse("unknown fragments", 2, ["--what", "fragments", "--of", "64"],
           "--of 64: allowed: mma, ldmatrix, p")
    refuse("unknown rows", 2, ["--what", "swizzle", "--of", "mma"], "--of mma: allowed: 64, 128")
    refuse("--of a run", 2, ["5", "--of", "mma"],
           "--of mma: given without --what fragments or --what swizzle")
    refuse("a diagram in a folder that is not there", 2,
           ["--what", "swizzle", "--out", "none/x.svg"], "--out none/x.svg")
    refuse("a line that accesses nothing", 2, ["02", "--line", "forward.cu:1", *small],
           "--line forward.cu:1: no access to memory in 02_naive_gpu naive; allowed: ", place)
    refuse("no line", 2, ["02", "--what", "warp", *small],
           "--line: missing; a picture of a warp needs FILE:LINE; allowed: ", place)
    refuse("a line for touches", 2, ["02", "--what", "touches", "--line", place],
           f"--line {place}: given with --what touches; allowed: with --what warp")
    refuse("two lines for one chapter", 2, ["02", "--line", place, "--line", "x.cu:1"],
           "--line x.cu:1: one too many")
    refuse("unknown array", 2, ["02", "--arrays", "k,w", *small],
           "--arrays w: 02_naive_gpu touches no such array; allowed: Q, K, workspace")
    refuse("an array that the line leaves alone", 2,
           ["02", "--line", place, "--arrays", "V", *small], "--arrays V: ", "allowed: K, Q")
    refuse("no barriers", 3, ["02", "--what", "timeline", *small],
           "02_naive_gpu naive: nothing to draw, no kernel waits at a __syncthreads")
    refuse("nothing to compute", 3, ["05", "--shape", "B=0,N=4,d=4"], "nothing to draw")
    refuse("too large", 2, ["02", "--shape", "B=64,H=16,N=1024,d=64"],
           "--shape B=64 H=16 Nq=1024", "for example --shape B=1,H=1,")
    refuse("a folder that is not there", 2, ["02", "--out", "none/x.svg"], "--out none/x.svg")
    refuse("a folder", 2, ["02", "--out", "."], "--out .")
    refuse("bad shape", 2, ["02", "--shape", "N=4"], "d is missing")
    refuse("unknown option", 2, ["02", "--bogus"], "--bogus")

    def names():
        """Without --out the file is called like its kind."""
        for what in ("touches", "timeline"):
            cli.succeed("draw", "05", "--what", what, "--shape", "N=32,d=32")
            Picture(f"{what}.svg")
        cli.succeed("draw", "02", "--line", place, *small)
        Picture("warp.svg")
        for what in ("fragments", "swizzle"):
            cli.succeed("draw", "--what", what)
            Picture(f"{what}.svg")

    cli.test("default names", names)


def figures(cli):
    """Every figure that `attn draw` has made is what it draws today."""
    def drawn():
        found = 0
        for path in sorted(ROOT.glob("chapters/*/figures/*.svg")):
            command = ElementTree.parse(path).getroot().find(SVG + "metadata")
            if command is None:
                continue
            words = command.text.split()
            assert words[:2] == ["attn", "draw"], command.text
            new = draw(cli, *words[2:]).bytes
            if REWRITE:
                path.write_bytes(new)
            assert new == path.read_bytes(), (
                f"{path.relative_to(ROOT)}: `{command.text}` draws something else now")
            found += 1
        assert found >= 2, found

    cli.test("figures", drawn)


def programs(cli, mine):
    def run(**environment):
        return subprocess.run([mine], capture_output=True, text=True, timeout=300, check=False,
                              env={**os.environ, **environment})

    def pictures():
        place = line_with("chapters/00_playground/mine.cu", "y[i] = a * x[i] + y[i];")
        result = run(ATTN_DRAW="x.svg")
        assert result.returncode == 0 and result.stdout.endswith("any browser shows it\n"), result
        Picture("x.svg").says("x", "y", "999", "block 7", "load", "store")
        result = run(ATTN_DRAW="y.svg", ATTN_DRAW_LINE=place, ATTN_DRAW_ARRAYS="x")
        assert result.returncode == 0, result
        Picture("y.svg").says("saxpy_kernel: " + place + ", load from x", "x[0]")
        assert "any browser" not in run().stdout

    def refused():
        for environment, words in (
                ({"ATTN_DRAW": "none/x.svg"}, "ATTN_DRAW none/x.svg"),
                ({"ATTN_DRAW": "x.svg", "ATTN_DRAW_WHAT": "cake"},
                 "ATTN_DRAW_WHAT cake: allowed:")):
            result = run(**environment)
            assert result.returncode == 2 and result.stdout == "", result
            assert words in result.stderr and result.stderr.count("\n") == 1, result.stderr
        for environment, words in (
                ({"ATTN_DRAW_LINE": "mine.cu:1"}, "ATTN_DRAW_LINE mine.cu:1: no access to memory"),
                ({"ATTN_DRAW_WHAT": "timeline"}, "no kernel waits at a __syncthreads"),
                ({"ATTN_DRAW_ARRAYS": "z"}, "ATTN_DRAW_ARRAYS z: mine touches no such array")):
            result = run(ATTN_DRAW="x.svg", **environment)
            assert result.returncode == 1 and words in result.stderr, result
            assert not os.path.exists("x.svg")

    cli.test("a program's picture", pictures)
    cli.test("a program's refusals", refused)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    cli, mine = Cli(os.path.abspath(sys.argv[1])), os.path.abspath(sys.argv[2])
    if REWRITE:
        figures(cli)
        return
    for group in (touches, warps, timelines, diagrams, tensor_cores, refusals, figures):
        group(cli)
    programs(cli, mine)
    print(f"{cli.passed} passed, {cli.failed} failed")
    sys.exit(1 if cli.failed or not cli.passed else 0)


if __name__ == "__main__":
    main()
