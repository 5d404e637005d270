# SPDX-License-Identifier: MIT
"""Builds libattn.so with CMake and packs it beside the package: once for processors with AVX2 and
once for those with AVX-512, of which attn/_library.py takes one when it is loaded. Only the plain
C++ loops are compiled twice. ATTN_TWIN_ARCH=native, or any value of g++'s -march, builds that one
alone; ATTN_LIBRARY=build/libattn.so packs a library that is there already. CMAKE_ARGS are for
cmake. Needs what tests/setup.sh installs: g++, CMake, fmt and Boost.Context."""
import os
import pathlib
import platform
import shlex
import shutil
import subprocess

import setuptools
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-python"


def architectures():
    """Values of -march, and what their libraries are called."""
    chosen = os.environ.get("ATTN_TWIN_ARCH")
    if chosen:
        return {chosen: "native"}
    if platform.machine() in ("x86_64", "AMD64"):
        return {level: level for level in ("x86-64-v3", "x86-64-v4")}
    return {"native": "native"}


class BuildWithLibrary(build_py):
    """The package's files, and its libraries."""

    def run(self):
        super().run()
        folder = pathlib.Path(self.build_lib) / "attn"
        if "ATTN_LIBRARY" in os.environ:
            shutil.copy2(os.environ["ATTN_LIBRARY"], folder / "libattn-native.so")
            return
        cores = str(os.cpu_count() or 1)
        options = ["-DATTN_CUDA=OFF", "-DCMAKE_BUILD_TYPE=Release"]
        options += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        for march, name in architectures().items():
            configure = ["cmake", "-S", ROOT, "-B", BUILD, *options, f"-DATTN_TWIN_ARCH={march}"]
            build = ["cmake", "--build", BUILD, "--parallel", cores, "--target", "attn_python"]
            for command in (configure, build):
                subprocess.run(list(map(str, command)), check=True)
            shutil.copy2(BUILD / "libattn.so", folder / f"libattn-{name}.so")


class PlatformWheel(bdist_wheel):
    """Any Python 3, this platform: ctypes needs no more."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


BUILD.mkdir(exist_ok=True)
setuptools.setup(
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
    # Nothing is written beside the sources.
    options={
        "egg_info": {"egg_base": str(BUILD)},
        "build": {"build_base": str(BUILD / "setuptools")},
    },
)
