/* SPDX-License-Identifier: MIT
 *
 * What libattn.so offers to other languages: one call that runs a pass of any chapter's step, or
 * appends to a cache, on arrays in host memory. common/attention.hpp has the shapes and the units,
 * common/extras.hpp what else a problem may have; the names here are theirs. The package attn
 * (attn/_library.py) repeats these structs for ctypes.
 */
#ifndef ATTN_C_H
#define ATTN_C_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with every change of a struct below. */
#define ATTN_C_VERSION 2
#define ATTN_C_UNBOUNDED INT64_MAX

/* ATTN_C_APPEND (common/append.hpp) copies new_k and new_v, N_new keys of every sequence, to where
 * k and v, a cache without gaps, have room behind the valid ones. Of the rest of a call it looks at
 * chapter, step, element, B, Hkv, Nk, d, d_v, page_keys, pages, key_begin, key_count, block_table
 * and trace. The counts are the caller's to raise. */
enum { ATTN_C_FORWARD = 0, ATTN_C_BACKWARD = 1, ATTN_C_APPEND = 2 };
enum { ATTN_C_FLOAT32 = 0, ATTN_C_BFLOAT16 = 1, ATTN_C_FLOAT16 = 2 };

/* What attn_c_run() returns. */
enum {
  ATTN_C_DONE = 0,
  ATTN_C_BAD_ARGUMENT = 2,  /* the request is wrong for every chapter */
  ATTN_C_UNSUPPORTED = 3,   /* the request is legal, but not for this step */
  ATTN_C_DEVICE_FAILURE = 4 /* a launch failed, or a detector stopped a kernel */
};

/* Where an array begins, and how many bytes from there belong to it: a call that would need more is
 * refused. Null where the array is not given. */
typedef struct {
  void* data;
  int64_t bytes;
} attn_c_array;

/* Launches and detections of the calls that were given this trace. */
typedef struct attn_c_trace attn_c_trace;

typedef struct {
  uint32_t version; /* ATTN_C_VERSION */
  uint32_t bytes;   /* sizeof(attn_c_call) */

  /* An id or a number, or "mine"; empty: the fastest plain loops that take the request. */
  const char* chapter;
  /* An id, "cpu" for the chapter's plain loops; empty: the last step that has the pass. */
  const char* step;
  int32_t pass;
  int32_t element; /* of q, k, v, o and their gradients; all others are float32 */

  int64_t B, H, Hkv, Nq, Nk, d, d_v;
  int64_t before, after; /* the mask; ATTN_C_UNBOUNDED: no bound */
  int32_t top_left;      /* 0 or 1 */
  int32_t ranges_per_row;
  int64_t sink_keys;
  int64_t page_keys, pages; /* of a paged cache; 0: none */
  int64_t N_new;            /* of an append */
  uint64_t dropout_seed;
  float scale, softcap, dropout;
  int32_t reserved; /* 0 */

  attn_c_array q, k, v, o, lse;                /* o and lse are written by a forward pass */
  attn_c_array grad_o, grad_q, grad_k, grad_v; /* of a backward pass; the last three are written */
  int64_t q_strides[3], k_strides[3];          /* batch, head, row, in elements; of gradients too */
  int64_t v_strides[3], o_strides[3];          /* all 0: [B, H, N, d] without gaps */
  attn_c_array q_offsets, k_offsets;           /* int64, as are the next four */
  attn_c_array key_begin, key_count, ranges, block_table;
  attn_c_array mask, bias;              /* bytes; float32 */
  int64_t mask_sizes[4], bias_sizes[4]; /* B, H, Nq, Nk; each 1, or that of the problem */
  attn_c_array alibi, sink_logits;
  attn_c_array grad_lse, grad_bias, grad_sink_logits; /* the last two are written, if given */
  attn_c_array new_k, new_v;                          /* of an append: [B, Hkv, N_new, d] */

  attn_c_trace* trace; /* counts every access of the kernels, or null */

  /* Written: what was run, and one line that says why nothing was. */
  char ran_chapter[32], ran_step[64];
  char message[1024];
} attn_c_call;

typedef struct {
  const char* kernel;
  uint32_t grid[3], block[3];
  uint64_t shared_bytes;  /* dynamic */
  const uint64_t* counts; /* as many, and in the order, as attn_c_counters() has names */
} attn_c_launch;

uint32_t attn_c_version(void);
/* Runs one pass, or an append. Never throws. What it refuses has written nothing, and the next call
 * works. */
int32_t attn_c_run(attn_c_call* call);
/* A line for each step: chapter, step, "kernel" or "loops", the elements its forward pass takes,
 * those of its backward pass, what it takes beyond one diagonal; with tabs between them and commas
 * within. */
const char* attn_c_steps(void);
/* The counters' names, a line each: those of `attn trace --json`. */
const char* attn_c_counters(void);

attn_c_trace* attn_c_trace_new(void);
void attn_c_trace_delete(attn_c_trace* trace);
int64_t attn_c_trace_launches(const attn_c_trace* trace);
/* Fills `launch`, which is valid until the trace is deleted or given to another call. */
void attn_c_trace_launch(const attn_c_trace* trace, int64_t index, attn_c_launch* launch);
/* What the detectors saw, in a few lines of text for each. */
int64_t attn_c_trace_detections(const attn_c_trace* trace);
const char* attn_c_trace_detection(const attn_c_trace* trace, int64_t index);

#ifdef __cplusplus
}
#endif

#endif
