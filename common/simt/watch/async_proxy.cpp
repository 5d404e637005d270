// SPDX-License-Identifier: MIT
//
// What TMA and wgmma do to shared memory, seen from the threads that start it, wait for it, and
// touch the same bytes.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <utility>

#include "common/simt/watch/detectors.hpp"

namespace attn::simt {
namespace {

constexpr std::size_t kChunk = ProxyMarks::kChunk;

const char* const kLandingAdvice =
    "Whoever touches the bytes waits for the full barrier first: for the one of this stage, with "
    "the parity of this round. Is an arrive_expect missing, or the wait of some threads?";
const char* const kReadingAdvice =
    "The bytes may be overwritten once whoever has started the reading has waited for its end and "
    "told the others.";

}  // namespace

void Detectors::init_barrier(std::uint32_t site, unsigned lanes, std::uintptr_t address) {
  const std::uintptr_t offset = address - recorder_.dynamic_shared().begin;
  std::array<std::uintptr_t, kWarpSize> addresses;
  std::array<std::uint32_t, kWarpSize> values;
  addresses.fill(address);
  for (std::uint32_t& value : values) value = unknown_value_ += 0x9E3779B9u;
  request({.access = Access::kStore,
           .space = Space::kShared,
           .unit = Unit::kLoadStore,
           .bytes = 8,
           .site = site,
           .lanes = lanes,
           .lane_count = 1,
           .addresses = addresses.data(),
           .values = values.data()});
  if (recorder_.dynamic_shared().contains(address)) {
    marks_.put_barrier(offset / kChunk, offset % kChunk != 0);
  }
}

void Detectors::use_barrier(std::uint32_t site, unsigned lanes, std::uintptr_t address) {
  const LastAccess& init = histories(Space::kShared, address).of(address).write;
  if (ordered(init, lanes) || !first_time("barrier not ready", site, init.site)) return;
  Detection found = recorder_.detection("barrier not ready", std::countr_zero(lanes), site);
  const SourceLine there = source_line(recorder_.image_base() + init.site);
  found.what = fmt::format(
      "this thread uses an mbarrier that a thread of warp {} initialises at {}:{}, and nothing "
      "orders the two",
      init.warp, there.file, there.line);
  found.advice = "Put a __syncthreads behind the init, before anyone arrives or waits.";
  report(std::move(found));
}

void Detectors::arrive(unsigned lanes, std::size_t barrier, std::uint32_t phase) {
  if (barrier >= phase_knowledge_.size()) phase_knowledge_.resize(barrier + 1);
  PhaseKnowledge& own = phase_knowledge_[barrier];
  if (phase != own.phase) {  // what was known before is known from here on, too
    own.of[phase % 2].learn(own.of[own.phase % 2]);
    own.phase = phase;
  }
  clocks_.release(warp(), own.of[phase % 2], lanes, recorder_.alive_lanes());
}

void Detectors::see_phases(unsigned lanes, std::size_t barrier, std::uint32_t phases) {
  if (phases == 0) return;  // of a fresh barrier, none has to end
  if (barrier < phase_knowledge_.size()) {
    clocks_.acquire(warp(), phase_knowledge_[barrier].of[(phases - 1) % 2]);
  }
  clocks_.see_phases(warp(), lanes, barrier, phases);
}

/// Whether a copy to the chunk has been started of which these lanes do not know that it has
/// arrived.
bool Detectors::unseen(std::uint32_t site, unsigned lanes, std::size_t chunk, const char* does) {
  const ProxyMarks::Landing* copy = marks_.landing(chunk);
  if (copy == nullptr || clocks_.know_phases(warp(), lanes, copy->barrier, copy->phases)) {
    return false;
  }
  if (!first_time("in flight", site, copy->site)) return true;
  Detection found = recorder_.detection("in flight", std::countr_zero(lanes), site);
  const SourceLine there = source_line(recorder_.image_base() + copy->site);
  found.what = fmt::format(
      "{} dynamic shared memory at byte {}; the copy to it that thread {} has started at {}:{} has "
      "not been waited for here: phase {} of mbarrier {} of the block says when it has arrived",
      does, chunk * kChunk, to_string(recorder_.worker().thread(copy->rank).index), there.file,
      there.line, copy->phases - 1, copy->barrier);
  found.advice = kLandingAdvice;
  report(std::move(found));
  return true;
}

/// Whether TMA or wgmma may still read the chunk.
bool Detectors::read_by_others(std::uint32_t site, unsigned lanes, std::size_t chunk,
                               const char* does) {
  const ProxyMarks::Reader* reader = marks_.reading(chunk);
  if (reader == nullptr) return false;
  if (!first_time("in flight", site, reader->site)) return true;
  Detection found = recorder_.detection("in flight", std::countr_zero(lanes), site);
  const SourceLine there = source_line(recorder_.image_base() + reader->site);
  found.what = fmt::format(
      "{} dynamic shared memory at byte {}, which may still be read by what thread {} has started "
      "at {}:{}",
      does, chunk * kChunk, to_string(recorder_.worker().thread(reader->rank).index), there.file,
      there.line);
  found.advice = kReadingAdvice;
  report(std::move(found));
  return true;
}

/// An access of the generic proxy.
bool Detectors::touches_marks(const Request& request) {
  if (marks_.empty() || request.space != Space::kShared) return false;
  const AddressRange dynamic = recorder_.dynamic_shared();
  const bool writes = request.access != Access::kLoad;
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const std::uintptr_t offset = request.addresses[lane] - dynamic.begin;
    if (!dynamic.contains(request.addresses[lane])) return false;
    // All lanes get a part of a row of ldmatrix.
    const unsigned lanes = request.unit == Unit::kMatrixLoad ? recorder_.alive_lanes() : 1u << lane;
    if (marks_.holds_barrier(offset, request.bytes)) {
      if (!first_time("mbarrier touched", request.site, 0)) return true;
      Detection found = recorder_.detection("mbarrier touched", lane, request.site);
      found.what = fmt::format("{} of {}, where an mbarrier lies", access_name(request.access),
                               place_of(request, lane));
      found.advice = "Do a tile and the barriers overlap? Only init, arrive and wait may touch it.";
      report(std::move(found));
      return true;
    }
    for (std::size_t chunk = offset / kChunk; chunk <= (offset + request.bytes - 1) / kChunk;
         ++chunk) {
      const char* does = request.access == Access::kLoad    ? "read of"
                         : request.access == Access::kStore ? "write of"
                                                            : "atomic of";
      if (unseen(request.site, lanes, chunk, does)) return true;
      if (!writes) continue;
      if (read_by_others(request.site, lanes, chunk, does)) return true;
      marks_.forget_landing(chunk);
    }
  }
  return false;
}

/// Whether these lanes come after a fence of each lane that has written; otherwise, `lane` is one
/// that has not fenced in time.
bool Detectors::knows_fence(const LastAccess& write, unsigned lanes, int& lane) const {
  if (write.bytes == 0 || write.time < block_start_) return true;
  for (unsigned rest = write.lanes; rest != 0; rest &= rest - 1) {
    lane = std::countr_zero(rest);
    const auto one = static_cast<std::size_t>(lane);
    const Time fence = clocks_.fence_since(write.warp, one, write.time);
    if (fence == kNever) return false;
    if (fence < clocks_.start()) continue;
    const bool known = write.warp == warp() ? clocks_.lanes_know(warp(), lanes, 1u << lane, fence)
                                            : clocks_.knows(warp(), write.warp, fence, 1u << lane);
    if (!known) return false;
  }
  return true;
}

/// What threads have stored to a chunk, the async proxy sees only behind their fences.
void Detectors::check_fence(std::uint32_t site, unsigned lanes, std::uintptr_t chunk) {
  Histories& words = histories(Space::kShared, chunk);
  for (std::uintptr_t word = chunk; word < chunk + kChunk; word += 4) {
    const std::size_t halves = words.of(word).write.split == 0 ? 1 : 2;
    for (std::size_t half = 0; half < halves; ++half) {
      const LastAccess& write = words.of(word, half).write;
      int lane = 0;
      if (knows_fence(write, lanes, lane)) continue;
      if (!first_time("missing proxy fence", site, write.site)) return;
      Detection found = recorder_.detection("missing proxy fence", std::countr_zero(lanes), site);
      const SourceLine there = source_line(recorder_.image_base() + write.site);
      const bool never =
          clocks_.fence_since(write.warp, static_cast<std::size_t>(lane), write.time) == kNever;
      found.what = fmt::format(
          "the async proxy uses dynamic shared memory at byte {}, which thread {} has written at "
          "{}:{} and {}",
          word - recorder_.dynamic_shared().begin,
          to_string(recorder_.worker().thread(write.warp * kWarpSize + lane).index), there.file,
          there.line,
          never ? "has not fenced since" : "has fenced, but later than what orders the two");
      found.advice =
          "Each thread that has stored calls fence_async_proxy() behind its stores, before the "
          "barrier that tells the others.";
      report(std::move(found));
      return;
    }
  }
}

/// Notes an access to a chunk as one of these lanes in the race detector, and checks it.
void Detectors::touch_chunk(std::uint32_t site, unsigned lanes, std::size_t chunk, Access access) {
  std::array<std::uintptr_t, kWarpSize> addresses;
  std::array<std::uint32_t, kWarpSize> values;
  addresses.fill(recorder_.dynamic_shared().begin + chunk * kChunk);
  values.fill(unknown_value_ += 0x9E3779B9u);  // not known: one of its own
  const Request request{.access = access,
                        .space = Space::kShared,
                        .unit = Unit::kTensor,
                        .bytes = kChunk,
                        .site = site,
                        .lanes = lanes,
                        .lane_count = 1,
                        .addresses = addresses.data(),
                        .values = values.data()};
  check_initialised(request);
  Histories& words = histories(Space::kShared, addresses[0]);
  for (std::uintptr_t word = addresses[0]; word < addresses[0] + kChunk; word += 4) {
    check_word(request, {words, word, 0, lanes, 0b1111});
  }
}

void Detectors::touch_global(std::uint32_t site, unsigned lanes,
                             const std::vector<AsyncPiece>& pieces, Access access) {
  std::array<std::uintptr_t, kWarpSize> addresses;
  std::array<std::uint32_t, kWarpSize> values;
  values.fill(unknown_value_ += 0x9E3779B9u);
  for (const AsyncPiece& piece : pieces) {
    if (piece.valid == 0) continue;
    addresses.fill(piece.global);
    const Request request{.access = access,
                          .space = Space::kGlobal,
                          .unit = Unit::kTensor,
                          .bytes = piece.valid,
                          .site = site,
                          .lanes = lanes,
                          .lane_count = 1,
                          .addresses = addresses.data(),
                          .values = values.data()};
    check_initialised(request);
    check_races(request);
  }
}

void Detectors::start_landing(unsigned lane, const std::vector<AsyncPiece>& pieces,
                              const ProxyMarks::Landing& landing) {
  const unsigned lanes = 1u << lane;
  const std::uintptr_t shared = recorder_.dynamic_shared().begin;
  for (const AsyncPiece& piece : pieces) {
    if (unseen(landing.site, lanes, piece.chunk, "copy to") ||
        read_by_others(landing.site, lanes, piece.chunk, "copy to")) {
      marks_.land(piece.chunk, landing);
      continue;
    }
    const std::uintptr_t address = shared + piece.chunk * kChunk;
    check_fence(landing.site, lanes, address);
    touch_chunk(landing.site, lanes, piece.chunk, Access::kStore);
    // From here on the mark says what comes after it; the thread that has started the copy does not
    // know when it writes.
    Histories& words = histories(Space::kShared, address);
    for (std::uintptr_t word = address; word < address + kChunk; word += 4) {
      words.of(word).write.time = 0;
      if (words.of(word).write.split != 0) words.of(word, 1).write.time = 0;
    }
    marks_.land(piece.chunk, landing);
  }
}

ProxyMarks::Read Detectors::start_async_read(std::uint32_t site, unsigned lanes,
                                             std::vector<std::uint32_t> chunks) {
  const std::uintptr_t shared = recorder_.dynamic_shared().begin;
  for (const std::uint32_t chunk : chunks) {
    if (unseen(site, lanes, chunk, "asynchronous read of")) continue;
    check_fence(site, lanes, shared + chunk * kChunk);
    touch_chunk(site, lanes, chunk, Access::kLoad);
  }
  const auto rank = warp() * kWarpSize + static_cast<std::size_t>(std::countr_zero(lanes));
  return marks_.start_read(
      {.site = site, .rank = static_cast<std::uint16_t>(rank), .chunks = std::move(chunks)});
}

/// What was started is done, and these lanes know it: it is as if they read the bytes now.
void Detectors::end_async_read(ProxyMarks::Read read, unsigned lanes) {
  const std::uint32_t site = marks_.reader(read).site;
  for (const std::uint32_t chunk : marks_.end_read(read)) {
    touch_chunk(site, lanes, chunk, Access::kLoad);
  }
}

/// Whether the chunk lies where the descriptor of an operand of wgmma says, as far as is known:
/// TMA exchanges chunks, too.
bool Detectors::check_swizzle(std::uint32_t site, std::size_t chunk, Swizzle swizzle,
                              const char* operand) {
  const ProxyMarks::Landing* copy = marks_.landing(chunk);
  if (copy == nullptr || copy->swizzle == swizzle) return true;
  if (!first_time("swizzle mismatch", site, copy->site)) return false;
  Detection found = recorder_.detection("swizzle mismatch", 0, site);
  const SourceLine there = source_line(recorder_.image_base() + copy->site);
  found.what = fmt::format(
      "the descriptor of {} says swizzle: {}; the copy started at {}:{} has brought byte {} of "
      "dynamic shared memory with swizzle: {}",
      operand, to_string(swizzle), there.file, there.line, chunk * kChunk,
      to_string(copy->swizzle));
  found.advice = "Tensor map and matrix descriptor must name the same swizzle.";
  report(std::move(found));
  return false;
}

void Detectors::wgmma(const Warpgroups::Product& product, std::uint32_t site) {
  const std::size_t of_b = product.chunks.size() - product.chunks_of_b;
  std::array<std::uintptr_t, kWarpSize> addresses;
  for (std::size_t i = 0; i < product.chunks.size(); ++i) {
    const bool is_a = i < of_b;
    const std::uint32_t chunk = product.chunks[i];
    addresses.fill(recorder_.dynamic_shared().begin + chunk * kChunk);
    const Request request{.access = Access::kLoad,
                          .space = Space::kShared,
                          .unit = Unit::kTensor,
                          .bytes = kChunk,
                          .site = site,
                          .lanes = 1,
                          .lane_count = 1,
                          .addresses = addresses.data(),
                          .values = nullptr};
    if (touches_copy(request)) break;
    if (!check_swizzle(site, chunk, is_a ? product.a_swizzle : product.b_swizzle,
                       is_a ? "A" : "B")) {
      break;
    }
  }
  wgmma_reads_[warp()].push_back(start_async_read(site, ~0u, product.chunks));
}

void Detectors::wgmma_done(std::size_t products) {
  const std::vector<ProxyMarks::Read>& reads = wgmma_reads_[warp()];
  std::size_t& done = wgmmas_done_[warp()];
  if (done >= products) return;
  for (; done < products; ++done) end_async_read(reads[done], ~0u);
  sync_warp(~0u);  // the wait is one instruction of the whole warp: each lane may tell others
}

void Detectors::end_block() {
  const auto left_behind = [this](std::uint32_t site, std::uint16_t rank, const char* what) {
    if (!first_time("not waited for", site, 0)) return;
    Detection found = recorder_.detection("not waited for", 0, site);
    found.thread = to_string(recorder_.worker().thread(rank).index);
    found.what = fmt::format("the block has ended, and nobody has waited until {}", what);
    found.advice =
        "The next block may get the same shared memory: wait at the end of the kernel. Is a "
        "commit missing, or does a loop start one too many?";
    report(std::move(found));
  };
  if (const ProxyMarks::Reader* left = marks_.unfinished()) {
    left_behind(left->site, left->rank, "what this thread starts here has read shared memory");
  }
  for (std::size_t chunk = 0; chunk < marks_.chunks(); ++chunk) {
    const ProxyMarks::Landing* copy = marks_.landing(chunk);
    if (copy == nullptr || clocks_.anyone_knows_phases(copy->barrier, copy->phases)) continue;
    left_behind(copy->site, copy->rank, "the copy that this thread starts here has arrived");
    break;
  }
}

}  // namespace attn::simt
