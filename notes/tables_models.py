# SPDX-License-Identifier: MIT
"""The tables of the pages about models: what the scripts in bench/models wrote to
bench/results/models, shown as they show it."""
import json
import sys

from formulas import ROOT, table

sys.path.append(str(ROOT / "bench" / "models"))
import shown


def of(script, name):
    """A table of the records that a script wrote."""
    path = ROOT / "bench" / "results" / "models" / f"{script}.json"
    records = json.loads(path.read_text(encoding="utf-8"))["tables"][name]
    return table(*getattr(shown, name)(records))


def vit_share_table():
    return of("vision", "vit_share")


def vit_times_table():
    return of("vision", "vit_times")


def vit_memory_table():
    return of("vision", "vit_memory")


def vit_traffic_table():
    return of("vision", "vit_traffic")


def mha_table():
    return of("vision", "mha")


def qwen_windows_table():
    return of("image_text", "qwen_windows")


def tower_table():
    return of("image_text", "tower")


def text_masks_table():
    return of("image_text", "text_masks")


def layers_table():
    return of("image_text", "layers")


def merging_table():
    return of("image_text", "merging")


def solver_table():
    return of("robot", "solver")


def solver_times_table():
    return of("robot", "solver_times")


def solver_traffic_table():
    return of("robot", "solver_traffic")
