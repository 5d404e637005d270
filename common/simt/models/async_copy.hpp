// SPDX-License-Identifier: MIT
//
// The CPU machine's cp.async: what common/device/async_copy.cuh names. When a copy that has been
// started arrives is up to Options::completion.
#pragma once

#include <source_location>

namespace attn::simt {

/// Starts to copy `bytes` (4, 8 or 16) to the shared address `to`, of which the first `valid` come
/// from global memory and the rest are zeros.
void cp_async(unsigned to, const void* from, int bytes, int valid, std::source_location where);
/// Closes the running thread's current group.
void cp_async_commit();
/// Waits until at most `pending` of the running thread's latest groups are under way.
void cp_async_wait(int pending, std::source_location where);

}  // namespace attn::simt
