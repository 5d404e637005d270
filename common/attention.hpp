// SPDX-License-Identifier: MIT
//
// The contract. Every chapter computes the functions described here, through the signatures
// described here; everything else in the project (tests, the `attn` program, benchmarks) knows a
// chapter only as a `Chapter` record.
//
//   Q  [B, H,   Nq, d]      S   = scale * Q K^T            (Nq, Nk) per head
//   K  [B, Hkv, Nk, d]      P   = softmax of S over the keys the row sees
//   V  [B, Hkv, Nk, d]      O   = P V                      (Nq, d) per head
//   O  [B, H,   Nq, d]      LSE = natural log of the sum of exp(S) over the keys the row sees
//   LSE [B, H, Nq]
//
// All arrays are float32, row-major and contiguous; common/element.hpp has the other elements,
// common/extras.hpp what else a problem may have. notes/semantics.md explains each choice.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "common/element.hpp"
#include "common/extras.hpp"
#include "common/host_device.hpp"
#include "common/mask.hpp"
#include "common/memory.hpp"

namespace attn {

/// Sizes of one attention problem: batch B, query heads H, key/value heads Hkv, queries Nq, keys
/// Nk, head dimension d. Counts of elements, never bytes.
struct Shape {
  std::int64_t B = 1;
  std::int64_t H = 1;
  std::int64_t Hkv = 1;
  std::int64_t Nq = 0;
  std::int64_t Nk = 0;
  std::int64_t d = 0;

  std::int64_t heads() const { return B * H; }
  std::int64_t rows() const { return B * H * Nq; }               ///< elements of LSE
  std::int64_t q_elements() const { return B * H * Nq * d; }     ///< elements of Q, O, dO, dQ
  std::int64_t kv_elements() const { return B * Hkv * Nk * d; }  ///< elements of K, V, dK, dV
  bool operator==(const Shape&) const = default;
};

/// A shape in which every query head has its own key/value head (Hkv = H).
inline Shape make_shape(std::int64_t B, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                        std::int64_t d) {
  return Shape{.B = B, .H = H, .Hkv = H, .Nq = Nq, .Nk = Nk, .d = d};
}

/// "B=1 H=2 Nq=128 Nk=128 d=64", with Hkv only where it differs from H, and the width of V's rows,
/// dv, only where it is given (not 0) and differs from d.
std::string to_string(const Shape& shape, std::int64_t d_v = 0);

enum class Pass { kForward, kBackward };
std::string_view to_string(Pass pass);

/// Numbers of elements of the arrays of a problem, d_v and packed sequences counted.
struct Sizes {
  std::int64_t q = 0, k = 0, v = 0, o = 0;  ///< dQ, dK, dV, dO have as many
  std::int64_t rows = 0;                    ///< of LSE
};
Sizes sizes_of(const Shape& shape, const Extras& extras);

/// Elements in a row of V and O.
inline std::int64_t value_width(const Shape& shape, const Extras& extras) {
  return extras.d_v == 0 ? shape.d : extras.d_v;
}

/// 1/sqrt(d), the scale of "Attention Is All You Need" (Vaswani et al. 2017, equation 1).
float default_scale(std::int64_t d);

enum class ErrorKind {
  kBadArgument,    ///< the request is wrong for every chapter (`attn` exits with 2)
  kUnsupported,    ///< the request is legal, but not for this chapter (`attn` exits with 3)
  kDeviceFailure,  ///< a CUDA call or a launch failed, or a detector stopped a kernel
};

/// The one exception type. `what()` is one line: the argument, its value, what is allowed.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Arguments of a forward pass on elements of type T: float, bfloat16, float16, or void where the
/// element is known at run time only. All pointers live where the chapter computes
/// (`Chapter::memory`).
template <class T>
struct ForwardArgsOf {
  Shape shape;
  Mask mask = Mask::kFull;
  float scale = 0.0f;
  const T* q = nullptr;       // [B, H, Nq, d]
  const T* k = nullptr;       // [B, Hkv, Nk, d]
  const T* v = nullptr;       // [B, Hkv, Nk, d]
  T* o = nullptr;             // [B, H, Nq, d], overwritten
  float* lse = nullptr;       // [B, H, Nq], overwritten; -inf for a row that sees no key
  void* workspace = nullptr;  // at least the step's forward_workspace_bytes(shape); any contents
  std::size_t workspace_bytes = 0;
  Extras extras = {};
};
using ForwardArgs = ForwardArgsOf<float>;

/// Arguments of a backward pass: O and LSE are those of the forward pass on the same inputs.
template <class T>
struct BackwardArgsOf {
  Shape shape;
  Mask mask = Mask::kFull;
  float scale = 0.0f;
  const T* q = nullptr;        // [B, H, Nq, d]
  const T* k = nullptr;        // [B, Hkv, Nk, d]
  const T* v = nullptr;        // [B, Hkv, Nk, d]
  const T* o = nullptr;        // [B, H, Nq, d]
  const float* lse = nullptr;  // [B, H, Nq]
  const T* grad_o = nullptr;   // dO [B, H, Nq, d]
  T* grad_q = nullptr;         // dQ [B, H, Nq, d], overwritten
  T* grad_k = nullptr;         // dK [B, Hkv, Nk, d], overwritten
  T* grad_v = nullptr;         // dV [B, Hkv, Nk, d], overwritten
  void* workspace = nullptr;   // at least the step's backward_workspace_bytes(shape)
  std::size_t workspace_bytes = 0;
  Extras extras = {};
};
using BackwardArgs = BackwardArgsOf<float>;

/// The same arguments with T for an element.
template <class T>
ForwardArgsOf<T> with_element(const ForwardArgsOf<void>& a) {
  const auto in = [](const void* array) { return static_cast<const T*>(array); };
  return {a.shape, a.mask,      a.scale,           in(a.q), in(a.k), in(a.v), static_cast<T*>(a.o),
          a.lse,   a.workspace, a.workspace_bytes, a.extras};
}
template <class T>
BackwardArgsOf<T> with_element(const BackwardArgsOf<void>& a) {
  const auto in = [](const void* array) { return static_cast<const T*>(array); };
  const auto out = [](void* array) { return static_cast<T*>(array); };
  return {a.shape,       a.mask,        a.scale,     in(a.q),           in(a.k),
          in(a.v),       in(a.o),       a.lse,       in(a.grad_o),      out(a.grad_q),
          out(a.grad_k), out(a.grad_v), a.workspace, a.workspace_bytes, a.extras};
}
/// And with any element.
template <class T>
ForwardArgsOf<void> without_element(const ForwardArgsOf<T>& a) {
  return {a.shape, a.mask,      a.scale,           a.q,     a.k, a.v, a.o,
          a.lse,   a.workspace, a.workspace_bytes, a.extras};
}
template <class T>
BackwardArgsOf<void> without_element(const BackwardArgsOf<T>& a) {
  return {a.shape, a.mask,   a.scale,  a.q,      a.k,      a.v,         a.o,
          a.lse,   a.grad_o, a.grad_q, a.grad_k, a.grad_v, a.workspace, a.workspace_bytes,
          a.extras};
}

/// One pass of a step: a function for each element that it takes. A record writes them in braces,
/// or one of them alone: `.forward = forward_tiled`, `.forward = {f<bfloat16>, f<float16>}`.
template <template <class> class Args>
class PassOf {
  template <class T>
  using Function = void (*)(const Args<T>&);
  template <class F>
  static constexpr bool kIsPass =
      std::convertible_to<F, Function<float>> || std::convertible_to<F, Function<bfloat16>> ||
      std::convertible_to<F, Function<float16>>;

 public:
  constexpr PassOf() = default;
  constexpr PassOf(std::nullptr_t) {}
  constexpr PassOf(Function<float> function) : float32_(function) {}
  constexpr PassOf(Function<bfloat16> function) : bfloat16_(function) {}
  constexpr PassOf(Function<float16> function) : float16_(function) {}
  template <class... F>
  requires(sizeof...(F) > 0 && (kIsPass<F> && ...)) constexpr PassOf(F... functions) {
    (add(functions), ...);
  }

  constexpr bool takes(Element element) const {
    return element == Element::kFloat32    ? float32_ != nullptr
           : element == Element::kBfloat16 ? bfloat16_ != nullptr
                                           : float16_ != nullptr;
  }
  /// False for a step that does not have this pass.
  constexpr explicit operator bool() const {
    return float32_ != nullptr || bfloat16_ != nullptr || float16_ != nullptr;
  }
  constexpr bool operator==(std::nullptr_t) const { return !*this; }

  /// Calls the function for `element`, which the pass takes.
  void operator()(Element element, const Args<void>& args) const {
    switch (element) {
      case Element::kFloat32:
        return float32_(with_element<float>(args));
      case Element::kBfloat16:
        return bfloat16_(with_element<bfloat16>(args));
      case Element::kFloat16:
        return float16_(with_element<float16>(args));
    }
  }

 private:
  template <class F>
  constexpr void add(F function) {
    if constexpr (std::convertible_to<F, Function<float>>) {
      float32_ = function;
    } else if constexpr (std::convertible_to<F, Function<bfloat16>>) {
      bfloat16_ = function;
    } else {
      float16_ = function;
    }
  }

  Function<float> float32_ = nullptr;
  Function<bfloat16> bfloat16_ = nullptr;
  Function<float16> float16_ = nullptr;
};

using WorkspaceBytes = std::size_t (*)(const Shape&);

/// One complete implementation inside a chapter. Call it through attn::forward and attn::backward,
/// which check the arguments first.
struct Step {
  std::string_view id;    // "step2_tiled"; a chapter with one step calls it by its kernel file
  std::string_view idea;  // one line for tables
  // What the idea costs, in a few words. Needed where a table's column puts a step of an earlier
  // chapter, or an earlier step, before this one; empty where there is no such column.
  std::string_view price = {};
  PassOf<ForwardArgsOf> forward = nullptr;
  WorkspaceBytes forward_workspace_bytes = nullptr;  // set where forward is
  PassOf<BackwardArgsOf> backward = nullptr;
  WorkspaceBytes backward_workspace_bytes = nullptr;  // set where backward is
  bool deterministic_backward = true;                 // bitwise equal from run to run
  Features lacks = {};  // what the chapter's support has and this step does not take yet
};

/// What a chapter accepts beyond the contract's own rules.
struct Support {
  std::int64_t max_d = 128;
  std::int64_t max_n = std::int64_t{1} << 40;  // Nq and Nk; a grid's y and z end at 65,535 blocks
  Features features = {};                      // beyond one diagonal and [B, H, N, d]
  std::span<const std::int64_t> only_d = {};   // the d it takes, rising; empty: all up to max_d
  std::size_t alignment = 1;  // bytes that the addresses of Q, K, V, O and of their rows divide by
  int min_compute = 0;        // of the GPU: 90 for compute capability 9.0
  Features of_other_steps = {};  // not taken, but by other steps of the chapter (support_of())
  // Where tensor cores multiply whole tiles, hidden pairs are multiplied by 0, and 0 * NaN is NaN.
  // A NaN or an infinity in a row of Q, K, V or dO may pass through a hidden pair (i, j) to row i
  // or key j if fewer than `reach` keys lie between j and a key that row i sees: the largest edge
  // of the tiles. 0: never. (notes/semantics.md, "NaN and infinity in the inputs")
  std::int64_t reach = 0;
};

/// A forward kernel of the chapter with tiles of a certain size, to be compared with others of its
/// kind (`attn tune`).
struct Candidate {
  Step step;                 // its id: the tile, for tables
  Support support;           // max_d: columns of its tile
  int threads;               // of a block
  std::size_t shared_bytes;  // of a block, dynamic
  const void* (*kernel)();   // what the step launches
  bool used = false;         // what the chapter itself takes for such d
};

struct AppendArgs;  // common/append.hpp

/// What a chapter exports; chapters/chapters.hpp lists them all.
struct Chapter {
  std::string_view id;            // "02_naive_gpu"
  std::string_view title;         // "Naive GPU"
  std::string_view idea;          // one line for tables
  Memory& (*memory)() = nullptr;  // where its pointers live
  std::span<const Step> steps;    // the last one that has a pass is its default
  const Step* twin = nullptr;     // the same algorithm as plain C++ loops, on host memory
  std::span<const Step> earlier_twins = {};  // likewise, of earlier steps
  std::string_view forward_of = {};          // id of the chapter whose forward this one borrows
  std::span<const int> tile_edges = {};      // sizes at which its tiles end, for the case table
  Support support = {};
  std::span<const Candidate> (*candidates)() = nullptr;  // those of one max_d together, rising
  void (*append)(const AppendArgs&) = nullptr;  // new keys into a cache; call it by attn::append
};

/// The chapter with this candidate in place of its steps: a record that takes no more than the
/// candidate does. Both must outlive it.
Chapter with_candidate(const Chapter& chapter, const Candidate& candidate);

/// What this step of the chapter takes: the chapter's support without what the step lacks.
Support support_of(const Chapter& chapter, const Step& step);

/// The chapter's plain C++: its earlier twins, then its twin.
std::vector<const Step*> twins_of(const Chapter& chapter);
/// True of these; `step` is one of the chapter's own.
bool is_twin(const Chapter& chapter, const Step& step);

/// The memory a step computes in: the chapter's, or the host's for a twin.
Memory& memory_of(const Chapter& chapter, const Step& step);

/// Why a record with this support does not take such a request, in words that begin with the
/// argument: "mask = window 3,0: a window; this chapter does not take windows". Empty if it does,
/// as far as can be told without N and the arrays.
std::string why_unsupported(Element element, const Shape& shape, const Mask& mask,
                            const Extras& extras, const Support& support);

/// Throws Error if the arguments break the contract or go beyond `support`; touches no array.
void validate(Element element, const ForwardArgsOf<void>& args, const Support& support);
void validate(Element element, const BackwardArgsOf<void>& args, const Support& support);

/// Validates, then runs one step. A zero B, H or Nq is a successful no-op. Throws Error;
/// kUnsupported if the step has no forward pass for this element.
void forward(const Chapter& chapter, const Step& step, Element element,
             const ForwardArgsOf<void>& args);

/// Validates, then runs one step's backward. With B, H or Nq zero, only dK and dV are written (as
/// zeros: no row contributes to them). Throws Error; kUnsupported if the step has no backward pass
/// for this element.
void backward(const Chapter& chapter, const Step& step, Element element,
              const BackwardArgsOf<void>& args);

/// The same where the element is known.
template <class T>
requires(!std::same_as<T, void>) void forward(const Chapter& chapter, const Step& step,
                                              const ForwardArgsOf<T>& args) {
  forward(chapter, step, kElementOf<T>, without_element(args));
}
template <class T>
requires(!std::same_as<T, void>) void backward(const Chapter& chapter, const Step& step,
                                               const BackwardArgsOf<T>& args) {
  backward(chapter, step, kElementOf<T>, without_element(args));
}

/// The step called `id`, or the last step for an empty id. Throws Error(kBadArgument).
const Step& find_step(const Chapter& chapter, std::string_view id);

/// The last step that has this pass; null if none has.
const Step* default_step(const Chapter& chapter, Pass pass);

}  // namespace attn
