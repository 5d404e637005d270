#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Attention over images and text together, each answer held against float64 with the exact mask.

    bench/models/image_text.py [--no-times] [--out image_text.json]

Windows in an image as Qwen2.5-VL has them, four ways to ask for them; LLaVA's four images and a
text under four masks; the same mask in "layers", right and wrong; tokens that are merged. Random
Q, K and V: times do not depend on them, and what a mask does to a trained model cannot be told from
here. Needs torch and the package attn. Exit status 2 without them.
"""
import functools

import counts
import report
import shown

TABLES = {"qwen_windows": shown.qwen_windows, "tower": shown.tower,
          "text_masks": shown.text_masks, "layers": shown.layers, "merging": shown.merging}
GRID, WINDOW = 64, 8  # 896 pixels in patches of 14; windows of 112 pixels
HEADS = 4  # of LLaVA's 32, which are alike


def exact(torch, q, k, v, sees=None, bias=None):
    """O in float64. sees [Nq, Nk]: true where a row sees a key; bias likewise, added."""
    q, k, v = (x.double() for x in (q, k, v))
    rows = []
    for begin in range(0, q.shape[2], 512):
        part = slice(begin, begin + 512)
        scores = q[:, :, part] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        if sees is not None:
            scores = scores.masked_fill(~sees[part], float("-inf"))
        rows.append(torch.softmax(scores, -1) @ v)
    return torch.cat(rows, 2)


# ---- Windows in one image ----------------------------------------------------------------------


def window_order(torch, grid, window):
    """Tokens of an image, row by row, in the order of windows; and the first of each window."""
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    number = (y // window * ((grid + window - 1) // window) + x // window).flatten()
    order = torch.argsort(number, stable=True)
    first = torch.cumsum(torch.bincount(number), 0)
    return order, number, torch.cat([torch.zeros(1, dtype=torch.int64), first])


def compare_windows(out, torch, attn):
    block, N = counts.QWEN_VISION, GRID**2
    q, k, v = torch.randn(3, 1, block.H, N, block.d)
    order, number, first = window_order(torch, GRID, WINDOW)
    sees = number[:, None] == number[None, :]
    truth = exact(torch, q, k, v, sees)
    ordered = [x[:, :, order].contiguous() for x in (q, k, v)]
    packed = [x[0].contiguous() for x in ordered]
    ranges = torch.stack([first[:-1], first[1:]], 1)[number[order]][None].contiguous()
    wanted = truth[:, :, order]
    ways = (
        ("everything, no windows", 1.0, lambda: attn.forward(q, k, v).o, exact(torch, q, k, v)),
        ("raster order, a boolean mask", None,
         lambda: attn.forward(q, k, v, chapter="14", step="cpu", mask=sees).o, truth),
        ("window order, a range for each row", None,
         lambda: attn.forward(*ordered, chapter="13", step="cpu", ranges=ranges).o, wanted),
        ("window order, packed: 64 sequences", None,
         lambda: attn.forward(*packed, chapter="13", step="cpu", q_offsets=first,
                              k_offsets=first).o[None], wanted),
    )
    pairs = sum(n**2 for n in counts.windows_of(GRID, WINDOW)) / N**2
    for how, share, call, expected in ways:
        out.add("qwen_windows", how=how, pairs=share or pairs, seconds=out.seconds(call),
                error=report.relative_error(call(), expected))
    for grid in (32, 64, 128):
        out.add("tower", grid=grid)


# ---- Images and text ---------------------------------------------------------------------------


def place_of(torch, sequence):
    """For each token: its image, or -1 for text; its window among all, or -1."""
    _, number, first = window_order(torch, sequence.grid, sequence.window)
    image = torch.arange(sequence.images).repeat_interleave(sequence.image)
    window = torch.cat([number + n * (len(first) - 1) for n in range(sequence.images)])
    text = torch.full((sequence.text,), -1)
    return torch.cat([image, text]), torch.cat([window, text])


def masks_of(torch, sequence):
    """{mask: what each row sees, [N, N]; None for everything}. counts.mask_pairs() has the sums."""
    image, window = place_of(torch, sequence)
    text = image < 0
    either = text[:, None] | text[None, :]
    return {"full": None, "windowed": either | (window[:, None] == window[None, :]),
            "own_image": either | (image[:, None] == image[None, :]),
            "causal": torch.ones(len(image), len(image), dtype=torch.bool).tril()}


def compare_masks(out, torch, attn):
    N = counts.LLAVA.tokens
    q, k, v = torch.randn(3, 1, HEADS, N, counts.LLAMA_7B.d)
    full = exact(torch, q, k, v)
    for name, sees in masks_of(torch, counts.LLAVA).items():
        pairs = N**2 if sees is None else int(sees.sum())
        if pairs != counts.mask_pairs(counts.LLAVA)[name]:
            raise report.Failure(f"{name}: {pairs} pairs, not those of counts.py")
        truth = full if sees is None else exact(torch, q, k, v, sees)
        ours = functools.partial(attn.sdpa, q, k, v, sees)
        torchs = functools.partial(torch.nn.functional.scaled_dot_product_attention, q, k, v, sees)
        out.add("text_masks", mask=name, torch=out.seconds(torchs), ours=out.seconds(ours),
                error=report.relative_error(ours(), truth),
                from_full=float((truth - full).norm() / full.norm()))


def merged_parts(torch, parts):
    """O of all keys from (O, LSE) of parts of them: chapter 04's merge. A part's weight is its part
    of the row's sum of exponentials."""
    lse = torch.stack([part.lse for part in parts])
    weights = torch.softmax(lse, 0)[..., None]
    return sum(weight * part.o for weight, part in zip(weights, parts, strict=True))


def padded_windows(torch, q, k, v, sequence):
    """Windows as circulating code has them: the grid padded with zeros to whole windows, which are
    keys like others."""
    grid, window, images = sequence.grid, sequence.window, sequence.images
    side = -(-grid // window)
    B, H, _, d = q.shape

    def split(x):
        x = x[:, :, : images * sequence.image].reshape(B * H * images, grid, grid, d)
        x = torch.nn.functional.pad(x, (0, 0, 0, side * window - grid, 0, side * window - grid))
        x = x.view(-1, side, window, side, window, d).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, 1, window**2, d)

    o = torch.nn.functional.scaled_dot_product_attention(*map(split, (q, k, v)))
    o = o.view(-1, side, side, window, window, d).permute(0, 1, 3, 2, 4, 5)
    o = o.reshape(-1, side * window, side * window, d)[:, :grid, :grid]
    return o.reshape(B, H, images * sequence.image, d)


def compare_layers(out, torch, attn):
    """The windowed mask in layers: windows, then the crosses, then text."""
    sequence = counts.LLAVA
    q, k, v = torch.randn(3, 1, HEADS, sequence.tokens, counts.LLAMA_7B.d)
    sees = masks_of(torch, sequence)["windowed"]
    truth = exact(torch, q, k, v, sees)
    images = sequence.images * sequence.image

    def part(rows, keys, mask=None):
        its = (q[:, :, rows], k[:, :, keys], v[:, :, keys])
        return attn.forward(*(x.contiguous() for x in its), chapter="16", step="cpu",
                            mask=mask)

    image, text = slice(0, images), slice(images, None)
    own = part(image, image, sees[:images, :images].contiguous())
    cross = part(image, text)
    back = part(text, slice(None))
    pairs = counts.mask_pairs(sequence)["windowed"]
    one_cross = pairs - images * sequence.text
    padded = padded_windows(torch, q, k, v, sequence)
    padded_pairs = len(counts.windows_of(sequence.grid, sequence.window)) * sequence.window**4
    of_windows = sum(n**2 for n in counts.windows_of(sequence.grid, sequence.window))
    more = sequence.images * (padded_pairs - of_windows)

    def whole(of_images, of_text):
        return torch.cat([of_images, of_text], 2)

    ways = (
        ("one call with the mask", pairs, attn.sdpa(q, k, v, sees)),
        ("layers, merged by their LSE", pairs,
         whole(merged_parts(torch, [own, cross]), back.o)),
        ("layers, a softmax each, added up", pairs, whole(own.o + cross.o, back.o)),
        ("layers, a softmax each, the mean", pairs, whole((own.o + cross.o) / 2, back.o)),
        ("by LSE, but text sees no image", one_cross,
         whole(merged_parts(torch, [own, cross]), part(text, text).o)),
        ("windows padded with zeros, merged likewise", pairs + more,
         whole(merged_parts(torch, [own._replace(o=padded), cross]), back.o)),
    )
    for how, number, got in ways:
        out.add("layers", how=how, pairs=number, error=report.relative_error(got, truth))


# ---- Merging tokens ----------------------------------------------------------------------------


def compare_merging(out, torch, attn):
    """936 keys, groups of which are alike, become 200: their means, with bias log(size) or
    without."""
    keys, merged, d = 936, 200, 64
    q = torch.randn(1, 4, 256, d)
    group = torch.cat([torch.arange(merged), torch.randint(merged, (keys - merged,))])
    sizes = torch.bincount(group).float()
    for alike in (1.0, 0.99, 0.9, 0.5):

        def members(alike=alike):
            """Normal numbers; two of one group correlate by `alike`."""
            own = torch.randn(1, 4, keys, d, dtype=torch.float64)
            common = torch.randn(1, 4, merged, d, dtype=torch.float64)[:, :, group]
            return alike**0.5 * common + (1 - alike) ** 0.5 * own

        k, v = members(), members()
        truth = exact(torch, q, k, v)

        def means(x):
            total = torch.zeros(1, 4, merged, d, dtype=torch.float64)
            return (total.index_add(2, group, x) / sizes[:, None]).float()

        few = (q, means(k), means(v))
        bias = sizes.log().expand(1, 1, 1, merged).contiguous()
        out.add("merging", alike=alike, keys=keys, merged=merged,
                with_bias=report.relative_error(attn.sdpa(*few, bias), truth),
                without=report.relative_error(attn.sdpa(*few), truth))


def main():
    out = report.Report(__doc__, TABLES)
    torch, attn = report.import_all()
    torch.manual_seed(report.SEED)
    compare_windows(out, torch, attn)
    compare_masks(out, torch, attn)
    compare_layers(out, torch, attn)
    compare_merging(out, torch, attn)
    out.show("qwen_windows", "One image of 64 x 64 patches, windows of 8 x 8, 16 heads, d = 80.")
    out.show("tower", "Qwen2.5-VL's vision encoder: 4 layers full, 28 windowed, in FLOPs.")
    out.show("text_masks", "4 x 256 image and 512 text tokens, 4 heads, d = 128.")
    out.show("layers", "The windowed mask in layers.")
    out.show("merging", "Merged keys: the largest error, a part of the largest value.")
    out.finish(torch)


if __name__ == "__main__":
    with report.failures():
        main()
