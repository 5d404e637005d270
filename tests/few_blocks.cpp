// SPDX-License-Identifier: MIT
//
// Chapter 11's last step on two blocks. The battery's problems are small: there each of a GPU's
// multiprocessors has one tile of Q at most. Here each block takes one after the other. Exit
// status: 0 right, 1 wrong.
#include <fmt/format.h>

#include <exception>

#include "chapters/11_hopper/hopper.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::testing {
namespace {

template <class T>
void forward_on_two_blocks(const ForwardArgsOf<T>& args) {
  hopper::forward_on_blocks(args, 2);
}
constexpr Step kStep{.id = "step6_persistent, two blocks",
                     .idea = "",
                     .forward = {forward_on_two_blocks<bfloat16>, forward_on_two_blocks<float16>},
                     .forward_workspace_bytes = hopper::no_workspace_bytes};

bool is_right(const Shape& shape, const Mask& mask, Element element,
              verify::InputKind kind = verify::InputKind::kNormal) {
  const Problem problem = verify::make_problem({.shape = shape,
                                                .mask = mask,
                                                .scale = default_scale(shape.d),
                                                .kind = kind,
                                                .seed = 20260111,
                                                .element = element},
                                               Pass::kForward);
  const verify::Verdict verdict =
      verify::judge(verify::truth_of(problem, Pass::kForward),
                    run_step(chapters::ch11_hopper(), kStep, Pass::kForward, problem, {}, {}, {}));
  fmt::print("{}, {}: {}\n{}", to_string(shape), to_string(mask),
             verdict.passed ? "right" : "wrong", verdict.text);
  return verdict.passed;
}

/// Four or five tiles of Q: rounds forwards and backwards, and one that only one block has. One tile
/// of keys for each, and NaN in those that no row sees; none, one or two; and as many as make the
/// ring go round within a tile of Q.
bool all_right() {
  simt::options().detectors = true;
  return is_right(make_shape(5, 1, 60, 100, 64), Mask::kCausalTopLeft, Element::kBfloat16,
                  verify::InputKind::kHiddenPoison) &&
         is_right(make_shape(1, 1, 640, 250, 128), Mask::kCausal, Element::kFloat16) &&
         is_right(make_shape(2, 1, 200, 260, 64), Mask::kFull, Element::kBfloat16);
}

}  // namespace
}  // namespace attn::testing

int main() {
  try {
    return attn::testing::all_right() ? 0 : 1;
  } catch (const attn::Error& error) {  // the launch was stopped
    fmt::print("{}\n", error.what());
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
