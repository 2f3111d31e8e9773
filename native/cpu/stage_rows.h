// The float32 rows of `classes` that a stage of a decoder looks up: each codeword times its part of
// the basis, a chain of fused multiply-adds from 0 over ascending elements of the codeword.
#ifndef SOFTPACK_CPU_STAGE_ROWS_H_
#define SOFTPACK_CPU_STAGE_ROWS_H_

#include "core/backend.h"
#include "cpu/packed_matrix.h"
#include "cpu/row_source.h"

namespace softpack {

// [levels, padded classes] of one stage at a time, zeros in the padding.
class StageRows {
 public:
  // Returns false if allocation fails.
  bool Compute(const KernelTable& table, const SoftpackDecoderSpec& spec, uint64_t stage) {
    const MatrixView part{spec.basis + stage * spec.latent_step * spec.classes, spec.classes, 1};
    const MatrixView codebook{spec.codebooks + stage * spec.codebook_stride, spec.width, 1};
    return Multiply(table, codebook, part, spec.levels, spec.width, spec.classes);
  }

  // The same for `count` base vectors from `first` on.
  bool ComputeBases(const KernelTable& table, const SoftpackDecoderSpec& spec, uint64_t first,
                    uint64_t count) {
    const MatrixView bases{spec.bases + first * spec.latent, spec.latent, 1};
    return Multiply(table, bases, {spec.basis, spec.classes, 1}, count, spec.latent, spec.classes);
  }

  const float* data() const { return rows_.data(); }

 private:
  bool Multiply(const KernelTable& table, const MatrixView& left, const MatrixView& right,
                uint64_t rows, uint64_t inner, uint64_t columns) {
    const uint64_t stride = PaddedClasses(columns);
    PackedMatrix packed;
    if (rows > UINT64_MAX / stride || !rows_.Reserve(rows * stride) ||
        !scratch_.Reserve(ScratchFloats(table)) || !packed.Pack(table, right, inner, columns)) {
      return false;
    }
    std::fill_n(rows_.data(), rows * stride, 0.0f);
    packed.MultiplyInto(table, left, rows, rows_.data(), stride, scratch_.data());
    return true;
  }

  Buffer<float> rows_;
  Buffer<float> scratch_;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_STAGE_ROWS_H_
