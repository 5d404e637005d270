#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of bench/ncu_check.py without a GPU: on SYNTHETIC profiler output, made up from the counts
of a traced launch. Nothing here was measured. Needs python3 only."""
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "bench" / "ncu_check.py"

# Two launches with every counter different, so that no two can be mixed up.
LAUNCHES = [
    {"kernel": "first_kernel", "global_load_requests": 1048576, "global_load_sectors": 17301504,
     "global_store_requests": 8192, "global_store_sectors": 32768,
     "global_read_bytes_compulsory": 262144, "shared_load_wavefronts": 4096,
     "shared_load_wavefronts_ideal": 128, "shared_store_wavefronts": 160,
     "shared_store_wavefronts_ideal": 32},
    {"kernel": "second_kernel<64>", "global_load_requests": 11, "global_load_sectors": 12,
     "global_store_requests": 13, "global_store_sectors": 14, "global_read_bytes_compulsory": 15,
     "shared_load_wavefronts": 0, "shared_load_wavefronts_ideal": 0,
     "shared_store_wavefronts": 0, "shared_store_wavefronts_ideal": 0},
]
METRICS = [
    {"l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": "1,048,576",
     "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": "17,301,504",
     "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum": "8192",
     "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum": "32768",
     "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum": "4096",
     "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum": "160",
     "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum": "3968",
     "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum": "128",
     "smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_ld.sum": "4096",
     "smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_st.sum": "160",
     "smsp__sass_l1tex_data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum": "3968",
     "smsp__sass_l1tex_data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum": "128",
     "dram__bytes_read.sum": "270336"},
    {"l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": "11",
     "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": "12",
     "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum": "13",
     "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum": "14",
     "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum": "0",
     "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum": "0",
     "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum": "0",
     "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum": "0",
     "smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_ld.sum": "0",
     "smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_st.sum": "0",
     "smsp__sass_l1tex_data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum": "0",
     "smsp__sass_l1tex_data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum": "0",
     "dram__bytes_read.sum": "n/a"},
]
NAMES = ["first_kernel(const float *, float *)", "void attn::<unnamed>::second_kernel<64>(float *)"]
HEADER = ["ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream",
          "Block Size", "Grid Size", "Device", "CC", "Section Name", "Metric Name", "Metric Unit",
          "Metric Value"]


def profiler_output(names, metrics):
    """SYNTHETIC: the shape of what `ncu --csv --metrics ...` prints."""
    lines = ["==PROF== Connected to process 1 (attn-cuda)", "==PROF== Disconnected from process 1"]
    lines.append(",".join(f'"{name}"' for name in HEADER))
    for number, (name, values) in enumerate(zip(names, metrics)):
        for metric, value in values.items():
            row = [str(number), "1", "attn-cuda", "host", name, "1", "7", "(32, 8, 1)",
                   "(1, 64, 16)", "0", "9.0", "Command line profiler metrics", metric, "", value]
            lines.append(",".join(f'"{cell}"' for cell in row))
    return "\n".join(lines) + "\n"


class NcuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def program(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + text)
        os.chmod(self.path(name), stat.S_IRWXU)
        return self.path(name)

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, str(SCRIPT), "02", *arguments], text=True,
                              capture_output=True, timeout=60, check=False)

    def compare(self, names=None, metrics=None):
        with open(self.path("metrics.csv"), "w", encoding="utf-8") as file:
            file.write(profiler_output(names or NAMES, metrics or METRICS))
        with open(self.path("trace.json"), "w", encoding="utf-8") as file:
            json.dump({"launches": LAUNCHES}, file)
        return self.run_script("--metrics-csv", self.path("metrics.csv"), "--trace-json",
                               self.path("trace.json"))

    def test_equal_counters(self):
        result = self.compare()
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("All counters agree.", result.stdout)
        self.assertEqual(result.stdout.count("  equal "), 24)
        self.assertEqual(result.stdout.count("  at most "), 1)
        self.assertEqual(result.stdout.count("not measured"), 1)  # DRAM of the second launch

    def test_each_counter_is_compared(self):
        for metric in METRICS[0]:
            changed = [dict(METRICS[0]), METRICS[1]]
            changed[0][metric] = "1"
            result = self.compare(metrics=changed)
            shown = metric.startswith("l1tex__data")  # beside its like, and not judged
            self.assertEqual(result.returncode, 0 if shown else 1, metric)
            self.assertIn("All counters agree" if shown else "1 counters differ", result.stdout)
            mark = ("MORE" if metric.startswith("dram") else "differs" if shown else "DIFFERS")
            line = next(line for line in result.stdout.splitlines() if mark in line)
            self.assertIn(metric, line)

    def test_other_kernel(self):
        result = self.compare(names=["other_kernel(int)", NAMES[1]])
        self.assertEqual(result.returncode, 1)
        self.assertIn("ncu saw other_kernel in its place", result.stdout)

    def test_launches_before_ours_are_left_out(self):
        result = self.compare(names=["forward_kernel()", *NAMES], metrics=[METRICS[1], *METRICS])
        self.assertEqual(result.returncode, 0, result.stdout)

    def one_line(self, result, text):
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(result.stderr, "")
        self.assertEqual(len(result.stdout.splitlines()), 1, result.stdout)
        self.assertIn(text, result.stdout)

    def test_too_few_launches(self):
        result = self.compare(names=NAMES[:1], metrics=METRICS[:1])
        self.assertEqual(result.returncode, 0)
        self.assertIn("not compared: ncu saw 1 launches, the CPU machine 2", result.stdout)

    def test_no_ncu(self):
        self.one_line(self.run_script("--ncu", self.path("ncu")), "ncu was not found")

    def test_no_gpu_program(self):
        ncu = self.program("ncu", "exit 0\n")
        self.one_line(self.run_script("--ncu", ncu, "--attn-cuda", self.path("attn-cuda")),
                      "attn-cuda was not found")

    def test_no_permission(self):
        ncu = self.program("ncu", 'echo "==ERROR== ERR_NVGPUCTRPERM - The user does not have '
                                  'permission to access NVIDIA GPU Performance Counters"; exit 1\n')
        program = self.program("attn-cuda", "exit 0\n")
        self.one_line(self.run_script("--ncu", ncu, "--attn-cuda", program, "--shape", "N=4,d=2"),
                      "no permission to read the GPU's counters")

    def test_no_gpu(self):
        ncu = self.program("ncu", 'echo "attn: no CUDA-capable device is detected" >&2; exit 1\n')
        program = self.program("attn-cuda", "exit 0\n")
        self.one_line(self.run_script("--ncu", ncu, "--attn-cuda", program, "--shape", "N=4,d=2"),
                      "no CUDA-capable device")

    def test_an_ncu_without_counters_by_instruction(self):
        fewer = [{name: value for name, value in launch.items() if not name.startswith("smsp__")}
                 for launch in METRICS]
        with open(self.path("fewer.csv"), "w", encoding="utf-8") as file:
            file.write(profiler_output(NAMES, fewer))
        with open(self.path("trace.json"), "w", encoding="utf-8") as file:
            json.dump({"launches": LAUNCHES}, file)
        ncu = self.program("ncu", f"""case "$*" in
            *smsp__sass*)
              echo "==ERROR== Failed to find metric smsp__sass_l1tex_data_x.sum"; exit 1;;
            *) cat {self.path("fewer.csv")};;
            esac\n""")
        result = self.run_script("--ncu", ncu, "--attn-cuda", self.program("attn-cuda", "exit 0\n"),
                                 "--trace-json", self.path("trace.json"), "--shape", "N=4,d=2")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("All counters agree.", result.stdout)
        self.assertEqual(result.stdout.count("not measured"), 9)

    def test_inputs_of_the_shape(self):
        """Each of the arrays has the sizes that the shape gives it, fewer heads and dv counted."""
        ncu = self.program("ncu", f"""for file in "$@"; do
            case "$file" in */[qkv].npy|*/do.npy)
              if [ -e "$file" ]; then cp "$file" {self.path("")}; fi;; esac; done
            echo "==WARNING== No kernels were profiled."\n""")
        program = self.program("attn-cuda", "exit 0\n")
        self.one_line(self.run_script("--ncu", ncu, "--attn-cuda", program, "--pass", "backward",
                                      "--shape", "B=2,H=6,Hkv=3,Nq=5,Nk=7,d=4,dv=2"),
                      "ncu profiled no kernel")
        shapes = {"q": (2, 6, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 2), "do": (2, 6, 5, 2)}
        for name, shape in shapes.items():
            with open(self.path(f"{name}.npy"), "rb") as file:
                data = file.read()
            self.assertIn(f"'shape': {shape}".encode(), data[:80], name)
            count = shape[0] * shape[1] * shape[2] * shape[3]
            self.assertEqual(len(data) % 64, 4 * count % 64)
            self.assertGreater(len(data), 4 * count)

    def test_no_kernel(self):
        ncu = self.program("ncu", 'echo "==WARNING== No kernels were profiled."\n')
        program = self.program("attn-cuda", "exit 0\n")
        self.one_line(self.run_script("--ncu", ncu, "--attn-cuda", program, "--shape", "N=4,d=2"),
                      "ncu profiled no kernel")


if __name__ == "__main__":
    unittest.main()
