// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"

#include "bench/benchmarks/implementations.hpp"

namespace attn::bench {

std::span<const Chapter* const> implementations() { return chapters::all(); }

}  // namespace attn::bench
