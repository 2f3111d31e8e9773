// How a library beside the addon runs calls of its decoders: the addon reads a call's arguments,
// numbers it, and lends it for as long as JavaScript says; an operation of TensorFlow
// (native/tensorflow) gets the number as a tensor, and the call for it. Plain C, as that library is
// built apart from the addon, perhaps by another compiler.
#ifndef SOFTPACK_CORE_LABEL_CALLS_H_
#define SOFTPACK_CORE_LABEL_CALLS_H_

#include <stdint.h>

#include "core/backend.h"
#include "core/device_module.h"

#ifdef __cplusplus
extern "C" {
#endif

// Raised with every change below; the backend's own version stands beside it.
#define SOFTPACK_LABEL_CALLS_VERSION 2u

// The status of a call that nobody ran, besides those of core/status.h.
#define SOFTPACK_NOT_RUN (-1)

typedef struct SoftpackLabelCall {
  const SoftpackBackend* backend;
  const SoftpackDeviceModule* module;  // of the backend; null for the CPU's
  const SoftpackDecoder* decoder;
  SoftpackLabels labels;
  uint64_t classes;
  float tau;    // of SoftpackDecodeKlArgs
  float scale;  // likewise
  uint32_t threads;
} SoftpackLabelCall;

typedef struct SoftpackLabelCalls {
  uint32_t version;      // SOFTPACK_LABEL_CALLS_VERSION
  uint32_t abi_version;  // SOFTPACK_ABI_VERSION
  // The call of a number, or null if none has it. The call and its arrays stay until it is given
  // back.
  const SoftpackLabelCall* (*take)(int32_t number);
  // Gives a call back with the status of what was done, which JavaScript then sees.
  void (*give)(const SoftpackLabelCall* call, int status);
} SoftpackLabelCalls;

#ifdef __cplusplus
}
#endif

#endif  // SOFTPACK_CORE_LABEL_CALLS_H_
