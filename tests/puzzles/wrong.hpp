// SPDX-License-Identifier: MIT
//
// What people write who are new to this: for each puzzle, kernels that go wrong, or are right and
// ask too much of memory. puzzles_test.cpp says what the checker must say about each.
#pragma once

#include "chapters/00_playground/puzzles/data.hpp"

namespace attn::puzzles::wrong {

void map_block_forgotten(const Data& x);
void map_scale_forgotten(const Data& x);
void map_one_too_far(const Data& x);

void guard_missing(const Data& x);
void guard_off_by_one(const Data& x);
void guard_within_block(const Data& x);

void matrix_other_stride(const Data& x);
void matrix_one_guard(const Data& x);
void matrix_x_as_row(const Data& x);

void rows_in_chunks(const Data& x);
void rows_lane_of_block(const Data& x);
void rows_without_guard(const Data& x);
void rows_reload_divisor(const Data& x);

void transpose_without_barrier(const Data& x);
void transpose_return_first(const Data& x);
void transpose_same_corner(const Data& x);
void transpose_blocks_stay(const Data& x);
void transpose_without_tile(const Data& x);

void row_max_four_exchanges(const Data& x);
void row_max_no_exchange(const Data& x);
void row_max_half_a_mask(const Data& x);
void row_max_all_store(const Data& x);

void scores_with_conflicts(const Data& x);
void scores_unscaled(const Data& x);
void scores_tile_turned(const Data& x);

void softmax_middle_missing(const Data& x);
void softmax_first_missing(const Data& x);
void softmax_barrier_in_branch(const Data& x);
void softmax_too_many_barriers(const Data& x);

// In the place of puzzle 1's.
void nothing_at_all(const Data& x);
void endless(const Data& x);
void endless_with_accesses(const Data& x);
void far_away(const Data& x);
void no_block(const Data& x);

}  // namespace attn::puzzles::wrong
