#ifndef SOFTPACK_TEST_NATIVE_CELLS_TEST_H_
#define SOFTPACK_TEST_NATIVE_CELLS_TEST_H_

#include "cpu/dispatch.h"

namespace softpack {

// Cells of codebooks against every codeword; returns the number of failures.
int TestCells(const Isa& isa);

}  // namespace softpack

#endif  // SOFTPACK_TEST_NATIVE_CELLS_TEST_H_
