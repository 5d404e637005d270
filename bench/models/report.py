# SPDX-License-Identifier: MIT
"""What the scripts of this folder share: the package attn and PyTorch, their options, clocks, peak
memory, and results as data."""
import argparse
import contextlib
import ctypes
import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "common" / "python"
SEED = 20260101


class Failure(Exception):
    """One line for the reader; exit status 2."""


def import_all(*others):
    """torch, attn, then the other modules named. The package is taken from this checkout where it
    is not installed."""
    if str(PACKAGE) not in sys.path:
        sys.path.append(str(PACKAGE))
    modules = []
    for name in ("torch", "attn", *others):
        try:
            modules.append(__import__(name))
        except ImportError as error:
            raise Failure(f"{name} is needed ({error}): pip install {name}") from error
    attn = modules[1]
    try:
        attn.steps()  # loads its library
    except attn.Error as error:
        raise Failure(error) from error
    return modules


def seconds_of(call, repetitions=5, enough=0.2):
    """The median time of a call, after one that warms up; at least `enough` seconds in all."""
    call()
    took = []
    while len(took) < repetitions or sum(took) < enough:
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


STATUS = pathlib.Path("/proc/self/status")
CLEAR = pathlib.Path("/proc/self/clear_refs")
MMAP_THRESHOLD = -3  # of mallopt(): blocks from this size on are the system's, not the heap's


def _status(field):
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise Failure(f"{STATUS}: no {field}")


def peak_bytes(call):
    """By how much a call raises this process's memory at its highest, and what it returns. Linux
    keeps that mark (VmHWM) and forgets it on request. What a C library keeps for later would hide
    in `before`: so blocks of 64 KiB and more are taken from the system and given back to it
    meanwhile. What is allocated once and kept counts, too, so let something small run before. On a
    GPU the same is torch.cuda.reset_peak_memory_stats() and torch.cuda.max_memory_allocated()."""
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, 2**16)
    try:
        libc.malloc_trim(0)
        CLEAR.write_text("5", encoding="ascii")
        before = _status("VmRSS")
        result = call()
        peak = _status("VmHWM") - before
    finally:
        libc.mallopt(MMAP_THRESHOLD, 2**25)  # the most there is: what glibc settles at
    return max(peak, 0), result


def relative_error(got, expected):
    """The largest difference, divided by the largest value."""
    return float((got.double() - expected.double()).abs().max() / expected.double().abs().max())


def commit():
    result = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


class Report:
    """A script's tables: records that it adds, printed as the pages in notes/ show them."""

    def __init__(self, description, tables):
        """tables: {name: function that makes titles and rows of records} (shown.py)."""
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--no-times", action="store_true",
                            help="leave times out: on a computer that has other work, they mean "
                            "nothing")
        parser.add_argument("--out", metavar="FILE", help="write the results as JSON")
        self.options = parser.parse_args()
        self.tables = tables
        self.records = {}

    def seconds(self, call, **options):
        """seconds_of(), or None with --no-times."""
        return None if self.options.no_times else seconds_of(call, **options)

    def add(self, table, **record):
        self.records.setdefault(table, []).append(record)

    def show(self, table, caption):
        titles, rows = self.tables[table](self.records[table])
        lines = [[title.removesuffix(":") for title in titles], *([*map(str, row)] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        print(caption)
        for line in lines:
            cells = (cell.rjust(width) if title.endswith(":") else cell.ljust(width)
                     for cell, width, title in zip(line, widths, titles, strict=True))
            print("  " + "  ".join(cells).rstrip())
        print(flush=True)

    def finish(self, torch, **versions):
        if self.options.out is None:
            return
        context = {"date": f"{datetime.date.today()}", "commit": commit(),
                   "cores": torch.get_num_threads(), "machine": platform.machine(),
                   "torch": torch.__version__, **versions}
        pathlib.Path(self.options.out).write_text(
            json.dumps({"context": context, "tables": self.records}, indent=1) + "\n",
            encoding="utf-8")


@contextlib.contextmanager
def failures():
    """A Failure ends the program with one line."""
    try:
        yield
    except Failure as failure:
        print(f"{pathlib.Path(sys.argv[0]).name}: {failure}", file=sys.stderr)
        sys.exit(2)
