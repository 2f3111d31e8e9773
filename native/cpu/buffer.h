// Uninitialised arrays of kernels: aligned to a cache line, and null instead of an exception if
// allocation fails.
#ifndef SOFTPACK_CPU_BUFFER_H_
#define SOFTPACK_CPU_BUFFER_H_

#include <cstdint>
#include <limits>
#include <new>

namespace softpack {

// Asks for huge pages if the system has them: random reads of a large table miss the TLB
// otherwise.
void AdviseHugePages(void* data, uint64_t bytes);

// The same for the caller's memory that is about to be written, if it is large: fresh memory
// is mapped a page at a time as it is first touched, which can take longer than filling it.
void AdviseLargeOutput(void* data, uint64_t bytes);

// Bytes that all buffers of the process hold.
uint64_t BufferBytes();

// Adds to BufferBytes(), negative numbers too.
void CountBufferBytes(int64_t change);

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(uint64_t length) { Allocate(length); }
  ~Buffer() { Free(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Returns false, and is empty, if allocation fails.
  bool Allocate(uint64_t length) {
    Free();
    if (length > std::numeric_limits<uint64_t>::max() / 2 / sizeof(T)) return false;
    const uint64_t bytes = length == 0 ? sizeof(T) : length * sizeof(T);
    // Large buffers start on a huge page, so that all of one can be backed by huge pages.
    alignment_ = std::align_val_t{bytes >= kHugePage ? kHugePage : kCacheLine};
    data_ = static_cast<T*>(::operator new(bytes, alignment_, std::nothrow));
    bytes_ = data_ == nullptr ? 0 : bytes;
    CountBufferBytes(static_cast<int64_t>(bytes_));
    if (bytes_ >= kHugePage) AdviseHugePages(data_, bytes_);
    return data_ != nullptr;
  }

  // At least `length` elements, in memory that is kept from one use to the next.
  bool Reserve(uint64_t length) {
    return (data_ != nullptr && bytes_ / sizeof(T) >= length) || Allocate(length);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }
  uint64_t bytes() const { return bytes_; }

 private:
  static constexpr uint64_t kCacheLine = 64;
  static constexpr uint64_t kHugePage = uint64_t{2} << 20;

  void Free() {
    if (data_ != nullptr) ::operator delete(data_, alignment_);
    CountBufferBytes(-static_cast<int64_t>(bytes_));
    data_ = nullptr;
    bytes_ = 0;
  }

  T* data_ = nullptr;
  uint64_t bytes_ = 0;
  std::align_val_t alignment_{kCacheLine};
};

template <class... Elements>
uint64_t BytesOf(const Buffer<Elements>&... buffers) {
  return (uint64_t{0} + ... + buffers.bytes());
}

}  // namespace softpack

#endif  // SOFTPACK_CPU_BUFFER_H_
