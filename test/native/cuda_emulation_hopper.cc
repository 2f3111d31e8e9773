// Twins of the instructions of cuda/hopper.h, by the PTX manual (ISA 9.0): mbarrier objects and
// copies that they count. Products: cuda_emulation_products.cc.
#include <cstring>
#include <vector>

#include "cuda_emulation.h"
#include "cuda_emulation_machine.h"

namespace softpack_emulation {
namespace {

// An mbarrier object, in its 8 bytes.
struct Barrier {
  uint16_t arrivals;  // of a phase
  uint16_t pending;   // of this phase
  int32_t state;      // bytes still to come, twice, plus the phase's parity

  int32_t bytes() const { return state >> 1; }
  uint32_t parity() const { return state & 1; }
  void Set(int32_t bytes, uint32_t parity) { state = bytes * 2 + static_cast<int32_t>(parity); }
};
static_assert(sizeof(Barrier) == sizeof(uint64_t), "an mbarrier object has 8 bytes");
constexpr int32_t kMostBytes = (1 << 20) - 1;

// Of the cluster that runs in this thread of the process.
bool& Unpublished() {
  thread_local bool unpublished = false;
  return unpublished;
}

template <class T>
T* InBlock(T* mine, unsigned rank) {
  if (!IsRunning(rank)) Stop("shared memory of a block that has ended");
  const char* const here = static_cast<const char*>(CurrentShared());
  char* const there = static_cast<char*>(ClusterShared(rank));
  return reinterpret_cast<T*>(there + (reinterpret_cast<const char*>(mine) - here));
}

Barrier& Initialised(const uint64_t* place) {
  auto* const barrier = reinterpret_cast<Barrier*>(const_cast<uint64_t*>(place));
  if (reinterpret_cast<uintptr_t>(place) % sizeof(uint64_t) != 0) Stop("an mbarrier off its place");
  if (barrier->arrivals == 0 || barrier->arrivals == 0xffff) Stop("an mbarrier not initialised");
  return *barrier;
}

void Update(Barrier& barrier, unsigned arrived, int32_t bytes) {
  if (barrier.pending < arrived) Stop("more arrivals than an mbarrier counts");
  barrier.pending = static_cast<uint16_t>(barrier.pending - arrived);
  const int32_t left = barrier.bytes() + bytes;
  if (left > kMostBytes || left < -kMostBytes) Stop("more bytes than an mbarrier counts");
  barrier.Set(left, barrier.parity());
  if (barrier.pending > 0 || left != 0) return;
  barrier.pending = barrier.arrivals;
  barrier.Set(0, barrier.parity() ^ 1);
  Advance();
}

void CheckPublished() {
  if (Unpublished()) Stop("an mbarrier is used that was not published by a fence");
}

}  // namespace

uint32_t SharedAddress(const void* shared) {
  return kFirstAddress + static_cast<uint32_t>(static_cast<const char*>(shared) -
                                               static_cast<const char*>(CurrentShared()));
}

void InitBarrier(uint64_t* place, uint32_t arrivals) {
  if (reinterpret_cast<uintptr_t>(place) % sizeof(uint64_t) != 0) Stop("an mbarrier off its place");
  Barrier& barrier = *reinterpret_cast<Barrier*>(place);
  barrier.arrivals = barrier.pending = static_cast<uint16_t>(arrivals);
  barrier.Set(0, 0);
  Unpublished() = true;
}

void PublishBarriers() { Unpublished() = false; }

void Arrive(uint64_t* place, unsigned rank, uint32_t bytes) {
  if (rank != ClusterRank()) CheckPublished();
  uint64_t* const there = InBlock(place, rank);
  ReleaseOrder(there);
  Update(Initialised(there), 1, static_cast<int32_t>(bytes));
}

void AwaitPhase(const uint64_t* place, uint32_t parity) {
  const Barrier& barrier = Initialised(place);
  while (barrier.parity() == (parity & 1)) Yield();
  AcquireOrder(place);
}

void CopyBulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier,
              unsigned blocks) {
  const Unwatched unwatched;
  CheckPublished();
  if (bytes == 0 || bytes % 16 != 0) Stop("a bulk copy of no multiple of 16 bytes");
  if ((SharedAddress(shared) | reinterpret_cast<uintptr_t>(global)) % 16 != 0) {
    Stop("a bulk copy that is not aligned");
  }
  for (unsigned rank = 0; rank < 16; ++rank) {
    if ((blocks >> rank & 1) == 0) continue;
    char* const to = static_cast<char*>(InBlock(shared, rank));
    uint64_t* const counted = InBlock(barrier, rank);
    const std::vector<char> poison(bytes, static_cast<char>(0xff));
    CopyUnwatched(to, poison.data(), bytes);
    ReleaseOrder(counted);
    Defer([=] {
      CopyUnwatched(to, global, bytes);
      Update(Initialised(counted), 0, -static_cast<int32_t>(bytes));
    });
  }
}

// Reads what is asked for, so that the address sanitizer sees it.
void PrefetchBulk(const void* global, uint32_t bytes) {
  const Unwatched unwatched;
  if (bytes == 0 || bytes % 16 != 0) Stop("a prefetch of no multiple of 16 bytes");
  if (reinterpret_cast<uintptr_t>(global) % 16 != 0) Stop("a prefetch that is not aligned");
  const auto* const from = static_cast<const volatile char*>(global);
  for (uint32_t i = 0; i < bytes; ++i) static_cast<void>(from[i]);
}

void Send(void* place, const void* value, uint32_t bytes, uint64_t* barrier, unsigned rank) {
  const Unwatched unwatched;
  CheckPublished();
  if (SharedAddress(place) % bytes != 0) Stop("bytes sent to a place that is not aligned");
  char* const to = static_cast<char*>(InBlock(place, rank));
  uint64_t* const counted = InBlock(barrier, rank);
  const auto* const from = static_cast<const char*>(value);
  std::vector<char> sent(from, from + bytes);
  const std::vector<char> poison(bytes, static_cast<char>(0xff));
  CopyUnwatched(to, poison.data(), bytes);
  ReleaseOrder(counted);
  Defer([=] {
    CopyUnwatched(to, sent.data(), bytes);
    Update(Initialised(counted), 0, -static_cast<int32_t>(bytes));
  });
}

}  // namespace softpack_emulation
