#include "cuda/device.h"

#include <atomic>
#include <cstdio>
#include <mutex>

namespace softpack {
namespace {

constexpr size_t kTextBytes = 512;

struct Text {
  char bytes[kTextBytes] = "no operation has failed";
};

thread_local Text last_error;

struct Device {
  std::mutex mutex;
  bool probed = false;
  int status = kSoftpackOk;  // of the probe
  SoftpackDeviceInfo info = {};
  DeviceFacts facts = {};
  Text why_not;
  std::atomic<bool> lost{false};
  Text why_lost;  // written before `lost` is set, under the mutex
};

// Never destroyed: operations may still run when the process ends.
Device& TheDevice() {
  static Device* const device = new Device;
  return *device;
}

void Describe(Text& text, const char* doing, cudaError_t error) {
  std::snprintf(text.bytes, kTextBytes, "%s: %s (%s, CUDA error %d)", doing,
                cudaGetErrorString(error), cudaGetErrorName(error), static_cast<int>(error));
}

int Refuse(Device& device, const char* doing, cudaError_t error) {
  Describe(device.why_not, doing, error);
  return kSoftpackNoDevice;
}

int Start(Device& device) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return Refuse(device, "looking for a CUDA device", error);
  if (count == 0) return Refuse(device, "looking for a CUDA device", cudaErrorNoDevice);
  error = cudaGetDevice(&device.facts.ordinal);
  if (error != cudaSuccess) return Refuse(device, "starting the CUDA device", error);
  cudaDeviceProp properties;
  error = cudaGetDeviceProperties(&properties, device.facts.ordinal);
  if (error != cudaSuccess) return Refuse(device, "asking for the device's properties", error);
  // Fails if the context cannot be created (an exclusive device in use, no memory left).
  error = cudaFree(nullptr);
  if (error != cudaSuccess) return Refuse(device, "starting the CUDA device", error);
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  SoftpackDeviceInfo& info = device.info;
  std::snprintf(info.name, sizeof info.name, "%s", properties.name);
  info.capability_major = static_cast<uint32_t>(properties.major);
  info.capability_minor = static_cast<uint32_t>(properties.minor);
  info.multiprocessors = static_cast<uint32_t>(properties.multiProcessorCount);
  info.driver_version = static_cast<uint32_t>(driver);
  info.runtime_version = static_cast<uint32_t>(runtime);
  info.memory_bytes = properties.totalGlobalMem;
  device.facts.capability = 10 * properties.major + properties.minor;
  device.facts.multiprocessors = properties.multiProcessorCount;
  device.facts.shared_bytes = properties.sharedMemPerBlockOptin;
  device.facts.l2_bytes = static_cast<size_t>(properties.l2CacheSize);
  constexpr int kLeastCapability = 75;
  if (device.facts.capability < kLeastCapability) {
    std::snprintf(device.why_not.bytes, kTextBytes,
                  "%s has compute capability %d.%d, kernels are built for 7.5 and newer",
                  properties.name, properties.major, properties.minor);
    return kSoftpackNoDevice;
  }
  return kSoftpackOk;
}

}  // namespace

int ProbeDevice(SoftpackDeviceInfo* info) {
  Device& device = TheDevice();
  const std::lock_guard<std::mutex> lock(device.mutex);
  if (!device.probed) {
    device.status = Start(device);
    device.probed = true;
    cudaGetLastError();  // what the probe found is no error of a later call
  }
  if (info != nullptr) *info = device.info;
  if (device.status != kSoftpackOk) {
    last_error = device.why_not;
    return device.status;
  }
  if (device.lost.load(std::memory_order_acquire)) {
    last_error = device.why_lost;
    return kSoftpackDeviceLost;
  }
  return kSoftpackOk;
}

const DeviceFacts& Facts() { return TheDevice().facts; }

int StatusOf(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return kSoftpackOk;
  cudaGetLastError();
  Describe(last_error, doing, error);
  if (error == cudaErrorMemoryAllocation) return kSoftpackOutOfMemory;
  Device& device = TheDevice();
  const std::lock_guard<std::mutex> lock(device.mutex);
  if (!device.lost.load(std::memory_order_relaxed)) {
    device.why_lost = last_error;
    device.lost.store(true, std::memory_order_release);
  }
  return kSoftpackDeviceLost;
}

int DeviceState() {
  Device& device = TheDevice();
  if (!device.lost.load(std::memory_order_acquire)) return kSoftpackOk;
  last_error = device.why_lost;
  return kSoftpackDeviceLost;
}

const char* LastError() { return last_error.bytes; }

}  // namespace softpack
