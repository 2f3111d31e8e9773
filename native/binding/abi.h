#ifndef SOFTPACK_BINDING_ABI_H_
#define SOFTPACK_BINDING_ABI_H_

#include "binding/napi_setup.h"

namespace softpack {

// Numbers and layouts that TypeScript repeats (src/kernels/abi.ts), for it to compare.
Napi::Object AbiTable(Napi::Env env);

}  // namespace softpack

#endif  // SOFTPACK_BINDING_ABI_H_
