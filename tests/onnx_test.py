#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The oracle and the chapters against ONNX's test cases of its operator Attention.

    onnx_test.py ATTN

The cases come with the package onnx (pip install onnx) and are generated here, expected values and
all; none is kept in the project. Each becomes one call of `attn run oracle`, and one of every
chapter's kernels and of its twin, in float32: right, or refused by name because the chapter lacks a
feature. Exit status 77, which ctest takes for skipped, where onnx or numpy is not installed.
"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import warnings

try:
    import numpy as np
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx import helper
        from onnx.backend.test.case.node import collect_testcases
except ImportError as missing:
    print(f"skipped: {missing} (pip install onnx)")
    sys.exit(77)

INPUTS = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]
LEAST_CASES = 90  # opsets 23 to 25 have 93
REFUSED = 3  # exit status of `attn run`: the chapter lacks what the problem asks for


def named_arrays(case):
    """Inputs by name and the first expected output, Y."""
    node = case.model.graph.node[0]
    inputs, outputs = case.data_sets[0]
    left = iter(inputs)
    given = {name: np.asarray(next(left)) for name, used in zip(INPUTS, node.input) if used}
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return given, np.asarray(outputs[0]), attributes


def split_heads(array, heads):
    """[B, N, H * d] as [B, H, N, d]."""
    batch, rows, _ = array.shape
    return array.reshape(batch, rows, heads, -1).transpose(0, 2, 1, 3)


def storage(array):
    """(array as .npy can hold it, --dtype): bfloat16 has no NumPy type of its own."""
    if array.dtype == np.float16:
        return array, "fp16"
    if array.dtype in (np.float32, np.float64):
        return array, None
    return array.astype(np.float32), "bf16"


def command_of(case, folder, float32):
    """The arguments of `attn run` for a case, and the Y that is expected of it."""
    given, expected, attributes = named_arrays(case)
    q, k, v = given["Q"], given["K"], given["V"]
    merged = q.ndim == 3
    if merged:
        q = split_heads(q, attributes["q_num_heads"])
        k = split_heads(k, attributes["kv_num_heads"])
        v = split_heads(v, attributes["kv_num_heads"])
    cached = "past_key" in given
    if cached:
        k = np.concatenate([given["past_key"], k], axis=2)
        v = np.concatenate([given["past_value"], v], axis=2)
    if merged:
        heads = attributes["q_num_heads"]
        expected = split_heads(expected, heads)
    arguments = []

    def add(option, array):
        path = folder / f"{option}.npy"
        np.save(path, np.ascontiguousarray(array))
        arguments.extend([f"--{option}", str(path)])

    for option, array in (("q", q), ("k", k), ("v", v)):
        array, dtype = storage(array)
        add(option, array.astype(np.float32) if float32 else array)
    if dtype and not float32:
        arguments += ["--dtype", dtype]
    if "nonpad_kv_seqlen" in given:
        add("key-count", given["nonpad_kv_seqlen"].astype(np.int64))
    left = attributes.get("left_window_size", -1)
    right = attributes.get("right_window_size", -1)
    if attributes.get("is_causal", 0):
        right = 0
    rows, keys = q.shape[2], k.shape[2]
    first = given["past_key"].shape[2] if cached else 0  # row 0's own key
    if left >= 0 or right >= 0:
        if "nonpad_kv_seqlen" in given or first == keys - rows:
            arguments += ["--window", f"{left},{right}"]
        elif first == 0:
            arguments += ["--window", f"{left},{right}", "--causal-align", "top-left"]
        else:  # a third place for the diagonal: row by row
            own = first + np.arange(rows)
            begin = own - left if left >= 0 else np.zeros_like(own)
            end = own + right + 1 if right >= 0 else np.full_like(own, keys)
            ranges = np.stack([np.clip(begin, 0, keys), np.clip(end, 0, keys)], axis=-1)
            add("ranges", np.broadcast_to(ranges, (q.shape[0], rows, 2)).astype(np.int64))
    mask = given.get("attn_mask")
    if mask is not None:
        boolean = mask.dtype == np.bool_
        mask = mask if boolean else mask.astype(np.float32)
        hidden = [(0, 0)] * (mask.ndim - 1) + [(0, k.shape[2] - mask.shape[-1])]
        mask = np.pad(mask, hidden, constant_values=False if boolean else -np.inf)
        add("mask" if boolean else "bias", mask)
    for name, option in (("scale", "scale"), ("softcap", "softcap")):
        if attributes.get(name):
            arguments += [f"--{option}", repr(float(attributes[name]))]
    return arguments, expected, 2e-2 if dtype else 2e-6


def steps_of(attn):
    """(chapter, step) of every chapter's default forward kernel and of its twin."""
    listed = subprocess.run([attn, "list", "--json"], capture_output=True, text=True, check=True)
    for chapter in json.loads(listed.stdout)["chapters"]:
        forward = [step for step in chapter["steps"] if step["forward"]]
        for twin in (False, True):
            for step in [step for step in forward if step["twin"] == twin][-1:]:
                yield chapter["id"], step["id"]


def run(attn, step, case, folder):
    """(exit status, what is wrong or empty) of one step on a case, or of the oracle."""
    arguments, expected, tolerance = command_of(case, folder, float32=step is not None)
    chosen = ["oracle"] if step is None else [step[0], "--step", step[1]]
    output = folder / "o.npy"
    done = subprocess.run([attn, "run", *chosen, *arguments, "--o", str(output)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return done.returncode, done.stderr.strip()
    error = np.max(np.abs(np.load(output) - expected.astype(np.float64)), initial=0.0)
    return 0, "" if error <= tolerance else f"Y differs by {error:.3g}, allowed {tolerance:.3g}"


def main():
    attn = sys.argv[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [c for c in collect_testcases("Attention")
                 if c.name.startswith("test_attention") and not c.name.endswith("_expanded")]
    failed = 0
    steps = list(steps_of(attn))
    served = collections.Counter()
    nobodys = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for case in cases:
            before = served.total()
            for step in [None, *steps]:
                status, text = run(attn, step, case, folder)
                if step is not None and status == REFUSED:
                    continue
                if text:
                    failed += 1
                    print(f"FAILED {case.name}, {' '.join(step or ['oracle'])}: {text}")
                elif step is not None:
                    served[step] += 1
            if served.total() == before:
                nobodys.append(case.name)
    print(f"{len(cases)} cases of ONNX's Attention; right by the oracle in float64, and served by")
    for step in steps:
        print(f"  {' '.join(step):40} {served[step]:3}")
    print(f"Combinations of features that no chapter has: {len(nobodys)}")
    print(textwrap.fill(", ".join(nobodys), 100, initial_indent="  ", subsequent_indent="  "))
    few = len(cases) < LEAST_CASES or nobodys
    return 1 if failed or few else 0


if __name__ == "__main__":
    sys.exit(main())
