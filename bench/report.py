#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fills the tables of the lessons with what was counted and compiled.

    bench/report.py collect --attn build/attn     counts and compiles; writes bench/results/*.json
    bench/report.py render                        fills the tables from these files
    bench/report.py render --check                exit status 1 if a table is not what they say

collect runs `attn trace` on every step of every chapter (bench/results/trace.json) and, where nvcc
is on PATH, compiles every kernel file for a report of its registers (bench/results/ptxas.json). A
table stands in a README between two comments, and the first one names it:

    <!-- table: trace 03_tiled -->     memory traffic of a chapter's steps, kernel by kernel
    <!-- table: ptxas 03_tiled -->     registers and shared memory of a chapter's kernels
    <!-- table: ladder -->             all chapters, one line per step
    <!-- /table -->

Needs python3 only.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"

SHAPE = {"B": 1, "H": 1, "Nq": 512, "Nk": 512, "d": 64}
HEAD_SIZES = (32, 64, 128)  # one for each kernel that a chapter has compiled for a range of d
ARCHITECTURES = ("sm_80", "sm_90a")  # as in common/cmake/cuda.cmake
COUNTERS = (
    "global_load_bytes global_store_bytes global_atomic_bytes global_async_bytes "
    "global_load_requests global_load_sectors global_read_bytes_compulsory "
    "global_write_bytes_compulsory shared_load_wavefronts shared_load_wavefronts_ideal "
    "shared_store_wavefronts shared_store_wavefronts_ideal special_functions").split()


class Failure(Exception):
    """What cannot be collected or rendered: one line."""


# ---- collect -----------------------------------------------------------------------------------


def run(command, **options):
    """Standard output of a command that must succeed."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from error
    if result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise Failure(f"{' '.join(command[:3])}: {said[-1] if said else 'failed'}")
    return result


def shape_text(shape):
    return ",".join(f"{name}={size}" for name, size in shape.items())


def rounded(seconds):
    """Four digits, which every processor computes alike."""
    return float(f"{seconds:.4g}")


def passes(attn):
    """[(chapter, step, pass)] of everything that runs on the CPU machine, in the order of the
    ladder; and the chapters of plain C++, likewise."""
    traced, plain = [], []
    for chapter in json.loads(run([attn, "list", "--json"]).stdout)["chapters"]:
        for step in chapter["steps"]:
            into = traced if step["runs_on"] == "CPU machine" else plain
            if not step["twin"]:
                into += [(chapter["id"], step["id"], name)
                         for name in ("forward", "backward") if step[name]]
    return traced, plain


def trace(attn, chapter, step, name, shape):
    output = run([attn, "trace", chapter, "--step", step, "--pass", name, "--shape",
                  shape_text(shape), "--json"])
    return json.loads(output.stdout)


def workspaces(attn):
    """{(chapter, step, pass): bytes}. The program tells them where it compares all chapters."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "compared.json"
        for name in ("forward", "backward"):
            run([attn, "compare", "--pass", name, "--shape", shape_text(SHAPE), "--json",
                 str(path)])
            for row in json.loads(path.read_text())["rows"]:
                found[row["chapter"], row["step"], name] = row["workspace_bytes"]
    return found


def kept(counts, seconds, limit):
    """Of a launch or a total, what the tables need. limit: the resource that sets the bound."""
    return {**{name: counts[name] for name in COUNTERS}, "bound_seconds": rounded(seconds),
            "bound_limit": limit}


def traced_step(attn, chapter, step, name):
    """One step of a chapter as trace.json has it, without its workspace."""
    result = trace(attn, chapter, step, name, SHAPE)
    bound = result["bound"]
    return {
        "chapter": chapter,
        "step": step,
        "pass": name,
        "device": bound["device"],
        "total": kept(result["total"], bound["seconds"], bound["limit"]),
        "launches": [
            {"kernel": launch["kernel"],
             **kept(launch, its["seconds"], max(its["parts"], key=its["parts"].get))}
            for launch, its in zip(result["launches"], bound["launches"], strict=True)
        ],
    }


def collect_trace(attn):
    traced, plain = passes(attn)
    workspace = workspaces(attn)
    steps = [{"chapter": chapter, "step": step, "pass": name} for chapter, step, name in plain]
    for chapter, step, name in traced:
        print(f"trace {chapter} {step} {name}")
        steps.append(traced_step(attn, chapter, step, name))
    for step in steps:
        step["workspace_bytes"] = workspace[step["chapter"], step["step"], step["pass"]]
    steps.sort(key=lambda step: step["chapter"])
    return {"shape": SHAPE, "mask": "full", "steps": steps}


def split_outside(text, separator):
    """Splits at a separator that stands outside of every <> and ()."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        if depth == 0 and text.startswith(separator, i):
            parts.append(text[start:i])
            i = start = i + len(separator)
            continue
        depth += (text[i] in "<(") - (text[i] in ">)")
        i += 1
    return [*parts, text[start:]]


def kernel_name(demangled):
    """forward_kernel<64> of `void attn::(anonymous namespace)::forward_kernel<64>(float*)`."""
    name = split_outside(split_outside(demangled, " ")[-1], "::")[-1]
    return split_outside(name, "(")[0]


def parse_ptxas(text):
    """What `nvcc -Xptxas -v` says of each kernel; "kernel" is the mangled name."""
    kernels, entry = [], None
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
            entry = {"kernel": match[1], "architecture": match[2], "static_shared_bytes": 0,
                     "barriers": 0}
            kernels.append(entry)
        elif entry and (match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, "
                                           r"(\d+) bytes spill loads", line)):
            entry["stack_bytes"] = int(match[1])
            entry["spill_bytes"] = int(match[2]) + int(match[3])
        elif entry and (match := re.search(r"Used (\d+) registers", line)):
            entry["registers"] = int(match[1])
            if match := re.search(r"used (\d+) barriers", line):
                entry["barriers"] = int(match[1])
            if match := re.search(r"(\d+) bytes smem", line):
                entry["static_shared_bytes"] = int(match[1])
    return kernels


def nvcc_version(nvcc):
    return re.search(r"V(\d+\.\d+\.\d+)", run([nvcc, "--version"]).stdout)[1]


def compile_kernels(nvcc, source):
    """parse_ptxas of one kernel file for all architectures, with short names."""
    generate = [f"-gencode=arch={name.replace('sm', 'compute')},code={name}"
                for name in ARCHITECTURES]
    with tempfile.TemporaryDirectory() as folder:
        report = run([nvcc, "-fatbin", str(source), "-o", f"{folder}/kernels.fatbin", "-std=c++20",
                      *generate, "-DATTN_USE_CUDA=1", f"-I{ROOT}", "-Xptxas=-v"]).stderr
    kernels = parse_ptxas(report)
    mangled = "\n".join(kernel["kernel"] for kernel in kernels)
    demangled = run(["c++filt"], input=mangled).stdout.splitlines()
    for kernel, name in zip(kernels, demangled, strict=True):
        kernel["kernel"] = kernel_name(name)
    return kernels


def launched_shared_bytes(attn):
    """{(chapter, step): {kernel: dynamic shared memory in bytes}}, for all HEAD_SIZES."""
    found = {}
    for chapter, step, name in passes(attn)[0]:
        kernels = found.setdefault((chapter, step), {})
        for d in HEAD_SIZES:
            shape = {"B": 1, "H": 1, "Nq": 8, "Nk": 8, "d": d}
            for launch in trace(attn, chapter, step, name, shape)["launches"]:
                kernels[launch["kernel"]] = max(launch["shared_bytes"],
                                                kernels.get(launch["kernel"], 0))
    return found


def collect_ptxas(attn, nvcc):
    """The kernels that a step launches. (A header may bring along others.)"""
    launched = launched_shared_bytes(attn)
    kernels = []
    for chapter in sorted({chapter for chapter, _ in launched}):
        steps = {step: found for (its, step), found in launched.items() if its == chapter}
        missing = {name for found in steps.values() for name in found}
        for source in sorted((ROOT / "chapters" / chapter).glob("*.cu")):
            print(f"ptxas {source.relative_to(ROOT)}")
            # A file named after a step is that step's; any other may hold kernels of all steps.
            own = [steps[source.stem]] if source.stem in steps else steps.values()
            shared_bytes = {name: size for found in own for name, size in found.items()}
            compiled = compile_kernels(nvcc, source)
            for name, size in shared_bytes.items():  # in the order of their launches
                found = [kernel for kernel in compiled if kernel["kernel"] == name]
                kernels += [{"chapter": chapter, "file": source.name, **kernel,
                             "dynamic_shared_bytes": size} for kernel in found]
                if found:
                    missing.discard(name)
        if missing:
            raise Failure(f"{chapter}: nvcc compiled no kernel {', '.join(sorted(missing))}")
    return {"nvcc": nvcc_version(nvcc), "kernels": kernels}


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")


def collect(options):
    write_json(RESULTS / "trace.json", collect_trace(options.attn))
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("nvcc is not on PATH: bench/results/ptxas.json stays as it is")
    else:
        write_json(RESULTS / "ptxas.json", collect_ptxas(options.attn, nvcc))
    return 0


# ---- render ------------------------------------------------------------------------------------


def grouped(number):
    return f"{number:,}"


def kib(size):
    """"4,610" or "0.5": KiB, with a digit behind the point only where there is something."""
    return f"{size / 1024:,.1f}".removesuffix(".0")


def ratio(part, whole):
    """Three digits; nothing where there is no whole."""
    if whole == 0:
        return ""
    quotient = part / whole
    return f"{quotient:.0f}" if quotient >= 100 else f"{quotient:.3g}"


def seconds_text(seconds):
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            break
    return f"{seconds * factor:.3g} {unit}"


def requested(counts):
    return sum(counts[f"global_{kind}_bytes"] for kind in ("load", "store", "atomic", "async"))


def compulsory(counts):
    return sum(counts[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write"))


def wavefronts(counts):
    total = sum(counts[f"shared_{kind}_wavefronts"] for kind in ("load", "store"))
    ideal = sum(counts[f"shared_{kind}_wavefronts_ideal"] for kind in ("load", "store"))
    return ratio(total, ideal)


def step_name(step):
    return step["step"] + (", backward" if step["pass"] == "backward" else "")


def markdown(titles, rows):
    """A table, without the columns that hold nothing. A title that ends in a colon, which is not
    shown, stands over numbers."""
    used = [c for c in range(len(titles)) if any(row[c] for row in rows)]
    lines = ["| " + " | ".join(titles[c].removesuffix(":") for c in used) + " |",
             "|" + "|".join("---:" if titles[c].endswith(":") else "---" for c in used) + "|"]
    lines += ["| " + " | ".join(row[c] for c in used) + " |" for row in rows]
    return "\n".join(lines)


def of_chapter(entries, chapter):
    found = [entry for entry in entries if entry["chapter"] == chapter]
    if not found:
        raise Failure(f"nothing collected for {chapter}")
    return found


def sizes_text(data):
    return ", ".join(f"{name}={data['trace']['shape'][name]}" for name in SHAPE)


def trace_cells(counts):
    """What trace_table shows of a launch and of all of them."""
    return [kib(requested(counts)), kib(compulsory(counts)),
            ratio(counts["global_load_sectors"], counts["global_load_requests"]),
            wavefronts(counts),
            grouped(counts["special_functions"]) if counts["special_functions"] else "",
            f"{seconds_text(counts['bound_seconds'])}, {counts['bound_limit']}"]


def trace_table(data, chapter):
    rows = []
    steps = of_chapter(data["trace"]["steps"], chapter)
    for step in steps:
        if "total" not in step:
            raise Failure(f"{chapter} is plain C++: nothing counted")
        named = [(f"`{launch['kernel']}`", launch) for launch in step["launches"]]
        if len(named) > 1:
            named.append(("all", step["total"]))
        for name, counts in named:
            rows.append(["", name, *trace_cells(counts), ""])
        if len(named) > 1:
            rows[-1] = [cell and f"**{cell}**" for cell in rows[-1]]
        if len(steps) > 1:
            rows[-len(named)][0] = step_name(step)
        rows[-1][-1] = kib(step["workspace_bytes"])
    device = steps[0]["device"]
    titles = ["step", "kernel", "requested, KiB:", "compulsory, KiB:", "sectors per load request:",
              "shared wavefronts / ideal:", "special functions:",
              f"bound on {device}, set by:", "workspace, KiB:"]
    return (f"{markdown(titles, rows)}\n\n"
            f"<sub>Counted on the CPU machine at {sizes_text(data)}, no mask. The bound is a time "
            f"that no {device} can beat; a real run takes longer.</sub>")


def both(kernels, value):
    """One number if the architectures agree, else one for each."""
    values = [str(value(kernel)) for kernel in kernels]
    return values[0] if len(set(values)) == 1 else " / ".join(values)


def ptxas_table(data, chapter):
    # One row for a kernel in all architectures; files that compile it to the same share the row.
    kernels = {}
    for kernel in of_chapter(data["ptxas"]["kernels"], chapter):
        kernels.setdefault((kernel["file"], kernel["kernel"]), []).append(kernel)
    files = {}
    for (file, name), variants in kernels.items():
        variants.sort(key=lambda kernel: ARCHITECTURES.index(kernel["architecture"]))
        row = (f"`{name}`",
               *(str(kernel["registers"]) for kernel in variants),
               both(variants, lambda kernel: grouped(kernel["static_shared_bytes"])),
               both(variants, lambda kernel: grouped(kernel["dynamic_shared_bytes"])),
               both(variants, lambda kernel: kernel["spill_bytes"]),
               both(variants, lambda kernel: kernel["stack_bytes"]))
        files.setdefault(row, []).append(file.removesuffix(".cu"))
    alone = len({file for file, _ in kernels}) == 1
    rows = [[row[0], "" if alone else ", ".join(names), *row[1:]] for row, names in files.items()]
    titles = ["kernel", "file", *(f"registers, {name}:" for name in ARCHITECTURES),
              "static shared memory, bytes:", "dynamic, bytes:", "spills, bytes:", "stack, bytes:"]
    return f"{markdown(titles, rows)}\n\n<sub>Compiled by nvcc {data['ptxas']['nvcc']}.</sub>"


LADDER = {
    "en": (["chapter", "step", "requested, KiB:", "compulsory, KiB:", "workspace, KiB:",
            "bound on {}:", "GPU time:"],
           "not measured",
           "<sub>Forward pass at {}, no mask, counted on the CPU machine. Requested: what the threads "
           "ask for. Compulsory: each distinct byte once per launch. The bound is a time that no "
           "{} can beat; a real run takes longer.</sub>"),
    "zh": (["章节", "步骤", "请求访存量（KiB）:", "必需访存量（KiB）:", "工作区（KiB）:",
            "{} 上的时间下界:", "GPU 时间:"],
           "未测量",
           "<sub>前向传播，{}，无掩码，在 CPU 模拟机上计数。请求访存量：线程要求访问的字节数。必需访存量：每次启动中"
           "每个不同的字节只算一次。下界是 {} 无论如何也快不过的时间；实际运行会更久。</sub>"),
}


def ladder_table(data, language):
    titles, not_measured, caption = LADDER[language]
    rows, device = [], ""
    for step in data["trace"]["steps"]:
        if step["pass"] != "forward":
            continue
        counted = ["–"] * 4  # plain C++
        if "total" in step:
            total, device = step["total"], step["device"]
            counted = [kib(requested(total)), kib(compulsory(total)),
                       seconds_text(total["bound_seconds"]), not_measured]
        rows.append([step["chapter"], step["step"], *counted[:2], kib(step["workspace_bytes"]),
                     *counted[2:]])
    titles = [title.format(device) for title in titles]
    return f"{markdown(titles, rows)}\n\n" + caption.format(sizes_text(data), device)


MARKER = re.compile(r"(<!-- table: ([^\n]*?) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def table(data, name, language):
    """The table that a marker names."""
    kind, *arguments = name.split()
    if kind == "ladder" and not arguments:
        return ladder_table(data, language)
    if kind in ("trace", "ptxas") and len(arguments) == 1:
        return (trace_table if kind == "trace" else ptxas_table)(data, arguments[0])
    raise Failure(f"unknown table '{name}'; allowed: trace CHAPTER, ptxas CHAPTER, ladder")


def filled(text, data, language):
    """The page with all its tables as the data has them, and [(line, name)] of those that were
    not so."""
    stale = []
    markers = list(MARKER.finditer(text))
    if len(markers) != text.count("<!-- table:") or len(markers) != text.count("<!-- /table -->"):
        raise Failure("a <!-- table: ... --> without its <!-- /table -->, or the other way round")
    for marker in reversed(markers):
        new = f"\n{table(data, marker[2], language)}\n\n"
        if marker[3] != new:
            stale.append((text.count("\n", 0, marker.start()) + 1, marker[2]))
            text = text[:marker.start(3)] + new + text[marker.end(3):]
    return text, stale[::-1]


def pages(root):
    """[(path, language)] of every page that may hold a table."""
    readmes = [(path, "en") for path in sorted(root.glob("chapters/*/README.md"))]
    return [(root / "README.md", "en"), (root / "README.zh-CN.md", "zh"), *readmes]


def load():
    try:
        return {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("trace", "ptxas")}
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; collect first") from error


def render(options):
    data = load()
    status = 0
    for path, language in pages(ROOT):
        where = path.relative_to(ROOT)
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        try:
            new, stale = filled(text, data, language)
        except Failure as failure:
            print(f"{where}: {failure}")
            status = 1
            continue
        for line, name in stale:
            print(f"{where}:{line}: {name} {'is stale' if options.check else 'written'}")
        if options.check:
            status = status or bool(stale)
        elif stale:
            path.write_text(new, encoding="utf-8")
    return int(status)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("collect", help="count and compile")
    command.add_argument("--attn", default=str(ROOT / "build" / "attn"), help="the program")
    command.set_defaults(run=collect)
    command = commands.add_parser("render", help="fill the tables")
    command.add_argument("--check", action="store_true", help="change nothing")
    command.set_defaults(run=render)
    options = parser.parse_args()
    try:
        return options.run(options)
    except Failure as failure:
        print(f"report.py: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
