#include "cpu/kernel_table.h"

#ifdef SOFTPACK_NEON_KERNELS

#include <arm_neon.h>

#include "core/scalar_math.h"
#include "cpu/target.h"
#include "cpu/token_exp.h"

namespace softpack {
namespace {

#include "cpu/neon/simd_neon.h"

#include "cpu/neon/lanes_neon.h"

#include "cpu/best_lanes.h"

#include "cpu/neon/bytes_neon.h"

#include "cpu/neon/rans_neon.h"

#include "cpu/neon/quantiser_neon.h"

using LaneWords = EightWords;

// After the vectors that it is written in.
#include "cpu/kernels_simd.h"

}  // namespace

extern const KernelTable kNeonKernels = Table();

}  // namespace softpack

#endif  // SOFTPACK_NEON_KERNELS
