// SPDX-License-Identifier: MIT
#include "common/exercise/by_hand.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/exercise/trial.hpp"
#include "common/io/table.hpp"

namespace attn::exercise {
namespace {

std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }

/// Row i as it stands after some keys; without any, as it starts.
struct RowState {
  float m = -std::numeric_limits<float>::infinity();
  float l = 0;
  std::vector<float> o;
};

RowState state_of(const Seen& seen, std::int64_t i, std::int64_t d) {
  RowState state;
  if (i < static_cast<std::int64_t>(seen.m.size())) state.m = seen.m[at(i)];
  if (i < static_cast<std::int64_t>(seen.l.size())) state.l = seen.l[at(i)];
  for (std::int64_t c = i * d; c < (i + 1) * d; ++c) {
    if (c < static_cast<std::int64_t>(seen.o.size())) state.o.push_back(seen.o[at(c)]);
  }
  return state;
}

bool is_close(const RowState& a, const RowState& b, bool with_o) {
  bool close = exercise::is_close(a.m, b.m) && exercise::is_close(a.l, b.l);
  for (std::size_t c = 0; with_o && c < a.o.size(); ++c) {
    close = close && c < b.o.size() && exercise::is_close(a.o[c], b.o[c]);
  }
  return close;
}

std::string join(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) {
    text += fmt::format("{}{}", text.empty() ? "" : " ", short_text(value));
  }
  return text;
}

/// How the keys j0 .. keys - 1 turn `before` into `after`, in numbers.
std::string worked_out(const Case& one, const Seen& seen, const RowState& before,
                       const RowState& after, std::int64_t i, std::int64_t j0, std::int64_t keys,
                       bool with_o) {
  const std::int64_t d = one.problem.shape.d;
  const bool infinite = std::isinf(after.m);
  const std::string m = infinite ? "0" : short_text(after.m), l = short_text(after.l),
                    l_old = short_text(before.l);
  std::string maximum = short_text(before.m), sum, weighted;
  for (std::int64_t j = j0; j < keys; ++j) {
    const std::string s = short_text(seen.s[at(i * keys + j)]);
    const std::string p = fmt::format(" + exp({} - {})", s, m);
    maximum += fmt::format(", {}", s);
    sum += p;
    weighted += fmt::format("{}*{}", p, short_text(one.problem.v[at(j * d)]));
  }
  const std::string rescale = fmt::format("exp({} - {})", short_text(before.m), m);
  std::string text =
      fmt::format("  m = max({}) = {}{}\n  l = {}*{}{} = {}\n", maximum, short_text(after.m),
                  infinite ? ", and reference_point(m) = 0" : "", l_old, rescale, sum, l);
  if (!with_o) return text;
  float old = before.o.empty() ? 0.0f : before.o.front();
  const bool undefined = std::isnan(old);
  if (undefined) old = 0;
  const float now = after.o.front();
  if (one.loop.averages) {
    return text + fmt::format("  O[0] = ({}*{}*{}{}) / {} = {}{}\n", l_old, rescale,
                              short_text(old), weighted, l, short_text(now),
                              undefined ? " (the old O is nan: 0 is taken)" : "");
  }
  const std::string sum_now = short_text(after.l == 0 ? 0.0f : now * after.l);
  return text + fmt::format("  not divided: O[0] = {}*{}{} = {}\n  divided: {} / {} = {}\n",
                            short_text(old * before.l), rescale, weighted, sum_now, sum_now, l,
                            short_text(now));
}

/// What each of two warps has of row i, and how the two are merged.
std::string halves_by_hand(const Case& one, const RowState& wanted, const RowState& yours,
                           std::int64_t i) {
  const std::int64_t Nk = one.problem.shape.Nk, d = one.problem.shape.d;
  io::Table table({{fmt::format("row {}", i)}, {"m"}, {"l"}, {"O, not divided"}, {"O"}});
  std::string sum, weighted;
  for (std::int64_t warp = 0; warp < 2; ++warp) {
    const std::int64_t first = Nk * warp / 2, last = Nk * (warp + 1) / 2;
    RowState half = state_of(walk(some_keys(one.problem, first, last), one.loop), i, d);
    for (float& o : half.o) o = half.l == 0 ? 0.0f : o * half.l;
    table.add_row({fmt::format("warp {}, keys {} to {}", warp, first, last - 1), short_text(half.m),
                   short_text(half.l), join(half.o), ""});
    const std::string plus = warp == 0 ? "" : " + ";
    const std::string of = fmt::format("*exp({} - {})", short_text(half.m), short_text(wanted.m));
    sum += fmt::format("{}{}{}", plus, short_text(half.l), of);
    weighted += fmt::format("{}{}{}", plus, short_text(half.o.front()), of);
  }
  for (const auto& [name, row] : {std::pair{"merged", &wanted}, std::pair{"yours", &yours}}) {
    table.add_row({name, short_text(row->m), short_text(row->l), "", join(row->o)});
  }
  return fmt::format("{}\nRow {}, merged:\n  l = {} = {}\n  O[0] = ({}) / {} = {}\n",
                     table.to_string(), i, sum, short_text(wanted.l), weighted,
                     short_text(wanted.l), short_text(wanted.o.front()));
}

}  // namespace

std::string setting(const Case& one) {
  const Shape& shape = one.problem.shape;
  const auto count = [](std::int64_t n, const char* one_of_them, const char* many) {
    return fmt::format("{} {}", n, n == 1 ? one_of_them : many);
  };
  std::string text = shape.heads() > 1 ? fmt::format("{} heads, ", shape.heads()) : "";
  text += fmt::format("{}, {}, d = {}, scale = {:.4g}", count(shape.Nq, "query", "queries"),
                      count(shape.Nk, "key", "keys"), shape.d, one.problem.scale);
  if (one.problem.mask != Mask::kFull) {
    text += fmt::format(", {} (diagonal = {})", to_string(one.problem.mask),
                        diagonal(one.problem.mask, shape.Nq, shape.Nk));
  }
  if (one.loop.Bc > 1) {
    text += fmt::format(", tiles of {} queries and {} keys", one.loop.Br, one.loop.Bc);
  }
  return text;
}

std::string short_text(float value) {
  if (is_unwritten(value)) return ".";
  if (std::isnan(value)) return "nan";
  return fmt::format("{:.4g}", value == 0.0f ? 0.0f : value);
}

bool is_close(float a, float b) {
  if (is_unwritten(a) != is_unwritten(b)) return false;
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return std::abs(a - b) <= 1e-4f * (1.0f + std::max(std::abs(a), std::abs(b)));
}

bool fits_on_paper(const Case& one) {
  const Shape& shape = one.problem.shape;
  return shape.heads() == 1 && shape.Nq <= 4 && shape.Nk <= 6 && shape.Nk > 0 && shape.d <= 4;
}

std::string side_by_side(const std::vector<Matrix>& matrices) {
  std::int64_t rows = 0;
  for (const Matrix& one : matrices) rows = std::max(rows, one.rows);
  std::vector<std::string> lines(at(rows) + 1);
  lines[0] = "       ";
  for (std::int64_t i = 0; i < rows; ++i) lines[at(i) + 1] = fmt::format("  {:<5}", i);
  for (const Matrix& one : matrices) {
    std::vector<std::string> cells;
    for (const float value : one.values) cells.push_back(short_text(value));
    std::size_t cell = 1;
    for (const std::string& text : cells) cell = std::max(cell, text.size());
    const std::size_t width = std::max(one.title.size(), at(one.columns) * (cell + 1));
    lines[0] += fmt::format("{:<{}}  ", one.title, width);
    for (std::int64_t i = 0; i < rows; ++i) {
      std::string row;
      for (std::int64_t c = 0; c < one.columns && i < one.rows; ++c) {
        row += fmt::format("{:>{}} ", cells[at(i * one.columns + c)], cell);
      }
      lines[at(i) + 1] += fmt::format("{:<{}}  ", row, width);
    }
  }
  std::string text;
  for (std::string& line : lines) {
    line.erase(line.find_last_not_of(' ') + 1);
    text += fmt::format("{}\n", line);
  }
  return text;
}

std::string tiles_by_hand(const Case& one, const Seen& yours) {
  const auto [B, H, Hkv, Nq, Nk, d] = one.problem.shape;
  return side_by_side({{"Q", Nq, d, one.problem.q},
                       {"its tiles", Nq, d, yours.q_tiles},
                       {"K", Nk, d, one.problem.k},
                       {"its tiles", Nk, d, yours.k_tiles}});
}

std::string scores_by_hand(const Case& one, const Seen& wanted, const Seen& yours, std::int64_t i,
                           std::int64_t j) {
  const auto [B, H, Hkv, Nq, Nk, d] = one.problem.shape;
  std::string text = side_by_side({{"Q", Nq, d, one.problem.q},
                                   {"K", Nk, d, one.problem.k},
                                   {"S wanted", Nq, Nk, wanted.s},
                                   {"S yours", Nq, Nk, yours.s}});
  std::string sum;
  for (std::int64_t c = 0; c < d; ++c) {
    sum += fmt::format("{}{}*{}", c == 0 ? "" : " + ", short_text(one.problem.q[at(i * d + c)]),
                       short_text(one.problem.k[at(j * d + c)]));
  }
  return text + fmt::format("  S[{}][{}] = {} * ({}) = {}\n", i, j, short_text(one.problem.scale),
                            sum, short_text(wanted.s[at(i * Nk + j)]));
}

std::string lse_by_hand(const Case& one, const Seen& wanted, std::int64_t i) {
  const Shape& shape = one.problem.shape;
  if (visible_keys(i, diagonal(one.problem.mask, shape.Nq, shape.Nk), shape.Nk) == 0) return {};
  const auto text = [i](const std::vector<float>& array) { return short_text(array[at(i)]); };
  return fmt::format("  LSE[{}] = m + log(l) = {} + log({}) = {}\n", i, text(wanted.m),
                     text(wanted.l), text(wanted.lse));
}

std::string row_by_hand(const Case& one, Runner run, std::int64_t i, bool with_o) {
  const auto [B, H, Hkv, Nq, Nk, d] = one.problem.shape;
  const Seen all = walk(one.problem, one.loop);
  std::vector<Matrix> inputs{{"S", Nq, Nk, all.s}};
  if (with_o) inputs.push_back({"V", Nk, d, one.problem.v});
  if (one.loop.warps > 1) {
    const Ran ran = run(one.problem, one.loop);
    return fmt::format("{}\n{}", side_by_side(inputs),
                       halves_by_hand(one, state_of(all, i, d), state_of(ran.seen, i, d), i));
  }
  std::vector<io::Table::Column> columns{
      {fmt::format("row {}", i)}, {"m wanted"}, {"yours"}, {"l wanted"}, {"yours"}};
  if (with_o) {
    columns.push_back({"O wanted"});
    columns.push_back({"yours"});
  }
  io::Table table(columns);
  std::string steps;
  RowState before;
  // With fewer keys a causal row would be another one: only the end is to be seen.
  const bool masked = one.problem.mask != Mask::kFull;
  const std::int64_t first = masked ? (Nk - 1) / one.loop.Bc * one.loop.Bc : 0;
  const std::int64_t visible = visible_keys(i, diagonal(one.problem.mask, Nq, Nk), Nk);
  if (masked) {
    steps = fmt::format("Row {} sees {} of the {} keys{}.\n", i, visible, Nk,
                        visible == 0 ? ": its O is zeros, its LSE -inf" : ", the first ones");
  }
  for (std::int64_t j0 = first; j0 < Nk; j0 += one.loop.Bc) {
    const std::int64_t keys = std::min(j0 + one.loop.Bc, Nk);
    const Problem part = some_keys(one.problem, 0, keys);
    const Seen seen = walk(part, one.loop);
    const RowState wanted = state_of(seen, i, d);
    const Ran ran = run(part, one.loop);
    const RowState yours = state_of(ran.seen, i, d);
    std::vector<std::string> row{
        visible == 0 ? "no keys" : fmt::format("after keys 0 to {}", std::min(keys, visible) - 1)};
    for (const float value : {wanted.m, yours.m, wanted.l, yours.l}) {
      row.push_back(short_text(value));
    }
    if (with_o) {
      row.push_back(join(wanted.o));
      row.push_back(join(yours.o));
    }
    table.add_row(row);
    const bool right = is_close(wanted, yours, with_o);
    if (!right && steps.empty()) {
      steps = fmt::format("Row {}, keys {} to {}, worked out:\n{}", i, j0, keys - 1,
                          worked_out(one, seen, before, wanted, i, j0, keys, with_o));
    }
    before = wanted;
  }
  return fmt::format("{}\n{}\n{}", side_by_side(inputs), table.to_string(), steps);
}

}  // namespace attn::exercise
