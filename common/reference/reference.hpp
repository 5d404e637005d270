// SPDX-License-Identifier: MIT
//
// The oracle: attention by its formulas in float64, one row at a time, written to be obviously
// right rather than quick. Everything else in the project is compared with it; it is itself
// compared with central finite differences (finite_difference.hpp).
//
// Only keys that a row sees are ever read for that row, so whatever stands in a hidden key of K or
// V has no influence. A visible NaN or Inf goes where the formulas take it.
//
//   x_ij = scale q_i . k_j                    s_ij = softcap(x_ij) + bias_ij - slope |own_i - j|
//   LSE_i = log(sum_j exp(s_ij) + exp(sink))  p_ij = exp(s_ij - LSE_i)
//   O_i = sum_j z_ij p_ij v_j                 z_ij = 0 or 1 / (1 - dropout)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/attention.hpp"
#include "common/reference/extra_values.hpp"

namespace attn::reference {

/// One attention problem in float64; Hkv may be smaller than H (heads in groups of H / Hkv).
struct Inputs {
  Shape shape;
  Mask mask = Mask::kFull;
  double scale = 0.0;
  std::vector<double> q;       // [B, H, Nq, d]
  std::vector<double> k, v;    // [B, Hkv, Nk, d], [B, Hkv, Nk, d_v]
  std::vector<double> grad_o;  // [B, H, Nq, d_v]; only the backward pass reads it
  ExtraValues<double> extras = {};
};

struct Forward {
  std::vector<double> o;    // [B, H, Nq, d_v]; 0 in a row that sees no key
  std::vector<double> lse;  // [B, H, Nq], natural log; -inf in a row that sees no key, or its sink
};

struct Gradients {
  std::vector<double> grad_q;            // [B, H, Nq, d]
  std::vector<double> grad_k, grad_v;    // like K, V, summed over the query heads of a group
  std::vector<double> grad_bias;         // like the bias, summed over what it is broadcast to
  std::vector<double> grad_sink_logits;  // [H]
};

/// What rounding errors scale with: the tolerances of common/verify/tolerance.hpp need these.
/// Hidden keys and non-finite values are left out of all of them. `z` is dropout's factor.
struct Magnitudes {
  std::vector<double> logit;  // [B*H]   max_ij |scale| sum_c |q_ic| |k_jc| + |bias| + |ALiBi|: L
  std::vector<double> v;      // [B*H]   max_jc |z v_jc|
  // [B*H] and [B*Hkv]: sums of the magnitudes of all terms.
  std::vector<double> grad_q;   // |scale| max_ic sum_j P (z |dO_i|.|V_j| + |dO_i|.|O_i| + |dLSE_i|)
                                //   |K_jc|
  std::vector<double> grad_k;   // the same summed over i, with |Q_ic|
  std::vector<double> grad_v;   // max_jc sum_i P z |dO_ic|
  double grad_bias = 0;         // the largest such sum, without scale and K, of an element
  double grad_sink_logits = 0;  // likewise
  // What 16-bit kernels round on the way: P before P V, dS before dS K and dS^T Q.
  std::vector<double> weighted_v;  // like O: sum_j P z |v_jc|
  std::vector<double> ds_k, ds_q;  // [B*H] |scale| max_ic sum_j |dS_ij| |K_jc|; [B*Hkv] over i
};

/// float32 values as float64, exactly.
std::vector<double> widen(std::span<const float> values);
/// float64 values rounded to the nearest float32.
std::vector<float> narrow(std::span<const double> values);

/// The key/value head that query head `head` (of B*H, batch major) reads.
std::int64_t kv_head(const Shape& shape, std::int64_t head);

/// O and LSE.
Forward forward(const Inputs& inputs);

/// O and LSE by the same loops, every operation rounded to float32: the error that plain float32
/// code makes. Inputs must be float32 values.
Forward forward_in_float32(const Inputs& inputs);

/// The gradients of the loss sum(dO * O) + sum(dLSE * LSE), given `result = forward(inputs)`, or O
/// and LSE rounded.
Gradients backward(const Inputs& inputs, const Forward& result);

/// See Magnitudes. The gradients' are zero where inputs.grad_o is empty, and what 16-bit kernels
/// round is left out unless `of_storage`.
Magnitudes magnitudes(const Inputs& inputs, const Forward& result, bool of_storage = false);

}  // namespace attn::reference
