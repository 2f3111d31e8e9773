#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "core/token_labels.h"
#include "cpu/dispatch.h"
#include "cpu/token_set.h"

namespace softpack {
namespace {

// Sums of float32 probabilities are scaled down to 1 and by this: 1 + 2^-20.
constexpr double kAboveOne = 1.00000095367431640625;
// Sums this near to 1 depend on the order of their terms, by far less.
constexpr double kNearOne = 1 - 1e-9;

// A group that is being read, and its label in hand.
struct TokenLane {
  explicit TokenLane(const TokenShape& shape)
      : listed(shape.k + 2),
        drawn(shape.samples + 2),
        names(shape.counted ? shape.samples + 2 : 0),
        starts(names.size()),
        halves(shape.k) {}

  TokenBits bits;
  // Output rows that are left, and labels before them that are passed over.
  uint64_t row = 0;
  uint64_t rows = 0;
  uint32_t skip = 0;
  uint32_t count = 0;            // ids of the label
  std::vector<uint32_t> listed;  // [1, count], names + 1 in ascending order
  std::vector<uint32_t> drawn;   // [1, samples], numbers + 1 of the multiset
  // Of counted samples: the different names + 1, and where each but the first begins.
  std::vector<uint32_t> names;
  std::vector<uint32_t> starts;
  std::vector<int32_t> halves;  // [count], magnitudes of log-probabilities
  std::array<int16_t, kTokenOrdered> digits = {};
  std::array<uint8_t, kTokenStages> codewords = {};
};

class TokenDecoder {
 public:
  TokenDecoder(const TokenDecodeArgs& args, const KernelTable& kernels)
      : args_(args),
        kernels_(kernels),
        shape_(args.shape),
        words_(TokenWords(shape_)),
        logs_(RoundUpToBlock(kTokenLanes * widest())),
        weights_(logs_.size()) {
    places_.resize(shape_.k);
    others_.resize(shape_.k + 1);
    spare_labels_.resize(shape_.entries());
    spare_probabilities_.resize(shape_.entries());
  }

  int Decode() {
    std::vector<TokenLane> lanes(kTokenLanes, TokenLane(shape_));
    std::array<TokenLane*, kTokenLanes> active;
    uint32_t count = 0;
    while (count < kTokenLanes && NextGroup(&lanes[count])) {
      active[count] = &lanes[count];
      ++count;
    }
    while (count > 0) {
      if (!ReadLabels(active.data(), count)) return kSoftpackInvalidCodes;
      for (uint32_t i = count; i-- > 0;) {
        if (active[i]->rows == 0 && !NextGroup(active[i])) active[i] = active[--count];
      }
    }
    return kSoftpackOk;
  }

 private:
  // False if there is none.
  bool NextGroup(TokenLane* lane) {
    const uint64_t row = group_ == 0 ? 0 : group_ * kTokenGroup - args_.skip;
    if (row >= args_.count) return false;
    lane->skip = group_ == 0 ? static_cast<uint32_t>(args_.skip) : 0;
    lane->row = row;
    lane->rows = std::min(kTokenGroup - lane->skip, args_.count - row);
    lane->bits = TokenBits(args_.bytes, args_.length, args_.position + args_.begins[group_]);
    ++group_;
    return true;
  }

  // The next label of each lane; false for what is none.
  bool ReadLabels(TokenLane* const* lanes, uint32_t count) {
    bool valid = true;
    if (shape_.k > 0) {
      ReadListed(lanes, count);
      for (uint32_t i = 0; i < count; ++i) valid &= ReadValues(lanes[i]);
    }
    if (shape_.samples > 0 && shape_.counted) {
      for (uint32_t i = 0; i < count; ++i) ReadCounted(lanes + i);
    } else if (shape_.samples > 0) {
      const uint64_t range = shape_.vocabulary + shape_.samples - 1;
      uint32_t* sets[kTokenLanes];
      for (uint32_t i = 0; i < count; ++i) sets[i] = lanes[i]->drawn.data();
      ReadSetsOf(lanes, count, shape_.samples, range, sets);
    }
    for (uint32_t i = 0; i < count; ++i) valid &= !lanes[i]->bits.beyond_end();
    if (!valid) return false;
    if (shape_.k > 0) FindWeights(lanes, count);
    for (uint32_t i = 0; i < count; ++i) WriteLabel(lanes[i], weights_.data() + i * widest());
    return true;
  }

  // Probabilities of what each lane lists: exponentials of all lanes at once, for each of them
  // waits for its own steps.
  void FindWeights(TokenLane* const* lanes, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      float* const logs = logs_.data() + i * widest();
      if (shape_.stages > 0) {
        SumCodewords(*lanes[i], logs);
      } else {
        for (uint32_t j = 0; j < lanes[i]->count; ++j) logs[j] = LogOfHalf(lanes[i]->halves[j]);
      }
    }
    kernels_.token_exps(logs_.data(), RoundUpToBlock(count * widest()), weights_.data());
  }

  // Logarithms of a label.
  uint32_t widest() const { return shape_.stages > 0 ? shape_.width() : shape_.k; }

  static constexpr uint32_t RoundUpToBlock(uint32_t count) {
    return (count + kTokenExps - 1) / kTokenExps * kTokenExps;
  }

  void ReadListed(TokenLane* const* lanes, uint32_t count) {
    uint32_t* sets[kTokenLanes];
    bool same = true;
    for (uint32_t i = 0; i < count; ++i) {
      TokenLane* const lane = lanes[i];
      lane->count = shape_.stages > 0 ? shape_.k : lane->bits.ReadBelow(shape_.k + 1);
      same &= lane->count == lanes[0]->count;
      sets[i] = lane->listed.data();
    }
    if (same) {
      ReadSetsOf(lanes, count, lanes[0]->count, shape_.vocabulary, sets);
      return;
    }
    for (uint32_t i = 0; i < count; ++i) {
      ReadSetsOf(lanes + i, 1, lanes[i]->count, shape_.vocabulary, sets + i);
    }
  }

  void ReadSetsOf(TokenLane* const* lanes, uint32_t count, uint32_t size, uint64_t range,
                  uint32_t* const* sets) {
    const std::vector<TokenNode>& nodes = nodes_.Of(size);
    TokenBits* readers[kTokenLanes];
    for (uint32_t i = 0; i < count; ++i) readers[i] = &lanes[i]->bits;
    kernels_.read_token_sets(nodes.data(), size, range, count, readers, sets);
  }

  // The multiset of a lane.
  void ReadCounted(TokenLane* const* at) {
    TokenLane& lane = **at;
    const uint32_t count = shape_.samples;
    const uint32_t most = static_cast<uint32_t>(std::min<uint64_t>(count, shape_.vocabulary));
    const uint32_t different = lane.bits.ReadBelow(most) + 1;
    uint32_t* set = lane.names.data();
    ReadSetsOf(at, 1, different, shape_.vocabulary, &set);
    set = lane.starts.data();
    ReadSetsOf(at, 1, different - 1, count - 1, &set);
    uint32_t name = 1;
    for (uint32_t i = 0; i < count; ++i) {
      if (name < different && lane.starts[name] == i) ++name;
      lane.drawn[i + 1] = lane.names[name] + i;
    }
  }

  bool ReadValues(TokenLane* lane) const {
    if (shape_.stages == 0) return ReadHalves(lane);
    ReadCodewords(lane);
    return true;
  }

  static bool ReadHalves(TokenLane* lane) {
    bool valid = true;
    for (uint32_t i = 0; i < lane->count; ++i) {
      const uint32_t half = lane->bits.Read(16);
      // 0, or from -0 to -infinity.
      valid &= half == 0 || (half >= 0x8000 && half <= 0xfc00);
      lane->halves[i] = static_cast<int32_t>(half & 0x7fff);
    }
    return valid;
  }

  void ReadCodewords(TokenLane* lane) const {
    for (const TokenWord& word : words_) {
      uint32_t left = lane->bits.ReadBelow(word.range);
      for (uint32_t rank = word.to; rank-- > word.from;) {
        const uint32_t choices = shape_.k - rank;
        const uint32_t rest = left / choices;
        lane->digits[rank] = static_cast<int16_t>(left - rest * choices);
        left = rest;
      }
    }
    for (uint32_t stage = 0; stage < shape_.stages; ++stage) {
      lane->codewords[stage] = static_cast<uint8_t>(lane->bits.Read(8));
    }
  }

  void WriteLabel(TokenLane* lane, const double* weights) {
    int32_t* labels = spare_labels_.data();
    float* probabilities = spare_probabilities_.data();
    if (lane->skip > 0) {
      --lane->skip;
    } else {
      labels = args_.labels + lane->row * shape_.entries();
      probabilities = args_.probabilities + lane->row * shape_.entries();
      ++lane->row;
      --lane->rows;
    }
    uint32_t listed = 0;
    if (shape_.k > 0) {
      listed = lane->count;
      if (shape_.stages > 0) {
        WriteQuantised(lane, weights, labels, probabilities);
      } else {
        WriteExact(*lane, weights, labels, probabilities);
      }
    }
    uint32_t entries = listed;
    if (shape_.samples > 0) {
      const double mass = BoundMass(probabilities, listed);
      entries = AddSamples(*lane, labels, probabilities, mass);
    }
    if (!IsSurelyBelowOne(probabilities, entries)) BoundMass(probabilities, entries);
    std::fill(labels + entries, labels + shape_.entries(), 0);
    std::fill(probabilities + entries, probabilities + shape_.entries(), 0.0f);
  }

  int32_t IdOf(uint32_t name) const { return static_cast<int32_t>(args_.ids[name]); }

  // The most probable first, equal ones by name.
  void WriteExact(const TokenLane& lane, const double* weights, int32_t* labels,
                  float* probabilities) {
    PlaceTokens(lane.halves.data(), lane.count, places_.data());
    for (uint32_t i = 0; i < lane.count; ++i) {
      const uint32_t place = places_[i];
      labels[place] = IdOf(lane.listed[i + 1] - 1);
      probabilities[place] = static_cast<float>(weights[i]);
    }
  }

  // Minus the number of a half's bits without its sign.
  static float LogOfHalf(int32_t bits) {
    const int32_t exponent = bits >> 10;
    const float fraction = static_cast<float>(bits & 0x3ff);
    if (exponent == 0) return fraction * (-1.0f / 16777216);
    if (exponent == 31) return -std::numeric_limits<float>::infinity();
    return (fraction + 1024) * static_cast<float>(uint32_t{1} << exponent) * (-1.0f / 33554432);
  }

  void WriteQuantised(TokenLane* lane, const double* weights, int32_t* labels,
                      float* probabilities) {
    const uint32_t k = shape_.k;
    const uint32_t ordered = shape_.ordered;
    // A digit counts the places that no earlier rank has taken: from the last
    // rank on, each makes room for those that come before it.
    int16_t* const digits = lane->digits.data();
    for (uint32_t rank = ordered; rank-- > 0;) {
      const int16_t own = digits[rank];
      for (uint32_t later = rank + 1; later < ordered; ++later) {
        digits[later] = static_cast<int16_t>(digits[later] + (digits[later] >= own ? 1 : 0));
      }
    }
    uint32_t* const names = lane->listed.data() + 1;
    for (uint32_t rank = 0; rank < ordered; ++rank) {
      uint32_t* const name = names + digits[rank];
      labels[rank] = IdOf(*name - 1);
      *name = 0;
    }
    // All others by name: those that are taken are overwritten, without a branch that nothing
    // predicts. The last place is for those behind all others.
    uint32_t at = 0;
    for (uint32_t i = 0; i < k; ++i) {
      const uint32_t left = names[i] > 0 ? 1 : 0;
      others_[at] = IdOf(names[i] - left);
      at += left;
    }
    std::copy_n(others_.data(), k - ordered, labels + ordered);
    for (uint32_t rank = 0; rank < ordered; ++rank) {
      probabilities[rank] = static_cast<float>(weights[rank]);
    }
    if (k > ordered) {
      const float each = static_cast<float>(weights[ordered] / (k - ordered));
      std::fill(probabilities + ordered, probabilities + k, each);
    }
  }

  void SumCodewords(const TokenLane& lane, float* logs) const {
    const uint32_t width = shape_.width();
    std::fill(logs, logs + width, 0.0f);
    for (uint32_t stage = 0; stage < shape_.stages; ++stage) {
      const uint64_t row = stage * kTokenCodewords + lane.codewords[stage];
      const float* const codeword = args_.codebooks + row * width;
      for (uint32_t j = 0; j < width; ++j) logs[j] += codeword[j];
    }
    for (uint32_t j = 0; j < width; ++j) {
      const float value = logs[j] / args_.scale[j];
      logs[j] = value > 0 ? 0 : value;
    }
  }

  // Samples share what is not listed; those of one id are one entry, those of a
  // listed id add to it. Returns the number of entries.
  uint32_t AddSamples(const TokenLane& lane, int32_t* labels, float* probabilities,
                      double mass) const {
    const uint32_t samples = shape_.samples;
    const uint32_t listed = shape_.k > 0 ? lane.count : 0;
    const double left = 1 - mass;
    const double each = (left < 0 ? 0 : left) / samples;
    uint32_t at = listed;
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < samples; ++i) {
      // Numbers of a multiset are raised by their places to make them a set.
      const uint32_t name = lane.drawn[i + 1] - 1 - i;
      const int32_t id = IdOf(name);
      if (Contains(labels, listed, id)) {
        AddTo(&probabilities[std::find(labels, labels + listed, id) - labels], each);
      } else if (name == last) {
        AddTo(&probabilities[at - 1], each);
      } else {
        labels[at] = id;
        probabilities[at] = static_cast<float>(each);
        ++at;
      }
      last = name;
    }
    return at;
  }

  // Without an early end, which compilers make into vectors.
  static bool Contains(const int32_t* values, uint32_t count, int32_t value) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; ++i) found |= values[i] == value ? 1 : 0;
    return found != 0;
  }

  static void AddTo(float* probability, double more) {
    *probability = static_cast<float>(*probability + more);
  }

  // Whether a sum in any order is: four sums side by side, for an addition waits for the one
  // before.
  static bool IsSurelyBelowOne(const float* values, uint32_t count) {
    double sums[4] = {};
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4) {
      for (uint32_t j = 0; j < 4; ++j) sums[j] += values[i + j];
    }
    for (; i < count; ++i) sums[0] += values[i];
    return sums[0] + sums[1] + sums[2] + sums[3] < kNearOne;
  }

  // Returns the sum, which is at most 1 afterwards.
  static double BoundMass(float* probabilities, uint32_t count) {
    const double sum = Sum(probabilities, count);
    if (sum <= 1) return sum;
    const double divisor = sum * kAboveOne;
    for (uint32_t i = 0; i < count; ++i) {
      probabilities[i] = static_cast<float>(probabilities[i] / divisor);
    }
    return Sum(probabilities, count);
  }

  static double Sum(const float* values, uint32_t count) {
    double sum = 0;
    for (uint32_t i = 0; i < count; ++i) sum += values[i];
    return sum;
  }

  const TokenDecodeArgs& args_;
  const KernelTable& kernels_;
  const TokenShape shape_;
  TokenNodes nodes_;
  const std::vector<TokenWord> words_;
  uint64_t group_ = 0;  // the next one
  std::vector<uint32_t> places_;
  std::vector<int32_t> others_;
  // [lane, widest()], in whole blocks: logarithms of probabilities and these.
  std::vector<float> logs_;
  std::vector<double> weights_;
  // Of labels that are passed over.
  std::vector<int32_t> spare_labels_;
  std::vector<float> spare_probabilities_;
};

}  // namespace

int DecodeTokens(const TokenDecodeArgs& args) {
  if (!IsTokenShape(args.shape)) return kSoftpackInvalidArgument;
  const Isa* const isa = SelectedIsa();
  if (isa == nullptr) return kSoftpackUnsupportedIsa;
  return TokenDecoder(args, *isa->kernels).Decode();
}

}  // namespace softpack
