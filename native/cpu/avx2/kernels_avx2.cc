#include "cpu/kernel_table.h"

#ifdef SOFTPACK_X86_KERNELS

#include <immintrin.h>

#include "core/scalar_math.h"
#include "cpu/target.h"
#include "cpu/token_exp.h"

SOFTPACK_TARGET_BEGIN("avx2,fma,f16c,bmi,bmi2,lzcnt")
namespace softpack {
namespace {

#include "cpu/avx2/simd_avx2.h"

#include "cpu/avx2/lanes_avx2.h"

#include "cpu/best_lanes.h"

#include "cpu/sse/bytes_sse.h"

#include "cpu/avx2/rans_avx2.h"

#include "cpu/avx2/quantiser_avx2.h"

using LaneWords = EightWords;

// After the vectors that it is written in.
#include "cpu/kernels_simd.h"

}  // namespace

extern const KernelTable kAvx2Kernels = Table();

}  // namespace softpack
SOFTPACK_TARGET_END

#endif  // SOFTPACK_X86_KERNELS
