#include "cuda/operation.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>

#include "core/thread_pool.h"

namespace softpack {
namespace {

constexpr uint64_t kAlignment = 256;
constexpr uint64_t kLeastBlock = 1 << 20;
// Memory that a lane keeps for its next operation.
constexpr uint64_t kMostKept = uint64_t{1} << 30;

struct Lanes {
  std::mutex mutex;
  std::condition_variable returned;
  std::vector<std::unique_ptr<Lane>> all;
  std::vector<Lane*> idle;
};

// Never destroyed: the driver may be gone before static objects are.
Lanes& TheLanes() {
  static Lanes* const lanes = new Lanes;
  return *lanes;
}

thread_local Lane* stream_lane = nullptr;

cudaError_t Open(Lane& lane) {
  cudaError_t error = cudaSuccess;
  const auto then = [&](cudaError_t next) { error = error == cudaSuccess ? next : error; };
  if (lane.stream == nullptr && !lane.borrowed) {
    then(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking));
  }
  if (error == cudaSuccess && lane.fault == nullptr) {
    void* memory = nullptr;
    then(cudaMalloc(&memory, sizeof(uint32_t)));
    lane.fault = static_cast<uint32_t*>(memory);
    if (error == cudaSuccess) {
      then(cudaMemsetAsync(lane.fault, 0, sizeof(uint32_t), lane.stream));
    }
  }
  if (error == cudaSuccess && lane.fault_copy == nullptr) {
    void* memory = nullptr;
    then(cudaMallocHost(&memory, sizeof(uint32_t)));
    lane.fault_copy = static_cast<uint32_t*>(memory);
  }
  return error;
}

void FreeBlocks(Lane& lane) {
  for (const Lane::Block& block : lane.blocks) cudaFree(block.memory);
  lane.blocks.clear();
  lane.used = 0;
}

void Close(Lane& lane) {
  FreeBlocks(lane);
  if (lane.workspace == nullptr) cudaFree(lane.fault);
  cudaFreeHost(lane.fault_copy);
  for (StagingSlot& slot : lane.slots) {
    cudaFreeHost(slot.pinned);
    if (slot.copied != nullptr) cudaEventDestroy(slot.copied);
  }
  if (lane.started != nullptr) cudaEventDestroy(lane.started);
  if (lane.stopped != nullptr) cudaEventDestroy(lane.stopped);
  if (!lane.borrowed && lane.stream != nullptr) cudaStreamDestroy(lane.stream);
}

// Next time one block, instead of the several that this operation needed.
void Tidy(Lane& lane) {
  if (lane.workspace != nullptr) {
    lane.used = kAlignment;  // the report of kernels lies before it
    return;
  }
  uint64_t total = 0;
  for (const Lane::Block& block : lane.blocks) total += block.bytes;
  if (lane.blocks.size() > 1 || total > kMostKept) {
    FreeBlocks(lane);
    void* memory = nullptr;
    if (total <= kMostKept && cudaMalloc(&memory, total) == cudaSuccess) {
      lane.blocks.push_back({static_cast<char*>(memory), total});
    } else {
      cudaGetLastError();
    }
  }
  lane.used = 0;
}

Lane* Borrow() {
  if (stream_lane != nullptr) return stream_lane;
  Lanes& lanes = TheLanes();
  std::unique_lock<std::mutex> lock(lanes.mutex);
  if (lanes.idle.empty() && lanes.all.size() < kMaxLanes) {
    lanes.all.push_back(std::make_unique<Lane>());
    return lanes.all.back().get();
  }
  lanes.returned.wait(lock, [&] { return !lanes.idle.empty(); });
  Lane* const lane = lanes.idle.back();
  lanes.idle.pop_back();
  return lane;
}

void Return(Lane* lane) {
  if (lane == stream_lane) return;
  Lanes& lanes = TheLanes();
  const std::lock_guard<std::mutex> lock(lanes.mutex);
  lanes.idle.push_back(lane);
  lanes.returned.notify_one();
}

// Reports of kernels on the lane since the last call; waits for its stream.
int ReadFault(Lane& lane) {
  *lane.fault_copy = 0;
  cudaError_t error = cudaMemcpyAsync(lane.fault_copy, lane.fault, sizeof(uint32_t),
                                      cudaMemcpyDeviceToHost, lane.stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(lane.stream);
  if (error == cudaSuccess && *lane.fault_copy != 0) {
    error = cudaMemsetAsync(lane.fault, 0, sizeof(uint32_t), lane.stream);
  }
  if (error != cudaSuccess) return StatusOf(error, "waiting for kernels");
  return static_cast<int>(*lane.fault_copy);
}

}  // namespace

Operation::Operation(uint32_t threads) : threads_(threads) {
  status_ = StartDevice();
  if (!ok()) return;
  device_.emplace();
  Check(device_->error(), "choosing the device");
  lane_ = Borrow();
  if (ok()) Check(Open(*lane_), "opening a stream");
}

Operation::~Operation() {
  if (lane_ == nullptr) return;
  for (StagingSlot& slot : lane_->slots) {
    slot.busy = false;
    slot.host = nullptr;
  }
  // After a failure, work may still be running in memory that the next operation will use.
  if (!ok() && lane_->workspace == nullptr && DeviceState() == kSoftpackOk) {
    cudaStreamSynchronize(lane_->stream);
  }
  if (DeviceState() == kSoftpackOk) Tidy(*lane_);
  Return(lane_);
}

void* Operation::TakeBytes(uint64_t count, uint64_t size) {
  if (!ok()) return nullptr;
  if (count > UINT64_MAX / 2 / size) {
    Fail(kSoftpackOutOfMemory);
    return nullptr;
  }
  const uint64_t bytes =
      (std::max<uint64_t>(count * size, 1) + kAlignment - 1) / kAlignment * kAlignment;
  taken_ += bytes;
  // No memory: nothing is read or written, so that an address of the right alignment will do.
  if (measures_) return reinterpret_cast<void*>(static_cast<uintptr_t>(taken_));
  return lane_->workspace == nullptr ? TakeFromBlock(bytes) : TakeFromWorkspace(bytes);
}

void* Operation::TakeFromWorkspace(uint64_t bytes) {
  if (lane_->workspace_bytes - lane_->used < bytes) {
    RefuseArgument("the workspace is too small for this call");
    Fail(kSoftpackOutOfMemory);
    return nullptr;
  }
  void* const taken = lane_->workspace + lane_->used;
  lane_->used += bytes;
  return taken;
}

void* Operation::TakeFromBlock(uint64_t bytes) {
  if (lane_->blocks.empty() || lane_->blocks.back().bytes - lane_->used < bytes) {
    const uint64_t block = std::max(bytes, kLeastBlock);
    void* memory = nullptr;
    Check(cudaMalloc(&memory, block), "allocating device memory");
    if (!ok()) return nullptr;
    lane_->blocks.push_back({static_cast<char*>(memory), block});
    lane_->used = 0;
  }
  void* const taken = lane_->blocks.back().memory + lane_->used;
  lane_->used += bytes;
  return taken;
}

bool Operation::OnDevice(const void* array) {
  if (!ok() || array == nullptr) return false;
  if (measures_) return true;
  cudaPointerAttributes attributes = {};
  Check(cudaPointerGetAttributes(&attributes, array), "asking where an array lies");
  // A kernel that touches another device's memory loses this one for the process.
  if (attributes.type == cudaMemoryTypeDevice && attributes.device != Facts().ordinal) {
    Fail(RefuseArgument("an array lies on another device than the one that kernels run on"));
    return false;
  }
  const bool here =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  // Copies through pinned buffers allocate and wait.
  if (ok() && !here && lane_->workspace != nullptr) {
    Fail(RefuseArgument("with a workspace, every array has to lie in device memory"));
  }
  return here;
}

StagingSlot* Operation::NextSlot() {
  StagingSlot& slot = lane_->slots[lane_->next_slot];
  lane_->next_slot = (lane_->next_slot + 1) % Lane::kSlots;
  Drain(slot);
  if (ok() && slot.pinned == nullptr) {
    void* memory = nullptr;
    Check(cudaMallocHost(&memory, Lane::kSlotBytes), "allocating pinned memory");
    slot.pinned = static_cast<char*>(memory);
  }
  if (ok() && slot.copied == nullptr) {
    Check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming | cudaEventBlockingSync),
          "creating an event");
  }
  return ok() ? &slot : nullptr;
}

void Operation::Drain(StagingSlot& slot) {
  if (!ok() || !slot.busy) return;
  Check(cudaEventSynchronize(slot.copied), "waiting for a copy");
  slot.busy = false;
  if (ok() && slot.host != nullptr) MoveBytes(slot.host, slot.pinned, slot.bytes);
  slot.host = nullptr;
}

// One thread moves 10 GB/s or so, less than the bus does.
void Operation::MoveBytes(char* to, const char* from, uint64_t bytes) {
  constexpr uint64_t kPiece = 1 << 20;
  const uint64_t pieces = (bytes + kPiece - 1) / kPiece;
  Fail(ParallelFor(threads_, pieces, [&](uint64_t piece) {
    const uint64_t start = piece * kPiece;
    std::memcpy(to + start, from + start, std::min(kPiece, bytes - start));
    return kSoftpackOk;
  }));
}

void Operation::CopyIn(void* device, const void* host, uint64_t bytes) {
  if (!Works()) return;
  crossed_ = true;
  for (uint64_t start = 0; ok() && start < bytes; start += Lane::kSlotBytes) {
    StagingSlot* const slot = NextSlot();
    if (slot == nullptr) return;
    const uint64_t piece = std::min(Lane::kSlotBytes, bytes - start);
    MoveBytes(slot->pinned, static_cast<const char*>(host) + start, piece);
    Check(cudaMemcpyAsync(static_cast<char*>(device) + start, slot->pinned, piece,
                          cudaMemcpyHostToDevice, lane_->stream),
          "copying to the device");
    if (ok()) Check(cudaEventRecord(slot->copied, lane_->stream), "recording an event");
    slot->busy = true;
  }
}

void Operation::CopyOut(void* host, const void* device, uint64_t bytes) {
  if (!Works()) return;
  crossed_ = true;
  for (uint64_t start = 0; ok() && start < bytes; start += Lane::kSlotBytes) {
    StagingSlot* const slot = NextSlot();
    if (slot == nullptr) return;
    slot->host = static_cast<char*>(host) + start;
    slot->bytes = std::min(Lane::kSlotBytes, bytes - start);
    Check(cudaMemcpyAsync(slot->pinned, static_cast<const char*>(device) + start, slot->bytes,
                          cudaMemcpyDeviceToHost, lane_->stream),
          "copying from the device");
    if (ok()) Check(cudaEventRecord(slot->copied, lane_->stream), "recording an event");
    slot->busy = true;
  }
}

void Operation::Clear(void* device, int value, uint64_t bytes) {
  if (Works()) Check(cudaMemsetAsync(device, value, bytes, lane_->stream), "clearing memory");
}

int Operation::Finish() {
  if (lane_ == nullptr) return status_;
  for (int i = 0; i < Lane::kSlots; ++i) {
    Drain(lane_->slots[(lane_->next_slot + i) % Lane::kSlots]);
  }
  const bool wait = !lane_->borrowed || crossed_;
  if (ok() && wait) Fail(ReadFault(*lane_));
  return status_;
}

int UseStream(cudaStream_t stream) {
  EndStream();
  int status = StartDevice();
  if (status != kSoftpackOk) return status;
  std::unique_ptr<Lane> lane(new (std::nothrow) Lane);
  if (lane == nullptr) return kSoftpackOutOfMemory;
  lane->stream = stream;
  lane->borrowed = true;
  // Now, as a stream that is captured later allows no allocation.
  const CurrentDevice device;
  status = StatusOf(device.error(), "choosing the device");
  if (status == kSoftpackOk) status = StatusOf(Open(*lane), "opening a stream");
  if (status == kSoftpackOk)
    stream_lane = lane.release();
  else if (status != kSoftpackDeviceLost)
    Close(*lane);
  return status;
}

int EndStream() {
  if (stream_lane == nullptr) return kSoftpackOk;
  const int status = FinishStream();
  if (status != kSoftpackDeviceLost) Close(*stream_lane);
  delete stream_lane;
  stream_lane = nullptr;
  return status;
}

uint64_t WorkspaceBytes(uint64_t taken) { return kAlignment + taken; }

int UseWorkspace(void* memory, uint64_t bytes) {
  if (stream_lane == nullptr) return RefuseArgument("a workspace needs a stream (use_stream)");
  if (memory != nullptr &&
      (bytes < kAlignment || reinterpret_cast<uintptr_t>(memory) % kAlignment)) {
    return RefuseArgument("a workspace is aligned to 256 bytes and has as many at least");
  }
  if (const int status = FinishStream(); status != kSoftpackOk) return status;
  const CurrentDevice device;
  Lane& lane = *stream_lane;
  if (lane.workspace == nullptr) {
    FreeBlocks(lane);
    cudaFree(lane.fault);
  }
  lane.workspace = static_cast<char*>(memory);
  lane.workspace_bytes = bytes;
  lane.used = memory == nullptr ? 0 : kAlignment;
  lane.fault = static_cast<uint32_t*>(memory);
  if (memory == nullptr) return StatusOf(Open(lane), "opening a stream");
  return StatusOf(cudaMemsetAsync(memory, 0, sizeof(uint32_t), lane.stream), "clearing memory");
}

int FinishStream() {
  if (stream_lane == nullptr) return kSoftpackInvalidArgument;
  if (const int status = DeviceState(); status != kSoftpackOk) return status;
  return stream_lane->fault == nullptr ? kSoftpackOk : ReadFault(*stream_lane);
}

int CopyOnStream(void* to, const void* from, uint64_t bytes) {
  if (stream_lane == nullptr) return kSoftpackInvalidArgument;
  return StatusOf(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_lane->stream),
                  "copying within the device");
}

int Stopwatch(bool stop, float* milliseconds) {
  if (stream_lane == nullptr) return kSoftpackInvalidArgument;
  cudaEvent_t& event = stop ? stream_lane->stopped : stream_lane->started;
  cudaError_t error = cudaSuccess;
  if (event == nullptr) error = cudaEventCreateWithFlags(&event, 0);
  if (error == cudaSuccess) error = cudaEventRecord(event, stream_lane->stream);
  if (stop && error == cudaSuccess) error = cudaEventSynchronize(event);
  if (stop && error == cudaSuccess) {
    error = cudaEventElapsedTime(milliseconds, stream_lane->started, event);
  }
  return StatusOf(error, "timing");
}

int DeviceArray::Allocate(uint64_t bytes) {
  Free();
  const cudaError_t error = cudaMalloc(&memory_, std::max<uint64_t>(bytes, 1));
  if (error != cudaSuccess) {
    memory_ = nullptr;
    return StatusOf(error, "allocating device memory");
  }
  bytes_ = bytes;
  return kSoftpackOk;
}

void DeviceArray::Free() {
  if (memory_ != nullptr && DeviceState() == kSoftpackOk) cudaFree(memory_);
  memory_ = nullptr;
  bytes_ = 0;
}

}  // namespace softpack
