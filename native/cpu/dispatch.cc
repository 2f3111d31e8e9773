#include "cpu/dispatch.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#ifdef SOFTPACK_X86_KERNELS
#include <cpuid.h>
#endif

namespace softpack {
namespace {

#ifdef SOFTPACK_X86_KERNELS
// Asked of the processor itself: what __builtin_cpu_supports knows differs by compiler, and zig's
// knows none of these.
struct Registers {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Cpuid(unsigned int leaf, unsigned int subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr unsigned int Bits(std::initializer_list<int> positions) {
  unsigned int bits = 0;
  for (const int position : positions) bits |= 1u << position;
  return bits;
}

constexpr bool HasAll(unsigned int bits, unsigned int wanted) { return (bits & wanted) == wanted; }

// The registers that the system saves for a thread (XCR0); only if CPUID says OSXSAVE.
unsigned int SavedState() {
  unsigned int low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool HasAvx2() {
  constexpr unsigned int kFmaXsaveAvxHalf = Bits({12, 27, 28, 29});
  constexpr unsigned int kSaved = Bits({1, 2});  // xmm, ymm
  constexpr unsigned int kBitsAvx2MoreBits = Bits({3, 5, 8});
  constexpr unsigned int kLeadingZeros = Bits({5});
  return HasAll(Cpuid(1, 0).ecx, kFmaXsaveAvxHalf) && HasAll(SavedState(), kSaved) &&
         HasAll(Cpuid(7, 0).ebx, kBitsAvx2MoreBits) &&
         HasAll(Cpuid(0x80000001, 0).ecx, kLeadingZeros);
}

bool HasAvx512() {
  constexpr unsigned int kFoundationDqBwVl = Bits({16, 17, 30, 31});
  constexpr unsigned int kSaved = Bits({5, 6, 7});  // masks, upper halves, zmm16 and above
  return HasAvx2() && HasAll(SavedState(), kSaved) && HasAll(Cpuid(7, 0).ebx, kFoundationDqBwVl);
}

bool HasAvx512Bfloat() { return HasAvx512() && HasAll(Cpuid(7, 1).eax, Bits({5})); }

bool HasAmxBfloat() {
  constexpr unsigned int kBfloatAndTiles = Bits({22, 24});
  return HasAvx512() && HasAll(Cpuid(7, 0).edx, kBfloatAndTiles) && AllowAmxTiles();
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
#ifdef SOFTPACK_NEON_KERNELS
    Add({"neon", &kNeonKernels, nullptr});
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
