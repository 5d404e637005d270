// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "common/attention.hpp"

namespace attn::bench {

/// What this program times: the chapters (chapters.cpp), or cuBLAS (bench/peers/cublas.cpp).
std::span<const Chapter* const> implementations();

}  // namespace attn::bench
