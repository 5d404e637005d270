# SPDX-License-Identifier: MIT
"""Every chapter's attention from Python: attn.sdpa(q, k, v) as PyTorch's, attn.forward() and
attn.backward() with all that a problem may have, attn.decode() and attn.append() on a cache of
keys and values, attn.use() for a whole model, attn.trace() for what a kernel moves. README.md
beside this package shows each."""
from ._call import Backward, Forward, Step, backward, forward, steps, trace
from ._decode import Cache, PagedCache, append, decode
from ._errors import BadArgument, DeviceFailure, Error, Unsupported
from ._sdpa import sdpa
from ._trace import Launch, Trace
from ._use import Used, use

__all__ = [
    "Backward",
    "BadArgument",
    "Cache",
    "DeviceFailure",
    "Error",
    "Forward",
    "Launch",
    "PagedCache",
    "Step",
    "Trace",
    "Unsupported",
    "Used",
    "append",
    "backward",
    "decode",
    "forward",
    "sdpa",
    "steps",
    "trace",
    "use",
]
