// Losses of labels that list a few tokens of each position: one pass over the student's logits for
// their greatest and the sum of exponentials (online softmax), one for the gradient. What the
// entries change is put right at the end, so that the teacher's row is never written.
//
// Counted per position at 50,257 tokens in bfloat16: 100 kB read twice, the second time from L2
// where positions in flight fit there, and 100 kB of gradient written; 2 exponentials an element,
// or 3 where the greatest changes.
#include "cuda/tokens_entries.h"

namespace softpack {
namespace {

// A label's entries in shared memory: what the target and the student have there.
struct Entries {
  float* weights;
  float* student;
};

template <class Element>
__device__ void ListedRow(const ListedParams& params, uint64_t position, const Entries& entries,
                          float* shared, const Element& element) {
  const SoftpackTokenLabels& labels = params.labels;
  const RowTarget& target = params.target;
  const uint64_t start = position * labels.columns, first = position * labels.width;
  Peak peak = {-Infinity(), 0.0f};
  for (uint64_t j = threadIdx.x; j < labels.vocabulary; j += kTokenThreads) {
    Add(peak, element.Load(target.logits, start + j) * target.inverse_tau);
  }
  peak = JoinBlock(peak, reinterpret_cast<Peak*>(shared), JoinPeaks);
  // Log does not hand NaN on.
  const float log_sum = peak.sum > 0.0f ? peak.most + scalar::Log(peak.sum) : peak.sum;

  bool wrong = false;
  float sum = 0.0f;
  for (uint64_t e = threadIdx.x; e < labels.width; e += kTokenThreads) {
    sum += entries.weights[e] = WeightOf(params, first + e, &wrong);
  }
  sum = SumOfBlock(sum, shared);
  const bool ghost = labels.tail == kSoftpackTailGhost;
  wrong = wrong || !(ghost ? sum <= kMost : sum > 0.0f);
  if (wrong) atomicMax(params.fault, static_cast<unsigned>(kSoftpackInvalidArgument));
  const float scale = ghost && sum <= 1.0f ? 1.0f : 1.0f / sum;
  float value = 0.0f, listed = 0.0f;
  for (uint64_t e = threadIdx.x; e < labels.width; e += kTokenThreads) {
    const float weight = entries.weights[e] * scale;
    if (!(weight > 0.0f)) continue;
    const float logit = element.Load(target.logits, start + labels.ids[first + e]);
    const float log_q = logit * target.inverse_tau - log_sum;
    const float q = scalar::Exp(log_q);
    entries.weights[e] = weight;
    entries.student[e] = q;
    listed += q;
    value += weight * ((target.entropy ? scalar::Log(weight) : 0.0f) - log_q);
  }
  value = SumOfBlock(value, shared);
  float share = 0.0f;
  if (ghost) {
    const float outside = Greater(kLeastRest, 1.0f - SumOfBlock(listed, shared));
    const float rest = Greater(0.0f, 1.0f - sum);
    if (rest > 0.0f) {
      value += rest * ((target.entropy ? scalar::Log(rest) : 0.0f) - scalar::Log(outside));
    }
    share = rest / outside;
  }
  if (target.losses != nullptr && threadIdx.x == 0) target.losses[position] = value;
  if (target.gradient == nullptr) return;

  const float kept = (1.0f - share) * target.gradient_scale;
  for (uint64_t j = threadIdx.x; j < labels.columns; j += kTokenThreads) {
    float slope = 0.0f;
    if (j < labels.vocabulary) {
      const float logit = element.Load(target.logits, start + j);
      slope = scalar::Exp(logit * target.inverse_tau - log_sum) * kept;
    }
    element.Store(target.gradient, start + j, slope);
  }
  __syncthreads();
  for (uint64_t e = threadIdx.x; e < labels.width; e += kTokenThreads) {
    if (!(entries.weights[e] > 0.0f)) continue;
    element.Store(target.gradient, start + labels.ids[first + e],
                  (entries.student[e] - entries.weights[e]) * target.gradient_scale);
  }
}

__global__ void __launch_bounds__(kTokenThreads) ListedKernel(ListedParams params) {
  const uint64_t position = blockIdx.x;
  if (!Counts(params.labels, params.target, position)) return;
  float* const shared = SharedMemory<float>();
  float* const weights = shared + 2 * kTokenWarps;
  const Entries entries = {weights, weights + params.labels.width};
  WithElement(params.target.logits_type,
              [&](auto element) { ListedRow(params, position, entries, shared, element); });
}

}  // namespace

void RunListedTokens(Operation& operation, const SoftpackTokenLabels& labels,
                     const RowTarget& target) {
  const size_t shared = (2 * kTokenWarps + 2 * labels.width) * sizeof(float);
  operation.Run("losses of listed tokens", ListedKernel,
                {static_cast<unsigned>(target.count), kTokenThreads, shared},
                {labels, target, operation.fault()});
}

}  // namespace softpack
