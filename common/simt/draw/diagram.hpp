// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace attn::simt::draw {

/// A picture that no run is needed for.
struct Diagram {
  std::string svg;
  std::string text;  // the same for a terminal
};

}  // namespace attn::simt::draw
