// The backend's operations over one kernel table: blocking, threads and memory, the same for every
// instruction set.
#ifndef SOFTPACK_CPU_OPERATIONS_H_
#define SOFTPACK_CPU_OPERATIONS_H_

#include "core/backend.h"
#include "cpu/kernel_table.h"

namespace softpack {

int Project(const KernelTable& table, const SoftpackProjectArgs& args);
int Nearest(const KernelTable& table, const SoftpackNearestArgs& args);
int Augment(const KernelTable& table, const SoftpackAugmentArgs& args);

}  // namespace softpack

#endif  // SOFTPACK_CPU_OPERATIONS_H_
