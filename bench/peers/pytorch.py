#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times PyTorch's scaled_dot_product_attention, every back end that this computer has, at the sizes
of attn_benchmarks.

    bench/peers/pytorch.py                                     all sizes; prints a table
    bench/peers/pytorch.py --shape B:1/H:1/N:4096/d:64/full    one size, or several; or .../causal
    bench/peers/pytorch.py --out pytorch.json                  as Google Benchmark writes its JSON

On a CPU: the math and the flash back end in fp32. On a GPU: math, efficient, flash and cuDNN in
fp32 with TF32 off (fp32) and on (tf32) and in bf16; a back end that does not take a type is named.
The efficient back end multiplies float32 on tensor cores, three TF32 products for each, whatever
the setting: it is called efficient_3xtf32, and is no peer of kernels without tensor cores.
Before it is timed, every result is compared with a float64 evaluation of the same inputs. What is
timed is one call, output tensors included: forward, or the gradients of Q, K and V. On a GPU by
CUDA events, with L2 flushed before every call by writing twice its size, as often as the host
needs to queue the call meanwhile: what is timed is the GPU, also where a call is short. --out is
written after every size, so that a time-out keeps what there is.

Needs PyTorch 2.5 or newer. Exit status 1 if a result was wrong, 2 for bad usage or without PyTorch.
"""
import argparse
import contextlib
import datetime
import functools
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEED = 20260101
REPETITIONS = 5
LONG = 0.5  # seconds of a call from which on three repetitions of one call are enough
SHAPE = re.compile(r"B:(\d+)/H:(\d+)/N:(\d+)/d:(\d+)/(full|causal)")
MOST_CPU_BACKWARD_FLOPS = 2.2e10  # as attn_benchmarks has it for twins: both time the same

# The largest relative error allowed, |got - float64| / |float64| over a whole array: a multiple of
# the precision's unit roundoff, 16 for the rounding of inputs to the tensor cores and of P, 256 in
# fp32, where sums over thousands of keys and the exponential dominate. A wrong mask or scale gives
# about 1.
ALLOWED = {"fp32": 256 * 2.0**-24, "3xtf32": 256 * 2.0**-24, "tf32": 16 * 2.0**-11,
           "bf16": 16 * 2.0**-8}


class Failure(Exception):
    """One line for the reader; exit status 2."""


class Wrong(Exception):
    """A result that is not what it must be."""


class Unsupported(Exception):
    """What a back end cannot do."""


def import_torch():
    try:
        import torch
        import torch.nn.attention
    except ImportError as error:
        raise Failure(f"PyTorch 2.5 or newer is needed ({error}): pip install torch") from error
    if not hasattr(torch.nn.attention.SDPBackend, "CUDNN_ATTENTION"):
        raise Failure(f"PyTorch {torch.__version__} is too old: pip install --upgrade torch")
    return torch


def parse_shape(text):
    match = SHAPE.fullmatch(text)
    sizes = [int(size) for size in match.groups()[:4]] if match else [0]
    if min(sizes) < 1:
        raise Failure(f"--shape {text}: allowed: B:1/H:12/N:197/d:64/full, or causal in place of "
                      "full, with other positive sizes")
    return (*sizes, match[5] == "causal")


def default_shapes(on_gpu):
    """The sizes of attn_benchmarks: it is asked."""
    program = ROOT / "build" / ("attn_benchmarks-cuda" if on_gpu else "attn_benchmarks")
    try:
        result = subprocess.run([program, "--list_shapes"], stdout=subprocess.PIPE, text=True,
                                check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"no --shape given, and {program.name} did not tell its own "
                      f"({error}): build it, or name a shape") from error
    return result.stdout.split()


def variants(torch, on_gpu):
    """[(name, back end, precision)]"""
    backend = torch.nn.attention.SDPBackend
    if not on_gpu:
        return [("math", backend.MATH, "fp32"), ("flash", backend.FLASH_ATTENTION, "fp32")]
    named = [("math", backend.MATH), ("efficient", backend.EFFICIENT_ATTENTION),
             ("flash", backend.FLASH_ATTENTION), ("cudnn", backend.CUDNN_ATTENTION)]
    found = [(name, value, precision) for precision in ("fp32", "tf32", "bf16")
             for name, value in named if (name, precision) != ("efficient", "tf32")]
    return [(name, value, "3xtf32" if (name, precision) == ("efficient", "fp32") else precision)
            for name, value, precision in found]


def flops(shape, run_pass):
    B, H, N, d, causal = shape
    return 2.0 * B * H * N * N * d * (2 if run_pass == "forward" else 5) * (0.5 if causal else 1.0)


def reference(torch, q, k, v, grad_o, causal, run_pass):
    """O, or dQ, dK and dV, in float64; a few rows at a time, so that S never fills the memory."""
    q, k, v, grad_o = (x.double() for x in (q, k, v, grad_o))
    backward = run_pass == "backward"
    for x in (q, k, v):
        x.requires_grad_(backward)
    B, H, N, d = q.shape
    rows = max(1, 2**25 // (B * H * N))
    outputs = []
    for begin in range(0, N, rows):
        scores = q[:, :, begin:begin + rows] @ k.transpose(-1, -2) * d**-0.5
        if causal:
            i = torch.arange(begin, begin + scores.shape[-2], device=q.device)
            hidden = torch.arange(N, device=q.device) > i[:, None]
            scores = scores.masked_fill(hidden, float("-inf"))
        o = torch.softmax(scores, -1) @ v
        if backward:
            o.backward(grad_o[:, :, begin:begin + rows])
        outputs.append(o.detach())
    return (q.grad, k.grad, v.grad) if backward else (torch.cat(outputs, -2),)


def relative_error(got, expected):
    return float((got.double() - expected).norm() / expected.norm())


def is_right(error, precision):
    return error <= ALLOWED[precision]  # false for a NaN


def flushes_before(queueing, flush):
    """How often to write the flush buffer before a call that takes the host `queueing` seconds, if
    one write takes `flush`: as bench/benchmarks/timer.cpp has it."""
    return max(1, min(64, math.ceil(2 * queueing / flush)))


def is_too_long(call, left):
    """Whether eight calls of so many seconds do not fit into what is left, as there."""
    return 8 * call > left


class Stopwatch:
    """Seconds of a number of calls."""

    def __init__(self, torch, on_gpu):
        self.torch, self.on_gpu = torch, on_gpu
        if on_gpu:
            cache = torch.cuda.get_device_properties(0).L2_cache_size
            self.flush = torch.empty(2 * cache, dtype=torch.uint8, device="cuda")
            self.queueing = 0.0  # seconds, of the last call
            self.flush.zero_()  # the first one is slow
            self.flush_seconds = self.between_events(self.flush.zero_)

    def between_events(self, work):
        start, stop = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        self.torch.cuda.synchronize()
        return start.elapsed_time(stop) / 1e3

    def seconds(self, call, calls):
        if not self.on_gpu:
            start = time.perf_counter()
            for _ in range(calls):
                call()
            return time.perf_counter() - start
        return sum(self.seconds_on_gpu(call) for _ in range(calls))

    def seconds_on_gpu(self, call):
        for _ in range(flushes_before(self.queueing, self.flush_seconds)):
            self.flush.zero_()

        def queued():
            begin = time.perf_counter()
            call()
            self.queueing = time.perf_counter() - begin

        return self.between_events(queued)


def measure(stopwatch, call, left):
    """(seconds of a call in each repetition, calls in a repetition), after a warm-up. `left`: the
    seconds until the time limit."""
    enough = 0.02 if stopwatch.on_gpu else 0.1  # seconds, of the warm-up and of a repetition
    warm = 0.0
    while warm < enough:
        once = stopwatch.seconds(call, 1)
        if warm == 0 and is_too_long(once, left):
            raise Unsupported(f"not timed: the time limit leaves {max(left, 0):.1f} s, less than "
                              f"eight calls of {once:.2g} s")
        warm += once
    calls = max(1, min(1000, round(enough / max(once, 1e-9))))
    repetitions = 3 if once > LONG else REPETITIONS
    return [stopwatch.seconds(call, calls) / calls for _ in range(repetitions)], calls


@contextlib.contextmanager
def chosen(torch, backend, precision):
    """Only this back end, with TF32 as the precision says. Its refusal becomes Unsupported, with
    the first reason that PyTorch warns of."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    with warnings.catch_warnings(record=True) as reasons:
        warnings.simplefilter("always")
        try:
            with torch.nn.attention.sdpa_kernel([backend]):
                yield
        except torch.OutOfMemoryError as error:
            raise Unsupported("not enough memory") from error
        except RuntimeError as error:
            texts = [str(reason.message) for reason in reasons] + [str(error)]
            said = [text for text in texts
                    if "not used because" not in text and "runtime disabled" not in text] or texts
            raise Unsupported(said[0].strip().splitlines()[0].split(" (Triggered")[0]) from error


@functools.lru_cache(maxsize=1)  # the variants of one size and type follow each other
def inputs_and_truth(torch, shape, dtype, run_pass, on_gpu):
    """(Q, K, V, dO), and what the pass must give."""
    B, H, N, d, causal = shape
    device = "cuda" if on_gpu else "cpu"
    generator = torch.Generator(device).manual_seed(SEED)
    inputs = [torch.randn(B, H, N, d, generator=generator, device=device).to(dtype)
              for _ in range(4)]
    return inputs, reference(torch, *inputs, causal, run_pass)


def check_memory(shape, memory):
    """Refuses what would push a computer with so many bytes of memory into swapping: the math back
    end holds three float32 arrays of S's size at once."""
    B, H, N, _, _ = shape
    needed = 3 * 4 * B * H * N * N
    if needed > memory / 2:
        raise Unsupported(f"not run: S, three times, is {needed / 2**30:.1f} GiB, more than half "
                          f"of this computer's {memory / 2**30:.1f}")


def prepare(torch, shape, precision, run_pass, on_gpu):
    """(what is timed, what it must give)"""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    (q, k, v, grad_o), expected = inputs_and_truth(torch, shape, dtype, run_pass, on_gpu)
    attention = functools.partial(torch.nn.functional.scaled_dot_product_attention,
                                  is_causal=shape[4])
    if run_pass == "forward":
        return lambda: (attention(q, k, v),), expected
    inputs = tuple(x.detach().requires_grad_() for x in (q, k, v))
    o = []  # the forward pass, run once and at the first call, for then its back end is chosen

    def backward():
        if not o:
            o.append(attention(*inputs))
        return torch.autograd.grad(o[0], inputs, grad_o, retain_graph=True)

    return backward, expected


def time_one(torch, stopwatch, shape, variant, run_pass, on_gpu, deadline=math.inf):
    """(seconds of each repetition, calls in one, relative error, workspace or None)"""
    name, backend, precision = variant
    if name == "math" and not on_gpu:
        check_memory(shape, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with chosen(torch, backend, precision):
        call, expected = prepare(torch, shape, precision, run_pass, on_gpu)
        context = contextlib.nullcontext() if run_pass == "backward" else torch.no_grad()
        with context:
            got = call()
            error = max(relative_error(g, e) for g, e in zip(got, expected))
            if not is_right(error, precision):
                raise Wrong(f"wrong: relative error {error:.1e}, allowed {ALLOWED[precision]:.1e}")
            del got, expected
            workspace = extra_memory(torch, call) if on_gpu else None
            seconds, calls = measure(stopwatch, call, deadline - time.monotonic())
    return seconds, calls, error, workspace


def extra_memory(torch, call):
    """Bytes that a call allocates beyond what it returns."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    returned = sum(x.numel() * x.element_size() for x in result)
    return max(0, torch.cuda.max_memory_allocated() - before - returned)


def aggregates(name, seconds, calls, rates, workspace=None):
    """The entries of one benchmark, as Google Benchmark writes them. `rates`: {what: so much of it
    in a call}"""
    mean = statistics.fmean(seconds)
    spread = statistics.stdev(seconds)
    entries = []
    for kind, value in (("mean", mean), ("median", statistics.median(seconds)),
                        ("stddev", spread), ("cv", spread / mean)):
        entry = {"name": f"{name}_{kind}", "run_name": name, "run_type": "aggregate",
                 "repetitions": len(seconds), "threads": 1, "aggregate_name": kind,
                 "aggregate_unit": "percentage" if kind == "cv" else "time",
                 "iterations": calls, "real_time": value if kind == "cv" else value * 1e3,
                 "time_unit": "ms"}
        if kind in ("mean", "median"):
            entry |= {what: of_a_call / value for what, of_a_call in rates.items()}
            if workspace is not None:
                entry["workspace_bytes"] = workspace
        entries.append(entry)
    return entries


def left_out(name, reason):
    return {"name": name, "run_name": name, "run_type": "iteration", "repetitions": 1, "threads": 1,
            "error_occurred": True, "error_message": reason, "iterations": 0, "real_time": 0.0,
            "time_unit": "ms"}


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(": ", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def ask_driver(query):
    """What nvidia-smi says of the first GPU."""
    try:
        result = subprocess.run(["nvidia-smi", "-i", "0", f"--query-gpu={query}",
                                 "--format=csv,noheader"], capture_output=True, text=True,
                                check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()


def context_of(torch, on_gpu, extra):
    context = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
               "num_cpus": os.cpu_count(), "load_avg": os.getloadavg(),
               "threads": str(torch.get_num_threads()), "pytorch": torch.__version__,
               "compiler": f"PyTorch {torch.__version__}"}
    if on_gpu:
        clocks = ask_driver("clocks.sm,clocks.max.sm,clocks.mem")
        reasons = ask_driver("clocks_event_reasons.active")
        if reasons == "unknown":
            reasons = ask_driver("clocks_throttle_reasons.active")
        context |= {"device": torch.cuda.get_device_name(0),
                    "driver": ask_driver("driver_version"), "toolkit": f"CUDA {torch.version.cuda}",
                    "cudnn": str(torch.backends.cudnn.version()),
                    "clocks": f"SM, most, memory before the run: {clocks}",
                    "throttling": f"reasons before the run: {reasons}",
                    "timing": "CUDA events; L2 flushed before every call, for as long as the host "
                              "needs to queue it"}
    else:
        cpu = processor()
        context |= {"device": f"{cpu}, {os.cpu_count()} cores", "cpu": cpu,
                    "timing": "wall clock, warm caches"}
    return context | extra


def write_results(path, results):
    """The whole file, or the one of before."""
    beside = pathlib.Path(f"{path}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


def print_row(cells):
    widths = (31, 9, 16, 11, 8, 14, 9)
    first, *others = (cell.ljust(width) if n < 3 else cell.rjust(width)
                      for n, (cell, width) in enumerate(zip(cells, widths)))
    print(" ".join([first, *others]).rstrip(), flush=True)


def named(context):
    """{NAME: TEXT} of --context"""
    found = {}
    for text in context:
        key, equals, value = text.partition("=")
        if not equals:
            raise Failure(f"--context {text}: allowed: NAME=TEXT")
        found[key] = value
    return found


def run(options):
    extra = named(options.context)
    given = [parse_shape(text) for text in options.shape]
    torch = import_torch()
    on_gpu = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    if on_gpu and not torch.cuda.is_available():
        raise Failure("--device cuda: PyTorch sees no GPU")
    if options.threads:
        torch.set_num_threads(options.threads)
    shapes = given or [parse_shape(text) for text in default_shapes(on_gpu)]
    deadline = STARTED + (options.time_limit or math.inf)
    stopwatch = Stopwatch(torch, on_gpu)
    context = context_of(torch, on_gpu, extra)
    entries, wrong = [], False
    print(f"PyTorch {torch.__version__} on {context['device']}, {context['threads']} threads\n")
    print_row(["size", "pass", "back end", "median", "cv", "speed", "error"])
    for shape in shapes:
        size = "B:{}/H:{}/N:{}/d:{}/".format(*shape) + ("causal" if shape[4] else "full")
        for run_pass in ("forward", "backward"):
            work = flops(shape, run_pass)
            long = run_pass == "backward" and work > MOST_CPU_BACKWARD_FLOPS
            if options.run_pass not in (run_pass, "default") or (
                    options.run_pass == "default" and long and not on_gpu):
                continue
            for variant in variants(torch, on_gpu):
                short = f"{variant[0]}_{variant[2]}"
                name = f"pytorch/{short}/{run_pass}/{size}"
                try:
                    if time.monotonic() > deadline:
                        raise Unsupported("not run: the time limit is over")
                    seconds, calls, error, workspace = time_one(
                        torch, stopwatch, shape, variant, run_pass, on_gpu, deadline)
                except (Unsupported, Wrong) as reason:
                    wrong = wrong or isinstance(reason, Wrong)
                    entries.append(left_out(name, str(reason)))
                    print_row([size, run_pass, short, f"  {reason}"])
                    continue
                median = statistics.median(seconds)
                entries += aggregates(name, seconds, calls, {"FLOP/s": work}, workspace)
                print_row([size, run_pass, short, f"{median * 1e3:.3f} ms",
                           f"{100 * statistics.stdev(seconds) / median:.1f} %",
                           f"{work / median / 1e9:,.1f} GFLOP/s", f"{error:.1e}"])
        if options.out:
            write_results(options.out, {"context": context, "benchmarks": entries})
    return int(wrong)


def add_common(parser):
    """The options of every program that times PyTorch."""
    parser.add_argument("--threads", type=int, help="CPU threads; PyTorch's own number by default")
    parser.add_argument("--out", help="the JSON file to write")
    parser.add_argument("--context", action="append", default=[], metavar="NAME=TEXT",
                        help="goes into the JSON's context; may be repeated")


def one_line(program, options):
    """The program's exit status; 2, and one line, where it cannot run."""
    try:
        return program(options)
    except Failure as failure:
        print(f"{pathlib.Path(sys.argv[0]).name}: {failure}", file=sys.stderr)
        return 2


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", default=[],
                        help="a size, as above; may be repeated")
    parser.add_argument("--pass", dest="run_pass", default="default",
                        choices=("default", "forward", "backward"),
                        help="default: both, on a CPU the backward pass of small sizes only")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"),
                        help="auto: a GPU where PyTorch sees one")
    parser.add_argument("--time-limit", type=float,
                        help="seconds; what has not begun, or would need longer, is left out")
    add_common(parser)
    return one_line(run, parser.parse_args())


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
