// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <vector>

#include "common/io/suggest.hpp"

namespace attn::chapters {

std::span<const Chapter* const> all() {
  static const std::array list {
    &ch01_naive_cpu(),
#if ATTN_HAS_DEVICE
        &ch02_naive_gpu(), &ch03_tiled(), &ch04_online_softmax(), &ch05_fused_forward(),
        &ch06_recompute_backward(), &ch07_v2_loop_order(), &ch08_register_tiles(),
        &ch09_tensor_cores(), &ch10_async_pipeline(), &ch11_hopper(), &ch12_windows(),
        &ch13_packed(), &ch14_masks(), &ch15_scores(), &ch16_heads(), &ch17_decode(),
#endif
  };
  return list;
}

const Chapter& find(std::string_view id_or_number) {
  const std::string number = fmt::format("{:0>2}_", id_or_number);
  std::vector<std::string_view> known;
  for (const Chapter* chapter : all()) {
    if (chapter->id == id_or_number) return *chapter;
    if (!id_or_number.empty() && chapter->id.starts_with(number)) return *chapter;
    known.push_back(chapter->id);
  }
#if ATTN_HAS_DEVICE
  if (id_or_number == ch00_playground().id) return ch00_playground();
  known.push_back(ch00_playground().id);
#endif
  throw Error(ErrorKind::kBadArgument,
              fmt::format("CHAPTER {}: allowed: {}, or a number{}",
                          id_or_number.empty() ? "is missing" : fmt::format("= {}", id_or_number),
                          fmt::join(known, ", "), io::did_you_mean(id_or_number, known)));
}

bool heads_are_alike([[maybe_unused]] const Chapter& chapter) {
#if ATTN_HAS_DEVICE
  return &chapter != &ch17_decode();
#else
  return true;
#endif
}

}  // namespace attn::chapters
