#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The models of bench/models on this project's attention.

    models_test.py LIBATTN_SO

Every attention of timm's ViT-B/16, nn.TransformerEncoderLayer, FlashMHA, a vision transformer that
is trained, and that the scripts run. Exit status 77, which ctest takes for skipped, where torch or
timm is not installed.
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import warnings

from checks import ROOT, Checks, import_attn

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm
        import torch
except ImportError as missing:
    print(f"skipped: {missing} (pip install torch timm)")
    sys.exit(77)

attn = import_attn(sys.argv[1])
sys.path.insert(0, str(ROOT / "bench" / "models"))
import counts  # noqa: E402  (found by the line above)
import flash_mha  # noqa: E402
import image_text  # noqa: E402

OUTPUT, GRADIENT, LOSS = 1e-5, 1e-4, 1e-4  # of the largest value
SEED = 20260101


def close(got, expected, part, what):
    """Within `part` of the largest expected value; NaN is never close."""
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    largest = float(expected.abs().max())
    assert largest > 0, f"{what}: all zero"
    error = float((got - expected).abs().max())
    assert error <= part * largest, f"{what}: differs by {error:.3g} of {largest:.3g}"


def both_passes(module, *inputs, **options):
    """The output, then the gradients of the first input and of all parameters."""
    x = inputs[0].detach().clone().requires_grad_()
    module.zero_grad()
    y = module(x, *inputs[1:], **options)
    generator = torch.Generator().manual_seed(SEED)
    y.backward(torch.randn(y.shape, generator=generator))
    return [y.detach(), x.grad, *(its.grad.clone() for its in module.parameters())]


def compare(module, *inputs, calls=1, what="", **options):
    """Output and gradients on ours beside torch's; attention was called so often."""
    expected = both_passes(module, *inputs, **options)
    with attn.use() as used:
        got = both_passes(module, *inputs, **options)
    assert used.calls == calls, f"{what}: {used.calls} calls; expected: {calls}"
    close(got[0], expected[0], OUTPUT, f"{what} output")
    for name, ours, its in zip(["input", *(name for name, _ in module.named_parameters())],
                               got[1:], expected[1:], strict=True):
        close(ours, its, GRADIENT, f"{what} gradient of {name}")


def test_every_attention_of_vit_b():
    torch.manual_seed(SEED)
    model = timm.create_model("vit_base_patch16_224", pretrained=False).eval()
    inputs = []
    hooks = [block.attn.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
             for block in model.blocks]
    with torch.no_grad():
        expected = model(torch.randn(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    assert len(inputs) == 12 and expected.abs().max() > 0
    for number, (block, x) in enumerate(zip(model.blocks, inputs, strict=True)):
        compare(block.attn, x, what=f"layer {number}")


def test_whole_vit_b_takes_all_calls():
    torch.manual_seed(SEED)
    model = timm.create_model("vit_base_patch16_224", pretrained=False).eval()
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model(image)
        with attn.use() as used:
            got = model(image)
    assert used.calls == 12, used.calls
    close(got, expected, OUTPUT, "ViT-B/16")


def test_encoder_layer_in_train_and_eval():
    torch.manual_seed(SEED)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    x = torch.randn(3, 37, 64)
    padding = torch.arange(37)[None] >= torch.tensor([37, 20, 1])[:, None]
    for training in (True, False):
        layer.train(training)
        compare(layer, x, what=f"encoder layer, train={training}")
        compare(layer, x, src_key_padding_mask=padding, what=f"padded, train={training}")
    with torch.no_grad():  # in evaluation torch has a fast path of its own
        expected = layer(x)
        with attn.use() as used:
            got = layer(x)
    assert used.calls == 1
    close(got, expected, OUTPUT, "encoder layer without gradients")


def test_flash_mha_is_multihead_attention():
    torch.manual_seed(SEED)
    torchs = torch.nn.MultiheadAttention(96, 6, batch_first=True)
    torch.nn.init.normal_(torchs.in_proj_bias)
    ours = flash_mha.FlashMHA(96, 6).load_mha(torchs)
    x = torch.randn(2, 50, 96)
    expected, _ = torchs(x, x, x, need_weights=False)
    with attn.use() as used:
        got = ours(x)
    assert used.calls == 1
    close(got.detach(), expected.detach(), OUTPUT, "FlashMHA")
    compare(ours, x, what="FlashMHA")


def losses_of_two_steps():
    """Of a small vision transformer, before each step and after the last."""
    torch.manual_seed(SEED)
    model = flash_mha.SmallViT()
    with torch.no_grad():  # fresh weights make logits near 0, and attention a mean
        for block in model.blocks:
            block.attention.qkv.weight.mul_(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images, labels = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    losses = []
    for step in range(3):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        losses.append(float(loss.detach()))
        if step < 2:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


def test_two_steps_of_training():
    expected = losses_of_two_steps()
    with attn.use() as used:
        got = losses_of_two_steps()
    assert used.calls == 3 * 2, used.calls
    assert expected[2] < 0.9 * expected[0], f"nothing was learned: {expected}"
    for ours, its in zip(got, expected, strict=True):
        assert abs(ours - its) <= LOSS * abs(its), (got, expected)


def test_pairs_are_those_of_the_masks():
    for sequence in (counts.LLAVA, counts.Sequence(images=2, grid=5, window=3, text=4),
                     counts.Sequence(images=3, grid=4, window=4, text=0)):
        masks = image_text.masks_of(torch, sequence)
        pairs = counts.mask_pairs(sequence)
        assert pairs.keys() == masks.keys()
        for name, sees in masks.items():
            seen = sequence.tokens**2 if sees is None else int(sees.sum())
            assert seen == pairs[name], (sequence, name)


def script(name):
    """The tables that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.json"
        subprocess.run([sys.executable, ROOT / "bench" / "models" / name, "--no-times", "--out",
                        out], check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text(encoding="utf-8"))["tables"]


def test_script_of_images_and_text():
    tables = script("image_text.py")
    assert all(its["error"] < OUTPUT for its in tables["qwen_windows"]), tables["qwen_windows"]
    assert all(its["error"] < OUTPUT for its in tables["text_masks"]), tables["text_masks"]
    errors = {its["how"]: its["error"] for its in tables["layers"]}
    right = ["one call with the mask", "layers, merged by their LSE"]
    assert all(errors.pop(how) < OUTPUT for how in right)
    assert len(errors) == 4 and min(errors.values()) > 1e-2, errors
    equal, *others = tables["merging"]
    assert equal["alike"] == 1 and equal["with_bias"] < OUTPUT < 1e-2 < equal["without"], equal
    assert [its["with_bias"] for its in others] == sorted(its["with_bias"] for its in others)


def test_script_of_a_robot():
    tables = script("robot.py")
    assert [its["error"] < OUTPUT for its in tables["solver_times"]] == [True]
    traffic = tables["solver_traffic"][0]
    # Q and O of 8 heads, K and V of one, LSE: each once.
    least = 4 * (2 * 8 * 50 * 256 + 2 * 838 * 256 + 8 * 50)
    assert traffic["compulsory"] == least, (traffic, least)


def test_amdahl():
    share = counts.attention_share(counts.VIT_B, 4097, 4097**2)
    assert math.isclose(share, 4097 / (4097 + 6 * 768))
    assert math.isclose(counts.at_most(0.5), 2) and math.isclose(counts.at_most(0.5, 2), 4 / 3)


def main():
    checks = Checks()
    for name, function in list(globals().items()):
        if name.startswith("test_"):
            checks.run(function)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
