// The product of a bfloat16 unit with AMX tiles, over a class that has the tiles: the processor's
// (bfloat_amx.cc), or plain arrays in tests.
//
// A tile holds 16 rows of 64 bytes. C is 2 x 2 tiles, 32 rows by 32 columns; each 32 inner elements
// load two tiles of A (rows of a, 32 elements each) and two of B (16 inner pairs of 16 columns) for
// four products. Of a panel kAmxInnerBlock inner elements at a time, 16 kB, stay in L1 for all
// rows, whose sums are stored and loaded in between; a comes from L2. Counted per 32 by 32 sums and
// block: 512 cycles of products, 16 kB of a, 8 kB of sums. Meanwhile the part of the next panel
// that the rows need next is fetched to L2: a basis of 1,000 by 1,000 is 2 MB, all of L2.
#ifndef SOFTPACK_CPU_AMX_PRODUCT_H_
#define SOFTPACK_CPU_AMX_PRODUCT_H_

#include <cstdint>

namespace softpack {

constexpr uint32_t kAmxRows = 32;
constexpr uint32_t kAmxColumns = 32;
constexpr uint32_t kAmxInner = 32;
constexpr uint32_t kAmxInnerBlock = 256;

// Tiles has LoadC, StoreC (row 0 or 1, column 0 or 1 of the four), LoadA(0 or 1), LoadB(0 or 1),
// each with a pointer and a stride in bytes, Multiply(): C(i, j) += A(i) B(j) for all four, and
// Fetch(a line of memory).
template <class Tiles>
void AmxProduct(Tiles& tiles, const uint16_t* a, uint64_t a_stride, const uint16_t* panels,
                uint64_t rows, uint64_t inner, uint64_t panel_count, const float* start, float* out,
                uint64_t out_stride) {
  constexpr uint64_t kLine = 32;  // elements
  const uint64_t a_bytes = a_stride * sizeof(uint16_t);
  const uint64_t b_bytes = kAmxColumns * 2 * sizeof(uint16_t);
  const uint64_t c_bytes = out_stride * sizeof(float);
  const uint16_t* const end = panels + panel_count * inner * kAmxColumns;
  for (uint64_t p = 0; p < panel_count; ++p) {
    for (uint64_t first = 0; first < inner; first += kAmxInnerBlock) {
      const uint64_t block = inner - first < kAmxInnerBlock ? inner - first : kAmxInnerBlock;
      const uint16_t* const part = panels + (p * inner + first) * kAmxColumns;
      const uint16_t* next = part + block * kAmxColumns;
      const uint64_t share = block * kAmxColumns * kAmxRows / rows;
      for (uint64_t i = 0; i < rows; i += kAmxRows) {
        const uint16_t* const top = a + i * a_stride + first;
        const uint16_t* const bottom = top + 16 * a_stride;
        float* const left = out + i * out_stride + p * kAmxColumns;
        float* const lower = left + 16 * out_stride;
        if (first > 0 || start == nullptr) {
          tiles.LoadC(left, left + 16, lower, lower + 16, c_bytes);
        } else {
          const float* const same = start + p * kAmxColumns;
          tiles.LoadC(same, same + 16, same, same + 16, 0);
        }
        for (uint64_t at = 0; at < share && next < end; at += kLine, next += kLine) {
          tiles.Fetch(next);
        }
        for (uint64_t k = 0; k < block; k += kAmxInner) {
          const uint16_t* const pairs = part + k * kAmxColumns;
          tiles.LoadA(top + k, bottom + k, a_bytes);
          tiles.LoadB(pairs, pairs + 32, b_bytes);
          tiles.Multiply();
        }
        tiles.StoreC(left, left + 16, lower, lower + 16, c_bytes);
      }
    }
  }
}

}  // namespace softpack

#endif  // SOFTPACK_CPU_AMX_PRODUCT_H_
