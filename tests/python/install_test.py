#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pip install ./common/python in a fresh virtual environment, and the ten lines of its README.

    install_test.py LIBATTN_SO [ATTN]

Packs the library of this build (ATTN_LIBRARY), since building another takes minutes. Exit status
77, which ctest takes for skipped, where pip cannot fetch setuptools; without torch the ten lines
are those of attn.forward().
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = pathlib.Path(sys.argv[1]).resolve()
WITHOUT_TORCH = """
import array, attn
rows = memoryview(array.array("f", range(8))).cast("B").cast("f", (1, 1, 4, 2))
result = attn.forward(rows, rows, rows, scale=0.0)
assert result.o.tolist() == [[[[3.0, 4.0]] * 4]], result.o.tolist()
print("forward by", result.chapter)
"""
HAS_TORCH = "import importlib.util as u; print(all(map(u.find_spec, ('torch', 'numpy'))))"


def run(*command, **options):
    """A command's output; None and its output printed if it failed."""
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    if result.returncode != 0:
        print(result.stdout, result.stderr, sep="\n")
        return None
    return result.stdout


def readme_lines():
    """The first block of Python in the package's README, and a limit for what it prints."""
    text = (ROOT / "common" / "python" / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    return block + "assert (ours - torchs).abs().max() < 1e-5\n"


def main():
    """Installs, then runs."""
    with tempfile.TemporaryDirectory() as folder:
        venv = pathlib.Path(folder) / "venv"
        run(sys.executable, "-m", "venv", "--system-site-packages", venv)
        python = venv / "bin" / "python"
        wheels = pathlib.Path(folder) / "wheels"
        if run(python, "-m", "pip", "download", "-q", "-d", wheels, "setuptools>=70.1") is None:
            print("skipped: pip cannot fetch setuptools")
            return 77
        environment = dict(os.environ, ATTN_LIBRARY=str(LIBRARY))
        package = ROOT / "common" / "python"
        if run(python, "-m", "pip", "install", "-q", package, env=environment) is None:
            return 1
        del environment["ATTN_LIBRARY"]
        has_torch = run(python, "-c", HAS_TORCH)
        lines = readme_lines() if has_torch.strip() == "True" else WITHOUT_TORCH
        where = "import attn, pathlib; print(pathlib.Path(attn.__file__).parent)\n"
        said = run(python, "-c", lines + where, env=environment, cwd=folder)
        if said is None:
            return 1
        print(said)
        assert str(venv) in said, "the package that was run is not the one installed"
    return 0


if __name__ == "__main__":
    sys.exit(main())
