// SPDX-License-Identifier: MIT
//
// What a record holds and a step is handed: sets of features, sizes of arrays, a function for each
// element.
#include <array>
#include <set>
#include <string_view>

#include "common/attention.hpp"
#include "tests/catch.hpp"
#include "tests/remember.hpp"

namespace {

using attn::Element;
using attn::Extras;
using attn::Feature;
using attn::Features;
using attn::Mask;
using attn::Shape;
using attn::testing::called;
using attn::testing::kBackward;
using attn::testing::kForward;

using ForwardPass = attn::PassOf<attn::ForwardArgsOf>;
using BackwardPass = attn::PassOf<attn::BackwardArgsOf>;

}  // namespace

TEST_CASE("sets of features") {
  Features features{Feature::kWindows, Feature::kBias};
  CHECK(features.has(Feature::kWindows));
  CHECK(features.has(Feature::kBias));
  CHECK_FALSE(features.has(Feature::kDropout));
  features.add(Feature::kDropout);
  CHECK(features == Features{Feature::kDropout, Feature::kBias, Feature::kWindows});
  features.remove(Feature::kBias);
  CHECK(features == Features{Feature::kDropout, Feature::kWindows});
  CHECK(Features{}.empty());
  CHECK_FALSE(features.empty());
  std::set<std::string_view> names;
  for (int n = 0; n < attn::kFeatures; ++n) {
    CHECK(Features::all().has(static_cast<Feature>(n)));
    names.insert(to_string(static_cast<Feature>(n)));
  }
  CHECK(names.size() == static_cast<std::size_t>(attn::kFeatures));
}

TEST_CASE("sizes count the width of V and packed sequences") {
  const Shape shape{.B = 2, .H = 6, .Hkv = 2, .Nq = 5, .Nk = 7, .d = 3};
  Extras extras;
  CHECK(attn::value_width(shape, extras) == 3);
  extras.d_v = 4;
  CHECK(attn::value_width(shape, extras) == 4);
  attn::Sizes sizes = sizes_of(shape, extras);
  CHECK(sizes.q == 2 * 6 * 5 * 3);
  CHECK(sizes.k == 2 * 2 * 7 * 3);
  CHECK(sizes.v == 2 * 2 * 7 * 4);
  CHECK(sizes.o == 2 * 6 * 5 * 4);
  CHECK(sizes.rows == 2 * 6 * 5);
  CHECK(to_string(shape) == "B=2 H=6 Hkv=2 Nq=5 Nk=7 d=3");
  CHECK(to_string(shape, 4) == "B=2 H=6 Hkv=2 Nq=5 Nk=7 d=3 dv=4");
  CHECK(to_string(shape, 3) == to_string(shape));
  const std::int64_t q_offsets[] = {0, 5, 8};
  const std::int64_t k_offsets[] = {0, 4, 11};
  extras.q_offsets.host = q_offsets;
  extras.k_offsets.host = k_offsets;
  sizes = sizes_of(shape, extras);
  CHECK(sizes.q == 6 * 8 * 3);
  CHECK(sizes.k == 2 * 11 * 3);
  CHECK(sizes.v == 2 * 11 * 4);
  CHECK(sizes.o == 6 * 8 * 4);
  CHECK(sizes.rows == 6 * 8);
}

TEST_CASE("a pass takes the elements that it has functions for, and calls the right one") {
  const struct {
    ForwardPass pass;
    bool takes[3];  // float32, bfloat16, float16
  } cases[] = {
      {{}, {false, false, false}},
      {nullptr, {false, false, false}},
      {attn::testing::remember_forward<float>, {true, false, false}},
      {kForward<attn::bfloat16>, {false, true, false}},
      {kForward<attn::float16>, {false, false, true}},
      {{kForward<attn::bfloat16>, kForward<attn::float16>}, {false, true, true}},
      {{kForward<attn::float16>, kForward<float>}, {true, false, true}},
      {{kForward<float>, kForward<attn::bfloat16>, kForward<attn::float16>}, {true, true, true}},
  };
  for (const auto& [pass, takes] : cases) {
    CHECK(bool(pass) == (takes[0] || takes[1] || takes[2]));
    CHECK((pass == nullptr) == !bool(pass));
    for (const Element element : attn::kAllElements) {
      REQUIRE(pass.takes(element) == takes[static_cast<int>(element)]);
      if (!pass.takes(element)) continue;
      called = {};
      attn::ForwardArgsOf<void> args;
      args.scale = 0.5f;
      pass(element, args);
      CHECK(called.calls == 1);
      CHECK(called.element == element);
      CHECK(called.forward.scale == 0.5f);
    }
  }
}

TEST_CASE("arguments come through a pass as they went in, whatever the element") {
  char memory[16];
  const auto at = [&](int n) { return static_cast<void*>(memory + n); };
  const Shape shape{.B = 2, .H = 6, .Hkv = 2, .Nq = 3, .Nk = 4, .d = 5};
  const Mask mask{.before = 3, .after = 1, .top_left = true};
  float lse[2];
  Extras extras;
  extras.softcap = 2;
  for (const Element element : attn::kAllElements) {
    INFO(to_string(element));
    const ForwardPass forward{kForward<float>, kForward<attn::bfloat16>, kForward<attn::float16>};
    forward(element, {shape, mask, 0.5f, at(0), at(1), at(2), at(3), lse, at(4), 99, extras});
    const auto& f = called.forward;
    CHECK((f.shape == shape && f.mask == mask && f.scale == 0.5f && f.extras.softcap == 2.0f));
    CHECK((f.q == at(0) && f.k == at(1) && f.v == at(2) && f.o == at(3) && f.lse == lse));
    CHECK((f.workspace == at(4) && f.workspace_bytes == 99));

    const BackwardPass backward{kBackward<float>, kBackward<attn::bfloat16>,
                                kBackward<attn::float16>};
    backward(element, {shape, mask, 0.5f, at(0), at(1), at(2), at(3), lse, at(4), at(5), at(6),
                       at(7), at(8), 98, extras});
    const auto& b = called.backward;
    CHECK((b.shape == shape && b.mask == mask && b.scale == 0.5f && b.extras.softcap == 2.0f));
    CHECK((b.q == at(0) && b.k == at(1) && b.v == at(2) && b.o == at(3) && b.lse == lse));
    CHECK((b.grad_o == at(4) && b.grad_q == at(5) && b.grad_k == at(6) && b.grad_v == at(7)));
    CHECK((b.workspace == at(8) && b.workspace_bytes == 98));
  }
}
