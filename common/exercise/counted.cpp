// SPDX-License-Identifier: MIT
//
// The medals of a "write it" exercise: what the reader's kernels ask of memory beside what the
// chapter's own ask.
#include <string_view>

#include "common/exercise/stages.hpp"
#include "common/run/buffers.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::exercise {
namespace {

constexpr double kCounted = 50'000;  // scores; traced twice, larger problems take too long

/// What some launches asked for, together.
simt::Traffic traffic_of(const auto& run) {
  simt::take_launches();
  const simt::Options before = simt::options();
  simt::options().tracer = true;
  try {
    run();
  } catch (...) {
    simt::options() = before;
    throw;
  }
  simt::options() = before;
  simt::Traffic sum;
  for (const simt::LaunchRecord& launch : simt::take_launches()) sum += launch.traffic;
  return sum;
}

void hold(verify::Medal medal, std::string_view what, std::uint64_t used, std::uint64_t own,
          std::int64_t beyond) {
  verify::hold_to(medal, what, static_cast<std::int64_t>(used),
                  static_cast<std::int64_t>(own) + beyond);
}

void hold_to_own(const simt::Traffic& mine, const simt::Traffic& own, const Allowance& beyond) {
  using verify::Medal;
  hold(Medal::kSilver, "bytes loaded from global memory",
       mine.global_load_bytes + mine.global_async_bytes,
       own.global_load_bytes + own.global_async_bytes, beyond.load_bytes);
  hold(Medal::kSilver, "bytes stored to global memory", mine.global_store_bytes,
       own.global_store_bytes, 0);
  const auto wavefronts = [](const simt::Traffic& t) {
    return t.shared_load_wavefronts + t.shared_store_wavefronts + t.shared_async_wavefronts +
           t.matrix_load_wavefronts;
  };
  hold(Medal::kGold, "wavefronts of shared memory", wavefronts(mine), wavefronts(own),
       beyond.wavefronts);
  hold(Medal::kGold, "barriers", mine.barriers, own.barriers, beyond.barriers);
}

/// Memory for what a second run computes.
struct Spare {
  GuardedBuffer buffer;
  Spare(const char* name, std::size_t bytes) : buffer(device_memory(), name, bytes, 0) {}
  float* floats() const { return buffer.floats(); }
};

bool is_counted(const Shape& shape) {
  return static_cast<double>(shape.rows()) * static_cast<double>(shape.Nk) <= kCounted &&
         shape.heads() <= 1000;
}

std::size_t bytes(std::int64_t floats) { return static_cast<std::size_t>(floats) * sizeof(float); }

}  // namespace

void run_counted(const ForwardArgs& args, void (*mine)(const ForwardArgs&),
                 void (*own)(const ForwardArgs&), const Allowance& beyond) {
  if (!is_counted(args.shape)) return mine(args);
  const simt::Traffic used = traffic_of([&] { mine(args); });
  const Spare o("own o", bytes(args.shape.q_elements())), lse("own lse", bytes(args.shape.rows()));
  const Spare workspace("own workspace", args.workspace_bytes);
  ForwardArgs other = args;
  other.o = o.floats();
  other.lse = lse.floats();
  other.workspace = workspace.floats();
  hold_to_own(used, traffic_of([&] { own(other); }), beyond);
}

void run_counted(const BackwardArgs& args, void (*mine)(const BackwardArgs&),
                 void (*own)(const BackwardArgs&), const Allowance& beyond) {
  if (!is_counted(args.shape)) return mine(args);
  const simt::Traffic used = traffic_of([&] { mine(args); });
  const Spare dq("own dq", bytes(args.shape.q_elements()));
  const Spare dk("own dk", bytes(args.shape.kv_elements()));
  const Spare dv("own dv", bytes(args.shape.kv_elements()));
  const Spare workspace("own workspace", args.workspace_bytes);
  BackwardArgs other = args;
  other.grad_q = dq.floats();
  other.grad_k = dk.floats();
  other.grad_v = dv.floats();
  other.workspace = workspace.floats();
  hold_to_own(used, traffic_of([&] { own(other); }), beyond);
}

}  // namespace attn::exercise
