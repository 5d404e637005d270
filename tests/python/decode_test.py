#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""attn.decode and attn.append on torch's tensors and NumPy's arrays: the writer of bench/models.

    decode_test.py LIBATTN_SO

Its tokens are compared with those that one causal pass chooses, with this project's attention and
with torch's in float64. Exit status 77, which ctest takes for skipped, where torch or NumPy is not
installed.
"""
import subprocess
import sys
import warnings

from checks import ROOT, Checks, import_attn, refused

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import numpy as np
        import torch
except ImportError as missing:
    print(f"skipped: {missing} (pip install torch numpy)")
    sys.exit(77)

attn = import_attn(sys.argv[1])
sys.path.insert(0, str(ROOT / "bench" / "models"))
import greedy  # noqa: E402  (found by the line above)

LOGITS = 1e-5  # of the largest
SEED = 20260101


def torchs(model, text):
    """greedy.prefill() by torch's attention, in float64."""

    def attention(q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        )

    with torch.no_grad():
        logits = model.double()(text[:, :-1], 0, [attention] * greedy.LAYERS)
    model.float()
    return logits[:, -greedy.TOKENS :]


def test_tokens_are_those_of_the_prefill():
    torch.manual_seed(SEED)
    model, prompt = greedy.Transformer().eval(), torch.randint(greedy.WORDS, (3, greedy.PROMPT))
    texts = []
    for caches in (greedy.array_caches(3), greedy.page_caches(3)):
        text, logits = greedy.greedy(model, prompt, caches)
        texts.append(text)
        chosen = text[:, -greedy.TOKENS :]
        assert min(len(set(row)) for row in chosen.tolist()) > greedy.TOKENS // 2, chosen
        for expected in (greedy.prefill(model, text), torchs(model, text)):
            assert torch.equal(expected.argmax(-1), chosen)
            error = float((logits - expected).abs().max() / expected.abs().max())
            assert error <= LOGITS, error
        # The last token is in no cache yet.
        keys = greedy.PROMPT + greedy.TOKENS - 1
        assert all(cache.key_count == [keys] * 3 for cache in caches)
    assert torch.equal(*texts)


def test_a_missing_key_shows():
    """Without a token's own key: another text, and other logits."""
    torch.manual_seed(SEED)
    model, prompt = greedy.Transformer().eval(), torch.randint(greedy.WORDS, (3, greedy.PROMPT))
    text, expected = greedy.greedy(model, prompt, greedy.array_caches(3))
    right = greedy.reading

    def late(cache):
        def attention(q, k, v):
            before = attn.decode(q, cache).o
            attn.append(cache, k, v)
            return before if q.shape[2] == 1 else attn.decode(q, cache).o

        return attention

    greedy.reading = late
    try:
        other, logits = greedy.greedy(model, prompt, greedy.array_caches(3))
    finally:
        greedy.reading = right
    assert not torch.equal(text, other)
    assert float((logits - expected).abs().max() / expected.abs().max()) > 100 * LOGITS


def test_script():
    script = ROOT / "bench" / "models" / "greedy.py"
    said = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)
    assert said.stdout.count("0 of 80 tokens differ") == 2, said.stdout


def test_arrays_of_numpy_and_torch():
    """The same numbers by either; what would need a copy is refused, and nothing is written."""
    generator = np.random.default_rng(SEED)
    new_k, new_v = generator.standard_normal((2, 2, 3, 5, 8), dtype="float32")
    q = generator.standard_normal((2, 6, 5, 8), dtype="float32")
    results = []
    for convert in (np.asarray, torch.from_numpy):
        for paged in (False, True):
            k, v = (convert(np.zeros((8, 3, 4, 8) if paged else (2, 3, 9, 8), "float32"))
                    for _ in range(2))
            table = convert(np.array([[5, 2], [0, 7]]))
            cache = attn.PagedCache(k, v, table) if paged else attn.Cache(k, v)
            attn.append(cache, convert(new_k), convert(new_v))
            results.append(np.asarray(attn.decode(convert(q), cache).o))
            attn.append(cache, convert(new_k[:, :, :0].copy()), convert(new_v[:, :, :0].copy()))
            before = np.asarray(k).copy()
            apart = convert(new_k.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3))
            with refused(attn.BadArgument, "new_k: strides"):
                attn.append(cache, apart, convert(new_v))
            assert np.array_equal(before, np.asarray(k)) and cache.key_count == [5, 5]
            with refused(attn.BadArgument, "k: strides"):
                attn.Cache(apart, apart)
    assert all(np.array_equal(one, results[0]) for one in results) and np.abs(results[0]).max() > 0
    tracked = torch.zeros(1, 1, 4, 8, requires_grad=True)
    with refused(attn.BadArgument, "k: requires_grad"):
        attn.Cache(tracked, tracked)
    with refused(attn.BadArgument, "k: its elements are bfloat16; allowed: float32"):
        attn.Cache(tracked.detach().bfloat16(), tracked.detach())


if __name__ == "__main__":
    checks = Checks()
    for test in [f for name, f in list(globals().items()) if name.startswith("test_")]:
        checks.run(test)
    sys.exit(checks.end())
