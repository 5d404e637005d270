# SPDX-License-Identifier: MIT
"""Tables in Markdown from what was counted, compiled and measured."""
from . import SHAPE, Failure, compulsory, requested, times
from .collect import ARCHITECTURES


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
            f"that the kernel cannot beat on an {device}; a real run takes longer.</sub>")


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
            "bound on {}:", "time on {}:"],
           "not measured", {"forward": "Forward", "backward": "Backward"},
           "<sub>{} pass at {}, no mask, counted on the CPU machine. Requested: what the threads "
           "ask for. Compulsory: each distinct byte once per launch. The bound is a time that the "
           "kernel cannot beat on an {}; a real run takes longer.</sub>"),
    "zh": (["章节", "步骤", "请求访存量（KiB）:", "必需访存量（KiB）:", "工作区（KiB）:",
            "{} 上的时间下界:", "{} 上的实测时间:"],
           "未测量", {"forward": "前向传播", "backward": "反向传播"},
           "<sub>{}，{}，无掩码，在 CPU 模拟机上计数。请求访存量：线程要求访问的字节数。必需访存量：每次启动中"
           "每个不同的字节只算一次。下界是 {} 无论如何也快不过的时间；实际运行会更久。</sub>"),
}


def ladder_table(data, name, language):
    titles, not_measured, names, caption = LADDER[language]
    rows, device = [], ""
    for step in data["trace"]["steps"]:
        if step["pass"] != name:
            continue
        counted = ["–"] * 4  # plain C++
        if "total" in step:
            total, device = step["total"], step["device"]
            measured = times.milliseconds(times.on_gpu(data["runs"], device),
                                          f"{step['chapter']}/{step['step']}", name, N=SHAPE["Nq"])
            counted = [kib(requested(total)), kib(compulsory(total)),
                       seconds_text(total["bound_seconds"]),
                       not_measured if measured is None else seconds_text(measured / 1e3)]
        rows.append([step["chapter"], step["step"], *counted[:2], kib(step["workspace_bytes"]),
                     *counted[2:]])
    titles = [title.format(device) for title in titles]
    return f"{markdown(titles, rows)}\n\n" + caption.format(names[name], sizes_text(data), device)


TIMES = {
    "en": (["implementation", "N = {:,}: times as fast as 01:", "workspace:"],
           "<sub>Forward pass, one head, d = 64, no mask; plain C++ on {} ({}), median of one run, "
           "commit {}. Real times of this computer: they predict no GPU's.</sub>"),
    "zh": (["实现", "N = {:,}：相对 01 的倍数:", "工作区:"],
           "<sub>前向传播，单头，d = 64，无掩码；{}（{}）上的普通 C++，单次运行的中位数，提交 {}。"
           "这是这台计算机的真实时间，不代表任何 GPU。</sub>"),
}
SIZES_OF_TIMES = (4096, 16384)


def bytes_text(size):
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def times_table(data, chapter, language):
    """CPU times of chapter 01 and the twins up to a chapter, or of all and PyTorch's, as ratios."""
    run = times.on_cpu(data["runs"])
    if run is None:
        raise Failure("no run on a CPU in bench/results; bench/cpu.sh makes one")
    (first, *titles), caption = TIMES[language]
    names = [name for name in times.implementations(run)
             if chapter is None or (name[0].isdigit() and name[:2] <= chapter[:2])]
    rows = []
    for name in names:
        cells = []
        for N in SIZES_OF_TIMES:
            plain, its = (times.milliseconds(run, which, N=N) for which in (times.PLAIN, name))
            size = times.workspace_bytes(run, name, N=N)
            cells += [ratio(plain, its) if its else "–", "–" if size is None else bytes_text(size)]
        rows.append([name.replace("/", " "), *cells])
    heads = [title.format(N) for N in SIZES_OF_TIMES for title in titles]
    context = run["context"]["chapters"]
    return (f"{markdown([first, *heads], rows)}\n\n"
            + caption.format(context["device"], context["compiler"], context["commit"]))


def table(data, name, language):
    """The table that a marker names."""
    kind, *arguments = name.split()
    if kind == "ladder" and arguments in ([], ["backward"]):
        return ladder_table(data, arguments[0] if arguments else "forward", language)
    if kind == "times" and len(arguments) <= 1:
        return times_table(data, arguments[0] if arguments else None, language)
    if kind in ("trace", "ptxas") and len(arguments) == 1:
        return (trace_table if kind == "trace" else ptxas_table)(data, arguments[0])
    raise Failure(f"unknown table '{name}'; allowed: trace CHAPTER, ptxas CHAPTER, ladder, "
                  "ladder backward, times, times CHAPTER")
