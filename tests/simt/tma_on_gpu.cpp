// SPDX-License-Identifier: MIT
//
// The kernels of the CPU machine's tests with TMA on a GPU that has it.
#include <cstdio>

#include "common/memory.hpp"
#include "tests/battery.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/tma_cases.hpp"

namespace attn::simt_test {
namespace {

/// Says so, and what ctest looks for, where there is none.
bool has_tma() {
  const bool has = !testing::device_is_missing() && device_memory().compute_capability() >= 90;
  if (!has) std::puts("skipped: no CUDA device of compute capability 9.0");
  return has;
}

TEST_CASE("mbarriers and TMA bring on a GPU what they bring on the CPU machine", "[tma]") {
  if (!has_tma()) return;
  check_rings();
  check_boxes();
  check_stores();
  check_arrivals();
}

}  // namespace
}  // namespace attn::simt_test
