# SPDX-License-Identifier: MIT
"""Tables in Markdown of what plain C++ and PyTorch took on a CPU."""
import itertools
import statistics

from . import DECODING, Failure, times
from .text import PASSES, bytes_text, grouped, markdown, ratio, seconds_text


TIMES = {
    "en": (["implementation", "N = {:,}: times as fast as 01:", "workspace:"],
           "<sub>Forward pass, one head, d = 64, no mask; plain C++ on {} ({}), median of one run, "
           "commit {}. Real times of this computer: they predict no GPU's.</sub>"),
    "zh": (["实现", "N = {:,}：相对 01 的倍数:", "工作区:"],
           "<sub>前向传播，单头，d = 64，无掩码；{}（{}）上的普通 C++，单次运行的中位数，提交 {}。"
           "这是这台计算机的真实时间，不代表任何 GPU。</sub>"),
}
SIZES_OF_TIMES = (4096, 16384)


def cpu_run(data):
    run = times.on_cpu(data["runs"])
    if run is None:
        raise Failure("no run on a CPU in bench/results; bench/cpu.sh makes one")
    return run


ALL_TIMES = {
    "en": (["implementation", "d = {}, N = {:,}:"],
           "<sub>Milliseconds, {} pass, one head, no mask; plain C++ on {} ({}) and PyTorch's "
           "scaled_dot_product_attention, medians of one run, commit {}. In bold the fastest of a "
           "column.{} Real times of this computer: they predict no GPU's.</sub>"),
    "zh": (["实现", "d = {}，N = {:,}:"],
           "<sub>毫秒，{}，单头，无掩码；{}（{}）上的普通 C++ 与 PyTorch 的 scaled_dot_product_attention，"
           "单次运行的中位数，提交 {}。每列最快的用粗体。{}这是这台计算机的真实时间，不代表任何 GPU。</sub>"),
}
OF_PEAK = {
    "en": " In brackets the part of this CPU's peak, {:.0f} GFLOP/s by multiply-adds on registers.",
    "zh": "括号中为占该 CPU 峰值的比例，峰值 {:.0f} GFLOP/s（只在寄存器上做乘加）。",
}
CELLS_OF_TIMES = {
    "forward": [(64, 512), (64, 2048), (64, 4096), (64, 16384), (128, 512), (128, 4096),
                (128, 16384)],
    "backward": [(64, 512), (64, 2048), (64, 4096), (128, 512), (128, 4096)],
}


def milliseconds_text(took):
    if took is None:
        return "–"
    return f"{took:,.0f}" if took >= 100 else f"{took:.3g}"


def all_times_table(data, which, language):
    """What one pass of chapter 01, of all twins that have it, and of PyTorch takes on a CPU.
    Without the twins for few queries: tokens_table() has those."""
    run = cpu_run(data)
    (first, title), caption = ALL_TIMES[language]
    peak = times.peak(run)
    flops = {"forward": 4, "backward": 10}[which]  # for each of N^2 d

    def cell(took, best, d, N):
        text = milliseconds_text(took)
        if took is None:
            return text
        part = f" ({flops * N * N * d / (took / 1e3) / peak:.0%})" if peak else ""
        return (f"**{text}**" if took == best else text) + part

    cells = CELLS_OF_TIMES[which]
    took = {name: [times.milliseconds(run, name, which, N=N, d=d) for d, N in cells]
            for name in times.implementations(run, which)
            if name.split("/")[0] not in DECODING}
    fastest = [min((its for its in column if its is not None), default=None)
               for column in zip(*took.values(), strict=True)]
    rows = [[name.replace("/", " "),
             *(cell(its, best, d, N)
               for its, best, (d, N) in zip(found, fastest, cells, strict=True))]
            for name, found in took.items()]
    context = run["context"]["chapters"]
    of_peak = OF_PEAK[language].format(peak / 1e9) if peak else ""
    name = which if language == "en" else PASSES[language][which]
    return (f"{markdown([first, *(title.format(*its) for its in cells)], rows)}\n\n"
            + caption.format(name, context["device"], context["compiler"], context["commit"],
                             of_peak))


PEER = "pytorch/flash_fp32"
PEERS = {
    "en": (["pass", "heads", "d", "mask", "N = {:,}:"],
           "<sub>PyTorch's time divided by that of {}, plain C++: above 1 the plain C++ is faster. "
           "PyTorch's flash attention for CPUs, on {} ({}), medians; both times of a "
           "ratio are of one machine and day, commit {}. Geometric means: {}.</sub>",
           "{}, d = {}: {:.2f}"),
    "zh": (["传播", "头数", "d", "掩码", "N = {:,}:"],
           "<sub>PyTorch 的耗时除以普通 C++ 的 {} 的耗时：大于 1 表示普通 C++ 更快。PyTorch 的 CPU flash attention，"
           "运行于 {}（{}），中位数；每个比值的两个时间出自同一台机器、同一天，提交 {}。几何平均：{}。</sub>",
           "{}，d = {}：{:.2f}"),
}
SIZES_OF_PEERS = (197, 512, 2048, 4096, 16384)
MASKS = {"en": {"full": "full", "causal": "causal"}, "zh": {"full": "无", "causal": "因果"}}


def peers_table(data, chapter, language):
    """A chapter's twin beside PyTorch's flash attention, as ratios, wherever both were timed."""
    run = cpu_run(data)
    (*firsts, title), caption, mean = PEERS[language]
    rows, means = [], []
    for which, d in itertools.product(("forward", "backward"), (64, 128)):
        found = []
        for heads, mask in itertools.product((1, 12), ("full", "causal")):
            row = []
            for N in SIZES_OF_PEERS:
                its, mine = (times.milliseconds(run, name, which, H=heads, N=N, d=d, mask=mask)
                             for name in (PEER, f"{chapter}/cpu"))
                row.append(its / mine if its and mine else None)
            found += [value for value in row if value]
            if any(row):
                rows.append([PASSES[language][which], str(heads), str(d), MASKS[language][mask],
                             *(f"{value:.2f}" if value else "–" for value in row)])
        if found:
            means.append(mean.format(PASSES[language][which], d, statistics.geometric_mean(found)))
    if not rows:
        raise Failure(f"no times of {chapter}/cpu and {PEER} at the same sizes; bench/cpu.sh, with "
                      "a Python that has PyTorch, measures them")
    context = run["context"]["chapters"]
    commits = dict.fromkeys(its["commit"] for name, its in reversed(run["context"].items())
                            if name.startswith("chapters"))
    return (f"{markdown([*firsts, *(title.format(N) for N in SIZES_OF_PEERS)], rows)}\n\n"
            + caption.format(chapter, context["device"], context["compiler"], ", ".join(commits),
                             "; ".join(means)))


TOKEN_TWIN = "17_decode/cpu"
TOKEN_PEERS = (("pytorch/gqa_fp32", "enable_gqa"), ("pytorch/rows_fp32", "rows"))


def tokens_table(data):
    """What new tokens take chapter 17's twin, beside a copy and PyTorch."""
    run = cpu_run(data)
    found, copied = times.tokens(run), times.copied(run)
    found = {size: entries for size, entries in sorted(found.items()) if TOKEN_TWIN in entries}
    if not found or not copied:
        return (f"Not measured yet by the run of {run['context']['chapters']['commit']} on a CPU; "
                "`bench/cpu.sh` does.")
    rows = []
    for (tokens, keys), entries in found.items():
        twin = entries[TOKEN_TWIN]
        seconds = twin["real_time"] * times.UNITS[twin["time_unit"]] / 1e3
        rate = twin["bytes/s"]
        rows.append([grouped(tokens), grouped(keys), bytes_text(rate * seconds),
                     seconds_text(seconds), f"{rate / 1e9:.3g}", f"{rate / copied:.0%}",
                     *(ratio(rate, entries[name]["bytes/s"]) if name in entries else ""
                       for name, _ in TOKEN_PEERS)])
    context = run["context"][twin["file"]]
    titles = ["new tokens:", "keys:", "K and V:", "time:", "GB/s:", "of a copy:",
              *(f"PyTorch, {title}, takes:" for _, title in TOKEN_PEERS)]
    peer = ""
    if any(its for row in rows for its in row[-len(TOKEN_PEERS):]):
        peer = (" PyTorch's flash attention for CPUs takes so many times as long, asked with "
                "`enable_gqa`, and with a group's heads as rows of one.")
    return (f"{markdown(titles, rows)}\n\n<sub>Llama 3 8B, one layer, float32; plain C++ on "
            f"{context['device']} ({context['compiler']}), medians of one run, commit "
            f"{context['commit']}. A copy reads and writes {copied / 1e9:.3g} GB/s.{peer}</sub>")


def times_table(data, chapter, language):
    """CPU times of chapter 01 and the twins up to a chapter, as ratios."""
    run = cpu_run(data)
    (first, *titles), caption = TIMES[language]
    names = [name for name in times.implementations(run)
             if name[0].isdigit() and name[:2] <= chapter[:2]]
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
