# SPDX-License-Identifier: MIT
"""Multi-head attention as models write it, and a small vision transformer of it."""
import torch
from torch import nn
from torch.nn import functional


class FlashMHA(nn.Module):
    """Self-attention of x [B, N, D]. One product makes Q, K and V side by side, [B, N, 3, H, d];
    what attention gets are views of it, in which a head's rows lie 3 H d numbers apart. A kernel
    that takes strides reads them where they are; others need three copies first."""

    def __init__(self, width, heads):
        super().__init__()
        if width % heads != 0:
            raise ValueError(f"heads = {heads}: allowed: a divisor of width, {width}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        B, N, D = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        o = functional.scaled_dot_product_attention(q, k, v)  # [B, H, N, d]
        return self.out(o.transpose(1, 2).reshape(B, N, D))

    def load_mha(self, mha):
        """Takes over the weights of an nn.MultiheadAttention of the same sizes."""
        with torch.no_grad():
            self.qkv.weight.copy_(mha.in_proj_weight)
            self.qkv.bias.copy_(mha.in_proj_bias)
            self.out.load_state_dict(mha.out_proj.state_dict())
        return self


class Block(nn.Module):
    """A transformer block with its norms first."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = FlashMHA(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                 nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """Images [B, 3, pixels, pixels] to classes; small enough to be trained in a test."""

    def __init__(self, pixels=32, patch=4, width=64, heads=4, depth=2, classes=10):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.place = nn.Parameter(torch.randn(1, (pixels // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.blocks(x)).mean(1))
