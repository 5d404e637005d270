// SPDX-License-Identifier: MIT
#include "common/verify/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace attn::verify {
namespace {

constexpr unsigned char kPoison = 0xFF;  // four of them are a float32 NaN

/// Steps that are plenty for a block, even if it does all of the pass: an unfused pass on one
/// thread takes some 6 d for each score and twenty more, backward 2.5 times that. Four times as
/// many.
double plenty_of_steps(const Shape& shape, Pass pass) {
  const double scores = static_cast<double>(shape.rows()) * static_cast<double>(shape.Nk);
  const double steps = scores * (6 * static_cast<double>(shape.d) + 20);
  return 4 * (pass == Pass::kForward ? steps : 2.5 * steps);
}

}  // namespace

Memory& memory_of(const Chapter& chapter, const Step& step) {
  return &step == chapter.twin ? host_memory() : chapter.memory();
}

std::size_t workspace_bytes(const Step& step, Pass pass, const Shape& shape) {
  return pass == Pass::kForward ? step.forward_workspace_bytes(shape)
                                : step.backward_workspace_bytes(shape);
}

Run::Run(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
         const std::vector<float>& o, const std::vector<float>& lse, const RunOptions& options)
    : chapter_(chapter),
      step_(step),
      pass_(pass),
      options_(options),
      memory_(memory_of(chapter, step)),
      workspace_(memory_, "workspace", workspace_bytes(step, pass, problem.shape), 0) {
  memory_.take_detections();  // what an earlier run left behind is not ours
  workspace_.fill_undefined(options.dirt);
  const Shape& shape = problem.shape;
  const float* q = add_input("q", problem.q);
  const float* k = add_input("k", problem.k);
  const float* v = add_input("v", problem.v);
  if (pass == Pass::kForward) {
    forward_ = {.shape = shape,
                .mask = problem.mask,
                .scale = problem.scale,
                .q = q,
                .k = k,
                .v = v,
                .o = add_output("o", shape.q_elements(), &Outputs::o),
                .lse = add_output("lse", shape.rows(), &Outputs::lse),
                .workspace = workspace_.data(),
                .workspace_bytes = workspace_.bytes()};
  } else {
    backward_ = {.shape = shape,
                 .mask = problem.mask,
                 .scale = problem.scale,
                 .q = q,
                 .k = k,
                 .v = v,
                 .o = add_input("o", o),
                 .lse = add_input("lse", lse),
                 .grad_o = add_input("dO", problem.grad_o),
                 .grad_q = add_output("dq", shape.q_elements(), &Outputs::grad_q),
                 .grad_k = add_output("dk", shape.kv_elements(), &Outputs::grad_k),
                 .grad_v = add_output("dv", shape.kv_elements(), &Outputs::grad_v),
                 .workspace = workspace_.data(),
                 .workspace_bytes = workspace_.bytes()};
  }
}

float* Run::add_input(const char* name, const std::vector<float>& source) {
  const std::size_t offset = static_cast<std::size_t>(options_.offset) * sizeof(float);
  inputs_.push_back({{memory_, name, source.size() * sizeof(float), offset}, &source});
  inputs_.back().buffer.write(source.data());
  return inputs_.back().buffer.floats();
}

float* Run::add_output(const char* name, std::int64_t elements,
                       std::vector<float> Outputs::*result) {
  const std::size_t offset = static_cast<std::size_t>(options_.offset) * sizeof(float);
  const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(float);
  outputs_.push_back({{memory_, name, bytes, offset}, result});
  outputs_.back().buffer.fill_undefined(kPoison);
  return outputs_.back().buffer.floats();
}

void Run::call() const {
  const Shape& shape = pass_ == Pass::kForward ? forward_.shape : backward_.shape;
  memory_.expect_steps(plenty_of_steps(shape, pass_));
  if (pass_ == Pass::kForward) {
    forward(chapter_, step_, forward_);
  } else {
    backward(chapter_, step_, backward_);
  }
  memory_.synchronize();
}

Outputs Run::collect() const {
  Outputs result;
  const auto add_damage = [&result](const GuardedBuffer& buffer) {
    for (std::string& line : buffer.check()) result.damage.push_back(std::move(line));
  };
  for (const Output& output : outputs_) {
    std::vector<float>& array = result.*output.result;
    array.resize(output.buffer.bytes() / sizeof(float));
    output.buffer.read(array.data());
    add_damage(output.buffer);
  }
  std::vector<float> now;
  for (const Input& input : inputs_) {
    now.resize(input.source->size());
    input.buffer.read(now.data());
    if (input.buffer.bytes() > 0 &&
        std::memcmp(now.data(), input.source->data(), input.buffer.bytes()) != 0) {
      result.damage.push_back(
          fmt::format("{}: an input, and yet it was changed", input.buffer.label()));
    }
    add_damage(input.buffer);
  }
  add_damage(workspace_);
  result.detections = memory_.take_detections();
  return result;
}

std::vector<std::string> Run::touched_outputs() const {
  std::vector<std::string> touched;
  for (const Output& output : outputs_) {
    std::vector<unsigned char> bytes(output.buffer.bytes());
    output.buffer.read(bytes.data());
    if (std::any_of(bytes.begin(), bytes.end(), [](unsigned char b) { return b != kPoison; })) {
      touched.push_back(output.buffer.label());
    }
  }
  return touched;
}

Outputs run(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
            const std::vector<float>& o, const std::vector<float>& lse, const RunOptions& options) {
  const Run prepared(chapter, step, pass, problem, o, lse, options);
  prepared.call();
  return prepared.collect();
}

Outputs run_forward(const Chapter& chapter, const Step& step, const Problem& problem) {
  return run(chapter, step, Pass::kForward, problem, {}, {}, {});
}

Outputs run_backward(const Chapter& chapter, const Step& step, const Problem& problem,
                     const std::vector<float>& o, const std::vector<float>& lse) {
  return run(chapter, step, Pass::kBackward, problem, o, lse, {});
}

}  // namespace attn::verify
