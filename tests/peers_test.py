#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the benchmark program, its peers and the scripts that run them, without a GPU and with
made-up numbers: bench/merge_results.py, bench/peers/pytorch.py, bench/gpu.sh, attn_benchmarks.

usage: peers_test.py [PATH_OF_ATTN_BENCHMARKS]     without a program, it is not tested

Where PyTorch can be imported, it is run on a small problem, too. Needs python3 and bash only.
"""
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
PYTORCH = BENCH / "peers" / "pytorch.py"
sys.path[:0] = [str(BENCH), str(PYTORCH.parent), str(ROOT / "tests")]
sys.dont_write_bytecode = True
import merge_results  # noqa: E402  (found by the line above)
import ncu_check_test  # noqa: E402
import pytorch  # noqa: E402

PROGRAM = None
NAME = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/(forward|backward)/B:\d+/H:\d+/N:\d+/d:\d+/(full|causal)")
SMALL = "B:1/H:1/N:33/d:16/causal"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False, **options)


def result_text(name, **changes):
    """SYNTHETIC: one median as Google Benchmark writes it."""
    entry = {"name": name + "_median", "run_name": name, "run_type": "aggregate",
             "aggregate_name": "median", "real_time": 2.5, "time_unit": "ms"} | changes
    context = {"date": "2026-01-01", "host_name": "secret", "executable": "/secret", "device": "X"}
    return json.dumps({"context": context, "benchmarks": [entry]})


class MergeTest(unittest.TestCase):
    def test_names_contexts_and_counters(self):
        timed = "a/s/forward/B:1/H:1/N:8/d:8/full"
        parts = {"1": result_text(timed + "/iterations:1/repeats:3/manual_time"),
                 "2": result_text("b/s/forward/B:1/H:1/N:8/d:8/causal", zero=float("nan")),
                 "3": result_text("cublas/sgemm/M:8192/N:8192/K:64/manual_time")}
        merged = merge_results.merged(parts)
        self.assertEqual(merged["context"], {"date": "2026-01-01", "device": "X"})
        first, second, product = merged["benchmarks"]
        self.assertEqual(product["run_name"], "cublas/sgemm/M:8192/N:8192/K:64")
        self.assertEqual((first["name"], first["run_name"]), (timed + "_median", timed))
        self.assertEqual(second["run_name"], "b/s/forward/B:1/H:1/N:8/d:8/causal")
        self.assertNotIn("zero", second)

    def test_a_reason_is_kept_once(self):
        text = json.loads(result_text("a/s/forward/B:1/H:1/N:8/d:8/full", error_occurred=True))
        text["benchmarks"] = [text["benchmarks"][0] | {"repetition_index": n} for n in range(5)]
        self.assertEqual(len(merge_results.merged({"1": json.dumps(text)})["benchmarks"]), 1)

    def test_refuses_incomplete_and_double_results(self):
        text = result_text("a/s/forward/B:1/H:1/N:8/d:8/full")
        for parts in ({"1": text[:-9]}, {"1": "{}"}, {"1": text, "2": text}):
            with self.assertRaises(merge_results.Failure):
                merge_results.merged(parts)


class PytorchTest(unittest.TestCase):
    def test_entries(self):
        work = pytorch.flops((1, 1, 10, 4, True), "backward")
        entries = pytorch.aggregates("x", [0.001, 0.002, 0.006], 7, {"FLOP/s": work}, 12)
        by_kind = {entry["aggregate_name"]: entry for entry in entries}
        self.assertEqual(by_kind["median"]["real_time"], 2.0)
        self.assertAlmostEqual(by_kind["mean"]["real_time"], 3.0)
        self.assertEqual(by_kind["median"]["FLOP/s"], 10 * 10 * 10 * 4 / 2 / 0.002)
        self.assertEqual(by_kind["median"]["workspace_bytes"], 12)
        self.assertAlmostEqual(by_kind["cv"]["real_time"], 7**0.5 / 3)
        self.assertEqual(by_kind["cv"]["name"], "x_cv")

    def test_nothing_passes_by_accident(self):
        self.assertTrue(pytorch.is_right(1e-6, "fp32"))
        for error in (float("nan"), 1e-3, 1.0):
            self.assertFalse(pytorch.is_right(error, "fp32"))
        self.assertFalse(pytorch.is_right(0.5, "bf16"))

    def test_what_does_not_fit_into_memory_is_not_run(self):
        pytorch.check_memory((1, 12, 4096, 64, False), 2**33)
        with self.assertRaisesRegex(pytorch.Unsupported, "is 36.0 GiB, more than half of .* 32.0"):
            pytorch.check_memory((1, 12, 16384, 64, False), 2**35)

    def test_tensor_cores_are_named(self):
        class Torch:
            class nn:
                class attention:
                    class SDPBackend:
                        MATH, EFFICIENT_ATTENTION, FLASH_ATTENTION, CUDNN_ATTENTION = range(4)

        found = [f"{name}_{precision}" for name, _, precision in pytorch.variants(Torch, True)]
        self.assertEqual([name for name in found if name.startswith("efficient")],
                         ["efficient_3xtf32", "efficient_bf16"])
        self.assertEqual(len(found), len(set(found)))
        self.assertTrue(all(precision in pytorch.ALLOWED
                            for _, _, precision in pytorch.variants(Torch, True)))

    def test_the_gpu_is_busy_until_the_call_is_queued(self):
        log = []

        class Recorded:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                log.append("event")

            def elapsed_time(self, _):
                return 0.04  # ms

        class Torch:
            uint8 = None

            class cuda:
                Event = Recorded

                @staticmethod
                def get_device_properties(_):
                    return type("Properties", (), {"L2_cache_size": 50})

                @staticmethod
                def synchronize():
                    log.append("wait")

            @staticmethod
            def empty(size, **_):
                assert size == 100
                return type("Flush", (), {"zero_": lambda self: log.append("flush")})()

        stopwatch = pytorch.Stopwatch(Torch, True)
        log.clear()
        timed = ["event", "call", "event", "wait"]
        self.assertEqual(stopwatch.seconds(lambda: log.append("call"), 1), 0.04 / 1e3)
        self.assertEqual(log, ["flush", *timed])
        log.clear()
        stopwatch.queueing = 100e-6
        stopwatch.seconds(lambda: log.append("call"), 1)
        self.assertEqual(log, ["flush"] * 5 + timed)
        for queueing, flushes in ((0, 1), (15e-6, 1), (10.0, 64)):  # as benchmark_sample_test
            self.assertEqual(pytorch.flushes_before(queueing, 40e-6), flushes)

    def test_a_call_that_does_not_fit_is_named(self):
        stopwatch = type("Stopwatch", (), {"on_gpu": False, "seconds": lambda *_: 2.0})()
        with self.assertRaisesRegex(pytorch.Unsupported, "15.0 s, less than eight calls of 2 s"):
            pytorch.measure(stopwatch, None, 15.0)
        self.assertEqual(pytorch.measure(stopwatch, None, 17.0), ([2.0] * 3, 1))

    def test_without_pytorch_one_line_says_what_to_install(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "torch.py").write_text("raise ImportError('none here')\n")
            got = run(sys.executable, PYTORCH, "--shape", SMALL,
                      env=os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual((got.returncode, got.stdout), (2, ""))
        self.assertRegex(got.stderr, r"\A[^\n]*pip install torch\n\Z")

    def test_usage(self):
        self.assertEqual(run(sys.executable, PYTORCH, "--help").returncode, 0)
        for arguments in (["--shape", "B:1"], ["--context", "x"], ["--nonsense"]):
            got = run(sys.executable, PYTORCH, *arguments)
            self.assertEqual(got.returncode, 2, arguments)
            self.assertIn(arguments[0], got.stderr)

    def test_pytorch_itself(self):
        try:
            import torch
        except ImportError:
            self.skipTest("no PyTorch here")
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder, "out.json")
            command = [sys.executable, PYTORCH, "--device", "cpu", "--shape", SMALL, "--out", out]
            got = run(*command)
            self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
            names = {e["run_name"] for e in json.loads(out.read_text())["benchmarks"]}
            self.assertEqual(names, {f"pytorch/{back_end}_fp32/{p}/{SMALL}"
                                     for back_end in ("math", "flash")
                                     for p in ("forward", "backward")})
        # A back end that forgets the mask is refused.
        attention = torch.nn.functional.scaled_dot_product_attention
        torch.nn.functional.scaled_dot_product_attention = (
            lambda q, k, v, is_causal: attention(q, k, v))
        try:
            for run_pass in ("forward", "backward"):
                with self.assertRaises(pytorch.Wrong):
                    pytorch.time_one(torch, pytorch.Stopwatch(torch, False),
                                     pytorch.parse_shape(SMALL),
                                     pytorch.variants(torch, False)[0], run_pass, False)
        finally:
            torch.nn.functional.scaled_dot_product_attention = attention


class ProgramTest(unittest.TestCase):
    def setUp(self):
        if PROGRAM is None:
            self.skipTest("no attn_benchmarks given")

    def test_usage(self):
        self.assertEqual(run(PROGRAM, "--help").returncode, 0)
        for argument in ("--shape=B:1", "--time_limit=-1", "--nonsense"):
            got = run(PROGRAM, argument)
            self.assertEqual(got.returncode, 2, argument)
            self.assertRegex(got.stderr, r"\A[^\n]+\n\Z")

    def test_default_sizes_are_those_of_the_benchmarks(self):
        sizes = run(PROGRAM, "--list_shapes").stdout.split()
        names = run(PROGRAM, "--benchmark_list_tests=true").stdout.split()
        for size in sizes:
            self.assertTrue(pytorch.parse_shape(size))
            self.assertTrue(any(f"/forward/{size}/" in name for name in names), size)

    def timed(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            raw, out = pathlib.Path(folder, "raw.json"), pathlib.Path(folder, "out.json")
            got = run(PROGRAM, f"--shape={SMALL}", f"--benchmark_out={raw}",
                      "--benchmark_filter=/forward/", "--benchmark_min_time=0.0001", *arguments)
            self.assertEqual(got.returncode, 0, got.stderr)
            merge = run(sys.executable, BENCH / "merge_results.py", "--out", out, raw)
            self.assertEqual(merge.returncode, 0, merge.stderr)
            return json.loads(out.read_text(), parse_constant=self.fail)  # no NaN

    def test_results(self):
        result = self.timed()
        for key in ("device", "cpu", "compiler", "timing"):
            self.assertTrue(result["context"][key])
        self.assertTrue(result["benchmarks"])
        for entry in result["benchmarks"]:
            self.assertTrue(NAME.fullmatch(entry["run_name"]), entry["run_name"])
        medians = {entry["run_name"]: entry for entry in result["benchmarks"]
                   if entry.get("aggregate_name") == "median"}
        naive = medians[f"01_naive_cpu/naive/forward/{SMALL}"]
        self.assertGreater(naive["real_time"], 0)
        rate = 4 * 33 * 33 * 16 / 2 / (naive["real_time"] / 1e3)
        self.assertLess(abs(naive["FLOP/s"] / rate - 1), 0.5)  # a median of rates
        self.assertEqual(naive["workspace_bytes"] % 4, 0)

    def test_time_limit(self):
        result = self.timed("--time_limit=1e-9")
        for entry in result["benchmarks"]:
            self.assertTrue(entry["error_occurred"])
            self.assertIn("time limit", entry["error_message"])

    def test_calls_that_do_not_fit_into_the_time_limit(self):
        large = "B:1/H:1/N:4096/d:128/full"  # about a second a call
        with tempfile.TemporaryDirectory() as folder:
            raw = pathlib.Path(folder, "raw.json")
            got = run(PROGRAM, f"--shape={large}", "--time_limit=2", f"--benchmark_out={raw}",
                      "--benchmark_filter=01_naive_cpu/naive/forward/")
            self.assertEqual(got.returncode, 0, got.stderr)
            entries = json.loads(raw.read_text())["benchmarks"]
        self.assertTrue(entries)
        for entry in entries:
            self.assertRegex(entry["error_message"], "less than eight calls of|limit is over")


class GpuScriptTest(unittest.TestCase):
    """bench/gpu.sh with programs that only pretend."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.build, self.out = self.folder / "build", self.folder / "out"
        self.build.mkdir()

    def pretend(self, path, script):
        path = self.folder / path
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/bash\n" + script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run_script(self, *arguments, python="no-python"):
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        got = run("bash", BENCH / "gpu.sh", "--build", self.build, "--out", self.out, *arguments,
                  env=os.environ | {"PATH": path, "PYTHON": python})
        summary = got.stdout.split("== summary", 1)[1].splitlines()[1:]
        return got, {line.split()[0]: " ".join(line.split()[1:]) for line in summary}

    def test_without_a_gpu(self):
        self.pretend("bin/nvidia-smi", "echo no devices were found >&2; exit 6\n")
        got, parts = self.run_script()
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(list(parts), ["build", "tests", "benchmarks", "cublas", "pytorch",
                                       "widths", "sanitizer", "ncu"])
        for verdict in parts.values():
            self.assertRegex(verdict, r"not run \d+ s no GPU")
        self.assertFalse(self.out.exists())

    def test_each_part_survives_the_others(self):
        self.pretend("bin/nvidia-smi", "echo NVIDIA Test\n")
        self.pretend("bin/compute-sanitizer", '[[ $2 != racecheck ]] || exit 9\n')
        self.pretend("build/ch02_test_cuda", "echo All tests passed\n")
        self.pretend("build/ch03_test_cuda", "echo expected 1, got 2; exit 1\n")
        result = result_text(f"a/s/forward/{SMALL}")
        self.pretend_benchmarks("attn_benchmarks-cuda", [SMALL], f"echo '{result}' >$out")
        self.pretend("build/attn_cublas-cuda", "echo cublas died >&2; exit 3\n")
        got, parts = self.run_script()
        self.assertEqual(got.returncode, 1)
        self.assertRegex(parts["build"], "not run .*are there")
        self.assertRegex(parts["tests"], "FAILED")
        self.assertIn("expected 1, got 2", got.stdout)
        self.assertRegex(parts["benchmarks"], "done")
        self.assertRegex(parts["cublas"], "FAILED")
        self.assertRegex(parts["pytorch"], "not run .*PyTorch")
        self.assertRegex(parts["sanitizer"], "FAILED .*errors from racecheck$")
        self.assertRegex(parts["ncu"], "not run .*attn not built")
        merged = json.loads((self.out / "chapters.json").read_text())
        self.assertEqual(merged["benchmarks"][0]["run_name"], f"a/s/forward/{SMALL}")
        self.assertIn("benchmarks", (self.out / "parts.txt").read_text())

    def pretend_benchmarks(self, name, sizes, script):
        """A program that lists these sizes; `script` may use $size and $out."""
        self.pretend(f"build/{name}", "size= out=\n"
                     "for a; do case $a in --benchmark_out=*) out=${a#*=};;\n"
                     "  --benchmark_filter=*) size=${a#*=/}; size=${size%%(*};;\n"
                     f"  --list_shapes) echo '{' '.join(sizes)}' | tr ' ' '\\n'; exit 0;;\n"
                     f"esac; done\necho 'a_median 1 ms'\n{script}\n")

    def written(self, name):
        text = (self.out / name).read_text()
        return [entry["run_name"].split("forward/")[-1] for entry in json.loads(text)["benchmarks"]]

    def test_every_size_is_kept_as_it_comes(self):
        """One size dies in the middle of its file, one is too late: the others are there."""
        self.pretend("bin/nvidia-smi", "echo NVIDIA Test\n")
        sizes = [f"B:1/H:1/N:{n}/d:16/causal" for n in (1, 2, 3, 4, 5, 6)]
        result = result_text("a/s/forward/SIZE")
        self.pretend_benchmarks(
            "attn_benchmarks-cuda", sizes,
            f"""sleep 2; text='{result}'; text=${{text//SIZE/$size}}
            [[ $size != *N:2* ]] || {{ echo "${{text::99}}" >$out; exit 3; }}
            echo "$text" >$out""")
        self.pretend_benchmarks("attn_cublas-cuda", sizes[:1],
                                f"""text='{result_text("cublas/SIZE/K:64")}'
                                echo "${{text//SIZE/$size}}" >$out""")
        got, parts = self.run_script("--limit", "42")  # 13 s for the first, 10 of them to use
        self.assertEqual(got.returncode, 1)
        kept = self.written("chapters.json")  # how many there is time for depends on the machine
        whole = [sizes[0], *sizes[2:]]
        self.assertEqual(kept, whole[:len(kept)])
        self.assertIn(len(kept), range(1, len(whole)))
        late = " ".join(whole[len(kept):])
        self.assertRegex(parts["benchmarks"],
                         rf"FAILED.*{len(kept)} sizes?; no time left for {late}; "
                         rf"failed: {sizes[1]} \(status 3\)")
        self.assertRegex(parts["cublas"], "not run .*no time left|done")

    def test_cublas_times_its_product_first(self):
        self.pretend("bin/nvidia-smi", "echo NVIDIA Test\n")
        self.pretend("build/attn_benchmarks-cuda", "exit 1\n")
        self.pretend_benchmarks("attn_cublas-cuda", [SMALL],
                                f"""text='{result_text("forward/SIZE")}'
                                echo "${{text//SIZE/$size}}" >$out""")
        _, parts = self.run_script()
        self.assertEqual(self.written("cublas.json"), ["sgemm", SMALL])
        self.assertRegex(parts["cublas"], "done .*cublas.json, 2 sizes$")

    def test_every_step_is_compared_with_ncu(self):
        steps = [{"id": name, "runs_on": "host" if name == "cpu" else "GPU",
                  "forward": name != "two", "backward": name == "two"}
                 for name in ("one", "two", "cpu")]
        listed = json.dumps({"chapters": [{"id": "02_x", "steps": steps}]})
        traced = json.dumps({"launches": ncu_check_test.LAUNCHES})
        self.pretend("bin/nvidia-smi", "echo NVIDIA Test\n")
        self.pretend("build/attn_benchmarks-cuda", "exit 1\n")
        self.pretend("build/attn-cuda", "exit 1\n")
        self.pretend("build/attn", f"[[ $1 != list ]] && echo '{traced}' || echo '{listed}'\n")
        (self.folder / "good.csv").write_text(ncu_check_test.profiler_output(
            ncu_check_test.NAMES, ncu_check_test.METRICS))
        bad = [ncu_check_test.METRICS[0] | {
            "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": "1"}, ncu_check_test.METRICS[1]]
        (self.folder / "bad.csv").write_text(ncu_check_test.profiler_output(
            ncu_check_test.NAMES, bad))
        self.pretend("bin/ncu", f"cd {self.folder}\n"
                     '[[ "$*" == *"--step two"* ]] && cat bad.csv || cat good.csv\n')
        got, parts = self.run_script(python=sys.executable)
        self.assertIn("-- 02_x one forward", got.stdout)
        self.assertIn("-- 02_x two backward", got.stdout)
        self.assertRegex(parts["ncu"], "FAILED .*2 passes compared; counters differ in: "
                                       "02_x:two:backward$")

    def test_dry_run_and_usage(self):
        self.pretend("bin/nvidia-smi", "echo NVIDIA Test\n")
        self.pretend("build/attn_benchmarks-cuda", "exit 1\n")
        got, parts = self.run_script("--dry-run")
        self.assertEqual(got.returncode, 0)
        self.assertRegex(parts["benchmarks"], "not run .*would run for at most 167 s")
        _, shorter = self.run_script("--dry-run", "--limit", "100")
        self.assertRegex(shorter["benchmarks"], "not run .*would run for at most 31 s")
        for wrong in (["--limit", "0"], ["--limit", "x"], ["--limit"]):
            got = run("bash", BENCH / "gpu.sh", *wrong)
            self.assertEqual(got.returncode, 2)
            self.assertRegex(got.stderr, r"\A[^\n]*--limit[^\n]*allowed[^\n]*\n\Z")
        self.assertRegex(parts["tests"], "not run .*not built")
        self.assertFalse(self.out.exists())
        got = run("bash", BENCH / "gpu.sh", "--nonsense")
        self.assertEqual(got.returncode, 2)
        self.assertRegex(got.stderr, r"\A[^\n]*--nonsense[^\n]*\n\Z")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    unittest.main()
