// Bounds on what a decoder's tensors can make of any codes, found once, so that decoding need not
// look for overflow label by label.
#ifndef SOFTPACK_CPU_VALUE_BOUND_H_
#define SOFTPACK_CPU_VALUE_BOUND_H_

#include "core/backend.h"

namespace softpack {

// Whether some codes, with weights of base vectors from 0 to 1, might give a value before the head,
// or a sum over the classes, that float32 cannot hold. Never false by mistake; true as well if a
// tensor is not finite. Costs latent * classes + codewords additions.
bool MayOverflow(const SoftpackDecoderSpec& spec);

// The magnitude of latents up to which no value before the head can overflow; less than 0 or NaN if
// there is none.
double LargestLatent(const SoftpackDecoderSpec& spec);

// The greatest magnitude; infinity if a value is not finite.
double Greatest(const float* values, uint64_t count);

}  // namespace softpack

#endif  // SOFTPACK_CPU_VALUE_BOUND_H_
