// SPDX-License-Identifier: MIT
#include "common/attention.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace attn {
namespace {

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadArgument, message); }

[[noreturn]] void unsupported(const std::string& message) {
  throw Error(ErrorKind::kUnsupported, message);
}

/// One array argument, for the checks that all arrays share.
struct Array {
  const char* name;
  const void* pointer;
  std::size_t bytes;
  bool written;
};

/// Product of non-negative sizes in bytes of float32, or an error that names the array.
std::size_t checked_bytes(const char* name, std::initializer_list<std::int64_t> sizes) {
  std::int64_t product = 1;
  bool overflow = false;
  for (const std::int64_t size : sizes) {
    if (size == 0) return 0;
    overflow = overflow || __builtin_mul_overflow(product, size, &product);
  }
  constexpr auto kLimit = std::numeric_limits<std::int64_t>::max() / std::int64_t{sizeof(float)};
  if (overflow || product > kLimit) {
    bad(fmt::format("{}: its sizes multiply to more than 2^61 elements; allowed: at most 2^61 - 1",
                    name));
  }
  return static_cast<std::size_t>(product) * sizeof(float);
}

constexpr std::int64_t kMaxHeads = 0x7FFFFFFF;

void validate_shape(const Shape& shape, const Support& support) {
  const std::array<std::pair<const char*, std::int64_t>, 5> sizes{
      {{"B", shape.B}, {"H", shape.H}, {"Hkv", shape.Hkv}, {"Nq", shape.Nq}, {"Nk", shape.Nk}}};
  for (const auto& [name, size] : sizes) {
    if (size < 0) bad(fmt::format("{} = {}: allowed: 0 or more", name, size));
  }
  if (shape.d < 1) bad(fmt::format("d = {}: allowed: 1 or more", shape.d));
  if (shape.Hkv == 0 ? shape.H != 0 : shape.H % shape.Hkv != 0) {
    bad(fmt::format("Hkv = {}: allowed: a divisor of H = {}", shape.Hkv, shape.H));
  }
  if (shape.d > support.max_d) {
    unsupported(fmt::format("d = {}: this chapter supports 1 <= d <= {}", shape.d, support.max_d));
  }
  if (shape.Hkv != shape.H && !support.grouped_heads) {
    unsupported(
        fmt::format("Hkv = {}: this chapter supports Hkv = H = {} only", shape.Hkv, shape.H));
  }
}

/// What fits a grid. After everything that no chapter could accept.
void validate_extent(const Shape& shape, const Support& support) {
  if (shape.H > 0 && shape.B > kMaxHeads / shape.H) {
    unsupported(fmt::format("B * H = {} * {}: supported: a product of at most {}, a grid's width",
                            shape.B, shape.H, kMaxHeads));
  }
  for (const auto& [name, size] : {std::pair{"Nq", shape.Nq}, std::pair{"Nk", shape.Nk}}) {
    if (size > support.max_n) {
      unsupported(
          fmt::format("{} = {}: this chapter supports at most {}", name, size, support.max_n));
    }
  }
}

void validate_mask(Mask mask) {
  if (mask != Mask::kFull && mask != Mask::kCausal && mask != Mask::kCausalTopLeft) {
    bad(fmt::format("mask = {}: allowed: full, causal, causal top-left", static_cast<int>(mask)));
  }
}

void validate_scale(float scale) {
  if (!std::isfinite(scale)) bad(fmt::format("scale = {}: allowed: any finite number", scale));
}

void validate_arrays(std::span<const Array> arrays) {
  for (const Array& array : arrays) {
    if (array.bytes == 0) continue;
    if (array.pointer == nullptr) {
      bad(fmt::format("{} = null: allowed: a pointer to {} bytes", array.name, array.bytes));
    }
    if (reinterpret_cast<std::uintptr_t>(array.pointer) % alignof(float) != 0) {
      bad(fmt::format("{} = {}: allowed: an address divisible by {}", array.name,
                      fmt::ptr(array.pointer), alignof(float)));
    }
  }
  const auto begin = [](const Array& a) { return reinterpret_cast<std::uintptr_t>(a.pointer); };
  for (const Array& output : arrays) {
    if (!output.written || output.bytes == 0) continue;
    for (const Array& other : arrays) {
      if (&other == &output || other.bytes == 0) continue;
      if (begin(output) < begin(other) + other.bytes &&
          begin(other) < begin(output) + output.bytes) {
        bad(fmt::format("{} = {}: it overlaps {}; allowed: an output apart from all other arrays",
                        output.name, fmt::ptr(output.pointer), other.name));
      }
    }
  }
}

void validate_workspace(std::size_t given, std::size_t needed) {
  if (given < needed) {
    bad(fmt::format("workspace_bytes = {}: this step needs {}", given, needed));
  }
}

bool no_rows(const Shape& shape) { return shape.B == 0 || shape.H == 0 || shape.Nq == 0; }

void fill_with_zeros(Memory& memory, float* to, std::int64_t elements) {
  const std::vector<float> zeros(static_cast<std::size_t>(elements), 0.0f);
  memory.write(to, zeros.data(), zeros.size() * sizeof(float));
}

}  // namespace

std::string to_string(const Shape& s) {
  return s.Hkv == s.H
             ? fmt::format("B={} H={} Nq={} Nk={} d={}", s.B, s.H, s.Nq, s.Nk, s.d)
             : fmt::format("B={} H={} Hkv={} Nq={} Nk={} d={}", s.B, s.H, s.Hkv, s.Nq, s.Nk, s.d);
}

std::string_view to_string(Pass pass) { return pass == Pass::kForward ? "forward" : "backward"; }

std::string_view to_string(Mask mask) {
  switch (mask) {
    case Mask::kFull:
      return "full";
    case Mask::kCausal:
      return "causal";
    case Mask::kCausalTopLeft:
      return "causal top-left";
  }
  return "unknown mask";
}

float default_scale(std::int64_t d) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
}

void validate(const ForwardArgs& args, const Support& support) {
  const Shape& s = args.shape;
  validate_shape(s, support);
  validate_mask(args.mask);
  validate_scale(args.scale);
  const std::array<Array, 6> arrays{{
      {"q", args.q, checked_bytes("q", {s.B, s.H, s.Nq, s.d}), false},
      {"k", args.k, checked_bytes("k", {s.B, s.Hkv, s.Nk, s.d}), false},
      {"v", args.v, checked_bytes("v", {s.B, s.Hkv, s.Nk, s.d}), false},
      {"o", args.o, checked_bytes("o", {s.B, s.H, s.Nq, s.d}), true},
      {"lse", args.lse, checked_bytes("lse", {s.B, s.H, s.Nq}), true},
      {"workspace", args.workspace, args.workspace_bytes, true},
  }};
  checked_bytes("the score matrix", {s.B, s.H, s.Nq, s.Nk});
  validate_extent(s, support);
  validate_arrays(arrays);
}

void validate(const BackwardArgs& args, const Support& support) {
  const Shape& s = args.shape;
  validate_shape(s, support);
  validate_mask(args.mask);
  validate_scale(args.scale);
  const std::size_t q_bytes = checked_bytes("q", {s.B, s.H, s.Nq, s.d});
  const std::size_t k_bytes = checked_bytes("k", {s.B, s.Hkv, s.Nk, s.d});
  const std::array<Array, 10> arrays{{
      {"q", args.q, q_bytes, false},
      {"k", args.k, k_bytes, false},
      {"v", args.v, k_bytes, false},
      {"o", args.o, q_bytes, false},
      {"lse", args.lse, checked_bytes("lse", {s.B, s.H, s.Nq}), false},
      {"grad_o", args.grad_o, q_bytes, false},
      {"grad_q", args.grad_q, q_bytes, true},
      {"grad_k", args.grad_k, k_bytes, true},
      {"grad_v", args.grad_v, k_bytes, true},
      {"workspace", args.workspace, args.workspace_bytes, true},
  }};
  checked_bytes("the score matrix", {s.B, s.H, s.Nq, s.Nk});
  validate_extent(s, support);
  validate_arrays(arrays);
}

void forward(const Chapter& chapter, const Step& step, const ForwardArgs& args) {
  if (step.forward == nullptr) {
    unsupported(fmt::format("pass = forward: {} {} has none", chapter.id, step.id));
  }
  validate(args, chapter.support);
  if (no_rows(args.shape)) return;
  validate_workspace(args.workspace_bytes, step.forward_workspace_bytes(args.shape));
  step.forward(args);
}

void backward(const Chapter& chapter, const Step& step, const BackwardArgs& args) {
  if (step.backward == nullptr) {
    unsupported(fmt::format("pass = backward: {} {} has none", chapter.id, step.id));
  }
  validate(args, chapter.support);
  if (no_rows(args.shape)) {
    Memory& memory = &step == chapter.twin ? host_memory() : chapter.memory();
    fill_with_zeros(memory, args.grad_k, args.shape.kv_elements());
    fill_with_zeros(memory, args.grad_v, args.shape.kv_elements());
    return;
  }
  validate_workspace(args.workspace_bytes, step.backward_workspace_bytes(args.shape));
  step.backward(args);
}

const Step& find_step(const Chapter& chapter, std::string_view id) {
  if (id.empty()) return chapter.steps.back();
  std::string known;
  for (const Step& step : chapter.steps) {
    if (step.id == id) return step;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", step.id);
  }
  bad(fmt::format("step = {}: {} has {}", id, chapter.id, known));
}

const Step* default_step(const Chapter& chapter, Pass pass) {
  for (auto step = chapter.steps.rbegin(); step != chapter.steps.rend(); ++step) {
    if (pass == Pass::kForward ? step->forward != nullptr : step->backward != nullptr) {
      return &*step;
    }
  }
  return nullptr;
}

}  // namespace attn
