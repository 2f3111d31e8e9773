// Units of a processor that multiply bfloat16 pairs into float32 sums: twice the rate of float32
// (AVX-512 BF16) or nominally more (AMX). They round internally each in its own way, so results
// depend on the machine, within the rounding of the factors.
#ifndef SOFTPACK_CPU_BFLOAT_UNIT_H_
#define SOFTPACK_CPU_BFLOAT_UNIT_H_

#include <cstdint>

#include "cpu/kernel_table.h"

namespace softpack {

struct BfloatUnit {
  // out(i, j) = start(j) + sum over k of a(i, k) b(k, j); without `start`, out(i, j) + that sum.
  // Sizes are multiples of the units below.
  //   a       [rows][a_stride] bfloat16, `inner` of them used
  //   panels  b as [panel][inner / 2][panel_columns][2] bfloat16: the two elements of a pair of
  //           inner steps side by side
  //   start   all panels' columns, or null
  //   out     [rows][out_stride] float32, all panels' columns
  void (*multiply)(const uint16_t* a, uint64_t a_stride, const uint16_t* panels, uint64_t rows,
                   uint64_t inner, uint64_t panel_count, const float* start, float* out,
                   uint64_t out_stride);
  uint32_t panel_columns;
  uint32_t inner_unit;
  uint32_t row_unit;
  uint32_t row_block;  // rows whose operands and sums stay in L2
  // Speed of a whole decoder relative to float32 multiply-adds.
  double speed;
};

#ifdef SOFTPACK_X86_KERNELS
extern const BfloatUnit kAvx512BfloatUnit;
extern const BfloatUnit kAmxBfloatUnit;

// Asks the system, once per process, for permission to use tiles; false if it refuses.
bool AllowAmxTiles();
#endif

}  // namespace softpack

#endif  // SOFTPACK_CPU_BFLOAT_UNIT_H_
