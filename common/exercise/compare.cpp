// SPDX-License-Identifier: MIT
#include "common/exercise/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "common/exercise/backward.hpp"
#include "common/exercise/by_hand.hpp"
#include "common/exercise/trial.hpp"
#include "common/verify/inputs.hpp"

namespace attn::exercise {
namespace {

struct Look {
  const char* name;
  std::vector<float> Seen::*array;
};

Look look_at(Array array) {
  switch (array) {
    case Array::kQTiles:
      return {"the tile of Q", &Seen::q_tiles};
    case Array::kKTiles:
      return {"the tile of K", &Seen::k_tiles};
    case Array::kS:
      return {"S", &Seen::s};
    case Array::kM:
      return {"m", &Seen::m};
    case Array::kL:
      return {"l", &Seen::l};
    case Array::kO:
      return {"O", &Seen::o};
    case Array::kLse:
      return {"LSE", &Seen::lse};
    case Array::kP:
      return {"P", &Seen::p};
    case Array::kDv:
      return {"dV", &Seen::dv};
    case Array::kDs:
      return {"dS", &Seen::ds};
    case Array::kDk:
      return {"dK", &Seen::dk};
  }
  return {"", nullptr};
}

/// The first element in which two arrays differ.
std::optional<std::size_t> first_difference(const std::vector<float>& a,
                                            const std::vector<float>& b) {
  for (std::size_t n = 0; n < a.size(); ++n) {
    if (n >= b.size() || !is_close(a[n], b[n])) return n;
  }
  return std::nullopt;
}

bool of_pairs(Array array) {
  return array == Array::kS || array == Array::kP || array == Array::kDs;
}
bool of_keys(Array array) {
  return array == Array::kKTiles || array == Array::kDv || array == Array::kDk;
}
bool of_columns(Array array) {
  return of_keys(array) || array == Array::kO || array == Array::kQTiles;
}

/// The row and column of an element, whole head in front where there are several.
struct Place {
  std::int64_t head, i, column;
};

Place place_of(Array array, const Shape& shape, std::size_t element) {
  const std::int64_t width = of_pairs(array) ? shape.Nk : of_columns(array) ? shape.d : 1;
  const std::int64_t rows = of_keys(array) ? shape.Nk : shape.Nq;
  const auto n = static_cast<std::int64_t>(element);
  return {n / width / rows, n / width % rows, n % width};
}

std::string to_string(Array array, const Shape& shape, const Place& place) {
  std::string text = shape.heads() > 1 ? fmt::format("head {}, ", place.head) : "";
  text += fmt::format("row {}", place.i);
  if (of_pairs(array)) text += fmt::format(", key {}", place.column);
  if (of_columns(array)) text += fmt::format(", column {}", place.column);
  return text;
}

/// LSE of a row whose logits are all -infinity may also be NaN: taken for -infinity here.
void settle(Seen& seen, const Seen& wanted, const Case& one) {
  const auto [B, H, Hkv, Nq, Nk, d] = one.problem.shape;
  for (std::size_t row = 0; row < seen.lse.size() && row < wanted.lse.size(); ++row) {
    const std::int64_t i = static_cast<std::int64_t>(row) % Nq;
    const bool empty = visible_keys(i, diagonal(one.problem.mask, Nq, Nk), Nk) == 0;
    if (empty || !std::isinf(wanted.lse[row]) || is_unwritten(seen.lse[row])) continue;
    if (std::isnan(seen.lse[row])) seen.lse[row] = wanted.lse[row];
  }
}

bool same(const Seen& a, const Seen& b, std::initializer_list<Array> arrays) {
  return std::ranges::all_of(arrays, [&](Array array) {
    const auto member = look_at(array).array;
    return !first_difference(a.*member, b.*member);
  });
}

/// The slips of these that give these very numbers, and not the right ones.
std::vector<Slip> explain_numbers(const Case& one, Model model, const Seen& wanted,
                                  const Seen& yours, std::initializer_list<Array> arrays,
                                  std::span<const Slip> slips) {
  std::vector<Slip> found;
  for (const Slip slip : slips) {
    Seen seen = model(one.problem, one.loop, slip);
    settle(seen, wanted, one);
    if (same(seen, yours, arrays) && !same(seen, wanted, arrays)) found.push_back(slip);
  }
  return found;
}

/// Numbers of one small case may agree by chance: drops the slips that do not give those of `next`.
void confirm(std::vector<Slip>& slips, Runner run, const Case& next, Model model,
             std::initializer_list<Array> arrays) {
  if (slips.empty() || !fits_on_paper(next)) return;
  Ran ran = run(next.problem, next.loop);
  if (!ran.troubles.empty()) return;
  const Seen wanted = model(next.problem, next.loop, Slip::kNone);
  settle(ran.seen, wanted, next);
  std::erase_if(slips, [&](Slip slip) {
    Seen seen = model(next.problem, next.loop, slip);
    settle(seen, wanted, next);
    return !same(seen, ran.seen, arrays);
  });
}

std::string explanations(std::span<const Slip> slips) {
  constexpr std::size_t kMost = 3;
  std::string text;
  for (const Slip slip : slips.first(std::min(slips.size(), kMost))) {
    text += fmt::format("{} {}.\n", text.empty() ? "It looks as if" : "Or as if", to_string(slip));
  }
  return text;
}

/// "m is right, l is not: row 1 is 1.5 and should be 1.368."
std::string verdict_line(const Case& one, const Seen& wanted, const Seen& yours,
                         std::initializer_list<Array> arrays, Array wrong, std::size_t element) {
  std::string right;  // "m and l are right, "
  int count = 0;
  for (const Array array : arrays) {
    if (array == wrong) break;
    right += fmt::format("{}{}", count++ == 0 ? "" : " and ", look_at(array).name);
  }
  if (count > 0) right += count == 1 ? " is right, " : " are right, ";
  const Look look = look_at(wrong);
  const Shape& shape = one.problem.shape;
  const std::string where = to_string(wrong, shape, place_of(wrong, shape, element));
  const std::vector<float>& got = yours.*look.array;
  const float value = element < got.size() ? got[element] : 0.0f;
  if (is_unwritten(value)) {
    const bool all = std::all_of(got.begin(), got.end(), is_unwritten);
    return fmt::format("{}{}: {} should be {}.\n", right, look.name,
                       all ? fmt::format("nothing has been written to it yet; {}", where)
                           : fmt::format("{} has not been written, and", where),
                       short_text((wanted.*look.array)[element]));
  }
  return fmt::format("{}{} is {}: {} is {} and should be {}.\n", right, look.name,
                     count > 0 ? "not" : "wrong", where, short_text(value),
                     short_text((wanted.*look.array)[element]));
}

/// The stage whose array it is; null if none of these.
const Stage* stage_of(const Trouble& trouble, Later later) {
  const auto stage = std::ranges::find_if(later, [&trouble](const Stage& one) {
    return !trouble.array.empty() && std::ranges::count(one.arrays, trouble.array) > 0;
  });
  return stage == later.end() ? nullptr : &*stage;
}

/// What the detectors say about the code of the stage that is checked, or of one before; what they
/// say about a later one only if it has stopped the launch.
std::optional<Verdict> verdict_on(const std::vector<Trouble>& troubles, Later later,
                                  const Case& one) {
  for (const Trouble& trouble : troubles) {
    const Stage* code_of = stage_of(trouble, later);
    if (code_of != nullptr && !trouble.stopped) continue;
    return Verdict{.passed = false,
                   .text = fmt::format("{}\nIn: {}\n", trouble.text, setting(one)),
                   .hint = trouble.hint,
                   .code_of = code_of};
  }
  return std::nullopt;
}

/// What is wrong with the numbers of the first case's run; empty if nothing.
std::string explain(Ran ran, Runner run, Model model, std::span<const Case> cases,
                    std::initializer_list<Array> arrays, std::initializer_list<Slip> slips) {
  const Case& one = cases.front();
  const Seen wanted = model(one.problem, one.loop, Slip::kNone);
  settle(ran.seen, wanted, one);
  for (const Array array : arrays) {
    const auto member = look_at(array).array;
    const auto element = first_difference(wanted.*member, ran.seen.*member);
    if (!element) continue;
    const std::vector<float>& got = ran.seen.*member;
    std::string text = verdict_line(one, wanted, ran.seen, arrays, array, *element);
    const bool unwritten = *element < got.size() && is_unwritten(got[*element]);
    std::vector<Slip> found = explain_numbers(one, model, wanted, ran.seen, arrays, slips);
    if (cases.size() > 1) confirm(found, run, cases[1], model, arrays);
    const std::string looks = explanations(found);
    text += looks.empty() && !unwritten ? "None of the usual slips gives these numbers.\n" : looks;
    text += fmt::format("\nThe smallest case that fails: {}\n", setting(one));
    if (one.problem.shape.Nk == 0) {
      return text +
             "Without a key the loop over them never runs. Somebody must store the zeros of O and "
             "LSE, -inf.\n";
    }
    if (!fits_on_paper(one)) {
      return text +
             "What only a large case has: several heads, more rows than warps, more than 32 keys "
             "or columns.\n";
    }
    const Place place = place_of(array, one.problem.shape, *element);
    if (array == Array::kQTiles || array == Array::kKTiles) {
      return text + tiles_by_hand(one, ran.seen);
    }
    if (array >= Array::kP) {
      return text + gradients_by_hand(one, wanted, ran.seen, array, place.i, place.column);
    }
    if (array == Array::kS) {
      return text + scores_by_hand(one, wanted, ran.seen, place.i, place.column);
    }
    text += row_by_hand(one, run, place.i, array == Array::kO);
    return array == Array::kLse ? text + lse_by_hand(one, wanted, place.i) : text;
  }
  return {};
}

}  // namespace

Verdict check_stage(Runner run, std::span<const Case> cases, std::initializer_list<Array> arrays,
                    std::initializer_list<Slip> slips, Later later, Model model) {
  for (std::size_t n = 0; n < cases.size(); ++n) {
    Ran ran = run(cases[n].problem, cases[n].loop);
    if (const auto verdict = verdict_on(ran.troubles, later, cases[n])) return *verdict;
    const std::string text = explain(std::move(ran), run, model, cases.subspan(n), arrays, slips);
    if (!text.empty()) return {.passed = false, .text = text};
  }
  return {};
}

Problem small_problem(std::int64_t Nq, std::int64_t Nk, float scale, Mask mask) {
  static const std::vector<float> kQ{1, 0, 0, 1, 1, 1, 0, 0};
  static const std::vector<float> kK{2, 0, 0, 1, 1, 1, 0, 3, 1, 2, 3, 0};
  static const std::vector<float> kV{1, 0, 0, 1, 2, 0, 0, 2, 1, 1, 0, 3};
  const auto rows = [](const std::vector<float>& values, std::int64_t n) {
    return std::vector<float>(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(2 * n));
  };
  Problem problem;
  problem.shape = make_shape(1, 1, Nq, Nk, 2);
  problem.mask = mask;
  problem.scale = scale;
  problem.q = rows(kQ, Nq);
  problem.k = rows(kK, Nk);
  problem.v = rows(kV, Nk);
  return problem;
}

Problem infinite_problem(std::int64_t Nq, std::int64_t Nk, Mask mask) {
  Problem problem = small_problem(Nq, Nk, 0.5f, mask);
  for (std::size_t n = 0; n < problem.q.size(); n += 2) problem.q[n] = 1;
  for (std::size_t n = 0; n < std::min<std::size_t>(problem.k.size(), 4); n += 2) {
    problem.k[n] = -std::numeric_limits<float>::infinity();
  }
  return problem;
}

Problem hidden_problem() {
  Problem problem = small_problem(2, 2, 0.5f, Mask::kCausal);
  problem.k[2] = 400;
  return problem;
}

std::vector<Case> infinite_cases(const Loop& loop) {
  return {{infinite_problem(2, 4), loop},
          {infinite_problem(2, 2), loop},
          {infinite_problem(3, 3, Mask::kCausal), loop},
          {infinite_problem(3, 2, Mask::kCausal), loop}};
}

Problem random_problem(const Shape& shape, Mask mask) {
  return verify::make_problem(
      {.shape = shape, .mask = mask, .scale = default_scale(shape.d), .seed = 20260101},
      Pass::kForward);
}

}  // namespace attn::exercise
