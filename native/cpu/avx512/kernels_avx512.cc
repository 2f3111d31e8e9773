#include "cpu/kernel_table.h"

#ifdef SOFTPACK_X86_KERNELS

// GCC 12 takes its own headers' "undefined" vectors for uninitialised variables (GCC bug 105593).
#if !defined(__clang__) && __GNUC__ < 14
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include "core/scalar_math.h"
#include "cpu/target.h"
#include "cpu/token_exp.h"

SOFTPACK_TARGET_BEGIN("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c,bmi,bmi2,lzcnt")
namespace softpack {
namespace {

#include "cpu/avx512/simd_avx512.h"

#include "cpu/avx512/lanes_avx512.h"

#include "cpu/sse/bytes_sse.h"

// Streams of eight lanes.
#include "cpu/avx2/rans_avx2.h"

#include "cpu/avx512/rans_avx512.h"

#include "cpu/avx512/quantiser_avx512.h"

// After the vectors that it is written in.
#include "cpu/kernels_simd.h"

}  // namespace

extern const KernelTable kAvx512Kernels = Table();

}  // namespace softpack
SOFTPACK_TARGET_END

#endif  // SOFTPACK_X86_KERNELS
