// SPDX-License-Identifier: MIT
//
// Offsets beyond 2^31 elements: head 1 of K and of V starts at element 2^31. No test could fill
// such arrays, 8 or 16 GiB each, but none has to: their addresses are reserved and cost nothing
// until touched, and under a causal mask one query sees one key, so that a step which skips hidden
// tiles touches a few pages. The addresses in front of each array are reserved as well: there an
// offset that has wrapped around to -2^31 reads zeros instead of crashing. Exit status: 0 right, 1
// wrong.
#include <fmt/format.h>
#include <sys/mman.h>

#include <cmath>
#include <cstddef>
#include <exception>
#include <initializer_list>

#include "chapters/chapters.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kHeads = 2, kKeys = std::int64_t{1} << 24, kD = 128;
static_assert((kHeads - 1) * kKeys * kD == std::int64_t{1} << 31);

/// An array of zeros with as many zeros in front, in address space only.
template <class T>
class Reserved {
 public:
  Reserved() : begin_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, kFlags, -1, 0)) {
    if (begin_ == MAP_FAILED) {
      throw Error(ErrorKind::kDeviceFailure, fmt::format("mmap: {} bytes refused", kBytes));
    }
  }
  ~Reserved() { munmap(begin_, kBytes); }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  T* data() const { return static_cast<T*>(begin_) + kElements; }

 private:
  static constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  static constexpr std::size_t kElements{kHeads * kKeys * kD};
  static constexpr std::size_t kBytes = 2 * kElements * sizeof(T);
  void* begin_;
};

/// A small integer, which every element holds.
template <class T>
T element(std::int64_t integer) {
  const float value = static_cast<float>(integer);
  T result;
  encode(kElementOf<T>, {&value, 1}, &result);
  return result;
}
template <class T>
float value(T element) {
  float result;
  decode(kElementOf<T>, &element, {&result, 1});
  return result;
}

/// The query of head h sees key 0 of its head alone: O is that row of V, LSE the one logit.
template <class T>
bool right(const Chapter& chapter, const Step& step, const ForwardArgsOf<T>& args) {
  forward(chapter, step, args);
  bool all_right = true;
  for (std::int64_t h = 0; h < kHeads; ++h) {
    const auto check = [&](const char* name, float got, std::int64_t expected) {
      if (std::abs(got - static_cast<float>(expected)) < 1e-5f) return;
      fmt::print("{} {}: head {}: {} is {} instead of {}\n", chapter.id, step.id, h, name, got,
                 expected);
      all_right = false;
    };
    check("O", value(args.o[h * kD + kD - 1]), 10 * (h + 1));
    check("LSE", args.lse[h], h + 1);
  }
  return all_right;
}

/// Calls f with the arguments of a problem of two such heads.
template <class T, class F>
bool with_arguments(F f) {
  const Reserved<T> k, v;
  T q[kHeads * kD] = {};
  T o[kHeads * kD] = {};
  float lse[kHeads] = {};
  for (std::int64_t h = 0; h < kHeads; ++h) {
    q[h * kD] = element<T>(1);
    k.data()[h * kKeys * kD] = element<T>(h + 1);
    for (std::int64_t c = 0; c < kD; ++c) {
      v.data()[h * kKeys * kD + c] = element<T>(10 * (h + 1));
    }
  }
  return f(ForwardArgsOf<T>{.shape = make_shape(1, kHeads, 1, kKeys, kD),
                            .mask = Mask::kCausalTopLeft,
                            .scale = 1.0f,
                            .q = q,
                            .k = k.data(),
                            .v = v.data(),
                            .o = o,
                            .lse = lse});
}

bool all_right() {
  bool good = with_arguments<float>([](const ForwardArgs& args) {
    bool all = true;
    const auto check = [&](const Chapter& chapter, std::initializer_list<const char*> steps) {
      all &= right(chapter, *chapter.twin, args);
      for (const char* step : steps) all &= right(chapter, find_step(chapter, step), args);
    };
    check(chapters::ch07_v2_loop_order(), {"step2_skip", "step3_exp2"});
    check(chapters::ch08_register_tiles(), {"step2_fused", "step4_wide_loads", "step5_exp2"});
    check(chapters::ch12_windows(), {"step2_skip", "step3_lengths", "step4_sinks"});
    return all;
  });
  good &= with_arguments<bfloat16>([](const ForwardArgsOf<bfloat16>& args) {
    bool all = true;
    const Chapter& chapter = chapters::ch09_tensor_cores();
    for (const Step& step : chapter.steps) {
      if (step.forward) all &= right(chapter, step, args);
    }
    return all;
  });
  return good;
}

}  // namespace
}  // namespace attn::testing

int main() {
  try {
    return attn::testing::all_right() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
