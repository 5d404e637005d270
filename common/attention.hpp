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
// All arrays are float32, row-major and contiguous. notes/semantics.md explains each choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "common/memory.hpp"

// Marks the few functions that host code and kernels share.
#ifdef __CUDACC__
#define ATTN_HOST_DEVICE __host__ __device__
#else
#define ATTN_HOST_DEVICE
#endif

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

/// "B=1 H=2 Nq=128 Nk=128 d=64", with Hkv only where it differs from H.
std::string to_string(const Shape& shape);

enum class Pass { kForward, kBackward };
std::string_view to_string(Pass pass);

/// Which keys a query row sees.
enum class Mask {
  kFull,           ///< all of them
  kCausal,         ///< j <= i + (Nk - Nq): the last query sees the last key (bottom-right aligned)
  kCausalTopLeft,  ///< j <= i: the first query sees the first key only
};
std::string_view to_string(Mask mask);

/// Every mask is one diagonal: row i sees key j if and only if j <= i + diagonal.
constexpr std::int64_t diagonal(Mask mask, std::int64_t Nq, std::int64_t Nk) {
  return mask == Mask::kFull ? Nk : mask == Mask::kCausal ? Nk - Nq : 0;
}

/// Number of keys row i sees: always the first ones, 0 .. visible_keys - 1. Zero is a legal answer.
ATTN_HOST_DEVICE constexpr std::int64_t visible_keys(std::int64_t i, std::int64_t diagonal,
                                                     std::int64_t Nk) {
  const std::int64_t visible = i + diagonal + 1;
  return visible < 0 ? 0 : visible > Nk ? Nk : visible;
}

/// The first row that sees key j: the rows from there to Nq - 1 are those that do. Nq if none does.
ATTN_HOST_DEVICE constexpr std::int64_t first_query(std::int64_t j, std::int64_t diagonal,
                                                    std::int64_t Nq) {
  const std::int64_t first = j - diagonal;
  return first < 0 ? 0 : first > Nq ? Nq : first;
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

/// Arguments of a forward pass. All pointers live where the chapter computes (`Chapter::memory`).
struct ForwardArgs {
  Shape shape;
  Mask mask = Mask::kFull;
  float scale = 0.0f;
  const float* q = nullptr;   // [B, H, Nq, d]
  const float* k = nullptr;   // [B, Hkv, Nk, d]
  const float* v = nullptr;   // [B, Hkv, Nk, d]
  float* o = nullptr;         // [B, H, Nq, d], overwritten
  float* lse = nullptr;       // [B, H, Nq], overwritten; -inf for a row that sees no key
  void* workspace = nullptr;  // at least the step's forward_workspace_bytes(shape); any contents
  std::size_t workspace_bytes = 0;
};

/// Arguments of a backward pass: O and LSE are those of the forward pass on the same inputs.
struct BackwardArgs {
  Shape shape;
  Mask mask = Mask::kFull;
  float scale = 0.0f;
  const float* q = nullptr;       // [B, H, Nq, d]
  const float* k = nullptr;       // [B, Hkv, Nk, d]
  const float* v = nullptr;       // [B, Hkv, Nk, d]
  const float* o = nullptr;       // [B, H, Nq, d]
  const float* lse = nullptr;     // [B, H, Nq]
  const float* grad_o = nullptr;  // dO [B, H, Nq, d]
  float* grad_q = nullptr;        // dQ [B, H, Nq, d], overwritten
  float* grad_k = nullptr;        // dK [B, Hkv, Nk, d], overwritten
  float* grad_v = nullptr;        // dV [B, Hkv, Nk, d], overwritten
  void* workspace = nullptr;      // at least the step's backward_workspace_bytes(shape)
  std::size_t workspace_bytes = 0;
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
  void (*forward)(const ForwardArgs&) = nullptr;
  WorkspaceBytes forward_workspace_bytes = nullptr;  // set where forward is
  void (*backward)(const BackwardArgs&) = nullptr;
  WorkspaceBytes backward_workspace_bytes = nullptr;  // set where backward is
  bool deterministic_backward = true;                 // bitwise equal from run to run
};

/// What a chapter accepts beyond the contract's own rules.
struct Support {
  std::int64_t max_d = 128;
  std::int64_t max_n = std::int64_t{1} << 40;  // Nq and Nk; a grid's y and z end at 65,535 blocks
  bool grouped_heads = false;                  // Hkv < H
};

/// What a chapter exports; chapters/chapters.hpp lists them all.
struct Chapter {
  std::string_view id;                   // "02_naive_gpu"
  std::string_view title;                // "Naive GPU"
  std::string_view idea;                 // one line for tables
  Memory& (*memory)() = nullptr;         // where its pointers live
  std::span<const Step> steps;           // the last one that has a pass is its default
  const Step* twin = nullptr;            // the same algorithm as plain C++ loops, on host memory
  std::string_view forward_of = {};      // id of the chapter whose forward this one borrows
  std::span<const int> tile_edges = {};  // sizes at which its tiles end, for the case table
  Support support = {};
};

/// Throws Error if the arguments break the contract or go beyond `support`; touches no array.
void validate(const ForwardArgs& args, const Support& support);
void validate(const BackwardArgs& args, const Support& support);

/// Validates, then runs one step. A zero B, H or Nq is a successful no-op. Throws Error.
void forward(const Chapter& chapter, const Step& step, const ForwardArgs& args);

/// Validates, then runs one step's backward. With B, H or Nq zero, only dK and dV are written (as
/// zeros: no row contributes to them). Throws Error; kUnsupported if the step has no backward.
void backward(const Chapter& chapter, const Step& step, const BackwardArgs& args);

/// The step called `id`, or the last step for an empty id. Throws Error(kBadArgument).
const Step& find_step(const Chapter& chapter, std::string_view id);

/// The last step that has this pass; null if none has.
const Step* default_step(const Chapter& chapter, Pass pass);

}  // namespace attn
