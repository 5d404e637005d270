# SPDX-License-Identifier: MIT
"""One forward or backward pass of any chapter's step, on arrays as they lie."""
import contextlib
import ctypes
import functools
import math
from typing import Any, NamedTuple

from . import _library
from ._arrays import Arrays, bad, empty, empty_as, integer, number
from ._errors import Error
from ._trace import Trace

_ROWS = _library.ELEMENTS
_FLOAT = ("float32",)


class Forward(NamedTuple):
    """What a forward pass made, and which step did."""

    o: Any  # [B, H, Nq, d_v]
    lse: Any  # [B, H, Nq], float32, natural logarithm
    chapter: str
    step: str


class Backward(NamedTuple):
    """What a backward pass made: gradients of the arrays they are named after."""

    q: Any
    k: Any
    v: Any
    bias: Any  # None where it was not asked for, as the next one
    sink_logits: Any
    chapter: str
    step: str


class Step(NamedTuple):
    """One line of attn.steps()."""

    chapter: str
    step: str
    loops: bool  # plain C++ on this computer's CPU; else kernels, on the CPU machine
    forward: tuple  # the elements that the pass takes; empty: there is no such pass
    backward: tuple
    features: tuple  # beyond one diagonal and [B, H, N, d]


def steps():
    """Every step of every chapter, in reading order, and the reader's own ("mine")."""
    found = []
    for line in _library.library().attn_c_steps().decode().splitlines():
        chapter, step, kind, *lists = line.split("\t")
        forward, backward, features = (tuple(filter(None, one.split(","))) for one in lists)
        found.append(Step(chapter, step, kind == "loops", forward, backward, features))
    return found


@functools.cache
def _step_table():
    return steps()


def _steps_of(chapter, step):
    """The steps that a chapter and a step by these names may mean."""
    chapter, step = str(chapter), str(step)
    number = chapter.zfill(2) + "_"
    found = [s for s in _step_table() if s.chapter == chapter]
    if chapter:
        found = found or [s for s in _step_table() if s.chapter.startswith(number)]
    return [s for s in found if not step or s.step == step]


def takes_strides(chapter, step):
    """Whether arrays need no copy, wherever their rows lie."""
    if not str(chapter):
        return True
    passes = [s for s in _steps_of(chapter, step) if s.forward and (step or not s.loops)]
    return bool(passes) and "strides" in passes[-1].features


def fits_plain_loops(q, k, v):
    """Whether 08's loops take rows of these shapes, without masks and else, once they have no
    gaps."""
    return q[1] == k[1] and q[3] == v[3] and q[3] <= 128


def has_kernels(chapter, step):
    """Whether this step runs on the CPU machine, which counts."""
    return any(not s.loops for s in _steps_of(chapter, step))


def backward_of(chapter, step, element):
    """Who computes the gradients of what this chapter and step computed."""
    if not str(chapter):
        return "", ""
    plain = str(step) == "cpu"
    for one in reversed(_steps_of(chapter, step if plain else "")):
        if element in one.backward and one.loops == plain:
            return one.chapter, one.step
    return "", ""


_tracing = []


@contextlib.contextmanager
def tracing(trace):
    """Gives this trace, or none, to what operators of torch's call inside the block."""
    _tracing.append(trace)
    try:
        yield
    finally:
        _tracing.pop()


def current_trace():
    """The trace of the innermost tracing()."""
    return _tracing[-1] if _tracing else None


def _put(call, name, view):
    setattr(call, name, _library.Array(view.address, view.bytes))


class _Request:
    """Fills an attn_c_call and runs it."""

    def __init__(self, arrays, pass_, chapter, step, trace):
        self.arrays = arrays
        self.call = _library.Call()
        self.call.pass_ = pass_
        self.call.chapter = str(chapter).encode()
        self.call.step = str(step).encode()
        self.call.before = self.call.after = _library.UNBOUNDED
        self.trace = trace
        if trace is not None:
            if not isinstance(trace, Trace):
                bad(f"trace = {trace!r}: allowed: an attn.Trace, or None")
            self.call.trace = trace.handle

    def rows(self, name, array, stored_as, *, written=False, element=None):
        """Q, K, V, O or a gradient of theirs; `stored_as` is whose strides it has."""
        allowed = _ROWS if element is None else (element,)
        view = self.arrays.view(name, array, elements=allowed, written=written)
        axes = 3 if self.packed else 4
        if len(view.shape) != axes:
            expected = "[heads, total, d]" if self.packed else "[B, H, N, d]"
            bad(f"{name}: shape {view.shape}; allowed: {axes} axes, {expected}")
        _put(self.call, name, view)
        if self.packed:
            if not view.contiguous():
                bad(f"{name}: strides {view.strides}; allowed with offsets: rows without gaps")
            return view
        strides = view.row_strides()
        field = f"{stored_as}_strides"
        if name == stored_as:
            setattr(self.call, field, (ctypes.c_int64 * 3)(*strides))
        elif tuple(getattr(self.call, field)) != strides:
            bad(f"{name}: strides {view.strides}; allowed: those of {stored_as}")
        return view

    def numbers(self, name, array, shape, *, written=False):
        """A float32 array of this shape without gaps."""
        view = self.arrays.view(name, array, elements=_FLOAT, written=written)
        if view.shape != tuple(shape):
            bad(f"{name}: shape {view.shape}; allowed: {tuple(shape)}")
        if not view.contiguous():
            bad(f"{name}: strides {view.strides}; allowed: an array without gaps")
        _put(self.call, name, view)

    def inputs(self, q, k, v, q_offsets, k_offsets, block_table=None):
        """Q, K and V: the sizes of the problem."""
        if (q_offsets is None) != (k_offsets is None):
            bad("q_offsets, k_offsets: one of them is missing; allowed: both, or none")
        self.packed = q_offsets is not None
        q = self.rows("q", q, "q")
        k = self.rows("k", k, "k", element=q.element)
        v = self.rows("v", v, "v", element=q.element)
        if v.shape[:-1] != k.shape[:-1]:
            bad(f"v: shape {v.shape}; allowed: that of k, {k.shape}, but for the last axis")
        if k.shape[-1] != q.shape[-1]:
            bad(f"k: shape {k.shape}; allowed: the last axis of q, {q.shape[-1]}")
        if not self.packed and block_table is None and k.shape[0] != q.shape[0]:
            bad(f"k: shape {k.shape}; allowed: the first axis of q, {q.shape[0]}")
        call = self.call
        call.element = _ROWS.index(q.element)
        call.d, call.d_v = q.shape[-1], v.shape[-1]
        if call.d_v == 0:
            bad(f"v: shape {v.shape}; allowed: rows of 1 element or more")
        if self.packed:
            offsets = [self.arrays.integers("q_offsets", q_offsets)]
            offsets.append(self.arrays.integers("k_offsets", k_offsets))
            for name, view, total in zip(("q_offsets", "k_offsets"), offsets, (q, k)):
                _put(call, name, view)
                numbers = (ctypes.c_int64 * math.prod(view.shape)).from_address(view.address)
                if len(numbers) < 2 or numbers[-1] != total.shape[1]:
                    bad(f"{name}: {list(numbers)[:8]}; allowed: from 0 to {total.shape[1]}")
            lengths = [
                max(b - a for a, b in zip(numbers, numbers[1:]))
                for numbers in (
                    (ctypes.c_int64 * math.prod(view.shape)).from_address(view.address)[:]
                    for view in offsets
                )
            ]
            call.B = math.prod(offsets[0].shape) - 1
            call.H, call.Hkv = q.shape[0], k.shape[0]
            call.Nq, call.Nk = lengths
            self.o_shape = (*q.shape[:2], v.shape[-1])
        else:
            call.B, call.H, call.Nq = q.shape[:3]
            call.Hkv, call.Nk = k.shape[1:3]
            self.o_shape = (*q.shape[:3], v.shape[-1])
        if block_table is not None:
            self.pages(k.shape, block_table)
        self.q = q

    def pages(self, shape, block_table):
        """The table of a pool of this shape: Nk is what its pages have room for."""
        call = self.call
        if len(shape) != 4 or shape[2] == 0:
            bad(f"k: shape {shape}; allowed with block_table: [pages, Hkv, page_keys, d]")
        call.pages, call.Hkv, call.page_keys = shape[:3]
        table = self.arrays.integers("block_table", block_table)
        entries = math.prod(table.shape)
        columns, rest = divmod(entries, call.B) if call.B else (0, entries)
        if rest:
            bad(f"block_table: {entries} numbers; allowed: as many for each of B = {call.B}")
        call.Nk = columns * call.page_keys
        _put(call, "block_table", table)

    def features(
        self,
        *,
        scale=None,
        causal=False,
        window=None,
        top_left=False,
        mask=None,
        bias=None,
        key_begin=None,
        key_count=None,
        ranges=None,
        sink_keys=0,
        softcap=0.0,
        alibi=None,
        sink_logits=None,
        dropout=0.0,
        seed=0,
    ):
        """Everything else that a problem may have; forward() explains it."""
        call, arrays = self.call, self.arrays
        if scale is None:
            scale = 1 / math.sqrt(max(call.d, 1))
        call.scale = number("scale", scale)
        call.top_left = bool(top_left)
        if window is not None:
            before, after = window
            if before is not None:
                call.before = integer("window", before)
            if after is not None:
                call.after = integer("window", after)
        if causal:
            if window is not None:
                bad("causal: given with a window; allowed: window=(before, 0)")
            call.after = 0
        if mask is not None:
            view, sizes = arrays.pairs("mask", mask, elements=("bool", "uint8"))
            _put(call, "mask", view)
            call.mask_sizes = sizes
        if bias is not None:
            view, sizes = arrays.pairs("bias", bias, elements=_FLOAT)
            _put(call, "bias", view)
            call.bias_sizes = sizes
        for name, values in (("key_begin", key_begin), ("key_count", key_count)):
            if values is not None:
                _put(call, name, arrays.integers(name, values))
        if ranges is not None:
            view = arrays.integers("ranges", ranges)
            _put(call, "ranges", view)
            rows = call.B * call.Nq
            numbers = math.prod(view.shape)
            call.ranges_per_row = 1 if numbers == 2 * rows else 2
        for name, values in (("alibi", alibi), ("sink_logits", sink_logits)):
            if values is not None:
                self.numbers(name, values, (call.H,))
        call.sink_keys = integer("sink_keys", sink_keys)
        call.softcap = number("softcap", softcap)
        call.dropout = number("dropout", dropout)
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            bad(f"seed = {seed!r}: allowed: from 0 to 2^64 - 1")
        call.dropout_seed = seed

    def run(self):
        """Runs it; returns chapter and step."""
        try:
            _library.run(self.call)
        except Error as error:
            error.trace = self.trace
            raise
        return self.call.ran_chapter.decode(), self.call.ran_step.decode()


def append(
    k,
    v,
    new_k,
    new_v,
    *,
    chapter,
    step,
    trace,
    key_begin,
    key_count,
    block_table=None,
):
    """New keys and values into a cache, or into pools of pages; attn.append() explains it."""
    with Arrays() as arrays:
        request = _Request(arrays, _library.APPEND, chapter, step, trace)
        call = request.call
        shape = arrays.view("k", k, elements=_FLOAT, written=True).shape
        new_shape = arrays.view("new_k", new_k, elements=_FLOAT).shape
        call.B = shape[0] if block_table is None else len(block_table)
        call.Hkv, call.Nk, call.d = shape[1:]
        call.N_new = new_shape[2] if len(new_shape) == 4 else 0
        for name, array in (("new_k", new_k), ("new_v", new_v)):
            request.numbers(name, array, (call.B, call.Hkv, call.N_new, call.d))
        for name, array in (("k", k), ("v", v)):
            request.numbers(name, array, shape, written=True)
        for name, values in (("key_begin", key_begin), ("key_count", key_count)):
            _put(call, name, arrays.integers(name, values))
        if block_table is not None:
            request.pages(shape, block_table)
        request.run()


def forward(
    q,
    k,
    v,
    *,
    chapter="",
    step="",
    q_offsets=None,
    k_offsets=None,
    block_table=None,
    o=None,
    lse=None,
    trace=None,
    **features,
):
    """O and LSE of one forward pass.

    q [B, H, Nq, d], k [B, Hkv, Nk, d], v [B, Hkv, Nk, d_v]: NumPy arrays, torch's CPU tensors, or
    buffers of float32 (some chapters: bfloat16, float16). They are read where they lie; the
    elements of a row lie side by side, rows as far apart as they like where the chapter takes
    strides. What would need a copy is refused. With q_offsets and k_offsets ([B + 1] integers) the
    arrays are [heads, total, d], sequences one behind the other. With block_table ([B, n] integers)
    k and v are pools of pages, [pages, Hkv, page_keys, d], of which a sequence has n.

    chapter, step: by id or number ("07", "mine"; "cpu" is a chapter's plain C++ loops; without a
    step it is the last one). No chapter: the fastest plain loops that take the request, 08's,
    16's, or of pages 18's. o, lse: arrays to be written; otherwise new ones of q's kind. trace: an
    attn.Trace, which counts what the kernels access.

    features, all as in notes/semantics.md, "Beyond one diagonal":
      scale        a finite number; 1/sqrt(d)
      causal       row i sees key j <= i + Nk - Nq; with top_left=True j <= i
      window       (before, after) keys around the row's own, None: no bound; also top_left
      mask         bool, broadcast to [B, H, Nq, Nk]: true where the row sees the key
      bias         float32, broadcast likewise: added to the logits; -inf hides the key
      key_begin, key_count   [B]: which keys of a batch are valid
      ranges       [B, Nq, 2] or [B, Nq, 4]: begin and end of the keys of every row
      sink_keys    so many first keys stay visible in a window
      softcap, alibi [H], sink_logits [H], dropout with seed

    Raises BadArgument, Unsupported, DeviceFailure; then nothing was written.
    """
    with Arrays() as arrays:
        request = _Request(arrays, _library.FORWARD, chapter, step, trace)
        request.inputs(q, k, v, q_offsets, k_offsets, block_table)
        request.features(**features)
        if o is None:
            o = empty(q, request.o_shape, request.q.element)
        if lse is None:
            lse = empty(q, request.o_shape[:-1])
        view = request.rows("o", o, "o", written=True, element=request.q.element)
        if view.shape != request.o_shape and 0 not in request.o_shape:
            bad(f"o: shape {view.shape}; allowed: {request.o_shape}")
        request.numbers("lse", lse, request.o_shape[:-1], written=True)
        return Forward(o, lse, *request.run())


def backward(
    q,
    k,
    v,
    o,
    lse,
    grad_o,
    *,
    chapter="",
    step="",
    q_offsets=None,
    k_offsets=None,
    grad_lse=None,
    grad_q=None,
    grad_k=None,
    grad_v=None,
    want_grad_bias=False,
    want_grad_sink_logits=False,
    trace=None,
    **features,
):
    """Gradients of one backward pass; o and lse are those of forward() on the same inputs.

    grad_o and grad_lse are what arrives at o and lse. grad_q, grad_k, grad_v: arrays to be written,
    which lie as q, k and v do; otherwise new ones. Everything else as in forward().
    """
    with Arrays() as arrays:
        request = _Request(arrays, _library.BACKWARD, chapter, step, trace)
        request.inputs(q, k, v, q_offsets, k_offsets)
        request.features(**features)
        element = request.q.element
        for name, array in (("o", o), ("grad_o", grad_o)):
            view = request.rows(name, array, "o", element=element)
            if view.shape != request.o_shape:
                bad(f"{name}: shape {view.shape}; allowed: {request.o_shape}")
        request.numbers("lse", lse, request.o_shape[:-1])
        if grad_lse is not None:
            request.numbers("grad_lse", grad_lse, request.o_shape[:-1])
        gradients = []
        for name, of, given in (("q", q, grad_q), ("k", k, grad_k), ("v", v, grad_v)):
            lies = arrays.view(name, of, elements=_ROWS)
            gradient = empty_as(of, lies) if given is None else given
            view = request.rows(f"grad_{name}", gradient, name, written=True, element=element)
            if view.shape != lies.shape:
                bad(f"grad_{name}: shape {view.shape}; allowed: {lies.shape}")
            gradients.append(gradient)
        grad_bias = grad_sinks = None
        if want_grad_bias:
            if features.get("bias") is None:
                bad("grad_bias: given without a bias; allowed: both together")
            sizes = tuple(request.call.bias_sizes)
            grad_bias = empty(q, sizes)
            request.numbers("grad_bias", grad_bias, sizes, written=True)
        if want_grad_sink_logits:
            grad_sinks = empty(q, (request.call.H,))
            request.numbers("grad_sink_logits", grad_sinks, (request.call.H,), written=True)
        return Backward(*gradients, grad_bias, grad_sinks, *request.run())


def trace(q, k, v, *, chapter, step="", **options):
    """A Trace of one forward pass of a chapter's kernels: launches, counts, detections."""
    traced = Trace()
    forward(q, k, v, chapter=chapter, step=step, trace=traced, **options)
    return traced
