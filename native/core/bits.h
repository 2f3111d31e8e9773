// Packed indices: `bits` bits each (1 to 16), least significant bit first, one after the other with
// no padding, starting at any bit of a byte buffer. Only bytes that hold one of these bits are
// touched. Plain functions, fit for host and device.
#ifndef SOFTPACK_CORE_BITS_H_
#define SOFTPACK_CORE_BITS_H_

#include <stdint.h>

#include "core/host_device.h"

namespace softpack {

SOFTPACK_HOST_DEVICE inline uint16_t ReadIndex(const uint8_t* bytes, uint64_t bit, uint32_t bits) {
  const uint8_t* at = bytes + bit / 8;
  const uint32_t shift = static_cast<uint32_t>(bit % 8);
  uint32_t word = at[0];
  if (shift + bits > 8) word |= static_cast<uint32_t>(at[1]) << 8;
  if (shift + bits > 16) word |= static_cast<uint32_t>(at[2]) << 16;
  return static_cast<uint16_t>((word >> shift) & ((1u << bits) - 1));
}

SOFTPACK_HOST_DEVICE inline void WriteIndex(uint8_t* bytes, uint64_t bit, uint32_t bits,
                                            uint16_t index) {
  uint8_t* at = bytes + bit / 8;
  const uint32_t shift = static_cast<uint32_t>(bit % 8);
  const uint32_t mask = ((1u << bits) - 1) << shift;
  const uint32_t word = (static_cast<uint32_t>(index) << shift) & mask;
  for (uint32_t byte = 0; byte * 8 < shift + bits; ++byte) {
    const uint32_t keep = ~(mask >> (8 * byte));
    at[byte] = static_cast<uint8_t>((at[byte] & keep) | (word >> (8 * byte)));
  }
}

// Byte `byte` of `count` indices packed from bit 0 on; bits beyond the last index are zero.
SOFTPACK_HOST_DEVICE inline uint8_t PackedByte(const uint16_t* indices, uint64_t count,
                                               uint32_t bits, uint64_t byte) {
  const uint64_t first = byte * 8;
  uint32_t value = 0;
  for (uint64_t i = first / bits; i < count && i * bits < first + 8; ++i) {
    const uint32_t index = indices[i] & ((1u << bits) - 1);
    const uint64_t at = i * bits;
    value |= at < first ? index >> (first - at) : index << (at - first);
  }
  return static_cast<uint8_t>(value);
}

inline void UnpackIndices(const uint8_t* bytes, uint64_t bit, uint32_t bits, uint64_t count,
                          uint16_t* indices) {
  const uint64_t end_byte = (bit + count * bits + 7) / 8;
  uint64_t i = 0;
  // 7 bits of shift and 16 of index fit into four bytes, which compilers turn into one load.
  for (; i < count && bit / 8 + 4 <= end_byte; ++i, bit += bits) {
    const uint8_t* at = bytes + bit / 8;
    const uint32_t word = static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
                          static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24;
    indices[i] = static_cast<uint16_t>((word >> (bit % 8)) & ((1u << bits) - 1));
  }
  for (; i < count; ++i, bit += bits) indices[i] = ReadIndex(bytes, bit, bits);
}

inline void PackIndices(const uint16_t* indices, uint64_t bit, uint32_t bits, uint64_t count,
                        uint8_t* bytes) {
  for (uint64_t i = 0; i < count; ++i, bit += bits) WriteIndex(bytes, bit, bits, indices[i]);
}

}  // namespace softpack

#endif  // SOFTPACK_CORE_BITS_H_
