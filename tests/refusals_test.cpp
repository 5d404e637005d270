// SPDX-License-Identifier: MIT
//
// What the contract refuses, for every chapter or for what a record lacks, and in which words.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/attention.hpp"
#include "tests/catch.hpp"
#include "tests/remember.hpp"

namespace {

using attn::Element;
using attn::ErrorKind;
using attn::Extras;
using attn::Feature;
using attn::Features;
using attn::Mask;
using attn::Shape;
using attn::Support;
using attn::testing::called;
using attn::testing::kBackward;
using attn::testing::kForward;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

/// Host memory that claims to be a GPU.
class FakeMemory : public attn::Memory {
 public:
  int compute = 0;

  std::string name() const override { return "fake GPU"; }
  int compute_capability() const override { return compute; }
  void* allocate(std::size_t bytes, std::string_view label) override {
    return attn::host_memory().allocate(bytes, label);
  }
  void release(void* pointer) noexcept override { attn::host_memory().release(pointer); }
  void write(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void read(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void fill_undefined(void*, unsigned char, std::size_t) override {}
  void synchronize() override {}
  std::size_t allocated_bytes() const override { return 0; }
};
FakeMemory fake_memory;

std::size_t no_workspace(const Shape&) { return 0; }

const attn::Step kEveryElement{
    .id = "every",
    .idea = "takes every element",
    .forward = {kForward<float>, kForward<attn::bfloat16>, kForward<attn::float16>},
    .forward_workspace_bytes = no_workspace,
    .backward = {kBackward<float>, kBackward<attn::bfloat16>, kBackward<attn::float16>},
    .backward_workspace_bytes = no_workspace};

attn::Chapter chapter_with(const Support& support) {
  return {.id = "99_fake",
          .title = "Fake",
          .idea = "remembers its arguments",
          .memory = []() -> attn::Memory& { return fake_memory; },
          .steps = {&kEveryElement, 1},
          .support = support};
}

/// A legal problem with arrays of every extra at hand. What is wanted of them goes into `args`.
class Request {
 public:
  static constexpr std::int64_t kB = 2, kH = 6, kNq = 4, kNk = 8, kD = 8;

  Request() {
    args.shape = attn::make_shape(kB, kH, kNq, kNk, kD);
    args.scale = 0.5f;
    // 64 KiB for each array, so that strides and more heads fit.
    std::vector<void*> arrays;
    for (int n = 0; n < 20; ++n) arrays.push_back(memory_.data() + n * kEach);
    args.q = arrays[0];
    args.k = arrays[1];
    args.v = arrays[2];
    args.o = arrays[3];
    args.lse = static_cast<float*>(arrays[4]);
    args.grad_o = arrays[5];
    args.grad_q = arrays[6];
    args.grad_k = arrays[7];
    args.grad_v = arrays[8];
    mask = static_cast<std::uint8_t*>(arrays[9]);
    bias = static_cast<float*>(arrays[10]);
    alibi = static_cast<float*>(arrays[11]);
    sink_logits = static_cast<float*>(arrays[12]);
    grad_lse = static_cast<float*>(arrays[13]);
    grad_bias = static_cast<float*>(arrays[14]);
    grad_sink_logits = static_cast<float*>(arrays[15]);
  }

  /// For either pass: `integers` stand on the device as on the host.
  attn::Integers integers(std::vector<std::int64_t> values) {
    lists_.push_back(std::move(values));
    return {lists_.back(), lists_.back().data()};
  }
  void set_packed(std::vector<std::int64_t> q, std::vector<std::int64_t> k) {
    args.extras.q_offsets = integers(std::move(q));
    args.extras.k_offsets = integers(std::move(k));
  }

  attn::ForwardArgsOf<void> forward_args() const {
    return {args.shape, args.mask, args.scale, args.q,
            args.k,     args.v,    output_o(), const_cast<float*>(args.lse),
            nullptr,    0,         args.extras};
  }

  void poison() { std::fill(memory_.begin(), memory_.end(), std::byte{0xA5}); }
  bool untouched() const {
    return std::all_of(memory_.begin(), memory_.end(),
                       [](std::byte b) { return b == std::byte{0xA5}; });
  }

  attn::BackwardArgsOf<void> args;
  Element element = Element::kFloat32;
  std::uint8_t* mask;
  float *bias, *alibi, *sink_logits, *grad_lse, *grad_bias, *grad_sink_logits;

 private:
  static constexpr std::size_t kEach = std::size_t{1} << 16;

  void* output_o() const { return const_cast<void*>(args.o); }

  struct alignas(256) Line {
    std::byte bytes[256];
  };
  std::vector<Line> lines_ = std::vector<Line>(20 * kEach / sizeof(Line));
  std::span<std::byte> memory_{lines_.front().bytes, 20 * kEach};
  std::deque<std::vector<std::int64_t>> lists_;
};

using Change = std::function<void(Request&)>;

/// The error of one pass on a request, or nothing.
struct Answer {
  std::string message;
  ErrorKind kind = ErrorKind::kDeviceFailure;
};

Answer answer(Request& request, attn::Pass pass, const attn::Chapter& chapter) {
  called = {};
  request.poison();
  Answer result;
  try {
    if (pass == attn::Pass::kForward) {
      forward(chapter, kEveryElement, request.element, request.forward_args());
    } else {
      backward(chapter, kEveryElement, request.element, request.args);
    }
  } catch (const attn::Error& error) {
    result = {error.what(), error.kind()};
  }
  CHECK(called.calls == (result.message.empty() ? 1 : 0));
  CHECK(request.untouched());
  return result;
}

bool begins_with(const std::string& text, std::string_view start) {
  return text.compare(0, start.size(), start) == 0;
}

constexpr auto kForwardOnly = attn::Pass::kForward;
constexpr auto kBackwardOnly = attn::Pass::kBackward;
constexpr attn::Pass kPasses[] = {attn::Pass::kForward, attn::Pass::kBackward};
const Support kEverything{.features = Features::all()};

/// One thing wrong: both passes refuse it in words that begin so, and take the next request.
struct Bad {
  std::string_view begins;
  Change change;
  ErrorKind kind = ErrorKind::kBadArgument;
  std::optional<attn::Pass> only = {};
};

void check_refused(const std::vector<Bad>& table, const Support& support) {
  const attn::Chapter chapter = chapter_with(support);
  for (const Bad& bad : table) {
    for (const attn::Pass pass : kPasses) {
      if (bad.only && *bad.only != pass) continue;
      INFO("expected of " << to_string(pass) << ": " << bad.begins);
      Request request;
      bad.change(request);
      const Answer refused = answer(request, pass, chapter);
      INFO("answer: " << refused.message);
      CHECK(begins_with(refused.message, bad.begins));
      CHECK(refused.kind == bad.kind);
      CHECK(refused.message.find('\n') == std::string::npos);
      Request good;
      CHECK(answer(good, pass, chapter).message.empty());
    }
  }
}

attn::Strides strides_of(std::int64_t batch, std::int64_t head, std::int64_t row) {
  return {batch, head, row};
}

}  // namespace

TEST_CASE("bad numbers are refused") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<Bad> table = {
      {"Hkv = 0:", [](Request& r) { r.args.shape.Hkv = 0; }},
      {"Hkv = 4: allowed: a divisor of H = 6", [](Request& r) { r.args.shape.Hkv = 4; }},
      {"Hkv = 12:", [](Request& r) { r.args.shape.Hkv = 12; }},
      {"mask = window -2,0: -2;", [](Request& r) { r.args.mask = {.before = -2, .after = 0}; }},
      {"mask = window -1,-1: -1;", [](Request& r) { r.args.mask = {.before = -1}; }},
      {"mask = window -1,-5: -5;", [](Request& r) { r.args.mask = {.after = -5}; }},
      {"d_v = -1: allowed: 0 or more", [](Request& r) { r.args.extras.d_v = -1; }},
      {"sink_keys = -1: allowed: 0 or more", [](Request& r) { r.args.extras.sink_keys = -1; }},
      {"softcap = -0.5: allowed: 0", [](Request& r) { r.args.extras.softcap = -0.5f; }},
      {"softcap = nan", [&](Request& r) { r.args.extras.softcap = kNan; }},
      {"softcap = inf", [&](Request& r) { r.args.extras.softcap = kInf; }},
      {"dropout = 1: allowed: from 0", [](Request& r) { r.args.extras.dropout = 1.0f; }},
      {"dropout = -0.1", [](Request& r) { r.args.extras.dropout = -0.1f; }},
      {"dropout = nan", [&](Request& r) { r.args.extras.dropout = kNan; }},
      {"ranges_per_row = -1: allowed: 0, 1, 2",
       [](Request& r) { r.args.extras.ranges_per_row = -1; }},
      {"ranges_per_row = 3: allowed: 0, 1, 2",
       [](Request& r) { r.args.extras.ranges_per_row = 3; }},
  };
  check_refused(table, kEverything);
}

TEST_CASE("bad counts, offsets and ranges are refused by what they hold") {
  const auto counts = [](std::vector<std::int64_t> begin, std::vector<std::int64_t> count) {
    return [=](Request& r) {
      if (!begin.empty()) r.args.extras.key_begin = r.integers(begin);
      if (!count.empty()) r.args.extras.key_count = r.integers(count);
    };
  };
  const auto packed = [](std::vector<std::int64_t> q, std::vector<std::int64_t> k) {
    return [=](Request& r) { r.set_packed(q, k); };
  };
  // Two batches of four rows: all see everything, but for one pair of bounds.
  const auto ranges = [](int per_row, std::int64_t begin, std::int64_t end, int which = 4) {
    return [=](Request& r) {
      std::vector<std::int64_t> all;
      for (int n = 0; n < 8 * per_row; ++n) {
        all.push_back(n == which ? begin : 0);
        all.push_back(n == which ? end : 8);
      }
      r.args.extras.ranges_per_row = per_row;
      r.args.extras.ranges = r.integers(all);
    };
  };
  const auto with = [](Change first, Change second) {
    return [=](Request& r) {
      first(r);
      second(r);
    };
  };
  const Change good_packed = packed({0, 4, 6}, {0, 3, 11});
  check_refused(
      {
          {"key_begin[1] = -1: allowed: 0 to 8", counts({0, -1}, {})},
          {"key_begin[0] = 9: allowed: 0 to 8", counts({9, 0}, {})},
          {"key_begin: 1 of them; allowed: B = 2", counts({0}, {})},
          {"key_begin = null",
           [](Request& r) {
             r.args.extras.key_begin = r.integers({0, 0});
             r.args.extras.key_begin.device = nullptr;
           }},
          {"key_count[0] = -1: allowed: 0 to 8", counts({}, {-1, 8})},
          {"key_count[1] = 9: allowed: 0 to 8", counts({}, {8, 9})},
          {"key_count[1] = 7: allowed: 0 to 6", counts({0, 2}, {8, 7})},
          {"key_count: 3 of them; allowed: B = 2", counts({}, {1, 2, 3})},
          {"key_count = null",
           [](Request& r) {
             r.args.extras.key_count = r.integers({8, 8});
             r.args.extras.key_count.device = nullptr;
           }},
          {"q_offsets: 2 of them; allowed: 3, one more than B", packed({0, 4}, {0, 3, 11})},
          {"q_offsets: 0 of them", packed({}, {0, 3, 11})},
          {"q_offsets[0] = 1: allowed: 0", packed({1, 5, 7}, {0, 3, 11})},
          {"q_offsets[2] = 3: allowed: at least 4", packed({0, 4, 3}, {0, 3, 11})},
          {"q_offsets: the longest sequence has 5 rows; allowed: 4", packed({0, 5, 6}, {0, 3, 11})},
          {"k_offsets: 0 of them", packed({0, 4, 6}, {})},
          {"k_offsets: 4 of them; allowed: 3", packed({0, 4, 6}, {0, 3, 11, 11})},
          {"k_offsets[1] = -3: allowed: at least 0", packed({0, 4, 6}, {0, -3, 5})},
          {"k_offsets: the longest sequence has 7 rows; allowed: 8", packed({0, 4, 6}, {0, 7, 9})},
          {"key_count[0] = 4: allowed: 0 to 3", with(good_packed, counts({}, {4, 8}))},
          {"mask: given with packed sequences",
           with(good_packed, [](Request& r) { r.args.extras.mask = r.mask; })},
          {"bias: given with packed sequences",
           with(good_packed, [](Request& r) { r.args.extras.bias = r.bias; })},
          {"ranges: given with packed sequences", with(good_packed, ranges(1, 0, 8))},
          {"strides: given with packed sequences",
           with(good_packed, [](Request& r) { r.args.extras.k = strides_of(384, 64, 8); })},
          {"ranges[4] = -1, 8: allowed: 0 <= begin <= end <= Nk = 8", ranges(1, -1, 8)},
          {"ranges[4] = 5, 4: allowed", ranges(1, 5, 4)},
          {"ranges[4] = 5, 9: allowed", ranges(1, 5, 9)},
          {"ranges[7] = 5, 9: allowed", ranges(1, 5, 9, 7)},
          {"ranges[15] = 0, -1: allowed", ranges(2, 0, -1, 15)},
          {"ranges: 16 numbers; allowed: 32, B * Nq * 4",
           [&](Request& r) {
             ranges(1, 0, 8)(r);
             r.args.extras.ranges_per_row = 2;
           }},
          {"ranges = null",
           [&](Request& r) {
             ranges(1, 0, 8)(r);
             r.args.extras.ranges.device = nullptr;
           }},
      },
      kEverything);
}

TEST_CASE("bad arrays of an extra are refused") {
  const auto bias = [](attn::PairShape shape) {
    return [=](Request& r) {
      r.args.extras.bias = r.bias;
      r.args.extras.bias_shape = shape;
    };
  };
  const auto misaligned = [](auto* pointer) {
    return reinterpret_cast<decltype(pointer)>(reinterpret_cast<std::uintptr_t>(pointer) + 2);
  };
  const auto strides = [](attn::Strides Extras::*array, attn::Strides values) {
    return [=](Request& r) { r.args.extras.*array = values; };
  };
  constexpr std::int64_t kFar = std::int64_t{1} << 61;
  check_refused(
      {
          {"bias_shape B = 3: allowed: 1 or 2", bias({3, 6, 4, 8})},
          {"bias_shape H = 2: allowed: 1 or 6", bias({2, 2, 4, 8})},
          {"bias_shape Nq = 8: allowed: 1 or 4", bias({2, 6, 8, 4})},
          {"bias_shape Nk = 0: allowed: 1 or 8", bias({2, 6, 4, 0})},
          {"mask_shape H = 3: allowed: 1 or 6",
           [](Request& r) {
             r.args.extras.mask = r.mask;
             r.args.extras.mask_shape = {2, 3, 4, 8};
           }},
          {"bias = 0x", [&](Request& r) { r.args.extras.bias = misaligned(r.bias); }},
          {"alibi = 0x", [&](Request& r) { r.args.extras.alibi = misaligned(r.alibi); }},
          {"sink_logits = 0x",
           [&](Request& r) { r.args.extras.sink_logits = misaligned(r.sink_logits); }},
          {"o = 0x", [](Request& r) { r.args.extras.bias = static_cast<const float*>(r.args.o); },
           ErrorKind::kBadArgument, kForwardOnly},
          {"grad_lse = 0x", [&](Request& r) { r.args.extras.grad_lse = misaligned(r.grad_lse); },
           ErrorKind::kBadArgument, kBackwardOnly},
          {"grad_bias: given without a bias",
           [](Request& r) { r.args.extras.grad_bias = r.grad_bias; }},
          {"grad_sink_logits: given without sink_logits",
           [](Request& r) { r.args.extras.grad_sink_logits = r.grad_sink_logits; }},
          {"grad_bias = 0x",
           [](Request& r) {
             r.args.extras.bias = r.bias;
             r.args.extras.grad_bias = r.bias;  // an output on an input
           },
           ErrorKind::kBadArgument, kBackwardOnly},
          {"grad_sink_logits = 0x",
           [](Request& r) {
             r.args.extras.sink_logits = r.sink_logits;
             r.args.extras.grad_sink_logits = r.sink_logits + 5;
           },
           ErrorKind::kBadArgument, kBackwardOnly},
          {"q strides: -8; allowed: 0 or more", strides(&Extras::q, {192, 32, -8})},
          {"k strides: ", strides(&Extras::k, {kFar, kFar, kFar})},
          {"v: its sizes", strides(&Extras::v, {kFar, 64, 8})},
          // Rows of O must lie apart: a row of 8 elements every 4, all heads at one place.
          {"o strides: 4, and 8 elements lie between", strides(&Extras::o, {192, 32, 4}),
           ErrorKind::kBadArgument, kForwardOnly},
          {"o strides: 0, and 8 elements", strides(&Extras::o, {32, 0, 8}), ErrorKind::kBadArgument,
           kForwardOnly},
          // dQ lies as Q does, and is written; Q itself may be one row over and over.
          {"grad_q strides: 0, and 8 elements", strides(&Extras::q, {192, 32, 0}),
           ErrorKind::kBadArgument, kBackwardOnly},
          {"dropout: Nq = 4, Nk = 4294967297",
           [](Request& r) {
             r.args.extras.dropout = 0.5f;
             r.args.shape.Nk = (std::int64_t{1} << 32) + 1;
           }},
      },
      kEverything);
}

namespace {

/// Pages of 3 keys, 7 in the pool, for 8 keys: 3 of them, the last of which holds 2.
void set_pages(Request& r, std::vector<std::int64_t> table) {
  r.args.extras.page_keys = 3;
  r.args.extras.pages = 7;
  r.args.extras.block_table = r.integers(std::move(table));
}

}  // namespace

TEST_CASE("a paged cache is taken where each valid key has a page, and refused by the entry") {
  const attn::Chapter chapter = chapter_with(kEverything);
  const std::vector<Change> good = {
      [](Request& r) {
        set_pages(r, {6, 0, 3, 2, 1, 4});
      },
      [](Request& r) {
        set_pages(r, {6, 0, 3, 6, 0, 4});
      },                // a common prefix
      [](Request& r) {  // keys 4 to 5, and 0 to 3: nobody asks for the other entries
        set_pages(r, {-1, 0, 99, 2, 1, -1});
        r.args.extras.key_begin = r.integers({4, 0});
        r.args.extras.key_count = r.integers({2, 4});
      },
      [](Request& r) {  // no key at all, and so no page
        set_pages(r, {-1, -1, -1, -1, -1, -1});
        r.args.extras.pages = 0;
        r.args.k = r.args.v = nullptr;
        r.args.extras.key_count = r.integers({0, 0});
      },
      [](Request& r) {
        set_pages(r, {});
        r.args.shape.Nk = 0;
      },
  };
  for (std::size_t n = 0; n < good.size(); ++n) {
    INFO("change " << n);
    Request request;
    good[n](request);
    CHECK(answer(request, kForwardOnly, chapter).message == "");
  }
  const auto with = [](std::vector<std::int64_t> table, Change change) -> Change {
    return [=](Request& r) {
      set_pages(r, table);
      change(r);
    };
  };
  const std::vector<std::int64_t> right{6, 0, 3, 2, 1, 4};
  const auto unchanged = [](Request&) {};
  std::vector<Bad> table = {
      {"page_keys = -1: allowed: 0 or more",
       with(right, [](Request& r) { r.args.extras.page_keys = -1; })},
      {"pages = -2: allowed: 0 or more", with(right, [](Request& r) { r.args.extras.pages = -2; })},
      {"pages = 7: given without page_keys",
       with(right, [](Request& r) { r.args.extras.page_keys = 0; })},
      {"block_table: given without page_keys",
       [](Request& r) {
         r.args.extras.block_table = r.integers({0, 1});
       }},
      {"block_table: 5 numbers; allowed: 6, B * 3 pages for Nk = 8 keys",
       with({6, 0, 3, 2, 1}, unchanged)},
      {"block_table: 6 numbers; allowed: 4,",
       with(right, [](Request& r) { r.args.extras.page_keys = 4; })},
      {"block_table[1][2] = 7: allowed: 0 to pages - 1 = 6", with({6, 0, 3, 2, 1, 7}, unchanged)},
      {"block_table[0][1] = -1: allowed: 0 to pages - 1 = 6", with({6, -1, 3, 2, 1, 4}, unchanged)},
      {"block_table[0][0] = -1:",  // of key 2, the last of its page
       with({-1, 0, 3, 2, 1, 4},
            [](Request& r) {
              r.args.extras.key_begin = r.integers({2, 0});
            })},
      {"block_table[1][1] = 9:",  // of key 3, the first of its page
       with({6, 0, 3, 2, 9, -1},
            [](Request& r) {
              r.args.extras.key_count = r.integers({8, 4});
            })},
      {"q_offsets: given with a paged cache", with(right,
                                                   [](Request& r) {
                                                     r.set_packed({0, 0, 4}, {0, 8, 8});
                                                   })},
      {"strides: given with a paged cache",
       with(right, [](Request& r) { r.args.extras.o = strides_of(192, 32, 8); })},
      {"k = null: allowed: a pointer to 4032 bytes",  // 7 * 6 * 3 * 8 floats
       with(right, [](Request& r) { r.args.k = nullptr; })},
      {"v = null: allowed: a pointer to 2016 bytes", with(right,
                                                          [](Request& r) {
                                                            r.args.extras.d_v = 4;
                                                            r.args.v = nullptr;
                                                          })},
      {"block_table = null",
       with(right, [](Request& r) { r.args.extras.block_table.device = nullptr; })},
      {"k: its sizes", with(right, [](Request& r) { r.args.extras.pages = kMost; })},
      // The last 4 bytes of the pool: an array [B, H, Nk, d] of 3072 would end before them.
      {"o = 0x",
       with(right, [](Request& r) { r.args.o = static_cast<const std::byte*>(r.args.v) + 4028; })},
  };
  for (Bad& bad : table) bad.only = kForwardOnly;
  table.push_back({"page_keys = 3: given to a backward pass; allowed: 0", with(right, unchanged),
                   ErrorKind::kBadArgument, kBackwardOnly});
  check_refused(table, kEverything);
}

namespace {

/// Where an array of [B, H, N, width] begins in a buffer [B, N, elements] and how it lies there.
struct Place {
  std::int64_t at, elements, head;
};

attn::Strides strides_in(const Place& place, std::int64_t N) {
  return {N * place.elements, place.head, place.elements};
}

void* element_of(void* buffer, Element element, std::int64_t at) {
  return static_cast<std::byte*>(buffer) + at * static_cast<std::int64_t>(bytes_of(element));
}

/// A request whose dQ, dK, dV (and O, where the pass is forward) lie in one buffer.
struct OneBuffer {
  std::int64_t Hkv = 6, d_v = 8;
  Place q{}, k{}, v{}, o{};
  Element element = Element::kFloat32;
};

std::string answer_in_one_buffer(const OneBuffer& places, attn::Pass pass) {
  Request r;
  Shape& shape = r.args.shape;
  shape.Nq = shape.Nk;
  shape.Hkv = places.Hkv;
  r.element = places.element;
  Extras& extras = r.args.extras;
  extras.d_v = places.d_v;
  extras.q = strides_in(places.q, shape.Nk);
  extras.k = strides_in(places.k, shape.Nk);
  extras.v = strides_in(places.v, shape.Nk);
  void* buffer = r.args.grad_q;
  const auto at = [&](const Place& place) { return element_of(buffer, r.element, place.at); };
  if (pass == attn::Pass::kForward) {
    extras.o = strides_in(places.o, shape.Nk);
    r.args.q = at(places.q);
    r.args.k = at(places.k);
    r.args.v = at(places.v);
    r.args.o = at(places.o);
  } else {
    r.args.grad_q = at(places.q);
    r.args.grad_k = at(places.k);
    r.args.grad_v = at(places.v);
  }
  return answer(r, pass, chapter_with(kEverything)).message;
}

}  // namespace

TEST_CASE("outputs may lie in the gaps of other arrays, and share no element with them") {
  const auto backward = [](const OneBuffer& places) {
    return answer_in_one_buffer(places, attn::Pass::kBackward);
  };
  const auto forward = [](const OneBuffer& places) {
    return answer_in_one_buffer(places, attn::Pass::kForward);
  };
  // [B, N, 3, H, d]
  OneBuffer three{.q = {0, 144, 8}, .k = {48, 144, 8}, .v = {96, 144, 8}};
  for (const Element element : attn::kAllElements) {
    three.element = element;
    INFO(to_string(element));
    CHECK(backward(three).empty());
    for (const std::int64_t shift : {-1, 1, -47, 47}) {  // into dQ, or into dV
      OneBuffer wrong = three;
      wrong.k.at += shift;
      INFO("dK " << shift << " elements from its place: " << backward(wrong));
      CHECK(begins_with(backward(wrong), shift < 0 ? "grad_q = 0x" : "grad_k = 0x"));
      CHECK(backward(wrong).find(shift < 0 ? "it overlaps grad_k;" : "it overlaps grad_v;") !=
            std::string::npos);
    }
    OneBuffer same = three;
    same.v = same.q;
    CHECK(backward(same).find("it overlaps grad_v;") != std::string::npos);
  }
  three.element = Element::kFloat32;
  // dQ of the next row, of the next batch, and behind the last one of all.
  three.v.at = 144;
  CHECK(backward(three).find("it overlaps grad_v;") != std::string::npos);
  three.v.at = 8 * 144;
  CHECK(backward(three).find("it overlaps grad_v;") != std::string::npos);
  three.v.at = 2 * 8 * 144;
  CHECK(backward(three).empty());

  // Two heads of K and V, whose rows are as far apart; and heads of V that are half as wide.
  OneBuffer grouped{.Hkv = 2, .q = {0, 80, 8}, .k = {48, 80, 8}, .v = {64, 80, 8}};
  CHECK(backward(grouped).empty());
  grouped.k.at = 40;
  CHECK(backward(grouped).find("it overlaps grad_k;") != std::string::npos);
  OneBuffer narrow{.d_v = 4, .q = {0, 120, 8}, .k = {48, 120, 8}, .v = {96, 120, 4}};
  CHECK(backward(narrow).empty());
  narrow.v.at = 93;
  CHECK(backward(narrow).find("it overlaps grad_v;") != std::string::npos);
  // Heads between heads, [B, N, H, 3, d].
  CHECK(backward({.q = {0, 144, 24}, .k = {8, 144, 24}, .v = {16, 144, 24}}).empty());
  CHECK(backward({.q = {0, 144, 24}, .k = {8, 144, 24}, .v = {32, 144, 24}})
            .find("it overlaps grad_v;") != std::string::npos);

  // O behind Q, K and V of its token; inputs may share elements, O with none of them.
  OneBuffer four{.q = {0, 192, 8}, .k = {48, 192, 8}, .v = {48, 192, 8}, .o = {144, 192, 8}};
  CHECK(forward(four).empty());
  four.o.at = 95;
  CHECK(begins_with(forward(four), "o = 0x"));
  CHECK(forward(four).find("it overlaps k;") != std::string::npos);
}

namespace {

/// A legal request that needs one feature, and how its refusal begins.
struct Need {
  Feature feature;
  std::string_view begins;
  Change change;
};

const std::vector<Need>& needs() {
  static const std::vector<Need> table = {
      {Feature::kGroupedHeads, "Hkv = 2:", [](Request& r) { r.args.shape.Hkv = 2; }},
      {Feature::kValueWidth, "d_v = 4:", [](Request& r) { r.args.extras.d_v = 4; }},
      {Feature::kStrides, "strides:", [](Request& r) { r.args.extras.q = strides_of(192, 8, 48); }},
      {
          Feature::kStrides,
          "strides:",
          [](Request& r) { r.args.extras.k = strides_of(0, 0, 8); },
      },
      {Feature::kStrides, "strides:", [](Request& r) { r.args.extras.v = strides_of(384, 8, 48); }},
      {Feature::kStrides, "strides:", [](Request& r) { r.args.extras.o = strides_of(192, 8, 48); }},
      {Feature::kPacked, "q_offsets:",
       [](Request& r) {
         r.set_packed({0, 0, 4}, {0, 8, 8});
       }},
      {Feature::kWindows,
       "mask = window 3,0:", [](Request& r) { r.args.mask = {.before = 3, .after = 0}; }},
      {Feature::kSinkKeys, "sink_keys = 2:", [](Request& r) { r.args.extras.sink_keys = 2; }},
      {Feature::kKeyCounts, "key_begin:",
       [](Request& r) {
         r.args.extras.key_begin = r.integers({0, 8});
       }},
      {Feature::kKeyCounts, "key_count:",
       [](Request& r) {
         r.args.extras.key_count = r.integers({0, 8});
       }},
      {Feature::kRanges, "ranges:",
       [](Request& r) {
         r.args.extras.ranges_per_row = 1;
         r.args.extras.ranges = r.integers({0, 8, 8, 8, 0, 0, 2, 3, 0, 8, 8, 8, 0, 0, 2, 3});
       }},
      {Feature::kMaskArray, "mask: an array",
       [](Request& r) {
         r.args.extras.mask = r.mask + 1;  // bytes lie anywhere
         r.args.extras.mask_shape = {2, 1, 4, 8};
       }},
      {Feature::kBias, "bias:",
       [](Request& r) {
         r.args.extras.bias = r.bias;
         r.args.extras.grad_bias = r.grad_bias;
         r.args.extras.bias_shape = {1, 6, 1, 8};
       }},
      {Feature::kAlibi, "alibi:", [](Request& r) { r.args.extras.alibi = r.alibi; }},
      {Feature::kSoftcap, "softcap = 30:", [](Request& r) { r.args.extras.softcap = 30; }},
      {Feature::kSinkLogits, "sink_logits:",
       [](Request& r) {
         r.args.extras.sink_logits = r.sink_logits;
         r.args.extras.grad_sink_logits = r.grad_sink_logits;
       }},
      {Feature::kDropout, "dropout = 0.25:", [](Request& r) { r.args.extras.dropout = 0.25f; }},
      {Feature::kGradLse, "grad_lse:", [](Request& r) { r.args.extras.grad_lse = r.grad_lse; }},
      {Feature::kPages, "page_keys = 3:",
       [](Request& r) {
         set_pages(r, {6, 0, 3, 2, 1, 4});
       }},
  };
  return table;
}

}  // namespace

TEST_CASE("a feature that a record lacks is refused by name, and taken where it has it") {
  Features covered;
  for (const Need& need : needs()) {
    covered.add(need.feature);
    Features others = Features::all();
    others.remove(need.feature);
    for (const attn::Pass pass : kPasses) {
      INFO(to_string(pass) << ", " << to_string(need.feature) << ", " << need.begins);
      Request request;
      need.change(request);
      // K and V may be one row over and over, dK and dV may not.
      const bool shared = request.args.extras.k == strides_of(0, 0, 8);
      const bool forward_only = shared || need.feature == Feature::kPages;
      if (forward_only && pass == attn::Pass::kBackward) continue;
      CHECK(answer(request, pass, chapter_with(kEverything)).message.empty());
      CHECK(answer(request, pass, chapter_with({.features = {need.feature}})).message.empty());
      for (const Features& features : {others, Features{}}) {
        const Answer refused = answer(request, pass, chapter_with({.features = features}));
        INFO("answer: " << refused.message);
        CHECK(begins_with(refused.message, need.begins));
        CHECK(refused.message.find(fmt::format("this chapter does not take {}",
                                               to_string(need.feature))) != std::string::npos);
        CHECK(refused.kind == ErrorKind::kUnsupported);
      }
    }
  }
  CHECK(covered == Features::all());
}

TEST_CASE("defaults and bounds that hide nothing need no feature") {
  const attn::Chapter chapter = chapter_with({});
  const std::vector<Change> plain = {
      [](Request&) {},
      [](Request& r) { r.args.mask = Mask::kCausal; },
      [](Request& r) { r.args.mask = Mask::kCausalTopLeft; },
      [](Request& r) { r.args.mask = {.after = 3}; },  // a prefix still
      [](Request& r) { r.args.extras.d_v = Request::kD; },
      [](Request& r) { r.args.extras.dropout_seed = 5; },
      [](Request& r) { r.args.extras.softcap = 0; },
      [](Request& r) { r.args.extras.dropout = 0; },
      [](Request& r) {
        r.args.extras.mask_shape = {9, 9, 9, 9};
      },  // of an array that is not there
  };
  for (std::size_t n = 0; n < plain.size(); ++n) {
    for (const attn::Pass pass : kPasses) {
      Request request;
      plain[n](request);
      INFO("change " << n << ", " << to_string(pass));
      CHECK(answer(request, pass, chapter).message.empty());
    }
  }
}

TEST_CASE("what a record says of d, of alignment and of N is held") {
  static constexpr std::int64_t kOnly[] = {8, 64};
  constexpr auto kNo = ErrorKind::kUnsupported;
  check_refused(
      {{"d = 16: this chapter supports 8, 64", [](Request& r) { r.args.shape.d = 16; }, kNo},
       {"d_v = 7: this chapter supports 8, 64", [](Request& r) { r.args.extras.d_v = 7; }, kNo},
       {"d = 129: this chapter supports 1 <= d <= 128", [](Request& r) { r.args.shape.d = 129; },
        kNo},
       {"d_v = 129: this chapter supports 1 <= d <= 128",
        [](Request& r) { r.args.extras.d_v = 129; }, kNo}},
      {.features = Features::all(), .only_d = kOnly});
  check_refused(
      {{"Nq = 9: this chapter supports at most 8", [](Request& r) { r.args.shape.Nq = 9; }, kNo},
       {"Nk = 9: this chapter supports at most 8", [](Request& r) { r.args.shape.Nk = 9; }, kNo}},
      {.max_n = 8});

  const auto shifted = [](const void* pointer, std::size_t by) {
    return static_cast<void*>(const_cast<char*>(static_cast<const char*>(pointer)) + by);
  };
  const Support wide{.features = Features::all(), .alignment = 16};
  check_refused(
      {
          {"d = 6: rows of 24 bytes; this chapter supports multiples of 16",
           [](Request& r) { r.args.shape.d = 6; }, kNo},
          {"d_v = 3: rows of 12 bytes", [](Request& r) { r.args.extras.d_v = 3; }, kNo},
          {"d = 4: rows of 8 bytes",
           [](Request& r) {
             r.args.shape.d = 4;  // 16 bytes of float32, and 8 of bfloat16
             r.element = Element::kBfloat16;
           },
           kNo},
          {"q = 0x", [&](Request& r) { r.args.q = shifted(r.args.q, 8); }, kNo},
          {"k = 0x", [&](Request& r) { r.args.k = shifted(r.args.k, 4); }, kNo},
          {"v = 0x", [&](Request& r) { r.args.v = shifted(r.args.v, 4); }, kNo},
          {"o = 0x", [&](Request& r) { r.args.o = shifted(r.args.o, 4); }, kNo},
          {"grad_o = 0x", [&](Request& r) { r.args.grad_o = shifted(r.args.grad_o, 4); }, kNo,
           kBackwardOnly},
          {"grad_q = 0x", [&](Request& r) { r.args.grad_q = shifted(r.args.grad_q, 4); }, kNo,
           kBackwardOnly},
          {"k strides: 10; this chapter supports multiples of 16 bytes",
           [](Request& r) { r.args.extras.k = strides_of(640, 80, 10); }, kNo},
          // An address that no float may have is bad for every chapter.
          {"q = 0x", [&](Request& r) { r.args.q = shifted(r.args.q, 2); }},
          // A 16-bit element may have it, but not an odd one.
          {"q = 0x",
           [&](Request& r) {
             r.args.q = shifted(r.args.q, 1);
             r.element = Element::kFloat16;
           }},
      },
      wide);
  // Without a wish of the record, what the element needs is enough; LSE and extras have no wish.
  for (const attn::Pass pass : kPasses) {
    Request half;
    half.element = Element::kFloat16;
    half.args.q = shifted(half.args.q, 2);
    CHECK(answer(half, pass, chapter_with({})).message.empty());
    Request request;
    request.args.lse += 1;
    request.args.extras.alibi = request.alibi + 1;
    CHECK(answer(request, pass, chapter_with(wide)).message.empty());
  }
}

TEST_CASE("what a device cannot run is refused, and so is an element that a pass lacks") {
  static const attn::Step kHalfOnly{.id = "half",
                                    .idea = "float16 alone",
                                    .forward = kForward<attn::float16>,
                                    .forward_workspace_bytes = no_workspace};
  attn::Chapter chapter = chapter_with({.min_compute = 90});
  Request request;
  const auto refusal = [&](const attn::Step& step, Element element, attn::Pass pass) {
    called = {};
    try {
      if (pass == attn::Pass::kForward) {
        forward(chapter, step, element, request.forward_args());
      } else {
        backward(chapter, step, element, request.args);
      }
    } catch (const attn::Error& error) {
      CHECK(error.kind() == ErrorKind::kUnsupported);
      CHECK(called.calls == 0);
      return std::string(error.what());
    }
    CHECK(called.calls == 1);
    return std::string();
  };
  for (const attn::Pass pass : kPasses) {
    for (const int compute : {0, 90, 100}) {  // 0: no such limit, as on the CPU machine
      fake_memory.compute = compute;
      CHECK(refusal(kEveryElement, Element::kFloat32, pass).empty());
    }
    for (const int compute : {80, 89}) {
      fake_memory.compute = compute;
      CHECK(refusal(kEveryElement, Element::kFloat32, pass) ==
            fmt::format("device = fake GPU: its compute capability is 8.{}; 99_fake needs 9.0",
                        compute % 10));
      chapter.twin = &kEveryElement;  // on host memory, which has no such limit
      CHECK(refusal(kEveryElement, Element::kFloat32, pass).empty());
      chapter.twin = nullptr;
    }
    fake_memory.compute = 0;
  }
  CHECK(refusal(kHalfOnly, Element::kFloat16, attn::Pass::kForward).empty());
  CHECK(refusal(kHalfOnly, Element::kFloat32, attn::Pass::kForward) ==
        "element = float32: 99_fake half takes float16");
  CHECK(refusal(kHalfOnly, Element::kFloat16, attn::Pass::kBackward) ==
        "pass = backward: 99_fake half has none");
}

TEST_CASE("sizes that no memory holds are refused at once") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  check_refused(
      {
          {"q: its sizes multiply", [](Request& r) { r.args.shape.B = kMost; }},
          {"q_offsets: 3 of them",
           [](Request& r) {
             r.set_packed({0, 4, 6}, {0, 8, 9});
             r.args.shape.B = kMost;
           }},
          {"the score matrix: its sizes multiply",
           [](Request& r) {
             r.args.shape.Nq = kHuge;
             r.args.shape.Nk = kHuge;
             r.args.extras.bias = r.bias;
             r.args.extras.bias_shape = {2, 6, kHuge, kHuge};
           }},
          {"the score matrix: its sizes multiply",
           [](Request& r) {
             r.args.shape.Nq = kHuge;
             r.args.shape.Nk = kHuge;
             r.args.extras.mask = r.mask;
             r.args.extras.mask_shape = {2, 6, kHuge, kHuge};
           }},
          {"B * H = 4294967296 * 6: supported",
           [](Request& r) { r.args.shape.B = std::int64_t{1} << 32; }, ErrorKind::kUnsupported},
      },
      kEverything);
}

TEST_CASE("without rows the gradients that rows would add to are zeros, and nothing runs") {
  using Half = attn::float16;
  const std::int64_t Nk = 3, d = 4, d_v = 2, heads = 2, row_k = 10, row_v = 8;
  const Shape shape{.B = 1, .H = 4, .Hkv = heads, .Nq = 0, .Nk = Nk, .d = d};
  std::vector<Half> k(64, Half{0x3C00}), v(64, Half{0x3C00}), grad_k(64, Half{0x7E00}),
      grad_v(64, Half{0x7E00});
  std::vector<float> bias(4 * 3), sinks(4), grad_bias(4 * 3, -1.0f), grad_sinks(4, -1.0f);
  attn::BackwardArgsOf<Half> args{.shape = shape, .k = k.data(), .v = v.data()};
  args.grad_k = grad_k.data();
  args.grad_v = grad_v.data();
  args.extras.d_v = d_v;
  args.extras.k = {.batch = 64, .head = 30, .row = row_k};
  args.extras.v = {.batch = 64, .head = 24, .row = row_v};
  args.extras.bias = bias.data();
  args.extras.bias_shape = {1, 4, 1, 3};
  args.extras.grad_bias = grad_bias.data();
  args.extras.sink_logits = sinks.data();
  args.extras.grad_sink_logits = grad_sinks.data();
  called = {};
  backward(chapter_with(kEverything), kEveryElement, args);
  CHECK(called.calls == 0);
  CHECK(grad_bias == std::vector<float>(12, 0.0f));
  CHECK(grad_sinks == std::vector<float>(4, 0.0f));
  const auto zeros = [&](const std::vector<Half>& array, std::int64_t head, std::int64_t row,
                         std::int64_t width) {
    bool right = true;
    for (std::int64_t e = 0; e < 64; ++e) {
      const bool inside = e / head < heads && e % head / row < Nk && e % head % row < width;
      right = right && array[static_cast<std::size_t>(e)].bits == (inside ? 0 : 0x7E00);
    }
    return right;
  };
  CHECK(zeros(grad_k, 30, row_k, d));
  CHECK(zeros(grad_v, 24, row_v, d_v));
}
