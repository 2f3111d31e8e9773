// Working memory that outlives a call: the next one finds it allocated and its pages mapped. Holds
// as many pieces as tasks ever ran at once.
#ifndef SOFTPACK_CPU_SCRATCH_POOL_H_
#define SOFTPACK_CPU_SCRATCH_POOL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

namespace softpack {

// T::bytes() tells what a piece holds.
template <class T>
class ScratchPool {
 public:
  ScratchPool() = default;
  ~ScratchPool() {
    for (std::atomic<T*>& place : places_) delete place.load();
  }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  // Bytes of the pieces that are not in use.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  // Back in the pool at the end of its scope.
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.Take()) {}
    ~Lease() {
      if (scratch_ != nullptr) pool_.Return(scratch_);
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    // nullptr if allocation failed.
    T* get() const { return scratch_; }

   private:
    ScratchPool& pool_;
    T* const scratch_;
  };

 private:
  T* Take() {
    for (std::atomic<T*>& place : places_) {
      if (T* const found = place.exchange(nullptr)) {
        bytes_.fetch_sub(found->bytes(), std::memory_order_relaxed);
        return found;
      }
    }
    return new (std::nothrow) T;
  }

  void Return(T* scratch) {
    // Counted first: once it is back another thread may take it.
    const uint64_t bytes = scratch->bytes();
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    for (std::atomic<T*>& place : places_) {
      T* empty = nullptr;
      if (place.compare_exchange_strong(empty, scratch)) return;
    }
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    delete scratch;  // more tasks at once than places: the next one allocates again
  }

  std::atomic<T*> places_[64] = {};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_SCRATCH_POOL_H_
