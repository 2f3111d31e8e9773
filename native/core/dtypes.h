// Element types of the arrays that kernels write. The numbers are those of src/core/dtypes.ts,
// which compares them when it loads the addon.
#ifndef SOFTPACK_CORE_DTYPES_H_
#define SOFTPACK_CORE_DTYPES_H_

#include <stdint.h>

#include "core/host_device.h"

enum SoftpackDtype {
  kSoftpackFloat32 = 0,
  kSoftpackFloat16 = 1,   // to nearest, ties to even
  kSoftpackBfloat16 = 2,  // to nearest, ties to even
};

// Bytes of one element.
SOFTPACK_HOST_DEVICE static inline uint32_t SoftpackDtypeBytes(uint32_t dtype) {
  return dtype == kSoftpackFloat32 ? 4u : 2u;
}

#endif  // SOFTPACK_CORE_DTYPES_H_
