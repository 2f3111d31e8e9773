// CUDA's runtime as the emulation has it: devices, memory and faults.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "cuda_emulation.h"

namespace softpack_emulation {
namespace {

std::mutex memory_mutex;
struct Allocation {
  size_t bytes;
  cudaMemoryType type;
  int device;
};
std::map<const char*, Allocation> memory;     // by its end
std::map<const void*, size_t> shared_limits;  // of kernels that were given one
std::set<const void*> large_clusters;         // kernels that may have more than 8 blocks
thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

constexpr int kDevices = 2;
constexpr size_t kSharedWithoutAsking = 48 << 10;

struct Faults {
  bool absent = false;
  int capability = 90;
  int image = 90;
  bool plain = false;
  bool coarse = false;
  long no_image = -1;
  long launches_left = -1;
  long refused_in = -1;
  long mallocs_left = -1;
  cudaError_t code = cudaErrorIllegalAddress;
  bool dead = false;

  Faults() {
    const char* const text = std::getenv("SOFTPACK_EMULATION");
    const std::string plan = text == nullptr ? "ready" : text;
    absent = plan.rfind("absent", 0) == 0;
    if (plan.rfind("ampere", 0) == 0) capability = image = 80;
    if (plan.rfind("blackwell", 0) == 0) capability = 120;
    const auto number = [&](const char* name) -> long {
      const size_t at = plan.find(std::string(",") + name);
      return at == std::string::npos ? -1 : std::atol(plan.c_str() + at + 1 + std::strlen(name));
    };
    if (const long version = number("image:"); version > 0) image = static_cast<int>(version);
    if (const long fault = number("code:"); fault > 0) code = static_cast<cudaError_t>(fault);
    plain = number("plain:") > 0;
    coarse = number("coarse:") > 0;
    no_image = number("noimage:");
    refused_in = number("refuse:");
    launches_left = number("launch:");
    mallocs_left = number("malloc:");
  }
};

bool capturing = false;
int contexts = 0;
int waits = 0;

std::mutex fault_mutex;
Faults& TheFaults() {
  static Faults faults;
  return faults;
}

// As in CUDA: after an illegal address every call fails with it.
cudaError_t Checked() {
  const std::lock_guard<std::mutex> lock(fault_mutex);
  Faults& faults = TheFaults();
  if (faults.absent) return last_error = cudaErrorInsufficientDriver;
  return faults.dead ? (last_error = faults.code) : cudaSuccess;
}

// The first call that needs a context creates it.
cudaError_t CheckedInContext() {
  const cudaError_t error = Checked();
  if (error == cudaSuccess && contexts == 0) contexts = 1;
  return error;
}

// Calls that a captured stream does not allow.
cudaError_t CheckedOutsideCapture() {
  if (capturing) return last_error = cudaErrorStreamCaptureUnsupported;
  return CheckedInContext();
}

bool CountDown(long& left) { return left > 0 && --left == 0; }

cudaError_t Allocate(void** result, size_t bytes, cudaMemoryType type) {
  *result = nullptr;
  if (const cudaError_t error = CheckedOutsideCapture(); error != cudaSuccess) return error;
  {
    const std::lock_guard<std::mutex> lock(fault_mutex);
    if (CountDown(TheFaults().mallocs_left)) return last_error = cudaErrorMemoryAllocation;
  }
  auto* const start = static_cast<char*>(std::malloc(bytes + 1));
  if (start == nullptr) return last_error = cudaErrorMemoryAllocation;
  std::memset(start, 0xff, bytes);
  const std::lock_guard<std::mutex> lock(memory_mutex);
  memory[start + bytes] = {bytes, type, current_device};
  *result = start;
  return cudaSuccess;
}

cudaError_t Release(void* pointer, cudaMemoryType type) {
  if (const cudaError_t error = CheckedOutsideCapture(); error != cudaSuccess) return error;
  if (pointer == nullptr) return cudaSuccess;
  const std::lock_guard<std::mutex> lock(memory_mutex);
  for (auto at = memory.begin(); at != memory.end(); ++at) {
    if (at->first - at->second.bytes == pointer && at->second.type == type) {
      memory.erase(at);
      std::free(pointer);
      return cudaSuccess;
    }
  }
  Stop("memory freed that is not allocated");
}

}  // namespace

int ImageVersion() { return TheFaults().image; }
bool CoarseSums() { return TheFaults().coarse; }
int Contexts() { return contexts; }
int Waits() { return waits; }
void Capture(bool on) { capturing = on; }

}  // namespace softpack_emulation

using softpack_emulation::Checked;
using softpack_emulation::CheckedInContext;
using softpack_emulation::CheckedOutsideCapture;

struct EmulatedStream {
  int unused;
};
struct EmulatedEvent {
  int unused;
};

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
  }
  return "another CUDA error";
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = softpack_emulation::kDevices;
  return Checked();
}

cudaError_t cudaGetDevice(int* device) {
  *device = softpack_emulation::current_device;
  return Checked();
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= softpack_emulation::kDevices) {
    return softpack_emulation::last_error = cudaErrorInvalidDevice;
  }
  softpack_emulation::current_device = device;
  return CheckedInContext();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "emulated on the CPU");
  const int capability = softpack_emulation::TheFaults().capability;
  properties->major = capability / 10;
  properties->minor = capability % 10;
  properties->multiProcessorCount = 20;
  properties->totalGlobalMem = size_t{1} << 30;
  properties->sharedMemPerBlockOptin = (capability == 80    ? 163
                                        : capability == 120 ? 99
                                                            : 227)
                                       << 10;
  properties->l2CacheSize = 1 << 20;
  return Checked();
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  if (const cudaError_t error = CheckedInContext(); error != cudaSuccess) return error;
  const softpack_emulation::Faults& faults = softpack_emulation::TheFaults();
  if (faults.no_image > 0) {
    return softpack_emulation::last_error = static_cast<cudaError_t>(faults.no_image);
  }
  attributes->ptxVersion = faults.image;
  // As kernels for 9.0a say it of themselves.
  attributes->maxThreadsPerBlock = faults.image == 90 && !faults.plain ? 1024 : 32;
  return cudaSuccess;
}

// A limit that is lowered breaks a launch of another thread that needs the higher one.
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (const cudaError_t error = CheckedInContext(); error != cudaSuccess) return error;
  const std::lock_guard<std::mutex> lock(softpack_emulation::fault_mutex);
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) {
    if (value != 0) softpack_emulation::large_clusters.insert(kernel);
    return cudaSuccess;
  }
  size_t& limit = softpack_emulation::shared_limits[kernel];
  if (static_cast<size_t>(value) < limit) {
    return softpack_emulation::last_error = cudaErrorInvalidValue;
  }
  limit = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return Checked();
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = softpack_emulation::last_error;
  softpack_emulation::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return softpack_emulation::Allocate(memory, bytes, cudaMemoryTypeDevice);
}

cudaError_t cudaFree(void* memory) {
  return softpack_emulation::Release(memory, cudaMemoryTypeDevice);
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  return softpack_emulation::Allocate(memory, bytes, cudaMemoryTypeHost);
}

cudaError_t cudaFreeHost(void* memory) {
  return softpack_emulation::Release(memory, cudaMemoryTypeHost);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  if (const cudaError_t error = Checked(); error != cudaSuccess) return error;
  *attributes = {cudaMemoryTypeUnregistered, -1};
  const auto* const at = static_cast<const char*>(pointer);
  const std::lock_guard<std::mutex> lock(softpack_emulation::memory_mutex);
  const auto found = softpack_emulation::memory.upper_bound(at);
  if (found != softpack_emulation::memory.end() && found->first - found->second.bytes <= at) {
    *attributes = {found->second.type, found->second.device};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  if (const cudaError_t error = Checked(); error != cudaSuccess) return error;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  if (const cudaError_t error = Checked(); error != cudaSuccess) return error;
  if (bytes > 0) std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  if (const cudaError_t error = CheckedInContext(); error != cudaSuccess) return error;
  *stream = new EmulatedStream();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ++softpack_emulation::waits;
  return CheckedOutsideCapture();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = nullptr;
  if (const cudaError_t error = Checked(); error != cudaSuccess) return error;
  *event = new EmulatedEvent();
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return Checked(); }
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  ++softpack_emulation::waits;
  return CheckedOutsideCapture();
}

// A meaningless time.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return Checked();
}

cudaError_t EmulatedLaunch(const std::function<void()>& kernel, dim3 grid, dim3 block,
                           size_t shared, unsigned cluster, const void* address) {
  if (const cudaError_t error = CheckedInContext(); error != cudaSuccess) return error;
  {
    const std::lock_guard<std::mutex> lock(softpack_emulation::fault_mutex);
    softpack_emulation::Faults& faults = softpack_emulation::TheFaults();
    if (softpack_emulation::CountDown(faults.launches_left)) faults.dead = true;
    if (faults.dead) return cudaSuccess;  // told by the next call, as on a device
    if (softpack_emulation::CountDown(faults.refused_in)) {
      return softpack_emulation::last_error = cudaErrorInvalidValue;
    }
    const auto limit = softpack_emulation::shared_limits.find(address);
    const size_t most = limit == softpack_emulation::shared_limits.end()
                            ? softpack_emulation::kSharedWithoutAsking
                            : limit->second;
    if (shared > most) return softpack_emulation::last_error = cudaErrorInvalidValue;
    const bool large = softpack_emulation::large_clusters.count(address) > 0;
    if (cluster > (large ? 16u : 8u)) {
      return softpack_emulation::last_error = cudaErrorInvalidValue;
    }
  }
  const bool fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y < 65536 && grid.z < 65536 &&
                    block.x * block.y * block.z <= 1024;
  if (!fits) return softpack_emulation::last_error = cudaErrorInvalidValue;
  softpack_emulation::Run(kernel, grid, block, shared, cluster);
  return cudaSuccess;
}
