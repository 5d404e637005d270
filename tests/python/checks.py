# SPDX-License-Identifier: MIT
"""What the tests of the Python package share: where the package is, formulas in float64, a harness
that goes on after a failure."""
import contextlib
import math
import os
import pathlib
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]


def import_attn(library):
    """The package of this checkout, on this libattn.so."""
    os.environ["ATTN_LIBRARY"] = str(pathlib.Path(library).resolve())
    sys.path.insert(0, str(ROOT / "common" / "python"))
    import attn

    return attn


class Checks:
    """Runs functions, counts what passed, prints what did not."""

    def __init__(self):
        self.passed = self.failed = 0

    def run(self, function):
        """One test: a function without arguments."""
        try:
            function()
            self.passed += 1
        except Exception:  # a failed test must not stop the others
            self.failed += 1
            print(f"FAILED {function.__name__}:\n{traceback.format_exc()}")

    def end(self):
        """Says how it went; returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


@contextlib.contextmanager
def refused(kind, *expected):
    """The block raises this exception, in one line that holds these parts."""
    try:
        yield
    except kind as error:
        text = str(error)
        assert "\n" not in text, f"more than one line: {text}"
        for part in expected:
            assert part in text, f"'{part}' is not in '{text}'"
        return
    raise AssertionError(f"no {kind.__name__}; expected: {' '.join(expected)}")


def attention(q, k, v, scale, sees, grad_o=None):
    """One head as lists of rows, in float64: o, lse and, with grad_o, dq, dk, dv. sees(i, j)."""
    d, d_v = len(q[0]), len(v[0])
    o = [[0.0] * d_v for _ in q]
    lse = [-math.inf] * len(q)
    dq, dk = [[0.0] * d for _ in q], [[0.0] * d for _ in k]
    dv = [[0.0] * d_v for _ in v]
    for i, row in enumerate(q):
        keys = [j for j in range(len(k)) if sees(i, j)]
        if not keys:
            continue
        s = [scale * sum(a * b for a, b in zip(row, k[j])) for j in keys]
        top = max(s)
        lse[i] = top + math.log(sum(math.exp(x - top) for x in s))
        p = [math.exp(x - lse[i]) for x in s]
        o[i] = [sum(w * v[j][c] for w, j in zip(p, keys)) for c in range(d_v)]
        if grad_o is None:
            continue
        delta = sum(a * b for a, b in zip(grad_o[i], o[i]))
        for w, j in zip(p, keys):
            ds = scale * w * (sum(a * b for a, b in zip(grad_o[i], v[j])) - delta)
            for c in range(d_v):
                dv[j][c] += w * grad_o[i][c]
            for c in range(d):
                dq[i][c] += ds * k[j][c]
                dk[j][c] += ds * row[c]
    return (o, lse) if grad_o is None else (o, lse, dq, dk, dv)
