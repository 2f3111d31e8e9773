#include "cpu/packed_matrix.h"

#include <algorithm>

namespace softpack {

bool PackedMatrix::Pack(const KernelTable& table, const MatrixView& b, uint64_t inner,
                        uint64_t columns) {
  if (!panels_.Allocate(PackedFloats(table, inner, columns))) return false;
  inner_ = inner;
  columns_ = columns;
  for (uint64_t first = 0; first < inner; first += table.inner_block) {
    const MatrixView block{b.data + first * b.row_stride, b.row_stride, b.column_stride};
    const uint64_t depth = std::min<uint64_t>(table.inner_block, inner - first);
    table.pack_panels(block, depth, columns, panels_.data() + PackedFloats(table, first, columns));
  }
  return true;
}

void PackedMatrix::MultiplyInto(const KernelTable& table, const MatrixView& a, uint64_t rows,
                                float* out, uint64_t out_stride, float* scratch) const {
  for (uint64_t first = 0; first < inner_; first += table.inner_block) {
    const MatrixView block{a.data + first * a.column_stride, a.row_stride, a.column_stride};
    const uint64_t depth = std::min<uint64_t>(table.inner_block, inner_ - first);
    const float* panels = panels_.data() + PackedFloats(table, first, columns_);
    table.multiply(block, panels, rows, depth, columns_, out, out_stride, scratch);
  }
}

}  // namespace softpack
