// SPDX-License-Identifier: MIT
//
// Checks chapter 13's exercise on images from small to large: first order and segments, pair by
// pair, then O, computed by step 3 in that order and compared with the oracle, which has a mask and
// the tokens as they lie in the image. The goal: no segment without tokens, for which a launch
// would have blocks, too. Exit status: 0 right and goal met, 1 not, 2 what was thrown.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "chapters/13_packed/exercises/shifted_windows.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/goals.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::packed {
namespace {

constexpr io::ImageWindows kImages[] = {{4, 4, 2, 0}, {4, 4, 2, 1},  {3, 3, 3, 1},
                                        {6, 9, 3, 2}, {12, 8, 4, 2}, {14, 14, 7, 3}};

std::string to_string(const io::ImageWindows& image) {
  return fmt::format("image {} x {}, windows {} x {}, shift {}", image.height, image.width,
                     image.window, image.window, image.shift);
}

struct Token {
  std::int64_t number, y, x;

  Token(const io::ImageWindows& image, std::int64_t n)
      : number(n), y(n / image.width), x(n % image.width) {}
};

/// Whether two rows (or columns) of an image of `size` rows share a window.
bool share_window(const io::ImageWindows& image, std::int64_t size, std::int64_t a,
                  std::int64_t b) {
  const auto window_of = [&](std::int64_t at) {
    return (at - image.shift + size) % size / image.window;
  };
  return window_of(a) == window_of(b);
}

/// Why the two do not see each other; empty if they do.
std::string apart(const io::ImageWindows& image, const Token& a, const Token& b) {
  const bool rows = share_window(image, image.height, a.y, b.y);
  const bool columns = share_window(image, image.width, a.x, b.x);
  if (!rows || !columns) return "they are in different windows";
  const bool edges =
      (a.y < image.shift) != (b.y < image.shift) || (a.x < image.shift) != (b.x < image.shift);
  return edges ? "they share a window, but were not rolled across the same edges" : "";
}

/// What is wrong with the segments; empty if nothing.
std::string check_segments(const io::ImageWindows& image, const io::Segments& segments) {
  const std::int64_t tokens = image.height * image.width;
  std::vector<std::int64_t> sorted = segments.order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t n = 0; n < tokens; ++n) {
    const auto found = std::count(sorted.begin(), sorted.end(), n);
    if (found != 1) return fmt::format("token {} stands in `order` {} times, not once", n, found);
  }
  if (static_cast<std::int64_t>(sorted.size()) != tokens) {
    return fmt::format("`order` has {} tokens, not {}", sorted.size(), tokens);
  }
  const std::vector<std::int64_t>& offsets = segments.offsets;
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != tokens ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    return fmt::format("`offsets` must begin with 0, not fall, and end with {}", tokens);
  }
  std::vector<std::size_t> segment_of(sorted.size());
  for (std::size_t s = 1; s < offsets.size(); ++s) {
    for (std::int64_t at = offsets[s - 1]; at < offsets[s]; ++at) {
      segment_of[static_cast<std::size_t>(segments.order[static_cast<std::size_t>(at)])] = s;
    }
  }
  for (std::int64_t m = 0; m < tokens; ++m) {
    for (std::int64_t n = m + 1; n < tokens; ++n) {
      const Token a(image, m), b(image, n);
      const bool together =
          segment_of[static_cast<std::size_t>(m)] == segment_of[static_cast<std::size_t>(n)];
      const std::string why = apart(image, a, b);
      if (together == why.empty()) continue;
      return fmt::format("row {}, column {} and row {}, column {} are in {}, but {}", a.y, a.x, b.y,
                         b.x, together ? "one segment" : "two segments",
                         together ? why : "they share a window, on the same side of every edge");
    }
  }
  return {};
}

/// The image as it lies, one head, with a mask.
Problem in_raster_order(const io::ImageWindows& image) {
  const std::int64_t tokens = image.height * image.width;
  Problem problem = verify::make_problem(
      {.shape = make_shape(1, 1, tokens, tokens, 32), .scale = default_scale(32), .seed = 13},
      Pass::kForward);
  problem.extras.mask_shape = {1, 1, tokens, tokens};
  for (std::int64_t m = 0; m < tokens; ++m) {
    for (std::int64_t n = 0; n < tokens; ++n) {
      const bool sees = apart(image, Token(image, m), Token(image, n)).empty();
      problem.extras.mask.push_back(sees ? 1 : 0);
    }
  }
  return problem;
}

/// Rows of `width` in the order of the segments, or back.
std::vector<float> moved(const std::vector<float>& rows, const io::Segments& segments,
                         std::int64_t width, bool back) {
  std::vector<float> result(rows.size());
  for (std::size_t at = 0; at < segments.order.size(); ++at) {
    const auto here = static_cast<std::int64_t>(at);
    const std::int64_t from = back ? here : segments.order[at];
    const std::int64_t to = back ? segments.order[at] : here;
    std::copy_n(rows.begin() + from * width, width, result.begin() + to * width);
  }
  return result;
}

/// O and LSE by step 3 in the order of the segments, put back into that of the image.
Outputs run(const Problem& raster, const io::Segments& segments) {
  Problem packed = raster;
  const std::int64_t d = raster.shape.d;
  packed.extras = {};
  packed.extras.q_offsets = packed.extras.k_offsets = segments.offsets;
  std::int64_t longest = 0;
  for (std::size_t s = 1; s < segments.offsets.size(); ++s) {
    longest = std::max(longest, segments.offsets[s] - segments.offsets[s - 1]);
  }
  const auto count = static_cast<std::int64_t>(segments.offsets.size()) - 1;
  packed.shape = make_shape(count, 1, longest, longest, d);
  packed.q = moved(raster.q, segments, d, false);
  packed.k = moved(raster.k, segments, d, false);
  packed.v = moved(raster.v, segments, d, false);
  const Chapter& chapter = chapters::ch13_packed();
  Outputs outputs = run_forward(chapter, find_step(chapter, "step3_both"), packed);
  outputs.o = moved(outputs.o, segments, d, true);
  outputs.lse = moved(outputs.lse, segments, 1, true);
  return outputs;
}

/// What is wrong with one image; empty if nothing.
std::string check(const io::ImageWindows& image) {
  const io::Segments segments = shifted_windows(image);
  const std::string wrong = check_segments(image, segments);
  if (!wrong.empty()) return "  " + wrong + "\n";
  const Problem problem = in_raster_order(image);
  const verify::Verdict verdict =
      verify::judge(verify::truth_of(problem, Pass::kForward), run(problem, segments));
  if (!verdict.passed) return verdict.text;
  const auto count = static_cast<std::int64_t>(segments.offsets.size()) - 1;
  std::int64_t with_tokens = 0;
  for (std::size_t s = 1; s < segments.offsets.size(); ++s) {
    with_tokens += segments.offsets[s] > segments.offsets[s - 1] ? 1 : 0;
  }
  verify::hold_to(verify::Medal::kSilver, "segments", count, with_tokens);
  return {};
}

int check_all() {
  std::vector<verify::Goal> goals;
  for (const io::ImageWindows& image : kImages) {
    const std::string wrong = check(image);
    if (!wrong.empty()) {
      fmt::print("13_exercise shifted_windows: WRONG\n\n  {}\n{}", to_string(image), wrong);
      return 1;
    }
    verify::add(goals, verify::take_uses(), to_string(image));
  }
  fmt::print("13_exercise shifted_windows: right in all {} images{}\n{}", std::size(kImages),
             verify::reached(goals) ? "" : ", but the goal is not met;", verify::describe(goals));
  return verify::reached(goals) ? 0 : 1;
}

}  // namespace
}  // namespace attn::packed

int main() {
  try {
    return attn::packed::check_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
