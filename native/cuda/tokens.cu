#include "cuda/tokens.h"

#include <algorithm>

#include "cuda/layout.h"
#include "cuda/targets.h"

namespace softpack {
namespace {

constexpr uint64_t kMostPositions = 4096;
constexpr uint64_t kLeastColumns = 1024;

// Tokens whose teacher's logits stay in L2 between two steps.
uint64_t RangeColumns(uint64_t positions, uint64_t vocabulary) {
  const uint64_t cached = Facts().l2_bytes / 2 / sizeof(float) / positions;
  return RoundUpTo(std::min(std::max(cached, kLeastColumns), vocabulary), 64);
}

bool HasSpread(const SoftpackTokenLabels& labels) { return labels.tail >= kSoftpackTailUniform; }

bool FitsDivergence(const SoftpackTokenLabels& labels, const SoftpackDecodeKlArgs& args) {
  if (labels.divergence == kSoftpackDivergenceForward) return true;
  if (labels.hidden == nullptr && !HasSpread(labels)) return false;
  if (args.loss != kSoftpackLossKl) return false;
  return labels.divergence == kSoftpackDivergenceReverse ||
         (labels.divergence == kSoftpackDivergenceJsd && labels.beta > 0.0f && labels.beta < 1.0f);
}

bool Fits(const SoftpackTokenLabels& labels, const SoftpackDecodeKlArgs& args, uint32_t type) {
  if (type > kSoftpackBfloat16 || labels.vocabulary == 0 || labels.width == 0) return false;
  // Ids are int32, and a block of the product counts columns by 32 bits.
  if (labels.vocabulary > INT32_MAX || labels.columns < labels.vocabulary) return false;
  if (!FitsDivergence(labels, args)) return false;
  if (labels.hidden != nullptr) {
    const bool given = labels.corrected_ids != nullptr && labels.corrections != nullptr;
    return labels.corrected == 0 || (given && labels.corrected <= kMostEntries);
  }
  if (labels.width > kMostEntries || labels.tail > kSoftpackTailPrior) return false;
  if (HasSpread(labels) && args.tau != 1.0f) return false;
  return labels.tail != kSoftpackTailPrior || labels.prior != nullptr;
}

// The labels of a call, on the device.
SoftpackTokenLabels Locate(Operation& operation, const SoftpackTokenLabels& labels,
                           uint64_t positions) {
  SoftpackTokenLabels there = labels;
  there.counts = operation.Input(labels.counts, positions);
  if (labels.hidden != nullptr) {
    there.hidden = operation.Input(labels.hidden, positions * labels.width);
    there.head = operation.Input(labels.head, labels.vocabulary * labels.width);
    if (labels.corrected > 0) {
      there.corrected_ids = operation.Input(labels.corrected_ids, positions * labels.corrected);
      there.corrections = operation.Input(labels.corrections, positions * labels.corrected);
    }
  } else {
    there.ids = operation.Input(labels.ids, positions * labels.width);
    there.probabilities = operation.Input(labels.probabilities, positions * labels.width);
    const bool prior = labels.tail == kSoftpackTailPrior;
    there.prior = prior ? operation.Input(labels.prior, labels.vocabulary) : nullptr;
  }
  return there;
}

SoftpackTokenLabels From(SoftpackTokenLabels labels, uint64_t position) {
  if (labels.counts != nullptr) labels.counts += position;
  if (labels.hidden != nullptr) {
    labels.hidden += position * labels.width;
    if (labels.corrected > 0) {
      labels.corrected_ids += position * labels.corrected;
      labels.corrections += position * labels.corrected;
    }
  } else {
    labels.ids += position * labels.width;
    labels.probabilities += position * labels.width;
  }
  return labels;
}

}  // namespace

int TokenKl(Operation& operation, const SoftpackTokenLabels& labels,
            const SoftpackDecodeKlArgs& args, uint32_t type) {
  const uint64_t positions = args.labels.count;
  if (!Fits(labels, args, type)) return kSoftpackInvalidArgument;
  const HeadParams head = {kSoftpackHeadSoftmax, 1.0f / args.tau};
  KlTarget target(operation, args, type, head, labels.columns,
                  std::max<uint64_t>(std::min(positions, kMostPositions), 1));
  if (!operation.ok() || positions == 0) return operation.Finish();
  const SoftpackTokenLabels all = Locate(operation, labels, positions);
  HiddenWorking working = {};
  if (labels.hidden != nullptr) {
    working.columns = RangeColumns(target.chunk(), labels.vocabulary);
    working.teacher = operation.Take<float>(target.chunk() * working.columns);
    working.sums = operation.Take<float>(target.chunk() * kHiddenSums);
  }
  return ForEachChunk(operation, target, positions,
                      [&](uint64_t first, uint64_t, const RowTarget& rows) {
                        const SoftpackTokenLabels part = From(all, first);
                        if (labels.hidden != nullptr)
                          RunHiddenTokens(operation, part, rows, working);
                        else if (HasSpread(part))
                          RunSpreadTokens(operation, part, rows);
                        else
                          RunListedTokens(operation, part, rows);
                      });
}

}  // namespace softpack
