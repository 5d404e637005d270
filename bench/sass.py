#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows what nvcc made of kernels: the instructions of each loop, by kind.

    bench/sass.py [--code KERNEL] FILE...

--code: and the innermost loops of this kernel, instruction by instruction.
FILE: a cubin (`nvcc -cubin -arch=sm_90a`), or what nvcc built: an object, a library, a program.
Needs nvdisasm, and for all but cubins cuobjdump: both come with the CUDA Toolkit, and with
`pip install nvidia-cuda-nvdisasm nvidia-cuda-cuobjdump`. bench/report.py collect keeps the same
numbers of all chapters in bench/results/sass.json.
"""
import argparse
import pathlib
import sys
import tempfile

from reporting import Failure, run, sass
from reporting.collect import demangle


def cubins_of(path, folder):
    """The file itself if it is a cubin, else those that it holds, extracted into the folder."""
    if path.suffix == ".cubin":
        return [path]
    run([sass.find_tool("cuobjdump"), "--extract-elf", "all", str(path.resolve())], cwd=folder)
    return sorted(pathlib.Path(folder).glob("*.cubin"))


def show_code(function):
    """The innermost loops, a line for each instruction, with the line of source it comes from.
    Of loops that are copies of one, with other registers, the first."""
    shown = []
    for _, _, inside, own in sass.code_of_loops(sass.Graph(function)):
        if inside or sass.count(own) in shown:
            continue
        shown.append(sass.count(own))
        print(f"\n  {shown[-1]['instructions']} instructions:")
        for instruction in own:
            place = ""
            if instruction.source:
                file, line = instruction.source
                place = f"{pathlib.Path(file).name}:{line}"
            print(f"    {instruction.text:<48} {place}".rstrip())


def show(path, kernel):
    found = False
    with tempfile.TemporaryDirectory() as folder:
        for cubin in cubins_of(path, folder):
            functions = sass.disassemble(sass.find_tool("nvdisasm"), cubin)
            print(cubin.name)
            for name, function in zip(demangle(functions).values(), functions.values()):
                its = sass.describe(function)
                print(f"  {name}: {its['instructions']} instructions, {its['code_bytes']} bytes")
                for loop in its["loops"]:
                    kinds = ", ".join(f"{kind} {number}" for kind, number in loop.items()
                                      if kind not in ("depth", "innermost", "inside", "copies"))
                    copies = f" ({loop['copies']} times)" if loop["copies"] > 1 else ""
                    print(f"  {'  ' * loop['depth']}loop{copies}: {kinds}")
                if kernel == name:
                    found = True
                    show_code(function)
    if kernel is not None and not found:
        raise Failure(f"--code {kernel}: {path} has no such kernel; the names are printed above")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", metavar="KERNEL", help="print this kernel's innermost loops")
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    try:
        arguments = parser.parse_args()
        for path in arguments.files:
            if not path.is_file():
                raise Failure(f"{path}: no such file")
            show(path, arguments.code)
    except Failure as failure:
        print(f"sass.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
