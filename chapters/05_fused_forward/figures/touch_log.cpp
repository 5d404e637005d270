// SPDX-License-Identifier: MIT
//
// Runs a forward step on the CPU machine and prints which rows of which array it touches in global
// memory, in order. figures/touch_order.py makes the picture of it.
//
//   ch05_touch_log                       this chapter's kernel
//   ch05_touch_log 07 step1_loop_swap    a step of another chapter
//
// The kernel is the chapter's own: g++ has put a call before each of its memory accesses, and here
// these calls end up in this file instead of the tracer.
#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/simt/machine/options.hpp"

namespace {

constexpr std::int64_t kN = 256, kD = 64;
constexpr std::int64_t kTouchesPerColumn = 2048;
constexpr std::int64_t kRowsPerCell = 16;

struct Array {
  const char* name;
  const float* begin;
  std::int64_t columns;
};
std::array<Array, 4> arrays;
bool logging = false;
std::int64_t touches = 0;
/// Touches by column of the picture, array, cell of rows, and whether it is a store.
std::map<std::array<std::int64_t, 4>, std::int64_t> cells;

void touch(const void* address, std::int64_t is_store) {
  if (!logging) return;
  const auto* element = static_cast<const float*>(address);
  for (std::size_t a = 0; a < arrays.size(); ++a) {
    const std::int64_t n = element - arrays[a].begin;
    if (n < 0 || n >= kN * arrays[a].columns) continue;
    const std::int64_t row = n / arrays[a].columns;
    ++cells[{touches++ / kTouchesPerColumn, static_cast<std::int64_t>(a), row / kRowsPerCell,
             is_store}];
  }
}

}  // namespace

extern "C" {
void __tsan_read4(void* address) { touch(address, 0); }
void __tsan_write4(void* address) { touch(address, 1); }
// The rest is the host's: arguments on their way to the launch.
void __tsan_read8(void*) {}
void __tsan_write8(void*) {}
void __tsan_read_range(void*, std::size_t) {}
void __tsan_write_range(void*, std::size_t) {}
void __tsan_init() {}
void __sanitizer_cov_trace_pc() {}
}

int main(int argc, char** argv) {
  const attn::Chapter& chapter = attn::chapters::find(argc > 1 ? argv[1] : "05");
  const attn::Step& step = attn::find_step(chapter, argc > 2 ? argv[2] : "");
  attn::Memory& memory = attn::device_memory();
  const auto floats = [&](std::int64_t n, const char* label) {
    const std::vector<float> zeros(static_cast<std::size_t>(n));
    void* p = memory.allocate(zeros.size() * sizeof(float), label);
    memory.write(p, zeros.data(), zeros.size() * sizeof(float));
    return static_cast<float*>(p);
  };
  const attn::Shape shape = attn::make_shape(1, 1, kN, kN, kD);
  attn::ForwardArgs args{.shape = shape, .scale = 1.0f};
  float* q = floats(kN * kD, "q");
  float* k = floats(kN * kD, "k");
  float* v = floats(kN * kD, "v");
  args.q = q;
  args.k = k;
  args.v = v;
  args.o = floats(kN * kD, "o");
  args.lse = floats(kN, "lse");
  args.workspace_bytes = step.forward_workspace_bytes(shape);
  args.workspace = memory.allocate(args.workspace_bytes, "workspace");
  arrays = {{{"K", k, kD}, {"V", v, kD}, {"Q", q, kD}, {"O", args.o, kD}}};

  attn::simt::options().workers = 1;
  logging = true;
  attn::forward(chapter, step, args);
  logging = false;
  fmt::print("column,array,cell,store,touches\n");
  for (const auto& [key, count] : cells) {
    const auto [column, array, cell, store] = key;
    fmt::print("{},{},{},{},{}\n", column, arrays[static_cast<std::size_t>(array)].name, cell,
               store, count);
  }
}
