// Losses of labels that list a few tokens and spread the rest over all others, evenly or like a
// prior. Sums over what is not listed leave listed tokens out by a bit for each, as a difference of
// sums would lose what a label with nearly all of the mass says.
//
// Counted per position at 50,257 tokens in bfloat16: 100 kB read three times, the last two from L2
// where positions in flight fit there, and 100 kB of gradient written; a prior of 200 kB is read as
// often, from L2. 2 exponentials an element (3 with a gradient), 1 to 4 logarithms.
#include "cuda/divergence.h"
#include "cuda/tokens_entries.h"

namespace softpack {
namespace {

// Tokens whose bits are in shared memory at a time.
constexpr uint64_t kWindow = 1 << 16;
constexpr uint32_t kWindowWords = kWindow / 32;
static_assert(kWindow % kTokenThreads == 0, "a token has one thread in all passes");

// The label of a position.
struct Row {
  const ListedParams& params;
  uint64_t logits;  // of the position, in target.logits
  uint64_t entries;
  float* weights;
  uint32_t* bits;  // [kWindowWords]

  __device__ int32_t id(uint64_t e) const { return params.labels.ids[entries + e]; }
  __device__ float prior(uint64_t token) const {
    return params.labels.prior == nullptr ? 1.0f : params.labels.prior[token];
  }
};

// Calls use(entry, token) for this thread's entries.
template <class Use>
__device__ __forceinline__ void ForEachListed(const Row& row, const Use& use) {
  for (uint64_t e = threadIdx.x; e < row.params.labels.width; e += kTokenThreads) {
    if (row.weights[e] > 0.0f) use(e, static_cast<uint64_t>(row.id(e)));
  }
}

// Calls use(token) for this thread's tokens that are not listed. All threads of the block take
// part.
template <class Use>
__device__ __forceinline__ void ForEachUnlisted(const Row& row, const Use& use) {
  const uint64_t vocabulary = row.params.labels.vocabulary;
  for (uint64_t from = 0; from < vocabulary; from += kWindow) {
    __syncthreads();  // the bits before these are used up
    for (uint32_t w = threadIdx.x; w < kWindowWords; w += kTokenThreads) row.bits[w] = 0;
    __syncthreads();
    ForEachListed(row, [&](uint64_t, uint64_t token) {
      if (token - from < kWindow) atomicOr(row.bits + (token - from) / 32, 1u << token % 32);
    });
    __syncthreads();
    const uint64_t end = vocabulary - from < kWindow ? vocabulary : from + kWindow;
    for (uint64_t j = from + threadIdx.x; j < end; j += kTokenThreads) {
      if ((row.bits[(j - from) / 32] >> j % 32 & 1u) == 0) use(j);
    }
  }
}

// What all tokens of a position share.
struct Shared {
  float most;     // of the student's logits
  float log_sum;  // of exp(logit - most)
  float scale;    // of entries
  float factor;   // of the prior, where tokens are not listed
  float log_factor;
};

template <class Element>
__device__ Shared Prepare(const Row& row, float* shared, const Element& element) {
  const SoftpackTokenLabels& labels = row.params.labels;
  const RowTarget& target = row.params.target;
  bool wrong = false;
  float sum = 0.0f;
  for (uint64_t e = threadIdx.x; e < labels.width; e += kTokenThreads) {
    sum += row.weights[e] = WeightOf(row.params, row.entries + e, &wrong);
  }
  sum = SumOfBlock(sum, shared);
  Peak peak = {-Infinity(), 0.0f};
  float unlisted = 0.0f;
  const auto add = [&](uint64_t token) {
    Add(peak, element.Load(target.logits, row.logits + token) * target.inverse_tau);
    const float prior = row.prior(token);
    wrong = wrong || !(prior > 0.0f && prior < Infinity());
    return prior;
  };
  ForEachUnlisted(row, [&](uint64_t token) { unlisted += add(token); });
  ForEachListed(row, [&](uint64_t, uint64_t token) { add(token); });
  peak = JoinBlock(peak, reinterpret_cast<Peak*>(shared), JoinPeaks);
  unlisted = SumOfBlock(unlisted, shared);
  if (wrong || !(sum <= kMost)) {
    atomicMax(row.params.fault, static_cast<unsigned>(kSoftpackInvalidArgument));
  }
  const bool reverse = labels.divergence == kSoftpackDivergenceReverse;
  const float rest = Greater(reverse ? kLeastRest : 0.0f, 1.0f - sum);
  Shared all;
  // Log does not hand NaN on.
  all.log_sum = peak.sum > 0.0f ? scalar::Log(peak.sum) : peak.sum;
  all.most = peak.most;
  all.scale = sum > 1.0f ? 1.0f / sum : 1.0f;
  all.factor = rest / Greater(kTiny, unlisted);
  all.log_factor = scalar::Log(Greater(kTiny, all.factor));
  return all;
}

template <class Element>
__device__ void SpreadRow(const Row& row, uint64_t position, float* shared,
                          const Element& element) {
  const SoftpackTokenLabels& labels = row.params.labels;
  const RowTarget& target = row.params.target;
  const Shared all = Prepare(row, shared, element);
  const Divergence divergence = {labels.divergence, labels.beta, target.entropy};
  const auto student = [&](uint64_t token, TokenSides* sides) {
    const float logit = element.Load(target.logits, row.logits + token);
    sides->log_q = logit * target.inverse_tau - all.most - all.log_sum;
    sides->q = ShareOf(sides->log_q);
  };
  const auto unlisted = [&](uint64_t token) {
    TokenSides sides;
    student(token, &sides);
    const float prior = row.prior(token);
    sides.p = all.factor * prior;
    sides.log_p = all.log_factor + (labels.prior == nullptr ? 0.0f : scalar::Log(prior));
    return sides;
  };
  const auto listed = [&](uint64_t e, uint64_t token) {
    TokenSides sides;
    student(token, &sides);
    sides.p = row.weights[e] * all.scale;
    sides.log_p = scalar::Log(sides.p);
    return sides;
  };

  float mean = 0.0f;
  if (target.losses != nullptr || labels.divergence != kSoftpackDivergenceForward) {
    float value = 0.0f;
    const auto add = [&](const TokenSides& sides) {
      const TokenTerm term = TermOf(divergence, sides);
      value += term.value;
      mean += sides.q * term.slope;
    };
    ForEachUnlisted(row, [&](uint64_t token) { add(unlisted(token)); });
    ForEachListed(row, [&](uint64_t e, uint64_t token) { add(listed(e, token)); });
    value = SumOfBlock(value, shared);
    mean = SumOfBlock(mean, shared);
    if (target.losses != nullptr && threadIdx.x == 0) target.losses[position] = value;
  }
  if (target.gradient == nullptr) return;
  const auto store = [&](uint64_t token, float slope) {
    element.Store(target.gradient, row.logits + token, slope * target.gradient_scale);
  };
  ForEachUnlisted(
      row, [&](uint64_t token) { store(token, LogitSlope(divergence, unlisted(token), mean)); });
  ForEachListed(row, [&](uint64_t e, uint64_t token) {
    store(token, LogitSlope(divergence, listed(e, token), mean));
  });
  for (uint64_t j = labels.vocabulary + threadIdx.x; j < labels.columns; j += kTokenThreads) {
    store(j, 0.0f);
  }
}

__global__ void __launch_bounds__(kTokenThreads) SpreadKernel(ListedParams params) {
  const uint64_t position = blockIdx.x;
  if (!Counts(params.labels, params.target, position)) return;
  float* const shared = SharedMemory<float>();
  float* const weights = shared + 2 * kTokenWarps;
  const Row row = {params, position * params.labels.columns, position * params.labels.width,
                   weights, reinterpret_cast<uint32_t*>(weights + params.labels.width)};
  WithElement(params.target.logits_type,
              [&](auto element) { SpreadRow(row, position, shared, element); });
}

}  // namespace

void RunSpreadTokens(Operation& operation, const SoftpackTokenLabels& labels,
                     const RowTarget& target) {
  const size_t shared = (2 * kTokenWarps + labels.width) * sizeof(float) + kWindowWords * 4;
  operation.Run("losses of spread labels", SpreadKernel,
                {static_cast<unsigned>(target.count), kTokenThreads, shared},
                {labels, target, operation.fault()});
}

}  // namespace softpack
