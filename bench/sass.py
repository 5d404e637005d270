#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows what nvcc made of kernels: the instructions of each loop, by kind.

    bench/sass.py FILE...

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


def show(path):
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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    try:
        for path in parser.parse_args().files:
            if not path.is_file():
                raise Failure(f"{path}: no such file")
            show(path)
    except Failure as failure:
        print(f"sass.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
