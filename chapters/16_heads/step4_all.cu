// SPDX-License-Identifier: MIT
//
// Step 4: step 3 with everything that chapters 12 to 15 have. What a row sees of a tile is found
// out before its keys are loaded, whatever the reasons, and is one word; what is done to scores and
// to weights are two functors. The loop is that of chapter 12.
#include <algorithm>

#include "chapters/16_heads/change.cuh"
#include "chapters/16_heads/heads.hpp"
#include "chapters/16_heads/request.hpp"
#include "chapters/16_heads/seen_rows.cuh"
#include "common/columns.hpp"
#include "common/device/dropout.cuh"
#include "common/device/group.hpp"
#include "common/device/load_rows.cuh"
#include "common/device/masked_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::heads {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// The tiles, and behind them two words and a slope per row.
template <int kD>
constexpr std::size_t kSharedBytes = tiles_for(kD).floats() * sizeof(float) +
                                     3 * tiles_for(kD).Br * sizeof(unsigned);

/// Grid: B*Hkv times the tiles of a group's rows; block: kThreads; dynamic shared memory:
/// kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, Request request) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr int kRows = kT.Br / kWarps;  // of a warp: w, w + kWarps, w + 2 kWarps, ...
  float* sQ = dynamic_shared<float>();   // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);     // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);     // (Bc, D)
  float* sS = sV + kT.Bc * kD;           // (Br, Bc + 1)
  unsigned* sWords = reinterpret_cast<unsigned*>(sS + kT.Br * (kT.Bc + 1));  // (Br)
  unsigned* sKept = sWords + kT.Br;                          // (Br) what dropout leaves of it
  float* sSlopes = reinterpret_cast<float*>(sKept + kT.Br);  // (Br) of ALiBi
  const Layouts& layouts = request.layouts;
  const std::int64_t tiles = request.row_tiles(kT.Br);
  const std::int64_t kv_head = blockIdx.x / tiles % request.Hkv;
  const Sequence at = request.sequence(blockIdx.x / tiles / request.Hkv);
  const device::RowTile rows =
      device::row_tile(blockIdx.x % tiles * kT.Br, kT.Br, at.Nq, kv_head, request.group());
  if (rows.rows <= 0) return;  // the whole block: the sequence is shorter than the longest
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const auto place = [&](const Layout& layout, int r) {
    return layout.at(at.b, rows.head(r), at.q_row + rows.i0 + rows.token(r));
  };
  gK += layouts.k.at(at.b, kv_head, at.k_row);
  gV += layouts.v.at(at.b, kv_head, at.k_row);

  float row_max[kRows];
  float row_sum[kRows];
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    // As if the row had seen one key already: its sink, or one of weight exp(-inf).
    const int r = n * kWarps + warp;
    row_max[n] = -INFINITY;
    if (request.sink_logits != nullptr && r < rows.rows) {
      row_max[n] = request.sink_logits[rows.head(r)];
    }
    row_sum[n] = 1.0f;
  }

  device::load_rows<kThreads, kT.Br, kD>(sQ, kD + 1, rows.rows, request.d,
                                         [&](int r) { return gQ + place(layouts.q, r); });
  load_slopes(request, rows, sSlopes);
  const device::KeptRows kept{sKept, request.dropout.threshold, request.dropout.factor};
  SeenRows<kWarps, kT.Br, kT.Bc> seen(request, at, rows);
  const Range some = request.keys_of(at, rows.tokens());
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    // wait until everyone is done with the tiles before, and hear whether this one is needed
    if (!seen.look(request, at, rows, j0)) continue;
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * layouts.k.row, at.Nk - j0,
                                           request.d, layouts.k.row);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * layouts.v.row, at.Nk - j0, request.d_v,
                                           layouts.v.row);
    seen.store(sWords);
    device::draw<kThreads, kT.Br, kT.Bc>(request.dropout, at.b, j0, sKept, [&](int r) {
      return device::DrawnRow{rows.head(r), rows.i0 + rows.token(r)};
    });
    // wait until the tiles and words are complete, and hear whether every row sees all of it
    const bool whole = __syncthreads_and(seen.sees_all(rows)) != 0;
    device::scores<kWarps, kT.Br, kT.Bc, kD>(sQ, sK, sS, request.d, request.scale,
                                             Change{request, at, rows, sWords, sSlopes, j0});
    __syncwarp();  // wait until the warp's own scores are there
    if (whole) {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::UnmaskedTile<kT.Bc>(), row_max,
                                                    row_sum, acc_o, kept);
    } else {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::WordTile{sWords}, row_max,
                                                    row_sum, acc_o, kept);
    }
  }

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const int r = n * kWarps + warp;
    if (r >= rows.rows) continue;
    float* gRowO = gO + place(layouts.o, r);
    float* gRowLSE = gLSE + place(layouts.lse, r);
    const float lse = device::log_sum_exp(row_max[n], row_sum[n]);
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < request.d_v) gRowO[c] = acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) *gRowLSE = lse;
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.Bc <= 32 && kSharedBytes<kD> <= 48 * 1024);
  const Request request = request_of(args);
  launch(forward_kernel<kD>, grid_size(request.B * request.Hkv * request.row_tiles(kT.Br)),
         kThreads, kSharedBytes<kD>, nullptr, args.q, args.k, args.v, args.o, args.lse, request);
}

}  // namespace

void forward_all(const ForwardArgs& args) {
  const std::int64_t widest = std::max(args.shape.d, value_width(args.shape, args.extras));
  with_columns<kMaxColumns>(widest, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::heads
