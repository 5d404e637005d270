// SPDX-License-Identifier: MIT
#include "common/io/workloads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <string>

#include "common/io/image_windows.hpp"
#include "common/io/mask_arrays.hpp"

namespace attn::io {
namespace {

std::vector<std::int64_t> documents() {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t length : {512, 305, 230, 180, 140, 100, 64, 30}) {
    offsets.push_back(offsets.back() + length);
  }
  return offsets;
}

/// Every token sees its own block and those before it.
std::vector<std::int64_t> block_causal(std::initializer_list<std::int64_t> blocks) {
  std::vector<std::int64_t> ranges;
  std::int64_t end = 0;
  for (const std::int64_t block : blocks) {
    end += block;
    for (std::int64_t row = 0; row < block; ++row) ranges.insert(ranges.end(), {0, end});
  }
  return ranges;
}

// A twin keeps d and what is odd about N, and has at most 2^28 products B H Nq Nk d in each of the
// two matrix products.
const Workload kWorkloads[] = {
    {.name = "vit_b16_224",
     .what = "ViT-B/16, 224-pixel image: 14x14 patches + 1 class token",
     .shape = make_shape(1, 12, 197, 197, 64),
     .on_cpu = make_shape(1, 12, 197, 197, 64),
     .scaled = ""},
    {.name = "vit_b8_224",
     .what = "ViT-B/8, 224-pixel image: 28x28 patches + 1 class token",
     .shape = make_shape(1, 12, 785, 785, 64),
     .on_cpu = make_shape(1, 4, 785, 785, 64),
     .scaled = "4 of 12 heads"},
    {.name = "vit_b16_1024",
     .what = "ViT-B/16, 1024-pixel image: 64x64 patches + 1 class token",
     .shape = make_shape(1, 12, 4097, 4097, 64),
     .on_cpu = make_shape(1, 2, 1025, 1025, 64),
     .scaled = "2 of 12 heads, a 512-pixel image"},
    {.name = "llava_4img",
     .what = "LLaVA: 4 images of 256 tokens + 512 text tokens",
     .shape = make_shape(1, 32, 1536, 1536, 128),
     .on_cpu = make_shape(1, 2, 768, 768, 128),
     .scaled = "2 of 32 heads, half the tokens"},
    {.name = "vla_3frame",
     .what = "vision-language-action: 3 frames of 256 tokens + 20 text and state tokens",
     .shape = make_shape(1, 32, 788, 788, 128),
     .on_cpu = make_shape(1, 2, 788, 788, 128),
     .scaled = "2 of 32 heads"},
    {.name = "gpt2_medium",
     .what = "GPT-2 medium as in FlashAttention-1's table (Dao et al. 2022)",
     .shape = make_shape(64, 16, 1024, 1024, 64),
     .on_cpu = make_shape(1, 2, 1024, 1024, 64),
     .scaled = "1 of 64 sequences, 2 of 16 heads"},
    {.name = "llama3_8b_8k",
     .what = "Llama 3 8B, 8192 tokens; its 8 K/V heads repeated to 32",
     .shape = make_shape(1, 32, 8192, 8192, 128),
     .on_cpu = make_shape(1, 1, 1024, 1024, 128),
     .scaled = "1 of 32 heads, 1024 of 8192 tokens"},
    {.name = "llama3_gqa",
     .what = "Llama 3 8B, 8192 tokens, its 32 heads in groups of 4 that share K and V",
     .shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 8192, .Nk = 8192, .d = 128},
     .on_cpu = {.B = 1, .H = 4, .Hkv = 1, .Nq = 512, .Nk = 512, .d = 128},
     .scaled = "1 of 8 groups, 512 of 8192 tokens",
     .mask = Mask::kCausal,
     .mask_on_cpu = Mask::kCausal},
    {.name = "gqa_one_query",
     .what = "the same model's next token: 1 query, 4096 keys in its cache",
     .shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128},
     .on_cpu = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128},
     .scaled = ""},
    {.name = "llama3_decode",
     .what = "Llama 3 8B, one sequence: 1 new token, 4096 keys in its cache",
     .shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128},
     .on_cpu = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128},
     .scaled = ""},
    {.name = "llama3_decode_32k",
     .what = "the same with 32768 keys",
     .shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 32768, .d = 128},
     .on_cpu = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 8192, .d = 128},
     .scaled = "8192 of 32768 keys"},
    {.name = "llama3_decode_b16",
     .what = "Llama 3 8B, 16 sequences: 1 new token and 4096 keys each",
     .shape = {.B = 16, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128},
     .on_cpu = {.B = 16, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 512, .d = 128},
     .scaled = "512 of 4096 keys"},
    {.name = "llama3_decode_b16_32k",
     .what = "the same with 32768 keys each",
     .shape = {.B = 16, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 32768, .d = 128},
     .on_cpu = {.B = 16, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 512, .d = 128},
     .scaled = "512 of 32768 keys"},
    {.name = "mistral_7b_16k",
     .what = "Mistral 7B, 16384 tokens, window 4096 (Jiang et al. 2023); K/V heads repeated to 32",
     .shape = make_shape(1, 32, 16384, 16384, 128),
     .on_cpu = make_shape(1, 1, 1024, 1024, 128),
     .scaled = "1 of 32 heads, a sixteenth of tokens and window",
     .mask = {.before = 4095, .after = 0},
     .mask_on_cpu = {.before = 255, .after = 0}},
    {.name = "longformer_4k",
     .what = "Longformer base, 4096 tokens, 256 before and behind each (Beltagy et al. 2020)",
     .shape = make_shape(1, 12, 4096, 4096, 64),
     .on_cpu = make_shape(1, 1, 2048, 2048, 64),
     .scaled = "1 of 12 heads, half the tokens and the window",
     .mask = {.before = 256, .after = 256},
     .mask_on_cpu = {.before = 128, .after = 128}},
    {.name = "llava_4img_window",
     .what = "llava_4img's tokens, each with the 511 before it; no released model",
     .shape = make_shape(1, 32, 1536, 1536, 128),
     .on_cpu = make_shape(1, 2, 768, 768, 128),
     .scaled = "2 of 32 heads, half the tokens and the window",
     .mask = {.before = 511, .after = 0},
     .mask_on_cpu = {.before = 255, .after = 0}},
    {.name = "eight_documents",
     .what = "8 documents of 512 to 30 tokens, packed",
     .shape = make_shape(8, 12, 512, 512, 64),
     .on_cpu = make_shape(8, 2, 512, 512, 64),
     .scaled = "2 of 12 heads",
     .offsets = documents},
    {.name = "qwen25vl_window",
     .what = "Qwen2.5-VL, 1036-pixel image: 74x74 patches in windows of 8x8 (Bai et al. 2025)",
     .shape = make_shape(100, 16, 64, 64, 80),
     .on_cpu = make_shape(100, 2, 64, 64, 80),
     .scaled = "2 of 16 heads",
     .offsets =
         [] {
           return segments_of({74, 74, 8, 0}).offsets;
         }},
    {.name = "swin_56",
     .what = "Swin-T, stage 1: 56x56 tokens in windows of 7x7, shifted by 3 (Liu et al. 2021)",
     .shape = make_shape(81, 3, 49, 49, 32),
     .on_cpu = make_shape(81, 3, 49, 49, 32),
     .scaled = "",
     .offsets =
         [] {
           return segments_of({56, 56, 7, 3}).offsets;
         }},
    {.name = "pi0_prefill",
     .what = "Pi0 (Black et al. 2024), blockwise causal: 787 image and text tokens, 1 state, 50 "
             "actions; 16 heads of 128 for its 8 of 256",
     .shape = make_shape(1, 16, 838, 838, 128),
     .on_cpu = make_shape(1, 2, 838, 838, 128),
     .scaled = "2 of 16 heads",
     .ranges =
         [] {
           return block_causal({787, 1, 50});
         }},
    {.name = "pi0_step",
     .what =
         "the same model's solver step: 50 action tokens see all 838; 16 heads of 128 over 2 for "
         "its 8 of 256 over 1",
     .shape = {.B = 1, .H = 16, .Hkv = 2, .Nq = 50, .Nk = 838, .d = 128},
     .on_cpu = {.B = 1, .H = 16, .Hkv = 2, .Nq = 50, .Nk = 838, .d = 128},
     .scaled = ""},
    {.name = "neighbourhood_32",
     .what = "NAT-Tiny, stage 2 of a 256-pixel image: 32x32 tokens, each sees 7x7 (Hassani et al. "
             "2023)",
     .shape = make_shape(1, 4, 1024, 1024, 32),
     .on_cpu = make_shape(1, 4, 1024, 1024, 32),
     .scaled = "",
     .mask_array =
         [](std::int64_t) {
           return neighbourhood_mask({32, 32, 7});
         }},
    {.name = "bigbird_4k",
     .what = "BigBird base, 4096 tokens in blocks of 64: 3 beside, 2 global, 3 at random (Zaheer "
             "et al. 2020)",
     .shape = make_shape(1, 12, 4096, 4096, 64),
     .on_cpu = make_shape(1, 1, 2048, 2048, 64),
     .scaled = "1 of 12 heads, half the tokens",
     .mask_array = big_bird_mask},
    {.name = "swin_56_bias",
     .what = "Swin-T, stage 1: 64 windows of 7x7 tokens, with its relative position bias",
     .shape = make_shape(64, 3, 49, 49, 32),
     .on_cpu = make_shape(64, 3, 49, 49, 32),
     .scaled = "",
     .bias = PairShape{1, 3, 49, 49}},
    {.name = "mpt_7b_2k",
     .what = "MPT-7B, 2048 tokens, ALiBi (Press et al. 2022)",
     .shape = make_shape(1, 32, 2048, 2048, 128),
     .on_cpu = make_shape(1, 1, 1024, 1024, 128),
     .scaled = "1 of 32 heads, half the tokens",
     .mask = Mask::kCausal,
     .mask_on_cpu = Mask::kCausal,
     .alibi = true},
    {.name = "gpt_oss_20b_4k",
     .what =
         "gpt-oss-20b, 4096 tokens, a layer with windows of 128 and learned sinks (OpenAI 2025); "
         "its 8 K/V heads repeated to 64",
     .shape = make_shape(1, 64, 4096, 4096, 64),
     .on_cpu = make_shape(1, 1, 2048, 2048, 64),
     .scaled = "1 of 64 heads, half the tokens and the window",
     .mask = {.before = 127, .after = 0},
     .mask_on_cpu = {.before = 63, .after = 0},
     .sink_logits = true},
};

}  // namespace

std::string_view Workload::extra() const {
  if (offsets != nullptr) return "packed sequences";
  if (ranges != nullptr) return "ranges of keys";
  if (mask_array != nullptr) return "a mask array";
  if (bias) return "a bias";
  if (alibi) return "ALiBi slopes";
  return sink_logits ? "sink logits" : "";
}

std::span<const Workload> workloads() { return kWorkloads; }

const Workload& find_workload(std::string_view name) {
  std::string known;
  for (const Workload& workload : kWorkloads) {
    if (workload.name == name) return workload;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", workload.name);
  }
  throw Error(ErrorKind::kBadArgument, fmt::format("--workload {}: allowed: {}", name, known));
}

}  // namespace attn::io
