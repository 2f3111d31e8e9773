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

// The wide registers are known to be saved; what is left to ask is the instruction.
bool HasAvx512Bfloat() {
  unsigned int eax, ebx, ecx, edx;
  return HasAvx512() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & (1u << 5)) != 0;
}

bool HasAmxBfloat() {
  unsigned int eax, ebx, ecx, edx;
  constexpr unsigned int kBfloatAndTiles = (1u << 22) | (1u << 24);
  return HasAvx512() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
         (edx & kBfloatAndTiles) == kBfloatAndTiles && AllowAmxTiles();
}
#endif

// Slowest first.
struct Available {
  Isa isas[5] = {};
  uint32_t count = 0;
  char names[64] = "";

  Available() {
    Add({"scalar", &kScalarKernels, nullptr});
#ifdef SOFTPACK_X86_KERNELS
    if (HasAvx2()) Add({"avx2", &kAvx2Kernels, nullptr});
    if (HasAvx512()) Add({"avx512", &kAvx512Kernels, nullptr});
    if (HasAvx512Bfloat()) Add({"avx512_bf16", &kAvx512Kernels, &kAvx512BfloatUnit});
    if (HasAmxBfloat()) Add({"amx", &kAvx512Kernels, &kAmxBfloatUnit});
#endif
  }

  void Add(const Isa& isa) {
    isas[count++] = isa;
    if (count > 1) std::strcat(names, " ");
    std::strcat(names, isa.name);
  }
};

const Available& Isas() {
  static const Available available;
  return available;
}

}  // namespace

const Isa* IsaNamed(const char* name) {
  for (uint32_t i = 0; i < Isas().count; ++i) {
    if (std::strcmp(Isas().isas[i].name, name) == 0) return &Isas().isas[i];
  }
  return nullptr;
}

const char* AvailableIsas() { return Isas().names; }

const Isa* SelectedIsa() {
  static const Isa* const selected = [] {
    const char* const forced = std::getenv("SOFTPACK_ISA");
    return forced == nullptr || *forced == '\0' ? &Isas().isas[Isas().count - 1] : IsaNamed(forced);
  }();
  return selected;
}

}  // namespace softpack
