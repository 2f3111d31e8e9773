// Working memory that outlives a call: the next one finds it allocated and its pages mapped. Holds
// as many pieces as tasks ever ran at once.
#ifndef SOFTPACK_CPU_SCRATCH_POOL_H_
#define SOFTPACK_CPU_SCRATCH_POOL_H_

#include <atomic>
#include <memory>
#include <new>

namespace softpack {

template <class T>
class ScratchPool {
 public:
  ScratchPool() = default;
  ~ScratchPool() {
    for (std::atomic<T*>& place : places_) delete place.load();
  }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  // Back in the pool at the end of its scope.
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.Take()) {}
    ~Lease() {
      if (scratch_ != nullptr) pool_.Return(scratch_);
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    // Null when memory is out.
    T* get() const { return scratch_; }

   private:
    ScratchPool& pool_;
    T* const scratch_;
  };

 private:
  T* Take() {
    for (std::atomic<T*>& place : places_) {
      if (T* const found = place.exchange(nullptr)) return found;
    }
    return new (std::nothrow) T;
  }

  void Return(T* scratch) {
    for (std::atomic<T*>& place : places_) {
      T* empty = nullptr;
      if (place.compare_exchange_strong(empty, scratch)) return;
    }
    delete scratch;  // more tasks at once than places: this one is made anew next time
  }

  std::atomic<T*> places_[64] = {};
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_SCRATCH_POOL_H_
