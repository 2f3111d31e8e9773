// One operation on the device: a stream, its own memory, and arrays copied there and back.
//
// Operations of different threads run on their own lanes. A lane keeps its stream, its device
// memory and its pinned buffers for the next operation; there are at most kMaxLanes, further
// callers wait. The first failure is kept and everything after it does nothing, so that an
// operation is written straight down and its status read once, from Finish.
#ifndef SOFTPACK_CUDA_OPERATION_H_
#define SOFTPACK_CUDA_OPERATION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/device.h"
#include "cuda/platform.h"

namespace softpack {

constexpr unsigned kMaxLanes = 8;

// Pinned memory that one copy passes through, and the part still to be fetched from it.
struct StagingSlot {
  char* pinned = nullptr;
  cudaEvent_t copied = nullptr;
  bool busy = false;
  char* host = nullptr;  // where the bytes go, when they come from the device
  uint64_t bytes = 0;
};

struct Lane {
  static constexpr int kSlots = 2;
  static constexpr uint64_t kSlotBytes = 8 << 20;

  cudaStream_t stream = nullptr;
  bool borrowed = false;  // the stream is the caller's
  // The caller's memory, in place of blocks and of `fault`; null without.
  char* workspace = nullptr;
  uint64_t workspace_bytes = 0;
  StagingSlot slots[kSlots];
  int next_slot = 0;

  struct Block {
    char* memory;
    uint64_t bytes;
  };
  std::vector<Block> blocks;
  uint64_t used = 0;  // of the last block, or of the workspace

  uint32_t* fault = nullptr;       // on the device: the greatest status that a kernel reported
  uint32_t* fault_copy = nullptr;  // pinned

  cudaEvent_t started = nullptr;  // of the stopwatch
  cudaEvent_t stopped = nullptr;
};

class Operation {
 public:
  explicit Operation(uint32_t threads = 1);
  // Adds up what is taken and does nothing else, as if every array were on the device.
  struct Measure {};
  explicit Operation(Measure) : status_(StartDevice()), threads_(1), measures_(true) {}
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  bool ok() const { return status_ == kSoftpackOk; }
  int status() const { return status_; }
  void Fail(int status) {
    if (ok()) status_ = status;
  }
  void Check(cudaError_t error, const char* doing) {
    if (ok() && error != cudaSuccess) status_ = StatusOf(error, doing);
  }

  // Working memory, on the device, until the operation ends.
  template <class T>
  T* Take(uint64_t count) {
    return static_cast<T*>(TakeBytes(count, sizeof(T)));
  }

  // Whether an array is used in place.
  bool OnDevice(const void* array);

  // The array itself if it is on the device, else a copy there.
  template <class T>
  const T* Input(const T* array, uint64_t count) {
    if (array == nullptr || count == 0 || OnDevice(array)) return array;
    T* const copy = Take<T>(count);
    CopyIn(copy, array, count * sizeof(T));
    return copy;
  }

  void CopyIn(void* device, const void* host, uint64_t bytes);
  // `host` is written when Finish returns; later work on the stream may overwrite `device`.
  void CopyOut(void* host, const void* device, uint64_t bytes);

  template <class Params>
  void Run(const char* doing, void (*kernel)(Params), const LaunchShape& shape,
           const Params& params) {
    if (!Works()) return;
    constexpr size_t kWithoutAsking = 48 << 10;
    if (shape.shared > kWithoutAsking) {
      Check(AllowMostShared(reinterpret_cast<const void*>(kernel)), doing);
    }
    if (ok()) Check(Launch(kernel, shape, lane_->stream, params), doing);
  }

  void Clear(void* device, int value, uint64_t bytes);

  // Bytes taken, each array with its padding; of a Measure.
  uint64_t taken() const { return taken_; }
  uint32_t threads() const { return threads_; }
  // Flag by which kernels report invalid codes.
  uint32_t* fault() const { return lane_ == nullptr ? nullptr : lane_->fault; }

  // Waits, unless the stream is the caller's and nothing has to be copied; the operation's status.
  int Finish();

 private:
  bool Works() const { return ok() && !measures_; }
  void* TakeBytes(uint64_t count, uint64_t size);
  void* TakeFromBlock(uint64_t bytes);
  void* TakeFromWorkspace(uint64_t bytes);
  StagingSlot* NextSlot();
  void Drain(StagingSlot& slot);
  void MoveBytes(char* to, const char* from, uint64_t bytes);

  std::optional<CurrentDevice> device_;
  Lane* lane_ = nullptr;
  int status_ = kSoftpackOk;
  uint32_t threads_;
  bool measures_ = false;
  uint64_t taken_ = 0;
  bool crossed_ = false;  // host memory takes part
};

// Puts this thread's operations on a stream of the caller's.
int UseStream(cudaStream_t stream);
// Waits for it and goes back to streams of this module's; as FinishStream.
int EndStream();
// Waits for it; the greatest status that its kernels reported.
int FinishStream();

// Bytes of a workspace of operations that take `taken`.
uint64_t WorkspaceBytes(uint64_t taken);
int UseWorkspace(void* memory, uint64_t bytes);

int CopyOnStream(void* to, const void* from, uint64_t bytes);
int Stopwatch(bool stop, float* milliseconds);

// Device memory that outlives an operation.
class DeviceArray {
 public:
  DeviceArray() = default;
  ~DeviceArray() { Free(); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  int Allocate(uint64_t bytes);
  void Free();
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  uint64_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace softpack

#endif  // SOFTPACK_CUDA_OPERATION_H_
