#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of bench/report.py, and that the committed tables and counts are those of this tree.

usage: report_test.py [PATH_OF_ATTN]     without a program, nothing is counted afresh

Prints every failed test, then "N passed, N failed"; exits with 1 if one failed. Needs python3 only.
"""
import json
import pathlib
import shutil
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import report  # noqa: E402  (found by the line above)
from reporting import SHAPE, Failure, charts, collect, load, plots, times  # noqa: E402

SMALL = "02_naive_gpu"  # the chapter that is counted afresh

# Made up, in the words of nvcc 13. The second kernel spills, the third has no "used N barriers".
PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5firstPKfPf' for 'sm_80'
ptxas info    : Function properties for _Z5firstPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 71 registers, used 1 barriers, 8192 bytes smem, 408 bytes cmem[0]
ptxas info    : Compile time = 110.166 ms
ptxas info    : Compiling entry function '_Z6secondILi64EEvPf' for 'sm_80'
ptxas info    : Function properties for _Z6secondILi64EEvPf
    40 bytes stack frame, 44 bytes spill stores, 48 bytes spill loads
ptxas info    : Used 255 registers, used 2 barriers, 40 bytes cumulative stack size
ptxas info    : Compile time = 8192.0 ms
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5firstPKfPf' for 'sm_90a'
ptxas info    : Function properties for _Z5firstPKfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 56 registers
"""


def entry(kernel, architecture, registers, barriers, shared=0, stack=0, spills=0):
    return {"kernel": kernel, "architecture": architecture, "registers": registers,
            "barriers": barriers, "static_shared_bytes": shared, "stack_bytes": stack,
            "spill_bytes": spills}


def counts(**given):
    return {**dict.fromkeys(collect.COUNTERS, 0), "bound_seconds": 1.5e-6,
            "bound_limit": "L1", **given}


def made_up_data():
    launch = counts(kernel="first<64>", global_load_bytes=4096, global_store_bytes=512,
                    global_load_requests=32, global_load_sectors=128,
                    global_read_bytes_compulsory=1024, global_write_bytes_compulsory=512,
                    shared_load_wavefronts=64, shared_load_wavefronts_ideal=2)
    chapter = {"chapter": "98_made_up", "step": "one", "pass": "forward", "workspace_bytes": 2048}
    kernels = [
        {"chapter": "98_made_up", "file": file, "dynamic_shared_bytes": 1024,
         **entry("first<64>", architecture, registers, 1, shared=8192)}
        for file, more in (("one.cu", 0), ("three.cu", 2), ("two.cu", 0))
        for architecture, registers in (("sm_90a", 56 + more), ("sm_80", 71))
    ]
    return {
        "trace": {"shape": SHAPE, "mask": "full", "steps": [
            {"chapter": "97_plain", "step": "loops", "pass": "forward", "workspace_bytes": 512},
            {**chapter, "device": "H200", "launches": [launch, launch], "total": launch},
            {**chapter, "step": "two", "device": "H200", "launches": [launch], "total": launch}]},
        "ptxas": {"nvcc": "13.0.88", "kernels": kernels},
        "runs": made_up_runs(),
    }


def made_up_runs():
    """Two runs on a CPU, of which the later counts, and one on each of two GPUs, from files."""
    def written(folder, medians):
        folder.mkdir(parents=True)
        context = {"device": "X, 2 cores", "compiler": "g++", "commit": "abc"}
        benchmarks = [{"run_name": name, "aggregate_name": which, "real_time": time,
                       "time_unit": unit, "workspace_bytes": 2048.0}
                      for name, time, unit in medians
                      for which in ("median", "mean")]
        for entry in benchmarks:
            entry["real_time"] *= 1 if entry["aggregate_name"] == "median" else 7
        (folder / "chapters.json").write_text(
            json.dumps({"context": context, "benchmarks": benchmarks}), encoding="utf-8")

    size = "forward/B:1/H:1/N:{}/d:64/full"
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        at = size.format(4096)
        written(root / "cpu-x" / "2026-01-01", [(f"01_naive_cpu/naive/{at}", 1, "s")])
        written(root / "cpu-x" / "2026-01-02", [(f"01_naive_cpu/naive/{at}", 600, "ms"),
                                                (f"98_made_up/cpu/{at}", 25000, "us"),
                                                (f"99_later/cpu/{at}", 1, "ms"),
                                                (f"other/flash/{at}", 20, "ms")])
        written(root / "gpu-y" / "2026-01-02",
                [(f"98_made_up/one/{size.format(512)}", 99, "us")])
        written(root / "h200" / "2026-01-02",
                [(f"98_made_up/one/{size.format(512)}", 12.5, "us"),
                 (f"02_naive_gpu/naive/{size.format(512)}", 4, "ms"),
                 ("cublas/fp32/forward/B:32/H:16/N:512/d:64/full", 1, "ms"),
                 ("cublas/fp32/forward/B:16/H:16/N:1024/d:64/full", 2, "ms")])
        return times.runs(root)


def page(*names):
    return "".join(f"before\n<!-- table: {name} -->\n<!-- /table -->\nafter\n" for name in names)


def refused(text):
    """The one line with which a page is refused."""
    try:
        report.filled(text, made_up_data(), "en")
    except Failure as failure:
        return str(failure)
    raise AssertionError(f"not refused: {text}")


def ptxas_text():
    found = collect.parse_ptxas(PTXAS)
    assert found == [
        entry("_Z5firstPKfPf", "sm_80", 71, 1, shared=8192),
        entry("_Z6secondILi64EEvPf", "sm_80", 255, 2, stack=40, spills=92),
        entry("_Z5firstPKfPf", "sm_90a", 56, 0),
    ], found


def kernel_names():
    for demangled, name in (
            ("attn::naive_gpu::_GLOBAL__N__2c9b_forward_cu_2d65::softmax_kernel(float*, long)",
             "softmax_kernel"),
            ("void attn::(anonymous namespace)::forward_kernel<64>(float const*, a::b<int>)",
             "forward_kernel<64>"),
            ("void k<(attn::Mode)1, attn::Pair<int, int> >(float (*)(int))",
             "k<(attn::Mode)1, attn::Pair<int, int> >")):
        assert collect.kernel_name(demangled) == name, collect.kernel_name(demangled)


def tables():
    text, stale = report.filled(page("trace 98_made_up", "ptxas 98_made_up", "ladder"),
                                made_up_data(), "en")
    assert [line for line, _ in stale] == [2, 6, 10], stale
    for row in (
            # 4096 + 512 bytes, 1024 + 512 bytes, 128 / 32, 64 / 2; no special functions: no column
            "| one | `first<64>` | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 |  |",
            "|  | `first<64>` | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 |  |",
            "|  | **all** | **4.5** | **1.5** | **4** | **32** | **1.5 µs, L1** | 2 |",
            "| two | `first<64>` | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 | 2 |",
            "| `first<64>` | one, two | 71 | 56 | 8,192 | 1,024 | 0 | 0 |",
            "| `first<64>` | three | 71 | 58 | 8,192 | 1,024 | 0 | 0 |",
            "| 97_plain | loops | – | – | 0.5 | – | – |",
            "| 98_made_up | one | 4.5 | 1.5 | 2 | 1.5 µs | 12.5 µs |",
            "| 98_made_up | two | 4.5 | 1.5 | 2 | 1.5 µs | not measured |"):
        assert row in text.splitlines(), f"{row}\nis not in\n{text}"
    assert "special functions" not in text
    again, stale = report.filled(text, made_up_data(), "en")
    assert again == text and not stale, stale


def times_tables():
    text, _ = report.filled(page("times 98_made_up", "times"), made_up_data(), "en")
    chapter, everything = text.split("before\n")[1:]
    for row in ("| 01_naive_cpu naive | 1 | 2 KiB | – | – |",
                "| 98_made_up cpu | 24 | 2 KiB | – | – |"):
        assert row in chapter and row in everything, text
    assert "99_later" not in chapter and "other" not in chapter, chapter
    assert "| 99_later cpu | 600 |" in everything and "| other flash | 30 |" in everything
    assert "plain C++ on X, 2 cores (g++)" in text and "commit abc" in text


def pictures():
    """Labels keep apart; lines that disagree with their dots are refused; old files are noticed."""
    placed = charts.apart([10.0, 11.0, 300.0, 305.0], 0, 310)
    assert all(b - a >= charts.LABEL_HEIGHT for a, b in zip(placed, placed[1:])), placed
    assert placed[-1] <= 310, placed
    data = report.load_all()
    its = data["trace"]["scaling"][0]
    its["requested_bytes"] += 4
    try:
        plots.PLOTS["traffic"](data)
    except Failure as failure:
        assert its["chapter"] in str(failure), failure
    else:
        raise AssertionError("a count beside its line was not noticed")


def pictures_of_gpus():
    """Each measured GPU has a picture of its own; the bound stands beside the same GPU's times."""
    data = report.load_all()
    without = plots.pictures(data)
    data["runs"] |= {name: run for name, run in made_up_runs().items() if not times.is_cpu(run)}
    drawn = plots.pictures(data)
    assert sorted(drawn.keys() - without.keys()) == ["time-h200"], drawn.keys()  # gpu-y: one N
    assert "cuBLAS and a softmax" in drawn["time-h200"]
    assert "02 measured" in drawn["roofline"] and "02 measured" not in without["roofline"]


def committed_plots():
    assert report.render_plots(report.load_all(), check=True) == 0, "`bench/report.py render`"


def stale_tables():
    text, _ = report.filled(page("ladder", "trace 98_made_up"), made_up_data(), "en")
    changed = text.replace("| 98_made_up | one | 4.5 |", "| 98_made_up | one | 4.4 |")
    repaired, stale = report.filled(changed, made_up_data(), "en")
    assert changed != text and repaired == text and stale == [(2, "ladder")], stale


def bad_markers():
    assert "unknown table 'time 98_made_up'" in refused(page("time 98_made_up"))
    assert "unknown table 'ladder sideways'" in refused(page("ladder sideways"))
    assert "unknown table 'trace'" in refused(page("trace"))
    assert "nothing collected for 99_none" in refused(page("trace 99_none"))
    assert "nothing collected for 97_plain" in refused(page("ptxas 97_plain"))
    assert "97_plain is plain C++" in refused(page("trace 97_plain"))
    assert "without its" in refused(page("ladder").replace("<!-- /table -->", ""))
    assert "without its" in refused("<!-- /table -->\n")


def committed_tables():
    data = report.load_all()
    stale = [f"{path.parent.name}:{line}: {name}" for path, language in report.pages(report.ROOT)
             for line, name in report.filled(path.read_text(encoding="utf-8"), data, language)[1]]
    assert not stale, f"stale, `bench/report.py render` writes them: {stale}"


def committed_steps(attn):
    traced, plain = collect.passes(attn)
    committed = [(step["chapter"], step["step"], step["pass"])
                 for step in load("trace")["steps"]]
    assert sorted(traced + plain) == sorted(committed), committed


def committed_counts(attn):
    committed = [step for step in load("trace")["steps"] if step["chapter"] == SMALL]
    assert committed
    for step in committed:
        fresh = collect.traced_step(attn, SMALL, step["step"], step["pass"])
        fresh["workspace_bytes"] = step["workspace_bytes"]
        assert fresh == step, f"counted: {fresh}\ncommitted: {step}"


def committed_registers():
    committed = load("ptxas")
    nvcc = shutil.which("nvcc")
    if nvcc is None or collect.nvcc_version(nvcc) != committed["nvcc"]:
        return  # another compiler may well give other numbers
    kernels = [kernel for kernel in committed["kernels"] if kernel["chapter"] == SMALL]
    fresh = collect.compile_kernels(nvcc, report.ROOT / "chapters" / SMALL / kernels[0]["file"])
    for kernel in kernels:
        assert any(kernel.items() >= its.items() for its in fresh), f"{kernel}\n{fresh}"


def main():
    attn = sys.argv[1] if len(sys.argv) > 1 else None
    tests = [(test, ()) for test in (ptxas_text, kernel_names, tables, times_tables, stale_tables,
                                     bad_markers, pictures, pictures_of_gpus, committed_tables,
                                     committed_plots, committed_registers)]
    if attn:
        tests += [(test, (attn,)) for test in (committed_steps, committed_counts)]
    failed = 0
    for test, arguments in tests:
        try:
            test(*arguments)
        except Exception:  # whatever it is, the other tests still run
            failed += 1
            print(f"FAILED {test.__name__}\n{traceback.format_exc()}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
