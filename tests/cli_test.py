#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the program attn: results, exit statuses, messages, files. Needs python3 only.

usage: cli_test.py PATH_OF_ATTN

Every test runs the program in an empty folder. Results are compared with the formulas evaluated
here in float64, so nothing of the project's own code is trusted.
"""
import json
import math
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEED = 20260101
TOLERANCE = 2e-5  # float32 with a handful of keys; errors are about 1e-6
TOLERANCE_16 = 5e-2  # inputs rounded to 16 bits, the others not
SHAPE = (1, 2, 5, 7, 4)
TIMEOUT = 300  # seconds for one call


# ---- .npy files, written and read without numpy ------------------------------------------------

# NumPy's names of types, without the order of bytes, and those of struct.
CODES = {"f4": "f", "f8": "d", "f2": "e", "i4": "i", "i8": "q", "u1": "B", "b1": "?"}


def npy_bytes(values, shape, descr="<f4", fortran="False", header=None, version=(1, 0)):
    if header is None:
        sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({sizes}), }}"
    start = 10 if version[0] == 1 else 12
    header += " " * ((-start - len(header) - 1) % 64) + "\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    code = CODES[descr[1:]]
    order = ">" if descr[0] == ">" else "<"
    data = struct.pack(f"{order}{len(values)}{code}", *values)
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + data


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def write_npy(path, values, shape, **keywords):
    write(path, npy_bytes(values, shape, **keywords))


def read_npy(path, descr="<f4"):
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", "not version 1.0"
    (length,) = struct.unpack("<H", data[8:10])
    assert (10 + length) % 64 == 0, "data not aligned to 64 bytes"
    assert data[9 + length : 10 + length] == b"\n"
    header = eval(data[10 : 10 + length], {"__builtins__": {}})  # the program's own output
    assert set(header) == {"descr", "fortran_order", "shape"}
    assert header["descr"] == descr and header["fortran_order"] is False, header
    values = f"<{math.prod(header['shape'])}{CODES[descr[1:]]}"
    assert len(data) == 10 + length + struct.calcsize(values), "size"
    return list(struct.unpack(values, data[10 + length :])), header["shape"]


# ---- attention by its formulas, in float64 -------------------------------------------------------


def attention(q, k, v, shape, scale=None, diagonal=None, grad_o=None):
    """shape = (B, H, Nq, Nk, d); returns o, lse and, with grad_o, also dq, dk, dv, all flat."""
    B, H, Nq, Nk, d = shape
    scale = 1 / math.sqrt(d) if scale is None else scale
    diagonal = Nk if diagonal is None else diagonal
    o, lse = [0.0] * len(q), [-math.inf] * (B * H * Nq)
    dq, dk, dv = [0.0] * len(q), [0.0] * len(k), [0.0] * len(v)
    for head in range(B * H):
        for i in range(Nq):
            row = (head * Nq + i) * d
            keys = [(head * Nk + j) * d for j in range(max(0, min(Nk, i + diagonal + 1)))]
            if not keys:
                continue
            s = [scale * sum(q[row + c] * k[key + c] for c in range(d)) for key in keys]
            top = max(s)
            total = sum(math.exp(x - top) for x in s)
            lse[head * Nq + i] = top + math.log(total)
            p = [math.exp(x - top) / total for x in s]
            for c in range(d):
                o[row + c] = sum(w * v[key + c] for w, key in zip(p, keys))
            if grad_o is None:
                continue
            delta = sum(grad_o[row + c] * o[row + c] for c in range(d))
            for w, key in zip(p, keys):
                dp = sum(grad_o[row + c] * v[key + c] for c in range(d))
                ds = scale * w * (dp - delta)
                for c in range(d):
                    dv[key + c] += w * grad_o[row + c]
                    dq[row + c] += ds * k[key + c]
                    dk[key + c] += ds * q[row + c]
    return (o, lse) if grad_o is None else (o, lse, dq, dk, dv)


def as_float32(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


# ---- the test harness ----------------------------------------------------------------------------


class Cli:
    def __init__(self, program):
        self.program = program
        self.passed = 0
        self.failed = 0

    def run(self, *arguments):
        return subprocess.run(
            [self.program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def test(self, name, body):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                body()
                self.passed += 1
            except Exception as error:  # a failed test must not stop the others
                self.failed += 1
                print(f"FAILED {name}: {type(error).__name__}: {error}")
            finally:
                os.chdir("/")

    def succeed(self, *arguments):
        result = self.run(*arguments)
        assert result.returncode == 0, f"exit {result.returncode}: {result.stderr}"
        return result.stdout

    def refuse(self, status, arguments, *expected):
        """Runs the program, which must exit with `status`, one line, and no new or changed file."""
        before = snapshot()
        result = self.run(*arguments)
        lines = result.stderr.splitlines()
        assert result.returncode == status, f"exit {result.returncode}, not {status}: {lines}"
        assert len(lines) == 1 and lines[0].startswith("attn: "), f"not one line: {lines}"
        for text in expected:
            assert text in lines[0], f"{text!r} is not in {lines[0]!r}"
        assert snapshot() == before, "files were left or changed"


def snapshot():
    files = {}
    for folder, _, names in os.walk("."):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                files[path] = os.readlink(path)
                continue
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                files[path] = file.read()
    return files


def assert_close(name, got, expected, tolerance=TOLERANCE):
    assert len(got) == len(expected), f"{name}: {len(got)} elements, not {len(expected)}"
    for i, (a, b) in enumerate(zip(got, expected)):
        near = a == b or abs(a - b) <= tolerance * (1 + abs(b))
        assert near, f"{name}[{i}] = {a}, expected {b} (seed {SEED})"


def inputs(shape=SHAPE, two_d=False, seed=SEED):
    """Writes q, k, v and do, and returns them flat."""
    B, H, Nq, Nk, d = shape
    rng = random.Random(seed)
    arrays = {}
    for name, n in (("q", Nq), ("k", Nk), ("v", Nk), ("do", Nq)):
        arrays[name] = as_float32([rng.gauss(0, 1) for _ in range(B * H * n * d)])
        write_npy(f"{name}.npy", arrays[name], (n, d) if two_d else (B, H, n, d))
    return arrays


QKV = ["--q", "q.npy", "--k", "k.npy", "--v", "v.npy"]
RUN = ["run", "1", *QKV, "--o", "o.npy"]
BACKWARD = ["--do", "do.npy", "--dq", "dq.npy", "--dk", "dk.npy", "--dv", "dv.npy"]


def chapters(cli):
    return json.loads(cli.succeed("list", "--json"))["chapters"]


# ---- results -------------------------------------------------------------------------------------


def results(cli):
    cases = [
        ("plain", (1, 2, 5, 7, 4), [], {}),
        ("batch", (3, 2, 4, 4, 8), [], {}),
        ("d = 1", (1, 1, 6, 3, 1), [], {}),
        ("one key", (1, 1, 3, 1, 5), [], {}),
        ("scale", (1, 2, 5, 7, 4), ["--scale", "0.25"], {"scale": 0.25}),
        ("scale 0", (1, 1, 5, 7, 4), ["--scale", "0"], {"scale": 0.0}),
        ("negative scale", (1, 1, 5, 7, 4), ["--scale", "-1.5"], {"scale": -1.5}),
        ("causal", (1, 2, 5, 7, 4), ["--causal"], {"diagonal": 2}),
        ("causal, rows without keys", (1, 1, 7, 5, 4), ["--causal"], {"diagonal": -2}),
        (
            "bottom-right",
            (1, 1, 5, 7, 4),
            ["--causal", "--causal-align", "bottom-right"],
            {"diagonal": 2},
        ),
        ("top-left", (1, 1, 5, 7, 4), ["--causal", "--causal-align", "top-left"], {"diagonal": 0}),
        ("no keys", (1, 2, 3, 0, 4), [], {}),
        ("no queries", (1, 2, 0, 3, 4), [], {}),
        ("no heads", (2, 0, 3, 3, 4), [], {}),
    ]
    for chapter in chapters(cli):
        for step in chapter["steps"]:
            for name, shape, options, keywords in cases:
                if takes_float32(chapter) and (step["forward"] or chapter["forward_of"]):
                    cli.test(
                        f"{chapter['id']} {step['id']}: {name}",
                        lambda: one_result(cli, chapter, step, shape, options, keywords),
                    )
            if not takes_float32(chapter) and step["forward"]:
                for dtype in ("bf16", "fp16"):
                    cli.test(
                        f"{chapter['id']} {step['id']}: {dtype}",
                        lambda: one_result(cli, chapter, step, shape_of(chapter),
                                           ["--dtype", dtype], {}, TOLERANCE_16),
                    )
                cli.test(f"{chapter['id']} {step['id']}: no dtype",
                         lambda: no_dtype(cli, chapter, step))


def takes_float32(chapter):
    return any("float32" in step["forward_elements"] + step["backward_elements"]
               for step in chapter["steps"])


def dtype_of(chapter):
    """The options that a chapter's element needs."""
    return [] if takes_float32(chapter) else ["--dtype", "bf16"]


def shape_of(chapter):
    """With the smallest d that it takes: elements of 16 bits come in rows of 16 bytes."""
    if takes_float32(chapter):
        return SHAPE
    return (*SHAPE[:4], (chapter["only_d"] or [8])[0])


def no_dtype(cli, chapter, step):
    inputs(shape_of(chapter))
    cli.refuse(3, ["run", chapter["id"], "--step", step["id"], *QKV, "--o", "o.npy"],
               "--dtype fp32, the default: ", "takes bfloat16, float16")


def one_result(cli, chapter, step, shape, options, keywords, tolerance=TOLERANCE):
    B, H, Nq, Nk, d = shape
    arrays = inputs(shape)
    command = ["run", chapter["id"], "--step", step["id"], *QKV, "--o", "o.npy"]
    command += ["--lse", "lse.npy", *options]
    outputs = ["o", "lse"]
    if step["backward"]:
        command += BACKWARD + ["--deterministic"] * step["deterministic_backward"]
        outputs += ["dq", "dk", "dv"]
    assert cli.succeed(*command) == "", "it printed something"
    expected = attention(
        arrays["q"],
        arrays["k"],
        arrays["v"],
        shape,
        grad_o=arrays["do"] if step["backward"] else None,
        **keywords,
    )
    shapes = {"o": (B, H, Nq, d), "dq": (B, H, Nq, d), "lse": (B, H, Nq)}
    for name, want in zip(outputs, expected):
        got, got_shape = read_npy(f"{name}.npy")
        assert got_shape == shapes.get(name, (B, H, Nk, d)), f"{name} has shape {got_shape}"
        assert_close(name, got, want, tolerance)
    wanted = {f"{name}.npy" for name in outputs + ["q", "k", "v", "do"]}
    assert set(os.listdir(".")) == wanted, f"files: {sorted(os.listdir('.'))}"


def formats(cli):
    def two_d():
        shape = (1, 1, 5, 7, 4)
        arrays = inputs(shape, two_d=True)
        cli.succeed(*RUN, "--lse", "lse.npy", *BACKWARD)
        expected = attention(arrays["q"], arrays["k"], arrays["v"], shape, grad_o=arrays["do"])
        shapes = [(5, 4), (5,), (5, 4), (7, 4), (7, 4)]
        for name, want, want_shape in zip(("o", "lse", "dq", "dk", "dv"), expected, shapes):
            got, got_shape = read_npy(f"{name}.npy")
            assert got_shape == want_shape, f"{name} has shape {got_shape}"
            assert_close(name, got, want)

    def float64_in():
        shape = (1, 2, 5, 7, 4)
        arrays = inputs(shape)
        for name, n in (("q", 5), ("k", 7), ("v", 7)):
            write_npy(f"{name}.npy", arrays[name], (1, 2, n, 4), descr="<f8")
        cli.succeed(*RUN)
        assert_close("o", read_npy("o.npy")[0], attention(*qkv(arrays), shape)[0])

    def header_variants():
        shape = (1, 1, 5, 7, 4)
        arrays = inputs(shape, two_d=True)
        q = arrays["q"]
        variants = [
            npy_bytes(q, (5, 4), version=(2, 0)),
            npy_bytes(q, (5, 4), version=(3, 0)),
            npy_bytes(q, (), header='{"shape": (5, 4), "fortran_order": False, "descr": "<f4"}'),
            npy_bytes(q, (), header="{'descr':'<f4','fortran_order':False,'shape':(5,4,),}"),
        ]
        expected = attention(*qkv(arrays), shape)[0]
        for data in variants:
            write("q.npy", data)
            cli.succeed(*RUN)
            assert_close("o", read_npy("o.npy")[0], expected)

    def replaces():
        arrays = inputs()
        write("o.npy", b"old")
        os.symlink("o.npy", "link.npy")
        cli.succeed("run", "1", *QKV, "--o", "link.npy")
        assert os.path.islink("link.npy"), "the link was replaced, not its target"
        assert_close("o", read_npy("o.npy")[0], attention(*qkv(arrays), (1, 2, 5, 7, 4))[0])
        os.symlink("new.npy", "second.npy")  # to a file that is not yet there
        cli.succeed("run", "1", *QKV, "--o", "second.npy")
        assert os.path.islink("second.npy"), "the link was replaced, not its target"
        assert read_npy("new.npy") == read_npy("o.npy")

    def only_some_gradients():
        inputs()
        cli.succeed(*RUN, "--do", "do.npy", "--dk", "dk.npy")
        assert set(os.listdir(".")) == {"q.npy", "k.npy", "v.npy", "do.npy", "o.npy", "dk.npy"}

    def one_step_more():
        inputs()
        before = cli.succeed(*RUN)
        first = read_npy("o.npy")
        cli.refuse(2, RUN + ["--scale", "nan"], "--scale nan")
        cli.succeed(*RUN)
        assert read_npy("o.npy") == first and before == "", "the next call differs"

    cli.test("2-D arrays are one head", two_d)
    cli.test("float64 input", float64_in)
    cli.test("header variants", header_variants)
    cli.test("an output replaces an old file, through a link", replaces)
    cli.test("some gradients only", only_some_gradients)
    cli.test("a refusal leaves the old output, and the next call works", one_step_more)


def qkv(arrays):
    return arrays["q"], arrays["k"], arrays["v"]


# ---- refusals ------------------------------------------------------------------------------------


def bad_files(cli):
    zeros = [0.0] * 40
    good = npy_bytes(zeros, (1, 2, 5, 4))

    def header(text):
        return npy_bytes(zeros, (), header=text)

    files = {
        "missing": (None, "no such file"),
        "empty": (b"", "not a .npy file"),
        "not npy": (b"PK\x03\x04 something else", "not a .npy file"),
        "magic only": (good[:6], "truncated"),
        "truncated header": (good[:40], "truncated"),
        "truncated data": (good[:-1], "truncated"),
        "no data": (good[:128], "truncated"),
        "trailing byte": (good + b"\0", "trailing bytes"),
        "trailing array": (good + good, "trailing bytes"),
        "version 9": (good[:6] + b"\x09\x00" + good[8:], "version 9.0"),
        "Fortran order": (npy_bytes(zeros, (1, 2, 5, 4), fortran="True"), "Fortran"),
        "big-endian": (npy_bytes(zeros, (1, 2, 5, 4), descr=">f4"), "type >f4"),
        "int32": (npy_bytes([0] * 40, (1, 2, 5, 4), descr="<i4"), "type <i4"),
        "float16": (npy_bytes(zeros, (1, 2, 5, 4), descr="<f2"), "type <f2"),
        "structured": (
            header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (40,), }"),
            "type [('a', '<f4')]",
        ),
        "rank 0": (npy_bytes([0.0], ()), "rank 0"),
        "rank 1": (npy_bytes(zeros, (40,)), "rank 1; allowed: [N,d] or [B,H,N,d]"),
        "rank 3": (npy_bytes(zeros, (2, 5, 4)), "rank 3; allowed: [N,d] or [B,H,N,d]"),
        "rank 5": (npy_bytes(zeros, (1, 1, 2, 5, 4)), "rank 5"),
        "d = 0": (npy_bytes([], (1, 2, 5, 0)), "d = 0"),
        "no key shape": (header("{'descr': '<f4', 'fortran_order': False}"), "corrupt header"),
        "a key twice": (
            header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (40,)}"),
            "corrupt header",
        ),
        "an unknown key": (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (40,), 'x': 1}"),
            "corrupt header",
        ),
        "text behind": (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (40,)} x"),
            "corrupt header",
        ),
        "negative size": (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, -5, 4)}"),
            "corrupt header",
        ),
        "sizes that are no numbers": (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, x, 4)}"),
            "corrupt header",
        ),
        "a size beyond 64 bits": (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}"),
            "a size of 99999999999999999999 in its shape; allowed: at most 9223372036854775807",
        ),
        "a product beyond 64 bits": (
            header(
                "{'descr': '<f4', 'fortran_order': False, "
                "'shape': (4294967296, 4294967296, 2, 4)}"
            ),
            "less than 2^63 bytes",
        ),
        "more than the file": (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 500000000000, 4)}"),
            "truncated",
        ),
        "a header of 4 GiB": (
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + good[10:],
            "a header of 4294967295 bytes",
        ),
        "a value beyond float32": (
            npy_bytes([1e300] * 40, (1, 2, 5, 4), descr="<f8"),
            "element 0 = 1e+300",
        ),
    }

    def one(option, data, expected):
        inputs()
        name = option[2:]
        os.remove(f"{name}.npy")
        if data is not None:
            write(f"{name}.npy", data)
        cli.refuse(2, RUN + BACKWARD, f"{option} {name}.npy: ", expected)

    for title, (data, expected) in files.items():
        cli.test(f"--q: {title}", lambda: one("--q", data, expected))
    for option in ("--k", "--v", "--do"):
        for title in ("missing", "truncated data", "Fortran order", "rank 3"):
            data, expected = files[title]
            cli.test(f"{option}: {title}", lambda: one(option, data, expected))

    def folder():
        inputs()
        os.remove("q.npy")
        os.mkdir("q.npy")
        cli.refuse(2, RUN, "--q q.npy: not a file")

    def line_break():
        inputs()
        cli.refuse(2, ["run", "1", "--q", "a\nb.npy", *QKV[2:], "--o", "o.npy"], "--q a b.npy")

    def too_long():
        inputs()
        cli.refuse(2, ["run", "1", "--q", "x" * 5000, *QKV[2:], "--o", "o.npy"], "--q xxx")
        cli.refuse(2, ["run", "1", *QKV, "--o", "x" * 5000], "--o xxx")

    cli.test("--q: a folder", folder)
    cli.test("a name that is too long", too_long)
    cli.test("--q: a name with a line break", line_break)


def bad_shapes(cli):
    shapes = {
        "k": [((1, 2, 7, 5), "d = 5"), ((2, 2, 7, 4), "B = 2"), ((7, 4), "rank 2; allowed: 4")],
        "v": [((1, 2, 6, 4), "N = 6"), ((1, 1, 7, 4), "H = 1"), ((1, 2, 7, 0), "d = 0")],
        "do": [((1, 2, 4, 4), "N = 4"), ((1, 2, 5, 3), "d = 3"), ((5, 4), "rank 2; allowed: 4")],
    }

    def one(name, shape, expected):
        inputs()
        write_npy(f"{name}.npy", [0.0] * math.prod(shape), shape)
        cli.refuse(2, RUN + BACKWARD, f"--{name} {name}.npy: {expected}", "allowed")

    for name, cases in shapes.items():
        for shape, expected in cases:
            cli.test(f"--{name} of shape {shape}", lambda: one(name, shape, expected))

    def heads():
        inputs()
        for name in ("k", "v"):
            write_npy(f"{name}.npy", [0.0] * 84, (1, 3, 7, 4))
        cli.refuse(2, RUN, "--k k.npy: 3 heads; allowed: a divisor of 2")

    def grouped(chapter):
        d = shape_of(chapter)[-1]
        inputs(shape_of(chapter))
        for name in ("k", "v"):
            write_npy(f"{name}.npy", [0.0] * 7 * d, (1, 1, 7, d))
        cli.refuse(3, ["run", chapter["id"], *QKV, "--o", "o.npy", *dtype_of(chapter)], "Hkv = 1")

    def large_d(chapter):
        d = chapter["max_d"] + 1
        inputs((1, 1, 2, 2, d))
        command = ["run", chapter["id"], *QKV, "--o", "o.npy", *dtype_of(chapter)]
        cli.refuse(3, command, f"d = {d}", str(chapter["max_d"]))
        inputs(shape_of(chapter))
        cli.succeed(*command)

    def no_backward(chapter):
        inputs()
        command = ["run", chapter["id"], *QKV, "--o", "o.npy", *BACKWARD]
        cli.refuse(3, command, "--do", "no backward", chapter["id"])

    cli.test("heads that do not divide", heads)
    for chapter in chapters(cli):
        if "grouped heads" not in chapter["features"]:
            cli.test(f"{chapter['id']}: grouped heads", lambda: grouped(chapter))
        cli.test(f"{chapter['id']}: d too large", lambda: large_d(chapter))
        if chapter["default_backward_step"] is None:
            cli.test(f"{chapter['id']}: no backward", lambda: no_backward(chapter))


def bad_outputs(cli):
    def refused(arguments, *expected, prepare=lambda: None):
        inputs()
        prepare()
        cli.refuse(2, arguments, *expected)

    def full_disk():
        inputs()
        cli.refuse(2, ["run", "1", *QKV, "--o", "/dev/full"], "--o /dev/full", "not a file")

    base = ["run", "1", *QKV]
    test = lambda name, *rest, **keywords: cli.test(name, lambda: refused(*rest, **keywords))
    test("--o in no folder", [*base, "--o", "none/o.npy"], "--o none/o.npy", "folder")
    test("--o is a folder", [*base, "--o", "sub"], "--o sub", prepare=lambda: os.mkdir("sub"))
    test("--o ends in a slash", [*base, "--o", "o.npy/"], "--o o.npy/")
    test("--o below a file", [*base, "--o", "q.npy/o.npy"], "--o q.npy/o.npy", "folder")
    test("--o and --lse are one through a link to no file yet", [*RUN, "--lse", "link.npy"],
         "--lse link.npy", "--o", prepare=lambda: os.symlink("o.npy", "link.npy"))
    test("--o is a link that leads to itself", [*base, "--o", "link.npy"], "--o link.npy",
         "allowed", prepare=lambda: os.symlink("link.npy", "link.npy"))
    test("--o is an input", [*base, "--o", "q.npy"], "--o q.npy", "--q")
    test("--o is an input, spelled otherwise", [*base, "--o", "./k.npy"], "--o ./k.npy", "--k")
    test("two outputs are one", [*RUN, "--lse", "./o.npy"], "--lse ./o.npy", "--o")
    test("--lse in no folder", [*RUN, "--lse", "none/l.npy"], "--lse none/l.npy")
    backward = [*RUN, "--do", "do.npy", "--dq"]
    test("--dq in no folder", [*backward, "none/dq.npy"], "--dq none/dq.npy")
    cli.test("--o is a device", full_disk)

    def lost_output():
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([cli.program, "list"], stdout=full, stderr=subprocess.PIPE,
                                    text=True, check=False)
        assert result.returncode == 1 and "standard output" in result.stderr, result

    def killed():
        """Killed while it writes 50 MB, it leaves nothing behind; a signal may come too late."""
        rows = 200_000
        for name, n in (("q", rows), ("k", 1), ("v", 1)):
            write(f"{name}.npy", npy_bytes([], (n, 64)) + bytes(4 * n * 64))
        dead = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            program = subprocess.Popen([cli.program, "run", "1", *QKV, "--o", "o.npy"],
                                       stderr=subprocess.DEVNULL)
            while program.poll() is None and not any(x.endswith(".tmp") for x in os.listdir(".")):
                time.sleep(1e-4)
            program.send_signal(number)
            status = program.wait()
            assert status in (0, -number), status
            dead += status == -number
            assert not any(x.endswith(".tmp") for x in os.listdir(".")), os.listdir(".")
        assert dead, "no signal came in time"

    cli.test("standard output cannot be written", lost_output)
    cli.test("killed while it writes", killed)


def bad_arguments(cli):
    def refused(status, arguments, *expected):
        inputs()
        cli.refuse(status, arguments, *expected)

    cases = [
        ([], ""),
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["run"], "CHAPTER"),
        (["run", "1", "--q", "q.npy"], ""),
        (["run", "1", *QKV], "--o"),
        (["run", "1", "--o", "o.npy", *QKV[2:]], "--q"),
        (["run", "1", *QKV, "--o"], "--o"),
        ([*RUN, "--scale="], "--scale="),
        (["run", "99", *QKV, "--o", "o.npy"], "CHAPTER = 99", "01_naive_cpu"),
        (["run", "naive", *QKV, "--o", "o.npy"], "CHAPTER = naive",
         "did you mean 01_naive_cpu"),
        (["run", "", *QKV, "--o", "o.npy"], "run: an empty value"),
        ([*RUN, "--step", "nonsense"], "--step nonsense: allowed in 01_naive_cpu: naive"),
        ([*RUN, "--step", "nave"], "--step nave", "did you mean naive?"),
        ([*RUN, "extra"], "extra"),
        ([*RUN, "--nonsense", "1"], "--nonsense"),
        ([*RUN, "--o", "p.npy"], "--o"),
        ([*RUN, "--scale", "x"], "--scale x"),
        ([*RUN, "--scale", ""], "--scale"),
        ([*RUN, "--scale", "1x"], "--scale 1x"),
        ([*RUN, "--scale", "nan"], "--scale nan"),
        ([*RUN, "--scale", "inf"], "--scale inf"),
        ([*RUN, "--scale", "-inf"], "--scale -inf"),
        ([*RUN, "--scale", "1e39"], "--scale 1e39"),
        ([*RUN, "--scale", "1e-46"], "--scale 1e-46: allowed: 0, or a float32 of either sign "
         "from 1.4e-45 to 3.4e+38"),
        ([*RUN, "--scale=-1e-400"], "--scale -1e-400: allowed: 0, or"),
        ([*RUN, "--scale", "0x1p-200"], "--scale 0x1p-200: allowed: 0, or"),
        ([*RUN, "--causal-align", "top-left"], "--causal-align", "--causal"),
        ([*RUN, "--causal", "--causal-align", "middle"], "--causal-align middle", "bottom-right"),
        ([*RUN, "--do", "do.npy"], "--do", "--dq"),
        ([*RUN, "--dq", "dq.npy"], "--dq", "--do"),
        ([*RUN, "--dk", "dk.npy"], "--dk", "--do"),
        ([*RUN, "--dv", "dv.npy"], "--dv", "--do"),
        (["check"], "CHAPTER is missing: allowed: 01_naive_cpu"),
        (["trace"], "CHAPTER is missing"),
        (["check", "99"], "CHAPTER = 99"),
        (["check", "1", "--step", "nonsense"], "--step", "nonsense"),
        (["check", "1", "--pass", "sideways"], "--pass sideways", "forward"),
        (["check", "1", "--window", "4"], "--window 4: allowed: LEFT,RIGHT"),
        (["check", "1", "--completion", "soon"],
         "--completion soon: allowed: late, eager, random"),
        (["check", "2", "--accumulation", "A101"],
         "--accumulation A101: allowed: in-order, A100, H100"),
        (["check", "1", "--causal-align", "top-left"], "--causal-align top-left: given alone"),
        (["compare", "--shape", "nonsense"], "--shape nonsense"),
        (["compare", "--shape", ""], "--shape"),
        (["compare", "--shape", "B=1"], "--shape B=1", "Nq"),
        (["compare", "--shape", "N=4"], "--shape N=4", "d is missing"),
        (["compare", "--shape", "Nq=4,d=4"], "Nk is missing"),
        (["compare", "--shape", "N=4,d=4,d=5"], "d is given twice"),
        (["compare", "--shape", "N=4,Nq=4,d=4"], "either N"),
        (["compare", "--shape", "N=4,d=0"], "d = 0"),
        (["compare", "--shape", "N=-1,d=4"], "N = -1"),
        (["compare", "--shape", "N=4.5,d=4"], "N = 4.5"),
        (["compare", "--shape", "N=,d=4"], "N = "),
        (["compare", "--shape", "N,d=4"], "--shape N"),
        (["compare", "--shape", "N=4,,d=4"], "--shape"),
        (["compare", "--shape", "N=4,d=4,"], "--shape"),
        (["compare", "--shape", "N=4,x=4,d=4"], "x=4"),
        (["compare", "--shape", "N=99999999999999999999,d=4"],
         "--shape N = 99999999999999999999: allowed: at most 9223372036854775807"),
        (["compare", "--shape", "N=-99999999999999999999,d=4"], "an integer of 0 or more"),
        (["compare", "--shape", "N=9000000000000000000,d=128"], "memory"),
        (["compare", "--shape", "H=3,Hkv=2,N=4,d=4"], "Hkv = 2", "H = 3"),
        (["compare", "--shape", "N=4,d=4,dv=0"], "--shape dv = 0: allowed: an integer of 1"),
        (["compare", "--shape", "N=4,d=4,dv=-1"], "--shape dv = -1"),
        (["compare", "--shape", "N=4,d=4,dv=4,dv=4"], "dv is given twice"),
        (["compare", "--shape", "N=4,dv=4"], "d is missing"),
        (["compare", "--shape", "N=99999999999,d=1,dv=128"], "d=1 dv=128: its arrays need about"),
        (["compare", "--workload", "nonsense"], "--workload nonsense", "vit_b16_224"),
        (["compare", "--workload", ""], "--workload"),
        (["compare", "--workload", "vit_b16_224", "--shape", "N=4,d=4"], "--workload", "--shape"),
        (["compare", "--shape", "N=4,d=4", "--pass", "up"], "--pass up"),
        (["compare", "--shape", "N=4,d=4", "--causal-align", "top-left"], "--causal-align"),
        (["compare", "--shape", "N=4,d=4", "--json", "none/x.json"], "--json none/x.json"),
        (["tune"], "CHAPTER is missing"),
        (["tune", "99"], "CHAPTER = 99"),
        (["tune", "08", "--d"], "--d"),
        (["list", "extra"], "extra"),
        (["workloads", "--json"], "--json"),
    ]
    for arguments, *expected in cases:
        cli.test("attn " + " ".join(arguments), lambda: refused(2, arguments, *expected))

    for chapter in chapters(cli):
        if not any(step["backward"] for step in chapter["steps"]):
            arguments = ["check", chapter["id"], "--pass", "backward"]
            cli.test(f"{chapter['id']}: check of a pass it lacks", lambda: refused(3, arguments))
    cli.test("compare of packed sequences", lambda: refused(
        3, ["compare", "--workload", "swin_56"],
        "attn: --workload swin_56: it has packed sequences; allowed: one without"))
    cli.test("tune of ranges", lambda: refused(
        3, ["tune", "8", "--workload", "pi0_prefill"],
        "attn: --workload pi0_prefill: it has ranges of keys; allowed: one without"))
    cli.test("compare of a mask array", lambda: refused(
        3, ["compare", "--workload", "bigbird_4k"],
        "attn: --workload bigbird_4k: it has a mask array; allowed: one without"))
    cli.test("compare of a workload with a bias", lambda: refused(
        3, ["compare", "--workload", "swin_56_bias"],
        "attn: --workload swin_56_bias: it has a bias; allowed: one without"))
    beyond = ["compare", "--shape", "N=4,d=4096"]
    cli.test("compare beyond every chapter", lambda: refused(3, beyond, "--shape", "d=4096"))
    without = [chapter["id"] for chapter in chapters(cli) if "windows" not in chapter["features"]]
    for chapter in without:
        cli.test(f"{chapter}: check of a window it does not take", lambda: refused(
            3, ["check", chapter, "--window", "4,0"],
            "attn: --window 4,0: this chapter does not take windows"))
    for chapter in chapters(cli):
        if not chapter["candidates"]:
            cli.test(f"{chapter['id']}: no tiles to choose from", lambda: refused(
                3, ["tune", chapter["id"]], f"attn: CHAPTER = {chapter['id']}: ",
                "has no tiles to choose from"))
    plain = [(chapter["id"], step["id"]) for chapter in chapters(cli) for step in chapter["steps"]
             if step["runs_on"] == "host"]
    for chapter, step in plain:
        cli.test(f"{chapter} {step}: check of a completion it does not have", lambda: refused(
            3, ["check", chapter, "--step", step, "--completion", "late"],
            f"attn: --completion late: {chapter} {step} is plain C++; allowed: with a chapter's"))
        cli.test(f"{chapter} {step}: check of an accumulation it does not have", lambda: refused(
            3, ["check", chapter, "--step", step, "--accumulation", "H100"],
            f"attn: --accumulation H100: {chapter} {step} is plain C++; allowed: with a chapter's"))
    taking = [feature for chapter in chapters(cli) for feature in chapter["features"]]
    if "rows of V of another length" not in taking:
        narrow = ["compare", "--shape", "N=4,d=4,dv=3"]
        cli.test("compare where no chapter takes dv", lambda: refused(
            3, narrow, "--shape B=1 H=1 Nq=4 Nk=4 d=4 dv=3, mask full, float32: no chapter"))


# ---- the other commands --------------------------------------------------------------------------


def commands(cli):
    def help_works():
        for arguments in (["--help"], ["run", "--help"], ["check", "-h"], ["compare", "--help"],
                          ["tune", "--help"]):
            assert "--help" in cli.succeed(*arguments), arguments
        assert "Exit status: 0 success; 1 " in cli.succeed("--help")
        assert "[B,N,H,d]" in cli.succeed("run", "--help")
        assert re.fullmatch(r"attn \d+\.\d+\.\d+\n", cli.succeed("--version"))

    def step_names():
        """A number or a part of a step's id is enough, if it is the only one."""
        for chapter in chapters(cli):
            inputs(shape_of(chapter))
            ids = [step["id"] for step in chapter["steps"]]
            for step in chapter["steps"]:
                number = re.match(r"step(\d+)_", step["id"])
                for text in [step["id"], step["id"][1:], *(number.groups() if number else ())]:
                    fits = [x for x in ids if x == text] or [
                        x for x in ids
                        if (x.startswith(f"step{text}_") if text.isdigit() else text in x)]
                    command = ["run", chapter["id"], *QKV, "--o", "o.npy", "--step", text,
                               *dtype_of(chapter)]
                    if len(fits) > 1:
                        cli.refuse(2, command, f"--step {text}: it may be {' or '.join(fits)}")
                        continue
                    result = cli.run(*command)
                    used = step if step["forward"] else None
                    assert result.returncode == 0, result.stderr
                    assert used is None or f" {chapter['id']} {step['id']} " in result.stderr

    def says_what_it_did():
        inputs()
        for options, passes in (([], ["forward"]), (BACKWARD, ["forward", "backward"])):
            result = cli.run(*RUN, "--lse", "lse.npy", "--causal", *options)
            assert result.returncode == 0 and result.stdout == "", result
            (line,) = result.stderr.splitlines()
            assert all(f"{x} by 01_naive_cpu naive on host" in line for x in passes), line
            assert ("backward" in line) == (len(passes) > 1), line
            assert "B=1 H=2 Nq=5 Nk=7 d=4, mask causal, scale 0.5; wrote o.npy, lse.npy" in line
            assert ("dv.npy" in line) == (len(passes) > 1), line

    def json_anywhere():
        """--json prints, --json FILE writes, for every command that has it."""
        shape = ["--shape", "N=4,d=4"]
        for command in (["list"], ["compare", *shape]):
            printed = json.loads(cli.succeed(*command, "--json"))
            tables = cli.succeed(*command, "--json", "x.json")
            assert "01_naive_cpu" in tables and not tables.startswith("{"), tables
            with open("x.json", encoding="utf-8") as file:
                assert json.load(file).keys() == printed.keys()
            cli.refuse(2, [*command, "--json", "none/x.json"], "--json none/x.json")

    def listing():
        known = chapters(cli)
        assert [c["id"] for c in known][0] == "01_naive_cpu"
        text = cli.succeed("list")
        for chapter in known:
            assert chapter["id"] in text and chapter["steps"], chapter
            for which in ("forward", "backward"):
                having = [step["id"] for step in chapter["steps"]
                          if step[which] and not step["twin"]]
                assert chapter[f"default_{which}_step"] == (having[-1] if having else None)
        assert "\x1b" not in text, "escape codes, and not on a terminal"

    def workloads():
        text = cli.succeed("workloads")
        for name in (
            "vit_b16_224 vit_b8_224 vit_b16_1024 llava_4img vla_3frame gpt2_medium llama3_8b_8k "
            "llama3_gqa gqa_one_query llama3_decode llama3_decode_32k llama3_decode_b16 "
            "llama3_decode_b16_32k mistral_7b_16k longformer_4k llava_4img_window "
            "eight_documents qwen25vl_window swin_56 pi0_prefill pi0_step neighbourhood_32 "
            "bigbird_4k swin_56_bias mpt_7b_2k gpt_oss_20b_4k"
        ).split():
            assert name in text, name
        assert "window 4095,0" in text and "window 255,0" in text
        assert "full, a bias" in text and "causal, ALiBi slopes" in text
        assert "window 127,0, sink logits" in text and "full, packed sequences" in text

    def comparison(pass_name):
        shape = "B=1,H=2,Nq=19,Nk=23,d=8,dv=8"
        options = ["--shape", shape, "--causal", "--pass", pass_name, "--json", "table.json"]
        text = cli.succeed("compare", *options)
        with open("table.json", encoding="utf-8") as file:
            table = json.load(file)
        assert table["shape"] == {"B": 1, "H": 2, "Hkv": 2, "Nq": 19, "Nk": 23, "d": 8, "dv": 8}
        assert table["pass"] == pass_name and table["mask"] == "causal"
        assert "WRONG" not in text and "\x1b" not in text
        wanted = [
            (chapter["id"], step["id"])
            for chapter in chapters(cli)
            for step in chapter["steps"]
            if step[pass_name]
        ]
        assert [(row["chapter"], row["step"]) for row in table["rows"]] == wanted
        counts = any(row["requested_bytes"] is not None for row in table["rows"])  # not with ASan
        narrow = {chapter["id"]: chapter["only_d"] for chapter in chapters(cli)}
        for row in table["rows"]:
            if 8 not in (narrow[row["chapter"]] or [8]):
                assert not row["supported"] and row["problem"].startswith("d = 8: "), row
                assert row["chapter"] in text
                continue
            assert row["right"] and row["supported"] and row["problem"] is None, row
            largest = 1e-4 if row["element"] == "float32" else 5e-2
            assert 0 <= row["error_over_tolerance"] <= 1 and 0 <= row["max_error"] < largest, row
            assert row["workspace_bytes"] >= 0
            assert (row["cpu_seconds"] is not None) == (row["ran_on"] == "host"), row
            assert row["chapter"] in text and row["price"] in text
            assert row["shape"] == table["shape"] == table["shape_run"]
            counted = counts and row["ran_on"] == "CPU machine"
            for name in ("requested_bytes", "compulsory_bytes", "bound_seconds"):
                assert (row[name] is not None) == counted, (row, name)
        first = table["rows"][0]
        assert first["workspace_bytes"] == 4 * 19 * 23 * (1 if pass_name == "forward" else 2)

    def empty_comparison():
        for shape in ("B=0,N=4,d=4", "Nq=0,Nk=3,d=4", "Nq=3,Nk=0,d=4"):
            cli.succeed("compare", "--shape", shape)

    def comparison_of_masks():
        """Without a mask a chapter about masks has its default step alone; with one it has all."""
        for options, shown in ((["--window", "3,0"], True), ([], False)):
            text = cli.succeed("compare", "--shape", "Nq=9,Nk=11,d=4", *options)
            assert ("step1_range" in text) == shown and "step4_sinks" in text, text
            assert ("Chapters about masks: the default step" in text) == (not shown), text

    def comparison_of_one_query():
        """A chapter whose heads are not alike is counted with all of them, step by step."""
        few, many = "H=4,Hkv=2,Nq=1,Nk=70,d=8", "B=140,H=4,Hkv=2,Nq=1,Nk=70,d=8"
        found = {}
        for shape in (few, many):
            text = cli.succeed("compare", "--shape", shape, "--json", "one.json")
            assert "step1_one_query" in text and "step3_group" in text, text
            with open("one.json", encoding="utf-8") as file:
                rows = json.load(file)["rows"]
            found[shape] = {row["step"]: row["requested_bytes"] for row in rows
                            if row["chapter"] == "17_decode" and row["ran_on"] == "CPU machine"}
        if all(found[few].values()):
            # Few heads in a run for each tile, many in one: Q for each, d + 2 numbers out and in.
            assert found[many]["step1_one_query"] == 140 * found[few]["step1_one_query"]
            expected = [4 * (runs * heads * (8 + 2 * 10) + heads * 9 + 2 * 70 * 8 * heads // 2)
                        for runs, heads in ((3, 4), (1, 560))]
            assert [its["step3_group"] for its in found.values()] == expected, (found, expected)

    def check_one():
        text = cli.succeed("check", "1", "--pass", "forward", "--step", "naive")
        assert "right" in text and "WRONG" not in text and "01_naive_cpu" in text, text
        assert "mask" not in text, text
        for options, mask in ((["--causal"], "causal"), (["--window", "-1,2"], "window -1,2")):
            text = cli.succeed("check", "1", "--pass", "forward", "--step", "naive", *options)
            assert f"right  01_naive_cpu naive forward  on host, mask {mask}: " in text, text

    def on_a_terminal(*arguments):
        """Exit status, and what standard error, a terminal, was given."""
        ours, theirs = pty.openpty()
        program = subprocess.Popen([cli.program, *arguments], stdout=subprocess.DEVNULL,
                                   stderr=theirs, env={**os.environ, "ATTN_SIMT_THREADS": "1"})
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # Linux's way to say that nobody holds the other end any more
            pass
        os.close(ours)
        return program.wait(), text.decode()

    def progress():
        status, text = on_a_terminal("check", "1", "--pass", "forward", "--step", "naive")
        assert status == 0 and "01_naive_cpu naive forward: case " in text, text
        assert text.endswith("\r\x1b[K"), "the line was left behind"
        rows = 2000  # two seconds and more; the first half second passes without a word
        for name in "qkv":
            write(f"{name}.npy", npy_bytes([], (rows, 64)) + bytes(4 * rows * 64))
        status, text = on_a_terminal("run", "2", *QKV, "--o", "o.npy")
        assert status == 0 and "forward by 02_naive_gpu naive on CPU machine: " in text, text
        lines = text.splitlines()
        assert lines[-1].endswith("; wrote o.npy"), lines

    def check_as_in_readme():
        thin = os.environ.pop("ATTN_THIN", None)  # README shows what a reader gets
        (printed,) = re.findall(r": (\d+) cases", cli.succeed("check", "2"))
        if thin is not None:
            os.environ["ATTN_THIN"] = thin
        for name in ("README.md", "README.zh-CN.md"):
            with open(os.path.join(ROOT, name), encoding="utf-8") as file:
                quoted = re.findall(r"02_naive_gpu naive forward .*: (\d+) cases", file.read())
            assert quoted == [printed], f"{name} says {quoted}, the program {printed}"

    cli.test("--help", help_works)
    cli.test("list", listing)
    cli.test("steps by number and by a part", step_names)
    cli.test("run says what it did", says_what_it_did)
    cli.test("--json prints or writes", json_anywhere)
    cli.test("workloads", workloads)
    cli.test("compare, forward", lambda: comparison("forward"))
    cli.test("compare, backward", lambda: comparison("backward"))
    cli.test("compare with empty shapes", empty_comparison)
    if any(chapter["id"].startswith("12") for chapter in chapters(cli)):
        cli.test("compare of chapters about masks", comparison_of_masks)
        cli.test("compare of one query", comparison_of_one_query)
    cli.test("check", check_one)
    if any(chapter["id"].startswith("02") for chapter in chapters(cli)):
        cli.test("progress of check and of run on a terminal", progress)
    cli.test("check, as the README shows it", check_as_in_readme)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli = Cli(os.path.abspath(sys.argv[1]))
    if any(step["runs_on"] == "no CUDA device" for c in chapters(cli) for step in c["steps"]):
        print("skipped: no CUDA device")
        return
    for group in (results, formats, bad_files, bad_shapes, bad_outputs, bad_arguments, commands):
        group(cli)
    print(f"{cli.passed} passed, {cli.failed} failed")
    sys.exit(1 if cli.failed or not cli.passed else 0)


if __name__ == "__main__":
    main()
