// Elements of rows in memory as float32, float16 or bfloat16. Labels and gradients have the CPU's
// bytes: the hardware rounds as the CPU does but knows one NaN, where the CPU keeps the payload.
#ifndef SOFTPACK_CUDA_ELEMENT_H_
#define SOFTPACK_CUDA_ELEMENT_H_

#include "core/dtypes.h"
#include "core/half.h"
#include "core/scalar_math.h"
#include "cuda/platform.h"

namespace softpack {

#ifdef SOFTPACK_CUDA_EMULATION

// What the instructions below give.
inline uint32_t RoundToHalves(float low, float high) {
  const auto half = [](float value) { return value == value ? FloatToHalf(value) : 0x7fffu; };
  return half(low) | half(high) << 16;
}
inline uint32_t RoundToBfloats(float low, float high) {
  const auto bfloat = [](float value) {
    return value == value ? scalar::FloatToBfloat(value) : 0x7fffu;
  };
  return bfloat(low) | bfloat(high) << 16;
}
inline float OfHalf(uint16_t half) { return HalfToFloat(half); }

#else

__device__ __forceinline__ uint32_t RoundToHalves(float low, float high) {
  uint32_t pair = 0;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#else
  asm("{ .reg .f16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {b, a}; }"
      : "=r"(pair)
      : "f"(high), "f"(low));
#endif
  return pair;
}
__device__ __forceinline__ uint32_t RoundToBfloats(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return scalar::FloatToBfloat(low) | static_cast<uint32_t>(scalar::FloatToBfloat(high)) << 16;
#endif
}
__device__ __forceinline__ float OfHalf(uint16_t half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}

#endif

// Each kind of element: a type in memory, two of them as one word, one of them as a float.
struct FloatElement {
  using Type = float;
  static __device__ __forceinline__ float Load(const void* from, uint64_t at) {
    return static_cast<const float*>(from)[at];
  }
  static __device__ __forceinline__ void Store(void* to, uint64_t at, float value) {
    static_cast<float*>(to)[at] = value;
  }
  // `at` is even, and `to` of StoreFour aligned to four elements, here and below.
  static __device__ __forceinline__ void StoreTwo(void* to, uint64_t at, float low, float high) {
    *reinterpret_cast<float2*>(static_cast<float*>(to) + at) = make_float2(low, high);
  }
  static __device__ __forceinline__ void StoreFour(float* to, const float (&four)[4]) {
    *reinterpret_cast<float4*>(to) = {four[0], four[1], four[2], four[3]};
  }
  // That nobody here reads again.
  static __device__ __forceinline__ void StreamFour(float* to, const float (&four)[4]) {
    __stcs(reinterpret_cast<float4*>(to), float4{four[0], four[1], four[2], four[3]});
  }
  // Four elements as they lie in memory, which may still be on their way; from L2, and for the last
  // time.
  using Four = uint4;
  static __device__ __forceinline__ Four LoadFour(const float* from) {
    return __ldcg(reinterpret_cast<const uint4*>(from));
  }
  static __device__ __forceinline__ Four LastFour(const float* from) {
    return __ldcs(reinterpret_cast<const uint4*>(from));
  }
  static __device__ __forceinline__ Four JoinFour(const float (&four)[4]) {
    return {scalar::BitsOf(four[0]), scalar::BitsOf(four[1]), scalar::BitsOf(four[2]),
            scalar::BitsOf(four[3])};
  }
  static __device__ __forceinline__ void SplitFour(const Four& four, float (&values)[4]) {
    values[0] = scalar::FloatOf(four.x);
    values[1] = scalar::FloatOf(four.y);
    values[2] = scalar::FloatOf(four.z);
    values[3] = scalar::FloatOf(four.w);
  }
};

// Four elements of 16 bits each at a time.
struct WordElement {
  using Type = uint16_t;
  using Four = uint2;
  static __device__ __forceinline__ Four LoadFour(const uint16_t* from) {
    return __ldcg(reinterpret_cast<const uint2*>(from));
  }
  static __device__ __forceinline__ Four LastFour(const uint16_t* from) {
    return __ldcs(reinterpret_cast<const uint2*>(from));
  }
  static __device__ __forceinline__ Four JoinFour(const uint16_t (&four)[4]) {
    return {four[0] | static_cast<uint32_t>(four[1]) << 16, four[2] | static_cast<uint32_t>(four[3])
                                                                          << 16};
  }
};

struct HalfElement : WordElement {
  static __device__ __forceinline__ uint32_t Pair(float low, float high) {
    uint32_t pair = RoundToHalves(low, high);
    if (low != low) pair = (pair & 0xffff0000u) | NanToHalf(low);
    if (high != high) pair = (pair & 0xffffu) | static_cast<uint32_t>(NanToHalf(high)) << 16;
    return pair;
  }
  static __device__ __forceinline__ float Load(const void* from, uint64_t at) {
    return OfHalf(static_cast<const uint16_t*>(from)[at]);
  }
  static __device__ __forceinline__ void Store(void* to, uint64_t at, float value) {
    static_cast<uint16_t*>(to)[at] = static_cast<uint16_t>(
        value == value ? RoundToHalves(value, 0.0f) & 0xffffu : NanToHalf(value));
  }
  static __device__ __forceinline__ void StoreTwo(void* to, uint64_t at, float low, float high) {
    *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(to) + at) = Pair(low, high);
  }
  static __device__ __forceinline__ void StoreFour(uint16_t* to, const float (&four)[4]) {
    *reinterpret_cast<uint2*>(to) = {Pair(four[0], four[1]), Pair(four[2], four[3])};
  }
  static __device__ __forceinline__ void StreamFour(uint16_t* to, const float (&four)[4]) {
    __stcs(reinterpret_cast<uint2*>(to), uint2{Pair(four[0], four[1]), Pair(four[2], four[3])});
  }
  static __device__ __forceinline__ void SplitFour(const Four& four, float (&values)[4]) {
    values[0] = OfHalf(static_cast<uint16_t>(four.x));
    values[1] = OfHalf(static_cast<uint16_t>(four.x >> 16));
    values[2] = OfHalf(static_cast<uint16_t>(four.y));
    values[3] = OfHalf(static_cast<uint16_t>(four.y >> 16));
  }
};

struct BfloatElement : WordElement {
  static __device__ __forceinline__ uint32_t Pair(float low, float high) {
    uint32_t pair = RoundToBfloats(low, high);
    if (low != low) pair = (pair & 0xffff0000u) | scalar::FloatToBfloat(low);
    if (high != high) {
      pair = (pair & 0xffffu) | static_cast<uint32_t>(scalar::FloatToBfloat(high)) << 16;
    }
    return pair;
  }
  static __device__ __forceinline__ float Load(const void* from, uint64_t at) {
    return scalar::FloatOf(static_cast<uint32_t>(static_cast<const uint16_t*>(from)[at]) << 16);
  }
  static __device__ __forceinline__ void Store(void* to, uint64_t at, float value) {
    static_cast<uint16_t*>(to)[at] = static_cast<uint16_t>(
        value == value ? RoundToBfloats(value, 0.0f) & 0xffffu : scalar::FloatToBfloat(value));
  }
  static __device__ __forceinline__ void StoreTwo(void* to, uint64_t at, float low, float high) {
    *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(to) + at) = Pair(low, high);
  }
  static __device__ __forceinline__ void StoreFour(uint16_t* to, const float (&four)[4]) {
    *reinterpret_cast<uint2*>(to) = {Pair(four[0], four[1]), Pair(four[2], four[3])};
  }
  static __device__ __forceinline__ void StreamFour(uint16_t* to, const float (&four)[4]) {
    __stcs(reinterpret_cast<uint2*>(to), uint2{Pair(four[0], four[1]), Pair(four[2], four[3])});
  }
  static __device__ __forceinline__ void SplitFour(const Four& four, float (&values)[4]) {
    values[0] = scalar::FloatOf(four.x << 16);
    values[1] = scalar::FloatOf(four.x & 0xffff0000u);
    values[2] = scalar::FloatOf(four.y << 16);
    values[3] = scalar::FloatOf(four.y & 0xffff0000u);
  }
};

// Calls `use` with the element of a SoftpackDtype: one branch around a loop, none inside it.
template <class Function>
__device__ __forceinline__ void WithElement(uint32_t type, const Function& use) {
  if (type == kSoftpackFloat32)
    use(FloatElement());
  else if (type == kSoftpackFloat16)
    use(HalfElement());
  else
    use(BfloatElement());
}

}  // namespace softpack

#endif  // SOFTPACK_CUDA_ELEMENT_H_
