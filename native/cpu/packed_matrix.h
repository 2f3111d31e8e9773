// A right-hand matrix in the panels of a kernel table, packed once and multiplied many times.
#ifndef SOFTPACK_CPU_PACKED_MATRIX_H_
#define SOFTPACK_CPU_PACKED_MATRIX_H_

#include <algorithm>

#include "cpu/buffer.h"
#include "cpu/kernel_table.h"

namespace softpack {

class PackedMatrix {
 public:
  // Returns false if allocation fails.
  bool Pack(const KernelTable& table, const MatrixView& b, uint64_t inner, uint64_t columns);

  // out += a * this, continuing the chain of sums in `out`. `scratch` is the table's.
  void MultiplyInto(const KernelTable& table, const MatrixView& a, uint64_t rows, float* out,
                    uint64_t out_stride, float* scratch) const;

  uint64_t bytes() const { return panels_.bytes(); }

 private:
  // Blocks of at most table.inner_block inner elements, one after the other.
  Buffer<float> panels_;
  uint64_t inner_ = 0;
  uint64_t columns_ = 0;
};

inline uint64_t ScratchFloats(const KernelTable& table) {
  return uint64_t{table.row_block} * table.inner_block;
}

inline uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// Items of a block: a thread's even share of `count`, at least one, in whole units, at most `most`.
inline uint64_t BlockSize(uint64_t count, uint64_t threads, uint64_t unit, uint64_t most) {
  const uint64_t share = (count + threads - 1) / threads;
  return std::min(most, RoundUp(std::max<uint64_t>(share, 1), unit));
}

}  // namespace softpack

#endif  // SOFTPACK_CPU_PACKED_MATRIX_H_
