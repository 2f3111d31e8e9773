// Sixteen vectors at a time, in steps that each keep several chains of multiply-adds going: place
// them on the axes, measure how far they are outside of each cell, score the codewords of their
// first cells, list what else can be as near, score that. A cell is one vector of codewords, so
// scoring costs a load, a broadcast and a multiply-add per element of width.
#include "cpu/cell_unit.h"

#ifdef SOFTPACK_X86_KERNELS

// GCC 12 takes its own headers' "undefined" vectors for uninitialised variables (GCC bug 105593).
#if !defined(__clang__) && __GNUC__ < 14
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "cpu/target.h"

SOFTPACK_TARGET_BEGIN("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
namespace softpack {
namespace {

constexpr uint32_t kChains = 4;  // vectors, or pairs of a vector and a cell, side by side

// The best of each lane of a vector's cells, the codewords, and what comes second in a lane.
struct Found {
  __m512 scores[kCellRows];
  __m512i levels[kCellRows];
  __m512 seconds[kCellRows];
};

SOFTPACK_INLINE __m512 Infinity() { return _mm512_set1_ps(__builtin_inff()); }

struct Least {
  static SOFTPACK_MEMBER_INLINE __m512 Of(__m512 a, __m512 b) { return _mm512_min_ps(a, b); }
};
struct Sum {
  static SOFTPACK_MEMBER_INLINE __m512 Of(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
};
struct LeastInteger {
  static SOFTPACK_MEMBER_INLINE __m512 Of(__m512 a, __m512 b) {
    return _mm512_castsi512_ps(_mm512_min_epu32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
  }
};

// Lane i = all lanes of rows[i], combined.
template <class Operation>
SOFTPACK_INLINE __m512 CombineLanes(const __m512* rows) {
  // Each step halves what is left of a row and the number of vectors: 128-bit quarters of four rows
  // side by side, then pairs, then single lanes.
  __m512 quarters[4];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    __m512 halves[2];
    SOFTPACK_UNROLL
    for (uint32_t j = 0; j < 2; ++j) {
      // Rows i, i + 4, i + 8, i + 12 end in quarters 0 to 3.
      const __m512 a = rows[i + 8 * j], b = rows[i + 8 * j + 4];
      halves[j] = Operation::Of(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    }
    quarters[i] = Operation::Of(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                                _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
  }
  __m512 pairs[2];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < 2; ++i) {
    const __m512 a = quarters[2 * i], b = quarters[2 * i + 1];
    pairs[i] = Operation::Of(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  // Lanes of a quarter are now rows 0 1 0 1 and 2 3 2 3.
  return Operation::Of(_mm512_shuffle_ps(pairs[0], pairs[1], 0x44),
                       _mm512_shuffle_ps(pairs[0], pairs[1], 0xee));
}

SOFTPACK_INLINE __mmask16 FirstMask(uint64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
}

// Lane i = the product of rows[i] with `other` [padded width], or with itself: lanes along the
// width, of fewer roundings each than a chain over all of it.
template <bool Square>
SOFTPACK_INLINE __m512 Products(const float* const* rows, uint64_t width, const float* other) {
  __m512 sums[kCellRows];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kCellRows; ++i) sums[i] = _mm512_setzero_ps();
  for (uint64_t d = 0; d < width; d += 16) {
    const __mmask16 present = FirstMask(width - d);
    const __m512 factors = Square ? _mm512_setzero_ps() : _mm512_loadu_ps(other + d);
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kCellRows; ++i) {
      const __m512 part = _mm512_maskz_loadu_ps(present, rows[i] + d);
      sums[i] = _mm512_fmadd_ps(part, Square ? part : factors, sums[i]);
    }
  }
  return CombineLanes<Sum>(sums);
}

// distances[row][cell] = the square of how far a row is outside of a cell along the axes, and the
// cells where that is least.
SOFTPACK_INLINE void MeasureCells(const CellIndex& index, const float (*places)[kCellRows],
                                  float* distances, uint32_t* firsts) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512 least[kCellRows];
  __m512i cells[kCellRows];
  for (uint32_t first = 0; first < kCellRows; first += kChains) {
    __m512 best[kChains];
    __m512i where[kChains];
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kChains; ++i) {
      best[i] = Infinity();
      where[i] = lane;
    }
    for (uint64_t cell = 0; cell < index.padded; cell += 16) {
      __m512 sums[kChains];
      SOFTPACK_UNROLL
      for (uint32_t i = 0; i < kChains; ++i) sums[i] = _mm512_setzero_ps();
      for (uint32_t axis = 0; axis < index.axis_count; ++axis) {
        const __m512 low = _mm512_loadu_ps(index.least + axis * index.padded + cell);
        const __m512 high = _mm512_loadu_ps(index.greatest + axis * index.padded + cell);
        SOFTPACK_UNROLL
        for (uint32_t i = 0; i < kChains; ++i) {
          const __m512 place = _mm512_set1_ps(places[axis][first + i]);
          const __m512 inside = _mm512_min_ps(_mm512_max_ps(place, low), high);
          const __m512 outside = _mm512_sub_ps(place, inside);
          sums[i] = _mm512_fmadd_ps(outside, outside, sums[i]);
        }
      }
      const __m512i these = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(cell)));
      SOFTPACK_UNROLL
      for (uint32_t i = 0; i < kChains; ++i) {
        _mm512_storeu_ps(distances + (first + i) * index.padded + cell, sums[i]);
        const __mmask16 less = _mm512_cmp_ps_mask(sums[i], best[i], _CMP_LT_OQ);
        best[i] = _mm512_min_ps(sums[i], best[i]);
        where[i] = _mm512_mask_mov_epi32(where[i], less, these);
      }
    }
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kChains; ++i) {
      least[first + i] = best[i];
      cells[first + i] = where[i];
    }
  }
  float leasts[kCellRows];
  _mm512_storeu_ps(leasts, CombineLanes<Least>(least));
  __m512 chosen[kCellRows];
  const __m512i none = _mm512_set1_epi32(-1);
  for (uint32_t i = 0; i < kCellRows; ++i) {
    const __mmask16 equal = _mm512_cmp_ps_mask(least[i], _mm512_set1_ps(leasts[i]), _CMP_EQ_OQ);
    chosen[i] = _mm512_castsi512_ps(_mm512_mask_mov_epi32(none, equal, cells[i]));
  }
  _mm512_storeu_si512(firsts, _mm512_castps_si512(CombineLanes<LeastInteger>(chosen)));
}

// Scores of kChains cells, each against its row, as KernelTable::nearest takes them.
SOFTPACK_INLINE void ScoreCells(const CellIndex& index, const float* const* rows,
                                const uint32_t* cells, __m512* scores) {
  const float* codewords[kChains];
  SOFTPACK_UNROLL
  for (uint32_t i = 0; i < kChains; ++i) {
    codewords[i] = index.codewords + cells[i] * (index.width + 1) * kCellLevels;
    scores[i] = _mm512_loadu_ps(codewords[i]);
  }
  for (uint64_t d = 0; d < index.width; ++d) {
    SOFTPACK_UNROLL
    for (uint32_t i = 0; i < kChains; ++i) {
      codewords[i] += kCellLevels;
      scores[i] =
          _mm512_fnmadd_ps(_mm512_set1_ps(rows[i][d]), _mm512_loadu_ps(codewords[i]), scores[i]);
    }
  }
}

// The cells that can hold a codeword that is as near, but for the first, are listed as row * 2^16 +
// cell. Returns the length of the list.
SOFTPACK_INLINE uint32_t ListCells(const CellIndex& index, const CellCall& call,
                                   const uint32_t* firsts, const float* bounds, __mmask16 decided,
                                   uint32_t* undecided) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  uint32_t length = 0;
  for (uint32_t i = 0; i < call.count; ++i) {
    if ((decided >> i & 1) == 0) {
      *undecided |= 1u << i;
      continue;
    }
    const __m512 bound = _mm512_set1_ps(bounds[i]);
    const __m512i first = _mm512_set1_epi32(static_cast<int>(i << 16 | firsts[i]));
    __m512i these = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(i << 16)));
    const uint32_t start = length;
    for (uint64_t cell = 0; cell < index.padded; cell += 16) {
      const __m512 distances = _mm512_loadu_ps(call.distances + i * index.padded + cell);
      const __mmask16 near = _mm512_mask_cmp_ps_mask(_mm512_cmpneq_epi32_mask(these, first),
                                                     distances, bound, _CMP_LE_OQ);
      // Not straight to memory: that form takes a hundred cycles on some processors.
      _mm512_storeu_si512(call.list + length, _mm512_maskz_compress_epi32(near, these));
      length += static_cast<uint32_t>(__builtin_popcount(near));
      these = _mm512_add_epi32(these, _mm512_set1_epi32(16));
    }
    if (length - start >= call.most) {
      length = start;
      *undecided |= 1u << i;
    }
  }
  return length;
}

template <bool Margins>
SOFTPACK_INLINE void Keep(const CellIndex& index, uint32_t row, uint32_t cell, __m512 scores,
                          Found* found) {
  const __m512i levels = _mm512_loadu_si512(index.levels + uint64_t{cell} * kCellLevels);
  const __m512 best = found->scores[row];
  const __m512i best_levels = found->levels[row];
  if (Margins) {
    found->seconds[row] = _mm512_min_ps(found->seconds[row], _mm512_max_ps(best, scores));
  }
  const __mmask16 less = _mm512_cmp_ps_mask(scores, best, _CMP_LT_OQ);
  const __mmask16 tied = _mm512_cmp_ps_mask(scores, best, _CMP_EQ_OQ);
  const __mmask16 better =
      static_cast<__mmask16>(less | _mm512_mask_cmplt_epu32_mask(tied, levels, best_levels));
  found->scores[row] = _mm512_min_ps(scores, best);
  found->levels[row] = _mm512_mask_mov_epi32(best_levels, better, levels);
}

template <bool Margins>
SOFTPACK_INLINE void Finish(const CellCall& call, const Found& found, uint32_t undecided) {
  float least[kCellRows];
  uint32_t levels[kCellRows];
  _mm512_storeu_ps(least, CombineLanes<Least>(found.scores));
  __m512 nearest[kCellRows];
  const __m512i none = _mm512_set1_epi32(-1);
  for (uint32_t i = 0; i < kCellRows; ++i) {
    const __mmask16 equal =
        _mm512_cmp_ps_mask(found.scores[i], _mm512_set1_ps(least[i]), _CMP_EQ_OQ);
    nearest[i] = _mm512_castsi512_ps(_mm512_mask_mov_epi32(none, equal, found.levels[i]));
  }
  _mm512_storeu_si512(levels, _mm512_castps_si512(CombineLanes<LeastInteger>(nearest)));
  for (uint32_t i = 0; i < call.count; ++i) {
    if ((undecided >> i & 1) != 0) continue;
    call.out[i] = static_cast<uint16_t>(levels[i]);
    if (Margins) {
      // The second of all: the best of another lane, or the second of any.
      const uint32_t equal =
          _mm512_cmp_ps_mask(found.scores[i], _mm512_set1_ps(least[i]), _CMP_EQ_OQ);
      const __mmask16 others = static_cast<__mmask16>(~(equal & (0u - equal)));
      const __m512 rest = _mm512_mask_mov_ps(Infinity(), others, found.scores[i]);
      call.margins[i] = _mm512_reduce_min_ps(_mm512_min_ps(rest, found.seconds[i])) - least[i];
    }
  }
}

// `decided` are the rows whose bound is good; nothing overflows in these.
SOFTPACK_INLINE void BoundsOf(const CellIndex& index, const CellCall& call, __m512 squares,
                              const Found& found, float* bounds, __mmask16* decided) {
  const __m512 best = CombineLanes<Least>(found.scores);
  *decided =
      _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(squares, _mm512_set1_ps(kLeastSquare), _CMP_GE_OQ),
                              squares, _mm512_set1_ps(kGreatestSquare), _CMP_LE_OQ);
  __m512 square = _mm512_add_ps(squares, _mm512_add_ps(best, best));
  square = _mm512_fmadd_ps(_mm512_set1_ps(index.of_square), squares, square);
  if (call.slack != nullptr) {
    const __m512 slack = _mm512_maskz_loadu_ps(FirstMask(call.count), call.slack);
    square = _mm512_fmadd_ps(_mm512_set1_ps(2.001f), slack, square);
  }
  const __m512 length = _mm512_sqrt_ps(_mm512_max_ps(square, _mm512_setzero_ps()));
  const __m512 sum =
      _mm512_fmadd_ps(_mm512_set1_ps(index.of_length), _mm512_sqrt_ps(squares), length);
  const __m512 bound = _mm512_mul_ps(_mm512_mul_ps(sum, sum), _mm512_set1_ps(kCellExcess));
  *decided = _mm512_mask_cmp_ps_mask(*decided, bound, _mm512_set1_ps(kNoCell), _CMP_LT_OQ);
  _mm512_storeu_ps(bounds, bound);
}

template <bool Margins>
SOFTPACK_INLINE CellResult FindRows(const CellIndex& index, const CellCall& call) {
  const float* rows[kCellRows];
  for (uint32_t i = 0; i < kCellRows; ++i) {
    // Rows beyond the last repeat it.
    rows[i] = call.vectors + (i < call.count ? i : call.count - 1) * index.width;
  }
  float places[kCellAxes][kCellRows];
  uint32_t firsts[kCellRows];
  const __m512 squares = Products<true>(rows, index.width, nullptr);
  for (uint32_t axis = 0; axis < index.axis_count; ++axis) {
    const float* const along = index.axes + axis * index.stride;
    _mm512_storeu_ps(places[axis], Products<false>(rows, index.width, along));
  }
  MeasureCells(index, places, call.distances, firsts);
  Found found;
  for (uint32_t i = 0; i < kCellRows; i += kChains) {
    uint32_t cells[kChains];
    __m512 scores[kChains];
    SOFTPACK_UNROLL
    for (uint32_t j = 0; j < kChains; ++j) {
      // A vector that is not finite may have none.
      cells[j] = firsts[i + j] < index.cells ? firsts[i + j] : 0;
    }
    ScoreCells(index, rows + i, cells, scores);
    SOFTPACK_UNROLL
    for (uint32_t j = 0; j < kChains; ++j) {
      found.scores[i + j] = scores[j];
      found.levels[i + j] = _mm512_loadu_si512(index.levels + uint64_t{cells[j]} * kCellLevels);
      found.seconds[i + j] = Infinity();
    }
  }
  float bounds[kCellRows];
  __mmask16 decided;
  BoundsOf(index, call, squares, found, bounds, &decided);
  uint32_t undecided = 0;
  const uint32_t length = ListCells(index, call, firsts, bounds, decided, &undecided);
  for (uint32_t n = 0; n < length; n += kChains) {
    uint32_t cells[kChains], at[kChains];
    const float* vectors[kChains];
    __m512 scores[kChains];
    for (uint32_t j = 0; j < kChains; ++j) {
      // Pairs beyond the last repeat it, and are not kept.
      const uint32_t pair = call.list[n + j < length ? n + j : length - 1];
      at[j] = pair >> 16;
      cells[j] = pair & 0xffff;
      vectors[j] = rows[at[j]];
    }
    ScoreCells(index, vectors, cells, scores);
    for (uint32_t j = 0; j < kChains && n + j < length; ++j) {
      Keep<Margins>(index, at[j], cells[j], scores[j], &found);
    }
  }
  Finish<Margins>(call, found, undecided);
  return {call.count + length, undecided};
}

CellResult Find(const CellIndex& index, const CellCall& call) {
  return call.margins == nullptr ? FindRows<false>(index, call) : FindRows<true>(index, call);
}

}  // namespace

extern const CellUnit kAvx512CellUnit = {Find};

}  // namespace softpack
SOFTPACK_TARGET_END

#endif  // SOFTPACK_X86_KERNELS
