// SPDX-License-Identifier: MIT
//
// One call of a step on a Problem: arrays in the step's memory, in the element and the layout that
// the problem asks for, each between guard bands; the call; the outputs back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/run/buffers.hpp"
#include "common/run/problem.hpp"

namespace attn {

/// How the arrays of a run lie and what stands in them before.
struct RunOptions {
  int offset = 0;  // elements behind a 256-byte boundary, for every array but the workspace
  std::string_view only = {};  // the one array that the offset is for, as "dq"; empty: all
  unsigned char dirt = 0xFF;   // the workspace's bytes before the run; 0xFF makes NaNs
};

/// Bytes of workspace that a step asks for.
std::size_t workspace_bytes(const Step& step, Pass pass, const Shape& shape);

/// Steps that are plenty for a block, even if it does all of the pass: an unfused pass on one
/// thread takes some 3 (d + d_v) for each score and twenty more, backward 2.5 times that; as many
/// requests with one lane, up to four times as many. Twice that.
double plenty_of_steps(const Shape& shape, std::int64_t d_v, Pass pass);

/// Arrays in the step's memory, ready for calls. Outputs are NaN and the workspace is dirty, both
/// counting as uninitialised. The problem must outlive the run.
class Run {
 public:
  Run(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
      const std::vector<float>& o, const std::vector<float>& lse, const RunOptions& options);

  Element element() const { return problem_.element; }
  const ForwardArgsOf<void>& forward_args() const { return forward_; }
  const BackwardArgsOf<void>& backward_args() const { return backward_; }

  /// Calls the step through attn::forward or attn::backward and waits. Throws what they throw.
  void call() const;
  /// Outputs, damage and detections so far.
  Outputs collect() const;
  /// Names of the outputs of which a byte was written since the arrays were made.
  std::vector<std::string> touched_outputs() const;

 private:
  /// How an array of [B, H, N, width] rows is laid out; other arrays have no rows to lay out.
  struct Rows {
    std::int64_t heads = 0, N = 0, width = 0;
    std::int64_t gap = 0;  // elements of nobody behind each

    std::int64_t pitch() const { return width + gap; }
  };
  struct Input {
    GuardedBuffer buffer;
    std::vector<unsigned char> bytes;  // what stands in it
  };
  struct Output {
    GuardedBuffer buffer;
    Element element;
    Rows rows;
    std::vector<float> Outputs::*result;
  };

  Extras upload(const reference::ExtraValues<float>& extras);
  void want_gradients(Extras& extras);
  /// Bytes between a 256-byte boundary and the array's start.
  std::size_t offset_of(const char* name, std::size_t each) const;
  const void* add_input(const char* name, std::vector<unsigned char> bytes, std::size_t each);
  const void* add_rows(const char* name, const std::vector<float>& values, const Rows& rows);
  const float* add_floats(const char* name, const std::vector<float>& values);
  Integers add_integers(const char* name, const std::vector<std::int64_t>& values);
  void* add_output(const char* name, Element element, std::int64_t elements, const Rows& rows,
                   std::vector<float> Outputs::*result);
  Rows rows_of(std::int64_t heads, std::int64_t N, std::int64_t width, int array) const;
  /// Whether heads and rows are exchanged.
  bool is_strided(const Rows& rows) const { return problem_.rows_first && rows.width > 0; }
  /// Calls f(number of the row in [B, heads, N], its first element in the array) for every row.
  template <class F>
  void for_each_row(const Rows& rows, F f) const;
  /// The array for a step, NaN in its gaps, from rows in order; and the other way round.
  std::vector<unsigned char> spread(const std::vector<unsigned char>& bytes, const Rows& rows,
                                    std::int64_t each) const;
  std::vector<unsigned char> gathered(const std::vector<unsigned char>& array, const Rows& rows,
                                      std::int64_t each) const;
  /// Of an output's bytes: where a gap was written, if one was.
  std::vector<std::string> written_gaps(const Output& output,
                                        const std::vector<unsigned char>& bytes) const;

  const Chapter& chapter_;
  const Step& step_;
  Pass pass_;
  const Problem& problem_;
  RunOptions options_;
  Memory& memory_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  GuardedBuffer workspace_;
  ForwardArgsOf<void> forward_;
  BackwardArgsOf<void> backward_;
};

/// Runs a step once in the memory it computes in: outputs poisoned, buffers between guard bands,
/// workspace dirty. Throws Error as attn::forward and attn::backward do. A backward pass takes O
/// and LSE from `o` and `lse` (host); a forward pass ignores them.
Outputs run_step(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
                 const std::vector<float>& o, const std::vector<float>& lse,
                 const RunOptions& options);

Outputs run_forward(const Chapter& chapter, const Step& step, const Problem& problem);
Outputs run_backward(const Chapter& chapter, const Step& step, const Problem& problem,
                     const std::vector<float>& o, const std::vector<float>& lse);

}  // namespace attn
