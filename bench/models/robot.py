#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The attention of a robot's policy that solves for its actions in ten steps, as Pi0 does.

    bench/models/robot.py [--no-times] [--out robot.json]

Three camera images of 256 tokens, 19 of an instruction and the robot's state make a prefix, whose K
and V are computed once. Then each of ten steps has 50 action tokens, which see the prefix and each
other: Nq = 50, Nk = 838, 8 query heads on one key head, d = 256, in 18 layers. Random numbers in
place of weights. Needs torch and the package attn. Exit status 2 without them.
"""
import counts
import report
import shown

PREFIX, ACTIONS, STEPS, LAYERS = 3 * 256 + 19 + 1, 50, 10, shown.PI0_LAYERS
TABLES = {"solver": shown.solver, "solver_times": shown.solver_times,
          "solver_traffic": shown.solver_traffic}


def count_flops(out):
    """With the prefix's K and V kept, and without."""
    keys = PREFIX + ACTIONS
    out.add("solver", what="prefix, once", expert=False, times=1, queries=PREFIX, keys=PREFIX,
            pairs=PREFIX**2)
    out.add("solver", what="ten steps, K and V of the prefix kept", expert=True, times=STEPS,
            queries=ACTIONS, keys=keys, pairs=ACTIONS * keys)
    out.add("solver", what="ten prefixes, if nothing is kept", expert=False, times=STEPS,
            queries=PREFIX, keys=PREFIX, pairs=PREFIX**2)


def run_solver(out, torch, attn):
    """Attention of all steps and layers. The step's 50 keys are written behind the prefix's, where
    the last step's were: K and V of a layer have one place for the whole time."""
    block = counts.PI0_EXPERT
    k, v = torch.randn(2, LAYERS, 1, block.Hkv, PREFIX + ACTIONS, block.d)
    q = torch.randn(STEPS, 1, block.H, ACTIONS, block.d)
    new = torch.randn(STEPS, 2, 1, block.Hkv, ACTIONS, block.d)

    def solve(attention):
        outputs = []
        for step in range(STEPS):
            for layer in range(LAYERS):
                k[layer, :, :, PREFIX:], v[layer, :, :, PREFIX:] = new[step]
                outputs.append(attention(q[step], k[layer], v[layer]))
        return torch.stack(outputs)

    def by_torch(*arrays):
        return torch.nn.functional.scaled_dot_product_attention(*arrays, enable_gqa=True)

    def by_ours(*arrays):
        return attn.sdpa(*arrays, enable_gqa=True)

    def exact(q, k, v):
        q, k, v = q.double(), k.double(), v.double()
        return torch.softmax(q @ k.transpose(-1, -2) * block.d**-0.5, -1) @ v

    with torch.no_grad():
        times = {"torch": out.seconds(lambda: solve(by_torch)),
                 "ours": out.seconds(lambda: solve(by_ours))}
        out.add("solver_times", what=f"{STEPS} steps, {LAYERS} layers", queries=ACTIONS,
                keys=PREFIX + ACTIONS, **times,
                error=report.relative_error(solve(by_ours), solve(exact)))


def count_traffic(out, torch, attn):
    """One step in one layer, on the CPU machine."""
    block = counts.PI0_EXPERT
    keys = PREFIX + ACTIONS
    q = torch.randn(1, block.H, ACTIONS, block.d)
    k, v = torch.randn(2, 1, block.Hkv, keys, block.d)
    trace = attn.trace(q, k, v, chapter="16_heads")
    total = trace.total
    out.add("solver_traffic", kernel="16_heads step4_all",
            blocks=sum(one.grid[0] * one.grid[1] * one.grid[2] for one in trace.launches),
            requested=sum(total[f"global_{kind}_bytes"]
                          for kind in ("load", "store", "atomic", "async")),
            compulsory=sum(total[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write")),
            flops=counts.attention_flops(block, ACTIONS * keys))


def main():
    out = report.Report(__doc__, TABLES)
    torch, attn = report.import_all()
    torch.manual_seed(report.SEED)
    count_flops(out)
    run_solver(out, torch, attn)
    count_traffic(out, torch, attn)
    out.show("solver", "The prefix by Gemma 2B, the steps by the expert; one observation.")
    out.show("solver_times", "Attention alone.")
    out.show("solver_traffic", "One step in one layer, counted on the CPU machine.")
    out.finish(torch)


if __name__ == "__main__":
    with report.failures():
        main()
