// The device of this process: whether there is one, and whether it still works.
#ifndef SOFTPACK_CUDA_DEVICE_H_
#define SOFTPACK_CUDA_DEVICE_H_

#include "core/device_module.h"
#include "cuda/platform.h"

namespace softpack {

struct DeviceFacts {
  int ordinal;     // CUDA's current device when it was first asked
  int capability;  // 10 * major + minor
  int multiprocessors;
  size_t shared_bytes;  // that one block may ask for
  size_t l2_bytes;
};

// Done, or the reason why operations cannot run. Starts the device on its first call.
int ProbeDevice(SoftpackDeviceInfo* info);

// Valid after ProbeDevice has returned done.
const DeviceFacts& Facts();

// The status of a CUDA error. Out of memory is passed on; after any other error the device cannot
// be trusted and is marked lost: every later operation fails at once.
int StatusOf(cudaError_t error, const char* doing);

// Done, or device lost.
int DeviceState();

const char* LastError();

}  // namespace softpack

#endif  // SOFTPACK_CUDA_DEVICE_H_
