// The specification of every kernel: one obvious loop each, in the order of operations that all
// instruction sets keep. Runs everywhere; quick only where the compiler has a fused multiply-add
// instruction to inline.
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/half.h"
#include "cpu/kernel_table.h"

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

void Nearest(const float* vectors, const float* groups, uint64_t count, uint64_t width,
             uint64_t levels, uint16_t* out) {
  for (uint64_t i = 0; i < count; ++i, vectors += width) {
    float least = std::numeric_limits<float>::infinity();
    uint64_t best = 0;
    for (uint64_t level = 0; level < levels; ++level) {
      const float* group = groups + level * (width + 1);
      float score = group[0];
      for (uint64_t d = 0; d < width; ++d) score = std::fmaf(-vectors[d], group[1 + d], score);
      if (score < least) {
        least = score;
        best = level;
      }
    }
    out[i] = static_cast<uint16_t>(best);
  }
}

void AddRows(const float* start, const float* const* rows, uint64_t count, uint64_t length,
             float* sum) {
  for (uint64_t j = 0; j < length; ++j) {
    float value = start[j];
    for (uint64_t row = 0; row < count; ++row) value += rows[row][j];
    sum[j] = value;
  }
}

// exp(x) for x <= 0, to 2 units in the last place; never below exp(-87), the least normal float or
// so. x = n ln 2 + r with |r| <= ln(2) / 2, then the Taylor series of exp(r) to degree 7 (Horner).
float Exp(float x) {
  x = x > -87.0f ? x : -87.0f;
  const float magic =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const float shifted = std::fmaf(x, 1.44269504f, magic);
  const float n = shifted - magic;
  float r = std::fmaf(n, -0.693359375f, x);  // ln 2 in two parts, the first exact in 9 bits
  r = std::fmaf(n, 2.12194440e-4f, r);
  float sum = 1.0f / 5040;
  sum = std::fmaf(sum, r, 1.0f / 720);
  sum = std::fmaf(sum, r, 1.0f / 120);
  sum = std::fmaf(sum, r, 1.0f / 24);
  sum = std::fmaf(sum, r, 1.0f / 6);
  sum = std::fmaf(sum, r, 0.5f);
  sum = std::fmaf(sum, r, 1.0f);
  sum = std::fmaf(sum, r, 1.0f);
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;  // 2^n
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return sum * power;
}

float SumClasses(const float* values, uint64_t classes) {
  float sums[kHeadSums] = {};
  for (uint64_t j = 0; j < classes; ++j) sums[j % kHeadSums] += values[j];
  for (uint32_t width = kHeadSums / 2; width > 0; width /= 2) {
    for (uint32_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

void Finish(const Head& head, float* values, uint64_t classes, float* out_float,
            uint16_t* out_half) {
  float scale = 1.0f;
  if (head.kind == HeadKind::kClamp) {
    for (uint64_t j = 0; j < classes; ++j) {
      values[j] = values[j] > head.parameter ? values[j] : head.parameter;
    }
    scale = 1.0f / SumClasses(values, classes);
  } else if (head.kind == HeadKind::kSoftmax) {
    float greatest = values[0];
    for (uint64_t j = 1; j < classes; ++j) greatest = values[j] > greatest ? values[j] : greatest;
    for (uint64_t j = 0; j < classes; ++j) values[j] = Exp((values[j] - greatest) * head.parameter);
    scale = 1.0f / SumClasses(values, classes);
  }
  for (uint64_t j = 0; j < classes; ++j) {
    const float value = head.kind == HeadKind::kIdentity ? values[j] : values[j] * scale;
    if (out_float != nullptr)
      out_float[j] = value;
    else
      out_half[j] = FloatToHalf(value);
  }
}

}  // namespace

extern const KernelTable kScalarKernels = {
    "scalar", 1, 256, 1, 64, PackPanels, Multiply, 1, GroupCodebook, Nearest, AddRows, Finish,
};

}  // namespace softpack
