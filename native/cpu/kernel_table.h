// The inner loops that exist once per instruction set. kernels_scalar.cc is their specification;
// every other table gives the same bytes.
//
// This is possible because every floating-point sum has one written-down order, every multiply-add
// is an explicit fused one, and nothing is left for the compiler to reassociate or contract.
#ifndef SOFTPACK_CPU_KERNEL_TABLE_H_
#define SOFTPACK_CPU_KERNEL_TABLE_H_

#include <cstdint>

#include "core/dtypes.h"
#include "core/quantiser.h"
#include "core/rans.h"
#include "cpu/cell_search.h"
#include "cpu/token_bits.h"

namespace softpack {

// Element (i, j) lies at data[i * row_stride + j * column_stride].
struct MatrixView {
  const float* data;
  uint64_t row_stride;
  uint64_t column_stride;
};

// A row of values v, one a class, before the head. Column j lies at element (j / width) *
// block_stride + j % width of `floats` or `sums`: width columns of one label after those of
// another, or a whole row where one block holds it.
//
// With `sums`, v_j = fma(65536 * sum_j, step[j], start[j]), where `step` carries the factor 2^-16.
// Within each 32 columns sum i lies at 2i and sum 16 + i at 2i + 1: both halves of the 32-bit words
// are then 16 columns side by side, and widening needs no shuffle.
struct RowView {
  const float* floats;
  const int16_t* sums;  // instead of floats
  const float* step;    // of sums
  const float* start;   // of sums
  uint32_t width;       // a power of two, at least 16 for floats and 32 for sums
  uint64_t block_stride;
};

inline RowView WholeRow(const float* floats) {
  return {floats, nullptr, nullptr, nullptr, uint32_t{1} << 31, 0};
}

inline uint32_t FixedPosition(uint32_t column) {
  return (column & ~31u) | (column & 15u) << 1 | (column >> 4 & 1u);
}

// Sums over classes are taken in this many interleaved partial sums: class j in sum j mod 64. The
// sums are then added pairwise, i and i + 32, i and i + 16, ... 0 and 1. Rows of values are padded
// to a multiple of it.
constexpr uint32_t kHeadSums = 64;

enum class HeadKind { kIdentity, kClamp, kSoftmax };

struct Head {
  HeadKind kind;
  float parameter;  // eps of clamp, 1 / tau of softmax
};

// The destination of a finished row. `streamed`: past the caches, for outputs that they could not
// hold anyway; other threads see such rows after `fence`.
// An output of this size leaves the caches before it is read: written past them, it spares reading
// each line first.
constexpr uint64_t kStreamedBytes = uint64_t{8} << 20;

struct RowOutput {
  void* data;
  SoftpackDtype type;
  bool streamed;
};

// Inputs of a loss besides the row of values.
struct KlInput {
  const float* logits;
  float inverse_tau;
  float gradient_scale;  // scale / tau
  bool entropy;          // whether the loss holds sum_j y_j log y_j
  bool streamed;         // whether the gradient goes past the caches, as in RowOutput
};

// Rows added up for many labels: row `indices[i * index_stride + s]` of each stage s for label i.
// Each stage has `stage_stride` elements, rows of `width`; label i's sum lies at panel + i * width.
template <class T>
struct RowSums {
  const T* rows;
  uint64_t stage_stride;
  uint32_t width;  // a multiple of the 64-byte line
  const uint16_t* indices;
  uint64_t index_stride;
  uint64_t stages;
  uint64_t labels;
  const T* start;  // [width], what each sum starts from; null: from the panel
  T* panel;
};

// The source of an output pixel in a row: byte offsets of its left and right pixel, and their
// weights, multiples of 2^-11, the left one in the low half.
struct ColumnTap {
  uint32_t left;
  uint32_t right;
  uint32_t weights;
};

// The source of an output pixel in a row under a filter of any width: `count` pixels from byte
// `start` on, their weights at `weights` of a list.
struct FilterTap {
  uint32_t start;
  uint32_t count;
  uint32_t weights;
};

// Filter weights are multiples of 2^-22 where pixels are rounded to 8 bits, as in Pillow.
constexpr uint32_t kFilterBits = 22;
constexpr int32_t kFilterHalf = int32_t{1} << (kFilterBits - 1);

// Pixels are scaled and shifted by channel; a row of them by a pattern of this many floats, whole
// vectors and whole pixels.
constexpr uint32_t kPatternFloats = 48;

struct PixelScale {
  float scale[kPatternFloats];
  float shift[kPatternFloats];
};

// Columns of one chain of KernelTable::chain_columns.
constexpr uint32_t kChainFloats = 16;

// The search of core/quantiser.h for some labels.
struct TrellisSearch {
  const int8_t* shifts;  // [rank]
  const double* costs;   // [rank, 2, 256]
  uint64_t rank;
  double unit;
  uint32_t states;  // 4 or 8
};

// Labels that a search takes at a time at most, indices of a component to choose from (the best of
// each context and parity), and states at most.
constexpr uint32_t kSearchLanes = 8;
constexpr uint32_t kSearchIndices = 4;
constexpr uint32_t kSearchStates = 8;

// Logits of a vocabulary whose weights are summed together, in so many sums side by side.
constexpr uint64_t kTokenBlock = 64;
constexpr uint32_t kTokenSums = 8;
// Exponentials of probabilities are computed by so many.
constexpr uint32_t kTokenExps = 8;
// Groups of token labels that are read in turns: the next number of a set waits for the one before
// it, so one group alone would leave most of a processor idle.
constexpr uint32_t kTokenLanes = 4;

struct SearchScratch {
  float* quotients;  // [kSearchLanes, rank]
  int32_t* indices;  // [rank, kSearchIndices, kSearchLanes]
  uint8_t* ways;     // [rank, kSearchStates]: the way into each state
};

struct KernelTable {
  // Packed right-hand matrices: panels of this many columns, each [inner][panel_columns], the last
  // one padded with zeros. At most `inner_block` inner elements are packed at a time, so that a
  // panel stays in L1 or L2.
  uint32_t panel_columns;
  uint32_t inner_block;
  // Left-hand rows come in strips of this many; `row_block` of them are packed at a time and stay
  // in L2.
  uint32_t strip_rows;
  uint32_t row_block;

  void (*pack_panels)(const MatrixView& b, uint64_t inner, uint64_t columns, float* panels);

  // out(i, j) = fma(a(i, k), b(k, j), out(i, j)) for ascending k. `scratch` holds row_block *
  // inner_block floats; inner <= inner_block.
  void (*multiply)(const MatrixView& a, const float* panels, uint64_t rows, uint64_t inner,
                   uint64_t columns, float* out, uint64_t out_stride, float* scratch);

  // Codewords side by side in groups of this many: [group]{half_norm[group_size],
  // mu[width][group_size]}.
  uint32_t group_size;
  void (*group_codebook)(const float* codebook, uint64_t levels, uint64_t width, float* groups);

  // score_j = ||mu_j||^2 / 2, then fma(-h_d, mu_j_d, score_j) for ascending d; the norm is
  // fma(mu_d, mu_d, norm).
  void (*nearest)(const float* vectors, const float* groups, uint64_t count, uint64_t width,
                  uint64_t levels, uint16_t* out);

  // The same; margins[i] is by how much the second score is above the first, infinity where there
  // is no second.
  void (*nearest_margins)(const float* vectors, const float* groups, uint64_t count, uint64_t width,
                          uint64_t levels, uint16_t* out, float* margins);

  // The same of the vectors that it decides, from the cells of codewords that are near them
  // (codebook_cells.h). Null: all codewords are to be scored.
  CellResult (*find_cells)(const CellIndex& index, const CellCall& call);

  // out[j] = fma(weights[i], rows[list[i]][j], ...) from 0 for ascending i. Rows and `out` are
  // padded to a multiple of 16 floats.
  void (*weigh_rows)(const float* rows, uint64_t stride, const uint16_t* list, const float* weights,
                     uint64_t count, uint64_t columns, float* out);
  // The same over all `count` rows for kChainFloats columns from each of `starts` on: the chains of
  // `multiply`. Reads kChainFloats columns of each row.
  void (*chain_columns)(const float* rows, uint64_t stride, const float* weights, uint64_t count,
                        const uint32_t* starts, uint64_t chains, float* out);

  // sum = start + row of stage 0 + row of stage 1 + ... Fixed-point sums must not overflow.
  void (*sum_float_rows)(const RowSums<float>& sums);
  void (*sum_fixed_rows)(const RowSums<int16_t>& sums);

  // Widens the range of each column by what one more row holds. `length` is a multiple of 16.
  void (*widen_range)(const float* values, uint64_t length, float* least, float* greatest);
  // out[FixedPosition(j)] = (values[j] - middle[j]) * inverse_step[j] to nearest, ties to even;
  // `length` is a multiple of 32.
  void (*to_fixed)(const float* values, const float* middle, const float* inverse_step,
                   uint64_t length, int16_t* out);

  // high = values as bfloat16, to nearest; with `low`, low = values - high as bfloat16.
  void (*to_bfloat)(const float* values, uint64_t length, uint16_t* high, uint16_t* low);

  // values[j] = v_j of the row, for the first `length` columns, a multiple of 32.
  void (*widen)(const RowView& row, uint64_t length, float* values);
  // values[j] = fma(weight, a[j], fma(1 - weight, b[j], values[j])).
  void (*add_prediction)(const float* a, const float* b, float weight, uint64_t length,
                         float* values);

  // Head of one row. `scratch` holds classes rounded up to kHeadSums, 64-byte aligned; it may be
  // the row itself where that is a whole one. The exponential is Exp of core/scalar_math.h.
  void (*finish)(const Head& head, const RowView& row, uint64_t classes, float* scratch,
                 const RowOutput& out);
  void (*fence)();

  // Loss, and with `gradient` its gradient, of one row of values; the head is clamp or softmax. `w`
  // and `powers` are scratch as for finish. `gradient` may be the logits. The logits of the next
  // row are fetched meanwhile.
  float (*kl)(const Head& head, const RowView& row, const KlInput& input, uint64_t classes,
              float* w, float* powers, float* gradient);

  // sums[3 i + c] = left * its weight + right * its weight, of channel c of pixel i. May read one
  // byte beyond a tap's pixel, and write one sum beyond the last.
  void (*resize_columns)(const uint8_t* row, const ColumnTap* taps, uint64_t pixels, int32_t* sums);
  // out[j] = (top[j] * (2^11 - weight) + bottom[j] * weight + 2^5 >> 6) * scale + shift. May read
  // sums beyond `length`, up to a multiple of kPatternFloats.
  void (*blend_rows)(const int32_t* top, const int32_t* bottom, int32_t weight, uint64_t length,
                     const PixelScale& scale, float* out);
  // out[3 i + c] = the sum of pixels * weights of tap i, channel c, in order; with int32 weights
  // (sum + 2^21) >> 22, at most 255. May read one byte beyond a tap's last pixel, and write one
  // element beyond the last.
  void (*filter_columns_float)(const uint8_t* row, const FilterTap* taps, const float* weights,
                               uint64_t pixels, float* out);
  void (*filter_columns_fixed)(const uint8_t* row, const FilterTap* taps, const int32_t* weights,
                               uint64_t pixels, int32_t* out);
  // out[j] = (the same sum over `count` rows of element j) * scale + shift. May read elements
  // beyond `length`, up to a multiple of kPatternFloats.
  void (*filter_rows_float)(const float* const* rows, const float* weights, uint64_t count,
                            uint64_t length, const PixelScale& scale, float* out);
  void (*filter_rows_fixed)(const int32_t* const* rows, const int32_t* weights, uint64_t count,
                            uint64_t length, const PixelScale& scale, float* out);
  // own[j] = own[j] * weight + other[j] * (1 - weight); each product is rounded.
  void (*mix_rows)(const float* other, float weight, uint64_t length, float* own);

  // One row of a stream of core/rans.h; false if its words are used up.
  bool (*decode_rans_row)(RansReader* reader, const RansRow& row);
  // AdvanceTrellis over a whole row.
  void (*advance_trellis)(const RansTrellis& trellis, const int16_t* values, uint64_t count,
                          uint8_t* states, uint8_t* contexts);

  // Centre of core/quantiser.h for some rows; a row's sum is taken in the order of its classes.
  void (*centre_rows)(const float* logits, uint64_t rows, uint64_t classes, double depth,
                      const float* mean, float* out);
  // Values are divided by the unit, rounded to float32, and from then on float64.
  void (*search_trellis)(const TrellisSearch& search, const SearchScratch& scratch,
                         const float* values, uint64_t labels, int16_t* out);
  // Values of one component's indices; `contexts` is null without a trellis.
  void (*dequantise)(const int16_t* indices, const uint8_t* contexts, uint64_t count, float shift,
                     double unit, float* out);

  // Of blocks of kTokenBlock logits, the last one may have fewer: maxima, false if a logit is NaN
  // or +infinity; sums of TokenExp(logit - top), where no logit exceeds `top`.
  bool (*token_maxima)(const float* logits, uint64_t count, float* maxima);
  void (*token_masses)(const float* logits, uint64_t count, double top, double* masses);
  // exps[i] = TokenExp(logs[i]), of numbers up to 0 and NaN, which stays; `count` is a multiple of
  // kTokenExps.
  void (*token_exps)(const float* logs, uint32_t count, double* exps);
  // Sets of `size` numbers of up to kTokenLanes readers, numbers + 1 from sets[i][1] on; sets[i]
  // has size + 2 elements. `nodes` are the set's, in the order of their bits.
  void (*read_token_sets)(const TokenNode* nodes, uint32_t size, uint64_t range, uint32_t lanes,
                          TokenBits* const* readers, uint32_t* const* sets);
};

// Floats of one panel-packed matrix with `inner` rows.
inline uint64_t PackedFloats(const KernelTable& table, uint64_t inner, uint64_t columns) {
  const uint64_t panels = (columns + table.panel_columns - 1) / table.panel_columns;
  return panels * table.panel_columns * inner;
}

inline uint64_t GroupedFloats(const KernelTable& table, uint64_t levels, uint64_t width) {
  const uint64_t groups = (levels + table.group_size - 1) / table.group_size;
  return groups * table.group_size * (width + 1);
}

extern const KernelTable kScalarKernels;
#if defined(__x86_64__) && defined(__GNUC__)
#define SOFTPACK_X86_KERNELS 1
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif
// Vectors of bytes in memory order are written for little-endian machines.
#if defined(__aarch64__) && defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SOFTPACK_NEON_KERNELS 1
extern const KernelTable kNeonKernels;
#endif

}  // namespace softpack

#endif  // SOFTPACK_CPU_KERNEL_TABLE_H_
