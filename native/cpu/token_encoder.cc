#include <algorithm>
#include <vector>

#include "core/half.h"
#include "core/token_labels.h"
#include "cpu/token_set.h"

namespace softpack {
namespace {

// Appends fields to bytes that are zero. Needs 8 bytes behind the last field.
class TokenBitWriter {
 public:
  TokenBitWriter(uint8_t* bytes, uint64_t position)
      : bytes_(bytes), byte_(position / 8), filled_(position % 8) {
    // Bits before the first field keep their value; without any, the byte may
    // not be there yet.
    if (filled_ > 0) pending_ = bytes_[byte_] & ((1u << filled_) - 1);
  }

  uint64_t position() const { return 8 * byte_ + filled_; }

  // At most 33 bits.
  void Write(uint64_t value, uint32_t bits) {
    pending_ |= value << filled_;
    filled_ += bits;
    for (uint32_t i = 0; i < 8; ++i) bytes_[byte_ + i] = static_cast<uint8_t>(pending_ >> 8 * i);
    byte_ += filled_ / 8;
    pending_ >>= filled_ / 8 * 8;
    filled_ %= 8;
  }

  void WriteBelow(uint64_t value, uint64_t range) {
    const uint32_t bits = FloorLog2(range);
    const uint64_t short_ones = (uint64_t{2} << bits) - range;
    // All ones for one more bit, in numbers instead of a branch that nothing predicts.
    const uint64_t longer = 0 - static_cast<uint64_t>(value >= short_ones);
    const uint64_t sum = value + (short_ones & longer);
    const uint64_t first = sum >> (longer & 1);
    Write(first | (sum & longer & 1) << bits, static_cast<uint32_t>(bits + (longer & 1)));
  }

 private:
  uint8_t* bytes_;
  uint64_t byte_;
  uint64_t filled_;
  uint64_t pending_ = 0;
};

class TokenEncoder {
 public:
  explicit TokenEncoder(const TokenEncodeArgs& args)
      : args_(args),
        shape_(args.shape),
        writer_(args.out, args.position),
        words_(TokenWords(shape_)),
        set_(std::max(shape_.k, shape_.samples) + 2),
        values_(set_.size()),
        places_(set_.size()) {}

  int Encode(uint64_t* length) {
    for (uint64_t i = 0; i < args_.count; ++i) {
      const uint64_t begin = writer_.position() - args_.position;
      if (begin > UINT32_MAX) return kSoftpackInvalidArgument;
      if (i > 0 && i % kTokenGroup == 0) {
        args_.begins[i / kTokenGroup - 1] = static_cast<uint32_t>(begin);
      }
      const uint32_t count = args_.counts[i];
      if (count > shape_.k || (shape_.stages > 0 && count != shape_.k)) {
        return kSoftpackInvalidArgument;
      }
      const uint64_t end = writer_.position() + TokenLabelBits(shape_, count);
      if (end / 8 + 8 > args_.capacity) return kSoftpackInvalidArgument;
      if (!WriteLabel(i, count)) return kSoftpackInvalidArgument;
    }
    *length = writer_.position() - args_.position;
    return *length > UINT32_MAX ? kSoftpackInvalidArgument : kSoftpackOk;
  }

 private:
  bool WriteLabel(uint64_t label, uint32_t count) {
    if (shape_.stages == 0 && shape_.k > 0) writer_.WriteBelow(count, shape_.k + 1);
    if (!WriteNames(args_.ids + label * shape_.k, count)) return false;
    if (shape_.stages > 0) {
      WriteOrder();
      for (uint32_t stage = 0; stage < shape_.stages; ++stage) {
        writer_.Write(args_.indices[stage * args_.count + label] & 0xff, 8);
      }
    } else {
      const float* const log_probs = args_.log_probs + label * shape_.k;
      for (uint32_t rank = 0; rank < count; ++rank)
        values_[places_[rank]] = FloatToHalf(log_probs[rank]);
      for (uint32_t i = 0; i < count; ++i) writer_.Write(static_cast<uint32_t>(values_[i]), 16);
    }
    return WriteSamples(args_.samples + label * shape_.samples);
  }

  // Leaves the place of each rank's name in `places_`. False for an id beyond
  // the vocabulary or twice.
  bool WriteNames(const uint32_t* ids, uint32_t count) {
    if (!LoadNames(ids, count)) return false;
    if (!PlaceDistinctTokens(values_.data(), count, places_.data())) return false;
    FillSet(count);
    WriteSet(count, shape_.vocabulary);
    return true;
  }

  // False for an id beyond the vocabulary.
  bool LoadNames(const uint32_t* ids, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t name = Name(ids[i]);
      if (name >= shape_.vocabulary) return false;
      values_[i] = static_cast<int32_t>(name);
    }
    return true;
  }

  // Names + 1 in ascending order, from set_[1] on.
  void FillSet(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      set_[places_[i] + 1] = static_cast<uint32_t>(values_[i]) + 1;
    }
  }

  // As large as the vocabulary for an id that is not in it.
  uint64_t Name(uint32_t id) const {
    return id < shape_.vocabulary ? args_.names[id] : shape_.vocabulary;
  }

  void WriteSet(uint32_t count, uint64_t range) {
    set_[0] = 0;
    set_[count + 1] = static_cast<uint32_t>(range + 1);
    for (const TokenNode node : nodes_.Of(count)) {
      const uint32_t least = set_[node.left] + (node.at - node.left);
      const uint32_t most = set_[node.right] - (node.right - node.at);
      writer_.WriteBelow(set_[node.at] - least, most - least + 1);
    }
  }

  // A digit per rank: how many of the names that no earlier rank has taken are
  // below its own.
  void WriteOrder() {
    for (const TokenWord& word : words_) {
      uint64_t value = 0;
      for (uint32_t rank = word.from; rank < word.to; ++rank) {
        uint32_t digit = places_[rank];
        for (uint32_t earlier = 0; earlier < rank; ++earlier) {
          digit -= places_[earlier] < places_[rank] ? 1 : 0;
        }
        value = value * (shape_.k - rank) + digit;
      }
      writer_.WriteBelow(value, word.range);
    }
  }

  bool WriteSamples(const uint32_t* samples) {
    const uint32_t count = shape_.samples;
    if (count == 0) return true;
    if (!LoadNames(samples, count)) return false;
    PlaceTokens(values_.data(), count, places_.data());
    FillSet(count);
    if (shape_.counted) {
      WriteCounted(count);
      return true;
    }
    // Number i is raised by i, so that all differ.
    for (uint32_t i = 0; i < count; ++i) set_[i + 1] += i;
    WriteSet(count, shape_.vocabulary + count - 1);
    return true;
  }

  // Of the ascending names in `set_`: how many differ, these, and where each but the first begins.
  void WriteCounted(uint32_t count) {
    uint32_t different = 0;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t own = set_[i + 1];
      if (different > 0 && own == set_[different]) continue;
      places_[different] = i;
      set_[++different] = own;
    }
    writer_.WriteBelow(different - 1, std::min<uint64_t>(count, shape_.vocabulary));
    WriteSet(different, shape_.vocabulary);
    // Less one, as none begins at 0, and plus one, as WriteSet takes them.
    for (uint32_t i = 1; i < different; ++i) set_[i] = places_[i];
    WriteSet(different - 1, count - 1);
  }

  const TokenEncodeArgs& args_;
  const TokenShape shape_;
  TokenBitWriter writer_;
  TokenNodes nodes_;
  const std::vector<TokenWord> words_;
  std::vector<uint32_t> set_;  // numbers + 1, from set_[1] on
  std::vector<int32_t> values_;
  std::vector<uint32_t> places_;
};

}  // namespace

int EncodeTokens(TokenEncodeArgs* args) {
  if (!IsTokenShape(args->shape)) return kSoftpackInvalidArgument;
  return TokenEncoder(*args).Encode(&args->length);
}

}  // namespace softpack
