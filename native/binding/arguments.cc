#include "binding/arguments.h"

#include <cmath>

#include "core/status.h"

namespace softpack {
namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

bool HasType(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

}  // namespace

template <class T>
Span<T> Arguments::Array(const Napi::Value& value, const char* name, napi_typedarray_type type,
                         const char* expected) {
  if (!HasType(value, type)) Refuse(name, expected);
  size_t length = 0;
  void* data = nullptr;
  const napi_status status =
      napi_get_typedarray_info(Env(), value, nullptr, &length, &data, nullptr, nullptr);
  if (status != napi_ok) throw Napi::Error::New(Env());
  arrays_.push_back(value);
  return {static_cast<T*>(data), length};
}

Span<float> Arguments::Floats(size_t index, const char* name) {
  return Array<float>(info_[index], name, napi_float32_array, "a Float32Array");
}

Span<double> Arguments::Doubles(size_t index, const char* name) {
  return Array<double>(info_[index], name, napi_float64_array, "a Float64Array");
}

Span<uint8_t> Arguments::Bytes(size_t index, const char* name) {
  return Array<uint8_t>(info_[index], name, napi_uint8_array, "a Uint8Array");
}

Span<int8_t> Arguments::SignedBytes(size_t index, const char* name) {
  return Array<int8_t>(info_[index], name, napi_int8_array, "an Int8Array");
}

Span<uint16_t> Arguments::Words(size_t index, const char* name) {
  return Array<uint16_t>(info_[index], name, napi_uint16_array, "a Uint16Array");
}

Span<int16_t> Arguments::Shorts(size_t index, const char* name) {
  return Array<int16_t>(info_[index], name, napi_int16_array, "an Int16Array");
}

Span<uint32_t> Arguments::DoubleWords(size_t index, const char* name) {
  return Array<uint32_t>(info_[index], name, napi_uint32_array, "a Uint32Array");
}

Span<int32_t> Arguments::Integers(size_t index, const char* name) {
  return Array<int32_t>(info_[index], name, napi_int32_array, "an Int32Array");
}

std::vector<Span<uint8_t>> Arguments::ByteArrays(size_t index, const char* name) {
  if (!info_[index].IsArray()) Refuse(name, "an array");
  const Napi::Array list = info_[index].As<Napi::Array>();
  // Elements first, pointers after: a getter of the list may take memory away.
  std::vector<Napi::Value> elements;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    elements.push_back(list.Get(i));
    if (!HasType(elements.back(), napi_uint8_array)) Refuse(name, "Uint8Arrays");
  }
  std::vector<Span<uint8_t>> arrays;
  for (const Napi::Value& element : elements) {
    arrays.push_back(Array<uint8_t>(element, name, napi_uint8_array, "Uint8Arrays"));
  }
  return arrays;
}

float* Arguments::Floats(size_t index, const char* name, uint64_t length) {
  const Span<float> span = Floats(index, name);
  if (span.length != length) Refuse(name, std::to_string(length) + " elements");
  return span.data;
}

uint16_t* Arguments::Words(size_t index, const char* name, uint64_t length) {
  const Span<uint16_t> span = Words(index, name);
  if (span.length != length) Refuse(name, std::to_string(length) + " elements");
  return span.data;
}

void* Arguments::Output(size_t index, const char* name, uint32_t dtype, uint64_t length) {
  if (dtype == kSoftpackFloat32) return Floats(index, name, length);
  return Words(index, name, length);
}

uint64_t Arguments::Size(size_t index, const char* name, uint64_t least) const {
  const Napi::Value value = info_[index];
  const double size = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  const bool whole = size >= 0 && size <= kMaxSafeInteger && std::floor(size) == size;
  if (!whole || size < static_cast<double>(least)) {
    Refuse(name, "an integer >= " + std::to_string(least));
  }
  return static_cast<uint64_t>(size);
}

uint32_t Arguments::Small(size_t index, const char* name, uint32_t least, uint32_t most) const {
  const uint64_t value = Size(index, name, least);
  if (value > most) Refuse(name, "at most " + std::to_string(most));
  return static_cast<uint32_t>(value);
}

float Arguments::Float(size_t index, const char* name) const {
  return static_cast<float>(Double(index, name));
}

double Arguments::Double(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (!value.IsNumber()) Refuse(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

bool Arguments::Flag(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (!value.IsBoolean()) Refuse(name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

uint32_t Arguments::Threads(size_t index) const { return Small(index, "threads", 0, 256); }

uint64_t Arguments::Levels(const Span<float>& codebook, uint64_t width, uint64_t most) const {
  const uint64_t levels = codebook.length / width;
  if (codebook.length % width != 0 || levels < 1 || levels > most) {
    Refuse("codebook", "1 to " + std::to_string(most) + " whole codewords");
  }
  return levels;
}

void Arguments::Fail(int status) const {
  Napi::Error error = Napi::Error::New(Env(), SoftpackStatusText(status));
  error.Set("status", Napi::Number::New(Env(), status));
  throw error;
}

void Arguments::Refuse(const char* name, const std::string& expected) const {
  throw Napi::TypeError::New(Env(), std::string(name) + ": expected " + expected);
}

uint64_t Arguments::Product(const char* name, uint64_t a, uint64_t b) const {
  if (b != 0 && a > UINT64_MAX / b) Refuse(name, "a size that fits in memory");
  return a * b;
}

}  // namespace softpack
