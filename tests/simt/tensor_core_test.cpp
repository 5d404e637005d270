// SPDX-License-Identifier: MIT
//
// mma and ldmatrix: which lane has which elements, what the products are, what is counted, and what
// is said of misuse.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "common/attention.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/simt/watch/observer.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/tensor_core_kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr Element kBoth[] = {Element::kBfloat16, Element::kFloat16};

std::uint16_t bits_of(Element element, float x) {
  return element == Element::kBfloat16 ? to_bfloat16(x).bits : to_float16(x).bits;
}
float value_of(Element element, unsigned bits) {
  const auto half = static_cast<std::uint16_t>(bits);
  return element == Element::kBfloat16 ? to_float32(bfloat16{half}) : to_float32(float16{half});
}

// The PTX ISA's tables ("Matrix Fragments for mma.m16n8k16 with floating point type"), element i
// of lane l, two elements to a register of A and B.
struct Position {
  unsigned row, column;
};
Position of_a(unsigned l, unsigned i) {
  return {(i < 2 || (i >= 4 && i < 6)) ? l / 4 : l / 4 + 8, l % 4 * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
Position of_b(unsigned l, unsigned i) { return {l % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), l / 4}; }
Position of_c(unsigned l, unsigned i) { return {i < 2 ? l / 4 : l / 4 + 8, l % 4 * 2 + (i & 1)}; }

struct Matrices {
  float a[16][16] = {}, b[16][8] = {}, c[16][8] = {};
};

/// D of one mma.
std::vector<float> multiply_add(Element element, const Matrices& m) {
  std::vector<unsigned> a(128), b(64);
  std::vector<float> c(128);
  for (unsigned l = 0; l < 32; ++l) {
    for (unsigned i = 0; i < 8; ++i) {
      const auto [row, column] = of_a(l, i);
      a[4 * l + i / 2] |= unsigned{bits_of(element, m.a[row][column])} << 16 * (i % 2);
    }
    for (unsigned i = 0; i < 4; ++i) {
      const auto [row, column] = of_b(l, i);
      b[2 * l + i / 2] |= unsigned{bits_of(element, m.b[row][column])} << 16 * (i % 2);
    }
    for (unsigned i = 0; i < 4; ++i) c[4 * l + i] = m.c[of_c(l, i).row][of_c(l, i).column];
  }
  DeviceArray<unsigned> device_a(a), device_b(b);
  DeviceArray<float> device_c(c);
  run_multiply_add(element, device_a.data(), device_b.data(), device_c.data());
  const std::vector<float> fragments = device_c.read();
  std::vector<float> d(128);
  for (unsigned l = 0; l < 32; ++l) {
    for (unsigned i = 0; i < 4; ++i) {
      d[8 * of_c(l, i).row + of_c(l, i).column] = fragments[4 * l + i];
    }
  }
  return d;
}

TEST_CASE_METHOD(EveryMode, "ldmatrix gives each lane two elements of a row, or of a column",
                 "[simt][tensor]") {
  std::vector<std::uint16_t> in(256);
  for (unsigned i = 0; i < 256; ++i) in[i] = static_cast<std::uint16_t>(257 * i);
  for (const bool transposed : {false, true}) {
    DeviceArray<std::uint16_t> rows(in);
    DeviceArray<unsigned> out(128, 0u);
    run_load_matrices(transposed, rows.data(), out.data());
    const std::vector<unsigned> words = out.read();
    for (unsigned l = 0; l < 32; ++l) {
      for (unsigned j = 0; j < 4; ++j) {
        const auto element = [&](unsigned row, unsigned column) {
          return unsigned{in[64 * j + (transposed ? 8 * column + row : 8 * row + column)]};
        };
        const unsigned expected = element(l / 4, 2 * (l % 4)) | element(l / 4, 2 * (l % 4) + 1)
                                                                    << 16;
        CAPTURE(transposed, l, j);
        CHECK(words[4 * l + j] == expected);
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "ldmatrix of one or two matrices asks 8 or 16 lanes for rows",
                 "[simt][tensor]") {
  const std::vector<std::uint16_t> in = random_integers<std::uint16_t>(256, 0, 65535, 2);
  for (const int count : {1, 2}) {
    DeviceArray<std::uint16_t> rows(in);
    DeviceArray<unsigned> out(128, 7u);
    run_load_few(count, rows.data(), out.data());
    const std::vector<unsigned> words = out.read();
    for (unsigned l = 0; l < 32; ++l) {
      for (unsigned j = 0; j < 4; ++j) {
        const unsigned at = 64 * j + 8 * (l / 4) + 2 * (l % 4);
        const bool loaded = j < static_cast<unsigned>(count);
        CAPTURE(count, l, j);
        CHECK(words[4 * l + j] == (loaded ? in[at] | unsigned{in[at + 1]} << 16 : 7u));
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "mma takes each element of A, B and C from its lane and register",
                 "[simt][tensor]") {
  for (const Element element : kBoth) {
    CAPTURE(to_string(element));
    Matrices m;
    // Small integers, of which all sums are exact; the unit matrix shows A, then B, one by one.
    for (int row = 0; row < 16; ++row) {
      for (int k = 0; k < 16; ++k) m.a[row][k] = static_cast<float>((7 * row + 3 * k) % 13 - 6);
    }
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) m.b[k][n] = static_cast<float>((5 * k + 11 * n) % 9 - 4);
    }
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < 8; ++n) m.c[row][n] = static_cast<float>(100 * row + n);
    }
    const std::vector<float> d = multiply_add(element, m);
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < 8; ++n) {
        float expected = m.c[row][n];
        for (int k = 0; k < 16; ++k) expected += m.a[row][k] * m.b[k][n];
        CAPTURE(row, n);
        CHECK(d[static_cast<std::size_t>(8 * row + n)] == expected);
      }
    }
  }
}

TEST_CASE("every 16-bit number goes through mma unchanged", "[simt][tensor]") {
  for (const Element element : kBoth) {
    CAPTURE(to_string(element));
    // 128 numbers at a time, times the unit matrix.
    for (unsigned first = 0; first < 0x10000; first += 128) {
      Matrices m;
      for (int i = 0; i < 8; ++i) m.a[i][i] = m.a[i + 8][i + 8] = 1.0f;
      const auto number = [&](unsigned k, unsigned n) { return (first + 8 * k + n) & 0xFFFFu; };
      bool finite = true;
      for (unsigned k = 0; k < 16; ++k) {
        for (unsigned n = 0; n < 8; ++n) {
          m.b[k][n] = value_of(element, number(k, n));
          finite = finite && std::isfinite(m.b[k][n]);
        }
      }
      const std::vector<float> d = multiply_add(element, m);
      for (unsigned k = 0; k < 16; ++k) {
        for (unsigned n = 0; n < 8; ++n) {
          CAPTURE(number(k, n));
          const float got = d[8 * k + n];
          if (finite) {
            CHECK(got == value_of(element, number(k, n)));
          } else {
            CHECK((std::isnan(got) || std::isinf(got)));  // 0 times infinity is NaN
          }
        }
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "infinity and NaN spread as IEEE 754 says", "[simt][tensor]") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const Element element : kBoth) {
    CAPTURE(to_string(element));
    Matrices m;
    for (auto& row : m.a) std::fill(std::begin(row), std::end(row), 1.0f);
    for (auto& row : m.b) std::fill(std::begin(row), std::end(row), 1.0f);
    m.a[0][3] = kInfinity;
    m.a[1][3] = kInfinity;
    m.a[1][4] = -kInfinity;
    m.a[2][0] = std::nanf("");
    m.a[3][5] = kInfinity;
    m.c[4][0] = -kInfinity;
    m.b[5][7] = 0.0f;
    for (const simt::Accumulation accumulation : simt::kAllAccumulations) {
      CAPTURE(to_string(accumulation));
      simt::options().accumulation = accumulation;
      const std::vector<float> d = multiply_add(element, m);
      CHECK(d[0] == kInfinity);
      CHECK(std::isnan(d[8]));
      CHECK(std::isnan(d[16]));
      CHECK(d[24] == kInfinity);
      CHECK(std::isnan(d[24 + 7]));
      CHECK(d[32] == -kInfinity);
      CHECK(d[33] == 16.0f);
    }
  }
}

/// A and B as elements, and what a row of A times a column of B is in float64.
struct LongProduct {
  std::vector<std::uint16_t> a, b;
  std::vector<double> sums, magnitudes;  // of 16 x 8 results: exact, and with |a b| in its place
};
LongProduct long_product(Element element, int steps, bool positive, unsigned seed) {
  const auto columns = static_cast<std::size_t>(16 * steps);
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
  const auto random = [&] {
    return bits_of(element, positive ? uniform(generator) : normal(generator));
  };
  LongProduct product;
  for (std::size_t i = 0; i < 16 * columns; ++i) product.a.push_back(random());
  for (std::size_t i = 0; i < 8 * columns; ++i) product.b.push_back(random());
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t n = 0; n < 8; ++n) {
      double sum = 0, magnitude = 0;
      for (std::size_t k = 0; k < columns; ++k) {
        const double one = double{value_of(element, product.a[row * columns + k])} *
                           double{value_of(element, product.b[8 * k + n])};
        sum += one;
        magnitude += std::fabs(one);
      }
      product.sums.push_back(sum);
      product.magnitudes.push_back(magnitude);
    }
  }
  return product;
}

std::vector<float> run(Element element, int steps, const LongProduct& product) {
  DeviceArray<std::uint16_t> a(product.a), b(product.b);
  DeviceArray<float> c(128, 0.0f);
  run_product(element, steps, a.data(), b.data(), c.data());
  return c.read();
}

TEST_CASE_METHOD(EveryMode, "a product of random matrices by ldmatrix and mma", "[simt][tensor]") {
  for (const Element element : kBoth) {
    for (const int steps : {2, 8}) {
      const LongProduct product = long_product(element, steps, false, 3);
      const std::vector<float> c = run(element, steps, product);
      for (std::size_t i = 0; i < c.size(); ++i) {
        CAPTURE(to_string(element), steps, i);
        CHECK(std::fabs(c[i] - product.sums[i]) <= 16 * steps * 0x1p-24 * product.magnitudes[i]);
      }
    }
  }
}

TEST_CASE("tensor cores cut off what float32 would round", "[simt][tensor]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  // 1, and so many products of this value, the first with k = 0, the next with k = apart...
  const auto one_and = [](simt::Accumulation accumulation, int products, float each,
                          int apart = 1) {
    simt::options().accumulation = accumulation;
    Matrices m;
    m.c[0][0] = 1.0f;
    for (int k = 0; k < products; ++k) {
      m.a[0][apart * k] = 0x1p-12f;
      m.b[apart * k][0] = each * 0x1p12f;
    }
    return multiply_add(Element::kBfloat16, m).front();
  };
  using enum simt::Accumulation;
  // 16 products below half of 1's last place: kept if they are a whole last place together.
  CHECK(one_and(kInOrder, 16, 0x1p-25f) == 1.0f);
  CHECK(one_and(kA100, 16, 0x1p-25f) == 1.0f);
  CHECK(one_and(kH100, 16, 0x1p-25f) == 1.0f + 0x1p-21f);
  CHECK(one_and(kA100, 16, 0x1p-24f) == 1.0f + 0x1p-20f);
  CHECK(one_and(kH100, 15, 0x1p-26f) == 1.0f);  // one by one below the 25 bits
  // The sum is cut off, too: A100s do it after 8 products.
  CHECK(one_and(kH100, 3, 0x1p-24f) == 1.0f + 0x1p-23f);
  CHECK(one_and(kA100, 2, 0x1p-24f, 7) == 1.0f + 0x1p-23f);
  CHECK(one_and(kA100, 2, 0x1p-24f, 8) == 1.0f);
  CHECK(one_and(kH100, 2, 0x1p-24f, 15) == 1.0f + 0x1p-23f);
  CHECK(one_and(kH100, 1, -0x1p-25f) == 1.0f - 0x1p-24f);
  CHECK(one_and(kInOrder, 1, -0x1p-25f) == 1.0f);
  CHECK(one_and(kA100, 1, -0x1p-25f) == 1.0f);
  // Where a product is the largest, the sum of its factors' exponents counts: 0 for 1.5 times 1.5.
  simt::options().accumulation = kH100;
  Matrices m;
  m.a[0][0] = m.b[0][0] = 1.5f;
  m.c[0][0] = 0x1p-25f;
  for (int k = 1; k < 8; ++k) {
    m.a[0][k] = 1.0f;
    m.b[k][0] = 0x1p-25f;
  }
  CHECK(multiply_add(Element::kBfloat16, m).front() == 2.25f + 0x1p-22f);
}

TEST_CASE("tensor cores add integers exactly, and err by less than a last place a step",
          "[simt][tensor]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  for (const simt::Accumulation accumulation :
       {simt::Accumulation::kA100, simt::Accumulation::kH100}) {
    simt::options().accumulation = accumulation;
    const int step = accumulation == simt::Accumulation::kA100 ? 8 : 16;  // products
    for (const Element element : kBoth) {
      Matrices m;
      for (int i = 0; i < 16; ++i) {
        for (int k = 0; k < 16; ++k) m.a[i][k] = static_cast<float>((7 * i + 5 * k) % 255 - 127);
        for (int n = 0; n < 8; ++n) m.b[i][n] = static_cast<float>((3 * i + 11 * n) % 201 - 100);
      }
      const std::vector<float> d = multiply_add(element, m);
      for (std::size_t i = 0; i < 128; ++i) {
        float expected = 0.0f;
        for (int k = 0; k < 16; ++k) expected += m.a[i / 8][k] * m.b[k][i % 8];
        CHECK(d[i] == expected);
      }
      for (const bool positive : {false, true}) {
        for (const int steps : {2, 8, 32}) {
          const LongProduct product = long_product(element, steps, positive, 7);
          const std::vector<float> c = run(element, steps, product);
          double drift = 0;  // mean relative error
          for (std::size_t i = 0; i < c.size(); ++i) {
            CAPTURE(to_string(accumulation), to_string(element), positive, steps, i);
            const double error = c[i] - product.sums[i];
            CHECK(std::fabs(error) <= 16.0 * steps / step * 0x1p-23 * product.magnitudes[i]);
            drift += error / product.sums[i] / 128;
          }
          if (!positive || steps < 8) continue;
          // A step cuts off half a last place of the sum on average, and half of the last bit that
          // is kept of each product which reaches so far (bfloat16's seldom do).
          CAPTURE(to_string(accumulation), to_string(element), steps, drift);
          CHECK(drift < -0.1 * 16 * steps / step * 0x1p-24);
          CHECK(drift > -2.0 * 16 * steps / step * 0x1p-24);
        }
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "pack rounds two floats to nearest", "[simt][tensor]") {
  for (const Element element : kBoth) {
    std::vector<float> values = {0.0f,        -0.0f, 1.0f,      65519.9f, 65520.0f, 1e30f,
                                 1.00390625f, 1.01f, -1.001f,   1e-8f,    3e-8f,    1e-40f,
                                 INFINITY,    NAN,   -INFINITY, 1.5f};
    std::mt19937 generator(5);
    std::normal_distribution<float> normal;
    while (values.size() < 64) values.push_back(normal(generator));
    DeviceArray<float> in(values);
    DeviceArray<unsigned> out(32, 0u);
    run_pack(element, in.data(), out.data());
    const std::vector<unsigned> words = out.read();
    for (std::size_t l = 0; l < 32; ++l) {
      CAPTURE(to_string(element), values[2 * l], values[2 * l + 1]);
      CHECK(words[l] == (bits_of(element, values[2 * l]) |
                         unsigned{bits_of(element, values[2 * l + 1])} << 16));
    }
  }
}

#if !defined(__SANITIZE_ADDRESS__)
simt::LaunchRecord traced(const std::function<void()>& run) {
  simt::options().tracer = true;
  simt::take_launches();
  run();
  simt::options().tracer = false;
  const std::vector<simt::LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  return launches.front();
}

TEST_CASE_METHOD(EveryOrder,
                 "an ldmatrix takes one wavefront for each matrix whose rows share no bank",
                 "[simt][tensor]") {
  const std::vector<std::uint16_t> tile = random_integers<std::uint16_t>(8 * 64, 0, 65535, 1);
  DeviceArray<std::uint16_t> in(tile);
  for (const auto& [rows, each] : {std::pair{Rows::kPlain, 8u},
                                   {Rows::kPadded, 1u},
                                   {Rows::kSwizzled, 1u},
                                   {Rows::kPairs, 1u}}) {
    CAPTURE(each);
    DeviceArray<unsigned> out(128, 0u);
    const simt::LaunchRecord launch = traced([&] { run_rows(rows, in.data(), out.data()); });
    const std::vector<unsigned> words = out.read();
    for (unsigned l = 0; l < 32; ++l) {
      for (unsigned j = 0; j < 4; ++j) {
        const unsigned row = rows == Rows::kPairs ? l / 4 / 2 * 2 : l / 4;
        const unsigned at = 64 * row + 32 + 8 * j + 2 * (l % 4);
        CHECK(words[4 * l + j] == (tile[at] | unsigned{tile[at + 1]} << 16));
      }
    }
    const simt::Traffic& t = launch.traffic;
    CHECK(t.matrix_load_requests == 2);
    CHECK(t.matrix_load_bytes == 2 * 512);
    CHECK(t.matrix_load_wavefronts == 2 * 4 * each);
    CHECK(t.matrix_load_wavefronts_ideal == 2 * 4);
    CHECK(t.shared_load_bytes == 0);
    CHECK(t.shared_load_wavefronts == 0);
    CHECK(t.mma_instructions == 0);
    const auto site = std::find_if(launch.sites.begin(), launch.sites.end(),
                                   [](const auto& one) { return one.access == "matrix load"; });
    REQUIRE(site != launch.sites.end());
    CHECK(site->file == tensor_core_kernels_file());
    CHECK(site->requests == 2);
    CHECK(site->lane_bytes == 16);
    CHECK(site->wavefronts == 2 * 4 * each);
    CHECK(site->wavefronts_ideal == 2 * 4);
  }
}

TEST_CASE_METHOD(EveryOrder, "half an ldmatrix is half the bytes and wavefronts",
                 "[simt][tensor]") {
  DeviceArray<std::uint16_t> rows(random_integers<std::uint16_t>(256, 0, 65535, 2));
  DeviceArray<unsigned> out(128, 7u);
  const simt::Traffic t = traced([&] { run_load_few(2, rows.data(), out.data()); }).traffic;
  CHECK(t.matrix_load_requests == 1);
  CHECK(t.matrix_load_bytes == 256);
  CHECK(t.matrix_load_wavefronts == 2);
  CHECK(t.matrix_load_wavefronts_ideal == 2);
}

/// Notes what executes the requests.
class Units final : public simt::Observer {
 public:
  void request(int /*warp*/, const simt::Request& request) override {
    if (request.unit != simt::Unit::kMatrixLoad) return;
    ++requests;
    lanes = request.lanes;
    first = request.addresses[0];
    last = request.addresses[31];
  }
  int requests = 0;
  unsigned lanes = 0;
  std::uintptr_t first = 0, last = 0;
};

TEST_CASE_METHOD(EveryOrder, "an observer sees the rows of an ldmatrix", "[simt][tensor]") {
  DeviceArray<std::uint16_t> rows(random_integers<std::uint16_t>(256, 0, 65535, 2));
  DeviceArray<unsigned> out(128, 7u);
  Units units;
  simt::options().observer = &units;
  run_load_matrices(false, rows.data(), out.data());
  CHECK(units.requests == 1);
  CHECK(units.lanes == ~0u);
  CHECK(units.last - units.first == 31 * 16);
}

TEST_CASE_METHOD(EveryOrder, "mma instructions are counted by warp", "[simt][tensor]") {
  const LongProduct product = long_product(Element::kBfloat16, 8, false, 3);
  const simt::LaunchRecord launch =
      traced([&] { static_cast<void>(run(Element::kBfloat16, 8, product)); });
  CHECK(launch.traffic.mma_instructions == 8);
  CHECK(launch.traffic.matrix_load_requests == 8 + 4);
  CHECK(launch.traffic.matrix_load_wavefronts == 4 * (8 + 4));
  CHECK(launch.traffic.shuffles == 0);
}
#endif

struct Expected {
  std::string name;
  std::string kind;
  std::string what;  // part of the report
};

/// The one report that the kernel causes: kind, line, words.
void check_report(const Expected& expected, bool stops) {
  DeviceArray<unsigned> out(64, 0u);
  CAPTURE(expected.name);
  const std::string message = message_of([&] { run_tensor_misuse(expected.name, out.data()); });
  CHECK(message.empty() != stops);
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE_FALSE(detections.empty());
  const Detection& found = detections.front();
  CAPTURE(to_string(found));
  CHECK(detections.size() == 1);
  CHECK(found.kind == expected.kind);
  CHECK_FALSE(found.warning);
  CHECK(found.kernel.rfind(expected.name + "_kernel", 0) == 0);
  const char* file = tensor_core_kernels_file();
  CHECK(found.file == file);
  const std::vector<int> lines = lines_of(file, expected.name);
  CHECK(std::count(lines.begin(), lines.end(), found.line) == 1);
  CHECK(found.what.find(expected.what) != std::string::npos);
  CHECK_FALSE(found.advice.empty());
}

TEST_CASE_METHOD(EveryMode, "misuse of ldmatrix and mma stops the launch at its line",
                 "[simt][tensor]") {
  check_report({"misaligned_row", "misaligned access", "which is 8 modulo 16"}, true);
  check_report({"row_too_far", "out of bounds", "at byte 1024 of the 1024 bytes of dynamic shared"},
               true);
  check_report({"static_rows", "bad shared address", "does not lie in"}, true);
  check_report({"half_loads", "divergent ldmatrix", "waits here for its whole warp; lane "}, true);
  check_report({"half_multiplies", "divergent mma", "waits here for its whole warp; lane "}, true);
  check_report({"lane_has_left", "divergent mma", "lane 5 has left the kernel"}, true);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "the detectors see what an ldmatrix reads", "[simt][tensor]") {
  check_report(
      {"unwritten_rows", "uninitialised read", "read of dynamic shared memory at byte 496"}, false);
  check_report({"early_rows", "race", "read of dynamic shared memory at byte "}, false);
}
#endif

}  // namespace
}  // namespace attn::simt_test
