// The device of this process: whether there is one, and whether it still works.
#ifndef SOFTPACK_CUDA_DEVICE_H_
#define SOFTPACK_CUDA_DEVICE_H_

#include "core/device_module.h"
#include "cuda/platform.h"

namespace softpack {

struct DeviceFacts {
  int ordinal;     // SOFTPACK_CUDA_DEVICE, else CUDA's current device when it was first asked
  int capability;  // 10 * major + minor
  // The architecture that the kernels running here were compiled for, as capabilities count: that
  // of the module's image for this device, or of the PTX that the driver translated. What the
  // device has beyond it is missing from the kernels, so this number, not `capability`, says which
  // of them have the instructions of tensor cores and clusters.
  int instructions;
  int multiprocessors;
  size_t shared_bytes;  // that one block may ask for
  size_t l2_bytes;
};

// Chooses the device, unless it was asked for before; done if it is the process's.
int UseDevice(int ordinal);

// Done, or the reason why operations cannot run here, as far as that shows without a context.
int ProbeDevice(SoftpackDeviceInfo* info);

// The same after a context exists and the module's kernels were found to run in it. Both once per
// process.
int StartDevice();

// Valid after StartDevice has returned done.
const DeviceFacts& Facts();

// The status of a CUDA error. After one that ends a context (the list in device.cu) the device is
// marked lost and every later operation fails at once; after any other one it goes on.
int StatusOf(cudaError_t error, const char* doing);

// An argument refused for a reason of the device.
int RefuseArgument(const char* why);

// Lets a kernel have as much shared memory as a block may ask for, once per kernel: a limit set per
// launch could be lowered by another thread in between.
cudaError_t AllowMostShared(const void* kernel);
// Clusters of more blocks than every device with clusters runs as one.
cudaError_t AllowLargeClusters(const void* kernel);

// The device of this process is the thread's current one for as long as this lives; another library
// may have chosen another.
class CurrentDevice {
 public:
  CurrentDevice();
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

  cudaError_t error() const { return error_; }

 private:
  int previous_ = 0;
  bool changed_ = false;
  cudaError_t error_;
};

// Done, or device lost.
int DeviceState();

const char* LastError();

}  // namespace softpack

#endif  // SOFTPACK_CUDA_DEVICE_H_
