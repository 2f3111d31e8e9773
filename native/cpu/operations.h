// The backend's operations over one kernel table, or instruction set: blocking, threads and memory,
// the same for every one.
#ifndef SOFTPACK_CPU_OPERATIONS_H_
#define SOFTPACK_CPU_OPERATIONS_H_

#include "core/backend.h"
#include "cpu/dispatch.h"
#include "cpu/kernel_table.h"

namespace softpack {

int Project(const KernelTable& table, const SoftpackProjectArgs& args);
int Nearest(const Isa& isa, const SoftpackNearestArgs& args);
int Augment(const KernelTable& table, const SoftpackAugmentArgs& args);

}  // namespace softpack

#endif  // SOFTPACK_CPU_OPERATIONS_H_
