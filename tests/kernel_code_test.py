#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the lessons of 06 to 10 and 12 say of their kernels' machine code, asked of
bench/results/sass.json (which report_test.py compares with the disassembly, where there is one)."""
import json
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'bench'))
from reporting import issue  # noqa: E402  (found by the line above)

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
        for kernel, _ in kernels('05', '06', '07', '08', '10'):
            self.assertLessEqual(kernel['code_bytes'], INSTRUCTION_CACHE, name(kernel))

    def test_most_instructions_of_a_turn_over_register_tiles_multiply_and_add(self):
        """One whole turn of the loop over tiles: loads, softmax and stores included."""
        seen = 0
        for kernel, columns in kernels('08'):
            wide = re.search(r'true', kernel['kernel'])  # 16-byte loads
            if columns == 32 or not wide or not (turn := issue.iteration(kernel)):
                continue
            seen += 1
            _, ffma, instructions = turn
            least = 0.80 if kernel['kernel'].startswith('forward_kernel') else 0.78
            self.assertGreaterEqual(ffma / instructions, least, name(kernel))
        self.assertEqual(seen, 2 * 2 * (2 + 1 + 2))  # forward in two steps, backward in two

    def test_register_tiles_load_16_bytes_at_a_time(self):
        seen = 0
        for kernel, _ in kernels('08'):
            for loop in inner_loops(kernel):
                if loop.get('ffma', 0) >= 16 and 'shared_load' in loop:
                    seen += 1
                    self.assertEqual(loop['shared_load'], loop['shared_load_16_bytes'],
                                     name(kernel))
        self.assertGreater(seen, 100)

    def test_a_fragment_of_keys_serves_32_rows(self):
        """10: ldmatrix beside products; and addresses made once halve the integer instructions of
        a turn, at the least."""
        integers = {}
        for kernel, columns in kernels('10'):
            if not kernel['kernel'].startswith('forward_kernel'):
                continue
            turn = issue.tensor_turn(kernel)
            loads = {64: 32 if kernel['file'] == 'step4_tiles.cu' else 40, 128: 48}[columns]
            self.assertEqual(turn['shared_matrix_load'] / turn['tensor'], loads / 128,
                             name(kernel))
            step = kernel['file'].removesuffix('.cu')
            integers[step, columns, kernel['architecture']] = turn['integer'] / turn['tensor']
        for (step, *where), count in integers.items():
            if step in ('step3_hoisted', 'step4_tiles'):
                self.assertLessEqual(count, integers['step2_cp_async', *where] / 2, (step, where))
        self.assertEqual(len(integers), 4 * 2 * 2)  # in bfloat16, what is traced

    def test_kernels_on_the_tensor_cores_spill_nothing(self):
        data = json.loads((ROOT / 'bench/results/ptxas.json').read_text())
        found = [its for its in data['kernels'] if its['chapter'][:2] == '10']
        self.assertGreaterEqual(len(found), 16)
        for its in found:
            self.assertEqual(its['spill_bytes'], 0, (its['file'], its['kernel']))

    def test_a_fragment_that_is_loaded_feeds_as_many_products_as_the_lesson_says(self):
        """LDSM, of four squares, for each HMMA, in one turn over a tile: the lesson's wavefronts
        divided by four."""
        wanted = {('step2_ldmatrix', 64): (5 + 5) / 16, ('step2_ldmatrix', 128): (5 + 4.5) / 16,
                  ('step3_registers', 64): (5 + 4) / 16, ('step3_registers', 128): (5 + 4) / 16,
                  ('step4_rows32', 64): (6 + 4) / 32, ('step4_rows32', 128): (8 + 4) / 32}
        seen = 0
        for kernel, columns in kernels('09'):
            key = (kernel['file'].partition('.')[0], columns)
            if key not in wanted or not (turn := issue.tensor_turn(kernel)):
                continue
            seen += 1
            self.assertAlmostEqual(turn['shared_matrix_load'] / turn['tensor'], wanted[key],
                                   msg=name(kernel))
            self.assertNotIn('shared_load', turn, name(kernel))
        self.assertEqual(seen, len(wanted) * 2)  # architectures; in bfloat16, what is traced

    def test_a_mask_that_hides_nothing_costs_no_instructions(self):
        """12's forward and backward beside 07's: those that come with one FFMA, on average."""
        data = json.loads((ROOT / 'bench/results/sass.json').read_text())

        def cost(chapter, step, its_pass, columns, architecture):
            costs = issue.instructions_per_ffma(data, chapter, step, its_pass, columns,
                                                architecture)
            self.assertTrue(costs, f'{chapter} {step} {architecture}: not in sass.json')
            return sum(costs) / len(costs)

        for its_pass, before, step in (('forward', 'step3_exp2', 'step4_sinks'),
                                       ('backward', 'step5_deterministic', 'step5_backward')):
            for where in [(d, sm) for d in (32, 64, 128) for sm in ('sm_80', 'sm_90a')]:
                self.assertLessEqual(
                    cost('12_windows', step, its_pass, *where),
                    1.05 * cost('07_v2_loop_order', before, its_pass, *where), (its_pass, where))


if __name__ == '__main__':
    sys.exit(unittest.main(verbosity=1))
