# SPDX-License-Identifier: MIT
"""What a GPU will take, said before it is measured, so that a measurement can refute it.

Of every step two numbers. At least: the largest of its parts, as if they ran at the same time. At
most: all of them, one after the other, as if nothing overlapped. The parts are the lower bound, the
estimate of its instruction issue, where there is one, and its compulsory bytes at the memory's
rate. What neither covers is waiting: a kernel with too few warps may take longer than both.

Where nobody counted its instructions, a step is predicted only if shared memory sets its bound: a
wavefront takes an SM as long as four instructions do. Others may issue for longer than they load.
"""
import datetime
import subprocess

from . import DECODING, FULL, LONG, ROOT, SHAPE, heads_of
from .issue import issue_estimate_seconds, tensor_issue_seconds

SHAPES = ({**FULL, "N": SHAPE["Nq"], "d": SHAPE["d"]}, LONG)


def issue_seconds(step, shape, multiprocessors, sass):
    sizes = {"B": shape["B"], "H": shape["H"], "Nq": shape["N"], "Nk": shape["N"], "d": shape["d"]}
    if step["total"].get("mma_instructions") or step["total"].get("wgmma_instructions"):
        times = heads_of(shape) * (shape["N"] / SHAPE["Nq"]) ** 2
        found = tensor_issue_seconds(step, times, multiprocessors, sass)
    else:
        found = issue_estimate_seconds(step["chapter"], step["step"], step["pass"], sizes,
                                       step["device"], sass, multiprocessors=multiprocessors)
    return None if found is None else float(f"{found:.4g}")


def entry(step, shape, sass):
    """The prediction for one step at one of SHAPES."""
    bound = step["long"] if shape == LONG else {**step["total"], **{
        name: step[name] for name in ("memory_seconds", "multiprocessors")}}
    issue = issue_seconds(step, shape, bound["multiprocessors"], sass)
    parts = [bound["bound_seconds"], issue or 0.0, bound["memory_seconds"]]
    enough = issue is not None or bound["bound_limit"] == "shared memory"
    return {"chapter": step["chapter"], "step": step["step"], "pass": step["pass"],
            "device": step["device"], "shape": shape,
            "least_seconds": max(parts) if enough else None,
            "most_seconds": float(f"{sum(parts):.4g}") if enough else None,
            "from": {"bound_seconds": parts[0], "bound_limit": bound["bound_limit"],
                     "issue_seconds": issue, "memory_seconds": parts[2]}}


def entries(trace, sass):
    """All predictions that follow from what was counted of heads that are alike."""
    return [entry(step, shape, sass) for shape in SHAPES for step in trace["steps"]
            if "total" in step and step["chapter"] not in DECODING]


def predictions(trace, sass, before=None):
    """predictions.json. One that has not changed keeps its date and the commit it was made from."""
    now = {"date": datetime.date.today().isoformat(),
           "commit": subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty",
                                     "--exclude", "*"], capture_output=True, text=True,
                                    check=False).stdout.strip() or "unknown"}
    old = {key(its): its for its in before["predictions"]} if before else {}
    made = []
    for new in entries(trace, sass):
        kept = old.get(key(new), {})
        same = {name: value for name, value in kept.items() if name not in now} == new
        made.append(kept if same else {**new, **now})
    return {"predictions": made}


def key(its):
    return (its["chapter"], its["step"], its["pass"], its["device"], *its["shape"].values())


def find(data, step, shape):
    """The committed prediction for a step; None if there is none."""
    wanted = key({**step, "shape": shape})
    return next((its for its in data["predictions"]["predictions"] if key(its) == wanted), None)
