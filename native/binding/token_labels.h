#ifndef SOFTPACK_BINDING_TOKEN_LABELS_H_
#define SOFTPACK_BINDING_TOKEN_LABELS_H_

#include "binding/napi_setup.h"

namespace softpack {

// Adds decodeTokens and encodeTokens, which only the CPU has.
void DefineTokenLabels(Napi::Env env, Napi::Object target);

}  // namespace softpack

#endif  // SOFTPACK_BINDING_TOKEN_LABELS_H_
