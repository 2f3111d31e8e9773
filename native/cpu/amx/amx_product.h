// The product of a bfloat16 unit with AMX tiles, over a class that has the tiles: the processor's
// (bfloat_amx.cc), or plain arrays in tests.
//
// A tile holds 16 rows of 64 bytes. C is 2 x 2 tiles, 32 rows by 32 columns, and stays in tiles for
// the whole inner length; each 32 inner elements load two tiles of A (rows of a, 32 elements each)
// and two of B (16 inner pairs of 16 columns) for four products. A panel of 32 columns and 1,024
// inner elements is 64 kB: both operands come from L2.
#ifndef SOFTPACK_CPU_AMX_PRODUCT_H_
#define SOFTPACK_CPU_AMX_PRODUCT_H_

#include <cstdint>

namespace softpack {

constexpr uint32_t kAmxRows = 32;
constexpr uint32_t kAmxColumns = 32;
constexpr uint32_t kAmxInner = 32;

// Tiles has LoadC, StoreC (row 0 or 1, column 0 or 1 of the four), LoadA(0 or 1), LoadB(0 or 1),
// each with a pointer and a stride in bytes, and Multiply(): C(i, j) += A(i) B(j) for all four.
template <class Tiles>
void AmxProduct(Tiles& tiles, const uint16_t* a, uint64_t a_stride, const uint16_t* panels,
                uint64_t rows, uint64_t inner, uint64_t panel_count, float* out,
                uint64_t out_stride) {
  const uint64_t a_bytes = a_stride * sizeof(uint16_t);
  const uint64_t b_bytes = kAmxColumns * 2 * sizeof(uint16_t);
  const uint64_t c_bytes = out_stride * sizeof(float);
  for (uint64_t p = 0; p < panel_count; ++p) {
    const uint16_t* const panel = panels + p * inner * kAmxColumns;
    for (uint64_t i = 0; i < rows; i += kAmxRows) {
      const uint16_t* const top = a + i * a_stride;
      const uint16_t* const bottom = top + 16 * a_stride;
      float* const left = out + i * out_stride + p * kAmxColumns;
      float* const lower = left + 16 * out_stride;
      tiles.LoadC(left, left + 16, lower, lower + 16, c_bytes);
      for (uint64_t k = 0; k < inner; k += kAmxInner) {
        const uint16_t* const pairs = panel + k * kAmxColumns;
        tiles.LoadA(top + k, bottom + k, a_bytes);
        tiles.LoadB(pairs, pairs + 32, b_bytes);
        tiles.Multiply();
      }
      tiles.StoreC(left, left + 16, lower, lower + 16, c_bytes);
    }
  }
}

}  // namespace softpack

#endif  // SOFTPACK_CPU_AMX_PRODUCT_H_
