// Entropy coding of small integers by interleaved rANS (range asymmetric numeral systems) with
// static tables of integers: no floating point takes part, so a stream means the same everywhere.
//
// A stream holds a matrix of int16 values, [rows, columns], row after row. Each row has a table of
// frequencies over 256 symbols that add up to 2^12: symbol s stands for the value s - 128, but
// symbol 0 for "escape", any value at all.
//
// Value (row, column) belongs to lane `column % lanes`. A lane is a state x in [2^16, 2^32):
//   slot = x % 2^12; s = the symbol whose range [start_s, start_s + frequency_s) holds it
//   x = frequency_s * (x / 2^12) + slot - start_s
//   if x < 2^16: x = 2^16 * x + the next word of the stream
// One word is always enough. Lanes read the same words, each in its turn; all end at x = 2^16.
//
// Bytes of a stream, all numbers little endian:
//   u8      log2 of lanes, 0 to 5
//   varint  bytes of the escapes: 7 bits a byte, lowest first, the top bit set on all but the last
//   u32     first state, one a lane
//   u16     words, in reading order
//   varint  escaped values in reading order, v >= 0 as 2 v and v < 0 as -2 v - 1
//
// With a trellis (dependent quantisation) each column walks through 4 or 8 states, from state 0, by
// the parity of its values; a row then has two tables, of which the state selects one.
#ifndef SOFTPACK_CORE_RANS_H_
#define SOFTPACK_CORE_RANS_H_

#include <stdint.h>

#include "core/host_device.h"
#include "core/status.h"

namespace softpack {

constexpr uint32_t kRansBits = 12;
constexpr uint32_t kRansSlots = 1u << kRansBits;
constexpr uint32_t kRansLeast = 1u << 16;
constexpr uint32_t kRansSymbols = 256;
constexpr int32_t kRansEscape = -128;
constexpr uint32_t kRansMaxLanes = 32;

// Reads a varint of at most `most` bits and moves `*at` on; false if there is none before `end`.
SOFTPACK_HOST_DEVICE inline bool ReadVarint(const uint8_t** at, const uint8_t* end, uint32_t most,
                                            uint64_t* value) {
  *value = 0;
  for (uint32_t shift = 0; *at < end && shift < most; shift += 7) {
    const uint8_t byte = *(*at)++;
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return *value >> most == 0 && (byte != 0 || shift == 0);
  }
  return false;
}

SOFTPACK_HOST_DEVICE inline uint32_t ReadLittle32(const uint8_t* from) {
  return from[0] | static_cast<uint32_t>(from[1]) << 8 | static_cast<uint32_t>(from[2]) << 16 |
         static_cast<uint32_t>(from[3]) << 24;
}

// Reads everything before the states and moves `*at` on; returns the number of lanes, or 0 if there
// is less than that, the states and the escapes.
SOFTPACK_HOST_DEVICE inline uint32_t ReadRansHead(const uint8_t** at, const uint8_t* end,
                                                  uint64_t* escape_bytes) {
  if (*at == end || **at > 5) return 0;
  const uint32_t lanes = 1u << *(*at)++;
  if (!ReadVarint(at, end, 48, escape_bytes)) return 0;
  const uint64_t left = static_cast<uint64_t>(end - *at);
  return left < 4 * lanes || left - 4 * lanes < *escape_bytes ? 0 : lanes;
}

// The value that an escape of `folded` (see above) stands for.
SOFTPACK_HOST_DEVICE inline int16_t UnfoldEscape(uint64_t folded) {
  return static_cast<int16_t>(folded >> 1 ^ (0 - (folded & 1)));
}

// Entry of a decoding table: frequency - 1 in bits 0 to 11, slot - start in bits 12 to 23, value in
// bits 24 to 31. Whatever an entry holds, decoding stays inside its table.
struct RansReader {
  uint32_t* states;  // [lanes]
  uint32_t lanes;
  const uint8_t* next;  // words not read yet
  const uint8_t* end;
};

// The tables of a row: entries from first[context] on.
struct RansRow {
  const uint32_t* tables;
  uint32_t first[2];
  const uint8_t* contexts;  // [count], 0 or 1; null: all 0
  uint64_t count;
  int16_t* out;
};

// Decodes values [from, to) of a row. Returns false if the words are used up.
inline bool DecodeRansValues(RansReader* reader, const RansRow& row, uint64_t from, uint64_t to) {
  for (uint64_t i = from; i < to; ++i) {
    uint32_t& state = reader->states[i & (reader->lanes - 1)];
    const uint32_t first = row.first[row.contexts == nullptr ? 0 : row.contexts[i] & 1];
    const uint32_t entry = row.tables[first + (state & (kRansSlots - 1))];
    state = ((entry & 0xfff) + 1) * (state >> kRansBits) + (entry >> 12 & 0xfff);
    row.out[i] = static_cast<int8_t>(entry >> 24);
    if (state >= kRansLeast) continue;
    if (reader->end - reader->next < 2) return false;
    state = state << 16 | static_cast<uint32_t>(reader->next[1]) << 8 | reader->next[0];
    reader->next += 2;
  }
  return true;
}

// States of a trellis: next[2 * state + parity of the value], and the context of each state.
struct RansTrellis {
  uint8_t next[16];
  uint8_t context[16];
};

// 4 states: the code of VVC's dependent quantisation, contexts being its quantisers Q0 and Q1.
constexpr RansTrellis kRansTrellis4 = {{0, 2, 2, 0, 1, 3, 3, 1}, {0, 0, 1, 1}};
// 8 states: Ungerboeck's code, as in part 2 of JPEG 2000; odd states have quantiser Q1.
constexpr RansTrellis kRansTrellis8 = {{0, 1, 3, 2, 5, 4, 6, 7, 1, 0, 2, 3, 4, 5, 7, 6},
                                       {0, 1, 0, 1, 0, 1, 0, 1}};

// Null for one state, and for a number of states that there is no trellis for.
inline const RansTrellis* RansTrellisOf(uint32_t states) {
  return states == 4 ? &kRansTrellis4 : states == 8 ? &kRansTrellis8 : nullptr;
}

// Moves each column's state on by its value in the row just decoded.
inline void AdvanceTrellis(const RansTrellis& trellis, const int16_t* values, uint64_t from,
                           uint64_t to, uint8_t* states, uint8_t* contexts) {
  for (uint64_t i = from; i < to; ++i) {
    states[i] = trellis.next[2 * states[i] + (values[i] & 1)];
    contexts[i] = trellis.context[states[i]];
  }
}

struct RansShape {
  const uint16_t* row_tables;  // [rows, contexts], each below `tables`
  uint64_t tables;
  uint64_t rows;
  uint64_t columns;
  uint32_t trellis;  // states: 1, 4 or 8; contexts are 2 unless it is 1
};

struct RansDecodeArgs {
  const uint8_t* bytes;
  uint64_t length;
  const uint32_t* entries;  // [tables, 2^12]
  RansShape shape;
  int16_t* out;  // [rows, columns]
};

struct RansEncodeArgs {
  const int16_t* values;        // [rows, columns]
  const uint16_t* frequencies;  // [tables, 256]
  RansShape shape;
  uint32_t lanes;  // 0: chosen by the length of the stream
  uint8_t* out;
  uint64_t capacity;
  uint64_t length;  // set by the call: bytes written
};

struct KernelTable;

// kSoftpackInvalidCodes for bytes that no encoder writes; `out` is then partly written.
int DecodeRans(const KernelTable& table, const RansDecodeArgs& args);
// kSoftpackInvalidArgument if frequencies do not add up to 2^12, if a value's symbol has none, or
// if `capacity` is too small; RansCapacity never is.
int EncodeRans(RansEncodeArgs* args);

inline uint64_t RansCapacity(uint64_t values) { return 16 + 4 * kRansMaxLanes + 5 * values; }

}  // namespace softpack

#endif  // SOFTPACK_CORE_RANS_H_
