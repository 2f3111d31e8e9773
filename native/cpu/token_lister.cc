#include <algorithm>
#include <limits>
#include <vector>

#include "core/token_labels.h"
#include "cpu/dispatch.h"
#include "cpu/token_exp.h"

namespace softpack {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

class TokenLister {
 public:
  TokenLister(const TokenListArgs& args, const KernelTable& kernels)
      : args_(args),
        kernels_(kernels),
        blocks_((args.vocabulary + kTokenBlock - 1) / kTokenBlock),
        maxima_(blocks_),
        masses_(blocks_) {
    listed_.reserve(args.k);
  }

  // False for logits that are no distribution.
  bool List(uint64_t row) {
    const float* const logits = args_.logits + row * args_.width;
    if (!kernels_.token_maxima(logits, args_.vocabulary, maxima_.data())) return false;
    const float top = *std::max_element(maxima_.begin(), maxima_.end());
    if (top == kNoLogit) return false;
    kernels_.token_masses(logits, args_.vocabulary, top, masses_.data());
    args_.sums[row] = Total();
    FindListed(logits);
    for (uint32_t i = 0; i < args_.k; ++i) args_.ids[row * args_.k + i] = listed_[i].id;
    if (args_.samples == 0) return true;
    LeaveTail(logits, top);
    Draw(logits, top, args_.uniforms + row * args_.samples, args_.drawn + row * args_.samples);
    return true;
  }

 private:
  struct Entry {
    float logit;
    uint32_t id;
  };

  double Total() const {
    double total = 0;
    for (const double mass : masses_) total += mass;
    return total;
  }

  uint64_t BlockSize(uint64_t block) const {
    return std::min(kTokenBlock, args_.vocabulary - block * kTokenBlock);
  }

  // The k largest, of equal ones the lowest ids, in descending order.
  void FindListed(const float* logits) {
    listed_.clear();
    if (args_.k == 0) return;
    for (uint64_t block = 0; block < blocks_; ++block) {
      if (listed_.size() == args_.k && !(maxima_[block] > listed_.back().logit)) continue;
      const uint64_t begin = block * kTokenBlock;
      for (uint64_t i = begin; i < begin + BlockSize(block); ++i) {
        Enter({logits[i], static_cast<uint32_t>(i)});
      }
    }
  }

  void Enter(const Entry& entry) {
    if (listed_.size() == args_.k) {
      if (!(entry.logit > listed_.back().logit)) return;
      listed_.pop_back();
    }
    const auto place = std::upper_bound(listed_.begin(), listed_.end(), entry,
                                        [](const Entry& a, const Entry& b) {
                                          return a.logit > b.logit;
                                        });
    listed_.insert(place, entry);
  }

  // Takes the listed ids out of the masses of their blocks.
  void LeaveTail(const float* logits, double top) {
    taken_.assign(blocks_, 0);
    for (const Entry& entry : listed_) taken_[entry.id / kTokenBlock] = 1;
    for (uint64_t block = 0; block < blocks_; ++block) {
      if (taken_[block] == 0) continue;
      LoadBlock(logits, block);
      kernels_.token_masses(own_, BlockSize(block), top, &masses_[block]);
    }
  }

  // Logits of a block without those listed.
  void LoadBlock(const float* logits, uint64_t block) {
    const uint64_t begin = block * kTokenBlock;
    std::copy_n(logits + begin, BlockSize(block), own_);
    if (taken_[block] == 0) return;
    for (const Entry& entry : listed_) {
      if (entry.id / kTokenBlock == block) own_[entry.id - begin] = kNoLogit;
    }
  }

  // An id for each of the ascending `uniforms`, in proportion to what is left.
  void Draw(const float* logits, double top, const double* uniforms, uint32_t* drawn) {
    const double total = Total();
    if (total == 0) {
      const uint32_t spare = listed_.empty() ? 0 : listed_.back().id;
      std::fill(drawn, drawn + args_.samples, spare);
      return;
    }
    double below = 0;
    uint64_t block = 0;
    for (uint32_t i = 0; i < args_.samples; ++i) {
      const double goal = uniforms[i] * total;
      while (block + 1 < blocks_ && below + masses_[block] <= goal) below += masses_[block++];
      drawn[i] = DrawFrom(logits, top, block, goal - below);
    }
  }

  // The id of a block at which its weights exceed `goal`, or the last one that has any: rounding
  // may lead beyond it, and beyond the last block that has any.
  uint32_t DrawFrom(const float* logits, double top, uint64_t block, double goal) {
    while (block > 0 && masses_[block] == 0) --block;
    LoadBlock(logits, block);
    uint64_t last = 0;
    double sum = 0;
    for (uint64_t i = 0; i < BlockSize(block); ++i) {
      const double weight = TokenExp(static_cast<double>(own_[i]) - top);
      if (weight == 0) continue;
      last = i;
      sum += weight;
      if (sum > goal) break;
    }
    return static_cast<uint32_t>(block * kTokenBlock + last);
  }

  const TokenListArgs& args_;
  const KernelTable& kernels_;
  const uint64_t blocks_;
  std::vector<float> maxima_;
  std::vector<double> masses_;
  std::vector<Entry> listed_;
  std::vector<uint8_t> taken_;
  float own_[kTokenBlock];
};

}  // namespace

int ListTokens(TokenListArgs* args) {
  const Isa* const isa = SelectedIsa();
  if (isa == nullptr) return kSoftpackUnsupportedIsa;
  const bool bounded = args->vocabulary >= 1 && args->vocabulary <= kTokenVocabulary &&
                       args->vocabulary <= args->width && args->k <= kTokenEntries &&
                       args->k <= args->vocabulary && args->samples <= kTokenSamples;
  if (!bounded) return kSoftpackInvalidArgument;
  TokenLister lister(*args, *isa->kernels);
  for (args->listed = 0; args->listed < args->rows; ++args->listed) {
    if (!lister.List(args->listed)) break;
  }
  return kSoftpackOk;
}

}  // namespace softpack
