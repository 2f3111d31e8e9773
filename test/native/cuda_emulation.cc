#include "cuda_emulation.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cuda_emulation_machine.h"
#include "cuda_emulation_stack.h"

// This file is built without sanitizers; it reports its fibers to them if the rest is built with
// one.
#if defined(SOFTPACK_WATCH_THREADS)
#include <sanitizer/tsan_interface.h>
// Of the sanitizer's library, without a header.
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#elif defined(SOFTPACK_WATCH_ADDRESSES)
#include <sanitizer/common_interface_defs.h>
#endif

namespace softpack_emulation {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kSharedAlignment = 1024;
constexpr unsigned kMaxExchange = 64;

// A reusable barrier of `count` threads.
struct Barrier {
  unsigned count = 0;
  unsigned arrived = 0;
  uint64_t generation = 0;
};

struct Warp {
  Barrier barrier;
  // Two tables in turn: a lane writes to a table again only after the barrier of the other one,
  // which every lane reaches after it has read the first. One barrier per exchange is enough.
  alignas(16) char given[2][kWarp][kMaxExchange];

  auto& NextTable() { return given[barrier.generation % 2]; }
};

struct Block {
  Barrier barrier;
  std::vector<Warp> warps;
  std::vector<Barrier> warpgroups;
  char* shared = nullptr;
  unsigned running = 0;  // threads
};

struct Fiber {
  Context context;
  std::unique_ptr<char[]> stack;
  Place place;
  unsigned rank = 0;    // of the block in its cluster
  unsigned linear = 0;  // thread in the block
  bool done = true;
  const Barrier* awaited = nullptr;
  uint64_t generation = 0;  // of `awaited`, until which the fiber has nothing to do

  bool CanRun() const { return !done && (awaited == nullptr || awaited->generation != generation); }
#if defined(SOFTPACK_WATCH_THREADS)
  void* watched = nullptr;
  ~Fiber() {
    if (watched != nullptr) __tsan_destroy_fiber(watched);
  }
#elif defined(SOFTPACK_WATCH_ADDRESSES)
  void* fake_stack = nullptr;
#endif
};

// The work of one thread of the process.
struct Machine {
  Context scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber* current = nullptr;
  const std::function<void()>* kernel = nullptr;
  std::vector<Block> blocks;  // of the running cluster
  Barrier cluster_barrier;
  std::vector<std::function<void()>> deferred;
  uint64_t progress = 0;
  char launch_order = 0;  // its address orders a launch before its threads, and them before the end
#if defined(SOFTPACK_WATCH_THREADS)
  void* watched = nullptr;
#endif
#if defined(SOFTPACK_WATCH_ADDRESSES)
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
#endif
};

Machine& ThisMachine() {
  thread_local Machine machine;
  return machine;
}

void Release([[maybe_unused]] void* order) {
#if defined(SOFTPACK_WATCH_THREADS)
  __tsan_release(order);
#endif
}

void Acquire([[maybe_unused]] void* order) {
#if defined(SOFTPACK_WATCH_THREADS)
  __tsan_acquire(order);
#endif
}

void ToScheduler(Machine& machine) {
#if defined(SOFTPACK_WATCH_THREADS)
  __tsan_switch_to_fiber(machine.watched, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(SOFTPACK_WATCH_ADDRESSES)
  Fiber& fiber = *machine.current;
  __sanitizer_start_switch_fiber(&fiber.fake_stack, machine.stack_bottom, machine.stack_size);
  Switch(fiber.context, machine.scheduler);
  __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#else
  Switch(machine.current->context, machine.scheduler);
#endif
}

void ToFiber(Machine& machine, Fiber& fiber) {
  machine.current = &fiber;
#if defined(SOFTPACK_WATCH_THREADS)
  __tsan_switch_to_fiber(fiber.watched, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(SOFTPACK_WATCH_ADDRESSES)
  __sanitizer_start_switch_fiber(&machine.fake_stack, fiber.stack.get(), kStackBytes);
  Switch(machine.scheduler, fiber.context);
  __sanitizer_finish_switch_fiber(machine.fake_stack, nullptr, nullptr);
#else
  Switch(machine.scheduler, fiber.context);
#endif
}

// A fiber carries out one thread after the other.
void FiberMain() {
  Machine& machine = ThisMachine();
#if defined(SOFTPACK_WATCH_ADDRESSES)
  __sanitizer_finish_switch_fiber(nullptr, &machine.stack_bottom, &machine.stack_size);
#endif
  for (;;) {
    Acquire(&machine.launch_order);
    (*machine.kernel)();
    Release(&machine.progress);
    machine.current->done = true;
    --machine.blocks[machine.current->rank].running;
    ++machine.progress;
    ToScheduler(machine);
  }
}

void Wait(Barrier& barrier) {
  Machine& machine = ThisMachine();
  Release(&barrier);
  const uint64_t generation = barrier.generation;
  if (++barrier.arrived == barrier.count) {
    barrier.arrived = 0;
    ++barrier.generation;
    ++machine.progress;
  } else {
    Fiber& fiber = *machine.current;
    fiber.awaited = &barrier;
    fiber.generation = generation;
    ToScheduler(machine);
    fiber.awaited = nullptr;
  }
  Acquire(&barrier);
}

}  // namespace

// Not memcpy, which a sanitizer watches: lanes exchange values through memory that blocks use one
// after the other.
void CopyUnwatched(void* to, const void* from, size_t bytes) {
  if (bytes % sizeof(uint32_t) == 0) {
    auto* const target = static_cast<volatile uint32_t*>(to);
    const auto* const source = static_cast<const volatile uint32_t*>(from);
    for (size_t i = 0; i < bytes / sizeof(uint32_t); ++i) target[i] = source[i];
    return;
  }
  auto* const target = static_cast<volatile char*>(to);
  const auto* const source = static_cast<const volatile char*>(from);
  for (size_t i = 0; i < bytes; ++i) target[i] = source[i];
}

namespace {

Block& CurrentBlock() {
  Machine& machine = ThisMachine();
  return machine.blocks[machine.current->rank];
}

Warp& CurrentWarp() { return CurrentBlock().warps[ThisMachine().current->linear / kWarp]; }

void StartThread(Machine& machine, size_t index, const Place& place, unsigned rank,
                 unsigned linear) {
  if (index == machine.fibers.size()) {
    auto fiber = std::make_unique<Fiber>();
    fiber->stack.reset(new char[kStackBytes]);
    Prepare(fiber->context, fiber->stack.get(), FiberMain);
#if defined(SOFTPACK_WATCH_THREADS)
    fiber->watched = __tsan_create_fiber(0);
#endif
    machine.fibers.push_back(std::move(fiber));
  }
  Fiber& fiber = *machine.fibers[index];
  fiber.place = place;
  fiber.rank = rank;
  fiber.linear = linear;
  fiber.done = false;
}

// Whether there was anything.
bool RunDeferred(Machine& machine) {
  const Unwatched unwatched;
  std::vector<std::function<void()>> deferred;
  deferred.swap(machine.deferred);
  for (const auto& work : deferred) work();
  return !deferred.empty();
}

// `shared`: the shared memory of the cluster's first block.
void RunCluster(Machine& machine, const std::vector<dim3>& blocks, dim3 grid, dim3 block,
                char* shared, size_t shared_bytes) {
  const unsigned threads = block.x * block.y * block.z;
  machine.blocks.assign(blocks.size(), Block());
  machine.cluster_barrier = Barrier();
  machine.cluster_barrier.count = threads * static_cast<unsigned>(blocks.size());
  size_t fibers = 0;
  for (unsigned rank = 0; rank < blocks.size(); ++rank) {
    Block& state = machine.blocks[rank];
    state.barrier.count = state.running = threads;
    state.warpgroups.resize((threads + kWarpgroup - 1) / kWarpgroup);
    for (Barrier& barrier : state.warpgroups) barrier.count = kWarpgroup;
    state.warps.resize((threads + kWarp - 1) / kWarp);
    for (unsigned warp = 0; warp < state.warps.size(); ++warp) {
      state.warps[warp].barrier.count = std::min(kWarp, threads - warp * kWarp);
    }
    state.shared = shared + rank * shared_bytes;
    for (unsigned thread = 0; thread < threads; ++thread) {
      const dim3 index(thread % block.x, thread / block.x % block.y, thread / block.x / block.y);
      StartThread(machine, fibers++, {index, blocks[rank], block, grid}, rank, thread);
    }
  }
  size_t running = fibers;
  while (running > 0) {
    const uint64_t before = machine.progress;
    for (size_t i = 0; i < fibers; ++i) {
      Fiber& fiber = *machine.fibers[i];
      if (!fiber.CanRun()) continue;
      ToFiber(machine, fiber);
      if (fiber.done) --running;
    }
    if (running > 0 && machine.progress == before && !RunDeferred(machine)) {
      Stop("some threads of a block wait at a barrier that the others never reach");
    }
  }
  EndCluster();
}

}  // namespace

Unwatched::Unwatched() {
#if defined(SOFTPACK_WATCH_THREADS)
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}
Unwatched::~Unwatched() {
#if defined(SOFTPACK_WATCH_THREADS)
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

[[noreturn]] void Stop(const std::string& why) {
  std::fprintf(stderr, "CUDA emulation: %s\n", why.c_str());
  std::abort();
}

const Place& CurrentPlace() { return ThisMachine().current->place; }
void* CurrentShared() { return CurrentBlock().shared; }
unsigned ClusterRank() { return ThisMachine().current->rank; }
void* ClusterShared(unsigned rank) {
  Machine& machine = ThisMachine();
  if (rank >= machine.blocks.size()) Stop("a block beyond the cluster");
  return machine.blocks[rank].shared;
}
unsigned ThreadInBlock() { return ThisMachine().current->linear; }
bool IsRunning(unsigned rank) { return ThisMachine().blocks[rank].running > 0; }
void WarpgroupBarrier() { Wait(CurrentBlock().warpgroups[ThreadInBlock() / kWarpgroup]); }
void Yield() { ToScheduler(ThisMachine()); }
void Advance() { ++ThisMachine().progress; }
void Defer(std::function<void()> work) { ThisMachine().deferred.push_back(std::move(work)); }
void ReleaseOrder(const void* order) { Release(const_cast<void*>(order)); }
void AcquireOrder(const void* order) { Acquire(const_cast<void*>(order)); }
unsigned Lane() { return ThisMachine().current->linear % kWarp; }
void BlockBarrier() { Wait(CurrentBlock().barrier); }
void WarpBarrier() { Wait(CurrentWarp().barrier); }
void ClusterBarrier() { Wait(ThisMachine().cluster_barrier); }

void WarpExchange(const void* given, void* taken, size_t bytes, unsigned from) {
  Warp& warp = CurrentWarp();
  if (bytes > kMaxExchange) Stop("an exchange of too many bytes");
  auto& table = warp.NextTable();
  CopyUnwatched(table[Lane()], given, bytes);
  Wait(warp.barrier);
  CopyUnwatched(taken, table[from], bytes);
}

void WarpMatrices(const void* row, uint32_t (&words)[4]) {
  constexpr uintptr_t kRowBytes = 16;
  Warp& warp = CurrentWarp();
  if (warp.barrier.count != kWarp) Stop("matrices for an incomplete warp");
  if (reinterpret_cast<uintptr_t>(row) % kRowBytes != 0) Stop("a row that is not aligned");
  auto& table = warp.NextTable();
  const unsigned lane = Lane();
  CopyUnwatched(table[lane], &row, sizeof row);
  Wait(warp.barrier);
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    const uint32_t* from;
    std::memcpy(&from, table[8 * matrix + lane / 4], sizeof from);
    words[matrix] = from[lane % 4];
  }
}

namespace {

// The least exact addition that the kernels' bounds allow for: of each term, multiples of 2^-22 of
// the greatest.
float CoarseSum(float before, const float (&row)[16], const float (&column)[16]) {
  float terms[17] = {before};
  for (unsigned k = 0; k < 16; ++k) terms[1 + k] = row[k] * column[k];
  float greatest = 0;
  for (const float term : terms) greatest = std::max(greatest, std::fabs(term));
  const double unit = std::ldexp(greatest, -22);
  double sum = 0;
  for (const float term : terms) {
    sum += greatest > 0 && std::isfinite(term) ? std::trunc(term / unit) * unit : term;
  }
  return static_cast<float>(sum);
}

}  // namespace

void WarpMultiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&sums)[4]) {
  constexpr int kFirstImage = 80;
  if (ImageVersion() < kFirstImage) return;
  Warp& warp = CurrentWarp();
  if (warp.barrier.count != kWarp) Stop("a product of an incomplete warp");
  auto& table = warp.NextTable();
  const unsigned lane = Lane();
  CopyUnwatched(table[lane], a, sizeof a);
  CopyUnwatched(table[lane] + sizeof a, b, sizeof b);
  Wait(warp.barrier);
  // The inverse of PlaceInA and PlaceInB: two rows of A and two columns of B, by the lanes and the
  // words that hold them.
  float rows[2][16], columns[2][16];
  const auto place = [](const char* words, unsigned word, float* low) {
    uint32_t bits;
    std::memcpy(&bits, words + word * sizeof bits, sizeof bits);
    const uint32_t halves[] = {bits << 16, bits >> 16 << 16};
    std::memcpy(low, halves, sizeof halves);
  };
  for (unsigned pair = 0; pair < 4; ++pair) {
    const char* const in_a = table[lane / 4 * 4 + pair];
    for (unsigned word = 0; word < 4; ++word) {
      place(in_a, word, &rows[word % 2][word / 2 * 8 + pair * 2]);
    }
    for (unsigned column = 0; column < 2; ++column) {
      const char* const in_b = table[(lane % 4 * 2 + column) * 4 + pair] + sizeof a;
      for (unsigned word = 0; word < 2; ++word) {
        place(in_b, word, &columns[column][word * 8 + pair * 2]);
      }
    }
  }
  if (CoarseSums()) {
    for (unsigned i = 0; i < 4; ++i) sums[i] = CoarseSum(sums[i], rows[i / 2], columns[i % 2]);
    return;
  }
  for (unsigned k = 0; k < 16; ++k) {
    for (unsigned i = 0; i < 4; ++i) sums[i] += rows[i / 2][k] * columns[i % 2][k];
  }
}

int Run(const std::function<void()>& kernel, dim3 grid, dim3 block, size_t shared,
        unsigned cluster) {
  Machine& machine = ThisMachine();
#if defined(SOFTPACK_WATCH_THREADS)
  machine.watched = __tsan_get_current_fiber();
#endif
  machine.kernel = &kernel;
  if (grid.x % cluster != 0) Stop("a grid that is no whole number of clusters");
  // Every block has its own memory, so that no order between blocks is needed or hides a race.
  // All ones: NaN as floats, large as integers.
  const size_t shared_bytes = (shared + kSharedAlignment) / kSharedAlignment * kSharedAlignment;
  const size_t blocks = size_t{grid.x} * grid.y * grid.z;
  char* const memory =
      static_cast<char*>(std::aligned_alloc(kSharedAlignment, blocks * shared_bytes));
  if (memory == nullptr) Stop("out of memory for shared memory");
  std::memset(memory, 0xff, blocks * shared_bytes);
  Release(&machine.launch_order);
  char* of_cluster = memory;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; x += cluster, of_cluster += cluster * shared_bytes) {
        std::vector<dim3> places;
        for (unsigned rank = 0; rank < cluster; ++rank) places.emplace_back(x + rank, y, z);
        RunCluster(machine, places, grid, block, of_cluster, shared_bytes);
      }
    }
  }
  Acquire(&machine.progress);
  std::free(memory);
  return 0;
}

}  // namespace softpack_emulation
