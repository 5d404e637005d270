// SPDX-License-Identifier: MIT
//
// What the checker of chapter 12's exercise runs: K and V of every case as a ring that begins
// somewhere, and the goal: not a byte more than step 2 loads, and none for a copy.
#include <algorithm>

#include "chapters/12_windows/band.hpp"
#include "chapters/12_windows/windows.hpp"
#include "common/device/check.hpp"
#include "common/device/cuda.cuh"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::windows {

void ring_forward(const ForwardArgs& args, std::int64_t first);  // ring_buffer.cu

/// Traced, the case of 70,000 heads would take most of the time, and each head loads the same.
constexpr std::int64_t kCountedHeads = 100;

/// Where the oldest key lies: in the first row, the last one, or anywhere between them.
static std::int64_t first_row(const Shape& shape) {
  return shape.Nk == 0 ? 0 : (7 * shape.Nq + 5 * shape.d + shape.H - 1) % shape.Nk;
}

/// Puts [B, H, Nk, d] into a ring.
static void fill_ring(const float* in_order, float* ring, const Shape& shape, std::int64_t first) {
  const std::int64_t head = shape.Nk * shape.d, begin = first * shape.d;
  const auto copy = [](float* to, const float* from, std::int64_t count) {
    if (count == 0) return;
    CUDA_CHECK(cudaMemcpy(to, from, static_cast<std::size_t>(count) * sizeof(float),
                          cudaMemcpyDeviceToDevice));
  };
  for (std::int64_t h = 0; h < shape.heads(); ++h) {
    copy(ring + h * head + begin, in_order + h * head, head - begin);
    copy(ring + h * head, in_order + h * head + head - begin, begin);
  }
}

/// Bytes that step 2 loads.
static std::int64_t allowed_loads(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Tiles tiles = tiles_for(d);
  const Band band = band_of(args.mask, Nq, Nk);
  std::int64_t loads = Nq * d;
  for (std::int64_t i0 = 0; i0 < Nq; i0 += tiles.Br) {
    const Range some = band.some(i0, std::min(i0 + tiles.Br, Nq));
    if (some.empty()) continue;
    const std::int64_t begin = some.begin / tiles.Bc * tiles.Bc;
    loads += 2 * (std::min<std::int64_t>(Nk, ceil_div(some.end, tiles.Bc) * tiles.Bc) - begin) * d;
  }
  return static_cast<std::int64_t>(sizeof(float)) * B * H * loads;
}

static void counted_forward(const ForwardArgs& args) {
  const Shape& shape = args.shape;
  const std::int64_t first = first_row(shape);
  float* ring_k = static_cast<float*>(args.workspace);  // [B, H, Nk, d]
  float* ring_v = ring_k + shape.kv_elements();         // [B, H, Nk, d]
  fill_ring(args.k, ring_k, shape, first);
  fill_ring(args.v, ring_v, shape, first);
  ForwardArgs ring = args;
  ring.k = ring_k;
  ring.v = ring_v;
  ring.workspace = ring_v + shape.kv_elements();
  ring.workspace_bytes = args.workspace_bytes / 2;
  if (shape.heads() > kCountedHeads) return ring_forward(ring, first);
  simt::options().tracer = true;
  ring_forward(ring, first);
  simt::options().tracer = false;
  std::uint64_t loaded = 0;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    loaded += launch.traffic.global_load_bytes;
  }
  verify::hold_to(verify::Medal::kSilver, "bytes loaded", static_cast<std::int64_t>(loaded),
                  allowed_loads(args));
}

}  // namespace attn::windows

namespace attn::chapters {

const Chapter& ch12_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "ring_buffer",
      .idea = "K and V are read from a ring",
      .forward = windows::counted_forward,
      .forward_workspace_bytes =
          [](const Shape& shape) {  // the ring, and room for a copy of it
            return 4 * static_cast<std::size_t>(shape.kv_elements()) * sizeof(float);
          },
  }};
  static constexpr int kTileEdges[] = {64};
  static constexpr Chapter kChapter{
      .id = "12_exercise",
      .title = "Ring buffer",
      .idea = "K and V are read from a ring",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kWindows}},
  };
  return kChapter;
}

}  // namespace attn::chapters
