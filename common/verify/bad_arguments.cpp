// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <list>

#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/properties.hpp"

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

/// One of the array arguments, whatever its type.
template <typename Args>
struct Pointer {
  const char* name;
  std::function<const void*(const Args&)> get;
  std::function<void(Args&, const void*)> set;
};

template <typename Args, typename T>
Pointer<Args> pointer(const char* name, T* Args::*member) {
  return {name, [member](const Args& args) -> const void* { return args.*member; },
          [member](Args& args, const void* value) {
            args.*member = static_cast<T*>(const_cast<void*>(value));
          }};
}

template <typename Args>
struct Pointers {
  std::vector<Pointer<Args>> inputs, outputs;
};

using Forward = ForwardArgsOf<void>;
using Backward = BackwardArgsOf<void>;

Pointers<Forward> pointers_of(const Forward&) {
  return {{pointer("q", &Forward::q), pointer("k", &Forward::k), pointer("v", &Forward::v)},
          {pointer("o", &Forward::o), pointer("lse", &Forward::lse)}};
}

Pointers<Backward> pointers_of(const Backward&) {
  return {{pointer("q", &Backward::q), pointer("k", &Backward::k), pointer("v", &Backward::v),
           pointer("o", &Backward::o), pointer("lse", &Backward::lse),
           pointer("grad_o", &Backward::grad_o)},
          {pointer("grad_q", &Backward::grad_q), pointer("grad_k", &Backward::grad_k),
           pointer("grad_v", &Backward::grad_v)}};
}

const void* further(const void* pointer, std::size_t bytes) {
  return static_cast<const unsigned char*>(pointer) + bytes;
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
void add_bad_numbers(BadList<Args>& list, Element element, const Support& support) {
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
  if (supported_d(support, element, 9) != 9)
    list.add_size("d", &Shape::d, 9, ErrorKind::kUnsupported);
  list.add_size("Hkv", &Shape::Hkv, 0);
  list.add_size("Hkv", &Shape::Hkv, 3);  // the good problem has four heads
  list.add_size("Hkv", &Shape::Hkv, 8);
  if (!support.features.has(Feature::kGroupedHeads))
    list.add_size("Hkv", &Shape::Hkv, 2, ErrorKind::kUnsupported);
  list.add_size("q", &Shape::Nq, std::int64_t{1} << 61);  // its product with the rest overflows
  list.add("mask.after = -1", "mask", [](Args& a) { a.mask.after = -1; });
  list.add("softcap = -1", "softcap", [](Args& a) { a.extras.softcap = -1; });
  list.add("dropout = 1", "dropout", [](Args& a) { a.extras.dropout = 1; });
  list.add("d_v = -1", "d_v", [](Args& a) { a.extras.d_v = -1; });
  list.add("sink_keys = -1", "sink_keys", [](Args& a) { a.extras.sink_keys = -1; });
  list.add("page_keys = -1", "page_keys", [](Args& a) { a.extras.page_keys = -1; });
  list.add("pages = -1", "pages", [](Args& a) { a.extras.pages = -1; });
  list.add("pages = 3 without page_keys", "pages", [](Args& a) { a.extras.pages = 3; });
  const auto add_extra = [&](Feature feature, const char* name, auto change) {
    if (!support.features.has(feature)) list.add(name, name, change, ErrorKind::kUnsupported);
  };
  add_extra(Feature::kWindows, "mask", [](Args& a) { a.mask.before = 2; });
  add_extra(Feature::kSoftcap, "softcap", [](Args& a) { a.extras.softcap = 2; });
  add_extra(Feature::kDropout, "dropout", [](Args& a) { a.extras.dropout = 0.5f; });
  add_extra(Feature::kSinkKeys, "sink_keys", [](Args& a) { a.extras.sink_keys = 1; });
  add_extra(Feature::kPages, "page_keys", [](Args& a) { a.extras.page_keys = 16; });
  add_extra(Feature::kValueWidth, "d_v", [](Args& a) { a.extras.d_v = a.shape.d + 1; });
  for (const float scale :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    list.add(fmt::format("scale = {}", scale), "scale", [&](Args& a) { a.scale = scale; });
  }
}

template <typename Args>
void add_bad_pointers(BadList<Args>& list, const Args& good, std::size_t workspace,
                      std::size_t element_bytes, std::size_t alignment) {
  const Pointers<Args> pointers = pointers_of(good);
  for (const auto& named : {pointers.inputs, pointers.outputs}) {
    for (const Pointer<Args>& p : named) {
      list.add(fmt::format("{} = null", p.name), p.name, [&](Args& a) { p.set(a, nullptr); });
      list.add(fmt::format("{} not aligned", p.name), p.name,
               [&](Args& a) { p.set(a, further(p.get(a), 1)); });
      if (element_bytes >= alignment || std::string_view(p.name) == "lse") continue;
      list.add(
          fmt::format("{} aligned to one element only", p.name), p.name,
          [&](Args& a) { p.set(a, further(p.get(a), element_bytes)); }, ErrorKind::kUnsupported);
    }
  }
  for (const Pointer<Args>& output : pointers.outputs) {
    for (const Pointer<Args>& input : pointers.inputs) {
      list.add(fmt::format("{} = {}", output.name, input.name), output.name,
               [&](Args& a) { output.set(a, input.get(a)); });
    }
  }
  const Pointer<Args>& first = pointers.outputs[0];
  const Pointer<Args>& second = pointers.outputs[1];
  list.add(fmt::format("{} = {}", second.name, first.name), first.name,
           [&](Args& a) { second.set(a, first.get(a)); });
  if (workspace > 0) {
    list.add("workspace = null", "workspace", [](Args& a) { a.workspace = nullptr; });
    list.add("workspace = q", "workspace", [](Args& a) { a.workspace = const_cast<void*>(a.q); });
    list.add("workspace_bytes too small", "workspace_bytes",
             [&](Args& a) { a.workspace_bytes = workspace - 1; });
  }
}

void call(const Subject& s, const Forward& args) { forward(s.chapter, s.step, s.element, args); }
void call(const Subject& s, const Backward& args) { backward(s.chapter, s.step, s.element, args); }

/// What is wrong with how the step refuses these; empty if nothing.
template <typename Args>
std::string check_list(const Subject& subject, const Run& run, const std::vector<Bad<Args>>& list) {
  for (const Bad<Args>& bad : list) {
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

template <typename Args>
std::string check_arguments(const Subject& subject, const Run& run, const Args& good,
                            std::size_t workspace) {
  BadList<Args> list(good);
  const Support support = support_of(subject.chapter, subject.step);
  add_bad_numbers(list, subject.element, support);
  add_bad_pointers(list, good, workspace, bytes_of(subject.element), support.alignment);
  return check_list(subject, run, list.take());
}

/// The table of a paged cache: too short, too long, and in each of its entries what names no page.
std::string check_tables(const Subject& subject) {
  const Support& support = subject.chapter.support;
  const Shape shape = make_shape(2, 2, 3, 40, supported_d(support, subject.element, 8));
  const Problem problem = make_problem({.shape = shape,
                                        .scale = default_scale(shape.d),
                                        .seed = subject.seed,
                                        .element = subject.element,
                                        .features = {Feature::kPages},
                                        .page_keys = 16},
                                       subject.pass);
  const Run run(subject.chapter, subject.step, subject.pass, problem, {}, {}, {});
  const Forward& good = run.forward_args();
  BadList<Forward> list(good);
  const std::vector<std::int64_t>& table = problem.extras.block_table;
  std::list<std::vector<std::int64_t>> tables;
  const auto add = [&](std::string what, const std::vector<std::int64_t>& other) {
    tables.push_back(other);
    list.add(std::move(what), "block_table",
             [&](Forward& a) { a.extras.block_table.host = tables.back(); });
  };
  add("a table of one entry less", {table.begin(), table.end() - 1});
  add("a table of one entry more", [&] {
    std::vector<std::int64_t> longer = table;
    longer.push_back(0);
    return longer;
  }());
  for (std::size_t entry = 0; entry < table.size(); ++entry) {
    const std::int64_t pages = problem.extras.pages;
    for (const std::int64_t id : {std::int64_t{-1}, pages, std::int64_t{1} << 40}) {
      std::vector<std::int64_t> other = table;
      other[entry] = id;
      add(fmt::format("entry {} of the table = {}, of {} pages", entry, id, pages), other);
    }
  }
  list.add("a table without page_keys", "block_table",
           [](Forward& a) { a.extras.page_keys = a.extras.pages = 0; });
  list.add("block_table = null on the device", "block_table",
           [](Forward& a) { a.extras.block_table.device = nullptr; });
  return check_list(subject, run, list.take());
}

}  // namespace

std::string check_bad_arguments(const Subject& subject) {
  const Support& support = subject.chapter.support;
  const Shape shape = make_shape(1, 4, 9, 12, supported_d(support, subject.element, 8));
  const Problem problem = make_problem({.shape = shape,
                                        .mask = Mask::kCausal,
                                        .scale = default_scale(shape.d),
                                        .seed = subject.seed,
                                        .element = subject.element},
                                       subject.pass);
  const Truth truth = truth_of(problem, subject.pass);
  const Run run(subject.chapter, subject.step, subject.pass, problem, truth.o, truth.lse, {});
  const std::size_t workspace = workspace_bytes(subject.step, subject.pass, shape);
  std::string text = subject.pass == Pass::kForward
                         ? check_arguments(subject, run, run.forward_args(), workspace)
                         : check_arguments(subject, run, run.backward_args(), workspace);
  if (subject.pass == Pass::kForward && support.features.has(Feature::kPages)) {
    text += check_tables(subject);
  }
  run.call();
  const Verdict verdict = judge(truth, run.collect());
  if (!verdict.passed) text += "  the call after a refused one:\n" + verdict.text;
  return text;
}

}  // namespace attn::verify
