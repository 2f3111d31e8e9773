// Labels of language models' tokens as bits: docs/tokens.md, "Format". Fields
// are written least significant bit first, without gaps. Only the probabilities
// of decoded labels are floating point.
#ifndef SOFTPACK_CORE_TOKEN_LABELS_H_
#define SOFTPACK_CORE_TOKEN_LABELS_H_

#include <stdint.h>

#include "core/status.h"

namespace softpack {

constexpr uint64_t kTokenVocabulary = 1u << 22;
constexpr uint32_t kTokenEntries = 1024;
constexpr uint32_t kTokenSamples = 256;
constexpr uint32_t kTokenOrdered = 32;
constexpr uint32_t kTokenStages = 16;
constexpr uint32_t kTokenCodewords = 256;
// Labels between two positions that the encoder tells.
constexpr uint64_t kTokenGroup = 64;

struct TokenShape {
  uint64_t vocabulary;  // up to kTokenVocabulary
  uint32_t k;           // up to the vocabulary and kTokenEntries
  uint32_t samples;     // up to kTokenSamples
  uint32_t ordered;     // up to k and kTokenOrdered; at least 1 with stages
  uint32_t stages;      // up to kTokenStages; 0: float16 log-probabilities
  bool counted;         // samples are a set and how often each occurs, not a multiset

  uint32_t entries() const { return k + samples; }
  // Values per codeword.
  uint32_t width() const { return ordered + (k > ordered ? 1 : 0); }
};

struct TokenDecodeArgs {
  TokenShape shape;
  const uint32_t* ids;     // [vocabulary], the id of each name
  const float* codebooks;  // [stages, 256, width]
  const float* scale;      // [width]
  const uint8_t* bytes;
  uint64_t length;
  uint64_t position;       // bit of the sequence's first label
  const uint32_t* begins;  // bits from there to each group of 64 labels that is read
  uint64_t skip;           // labels of the first group that are passed over, below 64
  uint64_t count;
  int32_t* labels;       // [count, entries]
  float* probabilities;  // [count, entries]
};

struct TokenEncodeArgs {
  TokenShape shape;
  const uint32_t* names;  // [vocabulary], the name of each id
  uint64_t count;
  const uint32_t* counts;   // [count], ids of each label; k with stages
  const uint32_t* ids;      // [count, k], the most probable first
  const float* log_probs;   // [count, k]; null with stages
  const uint16_t* indices;  // [stages, count]
  const uint32_t* samples;  // [count, samples]
  uint8_t* out;             // zeros from bit `position` on
  uint64_t capacity;        // bytes
  uint64_t position;
  uint32_t* begins;  // [(count - 1) / 64]: bits from `position` to labels 64, 128, ...
  uint64_t length;   // set by the call: bits written
};

struct TokenListArgs {
  const float* logits;  // [rows, width]
  uint64_t rows;
  uint64_t width;
  uint64_t vocabulary;     // columns that are ids, the first ones of each row
  uint32_t k;              // up to the vocabulary and kTokenEntries
  uint32_t samples;        // up to kTokenSamples
  const double* uniforms;  // [rows, samples], in [0, 1), ascending in each row
  uint32_t* ids;           // [rows, k], those of the largest logits, the largest first
  // [rows, samples], drawn in proportion to the probabilities of all other ids; the last of `ids`
  // where nothing is left.
  uint32_t* drawn;
  double* sums;     // [rows]: of exp(logit - largest logit)
  uint64_t listed;  // set by the call: rows before the first that is no distribution
};

// Whether the limits above hold.
inline bool IsTokenShape(const TokenShape& shape) {
  const bool bounded = shape.vocabulary >= 1 && shape.vocabulary <= kTokenVocabulary &&
                       shape.k <= kTokenEntries && shape.k <= shape.vocabulary &&
                       shape.samples <= kTokenSamples && shape.stages <= kTokenStages;
  const bool values =
      shape.stages == 0 ? shape.ordered == 0 : shape.ordered >= 1 && shape.ordered <= kTokenOrdered;
  return bounded && values && shape.ordered <= shape.k;
}

// Bits that a label of so many ids takes at most: counts and words have up to
// 32 bits and come at most once per id.
inline uint64_t TokenLabelBits(const TokenShape& shape, uint64_t ids) {
  return 32 + ids * (23 + 16) + 32 * shape.ordered + 8 * shape.stages + 32 * shape.samples;
}

// kSoftpackInvalidCodes for bytes that no encoder writes; outputs are then
// partly written.
int DecodeTokens(const TokenDecodeArgs& args);
// kSoftpackInvalidArgument for ids beyond the vocabulary or twice in a label,
// for labels with more than k ids, or fewer with stages, if `capacity` is too
// small, or for more than 2^32 bits. Room for TokenLabelBits of each label and
// 8 bytes is enough.
int EncodeTokens(TokenEncodeArgs* args);
// The same ids on every machine.
int ListTokens(TokenListArgs* args);

}  // namespace softpack

#endif  // SOFTPACK_CORE_TOKEN_LABELS_H_
