// SPDX-License-Identifier: MIT
//
// One pass of a step on the CPU machine with its accesses watched: what `attn trace` and
// `attn draw` have in common.
#pragma once

#include <string>
#include <string_view>

#include "bench/attn/arguments.hpp"
#include "bench/attn/trace_report.hpp"
#include "common/attention.hpp"

namespace attn::cli {

#if ATTN_CAN_TRACE

/// The step that is asked for, or the last one that has the pass that is asked for.
const Step& traced_step(const Chapter& chapter, const std::string& step, const std::string& pass);

/// The step with the pass, the sizes and the mask that the options ask for; `pass` may be empty for
/// the first one that the step has, and `fallback` are the sizes of whoever gives none. Refuses
/// what runs elsewhere, or would run for many minutes.
Trace make_trace(const Chapter& chapter, const Step& step, const std::string& pass,
                 const ProblemOptions& problem, const Shape& fallback);

/// What the pass has to do, with so many times as many heads.
simt::PassWork work_of(const Trace& trace, std::int64_t times_heads);

/// Runs it with tracer and detectors on.
void run_traced(Trace& trace, const ProblemOptions& problem);

#else

/// Says why this build does not count accesses.
[[noreturn]] void refuse_to_trace(std::string_view command);

#endif

}  // namespace attn::cli
