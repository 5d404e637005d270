# SPDX-License-Identifier: MIT
"""Tables in Markdown from what was counted, compiled and, on a GPU, measured."""
from . import (DECODING, FULL, LONG, TOKEN, Failure, compulsory, heads_of, predict, requested,
               times)
from .collect import ARCHITECTURES
from .cpu_tables import all_times_table, peers_table, times_table, tokens_table
from .issue import kernel_of, tensor_turn
from .text import PASSES, bytes_text, grouped, kib, markdown, ratio, seconds_text


def shared_wavefronts(counts, kinds, what="wavefronts"):
    return sum(counts.get(f"{kind}_{what}", 0) for kind in kinds)


def wavefronts(counts):
    """How many times as many as without bank conflicts."""
    kinds = ("shared_load", "shared_store", "matrix_load", "shared_async")
    return ratio(shared_wavefronts(counts, kinds),
                 shared_wavefronts(counts, kinds, "wavefronts_ideal"))


def element(step):
    """What its arrays hold, where that is not float32."""
    return step.get("element", "")


def step_name(step):
    return step["step"] + (", backward" if step["pass"] == "backward" else "")


def of_chapter(entries, chapter):
    found = [entry for entry in entries if entry["chapter"] == chapter]
    if not found:
        raise Failure(f"nothing collected for {chapter}")
    return found


def trace_cells(counts, heads):
    """What trace_table shows of a launch and of all of them, whose bound is for so many times."""
    products = counts.get("mma_instructions", 0)
    return [kib(requested(counts)), kib(compulsory(counts)),
            ratio(counts["global_load_sectors"], counts["global_load_requests"]),
            wavefronts(counts),
            grouped(products) if products else "",
            grouped(counts["wgmma_instructions"]) if counts.get("wgmma_instructions") else "",
            ratio(shared_wavefronts(counts, ("shared_load", "matrix_load")), products),
            grouped(counts["special_functions"]) if counts["special_functions"] else "",
            f"{seconds_text(counts['bound_seconds'] / heads)}, {counts['bound_limit']}"]


def heads_of_bound(chapter):
    """How many times the counted heads a chapter's bounds are for."""
    return 1 if chapter in DECODING else heads_of(FULL)


def counted_steps(data, chapter):
    steps = of_chapter(data["trace"]["steps"], chapter)
    if any("total" not in step for step in steps):
        raise Failure(f"{chapter} is plain C++: nothing counted")
    return steps


def tensor_table(data, chapter):
    """Of each step, what nvcc made of one turn of its loops over tiles that multiply on the tensor
    cores; for rows of 64 and of 128 columns."""
    rows, seen = [], {}
    for launch in of_chapter(data["sass"]["launches"], chapter):
        for name in launch["kernels"]:
            its = kernel_of(data["sass"], chapter, launch["step"], name, ARCHITECTURES[-1])
            turn = tensor_turn(its) if its else None
            key = (launch["step"], name)
            if turn is None or key in seen or launch["d"] == 32:
                continue
            registers = next(kernel for kernel in of_chapter(data["ptxas"]["kernels"], chapter)
                             if kernel["kernel"] == name and kernel["file"] == its["file"]
                             and kernel["architecture"] == ARCHITECTURES[-1])
            seen[key] = True
            products = turn["tensor"]
            rows.append([step_name(launch), f"`{name.partition('<')[0]}`", str(launch["d"]),
                         str(products), ratio(turn.get("shared_matrix_load", 0), products),
                         ratio(turn.get("integer", 0), products),
                         ratio(turn["instructions"], products), str(registers["registers"]),
                         str(registers["spill_bytes"]),
                         grouped(registers["dynamic_shared_bytes"])])
    if not rows:
        raise Failure(f"{chapter}: no kernel multiplies on the tensor cores")
    if len({row[1] for row in rows}) == 1:
        rows = [[row[0], "", *row[2:]] for row in rows]
    titles = ["step", "kernel", "d:", "HMMA:", "LDSM : HMMA:", "integer : HMMA:",
              "instructions : HMMA:", "registers:", "spills, bytes:", "shared memory, bytes:"]
    return (f"{markdown(titles, rows)}\n\n<sub>Of one warp and one turn of the loop over tiles "
            f"without a mask. {ARCHITECTURES[-1]}, nvcc {data['sass']['nvcc']}. An LDSM (ldmatrix) "
            "brings four matrices and takes four wavefronts; an HMMA is one `mma`.</sub>")


def steps_table(data, chapter):
    """Of each step, all kernels together."""
    steps, heads = counted_steps(data, chapter), heads_of_bound(chapter)
    return traced(data, steps, [[step_name(step), "", *trace_cells(step["total"], heads),
                                 kib(step["workspace_bytes"])] for step in steps])


def trace_table(data, chapter):
    """Of each step, kernel by kernel."""
    rows = []
    steps = counted_steps(data, chapter)
    for step in steps:
        named = [(f"`{launch['kernel']}`", launch) for launch in step["launches"]]
        if len(named) > 1:
            named.append(("all", step["total"]))
        for name, counts in named:
            rows.append(["", name, *trace_cells(counts, heads_of_bound(chapter)), ""])
        if len(named) > 1:
            rows[-1] = [cell and f"**{cell}**" for cell in rows[-1]]
        if len(steps) > 1:
            rows[-len(named)][0] = step_name(step)
        rows[-1][-1] = kib(step["workspace_bytes"])
    return traced(data, steps, rows)


def traced(data, steps, rows):
    device, heads = steps[0]["device"], heads_of_bound(steps[0]["chapter"])
    titles = ["step", "kernel", "requested, KiB:", "compulsory, KiB:", "sectors per load request:",
              "shared wavefronts / ideal:", "products of fragments (mma):",
              "instructions of products (wgmma):", "wavefronts of shared loads, per mma:",
              "special functions:",
              f"bound on {'a full' if heads > 1 else 'an'} {device}, set by:", "workspace, KiB:"]
    counted = steps[0].get("shape", data["trace"]["shape"])
    shape = {name: counted[name] for name in TOKEN if name in counted}
    bound = (f"The bound: {heads} such heads at a time, enough for all multiprocessors of an "
             f"{device}, divided by {heads}. The kernel cannot beat it" if heads > 1 else
             "The kernel cannot beat the bound")
    return (f"{markdown(titles, rows)}\n\n"
            f"<sub>Counted on the CPU machine at {sizes(shape)}{of_element(steps)}, no mask"
            f"{of_pages(steps)}. "
            f"{bound}; a real run takes longer.</sub>")


def of_pages(steps):
    """", pages of 16 keys" of a cache in pages."""
    return "".join(f", pages of {keys} keys"
                   for keys in dict.fromkeys(step.get("page_keys") for step in steps) if keys)


def of_element(steps):
    """", bfloat16" of a chapter that has not float32."""
    names = dict.fromkeys(element(step) for step in steps if element(step))
    return "".join(f", {name}" for name in names)


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
    used = [name for name in ARCHITECTURES
            if any(kernel["architecture"] == name for its in kernels.values() for kernel in its)]
    for (file, name), variants in kernels.items():
        variants.sort(key=lambda kernel: used.index(kernel["architecture"]))
        row = (f"`{name}`",
               *(str(kernel["registers"]) for kernel in variants),
               both(variants, lambda kernel: grouped(kernel["static_shared_bytes"])),
               both(variants, lambda kernel: grouped(kernel["dynamic_shared_bytes"])),
               both(variants, lambda kernel: kernel["spill_bytes"]),
               both(variants, lambda kernel: kernel["stack_bytes"]))
        files.setdefault(row, []).append(file.removesuffix(".cu"))
    alone = len({file for file, _ in kernels}) == 1
    rows = [[row[0], "" if alone else ", ".join(names), *row[1:]] for row, names in files.items()]
    titles = ["kernel", "file", *(f"registers, {name}:" for name in used),
              "static shared memory, bytes:", "dynamic, bytes:", "spills, bytes:", "stack, bytes:"]
    return f"{markdown(titles, rows)}\n\n<sub>Compiled by nvcc {data['ptxas']['nvcc']}.</sub>"


NOT_MEASURED = {"en": "not measured", "zh": "未测量"}

LADDER = {
    "en": (["chapter", "step", "element", "requested:", "workspace:", "compulsory:", "time on {}:",
            "what it pays"],
           "<sub>{0} pass at {1}, no mask. Requested: what the threads ask of global memory. "
           "Workspace: memory beside inputs and outputs. Compulsory: each distinct byte once per "
           "launch.{3} Counted on the CPU machine on one of the {2} heads; all are like it.</sub>"),
    "zh": (["章节", "步骤", "元素", "请求访存量:", "工作区:", "必需访存量:", "{} 上的实测时间:", "代价"],
           "<sub>{0}，{1}，无掩码。请求访存量：线程向全局内存要求访问的字节数。工作区：输入和输出之外的内存。"
           "必需访存量：每次启动中每个不同的字节只算一次。{3}由 CPU 模拟机在 {2} 个头中的一个上计数，其余的头与它相同。"
           "</sub>"),
}

# Beside rows of chapters with arrays of 16-bit elements.
ELEMENTS = {"en": " Element: float32 where none is named; 16 bits are half the bytes.",
            "zh": "元素：未注明的为 float32；16 位元素的字节数减半。"}


def elements_text(rows, column, language):
    return ELEMENTS[language] if any(row[column] for row in rows) else ""


# What a step pays, in the words of the chapters' records, and in Chinese.
PRICES = {
    "": "",
    "copies K, to transpose it": "多存一份转置的 K",
    "every row loads all K and V anew": "每一行都要重新读取全部 K 和 V",
    "O, m, l out and back per K/V tile": "每个 K/V 块都要写出并读回 O、m、l",
    "S and dP computed twice": "S 和 dP 要算两遍",
    "S and dP computed twice, in 07's tiles": "S 和 dP 要算两遍，用第 07 章的分块",
    "dQ in float32 beside, by atomics": "另存一份 float32 的 dQ，用原子操作累加",
    "07's tiles, not 08's": "用第 07 章的分块，不是第 08 章的",
    "S in HBM again, to see what fusion brings": "S 又放回 HBM，以便看出融合带来多少",
}


def price_text(step, language):
    if language == "zh" and step["price"] not in PRICES:
        raise Failure(f"tables.py: PRICES has no Chinese for '{step['price']}'")
    return PRICES[step["price"]] if language == "zh" else step["price"]


def kernels(data, name):
    """The counted steps that have this pass, in the order of the ladder, but for chapters that are
    not about prompts. Chapters 12 to 16 are about masks, and without one, as all is counted here, a
    chapter's steps do the same: the last one stands for them."""
    steps = [step for step in data["trace"]["steps"] if step["pass"] == name and "total" in step
             and step["chapter"] not in DECODING]
    last = {step["chapter"]: step["step"] for step in steps}
    return [step for step in steps
            if not "12" <= step["chapter"][:2] <= "16" or step["step"] == last[step["chapter"]]]


# What a table puts side by side, of one step, and how much more than another's is more.
QUANTITIES = {
    "requested": (lambda data, step: requested(step["total"]), 1.0),
    "workspace": (lambda data, step: step["workspace_bytes"], 1.0),
    "compulsory": (lambda data, step: compulsory(step["total"]), 1.0),
    "time": (lambda data, step: measured(data, step, full_shape(data)), 1.1),
}


def worse_than_before(data, name):
    """[(step, quantity, step before)] wherever a row of the ladder is above one before it, which a
    reader takes for a step backwards."""
    found = []
    steps = kernels(data, name)
    for quantity, (of, slack) in QUANTITIES.items():
        for n, step in enumerate(steps):
            for before in steps[:n]:
                mine, its = of(data, step), of(data, before)
                if mine is not None and its is not None and mine > slack * its:
                    found.append((step, quantity, before))
                    break
    return found


def full_shape(data):
    return {**FULL, "N": data["trace"]["shape"]["Nq"], "d": data["trace"]["shape"]["d"]}


def measured(data, step, shape):
    """Seconds on the device that the bounds are for; None where not measured."""
    its = times.milliseconds(times.on_gpu(data["runs"], step["device"]),
                             f"{step['chapter']}/{step['step']}", step["pass"], **shape)
    return None if its is None else its / 1e3


def sizes(shape):
    return ", ".join(f"{name}={size}" for name, size in shape.items())


def ladder_table(data, name, language):
    titles, caption = LADDER[language]
    rows, shape = [], full_shape(data)
    heads = heads_of(FULL)
    for step in kernels(data, name):
        took = measured(data, step, shape)
        rows.append([step["chapter"], step["step"], element(step),
                     bytes_text(heads * requested(step["total"])),
                     bytes_text(heads * step["workspace_bytes"]),
                     bytes_text(heads * compulsory(step["total"])),
                     NOT_MEASURED[language] if took is None else seconds_text(took),
                     price_text(step, language)])
    titles = [title.format(step["device"]) for title in titles]
    return (f"{markdown(titles, rows)}\n\n"
            + caption.format(PASSES[language][name], sizes(shape), heads,
                             elements_text(rows, 2, language)))


PREDICTED = {
    "en": (["chapter", "step", "element", "predicted on {}, from:", "to:", "measured:",
            "issue estimate:", "bound:", "set by"],
           "{}, off by {:+.0f} %",
           "<sub>{} pass at {}, no mask. Predicted before any run on a GPU from what was counted "
           "({}): from the largest of bound, issue estimate and memory traffic, as if they were at "
           "the same time, to their sum. – where the instructions decide and nobody counted them. "
           "No {} can beat the bound, whose order is not that of the kernels.{}</sub>"),
    "zh": (["章节", "步骤", "元素", "{} 上的预测，从:", "到:", "实测:", "指令发射估计:", "时间下界:", "取决于"],
           "{}，偏差 {:+.0f} %",
           "<sub>{}，{}，无掩码。在任何 GPU 上运行之前由计数结果作出的预测（{}）：从下界、指令发射估计和内存访问"
           "三者中最大的一个（如同三者同时进行），到三者之和。–：由指令数决定，而指令数还没有统计。{} 无法突破下界；"
           "下界的大小次序并不是核函数快慢的次序。{}</sub>"),
}
LIMITS = {"memory": "显存", "shared memory": "共享内存", "special functions": "特殊函数",
          "FLOPs": "浮点运算", "shuffles": "线程束洗牌", "votes": "线程束投票"}


def off_by(seconds, prediction):
    """Percent by which a measured time lies outside of a predicted range; 0 within."""
    nearest = min(max(seconds, prediction["least_seconds"]), prediction["most_seconds"])
    return 100 * (seconds / nearest - 1)


def beside(seconds, prediction, against, language):
    """A measured time as the table shows it beside its prediction."""
    if seconds is None:
        return NOT_MEASURED[language]
    if prediction["least_seconds"] is None:
        return seconds_text(seconds)
    return against.format(seconds_text(seconds), off_by(seconds, prediction))


def predictions_table(data, name, long, language):
    titles, against, caption = PREDICTED[language]
    shape = LONG if long else full_shape(data)
    steps = kernels(data, name)
    if long:  # the default step of every chapter
        steps = list({step["chapter"]: step for step in steps}.values())
    rows, made = [], {}
    for step in steps:
        its = predict.find(data, step, shape)
        if its is None:
            raise Failure(f"no prediction for {step['chapter']} {step['step']}, {sizes(shape)}: "
                          "`bench/report.py predict`")
        made[its["date"], its["commit"]] = True
        parts, took = its["from"], measured(data, step, shape)
        predicted = [its["least_seconds"], its["most_seconds"]]
        limit = parts["bound_limit"]
        rows.append([step["chapter"], step["step"], element(step),
                     *("–" if end is None else seconds_text(end) for end in predicted),
                     beside(took, its, against, language),
                     "" if parts["issue_seconds"] is None else seconds_text(parts["issue_seconds"]),
                     seconds_text(parts["bound_seconds"]),
                     LIMITS.get(limit, limit) if language == "zh" else limit])
    titles = [title.format(step["device"]) for title in titles]
    dates = "; ".join(f"{date}, {commit}" for date, commit in made)
    return (f"{markdown(titles, rows)}\n\n"
            + caption.format(PASSES[language][name], sizes(shape), dates, step["device"],
                             elements_text(rows, 2, language)))


def built_table(data):
    """The forward pass that each chapter ends with, by what it asks for: in bytes of all heads,
    in wavefronts for a multiply-add of a warp, in exponentials for a score."""
    shape, heads = data["trace"]["shape"], heads_of(FULL)
    scores = shape["Nq"] * shape["Nk"]
    products = 2 * scores * shape["d"] // 32
    rows = []
    for step in {step["chapter"]: step for step in kernels(data, "forward")}.values():
        total = step["total"]
        loads = shared_wavefronts(total, ("shared_load", "matrix_load"))
        rows.append([step["chapter"], element(step), bytes_text(heads * requested(total)),
                     bytes_text(heads * step["workspace_bytes"]),
                     bytes_text(heads * compulsory(total)),
                     ratio(loads, products) if loads else "",
                     ratio(total["special_functions"], scores), step["price"]])
    titles = ["chapter", "element", "requested:", "workspace:", "compulsory:",
              "wavefronts of shared loads, per multiply-add:", "exponentials, per score:",
              "what it pays"]
    return (f"{markdown(titles, rows)}\n\n<sub>Each chapter's last forward step at "
            f"{sizes(full_shape(data))}, no mask, counted on the CPU machine on one of the {heads} "
            "heads. Requested: what the threads ask of global memory. Compulsory: each distinct "
            "byte once per launch. A multiply-add of a warp is 32 of them; while an H200 serves "
            "one wavefront it starts four. Empty: no shared memory. An exponential that all 32 "
            f"lanes compute counts 32 times.{elements_text(rows, 1, 'en')}</sub>")


def table(data, name, language):
    """The table that a marker names."""
    kind, *arguments = name.split()
    if kind == "ladder" and arguments in ([], ["backward"]):
        return ladder_table(data, arguments[0] if arguments else "forward", language)
    if kind == "predicted" and set(arguments) <= {"long", "backward"}:
        return predictions_table(data, "backward" if "backward" in arguments else "forward",
                                 "long" in arguments, language)
    if name == "built":
        return built_table(data)
    if name == "decode times":
        return tokens_table(data)
    if kind == "times" and arguments in ([], ["backward"]):
        return all_times_table(data, arguments[0] if arguments else "forward", language)
    if kind == "times" and len(arguments) == 1:
        return times_table(data, arguments[0], language)
    if kind == "peers" and len(arguments) == 1:
        return peers_table(data, arguments[0], language)
    counted = {"steps": steps_table, "trace": trace_table, "ptxas": ptxas_table,
               "tensor": tensor_table}
    if kind in counted and len(arguments) == 1:
        return counted[kind](data, arguments[0])
    raise Failure(f"unknown table '{name}'; allowed: steps CHAPTER, trace CHAPTER, ptxas CHAPTER, "
                  "tensor CHAPTER, ladder, ladder backward, built, predicted, predicted backward, "
                  "predicted long, times, times backward, times CHAPTER, decode times, "
                  "peers CHAPTER")
