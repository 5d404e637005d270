# SPDX-License-Identifier: MIT
"""The table of notes/memory.md; notes/figures/memory.py draws the same numbers."""

from formulas import devices, in_bytes, table, three

DEVICES = ("A100", "H100", "H200")


def per_second(its, bytes_per_clock):
    """Bytes of all SMs in a second."""
    return bytes_per_clock * its["multiprocessors"] * its["clocks_per_second"]


def memories():
    """{memory: (who fills it, {device: (bytes of the chip, bytes per second or None)})}, from the
    smallest distance to the largest."""
    rows = {name: {} for name in ("registers", "shared memory", "L2", "HBM")}
    for device in DEVICES:
        its = devices()[device]
        # A multiply-add reads three registers and writes one.
        ffma = its["flops_per_clock"] / 2 * 4 * 4
        rows["registers"][device] = (4 * its["registers_per_multiprocessor"]
                                     * its["multiprocessors"], per_second(its, ffma))
        rows["shared memory"][device] = (its["shared_bytes_per_multiprocessor"]
                                         * its["multiprocessors"],
                                         per_second(its, 128 * its["wavefronts_per_clock"]))
        total = its.get("l2_total_bytes_per_clock")
        rows["L2"][device] = (its["l2_bytes"],
                              total * its["clocks_per_second"] if total else None)
        rows["HBM"][device] = (its["memory_bytes"], its["memory_bytes_per_second"])
    return rows


def memories_table():
    rows = []
    for name, its in memories().items():
        row = [name]
        for device in DEVICES:
            size, rate = its[device]
            row += [in_bytes(size), three(rate / 1e12) if rate else "not published"]
        rows.append(row)
    titles = ["memory, of the whole chip"]
    for device in DEVICES:
        titles += [f"{device}:", "TB/s:"]
    return table(titles, rows)


def reuse_table():
    """How often a number must be used, once it has come so far, to keep the multiply-adds busy."""
    rows = []
    for name, its in memories().items():
        if name == "registers":
            continue
        row = [name]
        for device in DEVICES:
            rate = its[device][1]
            of = devices()[device]
            adds = of["flops_per_clock"] / 2 * of["multiprocessors"] * of["clocks_per_second"]
            row.append(three(adds / (rate / 4)) if rate else "–")
        rows.append(row)
    return table(["multiply-adds per float that comes from", *(f"{its}:" for its in DEVICES)], rows)

