// SPDX-License-Identifier: MIT
//
// From the options and files of `attn run` to a problem, each rule checked once: what a single
// array must be like, how arrays must agree; what is wrong with their contents is found by
// attn::validate().
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "common/run/problem.hpp"
#include "common/run/swap_axes.hpp"

namespace attn::cli {

struct RunArguments {
  std::string chapter, step;
  std::string q, k, v, grad_o;  // files to read; grad_o is optional
  std::string o, lse, grad_q, grad_k, grad_v, grad_bias,
      grad_sinks;  // to write; all but o optional
  std::string scale;
  ProblemOptions problem;
  bool deterministic = false;
  std::string layout;
  std::string cu_seqlens;  // q.npy or q.npy,k.npy
  std::string sinks, key_begin, key_count, ranges, mask;
  std::string softcap, bias, alibi, sink_logits;
  std::string dropout, seed, dropout_mask;  // dropout_mask is written
  std::string grad_lse;
  std::string cache_k, cache_v, block_table;  // read; with `append` the caches are written, too
  bool append = false;

  bool backward() const { return !grad_o.empty(); }
};

/// The inputs in Real, float or double, in the order [B,H,N,d] (packed: [H,total,d]).
template <class Real>
struct RunInputs {
  Shape shape;
  std::vector<Real> q, k, v, grad_o;
  reference::ExtraValues<Real> extras;
  /// Of --block-table: the pools [pages,Hkv,page_keys,d], of which k and v hold the valid keys.
  std::vector<Real> k_pool, v_pool;
  /// Of --append: what goes behind the valid keys, [B,Hkv,N_new,d].
  std::vector<Real> new_k, new_v;
  std::int64_t N_new = 0;
  std::string counts_type;            // of the file of --key-count
  bool rows_first = false;            // files are [B,N,H,d]
  std::vector<std::int64_t> q_sizes;  // of the file of Q, and of the others
  std::vector<std::int64_t> k_sizes, v_sizes, o_sizes, lse_sizes, bias_sizes;
  bool doubles = false;  // Q's file is float64

  template <class Other>
  RunInputs<Other> as() const {
    const auto cast = [](const std::vector<Real>& values) {
      return std::vector<Other>(values.begin(), values.end());
    };
    return {shape,        cast(q),      cast(k),
            cast(v),      cast(grad_o), extras.template as<Other>(),
            cast(k_pool), cast(v_pool), cast(new_k),
            cast(new_v),  N_new,        counts_type,
            rows_first,   q_sizes,      k_sizes,
            v_sizes,      o_sizes,      lse_sizes,
            bias_sizes,   doubles};
  }
};

/// Reads every file that the arguments name. Throws Error(kBadArgument) that begins with an option.
template <class Real>
RunInputs<Real> read_inputs(const RunArguments& arguments, std::optional<Element> element);

/// K and V of a paged cache from its pools: the valid keys, and zeros behind them.
template <class Real>
void gather_pages(RunInputs<Real>& in);

/// The files of --cu-seqlens, for Q and for K: "Q.npy,K.npy", or one for both. Empty without it.
std::pair<std::string, std::string> offset_files(const RunArguments& arguments);

/// Which option each argument of attn::validate()'s messages came from.
std::vector<Source> sources_of(const RunArguments& arguments);

}  // namespace attn::cli
