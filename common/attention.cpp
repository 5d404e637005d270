// SPDX-License-Identifier: MIT
#include "common/attention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace attn {
namespace {

[[noreturn]] void unsupported(const std::string& message) {
  throw Error(ErrorKind::kUnsupported, message);
}

void check_workspace(std::size_t given, std::size_t needed) {
  if (given >= needed) return;
  throw Error(ErrorKind::kBadArgument,
              fmt::format("workspace_bytes = {}: this step needs {}", given, needed));
}

/// The step has this pass, takes this element, and the device can run it.
template <class Pass>
void check_step(const Chapter& chapter, const Step& step, const char* name, const Pass& pass,
                Element element, const Memory& memory) {
  if (!pass) unsupported(fmt::format("pass = {}: {} {} has none", name, chapter.id, step.id));
  if (!pass.takes(element)) {
    std::string taken;
    for (const Element other : kAllElements) {
      if (!pass.takes(other)) continue;
      taken += fmt::format("{}{}", taken.empty() ? "" : ", ", to_string(other));
    }
    unsupported(fmt::format("element = {}: {} {} takes {}", to_string(element), chapter.id, step.id,
                            taken));
  }
  const int compute = memory.compute_capability();
  const int needed = chapter.support.min_compute;
  if (compute != 0 && compute < needed) {
    unsupported(fmt::format("device = {}: its compute capability is {}.{}; {} needs {}.{}",
                            memory.name(), compute / 10, compute % 10, chapter.id, needed / 10,
                            needed % 10));
  }
}

bool no_rows(const Shape& shape) { return shape.B == 0 || shape.H == 0 || shape.Nq == 0; }

void fill_with_zeros(Memory& memory, void* to, std::size_t bytes) {
  const std::vector<unsigned char> zeros(bytes, 0);
  memory.write(to, zeros.data(), bytes);
}

/// dK or dV: `elements` of them side by side, or rows that lie apart.
void fill_with_zeros(Memory& memory, void* to, std::int64_t elements, const Shape& shape,
                     const Strides& strides, std::int64_t width, std::size_t each) {
  if (strides == Strides{}) {
    return fill_with_zeros(memory, to, static_cast<std::size_t>(elements) * each);
  }
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t h = 0; h < shape.Hkv; ++h) {
      for (std::int64_t j = 0; j < shape.Nk; ++j) {
        const std::int64_t at = b * strides.batch + h * strides.head + j * strides.row;
        fill_with_zeros(memory,
                        static_cast<unsigned char*>(to) + static_cast<std::size_t>(at) * each,
                        static_cast<std::size_t>(width) * each);
      }
    }
  }
}

/// The gradients to which rows contribute, where there are none.
void clear_gradients(Memory& memory, Element element, const BackwardArgsOf<void>& args) {
  const Shape& shape = args.shape;
  const Extras& extras = args.extras;
  const Sizes sizes = sizes_of(shape, extras);
  const std::size_t each = bytes_of(element);
  fill_with_zeros(memory, args.grad_k, sizes.k, shape, extras.k, shape.d, each);
  fill_with_zeros(memory, args.grad_v, sizes.v, shape, extras.v, value_width(shape, extras), each);
  if (extras.grad_bias != nullptr) {
    fill_with_zeros(memory, extras.grad_bias,
                    static_cast<std::size_t>(extras.bias_shape.elements()) * sizeof(float));
  }
  if (extras.grad_sink_logits != nullptr) {
    fill_with_zeros(memory, extras.grad_sink_logits,
                    static_cast<std::size_t>(shape.H) * sizeof(float));
  }
}

}  // namespace

std::string to_string(const Shape& s, std::int64_t d_v) {
  return fmt::format("B={} H={}{} Nq={} Nk={} d={}{}", s.B, s.H,
                     s.Hkv == s.H ? "" : fmt::format(" Hkv={}", s.Hkv), s.Nq, s.Nk, s.d,
                     d_v == 0 || d_v == s.d ? "" : fmt::format(" dv={}", d_v));
}

std::string_view to_string(Pass pass) { return pass == Pass::kForward ? "forward" : "backward"; }

std::string to_string(const Mask& mask) {
  const std::string_view corner = mask.top_left ? " top-left" : "";
  const auto bound = [](std::int64_t keys) { return keys == kUnbounded ? -1 : keys; };
  if (mask.is_prefix() && mask.after == kUnbounded) return "full";
  if (mask.is_prefix() && mask.after == 0) return fmt::format("causal{}", corner);
  return fmt::format("window {},{}{}", bound(mask.before), bound(mask.after), corner);
}

std::string_view to_string(Feature feature) {
  static constexpr std::string_view kNames[] = {"grouped heads",     "rows of V of another length",
                                                "strides",           "packed sequences",
                                                "windows",           "sink keys",
                                                "key counts",        "ranges of keys",
                                                "a mask array",      "a bias",
                                                "ALiBi slopes",      "a softcap",
                                                "sink logits",       "dropout",
                                                "a gradient of LSE", "a paged cache"};
  static_assert(std::size(kNames) == kFeatures);
  return kNames[static_cast<std::size_t>(feature)];
}

Sizes sizes_of(const Shape& s, const Extras& extras) {
  const auto total = [](const Integers& offsets, std::int64_t batches, std::int64_t N) {
    return offsets.host.empty() ? batches * N : offsets.host.back();
  };
  const std::int64_t queries = s.H * total(extras.q_offsets, s.B, s.Nq);
  const std::int64_t keys = s.Hkv * (extras.paged() ? extras.pages * extras.page_keys
                                                    : total(extras.k_offsets, s.B, s.Nk));
  const std::int64_t d_v = value_width(s, extras);
  return {queries * s.d, keys * s.d, keys * d_v, queries * d_v, queries};
}

float default_scale(std::int64_t d) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
}

Support support_of(const Chapter& chapter, const Step& step) {
  Support support = chapter.support;
  support.of_other_steps = step.lacks;
  support.features.remove(step.lacks);
  return support;
}

std::vector<const Step*> twins_of(const Chapter& chapter) {
  std::vector<const Step*> twins;
  for (const Step& twin : chapter.earlier_twins) twins.push_back(&twin);
  if (chapter.twin != nullptr) twins.push_back(chapter.twin);
  return twins;
}

bool is_twin(const Chapter& chapter, const Step& step) {
  const std::vector<const Step*> twins = twins_of(chapter);
  return std::find(twins.begin(), twins.end(), &step) != twins.end();
}

Memory& memory_of(const Chapter& chapter, const Step& step) {
  return is_twin(chapter, step) ? host_memory() : chapter.memory();
}

void forward(const Chapter& chapter, const Step& step, Element element,
             const ForwardArgsOf<void>& args) {
  check_step(chapter, step, "forward", step.forward, element, memory_of(chapter, step));
  validate(element, args, support_of(chapter, step));
  if (no_rows(args.shape)) return;
  check_workspace(args.workspace_bytes, step.forward_workspace_bytes(args.shape));
  step.forward(element, args);
}

void backward(const Chapter& chapter, const Step& step, Element element,
              const BackwardArgsOf<void>& args) {
  check_step(chapter, step, "backward", step.backward, element, memory_of(chapter, step));
  validate(element, args, support_of(chapter, step));
  if (no_rows(args.shape)) return clear_gradients(memory_of(chapter, step), element, args);
  check_workspace(args.workspace_bytes, step.backward_workspace_bytes(args.shape));
  step.backward(element, args);
}

const Step& find_step(const Chapter& chapter, std::string_view id) {
  if (id.empty()) return chapter.steps.back();
  std::string known;
  for (const Step& step : chapter.steps) {
    if (step.id == id) return step;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", step.id);
  }
  throw Error(ErrorKind::kBadArgument, fmt::format("step = {}: {} has {}", id, chapter.id, known));
}

Chapter with_candidate(const Chapter& chapter, const Candidate& candidate) {
  Chapter alone = chapter;
  alone.steps = {&candidate.step, 1};
  alone.twin = nullptr;
  alone.earlier_twins = {};
  alone.support = candidate.support;
  return alone;
}

const Step* default_step(const Chapter& chapter, Pass pass) {
  for (auto step = chapter.steps.rbegin(); step != chapter.steps.rend(); ++step) {
    if (pass == Pass::kForward ? bool(step->forward) : bool(step->backward)) return &*step;
  }
  return nullptr;
}

}  // namespace attn
