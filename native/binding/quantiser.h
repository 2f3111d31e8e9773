// Quantisation of latents, core/quantiser.h: the CPU's own, whatever the backend.
#ifndef SOFTPACK_BINDING_QUANTISER_H_
#define SOFTPACK_BINDING_QUANTISER_H_

#include "binding/napi_setup.h"

namespace softpack {

void DefineQuantiser(Napi::Env env, Napi::Object target);

}  // namespace softpack

#endif  // SOFTPACK_BINDING_QUANTISER_H_
