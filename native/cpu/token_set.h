// What decoder and encoder of token labels share: the order in which the binary interpolative code
// visits a set, places of numbers, and words of orders.
#ifndef SOFTPACK_CPU_TOKEN_SET_H_
#define SOFTPACK_CPU_TOKEN_SET_H_

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/token_labels.h"
#include "cpu/token_bits.h"

namespace softpack {

// In the order of their bits: the middle number, then both halves.
inline void VisitTokenSet(uint32_t left, uint32_t right, std::vector<TokenNode>* nodes) {
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
  const std::vector<TokenNode>& Of(uint32_t count) {
    if (sizes_.size() <= count) sizes_.resize(count + 1);
    std::vector<TokenNode>& nodes = sizes_[count];
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
inline void PlaceTokens(const int32_t* values, uint32_t count, uint32_t* places) {
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
inline bool PlaceDistinctTokens(const int32_t* values, uint32_t count, uint32_t* places) {
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

inline std::vector<TokenWord> TokenWords(const TokenShape& shape) {
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
