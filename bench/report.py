#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fills the tables of the lessons with what was counted, compiled and measured; draws the plots.

    bench/report.py collect --attn build/attn     counts and compiles; writes bench/results/*.json
    bench/report.py predict                       what a GPU will take, from these counts
    bench/report.py render                        fills the tables and draws the plots from these
    bench/report.py render --check                exit status 1 if one is not what they say

collect runs `attn trace` on every step of every chapter (bench/results/trace.json) and, where nvcc
is on PATH, compiles every kernel file for a report of its registers (bench/results/ptxas.json),
and, where nvdisasm is, of its instructions (bench/results/sass.json). `pip install
nvidia-cuda-nvdisasm` brings that.
predict derives from these what a GPU will take (bench/results/predictions.json;
reporting/predict.py says how).
bench/cpu.sh and bench/gpu.sh measure times (bench/results/<device>/<date>/). The plots go to
bench/results/figures. A table stands in a README between two comments, and the first one names it:

    <!-- table: steps 03_tiled -->     memory traffic of a chapter's steps
    <!-- table: trace 03_tiled -->     the same, kernel by kernel
    <!-- table: ptxas 03_tiled -->     registers and shared memory of a chapter's kernels
    <!-- table: tensor 10_... -->      loads and integer instructions beside tensor-core products
    <!-- table: times 03_tiled -->     CPU times of chapter 01 and the twins up to this chapter
    <!-- table: times -->              CPU times of all twins and PyTorch, d = 64 and 128;
                                       `times backward` likewise
    <!-- table: decode times -->       a CPU's times for new tokens, beside a copy and PyTorch
    <!-- table: peers 08_... -->       a chapter's twin beside PyTorch, as ratios, size by size
    <!-- table: ladder -->             all kernels, one line per step; `ladder backward` likewise
    <!-- table: built -->              the forward pass that each chapter ends with, by its counts
    <!-- table: predicted -->          their bounds, predicted and measured times; `predicted
                                       backward`, and `predicted long` at N = 4,096
    <!-- /table -->

Needs python3 only.
"""
import argparse
import json
import re
import shutil
import sys

from reporting import RESULTS, ROOT, Failure, load, load_if_there, times
from reporting.collect import collect_ptxas, collect_sass, collect_trace, launches, tuned
from reporting.plots import FOLDER, pictures
from reporting.predict import predictions
from reporting.sass import find_nvdisasm
from reporting.tables import table


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")


def collect(options):
    if options.only in (None, "trace"):
        write_json(RESULTS / "trace.json", collect_trace(options.attn))
    if options.only == "trace":
        return 0
    nvcc, nvdisasm = shutil.which("nvcc"), find_nvdisasm()
    if nvcc is None:
        print("nvcc is not on PATH: bench/results/ptxas.json and sass.json stay as they are")
        return 0
    launched = launches(options.attn)
    if options.only in (None, "ptxas"):
        write_json(RESULTS / "ptxas.json", collect_ptxas(launched, tuned(options.attn), nvcc))
    if options.only in (None, "sass"):
        if nvdisasm is None:
            print("there is no nvdisasm: bench/results/sass.json stays as it is; "
                  "`pip install nvidia-cuda-nvdisasm` brings it")
        else:
            write_json(RESULTS / "sass.json", collect_sass(launched, nvcc, nvdisasm))
    return 0


def predict(_):
    path = RESULTS / "predictions.json"
    write_json(path, predictions(load("trace"), load("sass"), load_if_there("predictions")))
    return 0


MARKER = re.compile(r"(<!-- table: ([^\n]*?) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def filled(text, data, language):
    """The page with all its tables as the data has them, and [(line, name)] of those that were
    not so."""
    stale = []
    markers = list(MARKER.finditer(text))
    if len(markers) != text.count("<!-- table:") or len(markers) != text.count("<!-- /table -->"):
        raise Failure("a <!-- table: ... --> without its <!-- /table -->, or the other way round")
    for marker in reversed(markers):
        new = f"\n{table(data, marker[2], language)}\n\n"
        if marker[3] != new:
            stale.append((text.count("\n", 0, marker.start()) + 1, marker[2]))
            text = text[:marker.start(3)] + new + text[marker.end(3):]
    return text, stale[::-1]


def pages(root):
    """[(path, language)] of every page that may hold a table."""
    pages = [(path, "en") for path in sorted(root.glob("chapters/*/*.md"))]
    return [(root / "README.md", "en"), (root / "README.zh-CN.md", "zh"), *pages]


def load_all():
    return {**{name: load(name) for name in ("trace", "ptxas", "sass", "predictions")},
            "runs": times.runs()}


def render_pages(data, check):
    status = 0
    for path, language in pages(ROOT):
        where = path.relative_to(ROOT)
        text = path.read_text(encoding="utf-8")
        try:
            new, stale = filled(text, data, language)
        except Failure as failure:
            print(f"{where}: {failure}")
            status = 1
            continue
        for line, name in stale:
            print(f"{where}:{line}: {name} {'is stale' if check else 'written'}")
        if check:
            status = status or bool(stale)
        elif stale:
            path.write_text(new, encoding="utf-8")
    return status


def render_plots(data, check):
    """Writes what is stale; with check, only says so. 1 if it found something and check, else 0."""
    status = 0
    for name, new in pictures(data).items():
        path = FOLDER / f"{name}.svg"
        if path.exists() and path.read_text(encoding="utf-8") == new:
            continue
        print(f"{path.relative_to(ROOT)}: {'is stale' if check else 'written'}")
        if check:
            status = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new, encoding="utf-8")
    return status


def render(options):
    data = load_all()
    return int(render_pages(data, options.check)) | render_plots(data, options.check)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("collect", help="count and compile")
    command.add_argument("--attn", default=str(ROOT / "build" / "attn"), help="the program")
    command.add_argument("--only", choices=("trace", "ptxas", "sass"), help="one of the files")
    command.set_defaults(run=collect)
    command = commands.add_parser("predict", help="from what was counted to a GPU's time")
    command.set_defaults(run=predict)
    command = commands.add_parser("render", help="fill the tables, draw the plots")
    command.add_argument("--check", action="store_true", help="change nothing")
    command.set_defaults(run=render)
    options = parser.parse_args()
    try:
        return options.run(options)
    except Failure as failure:
        print(f"report.py: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
