# SPDX-License-Identifier: MIT
"""A model's attention, computed by a chapter."""
import contextlib

from . import _call
from ._sdpa import sdpa
from ._trace import Trace


class Used:
    """What happened inside a `with attn.use(...)`."""

    def __init__(self, trace):
        self.calls = 0  # of scaled_dot_product_attention
        self.trace = trace  # an attn.Trace, or None


@contextlib.contextmanager
def use(chapter="", step="", *, trace=False):
    """Inside the block, torch.nn.functional.scaled_dot_product_attention is attn.sdpa() with this
    chapter and step; "mine" is the reader's own kernel (chapters/00_playground).

    Taken over: whatever calls F.scaled_dot_product_attention by that name, and
    nn.MultiheadAttention with need_weights=False, nn.TransformerEncoderLayer among its users, in
    training and in evaluation. For that, torch.backends.mha's fast path, which computes a whole
    layer in one piece and calls no function that could be replaced, is off inside the block. Not
    taken over: MultiheadAttention with need_weights=True (it wants P itself, by plain matrix
    products), and modules that imported scaled_dot_product_attention by name beforehand. A call
    that the chapter does not take raises; nothing goes back to torch silently.

    Gives an object with `calls`, and with trace=True `trace`, an attn.Trace of all launches.
    Process-wide: not for two threads at a time.
    """
    import torch

    functional = torch.nn.functional
    before = functional.scaled_dot_product_attention
    fast_path = torch.backends.mha.get_fastpath_enabled()
    used = Used(Trace() if trace else None)

    def replacement(
        query,
        key,
        value,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        scale=None,
        enable_gqa=False,
    ):
        used.calls += 1
        return sdpa(
            query,
            key,
            value,
            attn_mask,
            dropout_p,
            is_causal,
            scale,
            enable_gqa,
            chapter=chapter,
            step=step,
        )

    with _call.tracing(used.trace):
        functional.scaled_dot_product_attention = replacement
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield used
        finally:
            functional.scaled_dot_product_attention = before
            torch.backends.mha.set_fastpath_enabled(fast_path)
