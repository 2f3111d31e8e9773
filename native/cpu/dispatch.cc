#include "cpu/dispatch.h"

#include <cstdlib>
#include <cstring>

#ifdef SOFTPACK_X86_KERNELS
#include <cpuid.h>
#endif

namespace softpack {
namespace {

#ifdef SOFTPACK_X86_KERNELS
// Not every compiler's __builtin_cpu_supports knows this name.
bool HasHalfConversion() {
  unsigned int eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1u << 29)) != 0;
}

// __builtin_cpu_supports also asks whether the system saves the wide registers.
bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasHalfConversion();
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
#endif

// Best first; ends with null.
struct Available {
  const KernelTable* tables[4] = {};
  char names[32] = "";

  Available() {
    const KernelTable** next = tables;
#ifdef SOFTPACK_X86_KERNELS
    if (HasAvx512()) *next++ = &kAvx512Kernels;
    if (HasAvx2()) *next++ = &kAvx2Kernels;
#endif
    *next++ = &kScalarKernels;
    while (next != tables) {
      std::strcat(names, (*--next)->isa);
      if (next != tables) std::strcat(names, " ");
    }
  }
};

const Available& Isas() {
  static const Available available;
  return available;
}

}  // namespace

const KernelTable* KernelsNamed(const char* isa) {
  for (const KernelTable* const* table = Isas().tables; *table != nullptr; ++table) {
    if (std::strcmp((*table)->isa, isa) == 0) return *table;
  }
  return nullptr;
}

const char* AvailableIsas() { return Isas().names; }

const KernelTable* SelectedKernels() {
  static const KernelTable* const selected = [] {
    const char* const forced = std::getenv("SOFTPACK_ISA");
    return forced == nullptr || *forced == '\0' ? Isas().tables[0] : KernelsNamed(forced);
  }();
  return selected;
}

}  // namespace softpack
