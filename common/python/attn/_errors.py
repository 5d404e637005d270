# SPDX-License-Identifier: MIT
"""What a call raises. Each message is one line: the argument, its value, what is allowed."""


class Error(RuntimeError):
    """Any failure. Nothing was written, and the next call works."""

    trace = None  # of a kernel that was stopped: its launches so far, where a trace was asked for


class BadArgument(Error, ValueError):
    """The request is wrong for every chapter."""


class Unsupported(Error, NotImplementedError):
    """The request is legal, but not for this chapter or step."""


class DeviceFailure(Error):
    """A launch failed, or a detector stopped a kernel."""
