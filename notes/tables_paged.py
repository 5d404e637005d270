# SPDX-License-Identifier: MIT
"""The tables of chapters/18_paged/README.md."""

from formulas import devices, percent, table, three
from tables_decode import BYTES, D, KEYS, KV_HEADS, requested

LAYERS = 32  # of Llama 3 8B
ROOM = 8192  # tokens of its longest text
TEXT = 1000  # and of one that people write
MEMORY = int(devices()["H200"]["memory_bytes"])
PAGES = (16, 32, 64, 128, 256)
ENTRY = 8  # bytes
LANES, WARPS = 32, 4
SEQUENCES = 16  # that share a prompt
PROMPTS = (0, 1024, 2048, 4000)
TOKEN = 2 * KV_HEADS * D * BYTES  # of K and V of one layer, in bytes


def pages_of(keys, page):
    return -(-keys // page)


def texts(keys):
    """That fit into an H200's memory, if each takes so many keys in every layer."""
    return MEMORY // (keys * TOKEN * LAYERS)


def paged_texts_table():
    rows = [["an array for the longest text", "", f"{ROOM:,}", percent(TEXT / ROOM), texts(ROOM)]]
    for page in (256, 16):
        keys = pages_of(TEXT, page) * page
        rows.append([f"pages of {page}", pages_of(TEXT, page), f"{keys:,}", percent(TEXT / keys),
                     texts(keys)])
    rows.append(["nothing but its keys", "", f"{TEXT:,}", "100 %", texts(TEXT)])
    return table(["the cache of a text of 1,000 tokens", "pages:", "room, in keys:", "used:",
                  "texts in 141 GB:"], rows)


def asked(lookups):
    """Elements of a step, if so many threads look up each key that a block loads; 32 runs."""
    return requested(32) + lookups * KEYS * KV_HEADS * ENTRY // BYTES


STEPS = (("17, step 4: arrays", 0), ("step 1", 2 * LANES), ("step 2", WARPS))


def paged_lookups_table():
    """What one new token of Llama 3 8B asks for, pages of 16 keys."""
    keys_and_values = 2 * KEYS * D * KV_HEADS
    rows = []
    for name, lookups in STEPS:
        of_table = asked(lookups) - asked(0)
        rows.append([name, lookups, f"{asked(lookups):,}", f"{of_table:,}",
                     percent(of_table / keys_and_values) if of_table else 0])
    return table(["", "look-ups of a key:", "elements:", "of these the table:",
                  "beside K and V:"], rows)


def paged_sizes_table():
    """Pages of one layer of Llama 3 8B, 4,096 keys of a sequence."""
    rows = []
    for page in PAGES:
        entries = pages_of(KEYS, page)
        rows.append([page, page * D * BYTES // 1024, f"{page * TOKEN // 1024:,}", entries,
                     percent(entries * ENTRY / (KEYS * TOKEN)), three((page - 1) / 2),
                     percent((page - 1) / 2 / TEXT)])
    return table(["keys of a page:", "of a head, side by side, KiB:", "K and V of all heads, KiB:",
                  "entries of the table:", "their bytes:", "lost keys, on average:",
                  "of 1,000, on average:"], rows)


def paged_prefix_table():
    """A pool of 16-key pages for 16 sequences of 4,096 keys that begin with the same prompt."""
    rows = []
    for prompt in PROMPTS:
        shared = prompt // 16
        pages = shared + SEQUENCES * (pages_of(KEYS, 16) - shared)
        alone = SEQUENCES * pages_of(KEYS, 16)
        rows.append([f"{prompt:,}", f"{pages:,}", three(pages * 16 * TOKEN / 2 ** 20),
                     percent(pages / alone)])
    return table(["keys of the prompt:", "pages:", "MiB:", "of what each for itself takes:"], rows)
