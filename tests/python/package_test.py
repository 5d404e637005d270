#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The package attn on Python's own arrays: results, refusals, counts. Needs python3 only.

    package_test.py LIBATTN_SO [ATTN]

Results are compared with the formulas evaluated in float64; counts with those of the program attn.
"""
import array
import contextlib
import ctypes
import itertools
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from checks import Checks, attention, import_attn, refused

attn = import_attn(sys.argv[1])
from attn import _arrays, _library  # noqa: E402

PROGRAM = sys.argv[2] if len(sys.argv) > 2 else None
UNTRACED = "ATTN_UNTRACED" in os.environ  # a library with sanitizers: it counts nothing
TOLERANCE = 2e-5  # float32 with a handful of keys; errors are about 1e-6
B, H, NQ, NK, D = 1, 2, 5, 7, 8
HKV = 2  # of a cache, whose queries have twice as many heads
random.seed(20260101)


def numbers(shape, fill=None):
    """A float32 array of this shape: a memoryview."""
    count = math.prod(shape)
    values = [random.gauss(0, 1) if fill is None else fill for _ in range(count)]
    return memoryview(array.array("f", values)).cast("B").cast("f", shape)


def problem(hkv=H, d_v=D):
    """Q, K, V."""
    return numbers((B, H, NQ, D)), numbers((B, hkv, NK, D)), numbers((B, hkv, NK, d_v))


def heads(view):
    """[B, H, ...] as a list of heads."""
    return [head for batch in view.tolist() for head in batch]


def flat(values):
    """Nested lists as one."""
    return [x for one in values for x in flat(one)] if isinstance(values, list) else [values]


def assert_close(got, expected):
    """Every element within the tolerance of the largest one."""
    got, expected = flat(got), flat(expected)
    assert len(got) == len(expected), (len(got), len(expected))
    for i, (a, b) in enumerate(zip(got, expected)):
        assert a == b or abs(a - b) <= TOLERANCE, f"element {i}: {a} instead of {b}"


def check_passes(sees, options, expected_chapter=None, hkv=H, d_v=D, **who):
    """Forward and backward of one request against the formulas."""
    q, k, v = problem(hkv, d_v)
    grad_o = numbers((B, H, NQ, d_v))
    scale = 1 / math.sqrt(D)
    group = H // hkv
    exact = [
        attention(heads(q)[h], heads(k)[h // group], heads(v)[h // group], scale, sees, g)
        for h, g in enumerate(heads(grad_o))
    ]
    result = attn.forward(q, k, v, **options, **who)
    assert_close(heads(result.o), [one[0] for one in exact])
    assert_close(heads(result.lse), [one[1] for one in exact])
    if expected_chapter:
        assert (result.chapter, result.step) == (expected_chapter, "cpu"), result
    grad = attn.backward(q, k, v, result.o, result.lse, grad_o, **options, **who)
    assert_close(heads(grad.q), [one[2] for one in exact])
    for got, index, rows in ((grad.k, 3, NK), (grad.v, 4, NK)):
        sums = []
        for first in range(0, H, group):
            parts = [flat(exact[h][index]) for h in range(first, first + group)]
            sums.append([sum(x) for x in zip(*parts)])
        assert_close(flat(heads(got)), flat(sums))
        assert len(heads(got)[0]) == rows


def test_default_choice():
    """08's loops where they suffice, else 16's."""
    off = NK - NQ
    check_passes(lambda i, j: True, {}, "08_register_tiles")
    check_passes(lambda i, j: j <= i + off, {"causal": True}, "08_register_tiles")
    check_passes(lambda i, j: j <= i, {"causal": True, "top_left": True}, "08_register_tiles")
    window = lambda i, j: i + off - 1 <= j <= i + off  # noqa: E731
    check_passes(window, {"window": (1, 0)}, "16_heads")
    check_passes(lambda i, j: True, {}, "16_heads", hkv=1)
    check_passes(lambda i, j: True, {}, "16_heads", d_v=5)
    ranges = [[[0, 2], [1, 4], [3, 3], [0, 7], [6, 7]]]
    within = lambda i, j: ranges[0][i][0] <= j < ranges[0][i][1]  # noqa: E731
    check_passes(within, {"ranges": ranges}, "16_heads")
    check_passes(lambda i, j: 2 <= j < 6, {"key_begin": [2], "key_count": [4]}, "16_heads")
    sees = memoryview(bytes((3 * i + j) % 4 != 0 for i in range(NQ) for j in range(NK)))
    masked = {"mask": sees.cast("B", (NQ, NK))}
    check_passes(lambda i, j: (3 * i + j) % 4 != 0, masked, "16_heads")


def test_every_chapter():
    """Every chapter's forward pass by its default step, and backward where there is one."""
    everything = lambda i, j: True  # noqa: E731
    chapters = {s.chapter: s for s in attn.steps() if "float32" in s.forward}
    assert len(chapters) > 10, chapters
    for chapter in chapters:
        steps = [s for s in attn.steps() if s.chapter == chapter]
        if any("float32" in s.backward for s in steps if not s.loops):
            check_passes(everything, {}, chapter=chapter)
            continue
        q, k, v = problem()
        result = attn.forward(q, k, v, chapter=chapter)
        assert result.chapter == chapter
        exact = [attention(*x, 1 / math.sqrt(D), everything) for x in zip(*map(heads, (q, k, v)))]
        assert_close(heads(result.o), [one[0] for one in exact])
    # 06 has a backward pass of its own and borrows 05's forward pass.
    q, k, v = problem()
    assert attn.forward(q, k, v, chapter="06").chapter == "05_fused_forward"


def test_packed():
    """Sequences one behind the other, the last of no rows."""
    q, k, v = numbers((H, 5, D)), numbers((H, 7, D)), numbers((H, 7, D))
    q_offsets, k_offsets = [0, 2, 5, 5], [0, 4, 7, 7]
    result = attn.forward(q, k, v, q_offsets=q_offsets, k_offsets=k_offsets)
    for head in range(H):
        for a, b, c, e in zip(q_offsets, q_offsets[1:], k_offsets, k_offsets[1:]):
            rows = q.tolist()[head][a:b], k.tolist()[head][c:e], v.tolist()[head][c:e]
            if a < b:
                o, lse = attention(*rows, 1 / math.sqrt(D), lambda i, j: True)
                assert_close(result.o.tolist()[head][a:b], o)
                assert_close(result.lse.tolist()[head][a:b], lse)
    with refused(attn.BadArgument, "q_offsets: [0, 2, 4]", "5"):
        attn.forward(q, k, v, q_offsets=[0, 2, 4], k_offsets=[0, 4, 7])
    with refused(attn.BadArgument, "one of them is missing"):
        attn.forward(q, k, v, q_offsets=q_offsets)


def test_score_features():
    """Softcap, bias, ALiBi, sink logits and dropout arrive: each changes O as its formula says."""
    q, k, v = problem()
    plain = attn.forward(q, k, v)
    sinks = numbers((H,), 0.5)
    with_sinks = attn.forward(q, k, v, sink_logits=sinks)
    for lse, plain_lse in zip(flat(with_sinks.lse.tolist()), flat(plain.lse.tolist())):
        assert abs(lse - math.log(math.exp(plain_lse) + math.exp(0.5))) < TOLERANCE
    shifted = attn.forward(q, k, v, bias=numbers((1, 1), 3.0))
    assert_close(shifted.o.tolist(), plain.o.tolist())
    assert_close(shifted.lse.tolist(), [x + 3 for x in flat(plain.lse.tolist())])
    capped = attn.forward(q, k, v, softcap=1e-6)  # all logits equal: the mean of V
    for head, rows in zip(heads(capped.o), heads(v)):
        mean = [sum(column) / NK for column in zip(*rows)]
        for row in head:
            assert_close(row, mean)
    near = attn.forward(q, k, v, alibi=numbers((H,), 1e4))  # only the own key is left
    for head, rows in zip(heads(near.o), heads(v)):
        assert_close(head, rows[NK - NQ :])
    ones = numbers((B, H, NK, D), 1.0)
    dropped = [attn.forward(q, k, ones, dropout=0.5, seed=s).o.tolist() for s in (1, 1, 2)]
    assert dropped[0] == dropped[1] != dropped[2]


def test_outputs_given():
    """o and lse are written where the caller wants them."""
    q, k, v = problem()
    o, lse = numbers((B, H, NQ, D), 7.0), numbers((B, H, NQ), 7.0)
    result = attn.forward(q, k, v, o=o, lse=lse)
    assert result.o is o and o.tolist() == attn.forward(q, k, v).o.tolist()


def test_bad_input():
    """One line, nothing written, and the next call works."""
    q, k, v = problem()
    o, lse = numbers((B, H, NQ, D), 7.0), numbers((B, H, NQ), 7.0)
    good = attn.forward(q, k, v).o.tolist()
    doubles = memoryview(array.array("d", [0] * math.prod(q.shape))).cast("B").cast("d", q.shape)
    read_only = memoryview(bytes(4 * math.prod(q.shape))).cast("f", q.shape)
    bad = attn.BadArgument
    nan, infinity = math.nan, math.inf
    cases = [
        (bad, {"q": doubles}, "q: its elements are float64; allowed: float32"),
        (bad, {"q": [1.0, 2.0]}, "q: list"),
        (bad, {"q": numbers((NQ, D))}, "q: shape (5, 8); allowed: 4 axes, [B, H, N, d]"),
        (bad, {"k": numbers((B, H, NK, D + 1))}, "k: shape", "the last axis of q, 8"),
        (bad, {"k": numbers((B + 1, H, NK, D)), "v": numbers((B + 1, H, NK, D))}, "k: shape"),
        (bad, {"v": numbers((B, H, NK + 1, D))}, "v: shape", "that of k"),
        (bad, {"k": numbers((B, 3, NK, D)), "v": numbers((B, 3, NK, D))}, "Hkv = 3"),
        (bad, {"o": read_only}, "o: read-only"),
        (bad, {"o": q}, "it overlaps q"),
        (bad, {"o": numbers((B, H, NQ, D + 1))}, "o: shape"),
        (bad, {"lse": numbers((B, H, NQ + 1))}, "lse: shape (1, 2, 6); allowed: (1, 2, 5)"),
        (bad, {"scale": nan}, "scale = nan: allowed: any finite number"),
        (bad, {"scale": infinity}, "scale = inf"),
        (bad, {"scale": 1e300}, "scale = inf"),
        (bad, {"scale": "large"}, "scale = 'large': allowed: a number"),
        (bad, {"softcap": -1.0}, "softcap = -1"),
        (bad, {"dropout": 1.0}, "dropout = 1: allowed: from 0 to less than 1"),
        (bad, {"dropout": 0.1, "seed": -1}, "seed = -1"),
        (bad, {"window": (-2, 0)}, "mask = window -2,0"),
        (bad, {"window": (2**70, 0)}, "window = ", "64 bits"),
        (bad, {"sink_keys": 2**64}, "sink_keys = ", "64 bits"),
        (bad, {"causal": True, "window": (1, 0)}, "causal: given with a window"),
        (bad, {"ranges": [0, 1, 2]}, "ranges: 3 numbers"),
        (bad, {"ranges": [[0, 8]] * NQ}, "ranges[0] = 0, 8"),
        (bad, {"key_count": [8]}, "key_count[0] = 8"),
        (bad, {"key_count": ["x"]}, "key_count: "),
        (bad, {"mask": numbers((NQ, NK))}, "mask: its elements are float32; allowed: bool, uint8"),
        (bad, {"bias": numbers((NQ, NK - 1))}, "bias_shape Nk = 6: allowed: 1 or 7"),
        (bad, {"alibi": numbers((H + 1,))}, "alibi: shape (3,); allowed: (2,)"),
        (bad, {"chapter": "99"}, "CHAPTER = 99: allowed:"),
        (bad, {"chapter": "07", "step": "step9"}, "step = step9: 07_v2_loop_order has"),
        (bad, {"step": "cpu"}, "step = cpu: given without a chapter"),
        (bad, {"trace": 1}, "trace = 1: allowed: an attn.Trace"),
        (attn.Unsupported, {"chapter": "07", "window": (1, 0)}, "does not take windows"),
        (attn.Unsupported, {"chapter": "09"}, "element = float32: 09_tensor_cores"),
        (attn.Unsupported, {"chapter": "07", "step": "step4_backward"}, "pass = forward"),
        (attn.Unsupported, {"chapter": "08", "step": "cpu", "trace": attn.Trace()}, "trace: "),
    ]
    for kind, change, *expected in cases:
        if "step4_backward" in change.values():
            backward = [s.step for s in attn.steps() if s.chapter.startswith("07") and s.backward]
            change["step"] = backward[0]
        arguments = {"q": q, "k": k, "v": v, "o": o, "lse": lse} | change
        with refused(kind, *expected):
            attn.forward(**arguments)
        assert set(flat(o.tolist())) == set(flat(lse.tolist())) == {7.0}, f"written: {expected}"
        assert attn.forward(q, k, v).o.tolist() == good, expected
    wide = numbers((B, H, NQ, 300)), numbers((B, H, NK, 300)), numbers((B, H, NK, 300))
    with refused(attn.Unsupported, "d = 300", "1 <= d <= 256"):
        attn.forward(*wide)


def test_bad_gradients():
    """The same of a backward pass."""
    q, k, v = problem()
    o, lse, *_ = attn.forward(q, k, v)
    grad_o = numbers((B, H, NQ, D))
    good = attn.backward(q, k, v, o, lse, grad_o).q.tolist()
    grad_q = numbers((B, H, NQ, D), 7.0)
    cases = [
        ({"grad_o": numbers((B, H, NQ, D + 1))}, "grad_o: shape"),
        ({"lse": numbers((B, H, NQ, 1))}, "lse: shape"),
        ({"grad_k": numbers((B, H, NK + 1, D))}, "grad_k: shape"),
        ({"grad_k": numbers((B, H, NK, D)), "grad_v": k}, "grad_v", "overlaps k"),
        ({"want_grad_bias": True}, "grad_bias: given without a bias"),
        ({"want_grad_sink_logits": True}, "grad_sink_logits: given without sink_logits"),
    ]
    for change, *expected in cases:
        arguments = {"q": q, "k": k, "v": v, "o": o, "lse": lse, "grad_o": grad_o} | change
        with refused(attn.BadArgument, *expected):
            attn.backward(**arguments, grad_q=grad_q)
        assert set(flat(grad_q.tolist())) == {7.0}
        assert attn.backward(q, k, v, o, lse, grad_o).q.tolist() == good


def test_huge_sizes():
    """Sizes beyond what the bytes, or 64 bits, can hold: refused by the library itself."""
    q, k, v = problem()
    o, lse = numbers((B, H, NQ, D), 7.0), numbers((B, H, NQ), 7.0)
    for size in (NQ + 1, 2**40, 2**61, 2**63 - 1):
        with _arrays.Arrays() as arrays:
            call = _library.Call()
            call.B, call.H, call.Hkv, call.Nq, call.Nk, call.d, call.d_v = B, H, H, size, NK, D, D
            call.before = call.after = _library.UNBOUNDED
            call.scale = 1.0
            for name, one in (("q", q), ("k", k), ("v", v), ("o", o), ("lse", lse)):
                view = arrays.view(name, one, elements=("float32",))
                setattr(call, name, _library.Array(view.address, view.bytes))
            with refused(attn.BadArgument, "q = 320 bytes: this call needs"):
                _library.run(call)
    assert set(flat(o.tolist())) == {7.0}
    call = _library.Call()
    call.version, call.bytes = _library.VERSION, ctypes.sizeof(_library.Call) - 8
    assert _library.library().attn_c_run(ctypes.byref(call)) == 2


def new_cache(paged, nan=math.nan):
    """Room for 24 keys of two sequences, of which the first begins at key 3: NaN, nothing valid."""
    shape = (16, HKV, 4, D) if paged else (2, HKV, 24, D)
    arrays = numbers(shape, nan), numbers(shape, nan)
    begin = {"key_begin": [3, 0]}
    return attn.PagedCache(*arrays, [[], []], **begin) if paged else attn.Cache(*arrays, **begin)


def kept(cache, b, head, key):
    """The K and the V of a key, as the cache has them."""
    place = (b, head, key)
    if isinstance(cache, attn.PagedCache):
        place = (cache.block_table[b][key // 4], head, key % 4)
    return [[array[(*place, c)] for c in range(D)] for array in (cache.k, cache.v)]


def check_growing(paged, writers, readers):
    """Appends by each of the writers in turn; then the rows of the new tokens by each of the
    readers: the formulas, and every key where it belongs and nowhere else."""
    cache = new_cache(paged)
    known = [[([], []) for _ in range(HKV)] for _ in range(2)]
    for n, writer in zip((5, 1, 1, 2), writers, strict=True):
        new_k, new_v = numbers((2, HKV, n, D)), numbers((2, HKV, n, D))
        attn.append(cache, new_k, new_v, **writer)
        q = numbers((2, 2 * HKV, n, D))
        for b, head in itertools.product(range(2), range(HKV)):
            for rows, fresh in zip(known[b][head], (new_k, new_v), strict=True):
                rows += fresh.tolist()[b][head]
            for key, row in enumerate(zip(*known[b][head], strict=True)):
                assert kept(cache, b, head, cache.key_begin[b] + key) == list(row), (b, head, key)
        written = 2 * HKV * D * len(known[0][0][0])
        for pool in (cache.k, cache.v):
            assert sum(x == x for x in flat(pool.tolist())) == written
        assert cache.key_count == [len(its[0][0]) for its in known]
        exact = [
            attention(q.tolist()[b][h], *known[b][h // 2], 1 / math.sqrt(D),
                      lambda i, j: j <= i + cache.key_count[0] - n)
            for b, h in itertools.product(range(2), range(2 * HKV))
        ]
        for reader in readers:
            result = attn.decode(q, cache, **reader)
            assert_close(heads(result.o), [one[0] for one in exact])
            assert_close(heads(result.lse), [one[1] for one in exact])
    return cache, q


def test_decode():
    """A cache that grows, in arrays and in pages, by loops and by every kernel of 17 and 18."""
    steps = [s for s in attn.steps() if s.chapter in ("17_decode", "18_paged")]
    assert len({s.chapter for s in steps}) == 2
    every = [{"chapter": s.chapter, "step": s.step} for s in steps]
    pages = [one for one in every if one["chapter"] == "18_paged"]
    plain = {"chapter": "18", "step": "cpu"}
    check_growing(False, [{}, {"chapter": "17"}, {"chapter": "18"}, plain], [{}, *every])
    cache, q = check_growing(True, [{"chapter": "18"}, {}, plain, {}], [{}, *pages])
    result = attn.decode(q, cache)
    assert (result.chapter, result.step) == ("18_paged", "cpu")
    arrays = new_cache(False)
    arrays.key_count = list(cache.key_count)
    for b, head in itertools.product(range(2), range(HKV)):
        for key in range(arrays.key_begin[b], arrays.key_begin[b] + arrays.key_count[b]):
            for pool, row in zip((arrays.k, arrays.v), kept(cache, b, head, key), strict=True):
                for c, value in enumerate(row):
                    pool[b, head, key, c] = value
    same = attn.decode(q, arrays)
    assert (same.chapter, same.step) == ("17_decode", "cpu")
    assert same.o.tolist() == result.o.tolist() and same.lse.tolist() == result.lse.tolist()
    named = attn.decode(q, arrays, step="step2_split")
    assert (named.chapter, named.step) == ("17_decode", "step2_split")
    # Masks: all keys, a window, sink keys.
    for options, sees in (
        ({"causal": False}, lambda i, j, last: True),
        ({"window": (2, 0)}, lambda i, j, last: last + i - 2 <= j <= last + i),
        ({"window": (2, 0), "sink_keys": 1}, lambda i, j, last: j == 0 or
         last + i - 2 <= j <= last + i),
    ):
        result = attn.decode(q, cache, **options)
        for b, h in itertools.product(range(2), range(2 * HKV)):
            count, begin = cache.key_count[b], cache.key_begin[b]
            rows = [kept(cache, b, h // 2, key) for key in range(begin, begin + count)]
            o, _ = attention(q.tolist()[b][h], *zip(*rows, strict=True), 1 / math.sqrt(D),
                             lambda i, j: sees(i, j, count - 2))
            assert_close(result.o.tolist()[b][h], o)
    # By hand: without a cache of its own.
    table = [row + [-1] * (4 - len(row)) for row in cache.block_table]
    by_hand = attn.forward(q, cache.k, cache.v, block_table=table, key_begin=cache.key_begin,
                           key_count=cache.key_count, causal=True)
    assert by_hand.chapter == "18_paged"
    assert by_hand.o.tolist() == attn.decode(q, cache).o.tolist()
    trace = attn.Trace()
    attn.append(cache, numbers((2, HKV, 1, D)), numbers((2, HKV, 1, D)), chapter="18", trace=trace)
    if not UNTRACED:
        (launch,) = trace.launches
        assert launch.counts["global_store_bytes"] == 2 * 4 * 2 * HKV * D and not trace.detections


def test_pages_are_handed_out():
    """Pages are taken as they are needed, given back, and shared as long as nobody writes."""
    cache = new_cache(True)
    assert cache.free == list(range(16))
    new = lambda n: numbers((2, HKV, n, D))  # noqa: E731
    attn.append(cache, new(4), new(4))  # keys 3 .. 6 and 0 .. 3
    assert cache.block_table == [[0, 1], [2]] and cache.free == list(range(3, 16))
    attn.append(cache, new(1), new(1))
    assert cache.block_table == [[0, 1], [2, 3]]
    cache.release(0)
    assert cache.block_table == [[], [2, 3]] and sorted(cache.free) == [0, 1, *range(4, 16)]
    assert (cache.key_begin, cache.key_count) == ([0, 0], [0, 5])
    empty = attn.decode(numbers((2, 2 * HKV, 1, D)), cache)
    assert set(flat(empty.o.tolist()[0])) == {0.0} and empty.lse[0, 0, 0] == -math.inf
    # The first sequence goes on as the second did: full pages are shared, the last one is copied.
    cache.block_table[0], cache.key_count[0] = [2, 3], 5
    before = repr((cache.k.tolist(), cache.v.tolist(), cache.block_table, cache.free))
    with refused(attn.BadArgument, "block_table[0][1] = 3: it is block_table[1][1], too"):
        attn.append(cache, new(1), new(1))
    assert repr((cache.k.tolist(), cache.v.tolist(), cache.block_table, cache.free)) == before
    own = cache.free.pop()
    for pool in (cache.k, cache.v):
        for place in itertools.product(range(HKV), range(4), range(D)):
            pool[(own, *place)] = pool[(3, *place)]
    cache.block_table[0] = [2, own]
    q = numbers((1, 2 * HKV, 1, D))
    twice = memoryview(array.array("f", flat(q.tolist()) * 2)).cast("B").cast("f", (2, 4, 1, D))
    o = attn.decode(twice, cache).o.tolist()
    assert o[0] == o[1]
    attn.append(cache, new(1), new(1))
    o = attn.decode(twice, cache).o.tolist()
    assert o[0] != o[1] and cache.key_count == [6, 6]
    cache.release(0)
    assert 2 not in cache.free and own in cache.free


def picture(cache):
    """All that a cache holds, NaN too."""
    parts = vars(cache).values()
    return repr([x.tolist() if isinstance(x, memoryview) else x for x in parts])


def test_bad_caches():
    """One line, nothing written, no page taken, and the next call works."""
    bad, unsupported = attn.BadArgument, attn.Unsupported
    q, one = numbers((2, 2 * HKV, 1, D)), {"new_k": numbers((2, HKV, 1, D))}
    one["new_v"] = one["new_k"]
    many = dict.fromkeys(one, numbers((2, HKV, 30, D)))
    for paged in (False, True):
        cache = new_cache(paged)
        attn.append(cache, **one)
        inside = cache.k.cast("B")[: 4 * 2 * HKV * D].cast("f", (2, HKV, 1, D))
        appends = [
            (bad, {"new_k": numbers((2, HKV, 1, D + 1))}, "new_k: shape", "(2, 2, 1, 8)"),
            (bad, {"new_v": numbers((2, HKV, 2, D))}, "new_v: shape", "(2, 2, 1, 8)"),
            (bad, {"new_k": numbers((HKV, D))}, "new_k: shape"),
            (bad, {"new_k": [1.0]}, "new_k: list"),
            (bad, {"new_k": inside}, "k: it overlaps new_k"),
            (bad, {"chapter": "99"}, "CHAPTER = 99"),
            (bad, {"step": "step9"}, "step = step9"),
            (bad, {"trace": 1}, "trace = 1"),
            (unsupported, {"chapter": "16"}, "append: 16_heads has no cache"),
            (unsupported, {"trace": attn.Trace()}, "trace: "),
            (bad, many, "block_table[1]: 1 pages, and 7 more for 30 new keys", "are free, 6")
            if paged else (bad, many, "key_count[0] = 1: from key_begin = 3 on there is room"),
        ]
        decodes = [
            (bad, {"q": numbers((3, 2 * HKV, 1, D))}, "q: shape (3, 4, 1, 8)", "B = 2"),
            (bad, {"q": numbers((2, 2 * HKV, 1, D + 1))}, "k: shape"),
            (bad, {"cache": [cache.k, cache.v]}, "cache: list"),
            (unsupported, {"softcap": 1.0}, "softcap = 1: given"),
            (unsupported, {"chapter": "15"}, "this chapter does not take"),
        ]
        if paged:
            appends.append((unsupported, {"chapter": "17"}, "page_keys = 4: given"))
            decodes.append((unsupported, {"chapter": "17"}, "page_keys = 4: given"))
        good, before = attn.decode(q, cache).o.tolist(), picture(cache)
        for kind, change, *expected in appends:
            with refused(kind, *expected):
                attn.append(**{"cache": cache} | one | change)
            assert picture(cache) == before, expected
        for kind, change, *expected in decodes:
            with refused(kind, *expected):
                attn.decode(**{"q": q, "cache": cache} | change)
            assert attn.decode(q, cache).o.tolist() == good, expected
        cache.key_count[0] = 100
        with refused(bad, "key_count[0] = 100: allowed: 0 to"):
            attn.decode(q, cache)
        cache.key_count[0] = 1
        if paged:
            cache.block_table[1] = [16]
            with refused(bad, "block_table[1][0] = 16: allowed: 0 to pages - 1 = 15"):
                attn.decode(q, cache)
    k = numbers((2, HKV, 4, D))
    for change, *expected in (
        ({"v": numbers((2, HKV, 5, D))}, "v: shape (2, 2, 5, 8)"),
        ({"k": numbers((HKV, 4, D))}, "k: shape"),
        ({"v": memoryview(bytes(4 * 2 * HKV * 4 * D)).cast("f", k.shape)}, "v: read-only"),
        ({"key_count": [0]}, "key_count: 1 of them; allowed: B = 2"),
        ({"key_begin": [0.5, 0]}, "key_begin: [0.5, 0]; allowed: integers"),
    ):
        with refused(bad, *expected):
            attn.Cache(**{"k": k, "v": numbers(k.shape)} | change)
    with refused(bad, "block_table[1]: "):
        attn.PagedCache(k, numbers(k.shape), [[], 1])


def test_huge_appends():
    """Sizes beyond what the bytes of an append hold: refused by the library itself."""
    given = {name: numbers((1, HKV, n, D), 7.0)
             for name, n in (("k", 4), ("v", 4), ("new_k", 1), ("new_v", 1))}
    sizes = {"pass_": _library.APPEND, "B": 1, "Hkv": HKV, "N_new": 1, "Nk": 4, "d": D}
    bad, unsupported = attn.BadArgument, attn.Unsupported
    for kind, change, expected in (
        (bad, {"N_new": 2**61}, "new_k = 64 bytes: this call needs"),
        (bad, {"N_new": -1}, "N_new = -1: allowed: 0 or more"),
        (bad, {"N_new": 5}, "new_k = 64 bytes: this call needs 320"),
        (bad, {"Nk": 2**62}, "k = 256 bytes: this call needs"),
        (bad, {"Nk": 2**62, "k": None}, "v = 256 bytes: this call needs"),
        (bad, {"Nk": 2**62, "k": None, "v": None}, "k = null"),
        (bad, {"B": 2**62}, "new_k = 64 bytes: this call needs"),
        (bad, {"page_keys": 2**40, "pages": 2**40}, "k = 256 bytes: this call needs"),
        (bad, {"page_keys": 4, "pages": 1}, "block_table has 0 numbers"),
        (bad, {"pass_": 3}, "pass = 3: allowed: 0 to 2"),
        (unsupported, {"element": 2}, "element = float16"),
        (unsupported, {"d_v": 3}, "d_v = 3: d = 8"),
        (None, {}, ""),
    ):
        with _arrays.Arrays() as arrays:
            call = _library.Call()
            for name, value in (sizes | given | change).items():
                if isinstance(value, memoryview):
                    view = arrays.view(name, value, elements=("float32",))
                    value = _library.Array(view.address, view.bytes)
                if value is not None:
                    setattr(call, name, value)
            count = arrays.integers("key_count", [0])
            call.key_count = _library.Array(count.address, count.bytes)
            given["new_k"][0, 0, 0, 0] = 8.0
            with refused(kind, expected) if kind else contextlib.nullcontext():
                _library.run(call)
            assert given["k"][0, 0, 0, 0] == (7.0 if kind else 8.0), change


def test_trace():
    """The counts of a traced call are those of `attn trace`; the loops have none."""
    if UNTRACED:
        return
    q, k, v = (numbers((1, 1, 70, 40)) for _ in range(3))
    traced = attn.trace(q, k, v, chapter="07")
    assert not traced.detections
    (launch,) = traced.launches
    assert launch.counts["global_load_bytes"] > 0 and launch.block[0] > 1
    grad_o = numbers((1, 1, 70, 40))
    result = attn.forward(q, k, v)
    attn.backward(q, k, v, result.o, result.lse, grad_o, chapter="07", trace=traced)
    assert len(traced.launches) > 2
    totals = {name: sum(x.counts[name] for x in traced.launches) for name in traced.total}
    assert traced.total == totals
    if PROGRAM is None:
        return
    command = [PROGRAM, "trace", "07", "--shape", "B=1,H=1,Nq=70,Nk=70,d=40", "--json"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (expected,) = said["launches"]
    assert launch.kernel == expected["kernel"], launch.kernel
    assert list(launch.grid) == expected["grid"] and list(launch.block) == expected["block"]
    for name, count in launch.counts.items():
        assert count == expected[name], f"{name}: {count} instead of {expected[name]}"


def test_library_choice():
    """A wheel's library by what the processor can do; a lack of both says what to do."""
    levels = {level: set(flags.split()) for level, flags in _library._LEVELS.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for level in levels:
            (folder / f"libattn-{level}.so").touch()
        pick = lambda flags: getattr(_library._installed(folder, flags), "name", None)  # noqa: E731
        assert pick(levels["x86-64-v4"] | {"sse"}) == "libattn-x86-64-v4.so"
        assert pick(levels["x86-64-v3"]) == "libattn-x86-64-v3.so"
        assert pick(levels["x86-64-v4"] - {"avx512vl"}) == "libattn-x86-64-v3.so"
        assert pick(levels["x86-64-v3"] - {"fma"}) is None
        (folder / "libattn-native.so").touch()
        assert pick(set()) == "libattn-native.so"


if __name__ == "__main__":
    checks = Checks()
    for test in [f for name, f in list(globals().items()) if name.startswith("test_")]:
        checks.run(test)
    sys.exit(checks.end())
