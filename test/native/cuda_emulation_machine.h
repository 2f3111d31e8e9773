// What the parts of the emulation share about the threads that run.
#ifndef SOFTPACK_TESTING_CUDA_EMULATION_MACHINE_H_
#define SOFTPACK_TESTING_CUDA_EMULATION_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace softpack_emulation {

constexpr unsigned kWarpgroup = 128;
// A device keeps the first kibibyte of a block's shared memory for itself.
constexpr uint32_t kFirstAddress = 1024;

unsigned ThreadInBlock();
// Whether a block of the cluster has threads left.
bool IsRunning(unsigned rank);
void WarpgroupBarrier();
// Lets the other threads go on; Advance says that something changed that one may wait for.
void Yield();
void Advance();
// Done when no thread can go on.
void Defer(std::function<void()> work);
// All threads of a cluster have ended.
void EndCluster();
// For a sanitizer: what was written before the release is seen behind the acquisition.
void ReleaseOrder(const void* order);
void AcquireOrder(const void* order);
// Without a sanitizer's knowledge.
void CopyUnwatched(void* to, const void* from, size_t bytes);
// While one lives, the thread sanitizer overlooks this thread: what the emulation itself allocates
// and frees, without the order of the threads that do. No other thread may run meanwhile.
class Unwatched {
 public:
  Unwatched();
  ~Unwatched();
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
};

}  // namespace softpack_emulation

#endif  // SOFTPACK_TESTING_CUDA_EMULATION_MACHINE_H_
