// SPDX-License-Identifier: MIT
//
// wgmma and setmaxnreg: where operands and results lie, when a thread gets them, what is counted,
// and what is said of misuse.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/attention.hpp"
#include "common/simt/models/product.hpp"
#include "common/simt/watch/counters.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/wgmma_kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kRows = 64, kDepth = 16, kThreads = 128;

std::uint16_t bits_of(Element element, float x) {
  return element == Element::kBfloat16 ? to_bfloat16(x).bits : to_float16(x).bits;
}

// The PTX ISA's figures ("Register Fragments" of wgmma.m64nNk16): element i of thread t.
struct Position {
  unsigned row, column;
};
Position of_a(unsigned t, unsigned i) {
  return {16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), t % 4 * 2 + (i & 1) + 8 * (i / 4)};
}
Position of_d(unsigned t, unsigned i) {
  return {16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + t % 4 * 2 + (i & 1)};
}

/// A matrix by rows; B is stored as its transposed, so that a column's elements are neighbours.
struct Matrix {
  unsigned columns;
  std::vector<float> values;
  float& at(unsigned row, unsigned column) { return values[row * columns + column]; }
  float at(unsigned row, unsigned column) const { return values[row * columns + column]; }
};
Matrix integers(unsigned rows, unsigned columns, unsigned seed) {
  return {columns, random_integers<float>(std::size_t{rows} * columns, -4, 4, seed)};
}

/// A layout of 16-byte chunks: `width` of them side by side, MN-major or not.
struct Layout {
  unsigned width;
  bool mn_major;
};

/// Where the PTX ISA's figures of the canonical layouts have element (mn, k) of a tile with 16 or
/// more k, in bytes; each as drawn, none by a formula for all.
struct Tile {
  Layout layout;
  unsigned mn_count, k_count;

  unsigned leading() const {
    if (layout.width == 1) return layout.mn_major ? 128 * (mn_count / 8) : 128 * (mn_count / 8);
    return layout.mn_major ? panel_bytes() : 16;  // not used if K-major
  }
  unsigned stride() const { return 128 * layout.width; }
  unsigned bytes() const { return 2 * mn_count * k_count; }
  unsigned panel_bytes() const { return k_count * 16 * layout.width; }

  unsigned place(unsigned mn, unsigned k) const {
    const unsigned row = layout.mn_major ? k : mn, along = layout.mn_major ? mn : k;
    if (layout.width == 1) {  // core matrices of 8 rows, those of 8 k behind each other
      return row % 8 * 16 + along % 8 * 2 + 128 * (mn / 8) + 128 * (mn_count / 8) * (k / 8);
    }
    const unsigned chunk = along / 8 % layout.width, panel = along / 8 / layout.width;
    const unsigned changed = layout.width == 8   ? chunk ^ row % 8
                             : layout.width == 4 ? chunk ^ row / 2 % 4
                                                 : chunk ^ row / 4 % 2;
    const unsigned rows = layout.mn_major ? k_count : mn_count;
    return panel * rows * 16 * layout.width + row * 16 * layout.width + changed * 16 +
           along % 8 * 2;
  }
  /// Of 16 k from 16 step on, of a tile that begins at byte `start`.
  std::uint64_t descriptor(unsigned start, unsigned step) const {
    const unsigned code = layout.width == 1 ? 0 : layout.width == 8 ? 1 : layout.width == 4 ? 2 : 3;
    if (layout.width == 1) {
      start += step * 2 * leading();
    } else {
      start += layout.mn_major ? step * 16 * 16 * layout.width : step * 32;
    }
    return std::uint64_t{start / 16} | std::uint64_t{leading() / 16} << 16 |
           std::uint64_t{stride() / 16} << 32 | std::uint64_t{code} << 62;
  }
};

/// What one wgmma makes of A, B and C, through memory laid out like this.
struct Run {
  OneWgmma shape;
  Layout a, b;
  unsigned step = 0;
};
Matrix multiply(const Run& run, const Matrix& a, const Matrix& b, const Matrix& c) {
  const auto n = static_cast<unsigned>(run.shape.n);
  // As many k as a row has, or two steps.
  const auto tile_of = [](Layout layout, unsigned mn_count) {
    return Tile{layout, mn_count, layout.mn_major ? 32 : std::max(16u, 8 * layout.width)};
  };
  const Tile tile_a = tile_of(run.a, kRows), tile_b = tile_of(run.b, n);
  const unsigned start_b = (tile_a.bytes() + 1023) / 1024 * 1024;
  std::vector<std::uint16_t> image((start_b + tile_b.bytes()) / 2, 0x7FFF);  // NaN
  const auto put = [&](const Tile& tile, unsigned start, const Matrix& values) {
    for (unsigned mn = 0; mn < tile.mn_count; ++mn) {
      for (unsigned k = 0; k < kDepth; ++k) {
        image[(start + tile.place(mn, k + 16 * run.step)) / 2] =
            bits_of(run.shape.element, values.at(mn, k));
      }
    }
  };
  if (!run.shape.a_in_registers) put(tile_a, 0, a);
  put(tile_b, start_b, b);
  std::vector<unsigned> words(image.size() / 2), registers(4 * kThreads);
  std::memcpy(words.data(), image.data(), 4 * words.size());
  std::vector<float> fragments(kThreads * n / 2);
  for (unsigned t = 0; t < kThreads; ++t) {
    for (unsigned i = 0; i < 8; ++i) {
      const auto [row, column] = of_a(t, i);
      registers[4 * t + i / 2] |= unsigned{bits_of(run.shape.element, a.at(row, column))}
                                  << 16 * (i % 2);
    }
    for (unsigned i = 0; i < n / 2; ++i) {
      fragments[t * n / 2 + i] = c.at(of_d(t, i).row, of_d(t, i).column);
    }
  }
  DeviceArray<unsigned> device_image(words), device_a(registers);
  DeviceArray<float> device_c(fragments);
  run_wgmma(run.shape, device_image.data(), static_cast<int>(4 * words.size()),
            tile_a.descriptor(0, run.step), tile_b.descriptor(start_b, run.step), device_a.data(),
            device_c.data());
  fragments = device_c.read();
  Matrix d = c;
  for (unsigned t = 0; t < kThreads; ++t) {
    for (unsigned i = 0; i < n / 2; ++i) {
      d.at(of_d(t, i).row, of_d(t, i).column) = fragments[t * n / 2 + i];
    }
  }
  return d;
}

/// Elements of d that are not [c +] A B, of integers so small that every sum is exact.
int wrong_elements(const Run& run, const Matrix& a, const Matrix& b, const Matrix& c) {
  const Matrix d = multiply(run, a, b, c);
  int wrong = 0;
  for (unsigned row = 0; row < kRows; ++row) {
    for (unsigned column = 0; column < d.columns; ++column) {
      float expected = run.shape.accumulate ? c.at(row, column) : 0.0f;
      for (unsigned k = 0; k < kDepth; ++k) expected += a.at(row, k) * b.at(column, k);
      wrong += d.at(row, column) == expected ? 0 : 1;
    }
  }
  return wrong;
}

constexpr OneWgmma kSquare{.element = Element::kBfloat16,
                           .n = 128,
                           .a_in_registers = false,
                           .a_mn_major = false,
                           .b_mn_major = false,
                           .accumulate = true};

TEST_CASE("wgmma finds its operands in all canonical layouts", "[simt][wgmma]") {
  const InMode mode({"detectors", true, simt::Order::kForward, 1});
  const Matrix a = integers(kRows, kDepth, 1), b = integers(128, kDepth, 2);
  const Matrix c = integers(kRows, 128, 3);
  for (const unsigned width_a : {1u, 2u, 4u, 8u}) {
    for (const unsigned width_b : {1u, 2u, 4u, 8u}) {
      for (const bool a_mn_major : {false, true}) {
        for (const bool b_mn_major : {false, true}) {
          Run run{kSquare, {width_a, a_mn_major}, {width_b, b_mn_major}};
          run.shape.a_mn_major = a_mn_major;
          run.shape.b_mn_major = b_mn_major;
          CAPTURE(width_a, a_mn_major, width_b, b_mn_major);
          CHECK(wrong_elements(run, a, b, c) == 0);
        }
      }
    }
  }
}

TEST_CASE("wgmma's descriptors step along the sum within a tile", "[simt][wgmma]") {
  const InMode mode({"detectors", true, simt::Order::kForward, 1});
  const Matrix a = integers(kRows, kDepth, 4), b = integers(128, kDepth, 5);
  const Matrix c = integers(kRows, 128, 6);
  const auto check = [&](unsigned width, bool mn_major, unsigned step) {
    Run run{kSquare, {width, mn_major}, {width, mn_major}, step};
    run.shape.a_mn_major = run.shape.b_mn_major = mn_major;
    CAPTURE(width, mn_major, step);
    CHECK(wrong_elements(run, a, b, c) == 0);
  };
  check(4, false, 1);
  for (const unsigned step : {1u, 2u, 3u}) check(8, false, step);
  for (const unsigned width : {1u, 2u, 4u, 8u}) check(width, true, 1);
}

TEST_CASE_METHOD(EveryMode, "wgmma of every kind of operand, N and element", "[simt][wgmma]") {
  constexpr Layout kWide{8, false}, kWideColumns{8, true};
  const auto with = [](Element element, int n, bool registers) {
    OneWgmma shape = kSquare;
    shape.element = element;
    shape.n = n;
    shape.a_in_registers = registers;
    return shape;
  };
  Run runs[] = {{with(Element::kBfloat16, 8, false), kWide, kWide},
                {with(Element::kBfloat16, 40, true), kWide, kWide},
                {with(Element::kBfloat16, 128, true), kWide, kWide},
                {with(Element::kBfloat16, 128, true), kWide, kWideColumns},
                {with(Element::kBfloat16, 176, false), kWide, kWide},
                {with(Element::kBfloat16, 256, true), kWide, kWide},
                {with(Element::kFloat16, 128, false), kWide, kWide},
                {with(Element::kFloat16, 128, true), kWide, kWide}};
  for (Run& run : runs) {
    const auto n = static_cast<unsigned>(run.shape.n);
    run.shape.b_mn_major = run.b.mn_major;
    const Matrix a = integers(kRows, kDepth, 7), b = integers(n, kDepth, 8);
    const Matrix c = integers(kRows, n, 9);
    for (const bool accumulate : {false, true}) {
      run.shape.accumulate = accumulate;
      CAPTURE(to_string(run.shape.element), n, run.shape.a_in_registers, accumulate);
      CHECK(wrong_elements(run, a, b, c) == 0);
    }
  }
}

TEST_CASE("wgmma adds up as mma does, as asked for", "[simt][wgmma]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  std::mt19937 generator(10);
  std::normal_distribution<float> normal;
  const auto random = [&](unsigned rows, unsigned columns, bool rounded) {
    Matrix matrix{columns, std::vector<float>(std::size_t{rows} * columns)};
    for (float& value : matrix.values) {
      value = normal(generator);
      if (rounded) value = to_float32(to_bfloat16(value));
    }
    return matrix;
  };
  const Matrix a = random(kRows, kDepth, true), b = random(128, kDepth, true);
  const Matrix c = random(kRows, 128, false);
  std::vector<Matrix> results;
  for (const simt::Accumulation accumulation : simt::kAllAccumulations) {
    CAPTURE(to_string(accumulation));
    simt::options().accumulation = accumulation;
    results.push_back(multiply({kSquare, {8, false}, {8, false}}, a, b, c));
    int wrong = 0;
    for (unsigned row = 0; row < kRows; row += 16) {
      for (unsigned column = 0; column < 128; column += 8) {
        simt::Product product;
        for (unsigned i = 0; i < 16; ++i) {
          for (unsigned k = 0; k < 16; ++k) product.a[i][k] = a.at(row + i, k);
          for (unsigned n = 0; n < 8; ++n) product.c[i][n] = c.at(row + i, column + n);
        }
        for (unsigned k = 0; k < 16; ++k) {
          for (unsigned n = 0; n < 8; ++n) product.b[k][n] = b.at(column + n, k);
        }
        simt::multiply(product, accumulation);
        for (unsigned i = 0; i < 16; ++i) {
          for (unsigned n = 0; n < 8; ++n) {
            wrong += results.back().at(row + i, column + n) == product.c[i][n] ? 0 : 1;
          }
        }
      }
    }
    CHECK(wrong == 0);
  }
  CHECK((results[0].values != results[2].values));
}

// ---- One tile ----------------------------------------------------------------------------------

constexpr unsigned kSide = 64;

/// Q, two tiles of K, and V, as integers, of which no sum is rounded: S is below 256.
struct Operands {
  Matrix q = integers(kSide, kSide, 11), k = integers(2 * kSide, kSide, 12),
         v = integers(kSide, kSide, 13);
  Operands() {
    for (float& value : q.values) value = std::remainder(value, 2.0f);
  }
  static std::vector<std::uint16_t> bits(Element element, const Matrix& matrix) {
    std::vector<std::uint16_t> all;
    for (const float value : matrix.values) all.push_back(bits_of(element, value));
    return all;
  }
  std::vector<float> scores() const {  // of both tiles of K
    std::vector<float> s(2 * kSide * kSide);
    for (unsigned key = 0; key < 2 * kSide; ++key) {
      for (unsigned row = 0; row < kSide; ++row) {
        float& sum = s[key / kSide * kSide * kSide + row * kSide + key % kSide];
        for (unsigned x = 0; x < kSide; ++x) sum += q.at(row, x) * k.at(key, x);
      }
    }
    return s;
  }
  std::vector<float> result() const {
    std::vector<float> o(kSide * kSide);
    for (unsigned row = 0; row < kSide; ++row) {
      for (unsigned key = 0; key < kSide; ++key) {
        float s = 0;
        for (unsigned x = 0; x < kSide; ++x) s += q.at(row, x) * k.at(key, x);
        for (unsigned x = 0; x < kSide; ++x) o[row * kSide + x] += s * v.at(key, x);
      }
    }
    return o;
  }
};

TEST_CASE_METHOD(EveryMode, "one tile of attention by wgmma, whenever it is done",
                 "[simt][wgmma]") {
  const Operands operands;
  for (const Element element : {Element::kBfloat16, Element::kFloat16}) {
    DeviceArray<std::uint16_t> q(Operands::bits(element, operands.q));
    DeviceArray<std::uint16_t> k(Operands::bits(element, operands.k));
    DeviceArray<std::uint16_t> v(Operands::bits(element, operands.v));
    for (const simt::Completion completion : simt::kAllCompletions) {
      CAPTURE(to_string(element), to_string(completion));
      simt::options().completion = completion;
      DeviceArray<float> o(kSide * kSide, std::nanf(""));
      run_one_tile(element, q.data(), k.data(), v.data(), o.data());
      CHECK((o.read() == operands.result()));
    }
  }
}

TEST_CASE_METHOD(EveryMode, "a wait for the first group leaves the second under way",
                 "[simt][wgmma]") {
  Matrix diagonals{kSide, std::vector<float>(2 * kSide * kSide)};
  for (unsigned i = 0; i < kSide; ++i) {
    diagonals.at(i, i) = 1;
    diagonals.at(kSide + i, i) = 2;
  }
  DeviceArray<std::uint16_t> matrices(Operands::bits(Element::kBfloat16, diagonals));
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    DeviceArray<float> first(kThreads, 7.0f), last(kThreads, 7.0f);
    run_two_products(matrices.data(), first.data(), last.data());
    for (unsigned t = 0; t < kThreads; ++t) {
      const float diagonal = of_d(t, 0).row == of_d(t, 0).column ? 1.0f : 0.0f;
      CHECK(first.read(t) == diagonal);
      CHECK(last.read(t) == 2 * diagonal);
    }
  }
}

// ---- Misuse ------------------------------------------------------------------------------------

struct Expected {
  std::string kind;
  std::string line;  // its mark
  std::string what;  // part of the report
};

/// Runs it; true if the launch was stopped.
bool run_bug(const std::string& name, std::vector<float>* result = nullptr) {
  const Operands operands;
  DeviceArray<std::uint16_t> q(Operands::bits(Element::kBfloat16, operands.q));
  DeviceArray<std::uint16_t> k(Operands::bits(Element::kBfloat16, operands.k));
  DeviceArray<std::uint16_t> v(Operands::bits(Element::kBfloat16, operands.v));
  DeviceArray<float> o(kSide * kSide, 0.0f);
  const bool stopped =
      !message_of([&] { run_wgmma_misuse(name, q.data(), k.data(), v.data(), o.data()); }).empty();
  if (result != nullptr) *result = o.read();
  return stopped;
}

void check_report(const Expected& expected) {
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE_FALSE(detections.empty());
  const std::vector<int> lines = lines_of(wgmma_kernels_file(), expected.line);
  std::string all;
  const auto fits = [&](const Detection& one) {
    all += to_string(one) + "\n";
    return one.kind == expected.kind && !one.warning && one.file == wgmma_kernels_file() &&
           std::count(lines.begin(), lines.end(), one.line) == 1 &&
           one.what.find(expected.what) != std::string::npos;
  };
  const bool found = std::any_of(detections.begin(), detections.end(), fits);
  CAPTURE(all);
  CHECK(found);
}

TEST_CASE_METHOD(EveryMode, "misuse of wgmma that stops the launch, watched or not",
                 "[simt][wgmma]") {
  const std::pair<const char*, Expected> bugs[] = {
      {"no_commit", {"registers in flight", "waits", "may still write the accumulators"}},
      {"waits_too_little", {"registers in flight", "waits_too_little", "may still write"}},
      {"no_fence", {"missing wgmma_fence", "scores", "has had no wgmma_fence at all"}},
      {"other_shape", {"registers in flight", "other_shape", "accumulators of this wgmma are"}},
      {"outside", {"out of bounds", "scores", "reads B (n, k) = ("}},
      {"base_offset", {"bad descriptor", "scores", "B: base offset = 1; allowed here: 0"}},
      {"unequal_descriptors", {"unequal descriptors", "scores", "descriptor of B: 0x4"}},
      {"unequal_scale", {"divergent wgmma", "scores", "another scale-d"}},
      {"skips_lanes", {"divergent wgmma", "", "another thread of warpgroup 0 has come to"}},
      {"other_wait", {"divergent wgmma", "", "another thread of warpgroup 0 has come to"}},
      {"shifted", {"divergent wgmma", "first_fence", "thread (0,0,0) has left the kernel"}},
      {"partial", {"incomplete warpgroup", "first_fence", "of which the block has 96 threads"}},
  };
  for (const auto& [name, expected] : bugs) {
    CAPTURE(name);
    CHECK(run_bug(name));
    if (!expected.line.empty()) {
      check_report(expected);
      continue;
    }
    const std::vector<Detection> detections = device_memory().take_detections();
    REQUIRE(detections.size() == 1);
    CHECK(detections.front().kind == expected.kind);
    CHECK(detections.front().what.find(expected.what) != std::string::npos);
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "misuse of wgmma that only the detectors see", "[simt][wgmma]") {
  const std::pair<const char*, Expected> bugs[] = {
      {"reads_early", {"registers in flight", "reads_early", "read of accumulators of the wgmma"}},
      {"writes_early",
       {"registers in flight", "writes_early", "write of accumulators of the wgmma"}},
      {"touches_a", {"registers in flight", "touches_a", "write of A registers of the wgmma"}},
      {"no_second_fence",
       {"missing wgmma_fence", "values", "used the A registers of this wgmma since its last"}},
      {"overwrites", {"in flight", "overwrites", "write of dynamic shared memory at"}},
      {"releases_early", {"in flight", "tile_store", "which may still be read by what thread"}},
      {"landing", {"in flight", "scores", "the copy to it that thread"}},
      {"unwritten", {"uninitialised read", "scores", "which nothing has written"}},
      {"no_proxy_fence", {"missing proxy fence", "scores", "has not fenced since"}},
      {"no_barrier", {"race", "scores", "nothing orders the two"}},
  };
  for (const simt::Completion completion : simt::kAllCompletions) {
    simt::options().completion = completion;
    for (const auto& [name, expected] : bugs) {
      CAPTURE(to_string(completion), name);
      run_bug(name);
      check_report(expected);
    }
  }
}
#endif

/// Runs it; what it has written.
std::vector<float> run_tma(Tma variant) {
  const Operands operands;
  DeviceArray<std::uint16_t> q(Operands::bits(Element::kBfloat16, operands.q));
  DeviceArray<std::uint16_t> k(Operands::bits(Element::kBfloat16, operands.k));
  DeviceArray<float> s(2 * kSide * kSide, std::nanf(""));
  run_tma_tiles(variant, q.data(), k.data(), s.data());
  return s.read();
}

TEST_CASE_METHOD(EveryMode, "wgmma on tiles that TMA brings", "[simt][wgmma]") {
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    CHECK((run_tma(Tma::kRight) == Operands().scores()));
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "misuse of wgmma on tiles that TMA brings", "[simt][wgmma]") {
  const auto lines = [](const char* mark) { return lines_of(wgmma_kernels_file(), mark); };
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    run_tma(Tma::kSwizzle);
    check_report({"swizzle mismatch", "tma_scores", "the descriptor of B says swizzle: 128"});
    // Who comes first, the copy or the product, is up to the order; and with it, who is too early.
    for (const Tma variant : {Tma::kNoWait, Tma::kReleasesEarly}) {
      CAPTURE(static_cast<int>(variant));
      run_tma(variant);
      std::vector<int> places = lines("tma_load");
      if (variant == Tma::kNoWait) {
        for (const int line : lines("tma_scores")) places.push_back(line);
      }
      std::string all;
      const std::vector<Detection> detections = device_memory().take_detections();
      const bool found = std::any_of(detections.begin(), detections.end(), [&](const auto& one) {
        all += to_string(one) + "\n";
        return (one.kind == "in flight" || one.kind == "race") &&
               std::count(places.begin(), places.end(), one.line) == 1;
      });
      CAPTURE(all);
      CHECK(found);
    }
  }
}
#endif

TEST_CASE("what wgmma does late shows in the results of who does not wait", "[simt][wgmma]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  const std::vector<float> right = Operands().result();
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    std::vector<float> o;
    run_bug("touches_a", &o);
    if (completion == simt::Completion::kLate) CHECK((o != right));
    run_bug("releases_early", &o);
    if (completion == simt::Completion::kLate) CHECK((o != right));
    if (completion == simt::Completion::kEager) CHECK((o == right));
  }
}

TEST_CASE("wgmmas and their FLOPs are counted apart from mma", "[simt][wgmma]") {
  const InMode mode({"detectors", true, simt::Order::kForward, 1});
  simt::options().tracer = true;
  simt::take_launches();
  const Matrix a = integers(kRows, kDepth, 1), b = integers(128, kDepth, 2);
  multiply({kSquare, {8, false}, {8, false}}, a, b, integers(kRows, 128, 3));
  const std::vector<simt::LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  const simt::Traffic& t = launches.front().traffic;
  CHECK(t.mma_instructions == 0);
  CHECK(t.wgmma_instructions == 4);
  CHECK(t.wgmma_flops == 2 * 64 * 128 * 16);
}

// ---- Registers ---------------------------------------------------------------------------------

TEST_CASE_METHOD(EveryMode, "a warpgroup hands registers to two others", "[simt][wgmma]") {
  DeviceArray<int> out(3 * kThreads, 0);
  run_setmaxnreg(out.data());
  for (unsigned t = 0; t < 3 * kThreads; ++t) CHECK(out.read(t) == (t < kThreads ? 24 : 240));
}

TEST_CASE_METHOD(EveryMode, "misuse of setmaxnreg", "[simt][wgmma]") {
  const std::pair<const char*, Expected> bugs[] = {
      {"too_many", {"deadlock", "too_many", "setmaxnreg: 248 registers a thread; the block has "}},
      {"nobody_gives",
       {"deadlock", "nobody_gives",
        "setmaxnreg: 240 registers a thread; the block has 168 left for this warp"}},
      {"dec_to_more",
       {"bad setmaxnreg", "dec_to_more", "setmaxnreg_dec(240) by a warp whose threads have 168"}},
      {"inc_to_fewer",
       {"bad setmaxnreg", "inc_to_fewer", "setmaxnreg_inc(24) by a warp whose threads have 168"}},
      {"one_warp",
       {"divergent setmaxnreg", "one_warp", "32 of the 128 threads of warpgroup 0 have come"}},
  };
  for (const auto& [name, expected] : bugs) {
    CAPTURE(name);
    DeviceArray<int> out(3 * kThreads, 0);
    CHECK_FALSE(message_of([&] { run_setmaxnreg_misuse(name, out.data()); }).empty());
    check_report(expected);
  }
}

}  // namespace
}  // namespace attn::simt_test
