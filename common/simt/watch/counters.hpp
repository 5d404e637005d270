// SPDX-License-Identifier: MIT
//
// What the tracer counts, per launch. The names follow ncu's metrics; each comment says which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/simt/cuda/vector_types.hpp"

namespace attn::simt {

/// Counts of memory traffic. A request is one warp executing one access; a sector is 32 aligned
/// bytes; a wavefront is one pass of the shared-memory unit over its 32 banks of 4 bytes.
struct Traffic {
  // Bytes that the active lanes asked for: the "requested" traffic of the lessons.
  std::uint64_t global_load_bytes = 0;
  std::uint64_t global_store_bytes = 0;
  // l1tex__t_requests_pipe_lsu_mem_global_op_{ld,st}.sum
  std::uint64_t global_load_requests = 0;
  std::uint64_t global_store_requests = 0;
  // l1tex__t_sectors_pipe_lsu_mem_global_op_{ld,st}.sum
  std::uint64_t global_load_sectors = 0;
  std::uint64_t global_store_sectors = 0;
  // Atomics on global memory, apart from loads and stores.
  std::uint64_t global_atomic_bytes = 0;
  std::uint64_t global_atomic_requests = 0;
  std::uint64_t global_atomic_sectors = 0;
  // Asynchronous copies from global to shared memory (op_ldgsts), apart from loads; what arrives as
  // zeros without being read is not among the bytes.
  std::uint64_t global_async_bytes = 0;
  std::uint64_t global_async_requests = 0;
  std::uint64_t global_async_sectors = 0;
  // Distinct bytes that the launch reads, and writes; atomics do both. Counted once per launch.
  std::uint64_t global_read_bytes_compulsory = 0;
  std::uint64_t global_write_bytes_compulsory = 0;
  // Distinct 32-byte sectors that the launch touches.
  std::uint64_t global_sectors_compulsory = 0;
  // l1tex__data_pipe_lsu_wavefronts_mem_shared_op_{ld,st}.sum; minus the ideal they are
  // l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_{ld,st}.sum
  std::uint64_t shared_load_bytes = 0;
  std::uint64_t shared_store_bytes = 0;
  std::uint64_t shared_load_wavefronts = 0;
  std::uint64_t shared_load_wavefronts_ideal = 0;
  std::uint64_t shared_store_wavefronts = 0;
  std::uint64_t shared_store_wavefronts_ideal = 0;
  std::uint64_t shared_atomic_requests = 0;
  // What asynchronous copies store, apart from stores.
  std::uint64_t shared_async_wavefronts = 0;
  std::uint64_t shared_async_wavefronts_ideal = 0;
  // ldmatrix, apart from loads: 16 bytes for each row of 8 elements; a matrix of 8 rows is ideally
  // one wavefront.
  std::uint64_t matrix_load_bytes = 0;
  std::uint64_t matrix_load_requests = 0;
  std::uint64_t matrix_load_wavefronts = 0;
  std::uint64_t matrix_load_wavefronts_ideal = 0;
  // TMA, where one thread's instruction copies a whole tile. What it loads from within the tensor
  // is among global_async_bytes and global_async_sectors (but not among the requests, which are
  // op_ldgsts); what it stores is apart from stores.
  std::uint64_t tensor_copies = 0;
  std::uint64_t global_async_store_bytes = 0;
  std::uint64_t global_async_store_sectors = 0;
  // Waits for mbarriers that a warp executes, and the bytes that have been announced to them: TMA's
  // are whole tiles, with what lies beyond the tensor's edges.
  std::uint64_t mbarrier_waits = 0;
  std::uint64_t announced_bytes = 0;
  // Barriers that a block passed, summed over blocks.
  std::uint64_t barriers = 0;
  // Calls of functions that run on the special-function unit, summed over threads.
  std::uint64_t special_functions = 0;
  // Instructions of a warp that exchange 32 bits per lane (__shfl_*_sync; one of 64 bits takes two)
  // and that vote (__any_sync, __all_sync, __ballot_sync). Lanes that nothing parts execute one
  // together, whatever their masks are.
  std::uint64_t shuffles = 0;
  std::uint64_t votes = 0;
  // Matrix products of a warp: mma.m16n8k16, 2,048 multiply-adds each.
  // smsp__inst_executed_pipe_tensor_op_hmma.sum
  std::uint64_t mma_instructions = 0;
  // Matrix products of a warpgroup, apart from those of a warp: wgmma.m64nNk16 counts once for each
  // of the four warps that execute it, and its FLOPs, 2 x 64 x N x 16, once.
  std::uint64_t wgmma_instructions = 0;
  std::uint64_t wgmma_flops = 0;

  Traffic& operator+=(const Traffic& other);
  bool operator==(const Traffic&) const = default;
};

/// One access in the source, summed over the launch.
struct SiteTraffic {
  std::string file;
  int line = 0;
  std::string access;  // "global load", "shared store", "matrix load", "async copy", ...
  int lane_bytes = 0;  // width: 1 to 16 bytes per lane
  std::uint64_t bytes = 0;
  std::uint64_t requests = 0;
  std::uint64_t sectors = 0;           // global
  std::uint64_t wavefronts = 0;        // shared
  std::uint64_t wavefronts_ideal = 0;  // shared
};

struct LaunchRecord {
  std::string kernel;
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;         // dynamic
  std::size_t static_shared_bytes = 0;  // distance between the first and last byte touched
  Traffic traffic;
  std::vector<SiteTraffic> sites;  // in source order
};

/// The launches recorded since the last call, oldest first; empty unless options().tracer is set.
std::vector<LaunchRecord> take_launches();

}  // namespace attn::simt
