// SPDX-License-Identifier: MIT
//
// What only register tiles can have wrong, for the checker of "write it": which lane has which
// rows, keys and columns, and which lanes make up a row.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chapters/08_register_tiles/register_tiles.hpp"
#include "common/columns.hpp"
#include "common/exercise/compare.hpp"

namespace attn::register_tiles {

inline constexpr exercise::Loop kSmall{.Br = 4, .Bc = 8, .averages = false};
inline constexpr exercise::Loop kLarge{.Br = 128, .Bc = 64, .averages = false};

struct Layout {
  std::int64_t Br = 0, Bc = 0, D = 0, warps = 0;
  std::int64_t rows() const { return Br / warps; }  // of a warp
  std::int64_t TM() const { return rows() / 4; }
  std::int64_t TN() const { return Bc / 8; }
  std::int64_t TC() const { return D / 32; }
};

inline Layout layout_of(const exercise::Loop& loop, std::int64_t d) {
  if (loop.Br == kSmall.Br) return {.Br = kSmall.Br, .Bc = kSmall.Bc, .D = 32, .warps = 1};
  Layout layout;
  with_columns(d, [&layout]<int kD>() {
    using T = TilesFor<kD>;
    layout = {.Br = T::kBr, .Bc = T::kBc, .D = kD, .warps = T::kWarps};
  });
  return layout;
}

/// An element of what a stage compares.
struct Place {
  exercise::Array array;
  std::int64_t head, i, column;
  bool heads;  // whether there are several

  Place(exercise::Array of, const Shape& shape, std::int64_t element) : array(of) {
    const std::int64_t width = array == exercise::Array::kS   ? shape.Nk
                               : array == exercise::Array::kO ? shape.d
                                                              : 1;
    head = element / width / shape.Nq;
    i = element / width % shape.Nq;
    column = element % width;
    heads = shape.heads() > 1;
  }

  std::string text() const {
    std::string words = heads ? fmt::format("head {}, ", head) : "";
    words += fmt::format("row {}", i);
    if (array == exercise::Array::kS) words += fmt::format(", key {}", column);
    if (array == exercise::Array::kO) words += fmt::format(", column {}", column);
    return words;
  }
};

/// What an array would hold with one slip, and the slip in words that follow "It looks as if ".
struct Guess {
  std::string words;
  std::vector<float> values;
};

/// One case, and what should be there.
class Guesses {
 public:
  Guesses(const exercise::Case& one, const exercise::Seen& wanted)
      : one_(one), wanted_(wanted), tile_(layout_of(one.loop, one.problem.shape.d)) {}

  std::vector<Guess> of(exercise::Array array) const {
    if (array == exercise::Array::kS) return of_scores();
    if (array == exercise::Array::kM) return of_maxima();
    if (array == exercise::Array::kL) return of_sums();
    if (array == exercise::Array::kO) return of_outputs();
    return {};
  }

  /// "warp 0, lane row 1, lane column 2, as its s[1][0]": who has this element.
  std::string holder(const Place& place) const {
    const std::int64_t in_tile = place.i % tile_.Br, r = in_tile % tile_.rows(), m = r / 4;
    const std::string row = fmt::format("warp {}, lane row {}", in_tile / tile_.rows(), r % 4);
    if (place.array == exercise::Array::kS) {
      const std::int64_t key = place.column % tile_.Bc;
      return fmt::format("{}, lane column {}, as s[{}][{}]", row, key % 8, m, key / 8);
    }
    if (place.array == exercise::Array::kO) {
      const std::int64_t c = place.column;
      return fmt::format("{}, lane column {}, as acc_o[{}][{}]", row, c / 4 % 8, m,
                         4 * (c / 32) + c % 4);
    }
    if (place.array == exercise::Array::kLse) {
      return fmt::format("{}, as row_max[{}] and row_sum[{}]", row, m, m);
    }
    const char* name = place.array == exercise::Array::kL ? "row_sum" : "row_max";
    return fmt::format("{}, as {}[{}]", row, name, m);
  }

 private:
  static std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }
  std::int64_t Nq() const { return one_.problem.shape.Nq; }
  std::int64_t Nk() const { return one_.problem.shape.Nk; }
  std::int64_t d() const { return one_.problem.shape.d; }
  std::int64_t rows() const { return one_.problem.shape.rows(); }
  double score(std::int64_t row, std::int64_t j) const {
    return static_cast<double>(wanted_.s[at(row * Nk() + j)]);
  }
  double maximum(std::int64_t row) const { return static_cast<double>(wanted_.m[at(row)]); }

  /// S whose element (i, j) is that of other rows and keys.
  std::vector<float> moved(bool rows_near, bool keys_near) const {
    std::vector<float> s(wanted_.s.size());
    for (std::int64_t n = 0; n < rows() * Nk(); ++n) {
      std::int64_t row = n / Nk(), j = n % Nk();
      const std::int64_t r = row % Nq() % tile_.rows(), key = j % tile_.Bc;
      if (rows_near) row += r % 4 + r / 4 - r;
      if (keys_near) j += key % 8 + key / 8 - key;
      s[at(n)] = static_cast<float>(score(row, j));
    }
    return s;
  }

  std::vector<Guess> of_scores() const {
    std::vector<Guess> guesses{
        {"nothing has been added to s yet", std::vector<float>(wanted_.s.size())},
        {"row m of q was taken m rows further: a lane's rows are 4 apart, kLaneRows * m",
         moved(true, false)},
        {"row n of k was taken n rows further: a lane's keys are 8 apart, kLaneColumns * n",
         moved(false, true)},
        {"the rows of q and k were taken for neighbours: a lane's rows are 4 apart, its keys 8",
         moved(true, true)}};
    Problem first = one_.problem;
    for (std::size_t n = 0; n < first.q.size(); ++n) {
      if (static_cast<std::int64_t>(n) % d() % 4 != 0) first.q[n] = 0;
    }
    guesses.push_back(
        {"only the first of four columns was multiplied: a load4 brings four, e = 0 "
         "to 3",
         walk(first, one_.loop).s});
    return guesses;
  }

  /// The lane at (row, column) of the grid, in reading order or dealt in pairs.
  static unsigned lane_of(bool paired, unsigned row, unsigned column) {
    if (!paired) return 8 * row + column;
    return (row & 1u) << 1 | row >> 1 << 4 | (column & 1u) | column >> 1 << 2;
  }

  /// For lane (r, 0) of the grid: the lanes that it exchanges with over these bits, as
  /// (row, column) of the grid.
  static std::vector<std::pair<unsigned, unsigned>> partners(bool paired, unsigned bits,
                                                             unsigned r) {
    std::vector<std::pair<unsigned, unsigned>> found;
    for (unsigned row = 0; row < 4; ++row) {
      for (unsigned column = 0; column < 8; ++column) {
        const unsigned distance = lane_of(paired, row, column) ^ lane_of(paired, r, 0);
        if ((distance & ~bits) == 0) found.emplace_back(row, column);
      }
    }
    return found;
  }

  static std::string bits_in_words(unsigned bits) {
    std::string text;
    for (unsigned bit = 1; bit < 32; bit *= 2) {
      if ((bits & bit) != 0) text += fmt::format("{}{}", text.empty() ? "" : ", ", bit);
    }
    return text;
  }

  /// A slip for each set of bits that is not a row's, in either deal of the lanes. What happens
  /// most comes first: none, all, those of the other deal, the highest.
  template <class Combine>
  void add_exchanges(std::vector<Guess>& guesses, std::string_view what, Combine combine) const {
    constexpr unsigned kPlain = 1 | 2 | 4, kPaired = 1 | 4 | 8;
    const auto add = [&](bool paired, unsigned bits) {
      if (bits == (paired ? kPaired : kPlain)) return;
      Guess guess;
      for (std::int64_t row = 0; row < rows(); ++row) {
        const std::int64_t r = row % Nq() % tile_.rows() % 4;
        guess.values.push_back(
            static_cast<float>(combine(row - r, partners(paired, bits, static_cast<unsigned>(r)))));
      }
      guess.words =
          bits == 0 ? fmt::format(
                          "each lane kept the {} of its own keys: the eight lanes of a row put "
                          "theirs together, by __shfl_xor_sync over Lanes::kBit0, kBit1 and kBit2",
                          what)
                    : fmt::format(
                          "the {} went over other lanes than the eight of a row: exchanged were "
                          "the bits {} of the lane's number; a row's are Lanes::kBit0, kBit1 and "
                          "kBit2, {} as the lanes stand",
                          what, bits_in_words(bits), bits_in_words(paired ? kPaired : kPlain));
      guesses.push_back(guess);
    };
    for (const unsigned bits : {0u, 31u, kPaired, 4u | 8u | 16u}) add(false, bits);
    for (const unsigned bits : {kPlain, 4u | 8u | 16u}) add(true, bits);
    for (unsigned bits = 1; bits < 31; ++bits) {
      for (const bool paired : {false, true}) add(paired, bits);
    }
  }

  std::vector<Guess> of_maxima() const {
    constexpr float kFirst = -std::numeric_limits<float>::infinity();
    std::vector<Guess> guesses{
        {"row_max is still as it began", std::vector<float>(wanted_.m.size(), kFirst)}};
    add_exchanges(guesses, "maximum", [this](std::int64_t first, const auto& lanes) {
      double most = -std::numeric_limits<double>::infinity();
      for (const auto& [r, column] : lanes) {
        for (std::int64_t j = column; j < Nk(); j += 8) most = std::max(most, score(first + r, j));
      }
      return most;
    });
    return guesses;
  }

  /// The part of a row's l that the keys first, first + 8, ... below last make.
  double part(std::int64_t row, std::int64_t first, std::int64_t last) const {
    double sum = 0;
    for (std::int64_t j = first; j < last; j += 8) sum += std::exp(score(row, j) - maximum(row));
    return sum;
  }

  std::vector<Guess> of_sums() const {
    std::vector<Guess> guesses{
        {"row_sum is still as it began", std::vector<float>(wanted_.l.size())}};
    add_exchanges(guesses, "sum", [this](std::int64_t first, const auto& lanes) {
      double sum = 0;
      for (const auto& [r, column] : lanes) sum += part(first + r, column, Nk());
      return sum;
    });
    Guess twice{
        "l was put together in every tile and once more behind the loop: eight lanes that "
        "already have the row's sum add it up",
        {}};
    Guess old{
        "row_sum was put together over the eight lanes in every tile: the part of earlier "
        "tiles, the same in all eight, counted eight times",
        {}};
    for (std::int64_t row = 0; row < rows(); ++row) {
      double sum = 0;
      for (std::int64_t j0 = 0; j0 < Nk(); j0 += tile_.Bc) {
        sum *= 8;
        const std::int64_t end = std::min(j0 + tile_.Bc, Nk());
        for (std::int64_t column = 0; column < 8; ++column) sum += part(row, j0 + column, end);
      }
      old.values.push_back(static_cast<float>(sum));
      twice.values.push_back(8 * wanted_.l[at(row)]);
    }
    guesses.push_back(twice);
    guesses.push_back(old);
    return guesses;
  }

  /// O where column c of key j's value has the weight of another key; none: no weight.
  template <class Key>
  std::vector<float> weighted(Key key_of) const {
    std::vector<float> o;
    for (std::int64_t row = 0; row < rows(); ++row) {
      const float* v = &one_.problem.v[at(row / Nq() * Nk() * d())];
      for (std::int64_t c = 0; c < d(); ++c) {
        double sum = 0;
        for (std::int64_t j = 0; j < Nk(); ++j) {
          const std::optional<std::int64_t> key = key_of(j, c);
          if (!key) continue;
          sum += std::exp(score(row, *key) - maximum(row)) * static_cast<double>(v[j * d() + c]);
        }
        o.push_back(static_cast<float>(sum / static_cast<double>(wanted_.l[at(row)])));
      }
    }
    return o;
  }

  /// O whose column c is another column.
  template <class Column>
  std::vector<float> columns(Column column_of) const {
    std::vector<float> o;
    for (std::int64_t n = 0; n < rows() * d(); ++n) {
      const std::int64_t column = column_of(n % d());
      o.push_back(column < d() ? wanted_.o[at(n - n % d() + column)] : 0.0f);
    }
    return o;
  }

  std::vector<Guess> of_outputs() const {
    using Key = std::optional<std::int64_t>;
    const std::int64_t TN = tile_.TN(), TC = tile_.TC(), Bc = tile_.Bc;
    std::vector<Guess> guesses{
        {"each lane weighed V with the P of its own keys: a column of O wants all keys of the row, "
         "which lie in eight lanes. P goes through shared memory",
         weighted(
             [](std::int64_t j, std::int64_t c) { return j % 8 == c / 4 % 8 ? Key(j) : Key(); })},
        {"the four keys of a load of P all had the weight of the first: it is w[m][e] for key j + "
         "e",
         weighted([](std::int64_t j, std::int64_t) { return Key(j - j % 4); })},
        {"only the first key of each load of P counted: a load4 brings four, e = 0 to 3",
         weighted([](std::int64_t j, std::int64_t) { return j % 4 == 0 ? Key(j) : Key(); })}};
    const auto is_nan = [](float x) { return std::isnan(x); };
    if (std::ranges::any_of(one_.problem.v, is_nan)) {
      guesses.push_back(
          {"a key that the row does not see was multiplied by its P of 0: 0 * nan is "
           "nan. Leave it out, by an if",
           columns([this](std::int64_t c) { return c; })});
      for (std::int64_t n = 0; n < rows() * d(); ++n) {
        float& o = guesses.back().values[at(n)];
        for (std::int64_t j = 0; j < Nk(); ++j) {
          if (is_nan(one_.problem.v[at(j * d() + n % d())])) o = std::nanf("");
        }
      }
    }
    if (TN > 1) {
      guesses.push_back(
          {"P was stored as if a lane's keys were neighbours: its n-th is lane.column "
           "+ 8 n",
           weighted([&](std::int64_t j, std::int64_t) {
             const std::int64_t key = j % Bc;  // as the place in the row of p
             return Key(j - key + key / TN + key % TN * 8);
           })});
    }
    if (TC > 1) {
      guesses.push_back(
          {"the columns of V were fetched as if a lane's were neighbours: its h-th "
           "float4 is v + 32 h",
           columns([TC](std::int64_t c) { return 4 * (TC * (c / 4 % 8) + c / 32) + c % 4; })});
      guesses.push_back(
          {"the columns of O were stored as if a lane's were neighbours: its h-th "
           "float4 goes to 4 * lane.column + 32 * h",
           columns([TC](std::int64_t c) { return 4 * (c / 4 / TC) + 32 * (c / 4 % TC) + c % 4; })});
    }
    return guesses;
  }

  const exercise::Case& one_;
  const exercise::Seen& wanted_;
  Layout tile_;
};

}  // namespace attn::register_tiles
