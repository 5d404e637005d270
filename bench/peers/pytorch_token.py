#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times PyTorch's scaled_dot_product_attention at one new token, or four, and a long cache, as
bench/benchmarks/decode.cpp times chapter 17's twin: 32 heads on 8 of K and V, d = 128, fp32, CPU.

    bench/peers/pytorch_token.py                     prints a table
    bench/peers/pytorch_token.py --out token.json    as Google Benchmark writes its JSON

Three ways to ask for the same result:
    gqa    enable_gqa=True: four heads of Q share a head of K and V
    rows   the four heads as four times the rows of one: the same, since no mask tells rows apart
    math   rows, by the back end that stores S

Before it is timed, every result is compared with a float64 evaluation of the same inputs. Needs
PyTorch 2.5 or newer. Exit status 1 if a result was wrong, 2 for bad usage or without PyTorch.
"""
import argparse
import statistics
import sys

import pytorch

HEADS, GROUPS, WIDTH = 32, 8, 128  # of one layer of Llama 3 8B
SIZES = [(queries, keys) for queries in (1, 4) for keys in (4096, 32768)]


def ways(torch, q, k, v):
    """{name: (back end, the call, which gives q's shape)}"""
    attention = torch.nn.functional.scaled_dot_product_attention
    backend = torch.nn.attention.SDPBackend
    as_rows = q.view(1, GROUPS, -1, WIDTH)
    return {
        "gqa": (backend.FLASH_ATTENTION, lambda: attention(q, k, v, enable_gqa=True)),
        "rows": (backend.FLASH_ATTENTION, lambda: attention(as_rows, k, v).view(q.shape)),
        "math": (backend.MATH, lambda: attention(as_rows, k, v).view(q.shape)),
    }


def truth(torch, q, k, v):
    """softmax(Q K^T / sqrt(d)) V in float64"""
    q, k, v = q.double(), *(x.double().repeat_interleave(HEADS // GROUPS, dim=1) for x in (k, v))
    return torch.softmax(q @ k.transpose(-1, -2) * WIDTH**-0.5, -1) @ v


def run(options):
    torch = pytorch.import_torch()
    if options.threads:
        torch.set_num_threads(options.threads)
    context = pytorch.context_of(torch, False, pytorch.named(options.context))
    stopwatch = pytorch.Stopwatch(torch, False)
    entries, wrong = [], False
    print(f"PyTorch {torch.__version__} on {context['device']}, {context['threads']} threads\n")
    pytorch.print_row(["size", "way", "", "median", "cv", "K and V", "error"])
    for queries, keys in SIZES:
        generator = torch.Generator().manual_seed(pytorch.SEED)
        q, k, v = (torch.randn(1, heads, rows, WIDTH, generator=generator)
                   for heads, rows in ((HEADS, queries), (GROUPS, keys), (GROUPS, keys)))
        expected, size = truth(torch, q, k, v), f"Nq:{queries}/Nk:{keys}"
        for way, (backend, call) in ways(torch, q, k, v).items():
            with pytorch.chosen(torch, backend, "fp32"), torch.no_grad():
                error = pytorch.relative_error(call(), expected)
                if not pytorch.is_right(error, "fp32"):
                    wrong = True
                    pytorch.print_row([size, way, f"  wrong: relative error {error:.1e}"])
                    continue
                seconds, calls = pytorch.measure(stopwatch, call, float("inf"))
            rate = {"bytes/s": 2 * 4 * GROUPS * keys * WIDTH}  # of K and V
            entries += pytorch.aggregates(f"pytorch/{way}_fp32/decode/{size}", seconds, calls, rate)
            median = statistics.median(seconds)
            pytorch.print_row([size, way, "", f"{median * 1e3:.3f} ms",
                               f"{100 * statistics.stdev(seconds) / median:.1f} %",
                               f"{rate['bytes/s'] / median / 1e9:.1f} GB/s", f"{error:.1e}"])
    if options.out:
        pytorch.write_results(options.out, {"context": context, "benchmarks": entries})
    return int(wrong)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pytorch.add_common(parser)
    return pytorch.one_line(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
