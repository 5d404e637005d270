// SPDX-License-Identifier: MIT
//
// Checks chapter 16's exercise on groups from small to large: first that every query has one row,
// then O, computed by step 4 in that order and compared with the oracle, which has the groups. The
// goal: under a causal mask no more tiles of keys than it takes if tokens rise from row to row.
// Exit status: 0 right and goal met, 1 not, 2 what was thrown.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "chapters/16_heads/exercises/group_packing.hpp"
#include "chapters/16_heads/heads.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/goals.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::heads {
namespace {

constexpr std::int64_t kColumns = 32;

/// One group of query heads over one head of K and V.
struct Sizes {
  std::int64_t tokens, keys, group;

  std::int64_t rows() const { return tokens * group; }
};
constexpr Sizes kSizes[] = {{1, 5, 1}, {3, 3, 2}, {1, 100, 8}, {40, 40, 4}, {50, 130, 3}};

std::string to_string(const Sizes& sizes) {
  return fmt::format("{} tokens, {} keys, {} heads a group", sizes.tokens, sizes.keys, sizes.group);
}

/// What is wrong with the order; empty if nothing.
std::string check_order(const Sizes& sizes) {
  std::vector<std::int64_t> row_of(static_cast<std::size_t>(sizes.rows()), -1);
  for (std::int64_t row = 0; row < sizes.rows(); ++row) {
    const PackedRow query = packed_row(row, sizes.tokens, sizes.group);
    const std::string name = fmt::format("token {} of head {}", query.token, query.head);
    if (query.token < 0 || query.token >= sizes.tokens || query.head < 0 ||
        query.head >= sizes.group) {
      return fmt::format("row {} is {}: allowed: tokens 0 to {}, heads 0 to {}", row, name,
                         sizes.tokens - 1, sizes.group - 1);
    }
    std::int64_t& seen = row_of[static_cast<std::size_t>(query.head * sizes.tokens + query.token)];
    if (seen >= 0) return fmt::format("rows {} and {} both are {}", seen, row, name);
    seen = row;
    const std::int64_t place = place_of(query, sizes.tokens, sizes.group);
    if (place != row) return fmt::format("row {} is {}, but its place is {}", row, name, place);
  }
  return {};
}

/// Rows of a problem with the group's heads one behind the other in the order of the exercise, or
/// back.
std::vector<float> moved(const std::vector<float>& rows, const Sizes& sizes, std::int64_t width,
                         bool back) {
  std::vector<float> result(rows.size());
  for (std::int64_t row = 0; row < sizes.rows(); ++row) {
    const PackedRow query = packed_row(row, sizes.tokens, sizes.group);
    const std::int64_t plain = query.head * sizes.tokens + query.token;
    const std::int64_t from = back ? row : plain, to = back ? plain : row;
    std::copy_n(rows.begin() + from * width, width, result.begin() + to * width);
  }
  return result;
}

/// The keys that a token sees: all up to its own.
std::int64_t end_of(const Sizes& sizes, std::int64_t token) {
  return std::max<std::int64_t>(token + 1 + sizes.keys - sizes.tokens, 0);
}

/// O and LSE by step 4 with as many heads of Q as of K, in the order of the exercise, put back.
Outputs run(const Problem& grouped, const Sizes& sizes) {
  Problem packed = grouped;
  packed.shape = make_shape(1, 1, sizes.rows(), sizes.keys, kColumns);
  packed.mask = Mask::kFull;
  packed.q = moved(grouped.q, sizes, kColumns, false);
  packed.extras.ranges_per_row = 1;
  for (std::int64_t row = 0; row < sizes.rows(); ++row) {
    const std::int64_t token = packed_row(row, sizes.tokens, sizes.group).token;
    packed.extras.ranges.insert(packed.extras.ranges.end(), {0, end_of(sizes, token)});
  }
  const Chapter& chapter = chapters::ch16_heads();
  Outputs outputs = run_forward(chapter, find_step(chapter, "step4_all"), packed);
  outputs.o = moved(outputs.o, sizes, kColumns, true);
  outputs.lse = moved(outputs.lse, sizes, 1, true);
  return outputs;
}

/// Tiles of keys that are loaded: of each tile of rows those up to the last key that a row sees.
template <class TokenOf>
std::int64_t key_tiles(const Sizes& sizes, TokenOf token_of) {
  constexpr Tiles kT = tiles_for(kColumns);
  std::int64_t count = 0;
  for (std::int64_t R0 = 0; R0 < sizes.rows(); R0 += kT.Br) {
    std::int64_t end = 0;
    for (std::int64_t row = R0; row < std::min(R0 + kT.Br, sizes.rows()); ++row) {
      end = std::max(end, end_of(sizes, token_of(row)));
    }
    count += (end + kT.Bc - 1) / kT.Bc;
  }
  return count;
}

/// What is wrong with one group; empty if nothing.
std::string check(const Sizes& sizes) {
  const std::string wrong = check_order(sizes);
  if (!wrong.empty()) return "  " + wrong + "\n";
  Shape shape = make_shape(1, sizes.group, sizes.tokens, sizes.keys, kColumns);
  shape.Hkv = 1;
  const Problem problem = verify::make_problem(
      {.shape = shape, .mask = Mask::kCausal, .scale = default_scale(kColumns), .seed = 16},
      Pass::kForward);
  const verify::Verdict verdict =
      verify::judge(verify::truth_of(problem, Pass::kForward), run(problem, sizes));
  if (!verdict.passed) return verdict.text;
  const auto tokens_rise = [&](std::int64_t row) { return row * sizes.tokens / sizes.rows(); };
  const auto yours = [&](std::int64_t row) {
    return packed_row(row, sizes.tokens, sizes.group).token;
  };
  verify::hold_to(verify::Medal::kSilver, "tiles of keys", key_tiles(sizes, yours),
                  key_tiles(sizes, tokens_rise));
  return {};
}

int check_all() {
  std::vector<verify::Goal> goals;
  for (const Sizes& sizes : kSizes) {
    const std::string wrong = check(sizes);
    if (!wrong.empty()) {
      fmt::print("16_exercise group_packing: WRONG\n\n  {}\n{}", to_string(sizes), wrong);
      return 1;
    }
    verify::add(goals, verify::take_uses(), to_string(sizes));
  }
  fmt::print("16_exercise group_packing: right in all {} groups{}\n{}", std::size(kSizes),
             verify::reached(goals) ? "" : ", but the goal is not met;", verify::describe(goals));
  return verify::reached(goals) ? 0 : 1;
}

}  // namespace
}  // namespace attn::heads

int main() {
  try {
    return attn::heads::check_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
