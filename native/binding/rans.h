#ifndef SOFTPACK_BINDING_RANS_H_
#define SOFTPACK_BINDING_RANS_H_

#include "binding/napi_setup.h"

namespace softpack {

// Adds decodeRans and encodeRans, which only the CPU has.
void DefineRans(Napi::Env env, Napi::Object target);

}  // namespace softpack

#endif  // SOFTPACK_BINDING_RANS_H_
