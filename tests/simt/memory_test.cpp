// SPDX-License-Identifier: MIT
//
// Shared memory, static and dynamic; vector types; atomics under contention.
#include <algorithm>
#include <numeric>

#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

TEST_CASE_METHOD(EveryMode, "static shared memory belongs to one block", "[simt]") {
  constexpr unsigned kBlocks = 200, kThreads = 64;
  DeviceArray<int> sums(kBlocks * kThreads, -1);
  run_static_shared(kBlocks, kThreads, sums.data());
  std::vector<int> expected;
  for (int block = 0; block < static_cast<int>(kBlocks); ++block) {
    expected.insert(expected.end(), kThreads, block * (1024 + 2 * 32 * 33 + 3));
  }
  CHECK(sums.read() == expected);
}

TEST_CASE_METHOD(EveryMode, "dynamic shared memory: one block's own, aligned to 1,024 bytes",
                 "[simt]") {
  for (const unsigned threads : {1u, 7u, 32u, 100u, 1024u}) {
    CAPTURE(threads);
    constexpr unsigned kBlocks = 90;
    std::vector<float> values = random_integers<float>(kBlocks * threads, -1000, 1000, threads);
    DeviceArray<float> in(values);
    DeviceArray<float> out(values.size());
    DeviceArray<unsigned> offsets(kBlocks, 1u);
    run_dynamic_shared(kBlocks, threads, in.data(), out.data(), offsets.data());
    for (unsigned block = 0; block < kBlocks; ++block) {
      const auto first = values.begin() + block * threads;
      std::reverse(first, first + threads);
    }
    CHECK(out.read() == values);
    CHECK(offsets.read() == std::vector<unsigned>(kBlocks, 0u));
  }
}

TEST_CASE_METHOD(EveryMode, "dynamic and static shared memory lie side by side, up to 100 KiB",
                 "[simt]") {
  for (const int words : {0, 1, 100, 48 * 256 - 65, 48 * 256, 100 * 256}) {
    CAPTURE(words);
    DeviceArray<int> changed(20, -1);
    run_shared_sizes(20, 96, words, changed.data());
    CHECK(changed.read() == std::vector<int>(20, 0));
  }
}

TEST_CASE_METHOD(EveryMode, "two kernels may call their shared arrays the same", "[simt]") {
  DeviceArray<int> first(32), second(32);
  run_same_name(first.data(), second.data());
  for (int t = 0; t < 32; ++t) {
    CHECK(first.read(static_cast<std::size_t>(t)) == 31 - t);
    CHECK(second.read(static_cast<std::size_t>(t)) == 131 - t);
  }
}

TEST_CASE_METHOD(EveryMode, "float, float2 and float4 move the same data", "[simt]") {
  const std::vector<float> values = random_integers<float>(1000, -1000, 1000, 11);
  DeviceArray<float> in(values);
  for (const int width : {1, 2, 4}) {
    CAPTURE(width);
    DeviceArray<float> out(values.size());
    run_vector_copy(in.data(), out.data(), static_cast<int>(values.size()), width);
    CHECK(out.read() == values);
  }
}

TEST_CASE_METHOD(EveryMode, "vector types have CUDA's sizes, alignments and members", "[simt]") {
  DeviceArray<int> facts(kVectorFacts);
  run_vector_facts(facts.data());
  CHECK(facts.read() == std::vector<int>{8, 8, 12, 4, 16, 16, 16, 16, 8, 8,  16, 16,
                                         1, 2, 3,  4, 5,  6,  7,  8,  9, 10, 11, 1});
}

/// What the operation leaves in place of `old`.
template <typename T>
T after(Atomic op, T old, T operand) {
  const auto bits = [](T value) { return static_cast<unsigned>(value); };
  switch (op) {
    case Atomic::kAdd:
      return static_cast<T>(bits(old) + bits(operand));
    case Atomic::kSub:
      return static_cast<T>(bits(old) - bits(operand));
    case Atomic::kExch:
      return operand;
    case Atomic::kMin:
      return std::min(old, operand);
    case Atomic::kMax:
      return std::max(old, operand);
    case Atomic::kAnd:
      return old & operand;
    case Atomic::kOr:
      return old | operand;
    case Atomic::kXor:
      return old ^ operand;
    case Atomic::kInc:
      return old >= operand ? T{0} : static_cast<T>(old + 1);
    case Atomic::kDec:
      return old == 0 || old > operand ? operand : static_cast<T>(old - 1);
    case Atomic::kCas:
      return old == 0 ? operand : old;
  }
  return old;
}

/// Operations on one address happen one after another. So every value that one of them leaves
/// behind is met by exactly one other, or is the final value.
template <typename T>
void check_atomic(Atomic op, T start, std::vector<T> operands, unsigned blocks, unsigned threads) {
  CAPTURE(static_cast<int>(op), start, blocks, threads);
  DeviceArray<T> target(1, start);
  DeviceArray<T> device_operands(operands);
  DeviceArray<T> old_values(operands.size());
  run_atomic(op, blocks, threads, target.data(), device_operands.data(), old_values.data());

  const std::vector<T> old = old_values.read();
  std::vector<T> met(old);
  met.push_back(target.read(0));
  std::vector<T> left{start};
  for (std::size_t i = 0; i < old.size(); ++i) left.push_back(after(op, old[i], operands[i]));
  std::sort(met.begin(), met.end());
  std::sort(left.begin(), left.end());
  CHECK(met == left);

  if (op == Atomic::kExch || op == Atomic::kCas) return;  // the last, or first, one decides
  T expected = start;
  for (const T operand : operands) expected = after(op, expected, operand);
  CHECK(target.read(0) == expected);
}

TEST_CASE_METHOD(EveryMode, "atomics are atomic under contention across blocks", "[simt]") {
  const std::vector<std::pair<unsigned, unsigned>> sizes{{1, 1}, {1, 100}, {64, 32}, {40, 256}};
  for (const auto& [blocks, threads] : sizes) {
    const std::size_t n = std::size_t{blocks} * threads;
    for (const Atomic op : {Atomic::kAdd, Atomic::kSub, Atomic::kExch, Atomic::kMin, Atomic::kMax,
                            Atomic::kAnd, Atomic::kOr, Atomic::kXor, Atomic::kCas}) {
      const bool bitwise = op == Atomic::kAnd || op == Atomic::kOr;
      const int start = op == Atomic::kCas ? 0 : op == Atomic::kAnd ? -1 : 17;
      std::vector<int> operands = random_integers<int>(n, -2000000000, 2000000000, blocks);
      if (bitwise) {  // one bit at a time, so that not all is decided at once
        for (int& operand : operands) {
          const int bit = 1 << (static_cast<unsigned>(operand) % 31);
          operand = op == Atomic::kAnd ? ~bit : bit;
        }
      }
      check_atomic<int>(op, start, operands, blocks, threads);
      check_atomic<unsigned>(op, static_cast<unsigned>(start),
                             std::vector<unsigned>(operands.begin(), operands.end()), blocks,
                             threads);
    }
    for (const Atomic op : {Atomic::kInc, Atomic::kDec}) {
      check_atomic<unsigned>(op, 3u, std::vector<unsigned>(n, 9u), blocks, threads);
      check_atomic<unsigned>(op, 100u, std::vector<unsigned>(n, 9u), blocks, threads);
      check_atomic<unsigned>(op, 0u, std::vector<unsigned>(n, 0u), blocks, threads);
    }
  }
}

TEST_CASE_METHOD(EveryMode, "exactly one thread wins a compare-and-swap", "[simt]") {
  constexpr unsigned kBlocks = 50, kThreads = 200;
  std::vector<int> tickets(kBlocks * kThreads);
  std::iota(tickets.begin(), tickets.end(), 1);
  DeviceArray<int> target(1, 0);
  DeviceArray<int> operands(tickets);
  DeviceArray<int> old_values(tickets.size());
  run_atomic(Atomic::kCas, kBlocks, kThreads, target.data(), operands.data(), old_values.data());
  const std::vector<int> old = old_values.read();
  CHECK(std::count(old.begin(), old.end(), 0) == 1);
  const auto winner = static_cast<std::size_t>(std::find(old.begin(), old.end(), 0) - old.begin());
  CHECK(target.read(0) == tickets[winner]);
}

template <typename T>
void check_atomic_add(unsigned blocks, unsigned threads, unsigned targets) {
  CAPTURE(blocks, threads, targets);
  const std::size_t n = std::size_t{blocks} * threads;
  // Integers small enough that floating-point sums are exact in any order.
  const std::vector<T> operands = random_integers<T>(n, 1, 9, targets);
  DeviceArray<T> target(targets, T{0});
  DeviceArray<T> device_operands(operands);
  DeviceArray<T> old_values(n);
  run_atomic_add(blocks, threads, target.data(), targets, device_operands.data(),
                 old_values.data());
  std::vector<T> expected(targets, T{0});
  for (std::size_t i = 0; i < n; ++i) expected[i % targets] += operands[i];
  CHECK(target.read() == expected);
  // The old values of one address are the partial sums: all different, and below the total.
  std::vector<T> old = old_values.read();
  for (unsigned t = 0; t < targets; ++t) {
    std::vector<T> mine;
    for (std::size_t i = t; i < n; i += targets) mine.push_back(old[i]);
    std::sort(mine.begin(), mine.end());
    CHECK(std::adjacent_find(mine.begin(), mine.end()) == mine.end());
    CHECK((mine.empty() || (mine.front() == T{0} && mine.back() < expected[t])));
  }
}

TEST_CASE_METHOD(EveryMode, "atomicAdd for every type, on one address and on several", "[simt]") {
  for (const unsigned targets : {1u, 3u, 32u}) {
    check_atomic_add<int>(30, 256, targets);
    check_atomic_add<unsigned>(30, 256, targets);
    check_atomic_add<unsigned long long>(30, 256, targets);
    check_atomic_add<float>(30, 256, targets);
    check_atomic_add<double>(30, 256, targets);
    check_atomic_add<float>(1, 1024, targets);
  }
}

TEST_CASE_METHOD(EveryMode, "a loop around a 64-bit compare-and-swap finds the maximum", "[simt]") {
  const auto operands = random_integers<unsigned long long>(64 * 128, 1, 1ll << 60, 21);
  DeviceArray<unsigned long long> target(1, 0ull);
  DeviceArray<unsigned long long> device_operands(operands);
  run_cas_maximum(64, 128, target.data(), device_operands.data());
  CHECK(target.read(0) == *std::max_element(operands.begin(), operands.end()));
}

TEST_CASE_METHOD(EveryMode, "a histogram through atomics in shared and global memory", "[simt]") {
  constexpr int kBins = 37;
  const std::vector<int> values = random_integers<int>(20000, 0, kBins - 1, 8);
  DeviceArray<int> in(values);
  DeviceArray<int> bins(kBins, 0);
  run_histogram(16, 128, in.data(), static_cast<int>(values.size()), bins.data(), kBins);
  std::vector<int> expected(kBins, 0);
  for (const int value : values) ++expected[static_cast<std::size_t>(value)];
  CHECK(bins.read() == expected);
}

}  // namespace
}  // namespace attn::simt_test
