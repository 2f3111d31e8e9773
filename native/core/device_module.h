// The interface of a backend in a separate module: one exported symbol, SoftpackOpenModule, that
// returns the table below. The table of operations is the CPU's; a device adds memory, streams and
// reasons.
//
// Any array of an operation may lie in device memory (the device's own or CUDA's managed memory):
// it is then used where it is. Arrays in host memory are copied through pinned buffers. Those of
// pack, unpack and augment, and of the specs of encoders and decoders, lie in host memory.
#ifndef SOFTPACK_CORE_DEVICE_MODULE_H_
#define SOFTPACK_CORE_DEVICE_MODULE_H_

#include <stdint.h>

#include "core/backend.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTPACK_MODULE_VERSION 3u
#define SOFTPACK_MODULE_SYMBOL "SoftpackOpenModule"

typedef struct SoftpackDeviceInfo {
  char name[256];
  uint32_t capability_major;
  uint32_t capability_minor;
  uint32_t multiprocessors;
  uint32_t driver_version;  // 1000 * major + 10 * minor, as CUDA counts
  uint32_t runtime_version;
  uint64_t memory_bytes;
  char refused[512];  // why an operation was last refused, for people, or empty
} SoftpackDeviceInfo;

typedef struct SoftpackDeviceModule {
  uint32_t module_version;
  uint32_t size;  // sizeof(SoftpackDeviceModule) when the module was built
  const SoftpackBackend* backend;

  // Whether there is a device that operations can run on: done, kSoftpackNoDevice or
  // kSoftpackDeviceLost. Creates no context.
  int (*probe)(SoftpackDeviceInfo* info);
  // The same after a context exists and the kernels were found to run in it; every operation begins
  // with it.
  int (*start)(void);
  // Why the last call on this thread failed, for people; never null.
  const char* (*last_error)(void);

  int (*memory_create)(uint64_t bytes, void** memory);
  int (*memory_write)(void* memory, const void* from, uint64_t bytes);
  int (*memory_read)(const void* memory, void* to, uint64_t bytes);
  void (*memory_destroy)(void* memory);

  // From now on this thread's operations are put on `stream` (a cudaStream_t of the device; null is
  // CUDA's default stream), and those whose arrays all lie in device memory return before they are
  // done; wrong codes are then reported by `finish` or `end_stream`. Ends the use of a stream
  // before it. The thread's device stays what it is.
  int (*use_stream)(void* stream);
  // Waits for that stream and ends its use; the status of its work.
  int (*end_stream)(void);
  // Waits for this thread's stream and returns the status of its work.
  int (*finish)(void);

  // A stream for use_stream, for callers without their own CUDA runtime.
  int (*stream_create)(void** stream);
  void (*stream_destroy)(void* stream);
  // On this thread's stream: copies within the device; starts a stopwatch, or stops it and gives
  // the device's time since.
  int (*memory_copy)(void* to, const void* from, uint64_t bytes);
  int (*stopwatch)(int stop, float* milliseconds);

  // Bytes of device memory that a call works in, if all its arrays lie in device memory.
  int (*decode_workspace_bytes)(const SoftpackDecoder* decoder, const SoftpackDecodeArgs* args,
                                uint64_t* bytes);
  int (*decode_kl_workspace_bytes)(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args,
                                   uint64_t* bytes);
  // From now on operations on this thread's stream work in `memory` alone (aligned to 256 bytes):
  // they allocate and free nothing, wait for nothing, and can be captured into a CUDA graph, which
  // holds the memory, the decoder and the call's arrays as long as it is used. Null ends that.
  int (*use_workspace)(void* memory, uint64_t bytes);

  // Chooses the device of the process, before anything else asks for it; SOFTPACK_CUDA_DEVICE goes
  // first. Done if that is the device, else kSoftpackInvalidArgument or kSoftpackNoDevice.
  int (*use_device)(int ordinal);
  // decode_kl with logits and gradient of another type (SoftpackDtype), gradients rounded to
  // nearest; works in as many bytes.
  int (*decode_kl_as)(const SoftpackDecoder* decoder, const SoftpackDecodeKlArgs* args,
                      uint32_t type);
} SoftpackDeviceModule;

typedef const SoftpackDeviceModule* (*SoftpackOpenModuleFunction)(void);

#ifdef __cplusplus
}
#endif

#endif  // SOFTPACK_CORE_DEVICE_MODULE_H_
