// SPDX-License-Identifier: MIT
//
// Right kernels with mbarriers and TMA, held against what they must bring, on the CPU machine and
// on a GPU.
#pragma once

#include <cstddef>
#include <vector>

namespace attn::simt_test {

/// Whole numbers from 1 on, none of which is lost in a sum or looks like a zero fill.
std::vector<float> tma_numbers(std::size_t count);

/// Each fails the running test where something else arrives.
void check_rings();
/// Every swizzle, of two to four dimensions, within the tensor and across its edges.
void check_boxes();
void check_stores();
void check_arrivals();

}  // namespace attn::simt_test
