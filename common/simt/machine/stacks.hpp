// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>

namespace attn::simt {

// A float array of a few hundred elements per thread fits many times over; only touched pages cost
// memory.
inline constexpr std::size_t kStackBytes = 256 * 1024;

/// Reserves address space, readable and writable, zero until touched. Throws Error.
void* map_memory(std::size_t bytes);
/// Makes a range inaccessible, so that running over it stops the program.
void forbid_access(void* begin, std::size_t bytes);
/// Gives the whole pages of a range back to the system; they read as zero afterwards.
void release_pages(void* begin, std::size_t bytes);
void unmap_memory(void* begin, std::size_t bytes);

/// Runs `work` on `n` threads at once, the calling one among them, and returns when all are done.
/// The threads are kept for the next call.
void run_on_threads(unsigned n, const std::function<void()>& work);

}  // namespace attn::simt
