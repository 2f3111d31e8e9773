// The inner loops that exist once an instruction set. kernels_scalar.cc is their specification;
// every other table gives the same bytes.
//
// What makes that possible: every floating-point sum has one written-down order, every multiply-add
// is an explicit fused one, and nothing is left for the compiler to reassociate or contract.
#ifndef SOFTPACK_CPU_KERNEL_TABLE_H_
#define SOFTPACK_CPU_KERNEL_TABLE_H_

#include <cstdint>

namespace softpack {

// Element (i, j) lies at data[i * row_stride + j * column_stride].
struct MatrixView {
  const float* data;
  uint64_t row_stride;
  uint64_t column_stride;
};

// A head sums classes in this many interleaved partial sums: class j in sum j mod 16. The sums are
// then added pairwise, i and i + 8, i and i + 4, i and i + 2, 0 and 1.
constexpr uint32_t kHeadSums = 16;

enum class HeadKind { kIdentity, kClamp, kSoftmax };

struct Head {
  HeadKind kind;
  float parameter;  // eps of clamp, 1 / tau of softmax
};

struct KernelTable {
  const char* isa;

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

  // sum = start + rows[0] + rows[1] + ..., each of `length` floats, a multiple of 16; all are
  // 64-byte aligned.
  void (*add_rows)(const float* start, const float* const* rows, uint64_t count, uint64_t length,
                   float* sum);

  // Head of one row of values; exactly one output is set. `values` is overwritten, holds a multiple
  // of 16 floats and is 64-byte aligned. The exponential is Exp of kernels_scalar.cc.
  void (*finish)(const Head& head, float* values, uint64_t classes, float* out_float,
                 uint16_t* out_half);
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

}  // namespace softpack

#endif  // SOFTPACK_CPU_KERNEL_TABLE_H_
