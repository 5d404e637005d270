// SPDX-License-Identifier: MIT
//
// What a tile loop computes, row by row in plain C++, right or with one of the usual slips: so that
// the checker can say which slip explains the reader's numbers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/run/problem.hpp"

namespace attn::exercise {

/// How keys come and what O means on the way.
struct Loop {
  int Br = 1;            // queries of a tile
  int Bc = 1;            // keys of a tile
  bool averages = true;  // O is divided by l after every tile (FlashAttention-1), not at the end
  int columns = 0;       // of d at a time; 0: all
  int warps = 1;         // that share a row's keys
};

/// What there is to see of a pass, all heads: S (Nq, Nk), m, l and LSE (Nq), O (Nq, d); the tiles
/// of Q (Nq, d) and K (Nk, d) as they lie in shared memory. What a chapter does not have is empty.
struct Seen {
  std::vector<float> s, m, l, o, lse;
  std::vector<float> q_tiles, k_tiles;
  std::vector<float> p, ds;   // of a backward pass: P and dS (Nq, Nk)
  std::vector<float> dv, dk;  // (Nk, d)
};

enum class Slip {
  kNone,
  // Tiles of Q and K.
  kTileTransposed,
  kRowStride,
  kKeysFromQueries,
  // A tile of S.
  kScaleForgotten,
  kScaleTwice,
  kProductsNotAdded,
  kLastColumnMissing,
  kTransposed,
  kFirstKeysAgain,
  kFirstQueriesAgain,
  kFirstColumnsOnly,
  kFirstColumnsAgain,
  kLastColumnsOnly,
  // m and l.
  kNoKeyTaken,
  kMaxOfTile,
  kMaxFromZero,
  kMaxOfHidden,
  kMaxOfLane,
  kSumOfLane,
  kSumNotRescaled,
  kSumOfTile,
  kRescaleInverted,
  kExpOfTileMax,
  kExpWithoutMax,
  // O.
  kOldNotWeighted,
  kOldKept,
  kOldWithoutSum,
  kOldNotRescaled,
  kOldWithSum,
  kNotDivided,
  kDividedEarly,
  kTileWeight,
  kScoresForWeights,
  kOutputOfTile,
  kFirstValuesAgain,
  kEmptiedByLaterTile,
  // Two halves of a row.
  kSecondHalfLost,
  kHalvesNotRescaled,
  kHalvesOfLNotRescaled,
  kHalvesOfONotRescaled,
  kHalvesDividedFirst,
  kSecondHalfDivided,
  kHalvesDividedTwice,
  // Backward: P, dV, dS, dK.
  kLseForgotten,
  kExpForgotten,
  kProbabilityWithoutScale,
  kLastQueriesOnly,
  kEarlierKeysToo,
  kNotTransposed,
  kDeltaForgotten,
  kWeightForgotten,
  kDeltaOutside,
  kProbabilityForSlope,
  kGradientWithoutScale,
  kGradientScaledTwice,
  kKeysForQueries,
  // Edges, masks.
  kPaddedKeysCounted,
  kNoMask,
  kLocalKey,
  kLocalRow,
  kOneKeyMore,
  kOneKeyLess,
  kEmptyRowDivided,
  kEmptyRowUpdated,
  kEmptyRowNotAsked,
  kTileByFirstRow,
  // Logits of -infinity.
  kReferenceForgotten,
  kOldOfNothing,
  kEmptyBySum,
  // LSE.
  kLseWithoutMax,
  kLseWithoutLog,
};

/// In a reader's words, to follow "It looks as if ".
std::string_view to_string(Slip slip);

/// All that the loop leaves behind for these inputs.
Seen walk(const Problem& problem, const Loop& loop, Slip slip = Slip::kNone);

/// The same problem with the keys first .. last - 1 only.
Problem some_keys(const Problem& problem, std::int64_t first, std::int64_t last);

}  // namespace attn::exercise
