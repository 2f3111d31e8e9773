#ifndef SOFTPACK_CUDA_PROJECT_H_
#define SOFTPACK_CUDA_PROJECT_H_

#include "cuda/gemm_tile.h"
#include "cuda/operation.h"

namespace softpack {

// out(row, column) = sum over inner of a(row, .) b(column, .), a chain that starts at `out` itself
// (accumulate), at start[column], or at 0.
struct ProductParams {
  TileOperand a;  // outer: rows
  TileOperand b;  // outer: columns
  const float* start;
  float* out;
  uint64_t out_stride;
  uint64_t inner;
  bool accumulate;
};

// All arrays on the device.
void RunProduct(Operation& operation, const ProductParams& params);

int Project(const SoftpackProjectArgs* args);

}  // namespace softpack

#endif  // SOFTPACK_CUDA_PROJECT_H_
