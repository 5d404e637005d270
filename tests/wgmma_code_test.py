#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wgmma_code_test.py REFUSE_REMARKS NVCC: what ptxas makes of common/device/wgmma.cuh: as many
wgmmas, fences and waits as the source has, none of its own, and no remark."""
import collections
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'bench'))
from reporting import run, sass  # noqa: E402  (found by the line above)


class WgmmaCode(unittest.TestCase):
    compiler = ()
    nvdisasm = None

    def test_two_products_of_one_tile(self):
        with tempfile.TemporaryDirectory() as folder:
            cubin = Path(folder) / 'one_tile.cubin'
            run([*self.compiler, '-std=c++20', '-gencode', 'arch=compute_90a,code=sm_90a',
                 f'-I{ROOT}', '-cubin', '-o', str(cubin),
                 str(ROOT / 'tests/cuda/one_tile_wgmma.cu')])
            functions = sass.disassemble(self.nvdisasm, cubin)
        self.assertEqual(len(functions), 1)
        names = collections.Counter(instruction.name
                                    for function in functions.values()
                                    for instruction in function.instructions
                                    if instruction.kind in ('tensor', 'warpgroup'))
        # 64x64x16 is cut off at the first x.
        self.assertEqual(names, {'HGMMA.64': 8, 'WARPGROUP.ARRIVE': 2, 'WARPGROUP.DEPBAR.LE': 2})


if __name__ == '__main__':
    WgmmaCode.compiler = sys.argv[1:3]
    WgmmaCode.nvdisasm = sass.find_nvdisasm()
    if WgmmaCode.nvdisasm is None:
        print('skipped: no nvdisasm')
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
