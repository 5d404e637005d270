#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What attention is of a vision transformer: ViT-B/16 at 224, 448 and 1,024 pixels.

    bench/models/vision.py [--no-times] [--out vision.json]

timm's model with random weights, so that no file is loaded: times, memory and traffic do not depend
on what the weights are. Its attentions are computed by PyTorch's math back end, by PyTorch's flash
attention, and by this project's (attn.use()). Then one attention's traffic, counted on the CPU
machine. Needs torch, timm and the package attn. Exit status 2 without them.
"""
import counts
import report
import shown

PIXELS = (224, 448, 1024)
TRACED_TOKENS = (197, 785)  # more would take the CPU machine minutes
TABLES = {"vit_share": shown.vit_share, "vit_times": shown.vit_times,
          "vit_memory": shown.vit_memory, "vit_traffic": shown.vit_traffic, "mha": shown.mha}


def measure_model(out, torch, attn, timm, pixels):
    """Times, peak memory and output of the whole model."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch.manual_seed(report.SEED)
    model = timm.create_model("vit_base_patch16_224", pretrained=False, img_size=pixels).eval()
    image = torch.randn(1, 3, pixels, pixels)
    N = counts.vit_tokens(pixels)

    def by_torch(backend):
        with torch.no_grad(), sdpa_kernel([backend]):
            return model(image)

    def by_ours():
        with torch.no_grad(), attn.use() as used:
            result = model(image)
        if used.calls != 12:
            raise report.Failure(f"{used.calls} attentions were taken over; expected: 12")
        return result

    ways = {"math": lambda: by_torch(SDPBackend.MATH),
            "torch": lambda: by_torch(SDPBackend.FLASH_ATTENTION), "ours": by_ours}
    q, k, v = torch.randn(3, 1, 12, N, 64)
    with torch.no_grad():
        attention = out.seconds(lambda: [attn.sdpa(q, k, v) for _ in range(12)])
    out.add("vit_share", pixels=pixels, tokens=N)
    out.add("vit_times", pixels=pixels, tokens=N, attention=attention,
            **{name: out.seconds(call) for name, call in ways.items()})
    if pixels == PIXELS[0]:  # what is allocated once is no part of a peak
        for call in ways.values():
            call()
    peaks = {name: report.peak_bytes(call) for name, call in ways.items()}
    out.add("vit_memory", pixels=pixels, tokens=N, scores=4 * 12 * N**2,
            error=report.relative_error(peaks["ours"][1], peaks["math"][1]),
            **{f"{name}_peak": peak for name, (peak, _) in peaks.items()})


def count_traffic(out, torch, attn, N):
    """Bytes of one layer's attention, 12 heads; all heads are alike, so one is counted."""
    q, k, v = torch.randn(3, 1, 1, N, 64)
    record = {"tokens": N}
    for name, chapter in (("unfused", "03_tiled"), ("fused", "08_register_tiles")):
        total = attn.trace(q, k, v, chapter=chapter).total
        record[f"{name}_requested"] = 12 * sum(
            total[f"global_{kind}_bytes"] for kind in ("load", "store", "atomic", "async"))
        record[f"{name}_compulsory"] = 12 * sum(
            total[f"global_{kind}_bytes_compulsory"] for kind in ("read", "write"))
    out.add("vit_traffic", **record)


def compare_layers(out, torch, attn):
    """FlashMHA and nn.TransformerEncoderLayer, by torch and by ours, with the same numbers. In
    evaluation without gradients, where torch's fast path would be taken."""
    from flash_mha import FlashMHA

    torch.manual_seed(report.SEED)
    x, grad_y = torch.randn(2, 2, 197, 768)
    layers = (("FlashMHA", FlashMHA(768, 12)),
              ("nn.TransformerEncoderLayer",
               torch.nn.TransformerEncoderLayer(768, 12, 3072, dropout=0.0, batch_first=True)))
    for name, layer in layers:
        for mode in ("train", "eval"):
            layer.train(mode == "train")

            def both(layer=layer, train=mode == "train"):
                layer.zero_grad()
                with torch.set_grad_enabled(train):
                    y = layer(x)
                if not train:
                    return y, []
                y.backward(grad_y)
                return y.detach(), [its.grad.clone() for its in layer.parameters()]

            expected, gradients = both()
            with attn.use():
                got, ours = both()
            out.add("mha", layer=name, mode=mode, output=report.relative_error(got, expected),
                    gradient=max(map(report.relative_error, ours, gradients), default=None))


def main():
    out = report.Report(__doc__, TABLES)
    torch, attn, timm = report.import_all("timm")
    compare_layers(out, torch, attn)
    out.show("mha", "Layers on ours against torch: difference, parts of the largest value.")
    for pixels in PIXELS:
        measure_model(out, torch, attn, timm, pixels)
    out.show("vit_share", "ViT-B/16: FLOPs of a block of width 768.")
    out.show("vit_times", "ViT-B/16, one image, random weights: time of the model.")
    out.show("vit_memory", "The same: peak memory of a call, and what ours differs by.")
    for N in TRACED_TOKENS:
        count_traffic(out, torch, attn, N)
    out.show("vit_traffic", "One layer's attention, counted on the CPU machine.")
    out.finish(torch, timm=timm.__version__)


if __name__ == "__main__":
    with report.failures():
        main()
