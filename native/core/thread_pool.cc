#include "core/thread_pool.h"

#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

namespace softpack {
namespace {

// A bound on what callers can ask for; beyond it helpers are simply fewer.
constexpr uint32_t kMaxHelpers = 255;

// Lives on the caller's stack while it is queued or has helpers.
struct Job {
  TaskFunction run;
  void* context;
  uint64_t tasks;
  std::atomic<uint64_t> next{0};
  // The rest is guarded by Pool::mutex_.
  uint32_t helpers_wanted = 0;
  uint32_t helpers_active = 0;
  bool queued = false;
  Job* next_in_queue = nullptr;
  std::condition_variable idle{};

  void Work() {
    for (uint64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      run(context, task);
    }
  }
};

class Pool {
 public:
  // Never destroyed: helpers may outlive every static object.
  static Pool* Get() {
    static Pool* const pool = new (std::nothrow) Pool;
    return pool;
  }

  void Run(Job* job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      Grow(job->helpers_wanted);
      Enqueue(job);
    }
    work_.notify_all();
    job->Work();
    std::unique_lock<std::mutex> lock(mutex_);
    if (job->queued) Dequeue(job);
    job->idle.wait(lock, [job] { return job->helpers_active == 0; });
  }

 private:
  void Grow(uint32_t wanted) {
    if (wanted > kMaxHelpers) wanted = kMaxHelpers;
    try {
      for (; helpers_ < wanted; ++helpers_) std::thread([this] { Help(); }).detach();
    } catch (...) {
      // No more threads, or no memory for one: continue with fewer helpers.
    }
  }

  void Enqueue(Job* job) {
    job->queued = true;
    Job** end = &queue_;
    while (*end != nullptr) end = &(*end)->next_in_queue;
    *end = job;
  }

  void Dequeue(Job* job) {
    Job** link = &queue_;
    while (*link != job) link = &(*link)->next_in_queue;
    *link = job->next_in_queue;
    job->queued = false;
  }

  [[noreturn]] void Help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return queue_ != nullptr; });
      Job* const job = queue_;
      ++job->helpers_active;
      if (--job->helpers_wanted == 0) Dequeue(job);
      lock.unlock();
      job->Work();
      lock.lock();
      // All tasks are taken, so no further helper need join.
      if (job->queued) Dequeue(job);
      if (--job->helpers_active == 0) job->idle.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  Job* queue_ = nullptr;
  uint32_t helpers_ = 0;
};

}  // namespace

uint32_t ProcessorCount() {
  // Asking the system takes some 10 us, longer than a label.
  static const uint32_t count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : count;
}

void RunTasks(uint32_t threads, uint64_t tasks, TaskFunction run, void* context) noexcept {
  const uint64_t useful = tasks < ResolveThreads(threads) ? tasks : ResolveThreads(threads);
  Pool* const pool = useful > 1 ? Pool::Get() : nullptr;
  if (pool == nullptr) {
    for (uint64_t task = 0; task < tasks; ++task) run(context, task);
    return;
  }
  Job job{run, context, tasks};
  job.helpers_wanted = static_cast<uint32_t>(useful - 1);
  pool->Run(&job);
}

}  // namespace softpack
