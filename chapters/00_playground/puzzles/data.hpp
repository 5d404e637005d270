// SPDX-License-Identifier: MIT
#pragma once

namespace attn::puzzles {

/// What the code of a puzzle is given: arrays of float32, row by row, on the host for the loop and
/// in the device's memory for the kernel. Each puzzle says what they are.
struct Data {
  const float* a = nullptr;
  const float* b = nullptr;
  float* out = nullptr;
  int rows = 1;
  int columns = 0;
  float number = 0.0f;
};

}  // namespace attn::puzzles
