// SPDX-License-Identifier: MIT
#include "common/exercise/walk.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attn::exercise {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }

/// One row of one head, tile after tile.
class RowWalk {
 public:
  RowWalk(const Problem& problem, const Loop& loop, Slip slip, std::int64_t head, std::int64_t i)
      : problem_(problem),
        loop_(loop),
        slip_(slip),
        shape_(problem.shape),
        head_(head),
        i_(i),
        o_(at(problem.shape.d), 0.0) {
    if (is(Slip::kMaxFromZero)) m_ = 0;
  }

  double score(std::int64_t j) const {
    std::int64_t query = i_, key = j;
    if (is(Slip::kFirstKeysAgain)) key = j % loop_.Bc;
    if (is(Slip::kFirstQueriesAgain)) query = i_ % loop_.Br;
    if (is(Slip::kTransposed)) {
      query = i_ - i_ % loop_.Br + j % loop_.Bc;
      key = j - j % loop_.Bc + i_ % loop_.Br;
    }
    if (query >= shape_.Nq || key >= shape_.Nk) return 0;  // tiles are filled up with zeros
    const float* q = &problem_.q[at((head_ * shape_.Nq + query) * shape_.d)];
    const float* k = &problem_.k[at((head_ * shape_.Nk + key) * shape_.d)];
    const std::int64_t step = loop_.columns > 0 ? loop_.columns : shape_.d;  // columns of a tile
    std::int64_t end = shape_.d - (is(Slip::kLastColumnMissing) ? 1 : 0);
    if (is(Slip::kFirstColumnsOnly)) end = std::min(step, end);
    double dot = 0;
    for (std::int64_t c = is(Slip::kLastColumnsOnly) ? (end - 1) / step * step : 0; c < end; ++c) {
      const std::int64_t column = is(Slip::kFirstColumnsAgain) ? c % step : c;
      const double product = static_cast<double>(q[column]) * static_cast<double>(k[column]);
      dot = is(Slip::kProductsNotAdded) ? product : dot + product;
    }
    const double scale = static_cast<double>(problem_.scale);
    if (is(Slip::kScaleForgotten)) return dot;
    return is(Slip::kScaleTwice) ? scale * scale * dot : scale * dot;
  }

  void visit(std::int64_t j0) {
    const std::int64_t keys = keys_of_tile(j0);
    if (is(Slip::kEmptiedByLaterTile) && keys == 0) std::ranges::fill(o_, 0.0);
    if (keys == 0 || is(Slip::kNoKeyTaken)) return;
    std::vector<double> s(at(keys)), p(at(keys));
    for (std::int64_t j = 0; j < keys; ++j) s[at(j)] = score(j0 + j);
    const double m_old = m_, l_old = l_;
    double tile_max = is(Slip::kMaxOfLane) ? lane_max(s, 0) : *std::ranges::max_element(s);
    for (std::int64_t j = keys; is(Slip::kMaxOfHidden) && j < loop_.Bc; ++j) {
      tile_max = std::max(tile_max, score(j0 + j));
    }
    m_ = is(Slip::kMaxOfTile) ? tile_max : std::max(m_old, tile_max);
    const double reference = m_ == -kInfinity && !is(Slip::kReferenceForgotten) ? 0 : m_;
    double tile_sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      double from = reference;
      if (is(Slip::kExpOfTileMax)) from = tile_max;
      if (is(Slip::kExpWithoutMax)) from = 0;
      if (is(Slip::kMaxOfLane)) from = std::max(m_old, lane_max(s, j % 32));
      const auto p_float = static_cast<float>(std::exp(s[at(j)] - from));  // may underflow to 0
      p[at(j)] = static_cast<double>(p_float);
      if (!is(Slip::kSumOfLane) || j % 32 == 0) tile_sum += p[at(j)];
    }
    double rescale = std::exp(m_old - reference);
    if (is(Slip::kRescaleInverted)) rescale = std::exp(reference - m_old);
    double old_weight = l_old * rescale;
    if (is(Slip::kSumNotRescaled)) old_weight = l_old;
    if (is(Slip::kSumOfTile)) old_weight = 0;
    l_ = old_weight + tile_sum;
    for (std::int64_t c = 0; c < shape_.d; ++c) {
      double pv = 0;
      for (std::int64_t j = 0; j < keys; ++j) {
        pv += (is(Slip::kScoresForWeights) ? s : p)[at(j)] * value(j0 + j, c);
      }
      if (is(Slip::kTileWeight)) pv *= std::exp(tile_max - reference);
      update(o_[at(c)], pv, l_old, rescale, tile_sum);
    }
  }

  void store(Seen& seen) {
    const std::int64_t row = head_ * shape_.Nq + i_;
    const std::int64_t diagonal = attn::diagonal(problem_.mask, shape_.Nq, shape_.Nk);
    const bool empty = visible_keys(i_, diagonal, shape_.Nk) == 0;
    // FlashAttention-1's first round also comes to rows without keys.
    const bool first_round = is(Slip::kReferenceForgotten) && loop_.averages && empty;
    for (std::int64_t j = 0; j < shape_.Nk; ++j) {
      seen.s[at(row * shape_.Nk + j)] = static_cast<float>(score(j));
    }
    seen.m[at(row)] = static_cast<float>(m_);
    seen.l[at(row)] = static_cast<float>(l_);
    double lse = l_ == 0 ? -kInfinity : m_ + std::log(l_);
    if (is(Slip::kLseWithoutMax)) lse = std::log(l_);
    if (is(Slip::kLseWithoutLog)) lse = m_ + l_;
    const bool updated = (is(Slip::kEmptyRowUpdated) || is(Slip::kEmptyRowNotAsked)) && empty;
    seen.lse[at(row)] = static_cast<float>(first_round || updated ? std::nan("") : lse);
    for (std::int64_t c = 0; c < shape_.d; ++c) {
      double o = o_[at(c)];
      if (!loop_.averages && !is(Slip::kNotDivided) && !is(Slip::kDividedEarly)) o /= l_;
      const bool divided = is(Slip::kEmptyRowDivided) || is(Slip::kEmptyRowNotAsked);
      if (empty) o = divided ? std::nan("") : 0;
      if (is(Slip::kEmptyBySum) && l_ == 0) o = 0;
      seen.o[at(row * shape_.d + c)] = static_cast<float>(o);
    }
  }

 private:
  bool is(Slip slip) const { return slip_ == slip; }

  /// How many keys of the tile the row takes into account, from the first on.
  std::int64_t keys_of_tile(std::int64_t j0) const {
    const std::int64_t diagonal = attn::diagonal(problem_.mask, shape_.Nq, shape_.Nk);
    const std::int64_t row = is(Slip::kLocalRow) ? i_ % loop_.Br : i_;
    std::int64_t visible = visible_keys(row, diagonal, shape_.Nk);
    if (is(Slip::kTileByFirstRow)) {
      const std::int64_t first = visible_keys(i_ - i_ % loop_.Br, diagonal, shape_.Nk);
      if (j0 >= first) return 0;
    }
    if (is(Slip::kNoMask)) visible = shape_.Nk;
    if (is(Slip::kOneKeyMore)) visible = std::min(visible + 1, shape_.Nk);
    if (is(Slip::kOneKeyLess)) visible = std::max<std::int64_t>(visible - 1, 0);
    if (is(Slip::kPaddedKeysCounted)) return loop_.Bc;
    const std::int64_t left = is(Slip::kLocalKey) ? visible : visible - j0;
    return std::clamp<std::int64_t>(left, 0, loop_.Bc);
  }

  static double lane_max(const std::vector<double>& s, std::int64_t lane) {
    double most = -kInfinity;
    for (std::size_t j = at(lane); j < s.size(); j += 32) most = std::max(most, s[j]);
    return most;
  }

  double value(std::int64_t j, std::int64_t c) const {
    const std::int64_t key = is(Slip::kFirstValuesAgain) ? j % loop_.Bc : j;
    if (key >= shape_.Nk) return 0;
    return static_cast<double>(problem_.v[at((head_ * shape_.Nk + key) * shape_.d + c)]);
  }

  void update(double& o, double pv, double l_old, double rescale, double tile_sum) const {
    double weight = loop_.averages ? l_old * rescale : rescale;  // of the old O
    if (is(Slip::kOldNotWeighted)) weight = 1;
    if (is(Slip::kOldWithoutSum)) weight = rescale;
    if (is(Slip::kOldNotRescaled)) weight = loop_.averages ? l_old : 1;
    if (is(Slip::kOldWithSum)) weight = l_old * rescale;
    if (is(Slip::kOutputOfTile)) weight = 0;
    const double old = weight == 0 && !is(Slip::kOldOfNothing) ? 0 : weight * o;
    if (is(Slip::kOldKept)) {
      o += pv / l_;
      return;
    }
    if (is(Slip::kDividedEarly)) {
      o = loop_.averages ? old / l_ + pv / tile_sum : (old + pv) / l_;
      return;
    }
    o = old + pv;
    if (loop_.averages && !is(Slip::kNotDivided)) o /= l_;
  }

  const Problem& problem_;
  const Loop& loop_;
  Slip slip_;
  const Shape& shape_;
  std::int64_t head_, i_;
  double m_ = -kInfinity, l_ = 0;
  std::vector<double> o_;
};

}  // namespace

std::string_view to_string(Slip slip) {
  switch (slip) {
    case Slip::kNone:
      return "nothing was wrong";
    case Slip::kTileTransposed:
      return "the tile lies in shared memory with rows and columns exchanged";
    case Slip::kRowStride:
      return "the rows of the matrix were taken to be as long as a tile's: they have d elements";
    case Slip::kKeysFromQueries:
      return "the tile of K was loaded from Q";
    case Slip::kScaleForgotten:
      return "the scores were not multiplied by scale";
    case Slip::kScaleTwice:
      return "the scores were multiplied by scale twice";
    case Slip::kProductsNotAdded:
      return "the loop over d kept its last product only: dot = ... in place of dot += ...";
    case Slip::kLastColumnMissing:
      return "the loop over d ended one column too soon";
    case Slip::kTransposed:
      return "rows and columns of the tile were exchanged: S[i][j] is query i with key j";
    case Slip::kFirstKeysAgain:
      return "the first tile of K was used again for later keys: does the load add j0 * d?";
    case Slip::kFirstQueriesAgain:
      return "the first tile of Q was used again for later queries: does the load add i0 * d?";
    case Slip::kFirstColumnsOnly:
      return "the loop over the tiles of d ended after the first tile";
    case Slip::kFirstColumnsAgain:
      return "the first columns were loaded again for later tiles of d: does the load add c0?";
    case Slip::kLastColumnsOnly:
      return "the dot product began anew with every tile of d: set it to 0 in front of that loop";
    case Slip::kNoKeyTaken:
      return "no key has been taken into m and l yet: they are as they were at the start";
    case Slip::kMaxOfTile:
      return "m was the maximum of the last tile alone: m_new is max(m_old, the tile's maximum)";
    case Slip::kMaxFromZero:
      return "m started at 0: before the first key it is -infinity";
    case Slip::kMaxOfHidden:
      return "m was the maximum over keys that the row does not see, too: one far above makes "
             "every P 0. It is the maximum of the visible keys";
    case Slip::kMaxOfLane:
      return "each lane kept the maximum of its own keys: warp_max puts the lanes together";
    case Slip::kSumOfLane:
      return "l held the keys of lane 0 alone: warp_sum puts the lanes together";
    case Slip::kSumNotRescaled:
      return "the old l was not rescaled when m grew: it needs the factor exp(m_old - m_new) (or "
             "the factor was computed when m was already the new one)";
    case Slip::kSumOfTile:
      return "l was the sum of the last tile alone: the old l is missing";
    case Slip::kRescaleInverted:
      return "the factor of the old l was upside down: exp(m_old - m_new), which is at most 1";
    case Slip::kExpOfTileMax:
      return "P was taken relative to the tile's maximum: exp(S - m_new), with the m of all keys";
    case Slip::kExpWithoutMax:
      return "P was exp(S), without m: exp(S - m_new)";
    case Slip::kOldNotWeighted:
      return "the line that stores O adds the old O as it is: its factor is its old weight, l_old "
             "* "
             "exp(m_old - m_new)";
    case Slip::kOldKept:
      return "the line that stores O adds P V / l_new to the old O as it is: the old O must be "
             "reweighted, too, by l_old * exp(m_old - m_new) / l_new";
    case Slip::kOldWithoutSum:
      return "the old O was multiplied by exp(m_old - m_new) alone: it was divided by l_old, so "
             "l_old belongs to its weight";
    case Slip::kOldNotRescaled:
      return "the old O was not rescaled when m grew: exp(m_old - m_new) is missing (or was "
             "computed when m was already the new one)";
    case Slip::kOldWithSum:
      return "the old O was multiplied by l_old, too: undivided, it needs exp(m_old - m_new) only";
    case Slip::kNotDivided:
      return "O was not divided by l";
    case Slip::kDividedEarly:
      return "a part of O was divided by l too early, before all keys were in it";
    case Slip::kTileWeight:
      return "P V was multiplied by exp(tile's maximum - m_new), which P already has in it";
    case Slip::kScoresForWeights:
      return "V was weighted by S: the weights are P = exp(S - m_new)";
    case Slip::kOutputOfTile:
      return "O was that of the last tile alone: the old O is missing";
    case Slip::kFirstValuesAgain:
      return "the first tile of V was used again for later keys: does the load add j0 * d?";
    case Slip::kEmptiedByLaterTile:
      return "a later tile, of which the row sees nothing, overwrote its O with 0";
    case Slip::kSecondHalfLost:
      return "the result was that of the first half alone";
    case Slip::kHalvesNotRescaled:
      return "the halves were added as they are: each l and each O must first be brought from its "
             "own m to the common one, by exp(m_half - m)";
    case Slip::kHalvesOfLNotRescaled:
      return "the halves of O were rescaled, those of l not: l needs the same two factors";
    case Slip::kHalvesOfONotRescaled:
      return "the halves of l were rescaled, those of O not: O needs the same two factors";
    case Slip::kHalvesDividedFirst:
      return "each half of O was divided by its own l: add them first, then divide by the common l";
    case Slip::kSecondHalfDivided:
      return "warp 1 divided O by its own l before it handed it over: add the halves first, then "
             "divide by the common l";
    case Slip::kHalvesDividedTwice:
      return "each half of O was divided by its own l, and the sum by the common one: divide the "
             "sum alone";
    case Slip::kLseForgotten:
      return "LSE was not subtracted: P = exp(S - LSE)";
    case Slip::kExpForgotten:
      return "exp was forgotten: P = exp(S - LSE)";
    case Slip::kProbabilityWithoutScale:
      return "the scores were not multiplied by scale before LSE was subtracted";
    case Slip::kLastQueriesOnly:
      return "the sum began anew with every tile of queries: set it to 0 in front of that loop";
    case Slip::kEarlierKeysToo:
      return "the sum went on from one tile of keys to the next: each has its own, from 0";
    case Slip::kNotTransposed:
      return "the sum ran along a row: for key j it runs down column j, over the queries";
    case Slip::kDeltaForgotten:
      return "delta was not subtracted: dS = P * (dP - delta)";
    case Slip::kWeightForgotten:
      return "P was forgotten: dS = P * (dP - delta)";
    case Slip::kDeltaOutside:
      return "delta was subtracted from the product: dS = P * (dP - delta)";
    case Slip::kProbabilityForSlope:
      return "dK was summed with P: its weights are dS";
    case Slip::kGradientWithoutScale:
      return "dK was not multiplied by scale";
    case Slip::kGradientScaledTwice:
      return "dK was multiplied by scale twice";
    case Slip::kKeysForQueries:
      return "dK was a sum of rows of dO: it is a sum of rows of Q";
    case Slip::kPaddedKeysCounted:
      return "the zeros behind the last key counted as keys: exp(0 - m) is not 0";
    case Slip::kNoMask:
      return "every row saw every key: visible_keys says how many it may see";
    case Slip::kLocalKey:
      return "the key's number in the tile was compared with visible_keys: the tile starts at j0";
    case Slip::kLocalRow:
      return "the row's number in the tile was given to visible_keys: the tile starts at i0";
    case Slip::kOneKeyMore:
      return "each row saw one key too many: the last is visible_keys - 1";
    case Slip::kOneKeyLess:
      return "each row saw one key too few: the last is visible_keys - 1";
    case Slip::kEmptyRowDivided:
      return "a row without keys was divided by its l, which is 0: such a row of O is zeros. Ask "
             "how many keys it sees, not whether l is 0: with keys whose logits are all -infinity, "
             "O is NaN";
    case Slip::kEmptyRowUpdated:
      return "a row that sees no key went through the update: its m is -infinity, and -infinity "
             "minus -infinity is nan. Leave it alone, or take reference_point(m)";
    case Slip::kEmptyRowNotAsked:
      return "a row that sees no key was taken for one that does: -infinity minus -infinity is nan "
             "(reference_point is for that), and its O is zeros: ask how many keys it sees";
    case Slip::kTileByFirstRow:
      return "a tile was left out because its first query sees none of its keys: its last query "
             "sees most";
    case Slip::kReferenceForgotten:
      return "m_new was subtracted while it is -infinity: -infinity minus -infinity is nan. In "
             "exp(S - m_new) and in exp(m_old - m_new) take reference_point(m_new)";
    case Slip::kOldOfNothing:
      return "the old O of a row whose m was still -infinity was used: it is 0/0, and 0 * nan is "
             "nan. Take 0 for it";
    case Slip::kEmptyBySum:
      return "a row was taken for empty because its l is 0: ask how many keys it sees. With keys "
             "whose logits are all -infinity, O is nan";
    case Slip::kLseWithoutMax:
      return "LSE was log(l): it is m + log(l)";
    case Slip::kLseWithoutLog:
      return "LSE was m + l: it is m + log(l)";
  }
  return "";
}

Seen walk(const Problem& problem, const Loop& loop, Slip slip) {
  const Shape& shape = problem.shape;
  Seen seen;
  seen.s.resize(at(shape.rows() * shape.Nk));
  seen.o.resize(at(shape.q_elements()));
  for (auto* row : {&seen.m, &seen.l, &seen.lse}) row->resize(at(shape.rows()));
  for (std::int64_t head = 0; head < shape.heads(); ++head) {
    for (std::int64_t i = 0; i < shape.Nq; ++i) {
      RowWalk row(problem, loop, slip, head, i);
      for (std::int64_t j0 = 0; j0 < shape.Nk; j0 += loop.Bc) row.visit(j0);
      row.store(seen);
    }
  }
  return seen;
}

Problem some_keys(const Problem& problem, std::int64_t first, std::int64_t last) {
  Problem part = problem;
  const std::int64_t d = problem.shape.d, Nk = problem.shape.Nk;
  part.shape.Nk = last - first;
  part.k.clear();
  part.v.clear();
  for (std::int64_t head = 0; head < problem.shape.heads(); ++head) {
    const auto from = static_cast<std::ptrdiff_t>((head * Nk + first) * d);
    const auto to = static_cast<std::ptrdiff_t>((head * Nk + last) * d);
    part.k.insert(part.k.end(), problem.k.begin() + from, problem.k.begin() + to);
    part.v.insert(part.v.end(), problem.v.begin() + from, problem.v.begin() + to);
  }
  return part;
}

}  // namespace attn::exercise
