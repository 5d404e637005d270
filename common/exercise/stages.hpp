// SPDX-License-Identifier: MIT
//
// A "write it" exercise: a kernel that the reader writes from an empty body, checked in stages. The
// program goes through them in order and stops at the first that fails.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/attention.hpp"

namespace attn::exercise {

struct Stage;
/// The stages behind the one that is checked. Their code, if there is any, runs all the same.
using Later = std::span<const Stage>;

/// What a check says.
struct Verdict {
  bool passed = true;
  std::string text = {};           // lines for people; may be empty if passed
  bool falls_short = false;        // passed, but a medal is left to win
  std::string hint = {};           // if a detector has spoken: what to do about it
  const Stage* code_of = nullptr;  // the later stage whose code was stopped
};

struct Stage {
  std::string_view title;  // "a tile of S"
  // Arrays that the code of this stage is the first to use.
  std::array<std::string_view, 2> arrays;
  std::string_view hint;  // what to try first when one is stuck here
  Verdict (*check)(Later later);
};

struct Exercise {
  std::string_view program;  // "ch05_write"
  std::string_view title;    // "FlashAttention-1, from an empty kernel"
  std::span<const Stage> stages;
};

/// The program: no argument goes through all stages, a number checks that stage alone, --full lets
/// the last one run the whole case table, --hint helps with the stage named before it, or with the
/// first that fails. Returns the exit status: 0 if everything asked for is right, 1 if not, 2 for
/// other arguments.
int run(const Exercise& exercise, int argc, char** argv);

/// The last stage: the battery that checks the chapters, on the record's only step, with medals.
/// Without --full a thin part of the case table.
Verdict check_battery(const Chapter& record);

/// What a kernel may ask for beyond the chapter's own, over the whole pass.
struct Allowance {
  std::int64_t load_bytes = 0;
  std::int64_t wavefronts = 0;
  std::int64_t barriers = 0;
};

/// One run of an exercise that is held to a chapter's own kernel: `mine` and `own` are counted on
/// the same problem. Silver: no more bytes loaded and stored than `own`. Gold: besides, no more
/// wavefronts of shared memory and no more barriers. Large problems run `mine` alone. `own` gets
/// outputs and workspace of its own.
void run_counted(const ForwardArgs& args, void (*mine)(const ForwardArgs&),
                 void (*own)(const ForwardArgs&), const Allowance& beyond = {});
void run_counted(const BackwardArgs& args, void (*mine)(const BackwardArgs&),
                 void (*own)(const BackwardArgs&), const Allowance& beyond = {});

}  // namespace attn::exercise
