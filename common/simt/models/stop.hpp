// SPDX-License-Identifier: MIT
//
// Inside the machine: the running thread has misused an instruction.
#pragma once

#include <source_location>
#include <string>

namespace attn::simt {

/// Stops the launch with a report of this kind at the running thread, and never returns.
[[noreturn]] void stop(std::string kind, std::string what, std::string advice,
                       std::source_location where);

}  // namespace attn::simt
