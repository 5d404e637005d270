# SPDX-License-Identifier: MIT
"""Counts every step by `attn trace`, and compiles every kernel with nvcc for its registers."""
import json
import pathlib
import re
import tempfile

from . import (DECODING, FULL, LONG, PAGE_KEYS, ROOT, SHAPE, TOKEN, Failure, compulsory, heads_of,
               requested, run, sass)

SCALING_N = (128, 256, 512)  # the dots of the traffic plot
HEAD_SIZES = (32, 64, 128)  # one for each kernel that a chapter has compiled for a range of d
CANDIDATES = "candidates.cu"  # kernels of `attn tune`, which no step launches
ARCHITECTURES = ("sm_80", "sm_90a")  # as in common/cmake/cuda.cmake, where a chapter names none
COUNTERS = (
    "global_load_bytes global_store_bytes global_atomic_bytes global_async_bytes "
    "global_load_requests global_load_sectors global_read_bytes_compulsory "
    "global_write_bytes_compulsory shared_load_wavefronts shared_load_wavefronts_ideal "
    "shared_store_wavefronts shared_store_wavefronts_ideal special_functions").split()
# Kept where there is something to count.
RARE_COUNTERS = (
    "global_async_requests global_async_sectors shared_async_wavefronts "
    "shared_async_wavefronts_ideal matrix_load_bytes matrix_load_requests matrix_load_wavefronts "
    "matrix_load_wavefronts_ideal mma_instructions wgmma_instructions wgmma_flops tensor_copies "
    "global_async_store_bytes global_async_store_sectors mbarrier_waits announced_bytes").split()


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


def prices(attn):
    """{(chapter, step): what it pays}, as the chapters' records say."""
    return {(chapter["id"], step["id"]): step["price"]
            for chapter in json.loads(run([attn, "list", "--json"]).stdout)["chapters"]
            for step in chapter["steps"]}


def trace(attn, chapter, step, name, shape, heads=1):
    """Counts of the shape, and the bound for so many times its heads."""
    pages = ["--page-keys", str(PAGE_KEYS[chapter])] if chapter in PAGE_KEYS else []
    output = run([attn, "trace", chapter, "--step", step, "--pass", name, "--shape",
                  shape_text(shape), *pages, "--times-heads", str(heads), "--json"])
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
    rare = {name: counts[name] for name in RARE_COUNTERS if counts.get(name)}
    return {**{name: counts[name] for name in COUNTERS}, **rare, "bound_seconds": rounded(seconds),
            "bound_limit": limit}


def multiprocessors(bound):
    """Those that have a block, in the launch that takes longest."""
    return max(bound["launches"], key=lambda launch: launch["seconds"])["multiprocessors"]


def long_bound(attn, chapter, step, name):
    """The bound at LONG, whose N the CPU machine would take minutes for: that of as many heads at
    SHAPE, times the ratio of their scores. All that a bound is made of grows as N², but for terms
    in N that add 1 % at SHAPE; which of an H200's multiprocessors have a block does not change."""
    bound = trace(attn, chapter, step, name, SHAPE, heads_of(LONG))["bound"]
    scores = (LONG["N"] / SHAPE["Nq"]) ** 2
    return {"bound_seconds": rounded(bound["seconds"] * scores), "bound_limit": bound["limit"],
            "memory_seconds": rounded(bound["cold_cache_estimate_seconds"] * scores),
            "multiprocessors": multiprocessors(bound)}


def traced_step(attn, chapter, step, name):
    """One step of a chapter as trace.json has it, without its workspace and its price: counts of
    one head, bounds of all of them; or both of a new token."""
    decodes = chapter in DECODING
    shape, heads = (TOKEN, 1) if decodes else (SHAPE, heads_of(FULL))
    result = trace(attn, chapter, step, name, shape, heads)
    bound = result["bound"]
    own = {"shape": TOKEN, "workspace_bytes": result["workspace_bytes"]} if decodes else {
        "long": long_bound(attn, chapter, step, name)}
    return {
        "chapter": chapter,
        "step": step,
        "pass": name,
        "device": bound["device"],
        **({} if result["element"] == "float32" else {"element": result["element"]}),
        "total": kept(result["total"], bound["seconds"], bound["limit"]),
        "memory_seconds": rounded(bound["cold_cache_estimate_seconds"]),
        "multiprocessors": multiprocessors(bound),
        **own,
        **({"page_keys": PAGE_KEYS[chapter]} if chapter in PAGE_KEYS else {}),
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
    price = prices(attn)
    for step in steps:
        if "workspace_bytes" not in step:
            step["workspace_bytes"] = workspace[step["chapter"], step["step"], step["pass"]]
        step["price"] = price[step["chapter"], step["step"]]
    steps.sort(key=lambda step: step["chapter"])
    return {"shape": SHAPE, "full": FULL, "mask": "full", "steps": steps,
            "scaling": scaling(attn, traced)}


def scaling(attn, traced):
    """What every forward step moves at a few N."""
    found = []
    for chapter, step, name in traced:
        if name != "forward" or chapter in DECODING:
            continue
        for N in SCALING_N:
            total = trace(attn, chapter, step, name, {**SHAPE, "Nq": N, "Nk": N})["total"]
            found.append({"chapter": chapter, "step": step, "N": N,
                          "requested_bytes": requested(total),
                          "compulsory_bytes": compulsory(total)})
    return found


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
    demangled = re.sub(r"\w+::", "", demangled.replace("(anonymous namespace)::", ""))
    return split_outside(split_outside(demangled, " ")[-1], "(")[0]


def demangle(mangled):
    """{mangled name: kernel_name}"""
    mangled = list(mangled)
    names = run(["c++filt"], input="\n".join(mangled)).stdout.splitlines()
    return {its: kernel_name(name) for its, name in zip(mangled, names, strict=True)}


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


def architectures_of(source):
    """Those that a kernel file is compiled for: the chapter's own, where its CMakeLists.txt names
    any."""
    build = source.parent / "CMakeLists.txt"
    named = re.search(r"\bARCHITECTURES((?:\s+\w+-real)+)", build.read_text(encoding="utf-8"))
    if named is None:
        return ARCHITECTURES
    return tuple("sm_" + name.removesuffix("-real") for name in named[1].split())


def compile_kernels(nvcc, source):
    """parse_ptxas of one kernel file for all its architectures, with short names."""
    generate = [f"-gencode=arch={name.replace('sm', 'compute')},code={name}"
                for name in architectures_of(source)]
    with tempfile.TemporaryDirectory() as folder:
        report = run([nvcc, "-fatbin", str(source), "-o", f"{folder}/kernels.fatbin", "-std=c++20",
                      *generate, "-DATTN_USE_CUDA=1", f"-I{ROOT}", "-Xptxas=-v"]).stderr
    kernels = parse_ptxas(report)
    names = demangle(kernel["kernel"] for kernel in kernels)
    return [{**kernel, "kernel": names[kernel["kernel"]]} for kernel in kernels]


def head_sizes(attn):
    """{chapter: those of HEAD_SIZES that it takes}"""
    return {chapter["id"]: [d for d in HEAD_SIZES if d in (chapter["only_d"] or HEAD_SIZES)]
            for chapter in json.loads(run([attn, "list", "--json"]).stdout)["chapters"]}


def launches(attn):
    """{(chapter, step, pass): {d: what `attn trace` says of its launches}}, for all HEAD_SIZES."""
    sizes = head_sizes(attn)
    return {(chapter, step, name): {
        d: trace(attn, chapter, step, name, {"B": 1, "H": 1, "Nq": 8, "Nk": 8, "d": d})["launches"]
        for d in sizes[chapter]} for chapter, step, name in passes(attn)[0]}


def launched_shared_bytes(launched):
    """{(chapter, step): {kernel: dynamic shared memory in bytes}}, in the order of launches."""
    found = {}
    for (chapter, step, _), by_size in launched.items():
        kernels = found.setdefault((chapter, step), {})
        for launch in (launch for its in by_size.values() for launch in its):
            kernels[launch["kernel"]] = max(launch["shared_bytes"],
                                            kernels.get(launch["kernel"], 0))
    return found


def tuned(attn):
    """{chapter: what `attn tune` says of its candidates}"""
    return {chapter["id"]: json.loads(run([attn, "tune", chapter["id"], "--json"]).stdout)["rows"]
            for chapter in json.loads(run([attn, "list", "--json"]).stdout)["chapters"]
            if chapter["candidates"]}


def step_kernels(launched):
    """[(source, {kernel: dynamic shared memory in bytes})] of every kernel file, and what its
    steps launch. A file named after a step is that step's; any other may hold kernels of all
    steps."""
    by_step = launched_shared_bytes(launched)
    for chapter in sorted({chapter for chapter, _ in by_step}):
        steps = {step: found for (its, step), found in by_step.items() if its == chapter}
        for source in sorted((ROOT / "chapters" / chapter).glob("*.cu")):
            if source.name == CANDIDATES:
                continue
            own = [steps[source.stem]] if source.stem in steps else steps.values()
            yield source, {name: size for found in own for name, size in found.items()}


def collect_candidates(chapter, rows, nvcc):
    """The kernels that `attn tune` compares, in its order."""
    source = ROOT / "chapters" / chapter / CANDIDATES
    print(f"ptxas {source.relative_to(ROOT)}")
    compiled, kernels = compile_kernels(nvcc, source), []
    for row in rows:
        found = [kernel for kernel in compiled if kernel["kernel"] == row["kernel"]]
        if not found:
            raise Failure(f"{chapter}: nvcc compiled no kernel {row['kernel']}")
        kernels += [{"chapter": chapter, "file": source.name, **kernel,
                     "dynamic_shared_bytes": row["shared_bytes"]} for kernel in found]
    return kernels


def collect_ptxas(launched, candidates, nvcc):
    """The kernels that a step launches (a header may bring along others), and the candidates."""
    kernels, missing = [], {}
    for source, shared_bytes in step_kernels(launched):
        print(f"ptxas {source.relative_to(ROOT)}")
        chapter = source.parent.name
        compiled = compile_kernels(nvcc, source)
        for name, size in shared_bytes.items():  # in the order of their launches
            found = [kernel for kernel in compiled if kernel["kernel"] == name]
            kernels += [{"chapter": chapter, "file": source.name, **kernel,
                         "dynamic_shared_bytes": size} for kernel in found]
            missing[chapter, name] = missing.get((chapter, name), True) and not found
    for chapter, name in (its for its, is_missing in missing.items() if is_missing):
        raise Failure(f"{chapter}: nvcc compiled no kernel {name}")
    return {"nvcc": nvcc_version(nvcc), "kernels": kernels,
            "candidates": [kernel for chapter, rows in candidates.items()
                           for kernel in collect_candidates(chapter, rows, nvcc)]}


def functions_of(nvcc, nvdisasm, source, architecture):
    """[(kernel, its code)] of one kernel file."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = f"{folder}/kernels.cubin"
        run([nvcc, "-cubin", str(source), "-o", cubin, "-std=c++20", "-lineinfo",
             f"-gencode=arch={architecture.replace('sm', 'compute')},code={architecture}",
             "-DATTN_USE_CUDA=1", f"-I{ROOT}"])
        functions = sass.disassemble(nvdisasm, cubin)
    return list(zip(demangle(functions).values(), functions.values()))


def disassembled(nvcc, nvdisasm, source):
    """[{kernel, architecture, and what its code holds}] of one kernel file."""
    return [{"kernel": name, "architecture": architecture, **sass.describe(function)}
            for architecture in architectures_of(source)
            for name, function in functions_of(nvcc, nvdisasm, source, architecture)]


def collect_sass(launched, nvcc, nvdisasm):
    """What ptxas made of the kernels that the steps launch, and which they launch."""
    kernels = []
    for source, shared_bytes in step_kernels(launched):
        print(f"sass {source.relative_to(ROOT)}")
        kernels += [{"chapter": source.parent.name, "file": source.name, **kernel}
                    for kernel in disassembled(nvcc, nvdisasm, source)
                    if kernel["kernel"] in shared_bytes]
    return {"nvcc": nvcc_version(nvcc), "kernels": kernels, "launches": [
        {"chapter": chapter, "step": step, "pass": name, "d": d,
         "kernels": [launch["kernel"] for launch in its]}
        for (chapter, step, name), by_size in launched.items() for d, its in by_size.items()]}
