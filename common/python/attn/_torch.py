# SPDX-License-Identifier: MIT
"""The same passes as operators of torch's, which autograd, torch.compile and opcheck know:
attn::forward and attn::backward. Imported only where torch is in use."""
import torch

from . import _call

# Of the operator's arguments: those of one problem, 4-D, masks in four axes.
Tensor = torch.Tensor


def _rows_first(q):
    """Whether heads lie inside rows, [B, N, H, d], as `view().transpose(1, 2)` leaves them."""
    return q.stride(1) < q.stride(2) and not q.is_contiguous()


def _new_o(q, v):
    """O lies as Q does: what follows a model's attention is then a view, not a copy."""
    B, H, Nq, _ = q.shape
    if _rows_first(q):
        return q.new_empty(B, Nq, H, v.shape[3]).transpose(1, 2)
    return q.new_empty(B, H, Nq, v.shape[3])


def _no_gaps(x):
    """x, or a copy of it where its rows are part of something larger, or one row stands for many:
    what is written beside it (dQ beside Q) must have a memory of its own."""
    return x if x.is_contiguous() or x.transpose(1, 2).is_contiguous() else x.contiguous()


def _options(mask, bias, is_causal, scale, dropout, seed):
    return {
        "mask": mask,
        "bias": bias,
        "causal": is_causal,
        "top_left": is_causal,
        "scale": scale,
        "dropout": dropout,
        "seed": seed,
    }


@torch.library.custom_op("attn::forward", mutates_args=())
def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    is_causal: bool,
    scale: float,
    dropout: float,
    seed: int,
    chapter: str,
    step: str,
) -> tuple[Tensor, Tensor]:
    """O and LSE; chapter and step as in attn.forward()."""
    options = _options(mask, bias, is_causal, scale, dropout, seed)
    o = _new_o(q, v)
    trace = _call.current_trace()
    result = _call.forward(q, k, v, o=o, chapter=chapter, step=step, trace=trace, **options)
    return result.o, result.lse


@forward.register_fake
def _(q, k, v, mask, bias, is_causal, scale, dropout, seed, chapter, step):
    return _new_o(q, v), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("attn::backward", mutates_args=())
def backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    grad_o: Tensor,
    grad_lse: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    want_grad_bias: bool,
    is_causal: bool,
    scale: float,
    dropout: float,
    seed: int,
    chapter: str,
    step: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dQ, dK, dV and dbias; the last is empty where it is not wanted."""
    grad = _call.backward(
        q,
        k,
        v,
        o,
        lse,
        grad_o,
        grad_lse=grad_lse,
        want_grad_bias=want_grad_bias,
        chapter=chapter,
        step=step,
        trace=_call.current_trace() if _call.has_kernels(chapter, step) else None,
        **_options(mask, bias, is_causal, scale, dropout, seed),
    )
    return grad.q, grad.k, grad.v, q.new_empty(0) if grad.bias is None else grad.bias


@backward.register_fake
def _(q, k, v, o, lse, grad_o, grad_lse, mask, bias, want, *_):
    like = torch.empty_like
    return like(q), like(k), like(v), like(bias) if want else q.new_empty(0)


def _setup_context(ctx, inputs, output):
    q, k, v, mask, bias, *ctx.numbers = inputs
    o, lse = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, mask, bias, o, lse)


def _backward(ctx, grad_o, grad_lse):
    q, k, v, mask, bias, o, lse = ctx.saved_tensors
    is_causal, scale, dropout, seed, chapter, step = ctx.numbers
    if grad_o is None:
        grad_o = torch.zeros_like(o)
    if grad_o.stride() != o.stride():
        grad_o = torch.empty_like(o).copy_(grad_o)
    want = bias is not None and ctx.needs_input_grad[4]
    chapter, step = _call.backward_of(chapter, step, str(q.dtype).removeprefix("torch."))
    *grads, grad_bias = backward(
        _no_gaps(q),
        _no_gaps(k),
        _no_gaps(v),
        o,
        lse,
        grad_o,
        None if grad_lse is None else grad_lse.contiguous(),
        mask,
        bias,
        want,
        is_causal,
        scale,
        dropout,
        seed,
        chapter,
        step,
    )
    return *grads, None, grad_bias if want else None, *[None] * len(ctx.numbers)


forward.register_autograd(_backward, setup_context=_setup_context)
