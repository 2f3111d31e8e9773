#include "cuda/device.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <string>
#include <vector>

namespace softpack {
namespace {

constexpr size_t kTextBytes = 512;

struct Text {
  char bytes[kTextBytes] = "no operation has failed";
};

thread_local Text last_error;

// Without work: its attributes tell which image of the module this device runs.
struct ImageParams {};
__global__ void ImageKernel(ImageParams) {}

struct Device {
  std::mutex mutex;
  bool probed = false;
  int wished = -1;  // by UseDevice
  std::atomic<bool> started{false};
  int status = kSoftpackOk;  // of the probe, later of the start
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

// SOFTPACK_CUDA_DEVICE, else that of UseDevice, else the current device.
int Choose(Device& device, int count) {
  const char* const text = std::getenv("SOFTPACK_CUDA_DEVICE");
  if (text == nullptr || *text == '\0') {
    if (device.wished >= 0 && device.wished < count) {
      device.facts.ordinal = device.wished;
      return kSoftpackOk;
    }
    const cudaError_t error = cudaGetDevice(&device.facts.ordinal);
    return error == cudaSuccess ? kSoftpackOk : Refuse(device, "choosing a CUDA device", error);
  }
  const std::string digits = text;
  const bool number =
      digits.size() <= 4 && digits.find_first_not_of("0123456789") == std::string::npos;
  device.facts.ordinal = number ? std::atoi(text) : count;
  if (device.facts.ordinal < count) return kSoftpackOk;
  std::snprintf(device.why_not.bytes, kTextBytes,
                "SOFTPACK_CUDA_DEVICE is %.32s: expected a number below %d, of a device that CUDA "
                "sees",
                text, count);
  return kSoftpackNoDevice;
}

int Probe(Device& device) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return Refuse(device, "looking for a CUDA device", error);
  if (count == 0) return Refuse(device, "looking for a CUDA device", cudaErrorNoDevice);
  if (const int status = Choose(device, count); status != kSoftpackOk) return status;
  cudaDeviceProp properties;
  error = cudaGetDeviceProperties(&properties, device.facts.ordinal);
  if (error != cudaSuccess) return Refuse(device, "asking for the device's properties", error);
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

// Creates the context, which fails where an exclusive device is in use or no memory is left, and
// loads the module into it, which fails where it has neither instructions for this device nor PTX
// that the driver understands.
int Start(Device& device) {
  const CurrentDevice current;
  cudaError_t error = current.error();
  if (error == cudaSuccess) error = cudaFree(nullptr);
  if (error != cudaSuccess) return Refuse(device, "starting the CUDA device", error);
  cudaFuncAttributes attributes = {};
  error = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(ImageKernel));
  if (error != cudaSuccess) return Refuse(device, "loading the kernels", error);
  device.facts.instructions = std::min(device.facts.capability, attributes.ptxVersion);
  return kSoftpackOk;
}

// Errors that end the context or the process's use of the driver (the remarks of the runtime's
// cudaError: "any further CUDA work will return the same error"), in ascending order. Others, a
// refused launch or a wrong pointer among them, end with the call that met them.
constexpr int kSticky[] = {
    4,    // the process is shutting down
    214,  // ECC, uncorrectable
    220,  // NVLink, uncorrectable
    226,  // ECC, contained
    700,  // an illegal address
    702,  // a launch beyond the time limit
    709,  // a destroyed context
    710,  // a device-side assertion
    714,  // a hardware stack error
    715,  // an illegal instruction
    716,  // a misaligned address
    717,  // an invalid address space
    718,  // an invalid program counter
    719,  // a failed launch
    721,  // a leak of tensor memory
    805,  // MPS lost its connection
    806,  // an MPS call failed
    810,  // an MPS client was ended
    911,  // a device outside CUDA failed
    999,  // unknown: no reason to trust what follows
};

bool IsSticky(cudaError_t error) {
  return std::binary_search(std::begin(kSticky), std::end(kSticky), static_cast<int>(error));
}

int StatusNow(Device& device) {
  if (device.status != kSoftpackOk) {
    last_error = device.why_not;
    return device.status;
  }
  return DeviceState();
}

}  // namespace

int ProbeDevice(SoftpackDeviceInfo* info) {
  Device& device = TheDevice();
  const std::lock_guard<std::mutex> lock(device.mutex);
  if (!device.probed) {
    device.status = Probe(device);
    device.probed = true;
    cudaGetLastError();  // what the probe found is no error of a later call
  }
  if (info != nullptr) *info = device.info;
  return StatusNow(device);
}

int UseDevice(int ordinal) {
  Device& device = TheDevice();
  {
    const std::lock_guard<std::mutex> lock(device.mutex);
    if (!device.probed) device.wished = ordinal;
  }
  if (const int status = ProbeDevice(nullptr); status != kSoftpackOk) return status;
  if (device.facts.ordinal == ordinal) return kSoftpackOk;
  std::snprintf(last_error.bytes, kTextBytes,
                "kernels run on device %d in this process, not on device %d", device.facts.ordinal,
                ordinal);
  return kSoftpackInvalidArgument;
}

int StartDevice() {
  Device& device = TheDevice();
  if (device.started.load(std::memory_order_acquire)) return DeviceState();
  if (const int status = ProbeDevice(nullptr); status != kSoftpackOk) return status;
  const std::lock_guard<std::mutex> lock(device.mutex);
  if (!device.started.load(std::memory_order_relaxed) && device.status == kSoftpackOk) {
    device.status = Start(device);
    cudaGetLastError();
    device.started.store(device.status == kSoftpackOk, std::memory_order_release);
  }
  return StatusNow(device);
}

const DeviceFacts& Facts() { return TheDevice().facts; }

int StatusOf(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return kSoftpackOk;
  cudaGetLastError();
  Describe(last_error, doing, error);
  if (error == cudaErrorMemoryAllocation) return kSoftpackOutOfMemory;
  Device& device = TheDevice();
  const std::lock_guard<std::mutex> lock(device.mutex);
  if (!IsSticky(error)) {
    std::snprintf(device.info.refused, sizeof device.info.refused, "%s", last_error.bytes);
    return kSoftpackDeviceRefused;
  }
  if (!device.lost.load(std::memory_order_relaxed)) {
    device.why_lost = last_error;
    device.lost.store(true, std::memory_order_release);
  }
  return kSoftpackDeviceLost;
}

int RefuseArgument(const char* why) {
  std::snprintf(last_error.bytes, kTextBytes, "%s", why);
  return kSoftpackInvalidArgument;
}

int DeviceState() {
  Device& device = TheDevice();
  if (!device.lost.load(std::memory_order_acquire)) return kSoftpackOk;
  last_error = device.why_lost;
  return kSoftpackDeviceLost;
}

const char* LastError() { return last_error.bytes; }

cudaError_t AllowMostShared(const void* kernel) {
  static std::mutex mutex;
  static auto* const allowed = new std::vector<const void*>;  // a few dozen
  const std::lock_guard<std::mutex> lock(mutex);
  if (std::find(allowed->begin(), allowed->end(), kernel) != allowed->end()) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(Facts().shared_bytes));
  if (error == cudaSuccess) allowed->push_back(kernel);
  return error;
}

cudaError_t AllowLargeClusters(const void* kernel) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
}

// The previous device has a context, or gets one when it becomes current again: CUDA offers no
// other way back.
CurrentDevice::CurrentDevice() {
  error_ = cudaGetDevice(&previous_);
  if (error_ != cudaSuccess || previous_ == Facts().ordinal) return;
  error_ = cudaSetDevice(Facts().ordinal);
  changed_ = error_ == cudaSuccess;
}

CurrentDevice::~CurrentDevice() {
  if (changed_ && DeviceState() == kSoftpackOk) cudaSetDevice(previous_);
}

}  // namespace softpack
