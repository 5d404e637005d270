# SPDX-License-Identifier: MIT
"""How results are shown, by the scripts of this folder and by the pages in notes/: each function
makes titles and rows of a table's records. A title that ends in a colon stands over numbers. A time
that is None was not measured. Python's standard library is all it needs."""
import counts

PI0_LAYERS = 18
MASKS = {"full": "everything sees everything", "windowed": "own window, and all text",
         "own_image": "own image, and all text", "causal": "causal: what is before it"}


def seconds(value):
    if value is None:
        return "not measured"
    if value >= 1:
        return f"{value:.3g} s"
    return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


def ratio(a, b):
    return "not measured" if a is None or b is None else f"{a / b:.2f}"


def size(value):
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} B"


def three(value):
    """Three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def percent(part):
    return f"{100 * part:.3g} %"


def error(value):
    return "0" if value == 0 else f"{value:.1e}"


def vit_share(records):
    """Of a block of ViT-B/16, and of how much faster the whole can be at most."""
    rows = []
    for its in records:
        share = counts.attention_share(counts.VIT_B, its["tokens"], its["tokens"] ** 2)
        rows.append([its["pixels"], f"{its['tokens']:,}", percent(share),
                     f"{counts.at_most(share):.2f}", f"{counts.at_most(share, 2):.2f}"])
    return ["pixels:", "tokens:", "attention's part of a block's FLOPs:",
            "times as fast, if time went as FLOPs and attention took none:",
            "and if attention took half:"], rows


def vit_times(records):
    rows = []
    for its in records:
        share = counts.attention_share(counts.VIT_B, its["tokens"], its["tokens"] ** 2)
        rows.append([its["pixels"], f"{its['tokens']:,}", seconds(its["math"]),
                     seconds(its["torch"]), seconds(its["ours"]),
                     seconds(its["attention"]), ratio(its["ours"], its["torch"]),
                     ratio(its["math"], its["ours"]), f"{counts.at_most(share):.2f}"])
    return ["pixels:", "tokens:", "math:", "torch's flash:", "ours:",
            "of ours, 12 attentions alone:", "ours / torch's flash:", "math / ours:",
            "math / ours, if time went as FLOPs and ours took none:"], rows


def vit_memory(records):
    rows = [[its["pixels"], f"{its['tokens']:,}", size(its["scores"]), size(its["math_peak"]),
             size(its["torch_peak"]), size(its["ours_peak"]),
             f"{its['math_peak'] / its['ours_peak']:.2f}", error(its["error"])] for its in records]
    return ["pixels:", "tokens:", "S of one layer:", "peak, math:", "torch's flash:", "ours:",
            "math / ours:", "difference of the output:"], rows


def vit_traffic(records):
    rows = [[f"{its['tokens']:,}", size(its["unfused_requested"]), size(its["fused_requested"]),
             f"{its['unfused_requested'] / its['fused_requested']:.3g}",
             size(its["unfused_compulsory"]), size(its["fused_compulsory"]),
             f"{its['unfused_compulsory'] / its['fused_compulsory']:.3g}"] for its in records]
    return ["tokens:", "requested, 03:", "08:", "03 / 08:", "compulsory, 03:", "08:",
            "03 / 08:"], rows


def mha(records):
    rows = [[its["layer"], its["mode"], error(its["output"]),
             "–" if its["gradient"] is None else error(its["gradient"])]
            for its in records]
    return ["layer", "mode", "output:", "largest of the gradients:"], rows


def qwen_windows(records):
    rows = [[its["how"], percent(its["pairs"]), seconds(its["seconds"]), error(its["error"])]
            for its in records]
    return ["how", "pairs of S:", "time:", "error against float64:"], rows


def tower(records):
    """A vision encoder of 32 layers, 28 of them windowed."""
    rows = []
    for its in records:
        grid = its["grid"]
        tokens, windows = grid**2, sum(n**2 for n in counts.windows_of(grid, 8))
        block = counts.QWEN_VISION
        whole = counts.attention_flops(block, tokens**2)
        mixed = (4 * whole + 28 * counts.attention_flops(block, windows)) / 32
        share = counts.attention_share(block, tokens, tokens**2)
        rest = whole / share - whole
        rows.append([f"{14 * grid}", f"{tokens:,}", percent(share), percent(mixed / whole),
                     f"{whole / mixed:.2f}", f"{(whole + rest) / (mixed + rest):.2f}"])
    return ["pixels:", "patches:", "attention's part of the FLOPs, all layers full:",
            "of it left with windows:", "gain in attention:", "gain in the encoder, at most:"], rows


def text_masks(records):
    pairs = counts.mask_pairs(counts.LLAVA)
    rows = []
    for its in records:
        seen = pairs[its["mask"]]
        share = counts.attention_share(counts.LLAMA_7B, counts.LLAVA.tokens, pairs["full"])
        gain = pairs["full"] / seen
        rows.append([MASKS[its["mask"]], f"{seen:,}", f"{gain:.2f}",
                     f"{pairs['causal'] / seen:.2f}",
                     f"{counts.at_most(share, gain):.3f}", seconds(its["torch"]),
                     seconds(its["ours"]), error(its["error"]), percent(its["from_full"])])
    return ["an image token sees", "pairs:", "gain in pairs:", "beside causal:",
            "in the block, at most:",
            "torch, by a mask:", "ours:", "error against float64:",
            "distance from the answer without a mask:"], rows


def layers(records):
    rows = [[its["how"], f"{its['pairs']:,}", error(its["error"])] for its in records]
    return ["how", "pairs:", "error against the mask's own answer:"], rows


def merging(records):
    rows = [[f"{its['alike']:g}", f"{its['keys']:,} to {its['merged']:,}",
             error(its["with_bias"]), error(its["without"])] for its in records]
    return ["likeness of merged keys:", "keys:", "error, with bias log(size):", "without:"], rows


def solver(records):
    """Steps of the action expert, and the prefix before them; layers are alike."""
    rows = []
    for its in records:
        block = counts.PI0_EXPERT if its["expert"] else counts.PI0_PREFIX
        Nq, pairs = its["queries"], its["pairs"]
        attention = counts.attention_flops(block, pairs)
        rest = counts.projection_flops(block, Nq) + counts.mlp_flops(block, Nq)
        share, weights = attention / (attention + rest), counts.weight_bytes(block)
        least, limit = counts.at_least(attention + rest, weights)
        rows.append([its["what"], f"{Nq:,}", f"{its['keys']:,}",
                     three(its["times"] * (attention + rest) / 1e9), percent(share),
                     f"{counts.at_most(share):.2f}", size(its["times"] * weights),
                     seconds(its["times"] * PI0_LAYERS * least), limit])
    return ["what", "queries:", "keys:", "GFLOP in a layer:", "of it attention:",
            "if time went as FLOPs, and attention took none:", "weights read, bfloat16:",
            f"{PI0_LAYERS} layers take an H200 at least:", "set by"], rows


def solver_times(records):
    rows = []
    for its in records:
        share = counts.attention_share(counts.PI0_EXPERT, its["queries"],
                                       its["queries"] * its["keys"])
        measured = its["torch"] is not None and its["ours"] is not None
        rows.append([its["what"], seconds(its["torch"]), seconds(its["ours"]),
                     ratio(its["torch"], its["ours"]),
                     f"{counts.at_most(share, its['torch'] / its['ours']):.2f}" if measured
                     else "not measured", error(its["error"])])
    return ["attention alone", "torch:", "ours:", "torch / ours:", "so the steps, at most:",
            "error against float64:"], rows


def solver_traffic(records):
    rows = [[its["kernel"], its["blocks"], size(its["requested"]), size(its["compulsory"]),
             f"{its['flops'] / its['compulsory']:.3g}"] for its in records]
    return ["kernel", "blocks:", "requested:", "compulsory:", "FLOPs for each compulsory byte:"], \
        rows
