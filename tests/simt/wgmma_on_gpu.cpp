// SPDX-License-Identifier: MIT
//
// The kernels of the CPU machine's tests with wgmma on a GPU that has it.
#include <cstdio>

#include "common/memory.hpp"
#include "tests/battery.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/wgmma_cases.hpp"

namespace attn::simt_test {
namespace {

/// Says so, and what ctest looks for, where there is none. Later ones than 9.0 have none, either.
bool has_wgmma() {
  const bool has = !testing::device_is_missing() && device_memory().compute_capability() == 90;
  if (!has) std::puts("skipped: no CUDA device of compute capability 9.0");
  return has;
}

TEST_CASE("wgmma gives on a GPU what it gives on the CPU machine", "[wgmma]") {
  if (!has_wgmma()) return;
  check_layouts();
  check_steps();
  check_shapes();
  check_one_tile();
  check_two_products();
  check_tma_tiles();
  check_setmaxnreg();
}

}  // namespace
}  // namespace attn::simt_test
