#include <algorithm>
#include <vector>

#include "core/half.h"
#include "core/token_labels.h"
#include "cpu/token_exp.h"
#include "cpu/token_set.h"

namespace softpack {
namespace {

// Sums of float32 probabilities are scaled down to 1 and by this: 1 + 2^-20.
constexpr double kAboveOne = 1.00000095367431640625;

class TokenDecoder {
 public:
  explicit TokenDecoder(const TokenDecodeArgs& args)
      : args_(args),
        shape_(args.shape),
        bits_(args.bytes, args.length, args.position),
        words_(TokenWords(shape_)),
        set_(shape_.k + 2),
        drawn_(shape_.samples + 2),
        values_(shape_.width()) {}

  int Decode() {
    std::vector<int32_t> labels(shape_.entries());
    std::vector<float> probabilities(shape_.entries());
    for (uint64_t i = 0; i < args_.skip; ++i) {
      if (!ReadLabel(labels.data(), probabilities.data())) return kSoftpackInvalidCodes;
    }
    for (uint64_t i = 0; i < args_.count; ++i) {
      const uint64_t at = i * shape_.entries();
      if (!ReadLabel(args_.labels + at, args_.probabilities + at)) return kSoftpackInvalidCodes;
    }
    return kSoftpackOk;
  }

 private:
  bool ReadLabel(int32_t* labels, float* probabilities) {
    uint32_t listed = 0;
    if (shape_.stages > 0) {
      listed = ReadQuantised(labels, probabilities);
    } else if (shape_.k > 0 && !ReadExact(labels, probabilities, &listed)) {
      return false;
    }
    std::fill(labels + listed, labels + shape_.entries(), 0);
    std::fill(probabilities + listed, probabilities + shape_.entries(), 0.0f);
    const double mass = BoundMass(probabilities, listed);
    if (shape_.samples > 0) {
      ReadSet(shape_.samples, shape_.vocabulary + shape_.samples - 1, drawn_.data());
      AddSamples(labels, probabilities, listed, mass);
      BoundMass(probabilities, shape_.entries());
    }
    return !bits_.beyond_end();
  }

  // Numbers + 1, from set[1] on.
  void ReadSet(uint32_t count, uint64_t range, uint32_t* set) {
    set[0] = 0;
    set[count + 1] = static_cast<uint32_t>(range + 1);
    for (const TokenNode node : nodes_.Of(count)) {
      const uint32_t least = set[node.left] + (node.at - node.left);
      const uint32_t most = set[node.right] - (node.right - node.at);
      set[node.at] = least + bits_.ReadBelow(most - least + 1);
    }
  }

  bool ReadExact(int32_t* labels, float* probabilities, uint32_t* listed) {
    const uint32_t count = bits_.ReadBelow(shape_.k + 1);
    ReadSet(count, shape_.vocabulary, set_.data());
    // Magnitudes and places: the most probable first, equal ones by name.
    order_.resize(count);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t half = bits_.Read(16);
      // 0, or from -0 to -infinity.
      if (half != 0 && (half < 0x8000 || half > 0xfc00)) return false;
      order_[i] = (half & 0x7fff) << 16 | i;
    }
    std::sort(order_.begin(), order_.end());
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t place = order_[i] & 0xffff;
      labels[i] = static_cast<int32_t>(args_.ids[set_[place + 1] - 1]);
      probabilities[i] = static_cast<float>(TokenExp(-HalfMagnitude(order_[i] >> 16)));
    }
    *listed = count;
    return true;
  }

  // The number of a half's bits without its sign.
  static double HalfMagnitude(uint32_t bits) {
    const uint32_t exponent = bits >> 10;
    const double fraction = bits & 0x3ff;
    if (exponent == 0) return fraction * (1.0 / 16777216);
    if (exponent == 31) return 1e300;
    return (fraction + 1024) * static_cast<double>(uint64_t{1} << exponent) * (1.0 / 33554432);
  }

  uint32_t ReadQuantised(int32_t* labels, float* probabilities) {
    const uint32_t k = shape_.k;
    const uint32_t ordered = shape_.ordered;
    ReadSet(k, shape_.vocabulary, set_.data());
    uint32_t digits[kTokenOrdered];
    for (const TokenWord& word : words_) {
      uint64_t left = bits_.ReadBelow(word.range);
      for (uint32_t rank = word.to; rank-- > word.from;) {
        const uint64_t choices = k - rank;
        digits[rank] = static_cast<uint32_t>(left % choices);
        left /= choices;
      }
    }
    // A digit counts the places that no earlier rank has taken: from the last rank on, each makes
    // room for those that come before it.
    for (uint32_t rank = ordered; rank-- > 0;) {
      for (uint32_t later = rank + 1; later < ordered; ++later) {
        digits[later] += digits[later] >= digits[rank] ? 1 : 0;
      }
    }
    for (uint32_t rank = 0; rank < ordered; ++rank) {
      uint32_t* const name = &set_[digits[rank] + 1];
      labels[rank] = static_cast<int32_t>(args_.ids[*name - 1]);
      *name = 0;
    }
    uint32_t at = ordered;
    for (uint32_t i = 1; i <= k && at < k; ++i) {
      if (set_[i] != 0) labels[at++] = static_cast<int32_t>(args_.ids[set_[i] - 1]);
    }
    ReadValues();
    for (uint32_t rank = 0; rank < ordered; ++rank) {
      probabilities[rank] = static_cast<float>(TokenExp(values_[rank]));
    }
    if (k > ordered) {
      const float each = static_cast<float>(TokenExp(values_[ordered]) / (k - ordered));
      std::fill(probabilities + ordered, probabilities + k, each);
    }
    return k;
  }

  void ReadValues() {
    const uint32_t width = shape_.width();
    std::fill(values_.begin(), values_.end(), 0.0f);
    for (uint32_t stage = 0; stage < shape_.stages; ++stage) {
      const uint64_t row = stage * kTokenCodewords + bits_.Read(8);
      const float* const codeword = args_.codebooks + row * width;
      for (uint32_t j = 0; j < width; ++j) values_[j] += codeword[j];
    }
    for (uint32_t j = 0; j < width; ++j) {
      const float value = values_[j] / args_.scale[j];
      values_[j] = value > 0 ? 0 : value;
    }
  }

  // Samples share what is not listed; those of one id are one entry, those of a listed id add to
  // it.
  void AddSamples(int32_t* labels, float* probabilities, uint32_t listed, double mass) {
    const uint32_t samples = shape_.samples;
    const double left = 1 - mass;
    const double each = (left < 0 ? 0 : left) / samples;
    uint32_t at = listed;
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < samples; ++i) {
      // Numbers of a multiset are raised by their places to make them a set.
      const uint32_t name = drawn_[i + 1] - 1 - i;
      const int32_t id = static_cast<int32_t>(args_.ids[name]);
      const int32_t* const own = std::find(labels, labels + listed, id);
      if (own != labels + listed) {
        AddTo(&probabilities[own - labels], each);
      } else if (name == last) {
        AddTo(&probabilities[at - 1], each);
      } else {
        labels[at] = id;
        probabilities[at] = static_cast<float>(each);
        ++at;
      }
      last = name;
    }
  }

  static void AddTo(float* probability, double more) {
    *probability = static_cast<float>(*probability + more);
  }

  // Returns the sum, which is at most 1 afterwards.
  static double BoundMass(float* probabilities, uint32_t count) {
    const double sum = Sum(probabilities, count);
    if (sum <= 1) return sum;
    for (uint32_t i = 0; i < count; ++i) {
      probabilities[i] = static_cast<float>(probabilities[i] / (sum * kAboveOne));
    }
    return Sum(probabilities, count);
  }

  static double Sum(const float* values, uint32_t count) {
    double sum = 0;
    for (uint32_t i = 0; i < count; ++i) sum += values[i];
    return sum;
  }

  const TokenDecodeArgs& args_;
  const TokenShape shape_;
  TokenBits bits_;
  TokenNodes nodes_;
  const std::vector<TokenWord> words_;
  std::vector<uint32_t> set_;    // names + 1 of the listed ids
  std::vector<uint32_t> drawn_;  // the same of samples
  std::vector<uint32_t> order_;
  std::vector<float> values_;
};

}  // namespace

int DecodeTokens(const TokenDecodeArgs& args) {
  if (!IsTokenShape(args.shape)) return kSoftpackInvalidArgument;
  return TokenDecoder(args).Decode();
}

}  // namespace softpack
