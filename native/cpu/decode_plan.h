// Which method a decoder uses where the caller leaves it open.
#ifndef SOFTPACK_CPU_DECODE_PLAN_H_
#define SOFTPACK_CPU_DECODE_PLAN_H_

#include "core/backend.h"
#include "cpu/bfloat_unit.h"

namespace softpack {

// Never kSoftpackMethodAuto. `bfloat` is the unit of the processor or null; only `fastest` looks at
// it.
uint32_t ChooseMethod(const SoftpackDecoderSpec& spec, const BfloatUnit* bfloat);

}  // namespace softpack

#endif  // SOFTPACK_CPU_DECODE_PLAN_H_
