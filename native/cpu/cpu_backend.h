// The backend that every processor has.
#ifndef SOFTPACK_CPU_CPU_BACKEND_H_
#define SOFTPACK_CPU_CPU_BACKEND_H_

#include "core/backend.h"

extern "C" const SoftpackBackend* SoftpackCpuBackend(void);

// Bytes that this backend holds in the process: tables of encoders and decoders, working memory.
extern "C" uint64_t SoftpackCpuMemory(void);

#endif  // SOFTPACK_CPU_CPU_BACKEND_H_
