#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""attn.sdpa and attn.use beside PyTorch.

    torch_test.py LIBATTN_SO

Outputs are compared with torch's math back end in float64, gradients likewise. Exit status 77,
which ctest takes for skipped, where torch or NumPy is not installed.
"""
import itertools
import math
import sys
import warnings

from checks import Checks, import_attn, refused

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import numpy as np
        import torch
except ImportError as missing:
    print(f"skipped: {missing} (pip install torch numpy)")
    sys.exit(77)

import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

attn = import_attn(sys.argv[1])
OUTPUT, GRADIENT = 1e-5, 1e-4  # of the tensor's largest value
B, H, NQ, NK, D = 2, 4, 5, 7, 8
torch.manual_seed(20260101)


def qkv(heads=H, kv_heads=H, nq=NQ, nk=NK, d=D, d_v=D):
    """Q, K, V of one problem."""
    return (
        torch.randn(B, heads, nq, d),
        torch.randn(B, kv_heads, nk, d),
        torch.randn(B, kv_heads, nk, d_v),
    )


def exact(q, k, v, attn_mask=None, **options):
    """Torch's math back end on float64 copies."""
    if attn_mask is not None and attn_mask.dtype != torch.bool:
        attn_mask = attn_mask.double()
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            q.double(), k.double(), v.double(), attn_mask, **options
        )


def assert_close(got, expected, part=OUTPUT, largest=None):
    """Within `part` of the largest expected value; NaN is never close."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    if expected.numel() == 0:
        return
    if largest is None:
        largest = expected.abs().max().item()
    error = (got.double() - expected).abs().max().item()
    assert error <= part * largest, f"{error} of {largest}"


def gradients(function, inputs, weights):
    """Of sum(weights * function(*inputs)) by every input that has one."""
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    output = function(*leaves)
    (output * weights.to(output.dtype)).sum().backward()
    return output.detach(), [x.grad for x in leaves]


def check(q, k, v, attn_mask=None, gradient=True, who=None, **options):
    """Output and gradients against float64."""
    inputs = [q, k, v] + ([attn_mask] if attn_mask is not None else [])
    expected = exact(q, k, v, attn_mask, **options)
    assert_close(attn.sdpa(*inputs, **options, **(who or {})), expected)
    if not gradient or expected.numel() == 0:
        return
    weights = torch.randn(expected.shape, dtype=torch.float64)
    _, truth = gradients(lambda *x: exact(*x, **options), inputs, weights)
    _, ours = gradients(lambda *x: attn.sdpa(*x, **options, **(who or {})), inputs, weights)
    # A mask's gradient may be a sum that is 0: the largest of all gradients is what counts.
    largest = max(b.abs().max().item() for b in truth if b is not None)
    for a, b in zip(ours, truth):
        if b is not None:
            assert_close(a, b.double(), GRADIENT, largest)


def test_masks_of_every_rank():
    """Boolean and float masks: each axis of its size, or 1, or not there."""
    q, k, v = qkv()
    whole = (B, H, NQ, NK)
    for rank in range(5):
        for ones in itertools.product((False, True), repeat=rank):
            sizes = tuple(1 if one else n for one, n in zip(ones, whole[4 - rank :]))
            seen = torch.rand(sizes) < 0.7
            check(q, k, v, seen if rank else torch.tensor(True), gradient=rank in (0, 2, 4))
            check(q, k, v, torch.randn(sizes), gradient=rank in (0, 2, 4))


def test_empty_rows():
    """A row whose mask hides all keys: O = 0, gradients 0; by -inf too."""
    q, k, v = qkv()
    seen = torch.ones(NQ, NK, dtype=torch.bool)
    seen[2] = False
    check(q, k, v, seen)
    check(q, k, v, torch.zeros(NQ, NK).masked_fill(~seen, -math.inf), gradient=False)
    assert (attn.sdpa(q, k, v, seen)[:, :, 2] == 0).all()


def test_causal():
    """Top-left aligned, also where Nq != Nk."""
    for nq, nk in ((5, 7), (7, 5), (6, 6), (1, 9)):
        check(*qkv(nq=nq, nk=nk), is_causal=True)


def test_scale():
    """Any finite number."""
    for scale in (None, 0.0, -0.7, 3.0):
        check(*qkv(), scale=scale)


def test_shapes():
    """Two axes to five, leading ones broadcast, V of another width, nothing at all."""
    q, k, v = qkv()
    for index in ((), (0,), (0, 0), (None,)):
        check(q[index], k[index], v[index])
    check(q[0, 0], k[0, 0], v[0, 0], torch.rand(NQ, NK) < 0.7)
    five = [torch.stack([x, x + 1, x - 1]) for x in (q, k, v)]
    check(*five)
    check(*five, torch.rand(3, 1, H, NQ, NK) < 0.7)
    check(*five, torch.rand(B, 1, 1, NK) < 0.7)
    check(q, k[:1], v[:1])
    check(q, k[:, :1], v[:, :1])
    check(q[:1], k, v)
    check(q[0], k, v)
    check(*qkv(d_v=3))
    check(*qkv(d=130, d_v=200))
    for nq, nk in ((0, 7), (5, 0)):
        check(*qkv(nq=nq, nk=nk), gradient=False)
    check(q[:0], k[:0], v[:0], gradient=False)


def test_grouped_heads():
    """Query heads share heads of K and V only if asked."""
    q, k, v = qkv(heads=6, kv_heads=2)
    check(q, k, v, enable_gqa=True)
    check(q[0], k[0], v[0], enable_gqa=True)
    check(q, k, v, torch.rand(NQ, NK) < 0.7, enable_gqa=True)
    with refused(attn.BadArgument, "key: leading axes (2, 2)"):
        attn.sdpa(q, k, v)
    with refused(attn.BadArgument, "key: 4 heads; allowed: a divisor of query's 6"):
        attn.sdpa(q, *qkv(kv_heads=4)[1:], enable_gqa=True)


def test_layouts():
    """Heads inside rows, Q, K and V in one tensor, columns side by side: no copy, or the same."""
    torch.manual_seed(1)
    packed = torch.randn(B, NQ, 3, H, D)
    check(*packed.permute(2, 0, 3, 1, 4))
    rows_first = [torch.randn(B, NQ, H, D).transpose(1, 2) for _ in range(3)]
    check(*rows_first)
    seen = torch.rand(NQ, NQ) < 0.7
    check(*packed.permute(2, 0, 3, 1, 4), seen)
    check(*rows_first, seen)
    o = attn.sdpa(*rows_first, seen)
    assert o.transpose(1, 2).is_contiguous(), o.stride()  # a model's next step is then a view
    columns = [torch.randn(B, H, D, NQ).transpose(2, 3) for _ in range(3)]
    check(*columns)
    expanded = torch.randn(B, 1, NQ, D).expand(B, H, NQ, D)
    check(expanded, expanded, expanded)
    # A chapter without strides gets a copy from sdpa, and refuses without one.
    check(*rows_first, who={"chapter": "07"})
    with refused(attn.Unsupported, "strides: given; this chapter does not take strides"):
        attn.forward(*rows_first, chapter="07")


def test_chapters():
    """Kernels and loops of chapters by name, with gradients by theirs or the default loops."""
    for chapter, step in (("07", ""), ("05", ""), ("16", "cpu"), ("01", ""), ("06", "")):
        check(*qkv(), who={"chapter": chapter, "step": step})
    halves = [x.to(torch.bfloat16) for x in qkv(nq=16, nk=16)]
    got = attn.sdpa(*halves, chapter="09")
    assert got.dtype == torch.bfloat16
    assert_close(got, exact(*halves), 2**-7)
    halves = [x.half().numpy() for x in qkv(nq=16, nk=16)]
    result = attn.forward(*halves, chapter="09")
    assert result.o.dtype == np.float16
    assert_close(torch.from_numpy(result.o), exact(*map(torch.from_numpy, halves)), 2**-9)


def test_dropout():
    """The mean over many draws is O without dropout; the seed is torch's."""
    q, k, v = qkv()
    torch.manual_seed(3)
    draws = torch.stack([attn.sdpa(q, k, v, dropout_p=0.3) for _ in range(400)])
    torch.manual_seed(3)
    assert (attn.sdpa(q, k, v, dropout_p=0.3) == draws[0]).all()
    assert (draws[0] != draws[1]).any()
    error = (draws.double().mean(0) - exact(q, k, v)).abs()
    # The mean of 400 is off by its standard error; 6 of them, over 280 numbers, would be chance
    # once in a million runs.
    assert (error <= 6 * draws.double().std(0) / 20).all(), error.max()
    # Weights kept are grown by 1 / (1 - p), and gradients drop the same pairs.
    inputs = [x.requires_grad_() for x in qkv()]
    torch.manual_seed(4)
    o = attn.sdpa(*inputs, dropout_p=0.5)
    (grad_v,) = torch.autograd.grad(o.sum(), inputs[2])
    p = torch.softmax(inputs[0] @ inputs[1].transpose(2, 3) / math.sqrt(D), 3)
    torch.manual_seed(4)
    unit = torch.eye(NK).expand(B, H, NK, NK)
    kept = attn.sdpa(inputs[0], inputs[1], unit, dropout_p=0.5)  # V = 1: P after dropout
    ratio = (kept / p).detach()
    assert ((ratio.abs() < 1e-4) | ((ratio - 2).abs() < 1e-4)).all()
    assert_close(grad_v, kept.double().sum(2)[..., None].expand(B, H, NK, D).detach(), GRADIENT)


def test_differences():
    """What is not as in torch, on purpose."""
    q, k, v = qkv()
    seen = torch.ones(NQ, NK, dtype=torch.bool)
    seen[:, 3] = False
    dirty_k, dirty_v = k.clone(), v.clone()
    dirty_k[:, :, 3] = dirty_v[:, :, 3] = math.nan
    with sdpa_kernel(SDPBackend.MATH):
        assert F.scaled_dot_product_attention(q, dirty_k, dirty_v, seen).isnan().any()
    assert_close(attn.sdpa(q, dirty_k, dirty_v, seen), exact(q, k, v, seen))
    assert attn.sdpa(q.abs(), torch.full_like(k, -math.inf), v).isnan().all()
    with sdpa_kernel(SDPBackend.MATH):
        torchs = F.scaled_dot_product_attention(q.abs(), torch.full_like(k, -math.inf), v)
    assert (torchs == 0).all()
    with refused(attn.BadArgument, "dropout = 1: allowed: from 0 to less than 1"):
        attn.sdpa(q, k, v, dropout_p=1.0)


def test_errors_of_torch():
    """What torch refuses is refused here, and all is well afterwards."""
    q, k, v = qkv()
    seen = torch.ones(NQ, NK, dtype=torch.bool)
    cases = [
        ((q, k, v, seen), {"is_causal": True}, "attn_mask: given with is_causal"),
        ((q, k.double(), v), {}, "key: dtype torch.float64; allowed: that of query"),
        ((q, k.to("meta"), v), {}, "key: device meta"),
        ((q[0, 0, 0], k, v), {}, "query: 1 axes; allowed: 2 or more"),
        ((q, k[..., :6], v), {}, "key: last axis 6; allowed: that of query, 8"),
        ((q, k, v[:, :, :6]), {}, "value: 6 rows"),
        ((q, k, v, seen[:, :6]), {}, "attn_mask: shape (5, 6); allowed: what broadcasts to"),
        ((q, k, v, seen[None, None, None]), {}, "attn_mask: shape (1, 1, 1, 5, 7)"),
        ((q[:1], k[:1], v[:1], torch.ones(2, 4, 5, 7) > 0), {}, "attn_mask: shape (2, 4, 5, 7)"),
        ((q, k, v, seen.double()), {}, "attn_mask: dtype float64; allowed: bool, float32"),
        ((q, k, v, seen.int()), {}, "attn_mask: dtype int32; allowed: bool, float32"),
        ((q, k, v), {"dropout_p": 1.5}, "dropout_p = 1.5: allowed: from 0 to 1"),
        ((q, k, v.numpy()), {}, "value: ndarray; allowed: three torch tensors"),
    ]
    for arguments, options, expected in cases:
        with refused(attn.BadArgument, expected):
            attn.sdpa(*arguments, **options)
        if "numpy" not in expected and "ndarray" not in expected:
            try:
                with sdpa_kernel(SDPBackend.MATH):
                    F.scaled_dot_product_attention(*arguments, **options)
            except (RuntimeError, TypeError):
                pass
            else:
                raise AssertionError(f"torch takes it: {expected}")
    check(q, k, v)


def test_bad_input():
    """What only Python can hand over: raised, nothing written, the next call works."""
    q, k, v = qkv()
    o = torch.full_like(q, 7.0)
    arrays = [x.numpy() for x in (q, k, v)]
    read_only = np.zeros(q.shape, np.float32)
    read_only.flags.writeable = False
    freed = torch.randn(q.shape)
    freed.untyped_storage().resize_(0)
    cut = torch.randn(q.shape)
    cut.untyped_storage().resize_(cut.untyped_storage().nbytes() - 4)
    needs_grad = torch.full_like(q, 7.0).requires_grad_()
    shifted = np.frombuffer(bytes(q.numel() * 4 + 4), np.uint8)[1:-3].view(np.float32)
    packed = torch.full((B, NQ, 2, H, D), 7.0)
    bad = attn.BadArgument
    cases = [
        ({"q": q.double(), "k": k.double(), "v": v.double()}, bad, "q: its elements are float64"),
        ({"q": q.to("meta")}, bad, "q: device = meta; allowed: cpu"),
        ({"q": q.to_sparse()}, bad, "q: layout = torch.sparse_coo; allowed: torch.strided"),
        ({"q": arrays[0][:, :, ::-1]}, bad, "q: strides", "allowed: 0 or more"),
        ({"q": arrays[0][..., ::-1]}, bad, "q: strides"),
        ({"q": torch.randn(B, H, D, NQ).transpose(2, 3)}, bad, "q: strides", "side by side"),
        ({"q": arrays[0].astype(">f4")}, bad, "q: its elements are of format >f"),
        ({"q": shifted.reshape(q.shape)}, bad, "q: at 0x", "allowed: a multiple of 4"),
        ({"q": freed}, bad, "q = "),
        ({"q": cut}, bad, "q = ", "bytes: this call needs"),
        ({"o": read_only}, bad, "o: read-only"),
        ({"o": needs_grad}, bad, "o: requires_grad"),
        ({"o": q}, bad, "it overlaps q"),
        ({"o": packed[:, :, 0].transpose(1, 2), "q": packed[:, :, 0].transpose(1, 2)}, bad,
         "it overlaps q"),
        ({"o": torch.full((B, 1, NQ, D), 7.0).expand(q.shape)}, bad, "o strides"),
        ({"scale": math.nan}, bad, "scale = nan"),
    ]
    for change, kind, *expected in cases:
        arguments = {"q": q, "k": k, "v": v, "o": o} | change
        with refused(kind, *expected):
            attn.forward(**arguments)
        assert (arguments["o"] if arguments["o"] is not q else o).ne(7).sum() == 0 if isinstance(
            arguments["o"], torch.Tensor
        ) else not arguments["o"].any()
        assert_close(attn.forward(q, k, v).o, exact(q, k, v))
    # Gaps may hold other arrays: O in the gaps of Q.
    attn.forward(packed[:, :, 1].transpose(1, 2), k, v, o=packed[:, :, 0].transpose(1, 2))
    assert (packed[:, :, 1] == 7).all()


def test_numpy():
    """The same on NumPy's arrays, without torch's operators."""
    q, k, v = qkv()
    arrays = [x.numpy() for x in (q, k, v)]
    got = attn.sdpa(*arrays, is_causal=True)
    assert isinstance(got, np.ndarray)
    assert_close(torch.from_numpy(got), exact(q, k, v, is_causal=True))
    seen = np.random.default_rng(1).random((B, 1, NQ, NK)) < 0.7
    got = attn.sdpa(*arrays, attn_mask=seen)
    assert_close(torch.from_numpy(got), exact(q, k, v, torch.from_numpy(seen)))
    rows_first = [x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3) for x in arrays]
    assert_close(torch.from_numpy(attn.sdpa(*rows_first)), exact(q, k, v))
    with refused(attn.BadArgument, "query: strides", "allowed: 0 or more"):
        attn.sdpa(arrays[0][:, :, ::-1], *arrays[1:])
    columns = [np.asarray(x, order="F") for x in arrays]
    assert_close(torch.from_numpy(attn.sdpa(*columns)), exact(q, k, v))
    o, lse, *_ = attn.forward(*rows_first)
    grad = attn.backward(*rows_first, o, lse, np.ones_like(o))
    _, truth = gradients(exact, (q, k, v), torch.ones(q.shape))
    for a, b in zip(grad[:3], truth):
        assert_close(torch.from_numpy(np.ascontiguousarray(a)), b.double(), GRADIENT)


def test_opcheck():
    """torch.library's own test of both operators: schema, fake tensors, autograd, tracing."""
    from attn import _torch

    bias, seen = torch.randn(1, H, 1, NK), torch.rand(B, 1, NQ, NK) < 0.7
    rows_first = [torch.randn(B, NQ, H, D).transpose(1, 2) for _ in range(3)]
    numbers = (False, 0.3, 0.0, 0, "", "")
    for inputs, mask, added in (
        (qkv(), None, None),
        (qkv(heads=6, kv_heads=2, d_v=5), None, None),
        (rows_first, seen[..., :NQ].contiguous(), None),
        (qkv(), None, bias),
    ):
        q, k, v = (x.clone().detach() if x.is_contiguous() else x for x in inputs)
        if added is not None:
            added = added.clone().requires_grad_()
        for x in (q, k, v):
            x.requires_grad_()
        torch.library.opcheck(_torch.forward, (q, k, v, mask, added, *numbers))
        with torch.no_grad():
            o, lse = _torch.forward(q, k, v, mask, added, *numbers)
            both = (torch.randn_like(o), None, mask, added, added is not None, *numbers)
            plain = [x.detach() for x in (q, k, v)]
            torch.library.opcheck(_torch.backward, (*plain, o, lse, *both))


def test_gradient_of_lse():
    """LSE has a gradient, too: that of logsumexp."""
    from attn import _torch

    def ours(q, k, v):
        o, lse = _torch.forward(q, k, v, None, None, False, 0.3, 0.0, 0, "", "")
        return torch.cat([o, lse[..., None]], 3)

    def truth(q, k, v):
        o = exact(q, k, v, scale=0.3)
        s = 0.3 * q.double() @ k.double().transpose(2, 3)
        return torch.cat([o, s.logsumexp(3, keepdim=True)], 3)

    weights = torch.randn(B, H, NQ, D + 1, dtype=torch.float64)
    inputs = qkv()
    for a, b in zip(gradients(ours, inputs, weights)[1], gradients(truth, inputs, weights)[1]):
        assert_close(a, b.double(), GRADIENT)


def test_larger():
    """A size at which tiles, threads and all are in play."""
    torch.manual_seed(5)
    q, k, v = (torch.randn(1, 3, 197, 64) for _ in range(3))
    check(q, k, v)
    check(q, k, v, is_causal=True)
    check(q, k, v, torch.randn(197, 197))
    check(q, k, v, torch.rand(1, 3, 197, 197) < 0.5)


def test_use():
    """F.scaled_dot_product_attention and nn.MultiheadAttention in the block, torch's outside."""
    before = F.scaled_dot_product_attention
    torch.manual_seed(6)
    x = torch.randn(2, 6, 16)
    layer = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    for training in (True, False):
        layer.train(training)
        with torch.no_grad():
            expected = layer(x, x, x, need_weights=False)[0]
            with attn.use() as used:
                got = layer(x, x, x, need_weights=False)[0]
        assert used.calls == 1
        assert_close(got, expected.double())
    # The operator itself sees every call: one that is traced has launches to show.
    with attn.use(chapter="07", trace=True) as used, torch.no_grad():
        layer(x, x, x, need_weights=False)
        F.scaled_dot_product_attention(*qkv())
    assert used.calls == 2 and len(used.trace.launches) == 2
    assert used.trace.total["global_load_bytes"] > 0
    # Gradients of a chapter without a backward pass come from the loops, which have no launches.
    with attn.use(chapter="05", trace=True) as used:
        inputs = [t.requires_grad_() for t in qkv()]
        F.scaled_dot_product_attention(*inputs).sum().backward()
    assert len(used.trace.launches) >= 1 and inputs[0].grad is not None
    # The reader's own kernel; what it does not take raises, and whatever is raised, torch is back.
    inputs = qkv()
    with attn.use(chapter="mine") as used:
        got = F.scaled_dot_product_attention(*inputs)
    assert_close(got, exact(*inputs))
    with refused(attn.BadArgument, "q: its elements are float64"), attn.use(chapter="mine"):
        F.scaled_dot_product_attention(*(t.double() for t in inputs))
    assert F.scaled_dot_product_attention is before
    assert torch.backends.mha.get_fastpath_enabled()


if __name__ == "__main__":
    checks = Checks()
    for test in [f for name, f in list(globals().items()) if name.startswith("test_")]:
        checks.run(test)
    sys.exit(checks.end())
