// SPDX-License-Identifier: MIT
#include "common/run/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

namespace attn {
namespace {

constexpr unsigned char kPoison = 0xFF;  // two of them are a 16-bit NaN, four a float32 one

std::size_t to_size(std::int64_t elements) { return static_cast<std::size_t>(elements); }

template <class T>
std::vector<unsigned char> bytes_of_array(const std::vector<T>& values) {
  const auto* first = reinterpret_cast<const unsigned char*>(values.data());
  return {first, first + values.size() * sizeof(T)};
}

std::vector<unsigned char> encoded(Element element, const std::vector<float>& values) {
  std::vector<unsigned char> bytes(values.size() * bytes_of(element));
  encode(element, values, bytes.data());
  return bytes;
}

}  // namespace

void round_to_element(Problem& problem) {
  for (std::vector<float>* array : {&problem.q, &problem.k, &problem.v, &problem.grad_o}) {
    for (float& x : *array) x = rounded_to(problem.element, x);
  }
}

double plenty_of_steps(const Shape& shape, std::int64_t d_v, Pass pass) {
  const double scores = static_cast<double>(shape.rows()) * static_cast<double>(shape.Nk);
  const double steps = scores * (3 * static_cast<double>(shape.d + d_v) + 20);
  return 8 * (pass == Pass::kForward ? steps : 2.5 * steps);
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
      problem_(problem),
      options_(options),
      memory_(memory_of(chapter, step)),
      workspace_(memory_, "workspace", workspace_bytes(step, pass, problem.shape), 0) {
  memory_.take_detections();  // what an earlier run left behind is not ours
  workspace_.fill_undefined(options.dirt);
  const Shape& shape = problem.shape;
  const Element element = problem.element;
  const Extras host = problem.extras.on_host();
  const Sizes sizes = sizes_of(shape, host);
  const std::int64_t d_v = value_width(shape, host);
  const Rows q_rows = rows_of(shape.H, shape.Nq, shape.d, 0);
  const Rows k_rows = rows_of(shape.Hkv, shape.Nk, shape.d, 1);
  const Rows v_rows = rows_of(shape.Hkv, shape.Nk, d_v, 2);
  const Rows o_rows = rows_of(shape.H, shape.Nq, d_v, 3);
  const void* q = add_rows("q", problem.q, q_rows);
  const void* k = add_rows("k", problem.k, k_rows);
  const void* v = add_rows("v", problem.v, v_rows);
  Extras extras = upload(problem.extras);
  if (problem.rows_first) {
    const auto strides_of = [](const Rows& rows) {
      const std::int64_t row = rows.heads * rows.pitch();
      return Strides{.batch = rows.N * row, .head = rows.pitch(), .row = row};
    };
    extras.q = strides_of(q_rows);
    extras.k = strides_of(k_rows);
    extras.v = strides_of(v_rows);
    extras.o = strides_of(o_rows);
  }
  if (pass == Pass::kForward) {
    forward_ = {.shape = shape,
                .mask = problem.mask,
                .scale = problem.scale,
                .q = q,
                .k = k,
                .v = v,
                .o = add_output("o", element, sizes.o, o_rows, &Outputs::o),
                .lse = static_cast<float*>(
                    add_output("lse", Element::kFloat32, sizes.rows, {}, &Outputs::lse)),
                .workspace = workspace_.data(),
                .workspace_bytes = workspace_.bytes(),
                .extras = extras};
  } else {
    want_gradients(extras);
    backward_ = {.shape = shape,
                 .mask = problem.mask,
                 .scale = problem.scale,
                 .q = q,
                 .k = k,
                 .v = v,
                 .o = add_rows("o", o, o_rows),
                 .lse = add_floats("lse", lse),
                 .grad_o = add_rows("dO", problem.grad_o, o_rows),
                 .grad_q = add_output("dq", element, sizes.q, q_rows, &Outputs::grad_q),
                 .grad_k = add_output("dk", element, sizes.k, k_rows, &Outputs::grad_k),
                 .grad_v = add_output("dv", element, sizes.v, v_rows, &Outputs::grad_v),
                 .workspace = workspace_.data(),
                 .workspace_bytes = workspace_.bytes(),
                 .extras = extras};
  }
}

Extras Run::upload(const reference::ExtraValues<float>& values) {
  Extras extras = values.on_host();
  extras.q_offsets = add_integers("q_offsets", values.q_offsets);
  extras.k_offsets = add_integers("k_offsets", values.k_offsets);
  extras.key_begin = add_integers("key_begin", values.key_begin);
  extras.key_count = add_integers("key_count", values.key_count);
  extras.ranges = add_integers("ranges", values.ranges);
  if (!values.mask.empty()) {
    extras.mask = static_cast<const std::uint8_t*>(add_input("mask", values.mask, 1));
  }
  const auto floats = [this](const char* name, const std::vector<float>& array) {
    return array.empty() ? nullptr : add_floats(name, array);
  };
  extras.bias = floats("bias", values.bias);
  extras.alibi = floats("alibi", values.alibi);
  extras.sink_logits = floats("sink_logits", values.sink_logits);
  if (pass_ == Pass::kBackward) extras.grad_lse = floats("dLSE", values.grad_lse);
  return extras;
}

void Run::want_gradients(Extras& extras) {
  const auto add = [this](const char* name, const std::vector<float>& of,
                          std::vector<float> Outputs::*result) -> float* {
    if (of.empty()) return nullptr;
    const auto elements = static_cast<std::int64_t>(of.size());
    return static_cast<float*>(add_output(name, Element::kFloat32, elements, {}, result));
  };
  extras.grad_bias = add("dbias", problem_.extras.bias, &Outputs::grad_bias);
  extras.grad_sink_logits = add("dsink", problem_.extras.sink_logits, &Outputs::grad_sink_logits);
}

std::size_t Run::offset_of(const char* name, std::size_t each) const {
  if (!options_.only.empty() && options_.only != name) return 0;
  return static_cast<std::size_t>(options_.offset) * each;
}

const void* Run::add_input(const char* name, std::vector<unsigned char> bytes, std::size_t each) {
  const std::size_t offset = offset_of(name, each);
  inputs_.push_back({{memory_, name, bytes.size(), offset, each}, std::move(bytes)});
  inputs_.back().buffer.write(inputs_.back().bytes.data());
  return inputs_.back().buffer.data();
}

const void* Run::add_rows(const char* name, const std::vector<float>& values, const Rows& rows) {
  const std::size_t each = bytes_of(problem_.element);
  const auto bytes_each = static_cast<std::int64_t>(each);
  std::vector<unsigned char> bytes = encoded(problem_.element, values);
  if (!is_strided(rows)) return add_input(name, std::move(bytes), each);
  const void* array = add_input(name, spread(bytes, rows, bytes_each), each);
  auto* begin = static_cast<unsigned char*>(const_cast<void*>(array));
  for_each_row(rows, [&](std::int64_t, std::int64_t first) {
    if (rows.gap == 0) return;
    memory_.fill_undefined(begin + (first + rows.width) * bytes_each, kPoison,
                           to_size(rows.gap) * each);
  });
  return array;
}

const float* Run::add_floats(const char* name, const std::vector<float>& values) {
  return static_cast<const float*>(add_input(name, bytes_of_array(values), sizeof(float)));
}

Integers Run::add_integers(const char* name, const std::vector<std::int64_t>& values) {
  if (values.empty()) return {};
  const void* device = add_input(name, bytes_of_array(values), sizeof(std::int64_t));
  return {values, static_cast<const std::int64_t*>(device)};
}

void* Run::add_output(const char* name, Element element, std::int64_t elements, const Rows& rows,
                      std::vector<float> Outputs::*result) {
  const std::size_t each = bytes_of(element);
  const std::size_t offset = offset_of(name, each);
  if (is_strided(rows)) elements = elements / rows.width * rows.pitch();
  const std::size_t bytes = to_size(elements) * each;
  outputs_.push_back({{memory_, name, bytes, offset, each}, element, rows, result});
  outputs_.back().buffer.fill_undefined(kPoison);
  return outputs_.back().buffer.data();
}

Run::Rows Run::rows_of(std::int64_t heads, std::int64_t N, std::int64_t width, int array) const {
  return {heads, N, width, problem_.gap == 0 ? 0 : problem_.gap + array};
}

template <class F>
void Run::for_each_row(const Rows& rows, F f) const {
  std::int64_t number = 0;
  for (std::int64_t b = 0; b < problem_.shape.B; ++b) {
    for (std::int64_t head = 0; head < rows.heads; ++head) {
      for (std::int64_t i = 0; i < rows.N; ++i) {
        f(number++, ((b * rows.N + i) * rows.heads + head) * rows.pitch());
      }
    }
  }
}

std::vector<unsigned char> Run::spread(const std::vector<unsigned char>& bytes, const Rows& rows,
                                       std::int64_t each) const {
  std::vector<unsigned char> array(bytes.size() / to_size(rows.width) * to_size(rows.pitch()),
                                   kPoison);
  for_each_row(rows, [&](std::int64_t number, std::int64_t first) {
    std::copy_n(bytes.begin() + number * rows.width * each, rows.width * each,
                array.begin() + first * each);
  });
  return array;
}

std::vector<unsigned char> Run::gathered(const std::vector<unsigned char>& array, const Rows& rows,
                                         std::int64_t each) const {
  std::vector<unsigned char> bytes(array.size() / to_size(rows.pitch()) * to_size(rows.width));
  for_each_row(rows, [&](std::int64_t number, std::int64_t first) {
    std::copy_n(array.begin() + first * each, rows.width * each,
                bytes.begin() + number * rows.width * each);
  });
  return bytes;
}

std::vector<std::string> Run::written_gaps(const Output& output,
                                           const std::vector<unsigned char>& bytes) const {
  std::vector<std::string> written;
  const Rows& rows = output.rows;
  if (rows.gap == 0) return written;
  const auto each = static_cast<std::int64_t>(bytes_of(output.element));
  for_each_row(rows, [&](std::int64_t, std::int64_t first) {
    const auto gap = bytes.begin() + (first + rows.width) * each;
    const auto untouched = [](unsigned char byte) { return byte == kPoison; };
    if (!written.empty() || std::all_of(gap, gap + rows.gap * each, untouched)) return;
    written.push_back(fmt::format("{}: the gap behind a row was written, elements {} to {}",
                                  output.buffer.label(), first + rows.width,
                                  first + rows.pitch() - 1));
  });
  return written;
}

void Run::call() const {
  memory_.expect_steps(plenty_of_steps(
      problem_.shape, value_width(problem_.shape, problem_.extras.on_host()), pass_));
  if (pass_ == Pass::kForward) {
    forward(chapter_, step_, problem_.element, forward_);
  } else {
    backward(chapter_, step_, problem_.element, backward_);
  }
  memory_.synchronize();
}

Outputs Run::collect() const {
  Outputs result;
  const auto add_damage = [&result](const GuardedBuffer& buffer) {
    for (std::string& line : buffer.check()) result.damage.push_back(std::move(line));
  };
  std::vector<unsigned char> bytes;
  for (const Output& output : outputs_) {
    const std::size_t each = bytes_of(output.element);
    bytes.resize(output.buffer.bytes());
    output.buffer.read(bytes.data());
    if (is_strided(output.rows)) {
      for (std::string& line : written_gaps(output, bytes)) {
        result.damage.push_back(std::move(line));
      }
      bytes = gathered(bytes, output.rows, static_cast<std::int64_t>(each));
    }
    std::vector<float> values(bytes.size() / each);
    decode(output.element, bytes.data(), values);
    result.*output.result = std::move(values);
    add_damage(output.buffer);
  }
  for (const Input& input : inputs_) {
    bytes.resize(input.bytes.size());
    input.buffer.read(bytes.data());
    if (bytes != input.bytes) {
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

Outputs run_step(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
                 const std::vector<float>& o, const std::vector<float>& lse,
                 const RunOptions& options) {
  const Run prepared(chapter, step, pass, problem, o, lse, options);
  prepared.call();
  return prepared.collect();
}

Outputs run_forward(const Chapter& chapter, const Step& step, const Problem& problem) {
  return run_step(chapter, step, Pass::kForward, problem, {}, {}, {});
}

Outputs run_backward(const Chapter& chapter, const Step& step, const Problem& problem,
                     const std::vector<float>& o, const std::vector<float>& lse) {
  return run_step(chapter, step, Pass::kBackward, problem, o, lse, {});
}

}  // namespace attn
