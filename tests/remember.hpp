// SPDX-License-Identifier: MIT
//
// Passes that compute nothing and remember what they were called with.
#pragma once

#include "common/attention.hpp"

namespace attn::testing {

struct Called {
  int calls = 0;
  Element element = Element::kFloat32;
  ForwardArgsOf<void> forward;
  BackwardArgsOf<void> backward;
};
/// Since whoever asks has cleared it.
inline Called called;

template <class T>
void remember_forward(const ForwardArgsOf<T>& args) {
  ++called.calls;
  called.element = kElementOf<T>;
  called.forward = without_element(args);
}
template <class T>
void remember_backward(const BackwardArgsOf<T>& args) {
  ++called.calls;
  called.element = kElementOf<T>;
  called.backward = without_element(args);
}

template <class T>
constexpr auto* kForward = remember_forward<T>;
template <class T>
constexpr auto* kBackward = remember_backward<T>;

}  // namespace attn::testing
