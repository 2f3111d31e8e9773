// Fields of bits of token labels, and the numbers of a set that bound one another. Every
// instruction set compiles the reading of them, so all of it is inlined.
#ifndef SOFTPACK_CPU_TOKEN_BITS_H_
#define SOFTPACK_CPU_TOKEN_BITS_H_

#include <cstdint>

#include "cpu/target.h"

#ifdef _MSC_VER
#include <intrin.h>
#endif

namespace softpack {

SOFTPACK_INLINE uint32_t FloorLog2(uint64_t value) {
#ifdef _MSC_VER
  unsigned long index;
  _BitScanReverse64(&index, value);
  return index;
#else
  return 63u - static_cast<uint32_t>(__builtin_clzll(value));
#endif
}

// Reads fields; behind the end of the bytes there are zeros. Bytes are read
// once each time, so other threads that change them change values only.
class TokenBits {
 public:
  TokenBits() = default;
  TokenBits(const uint8_t* bytes, uint64_t length, uint64_t position)
      : bytes_(bytes), length_(length), position_(position) {}

  SOFTPACK_MEMBER_INLINE bool beyond_end() const { return position_ > 8 * length_; }

  // At most 57 bits.
  SOFTPACK_MEMBER_INLINE uint32_t Read(uint32_t bits) {
    const uint64_t value = Peek() & ((uint64_t{1} << bits) - 1);
    position_ += bits;
    return static_cast<uint32_t>(value);
  }

  // A number below `range`, which is at least 1 and at most 2^32.
  SOFTPACK_MEMBER_INLINE uint32_t ReadBelow(uint64_t range) {
    const uint32_t bits = FloorLog2(range);
    const uint64_t short_ones = (uint64_t{2} << bits) - range;
    const uint64_t ahead = Peek();
    const uint64_t first = ahead & ((uint64_t{1} << bits) - 1);
    // All ones if one more bit follows, in numbers instead of a branch that
    // nothing predicts.
    const uint64_t longer = 0 - static_cast<uint64_t>(first >= short_ones);
    position_ += bits + (longer & 1);
    return static_cast<uint32_t>(first + (longer & (first + (ahead >> bits & 1) - short_ones)));
  }

 private:
  SOFTPACK_MEMBER_INLINE uint64_t Peek() const {
    const uint64_t byte = position_ / 8;
    if (length_ < 8 || byte > length_ - 8) return PeekEnd(byte) >> position_ % 8;
    const uint8_t* const at = bytes_ + byte;
    const uint64_t low = static_cast<uint64_t>(at[0]) | static_cast<uint64_t>(at[1]) << 8 |
                         static_cast<uint64_t>(at[2]) << 16 | static_cast<uint64_t>(at[3]) << 24 |
                         static_cast<uint64_t>(at[4]) << 32 | static_cast<uint64_t>(at[5]) << 40 |
                         static_cast<uint64_t>(at[6]) << 48 | static_cast<uint64_t>(at[7]) << 56;
    return low >> position_ % 8;
  }

  uint64_t PeekEnd(uint64_t byte) const {
    uint64_t value = 0;
    for (uint32_t i = 0; i < 8 && byte + i < length_; ++i) {
      value |= static_cast<uint64_t>(bytes_[byte + i]) << 8 * i;
    }
    return value;
  }

  const uint8_t* bytes_ = nullptr;
  uint64_t length_ = 0;
  uint64_t position_ = 0;
};

// A number of a set and the ones that bound it, as places from 1 on; 0 and
// count + 1 stand for the bounds of all.
struct TokenNode {
  uint16_t at;
  uint16_t left;
  uint16_t right;
};

}  // namespace softpack

#endif  // SOFTPACK_CPU_TOKEN_BITS_H_
