# SPDX-License-Identifier: MIT
"""FLOPs of transformer blocks and pairs of masks, as formulas. One multiply-add is two FLOPs; N:
tokens, D: width. Python's standard library is all it needs."""
from typing import NamedTuple


class Block(NamedTuple):
    """One transformer block: attention with its projections, then an MLP."""

    D: int  # width
    H: int  # heads of Q
    Hkv: int  # heads of K and V
    d: int  # numbers in a head
    mlp: int  # width of the MLP's hidden layer
    gated: bool  # the MLP has two matrices that come in, not one (SwiGLU, GeGLU)


# ViT-B/16: Dosovitskiy et al. 2021, arXiv:2010.11929, table 1.
VIT_B = Block(768, 12, 12, 64, 3072, False)
# Qwen2.5-VL's vision encoder: Bai et al. 2025, arXiv:2502.13923, table 1.
QWEN_VISION = Block(1280, 16, 16, 80, 3456, True)
# LLaVA-1.5 7B's language model, Llama 2 7B: Touvron et al. 2023, arXiv:2307.09288.
LLAMA_7B = Block(4096, 32, 32, 128, 11008, True)
# Pi0: Black et al. 2024, arXiv:2410.24164, section IV: Gemma 2B, and the action expert beside it.
PI0_PREFIX = Block(2048, 8, 1, 256, 16384, True)
PI0_EXPERT = Block(1024, 8, 1, 256, 4096, True)


def projection_flops(block, Nq):
    """Q, K, V and what brings O back to the width, for Nq tokens."""
    return 2 * Nq * block.D * block.d * (2 * block.H + 2 * block.Hkv)


def mlp_flops(block, Nq):
    return 2 * Nq * block.D * block.mlp * (3 if block.gated else 2)


def weight_bytes(block):
    """Of projections and MLP, 2 bytes each (bfloat16)."""
    return projection_flops(block, 1) + mlp_flops(block, 1)  # a multiply-add, 2 FLOPs, for each


def attention_flops(block, pairs):
    """Q K^T and P V, of all heads; `pairs`: visible (query, key)."""
    return 4 * pairs * block.d * block.H


def attention_share(block, Nq, pairs):
    """Attention's part of the block's FLOPs, projections not counted as attention."""
    attention = attention_flops(block, pairs)
    return attention / (attention + projection_flops(block, Nq) + mlp_flops(block, Nq))


def at_most(share, gain=float("inf")):
    """Amdahl: how many times as fast the whole is if this share of its time takes 1/gain of it."""
    return 1 / (1 - share + share / gain)


# NVIDIA's data sheet of the H200 SXM: bfloat16 by tensor cores, dense; memory.
H200_FLOPS, H200_BYTES = 989e12, 4.8e12  # per second


def at_least(flops, size):
    """(seconds on an H200, what sets them): by FLOPs or by bytes of memory, whichever is more."""
    return max((flops / H200_FLOPS, "FLOPs"), (size / H200_BYTES, "weights"))


# ---- Masks of images and text ------------------------------------------------------------------


def vit_tokens(pixels, patch=16):
    """Patches of a square image, and the class token."""
    return (pixels // patch) ** 2 + 1


def windows_of(grid, window):
    """Tokens in each window of an image of grid x grid tokens, the last ones cut at the edge."""
    along = [min(window, grid - first) for first in range(0, grid, window)]
    return [height * width for height in along for width in along]


class Sequence(NamedTuple):
    """Images, one behind the other, then text."""

    images: int
    grid: int  # an image has grid x grid tokens
    window: int
    text: int

    @property
    def image(self):
        return self.grid**2

    @property
    def tokens(self):
        return self.images * self.image + self.text


LLAVA = Sequence(images=4, grid=16, window=7, text=512)


def mask_pairs(sequence):
    """{mask: visible pairs}. windowed: an image token sees its window and all text. own image: it
    sees its image and all text. In both text sees everything."""
    images, text = sequence.images * sequence.image, sequence.text
    crosses = 2 * images * text
    windows = sum(size**2 for size in windows_of(sequence.grid, sequence.window))
    return {
        "full": sequence.tokens**2,
        "windowed": sequence.images * windows + text**2 + crosses,
        "own_image": sequence.images * sequence.image**2 + text**2 + crosses,
        "causal": sequence.tokens * (sequence.tokens + 1) // 2,
    }
