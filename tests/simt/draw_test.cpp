// SPDX-License-Identifier: MIT
//
// What pictures are drawn from, against kernels whose accesses are known, and against the tracer.
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/simt/draw/fragments.hpp"
#include "common/simt/draw/sheet.hpp"
#include "common/simt/draw/swizzle.hpp"
#include "common/simt/machine/arena.hpp"
#include "common/simt/watch/counters.hpp"
#include "tests/simt/async_copy_kernels.hpp"
#include "tests/simt/draw_kernels.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/tensor_core_kernels.hpp"
#include "tests/simt/tracer_kernels.hpp"

namespace attn::simt_test {
namespace {

using simt::Access;
using simt::Space;
using simt::Unit;
using simt::draw::SeenAccess;
using simt::draw::TileLayout;
using simt::draw::Timeline;
using simt::draw::Touches;
using simt::draw::WorstRequests;

/// Runs `call` with an observer, which must not outlive it there.
void observe(simt::Observer& observer, const std::function<void()>& call) {
  const simt::Options before = simt::options();
  simt::options().observer = &observer;
  call();
  simt::options() = before;
}

/// Everything, in words.
struct Diary : simt::Observer {
  std::vector<std::string> lines;
  void begin_launch(const std::string& kernel, dim3 grid, dim3 block) override {
    lines.push_back(kernel + " " + std::to_string(grid.x) + " x " + std::to_string(block.x));
  }
  void begin_block(uint3 block) override { lines.push_back("block " + std::to_string(block.x)); }
  void request(int warp, const simt::Request& request) override {
    const char* const space = request.space == Space::kShared ? "shared" : "global";
    lines.push_back("warp " + std::to_string(warp) + " " + simt::access_name(request.access) + " " +
                    space + " " + std::to_string(request.lane_count));
  }
  void barrier(const std::source_location& /*where*/) override { lines.push_back("barrier"); }
};

/// Each lane's access to global memory on its own, in order.
struct Log : simt::Observer {
  struct Touch {
    std::uintptr_t address;
    Access access;
  };
  std::vector<Touch> touches;
  void request(int /*warp*/, const simt::Request& request) override {
    if (request.space != Space::kGlobal) return;
    for (int lane = 0; lane < 32; ++lane) {
      if ((request.lanes >> lane & 1u) != 0) {
        touches.push_back({request.addresses[lane], request.access});
      }
    }
  }
};

const SeenAccess& only(const std::vector<SeenAccess>& accesses, Access access, Space space) {
  const SeenAccess* found = nullptr;
  for (const SeenAccess& seen : accesses) {
    if (seen.access != access || seen.space != space) continue;
    REQUIRE(found == nullptr);
    found = &seen;
  }
  REQUIRE(found != nullptr);
  return *found;
}

TEST_CASE("an observer sees launch, blocks, accesses and barriers in their order") {
  DeviceArray<float> x(32 * kStairWarps, 1.0f), out(32 * kStairWarps);
  Diary diary;
  observe(diary, [&] { run_stairs(x.data(), out.data()); });
  std::vector<std::string> expected = {"stairs_kernel 1 x 128", "block 0"};
  for (int warp = 0; warp < kStairWarps; ++warp) {
    const std::string name = "warp " + std::to_string(warp);
    for (int r = 0; r <= warp; ++r) expected.push_back(name + " read global 32");
    expected.push_back(name + " write shared 32");
  }
  expected.push_back("barrier");
  for (int warp = 0; warp < kStairWarps; ++warp) {
    const std::string name = "warp " + std::to_string(warp);
    expected.push_back(name + " read shared 32");
    expected.push_back(name + " write global 32");
  }
  CHECK(diary.lines == expected);
}

TEST_CASE("an array is found by any address in it, and by none beside it") {
  const DeviceArray<float> before(8), array(100), behind(8);
  DeviceArray<float>& x = const_cast<DeviceArray<float>&>(array);
  const auto begin = reinterpret_cast<std::uintptr_t>(x.data());
  for (const std::size_t byte : {0, 1, 399}) {
    const auto found = simt::Arena::get().array_at(begin + byte);
    REQUIRE(found.has_value());
    CHECK(found->begin == begin);
    CHECK(found->bytes == 400);
    CHECK(found->name == "test");
  }
  CHECK_FALSE(simt::Arena::get().array_at(begin - 1).has_value());
  CHECK_FALSE(simt::Arena::get().array_at(begin + 400).has_value());
}

TEST_CASE("touches: a load and a store of every eighth float, in order") {
  DeviceArray<float> data(256);
  Touches touches({{.label = "test", .name = "data", .row_bytes = 4 * sizeof(float)}});
  observe(touches, [&] { run_half_sectors(data.data(), 32); });
  REQUIRE(touches.ticks() == 64);
  REQUIRE(touches.ticks_per_column() == 1);
  REQUIRE(touches.arrays().size() == 1);
  const Touches::Array& array = *touches.arrays().front();
  CHECK(array.name == "data");
  CHECK(array.rows() == 64);
  CHECK(array.cells() == 16);  // of 4 rows, 16 floats, each
  for (std::int64_t tick = 0; tick < Touches::kColumns; ++tick) {
    for (std::int64_t cell = 0; cell < 16; ++cell) {
      // Thread t loads float 8 t in tick t, and stores float 8 t + 4 in tick 32 + t.
      const int expected = tick < 32 && tick / 2 == cell                        ? Touches::kLoaded
                           : tick >= 32 && tick < 64 && (tick - 32) / 2 == cell ? Touches::kStored
                                                                                : 0;
      CAPTURE(tick, cell);
      CHECK(array.at(tick, cell) == expected);
    }
  }
}

TEST_CASE("touches: columns grow wider with time, and nothing is lost or moved") {
  const unsigned threads = GENERATE(128u, 208u, 209u, 1000u);
  DeviceArray<float> data(4 * threads);
  Touches touches;
  Log log;
  observe(touches, [&] { run_in_place(data.data(), 4, threads); });
  observe(log, [&] { run_in_place(data.data(), 4, threads); });
  REQUIRE(touches.ticks() == 8 * threads);
  REQUIRE(log.touches.size() == 8 * threads);
  REQUIRE(touches.arrays().size() == 1);
  const Touches::Array& array = *touches.arrays().front();
  CHECK(touches.ticks() <= touches.ticks_per_column() * Touches::kColumns);
  CHECK(touches.ticks() * 2 > touches.ticks_per_column() * Touches::kColumns);
  std::vector<std::uint8_t> expected(Touches::kColumns * Touches::kCells);
  for (std::size_t tick = 0; tick < log.touches.size(); ++tick) {
    const auto row = static_cast<std::int64_t>(
        (log.touches[tick].address - reinterpret_cast<std::uintptr_t>(data.data())) / 4);
    const std::int64_t column = static_cast<std::int64_t>(tick) / touches.ticks_per_column();
    const bool load = log.touches[tick].access == Access::kLoad;
    expected[static_cast<std::size_t>(column * Touches::kCells + row / array.rows_per_cell())] |=
        static_cast<std::uint8_t>(load ? Touches::kLoaded : Touches::kStored);
  }
  CHECK(std::equal(expected.begin(), expected.end(), array.touched.begin()));
  REQUIRE(touches.launches().size() == 1);
  CHECK(touches.launches().front().block_begins ==
        std::vector<std::int64_t>{0, 2 * threads, 4 * threads, 6 * threads});
}

TEST_CASE("touches: the arrays that were asked for, in that order, and the names of all") {
  DeviceArray<float> x(32 * 4, 1.0f), sums(8);
  Touches touches({}, {"TEST"});
  observe(touches, [&] { run_strided(x.data(), sums.data(), 4); });
  CHECK(touches.arrays().size() == 2);  // both are called "test"
  Touches nothing({}, {"other"});
  observe(nothing, [&] { run_strided(x.data(), sums.data(), 4); });
  CHECK(nothing.arrays().empty());
  CHECK(nothing.names() == std::vector<std::string>{"test", "test"});
  CHECK(nothing.ticks() == 64);
}

TEST_CASE("requests: addresses, sectors and the least that would do") {
  const int stride = GENERATE(1, 2, 8, 64);
  DeviceArray<float> x(static_cast<std::size_t>(stride) * 32, 1.0f), sums(8);
  WorstRequests requests;
  observe(requests, [&] { run_strided(x.data(), sums.data(), stride); });
  const auto accesses = requests.accesses();
  const SeenAccess& load = only(accesses, Access::kLoad, Space::kGlobal);
  CAPTURE(stride);
  CHECK(load.array == "test");
  CHECK(load.worst == std::min<std::uint64_t>(32, 4 * static_cast<std::uint64_t>(stride)));
  CHECK(load.ideal == 4);
  CHECK(load.lanes == ~0u);
  for (std::size_t lane = 0; lane < 32; ++lane) {
    CHECK(load.addresses[lane] == load.base + 4 * static_cast<std::size_t>(stride) * lane);
  }
  const SeenAccess& atomic = only(accesses, Access::kAtomic, Space::kGlobal);
  CHECK(atomic.worst == 1);
  CHECK(atomic.ideal == 1);
}

TEST_CASE("requests: conflicts of banks as the tracer counts them") {
  const bool padded = GENERATE(false, true);
  CAPTURE(padded);
  DeviceArray<float> in(1024, 1.0f), out(1024);
  WorstRequests requests;
  simt::options().tracer = true;
  simt::take_launches();
  observe(requests, [&] { run_transpose(padded, in.data(), out.data()); });
  simt::options().tracer = false;
  const auto launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  const SeenAccess load = only(requests.accesses(), Access::kLoad, Space::kShared);
  CHECK(load.worst == (padded ? 1 : 32));
  CHECK(load.ideal == 1);
  CHECK(load.cost == launches.front().traffic.shared_load_wavefronts);
  // The banks that the picture shows: a column of a tile that begins at a multiple of 128 bytes.
  for (std::size_t lane = 1; lane < 32; ++lane) {
    CHECK(load.addresses[lane] - load.addresses[lane - 1] == (padded ? 132 : 128));
  }
  CHECK((load.addresses[0] - load.base) % 4 == 0);
}

TEST_CASE("timeline: what each warp does before and behind the barrier") {
  DeviceArray<float> x(32 * kStairWarps, 1.0f), out(32 * kStairWarps);
  Timeline timeline;
  observe(timeline, [&] { run_stairs(x.data(), out.data()); });
  const Timeline::Block& block = timeline.block();
  CHECK(block.kernel == "stairs_kernel");
  CHECK(block.barriers == 1);
  CHECK_FALSE(block.cut);
  REQUIRE(block.stretches.size() == 2);
  for (std::size_t warp = 0; warp < kStairWarps; ++warp) {
    CHECK(block.stretches[0].warps[warp] == Timeline::Requests{warp + 1, 1, 0});
    CHECK(block.stretches[1].warps[warp] == Timeline::Requests{0, 1, 1});
  }
  CHECK(block.stretches[0].longest() == kStairWarps + 1);
  CHECK(block.stretches[0].barrier_line > 0);
  CHECK(block.stretches[1].barrier_line == 0);
  // 2 + 3 + 4 + 5 requests where the longest has 5, then 2 where all have 2.
  CHECK(block.work == 14 + 8);
  CHECK(block.time == 4 * 5 + 4 * 2);
}

TEST_CASE("timeline: the first block only, and so many stretches") {
  DeviceArray<int> out(3 * 64);
  Timeline timeline;
  observe(timeline, [&] { run_barriers(3, 64, 64, 40, out.data()); });
  CHECK(timeline.block().barriers == 40);
  CHECK(timeline.block().stretches.size() == Timeline::kStretches);
  CHECK(timeline.block().cut);
}

TEST_CASE("requests: ldmatrix names 32 rows, a matrix of 8 rows at a time") {
  const Rows rows = GENERATE(Rows::kPlain, Rows::kPadded, Rows::kSwizzled);
  DeviceArray<std::uint16_t> in(8 * 64, std::uint16_t{1});
  DeviceArray<unsigned> out(128);
  WorstRequests requests;
  observe(requests, [&] { run_rows(rows, in.data(), out.data()); });
  const SeenAccess load = only(requests.accesses(), Access::kLoad, Space::kShared);
  CHECK(load.unit == Unit::kMatrixLoad);
  CHECK(load.bytes == 16);
  CHECK(load.requests == 2);
  CHECK(load.ideal == 4);
  CHECK(load.worst == (rows == Rows::kPlain ? 32 : 4));
}

TEST_CASE("requests: cp.async loads global memory and stores shared memory") {
  const bool swizzled = GENERATE(false, true);
  DeviceArray<unsigned> in(128, 1u), out(32);
  WorstRequests requests;
  observe(requests, [&] { run_copy_columns(swizzled, in.data(), out.data()); });
  const SeenAccess load = only(requests.accesses(), Access::kLoad, Space::kGlobal);
  CHECK(load.unit == Unit::kAsyncCopy);
  CHECK(load.worst == 16);
  CHECK(load.array == "test");
  const SeenAccess store = only(requests.accesses(), Access::kStore, Space::kShared);
  CHECK(store.unit == Unit::kAsyncCopy);
  CHECK(store.worst == (swizzled ? 4 : 32));
  CHECK(store.ideal == 4);
}

TEST_CASE("timeline: copies have a kind of their own, and count once") {
  DeviceArray<unsigned> in(4 * kCopyThreads * 3, 1u), out(kCopyThreads);
  Timeline timeline;
  observe(timeline,
          [&] { run_pipeline(Pipeline::kRight, 3, kCopyThreads, in.data(), out.data()); });
  const auto& stretches = timeline.block().stretches;
  REQUIRE(stretches.size() == 7);
  for (const std::size_t warp : {0, 1}) {
    const auto expect = [&](std::size_t stretch, const Timeline::Requests& expected) {
      CAPTURE(warp, stretch);
      CHECK(stretches[stretch].warps[warp] == expected);
    };
    // Two tiles are under way at the first barrier; between barriers a tile is read, or asked for.
    expect(0, {0, 0, 0, 0, 2});
    expect(1, {0, 1, 0, 0, 0});
    expect(2, {0, 0, 0, 0, 1});
    expect(6, {0, 0, 1, 0, 0});
  }
}

TEST_CASE("touches: what cp.async loads is told from what loads do") {
  DeviceArray<unsigned> in(128, 1u), out(32);
  Touches touches;
  observe(touches, [&] { run_copy_columns(true, in.data(), out.data()); });
  CHECK(touches.ticks() == 64);
  REQUIRE(touches.arrays().size() == 2);
  std::uint8_t kinds[2] = {};
  for (std::size_t n = 0; n < 2; ++n) {
    for (const std::uint8_t touched : touches.arrays()[n]->touched) kinds[n] |= touched;
  }
  CHECK(kinds[0] == Touches::kCopied);
  CHECK(kinds[1] == Touches::kStored);
}

TEST_CASE("fragments: with the elements where the picture has them, mma computes A B + C") {
  using namespace simt::draw;
  const auto a_at = [](int row, int k) { return static_cast<float>((7 * row + 3 * k) % 13 - 6); };
  const auto b_at = [](int k, int n) { return static_cast<float>((5 * k + 11 * n) % 9 - 4); };
  const auto c_at = [](int row, int n) { return static_cast<float>(100 * row + n); };
  std::vector<unsigned> a(128), b(64);
  std::vector<float> c(128);
  const auto put = [](std::vector<unsigned>& words, int registers, const Holder& at, float x) {
    words[static_cast<std::size_t>(registers * at.lane + at.reg)] |= unsigned{to_float16(x).bits}
                                                                     << 16 * at.half;
  };
  const auto place_in_c = [](int row, int n) {
    const Holder at = holder_in_c(row, n);
    return static_cast<std::size_t>(4 * at.lane + at.reg);
  };
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) put(a, 4, holder_in_a(row, k), a_at(row, k));
    for (int n = 0; n < 8; ++n) put(b, 2, holder_in_b(row, n), b_at(row, n));
    for (int n = 0; n < 8; ++n) c[place_in_c(row, n)] = c_at(row, n);
  }
  DeviceArray<unsigned> device_a(a), device_b(b);
  DeviceArray<float> device_c(c);
  run_multiply_add(Element::kFloat16, device_a.data(), device_b.data(), device_c.data());
  const std::vector<float> d = device_c.read();
  for (int row = 0; row < 16; ++row) {
    for (int n = 0; n < 8; ++n) {
      float expected = c_at(row, n);
      for (int k = 0; k < 16; ++k) expected += a_at(row, k) * b_at(k, n);
      CAPTURE(row, n);
      CHECK(d[place_in_c(row, n)] == expected);
    }
  }
}

TEST_CASE("fragments: ldmatrix hands every element to whom the picture names") {
  const bool transposed = GENERATE(false, true);
  std::vector<std::uint16_t> in(256);
  for (unsigned i = 0; i < 256; ++i) in[i] = static_cast<std::uint16_t>(257 * i);
  DeviceArray<std::uint16_t> rows(in);
  DeviceArray<unsigned> out(128, 0u);
  run_load_matrices(transposed, rows.data(), out.data());
  const std::vector<unsigned> words = out.read();
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 16; ++column) {
      const auto [lane, reg, half] = simt::draw::holder_of_loaded(row, column, transposed);
      const int named = row + 16 * (column / 8);  // lane n has named row n of `in`
      CAPTURE(transposed, row, column);
      CHECK((words[static_cast<std::size_t>(4 * lane + reg)] >> 16 * half & 0xFFFFu) ==
            in[static_cast<std::size_t>(8 * named + column % 8)]);
    }
  }
}

TEST_CASE("fragments: two tiles of C are one A") {
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 16; ++column) {
      const auto p = simt::draw::holder_in_a(row, column);
      const auto s = simt::draw::holder_in_c(row, column % 8);
      CAPTURE(row, column);
      CHECK(p.lane == s.lane);
      CHECK(2 * p.reg + p.half == s.reg + 4 * (column / 8));
    }
  }
}

TEST_CASE("swizzle: as many wavefronts as the tracer counts") {
  const auto [rows, kind] =
      GENERATE(table<Rows, TileLayout::Kind>({{Rows::kPlain, TileLayout::kPlain},
                                              {Rows::kPadded, TileLayout::kPadded},
                                              {Rows::kSwizzled, TileLayout::kSwizzled}}));
  DeviceArray<std::uint16_t> in(8 * 64, std::uint16_t{1});
  DeviceArray<unsigned> out(128);
  simt::options().tracer = true;
  simt::take_launches();
  run_rows(rows, in.data(), out.data());  // reads every chunk of the rows 0 to 7 once
  simt::options().tracer = false;
  const auto launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  std::uint64_t wavefronts = 0;
  for (int chunk = 0; chunk < 8; ++chunk) wavefronts += TileLayout{kind, 64}.wavefronts(0, chunk);
  CHECK(wavefronts == launches.front().traffic.matrix_load_wavefronts);
  for (const int elements : {64, 128}) {
    CAPTURE(elements);
    CHECK(simt::draw::worst_wavefronts({kind, elements}) == (kind == TileLayout::kPlain ? 8 : 1));
  }
}

TEST_CASE("a sheet says what it cannot draw") {
  DeviceArray<float> x(32 * kStairWarps, 1.0f), out(32 * kStairWarps);
  const auto drawn = [&](simt::draw::What what, const std::string& line,
                         const std::vector<std::string>& arrays, bool launch = true) {
    simt::draw::Sheet sheet(what, {.line = "LINE", .arrays = "ARRAYS"});
    sheet.begin("title", "", {}, line, arrays);
    if (launch) run_stairs(x.data(), out.data());
    sheet.end();
    return message_of([&] { static_cast<void>(sheet.svg("", "")); });
  };
  using enum simt::draw::What;
  CHECK(drawn(kTouches, "", {}) == "");
  CHECK(drawn(kTimeline, "", {}) == "");
  CHECK(drawn(kTouches, "", {"y"}) == "ARRAYS y: title touches no such array; allowed: test");
  CHECK(drawn(kTouches, "", {}, false) ==
        "title: nothing to draw, no kernel touches global memory");
  CHECK(drawn(kTimeline, "", {}, false) ==
        "title: nothing to draw, no kernel waits at a __syncthreads");
  CHECK(drawn(kWarp, "draw_kernels.cpp:1", {}, false) ==
        "title: nothing to draw, no kernel accesses memory");
  const std::string wrong = drawn(kWarp, "draw_kernels.cpp:1", {});
  CHECK_THAT(wrong, Catch::Matchers::StartsWith("LINE draw_kernels.cpp:1: no access to memory in "
                                                "title; allowed: draw_kernels.cpp:"));
  const std::size_t at = wrong.rfind("draw_kernels.cpp:");
  CHECK(drawn(kWarp, wrong.substr(at), {}) == "");
  CHECK_THAT(drawn(kWarp, wrong.substr(at), {"y"}),
             Catch::Matchers::StartsWith("ARRAYS y: draw_kernels.cpp:"));
}

}  // namespace
}  // namespace attn::simt_test
