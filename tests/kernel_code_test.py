#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the lessons of 06 and 07 say of their kernels' machine code, asked of
bench/results/sass.json (which report_test.py compares with the disassembly, where there is one)."""
import json
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTRUCTION_CACHE = 128 * 1024  # of an SM, about


def kernels(*chapters):
    """Those of the chapters with these numbers, each with the columns D of its tiles, if any."""
    data = json.loads((ROOT / 'bench/results/sass.json').read_text())
    for kernel in data['kernels']:
        if kernel['chapter'][:2] in chapters:
            columns = re.search(r'\b(32|64|128)\b', kernel['kernel'])
            yield kernel, int(columns[1]) if columns else None


def name(kernel):
    return f'{kernel["chapter"]} {kernel["file"]} {kernel["kernel"]} {kernel["architecture"]}'


def inner_loops(kernel):
    return [loop for loop in kernel['loops'] if loop['innermost']]


class KernelCode(unittest.TestCase):

    def test_a_product_has_eight_multiply_adds_between_two_branches(self):
        products = [(kernel, product) for kernel, _ in kernels('06', '07')
                    for product in kernel['products']]
        self.assertGreater(len(products), 50)
        for kernel, product in products:
            self.assertGreaterEqual(product['ffma'], 8, f'{name(kernel)} line {product["line"]}')

    def test_a_value_of_v_serves_all_rows_of_a_warp(self):
        seen = 0
        for kernel, columns in kernels('07'):
            if not kernel['kernel'].startswith('forward_kernel') or columns == 32:
                continue
            for loop in inner_loops(kernel):
                if loop.get('ffma', 0) > 8:  # Q K^T has 8, and 2 loads for each
                    seen += 1
                    self.assertLessEqual(loop['shared_load'], 0.6 * loop['ffma'], name(kernel))
        self.assertGreaterEqual(seen, 12)

    def test_a_tile_is_loaded_with_few_instructions_for_each_float(self):
        seen = 0
        for kernel, _ in kernels('05', '06', '07'):
            for loop in inner_loops(kernel):
                floats = loop.get('global_load', 0)
                if floats == 0 or floats != loop.get('shared_store', 0) or loop['control'] > 1:
                    continue  # not a loop that does this and nothing else
                seen += 1
                self.assertLessEqual(loop['instructions'], 10 * floats, name(kernel))
        self.assertGreaterEqual(seen, 20)

    def test_the_code_fits_the_instruction_cache(self):
        for kernel, _ in kernels('05', '06', '07'):
            self.assertLessEqual(kernel['code_bytes'], INSTRUCTION_CACHE, name(kernel))


if __name__ == '__main__':
    sys.exit(unittest.main(verbosity=1))
