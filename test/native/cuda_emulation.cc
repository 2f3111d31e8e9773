#include "cuda_emulation.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// This file is built without sanitizers; it reports its fibers to them if the rest is built with
// one.
#if defined(SOFTPACK_WATCH_THREADS)
#include <sanitizer/tsan_interface.h>
#elif defined(SOFTPACK_WATCH_ADDRESSES)
#include <sanitizer/common_interface_defs.h>
#endif

namespace softpack_emulation {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr unsigned kWarp = 32;
constexpr unsigned kMaxExchange = 64;

[[noreturn]] void Stop(const std::string& why) {
  std::fprintf(stderr, "CUDA emulation: %s\n", why.c_str());
  std::abort();
}

#if defined(__x86_64__)

// Saves the registers that a call preserves on the current stack and goes on with another one: a
// few nanoseconds, where swapcontext makes two system calls.
extern "C" void SoftpackSwitchStack(void** save, void* load);
asm(R"(
.text
.globl SoftpackSwitchStack
.type SoftpackSwitchStack,@function
SoftpackSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size SoftpackSwitchStack,.-SoftpackSwitchStack
)");

struct Context {
  void* stack_pointer = nullptr;
};

void Prepare(Context& context, char* stack, void (*entry)()) {
  auto* top = reinterpret_cast<void**>(stack + kStackBytes);
  *--top = nullptr;  // where entry would return to; keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
}

void Switch(Context& from, Context& to) {
  SoftpackSwitchStack(&from.stack_pointer, to.stack_pointer);
}

#else

struct Context {
  ucontext_t context;
};

void Prepare(Context& context, char* stack, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = kStackBytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

void Switch(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

#endif

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
  char* shared = nullptr;
};

struct Fiber {
  Context context;
  std::unique_ptr<char[]> stack;
  Place place;
  unsigned rank = 0;    // of the block in its cluster
  unsigned linear = 0;  // thread in the block
  bool done = true;
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
    while (barrier.generation == generation) ToScheduler(machine);
  }
  Acquire(&barrier);
}

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
    state.barrier.count = threads;
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
      if (fiber.done) continue;
      ToFiber(machine, fiber);
      if (fiber.done) --running;
    }
    if (running > 0 && machine.progress == before) {
      Stop("some threads of a block wait at a barrier that the others never reach");
    }
  }
}

}  // namespace

const Place& CurrentPlace() { return ThisMachine().current->place; }
void* CurrentShared() { return CurrentBlock().shared; }
unsigned ClusterRank() { return ThisMachine().current->rank; }
void* ClusterShared(unsigned rank) {
  Machine& machine = ThisMachine();
  if (rank >= machine.blocks.size()) Stop("a block beyond the cluster");
  return machine.blocks[rank].shared;
}
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
  // The inverse of PlaceInA and PlaceInB: the lane and the word that hold an element.
  const auto element = [](const char* words, unsigned word, unsigned k) {
    uint32_t bits;
    std::memcpy(&bits, words + word * sizeof bits, sizeof bits);
    bits = bits >> 16 * (k % 2) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    float sum = sums[i];
    for (unsigned k = 0; k < 16; ++k) {
      const char* const in_a = table[row % 8 * 4 + k % 8 / 2];
      const char* const in_b = table[column * 4 + k % 8 / 2] + sizeof a;
      sum += element(in_a, row / 8 + k / 8 * 2, k) * element(in_b, k / 8, k);
    }
    sums[i] = sum;
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
  const size_t shared_bytes = (shared + 128) / 128 * 128;
  const size_t blocks = size_t{grid.x} * grid.y * grid.z;
  char* const memory = static_cast<char*>(std::aligned_alloc(128, blocks * shared_bytes));
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

namespace {

// ---- Memory and faults ------------------------------------------------------------------------

std::mutex memory_mutex;
struct Allocation {
  size_t bytes;
  cudaMemoryType type;
  int device;
};
std::map<const char*, Allocation> memory;     // by its end
std::map<const void*, size_t> shared_limits;  // of kernels that were given one
thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

constexpr int kDevices = 2;
constexpr size_t kSharedWithoutAsking = 48 << 10;

struct Faults {
  bool absent = false;
  int capability = 90;
  int image = 90;
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
  return cudaSuccess;
}

// A limit that is lowered breaks a launch of another thread that needs the higher one.
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (const cudaError_t error = CheckedInContext(); error != cudaSuccess) return error;
  const std::lock_guard<std::mutex> lock(softpack_emulation::fault_mutex);
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
  }
  const bool fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y < 65536 && grid.z < 65536 &&
                    block.x * block.y * block.z <= 1024;
  if (!fits) return softpack_emulation::last_error = cudaErrorInvalidValue;
  softpack_emulation::Run(kernel, grid, block, shared, cluster);
  return cudaSuccess;
}
