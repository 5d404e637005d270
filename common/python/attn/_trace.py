# SPDX-License-Identifier: MIT
"""What the CPU machine counted while kernels ran."""
import ctypes
from typing import NamedTuple

from ._library import LaunchStruct, library


class Launch(NamedTuple):
    """One launch of a kernel; counts have the names of `attn trace --json`."""

    kernel: str
    grid: tuple
    block: tuple
    shared_bytes: int
    counts: dict


class Trace:
    """Launches of all calls that were given it, oldest first.

    Counts are those of common/simt/watch/counters.hpp: bytes, requests, 32-byte sectors, wavefronts
    of shared memory. Kernels run some ten times slower while they are watched.
    """

    def __init__(self):
        self._trace = library().attn_c_trace_new()

    def __del__(self):
        if getattr(self, "_trace", None):
            library().attn_c_trace_delete(self._trace)

    @property
    def handle(self):
        """For attn_c_call."""
        return self._trace

    @property
    def launches(self):
        """A list of Launch."""
        lib, launches = library(), []
        names = lib.attn_c_counters().decode().split()
        for index in range(lib.attn_c_trace_launches(self._trace)):
            one = LaunchStruct()
            lib.attn_c_trace_launch(self._trace, index, ctypes.byref(one))
            counts = {name: one.counts[i] for i, name in enumerate(names)}
            launches.append(
                Launch(
                    one.kernel.decode(),
                    tuple(one.grid),
                    tuple(one.block),
                    one.shared_bytes,
                    counts,
                )
            )
        return launches

    @property
    def total(self):
        """Every count summed over the launches."""
        names = library().attn_c_counters().decode().split()
        total = dict.fromkeys(names, 0)
        for launch in self.launches:
            for name, count in launch.counts.items():
                total[name] += count
        return total

    @property
    def detections(self):
        """What the detectors saw (races, reads beyond an array, ...), a text for each."""
        lib = library()
        return [
            lib.attn_c_trace_detection(self._trace, index).decode()
            for index in range(lib.attn_c_trace_detections(self._trace))
        ]
