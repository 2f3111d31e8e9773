// What the parts of native_cuda_check share: the module, a count of failures, and arrays where it
// is to find them.
#ifndef SOFTPACK_TESTING_CUDA_HARNESS_H_
#define SOFTPACK_TESTING_CUDA_HARNESS_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/device_module.h"

namespace softpack {
namespace testing {

inline int failures = 0;
inline int checks = 0;
inline bool brief = false;
inline bool emulated = false;

inline void Expect(bool holds, const std::string& what) {
  ++checks;
  if (holds) return;
  if (++failures <= 50) std::fprintf(stderr, "failed: %s\n", what.c_str());
}

inline const SoftpackDeviceModule* module = nullptr;
inline const SoftpackBackend* cuda = nullptr;
inline const SoftpackBackend* cpu = nullptr;

inline std::string Reason(int status) {
  return std::string(SoftpackStatusText(status)) + ": " + module->last_error();
}

// A copy of `bytes` on the device. Without memory nothing more can be checked: ends the program.
inline void* CopyToDevice(const std::vector<uint8_t>& bytes) {
  void* memory = nullptr;
  int status = module->memory_create(bytes.size(), &memory);
  if (status == kSoftpackOk) status = module->memory_write(memory, bytes.data(), bytes.size());
  if (status == kSoftpackOk) return memory;
  Expect(false, "memory is allocated and written: " + Reason(status));
  std::printf("%d checks, %d failed, others not made\n", checks, failures);
  std::exit(1);
}

// An array for the module: the host's own, or a copy on the device. `guard` bytes of poison follow
// and must be unchanged when it is read back.
template <class T>
class Array {
 public:
  static constexpr uint64_t kGuard = 64;

  Array(const std::vector<T>& values, bool on_device) : host_(values), on_device_(on_device) {
    const uint64_t bytes = host_.size() * sizeof(T);
    bytes_.assign(bytes + kGuard, 0xaa);
    if (bytes > 0) std::memcpy(bytes_.data(), host_.data(), bytes);
    if (on_device) device_ = CopyToDevice(bytes_);
  }
  ~Array() { module->memory_destroy(device_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* get() { return static_cast<T*>(on_device_ ? device_ : bytes_.data()); }

  std::vector<T> Read() {
    if (on_device_) {
      Expect(module->memory_read(device_, bytes_.data(), bytes_.size()) == kSoftpackOk,
             "memory is read");
    }
    const uint64_t bytes = host_.size() * sizeof(T);
    const bool intact = std::all_of(bytes_.begin() + static_cast<std::ptrdiff_t>(bytes),
                                    bytes_.end(), [](uint8_t byte) { return byte == 0xaa; });
    Expect(intact, "nothing is written beyond an array");
    if (bytes > 0) std::memcpy(host_.data(), bytes_.data(), bytes);
    return host_;
  }

 private:
  std::vector<T> host_;
  std::vector<uint8_t> bytes_;
  bool on_device_;
  void* device_ = nullptr;
};

// Memory of exactly these bytes, for what is read beyond its end.
class ExactBytes {
 public:
  explicit ExactBytes(const std::vector<uint8_t>& bytes) : memory_(CopyToDevice(bytes)) {}
  ~ExactBytes() { module->memory_destroy(memory_); }
  ExactBytes(const ExactBytes&) = delete;
  ExactBytes& operator=(const ExactBytes&) = delete;
  const uint8_t* get() const { return static_cast<const uint8_t*>(memory_); }

 private:
  void* memory_;
};

template <class T>
std::vector<T> Poisoned(uint64_t count) {
  std::vector<T> values(count);
  if (count > 0) std::memset(values.data(), 0xff, count * sizeof(T));
  return values;
}

template <class T>
bool Same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_HARNESS_H_
