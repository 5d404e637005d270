// SPDX-License-Identifier: MIT
//
// One run of a step on one problem, with everything around it prepared and examined.
#pragma once

#include <string>
#include <vector>

#include "common/verify/buffers.hpp"
#include "common/verify/check.hpp"

namespace attn::verify {

/// How the arrays of a run lie and what stands in them before.
struct RunOptions {
  int offset = 0;  // floats behind a 256-byte boundary, for every array but the workspace
  unsigned char dirt = 0xFF;  // the workspace's bytes before the run; 0xFF makes NaNs
};

/// The memory a step computes in: the chapter's, or the host's for the chapter's twin.
Memory& memory_of(const Chapter& chapter, const Step& step);

/// Bytes of workspace that a step asks for.
std::size_t workspace_bytes(const Step& step, Pass pass, const Shape& shape);

/// Arrays in the step's memory, ready for calls. Outputs are NaN and the workspace is dirty, both
/// counting as uninitialised. The problem must outlive the run.
class Run {
 public:
  Run(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
      const std::vector<float>& o, const std::vector<float>& lse, const RunOptions& options);

  const ForwardArgs& forward_args() const { return forward_; }
  const BackwardArgs& backward_args() const { return backward_; }

  /// Calls the step through attn::forward or attn::backward and waits. Throws what they throw.
  void call() const;
  /// Outputs, damage and detections so far.
  Outputs collect() const;
  /// Names of the outputs of which a byte was written since the arrays were made.
  std::vector<std::string> touched_outputs() const;

 private:
  struct Input {
    GuardedBuffer buffer;
    const std::vector<float>* source;
  };
  struct Output {
    GuardedBuffer buffer;
    std::vector<float> Outputs::*result;
  };

  float* add_input(const char* name, const std::vector<float>& source);
  float* add_output(const char* name, std::int64_t elements, std::vector<float> Outputs::*result);

  const Chapter& chapter_;
  const Step& step_;
  Pass pass_;
  RunOptions options_;
  Memory& memory_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  GuardedBuffer workspace_;
  ForwardArgs forward_;
  BackwardArgs backward_;
};

/// run_forward or run_backward of check.hpp with options; A backward pass reads `o` and `lse`.
Outputs run(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
            const std::vector<float>& o, const std::vector<float>& lse, const RunOptions& options);

}  // namespace attn::verify
