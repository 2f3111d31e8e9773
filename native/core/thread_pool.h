// One pool of threads for the whole process, whatever the number of JavaScript environments and
// callers.
//
// A caller always works on its own job and never waits for a free thread, so jobs of several
// callers, and jobs started from inside a job, cannot block each other. Threads sleep between jobs.
// They are created on first use, never joined and never destroyed: at process exit they are
// asleep and own nothing.
#ifndef SOFTPACK_CORE_THREAD_POOL_H_
#define SOFTPACK_CORE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>

#include "core/guard.h"
#include "core/status.h"

namespace softpack {

// Processors that this process may run on; at least 1.
uint32_t ProcessorCount();

// `threads`, or the number of processors where it is 0.
inline uint32_t ResolveThreads(uint32_t threads) {
  return threads == 0 ? ProcessorCount() : threads;
}

using TaskFunction = void (*)(void* context, uint64_t task);

// Calls run(context, task) once for each task in [0, tasks), on the caller and at most `threads` -
// 1 helpers (0: all processors), and returns when all are done. Tasks start in ascending order.
// `run` must not throw, and neither does this.
void RunTasks(uint32_t threads, uint64_t tasks, TaskFunction run, void* context) noexcept;

// RunTasks for a callable `int task(uint64_t)`: the status of the task that failed first, or
// kSoftpackOk. A task that throws has failed too. Tasks that have not started by then are skipped.
template <class Task>
int ParallelFor(uint32_t threads, uint64_t tasks, const Task& task) {
  struct Context {
    const Task& task;
    std::atomic<int> status;
  } context{task, {kSoftpackOk}};
  const TaskFunction run = [](void* opaque, uint64_t index) {
    auto& shared = *static_cast<Context*>(opaque);
    if (shared.status.load(std::memory_order_relaxed) != kSoftpackOk) return;
    const int status = Guarded([&] { return shared.task(index); });
    int expected = kSoftpackOk;
    if (status != kSoftpackOk) shared.status.compare_exchange_strong(expected, status);
  };
  RunTasks(threads, tasks, run, &context);
  return context.status.load();
}

}  // namespace softpack

#endif  // SOFTPACK_CORE_THREAD_POOL_H_
