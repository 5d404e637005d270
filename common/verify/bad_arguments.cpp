// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/properties.hpp"
#include "common/verify/run.hpp"

namespace attn::verify {
namespace {

/// A request with exactly one thing wrong, and how its error must begin.
template <typename Args>
struct Bad {
  std::string what;      // for the report: "Nq = -1"
  std::string argument;  // the first word of the error
  ErrorKind kind;
  Args args;
};

template <typename Args>
struct Pointers {
  std::vector<std::pair<const char*, const float * Args::*>> inputs;
  std::vector<std::pair<const char*, float * Args::*>> outputs;
};

Pointers<ForwardArgs> pointers_of(const ForwardArgs&) {
  return {{{"q", &ForwardArgs::q}, {"k", &ForwardArgs::k}, {"v", &ForwardArgs::v}},
          {{"o", &ForwardArgs::o}, {"lse", &ForwardArgs::lse}}};
}

Pointers<BackwardArgs> pointers_of(const BackwardArgs&) {
  return {{{"q", &BackwardArgs::q},
           {"k", &BackwardArgs::k},
           {"v", &BackwardArgs::v},
           {"o", &BackwardArgs::o},
           {"lse", &BackwardArgs::lse},
           {"grad_o", &BackwardArgs::grad_o}},
          {{"grad_q", &BackwardArgs::grad_q},
           {"grad_k", &BackwardArgs::grad_k},
           {"grad_v", &BackwardArgs::grad_v}}};
}

/// The same address one byte further: no float32 may lie there.
template <typename T>
T* misaligned(T* pointer) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(pointer) + 1);
}

template <typename Args>
class BadList {
 public:
  explicit BadList(const Args& good) : good_(good) {}

  template <typename Change>
  void add(std::string what, std::string argument, Change change,
           ErrorKind kind = ErrorKind::kBadArgument) {
    Args args = good_;
    change(args);
    list_.push_back({std::move(what), std::move(argument), kind, args});
  }

  void add_size(const char* name, std::int64_t Shape::*size, std::int64_t value,
                ErrorKind kind = ErrorKind::kBadArgument) {
    add(
        fmt::format("{} = {}", name, value), name, [&](Args& a) { a.shape.*size = value; }, kind);
  }

  std::vector<Bad<Args>> take() { return std::move(list_); }

 private:
  Args good_;
  std::vector<Bad<Args>> list_;
};

template <typename Args>
void add_bad_numbers(BadList<Args>& list, const Support& support) {
  for (const std::int64_t negative : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    list.add_size("B", &Shape::B, negative);
    list.add_size("H", &Shape::H, negative);
    list.add_size("Hkv", &Shape::Hkv, negative);
    list.add_size("Nq", &Shape::Nq, negative);
    list.add_size("Nk", &Shape::Nk, negative);
    list.add_size("d", &Shape::d, negative);
  }
  list.add_size("d", &Shape::d, 0);
  list.add_size("d", &Shape::d, support.max_d + 1, ErrorKind::kUnsupported);
  list.add_size("Hkv", &Shape::Hkv, 0);
  list.add_size("Hkv", &Shape::Hkv, 3);  // the good problem has four heads
  list.add_size("Hkv", &Shape::Hkv, 8);
  if (!support.features.has(Feature::kGroupedHeads)) list.add_size("Hkv", &Shape::Hkv, 2, ErrorKind::kUnsupported);
  list.add_size("q", &Shape::Nq, std::int64_t{1} << 61);  // its product with the rest overflows
  list.add("mask.after = -1", "mask", [](Args& a) { a.mask.after = -1; });
  for (const float scale :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    list.add(fmt::format("scale = {}", scale), "scale", [&](Args& a) { a.scale = scale; });
  }
}

template <typename Args>
void add_bad_pointers(BadList<Args>& list, const Args& good, std::size_t workspace) {
  const Pointers<Args> pointers = pointers_of(good);
  const auto add_both = [&](const auto& named) {
    for (const auto& [name, member] : named) {
      list.add(fmt::format("{} = null", name), name, [m = member](Args& a) { a.*m = nullptr; });
      list.add(fmt::format("{} not aligned", name), name,
               [m = member](Args& a) { a.*m = misaligned(a.*m); });
    }
  };
  add_both(pointers.inputs);
  add_both(pointers.outputs);
  for (const auto& [output, member] : pointers.outputs) {
    for (const auto& [input, source] : pointers.inputs) {
      list.add(fmt::format("{} = {}", output, input), output,
               [m = member, s = source](Args& a) { a.*m = const_cast<float*>(a.*s); });
    }
  }
  const auto first = pointers.outputs[0].second;
  const auto [second_name, second] = pointers.outputs[1];
  list.add(fmt::format("{} = {}", second_name, pointers.outputs[0].first),
           pointers.outputs[0].first, [&, s = second](Args& a) { a.*s = a.*first; });
  if (workspace > 0) {
    list.add("workspace = null", "workspace", [](Args& a) { a.workspace = nullptr; });
    list.add("workspace = q", "workspace", [](Args& a) { a.workspace = const_cast<float*>(a.q); });
    list.add("workspace_bytes too small", "workspace_bytes",
             [&](Args& a) { a.workspace_bytes = workspace - 1; });
  }
}

void call(const Subject& s, const ForwardArgs& args) { forward(s.chapter, s.step, args); }
void call(const Subject& s, const BackwardArgs& args) { backward(s.chapter, s.step, args); }

template <typename Args>
std::string check_list(const Subject& subject, const Run& run, const Args& good,
                       std::size_t workspace) {
  BadList<Args> list(good);
  add_bad_numbers(list, subject.chapter.support);
  add_bad_pointers(list, good, workspace);
  for (const Bad<Args>& bad : list.take()) {
    std::string problem = "no error";
    try {
      call(subject, bad.args);
    } catch (const Error& error) {
      const std::string text = error.what();
      problem.clear();
      if (!text.starts_with(bad.argument) || text.find('\n') != std::string::npos) {
        problem = fmt::format("the error should begin with its name, and reads: {}", text);
      } else if (error.kind() != bad.kind) {
        problem = fmt::format("wrong kind of error for: {}", text);
      }
    }
    if (problem.empty()) {
      for (const std::string& name : run.touched_outputs()) problem = name + " was written";
    }
    if (!problem.empty()) return fmt::format("  {}: {}\n", bad.what, problem);
  }
  return {};
}

}  // namespace

std::string check_bad_arguments(const Subject& subject) {
  const Shape shape = make_shape(1, 4, 9, 12, 8);
  const Problem problem = make_problem({.shape = shape,
                                        .mask = Mask::kCausal,
                                        .scale = default_scale(shape.d),
                                        .seed = subject.seed},
                                       subject.pass);
  const Truth truth = truth_of(problem, subject.pass);
  const Run run(subject.chapter, subject.step, subject.pass, problem, truth.o, truth.lse, {});
  const std::size_t workspace = workspace_bytes(subject.step, subject.pass, shape);
  std::string text = subject.pass == Pass::kForward
                         ? check_list(subject, run, run.forward_args(), workspace)
                         : check_list(subject, run, run.backward_args(), workspace);
  run.call();
  const Verdict verdict = judge(truth, run.collect());
  if (!verdict.passed) text += "  the call after a refused one:\n" + verdict.text;
  return text;
}

}  // namespace attn::verify
