#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of bench/report.py, and that the committed tables and counts are those of this tree.

usage: report_test.py [PATH_OF_ATTN]     without a program, nothing is counted afresh
       report_test.py --disassemble      kernels by nvcc and nvdisasm; exits with 77, which ctest
                                         shows as Skipped, where one of the two is missing

Prints every failed test, then "N passed, N failed"; exits with 1 if one failed. Needs python3 only.
"""
import json
import pathlib
import re
import shutil
import sys
import tempfile
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import report  # noqa: E402  (found by the line above)
from reporting import (  # noqa: E402
    FULL, LONG, SHAPE, TOKEN, Failure, charts, collect, issue, load, plots, predict, sass, tables,
    times)

SKIPPED = 77
SMALL = "02_naive_gpu"  # the chapter that is counted afresh
NO_CODE = {"kernels": [], "launches": []}  # of sass.json

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


def sass_text():
    """Made up, in the words of `nvdisasm -c -gi` 13: a loop that divides around two that multiply
    and add, with 16-byte loads and, as the remainder, with 8-byte loads. At the end stand a block
    that parted lanes of a shuffle take and a branch's other side: both jump back and make no loop.
    Nor does the padding behind them."""
    lines, address = [".text._Z4loopILi64EEvPf:", "_Z4loopILi64EEvPf:"], 0
    line = '\t//## File "/src/loop.cu", line {}'
    inlined = line + ' inlined at "/src/loop.cu", line 9'
    for text in (
            line.format(3), "S2R R0, SR_TID.X", "LDG.E R1, [R2.64]",
            ".L_x_0:", line.format(4), "ISETP.GE.AND P0, PT, R0, R3, PT", "MUFU.RCP R9, R9",
            "FFMA R9, R9, R9, R9", "@P0 BRA `(.L_x_2)",
            ".L_x_1:", inlined.format(7), line.format(9), "LDS.128 R4, [R8]",
            "LDS.U8 R5, [R8+0x10]", "LDS R6, [R8+0x20]", "FFMA R10, R4, R4, R10",
            "FFMA R11, R5, R6, R11", "FADD R11, R11, 1", "@P1 BRA `(.L_x_1)",
            ".L_x_2:", inlined.format(7), "LDS.64 R4, [R8]", "FFMA R10, R4, R4, R10",
            line.format(5), "MUFU.RCP R9, R9", "FFMA R9, R9, R9, R9", "@!P1 BRA `(.L_x_2)",
            line.format(11), "LDS R4, [R8]", "FFMA R9, R4, R9, R9", "@P3 BRA `(.L_x_6)",
            "BRA.DIV UR4, `(.L_x_4)",
            ".L_x_3:", "SHFL.BFLY PT, R1, R1, 0x1, 0x1f", "BAR.SYNC.DEFER_BLOCKING 0x0",
            "STS [R8], R1", "IMAD.MOV.U32 R1, RZ, RZ, R2", "@P2 BRA `(.L_x_0)",
            "STG.E [R2.64], R1", "EXIT",
            ".L_x_4:", "WARPSYNC.COLLECTIVE R1, `(.L_x_3)", "BRA `(.L_x_3)",
            ".L_x_6:", "MOV R1, R2", "BRA `(.L_x_3)",
            ".L_x_5:", "BRA `(.L_x_5)", "NOP", "NOP"):
        if text.startswith((".", "\t")):
            lines.append(text)
        else:
            lines.append(f"        /*{address:04x}*/          {text} ;")
            address += 16
    return "\n".join(lines)


def entry(kernel, architecture, registers, barriers, shared=0, stack=0, spills=0):
    return {"kernel": kernel, "architecture": architecture, "registers": registers,
            "barriers": barriers, "static_shared_bytes": shared, "stack_bytes": stack,
            "spill_bytes": spills}


def counts(**given):
    """Of one head; the bound is that of 512."""
    return {**dict.fromkeys(collect.COUNTERS, 0), "bound_seconds": 512 * 1.5e-6,
            "bound_limit": "L1", **given}


def made_up_data():
    launch = counts(kernel="first<64>", global_load_bytes=4096, global_store_bytes=512,
                    global_load_requests=32, global_load_sectors=128,
                    global_read_bytes_compulsory=1024, global_write_bytes_compulsory=512,
                    shared_load_wavefronts=64, shared_load_wavefronts_ideal=2)
    chapter = {"chapter": "98_made_up", "step": "one", "pass": "forward", "workspace_bytes": 2048,
               "device": "H200", "memory_seconds": 2e-4, "multiprocessors": 132,
               "price": "",
               "long": {"bound_seconds": 6e-3, "bound_limit": "shared memory",
                        "memory_seconds": 1e-3, "multiprocessors": 64}}
    kernels = [
        {"chapter": "98_made_up", "file": file, "dynamic_shared_bytes": 1024,
         **entry("first<64>", architecture, registers, 1, shared=8192)}
        for file, more in (("one.cu", 0), ("three.cu", 2), ("two.cu", 0))
        for architecture, registers in (("sm_90a", 56 + more), ("sm_80", 71))
    ]
    trace = {"shape": SHAPE, "full": FULL, "mask": "full", "steps": [
        {"chapter": "97_plain", "step": "loops", "pass": "forward", "workspace_bytes": 512,
         "price": ""},
        {**chapter, "launches": [launch, launch],
         "total": {**launch, "bound_limit": "shared memory"}},
        {**chapter, "step": "two", "launches": [launch], "total": launch,
         "price": "S and dP computed twice"}]}
    return {
        "trace": trace,
        "ptxas": {"nvcc": "13.0.88", "kernels": kernels},
        "predictions": predict.predictions(trace, NO_CODE),
        "runs": made_up_runs(),
    }


def peer_times():
    """Of a twin and PyTorch, at a size of one head, and backward of twelve."""
    one, twelve = "forward/B:1/H:1/N:197/d:64/causal", "backward/B:1/H:12/N:512/d:64/full"
    return [(f"99_later/cpu/{one}", 2, "ms"), (f"pytorch/flash_fp32/{one}", 5, "ms"),
            (f"99_later/cpu/{one.replace('197', '512')}", 8, "ms"),
            (f"pytorch/flash_fp32/{one.replace('197', '512')}", 5, "ms"),
            (f"99_later/cpu/{twelve}", 4, "ms"), (f"pytorch/flash_fp32/{twelve}", 3, "ms"),
            ("99_later/cpu/backward/B:1/H:1/N:512/d:128/full", 4, "ms"),
            ("01_naive_cpu/naive/backward/B:1/H:1/N:512/d:128/full", 90, "ms")]


def made_up_runs():
    """Two runs on a CPU, of which the later counts, and one on each of two GPUs, from files."""
    def written(folder, medians, rates=()):
        folder.mkdir(parents=True)
        context = {"device": "X, 2 cores", "compiler": "g++", "commit": "abc"}
        benchmarks = [{"run_name": name, "aggregate_name": which, "real_time": time,
                       "time_unit": unit, "workspace_bytes": 2048.0}
                      for name, time, unit in medians
                      for which in ("median", "mean")]
        benchmarks += [{"run_name": name, "aggregate_name": "median", "real_time": time,
                        "time_unit": "ms", "bytes/s": rate} for name, time, rate in rates]
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
                                                (f"other/flash/{at}", 20, "ms"),
                                                *peer_times()],
                rates=[("cpu/copy/real_time", 33.6, 8e9),
                       ("17_decode/cpu/decode/Nq:1/Nk:32768/manual_time", 41.95, 6.4e9),
                       ("17_decode/cpu/decode/Nq:1/Nk:4096/manual_time", 10.49, 3.2e9),
                       ("pytorch/gqa_fp32/decode/Nq:1/Nk:4096", 20.98, 1.6e9),
                       ("pytorch/rows_fp32/decode/Nq:4/Nk:4096", 1, 1e9)])
        written(root / "gpu-y" / "2026-01-02",
                [(f"98_made_up/one/{size.format(512)}", 99, "us")])
        written(root / "h200" / "2026-01-02",
                [("98_made_up/one/forward/B:32/H:16/N:512/d:64/full", 1200, "us"),
                 ("98_made_up/two/forward/B:4/H:16/N:4096/d:64/full", 6.5, "ms"),
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


def sass_loops():
    (name, function), = sass.parse(sass_text()).items()
    assert name == "_Z4loopILi64EEvPf"
    found = sass.describe(function)
    kinds = set(sass.KINDS.values()) | {"other"}
    assert sum(found.get(kind, 0) for kind in kinds) == found["instructions"] == 34, found
    assert found["code_bytes"] == 16 * 36
    assert found["loops"] == [
        {"copies": 1, "depth": 1, "innermost": False, "instructions": 15, "integer": 3,
         "special": 1, "ffma": 2, "control": 5, "shuffle": 1, "barrier": 1, "shared_store": 1,
         "shared_load": 1, "shared_load_4_bytes": 1},
        {"copies": 1, "depth": 2, "innermost": True, "inside": 0, "instructions": 7, "ffma": 2,
         "fp32": 1,
         "control": 1, "shared_load": 3, "shared_load_16_bytes": 1, "shared_load_1_bytes": 1,
         "shared_load_4_bytes": 1},
        {"copies": 1, "depth": 2, "innermost": True, "inside": 0, "instructions": 5, "ffma": 2,
         "control": 1,
         "special": 1, "shared_load": 1, "shared_load_8_bytes": 1}], found["loops"]
    # The line of the innermost function, its main loop and not the remainder, and no division.
    product, = found["products"]
    del product["block"]
    assert product == {"file": "loop.cu", "line": 7, "ffma": 2, "block_instructions": 7}, product


def sass_copies():
    """Loops that agree share an entry."""
    short = "\n".join(line for line in sass_text().replace("LDS.64", "LDS.128").splitlines()
                      if not re.search(r"LDS.U8|LDS R6|FFMA R11|FADD R11|MUFU|FFMA R9", line))
    (_, function), = sass.parse(short).items()
    loops = sass.describe(function)["loops"]
    assert [loop["copies"] for loop in loops] == [1, 2], loops


def made_up_sass():
    def product(line, ffma, block, instructions):
        return {"file": "k.cu", "line": line, "ffma": ffma, "block": block,
                "block_instructions": instructions}

    def kernel(name, products, file="k.cu"):
        return {"chapter": "98_made_up", "file": file, "kernel": name, "architecture": "sm_90a",
                "products": products}

    def launch(step, name, kernels, d=64):
        return {"chapter": "98_made_up", "step": step, "pass": name, "d": d, "kernels": kernels}

    return {"kernels": [
        # Two products, 8 instructions with 2 FFMAs each; and a line that is none of them.
        kernel("forward<64>", [product(1, 2, 0, 8), product(2, 2, 5, 8), product(3, 1, 5, 8)]),
        kernel("forward<64>", [product(1, 4, 0, 8), product(2, 4, 1, 8)], "own.cu"),
        kernel("delta_kernel", [product(9, 1, 0, 100)]),
        kernel("keys", [product(n, 1, n // 3, 6) for n in range(4)]),  # three share a block
        kernel("queries", [product(n, 1, 0, 6) for n in range(3)]),
    ], "launches": [launch("one", "forward", ["forward<64>"]),
                    launch("own", "forward", ["forward<64>"]),
                    launch("one", "forward", ["forward<128>"], d=128),
                    launch("one", "backward", ["delta_kernel", "keys"]),
                    launch("two", "backward", ["delta_kernel", "keys", "queries"])]}


def issue_estimates():
    shape = {"B": 2, "H": 3, "Nq": 512, "Nk": 1024, "d": 64}
    ffma = 6 * 512 * 1024 * 64 / 32  # of a warp, for one product
    slots = 4 * 132 * 1980e6

    def estimate(step, name, device="H200", **more):
        options = {key: more.pop(key) for key in ("mask", "multiprocessors") if key in more}
        return issue.issue_estimate_seconds("98_made_up", step, name, {**shape, **more}, device,
                                            made_up_sass(), **options)

    def close(got, expected):
        assert abs(got / expected - 1) < 1e-9, (got, expected)

    close(estimate("one", "forward"), ffma * 2 * 4 / slots)
    close(estimate("own", "forward"), ffma * 2 * 2 / slots)  # the file named after the step
    close(estimate("one", "forward", d=40), ffma * 40 / 64 * 2 * 4 / slots)  # the kernel for 64
    close(estimate("one", "backward"), ffma * 5 * (3 * 2 + 6) / 4 / slots)
    close(estimate("two", "backward"), ffma * (3 * 2 + 6 + 3 * 2) / slots)
    assert estimate("one", "forward", d=128) is None  # not disassembled
    assert estimate("none", "forward") is None
    assert estimate("one", "forward", device="T4") is None
    seen = (512 * 512 + 512 * 513 / 2) / (512 * 1024)  # bottom-right
    close(estimate("one", "forward", mask="causal", multiprocessors=66),
          ffma * 2 * 4 / slots * 2 * seen)
    close(estimate("one", "forward", mask="causal top-left"),
          ffma * 2 * 4 / slots * (512 * 513 / 2) / (512 * 1024))


def made_up_tensor_data():
    """A step on the tensor cores: a loop that masks, one that does not, and a delta kernel."""
    def kernel(name, registers, *loops):
        its = {"chapter": "99_tensor", "file": "k.cu", "kernel": name, "architecture": "sm_90a"}
        return ({**its, "loops": list(loops), "products": []},
                {**its, "registers": registers, "spill_bytes": 0, "dynamic_shared_bytes": 1024})

    kernels = [
        kernel("forward<64>", 128, {"instructions": 900, "tensor": 64, "integer": 90},
               {"instructions": 640, "tensor": 64, "shared_matrix_load": 32, "integer": 80}),
        kernel("forward<128>", 240, {"instructions": 960, "tensor": 128, "shared_matrix_load": 40}),
        kernel("delta", 20, {"instructions": 10})]
    data, total = made_up_data(), counts(
        global_load_bytes=4096, global_read_bytes_compulsory=1024, mma_instructions=1000,
        shared_load_wavefronts=100, shared_load_wavefronts_ideal=50, matrix_load_wavefronts=1900,
        matrix_load_wavefronts_ideal=950, bound_seconds=1e-6, bound_limit="tensor cores")
    data["trace"]["steps"].append({
        "chapter": "99_tensor", "step": "one", "pass": "forward", "device": "H200",
        "element": "bfloat16", "total": total, "multiprocessors": 132, "memory_seconds": 1e-6,
        "long": {"bound_seconds": 1e-6, "bound_limit": "tensor cores", "memory_seconds": 1e-6,
                 "multiprocessors": 132},
        "launches": [{"kernel": "forward<64>", **total},
                     {"kernel": "delta", **counts(bound_seconds=1e-9, bound_limit="L2")}],
        "workspace_bytes": 0, "price": ""})
    data["ptxas"]["kernels"] += [its for _, its in kernels]
    data["sass"] = {"nvcc": "13.0", "kernels": [its for its, _ in kernels], "launches": [
        {"chapter": "99_tensor", "step": "one", "pass": "forward", "d": d, "kernels": names}
        for d, names in ((32, ["forward<64>"]), (64, ["forward<64>", "delta"]),
                         (128, ["forward<128>", "delta"]))]}
    return data


def tables_of_tensor_cores():
    """The loop without a mask; 16-bit rows are marked wherever they stand beside float32."""
    data = made_up_tensor_data()
    text, _ = report.filled(page("tensor 99_tensor", "trace 99_tensor", "ladder", "built"), data,
                            "en")
    for row in ("| one | 64 | 64 | 0.5 | 1.25 | 10 | 128 | 0 | 1,024 |",
                "| one | 128 | 128 | 0.312 | 0 | 7.5 | 240 | 0 | 1,024 |",
                "| `forward<64>` | 4 | 1 | 2 | 1,000 | 2 | 1.95 ns, tensor cores |  |",
                "| 99_tensor | one | bfloat16 | 2 MiB | 0 B | 512 KiB | not measured |  |",
                "| 99_tensor | bfloat16 | 2 MiB | 0 B | 512 KiB | 0.00191 | 0 |  |",
                "| 98_made_up | one |  | 2.25 MiB | 1 MiB | 768 KiB | 1.2 ms |  |"):
        assert row in text.splitlines(), f"{row}\nis not in\n{text}"
    assert text.count("float32 where none is named") == 2, text
    assert "d=64, bfloat16, no mask" in text, text
    rolled = issue.tensor_turn({"loops": [
        {"depth": 1, "innermost": False, "copies": 1, "instructions": 500, "tensor": 64},
        {"depth": 2, "innermost": True, "copies": 1, "instructions": 25, "tensor": 16,
         "inside": 0}]})
    assert rolled == {"instructions": 600, "tensor": 128}, rolled
    turn = issue.wgmma_turn({"loops": [
        {"instructions": 400, "tensor": 16, "warpgroup": 40},  # of all that multiply, the leanest
        {"instructions": 100, "tensor": 16, "warpgroup": 40},
        {"instructions": 10, "tensor": 16, "warpgroup": 0},    # mma: another kind of product
        {"instructions": 5, "tensor": 0, "warpgroup": 3}]})    # waits only: the producer's
    assert turn["instructions"] == 100, turn
    assert issue.wgmma_turn({"loops": []}) is None
    step = data["trace"]["steps"][-1]
    got = predict.entry(step, LONG, data["sass"])["from"]["issue_seconds"]
    # 64 heads of 64 times the scores, 10 instructions for each product, four schedulers
    expected = 64 * 64 * 1000 * 10 / (4 * 132 * 1980e6)
    assert abs(got / expected - 1) < 1e-3, (got, expected)
    del data["sass"]["kernels"][0]
    assert predict.entry(step, LONG, data["sass"])["from"]["issue_seconds"] is None


def committed_sass():
    """The estimates that the committed code gives are no less than the FLOPs alone need."""
    committed = load("sass")
    tensor = {its["chapter"] for its in committed["kernels"] if issue.tensor_turn(its)}
    for its in committed["launches"]:
        if its["chapter"] in tensor:
            continue
        shape = {"B": 1, "H": 16, "Nq": 4096, "Nk": 4096, "d": its["d"]}
        seconds = issue.issue_estimate_seconds(its["chapter"], its["step"], its["pass"], shape,
                                               "H200", committed)
        assert seconds is not None, its
        products = issue.PRODUCTS[its["pass"]]
        assert seconds >= 16 * products * 4096 * 4096 * its["d"] / (132 * 128 * 1980e6), its


def disassembled_kernels():
    """Where nvcc and nvdisasm are: what every version makes of the naive kernels."""
    nvcc, nvdisasm = shutil.which("nvcc"), sass.find_nvdisasm()
    if nvcc is None or nvdisasm is None:
        print(f"skipped: no {'nvcc' if nvcc is None else 'nvdisasm'}")
        return SKIPPED
    source = report.ROOT / "chapters" / SMALL / "forward.cu"
    lines = source.read_text(encoding="utf-8").splitlines()
    kernels = collect.disassembled(nvcc, nvdisasm, source)
    assert len(kernels) == 3 * len(collect.ARCHITECTURES), kernels
    for kernel in kernels:
        assert any("ffma" in loop and "global_load" in loop for loop in kernel["loops"]), kernel
        assert len(kernel["products"]) == (kernel["kernel"] != "softmax_kernel"), kernel
        for its in kernel["products"]:
            assert its["file"] == source.name and "+=" in lines[its["line"] - 1], its
    print(f"{len(kernels)} kernels disassembled")
    return loop_of_limits(nvcc, nvdisasm)


def loop_of_limits(nvcc, nvdisasm):
    """The loop that notes/limits.md shows is what this nvcc makes, if it is the one that made
    sass.json."""
    if collect.nvcc_version(nvcc) != load("sass")["nvcc"]:
        print(f"not compared with notes/limits.md: nvcc is not {load('sass')['nvcc']}")
        return 0
    page = (report.ROOT / "notes/limits.md").read_text(encoding="utf-8")
    lines = re.search(r"```text\n(IMAD .*?)\n```", page, re.DOTALL)[1].splitlines()
    shown = [line.partition("//")[0].strip() for line in lines if line]
    source = report.ROOT / "chapters/06_recompute_backward/step2_recompute.cu"
    function = dict(collect.functions_of(nvcc, nvdisasm, source, "sm_90a"))["backward_kernel<64>"]
    loops = [[instruction.text for instruction in own if instruction.name != "NOP"]
             for _, _, inside, own in sass.code_of_loops(sass.Graph(function)) if not inside]
    assert shown in loops, "notes/limits.md: nvcc makes other code; see bench/sass.py --code"
    print(f"{len(shown)} instructions of notes/limits.md compared")
    return 0


def kernel_names():
    for demangled, name in (
            ("attn::naive_gpu::_GLOBAL__N__2c9b_forward_cu_2d65::softmax_kernel(float*, long)",
             "softmax_kernel"),
            ("void attn::(anonymous namespace)::forward_kernel<64>(float const*, a::b<int>)",
             "forward_kernel<64>"),
            ("void k<(attn::Mode)1, attn::Pair<int, int> >(float (*)(int))",
             "k<(Mode)1, Pair<int, int> >")):
        assert collect.kernel_name(demangled) == name, collect.kernel_name(demangled)


def counted_tables():
    text, stale = report.filled(
        page("trace 98_made_up", "ptxas 98_made_up", "ladder", "built"), made_up_data(), "en")
    assert [line for line, _ in stale] == [2, 6, 10, 14], stale
    for row in (
            # 4096 + 512 bytes, 1024 + 512 bytes, 128 / 32, 64 / 2; no special functions: no column
            "| one | `first<64>` | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 |  |",
            "|  | `first<64>` | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 |  |",
            "|  | **all** | **4.5** | **1.5** | **4** | **32** | **1.5 µs, shared memory** | 2 |",
            "| two | `first<64>` | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 | 2 |",
            "| `first<64>` | one, two | 71 | 56 | 8,192 | 1,024 | 0 | 0 |",
            "| `first<64>` | three | 71 | 58 | 8,192 | 1,024 | 0 | 0 |",
            # 512 heads
            "| 98_made_up | one | 2.25 MiB | 1 MiB | 768 KiB | 1.2 ms |  |",
            "| 98_made_up | two | 2.25 MiB | 1 MiB | 768 KiB | not measured | S and dP computed "
            "twice |",
            # the last step; 64 wavefronts for 2 * 512 * 512 * 64 / 32 multiply-adds of a warp
            "| 98_made_up | 2.25 MiB | 1 MiB | 768 KiB | 6.1e-05 | 0 | S and dP computed twice |"):
        assert row in text.splitlines(), f"{row}\nis not in\n{text}"
    assert "special functions" not in text and "97_plain" not in text
    steps, _ = report.filled(page("steps 98_made_up"), made_up_data(), "en")
    for row in ("| one | 4.5 | 1.5 | 4 | 32 | 1.5 µs, shared memory | 2 |",
                "| two | 4.5 | 1.5 | 4 | 32 | 1.5 µs, L1 | 2 |"):
        assert row in steps.splitlines(), f"{row}\nis not in\n{steps}"
    again, stale = report.filled(text, made_up_data(), "en")
    assert again == text and not stale, stale


def token_tables():
    """A chapter about one query has a shape and bounds of its own, and no row in the ladder; its
    twin's time stands beside a copy."""
    data = made_up_data()
    made_up = data["trace"]["steps"][-1]
    token = {**made_up, "chapter": "17_decode", "step": "token",
             "shape": dict(sorted(TOKEN.items()))}
    del token["long"]
    data["trace"]["steps"].append(token)
    text, _ = report.filled(page("trace 17_decode", "ladder", "decode times"), data, "en")
    assert "| bound on an H200, set by | workspace, KiB |" in text, text
    assert "| `first<64>` | 4.5 | 1.5 | 4 | 32 | 768 µs, L1 | 2 |" in text, text
    assert "at B=1, H=32, Hkv=8, Nq=1, Nk=4096, d=128, no mask. The kernel cannot beat the" in text
    assert "| 98_made_up | two |" in text and "17_decode | token" not in text, text
    # 3.2 of 8 GB/s, the shorter cache first; PyTorch where both were timed
    assert ("| of a copy | PyTorch, enable_gqa, takes |\n|---:|---:|---:|---:|---:|---:|---:|\n"
            "| 1 | 4,096 | 32 MiB | 10.5 ms | 3.2 | 40% | 2 |\n"
            "| 1 | 32,768 | 256 MiB | 42 ms | 6.4 | 80% |  |\n") in text, text
    assert "takes so many times as long" in text, text
    assert "reads and writes 8 GB/s." in text, text
    assert not [its for its in predict.predictions(data["trace"], NO_CODE)["predictions"]
                if its["chapter"] == "17_decode"]
    data["runs"] = {}
    try:
        report.filled(page("decode times"), data, "en")
    except Failure as failure:
        assert "bench/cpu.sh" in str(failure), failure
    else:
        raise AssertionError("a table without a run")


def times_tables():
    text, _ = report.filled(page("times 98_made_up", "times"), made_up_data(), "en")
    chapter, everything = text.split("before\n")[1:]
    for row in ("| 01_naive_cpu naive | 1 | 2 KiB | – | – |",
                "| 98_made_up cpu | 24 | 2 KiB | – | – |"):
        assert row in chapter, text
    assert "99_later" not in chapter and "other" not in chapter, chapter
    for row in ("| 01_naive_cpu naive | – | – | 600 | – | – | – | – |",  # N = 4096, d = 64
                "| 98_made_up cpu | – | – | 25 | – | – | – | – |",
                "| 99_later cpu | – | – | **1** | – | – | – | – |",
                "| other flash | – | – | 20 | – | – | – | – |"):
        assert row in everything, f"{row}\nis not in\n{everything}"
    assert chapter.count("commit abc") == 1 == everything.count("commit abc")
    assert "plain C++ on X, 2 cores (g++)" in chapter and "X, 2 cores (g++)" in everything


def peer_tables():
    text, _ = report.filled(page("peers 99_later", "times backward"), made_up_data(), "en")
    peers, backward = text.split("before\n")[1:]
    for row in ("| Forward | 1 | 64 | causal | 2.50 | 0.62 | – | – | – |",
                "| Backward | 12 | 64 | full | – | 0.75 | – | – | – |"):
        assert row in peers, f"{row}\nis not in\n{peers}"
    assert "Forward, d = 64: 1.25; Backward, d = 64: 0.75" in peers, peers
    for row in ("| 01_naive_cpu naive | – | – | – | 90 | – |",
                "| 99_later cpu | – | – | – | **4** | – |"):
        assert row in backward, f"{row}\nis not in\n{backward}"
    assert "98_made_up" not in backward and "backward pass" in backward, backward
    try:
        report.filled(page("peers 98_made_up"), made_up_data(), "en")
    except Failure as failure:
        assert "98_made_up/cpu" in str(failure), failure
    else:
        raise AssertionError("a table of nothing")


def prediction_tables():
    data = made_up_data()
    text, _ = report.filled(page("predicted", "predicted long"), data, "en")
    for row in (
            # bound 512 * 1.5 us, memory 0.2 ms; measured 1.2 ms, 24 % above their sum
            "| 98_made_up | one | 768 µs | 968 µs | 1.2 ms, off by +24 % | 768 µs | shared memory "
            "|",
            "| 98_made_up | two | – | – | not measured | 768 µs | L1 |",
            # the chapter's last step alone; 6.5 ms is between 6 and 7
            "| 98_made_up | two | 6 ms | 7 ms | 6.5 ms, off by +0 % | 6 ms | shared memory |"):
        assert row in text.splitlines(), f"{row}\nis not in\n{text}"
    assert text.count("| 98_made_up | one |") == 1, text
    try:
        report.filled(page("predicted"), {**data, "predictions": {"predictions": []}}, "en")
    except Failure as failure:
        assert "no prediction for 98_made_up one" in str(failure), failure
    else:
        raise AssertionError("a table without its predictions")
    assert tables.off_by(5.0, {"least_seconds": 10.0, "most_seconds": 12.0}) == -50


def predictions_keep_their_date():
    """Those that do not change; the others get today's. The issue estimate is one of the parts."""
    data = made_up_data()["trace"]
    first = predict.predictions(data, NO_CODE)
    for its in first["predictions"]:
        its.update(date="2001-01-01", commit="old")
    data["steps"][2]["long"] = {**data["steps"][2]["long"], "bound_seconds": 8e-3}
    second = predict.predictions(data, NO_CODE, first)["predictions"]
    renewed = [(its["step"], its["shape"]) for its in second if its["commit"] != "old"]
    assert renewed == [("two", LONG)] and len(second) == 4, second
    estimate = predict.issue_estimate_seconds
    predict.issue_estimate_seconds = lambda *_, multiprocessors: multiprocessors / 64 * 9e-3
    try:
        its = predict.entry(data["steps"][2], LONG, {})
    finally:
        predict.issue_estimate_seconds = estimate
    assert its["least_seconds"] == 9e-3 and its["from"]["issue_seconds"] == 9e-3, its
    assert abs(its["most_seconds"] - 18e-3) < 1e-9, its


def committed_predictions():
    """They follow from the counts that are committed with them."""
    trace = load("trace")
    made = [{name: value for name, value in its.items() if name not in ("date", "commit")}
            for its in load("predictions")["predictions"]]
    assert made == predict.entries(trace, load("sass")), "`bench/report.py predict`"


def order_has_reasons():
    """No row of the ladder stands below one with less of something, unless it says what for."""
    data = made_up_data()
    assert not tables.worse_than_before(data, "forward")
    data["trace"]["steps"][2]["workspace_bytes"] += 1
    ((step, quantity, before),) = tables.worse_than_before(data, "forward")
    assert (step["step"], quantity, before["step"]) == ("two", "workspace", "one")


def committed_order_has_reasons():
    data = report.load_all()
    for name in ("forward", "backward"):
        worse = tables.worse_than_before(data, name)
        silent = [(step["chapter"], step["step"], quantity, before["chapter"])
                  for step, quantity, before in worse if not step["price"]]
        assert not silent, f"no price in the record, but more than an earlier row: {silent}"
        paying = {(step["chapter"], step["step"]) for step, _, _ in worse}
        idle = [its["step"] for its in tables.kernels(data, name)
                if its["price"] and (its["chapter"], its["step"]) not in paying]
        assert not idle, f"a price, and no column shows it: {idle}"
        for its in tables.kernels(data, name):
            tables.price_text(its, "zh")
    least = {name: min(of(data, step) for step in tables.kernels(data, "forward"))
             for name, (of, _) in tables.QUANTITIES.items() if name != "time"}
    last = [its for its in tables.kernels(data, "forward") if not its["price"]][-1]
    assert all(tables.QUANTITIES[name][0](data, last) == its for name, its in least.items()), (
        "the first table says that the last step without a price needs least of everything", least)


COMPARED = re.compile(r"^(\d\d_\w+) +(\w+) +(?:(\w*float\w+) +)?"
                      r"(\d\S* \S+) +(\d\S* \S+) +(\d\S* \S+) +right +"
                      r"\S+ *(.*)$", re.MULTILINE)


def compared_rows(text):
    """[(chapter, step, element, requested, workspace, compulsory, price)] of attn compare's first
    table."""
    return COMPARED.findall(text)


def compared_bytes(size):
    """As attn prints it: three digits, zeros too."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= 999.5 / 1024 * factor:
            value = size / factor
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{size} B"


def readme_comparison():
    """What README shows of attn compare is what was counted."""
    data, heads = report.load_all(), FULL["B"] * FULL["H"]
    counted = [(step["chapter"], step["step"], tables.element(step) or "float32",
                *(compared_bytes(heads * tables.QUANTITIES[name][0](data, step))
                  for name in ("requested", "workspace", "compulsory")), step["price"])
               for step in tables.kernels(data, "forward")]
    for name in ("README.md", "README.zh-CN.md"):
        shown = compared_rows((report.ROOT / name).read_text(encoding="utf-8"))
        assert shown == counted, f"{name}: {shown}\ncounted: {counted}"


def readme_comparison_is_the_programs(attn):
    """And what the program prints, but for times and errors."""
    def skeleton(text):
        kept = re.sub(r"\d[\d.e-]* (?:[nm]?s|us)\b|(?<=right )[ \d.e-]+", " ", text)
        return [re.sub(r"[ -]+", " ", line).strip() for line in kept.splitlines() if line.strip()]
    printed = collect.run([attn, "compare"]).stdout
    for name in ("README.md", "README.zh-CN.md"):
        text = (report.ROOT / name).read_text(encoding="utf-8")
        block = text[text.index("Kernels. "):]
        assert skeleton(block[:block.index("```")]) == skeleton(printed), f"{name}\n{printed}"


def committed_scaling(attn):
    """The rule by which LONG is predicted, scores times a constant, at other N: within 2 %."""
    for chapter, step in (("02_naive_gpu", "naive"), ("07_v2_loop_order", "step1_loop_swap")):
        bound = [collect.trace(attn, chapter, step, "forward", {**SHAPE, "Nq": N, "Nk": N},
                               heads)["bound"]["seconds"] for N, heads in ((128, 512), (256, 512))]
        assert abs(bound[1] / bound[0] / 4 - 1) < 0.02, (chapter, bound)


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
    """Each measured GPU has a picture of its own."""
    data = report.load_all()
    without = plots.pictures(data)
    data["runs"] |= {name: run for name, run in made_up_runs().items() if not times.is_cpu(run)}
    drawn = plots.pictures(data)
    assert sorted(drawn.keys() - without.keys()) == ["time-h200"], drawn.keys()  # gpu-y: one N
    assert "cuBLAS and a softmax" in drawn["time-h200"]


def committed_plots():
    assert report.render_plots(report.load_all(), check=True) == 0, "`bench/report.py render`"


def stale_tables():
    text, _ = report.filled(page("ladder", "trace 98_made_up"), made_up_data(), "en")
    changed = text.replace("| 98_made_up | one | 2.25 MiB |", "| 98_made_up | one | 2.2 MiB |")
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


def turns_over_tiles():
    """The loop without masks, its products as often as the tile needs, and what it loads."""
    def loop(instructions, inside=None, copies=1, **kinds):
        return {"instructions": instructions, "copies": copies, **kinds,
                **({} if inside is None else {"inside": inside})}
    kernel = {"kernel": "forward_kernel<Tiles<64, 128, 64, 4, 2>, PairedLanes, false, true>",
              "loops": [loop(20, global_load=8), loop(900), loop(551, 1, ffma=512),
                        loop(700), loop(551, 3, ffma=512), loop(279, 3, ffma=256),
                        loop(50, 3, copies=2, global_load=8)]}
    assert issue.iteration(kernel) == (
        2, 2 * 4096, 700 + 8 * 551 + 16 * 279 + 2 * 4 * 50), issue.iteration(kernel)
    assert issue.iteration({**kernel, "loops": kernel["loops"][:1]}) is None
    assert issue.iteration({"kernel": "forward_kernel<64>"}) is None


def loops_left_by_a_call():
    """As ptxas has it for sm_80: the way out is a CALL, which is no call."""
    leaves = sass.Instruction("@P0", "CALL.REL.NOINC", "`(.L_x_2)", None)
    calls = sass.Instruction("", "CALL.REL.NOINC", "`($__internal_0_$__cuda_sm20_div)", None)
    plain = sass.Instruction("", "FADD", "R1, R2, R3", None)
    back = sass.Instruction("", "BRA", "`(.L_x_1)", None)
    function = sass.Function([plain, plain, calls, leaves, back, plain],
                             {".L_x_1": 1, ".L_x_2": 5})
    loop, = sass.loops_of(sass.Graph(function))
    assert loop["instructions"] == 4, loop


def committed_steps(attn):
    traced, plain = collect.passes(attn)
    committed = [(step["chapter"], step["step"], step["pass"])
                 for step in load("trace")["steps"]]
    assert sorted(traced + plain) == sorted(committed), committed
    prices = collect.prices(attn)
    wrong = [step for step in load("trace")["steps"]
             if step["price"] != prices[step["chapter"], step["step"]]]
    assert not wrong, f"the records say otherwise: {wrong}"


def committed_counts(attn):
    committed = [step for step in load("trace")["steps"] if step["chapter"] == SMALL]
    assert committed
    for step in committed:
        fresh = collect.traced_step(attn, SMALL, step["step"], step["pass"])
        fresh["workspace_bytes"] = step["workspace_bytes"]
        fresh["price"] = step["price"]
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
    if sys.argv[1:] == ["--disassemble"]:
        return disassembled_kernels()
    attn = sys.argv[1] if len(sys.argv) > 1 else None
    tests = [(test, ()) for test in (
        ptxas_text, sass_loops, sass_copies, issue_estimates, tables_of_tensor_cores,
        committed_sass, kernel_names, counted_tables, token_tables, times_tables, peer_tables,
        prediction_tables, predictions_keep_their_date,
        order_has_reasons, stale_tables, bad_markers, pictures, pictures_of_gpus, committed_tables,
        committed_predictions, committed_order_has_reasons, readme_comparison, committed_plots,
        committed_registers, turns_over_tiles, loops_left_by_a_call)]
    if attn:
        tests += [(test, (attn,)) for test in (
            committed_steps, committed_counts, committed_scaling,
            readme_comparison_is_the_programs)]
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
