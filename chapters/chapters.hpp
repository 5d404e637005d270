// SPDX-License-Identifier: MIT
//
// The list of all chapters, in reading order. A new chapter adds its record here and in
// chapters.cpp; nothing registers itself.
#pragma once

#include <span>
#include <string_view>

#include "common/attention.hpp"

namespace attn::chapters {

const Chapter& ch00_playground();
const Chapter& ch01_naive_cpu();
const Chapter& ch02_naive_gpu();
const Chapter& ch03_tiled();
const Chapter& ch04_online_softmax();
const Chapter& ch05_fused_forward();
const Chapter& ch06_recompute_backward();
const Chapter& ch07_v2_loop_order();
const Chapter& ch08_register_tiles();
const Chapter& ch09_tensor_cores();
const Chapter& ch10_async_pipeline();
const Chapter& ch11_hopper();
const Chapter& ch12_windows();
const Chapter& ch13_packed();
const Chapter& ch14_masks();
const Chapter& ch15_scores();
const Chapter& ch16_heads();
const Chapter& ch17_decode();

/// All chapters of this build. Without Boost.Context and without CUDA only those in plain C++.
std::span<const Chapter* const> all();

/// The chapter with this id ("02_naive_gpu") or number ("2", "02"), or the reader's own ("mine"),
/// which is not among all(). Throws Error(kBadArgument).
const Chapter& find(std::string_view id_or_number);

/// Whether what a head moves is the same, however many others there are: not where a cache is
/// shared out by how many heads wait for it.
bool heads_are_alike(const Chapter& chapter);

}  // namespace attn::chapters
