// The specification of every kernel: one obvious loop each, in the order of operations that all
// instruction sets keep. Runs everywhere; fast only if the compiler has a fused multiply-add
// instruction to inline.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/half.h"
#include "core/scalar_math.h"
#include "cpu/kernel_table.h"
#include "cpu/token_exp.h"

namespace softpack {
namespace {

// A panel is one column, so a product is a dot product of two contiguous arrays.
void PackPanels(const MatrixView& b, uint64_t inner, uint64_t columns, float* panels) {
  for (uint64_t column = 0; column < columns; ++column) {
    for (uint64_t k = 0; k < inner; ++k) {
      *panels++ = b.data[k * b.row_stride + column * b.column_stride];
    }
  }
}

void Multiply(const MatrixView& a, const float* panels, uint64_t rows, uint64_t inner,
              uint64_t columns, float* out, uint64_t out_stride, float* /*scratch*/) {
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t column = 0; column < columns; ++column) {
      float sum = out[row * out_stride + column];
      for (uint64_t k = 0; k < inner; ++k) {
        const float factor = a.data[row * a.row_stride + k * a.column_stride];
        sum = std::fmaf(factor, panels[column * inner + k], sum);
      }
      out[row * out_stride + column] = sum;
    }
  }
}

void GroupCodebook(const float* codebook, uint64_t levels, uint64_t width, float* groups) {
  for (uint64_t level = 0; level < levels; ++level) {
    float norm = 0.0f;
    for (uint64_t d = 0; d < width; ++d) norm = std::fmaf(codebook[d], codebook[d], norm);
    *groups++ = 0.5f * norm;
    std::memcpy(groups, codebook, width * sizeof(float));
    groups += width;
    codebook += width;
  }
}

void NearestMargins(const float* vectors, const float* groups, uint64_t count, uint64_t width,
                    uint64_t levels, uint16_t* out, float* margins) {
  for (uint64_t i = 0; i < count; ++i, vectors += width) {
    float least = std::numeric_limits<float>::infinity();
    float second = least;
    uint64_t best = 0;
    for (uint64_t level = 0; level < levels; ++level) {
      const float* group = groups + level * (width + 1);
      float score = group[0];
      for (uint64_t d = 0; d < width; ++d) score = std::fmaf(-vectors[d], group[1 + d], score);
      if (score < least) {
        second = least;
        least = score;
        best = level;
      } else if (score < second) {
        second = score;
      }
    }
    out[i] = static_cast<uint16_t>(best);
    if (margins != nullptr) margins[i] = second - least;
  }
}

void Nearest(const float* vectors, const float* groups, uint64_t count, uint64_t width,
             uint64_t levels, uint16_t* out) {
  NearestMargins(vectors, groups, count, width, levels, out, nullptr);
}

void WeighRows(const float* rows, uint64_t stride, const uint16_t* list, const float* weights,
               uint64_t count, uint64_t columns, float* out) {
  for (uint64_t j = 0; j < columns; ++j) {
    float sum = 0.0f;
    for (uint64_t i = 0; i < count; ++i) {
      sum = std::fmaf(weights[i], rows[list[i] * stride + j], sum);
    }
    out[j] = sum;
  }
}

void ChainColumns(const float* rows, uint64_t stride, const float* weights, uint64_t count,
                  const uint32_t* starts, uint64_t chains, float* out) {
  for (uint64_t c = 0; c < chains; ++c) {
    for (uint64_t j = 0; j < kChainFloats; ++j) {
      float sum = 0.0f;
      for (uint64_t i = 0; i < count; ++i) {
        sum = std::fmaf(weights[i], rows[i * stride + starts[c] + j], sum);
      }
      out[c * kChainFloats + j] = sum;
    }
  }
}

#include "cpu/scalar/head_scalar.h"

#include "cpu/scalar/augment_scalar.h"

#include "cpu/scalar/rans_scalar.h"

#include "cpu/quantiser_loops.h"

#include "cpu/scalar/quantiser_scalar.h"

#include "cpu/token_loops.h"

}  // namespace

extern const KernelTable kScalarKernels = {

    1,
    256,
    1,
    64,
    PackPanels,
    Multiply,
    1,
    GroupCodebook,
    Nearest,
    NearestMargins,
    nullptr,
    WeighRows,
    ChainColumns,
    SumRows<float>,
    SumRows<int16_t>,
    WidenRange,
    ToFixed,
    ToBfloat,
    Widen,
    AddPrediction,
    Finish,
    Fence,
    Kl,
    ResizeColumns,
    BlendRows,
    FilterColumns<float>,
    FilterColumns<int32_t>,
    FilterRows<float>,
    FilterRows<int32_t>,
    MixRows,
    DecodeRansRow,
    AdvanceRansTrellis,
    CentreRows,
    SearchTrellis,
    DequantiseValues,
    TokenMaxima,
    TokenMasses,
    TokenExps,
    ReadTokenSets,
};

}  // namespace softpack
