// SPDX-License-Identifier: MIT
//
// mbarriers and TMA: what arrives where, what is counted, and what is said of those who do not
// wait, announce, fence or arrive as they should.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "common/attention.hpp"
#include "common/device/tensor_map.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/simt/watch/observer.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/tma_cases.hpp"
#include "tests/simt/tma_kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr std::size_t kColumns = kRingColumns;

TEST_CASE_METHOD(EveryMode, "a ring of stages brings tile after tile by TMA", "[simt][tma]") {
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    check_rings();
  }
}

TEST_CASE_METHOD(EveryMode, "a box of a tensor arrives swizzled, with zeros beyond the edges",
                 "[simt][tma]") {
  check_boxes();
}

TEST_CASE_METHOD(EveryMode, "a store by TMA writes what lies within the tensor", "[simt][tma]") {
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    check_stores();
  }
}

TEST_CASE_METHOD(EveryMode, "threads hand on through an mbarrier what they have written",
                 "[simt][tma]") {
  check_arrivals();
}

TEST_CASE("what TMA brings arrives late, or at once; what it stores is read late, or at once",
          "[simt][tma]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  DeviceArray<float> in(std::vector<float>(1024, 2.0f));
  const TensorLayout layout = {Element::kFloat32, in.data(),     2, {32, 32}, {128},
                               {32, 4},           Swizzle::kNone};
  for (const simt::Completion completion : {simt::Completion::kLate, simt::Completion::kEager}) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    const bool late = completion == simt::Completion::kLate;
    DeviceArray<unsigned> out(128, 7u);
    run_box(layout, {0, 0}, 0, false, out.data());
    CHECK(out.read(5) == (late ? 0xFFFFFFFFu : 0x40000000u));
    for (const Store variant : {Store::kNoWait, Store::kWaitsTooFew}) {
      DeviceArray<float> stored(40 * kColumns, -1.0f);
      run_store(variant, 0, 40, stored.data());
      CHECK(stored.read(33) == (late ? 0.0f : 101.0f));
    }
  }
}

TEST_CASE("a tensor map that a GPU would refuse is refused by its member", "[simt][tma]") {
  alignas(16) char array[64];
  const TensorLayout right = {Element::kBfloat16, array,        3, {64, 100, 2}, {128, 12800},
                              {64, 16, 1},        Swizzle::k128};
  CHECK(message_of([&] { check(right); }).empty());
  const auto refused = [&](const std::string& message,
                           const std::function<void(TensorLayout&)>& change) {
    TensorLayout wrong = right;
    change(wrong);
    CHECK(message_of([&] { device::make_tensor_map(wrong); }) == "tensor map: " + message);
  };
  refused("rank = 0: allowed: 1 to 5", [](auto& t) { t.rank = 0; });
  refused("rank = 6: allowed: 1 to 5", [](auto& t) { t.rank = 6; });
  refused("address = null: allowed: an address in global memory",
          [](auto& t) { t.address = nullptr; });
  refused("address = 8 modulo 16: allowed: multiples of 16",
          [&](auto& t) { t.address = array + 8; });
  refused("sizes[1] = 0: allowed: 1 to 2^32; of an empty tensor there is no map",
          [](auto& t) { t.sizes[1] = 0; });
  refused("sizes[2] = 4294967297: allowed: 1 to 2^32; of an empty tensor there is no map",
          [](auto& t) { t.sizes[2] = (std::uint64_t{1} << 32) + 1; });
  refused("strides[0] = 136 bytes: allowed: multiples of 16 below 2^40",
          [](auto& t) { t.strides[0] = 136; });
  refused("strides[1] = 1099511627776 bytes: allowed: multiples of 16 below 2^40",
          [](auto& t) { t.strides[1] = std::uint64_t{1} << 40; });
  refused("box[1] = 257: allowed: 1 to 256", [](auto& t) { t.box[1] = 257; });
  refused("box[2] = 0: allowed: 1 to 256", [](auto& t) { t.box[2] = 0; });
  refused("box[0] = 65: 130 bytes; allowed with the swizzle of 128 bytes: 64",
          [](auto& t) { t.box[0] = 65; });
  refused("box[0] = 64: 128 bytes; allowed with the swizzle of 32 bytes: 16",
          [](auto& t) { t.swizzle = Swizzle::k32; });
  refused("box[0] = 20: 40 bytes; allowed: a multiple of 16 bytes", [](auto& t) {
    t.swizzle = Swizzle::kNone;
    t.box[0] = 20;
  });
}

struct Expected {
  std::string kind;
  std::string line;  // its mark; several lines may have it
  std::string what;  // part of the report
};

bool is(const Detection& found, const Expected& expected) {
  const char* file = tma_kernels_file();
  const std::vector<int> lines = lines_of(file, expected.line);
  return found.kind == expected.kind && found.file == file &&
         std::count(lines.begin(), lines.end(), found.line) == 1 &&
         found.what.find(expected.what) != std::string::npos && !found.advice.empty();
}

std::string all_of(const std::vector<Detection>& detections) {
  std::string text;
  for (const Detection& one : detections) text += to_string(one) + "\n";
  return text;
}

/// The first report is this one, and the launch was stopped.
void check_stops(const Expected& expected, const std::function<void()>& run) {
  CAPTURE(expected.line);
  CHECK_FALSE(message_of(run).empty());
  const std::vector<Detection> detections = device_memory().take_detections();
  CAPTURE(all_of(detections));
  REQUIRE(detections.size() == 1);
  CHECK(is(detections.front(), expected));
}

/// One of the reports is one of these, whether the launch went on or not.
[[maybe_unused]] void check_reports(const std::vector<Expected>& expected,
                                    const std::function<void()>& run) {
  message_of(run);
  const std::vector<Detection> detections = device_memory().take_detections();
  CAPTURE(expected.front().kind, all_of(detections));
  bool any = false;
  for (const Expected& one : expected) {
    any = any || std::any_of(detections.begin(), detections.end(),
                             [&](const Detection& found) { return is(found, one); });
  }
  CHECK(any);
}

TEST_CASE_METHOD(EveryMode, "misuse of an mbarrier or of TMA stops the launch at its line",
                 "[simt][tma]") {
  DeviceArray<float> in(tma_numbers(64 * kColumns)), out(32, 0.0f);
  const std::pair<const char*, Expected> misuses[] = {
      {"not_ready", {"barrier not ready", "not_ready", "nobody has initialised the mbarrier at"}},
      {"no_arrivals", {"bad mbarrier", "no_arrivals", "count = 0; allowed: 1 to 1048575"}},
      {"init_twice", {"bad mbarrier", "init_twice", "byte 0 of dynamic shared memory is in use"}},
      {"odd_place", {"bad mbarrier", "odd_place", "its address is 4 modulo 8"}},
      {"not_shared", {"bad mbarrier", "not_shared", "does not lie in the block's shared memory"}},
      {"odd_parity", {"bad mbarrier", "odd_parity", "parity = 2; allowed: 0, 1"}},
      {"too_many_bytes",
       {"too many bytes", "too_many_bytes", "1048576 bytes are announced at the mbarrier"}},
      {"too_many_arrivals",
       {"too many arrivals", "too_many_arrivals", "it waits for 128 bytes that have been"}},
      {"misaligned_box", {"misaligned access", "misaligned_box", "which is 64 modulo 128"}},
      {"shared_end_box",
       {"out of bounds", "shared_end_box", "2048 bytes at byte 7168 of the 8192 bytes"}},
      {"wrong_rank", {"bad tensor copy", "wrong_rank", "3 coordinates for a tensor map of rank 2"}},
  };
  for (const auto& [name, expected] : misuses) {
    check_stops(expected, [&] { run_tma_misuse(name, in.data(), out.data()); });
  }
}

TEST_CASE_METHOD(EveryMode, "a deadlock is reported with the state of every mbarrier",
                 "[simt][tma]") {
  DeviceArray<float> out(64, 0.0f);
  CHECK_THROWS_AS(run_deadlock(out.data()), Error);
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  const std::string file = tma_kernels_file();
  const auto at = [&file](const char* mark) {
    return file + ":" + std::to_string(line_of(file.c_str(), mark));
  };
  const auto state = [](int byte, const char* is) {
    return "the mbarrier at byte " + std::to_string(byte) +
           " of dynamic shared memory, which is in phase 0 with " + is + " landed";
  };
  CHECK(detections.front().kind == "deadlock");
  CHECK(detections.front().what ==
        "nobody can go on: 32 threads from (0,0,0) on wait at " + at("deadlock_first") +
            " for parity 0 of " + state(0, "1 of 2 arrivals, 512 bytes announced, 0") +
            "; 32 threads from (32,0,0) on wait at " + at("deadlock_second") + " for parity 0 of " +
            state(8, "0 of 1 arrivals, 0 bytes announced, 0") + "; " +
            state(16, "0 of 3 arrivals, 0 bytes announced, 0"));
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "a tensor copy outside of the array, or over an mbarrier, is reported",
                 "[simt][tma]") {
  DeviceArray<float> in(tma_numbers(64 * kColumns)), out(32, 0.0f);
  check_stops({"out of bounds", "beyond_array", "tensor copy: read of 16 bytes: "},
              [&] { run_tma_misuse("beyond_array", in.data(), out.data()); });
  check_reports({{"mbarrier touched", "touched", "write of dynamic shared memory at byte 4"}},
                [&] { run_tma_misuse("touched", in.data(), out.data()); });
}

/// A bug of the ring, and what it is called: the first name where warps run in their order and
/// copies arrive late, one of them elsewhere. More may be said of it.
struct RingBug {
  Ring variant;
  std::vector<Expected> names;
};

TEST_CASE_METHOD(EveryOrder, "every bug of a ring has a name, whenever copies arrive",
                 "[simt][tma]") {
  const RingBug bugs[] = {
      {Ring::kFirstParity, {{"deadlock", "ring_empty", "parity 0 of the mbarrier empty"}}},
      {Ring::kProducerParity,
       {{"waited for an old phase", "ring_empty", "parity 1 lets it pass at once"},
        {"deadlock", "ring_empty",
         "parity 1 of the mbarrier empty (byte 0), which is in phase 1"}}},
      {Ring::kConsumerParity,
       {{"waited for an old phase", "ring_full", "parity 0 lets it pass at once"},
        {"deadlock", "ring_empty", "parity 0 of the mbarrier full (byte 0), which is in phase 2"}}},
      {Ring::kNoEmptyWait,
       {{"too many arrivals", "ring_expect", "it waits for 2048 bytes that have been announced"},
        {"phase nobody waited for", "ring_expect", "no thread has seen the end of phase 0"}}},
      {Ring::kNoFullWait,
       {{"in flight", "ring_read", "has not been waited for here"},
        {"uninitialised read", "ring_read", "which nothing has written"}}},
      {Ring::kOneLaneWaits,
       {{"in flight", "ring_read", "has not been waited for here"},
        {"uninitialised read", "ring_read", "which nothing has written"}}},
      {Ring::kExpectTooLittle, {{"deadlock", "ring_empty", "1024 bytes announced, 2048 landed"}}},
      {Ring::kExpectTooMuch, {{"deadlock", "ring_empty", "2176 bytes announced, 2048 landed"}}},
      {Ring::kTwoCopies,
       {{"more bytes than announced", "ring_copy", "phase 0 of their mbarrier has ended without"},
        {"in flight", "ring_read", "has not been waited for here"}}},
      {Ring::kCountOfThreads, {{"deadlock", "ring_empty", "2 of 64 arrivals"}}},
      {Ring::kCountOfWarps,
       {{"phase nobody waited for", "ring_release", "seen the end of phase 0"}}},
      {Ring::kNoInitFence, {{"missing init fence", "ring_copy", "the copy engine may not see"}}},
      {Ring::kNoInitBarrier,
       {{"barrier not ready", "ring_full", "nothing orders the two"},
        {"barrier not ready", "ring_full", "nobody has initialised"}}},
      {Ring::kReleasedEarly, {{"race", "ring_copy", "write of dynamic shared memory"}}},
      {Ring::kNoSyncwarp, {{"race", "ring_copy", "write of dynamic shared memory"}}},
      {Ring::kOneTileMore, {{"not waited for", "ring_copy", "the copy that this thread starts"}}},
      {Ring::kWrittenNotFenced, {{"missing proxy fence", "ring_copy", "has not fenced since"}}},
  };
  for (const RingBug& bug : bugs) {
    for (const simt::Completion completion : simt::kAllCompletions) {
      simt::options().completion = completion;
      const bool first =
          completion == simt::Completion::kLate && simt::options().order == simt::Order::kForward;
      CAPTURE(to_string(completion), static_cast<int>(bug.variant));
      constexpr int kTiles = 7;
      DeviceArray<float> in(tma_numbers(kTiles * kRingRows * kColumns));
      DeviceArray<float> out(kTiles * kRingRows * kColumns, 0.0f);
      check_reports(first ? std::vector{bug.names.front()} : bug.names,
                    [&] { run_ring(bug.variant, 2, 2, kTiles, 112, in.data(), out.data()); });
    }
  }
}

TEST_CASE_METHOD(EveryOrder, "every bug of a store by TMA has a name", "[simt][tma]") {
  const std::pair<Store, std::vector<Expected>> bugs[] = {
      {Store::kNoFence, {{"missing proxy fence", "store_store", "has not fenced since"}}},
      {Store::kOneFence, {{"missing proxy fence", "store_store", "has not fenced since"}}},
      {Store::kLateFence,
       {{"missing proxy fence", "store_store", "later than what orders the two"}}},
      {Store::kNoBarrier, {{"race", "store_store", "read of dynamic shared memory"}}},
      {Store::kNoWait, {{"in flight", "store_again", "which may still be read by what thread"}}},
      {Store::kNoCommit, {{"in flight", "store_again", "which may still be read by what thread"}}},
      {Store::kWaitsTooFew,
       {{"in flight", "store_again", "which may still be read by what thread"}}},
      {Store::kNoSecondBarrier,
       {{"in flight", "store_again", "which may still be read by what thread"},
        {"race", "store_again", "write of dynamic shared memory"}}},
      {Store::kEarlyBarrier,
       {{"in flight", "store_again", "which may still be read by what thread"},
        {"race", "store_again", "write of dynamic shared memory"}}},
      {Store::kNoLastWait, {{"not waited for", "store_store", "the block has ended"}}},
  };
  for (const simt::Completion completion : simt::kAllCompletions) {
    simt::options().completion = completion;
    for (const auto& [variant, names] : bugs) {
      CAPTURE(to_string(completion), static_cast<int>(variant));
      DeviceArray<float> out(40 * kColumns, -1.0f);
      check_reports(names, [&] { run_store(variant, 0, 40, out.data()); });
    }
  }
}

TEST_CASE_METHOD(EveryOrder, "an mbarrier hands on no more than was done before the arrival",
                 "[simt][tma]") {
  for (const Arrival variant : {Arrival::kNoSyncwarp, Arrival::kTooEarly}) {
    CAPTURE(static_cast<int>(variant));
    DeviceArray<float> out(32, -1.0f);
    check_reports({{"race", "arrival", "nothing orders the two"}},
                  [&] { run_arrival(variant, out.data()); });
  }
}

TEST_CASE_METHOD(EveryOrder, "lanes that wait for an mbarrier go on together", "[simt][tma]") {
  DeviceArray<float> out(32, -1.0f);
  simt::options().tracer = true;
  simt::take_launches();
  run_meeting(out.data());
  const simt::Traffic t = simt::take_launches().front().traffic;
  CHECK(out.read(17) == 17.0f);
  CHECK(t.mbarrier_waits == 1);
  CHECK(t.global_store_requests == 1);
}

/// What each warp does, as "wait 0:1" for a wait for barrier 0 after which one phase has ended.
struct Diary : simt::Observer {
  std::map<int, std::vector<std::string>> of;
  void async_event(int warp, unsigned lanes, const simt::AsyncEvent& event) override {
    using Kind = simt::AsyncEvent::Kind;
    const char* name = event.kind == Kind::kWait     ? "wait"
                       : event.kind == Kind::kArrive ? "arrive"
                       : event.kind == Kind::kLoad   ? "load"
                                                     : "other";
    if (event.kind == Kind::kInit) return;
    CHECK(lanes == (warp > 0 && event.kind == Kind::kWait ? ~0u : 1u));
    of[warp].push_back(name + (" " + std::to_string(event.barrier)) + ":" +
                       std::to_string(event.phase));
  }
};

TEST_CASE_METHOD(EveryOrder, "an observer is told what warps do to mbarriers", "[simt][tma]") {
  Diary diary;
  DeviceArray<float> in(tma_numbers(48 * kColumns)), out(48 * kColumns, 0.0f);
  simt::options().observer = &diary;
  run_ring(Ring::kRight, 2, 1, 3, 48, in.data(), out.data());
  simt::options().observer = nullptr;
  // Stage s: full is barrier 2 s, empty 2 s + 1.
  CHECK(diary.of[0] == std::vector<std::string>{"wait 1:0", "arrive 0:0", "load 0:1", "wait 3:0",
                                                "arrive 2:0", "load 2:1", "wait 1:1", "arrive 0:1",
                                                "load 0:2"});
  CHECK(diary.of[1] == std::vector<std::string>{"wait 0:1", "arrive 1:0", "wait 2:1", "arrive 3:0",
                                                "wait 0:2", "arrive 1:1"});
}

TEST_CASE_METHOD(EveryOrder, "what TMA moves is counted apart, whole tiles are announced",
                 "[simt][tma]") {
  constexpr int kStages = 2, kConsumers = 2, kTiles = 5, kRows = 75;
  DeviceArray<float> in(tma_numbers(kRows * kColumns)), out(kTiles * kRingRows * kColumns, 0.0f);
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    simt::options().tracer = true;
    simt::take_launches();
    run_ring(Ring::kRight, kStages, kConsumers, kTiles, kRows, in.data(), out.data());
    const std::vector<simt::LaunchRecord> launches = simt::take_launches();
    REQUIRE(launches.size() == 1);
    const simt::Traffic& t = launches.front().traffic;
    CHECK(t.tensor_copies == kTiles);
    CHECK(t.global_async_bytes == kRows * 128);
    CHECK(t.global_async_sectors == kRows * 4);
    CHECK(t.global_async_requests == 0);
    CHECK(t.global_read_bytes_compulsory == kRows * 128);
    CHECK(t.announced_bytes == kTiles * kRingRows * 128);
    CHECK(t.mbarrier_waits == kTiles * (1 + kConsumers));
    CHECK(t.global_load_bytes == 0);
    CHECK(t.shared_load_bytes == kTiles * kRingRows * 128);
    CHECK(t.shared_load_wavefronts == kTiles * kRingRows);
    CHECK(t.global_store_requests == kTiles * kRingRows);
    CHECK(t.shared_store_bytes == 0);
    CHECK(t.barriers == 1);
    std::uint64_t bytes = 0;
    for (const simt::SiteTraffic& site : launches.front().sites) {
      if (site.access != "tensor load") continue;
      CHECK(site.file == tma_kernels_file());
      CHECK(site.line == lines_of(tma_kernels_file(), "ring_copy").front());
      CHECK(site.requests == kTiles);
      bytes += site.bytes;
    }
    CHECK(bytes == kRows * 128);
  }
  DeviceArray<float> stored(40 * kColumns, -1.0f);
  run_store(Store::kRight, 30, 40, stored.data());
  const simt::Traffic t = simt::take_launches().front().traffic;
  CHECK(t.tensor_copies == 1);
  CHECK(t.global_async_store_bytes == 10 * 128);
  CHECK(t.global_async_store_sectors == 10 * 4);
  CHECK(t.global_write_bytes_compulsory == 10 * 128);
  CHECK(t.global_store_bytes == 0);
  CHECK(t.global_async_bytes == 0);
}
#endif

}  // namespace
}  // namespace attn::simt_test
