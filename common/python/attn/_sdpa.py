# SPDX-License-Identifier: MIT
"""PyTorch's scaled_dot_product_attention, computed by a chapter."""
import math
import sys

from . import _call
from ._arrays import bad, is_numpy, is_torch


def _broadcast(name, a, b):
    """The shape that two leading shapes have together, as torch and NumPy broadcast them."""
    out = []
    for i in range(max(len(a), len(b))):
        x = a[-1 - i] if i < len(a) else 1
        y = b[-1 - i] if i < len(b) else 1
        if x != y and 1 not in (x, y):
            bad(f"{name}: leading axes {tuple(b)}; allowed: what broadcasts to {tuple(a)}")
        out.append(y if x == 1 else x)
    return tuple(reversed(out))


def _expand(x, shape):
    if tuple(x.shape) == shape:
        return x
    return x.expand(shape) if is_torch(x) else sys.modules["numpy"].broadcast_to(x, shape)


def _side_by_side(name, x):
    """x, or a copy of it where the elements of a row do not lie side by side."""
    if is_torch(x):
        return x if x.shape[-1] < 2 or x.stride(-1) == 1 else x.contiguous()
    if any(step < 0 for step in x.strides):  # which torch does not know
        bad(f"{name}: strides of {x.strides} bytes; allowed: 0 or more, so copy it first")
    return x if x.shape[-1] < 2 or x.strides[-1] == x.itemsize else _copied(x)


def _to_four(x, lead, heads):
    """[..., N, d] with these leading axes as [B, heads, N, d]."""
    lead = (*lead[:-1], heads) if lead else (1,)
    x = _expand(x, (*lead, *x.shape[-2:]))
    return x.reshape((math.prod(lead[:-1]), lead[-1], *x.shape[-2:]))


def _check(q, k, v, attn_mask, dropout_p, is_causal):
    """What PyTorch refuses."""
    arrays = {"query": q, "key": k, "value": v}
    kind = is_torch if is_torch(q) else is_numpy
    for name, array in arrays.items():
        if not kind(array):
            bad(
                f"{name}: {type(array).__name__}; allowed: three torch tensors, or three NumPy "
                "arrays"
            )
        if array.ndim < 2:
            bad(f"{name}: {array.ndim} axes; allowed: 2 or more")
        if array.dtype != q.dtype:
            bad(f"{name}: dtype {array.dtype}; allowed: that of query, {q.dtype}")
        if is_torch(q) and array.device != q.device:
            bad(f"{name}: device {array.device}; allowed: that of query, {q.device}")
    if attn_mask is not None and is_causal:
        bad("attn_mask: given with is_causal; allowed: one of the two")
    if attn_mask is not None and not kind(attn_mask):
        bad(f"attn_mask: {type(attn_mask).__name__}; allowed: an array of query's kind")
    if not 0 <= dropout_p <= 1:
        bad(f"dropout_p = {dropout_p}: allowed: from 0 to 1")
    if k.shape[-1] != q.shape[-1]:
        bad(f"key: last axis {k.shape[-1]}; allowed: that of query, {q.shape[-1]}")
    if v.shape[-2] != k.shape[-2]:
        bad(f"value: {v.shape[-2]} rows; allowed: as many as key has, {k.shape[-2]}")


def _heads(q, k, v, enable_gqa):
    """Leading axes of Q, and of K and V; their last one, if any, is that of the heads."""
    lead = [tuple(x.shape[:-2]) for x in (q, k, v)]
    if not enable_gqa:
        together = _broadcast("value", _broadcast("key", lead[0], lead[1]), lead[2])
        return together, together
    if min(map(len, lead)) < 1:
        bad(f"query: {q.ndim} axes; allowed with enable_gqa: 3 or more, heads among them")
    heads = [one[-1] for one in lead]
    if heads[1] != heads[2]:
        bad(f"value: {heads[2]} heads; allowed: as many as key has, {heads[1]}")
    if heads[1] == 0 or heads[0] % heads[1] != 0:
        bad(f"key: {heads[1]} heads; allowed: a divisor of query's {heads[0]}")
    batches = _broadcast("key", lead[0][:-1], lead[1][:-1])
    batches = _broadcast("value", batches, lead[2][:-1])
    return (*batches, heads[0]), (*batches, heads[1])


def _four_axes(attn_mask, lead, Nq, Nk):
    """The mask with the axes B, H, Nq and Nk, each of its size or 1."""
    whole = (*lead, Nq, Nk)
    shape = tuple(attn_mask.shape)
    padded = (1,) * (len(whole) - len(shape)) + shape
    if len(padded) != len(whole) or any(n not in (1, w) for n, w in zip(padded, whole)):
        bad(f"attn_mask: shape {shape}; allowed: what broadcasts to {whole}")
    heads = padded[len(lead) - 1] if lead else 1
    batches = padded[: max(len(lead) - 1, 0)]
    if any(n != 1 for n in batches):  # more than one axis of batches is one here
        batches = lead[:-1]
    attn_mask = _expand(attn_mask.reshape(padded), (*batches, *((heads,) if lead else ()),
                                                    *padded[-2:]))
    attn_mask = attn_mask.reshape((math.prod(batches), heads, *padded[-2:]))
    if is_torch(attn_mask):
        return attn_mask.contiguous()
    return sys.modules["numpy"].ascontiguousarray(attn_mask)


def sdpa(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
    *,
    chapter="",
    step="",
):
    """torch.nn.functional.scaled_dot_product_attention, with its arguments and its semantics:
    is_causal is top-left aligned, a boolean mask is true where a row sees a key, a float mask is
    added. Takes torch's CPU tensors, with autograd, or NumPy arrays.

    chapter, step: as in attn.forward(). Gradients are computed by the same chapter where it has a
    backward pass, else by the fastest plain loops that take the request.

    Where it differs from PyTorch's math back end, on purpose:
      - a key that a row does not see never reaches it: NaN behind a mask stays there; torch
        multiplies it by 0, which is NaN
      - a row whose visible logits are all -inf by Q and K is NaN, as the formula's; torch gives 0,
        as it does (and this function too) where the mask hides all keys
      - dropout draws other numbers (Philox by place, seeded from torch's generator); dropout_p must
        be less than 1
      - a NaN or an infinity as scale is an error, and so are d = 0 and d_v = 0
      - only the elements and sizes that the chapter takes: float32 for plain loops, d up to 256
      - with enable_gqa key and value have as many heads
    Rows whose elements do not lie side by side, and masks with gaps, are copied; so are strided
    tensors where the chapter does not take strides. Without a chapter that is so for all that 08's
    loops take otherwise: the copy costs less than they save beside 16's, which take strides.
    """
    _check(query, key, value, attn_mask, dropout_p, is_causal)
    q_lead, k_lead = _heads(query, key, value, enable_gqa)
    Nq, Nk = query.shape[-2], key.shape[-2]
    shape = (*q_lead, Nq, value.shape[-1])
    q = _to_four(_side_by_side("query", query), q_lead, q_lead[-1] if q_lead else 1)
    k = _to_four(_side_by_side("key", key), k_lead, k_lead[-1] if k_lead else 1)
    v = _to_four(_side_by_side("value", value), k_lead, k_lead[-1] if k_lead else 1)
    mask = bias = None
    if attn_mask is not None:
        four = _four_axes(attn_mask, q_lead, Nq, Nk)
        kind = str(four.dtype).removeprefix("torch.")
        if kind not in ("bool", "float32"):
            bad(f"attn_mask: dtype {kind}; allowed: bool, float32")
        mask, bias = (four, None) if kind == "bool" else (None, four)
    if scale is None:
        scale = 1 / math.sqrt(max(query.shape[-1], 1))
    plain = not str(chapter) and attn_mask is None and dropout_p == 0
    plain = plain and _call.fits_plain_loops(q.shape, k.shape, v.shape)
    if plain or not _call.takes_strides(chapter, step):
        q, k, v = (_copied(x) for x in (q, k, v))
    options = (is_causal, float(scale), float(dropout_p))
    if is_torch(query):
        from . import _torch  # only here, where torch is loaded

        torch = sys.modules["torch"]
        seed = int(torch.randint(2**63 - 1, ())) if dropout_p > 0 else 0
        o, _ = _torch.forward(q, k, v, mask, bias, *options, seed, str(chapter), str(step))
    else:
        seed = int(sys.modules["numpy"].random.randint(2**63 - 1)) if dropout_p > 0 else 0
        o = _call.forward(
            q,
            k,
            v,
            mask=mask,
            bias=bias,
            causal=is_causal,
            top_left=is_causal,
            scale=scale,
            dropout=dropout_p,
            seed=seed,
            chapter=chapter,
            step=step,
            trace=_call.current_trace(),
        ).o
    return o.reshape(shape)


def _copied(x):
    return x.contiguous() if is_torch(x) else sys.modules["numpy"].ascontiguousarray(x)
