#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a program of the reader's own says: watched programs with a bug, run as readers run theirs,
and <<< >>> under g++.

    tests/watched_test.py CMAKE COMPILER MINE OUT_OF_BOUNDS ENDLESS     (the last three: programs)
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CMAKE, COMPILER, MINE, OUT_OF_BOUNDS, ENDLESS = sys.argv[1:]


def run(program, **environment):
    """Exit status, and all the program prints."""
    result = subprocess.run([program], capture_output=True, text=True, timeout=300, check=False,
                            env={**os.environ, **environment})
    return result.returncode, result.stdout + result.stderr


def expect(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is missing in:\n{text}"


def bug_line(name):
    source = ROOT / "tests/watched" / f"{name}.cu"
    lines = source.read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"// bug: {name}"))


def check_mine():
    """Whatever the reader has made of it, it says something about its launches."""
    status, text = run(MINE)
    assert status in (0, 1), status
    expect(text, "Global memory", "by source line", "mine.cu:")


def check_out_of_bounds():
    status, text = run(OUT_OF_BOUNDS)
    assert status == 1, status
    expect(text, "out of bounds: kernel fill_kernel, block (7,0,0), thread (104,0,0)",
           f"out_of_bounds.cu:{bug_line('out_of_bounds')}",
           "write of 4 bytes: y[1000], 1 past the last: y has 1000 elements, y[0] to y[999] "
           "(allocated at ")


def check_endless():
    line = bug_line("endless")
    for setting, steps in (("", 200_000_000), ("12345", 12_345)):
        status, text = run(ENDLESS, ATTN_SIMT_STEPS=setting)
        assert status == 1, status
        expect(text, "endless kernel: kernel endless_kernel, block (0,0,0), thread (",
               f"endless.cu:{line}\n", f"has taken {steps} steps", "fine_kernel, by source line")


def wrapped(folder, source):
    """The file that g++ compiles for a kernel file, and what g++ says."""
    kernel, wrapper = folder / "some kernel.cu", folder / "wrapper.cpp"
    kernel.write_text(source, encoding="utf-8")
    subprocess.run([CMAKE, f"-DKERNEL={kernel}", f"-DWRAPPER={wrapper}", "-P",
                    ROOT / "common/cmake/wrap_kernel.cmake"], check=True)
    errors = subprocess.run([COMPILER, "-std=c++20", "-fsyntax-only", "-Werror", wrapper],
                            capture_output=True, text=True, check=False).stderr
    return wrapper.read_text(encoding="utf-8"), errors


def check_chevrons():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for launch in ("kernel<<<8, 128>>>(x);", "  kernel<float> <<<g,\n  b>>>(x[0]);",
                       'print("a;b"); kernel<<<1, 1>>>();'):
            _, errors = wrapped(folder, f"// one\n\nvoid f(int a[3]) {{ a[0] = 1;\n{launch}\n}}\n")
            lines = [text for text in errors.splitlines() if "error" in text]
            assert len([text for text in lines if "error:" in text]) == 1, errors
            expect(lines[0], "some kernel.cu:4:", "write launch(kernel, grid, block, ")
        for fine in ("// kernel<<<1, 1>>>();", "/* kernel<<<1, 1>>>();\n kernel<<<1, 1>>>(); */",
                     'const char* text = "kernel<<<1, 1>>>()";', "int x = 1 << 3;",
                     "#ifdef __CUDACC__\nkernel<<<1, 1>>>();\n#endif"):
            text, errors = wrapped(folder, fine + "\n")
            assert text.startswith("#include ") and not errors, text + errors


def main():
    checks = [check_mine, check_out_of_bounds, check_endless, check_chevrons]
    for check in checks:
        check()
    print(f"{len(checks)} passed")


if __name__ == "__main__":
    main()
