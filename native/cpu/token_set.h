// What decoder and encoder of token labels share: fields of bits, the order in
// which the binary interpolative code visits a set, and words of orders.
#ifndef SOFTPACK_CPU_TOKEN_SET_H_
#define SOFTPACK_CPU_TOKEN_SET_H_

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/token_labels.h"

#ifdef _MSC_VER
#include <intrin.h>
#endif

namespace softpack {

inline uint32_t FloorLog2(uint64_t value) {
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
  TokenBits(const uint8_t *bytes, uint64_t length, uint64_t position)
      : bytes_(bytes), length_(length), position_(position) {}

  bool beyond_end() const { return position_ > 8 * length_; }

  // At most 57 bits.
  uint32_t Read(uint32_t bits) {
    const uint64_t value = Peek() & ((uint64_t{1} << bits) - 1);
    position_ += bits;
    return static_cast<uint32_t>(value);
  }

  // A number below `range`, which is at least 1 and at most 2^32.
  uint32_t ReadBelow(uint64_t range) {
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
  uint64_t Peek() const {
    const uint64_t byte = position_ / 8;
    if (length_ < 8 || byte > length_ - 8) return PeekEnd(byte) >> position_ % 8;
    const uint8_t *const at = bytes_ + byte;
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

  const uint8_t *bytes_ = nullptr;
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

// In the order of their bits: the middle number, then both halves.
inline void VisitTokenSet(uint32_t left, uint32_t right, std::vector<TokenNode> *nodes) {
  if (right - left < 2) return;
  // Of indices from 0 on, this is (from + to) / 2: left = from and right = to
  // + 1.
  const uint32_t at = (left + right + 1) / 2;
  nodes->push_back(
      {static_cast<uint16_t>(at), static_cast<uint16_t>(left), static_cast<uint16_t>(right)});
  VisitTokenSet(left, at, nodes);
  VisitTokenSet(at, right, nodes);
}

// The nodes of sets of each size, made when they are asked for.
class TokenNodes {
 public:
  const std::vector<TokenNode> &Of(uint32_t count) {
    if (sizes_.size() <= count) sizes_.resize(count + 1);
    std::vector<TokenNode> &nodes = sizes_[count];
    if (nodes.empty()) VisitTokenSet(0, count + 1, &nodes);
    return nodes;
  }

 private:
  std::vector<std::vector<TokenNode>> sizes_;
};

// Numbers that are placed by comparing all with all.
constexpr uint32_t kComparedTokens = 64;

// The place of each of `count` numbers below 2^31 in ascending order, equal
// ones as they stand.
inline void PlaceTokens(const int32_t *values, uint32_t count, uint32_t *places) {
  if (count > kComparedTokens) {
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [values](uint32_t a, uint32_t b) { return values[a] < values[b]; });
    for (uint32_t i = 0; i < count; ++i) places[order[i]] = i;
    return;
  }
  // Without branches, which nothing would predict; compilers make it into
  // vectors.
  for (uint32_t i = 0; i < count; ++i) {
    const int32_t own = values[i];
    uint32_t place = 0;
    for (uint32_t j = 0; j < count; ++j) place += values[j] < own ? 1 : 0;
    for (uint32_t j = 0; j < i; ++j) place += values[j] == own ? 1 : 0;
    places[i] = place;
  }
}

// The same of numbers that should all differ; false, and other places, if two are equal.
inline bool PlaceDistinctTokens(const int32_t *values, uint32_t count, uint32_t *places) {
  if (count > kComparedTokens) {
    PlaceTokens(values, count, places);
    std::vector<int32_t> sorted(values, values + count);
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  }
  uint64_t sum = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const int32_t own = values[i];
    uint32_t place = 0;
    for (uint32_t j = 0; j < count; ++j) place += values[j] < own ? 1 : 0;
    places[i] = place;
    sum += place;
  }
  // Each pair counts once, equal ones never.
  return 2 * sum == uint64_t{count} * (count - 1);
}

// Ranks [from, to) whose order is one word below `range`.
struct TokenWord {
  uint32_t from;
  uint32_t to;
  uint64_t range;
};

inline std::vector<TokenWord> TokenWords(const TokenShape &shape) {
  std::vector<TokenWord> words;
  TokenWord word = {0, 0, 1};
  for (uint32_t rank = 0; rank < shape.ordered; ++rank) {
    const uint64_t choices = shape.k - rank;
    if (word.range * choices > uint64_t{1} << 32) {
      words.push_back(word);
      word = {rank, rank, 1};
    }
    word.range *= choices;
    word.to = rank + 1;
  }
  if (shape.ordered > 0) words.push_back(word);
  return words;
}

}  // namespace softpack

#endif  // SOFTPACK_CPU_TOKEN_SET_H_
