// AVX-512 BF16: a tile of 8 rows by 48 columns, as for float32, but two inner steps an instruction.
// An inner pair costs 3 vector loads and 8 broadcasts for 24 products; a panel of 1,000 inner
// elements is 96 kB, read from L2 once a strip of 8 rows.
#include "cpu/bfloat_unit.h"

#ifdef SOFTPACK_X86_KERNELS

// GCC 12 takes its own headers' "undefined" vectors for uninitialised variables (GCC bug 105593).
#if !defined(__clang__) && __GNUC__ < 14
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include <cstring>

#include "cpu/target.h"

namespace softpack {
namespace {

constexpr uint32_t kRows = 8;
constexpr uint32_t kVectors = 3;
constexpr uint32_t kColumns = 16 * kVectors;

inline int PairAt(const uint16_t* a) {
  int pair;
  std::memcpy(&pair, a, sizeof pair);
  return pair;
}

}  // namespace
}  // namespace softpack

SOFTPACK_TARGET_BEGIN("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16")
namespace softpack {
namespace {

SOFTPACK_INLINE void MultiplyTile(const uint16_t* a, uint64_t a_stride, const uint16_t* panel,
                                  uint64_t inner, const float* start, uint64_t start_stride,
                                  float* out, uint64_t out_stride) {
  __m512 sums[kRows][kVectors];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kRows; ++i) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kVectors; ++v) {
      sums[i][v] = _mm512_loadu_ps(start + i * start_stride + 16 * v);
    }
  }
  for (uint64_t k = 0; k < inner; k += 2, panel += 2 * kColumns) {
    __m512i columns[kVectors];
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kVectors; ++v) columns[v] = _mm512_loadu_si512(panel + 32 * v);
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kRows; ++i) {
      const __m512i pair = _mm512_set1_epi32(PairAt(a + i * a_stride + k));
      SOFTPACK_UNROLL
      for (uint32_t v = 0; v < kVectors; ++v) {
        sums[i][v] = _mm512_dpbf16_ps(sums[i][v], reinterpret_cast<__m512bh>(pair),
                                      reinterpret_cast<__m512bh>(columns[v]));
      }
    }
  }
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kRows; ++i) {
    SOFTPACK_UNROLL
    for (uint32_t v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(out + i * out_stride + 16 * v, sums[i][v]);
    }
  }
}

void Multiply(const uint16_t* a, uint64_t a_stride, const uint16_t* panels, uint64_t rows,
              uint64_t inner, uint64_t panel_count, const float* start, float* out,
              uint64_t out_stride) {
  for (uint64_t p = 0; p < panel_count; ++p) {
    const uint16_t* const panel = panels + p * inner * kColumns;
    for (uint64_t i = 0; i < rows; i += kRows) {
      float* const to = out + i * out_stride + p * kColumns;
      const float* const from = start == nullptr ? to : start + p * kColumns;
      MultiplyTile(a + i * a_stride, a_stride, panel, inner, from,
                   start == nullptr ? out_stride : 0, to, out_stride);
    }
  }
}

}  // namespace

extern const BfloatUnit kAvx512BfloatUnit = {Multiply, kColumns, 2, kRows, 128, 1.8};

}  // namespace softpack
SOFTPACK_TARGET_END

#endif  // SOFTPACK_X86_KERNELS
