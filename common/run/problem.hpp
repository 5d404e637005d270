// SPDX-License-Identifier: MIT
//
// One attention problem in host memory, and what a step made of it.
#pragma once

#include <string>
#include <vector>

#include "common/attention.hpp"
#include "common/reference/extra_values.hpp"

namespace attn {

struct Problem {
  Shape shape;
  Mask mask = Mask::kFull;
  float scale = 0.0f;
  std::vector<float> q, k, v;  // [B,H,Nq,d], [B,Hkv,Nk,d], [B,Hkv,Nk,d_v]
  std::vector<float> grad_o;   // [B,H,Nq,d_v]; empty for a forward pass
  bool exact_logits = false;   // scale * (q . k) is exact in float32, in any order of summation
  Element element = Element::kFloat32;  // q, k, v, grad_o are values of it
  bool rows_first = false;              // steps get [B,N,H,d]: the vectors here stay [B,H,N,d]
  int gap = 0;  // then: elements of nobody behind each row of Q, if any; K has 1 more, V 2, O 3
  reference::ExtraValues<float> extras = {};
};

/// Rounds q, k, v and grad_o to values of problem.element, as storing them would.
void round_to_element(Problem& problem);

/// What a step computed, copied back to host memory; the arrays of the pass that did not run are
/// empty.
struct Outputs {
  std::vector<float> o, lse;
  std::vector<float> grad_q, grad_k, grad_v;
  std::vector<float> grad_bias, grad_sink_logits;
  std::vector<std::string> damage;    // guard bands that were overwritten, inputs that changed, ...
  std::vector<Detection> detections;  // what the detectors saw
};

}  // namespace attn
