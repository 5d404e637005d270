#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of what `attn run` does with a cache of keys and values. Needs python3 only.

usage: run_cache_test.py PATH_OF_ATTN

Caches and pools of pages are laid out, filled and appended to here, so that nothing of the
project's own code is trusted; results are compared with the formulas of run_extras_test.py, or with
`attn run oracle` on K and V as arrays. Where no key is valid stands a NaN.
"""
import math
import os
import random
import sys

from cli_test import Cli, assert_close, chapters, read_npy, snapshot, write_npy
from run_extras_test import FLOAT32, Problem, Values, evaluate, flat

NAN = math.nan
TABLE = "--block-table"
CACHE = ["--cache-k", "cache_k.npy", "--cache-v", "cache_v.npy"]
NEW = ["--k", "k.npy", "--v", "v.npy"]
ATTEND = ["--q", "q.npy", "--o", "o.npy", "--lse", "lse.npy"]


class Cache:
    """Two sequences of Hkv = 2 heads, d = 4, in arrays with room for Nk keys, or in pages."""
    B, H, Hkv, d = 2, 6, 2, 4

    def __init__(self, counts, begins=None, page_keys=0, Nk=12, seed=1):
        self.counts, self.begins, self.page_keys, self.Nk = list(counts), begins, page_keys, Nk
        self.rng = random.Random(seed)
        shape = (self.B, self.Hkv, Nk)
        self.k, self.v = ([[[[NAN] * self.d for _ in range(shape[2])] for _ in range(shape[1])]
                           for _ in range(shape[0])] for _ in "kv")
        for b in range(self.B):
            for n in range(self.counts[b]):
                for head in range(self.Hkv):
                    self.k[b][head][self.begin(b) + n] = self.row()
                    self.v[b][head][self.begin(b) + n] = self.row()
        if page_keys:
            entries = -(-Nk // page_keys)
            self.pages = self.B * entries + 2
            pages = list(range(self.pages))
            self.rng.shuffle(pages)
            self.table = [pages[b * entries:(b + 1) * entries] for b in range(self.B)]

    def begin(self, b):
        return self.begins[b] if self.begins else 0

    def row(self):
        return [FLOAT32.round(self.rng.gauss(0, 1)) for _ in range(self.d)]

    def append(self, N_new):
        """Makes up new rows, appends them here; returns them as files have them."""
        new = {}
        for name, array in (("k", self.k), ("v", self.v)):
            new[name] = [[[self.row() for _ in range(N_new)] for _ in range(self.Hkv)]
                         for _ in range(self.B)]
            for b in range(self.B):
                first = self.begin(b) + self.counts[b]
                for head in range(self.Hkv):
                    array[b][head][first:first + N_new] = new[name][b][head]
        self.counts = [count + N_new for count in self.counts]
        return new

    def file(self, array):
        """What stands in the file of a cache, and its shape."""
        numbers = [x for batch in array for head in batch for row in head for x in row]
        if not self.page_keys:
            return numbers, (self.B, self.Hkv, self.Nk, self.d)
        pool = [NAN] * (self.pages * self.Hkv * self.page_keys * self.d)
        for b in range(self.B):
            for head in range(self.Hkv):
                for j in range(self.begin(b), self.begin(b) + self.counts[b]):
                    page = self.table[b][j // self.page_keys]
                    row = (page * self.Hkv + head) * self.page_keys + j % self.page_keys
                    pool[row * self.d:(row + 1) * self.d] = array[b][head][j]
        return pool, (self.pages, self.Hkv, self.page_keys, self.d)

    def needed(self, b, entry):
        first = entry * self.page_keys
        end = self.begin(b) + self.counts[b]
        return self.counts[b] > 0 and first < end and first + self.page_keys > self.begin(b)

    def write(self, integers="<i8", beyond=0):
        """The cache's files; returns the options that name them. Entries of pages without a key,
        and without one among the next `beyond`, are none."""
        for name, array in (("cache_k", self.k), ("cache_v", self.v)):
            write_npy(f"{name}.npy", *self.file(array))
        write_npy("count.npy", self.counts, (self.B,), descr=integers)
        options = [*CACHE, "--key-count", "count.npy"]
        if self.begins:
            write_npy("begin.npy", self.begins, (self.B,), descr="<i8")
            options += ["--key-begin", "begin.npy"]
        if self.page_keys:
            self.counts = [count + beyond for count in self.counts]
            table = [page if self.needed(b, n) else (-1, 2**31 - 1)[n % 2]
                     for b in range(self.B) for n, page in enumerate(self.table[b])]
            self.counts = [count - beyond for count in self.counts]
            write_npy("table.npy", table, (self.B, len(self.table[0])), descr=integers)
            options += [TABLE, "table.npy"]
        return options

    def problem(self, queries, **keywords):
        """The problem whose K and V are this cache, and its values."""
        p = Problem(H=self.H, Hkv=self.Hkv, Nq=queries, Nk=self.Nk, d=self.d, dv=self.d,
                    key_begin=self.begins, key_count=self.counts, **keywords)
        x = Values(p, FLOAT32)
        x.k, x.v = self.k, self.v
        return p, x

    def expect_files(self):
        """The cache's files hold what this cache holds."""
        for name, array in (("cache_k", self.k), ("cache_v", self.v)):
            got, shape = read_npy(f"{name}.npy")
            want, wanted_shape = self.file(array)
            assert shape == wanted_shape, (name, shape)
            for i, (a, b) in enumerate(zip(got, want, strict=True)):
                assert a == b or (a != a and b != b), f"{name}[{i}] = {a}, expected {b}"


def write_queries(p, x):
    write_npy("q.npy", flat(p, x.q), (p.B, p.H, p.Nq, p.d))


def expect_results(p, x):
    expected = evaluate(p, x, FLOAT32)
    for name in ("o", "lse"):
        assert_close(name, read_npy(f"{name}.npy")[0], flat(p, expected[name]))


def attends(cli, chapter, queries, cache, options, integers="<i8", **keywords):
    """One run on a cache is what the formulas give for its valid keys, and changes no input."""
    p, x = cache.problem(queries, **keywords)
    files = cache.write(integers)
    write_queries(p, x)
    before = snapshot()
    assert cli.succeed("run", chapter, *ATTEND, *files, *options) == ""
    expect_results(p, x)
    after = snapshot()
    assert {name: after[name] for name in before} == before, "an input was changed"


def decodes(cli, chapter, cache, tokens, integers="<i8", options=(), **keywords):
    """Appends and attends, step by step."""
    for N_new in tokens:
        files = cache.write(integers, beyond=N_new)
        new = cache.append(N_new)
        for name in "kv":
            numbers = [y for batch in new[name] for head in batch for row in head for y in row]
            write_npy(f"{name}.npy", numbers, (cache.B, cache.Hkv, N_new, cache.d))
        p, x = cache.problem(N_new, causal=True, **keywords)
        write_queries(p, x)
        done = cli.run("run", chapter, *ATTEND, *NEW, *files, "--append", "--causal", *options)
        assert done.returncode == 0 and done.stdout == "", done
        assert f"{N_new} new keys appended, forward by {chapter}" in done.stderr, done.stderr
        assert "cache_k.npy, cache_v.npy, count.npy" in done.stderr, done.stderr
        assert read_npy("count.npy", integers)[0] == cache.counts
        cache.expect_files()
        expect_results(p, x)


def results(cli):
    test = cli.test
    known = chapters(cli)
    takers = ["oracle"] + [c["id"] for c in known if {"key counts", "grouped heads"} <=
                           set(c["features"]) and any("float32" in step["forward_elements"]
                                                      for step in c["steps"])]
    for chapter in takers:
        test(f"{chapter}: a cache", lambda: attends(cli, chapter, 2, Cache((5, 12)), []))
        test(f"{chapter}: a cache with padding", lambda: attends(
            cli, chapter, 1, Cache((4, 0), [3, 12]), [], "<i4"))
    pagers = ["oracle"] + [c["id"] for c in known if "a paged cache" in c["features"]]
    assert len(pagers) > 1, pagers
    for chapter in pagers:
        for page_keys in (1, 4, 5, 16):
            room = page_keys * -(-12 // page_keys)
            test(f"{chapter}: pages of {page_keys}", lambda: attends(
                cli, chapter, 2, Cache((5, 12), None, page_keys, room), ["--causal"], causal=True))
        test(f"{chapter}: pages, padding, a window", lambda: attends(
            cli, chapter, 3, Cache((6, 7), [5, 1], 4), ["--window", "2,0", "--sinks", "1"], "<i4",
            window=(2, 0), sinks=1))
        test(f"{chapter}: pages, no keys", lambda: attends(
            cli, chapter, 1, Cache((0, 3), None, 4), []))
    appenders = [c["id"] for c in known if c["appends"]]
    assert len(appenders) > 1, appenders
    for chapter in appenders:
        test(f"{chapter}: tokens one by one", lambda: decodes(
            cli, chapter, Cache((0, 3)), (1, 1, 3, 1)))
        test(f"{chapter}: tokens behind padding", lambda: decodes(
            cli, chapter, Cache((2, 5), [3, 1]), (2, 1), "<i4"))
    for chapter in set(appenders) & set(pagers):
        test(f"{chapter}: tokens into pages", lambda: decodes(
            cli, chapter, Cache((0, 3), None, 4), (1, 3, 4, 1)))
        test(f"{chapter}: tokens into pages behind padding", lambda: decodes(
            cli, chapter, Cache((2, 5), [3, 1], 4), (2, 1), "<i4"))
    return known


def shared_prefix(cli, chapter):
    """Two sequences whose first page is the same page."""
    cache = Cache((6, 11), None, 4)
    cache.table[1][0] = cache.table[0][0]
    for array in (cache.k, cache.v):
        for head in range(cache.Hkv):
            array[1][head][:4] = array[0][head][:4]
    attends(cli, chapter, 1, cache, [])
    decodes(cli, chapter, cache, (1,))


# ---- refusals ------------------------------------------------------------------------------------


def write_good_files(page_keys=4, new=1):
    """A cache with keys 0 to 5 and 0 to 9 of 12, queries, and new rows."""
    cache = Cache((6, 10), None, page_keys)
    files = cache.write(beyond=new)
    p, x = cache.problem(1)
    write_queries(p, x)
    for name in "kv":
        write_npy(f"{name}.npy", [0.5] * (4 * new * 4), (2, 2, new, 4))
    return cache, files


def refusals(cli, paged, plain, nobody):
    """`paged`, `plain`: chapters with such a cache; `nobody`: one without."""
    def refuse(status, options, expected, page_keys=4, chapter=paged, change=None, new=1):
        def one():
            _, files = write_good_files(page_keys, new)
            if change is not None:
                change()
            cli.refuse(status, ["run", chapter, *ATTEND, *(options(files) if callable(options)
                                                           else options)], f"attn: {expected}")
            _, files = write_good_files(page_keys)
            if chapter == paged:
                cli.succeed("run", chapter, *ATTEND, *files)
        cli.test(f"{expected}", one)

    def all_of(*more):
        return lambda files: [*files, *more]

    # Which options go together.
    both = "allowed: both together"
    refuse(2, NEW[:2], "--v: missing; allowed: a file, or a cache by --cache-k and --cache-v")
    refuse(2, NEW[2:], "--k: missing; allowed: a file, or a cache by --cache-k and --cache-v")
    refuse(2, CACHE[:2], f"--cache-k cache_k.npy: given without --cache-v; {both}")
    refuse(2, CACHE[2:], f"--cache-v cache_v.npy: given without --cache-k; {both}")
    refuse(2, [*NEW, TABLE, "table.npy"], f"{TABLE} table.npy: given without --cache-k; {both}")
    refuse(2, [*NEW, "--append"], f"--append: given without --cache-k; {both}")
    refuse(2, [*NEW, *CACHE, "--append"], f"--append: given without --key-count; {both}")
    refuse(2, all_of(*NEW), "--k k.npy: given with --cache-k; allowed: one of the two, or --append")
    refuse(2, all_of("--append"), "--k: missing; allowed: a file of new keys, with --append")
    refuse(2, all_of("--layout", "BNHd"), "--layout BNHd: given with --cache-k")
    refuse(2, all_of("--cu-seqlens", "count.npy"), "--cu-seqlens count.npy: given with --cache-k")
    refuse(2, all_of("--do", "q.npy", "--dq", "dq.npy"), "--do q.npy: given with --cache-k",
           chapter="oracle")
    refuse(2, all_of(*NEW, "--append"), "--append: the oracle has no cache", chapter="oracle")
    refuse(2, all_of(*NEW, "--append", "--dlse", "q.npy"), "--dlse q.npy: given without --do")

    # Files that are written in place are nobody else's.
    def one_file():
        write_npy("cache_v.npy", [0.5], (1,))
        os.remove("cache_v.npy")
        os.symlink("cache_k.npy", "cache_v.npy")

    refuse(2, all_of(*NEW, "--append"), "--cache-v cache_v.npy: it is the file of --cache-k too",
           change=one_file)
    refuse(2, lambda files: [*files[:3], "k.npy", *files[4:], *NEW, "--append"],
           "--cache-v k.npy: it is the file of --k too")

    # Shapes.
    def with_file(name, shape, descr="<f4"):
        return lambda: write_npy(name, [0] * math.prod(shape), shape, descr=descr)

    for name, shape, expected in (
        ("cache_k", (8, 2, 4), "--cache-k cache_k.npy: rank 3; allowed: [N,d] or [B,H,N,d]"),
        ("cache_k", (4, 4), "--cache-k cache_k.npy: rank 2; allowed: [pages,Hkv,page_keys,d]"),
        ("cache_v", (7, 2, 4, 4), "--cache-v cache_v.npy: pages = 7; allowed: 8, as in --cache-k"),
        ("cache_v", (8, 1, 4, 4), "--cache-v cache_v.npy: H = 1; allowed: 2, as in --cache-k"),
        ("cache_v", (8, 2, 5, 4), "--cache-v cache_v.npy: page_keys = 5; allowed: 4, as in"),
        ("q", (2, 5, 1, 4), "--cache-k cache_k.npy: 2 heads; allowed: a divisor of 5"),
        ("q", (2, 6, 1, 3), "--cache-k cache_k.npy: d = 4; allowed: 3, as in --q"),
        ("q", (3, 6, 1, 4), f"{TABLE} table.npy: shape (2,3); allowed: (3,n), n pages of"),
    ):
        refuse(2, all_of(), expected, change=with_file(f"{name}.npy", shape))
    refuse(2, all_of(), f"{TABLE} table.npy: shape (6); allowed: (2,n)",
           change=with_file("table.npy", (6,), "<i8"))
    refuse(2, all_of(), f"{TABLE} table.npy: type <f4; allowed: <i4 (int32) or <i8 (int64)",
           change=with_file("table.npy", (2, 3)))

    def empty_pages():
        for name in ("cache_k.npy", "cache_v.npy"):
            write_npy(name, [], (8, 2, 0, 4))

    refuse(2, all_of(), "--cache-k cache_k.npy: pages of 0 keys; allowed: 1 or more",
           change=empty_pages)
    for name, shape, expected in (
        ("k", (2, 3, 1, 4), "--k k.npy: H = 3; allowed: 2, as in --cache-k cache_k.npy"),
        ("k", (2, 2, 1, 3), "--k k.npy: d = 3; allowed: 4, as in --q q.npy"),
        ("k", (1, 2, 1, 4), "--k k.npy: B = 1; allowed: 2, as in --q q.npy"),
        ("v", (2, 2, 2, 4), "--v v.npy: N = 2; allowed: 1, as in --k k.npy"),
        ("k", (1, 4), "--k k.npy: rank 2; allowed: 4, the rank of --q q.npy"),
    ):
        refuse(2, all_of(*NEW, "--append"), expected, change=with_file(f"{name}.npy", shape))
    refuse(2, all_of(*NEW, "--append"),
           "--cache-v cache_v.npy: type <f8; allowed: <f4 (float32), with --append",
           change=with_file("cache_v.npy", (8, 2, 4, 4), "<f8"))

    # What the table and the counts say.
    def table(*numbers):
        return lambda: write_npy("table.npy", numbers, (2, 3), descr="<i8")

    for chapter in (paged, "oracle"):
        refuse(2, all_of(), f"{TABLE} table.npy: block_table[0][1] = 8: allowed: 0 to pages - 1",
               change=table(0, 8, -1, 1, 2, 3), chapter=chapter)
        refuse(2, all_of(), f"{TABLE} table.npy: block_table[1][2] = -1: allowed: 0 to pages - 1",
               change=table(0, 4, -1, 1, 2, -1), chapter=chapter)
    appended = all_of(*NEW, "--append")
    refuse(2, appended, "--key-count count.npy: key_count[1] = 10: from key_begin = 0 on there is "
           "room for 12 keys, with 3 new ones", new=3)
    refuse(2, appended, f"{TABLE} table.npy: block_table[0][1] = 8: allowed: 0 to pages - 1 = 7",
           change=table(0, 8, -1, 1, 2, 3))
    refuse(2, appended, f"{TABLE} table.npy: block_table[0][1] = 2: it is block_table[1][1], too; "
           "allowed: a page to be written is of one sequence alone, copy it first",
           change=table(0, 2, -1, 1, 2, 3))
    refuse(2, appended, "--key-count count.npy: key_count[1] = 10: from key_begin = 0 on there is "
           "room for 12 keys, with 3 new ones", page_keys=0, chapter=plain, new=3)
    # A request that is refused after the append: nothing is written.
    refuse(3, all_of(*NEW, "--append", "--softcap", "2"),
           "--softcap 2: this chapter does not take a softcap")

    # Who takes it.
    refuse(3, all_of(), f"{TABLE} table.npy: this chapter does not take a paged cache",
           chapter=plain)
    refuse(3, appended, f"{TABLE} table.npy: this chapter does not take a paged cache",
           chapter=plain)
    refuse(3, appended, f"--append: {nobody} has no cache to append to", page_keys=0,
           chapter=nobody)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli = Cli(os.path.abspath(sys.argv[1]))
    if any(step["runs_on"] == "no CUDA device" for c in chapters(cli) for step in c["steps"]):
        print("skipped: no CUDA device")
        return
    known = results(cli)
    paged = next(c["id"] for c in known if c["appends"] and "a paged cache" in c["features"])
    plain = next(c["id"] for c in known if c["appends"] and "a paged cache" not in c["features"])
    nobody = next(c["id"] for c in known if not c["appends"] and "key counts" in c["features"])
    cli.test("a common prefix", lambda: shared_prefix(cli, paged))
    refusals(cli, paged, plain, nobody)
    print(f"{cli.passed} passed, {cli.failed} failed")
    sys.exit(1 if cli.failed or not cli.passed else 0)


if __name__ == "__main__":
    main()
