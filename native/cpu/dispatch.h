// Which instruction set the kernels run on: the best that the processor has, or the one that the
// environment variable SOFTPACK_ISA names. Chosen on first use, once a process.
#ifndef SOFTPACK_CPU_DISPATCH_H_
#define SOFTPACK_CPU_DISPATCH_H_

#include "cpu/bfloat_unit.h"
#include "cpu/kernel_table.h"

namespace softpack {

// An instruction set: kernels, and the processor's bfloat16 unit or null. `avx512_bf16` and `amx`
// are the avx512 kernels with such a unit.
struct Isa {
  const char* name;
  const KernelTable* kernels;
  const BfloatUnit* bfloat;
};

// Null where SOFTPACK_ISA names one that this processor or build lacks.
const Isa* SelectedIsa();

// Null where this processor or build lacks it.
const Isa* IsaNamed(const char* name);

// Names separated by spaces, slowest first.
const char* AvailableIsas();

}  // namespace softpack

#endif  // SOFTPACK_CPU_DISPATCH_H_
