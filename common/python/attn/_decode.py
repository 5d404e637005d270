# SPDX-License-Identifier: MIT
"""Token by token: a cache of keys and values, what a new token puts into it, and what it reads."""
from . import _call
from ._arrays import Arrays, bad


def _integers(name, values):
    """A list of integers, of a list or an array of them."""
    try:
        values = values.tolist() if hasattr(values, "tolist") else list(values)
    except TypeError as error:
        bad(f"{name}: {error}; allowed: integers")
    if not all(isinstance(one, int) for one in values):
        bad(f"{name}: {values}; allowed: integers")
    return values


class Cache:
    """Keys and values of B sequences so far, in arrays with room for more.

    k, v: float32, [B, Hkv, Nk, d] without gaps, NumPy's or torch's; append() writes into them.
    Sequence b has the keys key_begin[b] .. key_begin[b] + key_count[b] - 1. Both are lists that the
    caller may change: lower a count to take tokens back, begin later where prompts of different
    lengths were padded on the left. What stands in other rows is never read.
    """

    chapter = "17_decode"  # whose loops take such a cache, where nobody else is asked for

    def __init__(self, k, v, *, key_count=None, key_begin=None):
        self._set(k, v, "[B, Hkv, Nk, d]")
        self._set_counts(k.shape[0], key_count, key_begin)

    def _set(self, k, v, axes):
        with Arrays() as arrays:
            views = [
                arrays.view(name, array, elements=("float32",), written=True)
                for name, array in (("k", k), ("v", v))
            ]
        for view in views:
            if len(view.shape) != 4 or view.shape != views[0].shape:
                bad(f"{view.name}: shape {view.shape}; allowed: two arrays {axes} of one shape")
            if not view.contiguous():
                bad(f"{view.name}: strides {view.strides}; allowed: an array without gaps")
        self.k, self.v = k, v

    def _set_counts(self, B, key_count, key_begin):
        self.key_count = [0] * B if key_count is None else _integers("key_count", key_count)
        self.key_begin = [0] * B if key_begin is None else _integers("key_begin", key_begin)
        for name, values in (("key_count", self.key_count), ("key_begin", self.key_begin)):
            if len(values) != B:
                bad(f"{name}: {len(values)} of them; allowed: B = {B}")

    def _where(self):
        """What a call is to be told of where the keys are."""
        return {"key_begin": self.key_begin, "key_count": self.key_count}

    def _append(self, N_new, write):
        """Room for so many keys, which write(where they are) fills."""
        write(self._where())


class PagedCache(Cache):
    """The same in pages, which sequences take when they need them.

    k, v: pools, float32, [pages, Hkv, page_keys, d] without gaps. block_table: for each sequence
    the list of its pages, [[]] * B for B that have none yet; key j is row j % page_keys of page
    block_table[b][j // page_keys]. append() takes pages from `free`, the list of those that no
    table names, and release() gives back those of a sequence. Sequences may share pages; append()
    refuses to write into one that is shared, so copy it first.
    """

    chapter = "18_paged"

    def __init__(self, k, v, block_table, *, key_count=None, key_begin=None):
        self._set(k, v, "[pages, Hkv, page_keys, d]")
        rows = enumerate(block_table)
        self.block_table = [_integers(f"block_table[{b}]", row) for b, row in rows]
        self._set_counts(len(self.block_table), key_count, key_begin)
        if k.shape[2] == 0:
            bad(f"k: shape {tuple(k.shape)}; allowed: pages of 1 key or more")
        taken = {page for row in self.block_table for page in row}
        self.free = [page for page in range(k.shape[0]) if page not in taken]

    def release(self, b):
        """Sequence b has ended: those of its pages are free that no other table names."""
        own, self.block_table[b] = self.block_table[b], []
        named = {page for row in self.block_table for page in row}
        pages = range(self.k.shape[0])
        self.free += [page for page in dict.fromkeys(own) if page in pages and page not in named]
        self.key_begin[b] = self.key_count[b] = 0

    def _where(self):
        return self._where_with(self.block_table)

    def _where_with(self, table):
        columns = max(map(len, table), default=0)
        rows = [row + [-1] * (columns - len(row)) for row in table]  # what is not there is not read
        return super()._where() | {"block_table": rows}

    def _append(self, N_new, write):
        page_keys, free, table = self.k.shape[2], list(self.free), []
        for b, row in enumerate(self.block_table):
            keys = self.key_begin[b] + self.key_count[b] + N_new if N_new else 0
            missing = max(0, -(-keys // page_keys) - len(row))
            if missing > len(free):
                bad(
                    f"block_table[{b}]: {len(row)} pages, and {missing} more for {N_new} new keys; "
                    f"allowed: as many as are free, {len(free)}"
                )
            table.append(row + free[:missing])
            free = free[missing:]
        write(self._where_with(table))
        self.block_table, self.free = table, free


def _whose(cache, chapter, step):
    """Chapter and step: the loops of the cache's own chapter where none is named."""
    if not isinstance(cache, Cache):
        bad(f"cache: {type(cache).__name__}; allowed: attn.Cache, attn.PagedCache")
    return (chapter, step) if str(chapter) else (cache.chapter, step or "cpu")


def append(cache, new_k, new_v, *, chapter="", step="", trace=None):
    """Puts new keys and values, [B, Hkv, N_new, d] without gaps, behind those that the cache has.

    Raises its counts, and takes pages where it has pages. chapter, step: whose append writes; no
    chapter: the plain loops of 17, or of 18 for pages; a step of kernels: the chapter's kernel, on
    copies of the whole cache. trace: an attn.Trace.

    Raises BadArgument where there is no room or a page is shared; then nothing was written, and no
    page taken.
    """
    chapter, step = _whose(cache, chapter, step)
    N_new = new_k.shape[2] if len(getattr(new_k, "shape", ())) == 4 else 0
    options = {"chapter": chapter, "step": step, "trace": trace}
    cache._append(
        N_new, lambda where: _call.append(cache.k, cache.v, new_k, new_v, **options, **where)
    )
    cache.key_count = [int(count) + N_new for count in cache.key_count]


def decode(q, cache, *, chapter="", step="", causal=True, window=None, **options):
    """O and LSE (an attn.Forward) of the last Nq tokens, whose keys are in the cache already.

    q: [B, H, Nq, d] without gaps, Nq = 1 for one new token. causal: row i sees the keys up to its
    own, which for the last row is the cache's last one; else all. window: (before, after) as in
    attn.forward(), in place of causal. options: sink_keys, scale, o, lse, trace, and what else
    attn.forward() has, as far as the chapter takes it.

    chapter, step: as in attn.forward(); no chapter: 17's, or 18's for pages, and no step then their
    plain loops.
    """
    chapter, step = _whose(cache, chapter, step)
    B, shape = len(cache.key_count), tuple(getattr(q, "shape", ()))
    if shape and shape[0] != B:
        bad(f"q: shape {shape}; allowed: B = {B}, as many sequences as the cache has")
    return _call.forward(
        q,
        cache.k,
        cache.v,
        chapter=chapter,
        step=step,
        causal=causal and window is None,
        window=window,
        **cache._where(),
        **options,
    )
