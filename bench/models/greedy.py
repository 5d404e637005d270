#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small transformer that writes token by token: each new token's K and V go into a cache, and its
one query reads them all. What it writes is what one causal pass over the whole text would choose.

    bench/models/greedy.py

Random weights, so the text means nothing. Once with a cache of arrays (chapter 17), once of pages
(chapter 18). Needs torch and the package attn. Exit status 2 without them, 1 if a token differs.
"""
import sys

import report

with report.failures():
    torch, attn = report.import_all()
nn = torch.nn

PROMPT, TOKENS = 19, 40
LAYERS, H, HKV, D, WIDTH, WORDS = 2, 8, 2, 16, 64, 1000
PAGE_KEYS = 16


class Block(nn.Module):
    """Attention with grouped heads, then the MLP, norms first."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, (H + 2 * HKV) * D, bias=False)
        with torch.no_grad():  # fresh weights make scores near 0, and attention a mean
            self.qkv.weight.mul_(4)
        self.out = nn.Linear(H * D, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(),
                                 nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x, attention):
        B, n, _ = x.shape
        heads = self.qkv(self.norm1(x)).view(B, n, -1, D).transpose(1, 2)
        q, k, v = (part.contiguous() for part in heads.split([H, HKV, HKV], dim=1))
        x = x + self.out(attention(q, k, v).transpose(1, 2).reshape(B, n, H * D))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Tokens [B, n], of which the first is the text's `first`, to logits [B, n, WORDS]."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.places = nn.Parameter(torch.randn(PROMPT + TOKENS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)

    def forward(self, tokens, first, attentions):
        x = self.words(tokens) + self.places[first : first + tokens.shape[1]]
        for block, attention in zip(self.blocks, attentions, strict=True):
            x = block(x, attention)
        return self.head(self.norm(x))


def reading(cache):
    """A layer's attention: new K and V into its cache, then the new queries."""

    def attention(q, k, v):
        attn.append(cache, k, v)
        return attn.decode(q, cache).o

    return attention


@torch.no_grad()
def greedy(model, prompt, caches):
    """The prompt with TOKENS more, and the logits that chose them. The prompt goes through in one
    piece; then each token alone."""
    text, new, logits = prompt, prompt, []
    attentions = [reading(cache) for cache in caches]
    for _ in range(TOKENS):
        logits.append(model(new, text.shape[1] - new.shape[1], attentions)[:, -1])
        new = logits[-1].argmax(-1, keepdim=True)
        text = torch.cat([text, new], dim=1)
    return text, torch.stack(logits, dim=1)


@torch.no_grad()
def prefill(model, text):
    """The logits that choose the last TOKENS of a text, in one pass without a cache."""

    def attention(q, k, v):
        return attn.sdpa(q, k, v, is_causal=True, enable_gqa=True)

    return model(text[:, :-1], 0, [attention] * LAYERS)[:, -TOKENS:]


def array_caches(B):
    """One for each layer, with room for the whole text."""
    room = torch.zeros(LAYERS, 2, B, HKV, PROMPT + TOKENS, D)
    return [attn.Cache(k, v) for k, v in room]


def page_caches(B):
    """The same, with pages for all."""
    pages = B * -(-(PROMPT + TOKENS) // PAGE_KEYS)
    return [attn.PagedCache(k, v, [[]] * B)
            for k, v in torch.zeros(LAYERS, 2, pages, HKV, PAGE_KEYS, D)]


def main():
    torch.manual_seed(report.SEED)
    model, prompt = Transformer().eval(), torch.randint(WORDS, (2, PROMPT))
    same = True
    for name, caches in (("arrays", array_caches(2)), ("pages", page_caches(2))):
        text, logits = greedy(model, prompt, caches)
        expected = prefill(model, text)
        wrong = int((expected.argmax(-1) != text[:, -TOKENS:]).sum())
        same = same and wrong == 0
        print(f"A cache of {name}: {wrong} of {text[:, -TOKENS:].numel()} tokens differ from the "
              f"prefill's; logits by {report.relative_error(logits, expected):.1e} of the largest.")
    print("The first text begins", *text[0, PROMPT : PROMPT + 12].tolist())
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
