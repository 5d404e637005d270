// SPDX-License-Identifier: MIT
//
// The tracer against counts worked out by hand, and against a second, naive count on random access
// patterns.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <tuple>

#include "common/simt/watch/counters.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/tracer_kernels.hpp"

namespace attn::simt_test {
namespace {

using simt::LaunchRecord;
using simt::SiteTraffic;
using simt::Traffic;

/// Runs `call`, which launches one kernel, with the tracer on.
LaunchRecord trace(const std::function<void()>& call) {
  const simt::Options before = simt::options();
  simt::options().tracer = true;
  simt::take_launches();
  call();
  simt::options() = before;
  std::vector<LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  return launches.front();
}

/// The launch's accesses of one kind, one entry per line, in source order.
std::vector<SiteTraffic> lines(const LaunchRecord& record, const std::string& access) {
  std::map<int, SiteTraffic> by_line;
  for (const SiteTraffic& site : record.sites) {
    if (site.access != access) continue;
    SiteTraffic& sum = by_line[site.line];
    sum.file = site.file;
    sum.line = site.line;
    sum.lane_bytes = site.lane_bytes;
    sum.bytes += site.bytes;
    sum.requests += site.requests;
    sum.sectors += site.sectors;
    sum.wavefronts += site.wavefronts;
    sum.wavefronts_ideal += site.wavefronts_ideal;
  }
  std::vector<SiteTraffic> result;
  for (auto& [line, sum] : by_line) result.push_back(std::move(sum));
  return result;
}

/// What one pattern's one request cost. Sectors in global memory, wavefronts in shared memory.
struct Cost {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;
  std::uint64_t sectors = 0;
  std::uint64_t wavefronts = 0;
  std::uint64_t ideal = 0;
  bool operator==(const Cost&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Cost& cost) {
  return out << cost.requests << " requests, " << cost.bytes << " bytes, " << cost.sectors
             << " sectors, " << cost.wavefronts << " wavefronts of " << cost.ideal;
}

bool is_global(Move move) { return move <= Move::kGlobalAtomic; }

Cost measure(const Pattern& pattern) {
  DeviceArray<unsigned char> array(kPatternBytes);
  const LaunchRecord record = trace([&] { run_pattern(pattern, array.data()); });
  const Traffic& t = record.traffic;
  switch (pattern.move) {
    case Move::kGlobalLoad:
      return {t.global_load_requests, t.global_load_bytes, t.global_load_sectors, 0, 0};
    case Move::kGlobalStore:
      return {t.global_store_requests, t.global_store_bytes, t.global_store_sectors, 0, 0};
    case Move::kGlobalAtomic:
      return {t.global_atomic_requests, t.global_atomic_bytes, t.global_atomic_sectors, 0, 0};
    case Move::kSharedLoad:
    case Move::kSharedStore: {
      // Requests come from the line, since the totals of shared memory have none.
      const bool load = pattern.move == Move::kSharedLoad;
      const std::vector<SiteTraffic> sites = lines(record, load ? "shared load" : "shared store");
      const std::uint64_t requests = sites.empty() ? 0 : sites.back().requests;
      if (load) {
        return {requests, t.shared_load_bytes, 0, t.shared_load_wavefronts,
                t.shared_load_wavefronts_ideal};
      }
      return {requests, t.shared_store_bytes, 0, t.shared_store_wavefronts,
              t.shared_store_wavefronts_ideal};
    }
    case Move::kSharedAtomic:
      return {t.shared_atomic_requests, 0, 0, 0, 0};
  }
  return {};
}

/// Lanes that shared memory serves together, by the definition: a load's lanes may agree in pairs.
int lanes_per_phase(const Pattern& pattern) {
  const int alone = pattern.bytes == 16 ? 8 : pattern.bytes == 8 ? 16 : 32;
  if (alone == 32 || pattern.move != Move::kSharedLoad) return alone;
  for (const int partner : {1, 2}) {
    bool agree = true;
    for (int lane = 0; lane < 32; ++lane) {
      const int other = lane ^ partner;
      const auto takes_part = [&](int l) {
        return l < static_cast<int>(pattern.threads) && (pattern.lanes >> l & 1u) != 0;
      };
      agree = agree && (!takes_part(lane) || !takes_part(other) ||
                        pattern.offsets[static_cast<std::size_t>(lane)] ==
                            pattern.offsets[static_cast<std::size_t>(other)]);
    }
    if (agree) return 2 * alone;
  }
  return alone;
}

/// The same from the definitions, by brute force over bytes.
Cost expect(const Pattern& pattern) {
  Cost cost;
  std::set<int> sectors;
  // (phase, bank) -> words of 4 bytes
  std::map<int, std::map<int, std::set<int>>> banks;
  const int together = lanes_per_phase(pattern);
  for (int lane = 0; lane < static_cast<int>(pattern.threads); ++lane) {
    if ((pattern.lanes >> lane & 1u) == 0) continue;
    cost.requests = 1;
    cost.bytes += static_cast<std::uint64_t>(pattern.bytes);
    for (int byte = 0; byte < pattern.bytes; ++byte) {
      const int at = pattern.offsets[static_cast<std::size_t>(lane)] + byte;
      sectors.insert(at / 32);
      banks[lane / together][at / 4 % 32].insert(at / 4);
    }
  }
  if (is_global(pattern.move)) {
    cost.sectors = sectors.size();
  } else if (pattern.move == Move::kSharedAtomic) {
    cost.bytes = 0;
  } else {
    cost.ideal = banks.size();
    for (const auto& [phase, words_of] : banks) {
      std::size_t most = 0;
      for (const auto& [bank, words] : words_of) most = std::max(most, words.size());
      cost.wavefronts += most;
    }
  }
  return cost;
}

Pattern pattern_of(Move move, int bytes, const std::function<int(int)>& offset,
                   unsigned lanes = ~0u) {
  Pattern pattern{.move = move, .bytes = bytes, .lanes = lanes};
  for (int lane = 0; lane < 32; ++lane) {
    pattern.offsets[static_cast<std::size_t>(lane)] = offset(lane);
  }
  return pattern;
}

TEST_CASE("global accesses of 1 to 16 bytes: sectors of one request", "[simt][tracer]") {
  const auto contiguous = [](int bytes) { return [=](int lane) { return lane * bytes; }; };
  const auto sectors = [](const Pattern& pattern) {
    const Cost cost = measure(pattern);
    CHECK(cost.requests == 1);
    return cost.sectors;
  };
  for (const Move move : {Move::kGlobalLoad, Move::kGlobalStore}) {
    CAPTURE(static_cast<int>(move));
    // 32 lanes side by side: 32 * bytes / 32 sectors.
    CHECK(sectors(pattern_of(move, 1, contiguous(1))) == 1);
    CHECK(sectors(pattern_of(move, 2, contiguous(2))) == 2);
    CHECK(sectors(pattern_of(move, 4, contiguous(4))) == 4);
    CHECK(sectors(pattern_of(move, 8, contiguous(8))) == 8);
    CHECK(sectors(pattern_of(move, 16, contiguous(16))) == 16);
    // The same, backwards and shuffled: the order of lanes is free.
    CHECK(sectors(pattern_of(move, 4, [](int lane) { return 4 * (31 - lane); })) == 4);
    CHECK(sectors(pattern_of(move, 4, [](int lane) { return 4 * (lane * 5 % 32); })) == 4);
    // 128 bytes that start 4 bytes behind a sector's edge reach into a fifth.
    CHECK(sectors(pattern_of(move, 4, [](int lane) { return 4 * lane + 4; })) == 5);
    CHECK(sectors(pattern_of(move, 16, [](int lane) { return 16 * lane + 16; })) == 17);
    // Every lane in a sector of its own; every second element; one element for all.
    CHECK(sectors(pattern_of(move, 4, [](int lane) { return 32 * lane; })) == 32);
    CHECK(sectors(pattern_of(move, 16, [](int lane) { return 512 * lane; })) == 32);
    CHECK(sectors(pattern_of(move, 4, [](int lane) { return 8 * lane; })) == 8);
    CHECK(sectors(pattern_of(move, 4, [](int) { return 64; })) == 1);
    // Lanes that take no part cost nothing.
    CHECK(sectors(pattern_of(move, 4, contiguous(4), 0xFFu)) == 1);
    CHECK(sectors(pattern_of(move, 4, contiguous(4), 0x80000001u)) == 2);
    CHECK(sectors(pattern_of(move, 4, contiguous(4), 0x10000000u)) == 1);
  }
}

TEST_CASE("shared accesses: bank conflicts, within a phase only", "[simt][tracer]") {
  const auto wavefronts = [](const Pattern& pattern) {
    const Cost cost = measure(pattern);
    CHECK(cost.requests == 1);
    return std::pair(cost.wavefronts, cost.ideal);
  };
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  for (const Move move : {Move::kSharedStore, Move::kSharedLoad}) {
    // A load's tile is zeroed first: those stores are not looked at.
    CAPTURE(static_cast<int>(move));
    const auto stride = [&](int bytes, int step, unsigned lanes = ~0u) {
      return wavefronts(pattern_of(
          move, bytes, [=](int lane) { return lane * step; }, lanes));
    };
    CHECK(stride(4, 4) == Pair(1, 1));
    CHECK(stride(4, 0) == Pair(1, 1));  // broadcast
    CHECK(stride(4, 8) == Pair(2, 1));  // lanes 0 and 16 share a bank
    CHECK(stride(4, 16) == Pair(4, 1));
    CHECK(stride(4, 32 * 4) == Pair(32, 1));  // a column of [32][32]
    CHECK(stride(4, 33 * 4) == Pair(1, 1));   // a column of [32][33]
    CHECK(stride(4, 12) == Pair(1, 1));       // 3 words: odd, so no conflict
    CHECK(stride(4, 32 * 4, 0xFFu) == Pair(8, 1));
    CHECK(stride(1, 1) == Pair(1, 1));  // 8 words
    CHECK(stride(2, 2) == Pair(1, 1));
    CHECK(stride(1, 4) == Pair(1, 1));
    CHECK(stride(2, 128) == Pair(32, 1));
    // 8 bytes: two phases of 16 lanes, each of which can use all 32 banks once.
    CHECK(stride(8, 8) == Pair(2, 2));
    CHECK(stride(8, 16) == Pair(4, 2));          // lanes 0 and 8 of a phase collide
    CHECK(stride(8, 8, 0xFFFFu) == Pair(1, 1));  // one phase is empty
    CHECK(stride(8, 128) == Pair(32, 2));
    // 16 bytes: four phases of 8 lanes.
    CHECK(stride(16, 16) == Pair(4, 4));  // float4 side by side: ideal
    CHECK(stride(16, 32) == Pair(8, 4));
    CHECK(stride(16, 128) == Pair(32, 4));  // a column of float4 in rows of 32 floats
    CHECK(stride(16, 144) == Pair(4, 4));   // the same in rows of 36 floats
    CHECK(stride(16, 16, 0xFF0000FFu) == Pair(2, 2));
    // Lanes 0-7 and 8-15 take the same addresses, in different phases: no conflict, no broadcast.
    CHECK(wavefronts(pattern_of(move, 16, [](int lane) { return lane % 8 * 16; })) == Pair(4, 4));
  }
}

// A 128-bit load takes four quarter warps, and two halves if every lane n agrees with lane n ^ 1,
// or every one with lane n ^ 2; a 64-bit load two halves, or one pass. Of stores nothing is known.
TEST_CASE("wide shared loads: lanes that agree in pairs are served together", "[simt][tracer]") {
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  const auto cost = [](Move move, int bytes, const std::function<int(int)>& offset,
                       unsigned lanes = ~0u) {
    const Cost its = measure(pattern_of(move, bytes, offset, lanes));
    CHECK(its.requests == 1);
    return std::pair(its.wavefronts, its.ideal);
  };
  const auto load = [&](int bytes, const std::function<int(int)>& offset, unsigned lanes = ~0u) {
    return cost(Move::kSharedLoad, bytes, offset, lanes);
  };
  const auto store = [&](int bytes, const std::function<int(int)>& offset, unsigned lanes = ~0u) {
    return cost(Move::kSharedStore, bytes, offset, lanes);
  };

  // What NVIDIA's profiler shows on an H100 for 16 bytes: lanes 0-15 at one address and 16-31 at
  // another, 32 bytes on; and a stride of 32 bytes over 16 lanes, twice.
  CHECK(load(16, [](int lane) { return 32 * (lane / 16); }) == Pair(2, 2));
  CHECK(load(16, [](int lane) { return 32 * (lane % 16); }) == Pair(8, 4));

  CHECK(load(16, [](int) { return 64; }) == Pair(2, 2));
  CHECK(load(8, [](int) { return 64; }) == Pair(1, 1));
  // 16 chunks side by side, each for two neighbours, or for two lanes that are two apart.
  const auto neighbours = [](int bytes) { return [=](int lane) { return bytes * (lane / 2); }; };
  const auto two_apart = [](int bytes) {
    return [=](int lane) { return bytes * ((lane & 1) | (lane >> 2) << 1); };
  };
  CHECK(load(16, neighbours(16)) == Pair(2, 2));
  CHECK(load(16, two_apart(16)) == Pair(2, 2));
  CHECK(load(8, neighbours(8)) == Pair(1, 1));
  CHECK(load(8, two_apart(8)) == Pair(1, 1));
  CHECK(store(16, neighbours(16)) == Pair(4, 4));
  CHECK(store(8, neighbours(8)) == Pair(2, 2));
  // Four apart is not enough, nor are pairs of which one does not agree.
  CHECK(load(16, [](int lane) { return 16 * ((lane & 3) | lane >> 3 << 2); }) == Pair(4, 4));
  CHECK(load(16, [](int lane) { return lane == 31 ? 0 : 16 * (lane / 2); }) == Pair(4, 4));
  // Nor are some pairs of either kind.
  CHECK(load(16, [&](int lane) {
          return lane < 16 ? neighbours(16)(lane) : two_apart(16)(lane);
        }) == Pair(4, 4));
  // Conflicts count within a half then: chunks 128 bytes apart lie in the same four banks.
  CHECK(load(16, [](int lane) { return 128 * (lane / 2); }) == Pair(16, 2));
  CHECK(load(8, [](int lane) { return 128 * (lane / 2); }) == Pair(16, 1));
  // A lane that does not take part agrees with everything.
  CHECK(load(
            16, [](int lane) { return 16 * lane; }, 0x55555555u) == Pair(4, 2));
  CHECK(store(
            16, [](int lane) { return 16 * lane; }, 0x55555555u) == Pair(4, 4));
  CHECK(load(
            16, [](int lane) { return 16 * lane; }, 0x00000055u) == Pair(1, 1));
}

TEST_CASE("a product whose lanes share rows and keys in pairs takes fewer wavefronts",
          "[simt][tracer]") {
  std::vector<float> q(kProductRows * kProductD), k(kProductKeys * kProductD);
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i % 7) - 3;
  for (std::size_t i = 0; i < k.size(); ++i) k[i] = static_cast<float>(i % 11) - 5;
  DeviceArray<float> Q(q), K(k);
  const auto run = [&](bool pairs) {
    DeviceArray<float> S(kProductRows * kProductKeys);
    const Traffic t = trace([&] { run_product(pairs, Q.data(), K.data(), S.data()); }).traffic;
    for (int i = 0; i < kProductRows; ++i) {
      for (int j = 0; j < kProductKeys; ++j) {
        const float expected =
            std::inner_product(q.begin() + i * kProductD, q.begin() + (i + 1) * kProductD,
                               k.begin() + j * kProductD, 0.0f);
        CHECK(S.read(static_cast<std::size_t>(i * kProductKeys + j)) == expected);
      }
    }
    return t;
  };
  const Traffic plain = run(false);
  const Traffic pairs = run(true);
  // For each of 8 chunks of d a lane loads 2 times 16 bytes of Q and of K. Plain, 8 neighbours
  // share a row, which takes two halves; all have keys of their own, which takes four quarters.
  CHECK(plain.shared_load_wavefronts == 8 * (2 * 2 + 2 * 4));
  CHECK(pairs.shared_load_wavefronts == 8 * (2 * 2 + 2 * 2));
  CHECK(plain.shared_load_wavefronts_ideal == plain.shared_load_wavefronts);  // no conflicts
  CHECK(pairs.shared_load_wavefronts_ideal == pairs.shared_load_wavefronts);
  CHECK(plain.shared_load_bytes == pairs.shared_load_bytes);
  CHECK(plain.shared_store_wavefronts == pairs.shared_store_wavefronts);
}

TEST_CASE("shuffles and votes are instructions of a warp", "[simt][tracer]") {
  DeviceArray<float> x(4096, 1.0f), out(32);
  const Traffic t = trace([&] { run_warp_instructions(x.data(), out.data()); }).traffic;
  CHECK(t.votes == 3);
  CHECK(t.shuffles == 1 + 2 + 2);  // 32 bits; 64 bits; one for each half, which have parted
  // Groups with masks of their own, which nothing has parted: one instruction for all.
  const Traffic groups = trace([&] { run_group_shuffles(x.data(), out.data(), 100); }).traffic;
  CHECK(groups.shuffles == 101);
  CHECK(groups.votes == 0);
  const Traffic rounds = trace([&] { run_shuffle_rounds(x.data(), out.data(), 100); }).traffic;
  CHECK(rounds.shuffles == 100);
  DeviceArray<int> seen(64);
  const Traffic barriers = trace([&] { run_barriers(1, 64, 64, 5, seen.data()); }).traffic;
  CHECK(barriers.shuffles + barriers.votes == 0);  // __syncthreads_count is a barrier
}

TEST_CASE("random patterns cost what the definitions say", "[simt][tracer]") {
  constexpr unsigned kSeed = 20260301;
  std::mt19937 random(kSeed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (const Move move : {Move::kGlobalLoad, Move::kGlobalStore, Move::kGlobalAtomic,
                          Move::kSharedLoad, Move::kSharedStore, Move::kSharedAtomic}) {
    const bool atomic = move == Move::kGlobalAtomic || move == Move::kSharedAtomic;
    for (const int bytes : {1, 2, 4, 8, 16}) {
      if (atomic && bytes != 4) continue;
      for (int round = 0; round < 40; ++round) {
        // Crowded and scattered ones; full and partial warps; all lanes and few.
        const int room = round % 2 == 0 ? kPatternBytes : 256 << round % 5;
        Pattern pattern = pattern_of(move, bytes, [&](int) { return below(room / bytes) * bytes; });
        if (round % 5 < 2) {  // lanes that agree in pairs, but perhaps for the last one
          const int partner = 1 + round % 5;
          for (int lane = 0; lane < 31 + round / 5 % 2; ++lane) {
            pattern.offsets[static_cast<std::size_t>(lane)] =
                pattern.offsets[static_cast<std::size_t>(lane & ~partner)];
          }
        }
        if (round % 3 == 1) pattern.threads = 1 + static_cast<unsigned>(below(32));
        if (round % 4 == 2) pattern.lanes = static_cast<std::uint32_t>(random()) | 1u;
        CAPTURE(kSeed, static_cast<int>(move), bytes, round, pattern.threads, pattern.lanes);
        CHECK(measure(pattern) == expect(pattern));
      }
    }
  }
}

TEST_CASE("a vector that is made in place is stored in one access", "[simt][tracer]") {
  DeviceArray<float> x(128, 1.0f), out(256);
  const LaunchRecord record = trace([&] { run_make_float4(x.data(), out.data(), 32); });
  const std::vector<SiteTraffic> stores = lines(record, "global store");
  REQUIRE(stores.size() == 2);
  for (const SiteTraffic& store : stores) {
    CHECK(store.lane_bytes == 16);
    CHECK(store.requests == 1);
    CHECK(store.sectors == 32);  // every other 16 bytes of 1 KiB
  }
  CHECK(record.traffic.global_load_requests == 4);
  CHECK(record.traffic.global_load_sectors == 4 * 16);
}

TEST_CASE("matrix multiplication, N = 128: naive, swapped indices, tiled", "[simt][tracer]") {
  constexpr int n = 128;
  constexpr std::uint64_t kRequests = std::uint64_t{n} * n * n / 32;  // a thread's n loads, by warp
  static_assert(kRequests == 65'536);
  DeviceArray<float> A(n * n, 1.0f), B(n * n, 1.0f), C(n * n);
  const auto matmul = [&](Matmul kind) {
    return trace([&] { run_matmul(kind, A.data(), B.data(), C.data(), n); });
  };
  const auto check_line = [](const SiteTraffic& site, std::uint64_t requests,
                             std::uint64_t sectors_each) {
    CAPTURE(site.line);
    CHECK(site.requests == requests);
    CHECK(site.sectors == requests * sectors_each);
    CHECK(site.bytes == requests * 32 * 4);
    CHECK(site.lane_bytes == 4);
  };
  const auto check_distinct_bytes = [](const Traffic& t) {
    CHECK(t.global_read_bytes_compulsory == 2 * n * n * 4);
    CHECK(t.global_write_bytes_compulsory == n * n * 4);
    CHECK(t.global_sectors_compulsory == 3 * n * n * 4 / 32);
  };

  SECTION("naive: a warp reads one element of A and 32 neighbours of B") {
    const LaunchRecord record = matmul(Matmul::kNaive);
    const std::vector<SiteTraffic> loads = lines(record, "global load");
    REQUIRE(loads.size() == 2);
    check_line(loads[0], kRequests, 1);
    check_line(loads[1], kRequests, 4);
    CHECK(loads[0].file == tracer_kernels_file());
    CHECK(loads[0].line == naive_matmul_load_line());
    CHECK(loads[1].line == naive_matmul_load_line() + 1);
    CHECK(record.traffic.global_load_requests == 2 * kRequests);
    CHECK(record.traffic.global_load_sectors == 5 * kRequests);
    CHECK(record.traffic.global_load_bytes == std::uint64_t{2} * n * n * n * 4);
    CHECK(record.traffic.global_store_requests == n * n / 32);
    CHECK(record.traffic.global_store_sectors == n * n / 8);
    check_distinct_bytes(record.traffic);
    CHECK(record.kernel == "naive_matmul_kernel");
    CHECK(std::tuple(record.grid.x, record.grid.y, record.grid.z) == std::tuple(4u, 16u, 1u));
    CHECK(std::tuple(record.block.x, record.block.y, record.block.z) == std::tuple(32u, 8u, 1u));
  }
  SECTION("swapped: a warp reads 32 rows of A, each in a sector of its own, and one B") {
    const LaunchRecord record = matmul(Matmul::kSwappedIndices);
    const std::vector<SiteTraffic> loads = lines(record, "global load");
    REQUIRE(loads.size() == 2);
    check_line(loads[0], kRequests, 32);
    check_line(loads[1], kRequests, 1);
    CHECK(record.traffic.global_store_sectors == n * n);
    check_distinct_bytes(record.traffic);
  }
  SECTION("tiled 32: each of n/32 tiles brings one element of A and of B to a thread") {
    const LaunchRecord record = matmul(Matmul::kTiled);
    const Traffic& t = record.traffic;
    const std::uint64_t elements = std::uint64_t{2} * n * n * n / 32;
    CHECK(t.global_load_bytes == elements * 4);
    CHECK(t.global_load_requests == elements / 32);
    CHECK(t.global_load_sectors == elements / 32 * 4);
    check_distinct_bytes(t);
    // Per tile a thread stores 2 and loads 64 elements of shared memory, rows or broadcasts.
    CHECK(t.shared_store_wavefronts == elements / 32);
    CHECK(t.shared_load_wavefronts == 2 * kRequests);
    CHECK(t.shared_load_wavefronts_ideal == t.shared_load_wavefronts);
    CHECK(t.shared_load_bytes == std::uint64_t{2} * n * n * n * 4);
    CHECK(t.barriers == 2 * (n / 32) * (n / 32) * (n / 32));
    CHECK(record.static_shared_bytes == 2 * 32 * 32 * 4);
  }
}

TEST_CASE("a column of a [32][32] tile takes 32 wavefronts, of a [32][33] tile one",
          "[simt][tracer]") {
  DeviceArray<float> in(32 * 32, 1.0f), out(32 * 32);
  const LaunchRecord plain = trace([&] { run_transpose(false, in.data(), out.data()); });
  CHECK(plain.traffic.shared_store_wavefronts == 32);
  CHECK(plain.traffic.shared_load_wavefronts == 32 * 32);
  CHECK(plain.traffic.shared_load_wavefronts_ideal == 32);
  CHECK(plain.static_shared_bytes == 32 * 32 * 4);
  CHECK(plain.kernel == "transpose_kernel<32>");
  const LaunchRecord padded = trace([&] { run_transpose(true, in.data(), out.data()); });
  CHECK(padded.traffic.shared_store_wavefronts == 32);
  CHECK(padded.traffic.shared_load_wavefronts == 32);
  CHECK(padded.static_shared_bytes == (32 * 33 - 1) * 4);  // the last padding stays unused
  CHECK(padded.traffic.global_load_sectors == 32 * 4);
}

// Row i of S is 32 floats, so 4 sectors if all lanes read it; lane j reads it if i >= j. Row i < 32
// is read by lanes 0..i: ceil((i + 1) / 8) sectors, 8 * (1 + 2 + 3 + 4) = 80 over 32 rows; every
// row after that costs 4. The weight of a row is one element for all lanes: 1 sector. For 64 rows:
// 80 + 32 * 4 + 64 = 272.
// A tracer that makes a request of "the k-th time a lane runs this line" puts lane j's element of
// row j + k next to other lanes' elements of other rows. Each lies in a sector of its own:
// 64 * 32 - (0 + 1 + ... + 31) = 1552 sectors instead of 208, 1616 in all.
TEST_CASE("lanes that join a loop late read a row together with the others", "[simt][tracer]") {
  for (const int rows : {64, 32, 500}) {  // 500: a lane's log fills up several times
    CAPTURE(rows);
    const auto n = static_cast<std::uint64_t>(rows);
    DeviceArray<float> weights(n, 1.0f), S(n * 32, 1.0f), out(32);
    const LaunchRecord record =
        trace([&] { run_causal_columns(weights.data(), S.data(), out.data(), rows); });
    CHECK(record.traffic.global_load_requests == 2 * n);
    CHECK(record.traffic.global_load_sectors == n + 80 + (n - 32) * 4);
    CHECK(record.traffic.global_load_bytes == (32 * n + (32 * n - 496)) * 4);
    if (rows == 64) CHECK(record.traffic.global_load_sectors == 272);
    // Also where nothing but the loop itself tells the rows apart.
    const Traffic late = trace([&] { run_late_lanes(S.data(), out.data(), rows); }).traffic;
    CHECK(late.global_load_requests == n);
    CHECK(late.global_load_sectors == 80 + (n - 32) * 4);
  }
}

TEST_CASE("divergence: loops, branches, early return, a lone lane", "[simt][tracer]") {
  DeviceArray<float> x(4096, 1.0f), y(4096, 1.0f), out(4096);

  // In each of 100 rounds, 8 lanes make 1, 2, 3 or 4 turns of an inner loop: 4 requests, of 32, 24,
  // 16 and 8 lanes, each for one element.
  const Traffic nested = trace([&] { run_nested_loops(x.data(), out.data(), 100); }).traffic;
  CHECK(nested.global_load_requests == 400);
  CHECK(nested.global_load_sectors == 400);
  CHECK(nested.global_load_bytes == 100 * 80 * 4);

  // Iteration j: lanes j..31 read x[j]. 32 requests of one sector; 32 + 31 + ... + 1 elements.
  const Traffic uneven = trace([&] { run_uneven_loop(x.data(), out.data()); }).traffic;
  CHECK(uneven.global_load_requests == 32);
  CHECK(uneven.global_load_sectors == 32);
  CHECK(uneven.global_load_bytes == 528 * 4);
  CHECK(uneven.global_store_requests == 1);

  // 40 threads, 36 stay. Warp 0: a by 16 even lanes, b by 16 odd ones, each over 4 sectors, and one
  // store over 4. Warp 1 has 8 lanes, of which 4 stay: 1 sector each.
  const Traffic branches =
      trace([&] { run_branches(40, 36, x.data(), y.data(), out.data()); }).traffic;
  CHECK(branches.global_load_requests == 4);
  CHECK(branches.global_load_sectors == 10);
  CHECK(branches.global_load_bytes == 36 * 4);
  CHECK(branches.global_store_requests == 2);
  CHECK(branches.global_store_sectors == 5);
  CHECK(branches.global_store_bytes == 36 * 4);
  CHECK(branches.global_read_bytes_compulsory == 36 * 4);

  // Nobody stays.
  const Traffic none = trace([&] { run_branches(40, 0, x.data(), y.data(), out.data()); }).traffic;
  CHECK(none == Traffic{});

  // Lane 0 alone: 1000 requests of one sector. All lanes: one request of 4.
  const Traffic lone = trace([&] { run_lone_lane(x.data(), out.data(), 1000); }).traffic;
  CHECK(lone.global_load_requests == 1001);
  CHECK(lone.global_load_sectors == 1004);
  CHECK(lone.global_store_requests == 1);

  // Lanes that nothing parts stay together, whatever their shuffles' masks are.
  const Traffic groups = trace([&] { run_group_shuffles(x.data(), out.data(), 100); }).traffic;
  CHECK(groups.global_load_requests == 100);
  CHECK(groups.global_load_sectors == 400);
  CHECK(groups.global_store_requests == 1);
  CHECK(groups.global_store_sectors == 4);

  // Even and odd lanes part in two functions, and come back to one store of 4 sectors each.
  const Traffic calls = trace([&] { run_calls(x.data(), y.data()); }).traffic;
  CHECK(calls.global_store_requests == 2);
  CHECK(calls.global_store_sectors == 8);

  const Traffic shuffles = trace([&] { run_shuffle_rounds(x.data(), out.data(), 100); }).traffic;
  CHECK(shuffles.global_load_requests == 100);
  CHECK(shuffles.global_load_sectors == 400);
}

TEST_CASE("one pointer, two memories: two requests", "[simt][tracer]") {
  DeviceArray<float> x(32, 1.0f), out(32);
  const Traffic t = trace([&] { run_mixed_spaces(x.data(), out.data()); }).traffic;
  CHECK(t.global_load_requests == 1);
  CHECK(t.global_load_sectors == 2);
  CHECK(t.global_load_bytes == 16 * 4);
  CHECK(t.shared_load_wavefronts == 1);
  CHECK(t.shared_load_bytes == 16 * 4);
  CHECK(t.shared_store_bytes == 32 * 4);
}

TEST_CASE("compulsory bytes: each once per launch, reads and writes apart", "[simt][tracer]") {
  DeviceArray<float> x(1024, 1.0f), out(1024);

  for (int repeat = 0; repeat < 2; ++repeat) {  // a second launch starts anew
    const Traffic in_place = trace([&] { run_in_place(x.data(), 8, 128); }).traffic;
    CHECK(in_place.global_read_bytes_compulsory == 4096);
    CHECK(in_place.global_write_bytes_compulsory == 4096);
    CHECK(in_place.global_sectors_compulsory == 128);
  }
  // Read 100 times over, by 4 warps of 2 blocks; 64 floats are written.
  const Traffic rounds = trace([&] { run_rounds(x.data(), out.data(), 2, 64, 100); }).traffic;
  CHECK(rounds.global_load_bytes == 128 * 100 * 4);
  CHECK(rounds.global_load_requests == 4 * 100);
  CHECK(rounds.global_load_sectors == 4 * 100 * 4);
  CHECK(rounds.global_read_bytes_compulsory == 4096);
  CHECK(rounds.global_write_bytes_compulsory == 128 * 4);
  CHECK(rounds.global_sectors_compulsory == 128 + 128 * 4 / 32);
  // 4 bytes of each sector are read and 4 others written: one sector, not two.
  const Traffic halves = trace([&] { run_half_sectors(x.data(), 64); }).traffic;
  CHECK(halves.global_read_bytes_compulsory == 64 * 4);
  CHECK(halves.global_write_bytes_compulsory == 64 * 4);
  CHECK(halves.global_sectors_compulsory == 64);
  CHECK(halves.global_load_sectors == 64);
  // Single bytes.
  DeviceArray<unsigned char> bytes(kPatternBytes);
  const Pattern bytewise = pattern_of(Move::kGlobalLoad, 1, [](int lane) { return 40 * lane; });
  const Traffic scattered = trace([&] { run_pattern(bytewise, bytes.data()); }).traffic;
  CHECK(scattered.global_read_bytes_compulsory == 32);
  CHECK(scattered.global_write_bytes_compulsory == 0);
  CHECK(scattered.global_sectors_compulsory == 32);
}

TEST_CASE("atomics are counted apart from loads and stores", "[simt][tracer]") {
  DeviceArray<int> counter(1);
  const Traffic t = trace([&] { run_counters(counter.data(), 3, 64); }).traffic;
  CHECK(counter.read(0) == 3 * 64);
  CHECK(t.global_atomic_requests == 6);
  CHECK(t.global_atomic_sectors == 6);
  CHECK(t.global_atomic_bytes == 3 * 64 * 4);
  CHECK(t.shared_atomic_requests == 6);
  CHECK(t.shared_store_bytes == 3 * 4);  // each block's first thread clears its sum
  CHECK(t.shared_load_bytes == 0);
  CHECK(t.global_load_requests + t.global_store_requests == 0);
  CHECK(t.global_read_bytes_compulsory == 4);
  CHECK(t.global_write_bytes_compulsory == 4);
  CHECK(t.global_sectors_compulsory == 1);
}

TEST_CASE("barriers by block, special functions by thread, shared memory by launch",
          "[simt][tracer]") {
  DeviceArray<int> seen(3 * 100);
  const Traffic barriers = trace([&] { run_barriers(3, 100, 70, 5, seen.data()); }).traffic;
  CHECK(barriers.barriers == 3 * 5);
  CHECK(barriers.special_functions == 0);

  DeviceArray<float> x(50, 2.0f), out(50);
  const Traffic special = trace([&] { run_special_functions(50, x.data(), out.data()); }).traffic;
  CHECK(special.special_functions == 50 * kSpecialFunctions);
  CHECK(special.barriers == 0);

  DeviceArray<unsigned char> bytes(40);
  const LaunchRecord shared = trace([&] { run_dynamic_shared_bytes(40, 1000, bytes.data()); });
  CHECK(shared.shared_bytes == 1000);
  CHECK(shared.static_shared_bytes == 0);
  CHECK(shared.traffic.shared_store_bytes == 40);
  CHECK(shared.traffic.shared_store_wavefronts == 2);  // 32 lanes, then 8
}

TEST_CASE("only launches are recorded, and only on request", "[simt][tracer]") {
  simt::take_launches();
  DeviceArray<float> x(1024, 1.0f);
  run_in_place(x.data(), 8, 128);
  CHECK(simt::take_launches().empty());

  const simt::Options before = simt::options();
  simt::options().tracer = true;
  const DeviceArray<float> written_by_the_host(1024, 2.0f);
  CHECK(written_by_the_host.read(5) == 2.0f);
  CHECK(simt::take_launches().empty());
  run_in_place(x.data(), 8, 128);
  run_half_sectors(x.data(), 64);
  simt::options() = before;
  const std::vector<LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 2);
  CHECK(launches[0].kernel == "in_place_kernel");
  CHECK(launches[1].kernel == "half_sectors_kernel");
  CHECK(simt::take_launches().empty());
}

TEST_CASE("lines add up to the totals", "[simt][tracer]") {
  DeviceArray<float> A(64 * 64, 1.0f), B(64 * 64, 1.0f), C(64 * 64);
  const LaunchRecord record =
      trace([&] { run_matmul(Matmul::kTiled, A.data(), B.data(), C.data(), 64); });
  const auto sum = [&](const std::string& access, std::uint64_t SiteTraffic::*field) {
    std::uint64_t total = 0;
    for (const SiteTraffic& site : record.sites) {
      if (site.access == access) total += site.*field;
    }
    return total;
  };
  const Traffic& t = record.traffic;
  CHECK(sum("global load", &SiteTraffic::bytes) == t.global_load_bytes);
  CHECK(sum("global load", &SiteTraffic::requests) == t.global_load_requests);
  CHECK(sum("global load", &SiteTraffic::sectors) == t.global_load_sectors);
  CHECK(sum("global store", &SiteTraffic::sectors) == t.global_store_sectors);
  CHECK(sum("shared load", &SiteTraffic::bytes) == t.shared_load_bytes);
  CHECK(sum("shared load", &SiteTraffic::wavefronts) == t.shared_load_wavefronts);
  CHECK(sum("shared store", &SiteTraffic::wavefronts) == t.shared_store_wavefronts);
  const auto place = [](const SiteTraffic& site) { return std::tuple(site.file, site.line); };
  CHECK(std::is_sorted(
      record.sites.begin(), record.sites.end(),
      [&](const SiteTraffic& a, const SiteTraffic& b) { return place(a) < place(b); }));
}

/// Bytes of this process that are in memory now.
std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST_CASE("memory does not grow with the number of accesses", "[simt][tracer]") {
  DeviceArray<float> x(1024, 1.0f), out(256);
  const auto run = [&](int rounds) {
    const Traffic t = trace([&] { run_rounds(x.data(), out.data(), 1, 256, rounds); }).traffic;
    CHECK(t.global_load_bytes == std::uint64_t{256} * 4 * static_cast<unsigned>(rounds));
  };
  for (const bool detectors : {false, true}) {
    CAPTURE(detectors);
    const simt::Options before = simt::options();
    simt::options().detectors = detectors;
    run(2000);
    const std::int64_t after_short = resident_bytes();
    run(20'000);  // 5 million accesses: even one byte for each would show
    const std::int64_t growth = resident_bytes() - after_short;
    simt::options() = before;
    CHECK(growth < 1 << 20);
  }
}

}  // namespace
}  // namespace attn::simt_test
