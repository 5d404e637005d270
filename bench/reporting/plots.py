# SPDX-License-Identifier: MIT
"""The pictures in bench/results/figures: workspace and traffic against N, and time against N, one
for the CPU and one for each GPU that was measured. Lines of counts are the closed forms of
notes/formulas.py; dots are what was counted or measured."""
import sys

from . import ROOT, Failure, times
from .charts import Series, chart

sys.path.insert(0, str(ROOT / "notes"))
import formulas as forms  # noqa: E402  (found by the line above)

FOLDER = ROOT / "bench" / "results" / "figures"
N_RANGE = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
D = 64

# The forward passes that are drawn: chapter, step, name, color, and the key of its closed form.
DRAWN = [
    ("02_naive_gpu", "naive", "02 naive", 0, ("02_naive_gpu", "naive", "forward")),
    ("03_tiled", "step4_warp_softmax", "03 tiled", 1,
     ("03_tiled", "step4_warp_softmax", "forward")),
    ("04_online_softmax", "forward", "04 online softmax", 2,
     ("04_online_softmax", "forward", "forward")),
    ("05_fused_forward", "forward", "05 fused (FA-1)", 3,
     ("05_fused_forward", "forward", "forward")),
    ("07_v2_loop_order", "step3_exp2", "07 loop swap (FA-2)", 4,
     ("07_v2_loop_order", "step1_loop_swap", "forward")),
    ("08_register_tiles", "step5_exp2", "08 register tiles", 6,
     ("08_register_tiles", "step5_exp2", "forward")),
]

# What was timed on a CPU, as a picture names it: name, color, dashed.
TIMED = {
    "01_naive_cpu/naive": ("01 three loops", 7, False),
    "03_tiled/cpu": ("03 tiled", 1, False),
    "04_online_softmax/cpu": ("04 online softmax", 2, False),
    "05_fused_forward/cpu": ("05 fused (FA-1)", 3, False),
    "07_v2_loop_order/cpu": ("07 loop swap (FA-2)", 4, False),
    "08_register_tiles/cpu": ("08 register tiles", 6, False),
    "pytorch/math_fp32": ("PyTorch, math", 5, True),
    "pytorch/flash_fp32": ("PyTorch, flash", 8, True),
}

# The same on a GPU. 16 heads and B N = 16,384 fill it at every N.
TIMED_ON_GPU = {f"{chapter}/{step}": (label, color, False)
                for chapter, step, label, color, _ in DRAWN}
TIMED_ON_GPU |= {"09_tensor_cores/step4_rows32": ("09 tensor cores, bf16", 2, False),
                 "10_async_pipeline/step4_tiles": ("10 async pipeline, bf16", 0, False),
                 "cublas/fp32": ("cuBLAS and a softmax", 5, True),
                 "pytorch/efficient_3xtf32": ("PyTorch, efficient (3xTF32)", 8, True),
                 "pytorch/flash_bf16": ("PyTorch, flash, bf16", 1, True)}
GPU_HEADS, GPU_TOKENS = 16, 16384


def count_text(n):
    return f"{n:,.0f}" if n < 1024 else f"{n / 1024:.0f}k"


def unit_text(units):
    """A number as 1, 10, 100 of the units [(factor, name)], the largest that fits."""
    def text(number):
        factor, name = next((its for its in units if number >= 0.999 * its[0]), units[-1])
        return f"{number / factor:.3g} {name}"
    return text


BYTES = unit_text([(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")])
SECONDS = unit_text([(1e-6, "µs"), (1e-9, "ns"), (1e-12, "ps")])


def time_chart(title, run, names, heads_of):
    """Time over the number of scores, B H N²: level where time grows as N² does.
    heads_of: the B and H that were measured at an N."""
    series = []
    for name, (label, color, dashed) in names.items():
        points = []
        for N in N_RANGE:
            heads = heads_of(N)
            took = times.milliseconds(run, name, N=N, **heads)
            if took is not None:
                points.append((N, took / 1e3 / (heads["B"] * heads["H"] * N * N)))
        if points:
            series.append(Series(label, color, points, dashed=dashed))
    ticks = sorted({N for its in series for N, _ in its.points})
    if peak := times.peak(run):
        series.append(Series("this CPU's peak", 7, [(N, 4 * D / peak) for N in ticks], dashed=True))
    if len(ticks) < 2:
        raise Failure(f"{run['device']}: no picture of times at fewer than two N")
    return chart(title, "N, queries and keys", "time for each of the N² scores", series, ticks,
                 count_text, SECONDS)


def time_plot(data):
    run = times.on_cpu(data["runs"])
    if run is None:
        raise Failure("no run on a CPU in bench/results; bench/cpu.sh makes one")
    return time_chart(f"Forward on a CPU, one head, d = {D} ({times.device_text(run)})", run, TIMED,
                      lambda N: {"B": 1, "H": 1})


def gpu_time_plot(run):
    return time_chart(f"Forward, float32 where nothing else is said, B × N = {GPU_TOKENS:,}, "
                      f"{GPU_HEADS} heads, d = {D} ({times.device_text(run)})", run, TIMED_ON_GPU,
                      lambda N: {"B": GPU_TOKENS // N, "H": GPU_HEADS})


def workspace_plot(data):
    """Lines: 4N² bytes, 8N bytes. Dots: what timed implementations and traced steps took."""
    run = times.on_cpu(data["runs"])
    at_512 = {step["chapter"]: step["workspace_bytes"] for step in data["trace"]["steps"]
              if step["pass"] == "forward"}

    def measured(chapter):
        points = [(512, at_512[chapter])] if at_512.get(chapter) else []
        for N in N_RANGE:
            size = times.workspace_bytes(run, f"{chapter}/cpu", N=N)
            if size and N != 512:
                points.append((N, size))
        return sorted(points)

    def line(form):
        return [(N, form(N)) for N in N_RANGE]

    def inputs(N):
        return 4 * (4 * N * D + N)

    series = [Series("02, 03: S, 4N² bytes", 1, line(lambda N: 4 * N * N), dots=False),
              Series("Q, K, V, O and LSE", 7, line(inputs), dots=False, dashed=True),
              Series("05: m and l, 8N bytes", 3, line(lambda N: 8 * N), dots=False)]
    for chapter, color in (("03_tiled", 1), ("05_fused_forward", 3)):
        series.append(Series("", color, measured(chapter), line=False))
    return chart(f"Workspace of one head, forward, d = {D} (04 and 07 need none)",
                 "N, queries and keys", "bytes (lines: formula, dots: allocated)", series, N_RANGE,
                 count_text, BYTES)


def traffic_plot(data):
    series = []
    for chapter, step, label, color, key in DRAWN:
        line = [(N, 4 * forms.traffic(key, N, D)[0]) for N in N_RANGE]
        dots = [(its["N"], its["requested_bytes"]) for its in data["trace"]["scaling"]
                if (its["chapter"], its["step"]) == (chapter, step)]
        wrong = [N for N, size in dots if 4 * forms.traffic(key, N, D)[0] != size]
        if wrong or not dots:
            raise Failure(f"{chapter} {step}: counted and closed form differ at N = {wrong}")
        series.append(Series(label, color, line, dots=False))
        series.append(Series("", color, dots, line=False))
    least = [(N, 4 * (4 * N * D + N)) for N in N_RANGE]
    series.append(Series("Q, K, V, O, LSE once", 7, least, dots=False, dashed=True))
    return chart(f"What the threads ask of global memory: forward, one head, d = {D}",
                 "N, queries and keys", "bytes (lines: formula, dots: counted)", series, N_RANGE,
                 count_text, BYTES)


PLOTS = {"time": time_plot, "workspace": workspace_plot, "traffic": traffic_plot}


def pictures(data):
    """{name: SVG} of all that can be drawn."""
    drawn = {name: plot(data) for name, plot in PLOTS.items()}
    for run in data["runs"].values():
        if times.is_cpu(run):
            continue
        try:
            drawn[f"time-{run['device']}"] = gpu_time_plot(run)
        except Failure as failure:  # a run that was cut short leaves the other pictures alone
            print(failure)
    return drawn
