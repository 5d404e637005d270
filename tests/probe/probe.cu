// SPDX-License-Identifier: MIT
#include <cfloat>

#include "common/device/cuda.cuh"
#include "common/device/element.cuh"
#include "common/device/online_softmax.cuh"
#include "common/philox.hpp"
#include "tests/probe/probe.hpp"

namespace attn::probe {
namespace {

constexpr int kThreads = 64;
constexpr int kMaxD = 128;

/// Where one head of one batch lies, in elements.
struct Head {
  std::int64_t b, h, Nq, Nk;
  std::int64_t q, k, v, o, lse;             // of its first row
  std::int64_t q_row, k_row, v_row, o_row;  // from row to row
};

__device__ inline std::int64_t start(const Strides& s, std::int64_t b, std::int64_t h,
                                     std::int64_t heads, std::int64_t N, std::int64_t width) {
  return s.row == 0 ? (b * heads + h) * N * width : b * s.batch + h * s.head;
}

template <Bug kBug, class Args>
__device__ Head head_of(const Args& a, std::int64_t b, std::int64_t h) {
  const Shape& s = a.shape;
  const Extras& e = a.extras;
  const std::int64_t d_v = e.d_v == 0 ? s.d : e.d_v;
  const std::int64_t kv = kBug == Bug::kHeadModulo ? h % s.Hkv : h / (s.H / s.Hkv);
  Head at{b,
          h,
          s.Nq,
          s.Nk,
          start(e.q, b, h, s.H, s.Nq, s.d),
          start(e.k, b, kv, s.Hkv, s.Nk, s.d),
          start(e.v, b, kv, s.Hkv, s.Nk, d_v),
          start(e.o, b, h, s.H, s.Nq, d_v),
          (b * s.H + h) * s.Nq,
          e.q.row == 0 ? s.d : e.q.row,
          e.k.row == 0 ? s.d : e.k.row,
          e.v.row == 0               ? d_v
          : kBug == Bug::kValueAsKey ? e.k.row
                                     : e.v.row,
          e.o.row == 0 ? d_v : e.o.row};
  if (e.q_offsets.device != nullptr) {
    const std::int64_t *q = e.q_offsets.device, *k = e.k_offsets.device;
    const std::int64_t first_row = h * q[s.B] + q[b], first_key = kv * k[s.B] + k[b];
    at.Nq = q[b + 1] - q[b];
    at.Nk = k[b + 1] - k[b];
    if (kBug == Bug::kPackedNeighbour && b + 1 < s.B) ++at.Nk;
    at.q = first_row * s.d;
    at.k = first_key * s.d;
    at.v = first_key * d_v;
    at.o = first_row * d_v;
    at.lse = first_row;
  }
  return at;
}

/// The valid keys of a head, and whether a pair of them is visible.
template <Bug kBug, class Args>
struct Keys {
  const Args& a;
  Head at;
  std::int64_t begin, end;

  __device__ Keys(const Args& args, const Head& head) : a(args), at(head), begin(0), end(at.Nk) {
    const Extras& e = a.extras;
    if (e.key_begin.device != nullptr) begin = e.key_begin.device[at.b];
    if (e.key_count.device != nullptr) end = begin + e.key_count.device[at.b];
  }

  /// Row i's own key, counted from the first valid one.
  __device__ std::int64_t own(std::int64_t i) const {
    const std::int64_t count = kBug == Bug::kCountFromZero ? at.Nk : end - begin;
    return a.mask.top_left ? i : i + count - at.Nq;
  }

  __device__ bool sees(std::int64_t i, std::int64_t j) const {
    const Extras& e = a.extras;
    const std::int64_t local = kBug == Bug::kCountFromZero ? j : j - begin;
    const std::int64_t distance = own(i) - local;  // keys before the row's own
    const bool sink = (kBug == Bug::kSinkFromZero ? j : local) < e.sink_keys;
    const bool late = a.mask.after != kUnbounded && -distance > a.mask.after;
    if (late && !(kBug == Bug::kSinkEscapesCausal && sink)) return false;
    const bool clamped = kBug == Bug::kBoundClamped && a.mask.before > at.Nk;
    const std::int64_t before =
        clamped ? at.Nk : a.mask.before - (kBug == Bug::kLostFirstKey ? 1 : 0);
    const bool bounded = a.mask.before != kUnbounded && kBug != Bug::kNoLowerBound;
    if (bounded && distance > before && !sink) return false;
    if (e.mask != nullptr && e.mask[e.mask_shape.index(at.b, at.h, i, j)] == 0) return false;
    const float hides = kBug == Bug::kLowestHides ? -FLT_MAX : -INFINITY;
    if (e.bias != nullptr && bias(i, j) <= hides) return false;
    bool inside = e.ranges_per_row == 0;
    for (int n = 0; n < e.ranges_per_row; ++n) {
      const std::int64_t* range = e.ranges.device + ((at.b * at.Nq + i) * e.ranges_per_row + n) * 2;
      inside = inside || (range[0] <= j && j < range[1]);
    }
    return inside;
  }

  __device__ float bias(std::int64_t i, std::int64_t j) const {
    const PairShape& shape = a.extras.bias_shape;
    const bool swap =
        kBug == Bug::kBiasTransposed && i < at.Nk && j < at.Nq && shape.Nq > 1 && shape.Nk > 1;
    return a.extras.bias[swap ? shape.index(at.b, at.h, j, i) : shape.index(at.b, at.h, i, j)];
  }

  /// The logit of a pair, and its derivative by scale * q . k.
  __device__ float logit(std::int64_t i, std::int64_t j, float& slope) const {
    const Extras& e = a.extras;
    float dot = 0.0f;
    for (std::int64_t c = 0; c < a.shape.d; ++c) {
      const auto q = a.q[at.q + i * at.q_row + c];
      const auto k = a.k[at.k + j * at.k_row + c];
      dot += device::to_float(q) * device::to_float(k);
    }
    float s = kBug == Bug::kIgnoresQ ? 0.0f : a.scale * dot;
    if (kBug == Bug::kCapAfterBias && e.bias != nullptr) s += bias(i, j);
    slope = 1.0f;
    if (e.softcap > 0) {
      const float t = kBug == Bug::kCapByExponential
                          ? 1.0f - 2.0f / (expf(2.0f * s / e.softcap) + 1)
                          : tanhf(s / e.softcap);
      s = e.softcap * t;
      if (kBug != Bug::kCapNotDerived) slope = 1.0f - t * t;
    }
    if (kBug != Bug::kCapAfterBias && e.bias != nullptr) s += bias(i, j);
    if (e.alibi != nullptr) {
      const std::int64_t from = kBug == Bug::kAlibiFromRow ? i : own(i);
      s -= e.alibi[at.h] * fabsf(static_cast<float>(from - (j - begin)));
    }
    return s;
  }

  __device__ float keep(std::int64_t i, std::int64_t j, std::uint32_t dropped_below) const {
    if (dropped_below == 0) return 1.0f;
    const bool dropped = dropout_bits(a.extras.dropout_seed, at.b, at.h, i, j) < dropped_below;
    if (dropped) return 0.0f;
    return kBug == Bug::kDropoutUnscaled ? 1.0f : 1.0f / (1.0f - a.extras.dropout);
  }
};

/// x, or in a kernel with the bug x as the element would hold it.
template <class T, bool kNarrow>
__device__ float held(float x) {
  if constexpr (kNarrow) return device::to_float(device::from_float<T>(x));
  return x;
}

/// One thread for row i of head h of batch b.
template <Bug kBug, class T>
__global__ void forward_kernel(ForwardArgsOf<T> a, std::int64_t d_v, std::uint32_t dropped_below) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= a.shape.B * a.shape.H * a.shape.Nq) return;
  const std::int64_t i = row % a.shape.Nq, head = row / a.shape.Nq;
  const Head at = head_of<kBug>(a, head / a.shape.H, head % a.shape.H);
  if (i >= at.Nq) return;
  const Keys<kBug, ForwardArgsOf<T>> keys(a, at);
  const float* sinks = a.extras.sink_logits;
  const bool starts_with_sink = sinks != nullptr && kBug != Bug::kSinkOutsideMax;
  float row_max = starts_with_sink ? sinks[at.h] : -INFINITY;
  float row_sum = row_max == -INFINITY ? 0.0f : 1.0f;
  float dropped_sum = row_sum;
  bool sees_any = false;
  float acc_o[kMaxD] = {};
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    if (!keys.sees(i, j)) continue;
    sees_any = true;
    float slope;
    const float s = keys.logit(i, j, slope);
    const float new_max = fmaxf(row_max, s);
    const float reference = device::reference_point(new_max);
    const float rescale = kBug == Bug::kNoRescale ? 1.0f : expf(row_max - reference);
    const float p = expf(s - reference);
    const float kept = p * keys.keep(i, j, dropped_below);
    row_sum = held<T, kBug == Bug::kNarrowSum>(row_sum * rescale + p);
    dropped_sum = dropped_sum * rescale + (kept == 0.0f ? 0.0f : p);
    for (std::int64_t c = 0; c < d_v; ++c) {
      const T v = a.v[at.v + j * at.v_row + c];
      acc_o[c] =
          held<T, kBug == Bug::kNarrowOutput>(acc_o[c] * rescale + kept * device::to_float(v));
    }
    row_max = new_max;
  }
  if (sinks != nullptr && !starts_with_sink) row_sum += expf(sinks[at.h] - row_max);
  const float sum = kBug == Bug::kDropoutInLse ? dropped_sum : row_sum;
  for (std::int64_t c = 0; c < d_v; ++c) {
    a.o[at.o + i * at.o_row + c] = device::from_float<T>(sees_any ? acc_o[c] / sum : 0.0f);
  }
  if (kBug == Bug::kGapWritten && at.o_row > a.shape.H * d_v) a.o[at.o + i * at.o_row + d_v] = T{};
  float lse_sum = sum;
  if (kBug == Bug::kSinkNotInLse && sinks != nullptr) lse_sum -= expf(sinks[at.h] - row_max);
  a.lse[at.lse + i] = held<T, kBug == Bug::kNarrowLse>(device::log_sum_exp(row_max, lse_sum));
}

/// P and dP of one pair, and from them the gradient of its logit.
template <Bug kBug, class T>
struct Pair {
  float kept_p, grad_logit, slope;

  __device__ Pair(const BackwardArgsOf<T>& a, const Keys<kBug, BackwardArgsOf<T>>& keys,
                  std::int64_t d_v, std::uint32_t dropped_below, std::int64_t i, std::int64_t j) {
    const Head& at = keys.at;
    const float p = expf(keys.logit(i, j, slope) - a.lse[at.lse + i]);
    const float keep = keys.keep(i, j, kBug == Bug::kDropoutOnlyForward ? 0 : dropped_below);
    float grad_p = 0.0f, delta = 0.0f;
    for (std::int64_t c = 0; c < d_v; ++c) {
      const T grad_o = a.grad_o[at.o + i * at.o_row + c], o = a.o[at.o + i * at.o_row + c];
      const T v = a.v[at.v + j * at.v_row + c];
      grad_p += device::to_float(grad_o) * device::to_float(v);
      delta += device::to_float(grad_o) * device::to_float(o);
    }
    if (kBug == Bug::kDeltaForgotten) delta = 0.0f;
    const bool has_grad_lse = a.extras.grad_lse != nullptr && kBug != Bug::kGradLseForgotten;
    const float grad_lse = has_grad_lse ? a.extras.grad_lse[at.lse + i] : 0.0f;
    kept_p = keep * p;
    grad_logit = p * (keep * grad_p - delta + grad_lse);
  }
};

/// One thread for row i: dQ, and what it adds to the gradients of bias and sinks.
template <Bug kBug, class T>
__global__ void query_kernel(BackwardArgsOf<T> a, std::int64_t d_v, std::uint32_t dropped_below) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= a.shape.B * a.shape.H * a.shape.Nq) return;
  const std::int64_t i = row % a.shape.Nq, head = row / a.shape.Nq;
  const Head at = head_of<kBug>(a, head / a.shape.H, head % a.shape.H);
  if (i >= at.Nq) return;
  const Keys<kBug, BackwardArgsOf<T>> keys(a, at);
  const Extras& e = a.extras;
  float acc[kMaxD] = {};
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    if (!keys.sees(i, j)) continue;
    const Pair<kBug, T> pair(a, keys, d_v, dropped_below, i, j);
    for (std::int64_t c = 0; c < a.shape.d; ++c) {
      const T k = a.k[at.k + j * at.k_row + c];
      acc[c] += a.scale * pair.slope * pair.grad_logit * device::to_float(k);
    }
    if (e.grad_bias != nullptr) {
      atomicAdd(e.grad_bias + e.bias_shape.index(at.b, at.h, i, j), pair.grad_logit);
    }
  }
  for (std::int64_t c = 0; c < a.shape.d; ++c) {
    a.grad_q[at.q + i * at.q_row + c] = device::from_float<T>(acc[c]);
  }
  if (e.grad_sink_logits == nullptr || e.sink_logits[at.h] == -INFINITY) return;
  float delta = 0.0f;
  for (std::int64_t c = 0; c < d_v; ++c) {
    const T grad_o = a.grad_o[at.o + i * at.o_row + c], o = a.o[at.o + i * at.o_row + c];
    delta += device::to_float(grad_o) * device::to_float(o);
  }
  const float grad_lse = e.grad_lse == nullptr ? 0.0f : e.grad_lse[at.lse + i];
  const float p = expf(e.sink_logits[at.h] - a.lse[at.lse + i]);
  atomicAdd(e.grad_sink_logits + at.h, p * (grad_lse - delta));
}

/// One thread for key j of key head h: dK and dV, summed over the query heads that read them.
template <Bug kBug, class T>
__global__ void key_kernel(BackwardArgsOf<T> a, std::int64_t d_v, std::uint32_t dropped_below) {
  const Shape& s = a.shape;
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= s.B * s.Hkv * s.Nk) return;
  const std::int64_t j = row % s.Nk, head = row / s.Nk;
  const std::int64_t group = s.H / s.Hkv, b = head / s.Hkv, first = head % s.Hkv * group;
  float acc_k[kMaxD] = {}, acc_v[kMaxD] = {};
  for (std::int64_t h = first; h < first + group; ++h) {
    const Head at = head_of<kBug>(a, b, h);
    const Keys<kBug, BackwardArgsOf<T>> keys(a, at);
    if (kBug == Bug::kGroupOverwritten) {
      for (int c = 0; c < kMaxD; ++c) acc_k[c] = acc_v[c] = 0.0f;
    }
    for (std::int64_t i = 0; i < at.Nq && keys.begin <= j && j < keys.end; ++i) {
      if (!keys.sees(i, j)) continue;
      const Pair<kBug, T> pair(a, keys, d_v, dropped_below, i, j);
      for (std::int64_t c = 0; c < s.d; ++c) {
        const T q = a.q[at.q + i * at.q_row + c];
        acc_k[c] += a.scale * pair.slope * pair.grad_logit * device::to_float(q);
      }
      for (std::int64_t c = 0; c < d_v; ++c) {
        const T grad_o = a.grad_o[at.o + i * at.o_row + c];
        acc_v[c] += pair.kept_p * device::to_float(grad_o);
      }
    }
  }
  const Head at = head_of<kBug>(a, b, first);
  if (j >= at.Nk) return;
  for (std::int64_t c = 0; c < s.d; ++c) {
    a.grad_k[at.k + j * at.k_row + c] = device::from_float<T>(acc_k[c]);
  }
  for (std::int64_t c = 0; c < d_v; ++c) {
    a.grad_v[at.v + j * at.v_row + c] = device::from_float<T>(acc_v[c]);
  }
}

template <Bug kBug, class T>
void forward(const ForwardArgsOf<T>& a) {
  launch(forward_kernel<kBug, T>, ceil_div(a.shape.rows(), kThreads), kThreads, 0, nullptr, a,
         value_width(a.shape, a.extras), dropout_threshold(a.extras.dropout));
}

template <Bug kBug, class T>
void backward(const BackwardArgsOf<T>& a) {
  const Extras& e = a.extras;
  const std::int64_t d_v = value_width(a.shape, e);
  const auto clear = [](float* array, std::int64_t elements) {
    if (array == nullptr || elements == 0) return;
    CUDA_CHECK(cudaMemset(array, 0, static_cast<std::size_t>(elements) * sizeof(float)));
  };
  clear(e.grad_bias, e.bias_shape.elements());
  clear(e.grad_sink_logits, a.shape.H);
  const std::uint32_t dropped_below = dropout_threshold(e.dropout);
  launch(query_kernel<kBug, T>, ceil_div(a.shape.rows(), kThreads), kThreads, 0, nullptr, a, d_v,
         dropped_below);
  const std::int64_t keys = a.shape.B * a.shape.Hkv * a.shape.Nk;
  if (keys == 0) return;
  launch(key_kernel<kBug, T>, ceil_div(keys, kThreads), kThreads, 0, nullptr, a, d_v,
         dropped_below);
}

std::size_t no_workspace(const Shape&) { return 0; }

template <Bug kBug>
const Chapter& make_chapter() {
  static constexpr Step kSteps[] = {
      {.id = "probe",
       .idea = "one thread per row",
       .forward = {forward<kBug, float>, forward<kBug, bfloat16>, forward<kBug, float16>},
       .forward_workspace_bytes = no_workspace,
       .backward = {backward<kBug, float>, backward<kBug, bfloat16>, backward<kBug, float16>},
       .backward_workspace_bytes = no_workspace,
       .deterministic_backward = false}};
  static constexpr Chapter kChapter{.id = "probe",
                                    .title = "Probe",
                                    .idea = "one thread per row",
                                    .memory = device_memory,
                                    .steps = kSteps,
                                    .support = {.features = Features::of_arrays()}};
  return kChapter;
}

template <int... kNumbers>
const Chapter& chapter_of(Bug bug, std::integer_sequence<int, kNumbers...>) {
  const Chapter* found = nullptr;
  ((static_cast<int>(bug) == kNumbers ? void(found = &make_chapter<static_cast<Bug>(kNumbers)>())
                                      : void()),
   ...);
  return *found;
}

}  // namespace

const Chapter& chapter(Bug bug) {
#ifdef __CUDACC__  // that nvcc takes one of them says enough
  constexpr int kBugs = 1;
#else
  constexpr int kBugs = static_cast<int>(Bug::kGroupOverwritten) + 1;
#endif
  return chapter_of(bug, std::make_integer_sequence<int, kBugs>());
}

}  // namespace attn::probe
