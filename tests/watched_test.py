#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a program of the reader's own says: watched programs with a bug, run as readers run theirs;
a chapter's own programs with a kernel that never ends; <<< >>> under g++; and that pages which
quote such a program quote what it prints.

    tests/watched_test.py CMAKE COMPILER PROGRAM...     mine, watched_* and endless_*, see
                                                        watched.cmake
"""

import hashlib
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.dont_write_bytecode = True
from lessons_test import split_markdown  # noqa: E402  (found by the line above)

MINE_AS_SHIPPED = "e7e355439b6c0e3a73c2722a78a487d3a22fc6363d216f2c6af560c91e8d0b11"
CMAKE, COMPILER = sys.argv[1:3]
PROGRAMS = {pathlib.Path(path).name: path for path in sys.argv[3:]}
SESSION = "mutant_07_v2_loop_order_one_maximum_for_all_rows"  # of notes/limits.md
SOON = 10  # seconds of one processor within which an endless kernel is stopped


def run(program, *arguments, **environment):
    """Exit status, and all the program prints."""
    result = subprocess.run([PROGRAMS[program], *arguments], capture_output=True, text=True,
                            timeout=300, check=False, env={**os.environ, **environment})
    return result.returncode, result.stdout + result.stderr


def seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def expect(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is missing in:\n{text}"


def bug_line(name, program=None):
    source = ROOT / "tests/watched" / f"{program or name}.cu"
    lines = source.read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"// bug: {name}"))


def check_mine():
    """Whatever the reader has made of it, it says something about its launches."""
    status, text = run("mine")
    assert status in (0, 1), status
    expect(text, "Global memory", "by source line", "mine.cu:")


def check_out_of_bounds():
    status, text = run("watched_out_of_bounds")
    assert status == 1, status
    expect(text, "out of bounds: kernel fill_kernel, block (7,0,0), thread (104,0,0)",
           f"out_of_bounds.cu:{bug_line('out_of_bounds')}",
           "write of 4 bytes: y[1000], 1 past the last: y has 1000 elements, y[0] to y[999] "
           "(allocated at ")


def check_endless():
    for bug, arguments, setting, steps in (("endless", [], "", 200_000_000),
                                           ("endless", [], "12345", 12_345),
                                           ("endless_barrier", ["lone"], "", 200_000_000)):
        line = bug_line(bug, "endless")
        kernel = "endless_kernel" if bug == "endless" else "barrier_kernel"
        before = seconds_of_children()
        status, text = run("watched_endless", *arguments, ATTN_SIMT_STEPS=setting)
        assert status == 1, status
        assert seconds_of_children() - before < SOON, seconds_of_children() - before
        expect(text, f"endless kernel: kernel {kernel}, block (0,0,0), thread (",
               f"endless.cu:{line}\n", f"has taken {steps} steps", "fine_kernel, by source line")


def check_endless_chapter():
    """Whole programs, not only the launch: nothing that takes long comes before the report."""
    patch = ROOT / "tests/mutants/07_v2_loop_order/endless.patch"
    hunk = patch.read_text(encoding="utf-8").split("\n@@ ")[1]
    first = int(re.search(r"[+](\d+)", hunk)[1])  # line of the mutant that the hunk begins at
    place = f"step3_exp2.cu:{first - 1 + hunk[:hunk.index('// bug: endless')].count(chr(10))}"
    report = ["endless kernel: kernel forward_kernel<32>, block (0,0,0), thread (", place + "\n",
              "has taken 200000000 steps"]
    checked = 0
    for program, arguments, words in (
            ("endless_ch07_demo", [], [f"{place}: kernel forward_kernel<32> was stopped: endless"]),
            ("endless_ch07_test", [], [*report, "step3_exp2: a kernel never ends; nothing else"]),
            ("endless_attn", ["check", "7"], [*report, "WRONG  07_v2_loop_order step3_exp2 forward",
                                              "Nothing else was checked."])):
        if program not in PROGRAMS:
            continue
        before = seconds_of_children()
        status, text = run(program, *arguments)
        assert status > 0, (program, status)  # Catch2 counts what failed
        expect(text, *words)
        assert seconds_of_children() - before < SOON, (program, seconds_of_children() - before)
        checked += 1
    assert checked > 0 or not any(name.startswith("endless_") for name in PROGRAMS)


def stands_in(lines, printed):
    """Whether the lines stand there, one below the other; "..." for any number of others."""
    parts = [part.strip("\n").split("\n") for part in re.split(r"(?m)^ *\.\.\.$", "\n".join(lines))]
    at = 0
    for part in parts:
        if part == [""]:
            continue
        found = next((i for i in range(at, len(printed)) if printed[i:i + len(part)] == part), None)
        if found is None:
            return False
        at = found + len(part)
    return True


def check_quotes():
    """A block below <!-- printed by: PROGRAM ARGUMENT... --> stands in what the program prints,
    paths shortened; a line "..." stands for any number of lines. Blocks of mine.cu are compared as
    long as it is as shipped."""
    source = (ROOT / "chapters/00_playground/mine.cu").read_bytes()
    as_shipped = hashlib.sha256(source).hexdigest() == MINE_AS_SHIPPED
    quoted = []
    output = {}
    for page in ("chapters/00_playground/README.md", "notes/cpu_machine.md", "notes/limits.md"):
        prose, blocks = split_markdown(ROOT / page)
        for number, text in prose:
            mark = re.search(r"<!-- printed by: (.+?) -->", text)
            if not mark or (mark[1].endswith("mine") and not as_shipped):
                continue
            program, *arguments = mark[1].split()
            if program == SESSION and program not in PROGRAMS:
                continue
            if mark[1] not in output:
                output[mark[1]] = re.sub(r"/\S*/(?=[\w.]+:\d)", "", run(program, *arguments)[1])
            printed = output[mark[1]].splitlines()
            lines = next(lines for first, lines in blocks if first == number + 1)
            assert lines and stands_in(lines, printed), \
                f"{page}:{number}: {mark[1]} prints\n" + "\n".join(printed)
            quoted.append(mark[1])
    if not as_shipped:
        print("mine.cu is not as shipped: what the playground quotes of it was not compared")
    wanted = ["mine", "edited_mine", "shared_reuse"] if as_shipped else ["shared_reuse"]
    wanted += 2 * [f"{SESSION} step1_loop_swap"] if SESSION in PROGRAMS else []
    assert quoted == wanted, quoted

    program = (ROOT / "tests/programs/shared_reuse.cu").read_text(encoding="utf-8").splitlines()
    code = [line for line in program if not line.lstrip().startswith("//")]
    blocks = split_markdown(ROOT / "notes/cpu_machine.md")[1]
    shown = next(lines for _, lines in blocks if lines and "meanAndSpread(" in lines[0])
    assert "\n".join(shown) in "\n".join(code), "notes/cpu_machine.md: not the program's code"


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
    checks = [check_mine, check_out_of_bounds, check_endless, check_endless_chapter,
              check_quotes, check_chevrons]
    for check in checks:
        check()
    print(f"{len(checks)} passed")


if __name__ == "__main__":
    main()
