# SPDX-License-Identifier: MIT
"""libattn.so by ctypes: the structs of attn_c.h, and where the library is found."""
import ctypes
import functools
import os
import pathlib
import platform

from ._errors import BadArgument, DeviceFailure, Error, Unsupported

VERSION = 2  # ATTN_C_VERSION
UNBOUNDED = 2**63 - 1
FORWARD, BACKWARD, APPEND = 0, 1, 2
ELEMENTS = ("float32", "bfloat16", "float16")
ERRORS = {2: BadArgument, 3: Unsupported, 4: DeviceFailure}


class Array(ctypes.Structure):
    """attn_c_array: an address, and the bytes from there on that belong to it."""

    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_int64)]


def _fields(kind, names):
    return [(name, kind) for name in names.split()]


class Call(ctypes.Structure):
    """attn_c_call, member by member."""

    _fields_ = [
        *_fields(ctypes.c_uint32, "version bytes"),
        *_fields(ctypes.c_char_p, "chapter step"),
        *_fields(ctypes.c_int32, "pass_ element"),
        *_fields(ctypes.c_int64, "B H Hkv Nq Nk d d_v before after"),
        *_fields(ctypes.c_int32, "top_left ranges_per_row"),
        *_fields(ctypes.c_int64, "sink_keys page_keys pages N_new"),
        ("dropout_seed", ctypes.c_uint64),
        *_fields(ctypes.c_float, "scale softcap dropout"),
        ("reserved", ctypes.c_int32),
        *_fields(Array, "q k v o lse grad_o grad_q grad_k grad_v"),
        *_fields(ctypes.c_int64 * 3, "q_strides k_strides v_strides o_strides"),
        *_fields(Array, "q_offsets k_offsets key_begin key_count ranges block_table"),
        *_fields(Array, "mask bias"),
        *_fields(ctypes.c_int64 * 4, "mask_sizes bias_sizes"),
        *_fields(Array, "alibi sink_logits grad_lse grad_bias grad_sink_logits"),
        *_fields(Array, "new_k new_v"),
        ("trace", ctypes.c_void_p),
        ("ran_chapter", ctypes.c_char * 32),
        ("ran_step", ctypes.c_char * 64),
        ("message", ctypes.c_char * 1024),
    ]


class LaunchStruct(ctypes.Structure):
    """attn_c_launch."""

    _fields_ = [
        ("kernel", ctypes.c_char_p),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint64),
        ("counts", ctypes.POINTER(ctypes.c_uint64)),
    ]


def _processor_flags():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines():
            if line.startswith("flags"):
                return set(line.split(":")[1].split())
    except OSError:
        pass
    return set()


# What g++ may use with -march=x86-64-v3 and -v4 beyond what every x86-64 processor has, by the
# kernel's names.
_LEVELS = {
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl avx2 fma abm bmi1 bmi2 f16c movbe",
    "x86-64-v3": "avx2 fma abm bmi1 bmi2 f16c movbe",
}


def _installed(folder, flags):
    """The library beside the package that this processor can run and that uses most of it."""
    for level, needed in _LEVELS.items():
        path = folder / f"libattn-{level}.so"
        if path.exists() and flags.issuperset(needed.split()):
            return path
    path = folder / "libattn-native.so"
    return path if path.exists() else None


def find_library():
    """Where libattn.so is: $ATTN_LIBRARY, beside the package, or in the checkout's build folder."""
    named = os.environ.get("ATTN_LIBRARY")
    if named:
        return pathlib.Path(named)
    here = pathlib.Path(__file__).resolve().parent
    installed = _installed(here, _processor_flags())
    if installed:
        return installed
    if list(here.glob("libattn-*.so")):
        raise Error(
            f"processor = {platform.machine()}: it lacks AVX2; allowed: one that has it, or "
            "ATTN_TWIN_ARCH=x86-64 pip install ./common/python"
        )
    built = here.parents[2] / "build" / "libattn.so"
    if built.exists():
        return built
    raise Error(
        f"libattn.so: not beside {here}, not {built}; allowed: pip install ./common/python, or "
        "cmake --build build --target attn_python, or ATTN_LIBRARY=PATH"
    )


@functools.cache
def library():
    """The library, loaded when it is first needed."""
    path = find_library()
    try:
        lib = ctypes.CDLL(str(path))
    except OSError as error:
        raise Error(f"libattn.so: {error}") from None
    lib.attn_c_version.restype = ctypes.c_uint32
    if lib.attn_c_version() != VERSION:
        raise Error(f"{path}: version {lib.attn_c_version()}; this package needs {VERSION}")
    lib.attn_c_run.argtypes = [ctypes.POINTER(Call)]
    lib.attn_c_run.restype = ctypes.c_int32
    for name in ("attn_c_steps", "attn_c_counters"):
        getattr(lib, name).restype = ctypes.c_char_p
    lib.attn_c_trace_new.restype = ctypes.c_void_p
    lib.attn_c_trace_delete.argtypes = [ctypes.c_void_p]
    lib.attn_c_trace_delete.restype = None
    for name in ("attn_c_trace_launches", "attn_c_trace_detections"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
        getattr(lib, name).restype = ctypes.c_int64
    lib.attn_c_trace_launch.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.POINTER(LaunchStruct),
    ]
    lib.attn_c_trace_launch.restype = None
    lib.attn_c_trace_detection.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    lib.attn_c_trace_detection.restype = ctypes.c_char_p
    return lib


def run(call):
    """Runs a Call; raises what it was refused for."""
    call.version = VERSION
    call.bytes = ctypes.sizeof(Call)
    status = library().attn_c_run(call)
    if status != 0:
        message = call.message.decode(errors="replace")
        raise ERRORS[status](message or "attn_c_call: another size than the library's")
