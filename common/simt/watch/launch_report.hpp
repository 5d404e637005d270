// SPDX-License-Identifier: MIT
//
// The counts of traced launches as tables for people: what `attn trace` and a watched program
// print. `styled` is for a terminal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/simt/watch/bound.hpp"
#include "common/simt/watch/counters.hpp"

namespace attn::simt {

/// Bytes, requests and sectors of global memory, then shared memory, barriers and special
/// functions, one row for each launch and, where there are several, their sum. `element`: what most
/// of the arrays hold.
void print_counts(std::span<const LaunchRecord> launches, bool styled,
                  Element element = Element::kFloat32);

/// The bound and what it is made of, one row for each launch. `of`: what
/// stands behind the device's name.
void print_bound_by_launch(const Bound& bound, bool styled, const std::string& of = {});

/// What the columns of these tables mean.
extern const char* const kCountsLegend;

/// Traffic of one launch by source line, most bytes first.
void print_lines(const LaunchRecord& launch, bool styled);

/// The sites of one launch, those on one line with one kind of access together; most bytes first.
std::vector<SiteTraffic> lines_of(const LaunchRecord& launch);

/// The text of a line of a source file, without the blanks around it; empty where there is none.
std::string source_text(const std::string& file, int line);

/// Bytes that a launch's threads ask for, and copies on their behalf.
std::uint64_t requested_bytes(const Traffic& traffic);
/// Bytes that a launch must move: each distinct one once.
std::uint64_t compulsory_bytes(const Traffic& traffic);

Traffic total(std::span<const LaunchRecord> launches);

}  // namespace attn::simt
