// Which instruction set the kernels run on: the best that the processor has, or the one that the
// environment variable SOFTPACK_ISA names. Chosen on first use, once a process.
#ifndef SOFTPACK_CPU_DISPATCH_H_
#define SOFTPACK_CPU_DISPATCH_H_

#include "cpu/kernel_table.h"

namespace softpack {

// Null where SOFTPACK_ISA names one that this processor or build lacks.
const KernelTable* SelectedKernels();

// Null where this processor or build lacks it.
const KernelTable* KernelsNamed(const char* isa);

// Names separated by spaces, slowest first.
const char* AvailableIsas();

}  // namespace softpack

#endif  // SOFTPACK_CPU_DISPATCH_H_
