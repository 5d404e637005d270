// SPDX-License-Identifier: MIT
//
// What public teaching kernels use beyond the chapters' vocabulary: that it gives CUDA's results.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/simt/cuda/float16.hpp"
#include "common/simt/cuda/runtime.hpp"
#include "tests/simt/foreign_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

/// What the kernel makes of x, and of y, which starts as zeros.
std::vector<float> run(const std::string& name, unsigned blocks, unsigned threads,
                       const std::vector<float>& x, std::size_t outputs) {
  DeviceArray<float> in(x);
  DeviceArray<float> out(outputs, 0.0f);
  run_foreign(name, blocks, threads, in.data(), out.data());
  return out.read();
}

std::vector<unsigned> as_words(const std::vector<float>& values) {
  std::vector<unsigned> words;
  for (const float value : values) words.push_back(std::bit_cast<unsigned>(value));
  return words;
}

/// -0.5, -0.75, -1, ...
std::vector<float> negatives(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = -0.5f - 0.25f * static_cast<float>(i);
  return values;
}

TEST_CASE_METHOD(EveryMode, "functions of a float are functions of a float", "[simt]") {
  const std::vector<float> x = negatives(32);
  const std::vector<float> magnitudes = run("abs", 1, 32, x, 32);
  const std::vector<float> powers = run("exp", 1, 32, x, 32);
  for (std::size_t i = 0; i < 32; ++i) {
    CHECK(magnitudes[i] == -x[i]);
    CHECK(powers[i] == std::exp(x[i]));
  }
  CHECK(run("expf", 1, 32, x, 32) == powers);
  CHECK(run("std_exp", 1, 32, x, 32) == powers);
}

TEST_CASE_METHOD(EveryMode, "min, max and the classifying functions have CUDA's overloads",
                 "[simt]") {
  const std::vector<float> y = run("overloads", 1, 1, {-std::numeric_limits<float>::infinity()}, 7);
  CHECK(y == std::vector<float>{1, 2, 7, 4294967295.0f, 2.5f, -5, 2 + 8});
}

TEST_CASE_METHOD(EveryMode, "fast functions are close to the exact ones", "[simt]") {
  const std::vector<float> x = {0.25f, 0.5f, 1.0f, 1.5f};
  const std::vector<float> y = run("fast", 1, 4, x, 40);
  for (std::size_t t = 0; t < x.size(); ++t) {
    const double value = x[t];
    const double exact[] = {std::sin(value),      std::cos(value),   std::tan(value),
                            std::pow(value, 1.5), std::log10(value), std::pow(10.0, value),
                            std::sin(value),      std::cos(value),   1.0 / std::sqrt(value),
                            1.0 / value};
    for (std::size_t i = 0; i < 10; ++i) {
      CAPTURE(t, i);
      CHECK(std::abs(y[10 * t + i] - exact[i]) <= 2e-6 * std::max(1.0, std::abs(exact[i])));
    }
  }
}

TEST_CASE_METHOD(EveryMode, "integer and rounding intrinsics", "[simt]") {
  const std::vector<unsigned> y = as_words(run("intrinsics", 1, 1, {3.5f}, 23));
  const auto word = [](int value) { return static_cast<unsigned>(value); };
  const std::vector<unsigned> expected = {
      word(-3 * (1 << 20)),  // 24 bits: -3 * 1048576
      6u,                    // the upper byte is cut off
      word(-2),              // 2^30 * -8 = -2^33
      3u,                    // 2^31 * 6 = 3 * 2^32
      0x00771155u,           // bytes 5, 1, 7, 0 of 77 66 55 44 33 22 11 00, from the lowest
      word(10 + 1 * 4 - 1 * 3 + 2 * 2 + 3 * 1),
      4u,  // 3.5 to even
      word(-3),
      4u,
      word(-4),
      0x7FFFFFFFu,  // beyond an int's range: its end
      0u,
      0x80000000u,
      32u,
      5u,
      0x00000038u,  // 3:80000001 moved left by 4, the upper word
      107u,
      word(-4),  // -3.5, rounded down
      3u,
      std::bit_cast<unsigned>(1.0f / 3.0f),
      std::bit_cast<unsigned>(6.5f),
      word(-2),
      0x40080000u,
  };
  REQUIRE(y.size() == expected.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    CAPTURE(i);
    CHECK(y[i] == expected[i]);
  }
}

TEST_CASE_METHOD(EveryMode, "loads and stores with a cache hint", "[simt]") {
  const std::vector<float> x = negatives(96);
  CHECK(run("hints", 3, 32, x, 96) == x);
}

TEST_CASE_METHOD(EveryMode, "kernels read and write __device__ variables, the host copies them",
                 "[simt]") {
  std::vector<float> table(32), factors(32), expected(32);
  for (std::size_t i = 0; i < 32; ++i) {
    table[i] = static_cast<float>(i);
    factors[i] = 0.5f * static_cast<float>(i);
    expected[i] = table[i] * factors[i];
  }
  write_variables(table.data(), factors.data());
  CHECK(run("table", 1, 32, {0.0f}, 32) == expected);
  std::vector<float> after(32), constants(32);
  read_variables(after.data(), constants.data());
  for (float& value : table) value *= 2.0f;
  CHECK(after == table);
  CHECK(constants == factors);

  const std::vector<float> first = run("ticket", 1, 32, {0.0f}, 32);
  for (std::size_t i = 1; i < 32; ++i) CHECK(first[i] == first[0] + static_cast<float>(i));
}

TEST_CASE_METHOD(EveryMode, "loops around a compare-and-swap end, and end right", "[simt]") {
  for (const unsigned blocks : {1u, 5u}) {
    for (const unsigned threads : {32u, 64u, 100u}) {
      CHECK(as_words(run("cas_add", blocks, threads, {0.0f}, 1)) ==
            std::vector<unsigned>{blocks * threads});
      const std::vector<float> x = random_integers<float>(blocks * threads, 1, 1 << 20, threads);
      CHECK(run("cas_maximum", blocks, threads, x, 1) ==
            std::vector<float>{*std::max_element(x.begin(), x.end())});
    }
  }
}

TEST_CASE_METHOD(EveryMode, "a return before the barrier", "[simt]") {
  const std::vector<float> x = negatives(64);
  std::vector<float> expected(x.begin(), x.begin() + 48);
  std::reverse(expected.begin(), expected.end());
  CHECK(run("early_return", 1, 64, x, 48) == expected);
}

TEST_CASE_METHOD(EveryMode, "__match and __reduce over a warp", "[simt]") {
  std::vector<float> x(32);
  for (std::size_t t = 0; t < 32; ++t) x[t] = static_cast<float>(t % 5 + 3);
  x[7] = 99;
  const std::vector<unsigned> y = as_words(run("match", 1, 32, x, 8 * 32));
  unsigned sum = 0, any_bit = 0, odd_bits = 0;
  for (const float value : x) {
    sum += static_cast<unsigned>(value);
    any_bit |= static_cast<unsigned>(value);
    odd_bits ^= static_cast<unsigned>(value);
  }
  for (std::size_t t = 0; t < 32; ++t) {
    unsigned same = 0;
    for (std::size_t other = 0; other < 32; ++other) {
      same |= x[other] == x[t] ? 1u << other : 0u;
    }
    CAPTURE(t);
    CHECK(y[8 * t] == same);
    CHECK(y[8 * t + 1] == 0xFFFFFFFFu);  // all are below 100
    CHECK(y[8 * t + 2] == 1u);
    CHECK(y[8 * t + 3] == sum);
    CHECK(y[8 * t + 4] == 3u);
    CHECK(y[8 * t + 5] == 99u);
    CHECK(y[8 * t + 6] == any_bit);
    CHECK(y[8 * t + 7] == odd_bits);
  }
  x[3] = -700;
  const std::vector<unsigned> signs = as_words(run("match", 1, 32, x, 8 * 32));
  CHECK(signs[1] == 0u);
  CHECK(signs[2] == 0u);
  CHECK(signs[4] == static_cast<unsigned>(-700));
  CHECK(signs[5] == static_cast<unsigned>(-700));  // the largest, as unsigned
}

TEST_CASE_METHOD(EveryMode, "tiles of a block", "[simt]") {
  constexpr std::size_t kThreads = 96;
  const std::vector<float> x = random_integers<float>(kThreads, -50, 50, 3);
  const std::vector<float> y = run("tiles", 1, kThreads, x, 8 * kThreads);
  for (std::size_t t = 0; t < kThreads; ++t) {
    const std::size_t first = t / 8 * 8;
    float sum = 0.0f, up_to = 0.0f, ballot = 0.0f;
    for (std::size_t i = 0; i < 8; ++i) {
      sum += x[first + i];
      if (first + i <= t) up_to += x[first + i];
      if (x[first + i] > 0.0f) ballot += static_cast<float>(1u << i);
    }
    const auto warp = x.begin() + static_cast<std::ptrdiff_t>(t / 32 * 32);
    CAPTURE(t);
    CHECK(y[8 * t] == sum);
    CHECK(y[8 * t + 1] == x[first + 2]);
    CHECK(y[8 * t + 2] == static_cast<float>(t / 8 * 100 + t % 8));
    CHECK(y[8 * t + 3] == ballot);
    CHECK(y[8 * t + 4] == up_to);
    CHECK(y[8 * t + 5] == *std::min_element(warp, warp + 32));
    CHECK(y[8 * t + 6] == (t % 8 < 5 ? x[t + 3] : x[t]));
    CHECK(y[8 * t + 7] == std::accumulate(x.begin(), x.end(), 0.0f));
  }
  // All lanes of a warp store the warp's sum: no race, and said so.
  for (const Detection& detection : device_memory().take_detections()) {
    CHECK(detection.kind == "same value");
    CHECK(detection.line == line_of(foreign_kernels_file(), "tiles"));
  }
}

TEST_CASE_METHOD(EveryMode, "coalesced_threads are those that took the branch", "[simt]") {
  constexpr std::size_t kThreads = 64, kBlocks = 3;
  const std::vector<float> x = random_integers<float>(kBlocks * kThreads, -9, 9, 8);
  std::vector<float> y = run("filter", kBlocks, kThreads, x, 1 + x.size());
  std::vector<float> expected;
  std::copy_if(x.begin(), x.end(), std::back_inserter(expected), [](float v) { return v > 0.0f; });
  CHECK(std::bit_cast<unsigned>(y[0]) == expected.size());
  y.erase(y.begin());
  y.resize(expected.size());
  std::sort(y.begin(), y.end());
  std::sort(expected.begin(), expected.end());
  CHECK(y == expected);
}

TEST_CASE_METHOD(EveryMode, "__activemask names the lanes that are together", "[simt]") {
  const std::vector<unsigned> y = as_words(run("active", 1, 32, {0.0f}, 4 * 32));
  const unsigned ones = 0x22222222u;  // lanes 1, 5, 9...
  unsigned still_there[] = {0, 0, 0};
  for (unsigned t = 0; t < 32; ++t) {
    for (unsigned round = 0; round <= t % 3; ++round) still_there[round] |= 1u << t;
  }
  for (unsigned t = 0; t < 32; ++t) {
    CAPTURE(t);
    CHECK(y[4 * t] == (t % 4 == 1 ? ones : ~ones));
    for (unsigned round = 0; round < 3; ++round) {
      CHECK(y[4 * t + 1 + round] == (round <= t % 3 ? still_there[round] : 0u));
    }
  }
}

TEST_CASE_METHOD(EveryMode, "16-bit floating point in a kernel", "[simt]") {
  std::vector<float> x(32);
  for (std::size_t t = 0; t < 32; ++t) x[t] = 1.0f + static_cast<float>(t) / 64.0f;
  const std::vector<float> y = run("half", 1, 32, x, 6 * 32);
  const auto rounded = [](float value, float steps_of_one) {
    const float scale = value < 2.0f ? steps_of_one : steps_of_one / 2.0f;
    return std::nearbyint(value * scale) / scale;
  };
  for (std::size_t t = 0; t < 32; ++t) {  // all values and squares lie in [1, 4)
    CAPTURE(t);
    CHECK(y[6 * t] == x[t]);
    CHECK(y[6 * t + 1] == rounded(x[t] * x[t], 1024.0f));
    CHECK(y[6 * t + 2] == rounded(x[t], 128.0f));
    CHECK(y[6 * t + 3] == rounded(y[6 * t + 2] * y[6 * t + 2], 128.0f));
    CHECK(y[6 * t + 4] == rounded(x[t] + x[31 - t], 1024.0f));
    CHECK(y[6 * t + 5] == -y[6 * t + 4]);
  }
}

TEST_CASE("every 16-bit number keeps its value, and the ones between go to the nearer", "[simt]") {
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    const auto half = __ushort_as_half(static_cast<unsigned short>(bits));
    const auto bfloat = __ushort_as_bfloat16(static_cast<unsigned short>(bits));
    const float wide = std::bit_cast<float>(bits << 16);  // a bfloat16 is a float's upper half
    if (std::isnan(wide)) {
      REQUIRE(std::isnan(__bfloat162float(bfloat)));
    } else {
      REQUIRE(__bfloat162float(bfloat) == wide);
      REQUIRE(__bfloat16_as_ushort(__float2bfloat16(wide)) == bits);
    }
    const float value = __half2float(half);
    if (std::isnan(value)) continue;
    REQUIRE(__half_as_ushort(__float2half(value)) == bits);
    if ((bits & 0x7FFFu) >= 0x7BFFu) continue;  // the next one is infinite
    const float next = __half2float(__ushort_as_half(static_cast<unsigned short>(bits + 1)));
    const float middle = 0.5f * (value + next);
    const unsigned even = bits % 2 == 0 ? bits : bits + 1;
    REQUIRE(__half_as_ushort(__float2half(middle)) == even);
    REQUIRE(__half_as_ushort(__float2half(std::nextafter(middle, value))) == bits);
    REQUIRE(__half_as_ushort(__float2half(std::nextafter(middle, next))) == bits + 1);
  }
  CHECK(__half_as_ushort(__float2half(65519.9f)) == 0x7BFFu);  // the largest
  CHECK(__half_as_ushort(__float2half(65520.0f)) == 0x7C00u);  // infinite
  CHECK(__half_as_ushort(__float2half(-1e30f)) == 0xFC00u);
  CHECK(__half2float(__ushort_as_half(0x0001)) == std::ldexp(1.0f, -24));
}

TEST_CASE("vector types have CUDA's sizes and alignments", "[simt]") {
  CHECK((sizeof(uchar4) == 4 && alignof(uchar4) == 4));
  CHECK((sizeof(short2) == 4 && alignof(short2) == 4));
  CHECK((sizeof(ushort4) == 8 && alignof(ushort4) == 8));
  CHECK((sizeof(char3) == 3 && alignof(char3) == 1));
  CHECK((sizeof(longlong2) == 16 && alignof(longlong2) == 16));
  CHECK((sizeof(double4) == 32 && alignof(double4) == 16));
  CHECK((sizeof(double3) == 24 && alignof(double3) == 8));
  CHECK((sizeof(__half2) == 4 && alignof(__half2) == 4));
}

TEST_CASE("runtime calls of teaching code", "[simt]") {
  int* managed = nullptr;
  REQUIRE(cudaMallocManaged(&managed, 100 * sizeof(int)) == cudaSuccess);
  managed[99] = 7;
  CHECK(cudaFree(managed) == cudaSuccess);

  // Rows of 10 ints on the host, in a pitched array, and back.
  std::vector<int> rows(30), back(30, -1);
  std::iota(rows.begin(), rows.end(), 0);
  int* pitched = nullptr;
  std::size_t pitch = 0;
  REQUIRE(cudaMallocPitch(&pitched, &pitch, 40, 3) == cudaSuccess);
  CHECK(pitch >= 40);
  CHECK(cudaMemcpy2D(pitched, pitch, rows.data(), 40, 40, 3, cudaMemcpyHostToDevice) ==
        cudaSuccess);
  CHECK(cudaMemset2D(pitched, pitch, 0, 4, 3) == cudaSuccess);
  CHECK(cudaMemcpy2D(back.data(), 40, pitched, pitch, 40, 3, cudaMemcpyDeviceToHost) ==
        cudaSuccess);
  for (int row = 0; row < 3; ++row) rows[static_cast<std::size_t>(10 * row)] = 0;
  CHECK(back == rows);
  CHECK(cudaMemcpy2D(back.data(), 39, pitched, pitch, 40, 3, cudaMemcpyDeviceToHost) ==
        cudaErrorInvalidPitchValue);
  CHECK(cudaFree(pitched) == cudaSuccess);

  float* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 64) == cudaSuccess);
  pinned[15] = 1.0f;
  CHECK(cudaFreeHost(pinned) == cudaSuccess);

  int major = 0;
  CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess);
  cudaDeviceProp properties{};
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(major == properties.major);
  CHECK(properties.maxThreadsPerMultiProcessor >= properties.maxThreadsPerBlock);
  CHECK(cudaGetDeviceProperties(&properties, 1) == cudaErrorInvalidDevice);
  static_cast<void>(cudaGetLastError());

  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(stream, event) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaSuccess);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

}  // namespace
}  // namespace attn::simt_test
