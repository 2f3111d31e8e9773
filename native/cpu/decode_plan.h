// Which method a decoder uses where the caller leaves it open.
#ifndef SOFTPACK_CPU_DECODE_PLAN_H_
#define SOFTPACK_CPU_DECODE_PLAN_H_

#include "core/backend.h"

namespace softpack {

// Never kSoftpackMethodAuto.
uint32_t ChooseMethod(const SoftpackDecoderSpec& spec);

}  // namespace softpack

#endif  // SOFTPACK_CPU_DECODE_PLAN_H_
