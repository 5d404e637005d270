#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of `attn trace` and `attn tune`: counts, tables, JSON, refusals. Needs python3 only.

usage: trace_cli_test.py PATH_OF_ATTN
"""
import json
import os
import re
import sys

from cli_test import Cli, chapters

LAUNCH_KEYS = (
    "kernel grid block shared_bytes global_load_bytes global_store_bytes global_load_requests "
    "global_load_sectors global_store_requests global_store_sectors global_atomic_requests "
    "global_async_bytes global_read_bytes_compulsory global_write_bytes_compulsory "
    "shared_load_wavefronts shared_load_wavefronts_ideal shared_store_wavefronts "
    "shared_store_wavefronts_ideal barriers"
).split()
COUNTERS = LAUNCH_KEYS[4:]
PART_NAMES = ["memory", "L2", "L1", "shared memory", "special functions", "tensor cores",
              "shuffles", "votes", "FLOPs"]


def trace(cli, *arguments):
    return json.loads(cli.succeed("trace", *arguments, "--json"))


def naive_counts(N, d):
    """What the lesson of chapter 02 derives, in elements, for one head and no mask."""
    requested = 4 * N * N * d + 5 * N * N + N * d + N
    compulsory = 4 * N * d + 4 * N * N + N
    return requested, compulsory


def counts(cli):
    def lesson():
        for N, d in ((32, 32), (64, 64), (96, 40), (17, 5)):
            total = trace(cli, "02", "--shape", f"N={N},d={d}")["total"]
            requested, compulsory = naive_counts(N, d)
            assert total["global_load_bytes"] + total["global_store_bytes"] == 4 * requested
            read, written = (total[f"global_{x}_bytes_compulsory"] for x in ("read", "write"))
            assert read + written == 4 * compulsory, f"N={N}, d={d}"

    def bound():
        result = trace(cli, "02", "--shape", "N=64,d=64")
        bound = result["bound"]
        assert bound["device"] == "H200" and list(bound["parts"]) == PART_NAMES, bound
        assert bound["input_output_bytes"] == 4 * (4 * 64 * 64 + 64)
        assert bound["flops"] == 4 * 64 * 64 * 64
        parts = bound["parts"]
        largest = max(parts["memory"], parts["FLOPs"], bound["launches_seconds"])
        assert bound["seconds"] == largest > 0 and bound["limit"] in PART_NAMES
        assert abs(sum(x["seconds"] for x in bound["launches"]) - bound["launches_seconds"]) < 1e-15
        for launch in bound["launches"]:
            assert launch["seconds"] == max(launch["parts"].values())
        total = result["total"]
        compulsory = total["global_read_bytes_compulsory"] + total["global_write_bytes_compulsory"]
        assert abs(bound["cold_cache_estimate_seconds"] - compulsory / 4.8e12) < 1e-18

    def warp_instructions():
        """Chapter 04: five shuffles for each score, and they cost an H200 more than its L1."""
        result = trace(cli, "04", "--shape", "N=64,d=64")
        assert result["total"]["shuffles"] == 5 * 64 * 64 and result["total"]["votes"] == 0
        assert sum(launch["shuffles"] for launch in result["launches"]) == 5 * 64 * 64
        assert result["bound"]["limit"] == "shuffles", result["bound"]
        text = cli.succeed("trace", "04", "--shape", "N=64,d=64")
        inside, bound = text[text.index("Inside"):].split("Lower bound")
        assert "shuffles" in inside and "20,480" in inside, text
        assert "set by shuffles" in bound and "votes" not in bound, text

    def devices():
        seconds = {}
        for device in ("H200", "H100", "A100", "RTX4090", "RTX3090", "T4"):
            result = trace(cli, "02", "--shape", "N=256,d=16", "--device", device.lower())
            assert result["bound"]["device"] == device
            seconds[device] = result["bound"]["parts"]["memory"]
        assert sorted(seconds, key=seconds.get) == list(seconds), seconds

    def causal():
        full = trace(cli, "02", "--shape", "N=64,d=16")
        masked = trace(cli, "02", "--shape", "N=64,d=16", "--causal")
        assert masked["causal"] and not full["causal"]
        assert masked["bound"]["flops"] * 64 * 64 == full["bound"]["flops"] * 64 * 65 / 2
        assert masked["total"]["global_load_bytes"] < 0.6 * full["total"]["global_load_bytes"]

    def workspace():
        """What the step needs beside inputs and outputs: S of chapter 02, none in 04."""
        assert trace(cli, "02", "--shape", "B=2,N=32,d=8")["workspace_bytes"] == 2 * 32 * 32 * 4
        assert trace(cli, "04", "--shape", "N=32,d=8")["workspace_bytes"] == 0

    def many_heads():
        """--times-heads 6 is the bound of six heads, though one of them was counted. 128 rows fill
        the blocks of every kernel."""
        for chapter, step, pass_name in (("02", "naive", "forward"),
                                         ("03", "step4_warp_softmax", "forward"),
                                         ("05", "forward", "forward"),
                                         ("06", "step2_recompute", "backward"),
                                         ("07", "step4_backward", "backward")):
            same = [chapter, "--step", step, "--pass", pass_name]
            one = trace(cli, *same, "--shape", "N=128,d=64")
            six = trace(cli, *same, "--shape", "B=2,H=3,N=128,d=64")
            told = trace(cli, *same, "--shape", "N=128,d=64", "--times-heads", "6")
            assert one["times_heads"] == 1 and told["times_heads"] == 6
            assert told["total"] == one["total"] and told["launches"] == one["launches"]
            for key, count in six["total"].items():
                assert count == 6 * one["total"][key], (chapter, key)
            assert told["bound"] == six["bound"], (chapter, told["bound"], six["bound"])
        text = cli.succeed("trace", "02", "--shape", "N=32,d=8", "--times-heads", "6")
        assert "Lower bound on NVIDIA H200 SXM for 6 times these heads" in text, text
        cli.refuse(2, ["trace", "17", "--times-heads", "2"],
                   "--times-heads 2: 17_decode shares out its work by how many heads there are; "
                   "allowed: 1, and all heads in --shape")

    cli.test("the lesson's counts", lesson)
    cli.test("shuffles", warp_instructions)
    cli.test("workspace", workspace)
    cli.test("--times-heads", many_heads)
    cli.test("the bound and its parts", bound)
    cli.test("devices", devices)
    cli.test("--causal", causal)


def formats(cli):
    def json_anywhere():
        """--json prints, --json FILE writes; `trace --json 02` still means chapter 02."""
        shape = ["--shape", "N=8,d=4"]
        printed = trace(cli, "02", *shape)
        assert json.loads(cli.succeed("trace", "--json", "02", *shape)) == printed
        tables = cli.succeed("trace", "02", "--json", "x.json", *shape)
        assert "Global memory" in tables, tables
        with open("x.json", encoding="utf-8") as file:
            assert json.load(file) == printed
        cli.refuse(2, ["trace", "02", "--json", "none/x.json", *shape], "--json none/x.json")

    def keys():
        for chapter in chapters(cli):
            d = (chapter["only_d"] or [8])[0]
            for step in chapter["steps"]:
                for pass_name in ("forward", "backward"):
                    if step["runs_on"] == "host" or not step[pass_name]:
                        continue
                    result = trace(cli, chapter["id"], "--step", step["id"], "--pass", pass_name,
                                   "--shape", f"B=2,H=3,Nq=37,Nk=50,d={d}")
                    one_result(result, chapter, step, pass_name, d)

    def one_result(result, chapter, step, pass_name, d):
        assert list(result)[:10] == ["chapter", "step", "pass", "shape", "causal", "launches",
                                    "total", "workspace_bytes", "detections", "bound"], list(result)
        assert result["chapter"] == chapter["id"] and result["step"] == step["id"]
        assert result["pass"] == pass_name and result["causal"] is False
        assert result["shape"] == {"B": 2, "H": 3, "Hkv": 3, "Nq": 37, "Nk": 50, "d": d, "dv": d}
        assert result["detections"] == [] and result["damage"] == []
        assert result["launches"], "no launches"
        for launch in result["launches"]:
            assert list(launch)[: len(LAUNCH_KEYS)] == LAUNCH_KEYS, list(launch)
            assert len(launch["grid"]) == 3 and len(launch["block"]) == 3
            assert all(isinstance(launch[key], int) and launch[key] >= 0 for key in COUNTERS)
            asked = sum(launch[f"global_{how}_bytes"] for how in ("load", "atomic", "async"))
            read = launch["global_read_bytes_compulsory"]
            # One that packs a mask array has nothing to read where there is none.
            assert asked >= read and (read > 0 or "pack_kernel" in launch["kernel"]), launch
            assert launch["shared_load_wavefronts"] >= launch["shared_load_wavefronts_ideal"]
        assert list(result["total"])[: len(COUNTERS)] == COUNTERS
        for key in result["total"]:
            assert result["total"][key] == sum(launch[key] for launch in result["launches"]), key

    def lines():
        result = trace(cli, "02", "--shape", "N=64,d=16", "--lines")
        for launch in result["launches"]:
            found = [(line["file"], line["line"], line["access"]) for line in launch["lines"]]
            assert len(set(found)) == len(found) > 0, "a line stands there twice"
            sizes = [line["bytes"] for line in launch["lines"]]
            assert sizes == sorted(sizes, reverse=True)
            for access, key in (("global load", "load"), ("global store", "store")):
                here = [line for line in launch["lines"] if line["access"] == access]
                for what in ("bytes", "requests", "sectors"):
                    total = sum(line[what] for line in here)
                    assert total == launch[f"global_{key}_{what}"], (launch["kernel"], what)
        dot = result["launches"][0]["lines"][0]
        assert dot["file"].endswith("forward.cu") and "dot +=" in dot["source"], dot
        assert dot["bytes"] == 2 * 64 * 64 * 16 * 4

    def text():
        output = cli.succeed("trace", "2", "--shape", "N=64,d=16", "--lines")
        for word in ("scores_kernel", "softmax_kernel", "outputs_kernel", "compulsory",
                     "Lower bound on NVIDIA H200", "Cold-cache estimate, no bound",
                     "scores_kernel, by source line", "dot += q[c] * k[c]"):
            assert word in output, f"{word!r} is not in the output"
        assert "by source line" not in cli.succeed("trace", "2", "--shape", "N=4,d=4")

    def workload():
        output = cli.succeed("trace", "2", "--workload", "vit_b16_224")
        assert "H=12 Nq=197" in output and "scaled down" not in output
        assert cli.succeed("trace", "--help").count("--lines") == 1
        # 4 d H times the pairs: of an axis, 7 windows of 7 rows, and one cut into 4 and 3.
        packed = cli.succeed("trace", "13", "--workload", "swin_56")
        assert "B=81 H=3 Nq=49" in packed
        assert f"for {4 * 32 * 3 * (7 * 49 + 16 + 9) ** 2:.3g} FLOPs" in packed, packed
        masked = cli.succeed("trace", "14", "--workload", "neighbourhood_32")
        assert f"for {4 * 32 * 4 * 1024 * 7 ** 2:.3g} FLOPs" in masked, masked

        biased = trace(cli, "15", "--step", "2", "--workload", "swin_56_bias")["total"]
        # Q, O, LSE, K and V once, and the bias once for each window.
        elements = 64 * 3 * (4 * 49 * 32 + 49 + 49 * 49)
        assert biased["global_load_bytes"] + biased["global_store_bytes"] == 4 * elements, biased

    def scores():
        sizes = ["15", "--shape", "H=2,N=40,d=8"]
        plain, bias, cap = (trace(cli, *sizes, *options) for options in
                            ([], ["--scores", "bias"], ["--scores", "softcap,dropout"]))
        assert plain["scores"] == [] and cap["scores"] == ["a softcap", "dropout"]
        load, special = "global_load_bytes", "special_functions"
        assert bias["total"][load] - plain["total"][load] == 4 * 2 * 40 * 40
        assert cap["total"][load] == plain["total"][load]
        assert cap["total"][special] > plain["total"][special]
        assert "a bias [1,2,40,40]" in cli.succeed("trace", *sizes, "--scores", "bias")

    def nothing():
        assert trace(cli, "2", "--shape", "Nq=0,Nk=3,d=4")["launches"] == []
        assert "nothing to count" in cli.succeed("trace", "2", "--shape", "Nq=0,Nk=3,d=4")

    def completion():
        """Chapter 07 starts nothing that it goes on without: the counts stay, whatever is asked."""
        usual = trace(cli, "7", "--shape", "N=32,d=8")
        assert usual["completion"] == "late" and usual["completion_seed"] is None
        asked = ["trace", "7", "--shape", "N=32,d=8", "--json", "--completion"]
        for name in ("late", "eager"):
            result = cli.run(*asked, name)
            assert result.returncode == 0 and result.stderr == "", result.stderr
            assert json.loads(result.stdout) == {**usual, "completion": name}
        os.environ.pop("ATTN_SEED", None)
        for seed in ("20260101", "7"):
            result = cli.run(*asked, "random")
            assert result.stderr == ("attn: asynchronous operations complete at random, seed "
                                     f"{seed}; ATTN_SEED=n for another\n"), result.stderr
            assert json.loads(result.stdout) == {**usual, "completion": "random",
                                                 "completion_seed": int(seed)}
            os.environ["ATTN_SEED"] = "7"
        del os.environ["ATTN_SEED"]

    cli.test("--completion", completion)
    cli.test("--json prints or writes", json_anywhere)
    cli.test("JSON of every chapter, step and pass", keys)
    cli.test("--lines", lines)
    cli.test("tables", text)
    def pages():
        """K and V in pages: as many bytes of them, and of a table."""
        shape = ["--shape", "H=4,Hkv=1,Nq=1,Nk=64,d=32"]
        arrays, paged = (trace(cli, "18", "--step", "1", *shape, *options)
                         for options in ([], ["--page-keys", "16"]))
        assert arrays["page_keys"] == 0 and paged["page_keys"] == 16
        more = paged["total"]["global_load_bytes"] - arrays["total"]["global_load_bytes"]
        assert more == 64 * 2 * 32 * 8, more  # for each key, of K and of V, in each lane
        name = "global_read_bytes_compulsory"
        assert paged["total"][name] - arrays["total"][name] == 64 // 16 * 8
        text = cli.succeed("trace", "18", *shape, "--page-keys", "16")
        assert "mask full, pages of 16 keys" in text

    cli.test("a workload", workload)
    cli.test("pages", pages)
    cli.test("what is done to scores", scores)
    cli.test("no launches", nothing)


# ---- attn tune -----------------------------------------------------------------------------------

SMALL = "B=2,H=4,N=128,d=64"


def tune(cli, *arguments):
    return json.loads(cli.succeed("tune", "08", *arguments, "--json"))["rows"]


def tuning(cli):
    def rows():
        """Every number against what its kernel's name and `attn trace` say."""
        found = tune(cli, "--shape", SMALL)
        assert [row["used"] for row in found].count(True) == 1 < len(found), found
        for row in found:
            name = re.fullmatch(r"forward_kernel<Tiles<(\d+), (\d+), (\d+), (\d+), \d+>, .*>",
                                row["kernel"])
            columns, queries, keys, warps = map(int, name.groups())
            assert row["tile"] == f"{queries}x{keys}, {warps} warps" and columns == 64, row
            assert row["threads"] == 32 * warps and row["columns"] == 64
            floats = (queries + keys) * 68 + keys * 64 + queries * (keys + 8)
            assert row["shared_bytes"] == 4 * floats, row
            assert row["fits"] and row["right"] and row["problem"] is None, row
            assert row["gpu_seconds"] is None and row["bound_limit"] in PART_NAMES
            assert row["multiply_adds"] == 8 * 2 * 128 * 128 * 64
            # Per head Q, O and LSE, and K and V for each tile of Q.
            elements = 2 * 128 * 64 + 128 + 128 // queries * 2 * 128 * 64
            assert row["requested_bytes"] == 8 * 4 * elements, row
            assert row["shape"] == {"B": 2, "H": 4, "Hkv": 4, "Nq": 128, "Nk": 128, "d": 64,
                                    "dv": 64}
        (used,) = (row for row in found if row["used"])
        traced = trace(cli, "08", "--step", "step5_exp2", "--shape", "N=128,d=64",
                       "--times-heads", "8")
        assert used["kernel"] == traced["launches"][0]["kernel"]
        assert used["bound_seconds"] == traced["bound"]["seconds"]
        assert used["bound_limit"] == traced["bound"]["limit"]
        for which in ("load", "store"):
            counter = f"shared_{which}_wavefronts"
            assert used[counter] == 8 * traced["total"][counter], which

    def registers():
        """A block's warps with these registers, and its shared memory, fit so often into an SM."""
        for row in tune(cli, "--shape", SMALL):
            blocks, used = row["blocks_per_multiprocessor"], row["registers"]
            assert used, f"{row['tile']}: run bench/report.py collect --only ptxas"
            assert blocks * row["threads"] * used <= 65536, row
            assert blocks * (row["shared_bytes"] + 1024) <= 228 * 1024, row
            more = blocks + 1
            assert (more * row["threads"] * ((used + 7) // 8 * 8) > 65536
                    or more * (row["shared_bytes"] + 1024) > 228 * 1024), row

    def devices():
        """A block that asks for more shared memory than there is, is not launched."""
        found = {row["tile"]: row for row in tune(cli, "--shape", SMALL, "--device", "RTX4090")}
        large, small = found["128x64, 4 warps"], found["64x64, 4 warps"]
        assert not large["fits"] and not large["right"] and large["requested_bytes"] is None
        assert small["fits"] and small["right"] and small["blocks_per_multiprocessor"] == 1
        text = cli.succeed("tune", "08", "--shape", SMALL, "--device", "RTX4090")
        assert text.count("does not fit") == 2 and "RTX4090" in text, text

    def text():
        printed = cli.succeed("tune", "08", "--shape", SMALL)
        used = [line for line in printed.splitlines() if " warps * " in line]
        assert len(used) == 1 and used[0].startswith("128x64, 4 warps *  "), printed
        for column in ("registers", "shared", "blocks/SM", "warps/SM", "loads/FFMA", "stores/FFMA",
                       "requested", "bound", "set by", "result"):
            assert column in printed, column
        assert "WRONG" not in printed and "not compiled" not in printed, printed

    def head_sizes():
        wide = tune(cli, "--shape", "N=40,d=68")
        assert {row["columns"] for row in wide} == {128}, wide
        assert all(row["right"] for row in wide)
        assert {row["columns"] for row in tune(cli, "--shape", "N=40,d=40")} == {64}

    def refuse(name, status, arguments, *expected):
        cli.test(f"tune: {name}",
                 lambda: cli.refuse(status, ["tune", "08", *arguments], *expected))

    cli.test("tune: rows", rows)
    cli.test("tune: registers and occupancy", registers)
    cli.test("tune: devices", devices)
    cli.test("tune: text", text)
    cli.test("tune: head sizes", head_sizes)
    refuse("no such d", 2, ["--d", "32"], "attn: --d 32: allowed in 08_register_tiles: 64, 128")
    refuse("d and shape", 2, ["--d", "64", "--shape", "N=4,d=64"], "--d 64", "one of the two")
    refuse("d too large", 3, ["--shape", "N=4,d=200"], "attn: --shape N=4,d=200: d = 200: ")
    refuse("narrow rows", 3, ["--shape", "N=4,d=30"], "--shape N=4,d=30", "multiples of 16")
    refuse("fewer heads", 3, ["--shape", "H=2,Hkv=1,N=4,d=64"], "--shape", "grouped heads")
    refuse("nothing", 2, ["--shape", "N=0,d=64"], "--shape", "nothing to compute")
    refuse("too large", 2, ["--shape", "N=4096,d=64"], "--shape", "up to 100000000", "N=512,d=64")
    refuse("no such device", 2, ["--device", "x"], "--device x: allowed: H200, H100, A100")
    refuse("bad JSON path", 2, ["--json", "none/x.json"], "--json none/x.json")


def tuning_on_gpu(cli):
    for row in tune(cli, "--shape", SMALL):
        assert not row["fits"] or row["right"], row
        assert not row["fits"] or row["gpu_seconds"] > 0 < row["registers"], row
        assert not row["fits"] or row["blocks_per_multiprocessor"] >= 1, row
        assert row["requested_bytes"] is None, row
    cli.refuse(3, ["tune", "08", "--device", "A100"], "--device A100", "`attn tune`")


def refusals(cli):
    def refuse(name, status, arguments, *expected):
        cli.test(name, lambda: cli.refuse(status, ["trace", *arguments], *expected))

    refuse("plain C++", 3, ["1"], "01_naive_cpu naive", "plain C++")
    refuse("no such completion", 2, ["2", "--completion", "now"],
           "attn: --completion now: allowed: late, eager, random")
    refuse("no such pass", 3, ["2", "--pass", "backward"], "--pass backward", "02_naive_gpu")
    refuse("d too large", 3, ["2", "--shape", "N=4,d=200"], "attn: --shape N=4,d=200: d = 200: ")
    small = ["--shape", "H=2,N=4,d=4"]
    refuse("a window", 3, ["2", *small, "--window", "4,0"],
           "attn: --window 4,0: this chapter does not take windows")
    refuse("an element", 3, ["2", *small, "--dtype", "bf16"], "attn: --dtype bf16: 02_naive_gpu ",
           "takes float32")
    refuse("fewer heads", 3, ["2", "--shape", "H=2,Hkv=1,N=4,d=4"],
           "attn: --shape H=2,Hkv=1,N=4,d=4: Hkv = 1: H = 2; this chapter does not take")
    refuse("narrower rows of V", 3, ["2", "--shape", "N=4,d=4,dv=3"],
           "attn: --shape N=4,d=4,dv=3: d_v = 3: d = 4; this chapter does not take rows of V of")
    refuse("rows of V too large", 3, ["2", "--shape", "N=4,d=4,dv=200"],
           "attn: --shape N=4,d=4,dv=200: d_v = 200: this chapter supports 1 <= d <= 128")
    refuse("too large by its V", 2, ["2", "--shape", "N=8192,d=1,dv=128"],
           "--shape B=1 H=1 Nq=8192 Nk=8192 d=1 dv=128: about", ",d=1,dv=128")
    refuse("no such chapter", 2, ["99"], "99")
    refuse("no such step", 2, ["2", "--step", "fast"], "--step", "fast")
    refuse("no such device", 2, ["2", "--device", "Voodoo"],
           "--device Voodoo: allowed: H200, H100, A100, RTX4090, RTX3090, T4")
    refuse("too large", 2, ["2", "--shape", "B=64,H=16,N=1024,d=64"],
           "--shape B=64 H=16 Nq=1024", "for example --shape B=1,H=1,")
    for times in ("0", "-1", "2147483648", "2147483647"):  # the last: more blocks than a grid has
        refuse(f"--times-heads {times}", 2, ["2", "--shape", "N=256,d=4", "--times-heads", times],
               f"--times-heads {times}", "allowed: 1 to ")
    refuse("bad pass", 2, ["2", "--pass", "sideways"], "--pass sideways")
    for shape in ("N=9223372036854775807,d=64", "Nq=1,Nk=9223372036854775807,d=1",
                  "Nq=100000000000,Nk=0,d=1", "B=3037000500,H=3037000500,N=1,d=1"):
        refuse(f"no memory is large enough: {shape}", 2, ["2", "--shape", shape], "memory")
    refuse("bad shape", 2, ["2", "--shape", "N=4"], "d is missing")
    refuse("a workload's window", 3, ["7", "--workload", "mistral_7b_16k"],
           "--workload mistral_7b_16k: this chapter does not take windows")
    refuse("a workload's sequences", 3, ["7", "--workload", "swin_56"],
           "--workload swin_56: this chapter does not take packed sequences")
    refuse("a workload's mask array", 3, ["13", "--workload", "neighbourhood_32"],
           "--workload neighbourhood_32: this chapter does not take a mask array")
    refuse("scores", 2, ["15", "--scores", "alibi,tanh"], "--scores alibi,tanh: allowed: alibi")
    refuse("a step's scores", 3, ["15", "--step", "1", "--scores", "softcap"],
           "--scores softcap: this step does not take a softcap")
    refuse("a workload's bias", 3, ["15", "--step", "1", "--workload", "swin_56_bias"],
           "--workload swin_56_bias: this step does not take a bias")
    for keys in ("0", "-1", "x", "4294967297"):
        refuse(f"pages of {keys} keys", 2, ["18", "--page-keys", keys],
               f"--page-keys {keys}: allowed: an integer from 1 to 4294967296")
    refuse("pages", 3, ["17", "--page-keys", "16"],
           "--page-keys 16: this chapter does not take a paged cache")
    refuse("a workload's sinks", 3, ["12", "--workload", "gpt_oss_20b_4k"],
           "--workload gpt_oss_20b_4k: this chapter does not take sink logits")
    refuse("shape and workload", 2, ["2", "--shape", "N=4,d=4", "--workload", "vit_b16_224"],
           "--workload")
    refuse("unknown option", 2, ["2", "--bogus"], "--bogus")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli = Cli(os.path.abspath(sys.argv[1]))
    result = cli.run("trace", "2", "--shape", "N=1,d=1")
    if "attn-cuda" in os.path.basename(cli.program):
        cli.test("a GPU cannot count",
                 lambda: cli.refuse(3, ["trace", "2"], "`attn trace`", "bench/ncu_check.py"))
        if all(step["runs_on"] != "no CUDA device" for c in chapters(cli) for step in c["steps"]):
            cli.test("tune: on a GPU", lambda: tuning_on_gpu(cli))
    elif result.returncode == 3 and "ATTN_SANITIZE" in result.stderr:
        print("skipped: kernels are untraced")
        return
    else:
        for group in (counts, formats, tuning, refusals):
            group(cli)
    print(f"{cli.passed} passed, {cli.failed} failed")
    sys.exit(1 if cli.failed or not cli.passed else 0)


if __name__ == "__main__":
    main()
