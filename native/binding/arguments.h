// Reads the arguments of a native method. TypeScript has already checked them with better messages;
// these checks keep a wrong call from touching other memory. Each throws a TypeError that names the
// argument.
#ifndef SOFTPACK_BINDING_ARGUMENTS_H_
#define SOFTPACK_BINDING_ARGUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "binding/napi_setup.h"
#include "core/backend.h"

namespace softpack {

template <class T>
struct Span {
  T* data;
  uint64_t length;
};

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  // Data pointers come from the view itself, never from its buffer: right for views with an offset
  // and for shared buffers, on every supported Node.js.
  Span<float> Floats(size_t index, const char* name);
  Span<double> Doubles(size_t index, const char* name);
  Span<uint8_t> Bytes(size_t index, const char* name);
  Span<int8_t> SignedBytes(size_t index, const char* name);
  Span<uint16_t> Words(size_t index, const char* name);
  Span<int16_t> Shorts(size_t index, const char* name);
  Span<uint32_t> DoubleWords(size_t index, const char* name);
  Span<int32_t> Integers(size_t index, const char* name);
  std::vector<Span<uint8_t>> ByteArrays(size_t index, const char* name);

  // Arrays of exactly `length` elements.
  float* Floats(size_t index, const char* name, uint64_t length);
  uint16_t* Words(size_t index, const char* name, uint64_t length);
  // An output of a SoftpackDtype, in the array that OUTPUT_ARRAYS of src/core/dtypes.ts names.
  void* Output(size_t index, const char* name, uint32_t dtype, uint64_t length);

  Napi::Value Value(size_t index) const { return info_[index]; }
  bool IsNull(size_t index) const { return info_[index].IsNull(); }

  uint64_t Size(size_t index, const char* name, uint64_t least = 0) const;
  uint32_t Small(size_t index, const char* name, uint32_t least, uint32_t most) const;
  float Float(size_t index, const char* name) const;
  double Double(size_t index, const char* name) const;
  bool Flag(size_t index, const char* name) const;
  uint32_t Threads(size_t index) const;
  // Codewords of `width` floats in `codebook`: 1 to `most`.
  uint64_t Levels(const Span<float>& codebook, uint64_t width, uint64_t most) const;

  // Every array read so far; an asynchronous call must keep them alive.
  const std::vector<Napi::Value>& arrays() const { return arrays_; }
  Napi::Env Env() const { return info_.Env(); }
  // The backend that the method belongs to (DefineOperations in addon.cc).
  const SoftpackBackend* backend() const {
    return static_cast<const SoftpackBackend*>(info_.Data());
  }

  // Throws an Error that carries the status.
  [[noreturn]] void Fail(int status) const;
  [[noreturn]] void Refuse(const char* name, const std::string& expected) const;
  uint64_t Product(const char* name, uint64_t a, uint64_t b) const;

 private:
  template <class T>
  Span<T> Array(const Napi::Value& value, const char* name, napi_typedarray_type type,
                const char* expected);

  const Napi::CallbackInfo& info_;
  std::vector<Napi::Value> arrays_;
};

}  // namespace softpack

#endif  // SOFTPACK_BINDING_ARGUMENTS_H_
